//! Validation of bodies and queries. Each rejection names all invalid fields, and only those.

use crate::common::user::text;
use crate::common::{Client, Options, Response, Server, UNKNOWN_ID, User, assert_error, assert_invalid};
use serde_json::{Value, json};

/// A change of a valid body: the field, its value (`None` removes it), and the fields that become invalid, if any.
pub type Row<'a> = (&'a str, Option<Value>, &'a [&'a str]);

/// Sends the valid body, and it with each change.
#[track_caller]
pub fn check(good: &Value, rows: &[Row<'_>], mut send: impl FnMut(Value) -> Response) {
    send(good.clone()).expect(200);
    for (field, value, bad) in rows {
        let mut body = good.clone();
        match value {
            Some(value) => body[field] = value.clone(),
            None => drop(body.as_object_mut().expect("an object").remove(*field)),
        }
        let shown: String = format!("{field}: {value:?}").chars().take(100).collect();
        let response = send(body);
        if bad.is_empty() {
            assert_eq!(response.status, 200, "{shown}: {}", response.shown());
        } else {
            assert_eq!(response.status, 422, "{shown}: {}", response.shown());
            assert_invalid(&response, bad);
        }
    }
}

/// Length rules of a text of 1 to `max` characters.
pub fn text_rows(field: &str, max: usize) -> Vec<Row<'_>> {
    let bad: &'static [&'static str] = match field {
        "name" => &["name"],
        "description" => &["description"],
        "topic" => &["topic"],
        "title" => &["title"],
        other => panic!("no rule for {other}"),
    };
    vec![
        (field, Some(json!("")), bad),
        (field, Some(json!(7)), bad),
        (field, Some(json!(["x"])), bad),
        (field, Some(json!("x".repeat(max + 1))), bad),
        (field, Some(json!("é".repeat(max + 1))), bad),
        (field, Some(json!("🦀".repeat(max + 1))), bad),
        (field, Some(json!("x")), &[]),
        (field, Some(json!(" ")), &[]),
        (field, Some(json!("x".repeat(max))), &[]),
        (field, Some(json!("é".repeat(max))), &[]),
        (field, Some(json!("🦀".repeat(max))), &[]),
    ]
}

/// An object with `levels` levels; the object itself is the first.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({"x": inner}))
}

/// An object whose compact text has exactly this number of bytes.
fn of_bytes(bytes: usize) -> Value {
    json!({"x": "x".repeat(bytes - r#"{"x":""}"#.len())})
}

/// A single key `x`: where metadata merges, each row replaces the value of the previous one.
pub fn metadata_rows() -> Vec<Row<'static>> {
    let bad: &[&str] = &["metadata"];
    vec![
        ("metadata", None, &[]),
        ("metadata", Some(json!({})), &[]),
        ("metadata", Some(json!({"x": [1, "thing", null, {"any": true}]})), &[]),
        ("metadata", Some(json!(null)), bad),
        ("metadata", Some(json!([])), bad),
        ("metadata", Some(json!("{}")), bad),
        ("metadata", Some(json!(1)), bad),
        ("metadata", Some(json!(true)), bad),
        ("metadata", Some(nested(64)), &[]),
        ("metadata", Some(nested(65)), bad),
        ("metadata", Some(json!({"x": (2..65).fold(json!([]), |inner, _| json!([inner]))})), bad),
        ("metadata", Some(of_bytes(64 * 1024)), &[]),
        ("metadata", Some(of_bytes(64 * 1024 + 1)), bad),
    ]
}

#[test]
fn workspaces() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let good = json!({"name": "n", "description": "d", "metadata": {}});
    let mut rows = text_rows("name", 100);
    rows.extend(text_rows("description", 500));
    rows.extend(metadata_rows());
    let mut create = rows.clone();
    for value in [None, Some(json!(null))] {
        create.extend([("name", value.clone(), &["name"][..]), ("description", value, &["description"][..])]);
    }
    check(&good, &create, |body| user.post("/config/workspace", body));

    let path = format!("/config/workspace/{}", user.create_workspace("w"));
    for value in [None, Some(json!(null))] {
        rows.extend([("name", value.clone(), &[][..]), ("description", value, &[][..])]);
    }
    check(&good, &rows, |body| user.put(&path, body));
    user.put(&path, json!({})).expect(200);

    let all_bad = json!({"name": "", "description": 1, "metadata": []});
    assert_invalid(&user.post("/config/workspace", all_bad.clone()), &["name", "description", "metadata"]);
    assert_invalid(&user.put(&path, all_bad), &["name", "description", "metadata"]);
    assert_invalid(&user.post("/config/workspace", json!({})), &["name", "description"]);
}

#[test]
fn conversations() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let good = json!({"workspace_id": workspace, "topic": "t", "participant_ids": ["a"], "metadata": {}});
    let people = |count: usize| json!((0..count).map(|n| format!("p{n}")).collect::<Vec<_>>());
    let bad: &[&str] = &["participant_ids"];
    let mut rows = text_rows("topic", 200);
    rows.extend(metadata_rows());
    rows.extend([
        ("participant_ids", None, &[][..]),
        ("participant_ids", Some(json!(null)), &[]),
        ("participant_ids", Some(json!([])), &[]),
        ("participant_ids", Some(json!(["a", "a", "a"])), &[]),
        ("participant_ids", Some(json!(["nobody has seen this one yet"])), &[]),
        ("participant_ids", Some(json!(["ü".repeat(255)])), &[]),
        ("participant_ids", Some(people(255)), &[]),
        ("participant_ids", Some(people(257)), bad),
        ("participant_ids", Some(json!("a")), bad),
        ("participant_ids", Some(json!({"a": 1})), bad),
        ("participant_ids", Some(json!([1])), bad),
        ("participant_ids", Some(json!(["a", null])), bad),
        ("participant_ids", Some(json!(["a", ""])), bad),
        ("participant_ids", Some(json!(["ü".repeat(256)])), bad),
        ("participant_ids", Some(json!(["responder:echo"])), bad),
    ]);
    let mut create = rows.clone();
    create.extend([
        ("topic", None, &["topic"][..]),
        ("topic", Some(json!(null)), &["topic"]),
        ("workspace_id", None, &["workspace_id"][..]),
        ("workspace_id", Some(json!(null)), &["workspace_id"]),
        ("workspace_id", Some(json!(7)), &["workspace_id"]),
        ("participant_ids", Some(json!([people(256)[0], "u"])), &[]),
    ]);
    check(&good, &create, |body| user.post("/config/conversation", body));

    let conversation = user.create_conversation(&workspace, "t", &[]);
    let path = format!("/config/conversation/{conversation}");
    let good = json!({"topic": "t", "participant_ids": ["a"], "metadata": {}});
    rows.extend([("topic", None, &[][..]), ("topic", Some(json!(null)), &[])]);
    check(&good, &rows, |body| user.put(&path, body));
    user.put(&path, json!({})).expect(200);

    let all_bad = json!({"workspace_id": 1, "topic": "", "participant_ids": [""], "metadata": 1});
    let response = user.post("/config/conversation", all_bad.clone());
    assert_invalid(&response, &["workspace_id", "topic", "participant_ids", "metadata"]);
    assert_invalid(&user.put(&path, all_bad), &["topic", "participant_ids", "metadata"]);
    assert_invalid(&user.post("/config/conversation", json!({})), &["workspace_id", "topic"]);
}

#[test]
fn participants_are_counted_with_the_caller() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let mut people: Vec<String> = (0..255).map(|n| format!("p{n}")).collect();
    let body = json!({"workspace_id": workspace, "topic": "t", "participant_ids": people});
    let made = user.post("/config/conversation", body).expect(200).json();
    assert_eq!(made["conversation"]["participant_ids"].as_array().map(Vec::len), Some(256));
    let path = format!("/config/conversation/{}", text(&made["conversation"]["id"]));
    people.push("one too many".into());
    let body = json!({"workspace_id": workspace, "topic": "t", "participant_ids": people});
    assert_invalid(&user.post("/config/conversation", body), &["participant_ids"]);
    assert_invalid(&user.put(&path, json!({"participant_ids": people})), &["participant_ids"]);
    people.retain(|id| id != "one too many");
    people.push("u".to_owned());
    user.put(&path, json!({"participant_ids": people})).expect(200);
    // Elements are counted as sent, also those that are repeated.
    people.push("p0".to_owned());
    assert_invalid(&user.put(&path, json!({"participant_ids": people})), &["participant_ids"]);
    user.put(&path, json!({"participant_ids": vec!["p0"; 256]})).expect(200);
    assert_invalid(&user.put(&path, json!({"participant_ids": vec!["p0"; 257]})), &["participant_ids"]);
    let body = json!({"workspace_id": workspace, "topic": "t", "participant_ids": vec!["p0"; 100_000]});
    assert_invalid(&user.post("/config/conversation", body), &["participant_ids"]);
}

#[test]
fn input() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    const MIB: usize = 1024 * 1024;
    let content: &[&str] = &["content"];
    let mut rows = metadata_rows();
    rows.extend([
        ("content", None, content),
        ("content", Some(json!(null)), content),
        ("content", Some(json!(1)), content),
        ("content", Some(json!(["x"])), content),
        ("content", Some(json!("")), content),
        ("content", Some(json!(" \t\r\n\u{a0}\u{2003}\u{3000}")), content),
        ("content", Some(json!("x".repeat(MIB + 1))), content),
        ("content", Some(json!("é".repeat(MIB / 2 + 1))), content),
        ("content", Some(json!("x".repeat(MIB))), &[]),
        ("content", Some(json!("é".repeat(MIB / 2))), &[]),
        ("content", Some(json!(" x ")), &[]),
        ("content", Some(json!("\u{0}")), &[]),
        ("conversation_id", Some(json!(null)), &[]),
        ("conversation_id", Some(json!("default")), &[]),
        ("conversation_id", Some(json!(7)), &["conversation_id"]),
        ("conversation_id", Some(json!({})), &["conversation_id"]),
    ]);
    let good = json!({"content": "hello", "metadata": {}});
    check(&good, &rows, |body| user.post("/input", body));
    let all_bad = json!({"content": " ", "conversation_id": 1, "metadata": "x"});
    assert_invalid(&user.post("/input", all_bad), &["content", "conversation_id", "metadata"]);
    assert_error(&user.post("/input", json!({"content": "x", "conversation_id": UNKNOWN_ID})), 404, "not_found");
    assert_eq!(user.say("default", " kept  as it is \n")["content"], " kept  as it is \n");
}

#[test]
fn a_body_that_is_not_an_object_is_invalid() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for body in [json!([]), json!("x"), json!(1), json!(null), json!([{"content": "x"}])] {
        for path in ["/input", "/config/workspace", "/config/conversation"] {
            assert_error(&user.post(path, body.clone()), 422, "validation_error");
        }
    }
}

#[test]
fn the_nesting_of_an_object_is_bounded() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for (levels, status, code) in
        [(200, 422, "validation_error"), (10_000, 422, "validation_error"), (500_000, 413, "payload_too_large")]
    {
        let metadata = format!("{}1{}", r#"{"x":"#.repeat(levels), "}".repeat(levels));
        let body = format!(r#"{{"content":"x","metadata":{metadata}}}"#);
        assert_error(&user.request("POST", "/input").body("application/json", body).send(), status, code);
    }
    user.say("default", "the server lives");
}

#[test]
fn metadata_is_measured_without_white_space() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let metadata = of_bytes(64 * 1024).to_string().replace(':', &format!("{}:", " \n\t".repeat(1000)));
    let body = format!(r#"{{"content":"x","metadata":{metadata}}}"#);
    user.request("POST", "/input").body("application/json", body).send().expect(200);
    // Merging may not exceed the bound either.
    let path = format!("/config/workspace/{}", user.create_workspace("w"));
    user.put(&path, json!({"metadata": {"a": "x".repeat(40_000)}})).expect(200);
    assert_invalid(&user.put(&path, json!({"metadata": {"b": "x".repeat(40_000)}})), &["metadata"]);
    user.put(&path, json!({"metadata": {"a": null, "b": "x".repeat(40_000)}})).expect(200);
}

#[test]
fn queries() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let ids = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let (many, too_many) = (ids(1000), ids(1001));
    let of = format!("/config/conversation?workspace_id={workspace}");
    let table: [(String, &[&str]); 23] = [
        ("/config/workspace?limit=0".into(), &["limit"]),
        ("/config/workspace?limit=1001".into(), &["limit"]),
        ("/config/workspace?limit=-1".into(), &["limit"]),
        ("/config/workspace?limit=1.5".into(), &["limit"]),
        ("/config/workspace?limit=many".into(), &["limit"]),
        ("/config/workspace?limit=".into(), &["limit"]),
        ("/config/workspace?limit=99999999999999999999999".into(), &["limit"]),
        ("/config/workspace?offset=-1".into(), &["offset"]),
        ("/config/workspace?offset=x".into(), &["offset"]),
        ("/config/workspace?limit=0&offset=x".into(), &["limit", "offset"]),
        ("/config/workspace?limit=1&offset=0".into(), &[]),
        ("/config/workspace?limit=1000&offset=123456789".into(), &[]),
        ("/config/workspace?limit=%31".into(), &[]),
        ("/config/workspace?unknown=x".into(), &[]),
        ("/config/conversation".into(), &["workspace_id"]),
        ("/config/conversation?limit=0&offset=-1".into(), &["workspace_id", "limit", "offset"]),
        (format!("{of}&limit=0"), &["limit"]),
        (format!("{of}&limit=1001&offset=x"), &["limit", "offset"]),
        (of.clone(), &[]),
        ("/users".into(), &["ids"]),
        (format!("/users?ids={too_many}"), &["ids"]),
        (format!("/users?ids={many}"), &[]),
        ("/output/stream?types=nonsense".into(), &["types"]),
    ];
    for (path, bad) in table {
        let response = user.get(&path);
        if bad.is_empty() {
            assert_eq!(response.status, 200, "{path}: {}", response.shown());
        } else {
            assert_eq!(response.status, 422, "{path}: {}", response.shown());
            assert_invalid(&response, bad);
        }
    }
}

#[test]
fn logins_and_passwords() {
    let server = Server::with(&[("LOGIN_RATE_LIMIT_PER_MINUTE", "1000")]);
    let mut client = Client::new(server.addr);
    let mut login = |body: Value| client.request("POST", "/auth/login").json(&body).send();
    assert_invalid(&login(json!({"email": "user@example.com"})), &["password"]);
    assert_invalid(&login(json!({"email": "user@example.com", "password": 7})), &["password"]);
    for body in [json!({"password": "x"}), json!({}), json!({"username": 7, "password": "x"})] {
        assert_error(&login(body), 422, "validation_error");
    }
    let token = text(
        &login(json!({"username": "user@example.com", "password": "password123"})).expect(200).json()["access_token"],
    );
    let form = client
        .request("POST", "/auth/login")
        .body("application/x-www-form-urlencoded", "username=user%40example.com")
        .send();
    assert_invalid(&form, &["password"]);

    let mut user = User::with_token(&server, "550e8400-e29b-41d4-a716-446655440000", &token);
    let mut change = |body: Value| user.post("/auth/password", body);
    for bad in [json!("x".repeat(11)), json!("é".repeat(11)), json!("x".repeat(201)), json!(null), json!(12)] {
        let body = json!({"current_password": "password123", "new_password": bad});
        assert_invalid(&change(body), &["new_password"]);
    }
    assert_invalid(&change(json!({})), &["current_password", "new_password"]);
    assert_invalid(
        &change(json!({"current_password": 1, "new_password": "short"})),
        &["current_password", "new_password"],
    );
    change(json!({"current_password": "password123", "new_password": "é".repeat(12)})).expect(200);
}

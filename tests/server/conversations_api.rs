//! The conversations API: responses of each endpoint, permissions, and validation of bodies.

use crate::common::user::{ids, text};
use crate::common::{
    Options, Response, Server, UNKNOWN_ID, User, assert_error, assert_invalid, assert_time, assert_uuid,
};
use crate::validation::{check, metadata_rows, text_rows};
use serde_json::{Value, json};

#[track_caller]
fn assert_fields(value: &Value, fields: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("not an object: {value}"));
    let mut named: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut expected = fields.to_vec();
    named.sort_unstable();
    expected.sort_unstable();
    assert_eq!(named, expected, "{value}");
}

/// Asserts the shape, times and count of a conversation.
#[track_caller]
fn assert_conversation(value: &Value, title: &str, message_count: u64) {
    let fields =
        "id title workspace_id participant_ids messages message_count created_at updated_at metadata".split(' ');
    assert_fields(value, &fields.collect::<Vec<_>>());
    assert_uuid(&value["id"]);
    assert_uuid(&value["workspace_id"]);
    assert_time(&value["created_at"]);
    assert_time(&value["updated_at"]);
    assert_eq!((&value["title"], &value["message_count"]), (&json!(title), &json!(message_count)), "{value}");
    assert!(value["updated_at"].as_str() >= value["created_at"].as_str(), "{value}");
}

/// Asserts the shape and content of a message.
#[track_caller]
fn assert_message(value: &Value, sender: &str, role: &str, content: &str) {
    let fields =
        "id conversation_id sender_id sender_name role content timestamp updated_at status metadata".split(' ');
    assert_fields(value, &fields.collect::<Vec<_>>());
    assert_uuid(&value["id"]);
    assert_uuid(&value["conversation_id"]);
    assert_time(&value["timestamp"]);
    assert_time(&value["updated_at"]);
    assert_eq!(value["sender_id"], sender);
    assert_eq!(value["sender_name"], format!("Name of {sender}"));
    assert_eq!((&value["role"], &value["content"]), (&json!(role), &json!(content)));
    assert_eq!(value["status"], "complete");
}

/// An owner, two participants and an outsider, and a conversation of the first three.
struct Fixture {
    _server: Server,
    owner: User,
    ann: User,
    ben: User,
    outsider: User,
    id: String,
}

fn fixture() -> Fixture {
    let server = Server::start(Options::new());
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let id = owner.create_conversation(&workspace, "t", &["ann", "ben"]);
    let [mut ann, ben, outsider] = ["ann", "ben", "outsider"].map(|id| User::new(&server, id));
    ann.post_message(&id, "the first");
    Fixture { _server: server, owner, ann, ben, outsider, id }
}

#[test]
fn a_conversation_is_created_used_and_deleted() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    assert_eq!(user.get("/conversations").expect(200).json(), json!([]));

    let body = json!({"title": "Größe", "initial_message": "hello", "metadata": {"b": 1.50, "a": null}});
    let response = user.post("/conversations", body).expect(200);
    let made = response.json();
    assert_conversation(&made, "Größe", 1);
    assert_eq!(made["participant_ids"], json!(["u"]));
    assert_message(&made["messages"][0], "u", "user", "hello");
    assert!(response.text().contains(r#""metadata":{"a":null,"b":1.5}"#), "{}", response.shown());
    let id = text(&made["id"]);
    let path = format!("/conversations/{id}");
    assert_eq!(user.get(&path).expect(200).json(), made, "the same as at creation");

    // Without a workspace, it is created in the default one, like the default conversation.
    let empty = user.post("/conversations", json!({"title": "empty"})).expect(200).json();
    assert_conversation(&empty, "empty", 0);
    assert_eq!((&empty["messages"], &empty["metadata"]), (&json!([]), &json!({})));
    assert_eq!(empty["workspace_id"], made["workspace_id"]);
    user.say("default", "to myself");
    assert_eq!(user.get("/conversations/default").expect(200).json()["workspace_id"], made["workspace_id"]);
    let workspace = user.create_workspace("w");
    let there = user.post("/conversations", json!({"title": "there", "workspace_id": workspace})).expect(200).json();
    assert_eq!(there["workspace_id"], workspace);

    let messages = format!("{path}/messages");
    let body = json!({"content": "Be brief.", "role": "system", "metadata": {"k": 1}});
    let response = user.post(&messages, body).expect(200);
    let system = response.json();
    assert_message(&system, "u", "system", "Be brief.");
    assert_eq!((&system["metadata"], &system["conversation_id"]), (&json!({"k": 1}), &json!(id)));
    assert_eq!(system["timestamp"], system["updated_at"]);
    let assistant_message = user.post(&messages, json!({"content": "Yes.", "role": "assistant"})).expect(200).json();
    assert_message(&assistant_message, "u", "assistant", "Yes.");
    let listed = user.get(&messages).expect(200).json();
    assert_eq!(listed, json!([made["messages"][0], system, assistant_message]));
    let one = format!("{messages}/{}", text(&system["id"]));
    assert_eq!(user.get(&one).expect(200).json(), system);

    let changed = user.put(&one, json!({"content": "Be very brief.", "metadata": {"k": null, "l": 2}})).expect(200);
    let changed = changed.json();
    assert_message(&changed, "u", "system", "Be very brief.");
    assert_eq!((&changed["id"], &changed["metadata"]), (&system["id"], &json!({"l": 2})));
    assert_eq!(changed["timestamp"], system["timestamp"]);
    assert!(changed["updated_at"].as_str() > system["updated_at"].as_str());
    assert_eq!(user.get(&one).expect(200).json(), changed);
    let view = user.get(&path).expect(200).json();
    assert_eq!(view["updated_at"], changed["updated_at"], "a conversation changes with its messages");
    assert_eq!(view["messages"][1], changed);
    // An empty change updates only the time.
    let same = user.put(&one, json!({})).expect(200).json();
    assert_eq!((&same["content"], &same["metadata"]), (&changed["content"], &changed["metadata"]));

    let renamed = user.put(&path, json!({"title": "new", "metadata": {"a": [1], "b": null}})).expect(200).json();
    assert_conversation(&renamed, "new", 3);
    assert_eq!(renamed["metadata"], json!({"a": [1]}));
    assert_eq!(renamed["messages"].as_array().map(Vec::len), Some(3), "as in the response of GET");
    assert_eq!(user.get(&path).expect(200).json(), renamed);
    assert_eq!(user.put(&path, json!({})).expect(200).json()["title"], "new");

    let gone = user.delete(&one).expect(200).json();
    assert_eq!(gone, json!({"status": "message deleted", "success": true}));
    assert_error(&user.get(&one), 404, "not_found");
    assert_error(&user.put(&one, json!({"content": "x"})), 404, "not_found");
    assert_error(&user.delete(&one), 404, "not_found");
    let view = user.get(&path).expect(200).json();
    assert_conversation(&view, "new", 2);
    assert_eq!(view["messages"], json!([made["messages"][0], assistant_message]));
    assert!(view["updated_at"].as_str() > renamed["updated_at"].as_str());

    let gone = user.delete(&path).expect(200).json();
    assert_eq!(gone, json!({"status": "conversation deleted", "success": true}));
    for path in [&path, &messages, &one] {
        assert_error(&user.get(path), 404, "not_found");
    }
    assert_error(&user.post(&messages, json!({"content": "x", "role": "user"})), 404, "not_found");
    assert!(!ids(&user.get("/conversations").expect(200).json()).contains(&id));
}

#[test]
fn reads_carry_the_journal_position_and_writes_their_event_number() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let body = json!({"title": "t", "initial_message": "m"});
    let response = user.post("/conversations", body).expect(200);
    let made = response.json();
    let (id, message) = (text(&made["id"]), text(&made["messages"][0]["id"]));
    let paths = [
        "/conversations".to_owned(),
        "/conversations?include=messages".into(),
        format!("/conversations/{id}"),
        format!("/conversations/{id}/messages"),
        format!("/conversations/{id}/messages/{message}"),
    ];
    let mut last = response.number("X-Event-Id");
    // One write of every kind, and the affected lists and resources read after it.
    let writes = [
        ("POST", format!("/conversations/{id}/messages"), json!({"content": "x", "role": "user"})),
        ("PUT", format!("/conversations/{id}/messages/{message}"), json!({"content": "y"})),
        ("PUT", format!("/conversations/{id}"), json!({"title": "new"})),
        ("DELETE", format!("/conversations/{id}/messages/{}", user.post_message(&id, "fleeting")), json!({})),
        ("POST", "/conversations".into(), json!({"title": "another"})),
    ];
    for (method, path, body) in writes {
        let number = user.request(method, &path).json(&body).send().expect(200).number("X-Event-Id");
        assert!(number > last, "numbers increase: {method} {path}");
        last = number;
        for path in &paths {
            let shown = user.get(path).expect(200);
            assert_eq!(shown.number("X-Last-Event-Id"), number, "{path}");
            assert_eq!(shown.header("X-Truncated"), None, "{path}");
            let head = user.request("HEAD", path).send().expect(200);
            assert_eq!(head.number("Content-Length"), shown.body.len() as u64, "{path}");
            assert_eq!(head.number("X-Last-Event-Id"), number, "{path}");
        }
    }
    assert_eq!(user.get("/conversations").number("X-Total-Count"), 2);
    let mut rejected = user.request("PATCH", &paths[4]).send();
    assert_error(&rejected, 405, "method_not_allowed");
    assert!(rejected.lists("Allow", "PUT") && rejected.lists("Allow", "DELETE") && !rejected.lists("Allow", "POST"));
    rejected = user.request("DELETE", "/conversations").send();
    assert_error(&rejected, 405, "method_not_allowed");
}

/// The statuses of a request by the owner, the sender, another participant and an outsider.
const ACCESS: [(&str, &str, &str, [u16; 4]); 15] = [
    ("GET", "", "", [200, 200, 200, 404]),
    ("PUT", "", r#"{"title":"new"}"#, [200, 200, 200, 404]),
    ("PUT", "", r#"{"metadata":{"responder":"none"}}"#, [200, 403, 403, 404]),
    ("DELETE", "", "", [200, 403, 403, 404]),
    ("GET", "/messages", "", [200, 200, 200, 404]),
    ("GET", "/messages?after=MESSAGE", "", [200, 200, 200, 404]),
    ("POST", "/messages", r#"{"content":"x","role":"user"}"#, [200, 200, 200, 404]),
    ("POST", "/messages", r#"{"content":"x","role":"assistant"}"#, [200, 403, 403, 404]),
    ("POST", "/messages", r#"{"content":"x","role":"system"}"#, [200, 403, 403, 404]),
    ("GET", "/messages/MESSAGE", "", [200, 200, 200, 404]),
    ("PUT", "/messages/MESSAGE", r#"{"content":"new"}"#, [200, 200, 403, 404]),
    ("PUT", "/messages/MESSAGE", r#"{"metadata":{"k":1}}"#, [200, 200, 403, 404]),
    ("DELETE", "/messages/MESSAGE", "", [200, 200, 403, 404]),
    ("PUT", "/messages/OWNERS", r#"{"content":"new"}"#, [200, 403, 403, 404]),
    ("DELETE", "/messages/OWNERS", "", [200, 403, 403, 404]),
];

#[test]
fn permissions_depend_on_the_role() {
    let Fixture { _server, mut owner, mut ann, mut ben, mut outsider, .. } = fixture();
    let workspace = owner.create_workspace("another");
    for (method, path, body, expected) in ACCESS {
        for (sandbox, status) in expected.into_iter().enumerate() {
            // Each gets its own conversation, since some requests delete it.
            let id = owner.create_conversation(&workspace, "t", &["ann", "ben"]);
            let (message, owners) = (ann.post_message(&id, "from ann"), owner.post_message(&id, "from the owner"));
            let before = owner.get(&format!("/conversations/{id}")).expect(200).json();
            let path = format!("/conversations/{id}{path}").replace("MESSAGE", &message).replace("OWNERS", &owners);
            let user = &mut *[&mut owner, &mut ann, &mut ben, &mut outsider][sandbox];
            let request = user.request(method, &path);
            let response = if body.is_empty() { request } else { request.body("application/json", body) }.send();
            let shown = format!("{method} {path} {body} by {}: {}", user.id, response.shown());
            assert_eq!(response.status, status, "{shown}");
            match status {
                403 => drop(assert_error(&response, 403, "forbidden")),
                404 => {
                    // An outsider cannot tell an existing resource from a missing one.
                    let nothing = path.replace(&id, UNKNOWN_ID);
                    let request = user.request(method, &nothing);
                    let other = if body.is_empty() { request } else { request.body("application/json", body) }.send();
                    assert_error(&response, 404, "not_found");
                    assert_eq!(response.text(), other.text());
                }
                _ => {}
            }
            let after = owner.get(&format!("/conversations/{id}"));
            let changes = method != "GET" && status == 200;
            assert_eq!(after.status != 200 || after.json() != before, changes, "{shown}");
        }
    }
}

#[test]
fn a_sender_who_left_cannot_read() {
    let Fixture { _server, mut owner, mut ann, id, .. } = fixture();
    let path = format!("/conversations/{id}/messages/{}", ann.post_message(&id, "mine"));
    ann.post(&format!("/config/conversation/{id}/leave"), json!({})).expect(200);
    for response in [ann.get(&path), ann.put(&path, json!({"content": "x"})), ann.delete(&path)] {
        assert_error(&response, 404, "not_found");
    }
    assert!(ids(&ann.get("/conversations").expect(200).json()).is_empty());
    let shown = owner.get(&path).expect(200).json();
    assert_message(&shown, "ann", "user", "mine");
    // An owner who does not take part still sees the conversation.
    owner.post(&format!("/config/conversation/{id}/leave"), json!({})).expect(200);
    assert_eq!(ids(&owner.get("/conversations").expect(200).json()), [id]);
    owner.put(&path, json!({"content": "edited"})).expect(200);
}

#[test]
fn only_the_owner_of_a_workspace_creates_conversations() {
    let Fixture { _server, mut owner, mut ann, .. } = fixture();
    let workspace = owner.create_workspace("w");
    let body = |workspace: &str| json!({"title": "t", "workspace_id": workspace});
    owner.post("/conversations", body(&workspace)).expect(200);
    assert_error(&ann.post("/conversations", body(&workspace)), 403, "forbidden");
    for nowhere in [UNKNOWN_ID, "default", ""] {
        assert_error(&owner.post("/conversations", body(nowhere)), 404, "not_found");
    }
    assert_invalid(&owner.post("/conversations", json!({"title": "t", "workspace_id": 7})), &["workspace_id"]);
    owner.post("/conversations", json!({"title": "t", "workspace_id": null})).expect(200);
}

#[test]
fn unknown_ids_are_not_found() {
    let Fixture { _server, mut owner, mut ann, id, .. } = fixture();
    let other = owner.start_conversation("another");
    let (here, there) = (ann.post_message(&id, "here"), owner.post_message(&other, "there"));
    let workspace = owner.create_workspace("w");
    for (conversation, message) in [
        (id.as_str(), there.as_str()),
        (&other, &here),
        (&id, &other),
        (&id, &id),
        (&id, UNKNOWN_ID),
        (&id, "default"),
        (&id, "x"),
        (&here, &here),
        (&workspace, &here),
        (UNKNOWN_ID, &here),
        ("x", &here),
        (&format!("{id}x"), &here),
    ] {
        let path = format!("/conversations/{conversation}/messages/{message}");
        let responses: [Response; 3] =
            [owner.get(&path), owner.put(&path, json!({"content": "x"})), owner.delete(&path)];
        for response in responses {
            assert_error(&response, 404, "not_found");
        }
    }
    // UUIDs are accepted in either case.
    owner.get(&format!("/conversations/{}/messages/{}", id.to_uppercase(), here.to_uppercase())).expect(200);
}

#[test]
fn default_names_the_conversation_of_the_caller() {
    let server = Server::start(Options::new());
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    // It does not exist before the first message.
    assert_error(&ann.get("/conversations/default"), 404, "not_found");
    assert_error(&ann.get("/conversations/default/messages"), 404, "not_found");
    assert_error(&ann.put("/conversations/default", json!({"title": "x"})), 404, "not_found");
    let message = ann.post_message("default", "to myself");
    let view = ann.get("/conversations/default").expect(200).json();
    assert_conversation(&view, "Default", 1);
    assert_uuid(&view["id"]);
    assert_eq!(view["messages"][0]["conversation_id"], view["id"]);
    let path = format!("/conversations/default/messages/{message}");
    assert_eq!(ann.put(&path, json!({"content": "changed"})).expect(200).json()["content"], "changed");
    assert_error(&ben.get(&path), 404, "not_found");
    ben.post_message("default", "to ben");
    assert_error(&ben.get(&path), 404, "not_found");
    assert_eq!(ann.put("/conversations/default", json!({"title": "Mine"})).expect(200).json()["title"], "Mine");
    ann.delete(&path).expect(200);
    ann.delete("/conversations/default").expect(200);
    assert_error(&ann.get("/conversations/default"), 404, "not_found");
    ann.post_message("default", "a new one");
    let new = ann.get("/conversations/default").expect(200).json();
    assert!(new["id"] != view["id"] && new["title"] == "Default", "{new}");
}

#[test]
fn bodies_are_validated() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let id = user.start_conversation("t");
    let path = format!("/conversations/{id}");
    let content_rows = |field: &'static str| {
        let bad: &'static [&'static str] = match field {
            "content" => &["content"],
            "initial_message" => &["initial_message"],
            other => panic!("no rule for {other}"),
        };
        vec![
            (field, Some(json!("")), bad),
            (field, Some(json!(7)), bad),
            (field, Some(json!(["x"])), bad),
            (field, Some(json!(" \t\r\n\u{a0}\u{2003}\u{3000}")), bad),
            (field, Some(json!("x".repeat(1024 * 1024 + 1))), bad),
            (field, Some(json!("é".repeat(512 * 1024 + 1))), bad),
            (field, Some(json!("🦀".repeat(256 * 1024 + 1))), bad),
            (field, Some(json!("x".repeat(2 * 1024 * 1024 - 1000))), bad),
            (field, Some(json!("x".repeat(8000))), &[][..]),
            (field, Some(json!("é".repeat(8000))), &[]),
            (field, Some(json!("🦀".repeat(8000))), &[]),
            (field, Some(json!(" x ")), &[]),
            (field, Some(json!("\u{0}")), &[]),
        ]
    };

    let mut rows = text_rows("title", 200);
    rows.extend(metadata_rows());
    let mut create = rows.clone();
    create.extend(content_rows("initial_message"));
    for value in [None, Some(json!(null))] {
        create.extend([("title", value.clone(), &["title"][..]), ("initial_message", value.clone(), &[])]);
        rows.push(("title", value, &[]));
    }
    let good = json!({"title": "t", "initial_message": "m", "metadata": {}});
    check(&good, &create, |body| user.post("/conversations", body));
    check(&json!({"title": "t", "metadata": {}}), &rows, |body| user.put(&path, body));

    let messages = format!("{path}/messages");
    let mut rows = content_rows("content");
    rows.extend(metadata_rows());
    let mut post = rows.clone();
    for value in [None, Some(json!(null))] {
        post.extend([("content", value.clone(), &["content"][..]), ("role", value.clone(), &[][..])]);
        rows.push(("content", value, &[]));
    }
    for role in ["user", "assistant", "system"] {
        post.push(("role", Some(json!(role)), &[]));
    }
    for role in [json!("User"), json!("tool"), json!(""), json!(1), json!(["user"])] {
        post.push(("role", Some(role), &["role"]));
    }
    check(&json!({"content": "x", "role": "user", "metadata": {}}), &post, |body| user.post(&messages, body));
    let one = format!("{messages}/{}", user.post_message(&id, "x"));
    check(&json!({"content": "x", "metadata": {}}), &rows, |body| user.put(&one, body));

    // All invalid fields are reported together.
    let all_bad =
        json!({"title": "", "initial_message": " ", "workspace_id": 1, "content": "", "role": 1, "metadata": 1});
    let create = ["title", "initial_message", "workspace_id", "metadata"];
    assert_invalid(&user.post("/conversations", all_bad.clone()), &create);
    assert_invalid(&user.put(&path, all_bad.clone()), &["title", "metadata"]);
    assert_invalid(&user.post(&messages, all_bad.clone()), &["content", "role", "metadata"]);
    assert_invalid(&user.put(&one, all_bad), &["content", "metadata"]);
    // Merging may not exceed the bound of metadata.
    let one = format!("{messages}/{}", user.post_message(&id, "x"));
    user.put(&one, json!({"metadata": {"a": "x".repeat(40_000)}})).expect(200);
    assert_invalid(&user.put(&one, json!({"metadata": {"b": "x".repeat(40_000)}})), &["metadata"]);
    let form = user.request("POST", &messages).body("text/plain", "hello").send();
    assert_error(&form, 415, "unsupported_media_type");
    assert_error(&user.request("PUT", &one).body("application/json", "{").send(), 400, "bad_request");
}

#[test]
fn metadata_comes_back_as_it_was_sent() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let metadata = r#"{"z":1.50e+03,"i":123456789012345678901234567890,"é":"\u00e9","a":{}}"#;
    let body = format!(r#"{{"title":"t","metadata":{}}}"#, metadata.replace(':', " :\n "));
    let made = user.request("POST", "/conversations").body("application/json", body).send().expect(200);
    let id = text(&made.json()["id"]);
    let body = format!(r#"{{"content":"x","role":"user","metadata":{metadata}}}"#);
    let messages = format!("/conversations/{id}/messages");
    let posted = user.request("POST", &messages).body("application/json", body).send().expect(200);
    let one = format!("{messages}/{}", text(&posted.json()["id"]));
    let changed = user.put(&one, json!({"content": "y"})).expect(200);
    let shown = [user.get(&format!("/conversations/{id}")), user.get(&messages), user.get(&one)];
    for response in [made, posted, changed].into_iter().chain(shown) {
        assert!(response.text().contains(&format!(r#""metadata":{metadata}"#)), "{}", response.shown());
    }
}

#[test]
fn both_apis_show_the_same_conversations() {
    let Fixture { _server, mut owner, mut ann, id, .. } = fixture();
    let view = owner.get(&format!("/conversations/{id}")).expect(200).json();
    let shown = owner.conversation(&id);
    for (api_field, field) in
        [("id", "id"), ("title", "topic"), ("workspace_id", "workspace_id"), ("participant_ids", "participant_ids")]
    {
        assert_eq!(view[api_field], shown[field]);
    }
    owner.say(&id, "by the other door");
    let listed = ann.get(&format!("/conversations/{id}/messages")).expect(200).json();
    assert_message(&listed[1], "owner", "user", "by the other door");

    ann.put(&format!("/conversations/{id}"), json!({"title": "by a chat", "metadata": {"k": 1}})).expect(200);
    let shown = owner.conversation(&id);
    assert_eq!((&shown["topic"], &shown["metadata"]), (&json!("by a chat"), &json!({"k": 1})));
    owner
        .put(&format!("/config/conversation/{id}"), json!({"topic": "by config", "participant_ids": ["ann"]}))
        .expect(200);
    let view = ann.get(&format!("/conversations/{id}")).expect(200).json();
    assert_eq!((&view["title"], &view["participant_ids"]), (&json!("by config"), &json!(["ann", "owner"])));

    let workspace = text(&view["workspace_id"]);
    let made = owner.post("/conversations", json!({"title": "a chat", "workspace_id": workspace})).expect(200).json();
    assert!(owner.conversation_ids(&workspace).contains(&text(&made["id"])));
    owner.delete(&format!("/config/workspace/{workspace}")).expect(200);
    assert_error(&ann.get(&format!("/conversations/{id}")), 404, "not_found");
    assert_eq!(owner.get("/conversations").expect(200).json(), json!([]));
}

#[test]
fn sender_names_are_those_of_the_latest_tokens() {
    let Fixture { _server, mut owner, mut ann, mut ben, id, .. } = fixture();
    ben.post_message(&id, "from ben");
    let listed = owner.get(&format!("/conversations/{id}/messages")).expect(200).json();
    assert_eq!(listed[0]["sender_name"], "Name of ann");
    assert_eq!(listed[1]["sender_name"], "Name of ben");
    use crate::common::token::{now, token_with};
    let renamed = token_with(json!({"oid": "ann", "name": "Ann B.", "exp": now() + 3600}));
    ann.token = renamed;
    let path = format!("/conversations/{id}/messages/{}", text(&listed[0]["id"]));
    assert_eq!(ann.put(&path, json!({"content": "me again"})).expect(200).json()["sender_name"], "Ann B.");
    assert_eq!(owner.get(&path).expect(200).json()["sender_name"], "Ann B.");
    let users = owner.get("/users?ids=ann,ben,outsider").expect(200).json();
    let named = json!([{"user_id": "ann", "name": "Ann B."}, {"user_id": "ben", "name": "Name of ben"}]);
    assert_eq!(users["users"], named);
}

//! The error table, row by row: status, code, shape and fields. Sizes, timeouts and rates are in `limits`, bodies and
//! queries in `validation`.

use crate::common::token::{KEY, now, signed, token, token_with};
use crate::common::{Client, Connection, DEADLINE, Options, Server, UNKNOWN_ID, User, assert_error, database};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn every_error_has_its_status_code_and_shape() {
    let server = Server::start(Options::new());
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let (workspace, conversation) =
        (format!("/config/workspace/{workspace}"), format!("/config/conversation/{conversation}"));
    let good = json!({"name": "n", "description": "d"});
    let table: [(&str, &str, Option<Value>, u16, &str); 16] = [
        ("GET", &workspace, None, 403, "forbidden"),
        ("PUT", &workspace, Some(good.clone()), 403, "forbidden"),
        ("DELETE", &workspace, None, 403, "forbidden"),
        ("DELETE", &conversation, None, 403, "forbidden"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("POST", "/nowhere", Some(good.clone()), 404, "not_found"),
        ("GET", "/config", None, 404, "not_found"),
        ("GET", "/config/workspace/", None, 404, "not_found"),
        ("GET", "/config/workspace/not-a-uuid", None, 404, "not_found"),
        ("DELETE", "/config/conversation/not-a-uuid", None, 404, "not_found"),
        ("POST", "/config/conversation/not-a-uuid/leave", Some(json!({})), 404, "not_found"),
        ("DELETE", "/input", None, 405, "method_not_allowed"),
        ("POST", "/output/stream", Some(json!({})), 405, "method_not_allowed"),
        ("PATCH", "/config/workspace", Some(good), 405, "method_not_allowed"),
        ("POST", &workspace, Some(json!({})), 405, "method_not_allowed"),
        ("POST", "/config/workspace", Some(json!({})), 422, "validation_error"),
    ];
    for (method, path, body, status, code) in table {
        let mut request = ann.request(method, path);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send();
        assert_error(&response, status, code);
    }
}

#[test]
fn an_unknown_id_is_not_found() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    // The last one is a well-formed UUID of version 7 that is not in any database.
    for id in [UNKNOWN_ID, "550e8400-e29b-41d4-a716-446655440000", "ffffffff-ffff-7fff-bfff-ffffffffffff"] {
        for path in [format!("/config/workspace/{id}"), format!("/config/conversation/{id}")] {
            assert_error(&user.get(&path), 404, "not_found");
            assert_error(&user.put(&path, json!({})), 404, "not_found");
            assert_error(&user.delete(&path), 404, "not_found");
        }
        assert_error(&user.post(&format!("/config/conversation/{id}/leave"), json!({})), 404, "not_found");
        assert_error(&user.post("/input", json!({"content": "x", "conversation_id": id})), 404, "not_found");
        assert_error(&user.get(&format!("/config/conversation?workspace_id={id}")), 404, "not_found");
    }
    // An id of one kind of resource is not an id of another.
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &[]);
    let message = user.say(&conversation, "m")["message_id"].clone();
    let message = message.as_str().expect("an id");
    for id in [&conversation, message] {
        assert_error(&user.get(&format!("/config/workspace/{id}")), 404, "not_found");
    }
    for id in [&workspace, message] {
        assert_error(&user.get(&format!("/config/conversation/{id}")), 404, "not_found");
    }
}

#[test]
fn ids_are_accepted_in_either_case_and_written_in_lower_case() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let shown = user.get(&format!("/config/workspace/{}", workspace.to_uppercase())).expect(200).json();
    assert_eq!(shown["workspace"]["id"].as_str(), Some(workspace.as_str()));
}

#[test]
fn invalid_json_is_a_bad_request_with_its_position() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let table: [(&str, &[u8]); 10] = [
        ("cut off", b"{\"content\": \"x\""),
        ("a comma too many", b"{\"content\": \"x\",}"),
        ("no quotes", b"{content: 1}"),
        ("two values", b"{\"content\": \"x\"} {}"),
        ("a control character in a string", b"{\"content\": \"a\nb\"}"),
        ("not UTF-8", b"{\"content\": \"\xff\"}"),
        ("half a surrogate pair", b"{\"content\": \"\\ud800\"}"),
        ("a leading zero", b"{\"content\": \"x\", \"metadata\": {\"n\": 01}}"),
        ("a word", b"nonsense"),
        ("a byte order mark", b"\xef\xbb\xbf{\"content\": \"x\"}"),
    ];
    for (name, body) in table {
        let response = user.request("POST", "/input").body("application/json", body).send();
        assert_eq!(response.status, 400, "{name}: {}", response.shown());
        let error = assert_error(&response, 400, "bad_request");
        let message = error["message"].as_str().expect("checked").to_owned();
        assert!(message.contains(|c: char| c.is_ascii_digit()), "{name}: the position is given: {message}");
    }
    let nothing = user.request("POST", "/input").body("application/json", "").send();
    assert_error(&nothing, 400, "bad_request");
    user.say("default", "and the connection goes on");
}

#[test]
fn requests_against_the_state_are_conflicts() {
    let server = Server::start(Options::new());
    let (mut user, mut other) = (User::new(&server, "u"), User::new(&server, "other"));
    let workspace = user.create_workspace("w");
    let leave = format!("/config/conversation/{}/leave", user.create_conversation(&workspace, "t", &[]));
    user.post(&leave, json!({})).expect(200);
    assert_error(&user.post(&leave, json!({})), 409, "conflict");

    let mut stream = user.stream();
    let id = stream.established.data["stream_id"].as_str().expect("an id").to_owned();
    let renew = format!("/output/streams/{id}/renew");
    user.post(&renew, json!({})).expect(200);
    // Another user's stream is indistinguishable from a missing one.
    let foreign = other.post(&renew, json!({}));
    assert!(matches!(foreign.status, 404 | 409), "{}", foreign.shown());
    user.say("default", "the stream is open");
    stream.next_of("input");
    drop(stream);
    let end = Instant::now() + DEADLINE;
    let mut ended = user.post(&renew, json!({}));
    // The server detects the disconnect when it reads the socket.
    while ended.status == 200 {
        assert!(Instant::now() < end, "a closed stream can still be renewed");
        thread::sleep(Duration::from_millis(10));
        ended = user.post(&renew, json!({}));
    }
    let error = assert_error(&ended, 409, "conflict");
    assert_eq!(error, foreign.json()["error"]);
}

#[test]
fn a_wrong_method_gets_the_allowed_methods() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let id = user.create_workspace("w");
    let table: [(&str, &[&str]); 10] = [
        ("/", &["GET", "HEAD", "OPTIONS"]),
        ("/input", &["POST", "OPTIONS"]),
        ("/output/stream", &["GET", "HEAD", "OPTIONS"]),
        ("/auth/login", &["POST", "OPTIONS"]),
        ("/auth/verify", &["GET", "HEAD", "OPTIONS"]),
        ("/auth/refresh", &["POST", "OPTIONS"]),
        ("/auth/password", &["POST", "OPTIONS"]),
        ("/users", &["GET", "HEAD", "OPTIONS"]),
        ("/config/workspace", &["GET", "HEAD", "POST", "OPTIONS"]),
        (&format!("/config/workspace/{id}"), &["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]),
    ];
    for (path, methods) in table {
        let response = user.request("BREW", path).send();
        assert_error(&response, 405, "method_not_allowed");
        let mut allowed: Vec<&str> = response.header("Allow").expect("checked").split(',').map(str::trim).collect();
        let mut expected = methods.to_vec();
        allowed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(allowed, expected, "{path}");
    }
}

#[test]
fn invalid_tokens_are_unauthorized() {
    let server = Server::start(Options::new());
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let claims = json!({"oid": "u", "exp": now() + 3600});
    let good = signed(&header, &claims, KEY);
    let (input, signature) = good.rsplit_once('.').expect("three parts");
    let table = [
        ("no token at all", String::new()),
        ("one word", "nonsense".into()),
        ("three words", "a.b.c".into()),
        ("another key", signed(&header, &claims, "another-key-of-the-same-length-0123456789abc")),
        (
            "no algorithm",
            format!("{}.", signed(&json!({"alg": "none"}), &claims, KEY).rsplit_once('.').expect("parts").0),
        ),
        ("a signed `none`", signed(&json!({"alg": "none"}), &claims, KEY)),
        ("another algorithm", signed(&json!({"alg": "HS512"}), &claims, KEY)),
        ("the signature cut off", format!("{input}.")),
        ("two parts", input.to_owned()),
        ("padding", format!("{good}=")),
        ("a fourth part", format!("{good}.{signature}")),
        ("expired", token_with(json!({"oid": "u", "exp": now() - 60}))),
        ("not good yet", token_with(json!({"oid": "u", "exp": now() + 3600, "nbf": now() + 600}))),
        ("no end", token_with(json!({"oid": "u"}))),
        ("an end that is text", token_with(json!({"oid": "u", "exp": "tomorrow"}))),
        ("no user", token_with(json!({"exp": now() + 3600}))),
        ("an empty user", token_with(json!({"oid": "", "exp": now() + 3600}))),
        ("a user that is a number", token_with(json!({"oid": 7, "exp": now() + 3600}))),
        ("a user id of 256 characters", token_with(json!({"oid": "x".repeat(256), "exp": now() + 3600}))),
        ("a responder", token_with(json!({"oid": "responder:echo", "exp": now() + 3600}))),
        ("over 8 KiB", token_with(json!({"oid": "u", "exp": now() + 3600, "x": "x".repeat(9000)}))),
    ];
    let mut client = Client::new(server.addr);
    for (name, token) in &table {
        let response = client.request("GET", "/auth/verify").token(token).send();
        assert_eq!(response.status, 401, "{name}: {}", response.shown());
        assert_error(&response, 401, "unauthorized");
        let challenge = response.header("WWW-Authenticate").expect("checked");
        assert!(token.is_empty() || challenge.contains(r#"error="invalid_token""#), "{name}: {challenge}");
    }
    client.request("GET", "/auth/verify").token(&good).send().expect(200);
    let within_leeway = token_with(json!({"oid": "u", "exp": now() - 10, "nbf": now() + 10}));
    client.request("GET", "/auth/verify").token(&within_leeway).send().expect(200);
}

#[test]
fn a_request_without_a_token_gets_a_plain_challenge() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let table = [
        ("GET", "/auth/verify"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/password"),
        ("POST", "/input"),
        ("GET", "/output/stream"),
        ("GET", "/config/workspace"),
        ("POST", "/config/workspace"),
        ("GET", "/config/conversation"),
        ("GET", "/users?ids=a"),
        ("GET", "/config/workspace/not-a-uuid"),
    ];
    for (method, path) in table {
        let response = client.request(method, path).send();
        assert_error(&response, 401, "unauthorized");
        assert_eq!(response.header("WWW-Authenticate"), Some("Bearer"), "no token was sent: {method} {path}");
    }
    let good = token("u");
    for (name, value) in [("another scheme", format!("Basic {good}")), ("no scheme", good.clone())] {
        let response = client.request("GET", "/auth/verify").header("Authorization", &value).send();
        assert_eq!(response.status, 401, "{name}");
        assert_error(&response, 401, "unauthorized");
    }
    // RFC 9110 §11.1: the scheme's name is case-insensitive.
    client.request("GET", "/auth/verify").header("Authorization", &format!("bEARER {good}")).send().expect(200);
}

#[test]
fn request_bodies_need_a_known_type() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let body = r#"{"content":"x"}"#;
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/xml"] {
        let response = user.request("POST", "/input").body(media_type, body).send();
        assert_error(&response, 415, "unsupported_media_type");
    }
    let login =
        Client::new(server.addr).request("POST", "/auth/login").body("text/plain", "username=a&password=b").send();
    assert_error(&login, 415, "unsupported_media_type");
    for media_type in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        user.request("POST", "/input").body(media_type, body).send().expect(200);
    }
}

#[test]
fn a_valid_request_id_of_the_client_is_echoed() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let longest = "x".repeat(128);
    for good in ["a", "A-Z_a.z:0-9", "00000000-0000-0000-0000-000000000000", &longest] {
        let response = user.request("GET", "/auth/verify").header("X-Request-Id", good).send();
        assert_eq!(response.header("X-Request-Id"), Some(good));
        let response = user.request("GET", "/nowhere").header("X-Request-Id", good).send();
        assert_eq!(response.header("X-Request-Id"), Some(good), "errors have it too");
    }
    let mut made = HashSet::new();
    let too_long = "x".repeat(129);
    for bad in ["", "two words", "a/b", "a;b", "\"a\"", "(a)", "é", &too_long] {
        let response = user.request("GET", "/auth/verify").header("X-Request-Id", bad).send().expect(200);
        let id = response.header("X-Request-Id").expect("every response has one");
        assert_ne!(id, bad);
        assert!(made.insert(id.to_owned()), "ids are unique");
    }
    assert!(made.insert(user.get("/").header("X-Request-Id").expect("every response has one").to_owned()));
}

#[test]
fn an_unknown_host_is_a_bad_request() {
    let server = Server::start(Options::new());
    for (host, served) in [
        ("localhost", true),
        ("LOCALHOST:80", true),
        ("127.0.0.1:8000", true),
        ("[::1]:8000", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.2", false),
    ] {
        let mut connection = Connection::open(server.addr);
        connection.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = connection.response("GET");
        if served {
            response.expect(200);
        } else {
            assert_error(&response, 400, "bad_request");
        }
    }
}

#[test]
fn a_database_failure_is_an_error_without_internals() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    database::execute(&server.database(), "ALTER TABLE messages RENAME TO elsewhere");
    let response = user.post("/input", json!({"content": "during"}));
    assert_error(&response, 500, "database_error");
    let body = response.text().to_lowercase();
    for internal in ["sql", "table", "messages", "elsewhere", ".rs", "cortex.db", "panick"] {
        assert!(!body.contains(internal), "{internal} in {body}");
    }
    user.get("/").expect(200);
    database::execute(&server.database(), "ALTER TABLE elsewhere RENAME TO messages");
    user.say("default", "after");
    let contents = database::sound_message_contents(&server.database());
    assert_eq!(contents, ["before", "after"], "rejected requests have no effect");
}

#[test]
fn a_busy_database_is_temporarily_unavailable() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    let lock = database::Lock::take(&server.database());
    assert_error(&user.post("/input", json!({"content": "during"})), 503, "service_unavailable");
    user.get("/config/workspace").expect(200);
    drop(lock);
    user.say("default", "after");
    assert_eq!(database::sound_message_contents(&server.database()), ["before", "after"]);
}

/// The error names the content coding, not a JSON syntax error in compressed bytes.
#[test]
fn a_compressed_body_is_rejected_for_its_content_coding() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut send = |coding: &str| {
        let request = user.request("POST", "/input").header("Content-Encoding", coding);
        request.json(&json!({"content": "x"})).send()
    };
    for coding in ["gzip", "BR", "identity, gzip"] {
        let response = send(coding);
        assert_error(&response, 415, "unsupported_media_type");
        assert_eq!(response.header("Accept-Encoding"), Some("identity"));
    }
    send("identity").expect(200);
}

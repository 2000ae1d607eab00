//! A tour of the API: log in, create a workspace and a conversation, post a message, and read it on the stream.

use crate::common::token::token;
use crate::common::user::text;
use crate::common::{Client, Connection, Options, Server, User, assert_error, assert_time, assert_uuid};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

#[test]
fn the_root_reports_status_online() {
    let server = Server::start(Options::new());
    let response = Client::new(server.addr).request("GET", "/").send().expect(200);
    assert_eq!(response.json(), json!({"status": "online", "service": "Cortex Core"}));
}

#[test]
fn the_token_of_a_login_verifies() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let form = "username=user@example.com&password=password123";
    let response =
        client.request("POST", "/auth/login").body("application/x-www-form-urlencoded", form).send().expect(200);
    let body = response.json();
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 24 * 3600);
    let claims =
        json!({"oid": "550e8400-e29b-41d4-a716-446655440000", "name": "Test User", "email": "user@example.com"});
    assert_eq!(body["claims"], claims);

    let token = text(&body["access_token"]);
    let verified = client.request("GET", "/auth/verify").token(&token).send().expect(200).json();
    let expected =
        json!({"user_id": "550e8400-e29b-41d4-a716-446655440000", "name": "Test User", "email": "user@example.com"});
    assert_eq!(verified, expected);
}

#[test]
fn a_wrong_login_is_unauthorized() {
    let server = Server::start(Options::new());
    let form = "username=wrong@example.com&password=wrong";
    let request =
        Client::new(server.addr).request("POST", "/auth/login").body("application/x-www-form-urlencoded", form).send();
    assert_eq!(assert_error(&request, 401, "unauthorized")["message"], "Invalid credentials");
}

#[test]
fn a_token_signed_with_the_shared_secret_is_accepted() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "test-user");
    let expected = json!({"user_id": "test-user", "name": "Name of test-user", "email": "test-user@example.com"});
    assert_eq!(user.get("/auth/verify").expect(200).json(), expected);
}

#[test]
fn input_is_received_and_echoed() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "test-user");
    let response = user.post("/input", json!({"content": "Test message", "metadata": {"k": [1, "two"]}})).expect(200);
    let body = response.json();
    assert_eq!(body["status"], "received");
    let data = &body["data"];
    assert_eq!(data["content"], "Test message");
    assert_eq!(data["conversation_id"], "default");
    assert_eq!(data["metadata"], json!({"k": [1, "two"]}));
    assert_time(&data["timestamp"]);
    assert_uuid(&data["message_id"]);
    assert!(response.number("X-Event-Id") > 0);
    assert_eq!(user.say("default", "and by its name")["conversation_id"], "default");
}

#[test]
fn workspaces_and_conversations_are_created_and_listed() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "test-user");
    let body = json!({"name": "Test Workspace", "description": "Test Description", "metadata": {}});
    let made = user.post("/config/workspace", body).expect(200).json();
    assert_eq!(made["status"], "workspace created");
    let workspace = text(&made["workspace"]["id"]);
    assert_uuid(&made["workspace"]["id"]);
    let expected = json!({
        "id": workspace, "name": "Test Workspace", "description": "Test Description", "owner_id": "test-user", "metadata": {},
    });
    assert_eq!(made["workspace"], expected);

    let listed = user.get("/config/workspace").expect(200).json();
    assert_eq!(listed, json!({"workspaces": [expected], "total": 1}));

    let body = json!({"workspace_id": workspace, "topic": "Test Conversation", "metadata": {}});
    let made = user.post("/config/conversation", body).expect(200).json();
    assert_eq!(made["status"], "conversation created");
    assert_uuid(&made["conversation"]["id"]);
    let expected = json!({
        "id": made["conversation"]["id"], "workspace_id": workspace, "topic": "Test Conversation",
        "participant_ids": ["test-user"], "metadata": {},
    });
    assert_eq!(made["conversation"], expected);

    let listed = user.get(&format!("/config/conversation?workspace_id={workspace}")).expect(200).json();
    assert_eq!(listed, json!({"conversations": [expected], "total": 1}));
}

/// A closed stream does not disturb the others.
#[test]
fn subscribers_receive_events_until_they_disconnect() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "test-user");
    let (mut staying, leaving) = (user.stream(), user.stream());
    user.say("default", "hello");
    assert_eq!(staying.next_of("input").content(), "hello");
    drop(leaving);
    for round in 0..20 {
        user.say("default", &format!("world {round}"));
        assert_eq!(staying.next_of("input").content(), format!("world {round}"));
    }
}

#[test]
fn a_posted_input_arrives_on_the_stream() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let form = "username=user@example.com&password=password123";
    let login =
        client.request("POST", "/auth/login").body("application/x-www-form-urlencoded", form).send().expect(200);
    let token = text(&login.json()["access_token"]);
    let mut user = User::with_token(&server, "550e8400-e29b-41d4-a716-446655440000", &token);

    let body = json!({"name": "Test Workspace", "description": "Test Workspace Description", "metadata": {}});
    let workspace = text(&user.post("/config/workspace", body).expect(200).json()["workspace"]["id"]);
    let body = json!({"workspace_id": workspace, "topic": "Test Conversation", "metadata": {}});
    let conversation = text(&user.post("/config/conversation", body).expect(200).json()["conversation"]["id"]);

    let mut stream = user.stream();
    let established = &stream.established;
    assert_eq!(established.data["user_id"], user.id);
    assert_time(&established.data["timestamp"]);
    assert_eq!(established.data["last_event_id"], established.number());
    for name in ["epoch", "stream_id"] {
        assert!(established.data[name].as_str().is_some_and(|value| !value.is_empty()), "{name}: {established:?}");
    }
    assert_eq!(stream.retries(), [3000]);

    let body = json!({"content": "Hello, Cortex!", "conversation_id": conversation, "metadata": {"mood": "bright"}});
    let response = user.request("POST", "/input").header("X-Request-Id", "the-flow.1").json(&body).send().expect(200);
    let sent = response.json()["data"].clone();
    let event = stream.next_of("input");
    assert_eq!(event.number(), response.number("X-Event-Id"));
    assert_eq!(event.name, None, "events are unnamed, so that onmessage sees them");
    assert_eq!(event.data_lines, 1);
    assert_eq!(event.data["user_id"], user.id);
    assert_eq!(event.data["metadata"], json!({"mood": "bright"}));
    assert_eq!(event.data["correlation_id"], "the-flow.1");
    assert_eq!(event.data["timestamp"], sent["timestamp"]);
    let expected = json!({
        "content": "Hello, Cortex!", "conversation_id": conversation, "timestamp": sent["timestamp"],
        "message_id": sent["message_id"], "role": "user", "sender_name": "Test User",
    });
    assert_eq!(event.data["data"], expected);
}

/// A minimal client reads lines and takes those that begin with `data: `.
#[test]
fn every_data_line_is_json() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "old-client");
    let mut socket = TcpStream::connect(server.addr).expect("the server accepts");
    socket.set_read_timeout(Some(crate::common::DEADLINE)).expect("the socket is open");
    let request = format!(
        "GET /output/stream HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        server.addr,
        token("old-client")
    );
    socket.write_all(request.as_bytes()).expect("the server takes the request");
    let mut events = BufReader::new(socket)
        .lines()
        .map(|line| line.expect("a line"))
        .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
        .map(|data| serde_json::from_str::<Value>(&data).expect("one event in one line"));
    assert_eq!(events.next().expect("a first event")["type"], "connection_established");
    user.say("default", "line\nbreaks \u{2028} stay\r\ninside");
    let input = events.find(|event| event["type"] == "input").expect("the input comes");
    assert_eq!(input["data"]["content"], "line\nbreaks \u{2028} stay\r\ninside");
}

/// In a new database, the first message needs no existing resource.
#[test]
fn the_default_conversation_is_created_on_first_use() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "newcomer");
    assert_eq!(user.get("/config/workspace").expect(200).json()["total"], 0);
    user.say("default", "first");
    user.say("default", "second");
    let listed = user.get("/config/workspace").expect(200).json();
    assert_eq!(listed["total"], 1);
    assert_eq!(listed["workspaces"][0]["name"], "Default");
    let workspace = text(&listed["workspaces"][0]["id"]);
    let conversations = user.conversation_ids(&workspace);
    assert_eq!(conversations.len(), 1, "both went to the same conversation");
    assert_eq!(user.conversation("default")["id"].as_str(), Some(conversations[0].as_str()));
}

#[test]
fn a_minimal_http_client_is_served() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    let body = r#"{"content":"by hand"}"#;
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token("by-hand"),
        body.len()
    ));
    assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], "by hand");
}

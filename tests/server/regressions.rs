//! Faults that were found from outside, each shown not to come back.

use crate::common::database::open_beside;
use crate::common::http::Framing;
use crate::common::token::{now, token_with};
use crate::common::{Client, Connection, DEADLINE, Options, Server, Stream, User};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A name in metadata may be an escaped half of a surrogate pair, which is JSON but no text; merging once took it for
/// text, and the writer ended the process.
#[test]
fn metadata_with_a_name_that_is_no_text_can_be_changed() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &[]);
    let metadata = r#"{"metadata":{"\ud800":1,"v":"\udc00"}}"#;
    for path in [format!("/config/workspace/{workspace}"), format!("/config/conversation/{conversation}")] {
        user.request("PUT", &path).body("application/json", metadata).send().expect(200);
        user.put(&path, json!({"metadata": {"x": 2}})).expect(200);
        let remove = r#"{"metadata":{"\uD800":null}}"#;
        let answer = user.request("PUT", &path).body("application/json", remove).send().expect(200);
        assert!(answer.text().contains(r#""metadata":{"v":"\udc00","x":2}"#), "{}", answer.shown());
    }
    Client::new(server.addr).request("GET", "/").send().expect(200);
}

/// Where any origin is allowed, whatever stood in the field once came back in the answer's.
#[test]
fn what_cannot_be_an_origin_is_not_echoed() {
    let server = Server::with(&[("ALLOW_ORIGINS", "*")]);
    for (origin, allowed) in
        [("http://a.example", true), ("http:/\ta", false), ("http://a b", false), ("http://é", false)]
    {
        let mut connection = Connection::open(server.addr);
        connection.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"));
        let answer = connection.response("GET");
        assert_eq!(answer.status, 200, "{origin:?}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), allowed.then_some(origin), "{origin:?}");
    }
}

/// What a stream would do next was once due for ever after its token had ended, and its event loop did nothing else.
#[test]
fn a_stream_whose_token_ends_says_so_and_holds_up_nobody() {
    let server = Server::with(&[("WORKERS", "1")]);
    let token = token_with(json!({"oid": "u", "exp": now() + 2}));
    let mut stream = Stream::open(server.addr, &token, "");
    let kinds: Vec<String> = stream.until_end().iter().map(|event| event.kind().to_owned()).collect();
    assert_eq!(kinds, ["token_expiring", "token_expired"]);
    Client::new(server.addr).request("GET", "/").send().expect(200);
}

/// The same for a stream that has ended and whose reader has not taken all of it.
#[test]
fn an_ended_stream_whose_reader_is_away_holds_up_nobody() {
    let server = Server::with(&[
        ("WORKERS", "1"),
        ("HEARTBEAT_INTERVAL_SECONDS", "0.05"),
        ("STREAM_STALL_TIMEOUT_SECONDS", "3"),
    ]);
    let mut user = User::new(&server, "u");
    let token = token_with(json!({"oid": "u", "exp": now() + 2}));
    let mut connection = Connection::open(server.addr);
    connection.send(format!("GET /output/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"));
    connection.try_head().expect("the stream opens");
    let content = "x".repeat(1024 * 1024);
    for _ in 0..12 {
        user.say("default", &content);
    }
    // The list is empty once the stream was closed, because its reader stayed away.
    let end = Instant::now() + DEADLINE;
    while user.get("/output/streams").expect(200).json()["total"] != 0 {
        assert!(Instant::now() < end, "the stream was not closed");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An owner who leaves a conversation still sees it, but what waited for a slow stream of theirs was dropped.
#[test]
fn an_owner_who_leaves_a_conversation_loses_no_event_of_it() {
    let server = Server::with(&[("STREAM_BUFFER_BYTES", "4096")]);
    let (mut owner, mut other) = (User::new(&server, "owner"), User::new(&server, "other"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["other"]);
    let mut stream = owner.stream();
    // More than the kernel takes off the server's hands for a stream that nobody reads.
    let count = 32;
    let padding = "x".repeat(512 * 1024);
    for n in 0..count {
        other.say(&conversation, &format!("{n} {padding}"));
    }
    owner.post(&format!("/config/conversation/{conversation}/leave"), json!({})).expect(200);
    other.say(&conversation, "the end");
    let inputs: Vec<String> = stream
        .before_message("the end")
        .iter()
        .filter(|event| event.kind() == "input")
        .map(|event| event.content().split(' ').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(inputs, (0..count).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// A stream whose request came slowly was opened with a token that had ended meanwhile, and stayed open.
#[test]
fn a_stream_is_not_opened_with_a_token_that_ended_while_its_request_came() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let credentials = json!({"username": "user@example.com", "password": "password123"});
    let login = client.request("POST", "/auth/login").json(&credentials).send().expect(200).json();
    let token = login["access_token"].as_str().expect("a token");
    let mut connection = Connection::open(server.addr);
    connection.send(format!(
        "GET /output/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 1\r\n\
         Expect: 100-continue\r\n\r\n"
    ));
    connection.expect_continue();
    let change = json!({"current_password": "password123", "new_password": "another password"});
    client.request("POST", "/auth/password").token(token).json(&change).send().expect(200);
    connection.send("x");
    assert_eq!(connection.try_head().expect("an answer").status, 401);
}

/// A connection that had waited for its reader was looked at again only when the reader would have been given up.
#[test]
fn a_connection_whose_reader_was_slow_is_closed_like_any_other_once_it_is_idle() {
    let server = Server::with(&[("KEEP_ALIVE_SECONDS", "1")]);
    let mut user = User::new(&server, "u");
    let metadata = json!({"x": "x".repeat(60 * 1024)});
    for _ in 0..16 {
        user.post("/config/workspace", json!({"name": "w", "description": "d", "metadata": metadata})).expect(200);
    }
    let count = 32;
    let get =
        format!("GET /config/workspace HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", user.token);
    let mut connection = Connection::open(server.addr);
    connection.send(get.repeat(count));
    // Longer than an idle connection is kept: the reader is what is waited for now.
    thread::sleep(Duration::from_millis(1500));
    for _ in 0..count {
        assert_eq!(connection.response("GET").status, 200);
    }
    connection.expect_end();
}

/// A token with an empty email took a password user's email away, and with it the login.
#[test]
fn a_token_without_an_email_takes_nobodys_login_away() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let token = token_with(json!({"oid": id, "name": "Renamed", "email": "", "exp": now() + 60}));
    User::with_token(&server, id, &token).say("default", "x");
    let credentials = json!({"username": "user@example.com", "password": "password123"});
    let login = client.request("POST", "/auth/login").json(&credentials).send().expect(200).json();
    assert_eq!(login["claims"], json!({"oid": id, "name": "Renamed", "email": "user@example.com"}));
}

/// A reader could see a commit before the event loops were told of it, and a stream from the number that it gave was told
/// of a gap.
#[test]
fn a_stream_from_a_number_that_was_just_shown_has_no_gap() {
    let server = Server::start(Options::new());
    let addr = server.addr;
    let mut user = User::new(&server, "u");
    user.say("default", "the first");
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let done = done.clone();
            thread::spawn(move || {
                let mut user = User::at(addr, "u");
                while !done.load(Ordering::Relaxed) {
                    user.say("default", "x");
                }
            })
        })
        .collect();
    for _ in 0..3000 {
        let number = user.get("/config/conversation/default").expect(200).number("X-Last-Event-Id");
        let mut stream = user.stream_with(&format!("last_event_id={number}&types=output"));
        assert_eq!(stream.next().kind(), "caught_up", "after {number}");
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("the writer went well");
    }
}

/// After the grace period, when the writer was waited for, nobody listened for the second signal any more.
#[test]
fn a_second_signal_ends_at_once_also_while_the_writer_is_waited_for() {
    let mut server = Server::with(&[("SHUTDOWN_GRACE_SECONDS", "0"), ("WORKERS", "1")]);
    let user = User::new(&server, "u");
    let database = open_beside(&server.database());
    database.execute_batch("BEGIN IMMEDIATE").expect("the database can be locked");
    let mut connection = Connection::open(server.addr);
    let body = json!({"content": "x"}).to_string();
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        user.token,
        body.len()
    ));
    // What is asked on a second connection is answered after the message was handed to the writer.
    Client::new(server.addr).request("GET", "/").send().expect(200);
    server.process().signal(libc::SIGTERM);
    let end = Instant::now() + DEADLINE;
    while !server.log().contains("the grace period is over") {
        assert!(Instant::now() < end, "the grace period never ends");
        thread::sleep(Duration::from_millis(5));
    }
    server.process().signal(libc::SIGTERM);
    assert_eq!(server.process().wait_exit().code(), Some(128 + libc::SIGTERM));
}

/// A request that came while an answer was still being read was left in the socket, and nobody looked there again.
#[test]
fn a_request_that_comes_while_a_long_answer_is_read_is_answered() {
    let server = Server::with(&[("WORKERS", "1")]);
    let mut user = User::new(&server, "u");
    let metadata = json!({"x": "x".repeat(60 * 1024)});
    for _ in 0..130 {
        user.post("/config/workspace", json!({"name": "w", "description": "d", "metadata": metadata})).expect(200);
    }
    let mut connection = Connection::open(server.addr);
    connection.send(format!(
        "GET /config/workspace?limit=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        user.token
    ));
    let answer = connection.try_head().expect("the answer begins");
    connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // The server has seen the second request, and that there is still too much to write.
    Client::new(server.addr).request("GET", "/").send().expect(200);
    let mut framing = Framing::of(&answer, "GET");
    while connection.try_body_piece(&mut framing).expect("the answer goes on").is_some() {}
    assert_eq!(connection.response("GET").status, 200);
}

/// Anybody may send a login, so its body is small.
#[test]
fn a_login_with_a_large_body_is_refused_from_its_head() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let form = format!("username=user%40example.com&password={}", "x".repeat(16 * 1024));
    let answer = client.request("POST", "/auth/login").body("application/x-www-form-urlencoded", form).send();
    crate::common::assert_error(&answer, 413, "payload_too_large");
}

/// A client in the middle of a large body was once reset before it could read why nobody wanted it.
#[test]
fn the_answer_to_a_large_unwanted_body_can_be_read_after_all_of_it_was_sent() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    let bytes = 8 * 1024 * 1024;
    connection.send(format!("POST /input HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n"));
    for _ in 0..bytes / 65_536 {
        connection.send(" ".repeat(65_536));
    }
    crate::common::assert_error(&connection.response("POST"), 401, "unauthorized");
}

/// Long answers that nobody reads once filled the memory, 8 MiB per connection.
#[test]
fn whoever_asks_and_does_not_read_is_bounded_over_all_connections() {
    let server = Server::with(&[("WORKERS", "1")]);
    let mut user = User::new(&server, "u");
    let filler = "x".repeat(60_000);
    for n in 0..140 {
        let body = json!({"name": n.to_string(), "description": "d", "metadata": {"filler": filler}});
        user.post("/config/workspace", body).expect(200);
    }
    let ask = || {
        let mut connection = Connection::open(server.addr);
        let token = crate::common::token::token("u");
        connection.send(format!(
            "GET /config/workspace?limit=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        connection
    };
    let connections: Vec<Connection> = (0..60).map(|_| ask()).collect();
    let statuses: Vec<u16> = connections.into_iter().map(|mut one| one.response("GET").status).collect();
    assert!(statuses.contains(&503), "the later ones are refused: {statuses:?}");
    assert!(statuses.contains(&200), "the first ones are answered: {statuses:?}");
    assert_eq!(ask().response("GET").status, 200, "once all was read there is room again");
}

/// A compressed body was once told that it is no JSON, at a place in it that its sender never wrote.
#[test]
fn a_compressed_body_is_refused_for_being_compressed() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut send = |coding: &str| {
        let request = user.request("POST", "/input").header("Content-Encoding", coding);
        request.json(&json!({"content": "x"})).send()
    };
    for coding in ["gzip", "BR", "identity, gzip"] {
        let answer = send(coding);
        crate::common::assert_error(&answer, 415, "unsupported_media_type");
        assert_eq!(answer.header("Accept-Encoding"), Some("identity"));
    }
    send("identity").expect(200);
}

/// Of two keys the first was taken; a client, or a proxy, that wrote them the other way round stored its message twice.
#[test]
fn a_request_with_two_idempotency_keys_is_refused() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let request = user.request("POST", "/input").header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    let answer = request.json(&json!({"content": "x"})).send();
    crate::common::assert_error(&answer, 422, "validation_error");
    assert_eq!(answer.json()["error"]["details"]["Idempotency-Key"], "must be given once");
}

/// Behind a proxy that asks for a password, a browser sends it along with an `EventSource`, whose ticket was then not
/// looked at.
#[test]
fn a_ticket_is_good_beside_what_the_browser_sends_for_a_proxy() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let ticket = user.post("/auth/stream-ticket", json!({})).expect(200).json()["ticket"].clone();
    let query = format!("ticket={}", ticket.as_str().expect("a string"));
    Stream::open_with(server.addr, &query, &[("Authorization", "Basic dXNlcjpwYXNz")]);
    let mut client = Client::new(server.addr);
    let mut refused = |path: &str, authorization: &str| {
        let answer = client.request("GET", path).header("Authorization", authorization).send();
        crate::common::assert_error(&answer, 401, "unauthorized");
    };
    refused("/output/stream", "Basic dXNlcjpwYXNz");
    refused(&format!("/output/stream?{query}"), "Bearer bad");
    refused(&format!("/auth/verify?{query}"), "Basic dXNlcjpwYXNz");
}

/// Whoever reads lines as Python's `httpx` does was given half an event where a message had one of these, and again each
/// time they came back for it.
#[test]
fn no_message_can_break_the_line_that_its_event_is() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "\u{2029}");
    let odd = "\u{85}\u{2028}\u{2029}\u{b}\u{c}\u{1c}\u{1d}\u{1e}\r\n";
    let metadata = json!({odd: odd});
    user.post("/input", json!({"content": format!("a{odd}b"), "metadata": metadata})).expect(200);
    let mut stream = user.stream_with("last_event_id=0&types=input");
    let event = stream.next();
    assert_eq!((event.content(), &event.data["metadata"]), (format!("a{odd}b").as_str(), &metadata));
    let read = String::from_utf8(stream.raw.clone()).expect("a stream is UTF-8");
    assert!(!read.contains(['\u{85}', '\u{2028}', '\u{2029}']), "{read}");
}

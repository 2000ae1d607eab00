//! Rules of the output stream: filters, event names, heartbeats, credentials, and the number of open streams.

use crate::common::sse::Event;
use crate::common::token::{now, token, token_with};
use crate::common::{
    Client, Connection, Options, Server, Stream, UNKNOWN_ID, User, assert_error, assert_invalid, assert_time,
};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

#[test]
fn filters_are_combined_with_and() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.2")]);
    let mut owner = User::new(&server, "owner");
    let (first, second) = (owner.create_workspace("first"), owner.create_workspace("second"));
    let (a, b, c) = (
        owner.create_conversation(&first, "a", &["ann"]),
        owner.create_conversation(&first, "b", &[]),
        owner.create_conversation(&second, "c", &["ann"]),
    );
    owner.say("default", "the default conversation exists");
    let ann = User::new(&server, "ann");
    // User, filter, received messages, and whether the change of conversation a is received.
    let table: [(&User, String, &[&str], bool); 9] = [
        (&owner, String::new(), &["a", "b", "c", "d"], true),
        (&owner, format!("conversation_id={a}"), &["a"], true),
        (&owner, format!("workspace_id={first}"), &["a", "b"], true),
        (&owner, format!("workspace_id={first}&conversation_id={c}"), &[], false),
        (&owner, "types=input".into(), &["a", "b", "c", "d"], false),
        (&owner, format!("types=conversation_updated,workspace_updated&workspace_id={first}"), &[], true),
        (&owner, format!("conversation_id={b}&types=input,output"), &["b"], false),
        (&owner, "conversation_id=default".into(), &["d"], false),
        (&ann, format!("workspace_id={first}"), &["a"], true),
    ];
    let mut streams: Vec<Stream> = table.iter().map(|(user, query, ..)| user.stream_with(query)).collect();
    let mut poster = User::new(&server, "owner");
    for (conversation, content) in [(a.as_str(), "a"), (&b, "b"), (&c, "c"), ("default", "d")] {
        poster.say(conversation, content);
    }
    let renamed = poster.put(&format!("/config/conversation/{a}"), json!({"topic": "renamed"})).expect(200);
    let last = renamed.number("X-Event-Id");
    for ((_, query, messages, others), stream) in table.iter().zip(&mut streams) {
        let events = stream.through(last);
        let contents: Vec<&str> = events.iter().map(Event::content).filter(|content| !content.is_empty()).collect();
        assert_eq!(contents, *messages, "{query}");
        let renamed = events.iter().any(|event| event.kind() == "conversation_updated");
        assert_eq!(renamed, *others, "{query}: {events:?}");
    }
}

#[test]
fn access_to_what_a_filter_names_is_checked_before_the_stream_opens() {
    let server = Server::start(Options::new());
    let (mut owner, mut outsider) = (User::new(&server, "owner"), User::new(&server, "outsider"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &[]);
    let mut rejection = |query: String| outsider.get(&format!("/output/stream?{query}"));
    assert_error(&rejection(format!("conversation_id={conversation}")), 403, "forbidden");
    assert_error(&rejection(format!("workspace_id={workspace}")), 403, "forbidden");
    assert_error(&rejection(format!("conversation_id={UNKNOWN_ID}")), 404, "not_found");
    assert_error(&rejection(format!("workspace_id={UNKNOWN_ID}")), 404, "not_found");
    assert_invalid(&rejection("types=input,imput".into()), &["types"]);
}

#[test]
fn named_events_are_named_after_their_type() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.2")]);
    let mut user = User::new(&server, "u");
    let mut stream = user.stream_with("named=true");
    assert_eq!(stream.established.name.as_deref(), Some("connection_established"));
    user.create_workspace("w");
    user.say("default", "hello");
    for kind in ["workspace_created", "input", "heartbeat"] {
        assert_eq!(stream.next_of(kind).name.as_deref(), Some(kind));
    }
    let mut unnamed = user.stream();
    unnamed.next_of("heartbeat");
    assert!(!String::from_utf8_lossy(&unnamed.raw).contains("event:"));
}

#[test]
fn heartbeats_carry_the_cursor_of_the_stream() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.2")]);
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    let start = stream.established.number();
    for _ in 0..3 {
        let beat = stream.next();
        assert_eq!(beat.kind(), "heartbeat");
        assert_eq!(beat.number(), start);
        assert_time(&beat.data["timestamp"]);
    }
    let number = user.post("/input", json!({"content": "hello"})).expect(200).number("X-Event-Id");
    assert_eq!(stream.next_of("input").number(), number);
    assert_eq!(stream.next_of("heartbeat").number(), number);
    // Events of other users advance the number without being visible.
    let number =
        User::new(&server, "v").post("/input", json!({"content": "elsewhere"})).expect(200).number("X-Event-Id");
    while stream.next_of("heartbeat").number() < number {}
    assert!(!String::from_utf8_lossy(&stream.raw).contains("elsewhere"));
}

/// Heartbeats are sent whether or not events flow.
#[test]
fn heartbeats_are_sent_between_events() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.1")]);
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    let (mut beats, mut round, mut last) = (0, 0, stream.established.number());
    while beats < 5 {
        user.say("default", &format!("round {round}"));
        loop {
            let event = stream.next();
            assert!(event.number() >= last, "ids go back: {event:?}");
            last = event.number();
            match event.kind() {
                "heartbeat" => beats += 1,
                "input" => break assert_eq!(event.content(), format!("round {round}")),
                _ => {}
            }
        }
        round += 1;
    }
}

#[test]
fn development_accepts_a_token_in_the_query_of_streams_only() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for name in ["access_token", "token"] {
        let query = format!("{name}={}", token("u"));
        let mut stream = Stream::open_with(server.addr, &query, &[]);
        user.say("default", name);
        assert_eq!(stream.next_of("input").content(), name);
        let elsewhere = Client::new(server.addr).request("GET", &format!("/auth/verify?{query}")).send();
        assert_error(&elsewhere, 401, "unauthorized");
        let bad = Client::new(server.addr).request("GET", &format!("/output/stream?{name}=x.y.z")).send();
        assert_error(&bad, 401, "unauthorized");
    }
}

#[test]
fn production_rejects_a_token_in_the_query() {
    let server = Server::with(&[("ENV", "production")]);
    for name in ["access_token", "token"] {
        let path = format!("/output/stream?{name}={}", token("u"));
        assert_error(&Client::new(server.addr).request("GET", &path).send(), 401, "unauthorized");
    }
    User::new(&server, "u").stream();
}

#[test]
fn a_stream_needs_a_valid_token() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    assert_error(&client.request("GET", "/output/stream").send(), 401, "unauthorized");
    let expired = token_with(json!({"oid": "u", "exp": now() - 3600}));
    let response = client.request("GET", "/output/stream").token(&expired).send();
    assert_error(&response, 401, "unauthorized");
    assert!(response.header("WWW-Authenticate").is_some_and(|value| value.contains(r#"error="invalid_token""#)));
}

#[test]
fn streams_of_one_user_are_bounded() {
    let server = Server::with(&[("MAX_STREAMS_PER_USER", "2")]);
    let (mut user, other) = (User::new(&server, "u"), User::new(&server, "v"));
    let (first, _second) = (user.stream(), user.stream());
    assert_error(&user.get("/output/stream"), 429, "rate_limited");
    other.stream();
    drop(first);
    // The server detects the end of a stream when it reads the socket, and may count it until then.
    let mut client = Connection::open(server.addr);
    let request =
        format!("GET /output/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", user.token);
    let end = Instant::now() + crate::common::DEADLINE;
    loop {
        client.send(&request);
        let head = client.try_head().expect("a response");
        if head.status == 200 {
            break;
        }
        assert_eq!(head.status, 429, "{}", head.shown());
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert!(std::time::Instant::now() < end, "a closed stream is still counted");
        client = Connection::open(server.addr);
    }
}

/// A large message reaches a reader complete, whatever the outbox holds at a time.
#[test]
fn a_message_of_a_mebibyte_arrives_whole_on_many_streams() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut streams: Vec<Stream> = (0..8).map(|_| user.stream()).collect();
    let content: String = ('!'..='~').cycle().take(1024 * 1024).collect();
    user.say("default", &content);
    user.say("default", "after it");
    for stream in &mut streams {
        assert!(stream.next_of("input").content() == content, "the message arrives complete");
        assert_eq!(stream.next_of("input").content(), "after it");
    }
}

#[test]
fn connection_established_names_the_user_and_the_start() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    let number = user.post("/input", json!({"content": "last before"})).expect(200).number("X-Event-Id");
    let (mut a, b) = (user.stream(), user.stream());
    assert_eq!(a.established.data["last_event_id"], number);
    assert_eq!(a.established.number(), number);
    assert_eq!(a.established.data["epoch"], b.established.data["epoch"], "one journal, one epoch");
    assert_ne!(a.established.data["stream_id"], b.established.data["stream_id"]);
    user.say("default", "after");
    assert_eq!(a.next_own().content(), "after", "a stream without Last-Event-ID starts now");
}

#[test]
fn users_list_their_own_open_streams() {
    let server = Server::with(&[("WORKERS", "4")]);
    let (mut user, mut other) = (User::new(&server, "u"), User::new(&server, "other"));
    let _others = other.stream();
    let streams: Vec<Stream> = (0..6).map(|_| user.stream()).collect();
    let listed = user.get("/output/streams").expect(200);
    for stream in &streams {
        let id = stream.established.data["stream_id"].as_str().expect("an id");
        assert!(listed.text().contains(id), "{id}: {}", listed.shown());
        assert!(!other.get("/output/streams").expect(200).text().contains(id));
    }
}

#[test]
fn a_stream_is_warned_before_its_token_expires() {
    let server = Server::start(Options::new());
    let ending = token_with(json!({"oid": "u", "exp": now() + 40}));
    let mut stream = Stream::open(server.addr, &ending, "");
    let event = stream.next_of("token_expiring");
    assert!(event.data["seconds"].as_u64().is_some_and(|seconds| (1..=70).contains(&seconds)), "{event:?}");
}

#[test]
fn a_stream_ends_with_its_token() {
    let server = Server::with(&[("WORKERS", "1")]);
    // Valid for a few more seconds because of the leeway.
    let ending = token_with(json!({"oid": "u", "exp": now() - 25}));
    let mut stream = Stream::open(server.addr, &ending, "");
    assert_eq!(stream.until_end().last().map(Event::kind), Some("token_expired"));
    User::new(&server, "other").say("default", "the event loop goes on with the others");
}

#[test]
fn a_renewed_stream_outlives_its_token() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.5")]);
    let mut stream = Stream::open(server.addr, &token_with(json!({"oid": "u", "exp": now() - 25})), "");
    let id = stream.established.data["stream_id"].as_str().expect("an id").to_owned();
    let mut user = User::new(&server, "u");
    user.post(&format!("/output/streams/{id}/renew"), json!({})).expect(200);
    let old_end = now() + 7;
    while now() < old_end {
        stream.next_of("heartbeat");
    }
    user.say("default", "still here");
    assert_eq!(stream.next_of("input").content(), "still here");
}

/// Revoking tokens also closes their streams: a password change ends those of older tokens.
#[test]
fn a_changed_password_closes_the_streams_of_older_tokens() {
    let server = Server::start(Options::new());
    let user_id = "550e8400-e29b-41d4-a716-446655440000";
    let older = token_with(json!({"oid": user_id, "iat": now() - 60, "exp": now() + 600}));
    let (mut ends, stays) = (Stream::open(server.addr, &older, ""), User::new(&server, "other").stream());
    let body = json!({"current_password": "password123", "new_password": "a new pass phrase"});
    User::with_token(&server, user_id, &older).post("/auth/password", body).expect(200);
    ends.until_end();
    drop(stays);
}

/// A stream whose token expired has no deadline left that would keep its event loop busy.
#[test]
fn a_stream_reports_that_its_token_expired_and_delays_no_other_connection() {
    let server = Server::with(&[("WORKERS", "1")]);
    let token = token_with(json!({"oid": "u", "exp": now() + 2}));
    let mut stream = Stream::open(server.addr, &token, "");
    let kinds: Vec<String> = stream.until_end().iter().map(|event| event.kind().to_owned()).collect();
    assert_eq!(kinds, ["token_expiring", "token_expired"]);
    Client::new(server.addr).request("GET", "/").send().expect(200);
}

/// A stream that has ended and whose reader has not taken everything is closed by the stall timeout.
#[test]
fn an_ended_stream_with_an_absent_reader_is_closed() {
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
    // The list is empty once the stream is closed by the stall timeout.
    user.wait_until_no_streams();
}

/// An owner who leaves a conversation still sees it, so events that wait for a slow stream of the owner stay.
#[test]
fn an_owner_who_leaves_a_conversation_still_gets_its_events() {
    let server = Server::with(&[("STREAM_BUFFER_BYTES", "4096")]);
    let (mut owner, mut other) = (User::new(&server, "owner"), User::new(&server, "other"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["other"]);
    let mut stream = owner.stream();
    // More than the kernel buffers for a stream that is not read.
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

/// A token is verified again when the whole request has arrived.
#[test]
fn a_stream_is_not_opened_with_a_token_that_expired_while_its_request_arrived() {
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
    assert_eq!(connection.try_head().expect("a response").status, 401);
}

/// A query may see a commit before the event loops receive it. A stream resumed from that number gets no `gap`.
#[test]
fn a_stream_from_the_newest_number_of_a_query_has_no_gap() {
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
        writer.join().expect("the writer succeeds");
    }
}

/// Line readers such as Python's `httpx` also split at U+0085, U+2028 and U+2029, so these are escaped.
#[test]
fn message_content_cannot_break_the_framing_of_events() {
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

//! The life of a stream: the list of open streams, token expiry and renewal, and shutdown.

use crate::common::sse::{Event, Parser};
use crate::common::token::{now, token, token_with};
use crate::common::user::text;
use crate::common::{Connection, DEADLINE, Options, Server, Stream, UNKNOWN_ID, User, assert_error, assert_time};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

fn stream_id(stream: &Stream) -> String {
    text(&stream.established.data["stream_id"])
}

fn renewal(stream: &Stream) -> String {
    format!("/output/streams/{}/renew", stream_id(stream))
}

/// A token that expires in this number of seconds.
fn ending_in(user: &str, seconds: i64) -> String {
    token_with(json!({"oid": user, "iat": now(), "exp": now() + seconds}))
}

/// The event types up to the end, heartbeats excluded.
fn kinds_until_end(stream: &mut Stream) -> Vec<String> {
    let events = stream.until_end();
    events.iter().map(|event| event.kind().to_owned()).filter(|kind| kind != "heartbeat").collect()
}

#[test]
fn the_list_of_streams_has_the_cursor_of_each() {
    let server = Server::start(Options::new());
    let (mut user, other) = (User::new(&server, "u"), User::new(&server, "other"));
    let empty = user.get("/output/streams").expect(200).json();
    assert_eq!(empty, json!({"streams": [], "total": 0}));
    let mut streams = [user.stream(), user.stream_with("types=input"), user.stream_with("last_event_id=0")];
    let _others = other.stream();
    user.say("default", "hello");
    for stream in &mut streams {
        stream.next_of("input");
    }
    // A stream is live again once the server knows that the socket has taken everything.
    let listed = until(&mut user, |list| list.iter().all(|stream| stream["state"] == "live"));
    assert_eq!(listed["total"], 3, "only the caller's streams");
    let list = listed["streams"].as_array().expect("a list");
    let ids: Vec<String> = list.iter().map(|stream| text(&stream["stream_id"])).collect();
    assert_eq!(ids, streams.each_ref().map(stream_id), "oldest first");
    for stream in list {
        assert_time(&stream["since"]);
        assert_eq!([&stream["events_behind"], &stream["bytes_behind"]], [&json!(0), &json!(0)], "{stream}");
        let mut fields: Vec<&String> = stream.as_object().expect("an object").keys().collect();
        fields.sort();
        assert_eq!(fields, ["bytes_behind", "events_behind", "since", "state", "stream_id"]);
    }
    let [first, ..] = streams;
    drop(first);
    until(&mut user, |list| list.len() == 2);
}

/// Waits until the list of streams satisfies a condition and returns it.
#[track_caller]
fn until(user: &mut User, is_so: impl Fn(&[Value]) -> bool) -> Value {
    let end = Instant::now() + DEADLINE;
    loop {
        let listed = user.get("/output/streams").expect(200).json();
        if is_so(listed["streams"].as_array().expect("a list")) {
            return listed;
        }
        assert!(Instant::now() < end, "{listed}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_stream_warns_of_its_expiring_token_and_ends_with_it() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut stream = Stream::open(server.addr, &ending_in("u", 3), "");
    user.say("default", "before the end");
    let events = stream.until_end();
    let kinds: Vec<&str> = events.iter().map(Event::kind).filter(|kind| !kind.ends_with("_created")).collect();
    let mut sorted = kinds.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["input", "token_expired", "token_expiring"], "each once");
    assert_eq!(kinds.last(), Some(&"token_expired"));
    let expiring = events.iter().find(|event| event.kind() == "token_expiring").expect("the warning arrives");
    assert!(expiring.data["seconds"].as_u64().is_some_and(|seconds| seconds <= 3), "{expiring:?}");
    for event in events.iter().filter(|event| event.kind().starts_with("token")) {
        assert!(event.id.is_some(), "it has the number of the stream: {event:?}");
    }
    // A stream resumed with a fresh token has lost nothing.
    user.say("default", "after the end");
    let last = events.iter().filter(|event| event.id.is_some()).map(Event::number).max().expect("there are numbers");
    let mut back = user.stream_with(&format!("last_event_id={last}"));
    assert_eq!(back.next().content(), "after the end");
}

/// A token with a long lifetime is not announced.
#[test]
fn a_stream_with_a_long_lived_token_gets_no_warning() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.2")]);
    let mut stream = Stream::open(server.addr, &ending_in("u", 3600), "");
    for _ in 0..3 {
        assert_eq!(stream.next().kind(), "heartbeat");
    }
}

#[test]
fn a_renewed_stream_continues_past_the_expiry_of_its_first_token() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.2"), ("WORKERS", "4")]);
    let mut user = User::new(&server, "u");
    let end_at = now() + 3;
    // On any loop: the renewal request may arrive on another one.
    let mut streams: Vec<Stream> = (0..4).map(|_| Stream::open(server.addr, &ending_in("u", 3), "")).collect();
    let mut ends = Stream::open(server.addr, &ending_in("u", 3), "");
    for stream in &streams {
        let response = user.post(&renewal(stream), json!({})).expect(200).json();
        assert_eq!(response["stream_id"], stream_id(stream));
        assert!(response["expires_in"].as_i64().is_some_and(|seconds| (3500..=3600).contains(&seconds)), "{response}");
    }
    // A renewal with a token that expires earlier has no effect.
    let mut shorter = User::with_token(&server, "u", &ending_in("u", 1));
    let response = shorter.post(&renewal(&streams[0]), json!({})).expect(200).json();
    assert!(response["expires_in"].as_i64().is_some_and(|seconds| seconds > 3000), "{response}");

    assert_eq!(kinds_until_end(&mut ends), ["token_expiring", "token_expired"], "the stream without a renewal");
    assert!(now() >= end_at);
    for stream in &mut streams {
        stream.next_of("heartbeat");
    }
    user.say("default", "past the end");
    for stream in &mut streams {
        assert_eq!(stream.next_of("input").content(), "past the end");
    }
    assert_error(&user.post(&renewal(&ends), json!({})), 409, "conflict");
}

#[test]
fn only_the_user_of_a_stream_can_renew_it() {
    let server = Server::start(Options::new());
    let (mut user, mut other) = (User::new(&server, "u"), User::new(&server, "other"));
    let stream = user.stream();
    assert_error(&other.post(&renewal(&stream), json!({})), 409, "conflict");
    let unknown = user.post(&format!("/output/streams/{UNKNOWN_ID}/renew"), json!({}));
    assert_eq!(assert_error(&unknown, 409, "conflict"), other.post(&renewal(&stream), json!({})).json()["error"]);
    assert_error(&user.post("/output/streams/none/renew", json!({})), 404, "not_found");
    assert_error(&user.get(&renewal(&stream)), 405, "method_not_allowed");
    let mut nobody = User::with_token(&server, "u", &token_with(json!({"oid": "u", "exp": now() - 3600})));
    assert_error(&nobody.post(&renewal(&stream), json!({})), 401, "unauthorized");
    user.post(&renewal(&stream), json!({})).expect(200);
}

/// A stream requested while the server drains gets an empty stream with `retry:`, the only response after which an
/// `EventSource` reconnects.
#[test]
fn a_stream_requested_while_draining_is_deferred() {
    let mut server = Server::with(&[("WORKERS", "1")]);
    let mut user = User::new(&server, "u");
    let conversation = {
        let workspace = user.create_workspace("w");
        user.create_conversation(&workspace, "t", &[])
    };
    let mut stream = user.stream();
    // Their first bytes arrive before the shutdown, so they are served.
    let queries = ["", "?last_event_id=0", &format!("?conversation_id={conversation}")];
    let mut late: Vec<Connection> = queries
        .iter()
        .map(|query| {
            let mut connection = Connection::open(server.addr);
            connection.send(format!("GET /output/stream{query} HTTP/1.1\r\nHost: localhost\r\n"));
            connection
        })
        .collect();
    for n in 0..3 {
        user.say("default", &format!("the loop has come past the others {n}"));
    }
    server.process().signal(libc::SIGTERM);
    let shutdown = stream.next_of("server_shutdown");
    assert!(shutdown.id.is_some(), "{shutdown:?}");
    assert_eq!(stream.until_end().len(), 0);
    assert!(stream.retries().last().is_some_and(|retry| (1..=10_000).contains(retry)), "{:?}", stream.retries());
    for connection in &mut late {
        connection.send(format!("Authorization: Bearer {}\r\n\r\n", token("u")));
        let response = connection.response("GET").expect(200);
        assert_eq!(response.header("Content-Type"), Some("text/event-stream; charset=utf-8"), "{}", response.shown());
        assert!(response.closes(), "{}", response.shown());
        let mut parser = Parser::default();
        parser.feed(&response.body);
        assert!(parser.events.iter().map(Event::kind).eq(["unavailable"]), "{}", response.shown());
        assert!(matches!(parser.retries[..], [1..=10_000]), "{:?}", parser.retries);
        connection.expect_end();
    }
    assert_eq!(server.process().wait_exit().code(), Some(0));
}

/// A client can tell a cut from an end: only a planned end has the last chunk.
#[test]
fn a_stream_has_its_last_chunk_only_at_a_planned_end() {
    for planned in [true, false] {
        let mut server = Server::start(Options::new());
        let mut stream = Stream::open(server.addr, &token("u"), "");
        assert_eq!(stream.head.header("Transfer-Encoding"), Some("chunked"));
        if planned {
            server.process().signal(libc::SIGTERM);
            assert_eq!(stream.next().kind(), "server_shutdown");
            assert!(matches!(stream.try_next(), Ok(None)), "the last chunk arrives");
        } else {
            server.kill();
            assert!(stream.try_next().is_err(), "the stream is cut");
        }
    }
    // HTTP/1.0 has no chunks.
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send(format!("GET /output/stream HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", token("u")));
    let head = connection.try_head().expect("a head");
    assert_eq!((head.status, head.header("Transfer-Encoding")), (200, None), "{}", head.shown());
}

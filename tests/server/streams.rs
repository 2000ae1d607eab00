//! The output stream's own rules: filters, names, heartbeats, how a token may come, and how many may be open.

use crate::common::sse::Event;
use crate::common::token::{now, token, token_with};
use crate::common::{
    Client, Connection, NOBODYS_ID, Options, Server, Stream, User, assert_error, assert_invalid, assert_time,
};
use serde_json::json;

#[test]
fn filters_work_together_with_and() {
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
    // Who, with which filter, sees which of the messages, and whether the renaming of conversation a.
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
    let (mut owner, mut stranger) = (User::new(&server, "owner"), User::new(&server, "stranger"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &[]);
    let mut refusal = |query: String| stranger.get(&format!("/output/stream?{query}"));
    assert_error(&refusal(format!("conversation_id={conversation}")), 403, "forbidden");
    assert_error(&refusal(format!("workspace_id={workspace}")), 403, "forbidden");
    assert_error(&refusal(format!("conversation_id={NOBODYS_ID}")), 404, "not_found");
    assert_error(&refusal(format!("workspace_id={NOBODYS_ID}")), 404, "not_found");
    assert_invalid(&refusal("types=input,imput".into()), &["types"]);
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
fn heartbeats_come_with_the_number_through_which_the_stream_is_complete() {
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
    // What another user does moves the number too, without a byte of it being seen.
    let number =
        User::new(&server, "v").post("/input", json!({"content": "elsewhere"})).expect(200).number("X-Event-Id");
    while stream.next_of("heartbeat").number() < number {}
    assert!(!String::from_utf8_lossy(&stream.raw).contains("elsewhere"));
}

/// A busy stream is not a quiet one: heartbeats come whether or not events flow.
#[test]
fn heartbeats_come_between_events() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.1")]);
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    let (mut beats, mut round, mut last) = (0, 0, stream.established.number());
    while beats < 5 {
        user.say("default", &format!("round {round}"));
        loop {
            let event = stream.next();
            assert!(event.number() >= last, "ids never go back: {event:?}");
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
fn development_takes_a_token_in_the_query_and_only_the_stream_does() {
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
fn production_takes_no_token_in_the_query() {
    let server = Server::with(&[("ENV", "production")]);
    for name in ["access_token", "token"] {
        let path = format!("/output/stream?{name}={}", token("u"));
        assert_error(&Client::new(server.addr).request("GET", &path).send(), 401, "unauthorized");
    }
    User::new(&server, "u").stream();
}

#[test]
fn a_stream_needs_a_good_token() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    assert_error(&client.request("GET", "/output/stream").send(), 401, "unauthorized");
    let expired = token_with(json!({"oid": "u", "exp": now() - 3600}));
    let answer = client.request("GET", "/output/stream").token(&expired).send();
    assert_error(&answer, 401, "unauthorized");
    assert!(answer.header("WWW-Authenticate").is_some_and(|value| value.contains(r#"error="invalid_token""#)));
}

#[test]
fn one_user_has_at_most_so_many_streams() {
    let server = Server::with(&[("MAX_STREAMS_PER_USER", "2")]);
    let (mut user, other) = (User::new(&server, "u"), User::new(&server, "v"));
    let (first, _second) = (user.stream(), user.stream());
    assert_error(&user.get("/output/stream"), 429, "rate_limited");
    other.stream();
    drop(first);
    // The server learns of the end when it reads the socket; until then it may still count the stream.
    let mut client = Connection::open(server.addr);
    let request =
        format!("GET /output/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", user.token);
    let end = std::time::Instant::now() + crate::common::DEADLINE;
    loop {
        client.send(&request);
        let head = client.try_head().expect("an answer");
        if head.status == 200 {
            break;
        }
        assert_eq!(head.status, 429, "{}", head.shown());
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert!(std::time::Instant::now() < end, "a stream that has gone is counted for ever");
        client = Connection::open(server.addr);
    }
}

/// A large message reaches a reader whole, whatever the outbox holds at a time.
#[test]
fn a_message_of_a_mebibyte_arrives_whole_on_many_streams() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut streams: Vec<Stream> = (0..8).map(|_| user.stream()).collect();
    let content: String = ('!'..='~').cycle().take(1024 * 1024).collect();
    user.say("default", &content);
    user.say("default", "after it");
    for stream in &mut streams {
        assert!(stream.next_of("input").content() == content, "every byte of it");
        assert_eq!(stream.next_of("input").content(), "after it");
    }
}

#[test]
fn a_stream_says_who_it_belongs_to_and_where_it_starts() {
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
fn a_user_sees_their_own_open_streams() {
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
fn a_stream_is_told_before_its_token_ends() {
    let server = Server::start(Options::new());
    let ending = token_with(json!({"oid": "u", "exp": now() + 40}));
    let mut stream = Stream::open(server.addr, &ending, "");
    let event = stream.next_of("token_expiring");
    assert!(event.data["seconds"].as_u64().is_some_and(|seconds| (1..=70).contains(&seconds)), "{event:?}");
}

#[test]
fn a_stream_ends_with_its_token() {
    let server = Server::with(&[("WORKERS", "1")]);
    // Good for a few seconds more, by the leeway.
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

/// Who may no longer come in is not kept in either: the streams of older tokens end with the password.
#[test]
fn a_changed_password_ends_the_streams_of_older_tokens() {
    let server = Server::start(Options::new());
    let user_id = "550e8400-e29b-41d4-a716-446655440000";
    let older = token_with(json!({"oid": user_id, "iat": now() - 60, "exp": now() + 600}));
    let (mut ends, stays) = (Stream::open(server.addr, &older, ""), User::new(&server, "other").stream());
    let body = json!({"current_password": "password123", "new_password": "a new pass phrase"});
    User::with_token(&server, user_id, &older).post("/auth/password", body).expect(200);
    ends.until_end();
    drop(stays);
}

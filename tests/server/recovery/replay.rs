//! A replay equals what an open stream has received, from every source: the tail while the user has a stream open, the
//! journal otherwise, and the journal after a restart.

use crate::common::sse::Event;
use crate::common::{DEADLINE, Options, Server, Stream, User};
use serde_json::{Value, json};
use std::time::Instant;

/// Opens a stream after a number and returns the events up to `caught_up`, which must all be journal events.
#[track_caller]
pub fn replay(user: &User, query: &str, after: u64) -> Vec<Event> {
    let mark = if query.is_empty() { "" } else { "&" };
    let mut stream = user.stream_with(&format!("{query}{mark}last_event_id={after}"));
    let mut events = Vec::new();
    let end = Instant::now() + DEADLINE;
    loop {
        let event = stream.next();
        assert!(Instant::now() < end, "the replay does not end");
        match event.kind() {
            "caught_up" => break assert!(event.number() >= after),
            "heartbeat" => continue,
            kind => assert!(!event.is_control(), "a {kind} in a replay"),
        }
        events.push(event);
    }
    let numbers: Vec<u64> = events.iter().map(Event::number).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "numbers do not increase: {numbers:?}");
    assert!(numbers.first().is_none_or(|first| *first > after), "an earlier event: {numbers:?} after {after}");
    events
}

/// The compared parts of events: number, name and data.
fn shown(events: &[Event]) -> Vec<(u64, Option<String>, Value)> {
    events.iter().map(|event| (event.number(), event.name.clone(), event.data.clone())).collect()
}

/// Causes events of every type for the users `owner` and `ann`; returns two workspaces and three conversations.
fn make_events(owner: &mut User, ann: &mut User) -> ([String; 2], [String; 3]) {
    let workspaces = [owner.create_workspace("first"), owner.create_workspace("second")];
    let conversations = [
        owner.create_conversation(&workspaces[0], "a", &["ann"]),
        owner.create_conversation(&workspaces[0], "b", &[]),
        owner.create_conversation(&workspaces[1], "c", &["ann"]),
    ];
    for round in 0..5 {
        for (sandbox, conversation) in conversations.iter().enumerate() {
            owner.say(conversation, &format!("owner {sandbox} {round}"));
            if sandbox != 1 {
                ann.say(conversation, &format!("ann {sandbox} {round}"));
            }
        }
        let metadata = json!({"round": round, "big": 12345678901234567890_u64});
        owner.put(&format!("/config/workspace/{}", workspaces[round % 2]), json!({"metadata": metadata})).expect(200);
        let path = format!("/config/conversation/{}", conversations[round % 3]);
        owner.put(&path, json!({"topic": format!("topic {round}")})).expect(200);
        let body = json!({"content": "line one\r\nline two\u{2028}\u{0}é😀", "metadata": metadata});
        ann.post("/input", body).expect(200);
    }
    (workspaces, conversations)
}

#[test]
fn replays_from_tail_and_journal_equal_the_live_stream() {
    let mut server = Server::with(&[("WORKERS", "1"), ("HEARTBEAT_INTERVAL_SECONDS", "0.2")]);
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let mut live: Vec<Stream> = [&owner, &ann, &owner].into_iter().map(User::stream).collect();
    let start = live[0].established.number();
    make_events(&mut owner, &mut ann);
    let last = owner.post("/input", json!({"content": "the last"})).expect(200).number("X-Event-Id");
    let seen: Vec<Vec<(u64, Option<String>, Value)>> =
        live.iter_mut().map(|stream| shown(&stream.through(last))).collect();
    assert!(seen[0].len() > 30 && seen[1].len() > 20 && seen[0] == seen[2]);

    let expect = |users: [&User; 2], from: &str| {
        for (user, seen) in users.into_iter().zip(&seen) {
            assert_eq!(shown(&replay(user, "", start)), *seen, "{} from {from}", user.id);
            // From every number, including those of other users.
            for after in (0..=last).step_by(3) {
                let expected: Vec<_> = seen.iter().filter(|event| event.0 > after).cloned().collect();
                assert_eq!(shown(&replay(user, "", after)), expected, "{} from {from} after {after}", user.id);
            }
        }
    };
    expect([&owner, &ann], "the tail");
    drop(live);
    [&mut owner, &mut ann].into_iter().for_each(User::wait_until_no_streams);
    expect([&owner, &ann], "the journal");
    for way in ["a restart", "a kill"] {
        if way == "a kill" {
            server.kill();
        }
        // Their connections close first: a draining server waits briefly for persistent ones.
        [&mut owner, &mut ann].into_iter().for_each(|user| user.follow(&server));
        server.restart();
        [&mut owner, &mut ann].into_iter().for_each(|user| user.follow(&server));
        expect([&owner, &ann], way);
    }
}

#[test]
fn filters_and_names_apply_to_replays() {
    let server = Server::with(&[("WORKERS", "1")]);
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    ann.say("default", "the default conversation is there");
    let mut witnesses = vec![owner.stream(), ann.stream()];
    let start = witnesses[0].established.number();
    let (workspaces, conversations) = make_events(&mut owner, &mut ann);
    let queries = [
        ("owner", format!("conversation_id={}", conversations[0])),
        ("owner", format!("workspace_id={}", workspaces[0])),
        ("owner", format!("workspace_id={}&conversation_id={}", workspaces[0], conversations[2])),
        ("owner", "types=input".to_owned()),
        ("owner", "types=workspace_updated,conversation_updated&named=true".into()),
        ("owner", format!("types=input&workspace_id={}&named=true", workspaces[1])),
        ("owner", "types=output".into()),
        ("ann", "named=true".into()),
        ("ann", "conversation_id=default".into()),
        ("ann", format!("workspace_id={}&types=input", workspaces[0])),
    ];
    let passes = |event: &Event, query: &str| {
        let data = &event.data["data"];
        query.split('&').all(|pair| match pair.split_once('=') {
            Some(("types", kinds)) => kinds.split(',').any(|kind| kind == event.kind()),
            Some(("conversation_id", "default")) => event.content().contains("line one"),
            Some(("conversation_id", id)) => data["conversation_id"] == id,
            Some(("workspace_id", id)) => {
                let of_message = conversations.iter().position(|other| data["conversation_id"] == other.as_str());
                let sandbox = of_message.map(|sandbox| sandbox / 2);
                let named = [&data["workspace_id"], &data["workspace"]["id"]].into_iter().any(|named| *named == id);
                named || sandbox.is_some_and(|sandbox| workspaces[sandbox] == id)
            }
            _ => true,
        })
    };
    for from in ["the loop's memory", "the journal"] {
        if from == "the journal" {
            witnesses.clear();
            [&mut owner, &mut ann].into_iter().for_each(User::wait_until_no_streams);
        }
        for (name, query) in &queries {
            let user = User::new(&server, name);
            let expected: Vec<_> = replay(&user, "", start).into_iter().filter(|event| passes(event, query)).collect();
            let named = query.contains("named=true");
            let named = |event: &Event| named.then(|| event.kind().to_owned());
            let expected: Vec<_> =
                expected.iter().map(|event| (event.number(), named(event), event.data.clone())).collect();
            assert_eq!(shown(&replay(&user, query, start)), expected, "{query} of {name} from {from}");
        }
    }
}

/// More than one page by events and by bytes, with an outbox that holds few of them.
#[test]
fn a_long_replay_is_complete_and_ends_with_one_caught_up() {
    const MESSAGES: usize = 700;
    let server = Server::with(&[("STREAM_BUFFER_BYTES", "4096"), ("HEARTBEAT_INTERVAL_SECONDS", "0.05")]);
    let (mut user, mut other) = (User::new(&server, "u"), User::new(&server, "other"));
    let content = |n: usize| format!("{n} {}", "x".repeat(if n.is_multiple_of(50) { 100_000 } else { n % 7 * 100 }));
    for n in 0..MESSAGES {
        user.say("default", &content(n));
        if n % 3 == 0 {
            other.say("default", "between");
        }
    }
    let mut stream = user.stream_with("last_event_id=0");
    let (mut next, mut ends) = (0, 0);
    // A heartbeat shows that no other event is pending.
    loop {
        let event = stream.next();
        match event.kind() {
            "input" => {
                assert!(event.content() == content(next), "message {next}");
                next += 1;
            }
            "caught_up" => {
                ends += 1;
                assert_eq!(next, MESSAGES, "after everything");
            }
            "heartbeat" if ends > 0 => break,
            "heartbeat" | "workspace_created" | "conversation_created" => {}
            kind => panic!("a {kind}"),
        }
    }
    assert_eq!((next, ends), (MESSAGES, 1));
}

#[test]
fn zero_replays_the_whole_journal() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    assert!(replay(&user, "", 0).is_empty(), "a user without events gets none");
    user.say("default", "the very first");
    user.create_workspace("w");
    let kinds: Vec<String> = replay(&user, "", 0).iter().map(|event| event.kind().to_owned()).collect();
    assert_eq!(kinds, ["workspace_created", "conversation_created", "input", "workspace_created"]);
}

//! The start of a stream: `Last-Event-ID` in header and query, gaps, and the numbers of reads.

use crate::common::sse::Event;
use crate::common::token::token;
use crate::common::user::text;
use crate::common::{Options, Server, Stream, User, assert_invalid, assert_time};
use serde_json::json;
use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Opens a stream with a `Last-Event-ID` field.
#[track_caller]
fn open_after(server: &Server, user: &str, query: &str, last_event_id: &str) -> Stream {
    let bearer = format!("Bearer {}", token(user));
    Stream::open_with(server.addr, query, &[("Authorization", &bearer), ("Last-Event-ID", last_event_id)])
}

/// The events up to `caught_up`, and `caught_up`.
#[track_caller]
fn through_caught_up(stream: &mut Stream) -> (Vec<Event>, Event) {
    let mut events = Vec::new();
    loop {
        let event = stream.next();
        if event.kind() == "caught_up" {
            return (events, event);
        }
        events.push(event);
    }
}

fn contents(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::content).collect()
}

#[test]
fn connection_established_has_the_requested_start() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let numbers: Vec<u64> = (0..3)
        .map(|n| user.post("/input", json!({"content": n.to_string()})).expect(200).number("X-Event-Id"))
        .collect();
    let newest = numbers[2];
    let table = [("now", None, newest), ("0", Some("0"), 0), ("the first", Some("1"), 1), ("the newest", None, newest)];
    for (name, last_event_id, start) in table {
        let stream = match last_event_id {
            Some(id) => open_after(&server, "u", "", id),
            None => user.stream(),
        };
        let event = &stream.established;
        assert_eq!(event.number(), start, "{name}");
        assert_eq!(event.data["last_event_id"], start, "{name}");
        assert_eq!(event.data["user_id"], "u");
        assert_time(&event.data["timestamp"]);
        for field in ["epoch", "stream_id"] {
            assert_eq!(text(&event.data[field]).len(), 36, "{field} is an id: {event:?}");
        }
        let fields: HashSet<&str> = event.data.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = ["type", "user_id", "timestamp", "last_event_id", "epoch", "stream_id"];
        assert_eq!(fields, HashSet::from(expected), "{name}");
        assert_eq!(stream.retries(), [3000], "it is sent once, first");
        assert!(stream.raw.starts_with(b"retry: 3000\n"), "{name}");
    }
}

#[test]
fn the_header_overrides_the_query() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let numbers: Vec<u64> = ["a", "b", "c", "d"]
        .iter()
        .map(|content| user.post("/input", json!({"content": content})).expect(200).number("X-Event-Id"))
        .collect();
    // Header, query, and the replayed messages.
    let table: [(Option<u64>, Option<u64>, &[&str]); 5] = [
        (Some(numbers[2]), Some(numbers[0]), &["d"]),
        (Some(numbers[0]), Some(numbers[2]), &["b", "c", "d"]),
        (None, Some(numbers[1]), &["c", "d"]),
        (Some(numbers[1]), None, &["c", "d"]),
        (Some(numbers[3]), Some(numbers[0]), &[]),
    ];
    for (header, query, expected) in table {
        let query = query.map(|number| format!("last_event_id={number}")).unwrap_or_default();
        let mut stream = match header {
            Some(number) => open_after(&server, "u", &query, &number.to_string()),
            None => user.stream_with(&query),
        };
        let (events, end) = through_caught_up(&mut stream);
        assert_eq!(contents(&events), expected, "{header:?} over {query}");
        assert_eq!(end.number(), numbers[3]);
        assert_eq!(end.data["last_event_id"], numbers[3]);
    }
    // Some clients send an empty field before they have an id: the query applies.
    let mut stream = open_after(&server, "u", &format!("last_event_id={}", numbers[2]), "");
    assert_eq!(contents(&through_caught_up(&mut stream).0), ["d"]);
    let mut stream = open_after(&server, "u", "", "");
    user.say("default", "e");
    assert_eq!(stream.next().content(), "e", "without an id the stream starts now");
}

/// The gap is reported once, and the stream continues from there.
#[test]
fn an_unknown_number_causes_a_gap() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    let table: [(&str, &str, &str); 8] = [
        ("garbage", "", "abc"),
        ("a negative number", "", "-1"),
        ("a fraction", "", "1.5"),
        ("too large for a number", "", "18446744073709551616"),
        ("an id of another server", "", "0190c42e-8d3f-7123-9abc-0123456789ab"),
        ("one beyond the newest", "", "NEXT"),
        ("far beyond the newest", "", "18446744073709551615"),
        ("beyond the newest, over a good query", "last_event_id=0", "999999"),
    ];
    for (name, query, header) in table {
        let newest = user.get("/config/workspace").expect(200).number("X-Last-Event-Id");
        let mut stream = open_after(&server, "u", query, &header.replace("NEXT", &(newest + 1).to_string()));
        let start = stream.established.number();
        assert_eq!(start, newest, "{name}");
        let (events, end) = through_caught_up(&mut stream);
        let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
        assert_eq!(kinds, ["gap"], "{name}");
        assert_eq!(events[0].data["data"], json!({"first_available_id": start + 1}), "{name}");
        assert_eq!(end.number(), start, "{name}");
        let number = user.post("/input", json!({"content": name})).expect(200).number("X-Event-Id");
        let event = stream.next();
        assert_eq!((event.content(), event.number()), (name, number), "later events are delivered");
    }
    let mut stream = user.stream_with("last_event_id=999999");
    assert_eq!(stream.next().kind(), "gap", "a query beyond the newest number");
    for value in ["abc", "-1", "1.5", "1,x", "18446744073709551616"] {
        assert_invalid(&user.get(&format!("/output/stream?last_event_id={value}")), &["last_event_id"]);
    }
}

/// A valid number causes no gap for any user: a late one, one without events, and one with all events.
#[test]
fn a_valid_number_causes_no_gap() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for n in 0..5 {
        user.say("default", &n.to_string());
    }
    let newest = user.stream().established.number();
    for (name, number) in [("u", 0), ("u", newest), ("newcomer", 0), ("newcomer", 3), ("newcomer", newest)] {
        let mut stream = open_after(&server, name, "", &number.to_string());
        let (events, end) = through_caught_up(&mut stream);
        assert!(events.iter().all(|event| event.kind() != "gap"), "{name} after {number}: {events:?}");
        assert!(name == "u" || events.is_empty(), "{name} has nothing: {events:?}");
        assert_eq!(end.number(), newest, "{name} after {number}");
    }
}

/// The boundary between replay and live events, while messages keep coming.
#[test]
fn caught_up_comes_once_between_replay_and_live_events() {
    let server = Server::start(Options::new());
    let mut owner = User::new(&server, "u");
    for n in 0..300 {
        owner.say("default", &format!("before {n}"));
    }
    let (addr, stop) = (server.addr, AtomicBool::new(false));
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut user = User::at(addr, "u");
            let mut said = 0;
            while !stop.load(Ordering::Relaxed) {
                user.say("default", &format!("meanwhile {said}"));
                said += 1;
            }
            user.say("default", "the end");
        });
        let mut streams: Vec<Stream> =
            (0..12).map(|n| owner.stream_with(&format!("last_event_id={}", n % 3))).collect();
        stop.store(true, Ordering::Relaxed);
        publisher.join().expect("the publisher succeeds");
        for stream in &mut streams {
            let (replayed, end) = through_caught_up(stream);
            assert!(replayed.windows(2).all(|pair| pair[0].number() < pair[1].number()), "in order");
            assert!(
                replayed.last().is_some_and(|last| last.number() <= end.number()),
                "the replay is complete through its number"
            );
            let mut before = end.number();
            let mut all = replayed;
            while all.last().is_none_or(|last| last.content() != "the end") {
                let event = stream.next();
                assert_eq!(event.kind(), "input", "only messages follow");
                assert!(event.number() > before, "later events have higher numbers");
                before = event.number();
                all.push(event);
            }
            let messages: Vec<&str> = contents(&all).into_iter().filter(|content| !content.is_empty()).collect();
            let meanwhile = messages.len() - 301;
            let expected = (0..300)
                .map(|n| format!("before {n}"))
                .chain((0..meanwhile).map(|n| format!("meanwhile {n}")))
                .chain(["the end".to_owned()]);
            assert!(expected.eq(messages.iter().copied()), "every message once, in order");
        }
    });
}

/// A read and a stream from its number together have every event once.
#[test]
fn a_stream_from_the_number_of_a_read_misses_nothing() {
    const WORKSPACES: usize = 120;
    let server = Server::with(&[("WORKERS", "4")]);
    User::new(&server, "u").create_workspace("first");
    let (addr, first_read) = (server.addr, Barrier::new(4));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut user = User::at(addr, "u");
            first_read.wait();
            (0..WORKSPACES).for_each(|n| drop(user.create_workspace(&n.to_string())));
            user.create_workspace("the end");
        });
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut user = User::at(addr, "u");
                    let mut rounds = 0;
                    loop {
                        let listed = user.get("/config/workspace?limit=1000").expect(200);
                        if rounds == 0 {
                            first_read.wait();
                        }
                        let number = listed.number("X-Last-Event-Id");
                        let list = listed.json()["workspaces"].as_array().expect("a list").clone();
                        let mut names: Vec<String> = list.iter().map(|item| text(&item["name"])).collect();
                        if names.last().is_some_and(|name| name == "the end") {
                            return rounds;
                        }
                        let mut stream = user.stream_with(&format!("last_event_id={number}"));
                        while names.last().is_none_or(|name| name != "the end") {
                            let event = stream.next_of("workspace_created");
                            assert!(event.number() > number);
                            names.push(text(&event.data["data"]["workspace"]["name"]));
                        }
                        let expected = (0..WORKSPACES).map(|n| n.to_string());
                        assert!(names[1..=WORKSPACES].iter().cloned().eq(expected), "{names:?} from {number}");
                        rounds += 1;
                    }
                })
            })
            .collect();
        for reader in readers {
            let rounds: u32 = reader.join().expect("a reader succeeds");
            assert!(rounds > 0, "it reads during the writes");
        }
    });
    let mut user = User::new(&server, "u");
    let workspace = user.workspace_ids()[0].clone();
    let conversation = user.create_conversation(&workspace, "t", &[]);
    let newest = user.stream().established.number();
    for path in [
        format!("/config/workspace/{workspace}"),
        format!("/config/conversation?workspace_id={workspace}"),
        format!("/config/conversation/{conversation}"),
        "/config/workspace".into(),
        "/users?ids=u".into(),
    ] {
        assert_eq!(user.get(&path).expect(200).number("X-Last-Event-Id"), newest, "{path}");
    }
}

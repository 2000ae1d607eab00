//! Overload: a stream that cannot be opened, and budgets of bytes that one user or network fills. No socket fills them at the
//! right moment, so these tests drive a shard directly.

use crate::common::sse::Parser;
use crate::common::token::{KEY, token};
use crate::common::{Response, UNKNOWN_ID, assert_error};
use cortex_core::internals::limits::RESPONSES_WAITING_BYTES_MAX;
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{
    CommandResult, Context, EventNumber, Input, Keys, MemoryPlan, MonoTime, Now, Outcome, Output, Query, QueryResponse,
    Random, Rejection, Settings, Shard, ShardMessage, WallTime, Work,
};
use std::io::IoSlice;
use std::sync::Arc;

/// A shard with the default settings.
fn shard() -> Shard {
    let settings = Settings::load(&|_| None, 1).expect("the defaults are valid").settings;
    let keys = Keys::new(KEY.as_bytes(), &[], None, None);
    let context = Arc::new(Context { settings, memory: MemoryPlan::unlimited(), keys, epoch: "e".into() });
    Shard::new(0, context, Arc::default(), Arc::default(), EventNumber(7), Random::new(1))
}

fn now() -> Now {
    Now { wall: WallTime(crate::common::token::now() * SECOND), mono: MonoTime(0) }
}

/// The bytes that wait to be written to a connection.
fn outgoing(shard: &Shard, slot: u32) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = shard.outgoing(slot, &mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Sends a request whose query fails as `fail` decides, and returns the response.
fn response_to(path: &str, fail: impl FnOnce(Query) -> Input<'static>) -> Response {
    let (mut shard, now) = (shard(), now());
    let slot = shard.accept([127, 0, 0, 1].into(), now);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", token("u"));
    shard.handle(Input::Bytes { slot, bytes: request.as_bytes() }, now);
    let kind = std::iter::from_fn(|| shard.poll_output()).find_map(|output| match output {
        Output::Work(Work::Query(query)) => Some(query),
        _ => None,
    });
    shard.handle(fail(kind.expect("it queries the store")), now);
    Response::read(&outgoing(&shard, slot))
}

#[test]
fn a_stream_that_cannot_be_opened_is_deferred() {
    let fates: [fn(Query) -> Input<'static>; 2] = [
        |query| Input::Message(ShardMessage::Dropped(query.reply_to)),
        |query| {
            let result = Err(Rejection::Unavailable);
            Input::Message(ShardMessage::QueryResponse(QueryResponse {
                to: query.reply_to,
                position: EventNumber(7),
                result,
            }))
        },
    ];
    for fail in fates {
        let response = response_to(&format!("/output/stream?conversation_id={UNKNOWN_ID}"), fail).expect(200);
        assert_eq!(response.header("Content-Type"), Some("text/event-stream; charset=utf-8"), "{}", response.shown());
        let mut parser = Parser::default();
        parser.feed(&response.body);
        let is_unavailable = parser.events.len() == 1 && parser.events[0].kind() == "unavailable";
        assert!(is_unavailable && parser.retries.len() == 1, "{}", response.shown());
        // Some readers take the id of the last block as theirs, so without one they would start over.
        let path = format!("/output/stream?conversation_id={UNKNOWN_ID}&last_event_id=5");
        let response = response_to(&path, fail).expect(200);
        assert!(
            response.text().contains("retry: ") && response.text().ends_with("\nid: 5\n\n"),
            "{}",
            response.shown()
        );
        // Other requests get an error.
        assert_error(&response_to("/config/workspace", fail), 503, "service_unavailable");
    }
}

/// Sends a request of `user` whose response has a mebibyte, none of which the socket takes.
fn request_unread_response(shard: &mut Shard, user: &str, now: Now) -> u32 {
    let body = r#"{"content":"c"}"#;
    let request = format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token(user),
        body.len()
    );
    let slot = shard.accept([127, 0, 0, 1].into(), now);
    shard.handle(Input::Bytes { slot, bytes: request.as_bytes() }, now);
    let command = outputs(shard).into_iter().find_map(|output| match output {
        Output::Work(Work::Command(command)) => Some(command),
        _ => None,
    });
    let to = command.expect("every request is served").reply_to;
    let result = Ok(Outcome::Replayed { body: vec![b' '; 1024 * 1024].into(), number: None });
    shard.handle(Input::Message(ShardMessage::CommandResult(CommandResult { to, number: None, result })), now);
    shard.handle(Input::Wrote { slot, bytes: 0 }, now);
    shard.check_invariants();
    slot
}

fn outputs(shard: &mut Shard) -> Vec<Output> {
    std::iter::from_fn(|| shard.poll_output()).collect()
}

fn closed(outputs: &[Output]) -> Vec<u32> {
    outputs.iter().filter_map(|output| if let Output::Close(slot) = output { Some(*slot) } else { None }).collect()
}

/// A client that sends requests without reading fills the memory up to its bound. From then on its own connections are closed,
/// and those of others stay.
#[test]
fn the_holder_of_most_unread_responses_gives_way() {
    let (mut shard, now) = (shard(), now());
    let fits = RESPONSES_WAITING_BYTES_MAX / (1024 * 1024) - 1;
    let hostile: Vec<u32> = (0..fits).map(|_| request_unread_response(&mut shard, "hostile", now)).collect();
    assert!(closed(&outputs(&mut shard)).is_empty(), "one user may use all of the budget");
    let victim = request_unread_response(&mut shard, "victim", now);
    let others: Vec<u32> = (0..3).map(|_| request_unread_response(&mut shard, "hostile", now)).collect();
    let closed = closed(&outputs(&mut shard));
    assert!(!closed.is_empty() && !closed.contains(&victim), "{closed:?}");
    assert!(closed.iter().all(|slot| hostile.contains(slot) || others.contains(slot)), "{closed:?}");
    assert!(outgoing(&shard, victim).starts_with(b"HTTP/1.1 200"));
    // The victim's next request is served as well.
    let again = request_unread_response(&mut shard, "victim", now);
    assert!(!outgoing(&shard, again).is_empty());
    // A single response may be larger than what is left of the budget for it.
    assert!(shard.connections() >= fits);
}

/// Advances to `seconds` after the start, and returns what the shard wants to have done.
fn tick(shard: &mut Shard, start: Now, seconds: u64) -> (Now, Vec<Output>) {
    let now = Now { wall: start.wall, mono: MonoTime(seconds * 1_000_000) };
    shard.tick(now);
    (now, outputs(shard))
}

/// The rate is that of the peer, not that of the socket, whose buffer holds more than a slow peer reads in minutes.
#[test]
fn a_response_that_is_drained_too_slowly_is_cut_off() {
    // Bytes that the peer reads in 30 seconds, and whether it is too slow.
    for (bytes_read, is_cut) in [(0, true), (30 * 1024 - 2, true), (30 * 1024, false), (1024 * 1024, false)] {
        let (mut shard, start) = (shard(), now());
        let slot = request_unread_response(&mut shard, "u", start);
        let mut undelivered = 8 * 1024 * 1024;
        let mut was_cut = false;
        for seconds in [0, 30, 60, 90] {
            let (now, outputs) = tick(&mut shard, start, seconds);
            assert!(
                outputs.iter().any(|output| matches!(output, Output::MeasureUndelivered(at) if *at == slot)),
                "measured after {seconds} s"
            );
            shard.handle(Input::Undelivered { slot, bytes: undelivered }, now);
            was_cut = closed(&self::outputs(&mut shard)) == [slot];
            if was_cut {
                break;
            }
            undelivered = undelivered.saturating_sub(bytes_read);
            // The socket still takes a byte now and then, which is not enough.
            shard.handle(Input::Wrote { slot, bytes: 1 }, now);
        }
        assert_eq!(was_cut, is_cut, "{bytes_read} bytes in 30 s");
    }
}

/// One user sends bodies that never end.
#[test]
fn the_holder_of_most_incomplete_requests_gives_way() {
    let (mut shard, now) = (shard(), now());
    let begin = |shard: &mut Shard, user: &str, bytes: usize| {
        let slot = shard.accept([127, 0, 0, 1].into(), now);
        let head = format!(
            "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: 2000000\r\n\r\n",
            token(user)
        );
        shard.handle(Input::Bytes { slot, bytes: head.as_bytes() }, now);
        for _ in 0..bytes / 1000 {
            shard.handle(Input::Bytes { slot, bytes: &[b' '; 1000] }, now);
        }
        shard.check_invariants();
        slot
    };
    let hostile: Vec<u32> = (0..20).map(|_| begin(&mut shard, "hostile", 1_900_000)).collect();
    let victim = begin(&mut shard, "victim", 1_900_000);
    let rejected = |shard: &Shard, slot: &u32| outgoing(shard, *slot).starts_with(b"HTTP/1.1 503");
    let count = hostile.iter().filter(|slot| rejected(&shard, slot)).count();
    assert!((1..20).contains(&count), "{count} are rejected");
    assert!(outgoing(&shard, victim).is_empty(), "the other user's body is received on");
    let slot = hostile.iter().find(|slot| rejected(&shard, slot)).expect("one is rejected");
    let response = Response::read(&outgoing(&shard, *slot));
    let error = assert_error(&response, 503, "service_unavailable");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("unfinished requests")), "{error}");
    assert!(response.closes());
}

/// Many connections of one network, each with a part of a head.
#[test]
fn the_network_with_most_incomplete_heads_gives_way() {
    let (mut shard, now) = (shard(), now());
    let part = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(15_000));
    let victim = shard.accept([127, 0, 0, 2].into(), now);
    shard.handle(Input::Bytes { slot: victim, bytes: part.as_bytes() }, now);
    let mut rejected = 0;
    for _ in 0..4000 {
        let slot = shard.accept([127, 0, 0, 1].into(), now);
        shard.handle(Input::Bytes { slot, bytes: part.as_bytes() }, now);
        rejected += usize::from(!outgoing(&shard, slot).is_empty());
        outputs(&mut shard);
    }
    shard.check_invariants();
    assert!(rejected > 0, "the last ones exceed the budget");
    assert!(outgoing(&shard, victim).is_empty());
    shard.handle(Input::Bytes { slot: victim, bytes: b"\r\n\r\n" }, now);
    assert!(outgoing(&shard, victim).starts_with(b"HTTP/1.1 200"));
}

/// A server that rejects requests of most users for lack of room reports that it is not ready, until it serves them again. One
/// user who asks for too much is not enough.
#[test]
fn readiness_follows_the_users_that_are_served() {
    let (mut shard, start) = (shard(), now());
    let ask = |shard: &mut Shard, user: &str, is_rejected: bool, now: Now| {
        let slot = shard.accept([127, 0, 0, 1].into(), now);
        let request = format!(
            "GET /config/workspace HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
            token(user)
        );
        shard.handle(Input::Bytes { slot, bytes: request.as_bytes() }, now);
        let query = outputs(shard).into_iter().find_map(|output| match output {
            Output::Work(Work::Query(query)) => Some(query),
            _ => None,
        });
        let reply_to = query.expect("it queries the store").reply_to;
        if is_rejected {
            shard.handle(Input::Message(ShardMessage::Dropped(reply_to)), now);
            assert!(outgoing(shard, slot).starts_with(b"HTTP/1.1 503"));
        }
    };
    let ready = |shard: &mut Shard, now: Now| {
        let slot = shard.accept([127, 0, 0, 1].into(), now);
        shard.handle(Input::Bytes { slot, bytes: b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n" }, now);
        let response = Response::read(&outgoing(shard, slot));
        assert_eq!(response.text().contains("most users"), response.status == 503, "{}", response.shown());
        response.status
    };
    for _ in 0..100 {
        ask(&mut shard, "hostile", true, start);
    }
    assert_eq!(ready(&mut shard, start), 200);
    for n in 0..10 {
        ask(&mut shard, &format!("u{n}"), true, start);
    }
    assert_eq!(ready(&mut shard, start), 503);
    let later = Now { wall: start.wall, mono: MonoTime(11_000_000) };
    assert_eq!(ready(&mut shard, later), 200);
}

//! Responses under overload: a stream that cannot be opened, and a command while too many responses are unread. No
//! socket fills a queue at the right moment, so these tests drive a shard directly.

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

/// A client that posts without reading fills the memory up to its bound: executed commands get their responses, then
/// requests are rejected.
#[test]
fn requests_are_rejected_while_too_many_responses_are_unread() {
    const BODY_BYTES: usize = 1024 * 1024;
    let (mut shard, now) = (shard(), now());
    let body = r#"{"content":"c"}"#;
    let request = format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token("u"),
        body.len()
    );
    let response: Arc<[u8]> = vec![b' '; BODY_BYTES].into();
    let mut done = 0;
    let rejected = loop {
        let slot = shard.accept([127, 0, 0, 1].into(), now);
        shard.handle(Input::Bytes { slot, bytes: request.as_bytes() }, now);
        let command = std::iter::from_fn(|| shard.poll_output()).find_map(|output| match output {
            Output::Work(Work::Command(command)) => Some(command),
            _ => None,
        });
        let Some(command) = command else { break slot };
        done += 1;
        assert!(
            done * BODY_BYTES <= RESPONSES_WAITING_BYTES_MAX + BODY_BYTES,
            "{done} responses of a mebibyte wait, and none is rejected"
        );
        let result = Ok(Outcome::Replayed { body: response.clone(), number: None });
        shard.handle(
            Input::Message(ShardMessage::CommandResult(CommandResult { to: command.reply_to, number: None, result })),
            now,
        );
    };
    assert!(done * BODY_BYTES > RESPONSES_WAITING_BYTES_MAX, "requests are served up to the bound: {done}");
    assert_error(&Response::read(&outgoing(&shard, rejected)), 503, "service_unavailable");
    // A disconnect frees memory.
    (0..2).for_each(|slot| shard.handle(Input::Failed { slot }, now));
    shard.handle(Input::Bytes { slot: rejected, bytes: request.as_bytes() }, now);
    assert!(std::iter::from_fn(|| shard.poll_output()).any(|output| matches!(output, Output::Work(Work::Command(_)))));
}

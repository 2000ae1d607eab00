//! What is answered when there is no room: to a stream that cannot be opened for now, to a change that would be one answer
//! more that nobody reads. No socket brings a queue to its limit at the right moment, so
//! this asks the event loop's heart itself.

use crate::common::sse::Parser;
use crate::common::token::{KEY, token};
use crate::common::{Response, UNKNOWN_ID, assert_error};
use cortex_core::internals::limits::RESPONSES_WAITING_BYTES_MAX;
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{
    CommandResult, Context, EventNumber, Input, Keys, MonoTime, Now, Outcome, Output, Query, QueryResponse, Random,
    Rejection, Settings, Shard, ShardMessage, WallTime, Work,
};
use std::io::IoSlice;
use std::sync::Arc;

/// The heart of an event loop with the default settings.
fn shard() -> Shard {
    let settings = Settings::load(&|_| None, 1).expect("the defaults are good").settings;
    let keys = Keys::new(KEY.as_bytes(), &[], None, None);
    let context = Arc::new(Context { settings, keys, epoch: "e".into() });
    Shard::new(0, context, Arc::default(), Arc::default(), EventNumber(7), Random::new(1))
}

fn now() -> Now {
    Now { wall: WallTime(crate::common::token::now() * SECOND), mono: MonoTime(0) }
}

/// What waits to be written to a connection.
fn outgoing(shard: &Shard, slot: u32) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = shard.outgoing(slot, &mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Sends a request whose question goes wrong as `fate` says, and gives back the answer.
fn response_to(path: &str, fate: impl FnOnce(Query) -> Input<'static>) -> Response {
    let (mut shard, now) = (shard(), now());
    let slot = shard.accept([127, 0, 0, 1].into(), now);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", token("u"));
    shard.handle(Input::Bytes { slot, bytes: request.as_bytes() }, now);
    let kind = std::iter::from_fn(|| shard.poll_output()).find_map(|output| match output {
        Output::Work(Work::Query(query)) => Some(query),
        _ => None,
    });
    shard.handle(fate(kind.expect("it asks the store")), now);
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
    for fate in fates {
        let response = response_to(&format!("/output/stream?conversation_id={UNKNOWN_ID}"), fate).expect(200);
        assert_eq!(response.header("Content-Type"), Some("text/event-stream"), "{}", response.shown());
        let mut parser = Parser::default();
        parser.feed(&response.body);
        assert!(parser.events.is_empty() && parser.retries.len() == 1, "{}", response.shown());
        // Some readers take the last block's id for theirs, so that one without would have them begin anew.
        let path = format!("/output/stream?conversation_id={UNKNOWN_ID}&last_event_id=5");
        let response = response_to(&path, fate).expect(200);
        assert!(
            response.text().contains("retry: ") && response.text().ends_with("\nid: 5\n\n"),
            "{}",
            response.shown()
        );
        // Whoever asks for anything else is told what is the matter.
        assert_error(&response_to("/config/workspace", fate), 503, "service_unavailable");
    }
}

/// Whoever posts and does not read fills the memory up to its bound: what is done is answered, and then nothing more is.
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
    let refused = loop {
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
            "{done} answers of a mebibyte wait, and no end"
        );
        let result = Ok(Outcome::Replayed { body: response.clone(), number: None });
        shard.handle(
            Input::Message(ShardMessage::CommandResult(CommandResult { to: command.reply_to, number: None, result })),
            now,
        );
    };
    assert!(done * BODY_BYTES > RESPONSES_WAITING_BYTES_MAX, "up to the bound everybody is served: {done}");
    assert_error(&Response::read(&outgoing(&shard, refused)), 503, "service_unavailable");
    // Who goes makes room.
    (0..2).for_each(|slot| shard.handle(Input::Failed { slot }, now));
    shard.handle(Input::Bytes { slot: refused, bytes: request.as_bytes() }, now);
    assert!(std::iter::from_fn(|| shard.poll_output()).any(|output| matches!(output, Output::Work(Work::Command(_)))));
}

//! What a stream is answered that cannot be opened for now. No socket brings a queue to its limit at the right moment, so
//! this asks the event loop's heart itself.

use crate::common::sse::Parser;
use crate::common::token::{KEY, token};
use crate::common::{NOBODYS_ID, Response, assert_error};
use cortex_core::api::Context;
use cortex_core::auth::jwt::Keys;
use cortex_core::base::random::Random;
use cortex_core::base::time::{Mono, Now, SECOND, Wall};
use cortex_core::config::Settings;
use cortex_core::domain::command::{Answer, Query, Refusal};
use cortex_core::domain::id::EventNumber;
use cortex_core::shard::{Input, Output, Shard};
use std::io::IoSlice;
use std::sync::Arc;

/// Sends a request whose question goes wrong as `fate` says, and gives back the answer.
fn answer_to(path: &str, fate: impl FnOnce(Query) -> Input<'static>) -> Response {
    let settings = Settings::load(&|_| None, 1).expect("the defaults are good").settings;
    let keys = Keys::new(KEY.as_bytes(), &[], None, None);
    let context = Arc::new(Context { settings, keys, epoch: "e".into() });
    let mut shard = Shard::new(0, context, Arc::default(), Arc::default(), EventNumber(7), Random::new(1));
    let now = Now { wall: Wall(crate::common::token::now() * SECOND), mono: Mono(0) };
    let slot = shard.accept([127, 0, 0, 1].into(), now);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", token("u"));
    shard.handle(Input::Bytes { slot, bytes: request.as_bytes() }, now);
    let question = std::iter::from_fn(|| shard.poll_output()).find_map(|output| match output {
        Output::Ask(query) => Some(query),
        _ => None,
    });
    shard.handle(fate(question.expect("it asks the store")), now);
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = shard.outgoing(slot, &mut slices);
    Response::read(&slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>())
}

#[test]
fn a_stream_that_cannot_be_opened_for_now_is_told_to_come_back() {
    let fates: [fn(Query) -> Input<'static>; 2] = [
        |query| Input::Overloaded(query.reply_to),
        |query| {
            let result = Err(Refusal::Unavailable);
            Input::Answer(Answer { to: query.reply_to, position: EventNumber(7), result })
        },
    ];
    for fate in fates {
        let answer = answer_to(&format!("/output/stream?conversation_id={NOBODYS_ID}"), fate).expect(200);
        assert_eq!(answer.header("Content-Type"), Some("text/event-stream"), "{}", answer.shown());
        let mut parser = Parser::default();
        parser.feed(&answer.body);
        assert!(parser.events.is_empty() && parser.retries.len() == 1, "{}", answer.shown());
        // Some readers take the last block's id for theirs, so that one without would have them begin anew.
        let path = format!("/output/stream?conversation_id={NOBODYS_ID}&last_event_id=5");
        let answer = answer_to(&path, fate).expect(200);
        assert!(answer.text().contains("retry: ") && answer.text().ends_with("\nid: 5\n\n"), "{}", answer.shown());
        // Whoever asks for anything else is told what is the matter.
        assert_error(&answer_to("/config/workspace", fate), 503, "service_unavailable");
    }
}

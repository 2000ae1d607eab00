//! The commands about the data: backups of running servers, restores and what clients see of them, checks, exports and
//! imports. Through the real program, and through real servers before and after.

mod backup;
mod restore;
mod transfer;
mod verify;

use crate::common::sse::Event;
use crate::common::token::token;
use crate::common::{Server, Stream};
use std::process::Output;

/// What a command printed, if it did what it was asked to.
#[track_caller]
fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", complaint(output));
    assert!(output.stderr.is_empty(), "nothing but what was asked for: {}", complaint(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The one line that a command complained in when it failed with this exit code.
#[track_caller]
fn complained(output: &Output, code: i32) -> String {
    let said = complaint(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("cortex-core: "), "{said}");
    said
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The events of a stream that comes back with `last_event_id`, up to `caught_up`.
#[track_caller]
fn replayed(server: &Server, user: &str, last_event_id: u64) -> Vec<Event> {
    let fields = [("Authorization", format!("Bearer {}", token(user))), ("Last-Event-ID", last_event_id.to_string())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut stream = Stream::open_with(server.addr, "", &fields);
    let mut events = Vec::new();
    loop {
        let event = stream.next();
        if event.kind() == "caught_up" {
            return events;
        }
        events.push(event);
    }
}

//! The data commands: backups of running servers, restores and their effect on clients, verification, exports and
//! imports, with the real program and real servers.

mod backup;
mod restore;
mod transfer;
mod verify;

use crate::common::sse::Event;
use crate::common::token::token;
use crate::common::{Server, Stream};
use std::process::Output;

/// Why most of these tests do not run on PostgreSQL, which has tools of its own.
const ABOUT_A_FILE: &str = "`backup`, `restore` and `verify FILE` are for files";

/// The output of a command that must succeed without a message on standard error.
#[track_caller]
fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", error_line(output));
    assert!(output.stderr.is_empty(), "standard error is empty: {}", error_line(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The one line of error of a command that must fail with this exit code.
#[track_caller]
fn failed_with(output: &Output, code: i32) -> String {
    let said = error_line(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("cortex-core: "), "{said}");
    said
}

fn error_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The events of a stream resumed from `last_event_id`, up to `caught_up`.
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

//! Shared by the whole-server tests: the real program as a child process, a strict HTTP client, an event stream reader,
//! tokens, and short names for frequent calls.
#![allow(dead_code, unused_imports, unused_macros, reason = "every test program uses its own part of this")]

pub mod conformance;
pub mod database;
pub mod history;
pub mod http;
pub mod metrics;
pub mod model;
pub mod port;
#[cfg(feature = "cluster")]
pub mod postgres;
pub mod process;
pub mod publish;
pub mod reader;
#[cfg(feature = "cluster")]
pub mod redis;
pub mod server;
pub mod sse;
pub mod token;
pub mod user;

pub(crate) use database::of_sqlite_only;
pub use http::{Client, Connection, Origin, Response};
pub use server::{Options, Sandbox, Server};
pub use sse::Stream;
pub use user::User;

use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

/// Timeout of every wait. It only bounds the duration of a failure, so it is generous.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A well-formed id that no resource has.
pub const UNKNOWN_ID: &str = "0190c42e-8d3f-7123-9abc-0123456789ab";

/// Waits until a condition holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that `response` is an error in the common shape with the fields that its status requires, and returns the
/// `error` object.
#[track_caller]
pub fn assert_error(response: &Response, status: u16, code: &str) -> Value {
    let shown = response.shown();
    assert_eq!(response.status, status, "{shown}");
    let body = response.json();
    let error = body["error"].clone();
    assert_eq!(body.as_object().map(|fields| fields.len()), Some(1), "`error` is the only member: {shown}");
    assert_eq!(error["code"], code, "{shown}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "a message: {shown}");
    assert!(error.get("details").is_none_or(Value::is_object), "details are an object: {shown}");
    match status {
        401 => {
            let challenge = response.header("WWW-Authenticate").expect("401 carries WWW-Authenticate");
            assert!(challenge.starts_with("Bearer"), "{shown}");
        }
        405 => assert!(response.header("Allow").is_some_and(|allow| !allow.is_empty()), "405 carries Allow: {shown}"),
        429 | 503 => {
            let seconds = response.header("Retry-After").and_then(|text| text.parse::<u64>().ok());
            assert!(seconds.is_some_and(|seconds| seconds >= 1), "{status} carries Retry-After: {shown}");
        }
        _ => {}
    }
    error
}

/// Asserts a validation error whose details name exactly these fields.
#[track_caller]
pub fn assert_invalid(response: &Response, fields: &[&str]) {
    let error = assert_error(response, 422, "validation_error");
    let details = error["details"].as_object().unwrap_or_else(|| panic!("details: {}", response.shown()));
    let mut named: Vec<&str> = details.keys().map(String::as_str).collect();
    let mut expected = fields.to_vec();
    named.sort_unstable();
    expected.sort_unstable();
    assert_eq!(named, expected, "{}", response.shown());
    for (field, rule) in details {
        assert!(rule.as_str().is_some_and(|rule| !rule.is_empty()), "{field} has a rule: {}", response.shown());
    }
}

/// Asserts an RFC 3339 time in UTC with microseconds and `Z`.
#[track_caller]
pub fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("a time, not {value}"));
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{text}");
}

/// Asserts a lower-case hyphenated UUID of version 7.
#[track_caller]
pub fn assert_uuid(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("an id, not {value}"));
    assert_eq!(text.len(), 36, "{text}");
    for (at, c) in text.char_indices() {
        match at {
            8 | 13 | 18 | 23 => assert_eq!(c, '-', "{text}"),
            14 => assert_eq!(c, '7', "version 7: {text}"),
            _ => assert!(c.is_ascii_digit() || ('a'..='f').contains(&c), "{text}"),
        }
    }
}

//! The outcomes of requests to an upstream that misbehaves in every way, over real sockets. Only outcomes are asserted:
//! no test depends on a maximum duration.

mod cases;
mod client;
mod context;
mod faults;
mod health;
mod secrets;
mod standin;
#[cfg(feature = "tls")]
mod tls;

use client::{ask, ask_about, ask_until};
use cortex_core::internals::{
    Breaker, Content, ContextRules, History, RetryPolicy, Role, Secret, Timeouts, Turn, Upstream, UpstreamAddress,
    UpstreamSettings, UserId,
};
use standin::{StandIn, Step};
use std::sync::Arc;

/// The key that must not appear in any output.
const KEY: &str = "sk-standin-4711";

/// Timeouts that suit every machine.
const LONG_TIMEOUTS: Timeouts = Timeouts {
    connect_milliseconds: 30_000,
    first_byte_milliseconds: 30_000,
    between_bytes_milliseconds: 30_000,
    total_milliseconds: Some(60_000),
};

/// Three tries with short pauses.
const RETRY: RetryPolicy =
    RetryPolicy { tries_max: 3, pause_milliseconds: 2, pause_milliseconds_max: 4, retry_after_milliseconds_max: 2_000 };

fn settings(url: impl AsRef<str>) -> UpstreamSettings {
    let address = UpstreamAddress::parse(url.as_ref()).expect("an address");
    UpstreamSettings {
        models: vec!["standin-1".into(), "standin-2".into()],
        api_key: Some(Secret::new(KEY)),
        context: ContextRules { bytes_max: 4096, ..ContextRules::default() },
        timeouts: LONG_TIMEOUTS,
        retry: RETRY,
        ..UpstreamSettings::new(address, "standin-1".into())
    }
}

fn upstream(standin: &StandIn) -> Arc<Upstream> {
    upstream_with(standin, LONG_TIMEOUTS)
}

fn upstream_with(standin: &StandIn, timeouts: Timeouts) -> Arc<Upstream> {
    let settings = UpstreamSettings { timeouts, ..settings(format!("http://{}/v1", standin.addr)) };
    Arc::new(Upstream::new(settings).expect("the settings are valid"))
}

/// A history of these texts, in which users and the model take turns and a user has the last.
fn history(texts: &[&str]) -> History {
    let turn = |(index, text): (usize, &&str)| Turn {
        role: if (texts.len() - index) % 2 == 1 { Role::User } else { Role::Assistant },
        text: Content::new_unchecked(*text),
        sender: UserId::new_unchecked("ann"),
        sender_name: "Ann".into(),
    };
    History { turns: texts.iter().enumerate().map(turn).collect(), ..History::default() }
}

fn delta(text: &str) -> String {
    let chunk = serde_json::json!({"model": "standin-1b", "choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {chunk}\n\n")
}

const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const TEXT: &str = "H\u{e9}llo \u{1f600}!";

/// The events of a complete answer with the text `TEXT`.
fn good_events() -> String {
    [&delta("H\u{e9}l"), &delta("lo "), &delta("\u{1f600}"), &delta("!"), STOP, USAGE, DONE].concat()
}

/// A response of status 200 that ends with the connection.
fn until_close(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{body}").into_bytes()
}

/// A response with a length.
fn with_length(status: u16, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A response in chunks of `size` bytes.
fn chunked(body: &str, size: usize) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.as_bytes().chunks(size) {
        out.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
    out
}

/// A script that sends one complete response.
fn say(answer: Vec<u8>) -> Vec<Step> {
    vec![Step::Send(answer)]
}

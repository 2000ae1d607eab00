//! The key is sent to the upstream and appears nowhere else, whatever the upstream does with it.

use super::*;
use cortex_core::internals::UpstreamField;
use log::{LevelFilter, Log, Metadata, Record};
use std::sync::Mutex;

/// The value of an additional field of each request, which may be a credential as well.
const FIELD: &str = "tenant-blue-4711";

static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Collector;

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        *LOGGED.lock().unwrap() += &format!("{} {}\n", record.target(), record.args());
    }

    fn flush(&self) {}
}

#[test]
fn the_api_key_and_the_values_of_fields_appear_in_no_output() {
    log::set_logger(&Collector).expect("no other test has a logger");
    log::set_max_level(LevelFilter::Trace);
    let said = format!("your key {KEY} is no good");
    let object = format!("{{\"error\":{{\"message\":\"{said}\",\"code\":\"{KEY}\",\"{KEY}\":1}}}}");
    let scripts = [
        say(with_length(400, &format!("X-Key: {KEY}\r\n"), &object)),
        say(with_length(401, "", &object)),
        say(with_length(429, &format!("Retry-After: {KEY}\r\n"), &object)),
        say(with_length(500, "", &said)),
        say(with_length(500, "", &format!("{}{KEY}", "x".repeat(190)))),
        say(with_length(200, "", &object)),
        say(with_length(200, "", &said)),
        say(until_close(&format!("data: {object}\n\n"))),
        say(until_close(&format!("data: {said}\n\n"))),
        say(until_close(&format!("event: error\ndata: {said}\n\n"))),
        say(until_close(&format!("{}data: {said}\n\n", delta("a")))),
        say(until_close(&format!(
            "data: {{\"choices\":[{{\"finish_reason\":\"{KEY}\"}}],\"model\":\"{KEY}\"}}\n\n{DONE}"
        ))),
        say(until_close(&format!("{}{DONE}", delta("a").replace("standin-1b", KEY)))),
        say(format!("HTTP/1.1 200 {KEY}\r\n{KEY}\r\n\r\n").into_bytes()),
        say(format!("{KEY}\r\n").into_bytes()),
        say(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n").into_bytes()),
        say(with_length(400, "", &format!("{{\"error\":{{\"message\":\"tenant {FIELD} is unknown\"}}}}"))),
        vec![],
        vec![Step::Deaf, Step::Reset],
    ];
    let mut out = String::new();
    for script in scripts {
        let standin = StandIn::start(vec![script]);
        let headers = vec![UpstreamField { name: "X-Tenant".into(), value: Secret::new(FIELD) }];
        let settings = UpstreamSettings { headers, ..settings(format!("http://{}/v1", standin.addr)) };
        let upstream = Arc::new(Upstream::new(settings).expect("the settings are valid"));
        let (_, end) = ask(&upstream);
        out += &format!("{upstream:?} {upstream:#?}\n{end:?}\n");
        if let Err(failure) = end {
            out += &format!("{} {}\n", failure.message, failure.detail);
        }
        assert!(standin.requests().iter().all(|request| request.head.contains(KEY)), "the upstream receives the key");
    }
    let logged = LOGGED.lock().unwrap().clone();
    assert!(logged.contains("to get an answer failed"), "something was logged: {logged}");
    for text in [&out, &logged] {
        // A prefix of a secret is as sensitive as the secret.
        for secret in [KEY, FIELD] {
            let at = text.find(&secret[..9]);
            assert_eq!(at.map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>()), None);
        }
    }
}

use super::*;
use crate::config::upstream_address::UpstreamAddress;
use crate::responder::FailureKind;
use crate::responder::breaker::Position;
use crate::responder::upstream::{Timeouts, UpstreamSettings};

/// A request to a model whose server a test plays, with a clock of its own.
struct Played {
    request: ModelRequest,
    now: MonoTime,
    pieces: AnswerPieces,
    requests: u32,
    is_connected: bool,
    retries: Vec<u64>,
    end: Option<Result<Completion, Failure>>,
}

/// What the server of a test does.
type Play<'p> = &'p dyn Fn(&mut Played);

fn upstream() -> Arc<Upstream> {
    upstream_with(Timeouts::default())
}

fn upstream_with(timeouts: Timeouts) -> Arc<Upstream> {
    let address = UpstreamAddress::parse("http://127.0.0.1:1/v1").unwrap();
    let settings = UpstreamSettings { timeouts, ..UpstreamSettings::new(address, "m".into()) };
    Arc::new(Upstream::new(settings).unwrap())
}

impl Played {
    fn new(upstream: &Arc<Upstream>, milliseconds: u64) -> Played {
        let mut played = Played {
            request: ModelRequest::new(Arc::clone(upstream), Random::new(1)),
            now: MonoTime(1000 * milliseconds),
            pieces: AnswerPieces::default(),
            requests: 0,
            is_connected: false,
            retries: Vec::new(),
            end: None,
        };
        played.poll();
        played
    }

    /// Does what the request wants. Connections are accepted.
    fn poll(&mut self) {
        while let Some(effect) = self.request.poll(self.now) {
            match effect {
                ModelEffect::Prepare { .. } => self.request.prepared(Some(b"{}"), self.now),
                ModelEffect::Connect => {
                    assert!(!self.is_connected, "one connection is open");
                    (self.is_connected, self.requests) = (true, self.requests + 1);
                    self.request.connected(self.now);
                    self.request.wrote(Some(self.request.outgoing().len()));
                }
                ModelEffect::Close => self.is_connected = false,
                ModelEffect::Retrying(milliseconds) => self.retries.push(milliseconds),
                ModelEffect::Ended(result) => self.end = Some(result),
            }
        }
    }

    fn send(&mut self, text: &str) {
        self.request.received(text.as_bytes(), &mut self.pieces, self.now);
        self.poll();
    }

    fn head(&mut self) {
        self.send("HTTP/1.1 200 OK\r\n\r\n");
    }

    fn say(&mut self, text: &str) {
        self.send(&format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"));
    }

    fn reject(&mut self, status: u16, fields: &str, body: &str) {
        self.send(&format!("HTTP/1.1 {status} x\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()));
    }

    fn close(&mut self) {
        self.request.disconnected(None, &mut self.pieces, self.now);
        self.poll();
    }

    /// Time passes, in steps of at most a second.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.plus_milliseconds(1000);
            self.request.tick(&mut self.pieces, self.now);
            self.poll();
        }
    }

    fn failure(&self) -> &Failure {
        self.end.as_ref().expect("the request is over").as_ref().expect_err("the request fails")
    }
}

/// D6: a long prompt on a slow processor. A second request would make the model begin again.
#[test]
fn a_model_that_has_the_request_is_not_asked_again_for_being_slow() {
    let before: [(&str, &[&str]); 4] = [
        ("nothing", &[]),
        ("half a head", &["HTTP/1.1 20"]),
        ("a head", &["HTTP/1.1 200 OK\r\n\r\n"]),
        ("a head and the beginning of a chunk", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\n"]),
    ];
    for (name, sent) in before {
        let mut played = Played::new(&upstream(), 0);
        sent.iter().for_each(|bytes| played.send(bytes));
        played.pass(299);
        assert_eq!((played.end.as_ref(), played.requests), (None, 1), "{name}");
        played.pass(2);
        assert_eq!((played.failure().kind, played.requests), (FailureKind::Timeout, 1), "{name}");
        assert!(played.failure().message.contains("did not begin"), "{name}");
        assert!(!played.is_connected, "{name}");
    }
}

/// D24: the answer lasts as long as bytes arrive.
#[test]
fn a_slow_answer_has_no_bound_while_bytes_arrive() {
    let mut played = Played::new(&upstream(), 0);
    played.head();
    for _ in 0..3000 {
        played.say("word ");
        played.pass(1);
    }
    // Comments are bytes, too.
    for _ in 0..20 {
        played.pass(58);
        played.send(": working\n\n");
    }
    played.send("data: [DONE]\n\n");
    assert!(played.end.as_ref().is_some_and(Result::is_ok), "{:?}", played.end);
    assert_eq!(played.pieces.text.len(), 3000 * 5);

    let mut played = Played::new(&upstream(), 0);
    played.head();
    played.say("word");
    played.pass(61);
    assert!(played.failure().message.contains("in the middle"), "{:?}", played.end);
    assert_eq!(played.requests, 1);
}

#[test]
fn a_bound_of_the_whole_answer_counts_all_attempts() {
    let upstream = upstream_with(Timeouts { total_milliseconds: Some(10_000), ..Timeouts::default() });
    let mut played = Played::new(&upstream, 0);
    played.reject(503, "", "");
    played.pass(2);
    assert_eq!(played.requests, 2);
    played.head();
    for _ in 0..9 {
        played.say("x");
        played.pass(1);
    }
    assert!(played.failure().message.contains("took too long"), "{:?}", played.end);
    // A pause that would end after the bound is not made.
    let mut played = Played::new(&upstream, 100_000);
    played.reject(429, "Retry-After: 11\r\n", "");
    assert_eq!((played.failure().kind, played.requests), (FailureKind::Status(429), 1));
}

#[test]
fn nothing_is_retried_after_text() {
    let ends: [(&str, Play<'_>); 3] = [
        ("a lost connection", &|played| played.close()),
        ("an error", &|played| played.send("data: {\"error\":{\"message\":\"oh\",\"code\":503}}\n\n")),
        ("silence", &|played| played.pass(61)),
    ];
    for (name, end) in ends {
        let mut played = Played::new(&upstream(), 0);
        played.head();
        played.say("text");
        end(&mut played);
        played.pass(60);
        assert_eq!((played.requests, played.pieces.text.as_str()), (1, "text"), "{name}");
        assert!(played.end.as_ref().is_some_and(Result::is_err), "{name}");
    }
}

/// D8: what one user's answers run into does not close the model for all.
#[test]
fn only_failures_of_the_server_open_the_breaker_and_each_message_counts_once() {
    let table: [(&str, Play<'_>, Position); 6] = [
        (
            "cut in the middle of the text",
            &|played| {
                played.head();
                played.say("half");
                played.close();
            },
            Position::Closed,
        ),
        (
            "unreadable",
            &|played| {
                played.head();
                played.send("<html>");
                played.close();
            },
            Position::Closed,
        ),
        ("rejected", &|played| played.reject(400, "", "{}"), Position::Closed),
        ("too many requests", &|played| played.reject(429, "Retry-After: 9999\r\n", "{}"), Position::Closed),
        ("an error of the server", &|played| played.reject(500, "Retry-After: 9999\r\n", "{}"), Position::Open),
        ("silence", &|played| played.pass(301), Position::Open),
    ];
    for (name, play, position) in table {
        let upstream = upstream();
        for number in 0..5 {
            assert_eq!(upstream.position(), Position::Closed, "{name} {number}");
            let mut played = Played::new(&upstream, 1_000_000 * number);
            play(&mut played);
            assert!(played.end.is_some(), "{name}");
        }
        assert_eq!(upstream.position(), position, "{name}");
    }
    let upstream = upstream();
    let mut played = Played::new(&upstream, 0);
    while played.end.is_none() {
        played.reject(500, "", "");
        played.pass(10);
    }
    assert_eq!((played.requests, upstream.position()), (4, Position::Closed), "four attempts for one message");
}

/// D13: a model that is loading is asked until the first byte is overdue, and the attempts do not count.
#[test]
fn a_model_that_is_loading_is_asked_again_for_as_long_as_a_first_byte_may_take() {
    let loading = "{\"error\":{\"message\":\"Loading model\",\"type\":\"unavailable_error\",\"code\":503}}";
    let mut played = Played::new(&upstream(), 0);
    while played.now < MonoTime(15_000_000) {
        if played.is_connected {
            played.reject(503, "", loading);
        }
        played.pass(1);
    }
    assert!(played.requests > 4 && played.end.is_none(), "{} {:?}", played.requests, played.end);
    assert_eq!(played.retries.len() as u32, played.requests - u32::from(played.is_connected), "each is reported");
    while !played.is_connected {
        played.pass(1);
    }
    played.head();
    played.say("now");
    played.send("data: [DONE]\n\n");
    assert!(played.end.as_ref().is_some_and(Result::is_ok), "{:?}", played.end);

    // One that never ends loading, and one that says so in another error, are given up.
    let mut played = Played::new(&upstream(), 0);
    while played.end.is_none() {
        assert!(played.now < MonoTime(400_000_000), "the wait has a bound");
        if played.is_connected {
            played.reject(503, "", loading);
        }
        played.pass(1);
    }
    assert!(played.now > MonoTime(290_000_000), "{:?}", played.now);
    let mut played = Played::new(&upstream(), 0);
    while played.end.is_none() {
        if played.is_connected {
            played.reject(503, "", "{\"error\":{\"message\":\"out of memory\"}}");
        }
        played.pass(1);
    }
    assert_eq!(played.requests, 4);
}

/// D14: waits that the server asks for, in each form.
#[test]
fn waits_that_the_server_asks_for_are_honoured() {
    let date = "Date: Sat, 28 Nov 2026 12:00:00 GMT\r\nRetry-After: Sat, 28 Nov 2026 12:00:20 GMT\r\n";
    let table = [
        (date, 20_000),
        ("Retry-After: 1.5\r\n", 1_500),
        ("Retry-After: 7\r\n", 7_000),
        ("retry-after-ms: 900\r\n", 900),
        ("x-ratelimit-reset-requests: 12s\r\n", 12_000),
    ];
    for (fields, milliseconds) in table {
        let mut played = Played::new(&upstream(), 0);
        played.reject(429, fields, "{}");
        let [pause] = played.retries[..] else { panic!("{fields}: {:?}", played.retries) };
        assert!((milliseconds..milliseconds + 1_000).contains(&pause), "{fields}: {pause}");
        played.pass(pause.div_ceil(1000));
        assert_eq!(played.requests, 2, "{fields}");
    }
    let mut played = Played::new(&upstream(), 0);
    played.reject(429, "Retry-After: 3600\r\n", "{}");
    assert_eq!((played.failure().kind, played.requests), (FailureKind::Status(429), 1), "longer than any wait");
}

/// D15: what another attempt cannot change is not tried again.
#[test]
fn what_cannot_change_is_not_tried_again() {
    let table = [
        (429, "", "{\"error\":{\"message\":\"You exceeded your current quota\",\"code\":\"insufficient_quota\"}}"),
        (503, "x-should-retry: false\r\n", "{}"),
        (401, "", "{\"error\":{\"message\":\"Incorrect API key provided\"}}"),
        (400, "", "{\"error\":{\"message\":\"bad\"}}"),
    ];
    for (status, fields, body) in table {
        let mut played = Played::new(&upstream(), 0);
        played.reject(status, fields, body);
        played.pass(60);
        assert_eq!((played.failure().kind, played.requests), (FailureKind::Status(status), 1), "{body}");
    }
}

/// A finish reason does not end the text, however long the model pauses after it.
#[test]
fn text_after_a_finish_reason_may_take_as_long_as_other_text() {
    let mut played = Played::new(&upstream(), 0);
    played.head();
    played.send("data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"},\"finish_reason\":\"stop\"}]}\n\n");
    played.pass(55);
    played.say("lo");
    played.pass(55);
    played.send("data: [DONE]\n\n");
    assert!(played.end.as_ref().is_some_and(Result::is_ok), "{:?}", played.end);
    assert_eq!(played.pieces.text, "Hello");

    // What is not text does not keep the answer open.
    let mut played = Played::new(&upstream(), 0);
    played.head();
    played.send("data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"},\"finish_reason\":\"stop\"}]}\n\n");
    for _ in 0..70 {
        played.send(": still here\n\n");
        played.pass(1);
    }
    assert!(played.end.as_ref().is_some_and(Result::is_ok), "{:?}", played.end);
}

/// One long answer, or one silent model, does not keep all others out after an outage.
#[test]
fn a_probe_keeps_others_out_only_until_its_first_text_or_for_one_cool_down() {
    let opened = || {
        let upstream = upstream();
        for number in 0..5 {
            let mut played = Played::new(&upstream, number);
            played.reject(500, "Retry-After: 9999\r\n", "{}");
        }
        assert_eq!(upstream.position(), Position::Open);
        upstream
    };
    let upstream = opened();
    let mut probe = Played::new(&upstream, 20_000);
    assert!(Played::new(&upstream, 20_001).end.is_some(), "one probe at a time");
    probe.head();
    probe.say("a");
    assert_eq!(upstream.position(), Position::Closed);
    assert!(Played::new(&upstream, 20_002).end.is_none());

    let upstream = opened();
    let silent = Played::new(&upstream, 20_000);
    assert!(Played::new(&upstream, 29_000).end.is_some());
    let mut second = Played::new(&upstream, 31_000);
    second.head();
    second.say("a");
    assert_eq!((upstream.position(), silent.end), (Position::Closed, None));
}

/// The words of a user in an error do not switch the counting of tokens off for all.
#[test]
fn token_counts_are_given_up_only_when_that_helps() {
    let words = "{\"error\":{\"message\":\"Content filter: stream_options is not supported\"}}";
    let upstream = upstream();
    let mut played = Played::new(&upstream, 0);
    played.reject(400, "", words);
    played.reject(400, "", words);
    assert_eq!((played.requests, played.failure().kind), (2, FailureKind::Status(400)));
    assert!(upstream.counts_tokens());
    let mut played = Played::new(&upstream, 0);
    played.reject(400, "", words);
    played.head();
    assert!(!upstream.counts_tokens());
}

/// Tokens that the model has counted are known, however the answer ends.
#[test]
fn usage_is_known_after_any_end() {
    let usage = "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":1}}\n\n";
    let ends: [Play<'_>; 4] = [
        &|played| played.close(),
        &|played| played.send("data: {\"error\":{\"message\":\"oh\"}}\n\n"),
        &|played| played.pass(61),
        &|played| played.request.stop(),
    ];
    for end in ends {
        let mut played = Played::new(&upstream(), 0);
        played.head();
        played.send(usage);
        end(&mut played);
        let completion = played.request.completion();
        assert_eq!((completion.model.as_deref(), completion.prompt_tokens), (Some("m-1"), Some(1000)));
    }
}

/// A model that expects to load for longer than any other wait is waited for all the same.
#[test]
fn a_long_time_of_loading_is_waited_for() {
    let mut played = Played::new(&upstream(), 0);
    played.reject(503, "Retry-After: 400\r\n", "{\"error\":\"Model x is currently loading\",\"estimated_time\":400}");
    assert!(played.end.is_none(), "{:?}", played.end);
    let [pause] = played.retries[..] else { panic!("{:?}", played.retries) };
    assert!(pause <= 300_000, "{pause}");
    played.pass(pause.div_ceil(1000));
    assert_eq!(played.requests, 2);
}

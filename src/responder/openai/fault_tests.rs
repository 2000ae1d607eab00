//! Answers and errors that were read wrongly once, each with related cases. The numbers are those of the list of faults.

use super::tests::read_all;
use super::*;
use crate::base::limits::*;
use crate::base::time::WallTime;
use crate::config::types::Secret;
use crate::http1::response_parse::parse_response_head;
use crate::responder::{Failure, FailureKind};
use serde_json::{Value, json};
use std::time::Duration;

const DONE: &str = "data: [DONE]\n\n";

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn chunk(delta: &Value, reason: &Value) -> String {
    event(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
}

fn text(text: &str) -> String {
    chunk(&json!({"content": text}), &Value::Null)
}

fn stop() -> String {
    chunk(&json!({}), &json!("stop"))
}

/// A name, the body, its text, its reasoning, and its finish reason or its failure.
struct FaultCase(&'static str, String, &'static str, &'static str, Result<Option<&'static str>, FailureKind>);

fn check(cases: Vec<FaultCase>) {
    for FaultCase(name, body, text, reasoning, end) in cases {
        for size in [1, 7, body.len().max(1)] {
            let (pieces, finished) = read_all(body.as_bytes().chunks(size), true);
            assert_eq!((&pieces.text[..], &pieces.reasoning[..]), (text, reasoning), "{name} by {size}: {finished:?}");
            let read_end = finished.as_ref().map(|end| end.finish_reason.as_deref()).map_err(|failure| failure.kind);
            assert_eq!(read_end, end, "{name} by {size}: {finished:?}");
        }
    }
}

#[test]
fn d1_a_finish_reason_does_not_end_the_text() {
    let word = |word: &str| chunk(&json!({"content": word}), &json!("stop"));
    check(vec![
        FaultCase("every chunk", [&word("a")[..], &word("b"), &word("c"), DONE].concat(), "abc", "", Ok(Some("stop"))),
        FaultCase("without [DONE]", [word("a"), word("b")].concat(), "ab", "", Ok(Some("stop"))),
        FaultCase(
            "text after the reason",
            [&text("a")[..], &stop(), &text("b"), DONE].concat(),
            "ab",
            "",
            Ok(Some("stop")),
        ),
        FaultCase(
            "the last reason",
            [&word("a")[..], &chunk(&json!({"content": "b"}), &json!("length")), DONE].concat(),
            "ab",
            "",
            Ok(Some("length")),
        ),
        FaultCase("neither reason nor [DONE]", text("a"), "a", "", Err(FailureKind::ConnectionLost)),
        FaultCase(
            "garbage after the reason",
            [&text("a")[..], &stop(), "data: oops\n\n", DONE].concat(),
            "a",
            "",
            Ok(Some("stop")),
        ),
        FaultCase(
            "an error after the reason",
            [&text("a")[..], &stop(), &event(&json!({"error": {"message": "x"}})), DONE].concat(),
            "a",
            "",
            Err(FailureKind::Reported),
        ),
        FaultCase(
            "an error after [DONE]",
            [&text("a")[..], DONE, &event(&json!({"error": 1}))].concat(),
            "a",
            "",
            Ok(None),
        ),
    ]);
}

#[test]
fn d4_content_comes_as_parts() {
    let content = |content: Value| [&chunk(&json!({"content": content}), &json!("stop"))[..], DONE].concat();
    let whole = |message: Value| json!({"choices": [{"message": message, "finish_reason": "stop"}]}).to_string();
    let ok = || Ok(Some("stop"));
    check(vec![
        FaultCase(
            "thinking, then text",
            content(json!([
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "yes"},
            ])),
            "yes",
            "hm",
            ok(),
        ),
        FaultCase("strings", content(json!(["a", {"text": "b"}, {"content": "c"}])), "abc", "", ok()),
        FaultCase("one object", content(json!({"type": "output_text", "text": {"value": "a"}})), "a", "", ok()),
        FaultCase(
            "no text",
            content(json!([{"type": "image_url", "text": "x"}, {"type": "text", "text": "a"}])),
            "a",
            "",
            ok(),
        ),
        FaultCase("in a message", whole(json!({"content": [{"type": "text", "text": "a"}]})), "a", "", ok()),
        FaultCase(
            "a reasoning part",
            whole(json!({"content": [{"type": "reasoning", "text": "r"}, "a"]})),
            "a",
            "r",
            ok(),
        ),
        FaultCase(
            "a legacy completion",
            json!({"choices": [{"text": "a", "finish_reason": "stop"}]}).to_string(),
            "a",
            "",
            ok(),
        ),
        FaultCase(
            "a legacy stream",
            [&event(&json!({"choices": [{"text": "a"}]}))[..], &event(&json!({"choices": [{"text": "b"}]})), DONE]
                .concat(),
            "ab",
            "",
            Ok(None),
        ),
        FaultCase(
            "too deep",
            content((0..30).fold(json!("a"), |inner, _| json!([inner]))),
            "",
            "",
            Err(FailureKind::Empty),
        ),
    ]);
}

#[test]
fn d5_halves_of_characters_are_joined_across_chunks() {
    let raw = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let thought = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"reasoning\":\"{text}\"}}}}]}}\n\n");
    check(vec![
        FaultCase("a pair", [&raw("ab\\ud83d")[..], &raw("\\ude00cd"), DONE].concat(), "ab\u{1f600}cd", "", Ok(None)),
        FaultCase("upper case", [&raw("\\uD83D")[..], &raw("\\uDE00"), DONE].concat(), "\u{1f600}", "", Ok(None)),
        FaultCase("no second half", [&raw("a\\ud83d")[..], DONE].concat(), "a\u{fffd}", "", Ok(None)),
        FaultCase("no first half", [&raw("\\ude00a")[..], DONE].concat(), "\u{fffd}a", "", Ok(None)),
        FaultCase(
            "in reasoning",
            [&thought("\\ud83d")[..], &thought("\\ude00"), &raw("a"), DONE].concat(),
            "a",
            "\u{1f600}",
            Ok(None),
        ),
        FaultCase(
            "plain",
            "{\"choices\":[{\"message\":{\"content\":\"a\\ud83d\"}}]}".into(),
            "a\u{fffd}",
            "",
            Ok(None),
        ),
        FaultCase(
            "before an error",
            [&raw("a\\ud83d")[..], "data: {\"error\":\"x\\ud83d\"}\n\n"].concat(),
            "a\u{fffd}",
            "",
            Err(FailureKind::Reported),
        ),
    ]);
}

#[test]
fn d7_d22_errors_are_found_in_every_shape() {
    let errors = [
        json!({"object": "error", "message": "oh", "code": 500}),
        json!({"choices": null, "error_message": "oh"}),
        json!({"error": {"message": "oh", "type": "server_error"}}),
        json!({"error": "oh"}),
        json!({"error": true}),
        json!({"error": 1}),
        json!({"error": {}}),
        json!({"error": ["oh"], "choices": [{"delta": {"content": "x"}}]}),
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "oh"}}),
        json!({"detail": "oh"}),
        json!({"detail": [{"msg": "oh"}]}),
        json!({"message": "oh"}),
        json!({"code": "500", "msg": "oh"}),
        json!({"choices": [], "code": 1301, "message": "oh"}),
        json!({"success": false, "message": "oh"}),
        json!({"errors": [{"message": "oh"}]}),
        json!({"base_resp": {"status_code": 1008, "status_msg": "oh"}, "choices": null}),
        json!({"x_groq": {"error": "oh"}, "choices": []}),
        json!({"choices": [{"delta": {}, "error": {"code": 502, "message": "oh"}, "finish_reason": "error"}]}),
        json!({"choices": [{"delta": {}, "finish_reason": "error"}]}),
        json!([{"error": {"message": "oh"}}]),
    ];
    for error in errors {
        let body = [&text("Hel")[..], &event(&error), DONE].concat();
        let (pieces, end) = read_all([body.as_bytes()], true);
        assert_eq!(
            (&pieces.text[..], end.as_ref().map_err(|end| end.kind)),
            ("Hel", Err(FailureKind::Reported)),
            "{error}"
        );
        let message = end.unwrap_err().message;
        let has_words = error.to_string().contains("oh") && !message.ends_with(": oh");
        assert!(!has_words, "{error}: {message}");
        let (_, end) = read_all([error.to_string().as_bytes()], true);
        assert_eq!(end.unwrap_err().kind, FailureKind::Reported, "plain {error}");
    }
    let named = [&text("Hel")[..], "event: error\ndata: out of memory\n\n", DONE].concat();
    let failure = read_all([named.as_bytes()], true).1.unwrap_err();
    assert_eq!(failure.message, "The model's server reported an error: out of memory");
    let harmless = [
        json!({"error": ""}),
        json!({"error": null}),
        json!({"error": {}}),
        json!({"error": false}),
        json!({"error": {"code": 0, "message": ""}}),
        json!({"error_message": "", "code": 0, "message": "success"}),
        json!({"base_resp": {"status_code": 0, "status_msg": ""}}),
        json!({"detail": null, "errors": []}),
    ];
    for mut value in harmless {
        value["choices"] = json!([{"delta": {"content": "a"}}]);
        let body = [&event(&value)[..], DONE].concat();
        let (pieces, end) = read_all([body.as_bytes()], true);
        assert_eq!((&pieces.text[..], end.is_ok()), ("a", true), "{value}: {end:?}");
    }
    for alive in [
        json!({"type": "ping"}),
        json!({"type": "ping", "message": "alive"}),
        json!({"code": 200, "message": "ok"}),
        json!({"code": 0, "msg": "success", "data": {}}),
        json!({"choices": [], "usage": null, "error": null}),
    ] {
        let body = [&event(&alive)[..], &text("a"), DONE].concat();
        assert!(read_all([body.as_bytes()], true).1.is_ok(), "{alive}");
    }
}

#[test]
fn d11_the_last_event_counts_without_its_empty_line() {
    let cut = |body: &str, bytes: usize| body[..body.len() - bytes].to_owned();
    let last = chunk(&json!({"content": "b"}), &json!("stop"));
    check(vec![
        FaultCase("no empty line", [&text("a")[..], &cut(&last, 1)].concat(), "ab", "", Ok(Some("stop"))),
        FaultCase("no line end", [&text("a")[..], &cut(&last, 2)].concat(), "ab", "", Ok(Some("stop"))),
        FaultCase("CR LF", [text("a"), cut(&last, 2) + "\r\n"].concat(), "ab", "", Ok(Some("stop"))),
        FaultCase("[DONE] without a line end", [&text("a")[..], "data: [DONE]"].concat(), "a", "", Ok(None)),
        FaultCase(
            "half an event",
            [&text("a")[..], &cut(&last, 10)].concat(),
            "a",
            "",
            Err(FailureKind::ConnectionLost),
        ),
        FaultCase(
            "half an event after the reason",
            [&stop()[..], &text("a"), &cut(&last, 10)].concat(),
            "a",
            "",
            Ok(Some("stop")),
        ),
        FaultCase(
            "an error without its empty line",
            [&text("a")[..], "event: error\ndata: oh"].concat(),
            "a",
            "",
            Err(FailureKind::Reported),
        ),
    ]);
}

#[test]
fn d12_events_that_are_no_json_are_skipped() {
    for noise in [
        "data: : keepalive\n\n",
        "data: ping\n\n",
        "data: {\"choi\n\n",
        "data: null\n\n",
        "data: \"x\"\n\n",
        "data: 7\n\n",
    ] {
        let body = [noise, &text("a"), noise, &stop(), DONE].concat();
        let (pieces, end) = read_all([body.as_bytes()], true);
        assert_eq!((&pieces.text[..], end.is_ok()), ("a", true), "{noise}");
        let failure = read_all([noise.repeat(3).as_bytes()], true).1.unwrap_err();
        assert_eq!((failure.kind, failure.retryable), (FailureKind::InvalidResponse, false), "{noise}");
    }
    let failure = read_all([&b"Internal Server Error, key sk-secret"[..]], true).1.unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidResponse);
    assert_eq!(failure.detail, "the answer has no readable event: Internal Server Error, key [key]");
    let failure = read_all([&b": a comment\n\n: and another\n\n"[..]], true).1.unwrap_err();
    assert_eq!(failure.kind, FailureKind::ConnectionLost);
}

#[test]
fn d17_refusals_are_text() {
    check(vec![
        FaultCase(
            "a stream",
            [
                &chunk(&json!({"refusal": "I "}), &Value::Null)[..],
                &chunk(&json!({"refusal": "can't"}), &json!("stop")),
                DONE,
            ]
            .concat(),
            "I can't",
            "",
            Ok(Some("stop")),
        ),
        FaultCase(
            "beside empty content",
            json!({"choices": [{"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}]}).to_string(),
            "no",
            "",
            Ok(Some("stop")),
        ),
        FaultCase(
            "a part",
            [&chunk(&json!({"content": [{"type": "refusal", "refusal": "no"}]}), &json!("stop"))[..], DONE].concat(),
            "no",
            "",
            Ok(Some("stop")),
        ),
    ]);
}

#[test]
fn d18_finish_reasons_mean_what_their_servers_say() {
    let failed = [
        "insufficient_system_resource",
        "error",
        "ERROR",
        "abort",
        "network_error",
        "malformed_function_call",
        "function_call_filter: MALFORMED_FUNCTION_CALL",
        "USER_CANCEL",
        "cancelled",
        "time_limit",
    ];
    for reason in failed {
        let body = [&text("a")[..], &chunk(&json!({"content": "b"}), &json!(reason)), DONE].concat();
        let (pieces, end) = read_all([body.as_bytes()], true);
        assert_eq!((&pieces.text[..], end.map_err(|end| end.kind)), ("ab", Err(FailureKind::Reported)), "{reason}");
    }
    let complete = [
        "stop",
        "length",
        "max_tokens",
        "MAX_TOKENS",
        "content_filter",
        "SAFETY",
        "end_turn",
        "eos",
        "eos_token",
        "stop_sequence",
        "tool_calls",
        "model_length",
        "sensitive",
        "model_context_window_exceeded",
        "COMPLETE",
    ];
    for reason in complete {
        let with_text = [&text("a")[..], &chunk(&json!({}), &json!(reason)), DONE].concat();
        let end = read_all([with_text.as_bytes()], true).1.unwrap();
        assert_eq!(end.finish_reason.as_deref(), Some(reason));
        let without = [&chunk(&json!({}), &json!(reason))[..], DONE].concat();
        let failure = read_all([without.as_bytes()], true).1.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Empty, "{reason}");
        assert!(failure.message.contains(reason), "{}", failure.message);
    }
    for none in [json!(""), json!(null), json!("null"), json!("not_finished"), json!(7)] {
        let body = [text("a"), chunk(&json!({}), &none)].concat();
        assert_eq!(read_all([body.as_bytes()], true).1.unwrap_err().kind, FailureKind::ConnectionLost, "{none}");
    }
}

#[test]
fn d21_only_the_first_choice_counts() {
    let choice = |index: u64, text: &str| event(&json!({"choices": [{"index": index, "delta": {"content": text}}]}));
    let both = |a: &str, b: &str| {
        event(&json!({"choices": [{"index": 1, "delta": {"content": b}}, {"index": 0, "delta": {"content": a}}]}))
    };
    check(vec![
        FaultCase(
            "alternating",
            [&choice(0, "a")[..], &choice(1, "x"), &choice(0, "b"), DONE].concat(),
            "ab",
            "",
            Ok(None),
        ),
        FaultCase("in one chunk", [&both("a", "x")[..], &both("b", "y"), DONE].concat(), "ab", "", Ok(None)),
        FaultCase(
            "another choice first",
            [&choice(1, "x")[..], &choice(0, "a"), &choice(1, "y"), &choice(0, "b"), DONE].concat(),
            "ab",
            "",
            Ok(None),
        ),
        FaultCase(
            "another choice's reason",
            [&choice(0, "a")[..], &event(&json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}))]
                .concat(),
            "a",
            "",
            Err(FailureKind::ConnectionLost),
        ),
    ]);
}

#[test]
fn d26_one_event_may_be_the_whole_answer() {
    let long = "x".repeat(CONTENT_BYTES_MAX);
    let escaped = "\\u0041".repeat(CONTENT_BYTES_MAX);
    let bodies = [
        [&text(&long)[..], DONE].concat(),
        [&format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{escaped}\"}}}}]}}\n\n")[..], DONE].concat(),
        json!({"choices": [{"message": {"content": long}}]}).to_string(),
    ];
    for body in bodies {
        let (pieces, end) = read_all(body.as_bytes().chunks(65_536), true);
        assert_eq!((pieces.text.len(), end.is_ok()), (CONTENT_BYTES_MAX, true));
    }
}

#[test]
fn d27_a_response_without_content_is_an_empty_answer() {
    let failure = read_all([], true).1.unwrap_err();
    assert_eq!((failure.kind, failure.retryable), (FailureKind::Empty, false));
    let head =
        parse_response_head(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 100).unwrap().unwrap();
    assert_eq!(head.body, crate::http1::response_parse::BodyEnd::Framed(crate::http1::head::Framing::None));
    let lost = read_all([], false).1.unwrap_err();
    assert_eq!((lost.kind, lost.retryable), (FailureKind::ConnectionLost, true));
}

#[test]
fn reasoning_is_separate_and_bounded() {
    let delta = |delta: Value| chunk(&delta, &Value::Null);
    check(vec![
        FaultCase(
            "both names",
            [&delta(json!({"reasoning_content": "a", "reasoning": "a", "content": null}))[..], &text("b"), DONE]
                .concat(),
            "b",
            "a",
            Ok(None),
        ),
        FaultCase(
            "details beside the text",
            [
                &delta(json!({"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a"}]}))[..],
                &delta(json!({"content": "b", "reasoning_details": [{"type": "reasoning.encrypted", "data": "AAAA"}]})),
                DONE,
            ]
            .concat(),
            "b",
            "a",
            Ok(None),
        ),
        FaultCase(
            "tags",
            [&text("<thi")[..], &text("nk>a</th"), &text("ink>\n\nb"), DONE].concat(),
            "b",
            "a",
            Ok(None),
        ),
        FaultCase(
            "no more than reasoning",
            [&text("<think>a</think>")[..], &stop()].concat(),
            "",
            "a",
            Err(FailureKind::Empty),
        ),
    ]);
    let long = "\u{e9}".repeat(REASONING_BYTES_MAX / 4);
    let thought = delta(json!({"reasoning": long}));
    let body = [&thought[..], &thought, &thought, &text("b"), DONE].concat();
    let (pieces, end) = read_all([body.as_bytes()], true);
    assert_eq!((pieces.reasoning.len(), &pieces.text[..], end.is_ok()), (REASONING_BYTES_MAX, "b", true));
}

fn response(status: u16, fields: &str, body: &str) -> Failure {
    let head = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
    let head = parse_response_head(head.as_bytes(), 1000).unwrap().unwrap();
    error_response(&head, body.as_bytes(), &[Secret::new("open-sesame-4711")], Some(WallTime(0)))
}

#[test]
fn d13_a_loading_model_is_recognized() {
    let loading = [
        "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}",
        "{\"error\":\"Model m is currently loading\",\"estimated_time\":20.5}",
        "The model is warming up",
    ];
    for body in loading {
        let failure = response(503, "", body);
        assert!(failure.is_loading && failure.retryable, "{body}");
        assert!(!response(500, "", body).is_loading, "{body}");
    }
    assert_eq!(response(503, "", loading[1]).retry_after, Some(Duration::from_millis(20_500)));
    assert_eq!(response(503, "Retry-After: 1\r\n", loading[1]).retry_after, Some(Duration::from_secs(1)));
    assert!(!response(503, "", "{\"error\":\"overloaded\"}").is_loading);
}

#[test]
fn d14_waits_reach_the_failure() {
    let table = [
        ("Retry-After: 1.5\r\n", Some(1_500)),
        ("Retry-After: Thu, 01 Jan 1970 00:00:20 GMT\r\n", Some(20_000)),
        ("retry-after-ms: 300\r\n", Some(300)),
        ("x-ratelimit-reset-requests: 2s\r\n", Some(2_000)),
        ("", None),
    ];
    for (fields, milliseconds) in table {
        assert_eq!(response(429, fields, "{}").retry_after, milliseconds.map(Duration::from_millis), "{fields}");
    }
    let failure = response(500, "x-should-retry: false\r\n", "{}");
    assert_eq!((failure.retryable, failure.should_retry), (false, Some(false)));
    let failure = response(400, "x-should-retry: true\r\n", "{}");
    assert_eq!((failure.retryable, failure.should_retry), (true, Some(true)));
}

#[test]
fn d15_what_has_to_be_paid_is_not_retried() {
    let bodies = [
        json!({"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}}),
        json!({"error": {"message": "Your account has insufficient balance", "type": "exceeded_current_quota_error"}}),
        json!({"code": "Arrearage", "message": "Access denied"}),
        json!({"error": {"code": 429, "message": "This request requires more credits"}}),
    ];
    for body in bodies {
        assert!(!response(429, "Retry-After: 1\r\n", &body.to_string()).retryable, "{body}");
        assert!(!response(429, "x-should-retry: true\r\n", &body.to_string()).retryable, "{body}");
        assert!(!read_all([event(&body).as_bytes()], true).1.unwrap_err().retryable, "{body}");
    }
    let by_minute =
        json!([{"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}]);
    assert!(response(429, "", &by_minute.to_string()).retryable, "a limit per minute");
    assert!(response(429, "", "{\"error\":{\"code\":\"rate_limit_exceeded\"}}").retryable);
}

#[test]
fn d16_no_key_is_shown() {
    let texts = [
        "Incorrect API key provided: sk-p****9xyZ. You can find your key there",
        "Authorization: Bearer abcdef123 is wrong",
        "key=AIzaSyABC123 is wrong",
        "open-sesame-4711 is unknown",
        "a key that begins with open-s and ends with e-4711",
    ];
    for text in texts {
        let body = json!({"error": {"message": text, "param": "open-sesame-4711"}}).to_string();
        let streamed = format!("event: error\ndata: {body}\n\n");
        let failures = [response(400, "", &body), response(500, "", text), response(401, "", &body)];
        let mut reader = AnswerReader::new([Secret::new("open-sesame-4711")].into());
        let from_stream = reader.read(streamed.as_bytes(), &mut AnswerPieces::default()).unwrap_err();
        for failure in failures.into_iter().chain([from_stream]) {
            for piece in ["9xyZ", "abcdef123", "AIza", "open-s", "sesame", "e-4711"] {
                let shown = format!("{} {}", failure.message, failure.detail);
                assert!(!shown.contains(piece), "{piece} in {shown}");
            }
        }
    }
}

#[test]
fn d19_error_responses_say_what_was_said() {
    let table = [
        ("[{\"error\":{\"message\":\"too long\"}}]", ": too long"),
        ("{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"too long\"}]}", ": too long"),
        ("{\"detail\":[{\"msg\":\"a\"},{\"msg\":\"b\"}]}", ": a; b"),
        ("{\"errors\":[{\"message\":\"too long\"}]}", ": too long"),
        ("{\"errors\":[\"too long\"]}", ": too long"),
        ("{\"message\":\"too long\"}", ": too long"),
        ("{\"Message\":\"too long\"}", ": too long"),
        ("{\"msg\":\"too long\"}", ": too long"),
        ("{\"detail\":\"too long\"}", ": too long"),
        ("{\"detail\":{\"error\":\"too long\"}}", ": too long"),
        ("{\"error\":{\"message\":\"too long\"}}", ": too long"),
        ("{\"error\":\"too long\"}", ": too long"),
        ("{\"error\":{\"message\":\"{\\\"detail\\\":\\\"too long\\\"}\"}}", ": too long"),
        (
            "{\"error\":{\"message\":\"Provider returned error\",\"metadata\":{\"raw\":\"{\\\"error\\\":{\\\"message\\\":\\\"too long\\\"}}\"}}}",
            ": Provider returned error: too long",
        ),
        ("data: {\"error\":{\"message\":\"too long\"}}\n\n", ": too long"),
        ("404 page not found", ": 404 page not found"),
        ("{\"error\":{\"message\":\"a\\u0000\\ud83db\"}}", ": a \u{fffd}b"),
        ("{\"error\":{\"mess", ""),
        ("{}", ""),
        ("<h1>nginx</h1>", ""),
        ("", ""),
    ];
    for (body, rest) in table {
        let message = response(400, "", body).message;
        assert_eq!(message, format!("The model's server rejected the request (400){rest}"), "{body}");
    }
}

#[test]
fn d20_a_repeated_request_is_no_complaint_about_token_counts() {
    let yes = [
        "{\"detail\":[{\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"stream_options\"],\"msg\":\"Extra inputs are not permitted\"}]}",
        "{\"error\":{\"message\":\"Unrecognized request argument supplied: stream_options\"}}",
        "{\"error\":{\"message\":\"bad value\",\"param\":\"stream_options\"}}",
        "{\"message\":\"Unknown field: include_usage\"}",
        "{\"object\":\"error\",\"message\":\"[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'input': {'include_usage': True}}]\"}",
        "{\"errors\":{\"stream_options\":[\"unknown field\"]}}",
        "stream_options is not supported",
    ];
    for body in yes {
        assert!(rejects_token_counts(422, body.as_bytes()) && rejects_token_counts(400, body.as_bytes()), "{body}");
        assert!(!rejects_token_counts(500, body.as_bytes()), "{body}");
    }
    let no = [
        "{\"detail\":[{\"loc\":[\"body\",\"temperature\"],\"msg\":\"invalid\",\"input\":{\"stream_options\":{\"include_usage\":true}}}]}",
        "{\"error\":{\"message\":\"invalid temperature\"},\"request\":{\"stream_options\":{\"include_usage\":true}}}",
        "{\"error\":{\"message\":\"invalid request: {\\\"temperature\\\":9,\\\"stream_options\\\":{\\\"include_usage\\\":true}}\"}}",
        "{\"error\":{\"message\":\"Unknown field x\"},\"sent\":{\"stream_options\":{\"include_usage\":true}}}",
        "{\"error\":{\"message\":\"stream_options was seen\"}}",
        "{\"error\":\"too long\"}",
        "",
    ];
    for body in no {
        assert!(!rejects_token_counts(422, body.as_bytes()), "{body}");
    }
}

#[test]
fn contexts_that_are_too_long_are_recognized() {
    let words = [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "Context size has been exceeded.",
        "Requested tokens (2285) exceed context window of 2048",
        "Trying to keep the first 6547 tokens when context the overflows.",
        "the input length exceeds the context length",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
        "Please reduce the length of the messages or completion.",
        "prompt is too long: 208310 tokens > 200000 maximum",
        "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
        "`inputs` tokens + `max_new_tokens` must be <= 4096.",
    ];
    for text in words {
        let body = json!({"error": {"message": text}}).to_string();
        for status in [400, 413, 500] {
            let failure = response(status, "", &body);
            assert!(failure.context_too_long && !failure.retryable, "{status} {text}");
        }
        assert!(!response(429, "", &body).context_too_long, "{text}");
        let failure = read_all([event(&json!({"error": {"message": text}})).as_bytes()], true).1.unwrap_err();
        assert!(failure.context_too_long, "{text}");
    }
    for code in ["context_length_exceeded", "exceed_context_size_error"] {
        assert!(response(400, "", &json!({"error": {"type": code, "message": "x"}}).to_string()).context_too_long);
    }
    for other in ["maximum number of images exceeded", "the model is overloaded", "temperature is too large"] {
        assert!(!response(400, "", &json!({"error": {"message": other}}).to_string()).context_too_long, "{other}");
    }
    let repeated = json!({"error": {"message": "bad"}, "request": {"messages": [{"content": "prompt is too long"}]}});
    assert!(!response(400, "", &repeated.to_string()).context_too_long);
}

#[test]
fn an_error_in_a_field_of_its_own_fails_the_answer() {
    let body = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n\
        error: {\"code\":500,\"message\":\"Context size has been exceeded.\"}\n\ndata: [DONE]\n\n";
    let mut reader = AnswerReader::new([].into());
    let failure = reader.read(body.as_bytes(), &mut AnswerPieces::default()).unwrap_err();
    assert!(failure.message.ends_with(": Context size has been exceeded."), "{failure:?}");
    assert!(failure.context_too_long);
}

#[test]
fn a_blank_finish_reason_is_none() {
    let chunk = |reason: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}},\"finish_reason\":\"{reason}\"}}]}}\n\n")
    };
    let body = format!("{}{}data: [DONE]\n\n", chunk("length"), chunk(" \\n"));
    let mut reader = AnswerReader::new([].into());
    reader.read(body.as_bytes(), &mut AnswerPieces::default()).unwrap();
    let completion = reader.end(true, &mut AnswerPieces::default()).unwrap();
    assert_eq!(completion.finish_reason.as_deref(), Some("length"));
}

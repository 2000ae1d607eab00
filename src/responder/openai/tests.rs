use super::*;
use crate::base::limits::*;
use crate::config::types::Secret;
use crate::responder::{Completion, Failure, FailureKind};
use serde_json::{Value, json};

/// The pieces and the end of an answer that comes in these chunks and then ends.
pub(super) fn read_all<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    whole: bool,
) -> (AnswerPieces, Result<Completion, Failure>) {
    let mut pieces = AnswerPieces::default();
    let mut reader = AnswerReader::new([Secret::new("sk-secret")].into());
    let mut is_done = false;
    for chunk in chunks {
        match reader.read(chunk, &mut pieces) {
            Ok(progress) => is_done = progress == ReadProgress::Done,
            Err(failure) => return (pieces, Err(failure)),
        }
        if is_done {
            break;
        }
    }
    let end = reader.end(whole || is_done, &mut pieces);
    (pieces, end)
}

/// The text of [`read_all`] instead of both pieces.
fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, whole: bool) -> (String, Result<Completion, Failure>) {
    let (pieces, end) = read_all(chunks, whole);
    (pieces.text, end)
}

fn delta(text: &str) -> String {
    format!("data: {}\n\n", json!({"model": "m-1", "choices": [{"index": 0, "delta": {"content": text}}]}))
}

const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A name, the body, the text, and the finish reason or the error.
type AnswerCase = (&'static str, String, &'static str, Result<Option<&'static str>, FailureKind>);

fn cases() -> Vec<AnswerCase> {
    let all = |parts: &[&str]| parts.concat();
    let (hel, lo) = (delta("H\u{e9}l"), delta("lo \u{1f600}"));
    let plain = |content: Value, rest: Value| {
        let mut answer = json!({"model": "m-2", "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]});
        answer.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        answer.to_string()
    };
    let text = "H\u{e9}llo \u{1f600}";
    vec![
        ("usual", all(&[&hel, &lo, STOP, USAGE, DONE]), text, Ok(Some("stop"))),
        ("without a finish reason", all(&[&hel, &lo, DONE]), text, Ok(None)),
        ("without [DONE]", all(&[&hel, &lo, STOP]), text, Ok(Some("stop"))),
        ("[DONE] without an empty line", all(&[&hel, &lo, STOP, "data: [DONE]\n"]), text, Ok(Some("stop"))),
        ("no end", all(&[&hel, &lo]), text, Err(FailureKind::ConnectionLost)),
        ("an end in the middle of an event", all(&[&hel, &lo, "data: {\"cho"]), text, Err(FailureKind::ConnectionLost)),
        ("nothing", String::new(), "", Err(FailureKind::ConnectionLost)),
        ("nothing but white space", " \r\n \n".into(), "", Err(FailureKind::ConnectionLost)),
        ("CRLF", all(&[&hel, &lo, STOP, USAGE, DONE]).replace('\n', "\r\n"), text, Ok(Some("stop"))),
        ("CR", all(&[&hel, &lo, STOP, USAGE, DONE]).replace('\n', "\r"), text, Ok(Some("stop"))),
        ("a byte order mark", all(&["\u{feff}", &hel, &lo, STOP, DONE]), text, Ok(Some("stop"))),
        (
            "comments and other fields",
            all(&[
                ": hello\n\n",
                "retry: 10\n",
                &hel,
                ":\n",
                "id: 7\nevent: chunk\n",
                &lo,
                ": keep-alive\n\n",
                STOP,
                DONE,
            ]),
            text,
            Ok(Some("stop")),
        ),
        (
            "data on several lines",
            all(&[
                "data: {\"choices\":\ndata: [{\"delta\":\ndata: {\"content\":\"H\u{e9}llo \u{1f600}\"}}]}\n\n",
                STOP,
                DONE,
            ]),
            text,
            Ok(Some("stop")),
        ),
        (
            "no space after the colon, and escapes",
            all(&["data:{\"choices\":[{\"delta\":{\"content\":\"H\\u00e9llo \\ud83d\\ude00\"}}]}\n\n", STOP, DONE]),
            text,
            Ok(Some("stop")),
        ),
        (
            "chunks without text",
            all(&[
                "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n",
                "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
                "data: {\"choices\":[]}\n\ndata: {}\n\ndata:\n\ndata: {\"choices\":[{\"delta\":{\"content\":[1]}}]}\n\n",
                "event: ping\ndata: {\"type\":\"ping\"}\n\ndata: {\"choices\":null,\"error\":null,\"usage\":null}\n\n",
                &hel,
                "data: {\"choices\":[{\"delta\":{\"tool_calls\":[]},\"finish_reason\":null}]}\n\n",
                &lo,
                STOP,
                DONE,
            ]),
            text,
            Ok(Some("stop")),
        ),
        ("text after [DONE]", all(&[&hel, &lo, STOP, DONE, &hel]), text, Ok(Some("stop"))),
        ("two reasons", all(&[&hel, &lo, STOP, &STOP.replace("stop", "length"), DONE]), text, Ok(Some("length"))),
        ("garbage after the text", all(&[&hel, &lo, STOP, "data: oops\n\n"]), text, Ok(Some("stop"))),
        (
            "an error after the text",
            all(&[&hel, &lo, STOP, "data: {\"error\":1}\n\n"]),
            text,
            Err(FailureKind::Reported),
        ),
        ("an error after no text", all(&[STOP, "data: {\"error\":1}\n\n"]), "", Err(FailureKind::Reported)),
        (
            "an error as the reason",
            all(&[&hel, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n", DONE]),
            "H\u{e9}l",
            Err(FailureKind::Reported),
        ),
        ("an empty answer", all(&[STOP, DONE]), "", Err(FailureKind::Empty)),
        ("an answer of blanks", all(&[&delta(" \n"), STOP, DONE]), " \n", Err(FailureKind::Empty)),
        ("only [DONE]", DONE.into(), "", Err(FailureKind::Empty)),
        (
            "an error in the middle",
            all(&[&hel, "data: {\"error\":{\"message\":\"oh\"}}\n\n"]),
            "H\u{e9}l",
            Err(FailureKind::Reported),
        ),
        ("an error as text", "data: {\"error\":\"oh\"}\n\n".into(), "", Err(FailureKind::Reported)),
        (
            "an error event",
            all(&[&hel, "event: error\ndata: {\"message\":\"oh\"}\n\n"]),
            "H\u{e9}l",
            Err(FailureKind::Reported),
        ),
        ("an error event that is no JSON", "event: error\ndata: oh no\n\n".into(), "", Err(FailureKind::Reported)),
        (
            "an error at once, plain",
            "{\"error\":{\"message\":\"oh\",\"code\":500}}".into(),
            "",
            Err(FailureKind::Reported),
        ),
        ("no JSON, and no end", all(&[&hel, "data: oops\n\n", &lo]), text, Err(FailureKind::ConnectionLost)),
        ("no JSON", all(&[&hel, "data: oops\n\n", &lo, STOP]), text, Ok(Some("stop"))),
        ("JSON that is no object", "data: null\n\n".into(), "", Err(FailureKind::InvalidResponse)),
        ("JSON too deep", format!("data: {}\n\n", "[".repeat(1000)), "", Err(FailureKind::InvalidResponse)),
        ("a page", "<!doctype html>\n<title>It works!</title>\n\n".into(), "", Err(FailureKind::InvalidResponse)),
        (
            "plain",
            plain(json!(text), json!({"usage": {"prompt_tokens": 7, "completion_tokens": 2}})),
            text,
            Ok(Some("stop")),
        ),
        (
            "plain, indented",
            format!("\r\n{:#}\n", plain(json!(text), json!({})).parse::<Value>().unwrap()),
            text,
            Ok(Some("stop")),
        ),
        ("plain, nothing said", plain(Value::Null, json!({})), "", Err(FailureKind::Empty)),
        ("plain, no choices", "{\"object\":\"x\"}".into(), "", Err(FailureKind::InvalidResponse)),
        ("plain, no JSON", "{\"choices\":]}".into(), "", Err(FailureKind::InvalidResponse)),
        ("plain, cut", "{\"choices\":[{\"mess".into(), "", Err(FailureKind::ConnectionLost)),
    ]
}

#[test]
fn answers_are_read_in_whatever_form_they_come() {
    for (name, body, text, end) in cases() {
        let (read_text, finished) = read([body.as_bytes()], false);
        assert_eq!(read_text, text, "{name}");
        let read_end =
            finished.as_ref().map(|finished| finished.finish_reason.as_deref()).map_err(|failure| failure.kind);
        assert_eq!(read_end, end, "{name}: {finished:?}");
    }
}

#[test]
fn where_an_answer_is_cut_changes_nothing() {
    for (name, body, ..) in cases() {
        let whole = read([body.as_bytes()], false);
        for at in 0..=body.len() {
            let (first, second) = body.as_bytes().split_at(at);
            assert_eq!(read([first, second], false), whole, "{name} cut at {at}");
        }
        assert_eq!(read(body.as_bytes().chunks(1), false), whole, "{name} byte by byte");
    }
}

#[test]
fn facts_are_taken_from_wherever_they_stand() {
    let stream = [&delta("a")[..], STOP, USAGE, DONE].concat();
    let expected = Completion {
        model: Some("m-1".into()),
        prompt_tokens: Some(7),
        completion_tokens: Some(2),
        finish_reason: Some("stop".into()),
        ..Completion::default()
    };
    assert_eq!(read([stream.as_bytes()], true).1, Ok(expected));
    let none = "data: {\"model\":7,\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":-1}}\n\ndata: [DONE]\n\n";
    assert_eq!(read([none.as_bytes()], true).1, Ok(Completion::default()));
    let long = format!(
        "data: {{\"model\":\"{}\\n\",\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n{DONE}",
        "x".repeat(10_000)
    );
    let model = read([long.as_bytes()], true).1.unwrap().model.unwrap();
    assert_eq!(model.chars().count(), UPSTREAM_NAME_CHARS_MAX + 1);
}

#[test]
fn the_text_ends_at_the_longest_content() {
    for (before, after) in [(0, 5), (1, 3), (5, 2)] {
        let begin = delta(&"x".repeat(CONTENT_BYTES_MAX / 2 - before));
        let end = delta(&"x".repeat(CONTENT_BYTES_MAX / 2 - after));
        let body = [&begin[..], &end, &delta("\u{1f600}\u{1f600}\u{1f600}"), &delta("more"), STOP, DONE].concat();
        let (text, finished) = read(body.as_bytes().chunks(50_000), true);
        let whole = (before + after) / 4 * 4;
        assert_eq!(text.len(), CONTENT_BYTES_MAX - before - after + whole, "{before} {after}");
        assert_eq!(finished.unwrap().finish_reason.as_deref(), Some("length"));
    }
    let plain =
        json!({"choices": [{"message": {"content": "\u{e9}".repeat(CONTENT_BYTES_MAX)}, "finish_reason": "stop"}]});
    let (text, finished) = read([plain.to_string().as_bytes()], true);
    assert_eq!((text.len(), finished.unwrap().finish_reason.as_deref()), (CONTENT_BYTES_MAX, Some("length")));
    let exact = [&delta(&"x".repeat(CONTENT_BYTES_MAX))[..], STOP, DONE].concat();
    let (text, finished) = read(exact.as_bytes().chunks(50_000), true);
    assert_eq!((text.len(), finished.unwrap().finish_reason.as_deref()), (CONTENT_BYTES_MAX, Some("stop")));
}

#[test]
fn what_has_no_bound_is_refused() {
    let line = "data: ".to_owned() + &"x".repeat(UPSTREAM_EVENT_BYTES_MAX);
    assert_eq!(read([line.as_bytes()], true).1.unwrap_err().kind, FailureKind::InvalidResponse);
    let lines = "data: xxxxxxxxx\n".repeat(UPSTREAM_EVENT_BYTES_MAX / 10 + 1);
    assert_eq!(read([lines.as_bytes()], true).1.unwrap_err().kind, FailureKind::InvalidResponse);
    let plain = "{".to_owned() + &" ".repeat(UPSTREAM_PLAIN_BYTES_MAX);
    assert_eq!(read(plain.as_bytes().chunks(65_536), true).1.unwrap_err().kind, FailureKind::InvalidResponse);
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    let (text, finished) =
        read([&b"data: {\"choices\":[{\"delta\":{\"content\":\"a\xff\xfeb\"}}]}\n\n"[..], DONE.as_bytes()], true);
    assert_eq!((text.as_str(), finished.is_ok()), ("a\u{fffd}\u{fffd}b", true));
    let mut random = crate::base::random::Random::new(5);
    for _ in 0..500 {
        let bytes: Vec<u8> = (0..random.below(300)).map(|_| random.next_u64() as u8).collect();
        let (text, end) = read([&bytes[..]], true);
        assert_eq!((text.as_str(), end.is_err()), ("", true));
    }
}

#[test]
fn the_key_is_hidden_wherever_it_comes_back() {
    for body in [
        "data: sk-secret\n\n",
        "data: {\"error\":{\"message\":\"sk-secret\",\"code\":\"sk-secret\"}}\n\n",
        "event: error\ndata: sk-secret\n\n",
        "{\"error\":\"sk-secret\"}",
        "{sk-secret",
        "{\"sk-secret\":1}",
        "data: {\"model\":\"sk-secret\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"sk-secret\"}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"sk-secret\"}]}\n\n",
    ] {
        let end = read([body.as_bytes()], true).1;
        assert!(!format!("{end:?}").contains("sk-secret"), "{end:?}");
    }
    let reader = AnswerReader::new([Secret::new("sk-secret")].into());
    assert!(!format!("{reader:?}").contains("sk-secret"));
}

/// What a server sends that is not quite JSON, or not quite a stream: nothing of it may be lost in an answer that is complete.
#[test]
fn no_part_of_a_complete_answer_is_missing() {
    let chunk = |text: &str| format!("{{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}");
    let with = |field: &str| format!("{{\"choices\":[{{\"delta\":{{\"content\":\"b\"}}}}],{field}}}");
    let event = |data: &str| format!("data: {data}\n\n");
    let whole = |middle: &str| [&event(&chunk("a"))[..], middle, &event(&chunk("c")), STOP, DONE].concat();
    let error = |middle: &str| [&event(&chunk("a"))[..], middle, "\n\n", DONE].concat();
    let table = [
        ("NaN", whole(&event(&with("\"logprobs\":NaN"))), "abc", true),
        ("Infinity", whole(&event(&with("\"t\":{\"x\":-Infinity,\"y\":Infinity}"))), "abc", true),
        ("NaN in a text", whole(&event(&chunk("NaN \\\" Infinity"))), "aNaN \" Infinityc", true),
        ("a tab in a text", whole(&event(&chunk("\t"))), "a\tc", true),
        (
            "two events without an empty line",
            whole(&format!("data: {}\ndata: {}\n\n", chunk("b"), chunk("b"))),
            "abbc",
            true,
        ),
        (
            "[DONE] without an empty line before it",
            [&event(&chunk("a"))[..], "data: ", &chunk("b"), "\ndata: [DONE]\n\n"].concat(),
            "ab",
            true,
        ),
        ("an escape that is none", whole(&event(&chunk("\\x41"))), "ac", false),
        ("half a chunk", whole(&event("{\"choices\":[{\"delta\":{\"content\":\"b\"")), "ac", false),
        ("a word", whole(&event("working")), "ac", true),
        ("words of an error", error("data: Internal Server Error"), "a", false),
        ("an error in brackets", error("data: [ERROR] something broke"), "a", false),
        ("an error as a text", error("data: \"Error: CUDA out of memory\""), "a", false),
        (
            "an empty delta before a message",
            [
                &event(&chunk(""))[..],
                &event("{\"choices\":[{\"message\":{\"content\":\"m\"},\"finish_reason\":\"stop\"}]}"),
                DONE,
            ]
            .concat(),
            "m",
            true,
        ),
        (
            "an index as a text",
            whole(&event("{\"choices\":[{\"index\":\"1\",\"delta\":{\"content\":\"b\"}}]}")),
            "ac",
            true,
        ),
        ("a negative index", whole(&event("{\"choices\":[{\"index\":-1,\"delta\":{\"content\":\"b\"}}]}")), "ac", true),
        ("index 0.0", whole(&event("{\"choices\":[{\"index\":0.0,\"delta\":{\"content\":\"b\"}}]}")), "abc", true),
        (
            "two blocks of reasoning",
            [&event(&chunk("<think>x</think>\\n<think>y</think>Hi"))[..], STOP, DONE].concat(),
            "Hi",
            true,
        ),
    ];
    for (name, body, text, is_complete) in table {
        let (read_text, end) = read([body.as_bytes()], false);
        assert_eq!((read_text.as_str(), end.is_ok()), (text, is_complete), "{name}: {end:?}");
    }
}

//! Valid answers in every form, and the requests for them.

use super::*;
use cortex_core::internals::Completion;
use cortex_core::internals::FailureKind;
use serde_json::json;

#[test]
fn complete_answers_are_read_in_every_form() {
    let plain = json!({
        "model": "standin-1b",
        "choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    })
    .to_string();
    let events = good_events();
    let comments = format!(": hello\n\n{}", events.replace("\n\n", "\n\n: still there\n\n"));
    let interim = [&b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"[..], &until_close(&events)].concat();
    let table: Vec<(&str, Vec<Step>)> = vec![
        ("until the end of the connection", say(until_close(&events))),
        ("with a length", say(with_length(200, "", &events))),
        ("in chunks", say(chunked(&events, 1000))),
        ("in chunks that cut everything", say(chunked(&events, 3))),
        ("byte by byte", vec![Step::Pieces(until_close(&events), 1)]),
        ("in chunks, byte by byte", vec![Step::Pieces(chunked(&events, 2), 1)]),
        ("in small pieces", vec![Step::Pieces(until_close(&events), 7)]),
        ("CRLF", say(until_close(&events.replace('\n', "\r\n")))),
        ("CRLF byte by byte", vec![Step::Pieces(until_close(&events.replace('\n', "\r\n")), 1)]),
        ("CR", say(until_close(&events.replace('\n', "\r")))),
        ("comments", say(chunked(&comments, 50))),
        ("an interim answer before it", say(interim)),
        ("plain", say(with_length(200, "Content-Type: application/json\r\n", &plain))),
        ("plain in chunks", say(chunked(&plain, 5))),
        ("plain until the end of the connection", say(until_close(&plain))),
        ("no [DONE]", say(until_close(events.strip_suffix(DONE).unwrap()))),
        ("kept open after [DONE]", vec![Step::Send(until_close(&events)), Step::Hang]),
        ("chunks without an end after [DONE]", {
            let whole = chunked(&events, 1000);
            vec![Step::Send(whole[..whole.len() - 20].to_vec()), Step::Reset]
        }),
    ];
    let expected = Completion {
        model: Some("standin-1b".into()),
        prompt_tokens: Some(3),
        completion_tokens: Some(2),
        finish_reason: Some("stop".into()),
        ..Completion::default()
    };
    for (name, script) in table {
        let standin = StandIn::start(vec![script]);
        assert_eq!(ask(&upstream(&standin)), (TEXT.to_owned(), Ok(expected.clone())), "{name}");
        assert_eq!(standin.requests().len(), 1, "{name}");
    }
}

#[test]
fn invalid_answers_are_failures() {
    let started = delta("H\u{e9}l");
    let error = "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n";
    // The response, the shown text, the failure, and the number of tries.
    let table: Vec<(&str, Vec<Step>, &str, FailureKind, usize)> = vec![
        ("an error in the middle", say(until_close(&[&started, error].concat())), "H\u{e9}l", FailureKind::Reported, 1),
        ("an error at once", say(until_close(error)), "", FailureKind::Reported, 3),
        ("an error with status 200", say(with_length(200, "", "{\"error\":\"no\"}")), "", FailureKind::Reported, 3),
        ("an end without an end", say(until_close(&started)), "H\u{e9}l", FailureKind::ConnectionLost, 1),
        (
            "a length that is not reached",
            say(with_length(200, "", &started)[..100].to_vec()),
            "",
            FailureKind::ConnectionLost,
            3,
        ),
        ("chunks without an end", say(chunked(&started, 1000)[..130].to_vec()), "", FailureKind::ConnectionLost, 3),
        ("a reset", vec![Step::Send(until_close(&started)), Step::Reset], "", FailureKind::ConnectionLost, 3),
        ("no head", vec![], "", FailureKind::ConnectionLost, 3),
        ("half a head", say(b"HTTP/1.1 200 OK\r\nConte".to_vec()), "", FailureKind::ConnectionLost, 3),
        ("no body", say(until_close("")), "", FailureKind::ConnectionLost, 3),
        ("an empty answer", say(until_close(&[STOP, DONE].concat())), "", FailureKind::Empty, 1),
        (
            "a page",
            say(with_length(200, "Content-Type: text/html\r\n", "<h1>It works!</h1>")),
            "",
            FailureKind::InvalidResponse,
            1,
        ),
        ("another protocol", say(b"220 mail ESMTP\r\n".to_vec()), "", FailureKind::InvalidResponse, 1),
        ("bytes", say((0..=255).cycle().take(5000).collect()), "", FailureKind::InvalidResponse, 1),
        ("no JSON", say(until_close("data: {oops\n\n")), "", FailureKind::InvalidResponse, 1),
        (
            "bad chunks",
            say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".to_vec()),
            "",
            FailureKind::InvalidResponse,
            1,
        ),
        (
            "two lengths",
            say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_vec()),
            "",
            FailureKind::InvalidResponse,
            1,
        ),
        ("gzip", say(with_length(200, "Content-Encoding: gzip\r\n", "\u{1f}")), "", FailureKind::InvalidResponse, 1),
        (
            "an endless head",
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), Step::Forever(vec![b'x'; 1000])],
            "",
            FailureKind::InvalidResponse,
            1,
        ),
        (
            "an endless line",
            vec![Step::Send(until_close("data: ")), Step::Forever(vec![b'x'; 10_000])],
            "",
            FailureKind::InvalidResponse,
            1,
        ),
        (
            "an endless event",
            vec![Step::Send(until_close("")), Step::Forever(b"data: x\n".repeat(1000))],
            "",
            FailureKind::InvalidResponse,
            1,
        ),
        (
            "endless JSON",
            vec![Step::Send(until_close("{")), Step::Forever(vec![b' '; 10_000])],
            "",
            FailureKind::InvalidResponse,
            1,
        ),
    ];
    for (name, script, shown, kind, tries) in table {
        let standin = StandIn::start(vec![script]);
        let (text, end) = ask(&upstream(&standin));
        let failure = end.expect_err(name);
        assert_eq!(failure.kind, kind, "{name}: {failure:?}");
        // A reset may overtake the text before it.
        if name != "a reset" {
            assert_eq!((text.as_str(), standin.requests().len()), (shown, tries), "{name}: {failure:?}");
        }
        assert!(!failure.message.contains("127.0.0.1"), "{name}: {failure:?}");
    }
}

#[test]
fn an_endless_text_is_truncated_at_the_content_limit() {
    let piece = delta(&"\u{1f600}x".repeat(1000)).repeat(20);
    let standin = StandIn::start(vec![vec![Step::Send(until_close("")), Step::Forever(piece.into_bytes())]]);
    let (text, end) = ask(&upstream(&standin));
    let max = cortex_core::internals::limits::CONTENT_BYTES_MAX;
    assert!((max - 3..=max).contains(&text.len()), "{}", text.len());
    assert_eq!(end.unwrap().finish_reason.as_deref(), Some("length"));
    standin.wait_until_closed(1);
}

#[test]
fn the_request_follows_the_chat_completions_protocol() {
    let standin = StandIn::start(vec![say(until_close(&good_events()))]);
    let settings = UpstreamSettings {
        context: ContextRules { system_prompt: Some("Be kind.".into()), bytes_max: 4096, names: true },
        ..settings(format!("http://{}/base/v1/", standin.addr))
    };
    let history = history(&["one", "two", "three \u{1f600}"]);
    ask_about(&Arc::new(Upstream::new(settings).unwrap()), &history).1.unwrap();
    let request = &standin.requests()[0];
    let fields: Vec<&str> = request.head.lines().collect();
    assert_eq!(fields[0], "POST /base/v1/chat/completions HTTP/1.1");
    let host = format!("Host: {}", standin.addr);
    let authorization = format!("Authorization: Bearer {KEY}");
    for field in
        [&*host, &*authorization, "Content-Type: application/json", "Accept-Encoding: identity", "Connection: close"]
    {
        assert_eq!(fields.iter().filter(|other| **other == field).count(), 1, "{field} in {}", request.head);
    }
    let expected = json!({
        "model": "standin-1",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three \u{1f600}"},
        ],
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    assert_eq!(request.body, expected);

    let without_key = UpstreamSettings { api_key: None, ..super::settings(format!("http://{}", standin.addr)) };
    ask(&Arc::new(Upstream::new(without_key).unwrap())).1.unwrap();
    assert!(!standin.requests()[1].head.contains("Authorization"));
}

#[test]
fn token_counts_are_not_requested_again_after_a_rejection() {
    let rejection =
        json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"]}]});
    let standin =
        StandIn::start(vec![say(with_length(422, "", &rejection.to_string())), say(until_close(&good_events()))]);
    let upstream = upstream(&standin);
    for _ in 0..2 {
        assert_eq!(ask(&upstream).0, TEXT);
    }
    let asked: Vec<bool> =
        standin.requests().iter().map(|request| request.body.get("stream_options").is_some()).collect();
    assert_eq!(asked, [true, false, false]);
}

#[test]
fn unusable_settings_are_rejected_at_start() {
    let mut table = vec![(
        UpstreamSettings { api_key: Some(Secret::new("a\r\nX: y")), ..settings("http://a") },
        "RESPONDER_API_KEY",
    )];
    if cfg!(not(feature = "tls")) {
        table.push((settings("https://a/v1"), "RESPONDER_URL"));
    }
    for (settings, variable) in table {
        let error = Upstream::new(settings).expect_err("the settings are invalid");
        assert!(error.starts_with(variable) && !error.contains("hunter2"), "{error}");
    }
}

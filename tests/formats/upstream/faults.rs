//! Statuses, retries, timeouts and cancelled answers.

use super::*;
use cortex_core::internals::FailureKind;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

#[test]
fn the_status_decides_whether_a_request_is_retried() {
    let table = [
        (400, 1, "no such thing"),
        (401, 1, "rejected the server's credentials"),
        (403, 1, "rejected the server's credentials"),
        (404, 1, "no such thing"),
        (408, 3, "no such thing"),
        (409, 3, "no such thing"),
        (422, 1, "no such thing"),
        (425, 3, "no such thing"),
        (429, 3, "no such thing"),
        (500, 3, "no such thing"),
        (503, 3, "no such thing"),
    ];
    for (status, tries, said) in table {
        let body = "{\"error\":{\"message\":\"no such thing\",\"type\":\"x\"}}";
        let standin = StandIn::start(vec![say(with_length(status, "", body))]);
        let (text, end) = ask(&upstream(&standin));
        let failure = end.expect_err("the answer fails");
        assert_eq!((text.as_str(), failure.kind), ("", FailureKind::Status(status)));
        assert!(failure.message.contains(said), "{failure:?}");
        assert_eq!(standin.requests().len(), tries, "{status}");
    }
}

#[test]
fn error_responses_of_every_form_are_read() {
    for answer in [
        with_length(400, "", "{\"error\":\"no such thing\"}"),
        b"HTTP/1.1 400 x\r\n\r\n{\"error\":{\"message\":\"no such thing\"}}".to_vec(),
        b"HTTP/1.1 400 x\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\n{\"message\":\"no such thing\"}\r\n0\r\n\r\n"
            .to_vec(),
    ] {
        let standin = StandIn::start(vec![say(answer)]);
        let failure = ask(&upstream(&standin)).1.unwrap_err();
        assert!(failure.message.ends_with("no such thing"), "{failure:?}");
    }
    for script in [
        say(with_length(400, "", "<h1>nginx</h1>")),
        say(with_length(400, "", "")),
        vec![Step::Send(b"HTTP/1.1 400 x\r\n\r\n".to_vec()), Step::Forever(vec![b'<'; 10_000])],
    ] {
        let standin = StandIn::start(vec![script]);
        let failure = ask(&upstream(&standin)).1.unwrap_err();
        assert_eq!(failure.message, "The model's server rejected the request (400)");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = StandIn::start(vec![say(until_close(&good_events()))]);
    let location = format!("Location: http://{}/\r\n", elsewhere.addr);
    let standin = StandIn::start(vec![say(with_length(307, &location, ""))]);
    assert_eq!(ask(&upstream(&standin)).1.unwrap_err().kind, FailureKind::Status(307));
    assert_eq!((standin.requests().len(), elsewhere.requests().len()), (1, 0));
}

#[test]
fn a_retry_can_succeed() {
    let bad: [Vec<Step>; 5] = [
        say(with_length(500, "", "")),
        say(with_length(429, "Retry-After: 0\r\n", "")),
        vec![Step::Deaf, Step::Reset],
        vec![],
        say(until_close("data: {\"error\":\"busy\"}\n\n")),
    ];
    for first in &bad {
        for second in &bad {
            let standin = StandIn::start(vec![first.clone(), second.clone(), say(until_close(&good_events()))]);
            let (text, end) = ask(&upstream(&standin));
            assert_eq!((text.as_str(), end.is_ok()), (TEXT, true), "{first:?}, {second:?}: {end:?}");
        }
    }
}

#[test]
fn retry_after_delays_or_ends_the_retries() {
    let standin =
        StandIn::start(vec![say(with_length(429, "Retry-After: 1\r\n", "")), say(until_close(&good_events()))]);
    let started = Instant::now();
    assert_eq!(ask(&upstream(&standin)).0, TEXT);
    assert!(started.elapsed() >= Duration::from_secs(1), "the retry is not early");

    let standin = StandIn::start(vec![say(with_length(503, "Retry-After: 3600\r\n", ""))]);
    let failure = ask(&upstream(&standin)).1.unwrap_err();
    assert_eq!(failure.retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(standin.requests().len(), 1);
}

#[test]
fn a_refused_connection_is_a_failure_after_all_retries() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("http://{addr}/v1"), format!("http://localhost:{}", addr.port())] {
        let failure = ask(&Arc::new(Upstream::new(settings(url)).unwrap())).1.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Connect, "{failure:?}");
        assert!(!failure.message.contains("127.0.0.1") && failure.detail.contains("refused"), "{failure:?}");
    }
}

#[test]
fn a_name_that_does_not_exist_is_a_failure() {
    let failure = ask(&Arc::new(Upstream::new(settings("http://nobody.invalid/v1")).unwrap())).1.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Connect, "{failure:?}");
}

#[test]
fn an_upstream_that_does_not_accept_times_out() {
    use socket2::{Domain, SockAddr, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    // The listener's queue is full after a few connections; the kernel then delays further ones.
    let mut waiting = Vec::new();
    while let Ok(socket) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        waiting.push(socket);
        assert!(waiting.len() < 100, "the queue is bounded");
    }
    let timeouts = Timeouts { connect_milliseconds: 100, ..LONG_TIMEOUTS };
    let upstream =
        Arc::new(Upstream::new(UpstreamSettings { timeouts, ..settings(format!("http://{addr}")) }).unwrap());
    let failure = ask(&upstream).1.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure:?}");
    assert!(failure.message.contains("accept a connection"), "{failure:?}");
}

/// Name, timeouts, script, shown text, part of the message, and number of tries.
type Silence = (&'static str, Timeouts, Vec<Step>, &'static str, &'static str, usize);

#[test]
fn each_phase_of_silence_has_a_timeout() {
    let started = delta("H\u{e9}l");
    let late = |timeouts: &dyn Fn(&mut Timeouts)| {
        let mut all = LONG_TIMEOUTS;
        timeouts(&mut all);
        all
    };
    let first = late(&|all| all.first_byte_milliseconds = 250);
    let between = late(&|all| all.between_bytes_milliseconds = 250);
    let total = late(&|all| all.total_milliseconds = Some(1_000));
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let table: Vec<Silence> = vec![
        ("nothing", first, vec![Step::Hang], "", "did not begin", 1),
        ("half a head", first, vec![Step::Send(b"HTTP/1.1 200".to_vec()), Step::Hang], "", "did not begin", 1),
        ("only a head", first, vec![Step::Send(head.clone()), Step::Hang], "", "did not begin", 1),
        (
            "no byte of a chunk",
            first,
            vec![Step::Send([&head[..], b"5\r\n"].concat()), Step::Hang],
            "",
            "did not begin",
            1,
        ),
        (
            "half an answer",
            between,
            vec![Step::Send(until_close(&started)), Step::Hang],
            "H\u{e9}l",
            "in the middle",
            1,
        ),
        ("half an event", between, vec![Step::Send(until_close("data: {\"ch")), Step::Hang], "", "in the middle", 1),
        (
            "half a plain answer",
            between,
            vec![Step::Send(until_close("{\"choices\":[")), Step::Hang],
            "",
            "in the middle",
            1,
        ),
        (
            "comments for ever",
            total,
            vec![Step::Send(until_close("")), Step::Drip(b": wait\n\n".to_vec())],
            "",
            "took too long",
            1,
        ),
        (
            "comments without a pause",
            total,
            vec![Step::Send(until_close("")), Step::Forever(b": wait\n\n".repeat(99))],
            "",
            "took too long",
            1,
        ),
        ("nothing, in all", total, vec![Step::Hang], "", "took too long", 1),
    ];
    for (name, timeouts, script, shown, said, tries) in table {
        let standin = StandIn::start(vec![script]);
        let (text, end) = ask(&upstream_with(&standin, timeouts));
        let failure = end.expect_err(name);
        assert_eq!((text.as_str(), failure.kind), (shown, FailureKind::Timeout), "{name}: {failure:?}");
        assert!(failure.message.contains(said), "{name}: {failure:?}");
        standin.wait_until_closed(tries);
        assert_eq!(standin.requests().len(), tries, "{name}");
    }
}

#[test]
fn an_unterminated_error_response_is_still_an_error() {
    let timeouts = Timeouts { between_bytes_milliseconds: 100, ..LONG_TIMEOUTS };
    let answer = b"HTTP/1.1 400 x\r\nContent-Length: 99\r\n\r\n{\"error\":".to_vec();
    let standin = StandIn::start(vec![vec![Step::Send(answer), Step::Hang]]);
    assert_eq!(ask(&upstream_with(&standin, timeouts)).1.unwrap_err().kind, FailureKind::Status(400));
}

#[test]
fn a_finished_text_is_kept_unless_an_error_follows() {
    let ended = until_close(&[delta(TEXT).as_str(), STOP].concat());
    let timeouts = Timeouts { between_bytes_milliseconds: 100, ..LONG_TIMEOUTS };
    let table: [(&str, Vec<Step>); 3] = [
        ("silence", vec![Step::Send(ended.clone()), Step::Hang]),
        ("comments", vec![Step::Send(ended.clone()), Step::Drip(b": wait\n\n".to_vec())]),
        ("garbage", vec![Step::Send(ended.clone()), Step::Pieces(b"\n\ndata: oops\n\n".to_vec(), 100)]),
    ];
    for (name, script) in table {
        let standin = StandIn::start(vec![script]);
        let (text, end) = ask(&upstream_with(&standin, timeouts));
        assert_eq!(text, TEXT, "{name}");
        assert_eq!(
            end.as_ref().ok().and_then(|finished| finished.finish_reason.as_deref()),
            Some("stop"),
            "{name}: {end:?}"
        );
    }
    let failed = [&delta(TEXT)[..], STOP, "data: {\"error\":\"late\"}\n\n"].concat();
    let standin = StandIn::start(vec![say(until_close(&failed))]);
    let (text, end) = ask(&upstream_with(&standin, timeouts));
    assert_eq!((text.as_str(), end.unwrap_err().kind), (TEXT, FailureKind::Reported), "an error fails the answer");
}

#[test]
fn a_rejection_sent_before_the_request_is_read_is_received() {
    let standin = StandIn::start(vec![vec![Step::Deaf, Step::Send(with_length(413, "", "{\"error\":\"too much\"}"))]]);
    let history = history(&[&"x".repeat(4_000_000)]);
    let failure = ask_about(&upstream(&standin), &history).1.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Status(413), "{failure:?}");
}

#[test]
fn a_cancelled_answer_stops_in_every_phase() {
    let started = until_close(&delta("H\u{e9}l"));
    let no_retry_yet = with_length(429, "Retry-After: 2\r\n", "");
    let table: [(&str, Vec<Step>, &str, usize); 5] = [
        ("before the first byte", vec![Step::Hang], "", 1),
        ("after a head", vec![Step::Send(until_close("")), Step::Hang], "", 1),
        ("in a silence", vec![Step::Send(started.clone()), Step::Hang], "H\u{e9}l", 1),
        (
            "in an endless stream of comments",
            vec![Step::Send(started), Step::Forever(b": x\n\n".repeat(99))],
            "H\u{e9}l",
            1,
        ),
        ("between two tries", say(no_retry_yet), "", 0),
    ];
    for (name, script, shown, left) in table {
        let standin = StandIn::start(vec![script]);
        let mut asked = 0;
        let (text, end) = ask_until(&upstream(&standin), &history(&["Hello?"]), |text| {
            let is_there = text == shown && standin.requests().len() == 1;
            asked += usize::from(is_there);
            if asked >= 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(end, None, "{name}");
        standin.wait_until_closed(left);
        assert_eq!((text.as_str(), standin.requests().len()), (shown, 1), "{name}");
    }
    let standin = StandIn::start(vec![vec![Step::Send(until_close("")), Step::Forever(delta("more").into_bytes())]]);
    let end = ask_until(&upstream(&standin), &history(&["Hello?"]), |text| {
        if text.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(end.1, None);
    standin.wait_until_closed(1);
}

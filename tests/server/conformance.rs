//! Every request of the table against the server alone, through real sockets. An answer that a strict client does not
//! understand fails.

use crate::common::conformance::expected::{End, Expected};
use crate::common::conformance::{marker, requests, served, server};
use crate::common::{Connection, Response, assert_error};

/// How a case's bytes arrive: the ends of the pieces.
fn cuts(case_len: usize, len: usize) -> Vec<Vec<usize>> {
    let mut ways: Vec<Vec<usize>> =
        [0, 1, case_len / 2, case_len.saturating_sub(1), case_len].map(|at| vec![at, len]).into();
    ways.push((7..len).step_by(7).chain([len]).collect());
    for ends in &mut ways {
        ends.dedup();
    }
    ways.dedup();
    ways
}

#[test]
fn every_request_gets_its_answers_and_nothing_behind_a_bad_one_is_served() {
    let mut server = server();
    let (mut answers, mut hidden, mut markers) = (0, 0, Vec::new());
    for (name, bytes, outcome) in requests::all_cases() {
        let expected = Expected::of(&outcome);
        let mut sent = served(&bytes);
        let case_len = sent.len();
        sent.extend_from_slice(&marker("m-000000", ""));
        for (way, ends) in cuts(case_len, sent.len()).into_iter().enumerate() {
            let what = format!("{name}, way {way}");
            let id = format!("m-{:06}", markers.len());
            sent.truncate(case_len);
            if expected.end != End::Waits {
                sent.extend_from_slice(&marker(&id, ""));
            }
            // The last way also has a good request before.
            let is_second = ends.len() > 2;
            let mut connection = Connection::open(server.addr);
            if is_second {
                connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                connection.response("GET").expect(200);
                answers += 1;
            }
            let mut begin = 0;
            for end in ends {
                let end = end.min(sent.len());
                // The server may have closed before it took everything.
                if connection.try_send(&sent[begin..end]).is_err() {
                    break;
                }
                begin = end;
            }
            check(&mut connection, &expected, &id, &what);
            answers += expected.answers.len() + usize::from(expected.end == End::Stays);
            hidden += expected.answers.iter().filter(|answer| answer.path == "/smuggled").count();
            markers.push(expected.end == End::Stays);
        }
    }
    server.stop();
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" INFO request ")).collect();
    for line in &lines {
        let id = line.split(" request_id=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let Some(number) = id.strip_prefix("m-").and_then(|number| number.parse::<usize>().ok()) else { continue };
        // One that was served is to be served no more.
        assert!(std::mem::take(&mut markers[number]), "what stood behind a case was served: {line}");
    }
    let smuggled = lines.iter().filter(|line| line.contains(" path=/smuggled ")).count();
    assert!(smuggled <= hidden, "{smuggled} hidden requests were served, and {hidden} are in plain sight");
    assert!(lines.len() <= answers, "{} requests were served, and {answers} answers came", lines.len());
}

/// Reads what `expected` says, and that nothing else comes.
fn check(connection: &mut Connection, expected: &Expected, marker: &str, what: &str) {
    for (at, wanted) in expected.answers.iter().enumerate() {
        let mut answer = connection.final_response(&wanted.method, wanted.expects);
        let shown = answer.shown();
        assert_eq!(answer.status, wanted.status, "{what}, answer {at}: {shown}");
        let is_last = at + 1 == expected.answers.len();
        assert_eq!(answer.closes(), is_last && expected.end == End::Closes, "{what}, answer {at}: {shown}");
        check_error(&mut answer, &wanted.method);
    }
    match expected.end {
        End::Stays => {
            let answer = connection.response("GET");
            assert_eq!((answer.status, answer.header("X-Request-Id")), (404, Some(marker)), "{what}");
            connection.half_close();
        }
        End::Waits | End::Swallows => connection.half_close(),
        End::Closes => {}
    }
    let rest = connection.read_to_end();
    assert!(rest.is_empty(), "{what}: stray bytes {}", rest.escape_ascii());
}

fn check_error(answer: &mut Response, method: &str) {
    let code = match answer.status {
        200..400 => return,
        400 => "bad_request",
        404 => "not_found",
        405 => "method_not_allowed",
        413 => "payload_too_large",
        414 => "uri_too_long",
        431 => "headers_too_large",
        other => panic!("no case asks for {other}: {}", answer.shown()),
    };
    if method != "HEAD" {
        assert_error(answer, answer.status, code);
    }
}

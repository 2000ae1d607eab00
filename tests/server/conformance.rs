//! Every request of the table against the server alone, through real sockets. The strict client fails on every response
//! that it cannot parse unambiguously.

use crate::common::conformance::expected::{End, Expected};
use crate::common::conformance::{marker, requests, served, server};
use crate::common::{Connection, Response, assert_error};

/// The ways in which a case's bytes arrive: the ends of the pieces.
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
fn every_case_gets_its_responses_and_nothing_after_an_invalid_request_is_served() {
    let mut server = server();
    let (mut responses, mut hidden, mut markers) = (0, 0, Vec::new());
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
            // The last way also has a valid request before the case.
            let is_second = ends.len() > 2;
            let mut connection = Connection::open(server.addr);
            if is_second {
                connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                connection.response("GET").expect(200);
                responses += 1;
            }
            let mut begin = 0;
            for end in ends {
                let end = end.min(sent.len());
                // The server may have closed the connection before it read everything.
                if connection.try_send(&sent[begin..end]).is_err() {
                    break;
                }
                begin = end;
            }
            check(&mut connection, &expected, &id, &what);
            responses += expected.responses.len() + usize::from(expected.end == End::Stays);
            hidden += expected.responses.iter().filter(|response| response.path == "/smuggled").count();
            markers.push(expected.end == End::Stays);
        }
    }
    server.stop();
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" INFO request ")).collect();
    for line in &lines {
        let id = line.split(" request_id=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let Some(number) = id.strip_prefix("m-").and_then(|number| number.parse::<usize>().ok()) else { continue };
        // Each marker is served at most once.
        assert!(std::mem::take(&mut markers[number]), "a request after a case was served: {line}");
    }
    let smuggled = lines.iter().filter(|line| line.contains(" path=/smuggled ")).count();
    assert!(smuggled <= hidden, "{smuggled} hidden requests were served, and {hidden} are not hidden");
    assert!(lines.len() <= responses, "{} requests were served, and {responses} responses came", lines.len());
}

/// Reads the expected responses and checks that nothing else follows.
fn check(connection: &mut Connection, expected: &Expected, marker: &str, what: &str) {
    for (at, wanted) in expected.responses.iter().enumerate() {
        let mut response = connection.final_response(&wanted.method, wanted.expects);
        let shown = response.shown();
        assert_eq!(response.status, wanted.status, "{what}, response {at}: {shown}");
        let is_last = at + 1 == expected.responses.len();
        assert_eq!(response.closes(), is_last && expected.end == End::Closes, "{what}, response {at}: {shown}");
        check_error(&mut response, &wanted.method);
    }
    match expected.end {
        End::Stays => {
            let response = connection.response("GET");
            assert_eq!((response.status, response.header("X-Request-Id")), (404, Some(marker)), "{what}");
            connection.half_close();
        }
        End::Waits | End::Swallows => connection.half_close(),
        End::Closes => {}
    }
    let rest = connection.read_to_end();
    assert!(rest.is_empty(), "{what}: stray bytes {}", rest.escape_ascii());
}

fn check_error(response: &mut Response, method: &str) {
    let code = match response.status {
        200..400 => return,
        400 => "bad_request",
        404 => "not_found",
        405 => "method_not_allowed",
        413 => "payload_too_large",
        414 => "uri_too_long",
        417 => "expectation_failed",
        431 => "headers_too_large",
        other => panic!("no case asks for {other}: {}", response.shown()),
    };
    if method != "HEAD" {
        assert_error(response, response.status, code);
    }
}

//! The cases of h1spec at its commit f0a5650 (2024-10-28), in its order, under our names.
//! <https://github.com/uNetworking/h1spec>
//!
//! The suite sends plain bodies to a server that echoes them. The body here is the JSON of a message with the same content, at
//! `/input`.

use super::case::{Case, Score, run, scored};
use super::{at_root, other_server, ours, report, server};

/// An unfinished head: the server waits for the rest.
const WAITS: &str = "silence";
const REJECTED: &str = "4xx";
const REJECTED_ANYHOW: &str = "4xx | 5xx";

const CASES: &[Case] = &[
    scored("method cut", b"G", WAITS),
    scored("cut before the target", b"GET ", WAITS),
    scored("cut after the target", b"GET /hello", WAITS),
    scored("cut before the version", b"GET /hello ", WAITS),
    scored("version cut", b"GET /hello HTTP", WAITS),
    scored("cut after the version", b"GET /hello HTTP/1.1", WAITS),
    scored("cut in the end of the request line", b"GET /hello HTTP/1.1\r", WAITS),
    scored("cut after the request line", b"GET /hello HTTP/1.1\r\n", WAITS),
    scored("name cut", b"GET /hello HTTP/1.1\r\nHos", WAITS),
    scored("cut after the colon", b"GET /hello HTTP/1.1\r\nHost:", WAITS),
    scored("cut before the value", b"GET /hello HTTP/1.1\r\nHost: ", WAITS),
    scored("cut after the value", b"GET /hello HTTP/1.1\r\nHost: localhost", WAITS),
    scored("cut in the end of a field", b"GET /hello HTTP/1.1\r\nHost: localhost\r", WAITS),
    scored("cut after a field", b"GET /hello HTTP/1.1\r\nHost: localhost\r\n", WAITS),
    scored("cut in the end of the head", b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r", WAITS),
    scored("no version", b"GET / \r\n\r\n", REJECTED_ANYHOW),
    scored(
        "expectation without a body",
        b"GET / HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\n\r\n",
        "100 | 2xx",
    ),
    scored("a plain request", b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "2xx"),
    scored(
        "tab, capitals and an empty field",
        b"GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n",
        "2xx",
    ),
    scored("brackets in a name", b"GET / HTTP/1.1\r\nHost: example.com\r\nX-Invalid[]: test\r\n\r\n", REJECTED),
    scored("no Host", b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", REJECTED),
    scored("two Hosts", b"GET / HTTP/1.1\r\nHost: example.com\r\nHost: example.org\r\n\r\n", REJECTED),
    scored(
        "length far below zero",
        b"GET / HTTP/1.1\r\nHost: example.com\r\nContent-Length: -123456789123456789123456789\r\n\r\n",
        REJECTED,
    ),
    scored("length below zero", b"GET / HTTP/1.1\r\nHost: example.com\r\nContent-Length: -1234\r\n\r\n", REJECTED),
    scored("length in letters", b"GET / HTTP/1.1\r\nHost: example.com\r\nContent-Length: abc\r\n\r\n", REJECTED),
    scored("empty field", b"GET / HTTP/1.1\r\nHost: example.com\r\nX-Empty-Header: \r\n\r\n", "2xx"),
    scored(
        "control character in a value",
        b"GET / HTTP/1.1\r\nHost: example.com\r\nX-Bad-Control-Char: test\x07\r\n\r\n",
        REJECTED,
    ),
    scored("HTTP/9.9", b"GET / HTTP/9.9\r\nHost: example.com\r\n\r\n", REJECTED_ANYHOW),
    scored("words before the method", b"Extra lineGET / HTTP/1.1\r\nHost: example.com\r\n\r\n", REJECTED_ANYHOW),
    scored("bare CR after the head", b"GET / HTTP/1.1\r\nHost: example.com\r\n\rSome-Header: Test\r\n\r\n", REJECTED),
    scored(
        "body with a length",
        b"POST /input HTTP/1.1\r\nHost: example.com\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n\
          {\"content\":\"hello\"}",
        "2xx + echoes \"hello\" | 404",
    ),
    scored(
        "body in chunks",
        b"POST /input HTTP/1.1\r\nHost: example.com\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
          1a\r\n{\"content\":\"HellO world1\"}\r\n0\r\n\r\n",
        "2xx + echoes \"HellO world1\"",
    ),
    scored(
        "chunked with a length, names in any case",
        b"POST /input HTTP/1.1\r\nHost: example.com\r\nContent-Type: application/json\r\n\
          content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\n1a\r\n{\"content\":\"HellO world1\"}\r\n0\r\n\r\n",
        "4xx | 2xx + echoes \"HellO world1\"",
    ),
];

#[test]
fn every_case_of_h1spec_passes() {
    assert_eq!(CASES.len(), 33, "the whole suite");
    if let Some(other) = other_server() {
        return report(CASES, &run(CASES, other, at_root));
    }
    let server = server();
    let verdicts = run(CASES, server.addr, ours);
    report(CASES, &verdicts);
    assert_eq!(Score::of(CASES, &verdicts), Score { passed: 33, warned: 0, failed: 0 });
}

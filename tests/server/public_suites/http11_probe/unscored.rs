//! Conditional requests and cookies, which the suite does not score.

use crate::public_suites::case::{Case, unscored};

/// The first request of each.
const FIRST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\n\r\n";

/// `[[ETag]]` and `[[Last-Modified]]` stand for these fields of the first response, `[[weak ETag]]` and `[[bare ETag]]`
/// for forms of them.
pub const CAPABILITIES: &[Case] = &[
    unscored("the entity tag", FIRST, "~2xx + without ETag | >2xx")
        .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-None-Match: [[ETag]]\r\n\r\n", "304 | ~2xx | ~none"),
    unscored("the time of change", FIRST, "~2xx + without Last-Modified | >2xx").then(
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-Modified-Since: [[Last-Modified]]\r\n\r\n",
        "304 | ~2xx | ~none",
    ),
    unscored("a 304 has the entity tag", FIRST, "~2xx + without ETag | >2xx")
        .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-None-Match: [[ETag]]\r\n\r\n", "304 + with ETag | ~any"),
    unscored("the entity tag and an early time", FIRST, "~2xx + without ETag | >2xx").then(
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-None-Match: [[ETag]]\r\n\
          If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
        "304 | ~2xx | ~none",
    ),
    unscored("any entity tag", FIRST, ">2xx")
        .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-None-Match: *\r\n\r\n", "304 | ~2xx | ~none"),
    unscored("a time to come", FIRST, ">2xx").then(
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n\r\n",
        "2xx | ~304 | ~none",
    ),
    unscored("no time", FIRST, ">2xx")
        .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-Modified-Since: not-a-date\r\n\r\n", "2xx | ~304 | ~none"),
    unscored("the entity tag without quotes", FIRST, "~2xx + without ETag | >2xx")
        .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-None-Match: [[bare ETag]]\r\n\r\n", "2xx | ~304 | ~none"),
    unscored("the entity tag as a weak one", FIRST, "~2xx + without ETag | >2xx")
        .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nIf-None-Match: [[weak ETag]]\r\n\r\n", "304 | ~2xx | ~none"),
];

/// `/echo` responds with the fields of the request, `/cookie` with its cookies, one a line.
pub const COOKIES: &[Case] = &[
    unscored(
        "one cookie",
        b"GET /echo HTTP/1.1\r\nHost: localhost:8080\r\nCookie: foo=bar\r\n\r\n",
        "2xx + says cookie: | 2xx + says Cookie: | ~cut",
    ),
    unscored(
        "cookie of 64 KiB",
        b"GET /echo HTTP/1.1\r\nHost: localhost:8080\r\nCookie: big=[[A * 65536]]\r\n\r\n",
        "400 | 431 | 2xx | cut",
    ),
    unscored("empty field", b"GET /echo HTTP/1.1\r\nHost: localhost:8080\r\nCookie: \r\n\r\n", "400 | 2xx | cut"),
    unscored(
        "NUL in a cookie",
        b"GET /echo HTTP/1.1\r\nHost: localhost:8080\r\nCookie: foo=\0bar\r\n\r\n",
        "400 | -2xx + says \0 | 2xx | cut",
    ),
    unscored(
        "control characters in a cookie",
        b"GET /echo HTTP/1.1\r\nHost: localhost:8080\r\nCookie: foo=\x01\x02\x03\r\n\r\n",
        "400 | -2xx + says \x01 | -2xx + says \x02 | -2xx + says \x03 | 2xx | cut",
    ),
    unscored(
        "1,000 cookies",
        b"GET /echo HTTP/1.1\r\nHost: localhost:8080\r\nCookie: [[k#=v#;  * 999]]k999=v999\r\n\r\n",
        "400 | 431 | 2xx | cut",
    ),
    unscored(
        "delimiters alone",
        b"GET /echo HTTP/1.1\r\nHost: localhost:8080\r\nCookie: ===;;;\r\n\r\n",
        "400 | 2xx | cut",
    ),
    unscored(
        "two fields",
        b"GET /echo HTTP/1.1\r\nHost: localhost:8080\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n",
        "2xx + says a=1 + says b=2 | ~2xx | ~400 | ~cut",
    ),
    unscored(
        "one cookie, parsed",
        b"GET /cookie HTTP/1.1\r\nHost: localhost:8080\r\nCookie: foo=bar\r\n\r\n",
        "2xx + says foo=bar | ~404 | ~400 | ~cut",
    ),
    unscored(
        "three cookies, parsed",
        b"GET /cookie HTTP/1.1\r\nHost: localhost:8080\r\nCookie: a=1; b=2; c=3\r\n\r\n",
        "2xx + says a=1 + says b=2 + says c=3 | ~404 | ~400 | ~cut",
    ),
    unscored(
        "cookie without a value, parsed",
        b"GET /cookie HTTP/1.1\r\nHost: localhost:8080\r\nCookie: foo=\r\n\r\n",
        "2xx | 400 | ~404 | ~cut",
    ),
    unscored(
        "cookies with spaces and equals signs, parsed",
        b"GET /cookie HTTP/1.1\r\nHost: localhost:8080\r\nCookie: a=hello world; b=x=y\r\n\r\n",
        "2xx | 400 | ~404 | ~cut",
    ),
];

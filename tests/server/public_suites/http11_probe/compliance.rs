//! The rules of RFC 9110 and RFC 9112.

use super::{LENIENT_WARNS, REFUSED};
use crate::public_suites::case::{Case, scored, unscored};

pub const COMPLIANCE: &[Case] = &[
    scored("a plain request", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx"),
    scored("bare LF after the request line", b"GET / HTTP/1.1\nHost: localhost:8080\r\n\r\n", LENIENT_WARNS),
    scored("bare LF after a field", b"GET / HTTP/1.1\r\nHost: localhost:8080\nX-Test: value\r\n\r\n", LENIENT_WARNS),
    scored("folded field", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Test: value\r\n continued\r\n\r\n", "400"),
    scored("space before a colon", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Test : value\r\n\r\n", "400"),
    scored("two spaces after the method", b"GET  / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", LENIENT_WARNS),
    scored("no Host", b"GET / HTTP/1.1\r\n\r\n", "400"),
    scored("HTTP/9.9", b"GET / HTTP/9.9\r\nHost: localhost:8080\r\n\r\n", "400 | 505 | cut"),
    scored("field without a name", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n: empty-name\r\n\r\n", REFUSED),
    scored("bare CR after the request line", b"GET / HTTP/1.1\rHost: localhost:8080\r\n\r\n", "400"),
    scored("no target", b"GET HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored("fragment in the target", b"GET /path#frag HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", LENIENT_WARNS),
    scored("request line of HTTP/0.9", b"GET /\r\n", REFUSED),
    scored("bracket in a field name", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nBad[Name: value\r\n\r\n", REFUSED),
    scored("field without a colon", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nNoColonHere\r\n\r\n", REFUSED),
    scored("two different Hosts", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nHost: other.example.com\r\n\r\n", "400"),
    scored("length in letters", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: abc\r\n\r\n", REFUSED),
    scored(
        "length with a plus",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: +5\r\n\r\nhello",
        REFUSED,
    ),
    scored("white space before the fields", b"GET / HTTP/1.1\r\n \r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored("two equal Hosts", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nHost: localhost:8080\r\n\r\n", "400"),
    scored("Host with a user", b"GET / HTTP/1.1\r\nHost: user@localhost:8080\r\n\r\n", REFUSED),
    scored("Host with a path", b"GET / HTTP/1.1\r\nHost: localhost:8080/path\r\n\r\n", REFUSED),
    scored("GET *", b"GET * HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx"),
    scored(
        "unknown transfer coding alone",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: gzip\r\n\r\n",
        "400 | 501 | cut",
    ),
    scored("two empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", LENIENT_WARNS),
    unscored(
        "target in absolute form",
        b"GET http://localhost:8080/ HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "2xx | ~400 | ~cut",
    ),
    scored("method in lower case", b"get / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "400 | 405 | 501 | cut | ~2xx"),
    scored(
        "body with a length",
        b"POST /input HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n\
          {\"content\":\"hello\"}",
        "2xx + echoes \"hello\"",
    ),
    scored("length of zero", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 0\r\n\r\n", "2xx | none"),
    scored("POST without a body", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx | none"),
    scored(
        "body shorter than its length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 10\r\n\r\nhello",
        REFUSED,
    ),
    scored(
        "body of one chunk",
        b"POST /input HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\n\
          Transfer-Encoding: chunked\r\n\r\n13\r\n{\"content\":\"hello\"}\r\n0\r\n\r\n",
        "2xx + echoes \"hello\"",
    ),
    scored(
        "body of two chunks",
        b"POST /input HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\n\
          Transfer-Encoding: chunked\r\n\r\n11\r\n{\"content\":\"hello\r\n8\r\n world\"}\r\n0\r\n\r\n",
        "2xx + echoes \"hello world\"",
    ),
    scored(
        "body of no chunk",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "2xx | none",
    ),
    scored(
        "chunks without the last",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        REFUSED,
    ),
    scored(
        "upgrade to WebSocket by POST",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "-101 | response | cut",
    ),
    scored(
        "Upgrade that Connection does not name",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "-101 | response | cut",
    ),
    scored(
        "upgrade to an unknown protocol",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: Upgrade\r\nUpgrade: totally-made-up/1.0\r\n\r\n",
        "-101 | response | cut",
    ),
    scored("CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "400 | 405 | 501 | cut"),
    scored(
        "unknown expectation",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nExpect: 200-ok\r\n\r\n",
        "417 | cut | ~2xx",
    ),
    unscored(
        "GET with a body",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\nhello",
        "400 | cut | ~response",
    ),
    scored(
        "chunk with an extension",
        b"POST /input HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\n\
          Transfer-Encoding: chunked\r\n\r\n13;ext=value\r\n{\"content\":\"hello\"}\r\n0\r\n\r\n",
        "2xx + echoes \"hello\" | ~400 | ~cut",
    ),
    scored(
        "WebSocket of version 99",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 99\r\n\r\n",
        "-101 | 426 | cut | ~2xx | response",
    ),
    unscored("TRACE", b"TRACE / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "405 | 501 | cut | ~2xx"),
    scored("empty Host", b"GET / HTTP/1.1\r\nHost: \r\n\r\n", REFUSED),
    scored("tab after the method", b"GET\t/ HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", LENIENT_WARNS),
    scored("HTTP/1", b"GET / HTTP/1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored("HTTP/01.01", b"GET / HTTP/01.01\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored("space in the version", b"GET / HTTP/ 1.1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored("Connection: close", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n", "2xx + closed"),
    scored("HTTP/1.0 without keep-alive", b"GET / HTTP/1.0\r\nHost: localhost:8080\r\n\r\n", "2xx + closed | ~2xx"),
    unscored("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", "400 | cut | ~2xx"),
    unscored("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: localhost:8080\r\n\r\n", "cut | ~2xx | ~505"),
    unscored(
        "TRACE with a body",
        b"TRACE / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\nhello",
        "400 | 405 | 501 | cut | ~2xx",
    ),
    scored(
        "chunks with a trailer",
        b"POST /input HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\n\
          Transfer-Encoding: chunked\r\n\r\n13\r\n{\"content\":\"hello\"}\r\n0\r\nX-Checksum: abc\r\n\r\n",
        "2xx + echoes \"hello\"",
    ),
    scored(
        "chunk size in upper case",
        b"POST /input HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\n\
          Transfer-Encoding: chunked\r\n\r\nA\r\n{\"content\"\r\nE\r\n:\"helloworld\"}\r\n0\r\n\r\n",
        "2xx + echoes \"helloworld\"",
    ),
    scored(
        "Range with POST",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\nRange: bytes=0-10\r\n\r\nhello",
        "-206 | 2xx",
    ),
    scored(
        "upgrade in HTTP/1.0",
        b"GET / HTTP/1.0\r\nHost: localhost:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "-101 | response | cut",
    ),
    scored("HEAD", b"HEAD / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx + empty"),
    scored("unknown method", b"FOOBAR / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "400 | 405 | 501 | cut | ~2xx"),
    scored(
        "405 names the methods",
        b"DELETE / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "405 + with Allow | -405 | ~response",
    ),
    scored("Date", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx + with Date"),
    unscored("form of Date", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx + dated | ~2xx"),
    scored(
        "expectation in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: localhost:8080\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "-1xx | response | none",
    ),
    scored(
        "204 has no length",
        b"OPTIONS / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "-204 + with Content-Length | 204 | ~response",
    ),
    scored(
        "OPTIONS names the methods",
        b"OPTIONS / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "2xx + with Allow | ~2xx",
    ),
    scored("Content-Type", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx + with Content-Type | ~2xx"),
    scored("version in lower case", b"GET / http/1.1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored(
        "target of 7,901 bytes",
        b"GET /[[a * 7900]] HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "-414 | response | ~cut",
    ),
    scored("space in the target", b"GET /pa th HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored(
        "two Content-Types",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\
          Content-Type: text/html\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    unscored(
        "TRACE with a credential",
        b"TRACE / HTTP/1.1\r\nHost: localhost:8080\r\nAuthorization: Bearer secret-token-123\r\n\r\n",
        "405 | 501 | cut | ~2xx + says secret-token-123 | 2xx",
    ),
    unscored(
        "Range without numbers",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nRange: bytes=abc-xyz\r\n\r\n",
        "~206 | 2xx | 416 | ~response | ~cut",
    ),
    unscored(
        "unknown type in Accept",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nAccept: application/x-nonsense\r\n\r\n",
        "406 | ~2xx | ~cut",
    ),
    unscored(
        "unknown Content-Type",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\
          Content-Type: application/x-nonsense\r\n\r\nhello",
        "415 | 2xx | ~response | ~cut",
    ),
];

//! The end of a body, and the bytes after it.

use super::Case;

pub const FRAMING: &[Case] = &[
    ("length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "POST / 1.1 a 5 keep [hello]"),
    ("length 0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST / 1.1 a 0 keep"),
    ("length with zeros", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\nhi", "POST / 1.1 a 2 keep [hi]"),
    ("length in HTTP/1.0", b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "POST / 1.0  2 close [hi]"),
    ("get with a body", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "GET / 1.1 a 2 keep [hi]"),
    ("post without a body", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / 1.1 a none keep"),
    ("body cut short", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell", "POST / 1.1 a 5 keep ..."),
    ("length +5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", "!LengthMalformed"),
    ("length -5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", "!LengthMalformed"),
    ("length 0x5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", "!LengthMalformed"),
    ("length 5 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello", "!LengthMalformed"),
    ("length 5, 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", "!LengthMalformed"),
    ("length 5.0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello", "!LengthMalformed"),
    ("length empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello", "!LengthMalformed"),
    (
        "length of 2^64",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "!LengthMalformed",
    ),
    (
        "length of 2^64 - 1",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "POST / 1.1 a 18446744073709551615 keep !TooLarge",
    ),
    (
        "length of 30 digits",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000000000000000000005\r\n\r\n",
        "!LengthMalformed",
    ),
    (
        "lengths that differ",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "!LengthRepeated",
    ),
    (
        "lengths that are equal",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "!LengthRepeated",
    ),
    (
        "length over the limit",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n",
        "POST / 1.1 a 1025 keep !TooLarge",
    ),
    (
        "length and coding",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "!LengthAndCoding",
    ),
    (
        "coding and length",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "!LengthAndCoding",
    ),
    (
        "coding in any case",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        "POST / 1.1 a chunked keep",
    ),
    ("coding in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "!CodingInHttp10"),
    ("coding empty", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", "!CodingUnknown"),
    ("coding gzip", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "!CodingUnknown"),
    ("coding identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "!CodingUnknown"),
    ("coding xchunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", "!CodingUnknown"),
    ("coding quoted", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", "!CodingUnknown"),
    (
        "coding with parameter",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
        "!CodingUnknown",
    ),
    (
        "coding after vertical tab",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "!FieldValue",
    ),
    ("chunked not last", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "!CodingUnknown"),
    ("chunked not alone", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "!CodingUnknown"),
    (
        "chunked twice in a list",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "!CodingUnknown",
    ),
    (
        "chunked twice",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "!CodingUnknown",
    ),
    (
        "expectation",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi",
        "POST / 1.1 a 2 keep expects [hi]",
    ),
    (
        "expectation before chunks",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / 1.1 a chunked keep expects",
    ),
    (
        "expectation of no body is none",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        "POST / 1.1 a 0 keep",
    ),
    (
        "expectation in HTTP/1.0 is none",
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "POST / 1.0  2 close [hi]",
    ),
    ("expectation unknown", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", "!Expectation"),
    ("expectation empty", b"GET / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", "!Expectation"),
    (
        "two requests at once",
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET /1 1.1 a none keep | GET /2 1.1 b none keep",
    ),
    (
        "a request behind a body",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\nHost: b\r\n\r\n",
        "POST / 1.1 a 2 keep [hi] | GET /2 1.1 b none keep",
    ),
    (
        "a request behind chunks",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
        "POST / 1.1 a chunked keep [hi] | GET /2 1.0  none close",
    ),
    (
        "an empty line between requests",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\nGET /2 HTTP/1.0\r\n\r\n",
        "POST / 1.1 a 2 keep [hi] | GET /2 1.0  none close",
    ),
    (
        "a body longer than its length is a bad request behind it",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi{}\r\n",
        "POST / 1.1 a 2 keep [hi] | !RequestLine",
    ),
];

//! Named requests, good and bad, each fed whole, byte by byte and split at every position, with one and the same result.

use cortex_core::base::limits::{CHUNK_LINE_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX, TRAILER_BYTES_MAX};
use cortex_core::base::random::Random;
use cortex_core::http1::body::BodyReader;
use cortex_core::http1::head::{Framing, Head, HeadLimits, Slots, Version, parse_head, worth_parsing};
use std::fmt::Write;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024 };
const BODY_BYTES_MAX: u64 = 64;

/// Name, bytes of a connection, and what is read from them, as `read_all` writes it: each request as method, path,
/// query, version, host, framing, keep or close, and its body if it has one; `!` and the error that ends the reading;
/// `...` when more bytes are needed.
type Case = (&'static str, &'static [u8], &'static str);

const TARGETS_AND_VERSIONS: &[Case] = &[
    ("plain get", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / 1.1 a none keep"),
    ("head", b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /x 1.1 a none keep"),
    ("put", b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz", "PUT /x 1.1 a 1 keep [z]"),
    ("patch", b"PATCH /x HTTP/1.1\r\nHost: a\r\n\r\n", "PATCH /x 1.1 a none keep"),
    ("delete", b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE /x 1.1 a none keep"),
    ("unknown method", b"BREW-IT! /x HTTP/1.1\r\nHost: a\r\n\r\n", "(BREW-IT!) /x 1.1 a none keep"),
    ("method in lower case is another method", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "(get) / 1.1 a none keep"),
    ("query", b"GET /a?b=c&d HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b=c&d 1.1 a none keep"),
    ("empty query", b"GET /a? HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a? 1.1 a none keep"),
    ("two question marks", b"GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b?c 1.1 a none keep"),
    ("escapes stay as they are", b"GET /%41%2F HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%41%2F 1.1 a none keep"),
    ("absolute target wins over Host", b"GET http://b:8/p?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET /p?q 1.1 b:8 none keep"),
    ("absolute target without path", b"GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET / 1.1 b none keep"),
    ("absolute target needs Host all the same", b"GET http://b/ HTTP/1.1\r\n\r\n", "!HostMissing"),
    ("absolute target with user name", b"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetForm"),
    ("absolute target without host", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetForm"),
    ("absolute target of another scheme", b"GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetForm"),
    ("asterisk", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * 1.1 a none keep"),
    ("asterisk with another method", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetForm"),
    ("authority target", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "!TargetForm"),
    ("authority target with get", b"GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "!TargetForm"),
    ("connect to a path", b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetForm"),
    ("relative target", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetForm"),
    ("fragment in path", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetFragment"),
    ("fragment in query", b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetFragment"),
    ("escape cut short", b"GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetEncoding"),
    ("escape of no digits", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetEncoding"),
    ("UTF-8 in target", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetByte"),
    ("UTF-8 in query", b"GET /?\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "!TargetByte"),
    ("no UTF-8 in target", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("NUL in target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("DEL in target", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("tab in request line", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("space in target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "!Version"),
    ("two spaces before target", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("two spaces before version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "!Version"),
    ("space after version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "!LineEnd"),
    ("space before method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("no method", b"/ HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("NUL in method", b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", "!RequestLine"),
    ("no version, as in HTTP/0.9", b"GET /\r\n", "!RequestLine"),
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", "GET / 1.0  none close"),
    ("HTTP/1.0 with Host", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / 1.0 a none close"),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "!Version"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!Version"),
    ("HTTP/0.9 named", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", "!Version"),
    ("HTTP/1", b"GET / HTTP/1\r\nHost: a\r\n\r\n", "!Version"),
    ("HTTP/01.1", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", "!Version"),
    ("version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", "!Version"),
    ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "!RequestLine"),
];

const LINES_AND_FIELDS: &[Case] = &[
    ("one empty line first", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / 1.1 a none keep"),
    ("two empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / 1.1 a none keep"),
    ("three empty lines first", b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "!EmptyLines"),
    ("bare LF first", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "!LineEnd"),
    ("bare CR first", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "!LineEnd"),
    ("bare LF after request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", "!LineEnd"),
    ("bare LF after field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "!LineEnd"),
    ("bare LF after space after field", b"GET / HTTP/1.1\r\nHost: a \nX: y\r\n\r\n", "!LineEnd"),
    ("bare LF after empty field", b"GET / HTTP/1.1\r\nHost: a\r\nX:\nY: z\r\n\r\n", "!LineEnd"),
    ("bare LF after last field", b"GET / HTTP/1.1\r\nHost: a\n\r\n", "!LineEnd"),
    ("bare LF at the end of the head", b"GET / HTTP/1.1\r\nHost: a\r\n\n", "!LineEnd"),
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", "!LineEnd"),
    ("bare LF without fields", b"GET / HTTP/1.0\n\n", "!LineEnd"),
    ("bare LF before another fault", b"GET / HTTP/1.1\r\nHost: a\nB ad: x\r\n\r\n", "!LineEnd"),
    ("bare LF after another fault", b"GET / HTTP/1.1\r\nB ad: a\nHost: a\r\n\r\n", "!FieldName"),
    ("bare CR after request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n", "!LineEnd"),
    ("bare CR in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "!FieldValue"),
    ("two CRs before LF", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "!FieldValue"),
    ("bare CR at the end of the head", b"GET / HTTP/1.1\r\nHost: a\r\n\rGET /\r\n", "!LineEnd"),
    ("NUL in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "!FieldValue"),
    ("control character in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", "!FieldValue"),
    ("DEL in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", "!FieldValue"),
    ("tab in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n", "GET / 1.1 a none keep"),
    ("bytes beyond ASCII in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\xff\r\n\r\n", "GET / 1.1 a none keep"),
    ("NUL in name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0Y: b\r\n\r\n", "!FieldName"),
    ("byte beyond ASCII in name", b"GET / HTTP/1.1\r\nHost: a\r\nX\xe4: b\r\n\r\n", "!FieldName"),
    ("delimiter in name", b"GET / HTTP/1.1\r\nHost: a\r\nX(Y): b\r\n\r\n", "!FieldName"),
    ("folded line with space", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "!FieldName"),
    ("folded line with tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", "!FieldName"),
    ("white space before first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "!FieldName"),
    ("space before colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "!FieldName"),
    ("tab before colon", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n", "!FieldName"),
    ("no colon", b"GET / HTTP/1.1\r\nHost a\r\n\r\n", "!FieldName"),
    ("no name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "!FieldName"),
    ("value without space and with much", b"GET / HTTP/1.1\r\nHost:\t  a \t\r\nX:y\r\n\r\n", "GET / 1.1 a none keep"),
    ("names in any case", b"POST / HTTP/1.1\r\nhOST: a\r\nCONTENT-length: 1\r\n\r\nx", "POST / 1.1 a 1 keep [x]"),
    ("Host missing", b"GET / HTTP/1.1\r\n\r\n", "!HostMissing"),
    ("Host empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "!HostMalformed"),
    ("Host empty in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: \r\n\r\n", "!HostMalformed"),
    ("Host twice", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "!HostRepeated"),
    ("Host twice, equal", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "!HostRepeated"),
    ("Host twice in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "!HostRepeated"),
    ("Host with port", b"GET / HTTP/1.1\r\nHost: a.b:8000\r\n\r\n", "GET / 1.1 a.b:8000 none keep"),
    ("Host of IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / 1.1 [::1]:80 none keep"),
    ("Host of IPv6 without brackets", b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", "!HostMalformed"),
    ("Host with path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "!HostMalformed"),
    ("Host with user name", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "!HostMalformed"),
    ("Host with space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "!HostMalformed"),
    ("Host with bad port", b"GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", "!HostMalformed"),
    ("Host with port over 65535", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "!HostMalformed"),
    ("Host beyond ASCII", b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", "!HostMalformed"),
    ("close", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / 1.1 a none close"),
    ("close in a list", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE , Close\r\n\r\n", "GET / 1.1 a none close"),
    (
        "close wins over keep-alive, whichever comes first",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
        "GET / 1.1 a none close",
    ),
    ("closed is not close", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", "GET / 1.1 a none keep"),
    ("HTTP/1.0 keep-alive", b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / 1.0  none keep"),
    ("nothing", b"", ""),
    ("an empty line and no more", b"\r\n", "..."),
    ("a line and no more", b"GET / HTTP/1.1\r\n", "..."),
    ("a head without its end", b"GET / HTTP/1.1\r\nHost: a\r\n", "..."),
];

const FRAMING: &[Case] = &[
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
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65\r\n\r\n",
        "POST / 1.1 a 65 keep !TooLarge",
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

/// Bodies in chunks; the head is put before each.
const CHUNKS: &[Case] = &[
    ("no chunk", b"0\r\n\r\n", ""),
    ("one chunk", b"5\r\nhello\r\n0\r\n\r\n", " [hello]"),
    ("two chunks", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", " [hello world]"),
    ("size in both cases", b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", " [01234567890123456789a]"),
    ("size of 16 digits", b"0000000000000002\r\nhi\r\n0000000000000000\r\n\r\n", " [hi]"),
    ("line ends in content", b"6\r\n\r\n0\r\n\r\r\n0\r\n\r\n", " [\\r\\n0\\r\\n\\r]"),
    ("extension", b"2;a\r\nhi\r\n0;b=c\r\n\r\n", " [hi]"),
    ("extension quoted", b"2;a=\"b; c\";d\r\nhi\r\n0\r\n\r\n", " [hi]"),
    ("trailers", b"2\r\nhi\r\n0\r\nA: b\r\nContent-Length: 9\r\nEmpty:\r\n\r\n", " [hi]"),
    ("end is missing", b"2\r\nhi\r\n0\r\n", " ..."),
    ("content is missing", b"2\r\nh", " ..."),
    ("size empty", b"\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size missing before extension", b";a\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size with sign", b"+2\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size below zero", b"-2\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size with 0x", b"0x2\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size with underscore", b"0_2\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size of no digits", b"g\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size of 17 digits", b"00000000000000002\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size of more than 64 bits", b"10000000000000002\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("size of 64 bits", b"ffffffffffffffff\r\nhi\r\n0\r\n\r\n", " !TooLarge"),
    ("space before size", b" 2\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("space after size", b"2 \r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("space before extension", b"2 ;a\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("tab after size", b"2\t\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("NUL in size", b"2\0\r\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("bare LF after size", b"2\nhi\r\n0\r\n\r\n", " !ChunkSize"),
    ("bare CR after size", b"2\rhi\r\n0\r\n\r\n", " !ChunkLine"),
    ("bare LF in extension", b"2;a\nhi\r\n0\r\n\r\n", " !ChunkLine"),
    ("bare CR in extension", b"2;a\rb\r\nhi\r\n0\r\n\r\n", " !ChunkLine"),
    ("NUL in extension", b"2;a\0\r\nhi\r\n0\r\n\r\n", " !ChunkLine"),
    ("content longer than its size", b"2\r\nhim\r\n0\r\n\r\n", " !ChunkEnd"),
    ("content shorter than its size", b"3\r\nhi\r\n0\r\n\r\n", " !ChunkEnd"),
    ("bare LF after content", b"2\r\nhi\n0\r\n\r\n", " !ChunkEnd"),
    ("bare CR after content", b"2\r\nhi\r0\r\n\r\n", " !ChunkEnd"),
    ("bare LF at the end", b"2\r\nhi\r\n0\r\n\n", " !Trailer"),
    ("bare CR at the end", b"2\r\nhi\r\n0\r\n\rG", " !Trailer"),
    ("trailer without colon", b"0\r\nA\r\n\r\n", " !Trailer"),
    ("trailer without name", b"0\r\n: b\r\n\r\n", " !Trailer"),
    ("trailer with space before colon", b"0\r\nA : b\r\n\r\n", " !Trailer"),
    ("trailer folded", b"0\r\nA: b\r\n c\r\n\r\n", " !Trailer"),
    ("trailer with bare LF", b"0\r\nA: b\n\r\n", " !Trailer"),
    ("trailer with bare CR", b"0\r\nA: b\rC: d\r\n\r\n", " !Trailer"),
    ("trailer with NUL", b"0\r\nA: \0\r\n\r\n", " !Trailer"),
    ("a request behind the last chunk without its end", b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", " !Trailer"),
    ("content at the limit", b"20\r\n0123456789abcdef0123456789abcdef\r\n20\r\n", " ..."),
    ("one chunk over the limit", b"41\r\n", " !TooLarge"),
    ("chunks over the limit together", b"20\r\n0123456789abcdef0123456789abcdef\r\n21\r\n", " !TooLarge"),
];

const CHUNKED_HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Requests at and over the limits, which are too long to write out.
fn long_cases() -> Vec<(String, Vec<u8>, String)> {
    let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let filled = |bytes: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{head}{}\r\n\r\n", "y".repeat(bytes - head.len() - 4))
    };
    let extension = |line_bytes: usize| format!("{CHUNKED_HEAD}2;{}\r\nhi\r\n0\r\n\r\n", "e".repeat(line_bytes - 2));
    let trailers = |bytes: usize| format!("{CHUNKED_HEAD}0\r\nA:{}\r\n\r\n", "t".repeat(bytes - 6));
    let target = TARGET_BYTES_MAX;
    let get = "GET / 1.1 a none keep";
    let post = "POST / 1.1 a chunked keep";
    let rows = [
        (
            "target at the limit",
            format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path(target)),
            format!("GET {} 1.1 a none keep", path(target)),
        ),
        (
            "target over the limit",
            format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path(target + 1)),
            "!TargetTooLong".into(),
        ),
        ("target over the limit, not at its end", format!("GET {}", path(target + 100)), "!TargetTooLong".into()),
        (
            "target over the limit before a bad version",
            format!("GET {} HTTP/3\r\n", path(target + 1)),
            "!TargetTooLong".into(),
        ),
        (
            "target over the limit before a bad field",
            format!("GET {} HTTP/1.1\nA b\r\n\r\n", path(target + 1)),
            "!TargetTooLong".into(),
        ),
        (
            "target over the limit after a bad byte",
            format!("GET /\0{} HTTP/1.1\r\nHost: a\r\n\r\n", path(target)),
            "!RequestLine".into(),
        ),
        (
            "target over the limit with a fragment",
            format!("GET /#{} HTTP/1.1\r\nHost: a\r\n\r\n", path(target)),
            "!TargetTooLong".into(),
        ),
        ("fields at the limit", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(HEADERS_MAX - 1)), get.into()),
        (
            "fields over the limit",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(HEADERS_MAX)),
            "!TooManyFields".into(),
        ),
        (
            "fields over the limit, not at their end",
            format!("GET / HTTP/1.1\r\n{}", fields(HEADERS_MAX + 1)),
            "!TooManyFields".into(),
        ),
        ("head at the limit", filled(LIMITS.head_bytes_max), get.into()),
        ("head over the limit", filled(LIMITS.head_bytes_max + 1), "!TooLarge".into()),
        ("head without end", "X".repeat(LIMITS.head_bytes_max), "!TooLarge".into()),
        ("chunk line at the limit", extension(CHUNK_LINE_BYTES_MAX), format!("{post} [hi]")),
        ("chunk line over the limit", extension(CHUNK_LINE_BYTES_MAX + 1), format!("{post} !ChunkLine")),
        ("trailers at the limit", trailers(TRAILER_BYTES_MAX), post.into()),
        ("trailers over the limit", trailers(TRAILER_BYTES_MAX + 1), format!("{post} !TrailersTooLarge")),
    ];
    rows.map(|(name, input, want)| (name.to_owned(), input.into_bytes(), want)).into()
}

fn all_cases() -> Vec<(String, Vec<u8>, String)> {
    let mut cases = long_cases();
    for (name, input, want) in TARGETS_AND_VERSIONS.iter().chain(LINES_AND_FIELDS).chain(FRAMING) {
        cases.push((name.to_string(), input.to_vec(), want.to_string()));
    }
    for (name, body, want) in CHUNKS {
        let input = [CHUNKED_HEAD.as_bytes(), body].concat();
        cases.push((format!("chunked: {name}"), input, format!("POST / 1.1 a chunked keep{want}")));
    }
    cases
}

/// Reads a connection's requests as the event loop does: the head when it may be there, then the body.
///
/// Unless `eager`, in which case the head is tried after every piece.
fn read_all<'a>(pieces: impl Iterator<Item = &'a [u8]>, eager: bool) -> String {
    let mut told = String::new();
    let mut waiting: Vec<u8> = Vec::new();
    let mut looked_at = 0;
    let mut body: Option<(BodyReader, Vec<u8>)> = None;
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            if let Some((reader, content)) = &mut body {
                let progress = match reader.read(&waiting, content) {
                    Ok(progress) => progress,
                    Err(error) => return told + &format!(" !{error:?}"),
                };
                waiting.drain(..progress.consumed);
                assert_eq!(progress.done, reader.is_done());
                if !progress.done {
                    assert!(waiting.is_empty(), "an unfinished body takes everything");
                    break;
                }
                if !content.is_empty() {
                    write!(told, " [{}]", content.escape_ascii()).unwrap();
                }
                body = None;
            }
            if !eager && !worth_parsing(looked_at, &waiting, &LIMITS) {
                looked_at = waiting.len();
                break;
            }
            let mut slots = Slots::new();
            let (framing, bytes) = match parse_head(&waiting, &mut slots, &LIMITS) {
                Ok(Some(head)) => {
                    check_head(&head, &waiting[..head.bytes]);
                    tell(&mut told, &head);
                    (head.framing, head.bytes)
                }
                Ok(None) => {
                    looked_at = waiting.len();
                    break;
                }
                Err(error) => return format!("{told}{}!{error:?}", separator_of(&told)),
            };
            waiting.drain(..bytes);
            looked_at = 0;
            body = match BodyReader::new(framing, BODY_BYTES_MAX) {
                Ok(reader) => Some((reader, Vec::new())),
                Err(error) => return told + &format!(" !{error:?}"),
            };
        }
    }
    match (body.is_some(), waiting.is_empty()) {
        (true, _) => told + " ...",
        (false, false) => format!("{told}{}...", separator_of(&told)),
        (false, true) => told,
    }
}

fn separator_of(told: &str) -> &'static str {
    if told.is_empty() { "" } else { " | " }
}

fn tell(told: &mut String, head: &Head) {
    told.push_str(separator_of(told));
    match head.method.as_str() {
        Some(name) => told.push_str(name),
        None => write!(told, "({})", head.method_name).unwrap(),
    }
    write!(told, " {}", head.path).unwrap();
    if let Some(query) = head.query {
        write!(told, "?{query}").unwrap();
    }
    let version = if head.version == Version::Http11 { "1.1" } else { "1.0" };
    write!(told, " {version} {}", head.host).unwrap();
    match head.framing {
        Framing::None => told.push_str(" none"),
        Framing::Length(length) => write!(told, " {length}").unwrap(),
        Framing::Chunked => told.push_str(" chunked"),
    }
    told.push_str(if head.keep_alive { " keep" } else { " close" });
    if head.expect_continue {
        told.push_str(" expects");
    }
}

/// What must hold for every head that is let through, checked in another way than the parser does.
fn check_head(head: &Head, bytes: &[u8]) {
    let text: Vec<&[u8]> =
        bytes.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line").split(|b| *b == b'\n').collect();
    let (last, lines) = text.split_last().unwrap();
    for line in lines.iter().map(|line| line.strip_suffix(b"\r").expect("a line ends in CR LF")).chain([*last]) {
        assert!(line.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f)), "no control characters");
        assert!(!line.starts_with(b" ") && !line.starts_with(b"\t"), "no folded line");
    }
    let count = |name: &str| head.header_lines().filter(|(sent, _)| sent.eq_ignore_ascii_case(name)).count();
    assert!(count("host") == 1 || (count("host") == 0 && head.version == Version::Http10));
    assert_eq!(count("content-length"), usize::from(matches!(head.framing, Framing::Length(_))));
    assert_eq!(count("transfer-encoding"), usize::from(head.framing == Framing::Chunked));
    assert!(head.path.starts_with('/') || head.path == "*");
    assert!(head.path.len() + head.query.map_or(0, str::len) <= TARGET_BYTES_MAX);
}

#[test]
fn every_case_reads_the_same_however_it_arrives() {
    let cases = all_cases();
    for (name, input, want) in &cases {
        assert_eq!(&read_all([&input[..]].into_iter(), false), want, "{name}, whole");
        assert_eq!(&read_all(input.chunks(1), false), want, "{name}, byte by byte");
        assert_eq!(&read_all(input.chunks(1), true), want, "{name}, byte by byte and tried after each");
        for at in 0..=input.len() {
            let pieces = [&input[..at], &input[at..]];
            assert_eq!(&read_all(pieces.into_iter(), false), want, "{name}, split at {at}");
        }
    }
}

#[test]
fn names_are_unique_and_many() {
    let cases = all_cases();
    let names: std::collections::HashSet<&str> = cases.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 200, "{}", cases.len());
}

/// Damaged requests have no wanted result, but they have one only, and what is let through holds what `check_head` asks.
#[test]
fn damaged_requests_read_the_same_however_they_arrive() {
    const PIECES: &[&[u8]] = &[
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b",",
        b";",
        b"0",
        b"%",
        b"#",
        b"?",
        b"\xff",
        b"HTTP/1.1",
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"1\r\nx\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ];
    let cases: Vec<Vec<u8>> =
        all_cases().into_iter().map(|(_, input, _)| input).filter(|input| input.len() < 400).collect();
    let mut random = Random::new(9112);
    for _ in 0..20_000 {
        let mut input = cases[random.below(cases.len() as u64) as usize].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(input.len() as u64 + 1) as usize;
            let end = (at + random.below(3) as usize).min(input.len());
            let piece = PIECES[random.below(PIECES.len() as u64) as usize];
            input.splice(at..end, piece.iter().copied());
        }
        let whole = read_all([&input[..]].into_iter(), false);
        let at = random.below(input.len() as u64 + 1) as usize;
        for eager in [false, true] {
            assert_eq!(read_all(input.chunks(1), eager), whole, "{}", input.escape_ascii());
            assert_eq!(read_all([&input[..at], &input[at..]].into_iter(), eager), whole, "{}", input.escape_ascii());
        }
    }
}

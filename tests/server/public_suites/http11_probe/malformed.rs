//! Bytes that are no request, and requests beyond every limit.

use super::{LENIENT_WARNS, REFUSED};
use crate::public_suites::case::{Case, scored, unscored};

pub const MALFORMED: &[Case] = &[
    scored("256 arbitrary bytes", b"[[garbage * 1]]", REFUSED),
    scored(
        "target of 100 kB",
        b"GET /[[A * 100000]] HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "400 | 414 | 431 | cut",
    ),
    scored(
        "value of 100 kB",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Big: [[B * 100000]]\r\n\r\n",
        "400 | 431 | cut",
    ),
    scored(
        "10,000 fields",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n[[X-H-#: value\r\n * 10000]]\r\n",
        "400 | 431 | cut",
    ),
    scored("NUL in the target", b"GET /\0test HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored(
        "control characters in a value",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Test: abc\x07\x08\x0bdef\r\n\r\n",
        REFUSED,
    ),
    scored("head without its end", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Test: value", REFUSED),
    scored("nothing", b"", REFUSED),
    scored(
        "name of 100 kB",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n[[A * 100000]]: val\r\n\r\n",
        "400 | 431 | cut",
    ),
    scored("method of 100 kB", b"[[A * 100000]] / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "400 | cut"),
    scored("UTF-8 in a name", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-T\xc3\xabst: value\r\n\r\n", REFUSED),
    scored("UTF-8 in the target", b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored(
        "length past 64 bits",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 99999999999999999999\r\n\r\n",
        REFUSED,
    ),
    scored("spaces as request line", b"   \r\n\r\n", REFUSED),
    scored("NUL in a value", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Test: val\0ue\r\n\r\n", REFUSED),
    scored(
        "chunk size past 63 bits",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n\
          FFFFFFFFFFFFFFFF0\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 | 505 | none"),
    scored("empty length", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: \r\n\r\n", REFUSED),
    scored(
        "tab before the length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length:\t5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    scored(
        "backslash in the target",
        b"GET /path\\file HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "400 | cut | ~2xx | ~3xx | ~4xx",
    ),
    scored("overlong UTF-8 in the target", b"GET /\xc0\xaf HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", REFUSED),
    scored(
        "escaped NUL in the target",
        b"GET /path%00.html HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "400 | cut | ~2xx | ~3xx | ~4xx",
    ),
    scored(
        "escaped line end in the target",
        b"GET /path%0d%0aX-Injected:%20true HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "400 | cut | ~2xx | ~3xx | ~4xx",
    ),
    scored(
        "chunk extension of 64 KiB",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n\
          5;ext=[[a * 65536]]\r\nhello\r\n0\r\n\r\n",
        "400 | 431 | cut | ~2xx",
    ),
    unscored(
        "1,000 overlapping ranges",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nRange: bytes=[[0-, * 999]]0-\r\n\r\n",
        "cut | ~200 | ~206 | ~400 | ~416 | ~431",
    ),
    scored(
        "length of 1 GB without a body",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 999999999\r\n\r\n",
        REFUSED,
    ),
];

/// Field names that resemble those of a body's framing. A server that takes one for the other fails; one that echoes the
/// name as it was sent warns.
pub const NORMALIZATION: &[Case] = &[
    scored(
        "Content_Length",
        b"POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 11\r\nContent_Length: 99\r\n\r\nhello world",
        "-2xx + has line content-length: 99 | ~2xx + has line content_length: 99 | 2xx | 4xx | 5xx | cut",
    ),
    scored(
        "space before the colon of a second length",
        b"POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 11\r\nContent-Length : 5\r\n\r\nhello world",
        "-2xx + has line content-length: 5 | ~2xx + has line content-length : 5 | 2xx | 4xx | 5xx | cut",
    ),
    scored(
        "tab in Content-Length",
        b"POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 11\r\nContent\tLength: 99\r\n\r\nhello world",
        "-2xx + has line content-length: 99 | ~2xx + has line content\tlength: 99 | 2xx | 4xx | 5xx | cut",
    ),
    unscored(
        "TRANSFER-ENCODING",
        b"POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 11\r\nTRANSFER-ENCODING: chunked\r\n\r\n\
          hello world",
        "~2xx + says TRANSFER-ENCODING: | -2xx + has line transfer-encoding: chunked | 2xx | 4xx | 5xx | cut",
    ),
    scored(
        "Transfer_Encoding and a length",
        b"POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 11\r\nTransfer_Encoding: chunked\r\n\r\n\
          hello world",
        "-2xx + has line transfer-encoding: chunked | ~2xx + has line transfer_encoding: chunked | 2xx | 4xx | 5xx | cut",
    ),
];

//! Requests whose end servers and proxies see at different places.

use super::{LENIENT_WARNS, NOTHING_HIDDEN_RUNS, REFUSED};
use crate::public_suites::case::{Case, scored, unscored};

/// The suite sends a second request after more of these; here only where the response to it decides.
pub const SMUGGLING: &[Case] = &[
    scored(
        "chunked with a length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 23\r\nTransfer-Encoding: chunked\r\n\r\nD\r\n\
          hello-bananas\r\n0\r\n\r\n",
        LENIENT_WARNS,
    ),
    scored(
        "two lengths",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\nContent-Length: 10\r\n\r\nhelloworld",
        REFUSED,
    ),
    scored(
        "length with leading zeros",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 005\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    scored(
        "xchunked with a length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello",
        "400 | 501 | cut",
    ),
    scored(
        "space after chunked, with a length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked \r\nContent-Length: 5\r\n\r\nhello",
        "400 | 501 | cut | ~2xx + closed",
    ),
    scored(
        "space before the colon of Transfer-Encoding",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello",
        REFUSED,
    ),
    scored("length below zero", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: -1\r\n\r\n", REFUSED),
    scored(
        "chunked with a length that cuts the last chunk",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 | closed | ~2xx",
    ),
    scored(
        "chunked with a length past the last chunk",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\nContent-Length: 30\r\n\r\n\
          0\r\n\r\n",
        "400 | closed | ~2xx",
    ),
    scored(
        "space after the length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5 \r\n\r\nhello",
        LENIENT_WARNS,
    ),
    scored(
        "chunked twice in a field",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked, chunked\r\n\
          Content-Length: 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    scored(
        "two spaces before the length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length:  5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    scored(
        "chunked with a capital, with a length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: Chunked\r\nContent-Length: 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    scored(
        "list of two lengths",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5, 10\r\n\r\nhello",
        REFUSED,
    ),
    scored(
        "chunked before gzip",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "chunked in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        REFUSED,
    ),
    scored(
        "chunk with an empty extension",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "bracket in an extension",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5;bad[=x\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "bare CR in a value",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\nX-Test: val\rue\r\n\r\nhello",
        REFUSED,
    ),
    scored("length 0o5", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 0o5\r\n\r\nhello", REFUSED),
    scored(
        "underscore in a chunk size",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\nhello world!!!!!\r\n\
          0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "empty Transfer-Encoding",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: \r\nContent-Length: 5\r\n\r\nhello",
        REFUSED,
    ),
    scored(
        "comma before chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: , chunked\r\nContent-Length: 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    scored(
        "chunked and identity in two fields",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\
          Content-Length: 5\r\n\r\nhello",
        REFUSED,
    ),
    scored(
        "chunk size 0x5",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "chunk size +5",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "space after a chunk size",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored("length 0x5", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 0x5\r\n\r\nhello", REFUSED),
    scored(
        "space in the length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 1 0\r\n\r\nhello12345",
        REFUSED,
    ),
    scored(
        "space before a chunk size",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "no line end after a chunk",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "bare LF after an extension",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5;\nhello\r\n0\r\n\r\n",
        LENIENT_WARNS,
    ),
    scored(
        "chunk longer than its size",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "bare LF after a chunk",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
        LENIENT_WARNS,
    ),
    scored(
        "NUL in an extension",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5;\0ext\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "bare CR in an extension",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5;a\rX\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    scored(
        "vertical tab before chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\nhello",
        REFUSED,
    ),
    scored(
        "form feed before chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: \x0cchunked\r\nContent-Length: 5\r\n\r\nhello",
        REFUSED,
    ),
    scored(
        "NUL after chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\0\r\nContent-Length: 5\r\n\r\nhello",
        REFUSED,
    ),
    scored(
        "bare LF at the end of the trailers",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\n",
        LENIENT_WARNS,
    ),
    scored(
        "identity with a length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
        "400 | 501 | cut",
    ),
    scored(
        "chunk size below zero",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    unscored(
        "Transfer_Encoding",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    unscored(
        "list of two equal lengths",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5, 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    unscored(
        "list of three equal lengths",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5, 5, 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    unscored(
        "chunked with a parameter",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked;ext=val\r\nContent-Length: 5\r\n\r\n\
          hello",
        LENIENT_WARNS,
    ),
    unscored(
        "100-continue with the body",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    unscored(
        "Content-Length as a trailer",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
          Content-Length: 50\r\n\r\n",
        LENIENT_WARNS,
    ),
    unscored(
        "Transfer-Encoding as a trailer",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
          Transfer-Encoding: chunked\r\n\r\n",
        LENIENT_WARNS,
    ),
    unscored(
        "Host as a trailer",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
          Host: evil.example.com\r\n\r\n",
        LENIENT_WARNS,
    ),
    unscored(
        "Authorization as a trailer",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
          Authorization: Bearer evil\r\n\r\n",
        LENIENT_WARNS,
    ),
    unscored(
        "HEAD with a body",
        b"HEAD / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    unscored(
        "OPTIONS with a body",
        b"OPTIONS / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    scored(
        "underscore in the length",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 1_0\r\n\r\nhelloworld",
        REFUSED,
    ),
    scored("length -0", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: -0\r\n\r\n", REFUSED),
    scored("length 00", b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 00\r\n\r\n", LENIENT_WARNS),
    scored(
        "length 0200 with 200 bytes",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 0200\r\n\r\n[[A * 200]]",
        LENIENT_WARNS,
    ),
    scored(
        "folded Transfer-Encoding",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\nhello",
        "400 | cut | ~2xx + closed",
    ),
    scored(
        "comma after chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked,\r\nContent-Length: 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    unscored(
        "tab before chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\nhello",
        LENIENT_WARNS,
    ),
    unscored(
        "absolute target of another host",
        b"GET http://other.example.com/ HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        LENIENT_WARNS,
    ),
    scored("list of two hosts", b"GET / HTTP/1.1\r\nHost: localhost:8080, other.example.com\r\n\r\n", REFUSED),
    scored(
        "bare CR after a chunk size",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\rhello\r\n0\r\n\r\n",
        REFUSED,
    ),
    unscored(
        "Content-Type as a trailer",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
          Content-Type: text/evil\r\n\r\n",
        LENIENT_WARNS,
    ),
    scored(
        "length of 5, then chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 | closed",
    ),
    scored(
        "chunked, then a length of 5",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "400 | closed",
    ),
    scored(
        "a byte past the last chunk and a length of 6",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\nX",
        "400 | closed",
    ),
    scored(
        "request hidden behind the last chunk",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 45\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "the same with a length +45",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: +45\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "the same with a length 45x",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 45x\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "the same with a folded Transfer-Encoding",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 45\r\n\r\n\
          0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "HEAD hidden behind the last chunk",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 46\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\nHEAD / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "the same with a space after chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 45\r\nTransfer-Encoding: chunked \r\n\r\n\
          0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "the same with a comma before chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 45\r\nTransfer-Encoding: , chunked\r\n\r\n\
          0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "the same with a capital in chunked",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 45\r\nTransfer-Encoding: Chunked\r\n\r\n\
          0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "the same with chunked and identity",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\
          Content-Length: 45\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "request hidden in a chunk",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3b\r\n\
          GET / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 7\r\n\r\n\r\n0\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    scored(
        "request hidden behind the shorter of two lengths",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 4\r\nContent-Length: 44\r\n\r\n\
          PINGGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        NOTHING_HIDDEN_RUNS,
    ),
    unscored(
        "GET whose body begins a request",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 38\r\n\r\nGET / HTTP/1.1\r\n\
          Host: localhost:8080\r\n",
        "400 | closed | >2xx | ~any",
    )
    .then(b"\r\nGET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "~two | 400 | 2xx | ~any"),
    scored(
        "a byte past the last chunk and a length of 30",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\nContent-Length: 30\r\n\r\n\
          0\r\n\r\nX",
        "400 | closed",
    ),
    unscored(
        "a byte past a length of zero",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 0\r\n\r\nX",
        "400 | closed | ~2xx",
    )
    .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "~any"),
    unscored(
        "GET with a body, then a request",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\nhello",
        "400 | closed | >2xx",
    )
    .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx | ~any"),
    unscored(
        "OPTIONS with a body, then a request",
        b"OPTIONS / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\nhello",
        "400 | closed | >2xx",
    )
    .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx | ~any"),
    unscored(
        "100-continue with the body, then a request",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        "400 | 417 | closed | >2xx | ~any",
    )
    .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx | ~any"),
    scored(
        "OPTIONS with a folded Transfer-Encoding",
        b"OPTIONS / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n\
          hello",
        "400 | closed",
    ),
    scored(
        "chunk size +0 and a byte",
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\nX",
        "400 | closed",
    ),
    unscored(
        "two requests, one after the other",
        b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "~2xx + closed | >2xx",
    )
    .then(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "2xx | ~any"),
];

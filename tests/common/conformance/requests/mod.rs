//! Named valid and invalid requests with their parse results. The same table is used for the parser, the server's
//! socket and proxies in front of the server.

mod chunks;
mod families;
mod fields;
mod framing;
mod targets;

use cortex_core::internals::limits::{CHUNK_LINE_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX, TRAILER_BYTES_MAX};

/// Maximum size of a head that the table assumes, in bytes; the default of `MAX_HEADER_BYTES`.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Maximum size of a body that the table assumes, in bytes; the minimum of `MAX_BODY_BYTES`.
pub const BODY_BYTES_MAX: usize = 1024;

/// Name, bytes of a connection, and parse result in the format of `tests/formats/http1.rs`: each request as method,
/// path, query, version, host, framing, keep or close, and its body if it has one; `!` and the error that ends parsing;
/// `...` if more bytes are needed.
pub type Case = (&'static str, &'static [u8], &'static str);

const CHUNKED_HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Requests at and over the limits, generated because of their length.
fn long_cases() -> Vec<(String, Vec<u8>, String)> {
    let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let filled = |bytes: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{head}{}\r\n\r\n", "y".repeat(bytes - head.len() - 4))
    };
    let extension = |line_bytes: usize| format!("{CHUNKED_HEAD}2;{}\r\nhi\r\n0\r\n\r\n", "e".repeat(line_bytes - 2));
    let trailers = |bytes: usize| format!("{CHUNKED_HEAD}0\r\nA:{}\r\n\r\n", "t".repeat(bytes - 6));
    let chunks = |sizes: &[usize]| {
        let chunks: String = sizes.iter().map(|size| format!("{size:x}\r\n{}\r\n", "c".repeat(*size))).collect();
        format!("{CHUNKED_HEAD}{chunks}0\r\n\r\n")
    };
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
        ("head at the limit", filled(HEAD_BYTES_MAX), get.into()),
        ("head over the limit", filled(HEAD_BYTES_MAX + 1), "!TooLarge".into()),
        ("head without end", format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX)), "!TooLarge".into()),
        ("method of the length of a head", "X".repeat(HEAD_BYTES_MAX), "!RequestLine".into()),
        ("body at the limit", chunks(&[BODY_BYTES_MAX]), format!("{post} [{}]", "c".repeat(BODY_BYTES_MAX))),
        ("bodies over the limit together", chunks(&[BODY_BYTES_MAX, 1]), format!("{post} !TooLarge")),
        ("chunk line at the limit", extension(CHUNK_LINE_BYTES_MAX), format!("{post} [hi]")),
        ("chunk line over the limit", extension(CHUNK_LINE_BYTES_MAX + 1), format!("{post} !ChunkLine")),
        ("trailers at the limit", trailers(TRAILER_BYTES_MAX), post.into()),
        ("trailers over the limit", trailers(TRAILER_BYTES_MAX + 1), format!("{post} !TrailersTooLarge")),
    ];
    rows.map(|(name, input, want)| (name.to_owned(), input.into_bytes(), want)).into()
}

/// The request hidden in payloads.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// All cases, complete.
pub fn all_cases() -> Vec<(String, Vec<u8>, String)> {
    let chunked = "POST / 1.1 a chunked keep";
    let fields = |framing: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}: ");
    let tables: [(&str, &[Case], String, &str, &str); 10] = [
        ("", targets::TARGETS_AND_VERSIONS, String::new(), "", ""),
        ("", fields::LINES_AND_FIELDS, String::new(), "", ""),
        ("", framing::FRAMING, String::new(), "", ""),
        ("", families::CONNECTIONS, String::new(), "", ""),
        ("line: ", families::REQUEST_LINES, String::new(), "\r\nHost: a\r\n\r\n", ""),
        ("field: ", families::FIELD_LINES, "GET / HTTP/1.1\r\nHost: a\r\n".into(), "\r\n\r\n", ""),
        ("length: ", families::LENGTH_VALUES, fields("Content-Length"), "\r\n\r\nhello", ""),
        ("coding: ", families::CODING_VALUES, fields("Transfer-Encoding"), "\r\n\r\n0\r\n\r\n", ""),
        ("chunked: ", chunks::CHUNKS, CHUNKED_HEAD.into(), "", chunked),
        ("chunked: ", families::CHUNKED_BODIES, CHUNKED_HEAD.into(), "", chunked),
    ];
    let mut cases = long_cases();
    for (kind, table, before, behind, wanted_before) in &tables {
        for (name, bytes, want) in *table {
            let mut input = [before.as_bytes(), bytes, behind.as_bytes()].concat();
            if let Some(at) = input.windows(2).position(|pair| pair == b"@@") {
                input.splice(at..at + 2, HIDDEN.bytes());
            }
            cases.push((format!("{kind}{name}"), input, format!("{wanted_before}{want}")));
        }
    }
    cases
}

//! The head of a response, written by a server (RFC 9112 §4, RFC 9110 §15).

use super::head::Version;
use crate::base::decimal;

/// The interim response to `Expect: 100-continue` (RFC 9110 §15.2.1).
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How the client finds the end of the body (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// The body has this many bytes; for `HEAD`, the body that `GET` would return.
    Known(u64),
    /// The body ends with the connection.
    UntilClose,
    /// The body is sent in chunks (RFC 9112 §7.1).
    Chunked,
    /// The status excludes a body: 204 and 304.
    NoBody,
}

/// A body of at most this length is copied to the end of its head, and sent with it.
pub(crate) const COPIED_BYTES_MAX: usize = 1024;

/// The head of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseHead<'a> {
    /// The status, 200 to 599.
    pub status: u16,
    /// Whether the connection persists after the response.
    pub keep_alive: bool,
    /// The version of the request. The response is always HTTP/1.1 (RFC 9110 §2.5), but an HTTP/1.0 client needs
    /// `Connection: keep-alive` to keep the connection.
    pub version: Version,
    /// The time of the response, from `WallTime::imf_fixdate`.
    pub date: &'a [u8; 29],
    /// How the client finds the end of the body.
    pub length: Length,
    /// Further fields, in order. Their names are the program's own.
    pub fields: &'a [(&'static str, &'a str)],
    /// Whole lines of further fields, which are sent as they are.
    pub fixed_lines: &'static str,
}

/// Appends the head, including the empty line that ends it, with room for a body of at most `COPIED_BYTES_MAX`.
///
/// # Panics
///
/// The head would break the framing, which is a mistake of the caller: a value with CR, LF or NUL, a body on 204 or 304,
/// or `UntilClose` on a connection that persists.
pub(crate) fn write_head(out: &mut Vec<u8>, head: &ResponseHead) {
    // The longest status line, Date, Content-Length and Connection, and the last CR LF.
    const OWN_BYTES_MAX: usize = 192;
    let field_bytes: usize = head.fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let body_bytes = match head.length {
        Length::Known(length) if length <= COPIED_BYTES_MAX as u64 => length as usize,
        _ => 0,
    };
    out.reserve(OWN_BYTES_MAX + field_bytes + head.fixed_lines.len() + body_bytes);
    write_status_line(out, head.status);
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(head.date);
    out.extend_from_slice(b"\r\n");
    let may_have_body = !matches!(head.status, 204 | 304);
    match head.length {
        Length::Known(length) => {
            assert!(may_have_body, "status {} has no body", head.status);
            out.extend_from_slice(b"Content-Length: ");
            decimal::push(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Length::Chunked => {
            assert!(may_have_body && head.version == Version::Http11, "HTTP/1.0 has no chunks");
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        Length::UntilClose => assert!(may_have_body && !head.keep_alive, "the body ends with the connection"),
        Length::NoBody => assert!(!may_have_body, "status {} has a body", head.status),
    }
    match (head.keep_alive, head.version) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
    for (name, value) in head.fields {
        debug_assert!(is_clean(name), "a name breaks the head");
        assert!(is_clean(value), "a value breaks the head");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    debug_assert!(head.fixed_lines.is_empty() || head.fixed_lines.ends_with("\r\n"), "the lines are whole");
    out.extend_from_slice(head.fixed_lines.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn is_clean(text: &str) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()).is_none()
}

fn write_status_line(out: &mut Vec<u8>, status: u16) {
    assert!((200..600).contains(&status), "{status} is not a final status");
    debug_assert!(!reason(status).is_empty(), "{status} is not in the table of statuses");
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal::push(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The final statuses that this server sends, ascending, with their reason phrases (RFC 9110 §15).
pub(crate) const STATUSES: [(u16, &str); 22] = [
    (200, "OK"),
    (202, "Accepted"),
    (204, "No Content"),
    (304, "Not Modified"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (415, "Unsupported Media Type"),
    (417, "Expectation Failed"),
    (422, "Unprocessable Content"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (500, "Internal Server Error"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
];

/// The reason phrase; empty (RFC 9112 §4 allows it) for a status that is not in the table.
fn reason(status: u16) -> &'static str {
    STATUSES.binary_search_by_key(&status, |(known, _)| *known).map_or("", |index| STATUSES[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: ResponseHead = ResponseHead {
        status: 200,
        keep_alive: true,
        version: Version::Http11,
        date: b"Sat, 31 Jan 2026 09:15:30 GMT",
        length: Length::Known(0),
        fields: &[],
        fixed_lines: "",
    };

    fn written(head: &ResponseHead) -> String {
        let mut out = Vec::new();
        write_head(&mut out, head);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn heads() {
        let fields = [("Content-Type", "application/json"), ("Allow", "GET, HEAD")];
        let table = [
            (
                ResponseHead {
                    length: Length::Known(u64::MAX),
                    fields: &fields,
                    fixed_lines: "Vary: Origin\r\n",
                    ..HEAD
                },
                "HTTP/1.1 200 OK|Date: Sat, 31 Jan 2026 09:15:30 GMT|Content-Length: 18446744073709551615|\
                 Content-Type: application/json|Allow: GET, HEAD|Vary: Origin||",
            ),
            (
                ResponseHead { version: Version::Http10, ..HEAD },
                "HTTP/1.1 200 OK|Date: Sat, 31 Jan 2026 09:15:30 GMT|Content-Length: 0|Connection: keep-alive||",
            ),
            (
                ResponseHead { status: 431, keep_alive: false, length: Length::Known(1050), ..HEAD },
                "HTTP/1.1 431 Request Header Fields Too Large|Date: Sat, 31 Jan 2026 09:15:30 GMT|Content-Length: 1050|\
                 Connection: close||",
            ),
            (
                ResponseHead { length: Length::Chunked, ..HEAD },
                "HTTP/1.1 200 OK|Date: Sat, 31 Jan 2026 09:15:30 GMT|Transfer-Encoding: chunked||",
            ),
            (
                ResponseHead { keep_alive: false, length: Length::UntilClose, ..HEAD },
                "HTTP/1.1 200 OK|Date: Sat, 31 Jan 2026 09:15:30 GMT|Connection: close||",
            ),
            (
                ResponseHead { status: 204, length: Length::NoBody, ..HEAD },
                "HTTP/1.1 204 No Content|Date: Sat, 31 Jan 2026 09:15:30 GMT||",
            ),
            (
                ResponseHead { status: 202, ..HEAD },
                "HTTP/1.1 202 Accepted|Date: Sat, 31 Jan 2026 09:15:30 GMT|Content-Length: 0||",
            ),
        ];
        for (head, want) in table {
            assert_eq!(written(&head), want.replace('|', "\r\n"));
        }
    }

    #[test]
    fn the_longest_head_fits_the_reserved_bytes() {
        let longest = ResponseHead { status: 431, length: Length::Known(u64::MAX), version: Version::Http10, ..HEAD };
        assert!(written(&longest).len() <= 192);
    }

    #[test]
    fn a_field_cannot_end_the_head() {
        for value in ["a\r\nSet-Cookie: b", "a\n", "a\0", "\r"] {
            let fields = [("X-Bad", value)];
            let outcome = std::panic::catch_unwind(|| written(&ResponseHead { fields: &fields, ..HEAD }));
            assert!(outcome.is_err(), "{value:?}");
        }
    }
}

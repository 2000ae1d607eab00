//! The head of a request: its request line and its fields.
//!
//! Invariant: an answer never changes. When `parse_head` has given a head or an error for some bytes, it gives the same
//! for these bytes and whatever follows them, so it does not matter how the bytes arrive.

use super::target::{self, Target};
use crate::base::limits::{HEADERS_MAX, TARGET_BYTES_MAX};
use std::mem::MaybeUninit;

/// Empty lines that are passed over before a request line (RFC 9112 §2.2).
const EMPTY_LINES_MAX: usize = 2;
/// With this many bytes the target is too long, whichever of our methods and empty lines stand before it.
const TARGET_CHECK_BYTES: usize = TARGET_BYTES_MAX + 32;

/// A request's method (RFC 9110 §9); names are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// Any other token; `Head::method_name` has it.
    Other,
}

impl Method {
    /// The name, for the methods that have a variant.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Method::Get => Some("GET"),
            Method::Head => Some("HEAD"),
            Method::Post => Some("POST"),
            Method::Put => Some("PUT"),
            Method::Patch => Some("PATCH"),
            Method::Delete => Some("DELETE"),
            Method::Options => Some("OPTIONS"),
            Method::Other => None,
        }
    }

    fn parse(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }
}

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the end of a request's body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes; it may be 0.
    Length(u64),
    /// The body comes in chunks.
    Chunked,
}

/// The bounds of a head that are settings; the others stand in `base::limits`.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Most bytes from the beginning through the empty line that ends the head.
    pub head_bytes_max: usize,
}

/// Room for a head's fields. Nothing is written until something is parsed, so making one costs nothing but stack.
pub struct HeaderBuf<'b>([MaybeUninit<httparse::Header<'b>>; HEADERS_MAX]);

impl HeaderBuf<'_> {
    /// Empty room.
    #[inline]
    pub fn new() -> Self {
        HeaderBuf([const { MaybeUninit::uninit() }; HEADERS_MAX])
    }
}

impl Default for HeaderBuf<'_> {
    fn default() -> Self {
        HeaderBuf::new()
    }
}

/// A complete head, borrowed from the bytes that it was read from.
#[derive(Debug)]
pub struct Head<'h, 'b> {
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_name: &'b str,
    /// The path, still percent-encoded (and that well): starts with `/`, or is `*` for `OPTIONS`.
    pub path: &'b str,
    /// What follows the `?`, as sent; visible ASCII.
    pub query: Option<&'b str>,
    /// The version.
    pub version: Version,
    /// Host and port as sent, well-formed: of an absolute target, else of the Host field. Empty only when an HTTP/1.0
    /// request has neither.
    pub host: &'b str,
    /// How the body's end is found.
    pub framing: Framing,
    /// Whether the client wants to go on with this connection after the answer (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Length of the head, in bytes, with any empty lines before it; the body begins there.
    pub bytes: usize,
    headers: &'h [httparse::Header<'b>],
}

impl<'h, 'b> Head<'h, 'b> {
    /// The first value of the field `name`, in any case, without white space around it.
    #[inline]
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// Every value of the field `name`, in any case, in the order sent.
    pub fn fields(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// Every field's name and value, as sent and in that order.
    pub fn header_lines(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// `host` without its port; an IPv6 address keeps its brackets.
    pub fn host_name(&self) -> &'b str {
        target::without_port(self.host)
    }
}

/// What is wrong with a head. After any of these the place where a next request would begin is unknown, so the
/// connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// More empty lines before the request line than are forgiven.
    EmptyLines,
    /// No method, target and version with one space between.
    RequestLine,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The target is over `TARGET_BYTES_MAX`.
    TargetTooLong,
    /// The target is neither a path, nor an `http` URI, nor `*` with `OPTIONS`.
    TargetForm,
    /// The target has a byte that is not visible ASCII.
    TargetByte,
    /// The target has a fragment.
    TargetFragment,
    /// The path has a `%` without two hexadecimal digits.
    TargetEncoding,
    /// A line ends in a bare LF, or a CR stands alone.
    LineEnd,
    /// A field name with a byte that no token has, white space before the colon or before the name (obs-fold), or no colon.
    FieldName,
    /// A field value with a control character.
    FieldValue,
    /// More than `HEADERS_MAX` fields.
    TooManyFields,
    /// The head is over `HeadLimits::head_bytes_max`.
    TooLarge,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// Host is empty, or no host with an optional port.
    HostMalformed,
    /// Content-Length is no decimal number of at most 64 bits.
    LengthMalformed,
    /// More than one Content-Length, equal or not.
    LengthRepeated,
    /// A transfer coding that is not exactly one `chunked`.
    CodingUnknown,
    /// Transfer-Encoding in HTTP/1.0, which does not have it.
    CodingInHttp10,
    /// Content-Length beside Transfer-Encoding.
    LengthAndCoding,
    /// An expectation other than `100-continue`.
    Expectation,
}

impl HeadError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            HeadError::TargetTooLong => 414,
            HeadError::TooManyFields | HeadError::TooLarge => 431,
            _ => 400,
        }
    }

    /// The error code of the API.
    pub fn code(self) -> &'static str {
        match self.status() {
            414 => "uri_too_long",
            431 => "headers_too_large",
            _ => "bad_request",
        }
    }

    /// What is wrong, for the client.
    pub fn message(self) -> &'static str {
        match self {
            HeadError::EmptyLines => "Too many empty lines before the request",
            HeadError::RequestLine => {
                "The request line must be a method, a target and a version with one space between"
            }
            HeadError::Version => "The version must be HTTP/1.0 or HTTP/1.1",
            HeadError::TargetTooLong => "The request target is too long",
            HeadError::TargetForm => "The request target must be a path, or an http URI without user name",
            HeadError::TargetByte => "The request target must be visible ASCII",
            HeadError::TargetFragment => "The request target must have no fragment",
            HeadError::TargetEncoding => "In the path, % must be followed by two hexadecimal digits",
            HeadError::LineEnd => "Every line must end in CR LF, and CR or LF may stand nowhere else",
            HeadError::FieldName => {
                "A header line must be a name, a colon right after it, and a value on the same line"
            }
            HeadError::FieldValue => "A header value must have no control characters",
            HeadError::TooManyFields => "Too many header fields",
            HeadError::TooLarge => "The request head is too large",
            HeadError::HostMissing => "An HTTP/1.1 request must have a Host header",
            HeadError::HostRepeated => "A request must have one Host header only",
            HeadError::HostMalformed => "The Host must be a name or address with an optional port",
            HeadError::LengthMalformed => "Content-Length must be a decimal number",
            HeadError::LengthRepeated => "A request must have one Content-Length only",
            HeadError::CodingUnknown => "Transfer-Encoding must be exactly one \"chunked\"",
            HeadError::CodingInHttp10 => "HTTP/1.0 has no Transfer-Encoding",
            HeadError::LengthAndCoding => "Content-Length and Transfer-Encoding exclude each other",
            HeadError::Expectation => "The only known expectation is 100-continue",
        }
    }
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> HeadError {
        match error {
            httparse::Error::Token | httparse::Error::Status => HeadError::RequestLine,
            httparse::Error::Version => HeadError::Version,
            httparse::Error::NewLine => HeadError::LineEnd,
            httparse::Error::HeaderName => HeadError::FieldName,
            httparse::Error::HeaderValue => HeadError::FieldValue,
            httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        }
    }
}

/// Whether `parse_head` can say something new, now that `input` has grown from `old_len` bytes.
///
/// Only the new bytes are looked at, and a head is parsed at most once per line, so feeding it in small pieces is not
/// quadratic.
#[inline]
pub fn worth_parsing(old_len: usize, input: &[u8], limits: &HeadLimits) -> bool {
    input.len() >= limits.head_bytes_max
        || (old_len < TARGET_CHECK_BYTES && input.len() >= TARGET_CHECK_BYTES)
        || memchr::memchr(b'\n', &input[old_len..]).is_some()
}

/// Reads the head at the beginning of `input`; `None` when its end is not there yet.
///
/// Only the first `limits.head_bytes_max` bytes are looked at. Of several faults the one that is met first is
/// reported: those of the syntax by their place, then those of the meaning. A fault is reported once its line is complete.
#[inline]
pub fn parse_head<'h, 'b>(
    input: &'b [u8],
    slots: &'h mut HeaderBuf<'b>,
    limits: &HeadLimits,
) -> Result<Option<Head<'h, 'b>>, HeadError> {
    let window = &input[..input.len().min(limits.head_bytes_max)];
    let mut request = httparse::Request::new(&mut []);
    if let Ok(start) = skip_empty_lines(window)
        && let Ok(httparse::Status::Complete(bytes)) = request.parse_with_uninit_headers(&window[start..], &mut slots.0)
    {
        let lines = &window[start..start + bytes];
        let httparse::Request { method: Some(method), path: Some(target), version: Some(version), headers } = request
        else {
            unreachable!("a complete head has a request line")
        };
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        let mut head = interpret(lines, method, target, version, headers)?;
        head.bytes += start;
        return Ok(Some(head));
    }
    refuse_unfinished(window, limits)?;
    Ok(None)
}

/// Length of the empty lines at the beginning (RFC 9112 §2.2).
#[inline]
fn skip_empty_lines(window: &[u8]) -> Result<usize, HeadError> {
    let mut start = 0;
    loop {
        match &window[start..] {
            [b'\r', b'\n', ..] if start == 2 * EMPTY_LINES_MAX => return Err(HeadError::EmptyLines),
            [b'\r', b'\n', ..] => start += 2,
            [b'\n', ..] | [b'\r', _, ..] => return Err(HeadError::LineEnd),
            _ => return Ok(start),
        }
    }
}

/// Says what is wrong with a head that is not complete or has bad syntax.
///
/// It looks only as far as `worth_parsing` would have had it called, so that a fault behind that waits, however the
/// bytes arrived.
#[cold]
fn refuse_unfinished(window: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    let is_full = window.len() == limits.head_bytes_max;
    let known = match memchr::memrchr(b'\n', window) {
        _ if is_full => window.len(),
        last_line_end => {
            let lines_len = last_line_end.map_or(0, |at| at + 1);
            if window.len() >= TARGET_CHECK_BYTES { lines_len.max(TARGET_CHECK_BYTES) } else { lines_len }
        }
    };
    let window = &window[..known];
    let lines = &window[skip_empty_lines(window)?..];
    let mut slots = HeaderBuf::new();
    let mut request = httparse::Request::new(&mut []);
    let outcome = request.parse_with_uninit_headers(lines, &mut slots.0);
    if let Some(method) = request.method {
        refuse_long_target(&lines[method.len() + 1..])?;
    }
    // httparse lets a bare LF pass, so its error is the first only if it stands no further than that.
    let is_bare = |at: &usize| *at == 0 || lines[*at - 1] != b'\r';
    if let Some(at) = memchr::memchr_iter(b'\n', lines).find(is_bare) {
        httparse::Request::new(&mut []).parse_with_uninit_headers(&lines[..=at], &mut HeaderBuf::new().0)?;
        return Err(HeadError::LineEnd);
    }
    outcome?;
    if is_full { Err(HeadError::TooLarge) } else { Ok(()) }
}

/// `from_target` is everything from the target on.
fn refuse_long_target(from_target: &[u8]) -> Result<(), HeadError> {
    let is_target_byte = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    match from_target.get(..=TARGET_BYTES_MAX) {
        Some(target) if target.iter().all(is_target_byte) => Err(HeadError::TargetTooLong),
        _ => Ok(()),
    }
}

/// The fields that this floor understands, as found; what they mean together is decided when all are seen.
#[derive(Default)]
struct Seen<'b> {
    host: Once<'b>,
    length: Once<'b>,
    coding: Once<'b>,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    expect_other: bool,
}

#[derive(Default)]
struct Once<'b> {
    value: Option<&'b [u8]>,
    repeated: bool,
}

impl<'b> Once<'b> {
    fn put(&mut self, value: &'b [u8]) {
        self.repeated |= self.value.is_some();
        self.value = Some(value);
    }
}

/// Decides what a head of good syntax means. `lines` is exactly the head.
#[inline]
fn interpret<'h, 'b>(
    lines: &'b [u8],
    method_name: &'b str,
    raw_target: &'b str,
    version: Version,
    headers: &'h [httparse::Header<'b>],
) -> Result<Head<'h, 'b>, HeadError> {
    if raw_target.len() > TARGET_BYTES_MAX {
        return Err(HeadError::TargetTooLong);
    }
    let mut seen = Seen::default();
    // A name begins right after the LF of the line before: the byte before that has to be CR. For the last two lines
    // the end of the head tells.
    let mut ends_in_crlf = lines.ends_with(b"\r\n\r\n");
    for header in headers {
        let start = header.name.as_ptr() as usize - lines.as_ptr() as usize;
        ends_in_crlf &= lines[start - 2] == b'\r';
        seen.look_at(header);
    }
    if !ends_in_crlf {
        return Err(HeadError::LineEnd);
    }
    let method = Method::parse(method_name);
    let Target { authority, path, query } = target::parse_target(method_name, raw_target)?;
    let host = seen.host(version)?;
    let framing = seen.framing(version)?;
    if seen.expect_other {
        return Err(HeadError::Expectation);
    }
    Ok(Head {
        method,
        method_name,
        path,
        query,
        version,
        host: authority.unwrap_or(host),
        framing,
        keep_alive: !seen.close && (version == Version::Http11 || seen.keep_alive),
        // RFC 9110 §10.1.1: not for HTTP/1.0, and not when there is nothing to wait for.
        expect_continue: seen.expect_continue
            && version == Version::Http11
            && !matches!(framing, Framing::None | Framing::Length(0)),
        bytes: lines.len(),
        headers,
    })
}

impl<'b> Seen<'b> {
    #[inline]
    fn look_at(&mut self, header: &httparse::Header<'b>) {
        let name = header.name;
        // Most fields are told apart by length and first letter, before any whole comparison.
        match (name.len(), name.as_bytes()[0] | 0x20) {
            (4, b'h') if name.eq_ignore_ascii_case("host") => self.host.put(header.value),
            (6, b'e') if name.eq_ignore_ascii_case("expect") => {
                if header.value.eq_ignore_ascii_case(b"100-continue") {
                    self.expect_continue = true;
                } else {
                    self.expect_other = true;
                }
            }
            (10, b'c') if name.eq_ignore_ascii_case("connection") => {
                self.look_at_connection(header.value);
            }
            (14, b'c') if name.eq_ignore_ascii_case("content-length") => self.length.put(header.value),
            (17, b't') if name.eq_ignore_ascii_case("transfer-encoding") => self.coding.put(header.value),
            _ => {}
        }
    }

    /// RFC 9110 §7.6.1: options in a list. Most senders send one, which needs no list.
    #[inline]
    fn look_at_connection(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112 §3.2: one Host in HTTP/1.1, and a well-formed one.
    fn host(&self, version: Version) -> Result<&'b str, HeadError> {
        match self.host {
            Once { repeated: true, .. } => Err(HeadError::HostRepeated),
            Once { value: Some(value), .. } => target::parse_host(value).ok_or(HeadError::HostMalformed),
            Once { value: None, .. } if version == Version::Http10 => Ok(""),
            Once { value: None, .. } => Err(HeadError::HostMissing),
        }
    }

    /// RFC 9112 §6.3, and stricter: what it lets a server repair is refused.
    fn framing(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.length.value, self.coding.value) {
            (None, None) => Ok(Framing::None),
            (Some(_), Some(_)) => Err(HeadError::LengthAndCoding),
            (Some(_), None) if self.length.repeated => Err(HeadError::LengthRepeated),
            (Some(value), None) => parse_length(value).map(Framing::Length).ok_or(HeadError::LengthMalformed),
            (None, Some(_)) if version == Version::Http10 => Err(HeadError::CodingInHttp10),
            (None, Some(value)) if !self.coding.repeated && value.eq_ignore_ascii_case(b"chunked") => {
                Ok(Framing::Chunked)
            }
            (None, Some(_)) => Err(HeadError::CodingUnknown),
        }
    }
}

/// RFC 9112 §6.2: digits and nothing else, within 64 bits.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024 };

    #[test]
    fn fields_are_found_in_any_case_and_order() {
        let input = b"GET /a?b=c HTTP/1.1\r\nHost: [::1]:80\r\nX-One: 1\r\nx-one:  two \r\nX-Two:\r\n\r\nrest";
        let mut slots = HeaderBuf::new();
        let head = parse_head(input, &mut slots, &LIMITS).unwrap().unwrap();
        assert_eq!(head.field("x-ONE"), Some(&b"1"[..]));
        assert_eq!(head.field("x-three"), None);
        assert_eq!(head.field("X-Two"), Some(&b""[..]));
        assert_eq!(head.fields("X-One").collect::<Vec<_>>(), [&b"1"[..], b"two"]);
        assert_eq!(head.header_lines().map(|(name, _)| name).collect::<Vec<_>>(), ["Host", "X-One", "x-one", "X-Two"]);
        assert_eq!((head.host, head.host_name()), ("[::1]:80", "[::1]"));
        assert_eq!(&input[head.bytes..], b"rest");
    }

    #[test]
    fn parsing_is_worth_it_only_when_something_can_be_said() {
        let limits = HeadLimits { head_bytes_max: 10_000 };
        assert!(!worth_parsing(0, b"GET / HT", &limits));
        assert!(worth_parsing(3, b"GET / HTTP/1.1\r\n", &limits));
        assert!(!worth_parsing(16, b"GET / HTTP/1.1\r\nHos", &limits));
        let long = [b'a'; 10_000];
        assert!(worth_parsing(8_000, &long[..TARGET_CHECK_BYTES], &limits));
        assert!(!worth_parsing(TARGET_CHECK_BYTES, &long[..TARGET_CHECK_BYTES + 1], &limits));
        assert!(worth_parsing(9_999, &long, &limits));
    }

    #[test]
    fn a_head_is_parsed_once_per_line_however_it_arrives() {
        let mut input = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        input.resize(8000, b'x');
        input.extend_from_slice(b"\r\n\r\n");
        let parses = (1..=input.len()).filter(|end| worth_parsing(end - 1, &input[..*end], &LIMITS)).count();
        assert_eq!(parses, 4);
    }

    #[test]
    fn every_error_has_a_status_a_code_and_a_message() {
        let table = [
            (HeadError::RequestLine, 400, "bad_request"),
            (HeadError::LengthAndCoding, 400, "bad_request"),
            (HeadError::TargetTooLong, 414, "uri_too_long"),
            (HeadError::TooManyFields, 431, "headers_too_large"),
            (HeadError::TooLarge, 431, "headers_too_large"),
        ];
        for (error, status, code) in table {
            assert_eq!((error.status(), error.code()), (status, code));
            assert!(!error.message().is_empty());
        }
    }
}

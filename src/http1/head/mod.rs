//! The head of a request: its request line and its fields.
//!
//! Invariant: the result does not depend on how the bytes arrive. Once [`parse_head`] has returned a head or an error for
//! some bytes, it returns the same for these bytes with any others after them.

mod error;
mod interpret;
mod method;
mod target;
#[cfg(test)]
mod tests;

pub use error::HeadError;
pub use method::Method;

use crate::base::limits::{HEADERS_MAX, TARGET_BYTES_MAX};
use std::mem::MaybeUninit;

/// The most empty lines that are ignored before a request line (RFC 9112 §2.2).
const EMPTY_LINES_MAX: usize = 2;
/// With this many bytes and no end of the request line, the target is too long, even after the longest of our methods and
/// the most empty lines.
const TARGET_CHECK_BYTES: usize = TARGET_BYTES_MAX + 32;

/// The supported versions of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// The body has this many bytes, possibly 0.
    Length(u64),
    /// The body has the chunked transfer coding.
    Chunked,
}

/// The limits of a head that are settings; the others are in `base::limits`.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// The most bytes of a head, including empty lines before it and the one that ends it.
    pub head_bytes_max: usize,
}

/// The buffer for the fields of a head. It is uninitialized until a head is parsed into it.
pub struct HeaderBuf<'b>([MaybeUninit<httparse::Header<'b>>; HEADERS_MAX]);

impl HeaderBuf<'_> {
    /// An empty buffer.
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

/// A complete head. It borrows from the bytes that it was parsed from.
#[derive(Debug)]
pub struct Head<'h, 'b> {
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_name: &'b str,
    /// The path: percent-encoded, with valid escapes. It starts with `/`, or is `*` for `OPTIONS`.
    pub path: &'b str,
    /// The query without `?`, as sent; visible ASCII.
    pub query: Option<&'b str>,
    /// The version.
    pub version: Version,
    /// Host and port of an absolute target, else of the Host field; as sent, and well-formed. Empty only if an HTTP/1.0
    /// request has neither.
    pub host: &'b str,
    /// How the end of the body is found.
    pub framing: Framing,
    /// Whether the connection persists after the response (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Bytes of the head, including empty lines before it. The body starts there.
    pub bytes: usize,
    /// The fields, as sent and in order.
    pub headers: &'h [httparse::Header<'b>],
}

impl<'h, 'b> Head<'h, 'b> {
    /// The first value of the field `name`, without white space around it. Names are case-insensitive.
    #[inline]
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// All values of the field `name`, in order. Names are case-insensitive.
    pub fn fields(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// `host` without its port. An IPv6 address has its brackets.
    pub fn host_name(&self) -> &'b str {
        target::without_port(self.host)
    }
}

/// Whether [`parse_head`] can return a new result for `input`, which had `old_len` bytes before.
///
/// This looks at the new bytes alone, and is true at most about once per line. Parsing a head that arrives in small pieces
/// is therefore not quadratic.
#[inline]
pub fn worth_parsing(old_len: usize, input: &[u8], limits: &HeadLimits) -> bool {
    input.len() >= limits.head_bytes_max
        || (old_len < TARGET_CHECK_BYTES && input.len() >= TARGET_CHECK_BYTES)
        || memchr::memchr(b'\n', &input[old_len..]).is_some()
}

/// Parses the head at the beginning of `input`; `None` if it is not complete.
///
/// Bytes after `limits.head_bytes_max` are ignored. Of several errors the first is returned: syntax errors in the order of
/// the bytes, then errors of meaning. An error is returned once its line is complete.
#[inline]
pub fn parse_head<'h, 'b>(
    input: &'b [u8],
    buffer: &'h mut HeaderBuf<'b>,
    limits: &HeadLimits,
) -> Result<Option<Head<'h, 'b>>, HeadError> {
    let window = &input[..input.len().min(limits.head_bytes_max)];
    let mut request = httparse::Request::new(&mut []);
    if let Ok(start) = skip_empty_lines(window)
        && let Ok(httparse::Status::Complete(bytes)) =
            request.parse_with_uninit_headers(&window[start..], &mut buffer.0)
    {
        let lines = &window[start..start + bytes];
        let httparse::Request { method: Some(method), path: Some(target), version: Some(version), headers } = request
        else {
            unreachable!("a complete head has a request line")
        };
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        let mut head = interpret::interpret(lines, method, target, version, headers)?;
        head.bytes += start;
        return Ok(Some(head));
    }
    reject_incomplete(window, limits)?;
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

/// Returns the error of a head that is incomplete or has invalid syntax, if there is one yet.
///
/// It ignores the bytes after the last point at which [`worth_parsing`] is true, so that an error there is reported at the
/// same time however the bytes arrive.
#[cold]
fn reject_incomplete(window: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
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
    let mut buffer = HeaderBuf::new();
    let mut request = httparse::Request::new(&mut []);
    let outcome = request.parse_with_uninit_headers(lines, &mut buffer.0);
    if let Some(method) = request.method {
        reject_long_target(&lines[method.len() + 1..])?;
    }
    // httparse accepts a bare LF, so its own error is the first only if it precedes the bare LF.
    let is_bare = |at: &usize| *at == 0 || lines[*at - 1] != b'\r';
    if let Some(at) = memchr::memchr_iter(b'\n', lines).find(is_bare) {
        httparse::Request::new(&mut []).parse_with_uninit_headers(&lines[..=at], &mut HeaderBuf::new().0)?;
        return Err(HeadError::LineEnd);
    }
    outcome?;
    match request.method {
        _ if !is_full => Ok(()),
        // No method is as long as a head.
        None => Err(HeadError::RequestLine),
        Some(_) => Err(HeadError::TooLarge),
    }
}

/// `from_target` is the rest of the head, from the target on.
fn reject_long_target(from_target: &[u8]) -> Result<(), HeadError> {
    let is_target_byte = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    match from_target.get(..=TARGET_BYTES_MAX) {
        Some(target) if target.iter().all(is_target_byte) => Err(HeadError::TargetTooLong),
        _ => Ok(()),
    }
}

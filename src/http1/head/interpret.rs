//! The meaning of a head whose syntax is valid.

use super::error::HeadError;
use super::method::Method;
use super::target::{self, Target};
use super::{Framing, Head, Version};
use crate::base::limits::TARGET_BYTES_MAX;

/// Interprets a head whose syntax is valid. `lines` is exactly the head.
#[inline]
pub(super) fn interpret<'h, 'b>(
    lines: &'b [u8],
    method_name: &'b str,
    raw_target: &'b str,
    version: Version,
    headers: &'h [httparse::Header<'b>],
) -> Result<Head<'h, 'b>, HeadError> {
    if raw_target.len() > TARGET_BYTES_MAX {
        return Err(HeadError::TargetTooLong);
    }
    let mut known = KnownFields::default();
    // httparse accepts a bare LF. A name follows the LF of the previous line, so the byte before that LF must be CR. The end
    // of the head shows the same for the last two lines.
    let mut ends_in_crlf = lines.ends_with(b"\r\n\r\n");
    for header in headers {
        let start = header.name.as_ptr() as usize - lines.as_ptr() as usize;
        ends_in_crlf &= lines[start - 2] == b'\r';
        known.add(header);
    }
    if !ends_in_crlf {
        return Err(HeadError::LineEnd);
    }
    let method = Method::parse(method_name);
    let Target { authority, path, query } = target::parse_target(method_name, raw_target)?;
    let host = known.host(version)?;
    let framing = known.framing(version)?;
    if known.expect_other {
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
        keep_alive: !known.close && (version == Version::Http11 || known.keep_alive),
        // RFC 9110 §10.1.1: not in HTTP/1.0, and not without a body.
        expect_continue: known.expect_continue
            && version == Version::Http11
            && !matches!(framing, Framing::None | Framing::Length(0)),
        bytes: lines.len(),
        headers,
    })
}

/// The fields that determine host, framing and persistence. They are interpreted together, after the last one.
#[derive(Default)]
struct KnownFields<'b> {
    host: Once<'b>,
    length: Once<'b>,
    coding: Once<'b>,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    expect_other: bool,
}

/// A field that may occur once.
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

impl<'b> KnownFields<'b> {
    #[inline]
    fn add(&mut self, header: &httparse::Header<'b>) {
        let name = header.name;
        // Length and first letter exclude most fields before a whole name is compared.
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
                self.add_connection(header.value);
            }
            (14, b'c') if name.eq_ignore_ascii_case("content-length") => self.length.put(header.value),
            (17, b't') if name.eq_ignore_ascii_case("transfer-encoding") => self.coding.put(header.value),
            _ => {}
        }
    }

    /// RFC 9110 §7.6.1: a list of options. Most clients send only one.
    #[inline]
    fn add_connection(&mut self, value: &[u8]) {
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

    /// RFC 9112 §3.2: exactly one well-formed Host; HTTP/1.0 may have none.
    fn host(&self, version: Version) -> Result<&'b str, HeadError> {
        match self.host {
            Once { repeated: true, .. } => Err(HeadError::HostRepeated),
            Once { value: Some(value), .. } => target::parse_host(value).ok_or(HeadError::HostMalformed),
            Once { value: None, .. } if version == Version::Http10 => Ok(""),
            Once { value: None, .. } => Err(HeadError::HostMissing),
        }
    }

    /// RFC 9112 §6.3, but stricter: a framing that a server may repair is rejected.
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

/// RFC 9112 §6.2: digits alone, within 64 bits.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

//! The request target (RFC 9112 §3.2) and hosts (RFC 3986 §3.2.2).

use super::error::HeadError;
use std::net::Ipv6Addr;

/// The parts of a request target.
pub(super) struct Target<'b> {
    /// Host and port of an absolute target. They take precedence over the Host field (RFC 9112 §3.2.2).
    pub authority: Option<&'b str>,
    pub path: &'b str,
    pub query: Option<&'b str>,
}

/// Parses a target. The authority form, and `CONNECT` with it, is rejected: this server is not a proxy.
#[inline]
pub(super) fn parse_target<'b>(method: &str, raw: &'b str) -> Result<Target<'b>, HeadError> {
    if method == "CONNECT" {
        return Err(HeadError::TargetForm);
    }
    if raw.starts_with('/') {
        let (path, query) = split(raw)?;
        return Ok(Target { authority: None, path, query });
    }
    if raw == "*" && method == "OPTIONS" {
        return Ok(Target { authority: None, path: raw, query: None });
    }
    parse_absolute(method, raw)
}

#[cold]
fn parse_absolute<'b>(method: &str, raw: &'b str) -> Result<Target<'b>, HeadError> {
    let (scheme, rest) = raw.split_once("://").ok_or(HeadError::TargetForm)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(HeadError::TargetForm);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // A user name does not parse as a host, so it is an error, as RFC 9110 §4.2.4 recommends.
    let authority = Some(parse_host(authority.as_bytes()).ok_or(HeadError::TargetForm)?);
    let (path, query) = split(path)?;
    Ok(match path {
        // RFC 9112 §3.2.4: a proxy forwards `OPTIONS *` in this form.
        "" if method == "OPTIONS" && query.is_none() => Target { authority, path: "*", query },
        "" => Target { authority, path: "/", query },
        path => Target { authority, path, query },
    })
}

/// Splits path and query at the first `?`, and validates the bytes of both.
#[inline]
fn split(raw: &str) -> Result<(&str, Option<&str>), HeadError> {
    let bytes = raw.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'?' => {
                check_query(&bytes[at + 1..])?;
                return Ok((&raw[..at], Some(&raw[at + 1..])));
            }
            b'%' => {
                if !matches!(bytes[at + 1..], [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()) {
                    return Err(HeadError::TargetEncoding);
                }
                at += 3;
            }
            b'#' => return Err(HeadError::TargetFragment),
            0x80.. => return Err(HeadError::TargetByte),
            _ => at += 1,
        }
    }
    Ok((raw, None))
}

#[inline]
fn check_query(query: &[u8]) -> Result<(), HeadError> {
    for byte in query {
        match byte {
            b'#' => return Err(HeadError::TargetFragment),
            0x80.. => return Err(HeadError::TargetByte),
            _ => {}
        }
    }
    Ok(())
}

/// A host with an optional port (RFC 9110 §7.2, RFC 3986 §3.2.2): a registered name, an IPv4 address or an IPv6 address in
/// brackets. The port may be empty, as the grammar permits, and is at most 65535.
#[inline]
pub(super) fn parse_host(raw: &[u8]) -> Option<&str> {
    let host_len = match raw.first()? {
        b'[' => ipv6_len(raw)?,
        _ => name_len(raw)?,
    };
    let port_is_valid = match &raw[host_len..] {
        [] => true,
        [b':', port @ ..] => port_value(port).is_some_and(|port| port <= u32::from(u16::MAX)),
        _ => false,
    };
    if !port_is_valid {
        return None;
    }
    std::str::from_utf8(raw).ok()
}

/// `host` without `:` and port.
pub(super) fn without_port(host: &str) -> &str {
    match host.bytes().rposition(|byte| matches!(byte, b':' | b']')) {
        Some(colon) if host.as_bytes()[colon] == b':' => &host[..colon],
        _ => host,
    }
}

fn ipv6_len(raw: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b']', raw)?;
    std::str::from_utf8(&raw[1..end]).ok()?.parse::<Ipv6Addr>().ok()?;
    Some(end + 1)
}

/// The unescaped bytes of a registered name: `unreserved` and `sub-delims` of RFC 3986.
static IS_NAME_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
            || matches!(byte as u8, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        byte += 1;
    }
    table
};

/// Length of the registered name at the beginning; `None` if it is empty or has an invalid byte.
#[inline]
fn name_len(raw: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        match byte {
            byte if IS_NAME_BYTE[usize::from(*byte)] => at += 1,
            b':' => break,
            b'%' if matches!(raw[at + 1..], [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()) => {
                at += 3
            }
            _ => return None,
        }
    }
    (at > 0).then_some(at)
}

#[inline]
fn port_value(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |port, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let valid = [
            "a",
            "example.com",
            "EXAMPLE.com:8000",
            "127.0.0.1",
            "127.0.0.1:0",
            "[::1]",
            "[2001:db8::7]:65535",
            "a:",
            "a_b~c",
            "%41.example",
            "[::ffff:1.2.3.4]",
        ];
        for host in valid {
            assert_eq!(parse_host(host.as_bytes()), Some(host));
        }
        let invalid = [
            "",
            ":80",
            "a b",
            "a/b",
            "a@b",
            "a:65536",
            "a:8x",
            "a:1:2",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[v1.a]",
            "[fe80::1%25eth0]",
            "%4",
            "%4g",
            "a\t",
            "ä",
            "a\\b",
            "a?b",
            "a#b",
            "a:99999999999999",
            "[1.2.3.4]",
            "a:+80",
            "[::1]:-1",
        ];
        for host in invalid {
            assert_eq!(parse_host(host.as_bytes()), None, "{host}");
        }
        assert_eq!(parse_host(b"a\xff"), None);
    }

    #[test]
    fn ports_are_removed() {
        let table = [("a:80", "a"), ("a", "a"), ("a:", "a"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("", "")];
        for (host, name) in table {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn targets() {
        type Parts = (Option<&'static str>, &'static str, Option<&'static str>);
        let table: &[(&str, &str, Result<Parts, HeadError>)] = &[
            ("GET", "/", Ok((None, "/", None))),
            ("GET", "/a/b?c=d?e", Ok((None, "/a/b", Some("c=d?e")))),
            ("GET", "/?", Ok((None, "/", Some("")))),
            ("GET", "//x/../y", Ok((None, "//x/../y", None))),
            ("GET", "/%41%2f%e4", Ok((None, "/%41%2f%e4", None))),
            ("GET", "/a?%zz", Ok((None, "/a", Some("%zz")))),
            ("OPTIONS", "*", Ok((None, "*", None))),
            ("GET", "http://h", Ok((Some("h"), "/", None))),
            ("GET", "HTTP://h:80/p?q", Ok((Some("h:80"), "/p", Some("q")))),
            ("GET", "https://[::1]?q", Ok((Some("[::1]"), "/", Some("q")))),
            ("OPTIONS", "http://h", Ok((Some("h"), "*", None))),
            ("OPTIONS", "http://h/", Ok((Some("h"), "/", None))),
            ("OPTIONS", "http://h?", Ok((Some("h"), "/", Some("")))),
            ("GET", "*", Err(HeadError::TargetForm)),
            ("OPTIONS", "**", Err(HeadError::TargetForm)),
            ("GET", "a/b", Err(HeadError::TargetForm)),
            ("GET", "h:80", Err(HeadError::TargetForm)),
            ("GET", "ftp://h/", Err(HeadError::TargetForm)),
            ("GET", "http:///p", Err(HeadError::TargetForm)),
            ("GET", "http://u:p@h/", Err(HeadError::TargetForm)),
            ("CONNECT", "h:80", Err(HeadError::TargetForm)),
            ("CONNECT", "/", Err(HeadError::TargetForm)),
            ("GET", "/a#b", Err(HeadError::TargetFragment)),
            ("GET", "/a?b#c", Err(HeadError::TargetFragment)),
            ("GET", "http://h#c", Err(HeadError::TargetFragment)),
            ("GET", "/ä", Err(HeadError::TargetByte)),
            ("GET", "/?ä", Err(HeadError::TargetByte)),
            ("GET", "/%", Err(HeadError::TargetEncoding)),
            ("GET", "/%4", Err(HeadError::TargetEncoding)),
            ("GET", "/%4g", Err(HeadError::TargetEncoding)),
            ("GET", "/%?41", Err(HeadError::TargetEncoding)),
        ];
        for (method, raw, want) in table {
            let got = parse_target(method, raw).map(|target| (target.authority, target.path, target.query));
            assert_eq!(got, *want, "{method} {raw}");
        }
    }
}

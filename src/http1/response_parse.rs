//! The head of a response, parsed for a client.
//!
//! Invariant: the head determines the end of the body (RFC 9112 §6.3). A head with two different lengths is rejected.

use super::head::Framing;
use crate::base::limits::HEADERS_MAX;
use crate::base::time::{SECOND, WallTime};
use std::time::Duration;

/// The most interim responses that are skipped before the final one (RFC 9110 §15.2).
const INTERIM_MAX: usize = 8;

/// The parts of a response head that a client uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceivedHead {
    /// Bytes of the head, including interim responses before it. The body starts there.
    pub bytes: usize,
    /// The status, 200 to 999.
    pub status: u16,
    /// How the end of the body is found.
    pub body: BodyEnd,
    /// How long the server asks to wait before another request.
    pub retry_after: Option<RequestedWait>,
    /// `x-should-retry`: whether another request could succeed.
    pub should_retry: Option<bool>,
    /// Whether the body has a content coding such as gzip (RFC 9110 §8.4).
    pub is_encoded: bool,
}

/// How the end of a response body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// By the framing.
    Framed(Framing),
    /// By the end of the connection.
    UntilClose,
}

/// A wait that a server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestedWait {
    /// A length of time.
    For(Duration),
    /// Until this time. The `Date` of the same response is the server's time, if it sent one.
    Until(WallTime, Option<WallTime>),
}

impl RequestedWait {
    /// The wait from now on; `None` if neither the server's time nor ours is known. The server's own time counts before ours,
    /// because its clock may differ.
    pub(crate) fn from(self, now: Option<WallTime>) -> Option<Duration> {
        match self {
            RequestedWait::For(wait) => Some(wait),
            RequestedWait::Until(until, date) => {
                let microseconds = until.0.saturating_sub(date.or(now)?.0);
                Some(Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)))
            }
        }
    }
}

/// Why the bytes are not the head of a response that a client can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidHead(pub &'static str);

/// Parses the head of the response to a request other than `HEAD`; `None` if it is not complete.
///
/// # Errors
///
/// The head is malformed, exceeds `bytes_max`, or switches protocols.
pub(crate) fn parse_response_head(bytes: &[u8], bytes_max: usize) -> Result<Option<ReceivedHead>, InvalidHead> {
    let mut start = 0;
    for _ in 0..=INTERIM_MAX {
        let Some(mut head) = parse_one(&bytes[start..])? else {
            let fits = bytes.len() < bytes_max;
            return if fits { Ok(None) } else { Err(InvalidHead("the head is too large")) };
        };
        head.bytes += start;
        if head.bytes > bytes_max {
            return Err(InvalidHead("the head is too large"));
        }
        match head.status {
            101 => return Err(InvalidHead("the response switches protocols")),
            100..200 => start = head.bytes,
            _ => return Ok(Some(head)),
        }
    }
    Err(InvalidHead("there are too many interim responses"))
}

fn parse_one(bytes: &[u8]) -> Result<Option<ReceivedHead>, InvalidHead> {
    let mut buffer = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut buffer);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(InvalidHead("there are too many fields")),
        Err(_) => return Err(InvalidHead("it is not HTTP/1.1")),
    };
    let status = response.code.filter(|code| *code >= 100).ok_or(InvalidHead("the status is invalid"))?;
    let field = |name: &str| {
        let name = name.to_owned();
        response.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(&name)).map(|field| field.value)
    };
    // `none` is no registered coding, but some servers say so.
    let is_plain = |value: &[u8]| [&b""[..], b"identity", b"none"].iter().any(|name| value.eq_ignore_ascii_case(name));
    let is_encoded = field("Content-Encoding")
        .any(|value| !value.split(|byte| *byte == b',').all(|coding| is_plain(coding.trim_ascii())));
    let first = |name: &str| field(name).next().and_then(|value| std::str::from_utf8(value).ok()).map(str::trim);
    let should_retry = first("x-should-retry").and_then(|value| value.to_ascii_lowercase().parse().ok());
    Ok(Some(ReceivedHead {
        bytes: length,
        status,
        body: body(status, field("Transfer-Encoding"), field("Content-Length"))?,
        retry_after: retry_wait(status, response.headers),
        should_retry,
        is_encoded,
    }))
}

/// The wait that a head asks for: `retry-after-ms`, `Retry-After` (RFC 9110 §10.2.3, and fractions of a second), or, if the
/// status is 429, the end of the limit that is used up.
fn retry_wait(status: u16, fields: &[httparse::Header<'_>]) -> Option<RequestedWait> {
    let field = |name: &str| {
        let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok().map(str::trim)
    };
    let date = || field("Date").and_then(WallTime::parse_http_date);
    let milliseconds = field("retry-after-ms").and_then(seconds).map(|wait| RequestedWait::For(wait / 1000));
    let after = || {
        let value = field("Retry-After")?;
        let until = || WallTime::parse_http_date(value).map(|until| RequestedWait::Until(until, date()));
        seconds(value).map(RequestedWait::For).or_else(until)
    };
    milliseconds.or_else(after).or_else(|| if status == 429 { rate_limit_reset(fields, date()) } else { None })
}

/// The longest wait of the limits of which nothing remains, or, if none says so, the shortest of all. Servers name them
/// `x-ratelimit-reset-requests`, `x-ratelimit-reset-tokens-minute` and the like.
fn rate_limit_reset(fields: &[httparse::Header<'_>], date: Option<WallTime>) -> Option<RequestedWait> {
    let name_is = |field: &httparse::Header<'_>, name: &str| field.name.eq_ignore_ascii_case(name);
    let mut waits: Vec<(bool, RequestedWait)> = Vec::new();
    for field in fields {
        let name = field.name.to_ascii_lowercase();
        let name = name.strip_prefix("x-").unwrap_or(&name);
        let Some(limit) = name.strip_prefix("ratelimit-reset") else { continue };
        let Some(wait) = std::str::from_utf8(field.value).ok().and_then(|value| reset_wait(value.trim(), date)) else {
            continue;
        };
        let remaining = |field: &&httparse::Header<'_>| {
            ["x-ratelimit-remaining", "ratelimit-remaining"]
                .iter()
                .any(|begin| name_is(field, &format!("{begin}{limit}")))
        };
        let is_used_up = fields.iter().find(remaining).is_some_and(|field| number(field.value) == Some(0));
        waits.push((is_used_up, wait));
    }
    // Dates of one response are compared as if it were the epoch.
    let length = |wait: &RequestedWait| wait.from(Some(WallTime(0)));
    let used_up = waits.iter().filter(|(is_used_up, _)| *is_used_up).map(|(_, wait)| *wait).max_by_key(length);
    used_up.or_else(|| waits.iter().map(|(_, wait)| *wait).min_by_key(length))
}

/// The value of a reset field: `1s`, `6m0s`, `120ms`, seconds, or the seconds or milliseconds since 1970.
fn reset_wait(value: &str, date: Option<WallTime>) -> Option<RequestedWait> {
    /// Larger numbers are times, not lengths.
    const SECONDS_MAX: f64 = 1e9;
    /// Larger numbers are milliseconds since 1970.
    const EPOCH_SECONDS_MAX: f64 = 1e11;
    let Some(wait) = seconds(value) else { return unit_durations(value).map(RequestedWait::For) };
    let number = wait.as_secs_f64();
    let until = |number: f64| RequestedWait::Until(WallTime((number * SECOND as f64) as i64), date);
    Some(match number {
        _ if number < SECONDS_MAX => RequestedWait::For(wait),
        _ if number < EPOCH_SECONDS_MAX => until(number),
        _ => until(number / 1000.0),
    })
}

/// A number of seconds, perhaps with a fraction.
fn seconds(value: &str) -> Option<Duration> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = value.parse().ok().filter(|_| is_number)?;
    Duration::try_from_secs_f64(number).ok()
}

/// `1h2m3.5s`, `120ms`: numbers with units.
fn unit_durations(value: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = value;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|char: char| char.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let microseconds = match unit {
            "us" | "\u{b5}s" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            "m" => 60e6,
            "h" => 3600e6,
            "d" => 86_400e6,
            _ => return None,
        };
        let seconds = seconds(number)?.as_secs_f64() * microseconds / 1e6;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = next;
    }
    (!value.is_empty()).then_some(total)
}

fn body<'a>(
    status: u16,
    mut codings: impl Iterator<Item = &'a [u8]>,
    lengths: impl Iterator<Item = &'a [u8]>,
) -> Result<BodyEnd, InvalidHead> {
    if status < 200 || status == 204 || status == 304 {
        return Ok(BodyEnd::Framed(Framing::None));
    }
    if let Some(coding) = codings.next() {
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        let body = BodyEnd::Framed(Framing::Chunked);
        return if is_chunked { Ok(body) } else { Err(InvalidHead("the transfer coding is unknown")) };
    }
    let mut length = None;
    for value in lengths {
        let value = number(value).ok_or(InvalidHead("the Content-Length is not a number"))?;
        if length.replace(value).is_some_and(|other| other != value) {
            return Err(InvalidHead("there are two different Content-Lengths"));
        }
    }
    Ok(length.map_or(BodyEnd::UntilClose, |length| BodyEnd::Framed(Framing::Length(length))))
}

/// Parses ASCII digits alone, within 64 bits.
fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Option<ReceivedHead>, InvalidHead> {
        parse_response_head(head.as_bytes(), 1000)
    }

    #[test]
    fn heads_determine_the_end_of_the_body() {
        use BodyEnd::*;
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, Framed(Framing::Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 200, Framed(Framing::Length(5))),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", 200, Framed(Framing::Chunked)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                200,
                Framed(Framing::Chunked),
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, Framed(Framing::None)),
            ("HTTP/1.0 500 x\r\n\r\n", 500, UntilClose),
            ("HTTP/1.1 200\r\nX: \u{e9}\r\n\r\n", 200, UntilClose),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 429 x\r\n\r\n", 429, UntilClose),
        ];
        for (head, status, body) in table {
            let parsed = parse(head).unwrap().unwrap();
            assert_eq!((parsed.status, parsed.body, parsed.bytes), (status, body, head.len()), "{head:?}");
            for end in 0..head.len() {
                assert_eq!(parse(&head.chars().take(end).collect::<String>()).map(|_| ()), Ok(()), "{head:?} to {end}");
            }
        }
    }

    /// The wait of a head with these fields, in milliseconds, at 2026-01-31T09:15:30Z.
    fn wait(status: u16, fields: &str) -> Option<u128> {
        let head = parse(&format!("HTTP/1.1 {status} x\r\n{fields}\r\n\r\nbody")).unwrap().unwrap();
        head.retry_after?.from(Some(WallTime(1_769_850_930 * SECOND))).map(|wait| wait.as_millis())
    }

    #[test]
    fn waits_are_read_in_all_their_forms() {
        let table = [
            ("Retry-After: 7", Some(7_000)),
            ("retry-after: 0", Some(0)),
            ("Retry-After: 1.5", Some(1_500)),
            ("Retry-After: Sat, 31 Jan 2026 09:15:50 GMT", Some(20_000)),
            ("Retry-After: Saturday, 31-Jan-26 09:15:50 GMT", Some(20_000)),
            ("Retry-After: Sat Jan 31 09:15:50 2026", Some(20_000)),
            ("Retry-After: Sat, 31 Jan 2026 09:15:10 GMT", Some(0)),
            ("Date: Sat, 31 Jan 2026 09:00:00 GMT\r\nRetry-After: Sat, 31 Jan 2026 09:00:05 GMT", Some(5_000)),
            ("Retry-After: 9\r\nretry-after-ms: 250", Some(250)),
            ("retry-after-ms: soon\r\nRetry-After: 9", Some(9_000)),
            ("x-ratelimit-reset-requests: 6m0s", Some(360_000)),
            ("x-ratelimit-reset-requests: 120ms", Some(120)),
            ("x-ratelimit-reset-tokens: 1h2m3.5s", Some(3_723_500)),
            ("x-ratelimit-reset-tokens: 1s\r\nx-ratelimit-reset-requests: 6m0s", Some(1_000)),
            (
                "x-ratelimit-reset-tokens: 1s\r\nx-ratelimit-reset-requests: 6m0s\r\nx-ratelimit-remaining-requests: 0",
                Some(360_000),
            ),
            ("x-ratelimit-reset-tokens-minute: 33.5", Some(33_500)),
            ("X-RateLimit-Reset: 1769850940", Some(10_000)),
            ("X-RateLimit-Reset: 1769850940500", Some(10_500)),
            ("ratelimit-reset: 3", Some(3_000)),
            ("Retry-After: 2\r\nx-ratelimit-reset-requests: 6m0s", Some(2_000)),
            ("x-ratelimit-reset-requests: 5 parsecs", None),
            ("x-ratelimit-reset-requests:", None),
            ("Retry-After: -1", None),
            ("Retry-After: soon", None),
            ("Retry-After: 99999999999999999999", None),
            ("Retry-After: 1.2.3", None),
            ("Retry-After: inf", None),
            ("Retry-After:", None),
            ("A: b", None),
        ];
        for (fields, milliseconds) in table {
            assert_eq!(wait(429, fields), milliseconds, "{fields}");
        }
        assert_eq!(wait(503, "x-ratelimit-reset-requests: 6m0s"), None, "only a 429 is about limits");
        assert_eq!(wait(503, "Retry-After: 1.5"), Some(1_500));
    }

    #[test]
    fn statements_about_retries_and_codings() {
        let head = |fields: &str| parse(&format!("HTTP/1.1 503 x\r\n{fields}\r\n\r\nbody")).unwrap().unwrap();
        let table = [("true", Some(true)), ("false", Some(false)), ("False", Some(false)), ("maybe", None), ("", None)];
        for (value, expected) in table {
            assert_eq!(head(&format!("x-should-retry: {value}")).should_retry, expected, "{value}");
        }
        for coding in ["gzip", "br", "identity, gzip", "deflate"] {
            assert!(head(&format!("Content-Encoding: {coding}")).is_encoded, "{coding}");
        }
        for coding in ["identity", "none", "None", "", "identity, none"] {
            assert!(!head(&format!("Content-Encoding: {coding}")).is_encoded, "{coding}");
        }
        assert!(!head("A: b").is_encoded);
    }

    #[test]
    fn malformed_responses_are_rejected() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(1000));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        let interim = "HTTP/1.1 100 x\r\n\r\n".repeat(INTERIM_MAX + 1);
        let table = [
            "SSH-2.0-x\r\n",
            "\0\x01\x02",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            &long,
            &many,
            &interim,
        ];
        for head in table {
            assert!(parse(head).is_err(), "{head:?}");
        }
        assert!(
            parse_response_head(&long.as_bytes()[..1000], 1000).is_err(),
            "an incomplete head is rejected at the limit"
        );
    }
}

//! The head of a response, parsed for a client.
//!
//! Invariant: the head determines the end of the body (RFC 9112 §6.3). A head with two different lengths is rejected.

use super::head::Framing;
use crate::base::limits::HEADERS_MAX;

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
    /// `Retry-After` in seconds (RFC 9110 §10.2.3). A date is ignored, because the peer's clock may differ from ours.
    pub retry_after_seconds: Option<u64>,
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
    let is_encoded =
        field("Content-Encoding").any(|value| !value.is_empty() && !value.eq_ignore_ascii_case(b"identity"));
    Ok(Some(ReceivedHead {
        bytes: length,
        status,
        body: body(status, field("Transfer-Encoding"), field("Content-Length"))?,
        retry_after_seconds: field("Retry-After").next().and_then(number),
        is_encoded,
    }))
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

    #[test]
    fn retry_after_and_content_encoding() {
        let head = |fields: &str| parse(&format!("HTTP/1.1 503 x\r\n{fields}\r\n\r\nbody")).unwrap().unwrap();
        assert_eq!(head("Retry-After: 7").retry_after_seconds, Some(7));
        assert_eq!(head("retry-after: 0").retry_after_seconds, Some(0));
        for other in ["-1", "1.5", "soon", "Sat, 31 Jan 2026 09:15:30 GMT", "99999999999999999999", ""] {
            assert_eq!(head(&format!("Retry-After: {other}")).retry_after_seconds, None, "{other}");
        }
        assert!(head("Content-Encoding: gzip").is_encoded);
        assert!(!head("Content-Encoding: identity").is_encoded && !head("A: b").is_encoded);
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

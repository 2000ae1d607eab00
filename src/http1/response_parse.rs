//! The head of an answer, read as a client does.
//!
//! Invariant: an answer's body ends where its head says (RFC 9112 §6.3); a head that says it in two ways is refused.

use super::head::Framing;
use crate::base::limits::HEADERS_MAX;

/// Interim answers that are passed over before the final one (RFC 9110 §15.2).
const INTERIM_MAX: usize = 8;

/// What a client needs of an answer's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceivedHead {
    /// Bytes of the head, with interim answers before it: the body begins after them.
    pub bytes: usize,
    /// The status, 200 to 999.
    pub status: u16,
    /// Where the body ends.
    pub body: BodyEnd,
    /// `Retry-After` in seconds (RFC 9110 §10.2.3). One that is a date is left out: the peer's clock is not ours.
    pub retry_after_seconds: Option<u64>,
    /// The body is compressed or otherwise coded (RFC 9110 §8.4).
    pub is_encoded: bool,
}

/// Where the body of an answer ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// Where the framing says.
    Framed(Framing),
    /// With the connection.
    UntilClose,
}

/// The bytes are no head of an answer that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidHead(pub &'static str);

/// Reads the head of the answer to a request that is no `HEAD`. `None` when more bytes are needed; more than `bytes_max`
/// of them are refused.
pub(crate) fn parse_response_head(bytes: &[u8], bytes_max: usize) -> Result<Option<ReceivedHead>, InvalidHead> {
    let mut begin = 0;
    for _ in 0..=INTERIM_MAX {
        let Some(mut head) = parse_one(&bytes[begin..])? else {
            let fits = bytes.len() < bytes_max;
            return if fits { Ok(None) } else { Err(InvalidHead("the head is too large")) };
        };
        head.bytes += begin;
        if head.bytes > bytes_max {
            return Err(InvalidHead("the head is too large"));
        }
        match head.status {
            101 => return Err(InvalidHead("the protocol is switched")),
            100..200 => begin = head.bytes,
            _ => return Ok(Some(head)),
        }
    }
    Err(InvalidHead("there are too many interim answers"))
}

fn parse_one(bytes: &[u8]) -> Result<Option<ReceivedHead>, InvalidHead> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut slots);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(InvalidHead("there are too many fields")),
        Err(_) => return Err(InvalidHead("it is no HTTP/1.1")),
    };
    let status = response.code.filter(|code| *code >= 100).ok_or(InvalidHead("the status is no status"))?;
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
        let value = number(value).ok_or(InvalidHead("the length is no number"))?;
        if length.replace(value).is_some_and(|other| other != value) {
            return Err(InvalidHead("there are two lengths"));
        }
    }
    Ok(length.map_or(BodyEnd::UntilClose, |length| BodyEnd::Framed(Framing::Length(length))))
}

/// ASCII digits that fit 64 bits.
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
    fn heads_say_where_the_body_ends() {
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
    fn what_else_is_read() {
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
    fn what_is_no_answer_is_refused() {
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
            "an unfinished head is refused at the bound"
        );
    }
}

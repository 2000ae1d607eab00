//! A strict parser of responses (RFC 9112 §4 and §6.3); everything that the server must not send panics.

use super::json_reference::{self as json, Json};
use super::sse_reference;

/// One final response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names and values, without `Content-Length`.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The number of interim responses before it.
    pub continues: usize,
    /// Whether it announces that the connection closes.
    pub closes: bool,
    /// Whether it is a stream, which lasts to the end of the connection; `body` has its bytes so far.
    pub is_stream: bool,
    /// Length of the body of a stream as it was sent, with the framing of its chunks.
    pub body_len: usize,
    pub is_chunked: bool,
}

impl Response {
    /// Whether it is an error in OpenAI's form; `None` if it is no error, or has no body.
    pub fn has_openai_error(&self) -> Option<bool> {
        let is_error = self.status >= 400 && self.body.starts_with(b"{\"error\":{");
        is_error.then(|| self.body.starts_with(b"{\"error\":{\"message\":"))
    }

    /// The value of the field `name`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Parses the response to a request of this method at the start of `bytes`; returns it and the remaining bytes. Panics
/// if it is incomplete.
pub fn read_response<'a>(bytes: &'a [u8], method: &str) -> (Response, &'a [u8]) {
    let mut rest = bytes;
    let mut continues = 0;
    while let Some(after) = rest.strip_prefix(CONTINUE) {
        rest = after;
        continues += 1;
    }
    let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("the head of a response ends");
    let head = std::str::from_utf8(&rest[..end]).expect("heads are ASCII");
    rest = &rest[end + 4..];
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("a split has a first part");
    let code = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_once(' ')).expect("a status line");
    let status: u16 = code.0.parse().expect("a status is a number");
    assert!((200..600).contains(&status) && code.0.len() == 3, "{status_line}");
    let mut fields = Vec::new();
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is not a field"));
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{line:?}");
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && value.trim() == value, "{line:?}");
        assert!(fields.iter().all(|(known, _)| known != name), "{name} occurs twice");
        if name == "Content-Length" {
            assert!(value.bytes().all(|digit| digit.is_ascii_digit()), "{line:?}");
            assert!(length.replace(value.parse::<usize>().expect("a length")).is_none(), "two lengths");
        } else {
            fields.push((name.to_owned(), value.to_owned()));
        }
    }
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let is_chunked = match field("Transfer-Encoding").as_deref() {
        None => false,
        Some("chunked") => true,
        Some(other) => panic!("Transfer-Encoding: {other}"),
    };
    assert!(!is_chunked || length.is_none(), "two lengths");
    assert!(field("Date").is_some_and(|date| date.len() == 29), "a response has a date");
    assert!(field("X-Request-Id").is_some_and(|id| (1..=128).contains(&id.len())), "a response has an id");
    let closes = match field("Connection").as_deref() {
        Some("close") => true,
        Some("keep-alive") | None => false,
        Some(other) => panic!("Connection: {other}"),
    };
    let is_event_stream = field("Content-Type").as_deref() == Some("text/event-stream; charset=utf-8");
    let is_stream = length.is_none() && is_event_stream;
    let body_len = match (status, length) {
        (204 | 304, length) => {
            assert!(length.is_none(), "{status} has no length");
            0
        }
        (_, Some(_)) if method == "HEAD" => 0,
        (_, Some(length)) => length,
        (_, None) => {
            assert!(is_stream && status == 200 && closes, "only a stream has no length");
            if method == "HEAD" { 0 } else { rest.len() }
        }
    };
    assert!(rest.len() >= body_len, "a response of {body_len} bytes has only {}", rest.len());
    let (body, rest) = rest.split_at(body_len);
    let body = if is_chunked && method != "HEAD" { unchunked(body) } else { body.to_vec() };
    // The length of other bodies may vary, as that of the metrics does.
    let body_len = if is_stream { body_len } else { 0 };
    let answer = Response { status, fields, body, body_len, is_chunked, continues, closes, is_stream };
    if method != "HEAD" {
        check_body(&answer, is_event_stream);
    }
    (answer, rest)
}

/// The data of a chunked body (RFC 9112 §7.1) that may lack its last chunk. Each chunk is one block of a stream, or some events of
/// a chat completion, or a comment in one.
pub fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while !rest.is_empty() {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the size of a chunk ends");
        let size = std::str::from_utf8(&rest[..end]).expect("the size of a chunk is ASCII");
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk is hexadecimal");
        if size == 0 {
            assert_eq!(&rest[end..], b"\r\n\r\n", "nothing follows the last chunk");
            break;
        }
        let data = &rest[end + 2..][..size];
        let is_block = data.ends_with(b"\n\n") && count_blocks(data) == 1;
        assert!(is_block || is_completion(data) || data == b":\n", "a chunk is one block");
        body.extend_from_slice(data);
        rest = rest[end + 2 + size..].strip_prefix(b"\r\n").expect("a chunk ends");
    }
    body
}

/// Whether these are events of a chat completion.
fn is_completion(data: &[u8]) -> bool {
    data.starts_with(b"data: {\"id\":\"chatcmpl-") && data.ends_with(b"\n\n")
}

/// The number of blocks.
fn count_blocks(data: &[u8]) -> usize {
    data.windows(2).filter(|two| two == b"\n\n").count()
}

fn check_body(answer: &Response, is_event_stream: bool) {
    if is_event_stream {
        check_stream(&answer.body);
    } else if answer.field("Content-Type") == Some("application/json") {
        let text = std::str::from_utf8(&answer.body).expect("JSON is text");
        let Ok(value) = json::parse(text) else { panic!("{text} is not JSON") };
        // A health report is not an error, whatever its status.
        if answer.status >= 400 && !(answer.status == 503 && text.starts_with("{\"status\":")) {
            check_error(&value, text);
        }
    }
    assert!(answer.status < 400 || answer.field("Content-Type") == Some("application/json"), "errors are JSON");
    assert_eq!(
        answer.status == 405 || answer.status == 204 && answer.field("Allow").is_some(),
        answer.field("Allow").is_some()
    );
    assert_eq!(answer.status == 401, answer.field("WWW-Authenticate").is_some(), "a 401 has a challenge");
}

/// The common shape of errors, see `docs/api.md`.
fn check_error(value: &Json<'_>, text: &str) {
    let Json::Object(members) = value else { panic!("{text} is not an object") };
    let [(Some(name), Json::Object(error), _)] = &members[..] else { panic!("{text} is not an error") };
    assert_eq!(name, "error");
    let names: Vec<&str> = error.iter().filter_map(|(name, ..)| name.as_deref()).collect();
    if names == ["message", "type", "param", "code"] {
        let is_text = |place: usize| matches!(error[place].1, Json::Text(Some(_)));
        let is_param = is_text(2) || error[2].1 == Json::Null;
        return assert!(is_text(0) && is_text(1) && is_param && is_text(3), "{text}");
    }
    assert!(names == ["code", "message"] || names == ["code", "message", "details"], "{text}");
    assert!(error[..2].iter().all(|(_, value, _)| matches!(value, Json::Text(Some(_)))), "{text}");
    assert!(error.get(2).is_none_or(|(_, value, _)| matches!(value, Json::Object(_))), "{text}");
}

/// The bytes of a stream: complete frames, with JSON in them.
fn check_stream(bytes: &[u8]) {
    let stream = sse_reference::read(bytes, usize::MAX);
    assert!(!stream.cut_off && bytes.ends_with(b"\n\n"), "a stream consists of complete frames");
    let is_completion = stream.events.iter().any(|event| event.data.starts_with("{\"id\":\"chatcmpl-"));
    for (place, event) in stream.events.iter().enumerate() {
        if is_completion && event.data == "[DONE]" {
            assert_eq!(place + 1, stream.events.len(), "nothing follows the end of a completion");
            continue;
        }
        let Ok(Json::Object(members)) = json::parse(&event.data) else { panic!("{} is not an object", event.data) };
        let first = members[0].0.as_deref();
        let is_of_completion = is_completion && matches!(first, Some("id" | "error"));
        assert!(first == Some("type") || is_of_completion, "{}", event.data);
    }
}

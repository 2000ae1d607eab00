//! Parsing of responses, as far as the benchmarks need it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// A server that is silent for this long has failed.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
const RESPONSE_FIELDS_MAX: usize = 32;

/// The head of a complete response.
pub struct ReceivedHead {
    pub head_bytes: usize,
    pub body_bytes: usize,
    /// `X-Event-Id`.
    pub event_id: Option<u64>,
}

/// The head of a response, once it is complete; an error unless it is a success with a Content-Length or without a body.
pub fn read_head(response: &[u8]) -> Result<Option<ReceivedHead>, String> {
    let mut fields = [httparse::EMPTY_HEADER; RESPONSE_FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let head_bytes = match head.parse(response).map_err(|error| format!("{error}: {}", response.escape_ascii()))? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Ok(None),
    };
    if !matches!(head.code, Some(200..=299)) {
        return Err(format!("no success: {}", response.escape_ascii()));
    }
    let number = |name: &str| -> Option<u64> {
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()?.parse().ok()
    };
    let length = if head.code == Some(204) { Some(0) } else { number("content-length") };
    let body_bytes = length.ok_or_else(|| format!("no Content-Length: {}", response.escape_ascii()))? as usize;
    Ok(Some(ReceivedHead { head_bytes, body_bytes, event_id: number("x-event-id") }))
}

/// A header field with a token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A request for a response of any type.
pub fn get(address: SocketAddr, path: &str, fields: &str) -> Vec<u8> {
    request(address, "GET", path, &format!("Accept: */*\r\n{fields}"), "")
}

/// A request for Server-Sent Events.
pub fn get_events(address: SocketAddr, path: &str, fields: &str) -> Vec<u8> {
    request(address, "GET", path, &format!("Accept: text/event-stream\r\n{fields}"), "")
}

/// A request with JSON.
pub fn post(address: SocketAddr, path: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let fields = format!("Accept: */*\r\n{fields}Content-Type: application/json\r\nContent-Length: {length}\r\n");
    request(address, "POST", path, &fields, body)
}

fn request(address: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\n{fields}\r\n{body}").into_bytes()
}

/// One `GET` on a new connection: the complete response, which must be a success.
pub fn fetch(address: SocketAddr, path: &str) -> Result<Vec<u8>, String> {
    let fetched = || -> io::Result<Vec<u8>> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        get_on(&mut stream, address, path)
    };
    fetched().map_err(|error| format!("GET {path}: {error}"))
}

/// One `GET` on a blocking connection, which stays open: the complete response, which must be a success.
pub fn get_on(stream: &mut std::net::TcpStream, address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    stream.write_all(&get(address, path, ""))?;
    let mut response = Vec::new();
    let mut scratch = [0; 16 * 1024];
    loop {
        let bytes = stream.read(&mut scratch)?;
        response.extend_from_slice(&scratch[..bytes]);
        // The connection is persistent, so that the response equals that of the load; its length determines the end.
        match read_head(&response).map_err(io::Error::other)? {
            Some(head) if response.len() >= head.head_bytes + head.body_bytes => return Ok(response),
            _ if bytes == 0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// Opens a stream on a new connection and returns after its first event.
pub fn open_stream(address: SocketAddr, token: &str) -> Result<std::net::TcpStream, String> {
    let open = || -> io::Result<std::net::TcpStream> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.write_all(&get_events(address, "/output/stream", &bearer(token)))?;
        let mut received = Vec::new();
        let mut scratch = [0; 4 * 1024];
        loop {
            let bytes = stream.read(&mut scratch)?;
            received.extend_from_slice(&scratch[..bytes]);
            if bytes == 0 || (received.len() > 12 && !received.starts_with(b"HTTP/1.1 200")) {
                return Err(io::Error::other(format!("no stream: {}", received.escape_ascii())));
            }
            if received.ends_with(b"\n\n\r\n") && memchr::memmem::find(&received, b"connection_established").is_some() {
                return Ok(stream);
            }
        }
    };
    open().map_err(|error| format!("GET /output/stream: {error}"))
}

//! A fast reader of streams for heavy traffic. It parses only a part of each frame and can disconnect after any byte.
//! The strict reader in `sse` checks everything and is slower.

use crate::common::http::Origin;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Maximum duration of a connection. Heartbeats would otherwise keep a reader alive that waits for a missing event.
const TIMEOUT: Duration = Duration::from_secs(90);

/// How a stream is opened.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// The bearer token.
    pub token: String,
    /// The query, without its `?`.
    pub query: String,
    /// The value of `Last-Event-ID`.
    pub last_event_id: Option<u64>,
    /// Where the connection comes from and how it reads.
    pub origin: Origin,
    /// The reader disconnects after this number of bytes.
    pub bytes_max: Option<u64>,
}

/// An open stream.
pub struct Reader {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// The start of the next frame in `buffer`.
    at: usize,
    bytes_left: u64,
    opened_at: Instant,
}

/// One frame with data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The value of `id:`.
    pub id: Option<u64>,
    /// The value of `event:`.
    pub name: Option<String>,
    /// The `type` in the data.
    pub kind: String,
    /// The `content` in the data, unescaped; empty for events that are not messages.
    pub content: String,
}

impl Reader {
    /// Opens a stream. Every response except a stream is an error; callers retry.
    pub fn open(addr: SocketAddr, opening: &Opening) -> io::Result<Reader> {
        let mut socket = opening.origin.connect(addr)?;
        let mark = if opening.query.is_empty() { "" } else { "?" };
        let mut request = format!("GET /output/stream{mark}{} HTTP/1.1\r\nHost: {addr}\r\n", opening.query);
        if !opening.token.is_empty() {
            request.push_str(&format!("Authorization: Bearer {}\r\n", opening.token));
        }
        if let Some(id) = opening.last_event_id {
            request.push_str(&format!("Last-Event-ID: {id}\r\n"));
        }
        request.push_str("Accept: text/event-stream\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        let bytes_left = opening.bytes_max.unwrap_or(u64::MAX);
        let mut reader = Reader { socket, buffer: Vec::new(), at: 0, bytes_left, opened_at: Instant::now() };
        reader.read_head()?;
        Ok(reader)
    }

    fn read_head(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = self.find(b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.at = end + 4;
                let is_stream = head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream");
                return if is_stream { Ok(()) } else { Err(io::Error::other(head)) };
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next frame with data; `None` when the connection ends. An incomplete frame is ignored.
    pub fn next(&mut self) -> io::Result<Option<Frame>> {
        assert!(self.opened_at.elapsed() < TIMEOUT, "the awaited event does not arrive");
        loop {
            while let Some(size_end) = self.find(b"\r\n") {
                let size = std::str::from_utf8(&self.buffer[self.at..size_end]).expect("the size of a chunk is ASCII");
                let size = usize::from_str_radix(size, 16).expect("the size of a chunk is hexadecimal");
                let (start, end) = (size_end + 2, size_end + 2 + size);
                if self.buffer.len() < end + 2 {
                    break;
                }
                self.at = end + 2;
                if size == 0 {
                    return Ok(None);
                }
                if let Some(frame) = self.parse(start..end - 2) {
                    return Ok(Some(frame));
                }
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// The position of `needle` after the frames already returned.
    fn find(&self, needle: &[u8]) -> Option<usize> {
        memchr::memmem::find(&self.buffer[self.at..], needle).map(|found| self.at + found)
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let mut piece = [0; 16 * 1024];
        let most = self.bytes_left.min(piece.len() as u64) as usize;
        let read = self.socket.read(&mut piece[..most])?;
        self.bytes_left -= read as u64;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    fn parse(&self, range: Range<usize>) -> Option<Frame> {
        let text = std::str::from_utf8(&self.buffer[range]).expect("a stream is UTF-8");
        let (mut id, mut name, mut data) = (None, None, None);
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.parse().unwrap_or_else(|_| panic!("not an id: {line}"))),
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("data", value)) => assert!(data.replace(value).is_none(), "more than one line of data: {text}"),
                Some(("retry", _)) => {}
                _ => panic!("an unexpected line: {text}"),
            }
        }
        let data = data?;
        let kind = value_of(data, "{\"type\":\"").unwrap_or_else(|| panic!("the type is not first: {data}"));
        let content = value_of(data, "\"content\":\"").unwrap_or_default();
        Some(Frame { id, name, kind: kind.to_owned(), content: content.to_owned() })
    }
}

/// The text between `before` and the next quotation mark. The texts of these tests contain no escaped one.
fn value_of<'a>(data: &'a str, before: &str) -> Option<&'a str> {
    let from = data.find(before)? + before.len();
    data[from..].split('"').next()
}

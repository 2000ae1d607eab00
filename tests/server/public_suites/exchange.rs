//! One write and what comes back, read as the suites read it: they do not follow the framing of a response.

use super::case::find;
use crate::common::DEADLINE;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a server must be silent to count as silent.
const SILENCE: Duration = Duration::from_secs(5);

/// How long bytes or an end after a response are awaited that it does not announce.
const AFTER: Duration = Duration::from_millis(150);

/// What the server sent after a write.
#[derive(Debug, Default)]
pub struct Reply {
    /// The status of the first response; `None` without one.
    pub status: Option<u16>,
    /// Everything that came.
    pub bytes: Vec<u8>,
    /// Whether the server has closed the connection.
    pub is_closed: bool,
}

/// Sends bytes, and reads a response and what follows it.
pub fn exchange(socket: &mut TcpStream, bytes: &[u8], may_be_silent: bool) -> Reply {
    // The server may reject the request before it has read everything.
    let _ = socket.write_all(bytes);
    let is_head = bytes.starts_with(b"HEAD ");
    let mut reply = Reply::default();
    reply.read(socket, if may_be_silent { SILENCE } else { DEADLINE }, |reply| {
        find(&reply.bytes, b"\r\n\r\n").is_some()
    });
    reply.status = status(&reply.bytes);
    if reply.status.is_none() {
        return reply;
    }
    let length = reply.field("Content-Length").and_then(|length| length.parse().ok()).filter(|_| !is_head);
    reply.read(socket, DEADLINE, |reply| reply.body().len() >= length.unwrap_or(0));
    let announces_close = reply.field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    reply.read(socket, if announces_close { DEADLINE } else { AFTER }, |_| false);
    reply
}

/// The status in a status line.
fn status(bytes: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(&bytes[..find(bytes, b"\n")?]).ok()?;
    line.split(' ').nth(1)?.trim_end().parse().ok()
}

impl Reply {
    /// Reads until it is enough, the server closes the connection, or the time is over.
    fn read(&mut self, socket: &mut TcpStream, timeout: Duration, is_enough: impl Fn(&Reply) -> bool) {
        let end = Instant::now() + timeout;
        let mut buffer = [0; 16 * 1024];
        while !self.is_closed && !is_enough(self) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            socket.set_read_timeout(Some(left)).expect("the socket is open");
            match socket.read(&mut buffer) {
                Ok(0) => self.is_closed = true,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(_) => self.is_closed = true,
            }
        }
    }

    /// The fields of the first response, as text.
    fn head(&self) -> &str {
        let end = find(&self.bytes, b"\r\n\r\n").unwrap_or(self.bytes.len());
        std::str::from_utf8(&self.bytes[..end]).unwrap_or_default()
    }

    /// The value of a field of the first response.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head().lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(has, _)| has.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// A field of the first response, after `weak ` as a weak entity tag, after `bare ` without its quotes.
    pub fn field_as(&self, what: &str) -> String {
        let value = |name| self.field(name).unwrap_or_else(|| panic!("the response has no {name}"));
        match what.split_once(' ') {
            Some(("weak", name)) => format!("W/{}", value(name).trim_start_matches("W/")),
            Some(("bare", name)) => value(name).trim_start_matches("W/").trim_matches('"').to_owned(),
            _ => value(what).to_owned(),
        }
    }

    /// What follows the fields of the first response, its framing included.
    pub fn body(&self) -> &str {
        let begin = find(&self.bytes, b"\r\n\r\n").map_or(self.bytes.len(), |end| end + 4);
        std::str::from_utf8(&self.bytes[begin..]).unwrap_or_default()
    }

    /// The number of responses by their status lines.
    pub fn status_lines(&self) -> usize {
        self.bytes.windows(13).filter(|window| is_status_line(window)).count()
    }
}

/// `HTTP/1.1 200 `
fn is_status_line(bytes: &[u8]) -> bool {
    let is_digit = |at: usize| bytes[at].is_ascii_digit();
    bytes.starts_with(b"HTTP/") && bytes[6] == b'.' && bytes[8] == b' ' && [5, 7, 9, 10, 11].into_iter().all(is_digit)
}

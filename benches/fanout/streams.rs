//! The readers: open streams, and a cheap but complete check of their frames.
//!
//! Invariant: the numbers of a stream's events strictly increase. If `count` and `sum` equal those of the sent events,
//! the stream got each of them once and nothing else.

use crate::support::histogram::Histogram;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read};
use std::time::Instant;

/// The start of every measured event, up to the time in its content.
pub const DATA_START: &[u8] = b"data: {\"type\":\"input\",\"data\":{\"content\":\"";
/// Digits of the time at the start of a content: nanoseconds since the origin.
pub const TIME_DIGITS: usize = 16;
const ID_START: &[u8] = b"id: ";
/// Heartbeats are rare here; they carry a number and are not events.
const HEARTBEAT_START: &[u8] = b"data: {\"type\":\"heartbeat\"";
/// Space for one read and the incomplete frame before it.
const SCRATCH_BYTES: usize = 512 * 1024;

/// The events received by a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    pub count: u64,
    /// Wrapping sum of the events' numbers.
    pub sum: u64,
    pub last: u64,
}

impl Received {
    pub fn add(&mut self, number: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
        self.last = self.last.max(number);
    }
}

struct Stream {
    socket: TcpStream,
    /// The start of an incomplete frame.
    rest: Vec<u8>,
    given: Received,
}

/// All streams of a run; the token of each is its index.
pub struct Streams {
    streams: Vec<Stream>,
    scratch: Vec<u8>,
    origin: Instant,
    /// Events delivered to all streams together, and their bytes.
    pub deliveries: u64,
    pub bytes: u64,
    /// From sending to arrival, in nanoseconds.
    pub latency: Histogram,
}

impl Streams {
    /// Takes over connections that only receive events from now on; contents carry times since `origin`.
    pub fn new(sockets: Vec<std::net::TcpStream>, registry: &Registry, origin: Instant) -> io::Result<Streams> {
        let mut streams = Vec::with_capacity(sockets.len());
        for (index, socket) in sockets.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            registry.register(&mut socket, Token(index), Interest::READABLE)?;
            streams.push(Stream { socket, rest: Vec::new(), given: Received::default() });
        }
        let latency = Histogram::new();
        Ok(Streams { streams, scratch: vec![0; SCRATCH_BYTES], origin, deliveries: 0, bytes: 0, latency })
    }

    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Reads what has arrived on a stream.
    pub fn read(&mut self, index: usize) -> Result<(), String> {
        let stream = &mut self.streams[index];
        loop {
            let before = stream.rest.len();
            self.scratch[..before].copy_from_slice(&stream.rest);
            let bytes = match stream.socket.read(&mut self.scratch[before..]) {
                Ok(0) => return Err(format!("the server ended stream {index}")),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("stream {index}: {error}")),
            };
            let arrived = self.origin.elapsed().as_nanos() as u64;
            let (whole, rest) = whole_frames(&self.scratch[..before + bytes]);
            let count = stream.given.count;
            scan(whole, &mut stream.given, |sent| self.latency.add(arrived.saturating_sub(sent)))
                .map_err(|error| format!("stream {index}: {error}"))?;
            self.deliveries += stream.given.count - count;
            self.bytes += whole.len() as u64;
            stream.rest.clear();
            stream.rest.extend_from_slice(rest);
            // A short read has emptied the socket, and the next bytes make a new edge (epoll(7)).
            if before + bytes < self.scratch.len() {
                return Ok(());
            }
        }
    }

    /// Fails unless every stream received exactly these events.
    pub fn check(&self, sent: Received) -> Result<(), String> {
        match self.streams.iter().enumerate().find(|(_, stream)| stream.given != sent) {
            Some((index, stream)) => Err(format!("stream {index} was given {:?} of {sent:?}", stream.given)),
            None => Ok(()),
        }
    }
}

/// Splits off the incomplete frame at the end. An event is one line, so the last empty line is near.
fn whole_frames(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memmem::rfind(bytes, b"\n\n\r\n") {
        Some(at) => bytes.split_at(at + 4),
        None => bytes.split_at(0),
    }
}

/// Parses complete frames; calls `sent` with the time in each content.
fn scan(mut bytes: &[u8], given: &mut Received, mut sent: impl FnMut(u64)) -> Result<(), String> {
    while !bytes.is_empty() {
        let end = scan_frame(bytes, given, &mut sent).ok_or_else(|| {
            let shown = &bytes[..bytes.len().min(300)];
            format!("after {given:?} no frame of a later event: {}", shown.escape_ascii())
        })?;
        bytes = &bytes[end..];
    }
    Ok(())
}

/// Parses one frame, which must be a later event than the last one, and returns its end.
fn scan_frame(bytes: &[u8], given: &mut Received, sent: &mut impl FnMut(u64)) -> Option<usize> {
    // Each frame is a chunk: its size, the frame, a line end.
    let size_bytes = memchr::memchr(b'\n', bytes)? + 1;
    let bytes = &bytes[size_bytes..];
    let is_heartbeat = bytes.starts_with(HEARTBEAT_START);
    if !is_heartbeat {
        let time = bytes.strip_prefix(DATA_START)?.get(..TIME_DIGITS)?;
        sent(time.iter().try_fold(0, |time, byte| Some(time * 10 + digit(*byte)?))?);
    }
    let mut at = memchr::memchr(b'\n', bytes)? + 1;
    if !bytes[at..].starts_with(ID_START) {
        return None;
    }
    at += ID_START.len();
    let mut number = 0_u64;
    while *bytes.get(at)? != b'\n' {
        number = number * 10 + digit(bytes[at])?;
        at += 1;
    }
    at += 1;
    if *bytes.get(at)? != b'\n' || number < given.last || (number == given.last && !is_heartbeat) {
        return None;
    }
    if !is_heartbeat {
        given.add(number);
    }
    let ends = bytes.get(at + 1..at + 3)? == b"\r\n";
    ends.then_some(size_bytes + at + 3)
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

//! The readers' side: open streams, and a scan of what they get that is cheap and yet lets nothing pass.
//!
//! Invariant: the numbers of a stream's events strictly increase; with `count` and `sum` those of what was sent, it had each of
//! them once and nothing else.

use crate::support::histogram::Histogram;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read};
use std::time::Instant;

/// How every event begins that is measured here, before the time in its content.
pub const DATA_START: &[u8] = b"data: {\"type\":\"input\",\"data\":{\"content\":\"";
/// Digits of the time at the beginning of a content: nanoseconds since the origin.
pub const TIME_DIGITS: usize = 16;
const ID_START: &[u8] = b"id: ";
/// Heartbeats are seldom here, but one may come: it says how far the stream is, and counts as no event.
const HEARTBEAT_START: &[u8] = b"data: {\"type\":\"heartbeat\"";
/// Room for what one read takes, and for the part of a frame that came before.
const SCRATCH_BYTES: usize = 512 * 1024;

/// What a stream was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Given {
    pub count: u64,
    /// Of the events' numbers, wrapping.
    pub sum: u64,
    pub last: u64,
}

impl Given {
    pub fn add(&mut self, number: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
        self.last = self.last.max(number);
    }
}

struct Stream {
    socket: TcpStream,
    /// The beginning of a frame whose end has not come yet.
    rest: Vec<u8>,
    given: Given,
}

/// All streams of a run; the token of each is its index.
pub struct Streams {
    streams: Vec<Stream>,
    scratch: Vec<u8>,
    origin: Instant,
    /// Events that all streams together were given, and their bytes.
    pub deliveries: u64,
    pub bytes: u64,
    /// From sending to arrival, in nanoseconds.
    pub latency: Histogram,
}

impl Streams {
    /// Takes over connections on which nothing but events is to come; contents carry times since `origin`.
    pub fn new(sockets: Vec<std::net::TcpStream>, registry: &Registry, origin: Instant) -> io::Result<Streams> {
        let mut streams = Vec::with_capacity(sockets.len());
        for (index, socket) in sockets.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            registry.register(&mut socket, Token(index), Interest::READABLE)?;
            streams.push(Stream { socket, rest: Vec::new(), given: Given::default() });
        }
        let latency = Histogram::new();
        Ok(Streams { streams, scratch: vec![0; SCRATCH_BYTES], origin, deliveries: 0, bytes: 0, latency })
    }

    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Takes in what has come on a stream.
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

    /// Fails unless every stream was given exactly this.
    pub fn check(&self, sent: Given) -> Result<(), String> {
        match self.streams.iter().enumerate().find(|(_, stream)| stream.given != sent) {
            Some((index, stream)) => Err(format!("stream {index} was given {:?} of {sent:?}", stream.given)),
            None => Ok(()),
        }
    }
}

/// What ends with a whole frame, and the beginning of the next one. An event is one line, so the last empty line is near.
fn whole_frames(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memmem::rfind(bytes, b"\n\n") {
        Some(at) => bytes.split_at(at + 2),
        None => bytes.split_at(0),
    }
}

/// Goes over whole frames; calls `sent` with the time that each content carries.
fn scan(mut bytes: &[u8], given: &mut Given, mut sent: impl FnMut(u64)) -> Result<(), String> {
    while !bytes.is_empty() {
        let end = scan_frame(bytes, given, &mut sent).ok_or_else(|| {
            let shown = &bytes[..bytes.len().min(300)];
            format!("after {given:?} no frame of a later event: {}", shown.escape_ascii())
        })?;
        bytes = &bytes[end..];
    }
    Ok(())
}

/// One frame, which must be the event after the last one or a later one; returns where it ends.
fn scan_frame(bytes: &[u8], given: &mut Given, sent: &mut impl FnMut(u64)) -> Option<usize> {
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
    Some(at + 1)
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

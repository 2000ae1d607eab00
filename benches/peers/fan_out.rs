//! Messages of a few publishers to many streams, over any protocol: each message carries a mark, by which it is found in
//! what a stream receives.
//!
//! Invariant: the numbers of a publisher's messages strictly increase in a stream. If count and sum equal those of the sent
//! messages, the stream got each of them once and nothing else.

use crate::support::connection::Connection;
use crate::support::histogram::Histogram;
use crate::support::http::SILENCE_MAX;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const MARK_START: &[u8] = b"@@";
const TIME_DIGITS: usize = 16;
const NUMBER_DIGITS: usize = 10;
const MARK_BYTES: usize = MARK_START.len() + TIME_DIGITS + NUMBER_DIGITS;
const CONTENT_BYTES: usize = 200;
/// For [`Route::undelivered_max`]: far more than wait for a server that confirms messages when it delivers them.
pub const UNDELIVERED_MAX: u64 = 256;
const EVENTS: usize = 1024;
const SCRATCH_BYTES: usize = 512 * 1024;

/// A content of 200 bytes with a place for the mark.
pub fn content() -> String {
    let zeros = "0".repeat(TIME_DIGITS + NUMBER_DIGITS);
    let rest: String = ('a'..='z').chain([' ']).cycle().take(CONTENT_BYTES - MARK_BYTES).collect();
    format!("@@{zeros}{rest}")
}

/// `Some(())` once a reply is complete.
pub type ReplyCheck = fn(&[u8]) -> Result<Option<()>, String>;

/// The way of messages to streams.
pub struct Route {
    pub publish: SocketAddr,
    /// The bytes that publish a message, with one [`content`].
    pub message: Vec<u8>,
    /// What a publisher sends first, and the end of the reply to it.
    pub greeting: Option<Greeting>,
    /// Without it, a message has no reply.
    pub reply: Option<ReplyCheck>,
    /// Messages that the slowest stream may be behind before another one is sent. A server that confirms a message before it delivers it, or
    /// not at all, would otherwise drop some.
    pub undelivered_max: u64,
    pub subscribe: SocketAddr,
    pub subscription: Vec<u8>,
    /// What a stream receives once it is open.
    pub opened: &'static [u8],
}

/// The start of a connection that publishes.
pub struct Greeting {
    pub sent: Vec<u8>,
    pub received_bytes: usize,
}

/// The time of a publisher's next message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    FlatOut,
    /// When all streams have received the last one.
    OneAtATime,
    PerSecond(f64),
}

/// Deliveries, and the time from sending to arrival in nanoseconds.
pub struct Delivered {
    pub elapsed: Duration,
    pub deliveries: u64,
    pub latency: Histogram,
}

/// The messages that a stream received, or that were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u64,
    /// By publisher, the last number.
    last: Vec<u64>,
}

impl Tally {
    fn new(publishers: usize) -> Tally {
        Tally { count: 0, sum: 0, last: vec![0; publishers] }
    }

    /// Adds a message; `false` if it is not later than the last one of its publisher.
    fn add(&mut self, number: u64) -> bool {
        let publisher = number as usize % self.last.len();
        let is_later = number > self.last[publisher];
        self.last[publisher] = number;
        self.count += 1;
        self.sum += number;
        is_later
    }
}

struct Stream {
    socket: TcpStream,
    /// The start of an incomplete mark.
    rest: Vec<u8>,
    received: Tally,
}

struct Publisher {
    connection: Connection,
    message: Vec<u8>,
    mark_at: usize,
    next: u64,
}

/// Open streams and publishers.
pub struct FanOut<'r> {
    route: &'r Route,
    poll: Poll,
    origin: Instant,
    streams: Vec<Stream>,
    publishers: Vec<Publisher>,
    finder: memchr::memmem::Finder<'static>,
    scratch: Vec<u8>,
    sent: Tally,
    deliveries: u64,
    latency: Histogram,
}

impl<'r> FanOut<'r> {
    pub fn open(route: &'r Route, streams: usize, publishers: usize) -> Result<FanOut<'r>, String> {
        let failed = |error: io::Error| format!("cannot connect: {error}");
        let poll = Poll::new().map_err(failed)?;
        let streams = (0..streams)
            .map(|index| Stream::open(route, &poll, Token(index), publishers))
            .collect::<Result<Vec<_>, _>>()?;
        let publishers = (0..publishers)
            .map(|index| Publisher::open(route, &poll, streams.len(), index, publishers))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(FanOut {
            route,
            poll,
            origin: Instant::now(),
            sent: Tally::new(publishers.len()),
            streams,
            publishers,
            finder: memchr::memmem::Finder::new(MARK_START),
            scratch: vec![0; SCRATCH_BYTES],
            deliveries: 0,
            latency: Histogram::new(),
        })
    }

    /// Sends for `duration`, then waits until every stream has received everything; both count, with their time.
    pub fn run(&mut self, pace: Pace, duration: Duration) -> Result<Delivered, String> {
        let mut events = Events::with_capacity(EVENTS);
        self.latency = Histogram::new();
        let delivered_before = self.deliveries;
        let start = Instant::now();
        let end = start + duration;
        let mut due = start;
        loop {
            let now = Instant::now();
            let is_sending = now < end;
            let sent_now = is_sending && self.send_due(pace, now, &mut due)?;
            let is_idle = self.publishers.iter().all(|publisher| publisher.connection.asked_at.is_none());
            if !is_sending && is_idle && self.undelivered() == 0 {
                break;
            }
            let timeout = match pace {
                // Without replies, the next message may be due at once.
                _ if sent_now && is_idle => Duration::ZERO,
                Pace::PerSecond(_) if is_sending => due.saturating_duration_since(now),
                _ => SILENCE_MAX,
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(|error| format!("poll: {error}"))?,
            }
            if events.is_empty() && timeout == SILENCE_MAX {
                let missing = self.undelivered();
                return Err(format!("nothing came for {} s, and {missing} deliveries lack", SILENCE_MAX.as_secs()));
            }
            for event in &events {
                self.take_in(event)?;
            }
        }
        let elapsed = start.elapsed();
        if let Some(index) = self.streams.iter().position(|stream| stream.received != self.sent) {
            return Err(format!("stream {index}: {:?} of {:?}", self.streams[index].received, self.sent));
        }
        Ok(Delivered {
            elapsed,
            deliveries: self.deliveries - delivered_before,
            latency: std::mem::replace(&mut self.latency, Histogram::new()),
        })
    }

    /// Deliveries of sent messages that have not arrived.
    fn undelivered(&self) -> u64 {
        self.sent.count * self.streams.len() as u64 - self.deliveries
    }

    /// Sent messages that the slowest stream has not received.
    fn slowest_is_behind(&self) -> u64 {
        let slowest = self.streams.iter().map(|stream| stream.received.count).min();
        self.sent.count - slowest.unwrap_or(self.sent.count)
    }

    /// Sends the next message of every idle publisher that is due; whether there was one.
    fn send_due(&mut self, pace: Pace, now: Instant, due: &mut Instant) -> Result<bool, String> {
        let mut sent_now = false;
        for index in 0..self.publishers.len() {
            if self.publishers[index].connection.asked_at.is_some() {
                continue;
            }
            let may_send = match pace {
                Pace::FlatOut => self.slowest_is_behind() < self.route.undelivered_max,
                Pace::OneAtATime => self.undelivered() == 0,
                Pace::PerSecond(_) => now >= *due,
            };
            if !may_send {
                continue;
            }
            let publisher = &mut self.publishers[index];
            sent_now = true;
            let number = publisher.next;
            publisher.next += self.sent.last.len() as u64;
            assert!(self.sent.add(number), "a publisher's numbers increase");
            let mark = format!("{:0TIME_DIGITS$}{number:0NUMBER_DIGITS$}", (now - self.origin).as_nanos());
            publisher.message[publisher.mark_at..][..mark.len()].copy_from_slice(mark.as_bytes());
            publisher.connection.ask(&publisher.message, now)?;
            publisher.end_without_reply(self.route);
            if let Pace::PerSecond(rate) = pace {
                *due += Duration::from_secs_f64(1.0 / rate);
            }
        }
        Ok(sent_now)
    }

    fn take_in(&mut self, event: &mio::event::Event) -> Result<(), String> {
        let Token(index) = event.token();
        let Some(index) = index.checked_sub(self.streams.len()) else { return self.read(index) };
        let publisher = &mut self.publishers[index];
        publisher.connection.write_on(&publisher.message)?;
        publisher.end_without_reply(self.route);
        if let Some(reply) = self.route.reply
            && event.is_readable()
            && publisher.connection.read_response(&mut self.scratch, reply)?.is_some()
        {
            publisher.connection.asked_at = None;
        }
        Ok(())
    }

    /// Reads what has arrived on a stream.
    fn read(&mut self, index: usize) -> Result<(), String> {
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
            let count = stream.received.count;
            let rest = scan(&self.scratch[..before + bytes], &self.finder, |time, number| {
                self.latency.add(arrived.saturating_sub(time));
                stream.received.add(number)
            })
            .map_err(|error| format!("stream {index}: {error}"))?;
            self.deliveries += stream.received.count - count;
            stream.rest.clear();
            stream.rest.extend_from_slice(rest);
            // A short read has emptied the socket, and the next bytes make a new edge (epoll(7)).
            if before + bytes < self.scratch.len() {
                return Ok(());
            }
        }
    }
}

/// Calls `add` with the time and the number of each mark, and returns the start of an incomplete one at the end.
fn scan<'b>(
    mut bytes: &'b [u8],
    finder: &memchr::memmem::Finder,
    mut add: impl FnMut(u64, u64) -> bool,
) -> Result<&'b [u8], String> {
    while let Some(at) = finder.find(bytes) {
        bytes = &bytes[at..];
        let Some((mark, rest)) = bytes.split_at_checked(MARK_BYTES) else { return Ok(bytes) };
        let (time, number) = mark[MARK_START.len()..].split_at(TIME_DIGITS);
        let is_later = parse(time).zip(parse(number)).is_some_and(|(time, number)| add(time, number));
        if !is_later {
            return Err(format!("no mark of a later message: {}", mark.escape_ascii()));
        }
        bytes = rest;
    }
    let starts_mark = bytes.last() == MARK_START.first();
    Ok(&bytes[bytes.len() - usize::from(starts_mark)..])
}

fn parse(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

impl Stream {
    /// Opens a stream, and waits until it receives.
    fn open(route: &Route, poll: &Poll, token: Token, publishers: usize) -> Result<Stream, String> {
        let open = || -> io::Result<Stream> {
            let mut stream = std::net::TcpStream::connect(route.subscribe)?;
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            stream.write_all(&route.subscription)?;
            let (mut received, mut scratch) = (Vec::new(), [0; 4 * 1024]);
            while memchr::memmem::find(&received, route.opened).is_none() {
                let bytes = stream.read(&mut scratch)?;
                received.extend_from_slice(&scratch[..bytes]);
                if bytes == 0 {
                    return Err(io::Error::other(format!("no stream: {}", received.escape_ascii())));
                }
            }
            stream.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(stream);
            poll.registry().register(&mut socket, token, Interest::READABLE)?;
            Ok(Stream { socket, rest: Vec::new(), received: Tally::new(publishers) })
        };
        open().map_err(|error| format!("cannot open a stream: {error}"))
    }
}

impl Publisher {
    fn open(route: &Route, poll: &Poll, streams: usize, index: usize, count: usize) -> Result<Publisher, String> {
        let open = || -> io::Result<Connection> {
            let mut stream = std::net::TcpStream::connect(route.publish)?;
            if let Some(greeting) = &route.greeting {
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                stream.write_all(&greeting.sent)?;
                stream.read_exact(&mut vec![0; greeting.received_bytes])?;
            }
            Connection::over(stream, poll.registry(), Token(streams + index))
        };
        let connection = open().map_err(|error| format!("cannot publish: {error}"))?;
        let mark = memchr::memmem::find(&route.message, MARK_START).expect("a message has a mark");
        let next = (count + index) as u64;
        Ok(Publisher { connection, message: route.message.clone(), mark_at: mark + MARK_START.len(), next })
    }

    /// Ends a message that gets no reply once the socket has taken it.
    fn end_without_reply(&mut self, route: &Route) {
        if route.reply.is_none() && self.connection.is_written(&self.message) {
            self.connection.asked_at = None;
        }
    }
}

//! One row: publishers with a pace, streams that receive everything, and the check of the deliveries.

use crate::streams::{Received, Streams, TIME_DIGITS};
use crate::support::connection::Connection;
use crate::support::cores;
use crate::support::histogram::Histogram;
use crate::support::http::{self, SILENCE_MAX, open_stream, read_head};
use crate::support::server::Server;
use mio::{Events, Poll, Token};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

const CONTENT_BYTES: usize = 200;
const EVENTS: usize = 1024;
const READ_BYTES_MAX: usize = 16 * 1024;

/// The time of a publisher's next message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// When the last one is acknowledged.
    FlatOut,
    /// When all streams have received the last one.
    OneAtATime,
    /// This many times per second.
    PerSecond(f64),
}

/// The results of a row, also of the bare loop.
pub struct Measured {
    /// From the first message sent to the last event received.
    pub elapsed: Duration,
    pub deliveries: u64,
    /// In nanoseconds.
    pub latency: Histogram,
    /// Processor time of the server during `elapsed`.
    pub cpu: Duration,
    /// Processor time of the load during `elapsed`. If it equals `elapsed`, the load is the bottleneck.
    pub load_cpu: Duration,
    /// Mean size of a frame.
    pub frame_bytes: usize,
}

impl Measured {
    pub fn deliveries_per_second(&self) -> f64 {
        self.deliveries as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of processor time per delivery.
    pub fn micros_each(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.deliveries.max(1) as f64
    }
}

/// Open streams and publishers of one user and one conversation.
pub struct Traffic<'s> {
    server: &'s Server,
    poll: Poll,
    origin: Instant,
    streams: Streams,
    publishers: Vec<Publisher>,
    scratch: Vec<u8>,
    /// The acknowledged messages.
    sent: Received,
    asked: u64,
}

struct Publisher {
    connection: Connection,
    request: Vec<u8>,
    /// The start of the content within the request.
    content_at: usize,
}

impl<'s> Traffic<'s> {
    pub fn open(server: &'s Server, streams: usize, publishers: usize) -> Result<Traffic<'s>, String> {
        // The first message creates the user's default conversation, with a separate event.
        let failed = |error: std::io::Error| format!("cannot connect: {error}");
        let poll = Poll::new().map_err(failed)?;
        let origin = Instant::now();
        let mut first = Publisher::open(server, &poll, 0)?;
        first.post_and_wait(origin)?;
        let sockets =
            (0..streams).map(|_| open_stream(server.address, &server.token)).collect::<Result<Vec<_>, _>>()?;
        let streams = Streams::new(sockets, poll.registry(), origin).map_err(failed)?;
        let publishers = (0..publishers)
            .map(|index| Publisher::open(server, &poll, streams.len() + index))
            .collect::<Result<Vec<_>, _>>()?;
        let scratch = vec![0; READ_BYTES_MAX];
        Ok(Traffic { server, poll, origin, streams, publishers, scratch, sent: Received::default(), asked: 0 })
    }

    /// Sends for `duration`, then waits until every stream has received everything; both count, with their time.
    pub fn run(&mut self, pace: Pace, duration: Duration) -> Result<Measured, String> {
        let mut events = Events::with_capacity(EVENTS);
        self.streams.latency = Histogram::new();
        let delivered_before = self.streams.deliveries;
        let (cpu_before, load_cpu_before) = (self.server.cpu_time(), cores::thread_cpu_time());
        let start = Instant::now();
        let end = start + duration;
        let mut due = start;
        loop {
            let now = Instant::now();
            if now < end {
                self.send_due(pace, now, &mut due)?;
            } else if self.all_arrived() && self.sent.count == self.asked {
                break;
            }
            let timeout = match pace {
                Pace::PerSecond(_) if now < end => due.saturating_duration_since(now),
                _ => SILENCE_MAX,
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(|error| format!("poll: {error}"))?,
            }
            if events.is_empty() && timeout == SILENCE_MAX {
                return Err(format!("nothing came for {} s; sent {:?}", SILENCE_MAX.as_secs(), self.sent));
            }
            for event in &events {
                self.take_in(event, pace, end)?;
            }
        }
        let elapsed = start.elapsed();
        self.streams.check(self.sent)?;
        Ok(Measured {
            elapsed,
            deliveries: self.streams.deliveries - delivered_before,
            latency: std::mem::replace(&mut self.streams.latency, Histogram::new()),
            cpu: self.server.cpu_time() - cpu_before,
            load_cpu: cores::thread_cpu_time() - load_cpu_before,
            frame_bytes: (self.streams.bytes / self.streams.deliveries.max(1)) as usize,
        })
    }

    fn take_in(&mut self, event: &mio::event::Event, pace: Pace, end: Instant) -> Result<(), String> {
        let Token(index) = event.token();
        let Some(index) = index.checked_sub(self.streams.len()) else { return self.streams.read(index) };
        let publisher = &mut self.publishers[index];
        publisher.connection.write_on(&publisher.request)?;
        if event.is_readable()
            && let Some(number) = publisher.connection.read_response(&mut self.scratch, acknowledged)?
        {
            publisher.connection.asked_at = None;
            self.sent.add(number);
            let now = Instant::now();
            if pace == Pace::FlatOut && now < end {
                self.asked += 1;
                publisher.post(self.origin, now)?;
            }
        }
        Ok(())
    }

    /// Sends the next message of every idle publisher that is due.
    fn send_due(&mut self, pace: Pace, now: Instant, due: &mut Instant) -> Result<(), String> {
        let may_send = match pace {
            Pace::FlatOut => true,
            Pace::OneAtATime => self.all_arrived(),
            Pace::PerSecond(_) => now >= *due,
        };
        if !may_send {
            return Ok(());
        }
        for publisher in &mut self.publishers {
            if publisher.connection.asked_at.is_none() {
                self.asked += 1;
                publisher.post(self.origin, now)?;
                if let Pace::PerSecond(rate) = pace {
                    *due += Duration::from_secs_f64(1.0 / rate);
                }
            }
        }
        Ok(())
    }

    fn all_arrived(&self) -> bool {
        self.streams.deliveries == self.asked * self.streams.len() as u64
    }
}

impl Publisher {
    fn open(server: &Server, poll: &Poll, token: usize) -> Result<Publisher, String> {
        let connection = Connection::open(server.address, poll.registry(), Token(token))
            .map_err(|error| format!("cannot connect: {error}"))?;
        let time = "0".repeat(TIME_DIGITS);
        let rest: String = ('a'..='z').chain([' ']).cycle().take(CONTENT_BYTES - TIME_DIGITS).collect();
        let body_start = "{\"content\":\"";
        let body = format!("{body_start}{time}{rest}\"}}");
        let request = http::post(server.address, "/input", &http::bearer(&server.token), &body);
        let content_at = request.len() - body.len() + body_start.len();
        Ok(Publisher { connection, request, content_at })
    }

    /// Sends a message whose content starts with the time.
    fn post(&mut self, origin: Instant, now: Instant) -> Result<(), String> {
        let time = format!("{:0TIME_DIGITS$}", (now - origin).as_nanos());
        self.request[self.content_at..][..TIME_DIGITS].copy_from_slice(time.as_bytes());
        self.connection.ask(&self.request, now)
    }

    fn post_and_wait(&mut self, origin: Instant) -> Result<(), String> {
        let now = Instant::now();
        self.post(origin, now)?;
        let mut scratch = [0; READ_BYTES_MAX];
        while self.connection.read_response(&mut scratch, acknowledged)?.is_none() {
            if now.elapsed() > SILENCE_MAX {
                return Err("the first message is not answered".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// The number of the acknowledged event, once the response is complete.
fn acknowledged(response: &[u8]) -> Result<Option<u64>, String> {
    let Some(head) = read_head(response)? else { return Ok(None) };
    match response.len() - head.head_bytes {
        bytes if bytes < head.body_bytes => Ok(None),
        bytes if bytes > head.body_bytes => Err(format!("too much of an answer: {}", response.escape_ascii())),
        _ => head.event_id.map(Some).ok_or_else(|| format!("no X-Event-Id: {}", response.escape_ascii())),
    }
}

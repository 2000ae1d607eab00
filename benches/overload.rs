//! Past saturation: durable `POST /input` of many users at one, two and four times the rate that the server can commit.
//!
//! The rate does not depend on the responses (an open loop), and a latency counts from the time when the request was due. What
//! the server cannot commit it must reject: the messages are so long that the writer's queue is full before all connections wait.
//! The release server runs as a child process on one core, the load on another. `BENCH_SECONDS` is the duration of each row (5).

mod support;

use mio::{Events, Poll, Token};
use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::connection::Connection;
use support::figures::{self, PROGRAM};
use support::files;
use support::histogram::Histogram;
use support::http::{self, SILENCE_MAX};
use support::server::Server;

const USERS: usize = 64;
const CONNECTIONS: usize = 4096;
/// Connections that determine the capacity, in a closed loop.
const CLOSED_CONNECTIONS: usize = 256;
const CONTENT_BYTES: usize = 8 * 1024;
const FACTORS: [f64; 3] = [1.0, 2.0, 4.0];
const WARM_UP: Duration = Duration::from_millis(500);
const READ_BYTES_MAX: usize = 64 * 1024;
const RESPONSE_FIELDS_MAX: usize = 32;
/// Longest wait before the clock is read again.
const TICK: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    support::main("overload", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    files::raise_open_files_max(CONNECTIONS as u64 + 100)?;
    let (server_core, load_core) = support::server_and_load_cores();
    let server = Server::start(server_core, &[])?;
    support::pin_load(load_core)?;
    let mut load = Load::open(&server)?;
    load.run(Pace::Closed, WARM_UP)?;
    let capacity = load.run(Pace::Closed, duration)?.accepted_per_second();
    println!("capacity, with {CLOSED_CONNECTIONS} connections in a closed loop: {capacity:.0}/s");
    println!(
        "{:<16}{:>12}{:>12}{:>14}{:>12}{:>12}{:>12}{:>18}",
        "offered", "offered/s", "goodput/s", "of capacity", "rejected/s", "p50 ms", "p99 ms", "p99 ms, rejected"
    );
    for factor in FACTORS {
        let measured = load.run(Pace::Open(factor * capacity), duration)?;
        measured.print(factor, capacity);
        measured.record(factor, capacity);
    }
    Ok(())
}

/// When requests are sent.
#[derive(Clone, Copy)]
enum Pace {
    /// When the connection has its last response.
    Closed,
    /// This many times a second.
    Open(f64),
}

struct Measured {
    duration: Duration,
    offered: u64,
    /// Latencies in nanoseconds of `200`.
    accepted: Histogram,
    /// Latencies in nanoseconds of `503`.
    rejected: Histogram,
}

impl Measured {
    fn accepted_per_second(&self) -> f64 {
        self.accepted.total() as f64 / self.duration.as_secs_f64()
    }

    fn figures(&self, capacity: f64) -> [(&'static str, f64); 7] {
        let per_second = |count: u64| count as f64 / self.duration.as_secs_f64();
        let milliseconds = |latency: &Histogram, fraction| latency.quantile(fraction) as f64 / 1e6;
        [
            ("offered/s", per_second(self.offered)),
            ("goodput/s", self.accepted_per_second()),
            ("of capacity", self.accepted_per_second() / capacity),
            ("rejected/s", per_second(self.rejected.total())),
            ("p50 ms", milliseconds(&self.accepted, 0.50)),
            ("p99 ms", milliseconds(&self.accepted, 0.99)),
            ("p99 ms, rejected", milliseconds(&self.rejected, 0.99)),
        ]
    }

    fn print(&self, factor: f64, capacity: f64) {
        let [offered, goodput, of_capacity, rejected, p50, p99, p99_rejected] =
            self.figures(capacity).map(|(_, value)| value);
        println!(
            "{:<16}{offered:>12.0}{goodput:>12.0}{of_capacity:>14.2}{rejected:>12.0}{p50:>12.1}{p99:>12.1}{p99_rejected:>18.1}",
            format!("{factor} x capacity"),
        );
    }

    fn record(&self, factor: f64, capacity: f64) {
        for (unit, value) in self.figures(capacity) {
            figures::record(&format!("past saturation: {factor} times the capacity"), PROGRAM, unit, value);
        }
    }
}

struct Load<'s> {
    server: &'s Server,
    poll: Poll,
    /// One of each user.
    requests: Vec<Vec<u8>>,
    connections: Vec<Connection>,
    /// The indices of connections without a request.
    idle: Vec<usize>,
    scratch: Vec<u8>,
}

impl<'s> Load<'s> {
    fn open(server: &'s Server) -> Result<Load<'s>, String> {
        let poll = Poll::new().map_err(|error| format!("poll: {error}"))?;
        let requests = (0..USERS).map(|user| request(server, &format!("user-{user}"))).collect();
        let mut load = Load {
            server,
            poll,
            requests,
            connections: Vec::with_capacity(CONNECTIONS),
            idle: Vec::with_capacity(CONNECTIONS),
            scratch: vec![0; READ_BYTES_MAX],
        };
        for index in 0..CONNECTIONS {
            let connection = load.connect(index)?;
            load.connections.push(connection);
            load.idle.push(index);
        }
        Ok(load)
    }

    fn connect(&self, index: usize) -> Result<Connection, String> {
        Connection::open(self.server.address, self.poll.registry(), Token(index))
            .map_err(|error| format!("cannot connect: {error}"))
    }

    /// Sends for `duration`, then waits for the responses; only those that came in time count.
    fn run(&mut self, pace: Pace, duration: Duration) -> Result<Measured, String> {
        let mut events = Events::with_capacity(1024);
        let mut measured = Measured { duration, offered: 0, accepted: Histogram::new(), rejected: Histogram::new() };
        let start = Instant::now();
        let end = start + duration;
        if let Pace::Closed = pace {
            for _ in 0..CLOSED_CONNECTIONS {
                self.ask(Instant::now())?;
            }
        }
        loop {
            let now = Instant::now();
            if let Pace::Open(rate) = pace {
                let due = ((now.min(end) - start).as_secs_f64() * rate) as u64;
                while measured.offered < due {
                    measured.offered += 1;
                    // Without an idle connection, the client gives up.
                    self.ask(start + Duration::from_secs_f64(measured.offered as f64 / rate))?;
                }
            }
            if now >= end && self.idle.len() == CONNECTIONS {
                return Ok(measured);
            }
            let timeout = if now < end { TICK } else { SILENCE_MAX };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(|error| format!("poll: {error}"))?,
            }
            if events.is_empty() && now >= end {
                return Err(format!("{} requests get no response", CONNECTIONS - self.idle.len()));
            }
            for event in &events {
                let Token(index) = event.token();
                self.take_in(index, event.is_readable(), end, &mut measured)?;
                if let Pace::Closed = pace
                    && Instant::now() < end
                    && CONNECTIONS - self.idle.len() < CLOSED_CONNECTIONS
                {
                    self.ask(Instant::now())?;
                }
            }
        }
    }

    /// Sends a request that was due at this time, on an idle connection if there is one.
    fn ask(&mut self, due: Instant) -> Result<(), String> {
        match self.idle.pop() {
            Some(index) => self.connections[index].ask(&self.requests[index % USERS], due),
            None => Ok(()),
        }
    }

    fn take_in(
        &mut self,
        index: usize,
        is_readable: bool,
        end: Instant,
        measured: &mut Measured,
    ) -> Result<(), String> {
        let connection = &mut self.connections[index];
        let Some(asked_at) = connection.asked_at else { return Ok(()) };
        connection.write_on(&self.requests[index % USERS])?;
        if !is_readable {
            return Ok(());
        }
        let Some(response) = connection.read_response(&mut self.scratch, check_response)? else { return Ok(()) };
        connection.asked_at = None;
        if response.closes {
            self.connections[index] = self.connect(index)?;
        }
        self.idle.push(index);
        let now = Instant::now();
        if now <= end {
            let latency = if response.is_accepted { &mut measured.accepted } else { &mut measured.rejected };
            latency.add((now - asked_at).as_nanos() as u64);
        }
        Ok(())
    }
}

fn request(server: &Server, user: &str) -> Vec<u8> {
    let body = format!("{{\"content\":\"{}\"}}", "x".repeat(CONTENT_BYTES));
    http::post(server.address, "/input", &http::bearer(&server.token_of(user)), &body)
}

struct Response {
    is_accepted: bool,
    closes: bool,
}

/// `Some` if the response is complete; an error unless it is a `200` or a `503`.
fn check_response(response: &[u8]) -> Result<Option<Response>, String> {
    let shown = || response.escape_ascii().to_string();
    let mut fields = [httparse::EMPTY_HEADER; RESPONSE_FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let head_bytes = match head.parse(response).map_err(|error| format!("{error}: {}", shown()))? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Ok(None),
    };
    let field = |name: &str| {
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    };
    let body_bytes: usize = field("content-length")
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| format!("no length: {}", shown()))?;
    let is_accepted = match head.code {
        Some(200) => true,
        Some(503) => false,
        _ => return Err(format!("neither 200 nor 503: {}", shown())),
    };
    let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((response.len() >= head_bytes + body_bytes).then_some(Response { is_accepted, closes }))
}

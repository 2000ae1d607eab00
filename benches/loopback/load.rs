//! The load: one thread; each connection sends its next request once the last response has been checked.

use crate::support::connection::Connection;
use crate::support::histogram::Histogram;
use crate::support::http::{SILENCE_MAX, read_head};
use mio::{Events, Poll, Token};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const READ_BYTES_MAX: usize = 64 * 1024;

/// A request, and the start of the body of its response.
pub struct Scenario {
    pub name: &'static str,
    pub request: Vec<u8>,
    pub body_start: &'static [u8],
}

/// The results of a run.
pub struct Measured {
    pub elapsed: Duration,
    /// In nanoseconds.
    pub latency: Histogram,
}

impl Measured {
    pub fn requests_per_second(&self) -> f64 {
        self.latency.total() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Open connections and their scenario.
pub struct Load<'s> {
    scenario: &'s Scenario,
    address: SocketAddr,
    poll: Poll,
    connections: Vec<Connection>,
    /// Requests of a connection before it is replaced by another one.
    requests_each: u64,
    /// Requests that are left to each connection.
    left: Vec<u64>,
    scratch: Vec<u8>,
}

impl<'s> Load<'s> {
    /// Opens `count` connections, which last.
    pub fn connect(address: SocketAddr, scenario: &'s Scenario, count: usize) -> io::Result<Load<'s>> {
        Load::connect_short(address, scenario, count, u64::MAX)
    }

    /// Opens `count` connections, each of which is replaced by another one after a number of requests.
    pub fn connect_short(
        address: SocketAddr,
        scenario: &'s Scenario,
        count: usize,
        requests_each: u64,
    ) -> io::Result<Load<'s>> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            connections.push(Connection::open(address, poll.registry(), Token(index))?);
        }
        let (left, scratch) = (vec![requests_each; count], vec![0; READ_BYTES_MAX]);
        Ok(Load { scenario, address, poll, connections, requests_each, left, scratch })
    }

    /// Sends requests for `duration`, then waits for the pending responses; both count, with their time.
    pub fn run(&mut self, duration: Duration) -> Result<Measured, String> {
        let mut events = Events::with_capacity(1024);
        let mut latency = Histogram::new();
        let start = Instant::now();
        let end = start + duration;
        for index in 0..self.connections.len() {
            self.ask(index, Instant::now())?;
        }
        let mut waiting = self.connections.len();
        while waiting > 0 {
            match self.poll.poll(&mut events, Some(SILENCE_MAX)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(|error| format!("poll: {error}"))?,
            }
            if events.is_empty() {
                return Err(format!("no answer for {} s", SILENCE_MAX.as_secs()));
            }
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                connection.write_on(&self.scenario.request)?;
                let check = |response: &[u8]| check_response(response, self.scenario);
                if !event.is_readable() || connection.read_response(&mut self.scratch, check)?.is_none() {
                    continue;
                }
                let now = Instant::now();
                let Some(asked_at) = connection.asked_at.take() else { return Err("an answer to no question".into()) };
                latency.add((now - asked_at).as_nanos() as u64);
                if now < end {
                    self.ask(event.token().0, now)?;
                } else {
                    waiting -= 1;
                }
            }
        }
        Ok(Measured { elapsed: start.elapsed(), latency })
    }

    /// Sends the next request of a connection. The time to open another connection counts.
    fn ask(&mut self, index: usize, now: Instant) -> Result<(), String> {
        if self.left[index] == 0 {
            self.connections[index] = Connection::open(self.address, self.poll.registry(), Token(index))
                .map_err(|error| format!("cannot connect: {error}"))?;
            self.left[index] = self.requests_each;
        }
        self.left[index] -= 1;
        self.connections[index].ask(&self.scenario.request, now)
    }
}

/// `Some` if the response is complete; an error unless it is a success with the body of the scenario.
fn check_response(response: &[u8], scenario: &Scenario) -> Result<Option<()>, String> {
    let Some(head) = read_head(response)? else { return Ok(None) };
    let body = &response[head.head_bytes..];
    if body.len() < head.body_bytes {
        return Ok(None);
    }
    if body.len() > head.body_bytes || !body.starts_with(scenario.body_start) {
        return Err(format!("not the body that was asked for: {}", body.escape_ascii()));
    }
    Ok(Some(()))
}

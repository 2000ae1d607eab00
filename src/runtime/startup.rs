//! What answers before the event loops run, while this process waits for the database or migrates it: one thread that
//! accepts, says on `/health…` that the server is starting, and keeps every other connection, unread, for the loops.
//!
//! Invariant: not a byte is read of a connection that is kept, so a loop that takes it over finds it as if new.

use super::clock::Clock;
use crate::api::error::ApiError;
use crate::api::{Response, health};
use crate::base::limits::{STARTUP_CONNECTIONS_MAX, STARTUP_PEEK_BYTES_MAX};
use crate::base::random::Random;
use crate::base::thread::{OnPanic, spawn};
use crate::base::time::{MonoTime, Now};
use crate::domain::health::Readiness;
use crate::http1::head::{HeadLimits, HeaderBuf, Method, Version, parse_head};
use crate::http1::response_write::{Length, ResponseHead, write_head};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_SOCKET: usize = 2;
/// Readiness events taken from the kernel at once.
const EVENTS: usize = 64;
/// How long accepting pauses after an error that may last, in milliseconds.
const PAUSE_MILLISECONDS: u64 = 100;

/// A connection that was accepted before the loops ran.
pub(super) type Early = (std::net::TcpStream, SocketAddr);

/// The thread that answers meanwhile.
pub(super) struct Startup {
    waker: Waker,
    thread: JoinHandle<Vec<Early>>,
}

impl Startup {
    /// Begins to accept from this socket, which stays with its owner. A connection is kept for so long at most.
    pub(super) fn begin(
        socket: &std::net::TcpListener,
        clock: Clock,
        wait_milliseconds: u64,
        stack_bytes: usize,
    ) -> io::Result<Startup> {
        let door = Door::new(socket, clock, wait_milliseconds)?;
        let waker = Waker::new(door.poll.registry(), WAKER)?;
        let thread = spawn("startup", stack_bytes, OnPanic::Process, move || door.run())?;
        Ok(Startup { waker, thread })
    }

    /// Stops accepting, and tells those whose connections are kept to come back: this process will not serve them.
    pub(super) fn turn_away(self, now: Now) {
        let mut random = Random::from_system();
        for (stream, _) in self.end() {
            let reply = ApiError::starting().into_response();
            answer(TcpStream::from_std(stream), &reply, Method::Other, Version::Http11, now, &mut random);
        }
    }

    /// Stops accepting, and gives out the connections that are kept.
    pub(super) fn end(self) -> Vec<Early> {
        if let Err(error) = self.waker.wake() {
            log::warn!("connections that came early are lost: {error}");
            return Vec::new();
        }
        self.thread.join().unwrap_or_default()
    }
}

struct Kept {
    stream: TcpStream,
    peer: SocketAddr,
    until: MonoTime,
}

struct Door {
    poll: Poll,
    listener: TcpListener,
    kept: Slab<Kept>,
    /// The listening socket may have more.
    accepting: bool,
    clock: Clock,
    wait_milliseconds: u64,
    random: Random,
}

impl Door {
    fn new(socket: &std::net::TcpListener, clock: Clock, wait_milliseconds: u64) -> io::Result<Door> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(socket.try_clone()?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let random = Random::from_system();
        Ok(Door { poll, listener, kept: Slab::new(), accepting: false, clock, wait_milliseconds, random })
    }

    fn run(mut self) -> Vec<Early> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::warn!("nobody is answered until the server runs: {error}");
                    break;
                }
                Ok(()) => {}
            }
            if events.iter().any(|event| event.token() == WAKER) {
                break;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accepting = true,
                    Token(token) => self.look(token - FIRST_SOCKET),
                }
            }
            self.give_up_on_old();
            self.accept();
        }
        self.kept.drain().map(|kept| (kept.stream.into(), kept.peer)).collect()
    }

    fn patience(&self) -> Option<Duration> {
        if self.accepting && self.kept.len() < STARTUP_CONNECTIONS_MAX {
            return Some(Duration::from_millis(PAUSE_MILLISECONDS));
        }
        let next = self.kept.iter().map(|(_, kept)| kept.until).min()?;
        Some(Duration::from_micros(next.since(self.clock.now().mono) + 1))
    }

    /// Accepts as many as may be kept; more wait in the kernel's queue.
    fn accept(&mut self) {
        while self.accepting && self.kept.len() < STARTUP_CONNECTIONS_MAX {
            match self.listener.accept() {
                Ok((mut stream, peer)) => {
                    let entry = self.kept.vacant_entry();
                    let key = entry.key();
                    let token = Token(key + FIRST_SOCKET);
                    if self.poll.registry().register(&mut stream, token, Interest::READABLE).is_ok() {
                        let until = self.clock.now().mono.plus_milliseconds(self.wait_milliseconds);
                        entry.insert(Kept { stream, peer, until });
                        self.look(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.accepting = false,
                // About one connection, or about descriptors: either way the loops will meet it and say so.
                Err(_) => return,
            }
        }
    }

    /// Looks at what has arrived on a connection, and answers if it is a question about the server's health.
    fn look(&mut self, key: usize) {
        let Some(kept) = self.kept.get(key) else { return };
        let mut bytes = [0; STARTUP_PEEK_BYTES_MAX];
        let arrived = match kept.stream.peek(&mut bytes) {
            Ok(0) => return drop(self.kept.remove(key)),
            Ok(arrived) => arrived,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return drop(self.kept.remove(key)),
        };
        let now = self.clock.now();
        if let Some((reply, method, version)) = health(&bytes[..arrived], now) {
            let kept = self.kept.remove(key);
            answer(kept.stream, &reply, method, version, now, &mut self.random);
        }
    }

    /// Tells those who have waited as long as they may to come back.
    fn give_up_on_old(&mut self) {
        let now = self.clock.now();
        let old: Vec<usize> = self.kept.iter().filter(|(_, kept)| kept.until <= now.mono).map(|(key, _)| key).collect();
        for key in old {
            let kept = self.kept.remove(key);
            let reply = ApiError::starting().into_response();
            answer(kept.stream, &reply, Method::Other, Version::Http11, now, &mut self.random);
        }
    }
}

/// Answers and ends the connection. What has arrived is read first: otherwise its end would be a reset, which may
/// overtake the answer.
fn answer(mut stream: TcpStream, reply: &Response, method: Method, version: Version, now: Now, random: &mut Random) {
    let request_id = format!("{:016x}", random.next_u64());
    let fields = [("Content-Type", reply.content_type), ("X-Request-Id", &request_id)];
    let own = reply.fields.iter().map(|(name, value)| (*name, &**value));
    let fields: Vec<(&str, &str)> = fields.into_iter().chain(own).collect();
    let mut out = Vec::new();
    let date = &now.wall.imf_fixdate();
    let length = Length::Known(reply.body.len() as u64);
    write_head(
        &mut out,
        &ResponseHead { status: reply.status, keep_alive: false, version, date, length, fields: &fields },
    );
    if method != Method::Head {
        out.extend_from_slice(&reply.body);
    }
    let mut read = [0; STARTUP_PEEK_BYTES_MAX];
    let _ = stream.read(&mut read);
    // Some hundred bytes always fit into a fresh socket; who is gone needs none.
    let _ = stream.write_all(&out);
    let _ = stream.shutdown(Shutdown::Write);
}

/// The answer, if these bytes are the whole head of a question about the server's health.
fn health(bytes: &[u8], now: Now) -> Option<(Response, Method, Version)> {
    let mut slots = HeaderBuf::new();
    let head = parse_head(bytes, &mut slots, &HeadLimits { head_bytes_max: STARTUP_PEEK_BYTES_MAX }).ok()??;
    if !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    let reply = match head.path {
        "/health/live" => health::live(now.wall),
        "/health" | "/health/ready" => health::ready(Readiness::Starting, now.wall),
        _ => return None,
    };
    Some((reply, head.method, head.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;

    #[test]
    fn only_whole_questions_about_health_are_answered() {
        let table = [
            ("GET /health HTTP/1.1\r\nHost: a\r\n\r\n", Some(503)),
            ("GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n", Some(503)),
            ("HEAD /health/live?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", Some(200)),
            ("GET /health/live HTTP/1.0\r\n\r\n", Some(200)),
            ("GET /health/live HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n", Some(200)),
            ("GET /health HTTP/1.1\r\nHost: a\r\n", None),
            ("", None),
            ("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", None),
            ("GET /healthy HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("\x16\x03\x01", None),
        ];
        let now = Now { wall: WallTime(0), mono: MonoTime(0) };
        for (bytes, expected) in table {
            let answered = health(bytes.as_bytes(), now).map(|(reply, ..)| reply.status);
            assert_eq!(answered, expected, "{bytes:?}");
        }
    }

    fn connect(listener: &std::net::TcpListener, bytes: &[u8]) -> std::net::TcpStream {
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(bytes).unwrap();
        client
    }

    fn listener() -> std::net::TcpListener {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }

    fn begin(listener: &std::net::TcpListener, wait_milliseconds: u64) -> Startup {
        Startup::begin(listener, Clock::start(), wait_milliseconds, 256 * 1024).unwrap()
    }

    fn answer(mut client: std::net::TcpStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn others_are_kept_as_they_came_and_given_out_at_the_end() {
        let listener = listener();
        let startup = begin(&listener, 600_000);
        let mut post = connect(&listener, b"POST /input HTTP/1.1\r\n");
        let asks = connect(&listener, b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer(asks).starts_with("HTTP/1.1 503 "));
        post.write_all(b"Host: a\r\n").unwrap();
        let mut early = startup.end();
        assert_eq!(early.len(), 1);
        let (mut stream, peer) = early.remove(0);
        assert_eq!(peer, post.local_addr().unwrap());
        drop(post);
        let mut text = String::new();
        stream.set_nonblocking(false).unwrap();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "POST /input HTTP/1.1\r\nHost: a\r\n");
    }

    #[test]
    fn who_has_waited_too_long_is_told_to_come_back() {
        let listener = listener();
        let startup = begin(&listener, 0);
        let text = answer(connect(&listener, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After: "), "{text}");
        assert!(startup.end().is_empty());
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let listener = listener();
        let mut door = Door::new(&listener, Clock::start(), 600_000).unwrap();
        let mut clients = Vec::new();
        // Fewer at once than the queue of a listening socket holds.
        while clients.len() < STARTUP_CONNECTIONS_MAX + 10 {
            clients.push(connect(&listener, b"G"));
            door.accepting = true;
            door.accept();
        }
        assert_eq!(door.kept.len(), STARTUP_CONNECTIONS_MAX);
        assert!(door.accepting && door.patience().is_some_and(|patience| patience > Duration::from_secs(1)));
        door.kept.clear();
        door.accept();
        assert_eq!(door.kept.len(), 10, "the others waited in the kernel's queue");
    }
}

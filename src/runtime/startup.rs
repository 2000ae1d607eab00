//! Accepts connections before the event loops run, while this process waits for the database or migrates it. One thread
//! responds to `/health…` that the server is starting, tells streams to reconnect, and holds every other connection, unread,
//! for the event loops.
//!
//! Invariant: nothing is read from a held connection, so an event loop takes it over like a new one.

use super::STACK_BYTES;
use super::clock::Clock;
use crate::api::error::ApiError;
use crate::api::{self, Response, cors, health};
use crate::base::limits::{
    STARTUP_CONNECTIONS_MAX, STARTUP_PEEK_BYTES_MAX, STREAM_RETRY_MILLISECONDS_MIN, STREAM_RETRY_SPREAD_MILLISECONDS,
};
use crate::base::random::Random;
use crate::base::thread::{OnPanic, spawn};
use crate::base::time::{MonoTime, Now};
use crate::config::network::Origins;
use crate::domain::health::Readiness;
use crate::http1::head::{Head, HeadLimits, HeaderBuf, Method, parse_head};
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
/// How long accepting pauses after an error, in milliseconds.
const PAUSE_MILLISECONDS: u64 = 100;

/// A connection that was accepted before the event loops ran.
pub(super) type EarlyConnection = (std::net::TcpStream, SocketAddr);

/// The handle of the thread.
pub(super) struct Startup {
    waker: Waker,
    thread: JoinHandle<Vec<EarlyConnection>>,
    origins: Origins,
}

impl Startup {
    /// Starts to accept from a socket. A connection is held for at most `wait_milliseconds`.
    ///
    /// # Errors
    /// Fails if the system lacks a resource for the thread.
    pub(super) fn begin(
        socket: &std::net::TcpListener,
        clock: Clock,
        wait_milliseconds: u64,
        origins: &Origins,
    ) -> io::Result<Startup> {
        let listener = StartupListener::new(socket, clock, wait_milliseconds, origins.clone())?;
        let waker = Waker::new(listener.poll.registry(), WAKER)?;
        let thread = spawn("startup", STACK_BYTES, OnPanic::Process, move || listener.run())?;
        Ok(Startup { waker, thread, origins: origins.clone() })
    }

    /// Stops accepting, and rejects the held connections, because this process will not serve.
    pub(super) fn reject_all(self, now: Now) {
        let mut random = Random::from_system();
        let origins = self.origins.clone();
        for (stream, _) in self.end() {
            reject(TcpStream::from_std(stream), &origins, now, &mut random);
        }
    }

    /// Stops accepting, and returns the held connections.
    pub(super) fn end(self) -> Vec<EarlyConnection> {
        if let Err(error) = self.waker.wake() {
            log::warn!("early connections are lost: {error}");
            return Vec::new();
        }
        self.thread.join().unwrap_or_default()
    }
}

struct HeldConnection {
    stream: TcpStream,
    peer: SocketAddr,
    until: MonoTime,
}

struct StartupListener {
    poll: Poll,
    listener: TcpListener,
    held: Slab<HeldConnection>,
    /// The listening socket may have more connections.
    accepting: bool,
    clock: Clock,
    wait_milliseconds: u64,
    origins: Origins,
    random: Random,
}

impl StartupListener {
    fn new(
        socket: &std::net::TcpListener,
        clock: Clock,
        wait_milliseconds: u64,
        origins: Origins,
    ) -> io::Result<StartupListener> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(socket.try_clone()?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let random = Random::from_system();
        Ok(StartupListener {
            poll,
            listener,
            held: Slab::new(),
            accepting: false,
            clock,
            wait_milliseconds,
            origins,
            random,
        })
    }

    fn run(mut self) -> Vec<EarlyConnection> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::warn!("no responses until the server runs: {error}");
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
                    Token(token) => self.peek(token - FIRST_SOCKET),
                }
            }
            self.reject_old();
            self.accept();
        }
        self.held.drain().map(|held| (held.stream.into(), held.peer)).collect()
    }

    fn timeout(&self) -> Option<Duration> {
        if self.accepting && self.held.len() < STARTUP_CONNECTIONS_MAX {
            return Some(Duration::from_millis(PAUSE_MILLISECONDS));
        }
        let next = self.held.iter().map(|(_, held)| held.until).min()?;
        Some(Duration::from_micros(next.since(self.clock.now().mono) + 1))
    }

    /// Accepts up to the maximum number of held connections. More wait in the kernel's queue.
    fn accept(&mut self) {
        while self.accepting && self.held.len() < STARTUP_CONNECTIONS_MAX {
            match self.listener.accept() {
                Ok((mut stream, peer)) => {
                    let entry = self.held.vacant_entry();
                    let key = entry.key();
                    let token = Token(key + FIRST_SOCKET);
                    if self.poll.registry().register(&mut stream, token, Interest::READABLE).is_ok() {
                        let until = self.clock.now().mono.plus_milliseconds(self.wait_milliseconds);
                        entry.insert(HeldConnection { stream, peer, until });
                        self.peek(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.accepting = false,
                // The event loops will meet the same error and log it.
                Err(_) => return,
            }
        }
    }

    /// Peeks at the bytes that have arrived, and responds if they are a request that need not wait.
    fn peek(&mut self, key: usize) {
        let Some(held) = self.held.get(key) else { return };
        let mut bytes = [0; STARTUP_PEEK_BYTES_MAX];
        let arrived = match held.stream.peek(&mut bytes) {
            Ok(0) => return drop(self.held.remove(key)),
            Ok(arrived) => arrived,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return drop(self.held.remove(key)),
        };
        let mut slots = HeaderBuf::new();
        let Some(head) = complete_head(&bytes[..arrived], &mut slots) else { return };
        let now = self.clock.now();
        if let Some(response) = immediate_response(&head, now, &mut self.random) {
            let held = self.held.remove(key);
            respond(held.stream, &head, &response, &self.origins, now, &mut self.random);
        }
    }

    /// Rejects the connections that have waited too long.
    fn reject_old(&mut self) {
        let now = self.clock.now();
        let old: Vec<usize> = self.held.iter().filter(|(_, held)| held.until <= now.mono).map(|(key, _)| key).collect();
        for key in old {
            let held = self.held.remove(key);
            reject(held.stream, &self.origins, now, &mut self.random);
        }
    }
}

/// Rejects a connection, because the server has not started in time or does not start.
fn reject(stream: TcpStream, origins: &Origins, now: Now, random: &mut Random) {
    /// Stands in for a head that has not arrived.
    const NO_HEAD: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
    let mut bytes = [0; STARTUP_PEEK_BYTES_MAX];
    let arrived = stream.peek(&mut bytes).unwrap_or(0);
    let (mut slots, mut other) = (HeaderBuf::new(), HeaderBuf::new());
    let head = complete_head(&bytes[..arrived], &mut slots).or_else(|| complete_head(NO_HEAD, &mut other));
    if let Some(head) = head {
        let response = immediate_response(&head, now, random);
        let response = response.unwrap_or_else(|| ApiError::starting().into_response()).in_form_of(head.path);
        respond(stream, &head, &response, origins, now, random);
    }
}

/// Responds and closes the connection. The bytes that have arrived are read first: otherwise closing would send a reset, which
/// may overtake the response.
fn respond(
    mut stream: TcpStream,
    head: &Head<'_, '_>,
    response: &Response,
    origins: &Origins,
    now: Now,
    random: &mut Random,
) {
    let request_id = format!("{:016x}", random.next_u64());
    let mut fields = vec![("Content-Type", response.content_type), ("X-Request-Id", &request_id)];
    fields.extend(response.fields.iter().map(|(name, value)| (*name, &**value)));
    // Without them, an `EventSource` would not reconnect.
    if let Some(origin) = cors::allowed_origin(origins, head) {
        fields.extend(cors::fields(origin));
    }
    fields.extend(cors::varies(origins).map(|varies| ("Vary", varies)));
    let mut out = Vec::new();
    write_head(
        &mut out,
        &ResponseHead {
            status: response.status,
            keep_alive: false,
            version: head.version,
            date: &now.wall.imf_fixdate(),
            length: Length::Known(response.body.len() as u64),
            fields: &fields,
            fixed_lines: "",
        },
    );
    if head.method != Method::Head {
        out.extend_from_slice(&response.body);
    }
    let mut read = [0; STARTUP_PEEK_BYTES_MAX];
    let _ = stream.read(&mut read);
    // A few hundred bytes always fit into a new socket's buffer. The peer may have disconnected.
    let _ = stream.write_all(&out);
    let _ = stream.shutdown(Shutdown::Write);
}

/// The head of the request in these bytes, if it is complete and valid.
fn complete_head<'s, 'b>(bytes: &'b [u8], slots: &'s mut HeaderBuf<'b>) -> Option<Head<'s, 'b>> {
    parse_head(bytes, slots, &HeadLimits { head_bytes_max: STARTUP_PEEK_BYTES_MAX }).ok()?
}

/// The response to a request that need not wait for the start: about the health, or a stream, which has to reconnect.
fn immediate_response(head: &Head<'_, '_>, now: Now, random: &mut Random) -> Option<Response> {
    if !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    match head.path {
        "/health/live" => Some(health::live(now.wall)),
        "/health" | "/health/ready" => Some(health::ready(Readiness::Starting, now.wall)),
        _ => {
            api::stream::starting(head, STREAM_RETRY_MILLISECONDS_MIN + random.below(STREAM_RETRY_SPREAD_MILLISECONDS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;

    #[test]
    fn only_whole_requests_for_the_health_or_a_stream_get_a_response() {
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
            ("GET /output/stream HTTP/1.1\r\nHost: a\r\n\r\n", Some(200)),
            ("POST /output/stream HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", None),
            ("\x16\x03\x01", None),
        ];
        let now = Now { wall: WallTime(0), mono: MonoTime(0) };
        for (bytes, expected) in table {
            let mut slots = HeaderBuf::new();
            let head = complete_head(bytes.as_bytes(), &mut slots);
            let answered = head
                .and_then(|head| immediate_response(&head, now, &mut Random::new(1)))
                .map(|response| response.status);
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
        Startup::begin(listener, Clock::start(), wait_milliseconds, &Origins::Any).unwrap()
    }

    fn answer(mut client: std::net::TcpStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn other_connections_are_held_unread_and_returned_at_the_end() {
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
    fn a_connection_that_has_waited_too_long_is_rejected() {
        let listener = listener();
        let startup = begin(&listener, 0);
        let text = answer(connect(&listener, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After: "), "{text}");
        assert!(startup.end().is_empty());
    }

    #[test]
    fn a_stream_is_told_to_reconnect_and_a_page_may_read_it() {
        let listener = listener();
        let startup = begin(&listener, 600_000);
        let request = b"GET /output/stream HTTP/1.1\r\nHost: a\r\nOrigin: http://page\r\nLast-Event-ID: 7\r\n\r\n";
        let text = answer(connect(&listener, request));
        assert!(
            text.starts_with("HTTP/1.1 200 ") && text.contains("Access-Control-Allow-Origin: http://page"),
            "{text}"
        );
        assert!(
            text.contains("retry: ") && text.contains("\"type\":\"unavailable\"") && text.contains("\nid: 7\n"),
            "{text}"
        );
        assert!(startup.end().is_empty());
    }

    #[test]
    fn the_number_of_held_connections_is_bounded() {
        let listener = listener();
        let mut listener_thread = StartupListener::new(&listener, Clock::start(), 600_000, Origins::None).unwrap();
        let mut clients = Vec::new();
        // Fewer at once than the backlog of the socket.
        while clients.len() < STARTUP_CONNECTIONS_MAX + 10 {
            clients.push(connect(&listener, b"G"));
            listener_thread.accepting = true;
            listener_thread.accept();
        }
        assert_eq!(listener_thread.held.len(), STARTUP_CONNECTIONS_MAX);
        assert!(
            listener_thread.accepting
                && listener_thread.timeout().is_some_and(|timeout| timeout > Duration::from_secs(1))
        );
        listener_thread.held.clear();
        listener_thread.accept();
        assert_eq!(listener_thread.held.len(), 10, "the others waited in the kernel's queue");
    }
}

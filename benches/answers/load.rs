//! The model's server and the readers of answers, on one thread.
//!
//! A delta's text is its time of sending in nanoseconds, as 16 hexadecimal digits, which separates joined deltas.

use crate::support::histogram::Histogram;
use crate::support::http::{self, SILENCE_MAX, open_stream, read_head};
use crate::support::server::Server;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use passing::WholeReader;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

mod passing;

pub use passing::Target;

/// Running answers of one user.
pub const ANSWERS_PER_USER: usize = 64;
/// Deltas of one answer that may be under way.
const UNDER_WAY_MAX: u64 = 512;
const STAMP_DIGITS: usize = 16;
const LISTENER: Token = Token(0);
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// A connection to the model's server.
struct ModelConnection {
    stream: TcpStream,
    request: Vec<u8>,
    /// The request is complete, and the head of the response is sent.
    responds: bool,
    sent: u64,
}

/// A reader of answers: a stream of the program, or a direct connection to the model's server.
struct Reader {
    stream: TcpStream,
    received: Vec<u8>,
}

pub struct Load {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    began: Instant,
    next_token: usize,
    model: HashMap<Token, ModelConnection>,
    /// Connections whose request is complete, in the order of their requests.
    responding: Vec<Token>,
    readers: HashMap<Token, Reader>,
    /// Requests for whole answers.
    whole_readers: HashMap<Token, WholeReader>,
    delays: Histogram,
    /// When the newest delta arrived.
    arrived_at: Instant,
    /// Connections to the model's server that the program has closed.
    closed: usize,
    /// The first delta is sent with the head.
    sends_at_once: bool,
    /// The model's server responds with one JSON object.
    responds_whole: bool,
    /// Conversations without a message, with the token of their user.
    conversations: Vec<(String, String)>,
    scratch: Vec<u8>,
}

impl Load {
    pub fn new() -> Result<Load, String> {
        let failed = |error: std::io::Error| format!("the model's server: {error}");
        let poll = Poll::new().map_err(failed)?;
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(failed)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(failed)?;
        Ok(Load {
            poll,
            events: Events::with_capacity(1024),
            listener,
            began: Instant::now(),
            next_token: 1,
            model: HashMap::new(),
            responding: Vec::new(),
            readers: HashMap::new(),
            whole_readers: HashMap::new(),
            delays: Histogram::new(),
            arrived_at: Instant::now(),
            closed: 0,
            sends_at_once: false,
            responds_whole: false,
            conversations: Vec::new(),
            scratch: vec![0; 256 * 1024],
        })
    }

    pub fn model_address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }

    /// Opens this many connections from readers to the model's server.
    pub fn connect_directly(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            self.ask_directly()?;
            self.turn(Duration::ZERO)?;
        }
        self.until("the direct connections", |load| load.responding.len() == count)
    }

    /// Starts this many answers, and waits for the requests to the model.
    pub fn start_answers(&mut self, server: &Server, count: usize) -> Result<(), String> {
        self.prepare(server, count)?;
        self.post_all(server)
    }

    /// Creates this many conversations, and opens a stream for each of their users.
    pub fn prepare(&mut self, server: &Server, count: usize) -> Result<(), String> {
        for user in 0..count.div_ceil(ANSWERS_PER_USER) {
            let token = server.token_of(&format!("user-{user}"));
            self.open_reader(server, &token)?;
            let mut connection = Connection::open(server.address, &token)?;
            for _ in user * ANSWERS_PER_USER..count.min((user + 1) * ANSWERS_PER_USER) {
                let body = connection.post("/conversations", r#"{"title":"t"}"#)?;
                let id = body.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..36)).ok_or("no id")?;
                self.conversations.push((token.clone(), id.to_owned()));
            }
        }
        Ok(())
    }

    /// Posts a message to every prepared conversation, and waits for the requests to the model.
    pub fn post_all(&mut self, server: &Server) -> Result<(), String> {
        let wanted = self.responding.len() + self.conversations.len();
        let mut connection: Option<(String, Connection)> = None;
        for (token, id) in std::mem::take(&mut self.conversations) {
            if connection.as_ref().is_none_or(|(of, _)| *of != token) {
                connection = Some((token.clone(), Connection::open(server.address, &token)?));
            }
            let (_, connection) = connection.as_mut().expect("it was opened");
            connection.post(&format!("/conversations/{id}/messages"), r#"{"content":"Hello?"}"#)?;
            self.turn(Duration::ZERO)?;
        }
        self.until("the requests to the model", |load| load.responding.len() == wanted)
    }

    /// Sends this many deltas a second, to each answer in turn; returns the delays.
    pub fn send_evenly(&mut self, per_second: usize, duration: Duration) -> Result<Histogram, String> {
        self.delays = Histogram::new();
        let (began, mut sent) = (Instant::now(), 0_u64);
        while began.elapsed() < duration {
            let due = began + Duration::from_secs_f64(sent as f64 / per_second as f64);
            let now = Instant::now();
            if now >= due {
                let token = self.responding[sent as usize % self.responding.len()];
                self.send(token)?;
                sent += 1;
            }
            // The last part of the wait is spent awake, so that the delay is not that of a timer.
            self.turn(Duration::ZERO)?;
        }
        self.until("the deltas", |load| load.delays.total() >= sent)?;
        Ok(std::mem::replace(&mut self.delays, Histogram::new()))
    }

    /// Sends as many deltas as arrive; returns their number.
    pub fn send_flat_out(&mut self, duration: Duration) -> Result<u64, String> {
        self.delays = Histogram::new();
        let (began, mut sent) = (Instant::now(), 0_u64);
        while began.elapsed() < duration {
            for token in self.responding.clone() {
                if sent - self.delays.total() < UNDER_WAY_MAX {
                    self.send(token)?;
                    sent += 1;
                }
            }
            self.turn(Duration::ZERO)?;
        }
        self.until("the deltas", |load| load.delays.total() >= sent)?;
        Ok(sent)
    }

    /// The times from a request to the model to its first delta.
    pub fn first_tokens_directly(&mut self, count: usize) -> Result<Histogram, String> {
        self.sends_at_once = true;
        let mut times = Histogram::new();
        for _ in 0..count {
            self.delays = Histogram::new();
            let began = Instant::now();
            self.ask_directly()?;
            self.until("the first delta", |load| load.delays.total() == 1)?;
            times.add((self.arrived_at - began).as_nanos() as u64);
            self.readers.clear();
            self.model.clear();
        }
        Ok(times)
    }

    /// The times from a message to the first delta of its answer.
    pub fn first_tokens(&mut self, server: &Server, count: usize) -> Result<Histogram, String> {
        self.sends_at_once = true;
        self.prepare(server, count)?;
        let mut times = Histogram::new();
        let conversations = std::mem::take(&mut self.conversations);
        for (token, id) in conversations {
            let mut connection = Connection::open(server.address, &token)?;
            connection.post("/conversations", r#"{"title":"warm"}"#)?;
            self.delays = Histogram::new();
            let began = Instant::now();
            connection.send(&format!("/conversations/{id}/messages"), r#"{"content":"Hello?"}"#)?;
            self.until("the first delta", |load| load.delays.total() == 1)?;
            times.add((self.arrived_at - began).as_nanos() as u64);
            connection.receive()?;
            self.finish_all()?;
        }
        Ok(times)
    }

    /// The times from a request to cancel to the end of the connection to the model's server.
    pub fn cancels(&mut self, server: &Server, count: usize) -> Result<Histogram, String> {
        self.sends_at_once = true;
        self.prepare(server, count)?;
        let mut times = Histogram::new();
        for (token, id) in std::mem::take(&mut self.conversations) {
            let mut connection = Connection::open(server.address, &token)?;
            self.delays = Histogram::new();
            connection.send(&format!("/conversations/{id}/messages"), r#"{"content":"Hello?"}"#)?;
            self.until("the first delta", |load| load.delays.total() == 1)?;
            connection.receive()?;
            let closed = self.closed;
            let began = Instant::now();
            connection.send(&format!("/conversations/{id}/cancel"), "{}")?;
            self.until("the end of the connection", |load| load.closed > closed)?;
            times.add(began.elapsed().as_nanos() as u64);
            connection.receive()?;
        }
        Ok(times)
    }

    /// Ends all answers.
    fn finish_all(&mut self) -> Result<(), String> {
        for token in std::mem::take(&mut self.responding) {
            if let Some(mut connection) = self.model.remove(&token) {
                connection.stream.write_all(b"data: [DONE]\n\n").map_err(|error| format!("the end: {error}"))?;
            }
        }
        Ok(())
    }

    fn open_reader(&mut self, server: &Server, token: &str) -> Result<(), String> {
        let stream = open_stream(server.address, token)?;
        self.add_reader(stream)
    }

    fn ask_directly(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("a direct request: {error}");
        let mut stream = std::net::TcpStream::connect(self.model_address()).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.write_all(b"POST /v1 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").map_err(failed)?;
        self.add_reader(stream)
    }

    fn add_reader(&mut self, stream: std::net::TcpStream) -> Result<(), String> {
        let (token, stream) = self.register(stream)?;
        self.readers.insert(token, Reader { stream, received: Vec::new() });
        Ok(())
    }

    fn new_token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Runs turns until `done` returns true.
    fn until(&mut self, what: &str, done: impl Fn(&Load) -> bool) -> Result<(), String> {
        let end = Instant::now() + SILENCE_MAX;
        while !done(self) {
            if Instant::now() > end {
                return Err(format!("{what} did not come in {} s", SILENCE_MAX.as_secs()));
            }
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Sends one delta.
    fn send(&mut self, token: Token) -> Result<(), String> {
        let stamp = self.began.elapsed().as_nanos() as u64;
        let connection = self.model.get_mut(&token).ok_or("an answer was closed")?;
        let mut event = Vec::with_capacity(160);
        let _ = write!(
            event,
            "data: {{\"id\":\"b\",\"object\":\"chat.completion.chunk\",\"model\":\"bench\",\"choices\":[{{\"index\":0,\
             \"delta\":{{\"content\":\"{stamp:016x}\"}},\"finish_reason\":null}}]}}\n\n"
        );
        connection.sent += 1;
        connection.stream.write_all(&event).map_err(|error| format!("a delta: {error}"))
    }

    fn turn(&mut self, timeout: Duration) -> Result<(), String> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other.map_err(|error| format!("poll: {error}"))?,
        }
        let tokens: Vec<Token> = self.events.iter().map(|event| event.token()).collect();
        for token in tokens {
            if token == LISTENER {
                self.accept()?;
            } else if self.model.contains_key(&token) {
                self.read_request(token)?;
            } else if self.whole_readers.contains_key(&token) {
                self.read_whole(token)?;
            } else {
                self.read_answers(token)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), String> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    let token = self.new_token();
                    stream.set_nodelay(true).map_err(|error| format!("accept: {error}"))?;
                    let registry = self.poll.registry();
                    registry.register(&mut stream, token, Interest::READABLE).map_err(|error| error.to_string())?;
                    let connection = ModelConnection { stream, request: Vec::new(), responds: false, sent: 0 };
                    self.model.insert(token, connection);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("accept: {error}")),
            }
        }
    }

    fn read_request(&mut self, token: Token) -> Result<(), String> {
        let connection = self.model.get_mut(&token).expect("the connection is there");
        loop {
            match connection.stream.read(&mut self.scratch) {
                Ok(0) => break,
                Ok(read) => connection.request.extend_from_slice(&self.scratch[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !connection.responds && is_complete(&connection.request) {
                        if self.responds_whole {
                            break;
                        }
                        connection.responds = true;
                        connection.request = Vec::new();
                        connection.stream.write_all(HEAD).map_err(|error| format!("a head: {error}"))?;
                        self.responding.push(token);
                        if self.sends_at_once {
                            self.send(token)?;
                        }
                    }
                    return Ok(());
                }
                Err(_) => break,
            }
        }
        if let Some(mut connection) = self.model.remove(&token)
            && self.responds_whole
            && is_complete(&connection.request)
        {
            connection.stream.write_all(passing::WHOLE).map_err(|error| format!("a whole answer: {error}"))?;
        }
        self.responding.retain(|other| *other != token);
        self.closed += 1;
        Ok(())
    }

    fn read_answers(&mut self, token: Token) -> Result<(), String> {
        let Some(reader) = self.readers.get_mut(&token) else { return Ok(()) };
        loop {
            match reader.stream.read(&mut self.scratch) {
                Ok(0) => return Err("a stream ended".into()),
                Ok(read) => {
                    self.arrived_at = Instant::now();
                    let now = (self.arrived_at - self.began).as_nanos() as u64;
                    reader.received.extend_from_slice(&self.scratch[..read]);
                    let complete = memchr::memrchr(b'\n', &reader.received).map_or(0, |end| end + 1);
                    for line in reader.received[..complete].split(|byte| *byte == b'\n') {
                        for stamp in stamps(line) {
                            self.delays.add(now.saturating_sub(stamp));
                        }
                    }
                    reader.received.drain(..complete);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("a stream: {error}")),
            }
        }
    }
}

/// The times in a delta of the program, or in a chunk of the model's server.
fn stamps(line: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let text = [&b"\"delta\":\""[..], b"\"content\":\""].iter().find_map(|before| {
        let begin = memchr::memmem::find(line, before)? + before.len();
        let end = memchr::memchr(b'"', &line[begin..])?;
        Some(&line[begin..begin + end])
    });
    // Only deltas: the events of messages have a content as well.
    let is_delta = memchr::memmem::find(line, b"output_delta").is_some()
        || memchr::memmem::find(line, b"chat.completion.chunk").is_some();
    let text = text.filter(|_| is_delta).unwrap_or_default();
    text.chunks_exact(STAMP_DIGITS).filter_map(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
}

fn is_complete(request: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(request, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]);
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.and_then(|digits| digits.parse().ok()).unwrap_or(0);
    request.len() >= end + 4 + length
}

/// A connection for requests, one at a time.
struct Connection {
    stream: std::net::TcpStream,
    address: SocketAddr,
    token: String,
}

impl Connection {
    fn open(address: SocketAddr, token: &str) -> Result<Connection, String> {
        let failed = |error: std::io::Error| format!("a connection: {error}");
        let stream = std::net::TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
        Ok(Connection { stream, address, token: token.to_owned() })
    }

    fn post(&mut self, path: &str, body: &str) -> Result<String, String> {
        self.send(path, body)?;
        self.receive()
    }

    fn send(&mut self, path: &str, body: &str) -> Result<(), String> {
        let request = http::post(self.address, path, &http::bearer(&self.token), body);
        self.stream.write_all(&request).map_err(|error| format!("POST {path}: {error}"))
    }

    fn receive(&mut self) -> Result<String, String> {
        let mut response = Vec::new();
        let mut scratch = [0; 16 * 1024];
        loop {
            let read = self.stream.read(&mut scratch).map_err(|error| format!("a response: {error}"))?;
            response.extend_from_slice(&scratch[..read]);
            match read_head(&response)? {
                Some(head) if response.len() >= head.head_bytes + head.body_bytes => {
                    return String::from_utf8(response[head.head_bytes..].to_vec()).map_err(|error| error.to_string());
                }
                _ if read == 0 => return Err("the connection ended".into()),
                _ => {}
            }
        }
    }
}

//! A reader of event streams that follows the parsing rules of the HTML standard (§9.2.6, "Interpreting an event
//! stream").

use super::DEADLINE;
use super::http::{Connection, Framing, Response};
use serde_json::Value;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// One dispatched event.
#[derive(Debug, Clone)]
pub struct Event {
    /// The `id:` of this event, if it has one.
    pub id: Option<String>,
    /// The `event:` of this event, if it has one.
    pub name: Option<String>,
    /// The parsed data.
    pub data: Value,
    /// The number of its `data:` lines.
    pub data_lines: usize,
}

impl Event {
    /// The `type` in its data.
    pub fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap_or_else(|| panic!("an event without a type: {}", self.data))
    }

    /// The content of its message; empty for other events.
    pub fn content(&self) -> &str {
        self.data["data"]["content"].as_str().unwrap_or_default()
    }

    /// Its id as a number.
    #[track_caller]
    pub fn number(&self) -> u64 {
        let id = self.id.as_deref().unwrap_or_else(|| panic!("no id: {self:?}"));
        id.parse().unwrap_or_else(|_| panic!("an id that is not a number: {self:?}"))
    }

    /// Whether it is a control event of the connection and not part of the journal.
    pub fn is_control(&self) -> bool {
        matches!(
            self.kind(),
            "connection_established"
                | "caught_up"
                | "heartbeat"
                | "gap"
                | "token_expiring"
                | "token_expired"
                | "server_shutdown"
        )
    }
}

/// An open stream.
pub struct Stream {
    connection: Connection,
    framing: Framing,
    parser: Parser,
    /// All bytes of the body so far.
    pub raw: Vec<u8>,
    /// Status and fields of the response.
    pub head: Response,
    /// The first event.
    pub established: Event,
}

impl Stream {
    /// Opens a stream with a bearer token and a query (without its `?`), and reads its first event.
    #[track_caller]
    pub fn open(addr: SocketAddr, token: &str, query: &str) -> Stream {
        Stream::open_with(addr, query, &[("Authorization", &format!("Bearer {token}"))])
    }

    /// Opens a stream with a query and fields, and reads its first event.
    #[track_caller]
    pub fn open_with(addr: SocketAddr, query: &str, fields: &[(&str, &str)]) -> Stream {
        Stream::try_open_with(addr, query, fields).unwrap_or_else(|error| panic!("no stream: {error}"))
    }

    /// Like `open_with`, for a server that may be down, or that may reject the stream because the user has too many.
    #[track_caller]
    pub fn try_open_with(addr: SocketAddr, query: &str, fields: &[(&str, &str)]) -> io::Result<Stream> {
        let mark = if query.is_empty() { "" } else { "?" };
        Stream::try_open_at(addr, &format!("/output/stream{mark}{query}"), fields)
    }

    /// Opens the stream at a target, the path and the query, and reads its first event.
    pub fn try_open_at(addr: SocketAddr, target: &str, fields: &[(&str, &str)]) -> io::Result<Stream> {
        let mut connection = Connection::try_open(addr)?;
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\n");
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        connection.try_send((request + "Accept: text/event-stream\r\n\r\n").as_bytes())?;
        let head = connection.try_head()?;
        if head.status == 429 {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("the stream is rejected: {}", head.shown()),
            ));
        }
        assert_eq!(head.status, 200, "{}", head.shown());
        let media_type = head.header("Content-Type").unwrap_or_default();
        assert!(media_type.split(';').next() == Some("text/event-stream"), "{}", head.shown());
        assert_eq!(head.header("Cache-Control"), Some("no-store, no-transform"));
        assert_eq!(head.header("X-Accel-Buffering"), Some("no"));
        if head.header("Content-Length").is_some() {
            return Err(io::Error::other(format!("the stream is sent away: {}", head.shown())));
        }
        let framing = Framing::of(&head, "GET");
        let placeholder = Event { id: None, name: None, data: Value::Null, data_lines: 0 };
        let parser = Parser::default();
        let mut stream = Stream { connection, framing, parser, raw: Vec::new(), head, established: placeholder };
        let first = stream.try_next()?;
        stream.established = first.ok_or_else(|| io::Error::other("the stream ended before its first event"))?;
        assert_eq!(stream.established.kind(), "connection_established");
        Ok(stream)
    }

    /// The next event.
    #[track_caller]
    pub fn next(&mut self) -> Event {
        match self.try_next() {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the stream ended; its last bytes: {}", self.shown_tail()),
            Err(error) => panic!("no event: {error}; last bytes: {}", self.shown_tail()),
        }
    }

    /// The next event; `None` at the end of the stream.
    pub fn try_next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.parser.events.pop_front() {
                return Ok(Some(event));
            }
            let Some(piece) = self.connection.try_body_piece(&mut self.framing)? else { return Ok(None) };
            self.raw.extend_from_slice(&piece);
            self.parser.feed(&piece);
        }
    }

    /// The next event of that type, skipping others.
    #[track_caller]
    pub fn next_of(&mut self, kind: &str) -> Event {
        let timeout = WaitLimit::new();
        loop {
            timeout.check();
            let event = self.next();
            if event.kind() == kind {
                return event;
            }
        }
    }

    /// The next event that is neither a control event nor the status of an answer.
    #[track_caller]
    pub fn next_own(&mut self) -> Event {
        let timeout = WaitLimit::new();
        loop {
            timeout.check();
            let event = self.next();
            if !event.is_control() && event.kind() != "answer_status" {
                return event;
            }
        }
    }

    /// All events except control events up to, and without, the message with `content`.
    ///
    /// A stream is in commit order, so an event of an earlier change that is not among them will not arrive. This
    /// proves that a user does not get an event, without a timeout.
    #[track_caller]
    pub fn before_message(&mut self, content: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let timeout = WaitLimit::new();
        loop {
            timeout.check();
            let event = self.next_own();
            if event.content() == content {
                return events;
            }
            events.push(event);
        }
    }

    /// All events except control events up to a heartbeat with at least `number`, for a stream whose filter passes no
    /// message.
    #[track_caller]
    pub fn through(&mut self, number: u64) -> Vec<Event> {
        let mut events = Vec::new();
        let timeout = WaitLimit::new();
        loop {
            timeout.check();
            let event = self.next();
            if event.kind() == "heartbeat" && event.number() >= number {
                return events;
            }
            if !event.is_control() {
                events.push(event);
            }
        }
    }

    /// All events up to the end of the stream.
    #[track_caller]
    pub fn until_end(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.try_next().expect("an end without a reset") {
            events.push(event);
        }
        events
    }

    /// The value of each `retry:` so far, in milliseconds.
    pub fn retries(&self) -> &[u64] {
        &self.parser.retries
    }

    fn shown_tail(&self) -> String {
        let from = self.raw.len().saturating_sub(2000);
        String::from_utf8_lossy(&self.raw[from..]).into_owned()
    }
}

/// Bounds the wait for one of many events. Heartbeats would otherwise keep it alive for a missing event.
struct WaitLimit(Instant);

impl WaitLimit {
    fn new() -> WaitLimit {
        WaitLimit(Instant::now() + 2 * DEADLINE)
    }

    #[track_caller]
    fn check(&self) {
        assert!(Instant::now() < self.0, "the awaited event does not arrive");
    }
}

/// An incremental parser: bytes in, events out.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    after_carriage_return: bool,
    data: Vec<String>,
    id: Option<String>,
    name: Option<String>,
    /// The value that `Last-Event-ID` would have.
    pub last_event_id: String,
    /// Every reconnection time received, in milliseconds.
    pub retries: Vec<u64>,
    /// Events that were not taken yet.
    pub events: VecDeque<Event>,
    started: bool,
}

impl Parser {
    /// Parses the next bytes, which may be split anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let after_carriage_return = std::mem::replace(&mut self.after_carriage_return, byte == b'\r');
            match byte {
                b'\n' if after_carriage_return => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(byte),
            }
        }
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8(bytes).expect("an event stream is UTF-8");
        let line = if std::mem::replace(&mut self.started, true) {
            line.as_str()
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(&line)
        };
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => self.data.push(value.to_owned()),
            "event" => self.name = Some(value.to_owned()),
            "id" if !value.contains('\0') => {
                self.last_event_id = value.to_owned();
                self.id = Some(value.to_owned());
            }
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retries.push(value.parse().expect("digits"));
            }
            // Comments have an empty field name; unknown fields are ignored.
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let (data, id, name) = (std::mem::take(&mut self.data), self.id.take(), self.name.take());
        if data.is_empty() {
            return;
        }
        let text = data.join("\n");
        let parsed = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        self.events.push_back(Event { id, name, data: parsed, data_lines: data.len() });
    }
}

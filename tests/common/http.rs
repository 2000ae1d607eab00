//! A strict blocking HTTP/1.1 client. A framing error of the peer is a panic; a network error (end, reset, timeout) is
//! an `io::Error`, which the methods without `try_` turn into a panic.

use super::DEADLINE;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// Where a connection comes from and how it reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    /// The local address, in 127.0.0.0/8.
    pub address: Option<[u8; 4]>,
    /// Size of the kernel's receive buffer; small, so that the server soon detects a reader that stops.
    pub receive_buffer_bytes: Option<usize>,
}

impl Origin {
    /// An address in 127.0.0.0/8.
    pub fn of(address: [u8; 4]) -> Origin {
        Origin { address: Some(address), receive_buffer_bytes: None }
    }

    /// A receive buffer of the kernel of this size.
    pub fn with_receive_buffer(bytes: usize) -> Origin {
        Origin { address: None, receive_buffer_bytes: Some(bytes) }
    }

    /// Connects.
    pub fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        if let Some(bytes) = self.receive_buffer_bytes {
            // Set before connecting, because the window scale is fixed by the handshake.
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(address) = self.address {
            socket.bind(&SocketAddr::from((address, 0)).into())?;
        }
        socket.connect_timeout(&addr.into(), DEADLINE)?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        Ok(socket)
    }
}

/// One connection: bytes are sent unmodified, responses are read in order.
pub struct Connection {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    #[track_caller]
    pub fn open(addr: SocketAddr) -> Connection {
        Connection::try_open(addr).expect("the server accepts")
    }

    /// Connects.
    pub fn try_open(addr: SocketAddr) -> io::Result<Connection> {
        Connection::try_open_from(Origin::default(), addr)
    }

    /// Connects from a given address, or with a given buffer.
    pub fn try_open_from(origin: Origin, addr: SocketAddr) -> io::Result<Connection> {
        Ok(Connection { socket: origin.connect(addr)?, unread: Vec::new() })
    }

    /// Sends bytes unmodified.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("the server takes the bytes");
    }

    /// Sends bytes unmodified.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Shuts down the sending direction.
    #[track_caller]
    pub fn half_close(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("the socket is open");
    }

    /// Another handle to the same socket, for a thread that sends while this one reads.
    #[track_caller]
    pub fn second_handle(&self) -> Connection {
        Connection { socket: self.socket.try_clone().expect("a second handle"), unread: Vec::new() }
    }

    /// The next response, to a request of `method`.
    #[track_caller]
    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method)
            .unwrap_or_else(|error| panic!("incomplete response: {error}; so far {}", self.shown_unread()))
    }

    /// The next response, after an interim `100 Continue` if `may` is set.
    #[track_caller]
    pub fn final_response(&mut self, method: &str, may: bool) -> Response {
        let head =
            self.try_head().unwrap_or_else(|error| panic!("no response: {error}; so far {}", self.shown_unread()));
        if head.status != 100 {
            return self.try_body_of(head, method).expect("a whole body");
        }
        assert!(may, "an unexpected interim response: {}", head.shown());
        self.response(method)
    }

    /// The next response, to a request of `method`.
    pub fn try_response(&mut self, method: &str) -> io::Result<Response> {
        let head = self.try_head()?;
        self.try_body_of(head, method)
    }

    fn try_body_of(&mut self, mut response: Response, method: &str) -> io::Result<Response> {
        assert!(response.status >= 200, "an unexpected interim response: {}", response.shown());
        let mut framing = Framing::of(&response, method);
        while let Some(piece) = self.try_body_piece(&mut framing)? {
            response.body.extend_from_slice(&piece);
        }
        Ok(response)
    }

    /// The next response, which must be the interim `100 Continue`.
    #[track_caller]
    pub fn expect_continue(&mut self) {
        let head = self.try_head().expect("an interim response");
        assert_eq!(head.status, 100, "{}", head.shown());
    }

    /// Asserts that the server closes the connection without a reset and without further bytes.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "stray bytes: {}", String::from_utf8_lossy(&rest));
    }

    /// All bytes until the server closes the connection; a reset panics.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().expect("an end without a reset") > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// The bytes that have arrived, without blocking. `None` if the peer has closed the connection.
    pub fn arrived_by_now(&mut self) -> Option<Vec<u8>> {
        self.socket.set_nonblocking(true).expect("the socket is open");
        let read = self.fill();
        self.socket.set_nonblocking(false).expect("the socket is open");
        match read {
            Ok(0) if self.unread.is_empty() => None,
            Err(error) if error.kind() != ErrorKind::WouldBlock => None,
            _ => Some(self.unread.clone()),
        }
    }

    /// Status line and fields of the next response.
    pub fn try_head(&mut self) -> io::Result<Response> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end + 4;
            }
            self.fill_or_end()?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        Ok(Response::parse(&head))
    }

    /// The next piece of a body; `None` after the last.
    pub fn try_body_piece(&mut self, framing: &mut Framing) -> io::Result<Option<Vec<u8>>> {
        match framing {
            Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                while self.unread.is_empty() {
                    self.fill_or_end()?;
                }
                let take = (*left).min(self.unread.len());
                *left -= take;
                Ok(Some(self.unread.drain(..take).collect()))
            }
            Framing::Chunked => {
                let line = self.try_line()?;
                let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("a chunk size, not {line:?}"));
                while self.unread.len() < size + 2 {
                    self.fill_or_end()?;
                }
                let chunk: Vec<u8> = self.unread.drain(..size).collect();
                let end: Vec<u8> = self.unread.drain(..2).collect();
                assert_eq!(end, b"\r\n", "a chunk of {size} bytes has the announced length");
                if size == 0 {
                    *framing = Framing::Length(0);
                    return Ok(None);
                }
                Ok(Some(chunk))
            }
            Framing::UntilEnd => {
                if self.unread.is_empty() && self.fill()? == 0 {
                    *framing = Framing::Length(0);
                    return Ok(None);
                }
                Ok(Some(std::mem::take(&mut self.unread)))
            }
        }
    }

    fn try_line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                break end;
            }
            self.fill_or_end()?;
        };
        let line = self.unread.drain(..end + 2).collect::<Vec<u8>>();
        Ok(String::from_utf8(line[..end].to_vec()).expect("a line of ASCII"))
    }

    /// Reads once; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(n) => {
                    self.unread.extend_from_slice(&buffer[..n]);
                    return Ok(n);
                }
            }
        }
    }

    fn fill_or_end(&mut self) -> io::Result<()> {
        if self.fill()? == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server ended within a response"));
        }
        Ok(())
    }

    fn shown_unread(&self) -> String {
        format!("{:?}", String::from_utf8_lossy(&self.unread))
    }
}

/// How the end of a body is determined (RFC 9112 §6.3).
#[derive(Debug, PartialEq)]
pub enum Framing {
    /// The number of bytes left.
    Length(usize),
    /// Chunks, terminated by an empty one.
    Chunked,
    /// Until the connection closes.
    UntilEnd,
}

impl Framing {
    /// The framing of a response to `method`. Panics if two parsers could interpret it differently.
    pub fn of(response: &Response, method: &str) -> Framing {
        let coding = response.header("Transfer-Encoding");
        let length = response.header("Content-Length").map(|text| {
            let length = text.parse::<usize>().unwrap_or_else(|_| panic!("a length, not {text:?}"));
            assert_eq!(length.to_string(), text, "a length has no sign and no leading zeros");
            length
        });
        assert!(coding.is_none() || length.is_none(), "both a length and a coding: {}", response.shown());
        if response.status < 200 || matches!(response.status, 204 | 304) {
            assert!(
                coding.is_none() && length.is_none(),
                "a response without content has no framing: {}",
                response.shown()
            );
            return Framing::Length(0);
        }
        if method == "HEAD" {
            return Framing::Length(0);
        }
        match (coding, length) {
            (Some(coding), _) => {
                assert_eq!(coding, "chunked", "{}", response.shown());
                Framing::Chunked
            }
            (None, Some(length)) => Framing::Length(length),
            (None, None) => {
                assert!(response.closes(), "a body of unknown length on a persistent connection: {}", response.shown());
                Framing::UntilEnd
            }
        }
    }
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The fields, unmodified and in order.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// Parses a complete response with a `Content-Length`.
    pub fn read(bytes: &[u8]) -> Response {
        let end = find(bytes, b"\r\n\r\n").expect("the end of a head") + 4;
        let mut response = Response::parse(&bytes[..end]);
        assert_eq!(Framing::of(&response, "GET"), Framing::Length(bytes.len() - end), "{}", response.shown());
        response.body = bytes[end..].to_vec();
        response
    }

    fn parse(head: &[u8]) -> Response {
        let text = std::str::from_utf8(head).expect("the head of a response is ASCII");
        let mut lines = text.strip_suffix("\r\n\r\n").expect("the head ends with an empty line").split("\r\n");
        let status_line = lines.next().expect("a split has a first part");
        let rest =
            status_line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("a status line, not {status_line:?}"));
        let (code, reason) = rest.split_once(' ').unwrap_or_else(|| panic!("a status line, not {status_line:?}"));
        assert!(code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()), "{status_line:?}");
        assert!(("100".."600").contains(&code) && reason.bytes().all(is_value_byte), "{status_line:?}");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a field, not {line:?}"));
            assert!(!name.is_empty() && name.bytes().all(is_token_byte), "a field name, not {name:?}");
            assert!(value.bytes().all(is_value_byte), "control characters in {line:?}");
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        });
        let response = Response { status: code.parse().expect("digits"), headers: headers.collect(), body: Vec::new() };
        if let Some(date) = response.header("Date") {
            assert!(is_imf_fixdate(date), "a date (RFC 9110 §5.6.7), not {date:?}");
        }
        if response.status >= 200 {
            let id = response.header("X-Request-Id").unwrap_or_else(|| panic!("no X-Request-Id: {}", response.shown()));
            assert!((1..=128).contains(&id.len()) && id.bytes().all(is_request_id_byte), "X-Request-Id: {id:?}");
        }
        response
    }

    /// The value of a field that may occur at most once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} occurs twice: {}", self.shown());
        first
    }

    /// Whether a list field, which may occur several times, contains `item`.
    pub fn lists(&self, name: &str, item: &str) -> bool {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        values.any(|(_, value)| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(item)))
    }

    /// The value of a numeric field.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no {name}: {}", self.shown()));
        value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}"))
    }

    /// Whether the response announces that the connection closes.
    pub fn closes(&self) -> bool {
        self.lists("Connection", "close")
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of UTF-8")
    }

    /// The body as JSON; panics if its type or syntax is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let media_type = self.header("Content-Type").unwrap_or_default();
        assert_eq!(media_type.split(';').next(), Some("application/json"), "{}", self.shown());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.shown()))
    }

    /// Returns the response if it has that status, and panics otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}", self.shown());
        self
    }

    /// Head and body, for assertion messages.
    pub fn shown(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(2000).collect();
        format!("{} {:?} {body}", self.status, self.headers)
    }
}

/// A client that reuses its connection until the server closes it.
pub struct Client {
    addr: SocketAddr,
    origin: Origin,
    connection: Option<Connection>,
}

impl Client {
    /// A client that connects with its first request.
    pub fn new(addr: SocketAddr) -> Client {
        Client::from(Origin::default(), addr)
    }

    /// The same, from a given address.
    pub fn from(origin: Origin, addr: SocketAddr) -> Client {
        Client { addr, origin, connection: None }
    }

    /// Builds a request; `send` sends it.
    pub fn request(&mut self, method: &str, path: &str) -> Request<'_> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.addr);
        Request { client: self, method: method.to_owned(), head, body: None }
    }

    /// Whether the connection is open after the last response.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }
}

/// A request under construction.
pub struct Request<'a> {
    client: &'a mut Client,
    method: String,
    head: String,
    body: Option<Vec<u8>>,
}

impl Request<'_> {
    /// Adds a field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Adds a bearer token.
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Adds a JSON body.
    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// Adds a body of the given type.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", content_type)
    }

    /// Sends the request and reads the response.
    #[track_caller]
    pub fn send(self) -> Response {
        self.try_send().unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Sends the request and reads the response.
    pub fn try_send(mut self) -> io::Result<Response> {
        if let Some(body) = &self.body {
            self.head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.head.push_str("\r\n");
        let mut bytes = self.head.into_bytes();
        bytes.extend_from_slice(&self.body.unwrap_or_default());
        let mut connection = match self.client.connection.take() {
            Some(connection) => connection,
            None => Connection::try_open_from(self.client.origin, self.client.addr)?,
        };
        // The server may respond before it has read everything and then close; the response must still be readable.
        let sent = connection.try_send(&bytes);
        let response = connection.try_response(&self.method)?;
        if response.closes() {
            while connection.fill()? > 0 {}
        } else {
            sent?;
            self.client.connection = Some(connection);
        }
        let stray = self.client.connection.as_ref().map_or(0, |connection| connection.unread.len());
        assert_eq!(stray, 0, "bytes after the response: {}", response.shown());
        Ok(response)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Bytes of a reason or field value (RFC 9110 §5.5), limited to ASCII, since the server sends nothing else.
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (b' '..=b'~').contains(&byte)
}

/// Whether `text` has the form `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_imf_fixdate(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (day, rest) = shape.split_at_checked(3).unwrap_or_default();
    let (before, rest) = rest.split_at_checked(5).unwrap_or_default();
    let (month, behind) = rest.split_at_checked(3).unwrap_or_default();
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    "Mon Tue Wed Thu Fri Sat Sun".split(' ').any(|name| name == day)
        && before == ", 00 "
        && MONTHS.split(' ').any(|name| name == month)
        && behind == " 0000 00:00:00 GMT"
}

fn is_request_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte)
}

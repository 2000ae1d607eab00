//! A strict parser of the bytes written to one connection: HTTP/1.1 responses in order, and Server-Sent Events once a
//! response opens a stream.

/// A response with its body, or the head of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub request_id: String,
    pub keep_alive: bool,
    /// `X-Event-Id`
    pub event_id: Option<u64>,
    /// `X-Last-Event-Id`
    pub position: Option<u64>,
    pub replayed: bool,
    pub body: Vec<u8>,
    /// Whether the rest of the connection is a stream.
    pub opens_stream: bool,
}

/// The text between two empty lines of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub id: Option<u64>,
    pub name: Option<String>,
    pub data: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Response(Response),
    Block(Block),
}

#[derive(Debug)]
enum State {
    Head,
    Body(Response, usize),
    Stream,
    /// After a response that announces the close.
    Over,
}

#[derive(Debug)]
pub struct Transcript {
    state: State,
    rest: Vec<u8>,
    /// The part of `rest` that was searched for the end of the item.
    searched: usize,
    total: u64,
}

impl Transcript {
    pub fn new() -> Transcript {
        Transcript { state: State::Head, rest: Vec::new(), searched: 0, total: 0 }
    }

    /// Parses more bytes; returns each complete item with its end in the connection's bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<(u64, Item)> {
        self.rest.extend_from_slice(bytes);
        self.total += bytes.len() as u64;
        let mut items = Vec::new();
        let mut used = 0;
        while let Some((len, item)) = self.next(used) {
            used += len;
            if let Some(item) = item {
                items.push((self.total - (self.rest.len() - used) as u64, item));
            }
        }
        self.rest.drain(..used);
        items
    }

    /// Whether the bytes so far end between two items.
    pub fn is_whole(&self) -> bool {
        self.rest.is_empty() && !matches!(self.state, State::Body(..))
    }

    fn next(&mut self, from: usize) -> Option<(usize, Option<Item>)> {
        let rest = &self.rest[from..];
        match &mut self.state {
            State::Head => {
                let len = self.find(from, b"\r\n\r\n")?;
                let (response, body_bytes) = read_head(&self.rest[from..from + len]);
                self.state = match body_bytes {
                    Some(bytes) => State::Body(response, bytes),
                    None => {
                        self.state = State::Stream;
                        return Some((len, Some(Item::Response(response))));
                    }
                };
                Some((len, None))
            }
            State::Body(response, bytes) if rest.len() >= *bytes => {
                let len = *bytes;
                let mut response = response.clone();
                response.body = rest[..len].to_vec();
                self.state = if response.keep_alive { State::Head } else { State::Over };
                Some((len, Some(Item::Response(response))))
            }
            State::Body(..) => None,
            State::Stream => {
                let size_len = self.find(from, b"\r\n")?;
                let size = std::str::from_utf8(&self.rest[from..from + size_len - 2]).expect("a size is ASCII");
                let size = usize::from_str_radix(size, 16).expect("a size is hexadecimal");
                let len = size_len + size + 2;
                let chunk = self.rest.get(from..from + len)?;
                let data = chunk[size_len..].strip_suffix(b"\r\n").expect("a chunk ends with a line end");
                if data.is_empty() {
                    self.state = State::Over;
                    return Some((len, None));
                }
                let block = data.strip_suffix(b"\n\n").expect("a chunk is a block");
                Some((len, Some(Item::Block(read_block(block)))))
            }
            State::Over => {
                assert!(rest.is_empty(), "bytes follow the last response of a connection");
                None
            }
        }
    }

    /// The end of the first `end` at or after `from`, relative to it.
    fn find(&mut self, from: usize, end: &[u8]) -> Option<usize> {
        let start = self.searched.max(from + end.len() - 1) + 1 - end.len();
        let found = memchr::memmem::find(&self.rest[start.min(self.rest.len())..], end);
        self.searched = if found.is_some() { 0 } else { self.rest.len().saturating_sub(from) };
        found.map(|at| start + at + end.len() - from)
    }
}

/// The response without its body, and the body's length; `None` for a stream.
fn read_head(bytes: &[u8]) -> (Response, Option<usize>) {
    let text = std::str::from_utf8(bytes).expect("heads are ASCII");
    let mut lines = text.strip_suffix("\r\n\r\n").expect("a head ends with an empty line").split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status =
        status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("{status_line:?} is not a status line"));
    let mut response = Response {
        status,
        request_id: String::new(),
        keep_alive: true,
        event_id: None,
        position: None,
        replayed: false,
        body: Vec::new(),
        opens_stream: false,
    };
    let (mut length, mut is_stream, mut has_date) = (None, false, false);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is not a field"));
        match name {
            "Content-Length" => assert!(length.replace(value.parse().expect("a length")).is_none(), "two lengths"),
            "Content-Type" => is_stream = value == "text/event-stream; charset=utf-8",
            "Connection" => response.keep_alive = value != "close",
            "X-Request-Id" => response.request_id = value.to_owned(),
            "X-Event-Id" => response.event_id = Some(value.parse().expect("a number")),
            "X-Last-Event-Id" => response.position = Some(value.parse().expect("a number")),
            "Idempotent-Replayed" => response.replayed = value == "true",
            "Date" => has_date = true,
            _ => {}
        }
    }
    assert!(has_date && !response.request_id.is_empty(), "a response has a date and its request's id");
    if length.is_none() {
        assert!(is_stream && status == 200 && !response.keep_alive, "only a stream has no length: {text}");
        response.opens_stream = true;
    }
    (response, length)
}

fn read_block(bytes: &[u8]) -> Block {
    let (mut id, mut name, mut rest) = (None, None, bytes);
    if let Some(after) = rest.strip_prefix(b"retry: ") {
        let (retry, next) = split_line(after);
        assert!(!retry.is_empty() && retry.iter().all(u8::is_ascii_digit), "a retry is a number");
        rest = next;
    }
    if let Some(after) = rest.strip_prefix(b"event: ") {
        let (line, next) = split_line(after);
        (name, rest) = (Some(String::from_utf8(line.to_vec()).expect("a name is text")), next);
    }
    let data = rest.strip_prefix(b"data: ");
    let mut data = data.unwrap_or_else(|| panic!("{:?} is not an event", String::from_utf8_lossy(bytes)));
    if memchr::memchr(b'\n', data).is_some() {
        let (line, last) = split_line(data);
        let number = last.strip_prefix(b"id: ").and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
        assert!(number.is_some(), "an id is a number, and comes last");
        (id, data) = (number, line);
    }
    assert!(memchr::memchr2(b'\n', b'\r', data).is_none(), "an event has one line of data");
    assert!(data.first() == Some(&b'{') && data.last() == Some(&b'}'), "data is an object");
    Block { id, name, data: data.to_vec() }
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', bytes).expect("a line ends");
    (&bytes[..end], &bytes[end + 1..])
}

#[test]
fn responses_and_streams_are_parsed_in_any_pieces() {
    let chunk = |block: &str| format!("{:06x}\r\n{block}\r\n", block.len());
    let bytes = [
        "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\nX-Request-Id: a\r\nX-Event-Id: 7\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n",
        "Content-Type: text/event-stream; charset=utf-8\r\nX-Request-Id: b\r\n\r\n",
        &chunk("retry: 5\nevent: e\ndata: {\"a\":1}\nid: 3\n\n"),
        &chunk("data: {}\n\n"),
        "0\r\n\r\n",
    ]
    .concat();
    let bytes = bytes.as_bytes();
    let mut whole = Transcript::new();
    let items = whole.feed(bytes);
    assert_eq!(items.len(), 4);
    assert!(whole.is_whole() && items[3].0 == bytes.len() as u64 - 5);
    for size in 1..bytes.len() {
        let mut transcript = Transcript::new();
        let pieces: Vec<_> = bytes.chunks(size).flat_map(|piece| transcript.feed(piece)).collect();
        assert_eq!(pieces, items);
    }
    let bad = [
        "data: {}\nid: x\n\n",
        "id: 1\ndata: {}\n\n",
        "data: {}\nid: 1\nid: 1\n\n",
        "data:{}\n\n",
        "retry: 5\n\n",
        "\n\n",
        "data: {}\ndata: {}\n\n",
        "data: {}\n\ndata: {}\n\n",
    ];
    for block in bad {
        let mut transcript = Transcript { state: State::Stream, ..Transcript::new() };
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| transcript.feed(chunk(block).as_bytes())));
        assert!(read.is_err(), "{block:?}");
    }
}

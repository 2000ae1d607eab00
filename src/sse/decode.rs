//! A decoder of event streams by HTML Standard §9.2.5 and §9.2.6, for pieces of any size.
//!
//! Invariant: the events do not depend on the pieces. The decoder holds at most one line and one event, each within its
//! limit.

/// The byte order mark that may precede the first line (HTML Standard §9.2.5).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A dispatched event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedEvent {
    /// The `event` field; `message` by default.
    pub name: String,
    /// The `data` fields, joined by LF.
    pub data: String,
}

/// Why decoding failed. The decoder must not be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A line exceeds the limit.
    LineTooLong,
    /// The fields of one event exceed the limit.
    EventTooLarge,
}

/// Decodes one event stream.
#[derive(Debug)]
pub struct Decoder {
    bytes_max: usize,
    /// Whether a field `error` is an event of that name.
    has_error_field: bool,
    /// The current line, without its end.
    line: Vec<u8>,
    /// Whether the last byte was CR, so that an LF after it belongs to the same line end.
    after_cr: bool,
    /// Whether the first line is complete.
    has_begun: bool,
    name: String,
    data: String,
    /// Whether there was a `data` field since the last event.
    has_data: bool,
    last_event_id: String,
    last_event_id_buffer: String,
    retry_milliseconds: Option<u64>,
}

impl Decoder {
    /// The bytes of the incomplete line and event.
    pub fn buffered_bytes(&self) -> usize {
        self.line.len() + self.data.len() + self.name.len()
    }

    /// A decoder for one stream. A line, and the fields of an event together, may have at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Decoder {
        Decoder {
            bytes_max,
            has_error_field: false,
            line: Vec::new(),
            after_cr: false,
            has_begun: false,
            name: String::new(),
            data: String::new(),
            has_data: false,
            last_event_id: String::new(),
            last_event_id_buffer: String::new(),
            retry_milliseconds: None,
        }
    }

    /// This decoder for a server that reports errors in a field of their own, which the standard does not have: llama.cpp did until
    /// PR 16109. The field is the data of an event with its name.
    pub(crate) fn with_error_field(self) -> Decoder {
        Decoder { has_error_field: true, ..self }
    }

    /// Decodes up to the next event and removes the decoded bytes from `input`; `None` once `input` is empty. An event that is
    /// incomplete at the end of the stream is never returned.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<DecodedEvent>, DecodeError> {
        while !input.is_empty() {
            if std::mem::take(&mut self.after_cr) && input[0] == b'\n' {
                *input = &input[1..];
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', input);
            let piece = &input[..end.unwrap_or(input.len())];
            if self.line.len() + piece.len() > self.bytes_max {
                return Err(DecodeError::LineTooLong);
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else {
                *input = &[];
                return Ok(None);
            };
            self.after_cr = input[end] == b'\r';
            *input = &input[end + 1..];
            if let Some(event) = self.end_line()? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The id for reconnecting: the last `id` field before an empty line.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The last `retry` field, in milliseconds.
    pub fn retry_milliseconds(&self) -> Option<u64> {
        self.retry_milliseconds
    }

    /// Whether the end of the stream would discard nothing here.
    #[cfg(test)]
    pub(super) fn is_between_events(&self) -> bool {
        self.line.is_empty() && self.name.is_empty() && !self.has_data
    }

    fn end_line(&mut self) -> Result<Option<DecodedEvent>, DecodeError> {
        let line = std::mem::take(&mut self.line);
        let first = !std::mem::replace(&mut self.has_begun, true);
        let text = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| first).unwrap_or(&line);
        let event = if text.is_empty() { self.dispatch() } else { self.read_line(text).map(|()| None) };
        // The next line reuses the buffer, unless it has grown large.
        if line.capacity() <= 64 * 1024 {
            self.line = line;
            self.line.clear();
        }
        event
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), DecodeError> {
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"event" => self.name = value.into_owned(),
            b"data" => self.push_data(&value),
            b"error" if self.has_error_field => {
                "error".clone_into(&mut self.name);
                self.push_data(&value);
            }
            b"id" if !value.contains('\0') => self.last_event_id_buffer = value.into_owned(),
            b"retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_milliseconds = value.parse().ok();
            }
            _ => {}
        }
        let bytes = self.name.len() + self.data.len() + self.last_event_id_buffer.len();
        if bytes > self.bytes_max { Err(DecodeError::EventTooLarge) } else { Ok(()) }
    }

    fn push_data(&mut self, value: &str) {
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push('\n');
        }
        self.data.push_str(value);
    }

    /// HTML Standard §9.2.6: without a `data` field there is no event, and the name is discarded.
    fn dispatch(&mut self) -> Result<Option<DecodedEvent>, DecodeError> {
        self.last_event_id.clone_from(&self.last_event_id_buffer);
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        // The standard tests whether the data is empty after each `data` field has appended an LF: whether there was a field.
        if !std::mem::take(&mut self.has_data) {
            return Ok(None);
        }
        Ok(Some(DecodedEvent { name: if name.is_empty() { "message".to_owned() } else { name }, data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn event(name: &str, data: &str) -> DecodedEvent {
        DecodedEvent { name: name.into(), data: data.into() }
    }

    /// The events of a stream in these pieces, and the decoder after them.
    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<DecodedEvent>, Decoder) {
        let mut decoder = Decoder::new(1000);
        let mut events = Vec::new();
        for mut piece in pieces {
            while let Some(event) = decoder.next(&mut piece).expect("the stream is within the limits") {
                events.push(event);
            }
            assert!(piece.is_empty());
        }
        (events, decoder)
    }

    /// A stream, its events, the last event id and the last `retry`.
    type DecodeCase = (&'static [u8], Vec<DecodedEvent>, &'static str, Option<u64>);

    fn table() -> Vec<DecodeCase> {
        vec![
            (b"", vec![], "", None),
            (b"data: a\ndata: +2\ndata: 10\n\n", vec![event("message", "a\n+2\n10")], "", None),
            (
                b": test\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n",
                vec![event("message", "first"), event("message", "second"), event("message", " third")],
                "",
                None,
            ),
            (b"data\n\ndata\ndata\n\ndata:", vec![event("message", ""), event("message", "\n")], "", None),
            (b"data:test\n\ndata: test\n\n", vec![event("message", "test"); 2], "", None),
            (b"event: add\r\ndata: 7\r\n\r\n", vec![event("add", "7")], "", None),
            (b"\xef\xbb\xbfdata: x\r\rdata: cut off", vec![event("message", "x")], "", None),
            (b"\xef\xbb\xbf\xef\xbb\xbfdata: two marks\n\n", vec![], "", None),
            (b"\n\xef\xbb\xbfdata: a late mark\n\n", vec![], "", None),
            (b"event: lost\nid: 3\n\ndata: y\n\n", vec![event("message", "y")], "3", None),
            (b"id: 4\ndata: y\n\nid: 5\n", vec![event("message", "y")], "4", None),
            (b"id: 4\n\nid: 5\x006\n\n", vec![], "4", None),
            (b"retry: 3000\n\nretry: 1s\n\nretry:\n\nretry: -1\n\n", vec![], "", Some(3000)),
            (b"data: a\r\ndata: b\n\rdata: c\r\r\n", vec![event("message", "a\nb"), event("message", "c")], "", None),
            (b"\r\n\r\r\n\ndata: z\r\n\r\n\r\n", vec![event("message", "z")], "", None),
            (b"Data: a\n data: b\ndatax: c\n:data: d\n\n", vec![], "", None),
            (
                "data: \u{e9}\u{1f600}\u{2028}x\u{85}y\n\n".as_bytes(),
                vec![event("message", "\u{e9}\u{1f600}\u{2028}x\u{85}y")],
                "",
                None,
            ),
            (b"data: \xff\xf0\x9f\x98 a\n\n", vec![event("message", "\u{fffd}\u{fffd} a")], "", None),
            (b"data: a:b: c\nevent:e\n\n", vec![event("e", "a:b: c")], "", None),
            (b"data: [DONE]\n", vec![], "", None),
        ]
    }

    #[test]
    fn streams_are_decoded_as_the_standard_says() {
        for (stream, events, last_event_id, retry) in table() {
            let shown = String::from_utf8_lossy(stream);
            let (read, decoder) = decode([stream]);
            assert_eq!(read, events, "{shown:?}");
            assert_eq!(decoder.last_event_id(), last_event_id, "{shown:?}");
            assert_eq!(decoder.retry_milliseconds(), retry, "{shown:?}");
        }
    }

    /// The bodies of web-platform-tests' `eventsource/format-*`, by the name of the test, with the data of their events. The
    /// server of those tests adds an empty line to most of them.
    const WEB_PLATFORM_BODIES: [(&str, &str, &[&str]); 22] = [
        ("bom", "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n", &["1", "3"]),
        ("bom-2", "\u{feff}\u{feff}data:1\n\ndata:2\n\ndata:3\n\n", &["2", "3"]),
        ("comments", "data:1\r:\0\n:\r\ndata:2\n:LONG\rdata:3\n:data:fail\r:LONG\ndata:4\n\n", &["1\n2\n3\n4"]),
        ("data-before-final-empty-line", "retry:1000\ndata:test1\n\nid:test\ndata:test2", &["test1"]),
        ("field-data", "data:\n\ndata\ndata\n\ndata:test\n\n", &["", "\n", "test"]),
        ("field-event", "event:test\ndata:x\n\ndata:x\n\n", &["x", "x"]),
        ("field-event-empty", "event: \ndata:data\n\n", &["data"]),
        ("field-id", "id: \u{2026}\nretry: 200\ndata: hello\n\n", &["hello"]),
        ("field-id-2", "id\nretry: 200\ndata: hello\n\n", &["hello"]),
        ("field-id-null", "id: 1\0\nretry: 200\ndata: hello\n\n", &["hello"]),
        (
            "field-parsing",
            "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
            &["\0\n 2\n1\n3\n\n4"],
        ),
        ("field-retry", "retry:03000\ndata:x\n\n", &["x"]),
        ("field-retry-bogus", "retry:3000\nretry:1000x\ndata:x\n\n", &["x"]),
        ("field-retry-empty", "retry\ndata:test\n\n", &["test"]),
        (
            "field-unknown",
            "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
            &["test\n\ntest"],
        ),
        ("leading-space", "data:\ttest\rdata: \ndata:test\n\n", &["\ttest\n\ntest"]),
        ("mime-trailing-semicolon", "data:data\n\n", &["data"]),
        ("newlines", "data:test\r\ndata\ndata:test\r\n\r", &["test\n\ntest"]),
        ("null-character", "data:\0\n\n\n\n", &["\0"]),
        ("utf-8", "data:ok\u{2026}\n\n", &["ok\u{2026}"]),
        ("field-id-3, persists", "id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata:3\n\ndata:4\n\n", &["1", "2", "3", "4"]),
        ("field-id-3, resets", "id: 1\ndata: 1\n\nid:\ndata: 2\n\ndata:3\n\n", &["1", "2", "3"]),
    ];

    #[test]
    fn the_bodies_of_web_platform_tests_are_decoded() {
        for (name, body, data) in WEB_PLATFORM_BODIES {
            let body = body.replace("LONG", &"x".repeat(900));
            for size in [1, 2, body.len()] {
                let (events, _) = decode(body.as_bytes().chunks(size));
                let read: Vec<&str> = events.iter().map(|event| &event.data[..]).collect();
                assert_eq!(read, data, "{name} by {size}");
            }
        }
        let retry = |body: &str| decode([body.as_bytes()]).1.retry_milliseconds();
        assert_eq!(
            (retry("retry:03000\n"), retry("retry:3000\nretry:1000x\n"), retry("retry\n")),
            (Some(3000), Some(3000), None)
        );
        let id = |body: &str| decode([body.as_bytes()]).1.last_event_id().to_owned();
        assert_eq!(
            (id("id: \u{2026}\ndata\n\n"), id("id\ndata\n\n"), id("id: 1\0\ndata\n\n")),
            ("\u{2026}".into(), String::new(), String::new())
        );
        let names = |body: &str| decode([body.as_bytes()]).0.into_iter().map(|event| event.name).collect::<Vec<_>>();
        assert_eq!(names("event:test\ndata:x\n\ndata:x\n\n"), ["test", "message"]);
    }

    #[test]
    fn events_do_not_depend_on_the_pieces() {
        for (stream, events, last_event_id, retry) in table() {
            for at in 0..=stream.len() {
                let (read, decoder) = decode([&stream[..at], &stream[at..]]);
                assert_eq!(read, events, "{:?} cut at {at}", String::from_utf8_lossy(stream));
                assert_eq!((decoder.last_event_id(), decoder.retry_milliseconds()), (last_event_id, retry));
            }
            let (read, _) = decode(stream.chunks(1));
            assert_eq!(read, events, "{:?} byte by byte", String::from_utf8_lossy(stream));
        }
        let mut random = Random::new(3);
        let all: Vec<u8> = table().iter().skip(1).flat_map(|(stream, ..)| [stream, &b"\n\n"[..]].concat()).collect();
        let whole = decode([&all[..]]).0;
        for _ in 0..100 {
            let mut rest = &all[..];
            let pieces = std::iter::from_fn(|| {
                let (piece, after) = rest.split_at(rest.len().min(1 + random.below(20) as usize));
                rest = after;
                (!piece.is_empty()).then_some(piece)
            });
            assert_eq!(decode(pieces).0, whole);
        }
    }

    #[test]
    fn an_event_is_returned_with_its_last_byte() {
        for ends in ["\n\n", "\r\r", "\r\n\r\n", "\r\n\r", "\n\r"] {
            assert_eq!(decode([format!("data: now{ends}").as_bytes()]).0, [event("message", "now")], "{ends:?}");
        }
    }

    #[test]
    fn the_limits_hold_for_any_pieces() {
        let fits = [&b"data: "[..], &[b'x'; 994], b"\n\n"].concat();
        assert_eq!(decode([&fits[..]]).0[0].data.len(), 994);
        assert_eq!(decode(fits.chunks(7)).0[0].data.len(), 994);

        let long_line = [b'x'; 1001];
        for size in [1, 10, 1001] {
            let mut decoder = Decoder::new(1000);
            let error = long_line.chunks(size).find_map(|mut piece| decoder.next(&mut piece).err());
            assert_eq!(error, Some(DecodeError::LineTooLong));
        }
        let many_lines = "data: ten bytes\n".repeat(101);
        for size in [1, 10, many_lines.len()] {
            let mut decoder = Decoder::new(1000);
            let error = many_lines.as_bytes().chunks(size).find_map(|mut piece| decoder.next(&mut piece).err());
            assert_eq!(error, Some(DecodeError::EventTooLarge));
        }
    }

    #[test]
    fn the_limits_are_per_event() {
        let mut decoder = Decoder::new(100);
        let mut events = 0;
        for _ in 0..10_000 {
            let mut piece = &b": keep going\n\nevent: e\ndata: 0123456789\n\n"[..];
            while decoder.next(&mut piece).unwrap().is_some() {
                events += 1;
            }
            assert!(decoder.is_between_events());
        }
        assert_eq!(events, 10_000);
        let mut rest = &b"data: x\n"[..];
        assert_eq!(decoder.next(&mut rest), Ok(None));
        assert!(!decoder.is_between_events());
    }
}

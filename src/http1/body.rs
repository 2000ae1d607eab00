//! The body of a request or response, decoded in pieces (RFC 9112 §6 and §7.1).
//!
//! Invariant: the content has at most `bytes_max` bytes, and the result does not depend on the pieces.

use super::head::Framing;
use super::{is_token_byte, is_value_byte};
use crate::base::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// The most hexadecimal digits of a chunk size: those of 64 bits.
const CHUNK_SIZE_DIGITS_MAX: usize = 16;

/// Decodes one body.
#[derive(Debug)]
pub struct BodyReader {
    state: BodyState,
    /// Bytes left in the body or the chunk; while a chunk size is being parsed, the size so far.
    left: u64,
    /// Content bytes that Content-Length or the chunk sizes have declared so far.
    total: u64,
    bytes_max: u64,
    /// Bytes of the current chunk line, or of the trailer section.
    section_bytes: usize,
    /// Whether blanks may follow a chunk size.
    allows_blanks: bool,
}

/// The part of the body to which the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    /// Content of a known length. Next: Done.
    Content,
    /// Digits of a chunk's size. Next: SizeBlanks, NameStart, SizeLf.
    Size,
    /// Blanks after a chunk's size, in a response. Next: NameStart, SizeLf.
    SizeBlanks,
    /// The beginning of an extension's name, with blanks before it. Next: Name.
    NameStart,
    /// An extension's name. Next: NameBlanks, ValueStart, NameStart, SizeLf.
    Name,
    /// Blanks after an extension's name. Next: ValueStart, NameStart.
    NameBlanks,
    /// The beginning of an extension's value, with blanks before it. Next: Value, Quoted.
    ValueStart,
    /// A value that is a token. Next: ValueBlanks, NameStart, SizeLf.
    Value,
    /// A value that is a quoted string. Next: QuotedPair, QuotedEnd.
    Quoted,
    /// The byte after a `\` in a quoted string. Next: Quoted.
    QuotedPair,
    /// The byte after a quoted string. Next: ValueBlanks, NameStart, SizeLf.
    QuotedEnd,
    /// Blanks after an extension's value. Next: NameStart.
    ValueBlanks,
    /// The LF of a chunk line. Next: ChunkContent; TrailerStart after the last chunk.
    SizeLf,
    /// A chunk's content. Next: ContentCr.
    ChunkContent,
    /// The CR after a chunk's content. Next: ContentLf.
    ContentCr,
    /// The LF after a chunk's content. Next: Size.
    ContentLf,
    /// The beginning of a trailer line. Next: TrailerName, EndLf.
    TrailerStart,
    /// A trailer's name. Next: TrailerValue.
    TrailerName,
    /// A trailer's value. Next: TrailerLf.
    TrailerValue,
    /// The LF of a trailer line. Next: TrailerStart.
    TrailerLf,
    /// The last LF. Next: Done.
    EndLf,
    /// The body is complete.
    Done,
}

/// The progress of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyProgress {
    /// Bytes of the input that belong to the body: all of them, unless the body is complete.
    pub consumed: usize,
    /// Whether the body is complete.
    pub done: bool,
}

/// Why a body is rejected. The start of the next request is then unknown, so the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The content exceeds the limit.
    TooLarge,
    /// A chunk size is not 1 to 16 hexadecimal digits, followed immediately by CR LF or `;`. In a response, blanks may come in
    /// between.
    ChunkSize,
    /// A chunk line exceeds `CHUNK_LINE_BYTES_MAX`, has an invalid extension, or does not end in CR LF.
    ChunkLine,
    /// CR LF does not follow a chunk's content.
    ChunkEnd,
    /// A trailer line is not a field line.
    Trailer,
    /// The trailers exceed `TRAILER_BYTES_MAX`.
    TrailersTooLarge,
}

impl BodyError {
    /// The status of the response.
    pub fn status(self) -> u16 {
        match self {
            BodyError::TooLarge => 413,
            BodyError::TrailersTooLarge => 431,
            BodyError::ChunkSize | BodyError::ChunkLine | BodyError::ChunkEnd | BodyError::Trailer => 400,
        }
    }

    /// The error code of the API.
    pub fn code(self) -> &'static str {
        match self.status() {
            413 => "payload_too_large",
            431 => "headers_too_large",
            _ => "bad_request",
        }
    }

    /// The message for the client.
    pub fn message(self) -> &'static str {
        match self {
            BodyError::TooLarge => "The request body is too large",
            BodyError::ChunkSize => "A chunk size must be 1 to 16 hexadecimal digits",
            BodyError::ChunkLine => "A chunk line must be short, end in CR LF and have only valid extensions",
            BodyError::ChunkEnd => "A chunk must have the declared length and be followed by CR LF",
            BodyError::Trailer => {
                "A trailer line must be a name followed immediately by a colon, and a value on the same line"
            }
            BodyError::TrailersTooLarge => "The trailers are too large",
        }
    }
}

impl BodyReader {
    /// A reader for a body with this framing. A Content-Length over `bytes_max` is `TooLarge`.
    pub fn new(framing: Framing, bytes_max: u64) -> Result<BodyReader, BodyError> {
        let (state, left) = match framing {
            Framing::None | Framing::Length(0) => (BodyState::Done, 0),
            Framing::Length(length) if length > bytes_max => return Err(BodyError::TooLarge),
            Framing::Length(length) => (BodyState::Content, length),
            Framing::Chunked => (BodyState::Size, 0),
        };
        Ok(BodyReader { state, left, total: left, bytes_max, section_bytes: 0, allows_blanks: false })
    }

    /// A reader for the body of a response, in which blanks may follow a chunk size: some servers send sizes of a fixed width.
    /// No other request follows on its connection, so no two readers can disagree about where one begins.
    pub fn for_response(framing: Framing, bytes_max: u64) -> Result<BodyReader, BodyError> {
        Ok(BodyReader { allows_blanks: true, ..BodyReader::new(framing, bytes_max)? })
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == BodyState::Done
    }

    /// Decodes the next bytes and appends the content to `out`. Bytes after the end of the body are not consumed.
    pub fn read(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<BodyProgress, BodyError> {
        self.advance(input, |content| out.extend_from_slice(content))
    }

    /// Decodes the next bytes as [`read`](BodyReader::read) does, and discards the content.
    pub fn discard(&mut self, input: &[u8]) -> Result<BodyProgress, BodyError> {
        self.advance(input, |_| {})
    }

    fn advance(&mut self, input: &[u8], mut on_content: impl FnMut(&[u8])) -> Result<BodyProgress, BodyError> {
        let mut at = 0;
        while at < input.len() && self.state != BodyState::Done {
            if let BodyState::Content | BodyState::ChunkContent = self.state {
                let rest = &input[at..];
                let taken = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                on_content(&rest[..taken]);
                at += taken;
                self.left -= taken as u64;
                if self.left == 0 {
                    self.state = if self.state == BodyState::Content { BodyState::Done } else { BodyState::ContentCr };
                }
            } else {
                self.state = self.step(input[at])?;
                at += 1;
            }
        }
        Ok(BodyProgress { consumed: at, done: self.is_done() })
    }

    /// Processes one byte that is not content.
    fn step(&mut self, byte: u8) -> Result<BodyState, BodyError> {
        match self.state {
            BodyState::Size => self.step_size(byte),
            BodyState::SizeBlanks => self.step_size_blanks(byte),
            BodyState::NameStart
            | BodyState::Name
            | BodyState::NameBlanks
            | BodyState::ValueStart
            | BodyState::Value
            | BodyState::Quoted
            | BodyState::QuotedPair
            | BodyState::QuotedEnd
            | BodyState::ValueBlanks => self.step_extension(byte),
            BodyState::SizeLf if byte == b'\n' => self.begin_chunk(),
            BodyState::SizeLf => Err(BodyError::ChunkLine),
            BodyState::ContentCr if byte == b'\r' => Ok(BodyState::ContentLf),
            BodyState::ContentLf if byte == b'\n' => Ok(BodyState::Size),
            BodyState::ContentCr | BodyState::ContentLf => Err(BodyError::ChunkEnd),
            BodyState::TrailerStart
            | BodyState::TrailerName
            | BodyState::TrailerValue
            | BodyState::TrailerLf
            | BodyState::EndLf => self.step_trailer(byte),
            BodyState::Content | BodyState::ChunkContent | BodyState::Done => {
                unreachable!("`advance` processes content")
            }
        }
    }

    /// RFC 9112 §7.1. White space after the size of a request's chunk, which the grammar of extensions allows, is rejected:
    /// implementations interpret it differently.
    fn step_size(&mut self, byte: u8) -> Result<BodyState, BodyError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.section_bytes > 0 => return Ok(BodyState::SizeLf),
            b';' if self.section_bytes > 0 => {
                self.section_bytes += 1;
                return Ok(BodyState::NameStart);
            }
            b' ' | b'\t' if self.section_bytes > 0 && self.allows_blanks => return self.step_size_blanks(byte),
            _ => return Err(BodyError::ChunkSize),
        };
        self.section_bytes += 1;
        if self.section_bytes > CHUNK_SIZE_DIGITS_MAX {
            return Err(BodyError::ChunkSize);
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(BodyState::Size)
    }

    fn step_size_blanks(&mut self, byte: u8) -> Result<BodyState, BodyError> {
        self.section_bytes += 1;
        match byte {
            _ if self.section_bytes > CHUNK_LINE_BYTES_MAX => Err(BodyError::ChunkLine),
            b' ' | b'\t' => Ok(BodyState::SizeBlanks),
            b'\r' => Ok(BodyState::SizeLf),
            b';' => Ok(BodyState::NameStart),
            _ => Err(BodyError::ChunkSize),
        }
    }

    /// RFC 9112 §7.1.1. Anything else is rejected, because implementations disagree about where such a line ends.
    fn step_extension(&mut self, byte: u8) -> Result<BodyState, BodyError> {
        use BodyState::{
            Name, NameBlanks, NameStart, Quoted, QuotedEnd, QuotedPair, SizeLf, Value, ValueBlanks, ValueStart,
        };
        if byte == b'\r' && matches!(self.state, Name | Value | QuotedEnd) {
            return Ok(SizeLf);
        }
        self.section_bytes += 1;
        if self.section_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(BodyError::ChunkLine);
        }
        match (self.state, byte) {
            (NameStart | ValueStart, b' ' | b'\t') => Ok(self.state),
            (NameStart | Name, byte) if is_token_byte(byte) => Ok(Name),
            (Name | NameBlanks, b' ' | b'\t') => Ok(NameBlanks),
            (Name | NameBlanks, b'=') => Ok(ValueStart),
            (ValueStart, b'"') => Ok(Quoted),
            (ValueStart | Value, byte) if is_token_byte(byte) => Ok(Value),
            (Value | QuotedEnd | ValueBlanks, b' ' | b'\t') => Ok(ValueBlanks),
            (Name | NameBlanks | Value | QuotedEnd | ValueBlanks, b';') => Ok(NameStart),
            (Quoted, b'"') => Ok(QuotedEnd),
            (Quoted, b'\\') => Ok(QuotedPair),
            (Quoted | QuotedPair, byte) if is_value_byte(byte) => Ok(Quoted),
            _ => Err(BodyError::ChunkLine),
        }
    }

    fn begin_chunk(&mut self) -> Result<BodyState, BodyError> {
        self.section_bytes = 0;
        if self.left == 0 {
            return Ok(BodyState::TrailerStart);
        }
        self.total = self.total.checked_add(self.left).ok_or(BodyError::TooLarge)?;
        if self.total > self.bytes_max {
            return Err(BodyError::TooLarge);
        }
        Ok(BodyState::ChunkContent)
    }

    /// RFC 9112 §7.1.2: trailers are validated like fields, and discarded.
    fn step_trailer(&mut self, byte: u8) -> Result<BodyState, BodyError> {
        self.section_bytes += 1;
        if self.section_bytes > TRAILER_BYTES_MAX {
            return Err(BodyError::TrailersTooLarge);
        }
        match (self.state, byte) {
            (BodyState::TrailerStart, b'\r') => Ok(BodyState::EndLf),
            (BodyState::TrailerStart | BodyState::TrailerName, byte) if is_token_byte(byte) => {
                Ok(BodyState::TrailerName)
            }
            (BodyState::TrailerName, b':') => Ok(BodyState::TrailerValue),
            (BodyState::TrailerValue, b'\r') => Ok(BodyState::TrailerLf),
            (BodyState::TrailerValue, byte) if is_value_byte(byte) => Ok(BodyState::TrailerValue),
            (BodyState::TrailerLf, b'\n') => Ok(BodyState::TrailerStart),
            (BodyState::EndLf, b'\n') => Ok(BodyState::Done),
            _ => Err(BodyError::Trailer),
        }
    }
}

const _: () = assert!(CHUNK_SIZE_DIGITS_MAX < CHUNK_LINE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_length_over_the_limit_is_rejected_before_the_first_byte() {
        assert_eq!(BodyReader::new(Framing::Length(11), 10).err(), Some(BodyError::TooLarge));
        assert!(!BodyReader::new(Framing::Length(10), 10).unwrap().is_done());
        assert!(BodyReader::new(Framing::Length(0), 0).unwrap().is_done());
        assert!(BodyReader::new(Framing::None, 0).unwrap().is_done());
    }

    #[test]
    fn discard_consumes_as_much_as_read() {
        let input = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nGET /";
        let mut out = Vec::new();
        let read = BodyReader::new(Framing::Chunked, 6).unwrap().read(input, &mut out).unwrap();
        let discarded = BodyReader::new(Framing::Chunked, 6).unwrap().discard(input).unwrap();
        assert_eq!((read, out.as_slice()), (discarded, &b"hello!"[..]));
        assert_eq!(read, BodyProgress { consumed: input.len() - 5, done: true });
    }

    #[test]
    fn a_complete_body_consumes_nothing() {
        let mut reader = BodyReader::new(Framing::Length(2), 2).unwrap();
        assert_eq!(reader.discard(b"a"), Ok(BodyProgress { consumed: 1, done: false }));
        assert_eq!(reader.discard(b"bc"), Ok(BodyProgress { consumed: 1, done: true }));
        assert_eq!(reader.discard(b"c"), Ok(BodyProgress { consumed: 0, done: true }));
    }

    #[test]
    fn blanks_may_follow_a_chunk_size_only_in_responses() {
        let end = "\r\nhello\r\n0 \r\n\r\n";
        for size in ["5 ", "5  \t ", "5 ;x=y", "00005     "] {
            let input = format!("{size}{end}");
            for step in [1, 3, input.len()] {
                let mut out = Vec::new();
                let mut reader = BodyReader::for_response(Framing::Chunked, 100).unwrap();
                for piece in input.as_bytes().chunks(step) {
                    reader.read(piece, &mut out).unwrap();
                }
                assert_eq!((out.as_slice(), reader.is_done()), (&b"hello"[..], true), "{size:?} by {step}");
            }
            let strict = BodyReader::new(Framing::Chunked, 100).unwrap().discard(input.as_bytes());
            assert_eq!(strict, Err(BodyError::ChunkSize), "{size:?}");
        }
        let long = format!("5{}\r\n", " ".repeat(CHUNK_LINE_BYTES_MAX));
        for (size, error) in
            [(" 5\r\n", BodyError::ChunkSize), ("5 5\r\n", BodyError::ChunkSize), (&long, BodyError::ChunkLine)]
        {
            let mut reader = BodyReader::for_response(Framing::Chunked, 100).unwrap();
            assert_eq!(reader.discard(size.as_bytes()), Err(error), "{size:?}");
        }
    }

    #[test]
    fn sizes_near_64_bits_do_not_wrap() {
        let mut reader = BodyReader::new(Framing::Chunked, u64::MAX).unwrap();
        assert_eq!(reader.discard(b"1\r\na\r\n"), Ok(BodyProgress { consumed: 6, done: false }));
        assert_eq!(reader.discard(b"ffffffffffffffff\r\n"), Err(BodyError::TooLarge));
        assert_eq!(BodyError::TooLarge.status(), 413);
    }
}

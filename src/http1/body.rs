//! The body of a request, read piece by piece (RFC 9112 §6 and §7.1).
//!
//! Invariant: never more than `bytes_max` bytes of content are given out, and what the pieces are does not change the
//! result.

use super::head::Framing;
use super::{is_token_byte, is_value_byte};
use crate::base::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Hexadecimal digits of a chunk size: as many as 64 bits have.
const CHUNK_SIZE_DIGITS_MAX: usize = 16;

/// Reads one body.
#[derive(Debug)]
pub struct BodyReader {
    state: BodyState,
    /// Bytes that the body, or the chunk, still has; while its size is read, the size so far.
    left: u64,
    /// Content bytes that are announced so far.
    total: u64,
    bytes_max: u64,
    /// Bytes of the chunk line, or of the trailer section, so far.
    section_bytes: usize,
}

/// Where in the body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    /// Content of known length. Next: Done.
    Content,
    /// Digits of a chunk's size. Next: Extension, SizeLf.
    Size,
    /// What follows a `;`, of which only the quotes are looked at. Next: Quoted, SizeLf.
    Extension,
    /// Within quotes of an extension, which end on the same line. Next: QuotedPair, Extension.
    Quoted,
    /// The byte behind a `\` within quotes. Next: Quoted.
    QuotedPair,
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

/// How far one call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyProgress {
    /// Bytes of the input that belong to the body: all, unless it is done.
    pub consumed: usize,
    /// Whether the body is complete.
    pub done: bool,
}

/// What is wrong with a body. The connection closes: where the next request would begin is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The content is over the limit.
    TooLarge,
    /// A chunk's size is not 1 to 16 hexadecimal digits right before CR LF or `;`.
    ChunkSize,
    /// A chunk's line is over `CHUNK_LINE_BYTES_MAX`, has a control character or open quotes, or does not end in CR LF.
    ChunkLine,
    /// A chunk's content is not followed by CR LF.
    ChunkEnd,
    /// A trailer line is no field line.
    Trailer,
    /// The trailers are over `TRAILER_BYTES_MAX`.
    TrailersTooLarge,
}

impl BodyError {
    /// The status to answer with.
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

    /// What is wrong, for the client.
    pub fn message(self) -> &'static str {
        match self {
            BodyError::TooLarge => "The request body is too large",
            BodyError::ChunkSize => "A chunk size must be 1 to 16 hexadecimal digits",
            BodyError::ChunkLine => "A chunk line must end in CR LF, be short and have no control characters",
            BodyError::ChunkEnd => "A chunk must be as long as announced, and be followed by CR LF",
            BodyError::Trailer => "A trailer line must be a name, a colon right after it, and a value on the same line",
            BodyError::TrailersTooLarge => "The trailers are too large",
        }
    }
}

impl BodyReader {
    /// A reader for a body of this framing; `TooLarge` at once when its length is known to be over `bytes_max`.
    pub fn new(framing: Framing, bytes_max: u64) -> Result<BodyReader, BodyError> {
        let (state, left) = match framing {
            Framing::None | Framing::Length(0) => (BodyState::Done, 0),
            Framing::Length(length) if length > bytes_max => return Err(BodyError::TooLarge),
            Framing::Length(length) => (BodyState::Content, length),
            Framing::Chunked => (BodyState::Size, 0),
        };
        Ok(BodyReader { state, left, total: left, bytes_max, section_bytes: 0 })
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == BodyState::Done
    }

    /// Reads on and appends the content to `out`. Bytes after the body's end are left alone.
    pub fn read(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<BodyProgress, BodyError> {
        self.advance(input, |content| out.extend_from_slice(content))
    }

    /// Reads on as `read` does, and drops the content.
    pub fn discard(&mut self, input: &[u8]) -> Result<BodyProgress, BodyError> {
        self.advance(input, |_| {})
    }

    fn advance(&mut self, input: &[u8], mut give: impl FnMut(&[u8])) -> Result<BodyProgress, BodyError> {
        let mut at = 0;
        while at < input.len() && self.state != BodyState::Done {
            if let BodyState::Content | BodyState::ChunkContent = self.state {
                let rest = &input[at..];
                let taken = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                give(&rest[..taken]);
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

    /// Takes one byte that is not content.
    fn step(&mut self, byte: u8) -> Result<BodyState, BodyError> {
        match self.state {
            BodyState::Size => self.step_size(byte),
            BodyState::Extension if byte == b'\r' => Ok(BodyState::SizeLf),
            BodyState::Extension | BodyState::Quoted | BodyState::QuotedPair => self.step_extension(byte),
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
                unreachable!("content is not read byte by byte")
            }
        }
    }

    /// RFC 9112 §7.1. White space after the size, which the grammar of extensions allows, is refused: others read
    /// it differently.
    fn step_size(&mut self, byte: u8) -> Result<BodyState, BodyError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.section_bytes > 0 => return Ok(BodyState::SizeLf),
            b';' if self.section_bytes > 0 => {
                self.section_bytes += 1;
                return Ok(BodyState::Extension);
            }
            _ => return Err(BodyError::ChunkSize),
        };
        self.section_bytes += 1;
        if self.section_bytes > CHUNK_SIZE_DIGITS_MAX {
            return Err(BodyError::ChunkSize);
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(BodyState::Size)
    }

    /// RFC 9112 §7.1.1. Quotes that are left open are refused: others look for their end behind the line.
    fn step_extension(&mut self, byte: u8) -> Result<BodyState, BodyError> {
        self.section_bytes += 1;
        if self.section_bytes > CHUNK_LINE_BYTES_MAX || !is_value_byte(byte) {
            return Err(BodyError::ChunkLine);
        }
        Ok(match (self.state, byte) {
            (BodyState::Extension, b'"') => BodyState::Quoted,
            (BodyState::Quoted, b'"') => BodyState::Extension,
            (BodyState::Quoted, b'\\') => BodyState::QuotedPair,
            (BodyState::QuotedPair, _) => BodyState::Quoted,
            (state, _) => state,
        })
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

    /// RFC 9112 §7.1.2: trailers are checked like fields, and dropped.
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
    fn a_known_length_over_the_limit_is_refused_before_the_first_byte() {
        assert_eq!(BodyReader::new(Framing::Length(11), 10).err(), Some(BodyError::TooLarge));
        assert!(!BodyReader::new(Framing::Length(10), 10).unwrap().is_done());
        assert!(BodyReader::new(Framing::Length(0), 0).unwrap().is_done());
        assert!(BodyReader::new(Framing::None, 0).unwrap().is_done());
    }

    #[test]
    fn discarding_comes_as_far_as_reading() {
        let input = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nGET /";
        let mut out = Vec::new();
        let read = BodyReader::new(Framing::Chunked, 6).unwrap().read(input, &mut out).unwrap();
        let discarded = BodyReader::new(Framing::Chunked, 6).unwrap().discard(input).unwrap();
        assert_eq!((read, out.as_slice()), (discarded, &b"hello!"[..]));
        assert_eq!(read, BodyProgress { consumed: input.len() - 5, done: true });
    }

    #[test]
    fn a_reader_that_is_done_takes_nothing() {
        let mut reader = BodyReader::new(Framing::Length(2), 2).unwrap();
        assert_eq!(reader.discard(b"a"), Ok(BodyProgress { consumed: 1, done: false }));
        assert_eq!(reader.discard(b"bc"), Ok(BodyProgress { consumed: 1, done: true }));
        assert_eq!(reader.discard(b"c"), Ok(BodyProgress { consumed: 0, done: true }));
    }

    #[test]
    fn sizes_near_64_bits_do_not_wrap() {
        let mut reader = BodyReader::new(Framing::Chunked, u64::MAX).unwrap();
        assert_eq!(reader.discard(b"1\r\na\r\n"), Ok(BodyProgress { consumed: 6, done: false }));
        assert_eq!(reader.discard(b"ffffffffffffffff\r\n"), Err(BodyError::TooLarge));
        assert_eq!(BodyError::TooLarge.status(), 413);
    }
}

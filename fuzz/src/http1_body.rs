//! Request bodies: `http1::body` against `http_reference`, with the same content however the bytes arrive.
//!
//! Input: a byte each for the framing, the limit and the cuts, two for a length, then the bytes.

use super::choices::{Choices, cuts, pieces};
use super::http_reference::{Chunks, read_chunks};
use cortex_core::internals::{BodyError, BodyReader, Framing};

/// The result: the content, and the consumed bytes if the body was complete.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    content: Vec<u8>,
    end: Result<Option<usize>, BodyError>,
}

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let kind = choices.below(4);
    let limit = [u64::MAX, 0, 5, 16, 64, 300, 1024, 1 << 20][choices.below(8)];
    let seed = choices.byte();
    let length = choices.pair() as u64;
    let input = choices.0;
    let framing = match kind {
        0 => Framing::Length(length % 512),
        1 if length == 0 => Framing::None,
        1 => Framing::Length(length << 48),
        _ => Framing::Chunked,
    };

    let whole = read(framing, limit, std::iter::once(input));
    compare(framing, limit, input, &whole);
    for ends in cuts(input.len(), seed) {
        let got = read(framing, limit, pieces(input, &ends));
        assert_eq!(got, whole, "in pieces that end at {ends:?}");
    }
}

fn compare(framing: Framing, limit: u64, input: &[u8], got: &Read) {
    let (content, want) = match framing {
        Framing::None => (Vec::new(), Ok(Some(0))),
        Framing::Length(length) if length > limit => (Vec::new(), Err(413)),
        Framing::Length(length) => match input.get(..length as usize) {
            Some(content) => (content.to_vec(), Ok(Some(content.len()))),
            None => (input.to_vec(), Ok(None)),
        },
        Framing::Chunked => match read_chunks(input, limit) {
            Chunks::Whole(content, len) => (content, Ok(Some(len))),
            Chunks::Unfinished(content) => (content, Ok(None)),
            Chunks::Bad(content, status) => (content, Err(status)),
        },
    };
    assert_eq!(got.end.map_err(BodyError::status), want);
    assert_eq!(got.content, content);
    assert!(content.len() as u64 <= limit, "the limit holds");
}

/// Reads the pieces, and discards them in parallel, which must consume the same bytes.
fn read<'a>(framing: Framing, limit: u64, pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut content = Vec::new();
    let (mut reader, mut passer) = match (BodyReader::new(framing, limit), BodyReader::new(framing, limit)) {
        (Ok(reader), Ok(passer)) => (reader, passer),
        (Err(error), Err(same)) if error == same => return Read { content, end: Err(error) },
        _ => panic!("the same framing is accepted and rejected"),
    };
    let mut consumed = 0;
    for piece in pieces {
        let progress = reader.read(piece, &mut content);
        assert_eq!(progress, passer.discard(piece), "discarding consumes the same bytes as reading");
        assert!(content.len() <= consumed + piece.len(), "content comes from the body");
        match progress {
            Ok(progress) => {
                consumed += progress.consumed;
                assert_eq!(progress.done, reader.is_done());
                assert!(progress.done || progress.consumed == piece.len(), "only the end leaves bytes unread");
                if progress.done {
                    return Read { content, end: Ok(Some(consumed)) };
                }
            }
            Err(error) => return Read { content, end: Err(error) },
        }
    }
    let end = if reader.is_done() { Some(consumed) } else { None };
    Read { content, end: Ok(end) }
}

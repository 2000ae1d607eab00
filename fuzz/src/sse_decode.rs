//! Event streams of an upstream: `sse::decode` against `sse_reference`, with the same events however the bytes arrive.
//!
//! Input: a byte each for the bound and the cuts, then the stream.

use super::choices::{Choices, cuts, pieces};
use super::sse_reference as reference;
use cortex_core::internals::Decoder;

#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    events: Vec<reference::Event>,
    last_event_id: String,
    retry: Option<u64>,
    too_large: bool,
}

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let bytes_max = [1 << 20, 8, 40, 256][choices.below(4)];
    let seed = choices.byte();
    check(choices.0, bytes_max, seed);
    // Another event shows the fields and the line that are incomplete at the end of the stream.
    for more in [b"data: more\n\n".as_slice(), b"\ndata: more\n\n"] {
        check(&[choices.0, more].concat(), bytes_max, seed);
    }
}

/// Compares the program's events with the reference, whole and in pieces.
pub fn check(input: &[u8], bytes_max: usize, seed: u8) {
    let whole = decode(std::iter::once(input), bytes_max);
    let want = reference::read(input, bytes_max);
    assert_eq!(whole.events, want.events);
    assert_eq!(whole.too_large, want.too_large);
    assert_eq!(whole.last_event_id, want.last_event_id);
    if !want.too_large {
        // The standard has no largest number.
        let retry = want.retry.map(|digits| digits.parse::<u64>().ok());
        assert_eq!(whole.retry, retry.flatten());
    }
    for ends in cuts(input.len(), seed) {
        assert_eq!(decode(pieces(input, &ends), bytes_max), whole, "in pieces that end at {ends:?}");
    }
}

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>, bytes_max: usize) -> Decoded {
    let mut decoder = Decoder::new(bytes_max);
    let mut events = Vec::new();
    let mut too_large = false;
    'pieces: for mut piece in pieces {
        loop {
            let before = piece.len();
            match decoder.next(&mut piece) {
                Ok(Some(event)) => {
                    assert!(piece.len() < before, "an event consumes bytes");
                    let named_by_stream = if event.name == "message" { 0 } else { event.name.len() };
                    assert!(named_by_stream + event.data.len() <= bytes_max, "the bound holds");
                    let last_event_id = decoder.last_event_id().to_owned();
                    events.push(reference::Event { name: event.name, data: event.data, last_event_id });
                }
                Ok(None) => {
                    assert!(piece.is_empty(), "a piece is consumed completely");
                    break;
                }
                Err(_) => {
                    too_large = true;
                    break 'pieces;
                }
            }
        }
    }
    Decoded {
        events,
        last_event_id: decoder.last_event_id().to_owned(),
        retry: decoder.retry_milliseconds(),
        too_large,
    }
}

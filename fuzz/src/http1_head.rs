//! Request heads: `http1::head` against `http_reference`, with the same result however the bytes arrive.
//!
//! Input: a byte each for the limit and the cuts, then the bytes of a connection.

use super::choices::{Choices, cuts};
use super::http_reference::{self as reference, Reading};
use cortex_core::internals::head::{parse_head, worth_parsing};
use cortex_core::internals::{Framing, Head, HeadError, HeadLimits, HeaderBuf, Version};

/// The program's result for some bytes, without borrows.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Good(reference::Head),
    Bad(HeadError),
    Unfinished,
}

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let limits = HeadLimits { head_bytes_max: [16 * 1024, 64, 200, 1024, 9000][choices.below(5)] };
    let seed = choices.byte();
    let input = choices.0;

    let whole = outcome_of(input, &limits);
    compare(input, &whole, &limits);
    for ends in cuts(input.len(), seed) {
        assert_eq!(arriving(input, &ends, &limits), whole, "in pieces that end at {ends:?}");
    }
    if !matches!(whole, Outcome::Unfinished) && input.len() < limits.head_bytes_max {
        let mut longer = input.to_vec();
        longer.extend_from_slice(b"\r\n\r\nGET /next HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(outcome_of(&longer, &limits), whole, "following bytes change nothing");
    }
}

fn compare(input: &[u8], got: &Outcome, limits: &HeadLimits) {
    match (got, reference::read_head(input, limits.head_bytes_max)) {
        (Outcome::Good(got), Reading::Good(want)) => assert_eq!(*got, want),
        (Outcome::Bad(error), Reading::Bad(statuses)) => {
            assert!(statuses.contains(&error.status()), "{error:?}, expected one of {statuses:?}");
        }
        (Outcome::Unfinished, Reading::Unfinished) => {}
        // An early rejection must be correct for every continuation.
        (Outcome::Bad(error), Reading::Unfinished) => {
            reference::assert_beyond_repair(input, error.status());
        }
        (got, want) => panic!("{got:?} is not {want:?}"),
    }
}

fn outcome_of(input: &[u8], limits: &HeadLimits) -> Outcome {
    if worth_parsing(0, input, limits) { parse(input, limits) } else { Outcome::Unfinished }
}

/// Feeds the bytes as a connection does: an incomplete head is kept, and parsed again when it may be complete.
fn arriving(input: &[u8], ends: &[usize], limits: &HeadLimits) -> Outcome {
    let mut seen = 0;
    for end in ends {
        if worth_parsing(seen, &input[..*end], limits) {
            let outcome = parse(&input[..*end], limits);
            if outcome != Outcome::Unfinished {
                return outcome;
            }
        }
        seen = *end;
    }
    Outcome::Unfinished
}

fn parse(input: &[u8], limits: &HeadLimits) -> Outcome {
    let mut slots = HeaderBuf::new();
    match parse_head(input, &mut slots, limits) {
        Ok(None) => Outcome::Unfinished,
        Ok(Some(head)) => Outcome::Good(owned(&head)),
        Err(error) => Outcome::Bad(error),
    }
}

fn owned(head: &Head<'_, '_>) -> reference::Head {
    assert_eq!(head.method.as_str().unwrap_or(head.method_name), head.method_name);
    let fields: Vec<(String, Vec<u8>)> =
        head.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect();
    for (name, _) in &fields {
        let same = |known: &str| known.eq_ignore_ascii_case(name);
        let want: Vec<&[u8]> = fields.iter().filter(|(known, _)| same(known)).map(|(_, value)| &value[..]).collect();
        assert_eq!(head.fields(&name.to_ascii_uppercase()).collect::<Vec<_>>(), want);
        assert_eq!(head.field(name), Some(want[0]));
    }
    let host_name = match head.host.find(']') {
        Some(bracket) => &head.host[..=bracket],
        None => head.host.split(':').next().expect("a split has a first part"),
    };
    assert_eq!(head.host_name(), host_name);
    reference::Head {
        method: head.method_name.to_owned(),
        path: head.path.to_owned(),
        query: head.query.map(str::to_owned),
        is_11: head.version == Version::Http11,
        host: head.host.to_owned(),
        body: match head.framing {
            Framing::None => reference::Body::None,
            Framing::Length(length) => reference::Body::Length(length),
            Framing::Chunked => reference::Body::Chunked,
        },
        keep_alive: head.keep_alive,
        expect_continue: head.expect_continue,
        len: head.bytes,
        fields,
    }
}

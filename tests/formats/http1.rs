//! The table of requests, each fed whole, byte by byte and split at every position, with identical results.

#[path = "../common/conformance/requests/mod.rs"]
mod requests;

use cortex_core::internals::head::{parse_head, worth_parsing};
use cortex_core::internals::limits::TARGET_BYTES_MAX;
use cortex_core::internals::{BodyReader, Framing, Head, HeadLimits, HeaderBuf, Random, Version};
use requests::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use std::fmt::Write;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: HEAD_BYTES_MAX };

/// Parses the requests of a connection as the event loop does: the head when it may be complete, then the body.
///
/// If `eager` is set, the head is tried after every piece.
fn read_all<'a>(pieces: impl Iterator<Item = &'a [u8]>, eager: bool) -> String {
    let mut description = String::new();
    let mut waiting: Vec<u8> = Vec::new();
    let mut looked_at = 0;
    let mut body: Option<(BodyReader, Vec<u8>)> = None;
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            if let Some((reader, content)) = &mut body {
                let progress = match reader.read(&waiting, content) {
                    Ok(progress) => progress,
                    Err(error) => return description + &format!(" !{error:?}"),
                };
                waiting.drain(..progress.consumed);
                assert_eq!(progress.done, reader.is_done());
                if !progress.done {
                    assert!(waiting.is_empty(), "an incomplete body consumes all bytes");
                    break;
                }
                if !content.is_empty() {
                    write!(description, " [{}]", content.escape_ascii()).unwrap();
                }
                body = None;
            }
            if !eager && !worth_parsing(looked_at, &waiting, &LIMITS) {
                looked_at = waiting.len();
                break;
            }
            let mut slots = HeaderBuf::new();
            let (framing, bytes) = match parse_head(&waiting, &mut slots, &LIMITS) {
                Ok(Some(head)) => {
                    check_head(&head, &waiting[..head.bytes]);
                    describe(&mut description, &head);
                    (head.framing, head.bytes)
                }
                Ok(None) => {
                    looked_at = waiting.len();
                    break;
                }
                Err(error) => return format!("{description}{}!{error:?}", separator_of(&description)),
            };
            waiting.drain(..bytes);
            looked_at = 0;
            body = match BodyReader::new(framing, BODY_BYTES_MAX as u64) {
                Ok(reader) => Some((reader, Vec::new())),
                Err(error) => return description + &format!(" !{error:?}"),
            };
        }
    }
    match (body.is_some(), waiting.is_empty()) {
        (true, _) => description + " ...",
        (false, false) => format!("{description}{}...", separator_of(&description)),
        (false, true) => description,
    }
}

fn separator_of(description: &str) -> &'static str {
    if description.is_empty() { "" } else { " | " }
}

fn describe(description: &mut String, head: &Head) {
    description.push_str(separator_of(description));
    match head.method.as_str() {
        Some(name) => description.push_str(name),
        None => write!(description, "({})", head.method_name).unwrap(),
    }
    write!(description, " {}", head.path).unwrap();
    if let Some(query) = head.query {
        write!(description, "?{query}").unwrap();
    }
    let version = if head.version == Version::Http11 { "1.1" } else { "1.0" };
    write!(description, " {version} {}", head.host).unwrap();
    match head.framing {
        Framing::None => description.push_str(" none"),
        Framing::Length(length) => write!(description, " {length}").unwrap(),
        Framing::Chunked => description.push_str(" chunked"),
    }
    description.push_str(if head.keep_alive { " keep" } else { " close" });
    if head.expect_continue {
        description.push_str(" expects");
    }
}

/// Properties of every accepted head, checked independently of the parser.
fn check_head(head: &Head, bytes: &[u8]) {
    let text: Vec<&[u8]> =
        bytes.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line").split(|b| *b == b'\n').collect();
    let (last, lines) = text.split_last().unwrap();
    for line in lines.iter().map(|line| line.strip_suffix(b"\r").expect("a line ends in CR LF")).chain([*last]) {
        assert!(line.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f)), "no control characters");
        assert!(!line.starts_with(b" ") && !line.starts_with(b"\t"), "no folded line");
    }
    let count = |name: &str| head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count();
    assert!(count("host") == 1 || (count("host") == 0 && head.version == Version::Http10));
    assert_eq!(count("content-length"), usize::from(matches!(head.framing, Framing::Length(_))));
    assert_eq!(count("transfer-encoding"), usize::from(head.framing == Framing::Chunked));
    assert!(head.path.starts_with('/') || head.path == "*");
    assert!(head.path.len() + head.query.map_or(0, str::len) <= TARGET_BYTES_MAX);
}

#[test]
fn every_case_parses_the_same_however_it_is_split() {
    let cases = requests::all_cases();
    for (name, input, want) in &cases {
        assert_eq!(&read_all([&input[..]].into_iter(), false), want, "{name}, whole");
        assert_eq!(&read_all(input.chunks(1), false), want, "{name}, byte by byte");
        assert_eq!(&read_all(input.chunks(1), true), want, "{name}, byte by byte and tried after each");
        for at in 0..=input.len() {
            let pieces = [&input[..at], &input[at..]];
            assert_eq!(&read_all(pieces.into_iter(), false), want, "{name}, split at {at}");
        }
    }
}

#[test]
fn case_names_are_unique() {
    let cases = requests::all_cases();
    let mut names = std::collections::HashSet::new();
    for (name, ..) in &cases {
        assert!(names.insert(name), "{name} occurs twice");
    }
    assert!(cases.len() >= 580, "{}", cases.len());
}

/// Mutated requests have no expected result, but the result does not depend on the split, and accepted heads pass
/// `check_head`.
#[test]
fn mutated_requests_parse_the_same_however_they_are_split() {
    const PIECES: &[&[u8]] = &[
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b",",
        b";",
        b"0",
        b"%",
        b"#",
        b"?",
        b"\xff",
        b"HTTP/1.1",
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"1\r\nx\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ];
    let cases: Vec<Vec<u8>> =
        requests::all_cases().into_iter().map(|(_, input, _)| input).filter(|input| input.len() < 400).collect();
    let mut random = Random::new(9112);
    for _ in 0..20_000 {
        let mut input = cases[random.below(cases.len() as u64) as usize].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(input.len() as u64 + 1) as usize;
            let end = (at + random.below(3) as usize).min(input.len());
            let piece = PIECES[random.below(PIECES.len() as u64) as usize];
            input.splice(at..end, piece.iter().copied());
        }
        let whole = read_all([&input[..]].into_iter(), false);
        let at = random.below(input.len() as u64 + 1) as usize;
        for eager in [false, true] {
            assert_eq!(read_all(input.chunks(1), eager), whole, "{}", input.escape_ascii());
            assert_eq!(read_all([&input[..at], &input[at..]].into_iter(), eager), whole, "{}", input.escape_ascii());
        }
    }
}

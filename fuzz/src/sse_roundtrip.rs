//! Our own streams: the output of `sse`, parsed by the reference, equals the input.
//!
//! Input: a list of frames, each a byte for its type and its content; see `run`.

use super::choices::Choices;
use super::sse_decode;
use super::sse_reference::{self as reference, Event};
use cortex_core::internals::sse::{BlockFields, write_block};
use cortex_core::internals::{EventKind, EventNumber, LastEventId, parse_last_event_ids};

pub fn run(data: &[u8]) {
    check_last_event_id(data);
    let mut choices = Choices(data);
    let seed = choices.byte();
    let mut out = Vec::new();
    let mut expected: Vec<Event> = Vec::new();
    let (mut last_event_id, mut last_retry) = (String::new(), None);
    while !choices.is_over() {
        let what = choices.byte();
        let retry_milliseconds = (what & 0x70 == 0x70).then(|| (choices.pair() as u64) << (what & 15));
        if let Some(milliseconds) = retry_milliseconds {
            last_retry = Some(milliseconds.to_string());
        }
        let id = (what & 1 == 1).then(|| {
            let bytes = choices.take(8);
            EventNumber(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        });
        let kind = EventKind::ALL[choices.below(EventKind::ALL.len())];
        let name = (what & 2 == 2).then_some(kind.as_str());
        // An event can contain any text without line breaks; JSON has none.
        let len = choices.below(64);
        let text = String::from_utf8_lossy(choices.take(len)).into_owned();
        let json = match what >> 2 & 3 {
            0 => text.replace(['\r', '\n'], " "),
            _ => serde_json::to_string(&text).expect("text is JSON"),
        };
        let escaped = [('\u{85}', r"\u0085"), ('\u{2028}', r"\u2028"), ('\u{2029}', r"\u2029")];
        let data = escaped.iter().fold(json.clone(), |data, (char, escape)| data.replace(*char, escape));
        let before = out.len();
        let fields = BlockFields { retry_milliseconds, id };
        write_block(fields, name, |out| out.extend_from_slice(json.as_bytes()), &mut out);
        let lines =
            2 + [id.is_some(), name.is_some(), retry_milliseconds.is_some()].map(usize::from).iter().sum::<usize>();
        assert_eq!(out[before..].iter().filter(|byte| **byte == b'\n').count(), lines, "each field is a line");
        if let Some(id) = id {
            last_event_id = id.0.to_string();
            let read = parse_last_event_ids([last_event_id.as_bytes()]);
            assert_eq!(read, LastEventId::Number(id), "an id survives the round trip");
        }
        let name = name.unwrap_or("message").to_owned();
        expected.push(Event { name, data, last_event_id: last_event_id.clone() });
    }
    let read = reference::read(&out, usize::MAX);
    assert_eq!(read.events, expected);
    assert_eq!((read.last_event_id, read.retry), (last_event_id, last_retry));
    assert!(!read.cut_off);
    // A minimal client reads line by line and looks for this prefix.
    let data_lines = out.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"data: ")).count();
    assert_eq!(data_lines, expected.len());
    sse_decode::check(&out, 1 << 20, seed);
}

/// The largest number of a list counts, and one invalid element invalidates it.
fn check_last_event_id(value: &[u8]) {
    let mut want = LastEventId::Absent;
    for part in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()) {
        let text = std::str::from_utf8(part).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(number) = text.and_then(|text| text.parse().ok()) else {
            want = LastEventId::Invalid;
            break;
        };
        want = match want {
            LastEventId::Number(EventNumber(other)) => LastEventId::Number(EventNumber(u64::max(number, other))),
            _ => LastEventId::Number(EventNumber(number)),
        };
    }
    assert_eq!(parse_last_event_ids([value]), want);
}

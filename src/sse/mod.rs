//! Layer 2: Server-Sent Events on byte slices (HTML Standard §9.2): the encoder. The decoder is in [`decode`].
//!
//! Lines end in LF. Each event has one `data` line: its JSON has no line breaks, and some clients read only one line.

pub(crate) mod decode;
pub(crate) mod frame;

use crate::base::decimal;
use crate::domain::id::EventNumber;

/// The fields of a block beside its data and its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockFields {
    /// `retry:`, the time before a client reconnects, in milliseconds.
    pub retry_milliseconds: Option<u64>,
    /// `id:`
    pub id: Option<EventNumber>,
}

/// Appends one block: `retry: N` and `event: <name>` if it has them, `data: ` and the JSON that `write_json` appends, `id: N`
/// if it has one, and the empty line that dispatches the event.
///
/// HTML Standard §9.2.6: without `id`, the client keeps the last id that it received. Every block has data, because some
/// clients dispatch an empty event for a block without. `id` comes last, because some clients adopt an id as soon as they have
/// read its line. Neither the name nor the JSON has line breaks. U+0085, U+2028 and U+2029 are escaped: they are line breaks
/// in Unicode, and for clients that use Python's `str.splitlines`.
pub fn write_block(fields: BlockFields, name: Option<&str>, write_json: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    if let Some(milliseconds) = fields.retry_milliseconds {
        out.extend_from_slice(b"retry: ");
        decimal::push(out, milliseconds);
        out.push(b'\n');
    }
    if let Some(name) = name {
        write_name(name, out);
    }
    out.extend_from_slice(b"data: ");
    let start = out.len();
    write_json(out);
    debug_assert!(memchr::memchr2(b'\n', b'\r', &out[start..]).is_none(), "the JSON has no line breaks");
    escape_line_ends(start, out);
    out.push(b'\n');
    if let Some(id) = fields.id {
        out.extend_from_slice(b"id: ");
        decimal::push(out, id.0);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Appends one event that has nothing but data, which is one line. See [`write_block`].
pub(crate) fn write_data(write_json: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    write_block(BlockFields::default(), None, write_json, out);
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    debug_assert!(!name.contains(['\n', '\r']), "a name has no line breaks");
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
}

/// Escapes the line breaks of Unicode in the JSON that starts at `start`. In JSON they occur only in strings, where an
/// escape is equivalent. They are rare, so this nearly always only searches.
fn escape_line_ends(start: usize, out: &mut Vec<u8>) {
    let Some(first) = memchr::memchr2_iter(0xc2, 0xe2, &out[start..]).find(|at| line_end(&out[start + at..]).is_some())
    else {
        return;
    };
    let json = out.split_off(start + first);
    let mut from = 0;
    for at in memchr::memchr2_iter(0xc2, 0xe2, &json) {
        let Some((bytes, escape)) = line_end(&json[at..]) else { continue };
        out.extend_from_slice(&json[from..at]);
        out.extend_from_slice(escape);
        from = at + bytes;
    }
    out.extend_from_slice(&json[from..]);
}

/// The length and the escape of the Unicode line break at the beginning of `json`.
fn line_end(json: &[u8]) -> Option<(usize, &'static [u8])> {
    match json {
        [0xc2, 0x85, ..] => Some((2, br"\u0085")),
        [0xe2, 0x80, 0xa8, ..] => Some((3, br"\u2028")),
        [0xe2, 0x80, 0xa9, ..] => Some((3, br"\u2029")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::decode::Decoder;
    use super::*;
    use crate::base::random::Random;

    fn block(fields: BlockFields, name: Option<&str>, json: &str, out: &mut Vec<u8>) {
        write_block(fields, name, |out| out.extend_from_slice(json.as_bytes()), out);
    }

    #[test]
    fn blocks_have_the_form_of_the_api() {
        type Case<'a> = (Option<u64>, Option<u64>, Option<&'a str>, &'a str);
        let table: [Case<'_>; 5] = [
            (None, Some(41), None, "data: {\"a\":1}\nid: 41\n\n"),
            (None, Some(u64::MAX), Some("input"), "event: input\ndata: {\"a\":1}\nid: 18446744073709551615\n\n"),
            (None, None, Some("output_delta"), "event: output_delta\ndata: {\"a\":1}\n\n"),
            (None, None, None, "data: {\"a\":1}\n\n"),
            (Some(3000), Some(41), Some("gap"), "retry: 3000\nevent: gap\ndata: {\"a\":1}\nid: 41\n\n"),
        ];
        for (retry_milliseconds, id, name, expected) in table {
            let mut out = Vec::new();
            block(BlockFields { retry_milliseconds, id: id.map(EventNumber) }, name, "{\"a\":1}", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn unicode_line_breaks_are_escaped() {
        let table = [
            ("\"a\u{2028}b\u{2029}\"", r#""a\u2028b\u2029""#),
            ("{\"\u{85}\u{85}\":\"\u{2028}\"}", r#"{"\u0085\u0085":"\u2028"}"#),
            ("\"\\\\\u{2028}\"", r#""\\\u2028""#),
            (
                "\"\u{84}\u{86}\u{a0}\u{2027}\u{202a}\u{20a8}—é😀\"",
                "\"\u{84}\u{86}\u{a0}\u{2027}\u{202a}\u{20a8}—é😀\"",
            ),
        ];
        for (json, expected) in table {
            let mut out = Vec::new();
            block(BlockFields::default(), None, json, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("data: {expected}\n\n"));
        }
        // An incomplete line break at the end is not one.
        for end in [b"\xc2".as_slice(), b"\xe2", b"\xe2\x80"] {
            let mut out = end.to_vec();
            escape_line_ends(0, &mut out);
            assert_eq!(out, end);
        }
    }

    #[test]
    fn encoded_events_decode_in_any_pieces() {
        let mut random = Random::new(23);
        let texts =
            ["{}", "{\"a\":\"x: y\"}", "{\"é\":\"\u{2027}😀\"}", " leading space", ":colon", "\u{feff}", "id: 5", "0"];
        let names = [None, Some("input"), Some("conversation_created")];
        for _ in 0..300 {
            let (mut out, mut expected, mut last) = (Vec::new(), Vec::new(), String::new());
            for n in 0..1 + random.below(8) {
                let json = texts[random.below(texts.len() as u64) as usize];
                let name = names[random.below(3) as usize];
                let id = (random.below(3) > 0).then(|| EventNumber(random.next_u64()));
                last = id.map_or(last, |id| id.to_string());
                let retry_milliseconds = (n == 0 || random.below(4) == 0).then(|| random.below(10_000));
                block(BlockFields { retry_milliseconds, id }, name, json, &mut out);
                expected.push((name.unwrap_or("message").to_owned(), json.to_owned(), last.clone()));
            }
            let mut decoder = Decoder::new(out.len());
            let mut read = Vec::new();
            let mut rest = &out[..];
            while !rest.is_empty() {
                let (mut piece, after) = rest.split_at(1 + random.below(rest.len().min(40) as u64) as usize);
                while let Some(event) = decoder.next(&mut piece).unwrap() {
                    read.push((event.name, event.data, decoder.last_event_id().to_owned()));
                }
                rest = after;
            }
            assert_eq!(read, expected);
            assert!(decoder.retry_milliseconds().is_some() && decoder.is_between_events());
            assert_eq!(decoder.last_event_id(), last);
        }
    }
}

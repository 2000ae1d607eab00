//! Writes JSON (`JsonWriter`), and splits valid JSON into its parts without building a tree (`members`, `elements`, `text`).
//! RFC 8259.
//!
//! Nothing here recurses, so no depth of nesting can exhaust the stack.

use crate::base::time::WallTime;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::io::Write;
use uuid::Uuid;

/// Appends compact JSON to a buffer.
pub(crate) struct JsonWriter<'a>(pub &'a mut Vec<u8>);

impl JsonWriter<'_> {
    /// Appends JSON text unchanged: punctuation, member names, or a value that is JSON.
    pub(crate) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// Appends a string in quotes, with the escapes that RFC 8259 §7 requires and no others.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.0.push(b'"');
        escape(text.as_bytes(), self.0);
        self.0.push(b'"');
        self
    }

    /// Appends a UUID in quotes, in lower-case hyphenated form.
    pub(crate) fn uuid(&mut self, id: Uuid) -> &mut Self {
        let mut text = [b'"'; uuid::fmt::Hyphenated::LENGTH + 2];
        id.as_hyphenated().encode_lower(&mut text[1..]);
        self.0.extend_from_slice(&text);
        self
    }

    /// Appends a time in quotes, in the format of RFC 3339.
    pub(crate) fn time(&mut self, at: WallTime) -> &mut Self {
        self.formatted_time(&at.rfc3339())
    }

    /// Appends the text of a time in quotes.
    pub(crate) fn formatted_time(&mut self, text: &[u8; 27]) -> &mut Self {
        let mut quoted = [b'"'; 29];
        quoted[1..28].copy_from_slice(text);
        self.0.extend_from_slice(&quoted);
        self
    }

    /// Appends an integer.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        write!(self.0, "{number}").expect("writing to memory does not fail");
        self
    }

    /// Appends an array of `items`, each written by `item`.
    pub(crate) fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        item: impl Fn(&mut JsonWriter, T),
    ) -> &mut Self {
        self.raw("[");
        for (index, value) in items.into_iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            item(&mut JsonWriter(self.0), value);
        }
        self.raw("]")
    }
}

/// The length of a text as a JSON string, with its quotes, in bytes.
pub(crate) fn string_bytes(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut from, mut escapes) = (0, 0);
    while let Some(run) = plain_run(&bytes[from..]) {
        escapes += if ESCAPES[usize::from(bytes[from + run])] == b'u' { 5 } else { 1 };
        from += run + 1;
    }
    2 + text.len() + escapes
}

/// The escape of each byte in a string: 0 for none, `u` for `\u00xx`, otherwise the character after the backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut from = 0;
    while let Some(run) = plain_run(&bytes[from..]) {
        let at = from + run;
        let byte = bytes[at];
        out.extend_from_slice(&bytes[from..at]);
        match ESCAPES[usize::from(byte)] {
            b'u' => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// The position of the first byte that must be escaped.
fn plain_run(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for block in bytes.chunks_exact(BLOCK_BYTES) {
        // Without an early exit, the bytes of a block are compared at once.
        if block.iter().fold(false, |found, byte| found | must_escape(*byte)) {
            break;
        }
        at += BLOCK_BYTES;
    }
    bytes[at..].iter().position(|byte| ESCAPES[usize::from(*byte)] != 0).map(|place| at + place)
}

/// Bytes that are examined at once.
const BLOCK_BYTES: usize = 32;

fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether a text is one JSON value.
pub(crate) fn is_valid(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The members of an object: the JSON texts of name (with its quotes) and value. `object` is valid JSON.
pub(crate) fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = object.trim_ascii_start().strip_prefix('{').expect("an object opens with a brace");
    std::iter::from_fn(move || {
        let name = next_value(&mut rest)?;
        let value = next_value(&mut rest).expect("a name has a value");
        Some((name, value))
    })
}

/// The JSON text of the member of an object with this name. Of a repeated name, the last counts. `object` is valid JSON.
pub(crate) fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    members(object).filter(|(own, _)| *name(own) == *key.as_bytes()).last().map(|(_, value)| value)
}

/// The JSON texts of the elements of an array. `array` is valid JSON.
pub(crate) fn elements(array: &str) -> impl Iterator<Item = &str> {
    let mut rest = array.trim_ascii_start().strip_prefix('[').expect("an array opens with a bracket");
    std::iter::from_fn(move || next_value(&mut rest))
}

/// Splits the next value and the separator before it off the text inside an object or an array.
fn next_value<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let value = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
    if value.is_empty() || value.starts_with(['}', ']']) {
        return None;
    }
    let (value, after) = value.split_at(value_end(value.as_bytes()));
    *rest = after;
    Some(value)
}

/// The end of the value at the beginning of `text`.
fn value_end(text: &[u8]) -> usize {
    match text[0] {
        b'"' => string_end(text, 0),
        b'{' | b'[' => {
            let (mut at, mut levels) = (0, 0);
            loop {
                match text[at] {
                    b'"' => {
                        at = string_end(text, at);
                        continue;
                    }
                    b'{' | b'[' => levels += 1,
                    b'}' | b']' => levels -= 1,
                    _ => {}
                }
                at += 1;
                if levels == 0 {
                    return at;
                }
            }
        }
        _ => text.iter().position(|byte| b",}] \t\n\r".contains(byte)).unwrap_or(text.len()),
    }
}

/// The position after the string whose opening quote is at `at`. `text` is valid JSON.
pub(crate) fn string_end(text: &[u8], mut at: usize) -> usize {
    at += 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', &text[at..]).expect("a string ends");
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
}

/// The unescaped text of a string. `raw` is a valid string with its quotes.
///
/// # Errors
/// Returns the position in `raw` of an escaped lone surrogate, which is valid JSON but not Unicode text (RFC 8259 §8.2).
pub(crate) fn text(raw: &str) -> Result<Cow<'_, str>, usize> {
    let inner = &raw[1..raw.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    let (bytes, lone_surrogate) = unescape(inner.as_bytes());
    match lone_surrogate {
        Some(at) => Err(at + 1),
        None => Ok(Cow::Owned(String::from_utf8(bytes).expect("only lone surrogates are no UTF-8"))),
    }
}

/// The unescaped bytes of a member name, which are equal if and only if the names are: UTF-8, in which lone surrogates are
/// encoded in the same way. `raw` is a valid string with its quotes.
pub(crate) fn name(raw: &str) -> Cow<'_, [u8]> {
    let inner = &raw.as_bytes()[1..raw.len() - 1];
    match memchr::memchr(b'\\', inner) {
        None => Cow::Borrowed(inner),
        Some(_) => Cow::Owned(unescape(inner).0),
    }
}

/// The unescaped bytes, and the position of the first lone surrogate.
fn unescape(inner: &[u8]) -> (Vec<u8>, Option<usize>) {
    let mut out = Vec::with_capacity(inner.len());
    let mut lone_surrogate = None;
    let mut from = 0;
    while let Some(run) = memchr::memchr(b'\\', &inner[from..]) {
        let at = from + run;
        out.extend_from_slice(&inner[from..at]);
        from = at + 2;
        let plain = match inner[at + 1] {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = hex4(&inner[from..]);
                from += 4;
                let low = match inner.get(from..from + 6) {
                    Some([b'\\', b'u', digits @ ..]) => Some(hex4(digits)).filter(|low| is_low_surrogate(*low)),
                    _ => None,
                };
                match low {
                    Some(low) if is_high_surrogate(unit) => {
                        push_scalar(&mut out, 0x10000 + ((unit & 0x3ff) << 10 | low & 0x3ff));
                        from += 6;
                    }
                    _ => {
                        if is_high_surrogate(unit) || is_low_surrogate(unit) {
                            lone_surrogate.get_or_insert(at);
                        }
                        push_scalar(&mut out, unit);
                    }
                }
                continue;
            }
            same => same,
        };
        out.push(plain);
    }
    out.extend_from_slice(&inner[from..]);
    (out, lone_surrogate)
}

fn is_high_surrogate(unit: u32) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_low_surrogate(unit: u32) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

fn hex4(digits: &[u8]) -> u32 {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("four hexadecimal digits follow \\u");
    digits[..4].iter().fold(0, |number, byte| number << 4 | digit(byte))
}

/// Appends `scalar` as UTF-8. A surrogate gets three bytes in the same scheme.
fn push_scalar(out: &mut Vec<u8>, scalar: u32) {
    match char::from_u32(scalar) {
        Some(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let tail = |bits: u32| 0x80 | (bits & 0x3f) as u8;
            out.extend_from_slice(&[0xe0 | (scalar >> 12) as u8, tail(scalar >> 6), tail(scalar)]);
        }
    }
}

#[cfg(test)]
mod tests;

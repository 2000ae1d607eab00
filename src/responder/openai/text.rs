//! The text of an answer as its chunks bring it: halves of characters, and reasoning at its beginning.
//!
//! Invariant: the parts of a text, in whatever chunks they come, are joined to the same text.

use crate::base::limits::THINK_BLANKS_BYTES_MAX;
use serde_json::Value;
use std::borrow::Cow;

/// Precedes the mark of a half. A noncharacter, which no text has.
const MARK: char = '\u{fdd0}';
/// The mark of the first half, U+D800; the others follow.
const FIRST_MARKED: u32 = 0xf_0000;
const FIRST_HALF: u32 = 0xd800;

/// Marks escaped surrogates that have no partner (`\ud83d`), which JSON parsers reject, so that [`HalfJoiner`] finds them.
pub(super) fn mark_lone_halves(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let has_some = |escape: &[u8]| memchr::memmem::find(bytes, escape).is_some();
    if !has_some(b"\\ud") && !has_some(b"\\uD") {
        return Cow::Borrowed(json);
    }
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += offset;
        match escaped_unit(bytes, at) {
            Some(0xd800..=0xdbff) if matches!(escaped_unit(bytes, at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(half @ 0xd800..=0xdfff) => {
                out.push_str(&json[copied..at]);
                out.push(MARK);
                out.push(char::from_u32(half - FIRST_HALF + FIRST_MARKED).expect("a private character"));
                at += 6;
                copied = at;
            }
            // `\\` is one escape, whatever follows it.
            _ => at += 2,
        }
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// The JSON text of a value, in which marked halves are escapes again.
pub(super) fn json_text(value: &Value) -> String {
    let marked = value.to_string();
    let (mut out, mut rest) = (String::with_capacity(marked.len()), &marked[..]);
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut chars = rest[MARK.len_utf8()..].chars();
        match chars.next().and_then(marked_half) {
            Some(half) => {
                out.push_str(&format!("\\u{half:04x}"));
                rest = chars.as_str();
            }
            None => {
                out.push(MARK);
                rest = &rest[MARK.len_utf8()..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Replaces what some writers of JSON put there and JSON does not have: `NaN` and `Infinity`, by `null`, and control characters
/// in strings, by escapes.
pub(super) fn without_foreign_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut rest) = (false, json);
    while let Some(char) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].iter().find(|word| !in_string && rest.starts_with(**word));
        if let Some(word) = word {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        let mut bytes = char.len_utf8();
        match char {
            '"' => in_string = !in_string,
            '\\' if in_string => bytes += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        if in_string && char.is_ascii_control() {
            out.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            out.push_str(&rest[..bytes]);
        }
        rest = &rest[bytes..];
    }
    out
}

/// The number of an escape of `\u` and four hexadecimal digits that begins there.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

/// A text without marks, where no other text follows.
pub(super) fn without_marks(text: &str) -> String {
    let mut out = String::new();
    let mut joiner = HalfJoiner::default();
    joiner.push(text, &mut out);
    joiner.end(&mut out);
    out
}

/// Joins the marked halves of characters. A half without a partner becomes U+FFFD.
#[derive(Debug, Default)]
pub(super) struct HalfJoiner {
    /// The first half of a character whose second half has not come.
    first: Option<u32>,
}

impl HalfJoiner {
    /// Appends the next part of the text to `out`.
    pub(super) fn push(&mut self, mut text: &str, out: &mut String) {
        while !text.is_empty() {
            let mut rest = text.chars();
            if let (Some(MARK), Some(half)) = (rest.next(), rest.next().and_then(marked_half)) {
                self.push_half(half, out);
                text = rest.as_str();
                continue;
            }
            self.end(out);
            // The first character is no mark, or the mark of nothing.
            let begin = text.chars().next().map_or(0, char::len_utf8);
            let end = text[begin..].find(MARK).map_or(text.len(), |at| begin + at);
            out.push_str(&text[..end]);
            text = &text[end..];
        }
    }

    /// Ends the text, or a run of halves.
    pub(super) fn end(&mut self, out: &mut String) {
        if self.first.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    fn push_half(&mut self, half: u32, out: &mut String) {
        match (self.first, half) {
            (Some(first), 0xdc00..) => {
                self.first = None;
                let joined = 0x1_0000 + ((first - 0xd800) << 10) + (half - 0xdc00);
                out.push(char::from_u32(joined).expect("two halves are a character"));
            }
            (None, 0xdc00..) => out.push(char::REPLACEMENT_CHARACTER),
            (_, first) => {
                self.end(out);
                self.first = Some(first);
            }
        }
    }
}

fn marked_half(char: char) -> Option<u32> {
    let half = u32::from(char).checked_sub(FIRST_MARKED)? + FIRST_HALF;
    (FIRST_HALF..0xe000).contains(&half).then_some(half)
}

/// Tags around reasoning at the beginning of a text. The last is that of Gemini's compatible mode.
const THINK_TAGS: [(&str, &str); 3] =
    [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>")];

/// Separates reasoning between tags at the beginning of a text from the text.
#[derive(Debug)]
pub(super) enum ThinkSplitter {
    /// White space and a part of a tag, or nothing. Next: Thinking, Text.
    Beginning(String),
    /// The reasoning has begun; the held text may be a part of its closing tag. Next: AfterThinking.
    Thinking {
        /// The closing tag.
        close: &'static str,
        /// Text that may belong to the closing tag.
        held: String,
    },
    /// White space after the reasoning, which is dropped. Next: Text.
    AfterThinking,
    /// Text.
    Text,
}

impl ThinkSplitter {
    /// Appends the next part of the text to `text` or to `reasoning`.
    pub(super) fn push(&mut self, part: &str, text: &mut String, reasoning: &mut String) {
        match self {
            ThinkSplitter::Text => text.push_str(part),
            ThinkSplitter::AfterThinking => {
                let part = part.trim_start();
                if !part.is_empty() {
                    // Another block may follow.
                    *self = ThinkSplitter::Beginning(String::new());
                    self.push(part, text, reasoning);
                }
            }
            ThinkSplitter::Beginning(held) => {
                held.push_str(part);
                let begun = held.trim_start();
                if let Some((open, close)) = THINK_TAGS.iter().find(|(open, _)| begun.starts_with(open)) {
                    let rest = begun[open.len()..].to_owned();
                    *self = ThinkSplitter::Thinking { close, held: String::new() };
                    return self.push(&rest, text, reasoning);
                }
                let blanks = held.len() - begun.len();
                let may_begin = THINK_TAGS.iter().any(|(open, _)| open.starts_with(begun));
                if !may_begin || blanks > THINK_BLANKS_BYTES_MAX {
                    text.push_str(held);
                    *self = ThinkSplitter::Text;
                }
            }
            ThinkSplitter::Thinking { close, held } => {
                held.push_str(part);
                if let Some(at) = held.find(*close) {
                    reasoning.push_str(&held[..at]);
                    let rest = held[at + close.len()..].to_owned();
                    *self = ThinkSplitter::AfterThinking;
                    return self.push(&rest, text, reasoning);
                }
                // Tags are ASCII, so that a beginning of one starts at a character.
                let longest = (1..close.len()).rev().find(|length| held.ends_with(&close[..*length])).unwrap_or(0);
                let rest = held.split_off(held.len() - longest);
                reasoning.push_str(held);
                *held = rest;
            }
        }
    }

    /// Ends the text: a part of a tag is no tag.
    pub(super) fn end(&mut self, text: &mut String, reasoning: &mut String) {
        match std::mem::replace(self, ThinkSplitter::Text) {
            ThinkSplitter::Beginning(held) => text.push_str(&held),
            ThinkSplitter::Thinking { held, .. } => reasoning.push_str(&held),
            ThinkSplitter::AfterThinking | ThinkSplitter::Text => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The string of a JSON text in these chunks.
    fn joined(chunks: &[&str]) -> String {
        let mut joiner = HalfJoiner::default();
        let mut out = String::new();
        for chunk in chunks {
            let text: String = serde_json::from_str(&mark_lone_halves(&format!("\"{chunk}\""))).expect("it is JSON");
            joiner.push(&text, &mut out);
        }
        joiner.end(&mut out);
        out
    }

    #[test]
    fn halves_of_characters_are_joined() {
        let table: [(&[&str], &str); 14] = [
            (&["ab\\ud83d", "\\ude00cd"], "ab\u{1f600}cd"),
            (&["ab\\uD83D", "", "\\uDE00"], "ab\u{1f600}"),
            (&["\\ud83d\\ude00"], "\u{1f600}"),
            (&["\\ud83d\\ude00\\ud83d", "\\ude00"], "\u{1f600}\u{1f600}"),
            (&["\\ud83d", "x", "\\ude00"], "\u{fffd}x\u{fffd}"),
            (&["\\ude00\\ud83d"], "\u{fffd}\u{fffd}"),
            (&["\\ud83d\\ud83d", "\\ude00"], "\u{fffd}\u{1f600}"),
            (&["\\ud83dx"], "\u{fffd}x"),
            (&["\\\\ud83d"], "\\ud83d"),
            (&["\\\\\\ud83d", "\\ude00"], "\\\u{1f600}"),
            (&["\\ud7ff\\ue000"], "\u{d7ff}\u{e000}"),
            (&["\u{fdd0}\u{f0001}z", "\u{fdd0}"], "\u{fdd0}\u{f0001}z\u{fdd0}"),
            (&["\u{1f600}\\ud83d", "\u{1f600}"], "\u{1f600}\u{fffd}\u{1f600}"),
            (&["\\n\\ud83d\\n"], "\n\u{fffd}\n"),
        ];
        for (chunks, text) in table {
            let expected = text.replace("\u{fdd0}\u{f0001}", "\u{fffd}");
            assert_eq!(joined(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn reasoning_at_the_beginning_is_separated() {
        let table = [
            ("<think>ab</think>cd", "cd", "ab"),
            ("\n\n<think>\nab\n</think>\n\ncd", "cd", "\nab\n"),
            ("<thinking>a</think>b</thinking>c", "c", "a</think>b"),
            ("<thought>a</thought>b", "b", "a"),
            ("<though", "<though", ""),
            ("<think></think>c", "c", ""),
            ("<think>never closed", "", "never closed"),
            ("<think>a</thin", "", "a</thin"),
            ("<thi", "<thi", ""),
            ("<b>bold</b>", "<b>bold</b>", ""),
            ("a <think>b</think>", "a <think>b</think>", ""),
            ("<think>a<</think>b", "b", "a<"),
            ("<think>\u{e9}</\u{e9}</think>\u{e9}<think>x", "\u{e9}<think>x", "\u{e9}</\u{e9}"),
            (" \n a", " \n a", ""),
            (" ", " ", ""),
        ];
        for (all, text, reasoning) in table {
            for size in [1, 2, 3, 100] {
                let mut splitter = ThinkSplitter::Beginning(String::new());
                let mut read = (String::new(), String::new());
                let chars: Vec<char> = all.chars().collect();
                for part in chars.chunks(size) {
                    splitter.push(&part.iter().collect::<String>(), &mut read.0, &mut read.1);
                }
                splitter.end(&mut read.0, &mut read.1);
                assert_eq!((&read.0[..], &read.1[..]), (text, reasoning), "{all:?} in parts of {size}");
            }
        }
    }
}

//! Answers of a model: the reader whole and in pieces, its bounds, and its errors, which have no key.
//!
//! Input: a byte each for the cuts and the end of the body, then the body. `KEY` in it stands for the reader's key.
//! A second, simple reader gives the text of bodies that are nothing but usual events.

use super::choices::{Choices, cuts, pieces};
use super::sse_reference as reference;
use cortex_core::internals::{AnswerPieces, AnswerReader, Completion, Failure, ReadProgress, Secret};
use serde_json::Value;

/// No word of a body has a piece of it by chance.
pub(super) const KEY: &str = "zq-7Yw5Kx-9vJ3-uH8";
/// The longest beginnings and ends of the key that may be shown.
const KEY_PIECE_BYTES_SHOWN: usize = 5;
/// As `base::limits` has them.
const CONTENT_BYTES_MAX: usize = 1024 * 1024;
const REASONING_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug, PartialEq, Eq)]
struct Read {
    text: String,
    reasoning: String,
    end: Result<Completion, Failure>,
}

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let seed = choices.byte();
    let is_whole = choices.below(2) == 0;
    let body = with_key(choices.0);
    let whole = read(std::iter::once(&body[..]), is_whole);
    for ends in cuts(body.len(), seed) {
        assert_eq!(read(pieces(&body, &ends), is_whole), whole, "in pieces that end at {ends:?}");
    }
    check_bounds(&whole);
    check_secrecy(&whole.end);
    if let Some(text) = usual_text(&body) {
        assert_eq!(whole.text, text);
        assert_eq!(whole.end.is_ok(), text.chars().any(|char| !char.is_whitespace()), "{:?}", whole.end);
    }
}

/// The body with its key.
pub(super) fn with_key(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.windows(3).position(|window| window == b"KEY") {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(KEY.as_bytes());
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    out
}

fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>, is_whole: bool) -> Read {
    let mut pieces = AnswerPieces::default();
    let mut reader = AnswerReader::new([Secret::new(KEY)].into());
    let (mut text, mut reasoning) = (String::new(), String::new());
    let mut is_done = false;
    let mut failure = None;
    for chunk in chunks {
        match reader.read(chunk, &mut pieces) {
            Ok(progress) => is_done = progress == ReadProgress::Done,
            Err(error) => failure = Some(error),
        }
        text += &std::mem::take(&mut pieces.text);
        reasoning += &std::mem::take(&mut pieces.reasoning);
        if is_done || failure.is_some() {
            break;
        }
    }
    let end = match failure {
        Some(failure) => Err(failure),
        None => reader.end(is_whole || is_done, &mut pieces),
    };
    text += &pieces.text;
    reasoning += &pieces.reasoning;
    Read { text, reasoning, end }
}

fn check_bounds(read: &Read) {
    assert!(read.text.len() <= CONTENT_BYTES_MAX && read.reasoning.len() <= REASONING_BYTES_MAX);
    if read.end.is_ok() {
        assert!(read.text.chars().any(|char| !char.is_whitespace()), "an answer has text");
    }
}

/// No error and no name has more of the key than a few of its first or last bytes.
pub(super) fn check_secrecy(end: &Result<Completion, Failure>) {
    let texts = match end {
        Ok(completion) => [completion.model.clone(), completion.finish_reason.clone()],
        Err(failure) => [Some(failure.message.clone()), Some(failure.detail.clone())],
    };
    let head = &KEY[..KEY_PIECE_BYTES_SHOWN + 1];
    let tail = &KEY[KEY.len() - KEY_PIECE_BYTES_SHOWN - 1..];
    for text in texts.into_iter().flatten() {
        assert!(!text.contains(head) && !text.contains(tail), "{text}");
    }
}

/// The text of a body whose events all have exactly one choice with a `delta` of a `content` without surrogates or tags, the
/// last with a finish reason; `None` for any other body.
fn usual_text(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok().filter(|body| body.starts_with("data:") && body.ends_with("\n\n"))?;
    let decoded = reference::read(body.as_bytes(), 1 << 20);
    let mut text = String::new();
    let mut has_ended = false;
    for event in &decoded.events {
        let value: Value = serde_json::from_str(&event.data).ok().filter(|_| event.name == "message")?;
        let fields = value.as_object().filter(|fields| fields.len() == 1)?;
        let choice = fields.get("choices")?.as_array().filter(|choices| choices.len() == 1)?[0].as_object()?;
        let delta = choice.get("delta")?.as_object().filter(|delta| delta.len() == 1)?;
        let content = delta.get("content")?.as_str().filter(|text| !text.contains(['<', '\u{fdd0}']))?;
        let reason = choice.get("finish_reason");
        if choice.len() != 1 + usize::from(reason.is_some()) {
            return None;
        }
        match reason.map(Value::as_str) {
            None => {}
            Some(Some("stop" | "length")) => has_ended = true,
            Some(_) => return None,
        }
        text += content;
    }
    (has_ended && !decoded.too_large).then_some(text)
}

//! Reads the text of one answer, which comes as an event stream or as one JSON object.
//!
//! Invariant: where the bytes are cut does not change the text. At most `CONTENT_BYTES_MAX` bytes of text are passed on,
//! and at most one event, or one JSON object, is kept, each within its bound.

use super::error::{error_message, without_key};
use crate::base::limits::*;
use crate::config::types::Secret;
use crate::responder::failure::printable;
use crate::responder::{Completion, Failure};
use crate::sse::decode::{DecodedEvent, Decoder};
use serde_json::Value;

/// Progress of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadProgress {
    /// More text follows.
    More,
    /// Nothing relevant follows.
    Done,
}

/// What one call has read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerPieces {
    /// Text of the answer.
    pub text: String,
    /// The model's reasoning.
    pub reasoning: String,
}

impl AnswerPieces {
    /// Bytes of the text and of the reasoning.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.reasoning.len()
    }
}

/// Reads the body of one answer in either form.
#[derive(Debug)]
pub(crate) struct AnswerReader {
    form: BodyForm,
    finished: Completion,
    text_bytes: usize,
    /// The text has something other than white space.
    has_said: bool,
    is_done: bool,
    key: Option<Secret>,
}

#[derive(Debug)]
enum BodyForm {
    /// White space only so far. Next: Stream, Plain.
    Unknown,
    /// Events.
    Stream(Decoder),
    /// One JSON object.
    Plain(Vec<u8>),
}

impl AnswerReader {
    /// A reader that removes `key` from its errors.
    pub(crate) fn new(key: Option<Secret>) -> AnswerReader {
        AnswerReader {
            form: BodyForm::Unknown,
            finished: Completion::default(),
            text_bytes: 0,
            has_said: false,
            is_done: false,
            key,
        }
    }

    /// Reads the next bytes. After `ReadProgress::Done` or an error it must not be called again.
    pub(crate) fn read(&mut self, mut bytes: &[u8], pieces: &mut AnswerPieces) -> Result<ReadProgress, Failure> {
        if let BodyForm::Unknown = self.form {
            bytes = past_blanks(bytes);
            self.form = match bytes.first() {
                None => return Ok(ReadProgress::More),
                // The type that servers declare is often wrong; an event stream begins with a comment or a field.
                Some(b'{') => BodyForm::Plain(Vec::new()),
                Some(b':' | b'd' | b'e' | b'i' | b'r') => BodyForm::Stream(Decoder::new(UPSTREAM_EVENT_BYTES_MAX)),
                Some(_) => return Err(Failure::invalid_response("the answer is neither events nor JSON")),
            };
        }
        if let BodyForm::Plain(body) = &mut self.form {
            if body.len() + bytes.len() > UPSTREAM_PLAIN_BYTES_MAX {
                return Err(Failure::invalid_response("the answer is too large"));
            }
            body.extend_from_slice(bytes);
            return Ok(ReadProgress::More);
        }
        match self.read_events(bytes, pieces) {
            // A text that is complete stands, whatever follows it.
            Err(_) if self.text_has_ended() && self.has_said => {
                self.is_done = true;
            }
            other => other?,
        }
        Ok(if self.is_done { ReadProgress::Done } else { ReadProgress::More })
    }

    /// Takes the end of the body. `whole` states that it ended as its HTTP framing requires, or after [`ReadProgress::Done`].
    pub(crate) fn end(mut self, whole: bool, pieces: &mut AnswerPieces) -> Result<Completion, Failure> {
        if let BodyForm::Plain(body) = std::mem::replace(&mut self.form, BodyForm::Unknown) {
            return self.end_plain(&body, whole, pieces);
        }
        if !self.is_done && !self.text_has_ended() {
            return Err(Failure::connection_lost().with_detail("the stream has no end"));
        }
        self.finish()
    }

    /// Whether the model gave a reason for the end of its text. More text may follow.
    pub(crate) fn has_finish_reason(&self) -> bool {
        self.text_has_ended()
    }

    fn text_has_ended(&self) -> bool {
        self.finished.finish_reason.is_some()
    }

    fn read_events(&mut self, mut bytes: &[u8], pieces: &mut AnswerPieces) -> Result<(), Failure> {
        while !self.is_done
            && let Some(event) = self.next_event(&mut bytes)?
        {
            self.read_event(&event, pieces)?;
        }
        Ok(())
    }

    fn next_event(&mut self, bytes: &mut &[u8]) -> Result<Option<DecodedEvent>, Failure> {
        let BodyForm::Stream(decoder) = &mut self.form else { return Ok(None) };
        decoder
            .next(bytes)
            .map_err(|error| Failure::invalid_response(format!("the event stream is unreadable: {error:?}")))
    }

    fn read_event(&mut self, event: &DecodedEvent, pieces: &mut AnswerPieces) -> Result<(), Failure> {
        let data = event.data.trim();
        if data == "[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        if data.is_empty() {
            return Ok(());
        }
        let chunk: Value = match serde_json::from_str(data) {
            Ok(chunk @ Value::Object(_)) => chunk,
            _ if event.name == "error" => return Err(Failure::reported(Some(data), None, false, self.key.as_ref())),
            _ => return Err(self.garbage("an event is no JSON object", data.as_bytes())),
        };
        self.check_error(&chunk, data, event.name == "error")?;
        self.note_facts(&chunk);
        let choice = &chunk["choices"][0];
        // Another choice is another answer.
        if choice["index"].as_u64().is_some_and(|index| index > 0) {
            return Ok(());
        }
        if let Some(text) = choice["delta"]["content"].as_str() {
            self.show(text, pieces)?;
        }
        if choice["finish_reason"] == "error" {
            return Err(Failure::reported(None, None, false, None));
        }
        self.note_finish_reason(choice);
        Ok(())
    }

    fn end_plain(mut self, body: &[u8], whole: bool, pieces: &mut AnswerPieces) -> Result<Completion, Failure> {
        let answer: Value = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(error) if error.is_eof() && !whole => {
                return Err(Failure::connection_lost().with_detail("the JSON has no end"));
            }
            Err(_) => return Err(self.garbage("the answer is no JSON", body)),
        };
        self.check_error(&answer, &String::from_utf8_lossy(body), false)?;
        self.note_facts(&answer);
        let choice = &answer["choices"][0];
        if !choice.is_object() {
            return Err(self.garbage("the answer has no choices", body));
        }
        self.note_finish_reason(choice);
        self.show(choice["message"]["content"].as_str().unwrap_or_default(), pieces)?;
        self.finish()
    }

    fn finish(self) -> Result<Completion, Failure> {
        if self.has_said { Ok(self.finished) } else { Err(Failure::empty(self.finished.finish_reason.as_deref())) }
    }

    /// Passes text on, up to the maximum length of a message.
    fn show(&mut self, text: &str, pieces: &mut AnswerPieces) -> Result<(), Failure> {
        let mut end = text.len().min(CONTENT_BYTES_MAX - self.text_bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let piece = &text[..end];
        self.text_bytes += end;
        self.has_said |= piece.chars().any(|char| !char.is_whitespace());
        pieces.text.push_str(piece);
        if end < text.len() {
            self.is_done = true;
            self.finished.finish_reason = Some("length".into());
        }
        Ok(())
    }

    /// An error object, as the API has it, or a plain text, as some servers send it; `raw` is the text of `value`.
    fn check_error(&self, value: &Value, raw: &str, is_error_event: bool) -> Result<(), Failure> {
        let error = match value.get("error") {
            None | Some(Value::Null) if is_error_event => value,
            None | Some(Value::Null) => return Ok(()),
            Some(error) => error,
        };
        let code = ["code", "status", "status_code"].iter().find_map(|name| {
            let code = error.get(name)?;
            code.as_u64().or_else(|| code.as_str()?.parse().ok()).and_then(|code| u16::try_from(code).ok())
        });
        let ours = error["type"] == "invalid_request_error";
        let detail = without_key(raw, self.key.as_ref());
        Err(Failure::reported(error_message(error), code, ours, self.key.as_ref()).with_detail(detail))
    }

    fn note_facts(&mut self, value: &Value) {
        if let Some(model) = value["model"].as_str().filter(|model| !model.is_empty()) {
            self.finished.model = Some(printable(&without_key(model, self.key.as_ref()), UPSTREAM_NAME_CHARS_MAX));
        }
        let usage = &value["usage"];
        self.finished.prompt_tokens = usage["prompt_tokens"].as_u64().or(self.finished.prompt_tokens);
        self.finished.completion_tokens = usage["completion_tokens"].as_u64().or(self.finished.completion_tokens);
    }

    /// Keeps the first reason: if the text was truncated here, the reason is `length`.
    fn note_finish_reason(&mut self, choice: &Value) {
        if let (None, Some(reason)) = (&self.finished.finish_reason, choice["finish_reason"].as_str()) {
            self.finished.finish_reason =
                Some(printable(&without_key(reason, self.key.as_ref()), UPSTREAM_NAME_CHARS_MAX))
                    .filter(|text| !text.is_empty());
        }
    }

    fn garbage(&self, what: &str, bytes: &[u8]) -> Failure {
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(UPSTREAM_ERROR_BYTES_MAX)]);
        Failure::invalid_response(format!("{what}: {}", without_key(&begin, self.key.as_ref())))
    }
}

/// Skips white space and the bytes of a byte order mark, which may be split.
fn past_blanks(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || [0xef, 0xbb, 0xbf].contains(byte);
    &bytes[bytes.iter().take_while(|byte| blank(byte)).count()..]
}

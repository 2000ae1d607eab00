//! Reads one answer, which comes as an event stream, as one JSON object, or as JSON objects on lines.
//!
//! Invariant: where the bytes are cut changes neither the text nor the end. At most `CONTENT_BYTES_MAX` bytes of text and
//! `REASONING_BYTES_MAX` of reasoning are passed on, and at most one event, or one JSON object, is kept, each within its
//! bound. An answer that was cut, or that reports an error, is never complete.

use super::chunk::{self, ChunkText, FinishKind, TextPlace};
use super::error::{ErrorReport, find_error};
use super::passed;
use super::text::{HalfJoiner, ThinkSplitter, json_text, mark_lone_halves, without_foreign_json, without_marks};
use crate::base::limits::*;
use crate::base::text::beginning;
use crate::config::types::Secret;
use crate::domain::passing::PassingForm;
use crate::responder::failure::printable;
use crate::responder::redaction::redact;
use crate::responder::{Completion, Failure};
use crate::sse::decode::{DecodedEvent, Decoder};
use crate::wire::json;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Progress of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadProgress {
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
    /// What is passed on, if the answer is: events, or the whole body.
    pub passed: String,
}

impl AnswerPieces {
    /// Bytes of all of it.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.reasoning.len() + self.passed.len()
    }
}

/// Reads the body of one answer in any of its forms.
#[derive(Debug)]
pub struct AnswerReader {
    form: BodyForm,
    /// Set if the answer is passed on instead of its text.
    passing: Option<PassingForm>,
    finished: Completion,
    /// The first bytes, to show them if nothing can be read.
    beginning: Vec<u8>,
    text_bytes: usize,
    reasoning_bytes: usize,
    /// The text has something other than white space.
    has_said: bool,
    /// `[DONE]` was read, or the text has its greatest length.
    is_done: bool,
    /// One object was the whole answer.
    is_whole: bool,
    /// Something was read as part of an answer.
    is_readable: bool,
    has_skipped: bool,
    /// An event that may have had text could not be read.
    has_gap: bool,
    /// The body is JSON and not an event stream.
    is_json: bool,
    has_choice: bool,
    place: Option<TextPlace>,
    text_halves: HalfJoiner,
    reasoning_halves: HalfJoiner,
    splitter: ThinkSplitter,
    secrets: Arc<[Secret]>,
}

#[derive(Debug)]
enum BodyForm {
    /// White space only so far. Next: Stream, Lines.
    Unknown,
    /// Events.
    Stream(Decoder),
    /// JSON whose first line is not complete, or is an object of its own. Next: Plain.
    Lines(Vec<u8>),
    /// One JSON value.
    Plain(Vec<u8>),
}

impl AnswerReader {
    /// A reader that removes `key` from its errors.
    pub fn new(secrets: Arc<[Secret]>) -> AnswerReader {
        AnswerReader {
            form: BodyForm::Unknown,
            passing: None,
            finished: Completion::default(),
            beginning: Vec::new(),
            text_bytes: 0,
            reasoning_bytes: 0,
            has_said: false,
            is_done: false,
            is_whole: false,
            is_readable: false,
            has_skipped: false,
            has_gap: false,
            is_json: false,
            has_choice: false,
            place: None,
            text_halves: HalfJoiner::default(),
            reasoning_halves: HalfJoiner::default(),
            splitter: ThinkSplitter::Beginning(String::new()),
            secrets,
        }
    }

    /// This reader for an answer that is passed on in this form.
    pub fn passing(self, form: PassingForm) -> AnswerReader {
        AnswerReader { passing: Some(form), ..self }
    }

    /// What the model reported about the answer so far.
    pub(crate) fn completion(&self) -> &Completion {
        &self.finished
    }

    /// The bytes of the response that are kept until more arrive.
    pub(crate) fn buffered_bytes(&self) -> usize {
        let form = match &self.form {
            BodyForm::Unknown => 0,
            BodyForm::Stream(decoder) => decoder.buffered_bytes(),
            BodyForm::Lines(bytes) | BodyForm::Plain(bytes) => bytes.len(),
        };
        self.beginning.len() + form
    }

    /// Reads the next bytes and appends what they bring to `pieces`, also if they bring an error. After `ReadProgress::Done` or
    /// an error it must not be called again.
    ///
    /// # Errors
    ///
    /// The model reports an error, or sends something that is too large.
    pub fn read(&mut self, bytes: &[u8], pieces: &mut AnswerPieces) -> Result<ReadProgress, Failure> {
        if let Err(failure) = self.read_body(bytes, pieces) {
            self.end_text(pieces);
            return Err(failure);
        }
        Ok(if self.is_done { ReadProgress::Done } else { ReadProgress::More })
    }

    /// Takes the end of the body, and appends the rest of the text to `pieces`. `whole` states that it ended as its HTTP
    /// framing requires, or after [`ReadProgress::Done`].
    ///
    /// # Errors
    ///
    /// The answer has no end or no text, or cannot be read.
    pub fn end(mut self, whole: bool, pieces: &mut AnswerPieces) -> Result<Completion, Failure> {
        let ended = self.end_body(whole, pieces);
        self.end_text(pieces);
        ended?;
        let has_end = self.is_done || self.is_whole || self.has_finish_reason();
        if !has_end {
            return Err(self.missing_end(whole));
        }
        if self.has_gap {
            return Err(Failure::invalid_response("a part of the answer cannot be read"));
        }
        if self.passing == Some(PassingForm::Whole) && !self.has_choice {
            return Err(Failure::empty(None));
        }
        // Calls of tools have no text.
        if self.has_said || self.passing.is_some() {
            Ok(self.finished)
        } else {
            Err(Failure::empty(self.finished.finish_reason.as_deref()))
        }
    }

    /// Whether the model gave a reason for the end of its text. More text may follow.
    pub(crate) fn has_finish_reason(&self) -> bool {
        self.finished.finish_reason.is_some()
    }

    fn read_body(&mut self, mut bytes: &[u8], pieces: &mut AnswerPieces) -> Result<(), Failure> {
        if let BodyForm::Unknown = self.form {
            bytes = past_blanks(bytes);
            self.form = match bytes.first() {
                None => return Ok(()),
                // The type that servers declare is often wrong.
                Some(b'{' | b'[') => {
                    self.is_json = true;
                    BodyForm::Lines(Vec::new())
                }
                Some(_) => BodyForm::Stream(Decoder::new(UPSTREAM_EVENT_BYTES_MAX).with_error_field()),
            };
        }
        let kept = UPSTREAM_BEGINNING_BYTES.saturating_sub(self.beginning.len()).min(bytes.len());
        self.beginning.extend_from_slice(&bytes[..kept]);
        if self.is_json { self.read_json(bytes, pieces) } else { self.read_events(bytes, pieces) }
    }

    fn read_events(&mut self, mut bytes: &[u8], pieces: &mut AnswerPieces) -> Result<(), Failure> {
        while !self.is_done
            && let Some(event) = self.next_event(&mut bytes)?
        {
            self.read_event(&event, true, pieces)?;
        }
        Ok(())
    }

    fn next_event(&mut self, bytes: &mut &[u8]) -> Result<Option<DecodedEvent>, Failure> {
        let BodyForm::Stream(decoder) = &mut self.form else { return Ok(None) };
        decoder
            .next(bytes)
            .map_err(|error| Failure::invalid_response(format!("the event stream is unreadable: {error:?}")))
    }

    /// `is_whole` states that the event has its end.
    fn read_event(&mut self, event: &DecodedEvent, is_whole: bool, pieces: &mut AnswerPieces) -> Result<(), Failure> {
        let data = event.data.trim();
        let is_error = event.name.eq_ignore_ascii_case("error");
        if data == "[DONE]" {
            (self.is_done, self.is_readable) = (true, true);
            return Ok(());
        }
        match parse(data) {
            Some(value) => self.read_value(&value, data, is_error, pieces),
            // A number or a nesting that is valid JSON, and more than a reader of values takes.
            None if self.passing.is_some() && data.starts_with('{') && json::is_valid(data) => {
                self.pass_unread(data, pieces)
            }
            None if is_error || begins_like_an_error(data) => Err(ErrorReport::of_text(data).failure(&self.secrets)),
            None if data.contains('\n') => self.read_lines_of_event(data, is_whole, pieces),
            None => {
                if is_whole && !data.is_empty() {
                    // What may have been text is missing in the answer.
                    self.has_gap |= data.starts_with('{') && data.contains("\"choices\"");
                    self.skip(data);
                }
                Ok(())
            }
        }
    }

    /// Reads an event that is not JSON line by line: some servers forget the empty line between two events.
    fn read_lines_of_event(&mut self, data: &str, is_whole: bool, pieces: &mut AnswerPieces) -> Result<(), Failure> {
        for line in data.lines() {
            let event = DecodedEvent { name: String::new(), data: line.to_owned() };
            self.read_event(&event, is_whole, pieces)?;
            if self.is_done {
                break;
            }
        }
        Ok(())
    }

    fn read_json(&mut self, bytes: &[u8], pieces: &mut AnswerPieces) -> Result<(), Failure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).filter(|_| matches!(self.form, BodyForm::Lines(_)));
            let (piece, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            rest = after;
            let (BodyForm::Lines(body) | BodyForm::Plain(body)) = &mut self.form else { return Ok(()) };
            if body.len() + piece.len() > UPSTREAM_PLAIN_BYTES_MAX {
                return Err(Failure::invalid_response("the answer is too large"));
            }
            body.extend_from_slice(piece);
            if end.is_some() {
                let line = std::mem::take(body);
                self.read_line(line, pieces)?;
            }
            if self.is_done {
                break;
            }
        }
        Ok(())
    }

    fn read_line(&mut self, line: Vec<u8>, pieces: &mut AnswerPieces) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(&line);
        let trimmed = text.trim();
        if trimmed == "[DONE]" {
            self.is_done = true;
        } else if let Some(value) = parse(trimmed) {
            self.read_value(&value, trimmed, false, pieces)?;
        } else if !self.is_readable {
            // The object has more than one line.
            self.form = BodyForm::Plain(line);
        } else if !trimmed.is_empty() {
            self.skip(trimmed);
        }
        Ok(())
    }

    fn end_body(&mut self, whole: bool, pieces: &mut AnswerPieces) -> Result<(), Failure> {
        if self.is_done {
            return Ok(());
        }
        match std::mem::replace(&mut self.form, BodyForm::Unknown) {
            BodyForm::Unknown => Ok(()),
            BodyForm::Stream(mut decoder) => {
                // The last event counts without its empty line.
                let mut end = &b"\n\n"[..];
                while let Ok(Some(event)) = decoder.next(&mut end) {
                    self.read_event(&event, false, pieces)?;
                }
                Ok(())
            }
            BodyForm::Lines(body) | BodyForm::Plain(body) => self.end_json(&body, whole, pieces),
        }
    }

    fn end_json(&mut self, body: &[u8], whole: bool, pieces: &mut AnswerPieces) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(body);
        let error = match serde_json::from_str::<Value>(&mark_lone_halves(text.trim())) {
            Ok(value) => return self.read_value(&value, text.trim(), false, pieces),
            Err(_) if self.passing == Some(PassingForm::Whole) && json::is_valid(text.trim()) => {
                self.is_whole = true;
                return self.pass_unread(text.trim(), pieces);
            }
            // Lines before this one were an answer, whose end is judged by them.
            Err(_) if self.is_readable => return Ok(()),
            Err(error) => error,
        };
        if error.is_eof() && !whole {
            return Err(Failure::connection_lost().with_detail("the JSON has no end"));
        }
        Err(self.unreadable("the answer is no JSON"))
    }

    /// Reads a value, of which `raw` is the JSON text.
    fn read_value(
        &mut self,
        value: &Value,
        raw: &str,
        is_error: bool,
        pieces: &mut AnswerPieces,
    ) -> Result<(), Failure> {
        match value {
            Value::Array(values) => {
                values.iter().try_for_each(|value| self.read_object(value, &json_text(value), is_error, pieces))
            }
            value => self.read_object(value, raw, is_error, pieces),
        }
    }

    fn read_object(
        &mut self,
        value: &Value,
        raw: &str,
        is_error: bool,
        pieces: &mut AnswerPieces,
    ) -> Result<(), Failure> {
        if self.is_done {
            return Ok(());
        }
        if !value.is_object() {
            if is_error || value.as_str().is_some_and(begins_like_an_error) {
                return Err(ErrorReport::of(value).failure(&self.secrets));
            }
            self.skip(&value.to_string());
            return Ok(());
        }
        self.is_readable = true;
        if let Some(report) = find_error(value, is_error) {
            return Err(report.failure(&self.secrets));
        }
        let outer = value;
        let value = chunk::unwrapped(value);
        let choice = chunk::choice(value, self.is_json);
        self.note_model(value);
        chunk::note_usage(value, choice, &mut self.finished);
        if let Some(report) = choice.and_then(|choice| find_error(choice, false)) {
            return Err(report.failure(&self.secrets));
        }
        if let Some(form) = self.passing {
            // A whole answer is one object with a choice.
            if form == PassingForm::Whole && self.is_json && (choice.is_none() || self.has_choice) {
                return if choice.is_none() { Ok(()) } else { Err(passed::not_whole()) };
            }
            // What some gateways wrap around the object is not part of the protocol.
            let raw = if std::ptr::eq(outer, value) { Cow::Borrowed(raw) } else { Cow::Owned(json_text(value)) };
            passed::push(form, value, &raw, self.is_json, &mut pieces.passed)?;
        }
        let Some(choice) = choice else {
            if self.passing.is_some() {
                self.note_other_finish_reason(value);
            }
            return Ok(());
        };
        if self.passing.is_none() {
            let (found, place) = chunk::text_of(choice, self.place);
            self.place = place;
            self.show(&found, pieces);
        }
        self.has_choice = true;
        self.is_whole |= self.is_json && choice.get("delta").is_none() && value["done"] != false;
        self.note_finish_reason(value, choice)
    }

    /// Passes an object on that was not read.
    fn pass_unread(&mut self, raw: &str, pieces: &mut AnswerPieces) -> Result<(), Failure> {
        self.is_readable = true;
        match self.passing {
            Some(form) => passed::push_unread(form, raw, &mut pieces.passed),
            None => Ok(()),
        }
    }

    /// Passes text and reasoning on, each up to its maximum length.
    fn show(&mut self, found: &ChunkText, pieces: &mut AnswerPieces) {
        let (mut text, mut reasoning) = (String::new(), String::new());
        self.reasoning_halves.push(&found.reasoning, &mut reasoning);
        let mut joined = String::new();
        self.text_halves.push(&found.text, &mut joined);
        if !joined.is_empty() {
            self.splitter.push(&joined, &mut text, &mut reasoning);
        }
        self.pass_on(&text, &reasoning, pieces);
    }

    /// Passes on what was held back.
    fn end_text(&mut self, pieces: &mut AnswerPieces) {
        let (mut text, mut reasoning, mut joined) = (String::new(), String::new(), String::new());
        self.reasoning_halves.end(&mut reasoning);
        self.text_halves.end(&mut joined);
        self.splitter.push(&joined, &mut text, &mut reasoning);
        self.splitter.end(&mut text, &mut reasoning);
        self.pass_on(&text, &reasoning, pieces);
    }

    fn pass_on(&mut self, text: &str, reasoning: &str, pieces: &mut AnswerPieces) {
        let shown = beginning(reasoning, REASONING_BYTES_MAX - self.reasoning_bytes);
        pieces.reasoning.push_str(shown);
        // What was cut does not go on behind the cut.
        let is_cut = shown.len() < reasoning.len();
        self.reasoning_bytes = if is_cut { REASONING_BYTES_MAX } else { self.reasoning_bytes + shown.len() };
        let shown = beginning(text, CONTENT_BYTES_MAX - self.text_bytes);
        pieces.text.push_str(shown);
        self.text_bytes += shown.len();
        self.has_said |= shown.chars().any(|char| !char.is_whitespace());
        if shown.len() < text.len() {
            self.text_bytes = CONTENT_BYTES_MAX;
            self.is_done = true;
            self.finished.finish_reason = Some("length".into());
        }
    }

    fn note_model(&mut self, value: &Value) {
        if let Some(model) = value["model"].as_str().filter(|model| !model.is_empty()) {
            self.finished.model = Some(self.name(model));
        }
    }

    /// Keeps the reason of another choice than the first, which ends an answer that is passed on as well.
    fn note_other_finish_reason(&mut self, value: &Value) {
        let choices = value["choices"].as_array().into_iter().flatten();
        if let Some(reason) = choices.filter_map(|choice| chunk::finish_reason(value, choice)).next_back() {
            let name = self.name(reason);
            self.finished.finish_reason.get_or_insert(name);
        }
    }

    /// Keeps the last reason. If the text was truncated here, the reason is `length`.
    fn note_finish_reason(&mut self, value: &Value, choice: &Value) -> Result<(), Failure> {
        let Some(reason) = chunk::finish_reason(value, choice) else { return Ok(()) };
        let name = self.name(reason);
        match chunk::finish_kind(reason) {
            FinishKind::Complete if self.is_done => {}
            FinishKind::Complete => self.finished.finish_reason = Some(name).filter(|name| !name.is_empty()),
            kind => {
                let said = (!name.eq_ignore_ascii_case("error")).then_some(&name[..]);
                let is_ours = kind == FinishKind::FailedForGood;
                return Err(Failure::reported(said, None, is_ours, &self.secrets));
            }
        }
        Ok(())
    }

    /// A short name of the upstream, without its key.
    fn name(&self, text: &str) -> String {
        printable(&redact(&without_marks(text), &self.secrets), UPSTREAM_NAME_CHARS_MAX)
    }

    /// Logs the first event that cannot be read.
    fn skip(&mut self, data: &str) {
        if !std::mem::replace(&mut self.has_skipped, true) {
            let begin = redact(beginning(data, UPSTREAM_BEGINNING_BYTES), &self.secrets);
            let begin = printable(&begin, UPSTREAM_EXCERPT_CHARS_MAX);
            log::warn!("the model's server sent an event that is no JSON object, which is skipped: {begin}");
        }
    }

    /// Why an answer without an end is none.
    fn missing_end(&self, whole: bool) -> Failure {
        if self.beginning.is_empty() && whole {
            return Failure::empty(None);
        }
        if !self.is_readable && (self.has_skipped || !self.begins_like_events()) {
            return self.unreadable("the answer has no readable event");
        }
        if self.is_json && self.is_readable && !self.has_choice {
            return self.unreadable("the answer has no choices");
        }
        Failure::connection_lost().with_detail("the answer has no end")
    }

    /// Whether the beginning could be that of an event stream: a comment or a field.
    fn begins_like_events(&self) -> bool {
        let line = self.beginning.split(|byte| [b'\n', b'\r'].contains(byte)).next().unwrap_or_default();
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.is_empty() || [&b"data"[..], b"event", b"id", b"retry"].iter().any(|field| field.starts_with(name))
    }

    fn unreadable(&self, what: &str) -> Failure {
        let begin = String::from_utf8_lossy(&self.beginning);
        Failure::invalid_response(format!("{what}: {}", redact(&begin, &self.secrets)))
    }
}

/// Whether a text that is not JSON reports an error.
fn begins_like_an_error(text: &str) -> bool {
    let text = text.trim_start_matches(|char: char| char.is_whitespace() || ['[', '"', '\'', '<', '*'].contains(&char));
    ["error", "internal server error", "traceback", "exception"]
        .iter()
        .any(|begin| text.get(..begin.len()).is_some_and(|start| start.eq_ignore_ascii_case(begin)))
}

/// A JSON object or list, whose strings may have halves of characters.
fn parse(text: &str) -> Option<Value> {
    let marked = mark_lone_halves(text);
    let value =
        serde_json::from_str(&marked).ok().or_else(|| serde_json::from_str(&without_foreign_json(&marked)).ok())?;
    matches!(value, Value::Object(_) | Value::Array(_)).then_some(value)
}

/// Skips white space and the bytes of a byte order mark, which may be split.
fn past_blanks(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || [0xef, 0xbb, 0xbf].contains(byte);
    &bytes[bytes.iter().take_while(|byte| blank(byte)).count()..]
}

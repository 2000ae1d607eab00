//! Answers that are passed on: a client brings the whole context, and one connection gets what the model sends. Nothing but the
//! usage is stored.
//!
//! Invariant: a pipe holds at most about `PIPE_BYTES_MAX` bytes more than one event, because the model is not read while its pipe
//! is full. What it holds counts for its answer, which is not over before the connection has taken all of it.

use crate::base::limits::PIPE_BYTES_MAX;
use crate::domain::command::{Actor, ReplyTo};
use crate::domain::completion_error::CompletionError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A request whose answer is passed on.
#[derive(Debug, Clone)]
pub struct PassingRequest {
    /// The connection that waits for the answer.
    pub to: ReplyTo,
    /// The user, for whose shares it counts.
    pub actor: Actor,
    /// The id of the client's request.
    pub correlation_id: Arc<str>,
    /// What the model is sent.
    pub body: PassingBody,
    /// The form in which the answer is passed on.
    pub form: PassingForm,
    /// The way of the answer to the connection.
    pub pipe: AnswerPipe,
}

/// The body of a request to the model: what the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassingBody {
    /// The client's JSON object without `stream_options` and without its closing brace. It has at least one member.
    pub members: Vec<u8>,
    /// The client's `stream_options`, as JSON.
    pub stream_options: Option<Box<str>>,
    /// The same with `include_usage`.
    pub counting_stream_options: Box<str>,
}

/// The form of an answer that is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassingForm {
    /// The chunks of the model, as they come. `hides_usage`: the client did not ask for the chunk with token counts.
    Stream {
        /// Whether the chunk with token counts is left out.
        hides_usage: bool,
    },
    /// One JSON object.
    Whole,
}

/// A message of a connection about the answer that is passed on to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassingControl {
    /// The client is gone.
    Abort,
    /// The pipe has room again, or all of an answer that is over was taken.
    Resume,
}

/// The bytes of one answer on their way from the model to one connection. Clones are handles to the same pipe.
#[derive(Debug, Clone, Default)]
pub struct AnswerPipe(Arc<Mutex<PipeState>>);

#[derive(Debug, Default)]
struct PipeState {
    waiting: Vec<u8>,
    is_admitted: bool,
    end: Option<Result<(), CompletionError>>,
    /// A message to the reader is on its way.
    is_announced: bool,
    /// The writer has stopped until there is room.
    is_paused: bool,
    /// The answer is over, and the writer waits until all of it is taken.
    is_draining: bool,
    /// What waited was dropped.
    is_cut: bool,
}

/// What a pipe had.
#[derive(Debug, Default)]
pub struct PipedPart {
    /// The request was admitted.
    pub is_admitted: bool,
    /// The next bytes.
    pub bytes: Vec<u8>,
    /// The end, if nothing follows.
    pub end: Option<Result<(), CompletionError>>,
    /// The writer waits for [`PassingControl::Resume`].
    pub resumes: bool,
    /// Bytes were dropped, so the connection is to be closed.
    pub is_cut: bool,
}

impl AnswerPipe {
    /// Notes that the request is admitted. Returns whether the reader needs a message.
    pub fn admit(&self) -> bool {
        let mut state = self.state();
        state.is_admitted = true;
        state.announce()
    }

    /// Appends bytes. Returns whether the reader needs a message.
    pub fn write(&self, bytes: &[u8]) -> bool {
        let mut state = self.state();
        state.waiting.extend_from_slice(bytes);
        !bytes.is_empty() && state.announce()
    }

    /// Ends the answer: it is complete, or failed. Returns whether the reader needs a message. Only the first end counts.
    pub fn end(&self, end: Result<(), CompletionError>) -> bool {
        let mut state = self.state();
        if state.end.is_some() {
            return false;
        }
        state.end = Some(end);
        state.is_draining = !state.waiting.is_empty();
        state.announce()
    }

    /// Drops what waits: it takes room that others need, and its connection does not take it. Returns whether the reader needs a
    /// message.
    pub fn cut(&self) -> bool {
        let mut state = self.state();
        (state.waiting, state.is_cut) = (Vec::new(), true);
        state.announce()
    }

    /// Whether the pipe is full. The writer then waits until the reader resumes it.
    pub fn pause_if_full(&self) -> bool {
        let mut state = self.state();
        state.is_paused = state.waiting.len() >= PIPE_BYTES_MAX;
        state.is_paused
    }

    /// Whether the answer is over.
    pub fn has_ended(&self) -> bool {
        self.state().end.is_some()
    }

    /// The bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.state().waiting.len()
    }

    /// Takes at most `bytes_max` bytes.
    pub fn read(&self, bytes_max: usize) -> PipedPart {
        let mut state = self.state();
        state.is_announced = false;
        let bytes = match state.waiting.len() <= bytes_max {
            true => std::mem::take(&mut state.waiting),
            false => state.waiting.drain(..bytes_max).collect(),
        };
        let is_over = state.waiting.is_empty();
        let is_drained = state.is_draining && is_over;
        let resumes = is_drained || (state.is_paused && state.waiting.len() < PIPE_BYTES_MAX / 2);
        state.is_paused &= !resumes;
        state.is_draining &= !is_drained;
        let end = if is_over { state.end.clone() } else { None };
        PipedPart { is_admitted: state.is_admitted, bytes, end, resumes, is_cut: state.is_cut }
    }

    fn state(&self) -> MutexGuard<'_, PipeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PipeState {
    fn announce(&mut self) -> bool {
        !std::mem::replace(&mut self.is_announced, true)
    }
}

impl PassingBody {
    /// The bytes to send. `counts_tokens` asks for token counts at the end of a stream, which some servers reject.
    pub fn bytes(&self, form: PassingForm, counts_tokens: bool) -> Vec<u8> {
        let options = match form {
            PassingForm::Stream { .. } if counts_tokens => Some(&self.counting_stream_options),
            _ => self.stream_options.as_ref(),
        };
        let mut body = self.members.clone();
        if let Some(options) = options {
            body.extend_from_slice(b",\"stream_options\":");
            body.extend_from_slice(options.as_bytes());
        }
        body.push(b'}');
        body
    }

    /// The bytes that it holds.
    pub fn held_bytes(&self) -> usize {
        self.members.len() + self.stream_options.as_ref().map_or(0, |options| 2 * options.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_needs_one_message_until_it_reads() {
        let pipe = AnswerPipe::default();
        assert!(pipe.admit() && !pipe.write(b"ab") && !pipe.write(b"c"));
        let part = pipe.read(2);
        assert!(part.is_admitted && part.bytes == b"ab" && part.end.is_none());
        assert!(!pipe.write(b"") && pipe.write(b"d"));
        assert!(!pipe.end(Ok(())) && !pipe.end(Err(CompletionError::shutting_down())));
        assert_eq!(pipe.read(1).end, None, "bytes come before the end");
        let part = pipe.read(9);
        assert_eq!((&part.bytes[..], part.end), (&b"d"[..], Some(Ok(()))));
    }

    #[test]
    fn a_full_pipe_pauses_its_writer_until_half_of_it_is_read() {
        let pipe = AnswerPipe::default();
        pipe.write(&vec![b'x'; PIPE_BYTES_MAX - 1]);
        assert!(!pipe.pause_if_full());
        pipe.write(b"x");
        assert!(pipe.pause_if_full());
        assert!(!pipe.read(PIPE_BYTES_MAX / 2).resumes);
        assert!(pipe.read(1).resumes);
        assert!(!pipe.read(1).resumes, "once");
    }

    #[test]
    fn the_writer_hears_when_the_last_byte_is_taken() {
        let pipe = AnswerPipe::default();
        pipe.write(b"abc");
        pipe.end(Ok(()));
        assert!(!pipe.read(2).resumes);
        let last = pipe.read(2);
        assert!(last.resumes && last.end.is_some());
        assert!(!pipe.read(2).resumes, "once");
        pipe.write(b"d");
        pipe.cut();
        assert!(pipe.read(9).is_cut && pipe.waiting_bytes() == 0);
    }

    #[test]
    fn a_body_asks_for_token_counts_only_in_a_stream() {
        let body = PassingBody {
            members: b"{\"a\":1".to_vec(),
            stream_options: Some("{\"x\":2}".into()),
            counting_stream_options: "{\"x\":2,\"include_usage\":true}".into(),
        };
        let text = |form, counts| String::from_utf8(body.bytes(form, counts)).unwrap();
        let stream = PassingForm::Stream { hides_usage: true };
        assert_eq!(text(stream, true), r#"{"a":1,"stream_options":{"x":2,"include_usage":true}}"#);
        assert_eq!(text(stream, false), r#"{"a":1,"stream_options":{"x":2}}"#);
        assert_eq!(text(PassingForm::Whole, true), r#"{"a":1,"stream_options":{"x":2}}"#);
    }
}

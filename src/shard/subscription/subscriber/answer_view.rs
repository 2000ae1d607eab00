//! A followed answer as a chat completion of the OpenAI-compatible API: in chunks, or as one response at its end.
//!
//! Invariant: a stream gets one end, which says why if the answer is not complete.

use super::Subscriber;
use crate::api::CompletionView;
use crate::domain::completion_error::CompletionError;
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::MessageId;
use crate::domain::live_answer::AnswerTextKind;
use crate::domain::model::{Message, Status};
use crate::shard::connection::outbox::Outbox;
use crate::shard::request::context::RequestContext;
use crate::shard::request::passing::COMMENT;
use crate::sse::frame::write_part;
use crate::sse::write_data;
use crate::wire::event::output_error_reason;
use crate::wire::openai::{self, AnswerDetails, ChunkPart, CompletionHead, CompletionUsage};

/// A followed answer as a chat completion.
#[derive(Debug)]
pub(crate) struct AnswerView {
    wanted: CompletionView,
    /// The request, whose response is due at the end if the answer is wanted whole.
    pub request_context: RequestContext<'static>,
    /// The fields of the response.
    pub fields: Vec<(&'static str, String)>,
    /// The chunk with the role was queued.
    has_begun: bool,
    /// What is stored of the text, for a whole answer.
    text: String,
    /// The response to send, once a whole answer has ended.
    outcome: Option<Result<Vec<u8>, CompletionError>>,
}

impl AnswerView {
    /// A view that nothing was sent of.
    pub(crate) fn new(
        wanted: CompletionView,
        request_context: RequestContext<'static>,
        fields: Vec<(&'static str, String)>,
    ) -> AnswerView {
        AnswerView { wanted, request_context, fields, has_begun: false, text: String::new(), outcome: None }
    }

    /// Whether the answer comes in chunks.
    pub(crate) fn is_streamed(&self) -> bool {
        self.wanted.is_streamed
    }

    /// Whether the request can be repeated.
    pub(super) fn is_repeatable(&self) -> bool {
        self.wanted.is_repeatable
    }

    /// Takes the response to a request for a whole answer, once that has ended.
    pub(crate) fn take_outcome(&mut self) -> Option<Result<Vec<u8>, CompletionError>> {
        self.outcome.take()
    }

    /// Takes a part of the text, or of the reasoning: as events of a stream, or for the end.
    pub(crate) fn take_part(&mut self, id: Option<MessageId>, kind: AnswerTextKind, text: &str, out: &mut Vec<u8>) {
        if !self.wanted.is_streamed {
            if kind == AnswerTextKind::Text {
                self.text.push_str(text);
            }
            return;
        }
        let part = match kind {
            AnswerTextKind::Text => ChunkPart::Text(text),
            AnswerTextKind::Reasoning => ChunkPart::Reasoning(text),
        };
        self.begin(id, out);
        self.chunk(id, part, out);
    }

    /// Takes the event that ends the answer. The text before it was taken, unless the event itself has all of it.
    fn take_end(&mut self, event: &Event, out: &mut Vec<u8>) {
        let ended = match &event.body {
            EventBody::Message(message) => match message.status {
                Status::Complete | Status::Superseded => Ok(message),
                status => Err(failed(status, message.error.as_deref())),
            },
            EventBody::Unanswered(_, data) => {
                let (code, reason) = output_error_reason(data);
                Err(failed(code, reason.as_deref()))
            }
            _ => Err(CompletionError::new(404, "not_found", removal(event.kind))),
        };
        match ended {
            Ok(message) => self.complete(message, out),
            Err(error) => self.fail(error, out),
        }
    }

    fn complete(&mut self, message: &Message, out: &mut Vec<u8>) {
        let details = AnswerDetails::of(&message.metadata);
        let reason = details.finish_reason.as_deref().unwrap_or("stop");
        let bytes = message.content.as_str().len();
        let usage = details.usage.or(details.is_echo.then(|| CompletionUsage::of_echo(bytes, bytes)));
        if !self.wanted.is_streamed {
            let id = completion_id(Some(message.id));
            let model = details.model.as_deref().unwrap_or(&self.wanted.model);
            let head = CompletionHead { id: &id, created: self.wanted.created, model };
            self.outcome = Some(Ok(openai::completion(head, message.content.as_str(), reason, usage)));
            return;
        }
        let id = Some(message.id);
        self.begin(id, out);
        self.chunk(id, ChunkPart::Finish(reason), out);
        if let Some(usage) = usage.filter(|_| self.wanted.includes_usage) {
            let id = completion_id(id);
            write_data(|out| openai::usage_chunk(self.head(&id), usage, out), out);
        }
        out.extend_from_slice(openai::DONE);
    }

    fn fail(&mut self, mut error: CompletionError, out: &mut Vec<u8>) {
        // The message is stored.
        error.should_retry &= self.wanted.is_repeatable;
        if self.wanted.is_streamed {
            write_data(|out| openai::error_event(&error, out), out);
        } else {
            self.outcome = Some(Err(error));
        }
    }

    fn begin(&mut self, id: Option<MessageId>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.chunk(id, ChunkPart::Role, out);
        }
    }

    fn chunk(&self, id: Option<MessageId>, part: ChunkPart<'_>, out: &mut Vec<u8>) {
        let id = completion_id(id);
        write_data(|out| openai::chunk(self.head(&id), part, out), out);
    }

    fn head<'a>(&'a self, id: &'a str) -> CompletionHead<'a> {
        CompletionHead { id, created: self.wanted.created, model: &self.wanted.model }
    }
}

impl Subscriber {
    /// The view of the answer that it follows, if it is for a client of the OpenAI-compatible API.
    pub(crate) fn view(&mut self) -> Option<&mut AnswerView> {
        self.following.as_mut()?.view.as_deref_mut()
    }

    /// Whether it has such a view.
    pub(super) fn has_view(&self) -> bool {
        self.following.as_ref().is_some_and(|following| following.view.is_some())
    }

    /// Whether it has such a view, which gets the answer whole, at its end.
    pub(crate) fn wants_whole(&self) -> bool {
        let view = self.following.as_ref().and_then(|following| following.view.as_ref());
        view.is_some_and(|view| !view.is_streamed())
    }

    /// Queues what `write` appends for the view.
    pub(crate) fn push_to_view(&mut self, outbox: &mut Outbox, write: impl FnOnce(&mut AnswerView, &mut Vec<u8>)) {
        let is_chunked = self.form.chunked;
        let Some(view) = self.view() else { return };
        let mut bytes = Vec::new();
        write(view, &mut bytes);
        if bytes.is_empty() {
            return;
        }
        outbox.push_with(|out| write_part(is_chunked, &bytes, out));
    }

    /// Ends the view with the event that ends the answer.
    pub(super) fn end_view(&mut self, event: &Event, outbox: &mut Outbox) {
        self.push_to_view(outbox, |view, out| view.take_end(event, out));
        self.end(outbox);
    }

    /// Ends the view with an error.
    pub(super) fn fail_view(&mut self, error: CompletionError, outbox: &mut Outbox) {
        self.push_to_view(outbox, |view, out| view.fail(error, out));
        self.end(outbox);
    }

    /// Shows the client of a view that the connection lives.
    pub(crate) fn push_comment(&mut self, outbox: &mut Outbox) {
        self.push_to_view(outbox, |view, out| {
            if view.is_streamed() {
                out.extend_from_slice(COMMENT);
            }
        });
    }
}

/// The error of an answer that has ended with this status, with its reason.
fn failed(status: Status, reason: Option<&str>) -> CompletionError {
    let (http_status, code, default) = match status {
        Status::Cancelled => (409, "cancelled", "The answer was cancelled"),
        Status::Interrupted => (503, "interrupted", "The server ended before the answer was complete"),
        _ => (502, "failed", "The answer failed"),
    };
    CompletionError::new(http_status, code, reason.unwrap_or(default).to_owned())
}

/// Why an answer has no end.
fn removal(kind: EventKind) -> &'static str {
    match kind {
        EventKind::MessageDeleted => "The message was deleted",
        EventKind::ConversationLeft => "You are no participant of the conversation any more",
        _ => "The conversation was deleted",
    }
}

/// The id of the completion that is the answer with this id.
fn completion_id(id: Option<MessageId>) -> String {
    id.map_or_else(|| "chatcmpl-".to_owned(), |id| format!("chatcmpl-{id}"))
}

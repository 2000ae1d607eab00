//! A stream of one answer: a subscriber whose cursor is an offset in the answer's text.
//!
//! Its text comes from the nearest of three sources: from the answer in progress, from the event that ends it, or from the
//! store, in parts. Nothing is kept for a reader that lags but the offset.
//!
//! Invariant: all of the text through the offset has been queued. A stream that is live has been offered every event that
//! ends its answer.

use super::answer_view::AnswerView;
use super::{DeliveryState, ESCAPED_BYTES_FACTOR, FRAME_FIELDS_BYTES, FillResult, Subscriber};
use crate::api::StreamStart;
use crate::base::text::char_boundary;
use crate::base::time::{MonoTime, WallTime};
use crate::domain::answer_page::{AnswerPage, EndedText};
use crate::domain::command::ConversationRef;
use crate::domain::completion_error::CompletionError;
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, WorkspaceId};
use crate::domain::live_answer::{AnswerTextKind, ShownText};
use crate::domain::query::QueryKind;
use crate::domain::started_answer::AnswerStarted;
use crate::shard::connection::outbox::Outbox;
use crate::sse::frame::EventFrame;
use crate::wire;
use crate::wire::json::string_bytes;
use std::sync::Arc;

/// The answer that a stream follows, and how much of it the stream has.
#[derive(Debug)]
pub(crate) struct FollowedAnswer {
    /// The message that the client named: the answer, or the one that it answers.
    named: MessageId,
    reply_to: Option<MessageId>,
    message_id: Option<MessageId>,
    conversation_id: ConversationId,
    workspace_id: WorkspaceId,
    /// The texts that were queued, or that the client had before.
    pub through: ShownText,
    /// The client's offset is not one of this text, so the text is sent again, as a snapshot.
    pub is_reset: bool,
    /// The stream has met the answer in progress.
    is_met: bool,
    /// The view of a client of the OpenAI-compatible API, if it is for one.
    pub(super) view: Option<Box<AnswerView>>,
    /// The position at which the answer was read last. An event through it is older than what was read, and ends nothing.
    read_at: EventNumber,
    /// While a page was awaited, an event may have come that ends the answer. The page may be older.
    may_have_ended: bool,
}

impl FollowedAnswer {
    /// The answer of a page, for a client that has the text through `start`.
    pub(crate) fn new(named: MessageId, start: StreamStart, page: &AnswerPage) -> FollowedAnswer {
        let bytes = match start {
            StreamStart::After(offset) => usize::try_from(offset.0).unwrap_or(usize::MAX),
            StreamStart::Now | StreamStart::Unknown => 0,
        };
        // An answer without a message has no text, whatever the client has.
        let is_other_text = bytes > 0 && page.message_id.is_none();
        let is_reset = start == StreamStart::Unknown || is_other_text;
        FollowedAnswer {
            named,
            reply_to: page.reply_to,
            message_id: page.message_id,
            conversation_id: page.conversation_id,
            workspace_id: page.workspace_id,
            through: ShownText { bytes: if is_reset { 0 } else { bytes }, reasoning_bytes: 0 },
            is_reset,
            is_met: false,
            view: None,
            read_at: EventNumber::default(),
            may_have_ended: false,
        }
    }

    /// The same as a chat completion.
    pub(crate) fn with_view(self, view: AnswerView) -> FollowedAnswer {
        FollowedAnswer { view: Some(Box::new(view)), ..self }
    }

    /// Whether the request for a view can be repeated; `None` without a view.
    pub(crate) fn repeats_view(&self) -> Option<bool> {
        self.view.as_ref().map(|view| view.is_repeatable())
    }

    /// Whether it is this answer in progress.
    pub(crate) fn is(&self, started: &AnswerStarted) -> bool {
        match self.message_id {
            Some(id) => id == started.message_id,
            None => self.reply_to == Some(started.reply_to),
        }
    }

    /// Meets the answer in progress. Of the reasoning, the stream gets what follows `reasoning_from`.
    pub(crate) fn meet(&mut self, started: &AnswerStarted, reasoning_from: usize) {
        if std::mem::replace(&mut self.is_met, true) {
            return;
        }
        self.message_id = Some(started.message_id);
        self.through.reasoning_bytes = reasoning_from;
        if self.through.bytes > started.live.shown().bytes {
            self.reset();
        } else {
            self.through.bytes = started.live.char_boundary(self.through.bytes);
        }
    }

    /// The answer with this message is begun again. The stream meets it again, if it has met it.
    pub(super) fn forget(&mut self, message_id: MessageId) {
        if self.message_id == Some(message_id) {
            self.is_met = false;
        }
    }

    /// The shard missed events, one of which may have ended the answer.
    pub(super) fn note_missed_events(&mut self) {
        self.may_have_ended = true;
    }

    /// Starts the text again.
    fn reset(&mut self) {
        (self.through.bytes, self.is_reset) = (0, true);
    }

    /// The kind of the event with the next part of the text.
    pub(crate) fn part_kind(&self) -> EventKind {
        if self.is_reset { EventKind::OutputSnapshot } else { EventKind::OutputDelta }
    }

    /// Notes that the text through byte `bytes` is queued.
    pub(crate) fn advance(&mut self, bytes: usize) {
        (self.through.bytes, self.is_reset) = (bytes, false);
    }

    /// Whether an event ends the answer, or the user's access to it.
    fn is_ended_by(&self, event: &Event) -> bool {
        if event.number <= self.read_at {
            return false;
        }
        let about = event.message_id();
        match event.kind {
            EventKind::Output => match self.message_id {
                Some(id) => about == Some(id),
                None => event.message().is_some_and(|message| message.reply_to == self.reply_to),
            },
            EventKind::OutputError => about == self.reply_to,
            // An answer with text outlives the message that it answers, and its `output` follows.
            EventKind::MessageDeleted if self.through.bytes > 0 => about == self.message_id,
            EventKind::MessageDeleted => about == self.reply_to || about == self.message_id,
            EventKind::ConversationLeft | EventKind::ConversationDeleted => {
                event.conversation_id == Some(self.conversation_id)
            }
            EventKind::WorkspaceDeleted => event.workspace_id == self.workspace_id,
            _ => false,
        }
    }
}

impl Subscriber {
    /// The answer that it follows, if it is a stream of one answer.
    pub(crate) fn following(&mut self) -> Option<&mut FollowedAnswer> {
        self.following.as_deref_mut()
    }

    /// Whether it is a stream of one answer.
    pub(crate) fn follows_answer(&self) -> bool {
        self.following.is_some()
    }

    /// Follows an answer, from its first page on, when the newest event is `newest`. Next: `take_answer_page`.
    pub(crate) fn follow(&mut self, following: FollowedAnswer, newest: EventNumber) {
        self.following = Some(Box::new(following));
        self.cursor = newest;
        self.state = DeliveryState::AwaitingPage;
    }

    /// Offers an event of the user. If it ends the answer and there is room, the rest of the text and the event are queued, and
    /// the stream ends; otherwise the store has both. `frame` keeps the frame for other streams of the same answer.
    pub(crate) fn offer_end(
        &mut self,
        event: &Event,
        frame: &mut Option<Arc<EventFrame>>,
        outbox: &mut Outbox,
        now: WallTime,
    ) {
        let Some(following) = self.following.as_deref_mut().filter(|following| following.is_ended_by(event)) else {
            return;
        };
        if self.ended {
            return;
        }
        if self.state != DeliveryState::Live {
            following.may_have_ended = true;
            return;
        }
        let through = following.through.bytes;
        let EventBody::Message(message) = &event.body else {
            if self.has_view() {
                return self.end_view(event, outbox);
            }
            let is_end = event.kind == EventKind::OutputError;
            let id = if is_end { end_id(through) } else { EventNumber(through as u64) };
            self.control(outbox, id, event.kind.as_str(), |out| wire::event::event_json(event, out));
            return self.end(outbox);
        };
        let text = message.content.as_str();
        self.state = DeliveryState::Behind;
        following.message_id = Some(message.id);
        let from = through;
        if from > text.len() || !text.is_char_boundary(from) {
            return;
        }
        let page = AnswerPage {
            reply_to: message.reply_to,
            message_id: Some(message.id),
            conversation_id: message.conversation_id,
            workspace_id: event.workspace_id,
            ended: None,
        };
        let end = EndedText {
            sender: message.sender.clone(),
            correlation_id: Arc::clone(&event.correlation_id),
            from,
            part: String::new(),
            text_bytes: text.len(),
            event: None,
        };
        if self.push_part(&page, &end, &text[from..], outbox, now) {
            if self.has_view() {
                return self.end_view(event, outbox);
            }
            let frame = frame.get_or_insert_with(|| Arc::new(end_frame(event, text.len())));
            let frame = Arc::clone(frame);
            self.push_end(event.number, &frame, outbox);
        }
    }

    /// Requests the answer from the store, from the offset on.
    pub(super) fn request_answer_page(&mut self, from: usize) -> Option<QueryKind> {
        let following = self.following.as_deref()?;
        Some(QueryKind::AnswerPage {
            conversation: ConversationRef::Id(following.conversation_id),
            message: following.message_id.unwrap_or(following.named),
            from,
            bytes_max: self.text_bytes_max(),
        })
    }

    /// The query for the next part of the text, once the outbox is empty.
    pub(super) fn fill_followed(&mut self, outbox: &Outbox) -> FillResult {
        let from = self.following.as_deref().map_or(0, |following| following.through.bytes);
        if !outbox.is_empty() || self.retry_at.is_some() {
            return FillResult::Nothing;
        }
        match self.request_answer_page(from) {
            Some(kind) => {
                self.state = DeliveryState::AwaitingPage;
                FillResult::Page(kind)
            }
            None => FillResult::Nothing,
        }
    }

    /// Takes a page of the answer, which was read at `position`. Returns whether the stream became live: queue what the answer in progress has.
    ///
    /// `is_current` is whether the shard has applied no event since the page's snapshot that could have ended the answer.
    pub(crate) fn take_answer_page(
        &mut self,
        (page, position): (&AnswerPage, EventNumber),
        is_current: bool,
        outbox: &mut Outbox,
        now: WallTime,
    ) -> bool {
        assert!(self.state == DeliveryState::AwaitingPage, "a page arrives only on request");
        self.state = DeliveryState::Behind;
        let Some(following) = self.following.as_deref_mut() else { return false };
        following.message_id = following.message_id.or(page.message_id);
        following.read_at = position;
        let may_have_ended = std::mem::take(&mut following.may_have_ended);
        let Some(end) = &page.ended else {
            if is_current && !may_have_ended {
                self.state = DeliveryState::Live;
            }
            return self.state == DeliveryState::Live;
        };
        if following.through.bytes > end.text_bytes {
            // The page begins at the end of the text, so another one is requested.
            following.reset();
            return false;
        }
        following.through.bytes = end.from;
        if self.push_part(page, end, &end.part, outbox, now)
            && let Some(event) = &end.event
        {
            if self.has_view() {
                self.end_view(event, outbox);
                return false;
            }
            self.push_end(event.number, &Arc::new(end_frame(event, end.text_bytes)), outbox);
        }
        false
    }

    /// Supplies a part of the event that ends the answer, which is longer than the outbox. Returns false if it has changed.
    pub(crate) fn supply_end_part(&mut self, page: &AnswerPage, outbox: &mut Outbox) -> bool {
        let event = page.ended.as_ref().and_then(|end| Some((end, end.event.as_ref()?)));
        event.is_some_and(|(end, event)| outbox.supply_part(&end_frame(event, end.text_bytes), self.buffer_bytes))
    }

    /// The page of the answer failed. The stream ends if the user has lost access to the answer; otherwise the page is requested
    /// again after a delay.
    pub(crate) fn answer_page_failed(&mut self, is_gone: bool, outbox: &mut Outbox, now: MonoTime) {
        self.page_failed(now);
        if is_gone && !self.ended {
            if self.has_view() {
                return self.fail_view(CompletionError::new(404, "not_found", "The message was deleted"), outbox);
            }
            self.end(outbox);
        }
    }

    /// Queues the text after the offset, as far as there is room. Returns whether all of `text` is queued.
    fn push_part(
        &mut self,
        page: &AnswerPage,
        end: &EndedText,
        text: &str,
        outbox: &mut Outbox,
        now: WallTime,
    ) -> bool {
        let json_bytes_max = self.text_bytes_max().saturating_sub(FRAME_FIELDS_BYTES);
        let (form, buffer_bytes) = (self.form, self.buffer_bytes);
        let mut rest = text;
        while !rest.is_empty() {
            let Some(following) = self.following.as_deref_mut() else { return false };
            if outbox.bytes() > buffer_bytes / 2 {
                return false;
            }
            let bytes = match string_bytes(rest) <= json_bytes_max {
                true => rest.len(),
                // At least one character.
                false => char_boundary(rest, (json_bytes_max / ESCAPED_BYTES_FACTOR).max(4)),
            };
            let (part, kind, from) = (&rest[..bytes], following.part_kind(), following.through.bytes);
            let through = from + bytes;
            if following.view.is_some() {
                following.advance(through);
                let id = following.message_id;
                self.push_to_view(outbox, |view, out| view.take_part(id, AnswerTextKind::Text, part, out));
                rest = &rest[bytes..];
                continue;
            }
            let frame =
                EventFrame::new(Some(EventNumber(through as u64)), kind.as_str(), FRAME_FIELDS_BYTES + bytes, |out| {
                    wire::event::stored_text(page, (end, from, part), kind, now, out)
                });
            outbox.push_frame(Arc::new(frame), form);
            following.advance(through);
            rest = &rest[bytes..];
        }
        true
    }

    /// Queues the event that ends the answer if there is room, and ends the stream.
    fn push_end(&mut self, number: EventNumber, frame: &Arc<EventFrame>, outbox: &mut Outbox) {
        if self.push_event(number, frame, outbox) {
            self.end(outbox);
        } else {
            self.state = DeliveryState::Behind;
        }
    }
}

/// The id of the event that ends an answer: the offset after its text, which is that of the last delta, and one more.
pub(crate) fn end_id(text_bytes: usize) -> EventNumber {
    EventNumber(text_bytes as u64 + 1)
}

/// The event that ends an answer.
fn end_frame(event: &Event, text_bytes: usize) -> EventFrame {
    EventFrame::new(Some(end_id(text_bytes)), event.kind.as_str(), 256 + event.weight(), |out| {
        wire::event::event_json(event, out)
    })
}

//! Answers in progress: which streams see them, and how much of their text each stream has. The text itself is in the
//! answer, which the responder's worker shares with every shard.
//!
//! Work follows what is queued: text is framed only for a stream that has room for it, in pieces that fit, and each piece
//! once for all streams that need it. A stream without room gets what it lacks, several deltas as one, when it has drained.
//!
//! Invariant: a stream that received a delta or a snapshot has all of the text through it. No text is sent to a user whose
//! stream has an event after which the user is no recipient. Therefore text and recipients that may have been missed are read
//! again together, from the answer itself, and nothing is sent until the shard has applied the same events as the stream and
//! the recipients.

use crate::base::metrics;
use crate::base::time::WallTime;
use crate::domain::command::ConversationRef;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::live_answer::{AnswerDelta, AnswerSnapshot, ShownText};
use crate::domain::query::StreamFilter;
use crate::domain::started_answer::{AnswerChange, AnswerStarted};
use crate::shard::connection::outbox::Outbox;
use crate::shard::subscription::fan_out::FanOut;
use crate::shard::subscription::subscriber::{AnswerCursor, Subscriber};
use crate::sse::frame::EventFrame;
use crate::wire;
use crate::wire::json::string_bytes;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Bytes of a frame around the text of a delta.
const FRAME_FIELDS_BYTES: usize = 512;

/// One answer in progress.
#[derive(Debug)]
struct SharedAnswer {
    started: AnswerStarted,
    /// The number of the event that changed the recipients last.
    recipients_since: EventNumber,
    /// How much of its text this shard shows.
    shown: ShownText,
    /// Changes when a recipient may have lost the answer for a while: all streams get the text from its beginning.
    generation: u32,
    /// The piece that was framed last, as long as a stream holds it.
    piece: Option<Piece>,
}

/// A framed piece of an answer's text.
#[derive(Debug)]
struct Piece {
    key: PieceKey,
    /// Where the piece ends.
    through: ShownText,
    frame: Weak<EventFrame>,
}

/// What a piece is made of: streams with the same key get the same frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PieceKey {
    from: ShownText,
    shown: ShownText,
    bytes_max: usize,
    is_snapshot: bool,
}

/// The answers in progress, as a shard has them.
#[derive(Debug, Default)]
pub(crate) struct LiveAnswers {
    answers: HashMap<MessageId, SharedAnswer>,
}

impl LiveAnswers {
    /// Adds an answer that was started.
    pub(crate) fn start(&mut self, started: &AnswerStarted) {
        let answer = SharedAnswer {
            started: started.clone(),
            recipients_since: EventNumber::default(),
            shown: ShownText::default(),
            generation: 0,
            piece: None,
        };
        self.answers.insert(started.message_id, answer);
    }

    /// Applies an event, which may end an answer or change its recipients.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.answers.retain(|_, answer| match answer.started.change(event) {
            None => true,
            // A later change has been read from the answer already.
            Some(AnswerChange::Recipients(_)) if event.number <= answer.recipients_since => true,
            Some(AnswerChange::Recipients(recipients)) => {
                answer.recipients_since = event.number;
                if answer.started.recipients.iter().any(|user| !recipients.contains(user)) {
                    answer.generation += 1;
                }
                answer.started.recipients = Arc::clone(recipients);
                true
            }
            Some(AnswerChange::Over) => false,
        });
    }

    /// Applies a delta; returns whether there is new text. If deltas before it were missed, the text is shown through the
    /// latest one.
    pub(crate) fn grow(&mut self, delta: &AnswerDelta) -> bool {
        let Some(answer) = self.answers.get_mut(&delta.message_id) else { return false };
        if delta.index < answer.shown.deltas {
            return false;
        }
        if delta.index == answer.shown.deltas {
            answer.shown = ShownText { deltas: delta.index + 1, bytes: delta.to };
            return true;
        }
        // The text through the latest delta may be newer than the recipients that this shard knows.
        answer.read_again()
    }

    /// Reads the state of every answer again, since missed events may have ended it or changed its recipients.
    pub(crate) fn events_missed(&mut self) {
        self.answers.retain(|_, answer| {
            answer.generation += 1;
            answer.read_again()
        });
    }

    /// Calls `offer` for each stream that may see the answer, with the answer.
    pub(crate) fn for_each_stream(
        &mut self,
        message_id: MessageId,
        fan_out: &FanOut,
        mut offer: impl FnMut(u32, &mut StreamedAnswer<'_>),
    ) {
        let Some(answer) = self.answers.get_mut(&message_id) else { return };
        let recipients = Arc::clone(&answer.started.recipients);
        let mut answer = StreamedAnswer(answer);
        for user in recipients.iter() {
            if let Some(subscriptions) = fan_out.subscriptions(user) {
                subscriptions.streams().iter().for_each(|slot| offer(*slot, &mut answer));
            }
        }
    }

    /// Queues the text of every answer in progress for a stream that has become live, as far as there is room.
    pub(crate) fn push_snapshots(
        &mut self,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        position: EventNumber,
        now: WallTime,
    ) {
        stream.set_lacks_text(false);
        for answer in self.answers.values_mut() {
            if answer.shown.deltas > 0 && answer.started.recipients.contains(stream.user()) {
                StreamedAnswer(answer).push_text(stream, outbox, position, false, now);
            }
        }
        stream.retain_answers(|cursor| self.answers.contains_key(&cursor.message_id));
    }

    /// Queues text that a stream lacks, as far as there is room.
    pub(crate) fn push_lacking(
        &mut self,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        position: EventNumber,
        now: WallTime,
    ) {
        stream.set_lacks_text(false);
        let mut lacking = Vec::new();
        stream.retain_answers(|cursor| {
            let Some(answer) = self.answers.get(&cursor.message_id) else { return false };
            if cursor.through != answer.shown || cursor.generation != answer.generation {
                lacking.push(cursor.message_id);
            }
            true
        });
        for message_id in lacking {
            if let Some(answer) = self.answers.get_mut(&message_id)
                && answer.started.recipients.contains(stream.user())
            {
                StreamedAnswer(answer).push_text(stream, outbox, position, false, now);
            }
        }
    }

    /// Whether no answer is in progress.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

impl SharedAnswer {
    /// Reads text and recipients again, in one snapshot. Returns whether the answer is still in progress; otherwise nothing more
    /// of it is shown.
    fn read_again(&mut self) -> bool {
        let AnswerSnapshot { shown, recipients, recipients_since, is_over } = self.started.live.snapshot();
        if is_over {
            return false;
        }
        if recipients_since != self.recipients_since {
            self.generation += 1;
        }
        (self.shown, self.started.recipients, self.recipients_since) = (shown, recipients, recipients_since);
        true
    }
}

/// One answer in progress, for the streams that see it.
#[derive(Debug)]
pub(crate) struct StreamedAnswer<'a>(&'a mut SharedAnswer);

impl StreamedAnswer<'_> {
    /// Queues the text that a stream lacks, as far as there is room; returns whether any was queued. A piece from the beginning
    /// of the text is a snapshot, unless it is the first delta and `is_first_delta` is set. Any other piece is a delta.
    /// `position` is the number through which the shard has applied every event. Until it has reached the stream and the last
    /// change of the recipients, nothing is queued.
    pub(crate) fn push_text(
        &mut self,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        position: EventNumber,
        is_first_delta: bool,
        now: WallTime,
    ) -> bool {
        let SharedAnswer { started, shown, generation, .. } = &*self.0;
        let (message_id, shown, generation) = (started.message_id, *shown, *generation);
        let mut is_queued = false;
        if !stream.is_live() || !passes(started, stream.filter()) {
            return is_queued;
        }
        if stream.is_ahead_of(position) || self.0.recipients_since > position {
            // The recipients are not those after the stream's last event.
            stream.answer_cursor(message_id);
            stream.set_lacks_text(true);
            return is_queued;
        }
        let bytes_max = stream.text_bytes_max();
        loop {
            let cursor = stream.answer_cursor(message_id);
            if cursor.generation != generation {
                *cursor = AnswerCursor { message_id, generation, through: ShownText::default() };
            }
            let from = cursor.through;
            if from.deltas >= shown.deltas {
                return is_queued;
            }
            if !stream.has_room_for_text(outbox) {
                stream.set_lacks_text(true);
                return is_queued;
            }
            let (through, frame) = self.piece(from, bytes_max, is_first_delta, now);
            if !stream.push_ephemeral(&frame, outbox) {
                stream.set_lacks_text(true);
                return is_queued;
            }
            is_queued = true;
            stream.answer_cursor(message_id).through = through;
        }
    }

    /// The frame of the text after `from`, about `bytes_max` bytes of it at most, and where it ends.
    fn piece(
        &mut self,
        from: ShownText,
        bytes_max: usize,
        is_first_delta: bool,
        now: WallTime,
    ) -> (ShownText, Arc<EventFrame>) {
        let SharedAnswer { started, shown, piece, .. } = &mut *self.0;
        let is_snapshot = from.deltas == 0 && !is_first_delta;
        let key = PieceKey { from, shown: *shown, bytes_max, is_snapshot };
        if let Some(piece) = piece
            && piece.key == key
            && let Some(frame) = piece.frame.upgrade()
        {
            return (piece.through, frame);
        }
        let text_bytes_max = bytes_max.saturating_sub(FRAME_FIELDS_BYTES);
        let write = |through: ShownText, text: &str| {
            let kind = if is_snapshot { EventKind::OutputSnapshot } else { EventKind::OutputDelta };
            EventFrame::new(None, kind.as_str(), FRAME_FIELDS_BYTES + text.len(), |out| {
                let index = through.deltas - 1;
                if is_snapshot {
                    wire::event::output_snapshot(started, (index, through.bytes), text, now, out);
                } else {
                    wire::event::output_delta(started, (index, from.bytes), text, now, out);
                }
            })
        };
        let (through, frame) = started.live.with_deltas(from, *shown, text_bytes_max, string_bytes, write);
        metrics::ANSWER_BYTES_FRAMED.add(frame.held_bytes() as u64);
        let frame = Arc::new(frame);
        *piece = Some(Piece { key, through, frame: Arc::downgrade(&frame) });
        (through, frame)
    }
}

fn passes(started: &AnswerStarted, filter: &StreamFilter) -> bool {
    filter.kinds.has(EventKind::OutputDelta)
        && filter.workspace.is_none_or(|id| id == started.workspace_id)
        && match filter.conversation {
            None => true,
            Some(ConversationRef::Id(id)) => id == started.conversation_id,
            Some(ConversationRef::Default) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::answer_job::JobId;
    use crate::domain::event::EventBody;
    use crate::domain::id::{ConversationId, EventNumber, UserId, WorkspaceId};
    use crate::domain::live_answer::LiveAnswer;
    use crate::domain::started_answer::LiveAnswerSet;
    use uuid::Uuid;

    fn started() -> AnswerStarted {
        AnswerStarted {
            job: JobId::default(),
            message_id: MessageId(Uuid::from_u128(1)),
            reply_to: MessageId(Uuid::from_u128(4)),
            conversation_id: ConversationId(Uuid::from_u128(2)),
            workspace_id: WorkspaceId(Uuid::from_u128(3)),
            recipients: Arc::new([UserId::new("u").unwrap()]),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            live: LiveAnswer::default(),
        }
    }

    #[test]
    fn deltas_follow_each_other_or_the_text_is_read_from_the_answer() {
        let (mut live, started) = (LiveAnswers::default(), started());
        let deltas = ["a", "b", "c", "d", "e"].map(|text| {
            started.live.append(text);
            started.live.show(started.message_id).unwrap()
        });
        assert!(!live.grow(&deltas[0]), "it was not started on this shard");
        live.start(&started);
        let shown = |live: &LiveAnswers| live.answers[&started.message_id].shown;
        assert!(live.grow(&deltas[0]));
        assert_eq!(shown(&live), ShownText { deltas: 1, bytes: 1 });
        assert!(!live.grow(&deltas[0]), "once");
        assert!(live.grow(&deltas[2]));
        assert_eq!(shown(&live), ShownText { deltas: 5, bytes: 5 }, "one was missed");
        assert!(!live.grow(&deltas[3]) && !live.grow(&deltas[4]), "the text contains them");
    }

    #[test]
    fn after_missed_events_an_answer_is_over_or_has_the_recipients_of_the_last_commit() {
        let (mut live, mut all, started) = (LiveAnswers::default(), LiveAnswerSet::default(), started());
        let event = |kind, recipients: &[&str]| {
            Arc::new(Event {
                number: EventNumber(1),
                kind,
                at: WallTime(0),
                actor: UserId::new("u").unwrap(),
                correlation_id: "c".into(),
                workspace_id: started.workspace_id,
                conversation_id: Some(started.conversation_id),
                recipients: recipients.iter().map(|name| UserId::new(name).unwrap()).collect(),
                body: EventBody::Data("{}".into()),
            })
        };
        all.committed(std::slice::from_ref(&started), &[]);
        live.start(&started);
        let recipients = |live: &LiveAnswers| live.answers[&started.message_id].started.recipients.len();
        assert_eq!(recipients(&live), 1);
        all.committed(&[], &[event(EventKind::ConversationUpdated, &["v", "w"])]);
        assert_eq!(recipients(&live), 1, "the shard has missed it");
        live.events_missed();
        assert_eq!(recipients(&live), 2);
        all.committed(&[], &[event(EventKind::ConversationDeleted, &[])]);
        live.events_missed();
        assert!(live.is_empty());
    }
}

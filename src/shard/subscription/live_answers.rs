//! Answers in progress: which streams see them, and how much of their text each stream has. The text itself is in the
//! answer, which the responder's worker shares with every shard.
//!
//! Invariant: a stream that received a delta or a snapshot has all of the text through it. After a missed commit, no answer
//! is shown to its former recipients: the answer itself has the present ones.

use crate::base::time::WallTime;
use crate::domain::command::ConversationRef;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::MessageId;
use crate::domain::live_answer::{AnswerDelta, ShownText};
use crate::domain::query::StreamFilter;
use crate::domain::started_answer::{AnswerChange, AnswerStarted};
use crate::shard::connection::outbox::Outbox;
use crate::shard::subscription::fan_out::FanOut;
use crate::shard::subscription::subscriber::Subscriber;
use crate::sse::frame::EventFrame;
use crate::wire;
use std::collections::HashMap;
use std::sync::Arc;

/// One answer in progress.
#[derive(Debug)]
struct SharedAnswer {
    started: AnswerStarted,
    /// How much of its text this shard shows.
    shown: ShownText,
}

/// The answers in progress, as a shard has them.
#[derive(Debug, Default)]
pub(crate) struct LiveAnswers {
    answers: HashMap<MessageId, SharedAnswer>,
}

impl LiveAnswers {
    /// Adds an answer that was started.
    pub(crate) fn start(&mut self, started: &AnswerStarted) {
        let answer = SharedAnswer { started: started.clone(), shown: ShownText::default() };
        self.answers.insert(started.message_id, answer);
    }

    /// Applies an event, which may end an answer or change its recipients.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.answers.retain(|_, answer| match answer.started.change(event) {
            None => true,
            Some(AnswerChange::Recipients(recipients)) => {
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
        answer.shown = if delta.index == answer.shown.deltas {
            ShownText { deltas: delta.index + 1, bytes: delta.to }
        } else {
            answer.started.live.shown()
        };
        true
    }

    /// Reads the state of every answer again, since missed events may have ended it or changed its recipients.
    pub(crate) fn events_missed(&mut self) {
        self.answers.retain(|_, answer| {
            answer.started.recipients = answer.started.live.recipients();
            !answer.started.live.is_over()
        });
    }

    /// Calls `offer` for each stream that may see the answer.
    pub(crate) fn for_each_stream(&self, message_id: MessageId, fan_out: &FanOut, mut offer: impl FnMut(u32)) {
        let Some(answer) = self.answers.get(&message_id) else { return };
        for user in answer.started.recipients.iter() {
            if let Some(subscriptions) = fan_out.subscriptions(user) {
                subscriptions.streams().iter().for_each(|slot| offer(*slot));
            }
        }
    }

    /// The frame of a delta, shared by all streams.
    pub(crate) fn delta_frame(&self, delta: &AnswerDelta, now: WallTime) -> Option<Arc<EventFrame>> {
        let started = &self.answers.get(&delta.message_id)?.started;
        let json_bytes = 256 + delta.to - delta.from;
        Some(Arc::new(EventFrame::new(None, EventKind::OutputDelta.as_str(), json_bytes, |out| {
            started.live.with_text(delta.from..delta.to, |text| {
                wire::event::output_delta(started, delta.index, text, now, out);
            });
        })))
    }

    /// Queues a delta for a live stream, or the whole text if the stream lacks a part before it.
    pub(crate) fn push_delta(
        &self,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        delta: &AnswerDelta,
        frame: &Arc<EventFrame>,
        now: WallTime,
    ) {
        let Some(answer) = self.answers.get(&delta.message_id) else { return };
        if !is_shown_to(answer, stream) {
            return;
        }
        // After missed deltas, `shown` is ahead of this one, and the whole text is sent.
        if stream.next_delta(delta.message_id) == delta.index && answer.shown.deltas == delta.index + 1 {
            if stream.push_ephemeral(frame, outbox) {
                stream.set_next_delta(delta.message_id, delta.index + 1);
            }
        } else {
            push_snapshot(answer, stream, outbox, now);
        }
    }

    /// Queues the text of every answer in progress for a stream that has become live.
    pub(crate) fn push_snapshots(&self, stream: &mut Subscriber, outbox: &mut Outbox, now: WallTime) {
        for answer in self.answers.values() {
            let sees = answer.started.recipients.contains(stream.user());
            if sees && is_shown_to(answer, stream) && stream.next_delta(answer.started.message_id) < answer.shown.deltas
            {
                push_snapshot(answer, stream, outbox, now);
            }
        }
        stream.forget_deltas(|id| self.answers.contains_key(&id));
    }

    /// Whether no answer is in progress.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

fn push_snapshot(answer: &SharedAnswer, stream: &mut Subscriber, outbox: &mut Outbox, now: WallTime) {
    let SharedAnswer { started, shown } = answer;
    let Some(index) = shown.deltas.checked_sub(1) else { return };
    let write_json = |out: &mut Vec<u8>| {
        started.live.with_text(0..shown.bytes, |text| wire::event::output_snapshot(started, index, text, now, out));
    };
    if stream.push_ephemeral_with(EventKind::OutputSnapshot, outbox, write_json) {
        stream.set_next_delta(started.message_id, shown.deltas);
    }
}

fn is_shown_to(answer: &SharedAnswer, stream: &Subscriber) -> bool {
    stream.is_live() && passes(answer, stream.filter())
}

fn passes(answer: &SharedAnswer, filter: &StreamFilter) -> bool {
    let started = &answer.started;
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

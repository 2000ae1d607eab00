//! Answers that are being written: which streams see them, and what each stream has of their text. The text itself is
//! in the answer, which the responder's worker shares with every shard.
//!
//! Invariant: a stream that was given a delta or a snapshot has all of the text through it. After a commit was missed,
//! no answer is shown to the users who saw it before: the answer itself names the present ones.

use crate::base::time::WallTime;
use crate::domain::command::ConversationRef;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::MessageId;
use crate::domain::live_answer::AnswerDelta;
use crate::domain::live_answer::ShownText;
use crate::domain::query::StreamFilter;
use crate::domain::started_answer::AnswerChange;
use crate::domain::started_answer::AnswerStarted;
use crate::shard::connection::outbox::Outbox;
use crate::shard::subscription::fan_out::FanOut;
use crate::shard::subscription::subscriber::{DeliveryState, Subscriber};
use crate::sse::{self, EventFrame};
use crate::wire;
use std::collections::HashMap;
use std::sync::Arc;

/// One answer that is being written.
#[derive(Debug)]
struct SharedAnswer {
    started: AnswerStarted,
    /// The text that this shard has shown, or may show.
    shown: ShownText,
}

/// The answers that are being written, as a shard knows them.
#[derive(Debug, Default)]
pub(crate) struct LiveAnswers {
    answers: HashMap<MessageId, SharedAnswer>,
}

impl LiveAnswers {
    /// An answer was started.
    pub(crate) fn begin(&mut self, started: &AnswerStarted) {
        let answer = SharedAnswer { started: started.clone(), shown: ShownText::default() };
        self.answers.insert(started.message_id, answer);
    }

    /// Takes in an event: it may end an answer, or change its recipients.
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

    /// Takes in a delta; returns whether there is something new to show. If deltas were missed before it, the text is
    /// shown through the latest one.
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

    /// Events were missed, and with them perhaps the end of any answer, or users who no longer see it.
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
                subscriptions.streams.iter().for_each(|slot| offer(*slot));
            }
        }
    }

    /// The frame of a delta, made once for all streams.
    pub(crate) fn delta_frame(&self, delta: &AnswerDelta, now: WallTime) -> Option<Arc<EventFrame>> {
        let started = &self.answers.get(&delta.message_id)?.started;
        let json_bytes = 256 + delta.to - delta.from;
        Some(Arc::new(EventFrame::new(None, EventKind::OutputDelta.as_str(), json_bytes, |out| {
            started.live.with_text(delta.from..delta.to, |text| {
                wire::event::output_delta(started, delta.index, text, now, out);
            });
        })))
    }

    /// Gives a live stream the delta that was framed, or, if it lacks something before it, the text so far.
    pub(crate) fn give(
        &self,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        delta: &AnswerDelta,
        frame: &Arc<EventFrame>,
        now: WallTime,
    ) {
        let Some(answer) = self.answers.get(&delta.message_id) else { return };
        if !is_for(answer, stream) {
            return;
        }
        // After a hole, `shown` is further than the delta: then the whole text is sent.
        if stream.next_delta(delta.message_id) == delta.index && answer.shown.deltas == delta.index + 1 {
            if stream.push_ephemeral(frame, outbox) {
                stream.set_next_delta(delta.message_id, delta.index + 1);
            }
        } else {
            give_snapshot(answer, stream, outbox, now);
        }
    }

    /// Gives a stream that has become live the text of every answer that it sees in the middle.
    pub(crate) fn give_all(&self, stream: &mut Subscriber, outbox: &mut Outbox, now: WallTime) {
        for answer in self.answers.values() {
            let sees = answer.started.recipients.contains(&stream.user);
            if sees && is_for(answer, stream) && stream.next_delta(answer.started.message_id) < answer.shown.deltas {
                give_snapshot(answer, stream, outbox, now);
            }
        }
        stream.forget_deltas(|id| self.answers.contains_key(&id));
    }

    /// Whether no answer is being written.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

fn give_snapshot(answer: &SharedAnswer, stream: &mut Subscriber, outbox: &mut Outbox, now: WallTime) {
    let SharedAnswer { started, shown } = answer;
    let Some(index) = shown.deltas.checked_sub(1) else { return };
    let named = stream.named.then_some(EventKind::OutputSnapshot.as_str());
    let write_json = |out: &mut Vec<u8>| {
        started.live.with_text(0..shown.bytes, |text| wire::event::output_snapshot(started, index, text, now, out));
    };
    if outbox.push_within(stream.buffer_bytes, 0, |out| sse::write_event(None, named, write_json, out)) {
        stream.set_next_delta(started.message_id, shown.deltas);
    }
}

fn is_for(answer: &SharedAnswer, stream: &Subscriber) -> bool {
    stream.source == DeliveryState::Live && !stream.ended && passes(answer, &stream.filter)
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
        assert!(!live.grow(&deltas[0]), "it was not started here");
        live.begin(&started);
        let shown = |live: &LiveAnswers| live.answers[&started.message_id].shown;
        assert!(live.grow(&deltas[0]));
        assert_eq!(shown(&live), ShownText { deltas: 1, bytes: 1 });
        assert!(!live.grow(&deltas[0]), "once");
        assert!(live.grow(&deltas[2]));
        assert_eq!(shown(&live), ShownText { deltas: 5, bytes: 5 }, "the second was missed");
        assert!(!live.grow(&deltas[3]) && !live.grow(&deltas[4]), "the text has them");
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
        live.begin(&started);
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

//! Answers that are being written: their text so far, who sees it, and what each stream has of it.
//!
//! Invariant: `text` is what the deltas before `next` say, unless the answer is stale; a stream that was given a delta or
//! a snapshot has all of the text through it.

use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerDelta, AnswerSnapshot, AnswerStarted};
use crate::domain::command::ConversationRef;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::MessageId;
use crate::domain::query::StreamFilter;
use crate::shard::connection::outbox::Outbox;
use crate::shard::subscription::fan_out::Hub;
use crate::shard::subscription::subscriber::{Source, Stream};
use crate::sse::{self, EventFrame};
use crate::wire;
use std::collections::HashMap;
use std::sync::Arc;

/// One answer that is being written.
#[derive(Debug)]
struct Answer {
    started: AnswerStarted,
    text: String,
    /// Index of the delta that comes next.
    next: u64,
    /// A delta was missed: the text is asked for.
    stale: bool,
}

/// The answers that are being written, as a shard knows them.
#[derive(Debug, Default)]
pub struct LiveAnswers {
    answers: HashMap<MessageId, Answer>,
}

/// What became of a delta.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Its answer is not written any more, or it was there already.
    Nothing,
    /// It follows what is there.
    Next,
    /// Something before it is missing: the text has to be asked for.
    Missing,
}

impl LiveAnswers {
    /// An answer was begun.
    pub fn begin(&mut self, started: &AnswerStarted) {
        let answer = Answer { started: started.clone(), text: String::new(), next: 0, stale: false };
        self.answers.insert(started.message_id, answer);
    }

    /// Takes in what an event says of the answers: that one is over, or that others see them now.
    pub fn apply(&mut self, event: &Event) {
        if self.answers.is_empty() {
            return;
        }
        let in_conversation = |answer: &Answer| Some(answer.started.conversation_id) == event.conversation_id;
        match event.kind {
            EventKind::Output => {
                if let Some(message) = event.message() {
                    self.answers.remove(&message.id);
                }
            }
            EventKind::MessageDeleted => {
                self.answers.retain(|id, _| event.message_id() != Some(*id));
            }
            EventKind::ConversationDeleted => self.answers.retain(|_, answer| !in_conversation(answer)),
            EventKind::WorkspaceDeleted => {
                self.answers.retain(|_, answer| answer.started.workspace_id != event.workspace_id);
            }
            EventKind::ConversationUpdated => {
                for answer in self.answers.values_mut().filter(|answer| in_conversation(answer)) {
                    answer.started.recipients = Arc::clone(&event.recipients);
                }
            }
            _ => {}
        }
    }

    /// Takes in a delta.
    pub fn grow(&mut self, delta: &AnswerDelta) -> Taken {
        let Some(answer) = self.answers.get_mut(&delta.message_id) else { return Taken::Nothing };
        if answer.stale || delta.index < answer.next {
            return Taken::Nothing;
        }
        if delta.index > answer.next {
            answer.stale = true;
            return Taken::Missing;
        }
        answer.text.push_str(&delta.text);
        answer.next += 1;
        Taken::Next
    }

    /// Takes in the text that was asked for; `None` says that the answer is over.
    pub fn restore(&mut self, message_id: MessageId, snapshot: Option<&AnswerSnapshot>) {
        let Some(snapshot) = snapshot else {
            self.answers.remove(&message_id);
            return;
        };
        if let Some(answer) = self.answers.get_mut(&message_id)
            && answer.stale
        {
            answer.text = snapshot.text.to_string();
            answer.next = snapshot.next;
            answer.stale = false;
        }
    }

    /// Events were missed, and with them perhaps the end of any answer: every text has to be asked for.
    pub fn doubt_all(&mut self) -> Vec<MessageId> {
        for answer in self.answers.values_mut() {
            answer.stale = true;
        }
        self.answers.keys().copied().collect()
    }

    /// Calls `offer` for each stream that may see the answer.
    pub fn for_each_stream(&self, message_id: MessageId, hub: &Hub, mut offer: impl FnMut(u32)) {
        let Some(answer) = self.answers.get(&message_id) else { return };
        for user in answer.started.recipients.iter() {
            if let Some(listener) = hub.listener(user) {
                listener.streams.iter().for_each(|slot| offer(*slot));
            }
        }
    }

    /// The frame of a delta, made once for all streams.
    pub fn delta_frame(&self, delta: &AnswerDelta, now: WallTime) -> Option<Arc<EventFrame>> {
        let started = &self.answers.get(&delta.message_id)?.started;
        let json_bytes = 256 + delta.text.len();
        Some(Arc::new(EventFrame::new(None, EventKind::OutputDelta.as_str(), json_bytes, |out| {
            wire::event::output_delta(started, delta.index, &delta.text, now, out)
        })))
    }

    /// Gives a live stream the delta that was framed, or, if it lacks something before it, the text so far.
    pub fn give(
        &self,
        stream: &mut Stream,
        outbox: &mut Outbox,
        delta: &AnswerDelta,
        frame: &Arc<EventFrame>,
        now: WallTime,
    ) {
        let Some(answer) = self.answers.get(&delta.message_id) else { return };
        if !is_for(answer, stream) {
            return;
        }
        if stream.next_delta(delta.message_id) == delta.index {
            if stream.push_passing(frame, outbox) {
                stream.set_next_delta(delta.message_id, delta.index + 1);
            }
        } else {
            give_snapshot(answer, stream, outbox, now);
        }
    }

    /// Gives a stream that has become live the text of every answer that it sees in the middle.
    pub fn give_all(&self, stream: &mut Stream, outbox: &mut Outbox, now: WallTime) {
        for answer in self.answers.values() {
            let sees = answer.started.recipients.contains(&stream.user);
            if sees
                && !answer.stale
                && is_for(answer, stream)
                && stream.next_delta(answer.started.message_id) < answer.next
            {
                give_snapshot(answer, stream, outbox, now);
            }
        }
        stream.forget_deltas(|id| self.answers.contains_key(&id));
    }

    /// Whether no answer is being written.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

fn give_snapshot(answer: &Answer, stream: &mut Stream, outbox: &mut Outbox, now: WallTime) {
    let Some(index) = answer.next.checked_sub(1) else { return };
    let named = stream.named.then_some(EventKind::OutputSnapshot.as_str());
    let is_queued = outbox.push_within(stream.buffer_bytes, 0, |out| {
        sse::write_event(
            None,
            named,
            |out| wire::event::output_snapshot(&answer.started, index, &answer.text, now, out),
            out,
        )
    });
    if is_queued {
        stream.set_next_delta(answer.started.message_id, answer.next);
    }
}

fn is_for(answer: &Answer, stream: &Stream) -> bool {
    stream.source == Source::Live && !stream.ended && passes(answer, &stream.filter)
}

fn passes(answer: &Answer, filter: &StreamFilter) -> bool {
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
    use crate::domain::id::{ConversationId, UserId, WorkspaceId};
    use uuid::Uuid;

    fn started() -> AnswerStarted {
        AnswerStarted {
            message_id: MessageId(Uuid::from_u128(1)),
            conversation_id: ConversationId(Uuid::from_u128(2)),
            workspace_id: WorkspaceId(Uuid::from_u128(3)),
            recipients: Arc::new([UserId::new("u").unwrap()]),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            text: "".into(),
        }
    }

    fn delta(index: u64, text: &str) -> AnswerDelta {
        AnswerDelta { message_id: started().message_id, index, text: text.into() }
    }

    #[test]
    fn deltas_follow_each_other_or_the_text_is_asked_for() {
        let mut live = LiveAnswers::default();
        assert_eq!(live.grow(&delta(0, "a")), Taken::Nothing, "nobody began it");
        live.begin(&started());
        assert_eq!(live.grow(&delta(0, "a")), Taken::Next);
        assert_eq!(live.grow(&delta(0, "a")), Taken::Nothing);
        assert_eq!(live.grow(&delta(2, "c")), Taken::Missing);
        assert_eq!(live.grow(&delta(3, "d")), Taken::Nothing, "it was asked for already");
        live.restore(started().message_id, Some(&AnswerSnapshot { next: 4, text: "abcd".into() }));
        assert_eq!(live.grow(&delta(3, "d")), Taken::Nothing, "the text has it");
        assert_eq!(live.grow(&delta(4, "e")), Taken::Next);
        assert_eq!(live.answers[&started().message_id].text, "abcde");
        assert_eq!(live.doubt_all(), [started().message_id]);
        live.restore(started().message_id, None);
        assert!(live.is_empty());
    }
}

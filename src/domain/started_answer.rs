//! Running answers: from the commit that creates their message or reserves its id to the one that ends or deletes them.

use crate::domain::answer_job::JobId;
use crate::domain::event::{Event, EventKind};
#[cfg(feature = "cluster")]
use crate::domain::id::InstanceName;
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::live_answer::LiveAnswer;
#[cfg(feature = "cluster")]
use crate::domain::live_answer::{AnswerDelta, AnswerPart, TextRequest};
use std::collections::HashMap;
use std::sync::Arc;

/// An answer whose message a commit created, or whose message id it reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerStarted {
    /// The answer's job.
    pub job: JobId,
    /// The answer's message, which has no row before the first text.
    pub message_id: MessageId,
    /// The message that it answers.
    pub reply_to: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The conversation's workspace.
    pub workspace_id: WorkspaceId,
    /// The recipients of its deltas.
    pub recipients: Arc<[UserId]>,
    /// The number through which every event is considered in the recipients; 0 if the commit that started the answer follows the events
    /// of which the shards know.
    pub known_at: EventNumber,
    /// The id of the responder's user.
    pub sender: UserId,
    /// The id of the request that sent the message.
    pub correlation_id: Arc<str>,
    /// The text.
    pub live: LiveAnswer,
}

/// The effect of an event on a running answer.
#[derive(Debug, PartialEq, Eq)]
pub enum AnswerChange<'e> {
    /// The answer is published or deleted, or has ended without text.
    Over,
    /// It has new recipients.
    Recipients(&'e Arc<[UserId]>),
}

impl AnswerStarted {
    /// The effect of `event` on this answer; `None` if it does not concern it.
    pub fn change<'e>(&self, event: &'e Event) -> Option<AnswerChange<'e>> {
        let in_conversation = Some(self.conversation_id) == event.conversation_id;
        let is_over = match event.kind {
            EventKind::Output => event.message().is_some_and(|message| message.id == self.message_id),
            EventKind::OutputError => event.message_id() == Some(self.reply_to),
            EventKind::MessageDeleted => event.message_id() == Some(self.message_id),
            EventKind::ConversationDeleted => in_conversation,
            EventKind::WorkspaceDeleted => self.workspace_id == event.workspace_id,
            EventKind::ConversationUpdated if in_conversation => {
                return Some(AnswerChange::Recipients(&event.recipients));
            }
            _ => false,
        };
        is_over.then_some(AnswerChange::Over)
    }
}

impl AnswerStarted {
    /// This answer after events that came out before its start; `None` if one of them ended it.
    pub fn after<'e>(&self, events: impl Iterator<Item = &'e Arc<Event>>) -> Option<AnswerStarted> {
        let mut started = self.clone();
        for event in events {
            match started.change(event) {
                None => {}
                Some(AnswerChange::Recipients(recipients)) => started.recipients = Arc::clone(recipients),
                Some(AnswerChange::Over) => {
                    started.live.set_over();
                    return None;
                }
            }
        }
        Some(started)
    }

    /// This answer for another instance, after the events through `position` came out in this one.
    #[cfg(feature = "cluster")]
    pub fn for_other_instance(&self, position: EventNumber) -> AnswerStarted {
        // Until the events before its start have come out, the recipients are newer than the position.
        let known_at = position.max(self.known_at);
        AnswerStarted { recipients: self.live.snapshot().recipients, known_at, ..self.clone() }
    }
}

/// All running answers. It is updated before a commit is distributed, so that a shard that missed a commit finds the present
/// recipients in the answers.
#[derive(Debug, Default)]
pub struct LiveAnswerSet {
    answers: HashMap<MessageId, AnswerStarted>,
    /// The bytes of the texts that came from other instances.
    #[cfg(feature = "cluster")]
    received_bytes: usize,
}

impl LiveAnswerSet {
    /// The running answer with this message.
    #[cfg(feature = "cluster")]
    pub fn get(&self, message_id: MessageId) -> Option<&AnswerStarted> {
        self.answers.get(&message_id)
    }

    /// Whether an instance has told of a run of an answer that is not in the set. What runs in this one is not replaced.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_new(&self, started: &AnswerStarted) -> bool {
        let owner = self.get(started.message_id).map(|known| known.live.owner());
        owner.is_none_or(|owner| owner.is_some() && owner != started.live.owner())
    }

    /// Those of `started` that are not in the set. A bus may repeat a message, and an answer that starts again would lose its text.
    #[cfg(feature = "cluster")]
    pub fn without_known(&self, started: &Arc<[AnswerStarted]>) -> Arc<[AnswerStarted]> {
        let is_new = |started: &&AnswerStarted| self.is_new(started);
        if started.iter().all(|started| is_new(&started)) {
            return Arc::clone(started);
        }
        started.iter().filter(is_new).cloned().collect()
    }

    /// Removes all answers: events that may have ended them, or changed their recipients, do not come. Streams get these answers at their
    /// end, or those of other instances when they are requested again.
    #[cfg(feature = "cluster")]
    pub fn forget(&mut self) {
        self.answers.drain().for_each(|(_, started)| started.live.set_over());
        self.received_bytes = 0;
    }

    /// Adds a part to an answer of another instance. When the texts of all such answers have `bytes_max`, they do not grow:
    /// streams get these answers at their end.
    ///
    /// # Errors
    /// Fails with what is missing before the part.
    #[cfg(feature = "cluster")]
    pub(crate) fn receive(
        &mut self,
        from: InstanceName,
        part: &AnswerPart,
        bytes_max: usize,
    ) -> Result<Option<AnswerDelta>, TextRequest> {
        let message_id = part.message_id;
        let Some(started) = self.answers.get(&message_id) else { return Err(TextRequest { message_id, known: None }) };
        if self.received_bytes + part.text.len() > bytes_max {
            return Ok(None);
        }
        let received = started.live.receive(from, part).map_err(|known| TextRequest { message_id, known });
        received.inspect(|delta| self.received_bytes += delta.map_or(0, |delta| delta.to - delta.from))
    }

    /// Applies a commit.
    pub fn committed(&mut self, started: &[AnswerStarted], events: &[Arc<Event>]) {
        for started in started {
            started.live.set_recipients(&started.recipients, started.known_at);
            let replaced = self.answers.insert(started.message_id, started.clone());
            if let Some(replaced) = replaced.filter(|replaced| replaced.live != started.live) {
                // Another run of the same answer.
                self.end(&replaced);
            }
        }
        if self.answers.is_empty() {
            return;
        }
        for event in events {
            let over = self.answers.extract_if(|_, started| match started.change(event) {
                None => false,
                Some(AnswerChange::Recipients(recipients)) => {
                    if event.number > started.known_at {
                        started.live.set_recipients(recipients, event.number);
                    }
                    false
                }
                Some(AnswerChange::Over) => true,
            });
            let over: Vec<AnswerStarted> = over.map(|(_, started)| started).collect();
            over.iter().for_each(|started| self.end(started));
        }
    }

    /// Ends an answer that is no longer in the set.
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unused_self))]
    fn end(&mut self, started: &AnswerStarted) {
        started.live.set_over();
        #[cfg(feature = "cluster")]
        if started.live.owner().is_some() {
            self.received_bytes -= started.live.bytes();
        }
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use super::*;
    use crate::base::limits::CONTENT_BYTES_MAX;
    use crate::base::time::WallTime;
    use crate::domain::event::EventBody;
    use crate::domain::live_answer::AnswerTextKind;
    use uuid::Uuid;

    const OTHER: InstanceName = InstanceName(Uuid::nil());

    fn users(names: &[&str]) -> Arc<[UserId]> {
        names.iter().map(|name| UserId::new_unchecked(*name)).collect()
    }

    fn started() -> AnswerStarted {
        AnswerStarted {
            job: JobId::default(),
            message_id: MessageId(Uuid::from_u128(1)),
            reply_to: MessageId(Uuid::from_u128(2)),
            conversation_id: ConversationId(Uuid::from_u128(3)),
            workspace_id: WorkspaceId(Uuid::from_u128(4)),
            recipients: users(&["a"]),
            known_at: EventNumber::default(),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            live: LiveAnswer::default(),
        }
    }

    fn recipients_changed(number: u64, names: &[&str]) -> Arc<Event> {
        Arc::new(Event {
            number: EventNumber(number),
            kind: EventKind::ConversationUpdated,
            at: WallTime(0),
            actor: UserId::new_unchecked("a"),
            correlation_id: "c".into(),
            workspace_id: started().workspace_id,
            conversation_id: Some(started().conversation_id),
            recipients: users(names),
            body: EventBody::Data("{}".into()),
        })
    }

    #[test]
    fn another_instance_does_not_go_back_to_recipients_from_before_the_start() {
        // The commit that has started it follows event 10, and this instance is still at 5.
        let mut answers = LiveAnswerSet::default();
        let early = AnswerStarted { known_at: EventNumber(10), ..started() };
        answers.committed(&[early], &[]);
        let told = |answers: &LiveAnswerSet, position| {
            let found = answers.get(started().message_id).unwrap().for_other_instance(EventNumber(position));
            (found.known_at.0, found.recipients)
        };
        assert_eq!(told(&answers, 5), (10, users(&["a"])));
        answers.committed(&[], &[recipients_changed(7, &["a", "left"])]);
        assert_eq!(told(&answers, 7), (10, users(&["a"])));
        answers.committed(&[], &[recipients_changed(12, &["a", "b"])]);
        assert_eq!(told(&answers, 12), (12, users(&["a", "b"])));
    }

    #[test]
    fn a_repeated_start_is_left_out() {
        let mut answers = LiveAnswerSet::default();
        let other = AnswerStarted { message_id: MessageId(Uuid::from_u128(5)), ..started() };
        let both: Arc<[AnswerStarted]> = [started(), other.clone()].into();
        assert!(Arc::ptr_eq(&answers.without_known(&both), &both));
        answers.committed(&[started()], &[]);
        assert_eq!(*answers.without_known(&both), [other]);
    }

    #[test]
    fn forgotten_answers_are_over_for_the_shards() {
        let (mut answers, answer) = (LiveAnswerSet::default(), started());
        answers.committed(std::slice::from_ref(&answer), &[]);
        answers.forget();
        assert!(answer.live.snapshot().is_over && answers.get(answer.message_id).is_none());
    }

    #[test]
    fn the_texts_of_other_instances_are_bounded() {
        let other = |number| AnswerStarted {
            message_id: MessageId(Uuid::from_u128(number)),
            conversation_id: ConversationId(Uuid::from_u128(number)),
            live: LiveAnswer::of_other_instance(OTHER),
            ..started()
        };
        let part = |number, from, bytes: usize| AnswerPart {
            message_id: MessageId(Uuid::from_u128(number)),
            kind: AnswerTextKind::Text,
            index: 0,
            from,
            text: "x".repeat(bytes).into(),
        };
        let mut answers = LiveAnswerSet::default();
        let (whole, bytes_max) = (3, 3 * CONTENT_BYTES_MAX);
        let numbers = 1..=whole as u128;
        let all = || (1..=whole as u128 + 1).map(other).collect::<Vec<_>>();
        answers.committed(&all(), &[]);
        let grows = |answers: &mut LiveAnswerSet, part| {
            answers.receive(OTHER, &part, bytes_max).is_ok_and(|delta| delta.is_some())
        };
        assert!(numbers.clone().all(|number| grows(&mut answers, part(number, 0, CONTENT_BYTES_MAX))));
        let last = whole as u128 + 1;
        assert_eq!(answers.receive(OTHER, &part(last, 0, 1), bytes_max), Ok(None), "there is no room");
        let missing = answers.receive(OTHER, &part(last, 11, 0), bytes_max).unwrap_err();
        assert_eq!(missing.known.map(|known| known.bytes), Some(0));
        let unknown = TextRequest { message_id: MessageId(Uuid::from_u128(last + 1)), known: None };
        assert_eq!(answers.receive(OTHER, &part(last + 1, 0, 0), bytes_max), Err(unknown));
        let deleted = Event {
            kind: EventKind::ConversationDeleted,
            conversation_id: Some(other(1).conversation_id),
            ..Event::clone(&recipients_changed(1, &[]))
        };
        answers.committed(&[], &[Arc::new(deleted)]);
        assert!(grows(&mut answers, part(last, 0, CONTENT_BYTES_MAX)), "there is room again");
        // The second run of an answer replaces the texts of the first.
        answers.committed(&[other(2)], &[]);
        assert!(grows(&mut answers, part(2, 0, CONTENT_BYTES_MAX)));
        assert!(!grows(&mut answers, part(2, 0, 1)));
        answers.forget();
        answers.committed(&all(), &[]);
        assert!(numbers.clone().all(|number| grows(&mut answers, part(number, 0, CONTENT_BYTES_MAX))));
    }
}

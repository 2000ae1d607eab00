//! Running answers: from the commit that creates their message or reserves its id to the one that ends or deletes them.

#[cfg(feature = "cluster")]
use crate::base::limits::RECEIVED_TEXTS_BYTES_MAX;
use crate::domain::answer_job::JobId;
use crate::domain::event::{Event, EventKind};
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
    /// Applies a commit.
    pub fn committed(&mut self, started: &[AnswerStarted], events: &[Arc<Event>]) {
        for started in started {
            started.live.set_recipients(&started.recipients, started.known_at);
            self.answers.insert(started.message_id, started.clone());
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
            for (_, started) in over {
                started.live.set_over();
                #[cfg(feature = "cluster")]
                if started.live.is_of_other_instance() {
                    self.received_bytes -= started.live.bytes();
                }
            }
        }
    }
}

#[cfg(feature = "cluster")]
impl LiveAnswerSet {
    /// The running answer with this message.
    pub(crate) fn get(&self, message_id: MessageId) -> Option<&AnswerStarted> {
        self.answers.get(&message_id)
    }

    /// Adds a part to an answer of another instance. When the texts of all such answers have `RECEIVED_TEXTS_BYTES_MAX`, they do not grow:
    /// streams get these answers at their end.
    ///
    /// # Errors
    /// Fails with what is missing before the part.
    pub(crate) fn receive(&mut self, part: &AnswerPart) -> Result<Option<AnswerDelta>, TextRequest> {
        let message_id = part.message_id;
        let Some(started) = self.answers.get(&message_id) else { return Err(TextRequest { message_id, known: None }) };
        if self.received_bytes + part.text.len() > RECEIVED_TEXTS_BYTES_MAX {
            return Ok(None);
        }
        let received = started.live.receive(part).map_err(|known| TextRequest { message_id, known: Some(known) });
        received.inspect(|delta| self.received_bytes += delta.map_or(0, |delta| delta.to - delta.from))
    }

    /// Ends all answers of other instances: events that are not known may have ended them. Streams get these answers at their end.
    pub(crate) fn end_others(&mut self) {
        for (_, started) in self.answers.extract_if(|_, started| started.live.is_of_other_instance()) {
            started.live.set_over();
        }
        self.received_bytes = 0;
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::domain::event::EventBody;
    use crate::domain::live_answer::AnswerTextKind;
    use uuid::Uuid;

    fn started(number: u128) -> AnswerStarted {
        AnswerStarted {
            job: JobId::default(),
            message_id: MessageId(Uuid::from_u128(number)),
            reply_to: MessageId(Uuid::nil()),
            conversation_id: ConversationId(Uuid::from_u128(number)),
            workspace_id: WorkspaceId(Uuid::nil()),
            recipients: Arc::new([]),
            known_at: EventNumber::default(),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            live: LiveAnswer::of_other_instance(),
        }
    }

    fn part(number: u128, from: usize, bytes: usize) -> AnswerPart {
        AnswerPart {
            message_id: MessageId(Uuid::from_u128(number)),
            kind: AnswerTextKind::Text,
            index: 0,
            from,
            text: "x".repeat(bytes).into(),
        }
    }

    fn deletion(number: u128) -> Arc<Event> {
        Arc::new(Event {
            number: EventNumber(1),
            kind: EventKind::ConversationDeleted,
            at: WallTime(0),
            actor: UserId::new_unchecked("u"),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(Uuid::nil()),
            conversation_id: Some(ConversationId(Uuid::from_u128(number))),
            recipients: Arc::new([]),
            body: EventBody::Data("{}".into()),
        })
    }

    #[test]
    fn the_texts_of_other_instances_are_bounded() {
        let mut set = LiveAnswerSet::default();
        set.committed(&[started(1), started(2)], &[]);
        let most = RECEIVED_TEXTS_BYTES_MAX - 10;
        assert!(set.receive(&part(1, 0, most)).is_ok_and(|delta| delta.is_some()));
        assert_eq!(set.receive(&part(2, 0, 11)), Ok(None), "there is no room");
        assert!(set.receive(&part(2, 0, 10)).is_ok_and(|delta| delta.is_some()));
        let missing = set.receive(&part(2, 11, 0)).unwrap_err();
        assert_eq!(missing.known.map(|known| known.bytes), Some(10));
        assert_eq!(set.receive(&part(3, 0, 0)), Err(TextRequest { message_id: part(3, 0, 0).message_id, known: None }));
        set.committed(&[], &[deletion(1)]);
        assert!(set.get(part(1, 0, 0).message_id).is_none());
        assert!(set.receive(&part(2, 10, most - 10)).is_ok_and(|delta| delta.is_some()), "there is room again");
    }

    #[test]
    fn answers_of_other_instances_end_when_their_end_may_be_missing() {
        let mut set = LiveAnswerSet::default();
        let own = AnswerStarted { live: LiveAnswer::default(), ..started(1) };
        let other = started(2);
        set.committed(&[own.clone(), other.clone()], &[]);
        set.receive(&part(2, 0, 5)).unwrap();
        set.end_others();
        assert!(!own.live.snapshot().is_over && other.live.snapshot().is_over);
        assert!(set.get(own.message_id).is_some() && set.get(other.message_id).is_none());
    }
}

//! Running answers: from the commit that creates their message or reserves its id to the one that ends or deletes them.

use crate::domain::answer_job::JobId;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::live_answer::LiveAnswer;
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
pub struct LiveAnswerSet(HashMap<MessageId, AnswerStarted>);

impl LiveAnswerSet {
    /// The running answer with this message.
    #[cfg(feature = "cluster")]
    pub(crate) fn get(&self, message_id: MessageId) -> Option<&AnswerStarted> {
        self.0.get(&message_id)
    }

    /// Applies a commit.
    pub fn committed(&mut self, started: &[AnswerStarted], events: &[Arc<Event>]) {
        for started in started {
            started.live.set_recipients(&started.recipients, started.known_at);
            self.0.insert(started.message_id, started.clone());
        }
        if self.0.is_empty() {
            return;
        }
        for event in events {
            self.0.retain(|_, started| match started.change(event) {
                None => true,
                Some(AnswerChange::Recipients(recipients)) => {
                    if event.number > started.known_at {
                        started.live.set_recipients(recipients, event.number);
                    }
                    true
                }
                Some(AnswerChange::Over) => {
                    started.live.set_over();
                    false
                }
            });
        }
    }
}

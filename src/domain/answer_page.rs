//! One answer as the store has it, for a stream that follows it.

use crate::domain::event::Event;
use crate::domain::id::{ConversationId, MessageId, UserId, WorkspaceId};
use std::sync::Arc;

/// The state of one answer, and a part of its text if it has ended.
#[derive(Debug, Clone)]
pub struct AnswerPage {
    /// The message that is answered; `None` if it was deleted.
    pub reply_to: Option<MessageId>,
    /// The answer's message; `None` before it exists.
    pub message_id: Option<MessageId>,
    /// Their conversation.
    pub conversation_id: ConversationId,
    /// The conversation's workspace.
    pub workspace_id: WorkspaceId,
    /// The end of the answer; `None` while it is queued or runs.
    pub ended: Option<EndedText>,
}

/// A part of the text of an answer that has ended.
#[derive(Debug, Clone)]
pub struct EndedText {
    /// The id of the responder's user.
    pub sender: UserId,
    /// The id of the request that sent the message.
    pub correlation_id: Arc<str>,
    /// Where the part begins in the text, in bytes: the requested byte, or the beginning of its character, or the end.
    pub from: usize,
    /// The part.
    pub part: String,
    /// The length of the whole text, in bytes.
    pub text_bytes: usize,
    /// The event that published the answer, if the part is the last one.
    pub event: Option<Arc<Event>>,
}

impl AnswerPage {
    /// About the bytes that it holds in memory.
    pub fn weight(&self) -> usize {
        let of_end = |end: &EndedText| end.part.len() + end.event.as_ref().map_or(0, |event| event.weight());
        self.ended.as_ref().map_or(0, of_end)
    }
}

//! The state of an answer before its text begins, as streams get it.

use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use std::sync::Arc;

/// A new state of the answer to a message. It is not journalled, and a stream that is not live does not get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerStatusChange {
    /// The message to answer.
    pub reply_to: MessageId,
    /// The message's conversation.
    pub conversation_id: ConversationId,
    /// The conversation's workspace.
    pub workspace_id: WorkspaceId,
    /// The conversation's recipients after the event `known_at`.
    pub recipients: Arc<[UserId]>,
    /// The journal's position in the snapshot in which the recipients were read. Shards apply what changed them afterwards.
    pub known_at: EventNumber,
    /// The id of the responder's user.
    pub sender: UserId,
    /// The id of the request that sent the message.
    pub correlation_id: Arc<str>,
    /// The new state.
    pub phase: AnswerPhase,
}

/// A state of an answer before its text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerPhase {
    /// Other answers come first.
    Queued,
    /// The model has been asked.
    Started,
    /// The request to the model failed, and is sent again.
    Retrying {
        /// Time until then, in milliseconds.
        in_milliseconds: u64,
    },
}

impl AnswerPhase {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            AnswerPhase::Queued => "queued",
            AnswerPhase::Started => "started",
            AnswerPhase::Retrying { .. } => "retrying",
        }
    }
}

//! Answer jobs: which message a responder answers, and the steps in which its answer is stored.

use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::live_answer::LiveAnswer;
use crate::domain::model::{Content, Metadata, Role, Status};
use crate::domain::responder::ResponderKind;
use std::sync::Arc;

/// The `shard` of a `ReplyTo` that leads to the responders instead of to an event loop.
pub const RESPONDERS: u16 = u16::MAX;

/// The id of a job: the number of the message to answer, since each message has at most one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct JobId(pub EventNumber);

/// A message that is to be answered. The job is a row from the message's own commit until the answer is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerJob {
    /// Its id.
    pub key: JobId,
    /// The message to answer.
    pub message_id: MessageId,
    /// The message's conversation.
    pub conversation_id: ConversationId,
    /// The conversation's workspace.
    pub workspace_id: WorkspaceId,
    /// The sender of the message. The answer counts for this user's share of running answers.
    pub user: UserId,
    /// The kind of responder, one of `RESPONDERS_ALLOWED` when the message was sent.
    pub responder: ResponderKind,
    /// The request that sent the message.
    pub correlation_id: Arc<str>,
    /// The text of the message to answer.
    pub content: Content,
    /// The answer's message, if an earlier process created it.
    pub started: Option<MessageId>,
}

/// One step of an answer: one change of its job together with its message. A closed job takes no step
/// (`Rejection::Conflict`), so the first to close it wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerStep {
    /// Creates the answer's message, with status `streaming`, before the first text is shown.
    Begin {
        /// The text so far.
        text: Arc<str>,
        /// The running answer.
        live: LiveAnswer,
    },
    /// Stores text that was shown.
    Append {
        /// The text that follows the stored text.
        text: Arc<str>,
    },
    /// Ends the answer: the message gets its whole text and its last status, and is published as `output`.
    Finish {
        /// `Complete`, `Cancelled`, `Interrupted` or `Failed`.
        status: Status,
        /// The whole text, also of an answer without a message. `None` keeps the stored text.
        text: Option<Content>,
        /// The answer's metadata: responder, model, token counts.
        metadata: Metadata,
        /// The error message for clients, if the answer failed: published as `output_error`.
        error: Option<Arc<str>>,
    },
}

impl AnswerStep {
    /// The text in the step.
    pub fn text(&self) -> &str {
        match self {
            AnswerStep::Begin { text, .. } | AnswerStep::Append { text } => text,
            AnswerStep::Finish { text, .. } => text.as_ref().map_or("", Content::as_str),
        }
    }
}

/// One message of a conversation, as it is sent to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The sender's role.
    pub role: Role,
    /// The text.
    pub text: Content,
}

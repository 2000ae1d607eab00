//! Answer jobs: which message a responder answers, and the steps and text of its answer.

use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::live_answer::LiveAnswer;
use crate::domain::model::{Content, Metadata, Role, Status};
use crate::domain::responder::ResponderKind;
use std::sync::Arc;

/// The `shard` of a `ReplyTo` that leads to the responders instead of to an event loop.
pub const RESPONDERS: u16 = u16::MAX;

/// An order to answer, by the number of the message that is to be answered: each message has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct JobId(pub EventNumber);

/// An order to answer a message. It is a row from the message's own commit until the answer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerJob {
    /// Its key.
    pub key: JobId,
    /// The message to answer.
    pub message_id: MessageId,
    /// Where it is.
    pub conversation_id: ConversationId,
    /// Where that is.
    pub workspace_id: WorkspaceId,
    /// Who sent the message, and whose share of running answers this one counts for.
    pub user: UserId,
    /// What is to answer: one of `RESPONDERS_ALLOWED` when the message was sent.
    pub responder: ResponderKind,
    /// The request that sent the message.
    pub correlation_id: Arc<str>,
    /// What the message says.
    pub content: Content,
    /// The answer's message, if it was begun already.
    pub started: Option<MessageId>,
}

/// What is done with an answer. Each step is one change of its order together with its message; an order that is
/// closed takes no more (`Rejection::Conflict`), so the first to close it wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerStep {
    /// The first text is there and will be shown: the answer's message is made, with status `streaming`.
    Begin {
        /// The text so far.
        text: Arc<str>,
        /// The answer, whose text grows from now on.
        live: LiveAnswer,
    },
    /// More text was shown.
    Append {
        /// What comes behind the text that is stored.
        text: Arc<str>,
    },
    /// The answer is over: the message gets its whole text and last status, and is published as `output`.
    Finish {
        /// `Complete`, `Cancelled`, `Interrupted` or `Failed`.
        status: Status,
        /// The whole text; of a message that was never begun, too. `None` leaves what is stored.
        text: Option<Content>,
        /// The answer's metadata: responder, model, token counts.
        metadata: Metadata,
        /// Why it failed, fit for clients: published as `output_error`.
        error: Option<Arc<str>>,
    },
}

impl AnswerStep {
    /// The text that the step brings.
    pub fn text(&self) -> &str {
        match self {
            AnswerStep::Begin { text, .. } | AnswerStep::Append { text } => text,
            AnswerStep::Finish { text, .. } => text.as_ref().map_or("", Content::as_str),
        }
    }
}

/// One turn of a conversation, as a responder is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: Content,
}

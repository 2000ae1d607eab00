//! Answer jobs: which message a responder answers, and the steps in which its answer is stored.

use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::live_answer::LiveAnswer;
use crate::domain::model::{Content, Metadata, Role, Status};
use crate::domain::responder::ResponderKind;
use crate::domain::usage::TokenUsage;
use std::sync::Arc;

/// The `shard` of a `ReplyTo` that leads to the responders instead of to an event loop.
pub const RESPONDERS: u16 = u16::MAX;

/// The id of a job: a number of the journal. The first job for a message has the number of the message, and each later one a new
/// number, so a late step of an earlier answer does not reach the job of a later one.
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
    /// The user who requested the answer: the sender of the message, or the user who had it answered again. The answer counts for this
    /// user's shares.
    pub user: UserId,
    /// The store's key of that user.
    pub user_key: UserKey,
    /// The kind of responder, one of `RESPONDERS_ALLOWED` when the message was sent.
    pub responder: ResponderKind,
    /// The request that sent the message.
    pub correlation_id: Arc<str>,
    /// Bytes of the message to answer.
    pub content_bytes: usize,
    /// The answer's message, if an earlier process created it. An id that was only reserved does not count.
    pub started: Option<MessageId>,
}

/// The store's key of a user. Users take turns in the order of their keys. 0 is before all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UserKey(pub i64);

/// Jobs of one class wait for the same slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobClass {
    /// Jobs for a model, which takes any time.
    Model,
    /// Jobs that are closed in one step: echoes, and answers that an earlier process began.
    Immediate,
}

impl AnswerJob {
    /// The class of the job.
    pub fn class(&self) -> JobClass {
        match (self.responder, self.started) {
            (ResponderKind::OpenAi, None) => JobClass::Model,
            _ => JobClass::Immediate,
        }
    }
}

/// The part of the table of jobs that a page is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobRange {
    /// One user's jobs after one of them.
    User {
        /// The user.
        user: UserKey,
        /// The jobs before the first of the page end here.
        after: JobId,
    },
    /// The jobs of all users after one of them.
    UsersAfter(UserKey),
}

/// Jobs of one class by user. Each is the first open job of its conversation, so no other must be answered before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPage {
    /// The users, in the order of their keys.
    pub users: Vec<UserJobPage>,
    /// Whether no user follows.
    pub is_last: bool,
}

/// Jobs of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserJobPage {
    /// The user.
    pub user: UserKey,
    /// The oldest jobs of the range. Those in deleted conversations are left out.
    pub jobs: Vec<AnswerJob>,
    /// The last job that was examined; `None` if no job follows.
    pub through: Option<JobId>,
}

/// One step of an answer: one change of its job together with its message. A closed job takes no step
/// (`Rejection::Conflict`), so the first to close it wins. If several instances share the database, a job that one of them has
/// claimed is closed for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerStep {
    /// Reserves the job for this instance, before a model is asked, if several instances share the database. `Rejection::SHARE_TAKEN`
    /// says that it can be claimed later.
    Claim,
    /// Creates the answer's message, with status `streaming`, before the first text is shown. Without text, it only reserves the
    /// message's id, before the first reasoning is shown: the message is created with the first text.
    Begin {
        /// The text so far, which may be empty.
        text: Arc<str>,
        /// The running answer.
        live: LiveAnswer,
    },
    /// Stores text that was shown.
    Append {
        /// The text that follows the stored text.
        text: Arc<str>,
    },
    /// Answers with the message itself.
    Echo {
        /// The answer's metadata.
        metadata: Metadata,
        /// Bytes of the message.
        bytes: usize,
    },
    /// Ends the answer. With text, its message gets the whole text and the last status, and is published as `output`; without
    /// text, `output_error` is published.
    Finish {
        /// `Complete`, `Cancelled`, `Interrupted` or `Failed`.
        status: Status,
        /// The whole text, also of an answer without a message. `None` keeps the stored text.
        text: Option<Content>,
        /// The model's reasoning. It is stored only beside a text.
        reasoning: Option<Arc<str>>,
        /// The answer's metadata: responder, model, token counts.
        metadata: Metadata,
        /// The error message for clients, if the answer failed.
        error: Option<Arc<str>>,
        /// The tokens that the answer used, if a model was asked.
        usage: Option<TokenUsage>,
    },
}

/// The end of a running answer that is cancelled with its conversation's other answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelledAnswer {
    /// Its job.
    pub job: JobId,
    /// The text so far; `None` keeps the stored text.
    pub text: Option<Content>,
    /// The model's reasoning so far.
    pub reasoning: Option<Arc<str>>,
    /// The answer's metadata.
    pub metadata: Metadata,
    /// The tokens used so far, as far as they are known.
    pub usage: Option<TokenUsage>,
}

impl AnswerStep {
    /// The text in the step.
    pub fn text(&self) -> &str {
        match self {
            AnswerStep::Begin { text, .. } | AnswerStep::Append { text } => text,
            AnswerStep::Claim | AnswerStep::Echo { .. } => "",
            AnswerStep::Finish { text, .. } => text.as_ref().map_or("", Content::as_str),
        }
    }

    /// Bytes of text that the step stores.
    pub fn text_bytes(&self) -> usize {
        match self {
            AnswerStep::Echo { bytes, .. } => *bytes,
            AnswerStep::Finish { reasoning, .. } => self.text().len() + reasoning.as_ref().map_or(0, |it| it.len()),
            _ => self.text().len(),
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
    /// The sender.
    pub sender: UserId,
    /// The sender's name, which may be empty.
    pub sender_name: Arc<str>,
}

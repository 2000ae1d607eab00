//! The results of commands.

use crate::domain::answer_job::JobId;
use crate::domain::command::{ApiVariant, ConversationRef, ReplyTo};
use crate::domain::event::Event;
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::model::{Conversation, Message, Workspace};
use crate::domain::page::ConversationView;
use std::sync::Arc;

/// The result of a command.
#[derive(Debug, Clone)]
pub struct CommandResult {
    /// The recipient.
    pub to: ReplyTo,
    /// The number of the command's own event, if it has one.
    pub number: Option<EventNumber>,
    /// The outcome, or the reason for the rejection.
    pub result: Result<Outcome, Rejection>,
}

/// The outcome of a command that succeeded.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A message was added.
    Posted {
        /// Its event, whose body is the message.
        event: Arc<Event>,
        /// The conversation as the request named it.
        conversation: ConversationRef,
        /// The API of the request.
        api_variant: ApiVariant,
    },
    /// A workspace was created.
    WorkspaceCreated(Workspace),
    /// A workspace was changed.
    WorkspaceUpdated(Workspace),
    /// A workspace was deleted.
    WorkspaceDeleted,
    /// A conversation was created, with or without a first message.
    ConversationCreated {
        /// The conversation.
        conversation: Conversation,
        /// The event of the first message.
        first: Option<Arc<Event>>,
        /// The API of the request.
        api_variant: ApiVariant,
    },
    /// A conversation was changed through the configuration API.
    ConversationUpdated(Conversation),
    /// A conversation was changed through the conversations API.
    ConversationViewUpdated(ConversationView),
    /// The caller is no longer a participant.
    ConversationLeft,
    /// A conversation was deleted.
    ConversationDeleted,
    /// A message was changed: its new state.
    MessageUpdated(Message),
    /// A message was deleted.
    MessageDeleted,
    /// A message is to be answered again.
    AnswerQueued {
        /// The message.
        reply_to: MessageId,
    },
    /// Answers of a conversation were cancelled.
    AnswersCancelled {
        /// Their number.
        count: u64,
        /// Their jobs, which are closed.
        closed: Vec<JobId>,
        /// Set if more jobs may be open: the last job to cancel.
        rest: Option<JobId>,
    },
    /// A step of an answer was taken.
    Answered {
        /// The answer's message or its reserved id; `None` if nothing was shown.
        message_id: Option<MessageId>,
        /// Whether the job is closed now.
        closed: bool,
    },
    /// Tokens were counted.
    UsageCounted,
    /// The password was changed.
    PasswordChanged,
    /// The request was executed before. Its response is repeated, with status 200.
    Replayed {
        /// The body of the first response.
        body: Arc<[u8]>,
        /// The event number of the first response.
        number: Option<EventNumber>,
    },
}

/// The kind of resource that a rejection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A workspace.
    Workspace,
    /// A conversation.
    Conversation,
    /// A message.
    Message,
    /// An answer to a message.
    Answer,
}

/// The reason why a command or a query was rejected. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// There is no such resource.
    NotFound(Resource),
    /// The caller may not do this; with the reason.
    Forbidden(&'static str),
    /// The request does not fit the state; with the reason.
    Conflict(&'static str),
    /// Fields with invalid values, each with the violated rule.
    Invalid(Vec<(&'static str, String)>),
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The user is disabled or deleted, or the token is from before a change that ended it.
    Unauthorized,
    /// The caller wrote too many bytes of state events.
    StateEventRate {
        /// The bytes that may be written at once.
        burst_bytes: u64,
        /// The time in which the whole burst is regained, in seconds.
        window_seconds: u64,
        /// The time until the next state event may be written, in seconds; at least 1.
        retry_seconds: u64,
    },
    /// The caller's answers have used the tokens of the day.
    QuotaExceeded {
        /// The time until the next day (UTC) begins, in seconds; at least 1.
        retry_seconds: u64,
    },
    /// The database is full, busy or faulty at the moment.
    Unavailable,
    /// Too many results wait.
    Overloaded,
    /// The check of this password needs more memory than there is.
    TooLittleMemory,
    /// The database failed permanently.
    Database,
}

impl Rejection {
    /// A job is not claimed although it is open: so many answers of its user run already, over all instances.
    pub(crate) const SHARE_TAKEN: Rejection = Rejection::Conflict("so many answers of the user run already");
}

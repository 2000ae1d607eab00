//! Command results: what became of a command, and why one was rejected.

use crate::domain::command::{ApiVariant, ConversationRef, ReplyTo};
use crate::domain::event::Event;
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::model::{Conversation, Message, Workspace};
use crate::domain::query::ConversationView;
use std::sync::Arc;

/// What became of a command.
#[derive(Debug, Clone)]
pub struct CommandResult {
    /// Who waits for it.
    pub to: ReplyTo,
    /// The number of the command's own event, if it made one.
    pub number: Option<EventNumber>,
    /// What was done, or why not.
    pub result: Result<Outcome, Rejection>,
}

/// What was done.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A message was added: the event that it is.
    Posted {
        /// The event; its body is the message.
        event: Arc<Event>,
        /// The conversation as the request named it.
        conversation: ConversationRef,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// A workspace was made.
    WorkspaceCreated(Workspace),
    /// A workspace was changed.
    WorkspaceUpdated(Workspace),
    /// A workspace was deleted.
    WorkspaceDeleted,
    /// A conversation was made, perhaps with a first message.
    ConversationCreated {
        /// The conversation.
        conversation: Conversation,
        /// The event of its first message.
        first: Option<Arc<Event>>,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// A conversation was changed through the configuration API.
    ConversationUpdated(Conversation),
    /// A conversation was changed through the conversations API.
    ConversationViewUpdated(ConversationView),
    /// The caller takes part no longer.
    ConversationLeft,
    /// A conversation was deleted.
    ConversationDeleted,
    /// A message was changed: as it is now.
    MessageUpdated(Message),
    /// A message was deleted.
    MessageDeleted,
    /// A step of an answer was taken.
    Answered {
        /// The answer's message; `None` when nothing of it was ever shown.
        message_id: Option<MessageId>,
        /// Whether the job is closed now.
        closed: bool,
    },
    /// The password was changed.
    PasswordChanged,
    /// The same request had been answered before: that answer's body, with status 200.
    Replayed {
        /// The first answer's body.
        body: Arc<[u8]>,
        /// The first answer's event.
        number: Option<EventNumber>,
    },
}

/// What a refusal or a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A workspace.
    Workspace,
    /// A conversation.
    Conversation,
    /// A message.
    Message,
    /// A user.
    User,
}

/// Why something was not done. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// There is none.
    NotFound(Resource),
    /// It is someone else's, or not for the caller to do; says what.
    Forbidden(&'static str),
    /// It does not fit the state; says how.
    Conflict(&'static str),
    /// Fields that are not acceptable, each with the rule it breaks.
    Invalid(Vec<(&'static str, String)>),
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The user is disabled or deleted.
    Unauthorized,
    /// The database is full, busy or out of order for now.
    Unavailable,
    /// The database failed in a way that waiting will not mend.
    Database,
}

//! The lines of an export. Each is one JSON object with a `type`. docs/export-format.md describes them.
//!
//! A line with a field that is missing, unknown, duplicate or invalid is rejected, so that an import loses nothing silently.

mod read;
mod write;

use crate::base::time::WallTime;
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Content, Metadata, Role, Status, Topic, UserStatus, Workspace};
use crate::domain::responder::ResponderKind;
use crate::domain::usage::{Day, TokenUsage, UsageSums};
use uuid::Uuid;

pub(crate) use read::read;
pub(crate) use write::write;

/// The format that the first line declares.
const FORMAT: &str = "cortex-core-export";
/// The version of the format. Version 1, which had neither answers nor usage, can be read as well.
const VERSION: u64 = 2;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExportLine {
    /// The first line.
    Header(ExportHeader),
    /// A user.
    User(UserLine),
    /// A workspace.
    Workspace(Workspace),
    /// A conversation.
    Conversation(ConversationLine),
    /// A message.
    Message(MessageLine),
    /// The usage of tokens by one user on one day.
    Usage(UsageLine),
    /// The last line: the number of lines before it.
    End(ExportCounts),
}

/// The properties of the exported database.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExportHeader {
    /// The bytes of its `IdKey`.
    pub id_key: [u8; 16],
    /// The epoch of its journal.
    pub epoch: Uuid,
    /// The newest event number.
    pub position: EventNumber,
    /// The newest time.
    pub at: WallTime,
    /// The number of the newest event that is no longer retained, among the users who were removed since.
    pub removed_users_through: Option<EventNumber>,
}

/// A user.
#[derive(Clone, PartialEq)]
pub(crate) struct UserLine {
    /// The id, which may be a responder's.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The email.
    pub email: String,
    /// When the user was created.
    pub created_at: WallTime,
    /// The status.
    pub status: UserStatus,
    /// Tokens issued before this time are rejected.
    pub tokens_since: Option<WallTime>,
    /// Tokens of our own logins with a lower generation are rejected.
    pub token_generation: Option<u64>,
    /// The hash of the password, if hashes are exported.
    pub password: Option<String>,
    /// The default workspace.
    pub default_workspace: Option<WorkspaceId>,
    /// The default conversation.
    pub default_conversation: Option<ConversationId>,
    /// The number of the user's newest event that is no longer retained.
    pub removed_through: EventNumber,
}

impl std::fmt::Debug for UserLine {
    /// Omits the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("UserLine").field(&self.id).finish()
    }
}

/// A conversation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConversationLine {
    /// Its public id.
    pub id: ConversationId,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// The topic.
    pub topic: Topic,
    /// When it was created.
    pub created_at: WallTime,
    /// When it or one of its messages was last changed or added.
    pub updated_at: WallTime,
    /// The participants in the order in which they joined, each with the number after which they receive events.
    pub participants: Vec<(UserId, EventNumber)>,
    /// The client's own data.
    pub metadata: Metadata,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MessageLine {
    /// Its public id.
    pub id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its sender.
    pub sender: UserId,
    /// The role of the sender.
    pub role: Role,
    /// Its state.
    pub status: Status,
    /// When it was created.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// The message that it answers, unless that was deleted.
    pub reply_to: Option<MessageId>,
    /// The number and time of the event that published it, if that is not its own.
    pub published: Option<(EventNumber, WallTime)>,
    /// The responder of its open answer job.
    pub responder: Option<ResponderKind>,
    /// The number of that job and the user for whom it counts, if they are not those of the message.
    pub job: Option<(EventNumber, UserId)>,
    /// The answers to it that have ended, by attempt.
    pub answers: Vec<AnswerLine>,
    /// Why it failed.
    pub error: Option<String>,
    /// The model's reasoning before it.
    pub reasoning: Option<String>,
    /// The id of the request that sent it.
    pub correlation_id: String,
    /// The client's own data.
    pub metadata: Metadata,
    /// The text.
    pub content: Content,
}

/// An answer that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AnswerLine {
    /// The status.
    pub status: Status,
    /// The number of its message, if it had text. The message may be deleted.
    pub answer: Option<EventNumber>,
    /// Why it failed.
    pub error: Option<String>,
    /// The tokens that it used, if a model was asked.
    pub usage: Option<TokenUsage>,
}

/// Sums of tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UsageLine {
    /// The user.
    pub user: UserId,
    /// The day.
    pub day: Day,
    /// The conversation, which may be deleted; `None` for answers outside of conversations.
    pub conversation: Option<ConversationId>,
    /// The model; empty if the upstream server did not name it.
    pub model: String,
    /// The sums.
    pub sums: UsageSums,
}

/// The number of lines of each type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ExportCounts {
    /// Users.
    pub users: u64,
    /// Workspaces.
    pub workspaces: u64,
    /// Conversations.
    pub conversations: u64,
    /// Messages.
    pub messages: u64,
    /// Sums of usage.
    pub usage: u64,
}

impl ExportCounts {
    /// The number of lines between the first and the last.
    pub(crate) fn lines(&self) -> u64 {
        self.users + self.workspaces + self.conversations + self.messages + self.usage
    }
}

impl std::fmt::Display for ExportCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ExportCounts { users, workspaces, conversations, messages, usage: _ } = self;
        write!(f, "{users} users, {workspaces} workspaces, {conversations} conversations, {messages} messages")
    }
}

/// The value of `access`.
fn status_name(status: UserStatus) -> &'static str {
    match status {
        UserStatus::Enabled => "enabled",
        UserStatus::Disabled => "disabled",
        UserStatus::SwitchedOff => "switched_off",
        UserStatus::Deleted => "deleted",
    }
}

#[cfg(test)]
mod tests;

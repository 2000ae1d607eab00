//! Users, workspaces, conversations, messages and their texts, valid by construction.

use crate::base::limits::*;
use crate::base::time::WallTime;
use crate::domain::id::*;
use std::sync::Arc;

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $max:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates the length, counted in Unicode scalar values.
            ///
            /// # Errors
            /// Returns the violated rule.
            pub fn new(raw: &str) -> Result<$name, &'static str> {
                if raw.is_empty() || (raw.len() > $max && raw.chars().count() > $max) {
                    return Err($rule);
                }
                Ok($name(raw.into()))
            }

            /// A text that was validated before it was stored.
            pub fn new_unchecked(raw: impl Into<Arc<str>>) -> $name {
                $name(raw.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

bounded_text!(
    /// The name of a workspace.
    WorkspaceName, WORKSPACE_NAME_CHARS_MAX, "must be 1 to 100 characters"
);
bounded_text!(
    /// The description of a workspace.
    WorkspaceDescription, WORKSPACE_DESCRIPTION_CHARS_MAX, "must be 1 to 500 characters"
);
bounded_text!(
    /// The topic of a conversation, which the conversations API calls its title.
    Topic, TOPIC_CHARS_MAX, "must be 1 to 200 characters"
);

/// The text of a message: at most 1 MiB of UTF-8, not only white space. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(Arc<str>);

impl Content {
    /// Validates a text.
    ///
    /// # Errors
    /// Returns the violated rule.
    pub fn new(raw: &str) -> Result<Content, &'static str> {
        if raw.len() > CONTENT_BYTES_MAX {
            return Err("must be at most 1 MiB of UTF-8");
        }
        if raw.chars().all(char::is_whitespace) {
            return Err("must have something other than white space");
        }
        Ok(Content(raw.into()))
    }

    /// A text that was validated before it was stored, or that a responder wrote.
    pub fn new_unchecked(raw: impl Into<Arc<str>>) -> Content {
        Content(raw.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A JSON object as text, kept byte for byte except for white space between tokens. `wire::metadata` parses and merges it.
/// Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// `{}`
    pub fn empty() -> Metadata {
        Metadata("{}".into())
    }

    /// The compact JSON text of an object, validated by `wire::metadata` or before it was stored.
    pub fn new_unchecked(json: impl Into<Arc<str>>) -> Metadata {
        Metadata(json.into())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user as other users see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserProfile {
    /// The user's id.
    pub id: UserId,
    /// The name from the last token or from the command line; may be empty.
    pub name: Arc<str>,
    /// The email from the last token or from the command line; may be empty.
    pub email: Arc<str>,
}

/// A workspace, owned by one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its public id.
    pub id: WorkspaceId,
    /// Its owner.
    pub owner: UserId,
    /// Its name, which need not be unique.
    pub name: WorkspaceName,
    /// The description.
    pub description: WorkspaceDescription,
    /// The client's own data.
    pub metadata: Metadata,
    /// When it was created.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
}

/// A conversation, in one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its public id.
    pub id: ConversationId,
    /// Its conversation.
    pub workspace_id: WorkspaceId,
    /// The topic.
    pub topic: Topic,
    /// The participants, in the order in which they joined.
    pub participants: Arc<[UserId]>,
    /// The client's own data.
    pub metadata: Metadata,
    /// When it was created.
    pub created_at: WallTime,
    /// When it or one of its messages was last changed or added.
    pub updated_at: WallTime,
    /// The number of its messages.
    pub message_count: u64,
}

/// The role of a message's sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A person or program.
    User,
    /// An answer.
    Assistant,
    /// An instruction.
    System,
}

impl Role {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
        }
    }

    /// Parses the name in the API.
    pub fn parse(raw: &str) -> Option<Role> {
        [Role::User, Role::Assistant, Role::System].into_iter().find(|role| role.as_str() == raw)
    }
}

/// The state of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Complete.
    Complete,
    /// A running answer.
    Streaming,
    /// An answer that a user cancelled.
    Cancelled,
    /// An answer that the end of a process interrupted.
    Interrupted,
    /// An answer that failed.
    Failed,
    /// An answer that a later one to the same message replaced.
    Superseded,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 6] = [
        Status::Complete,
        Status::Streaming,
        Status::Cancelled,
        Status::Interrupted,
        Status::Failed,
        Status::Superseded,
    ];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Complete => "complete",
            Status::Streaming => "streaming",
            Status::Cancelled => "cancelled",
            Status::Interrupted => "interrupted",
            Status::Failed => "failed",
            Status::Superseded => "superseded",
        }
    }

    /// Parses the name in the API.
    pub fn parse(raw: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == raw)
    }
}

/// A message, in one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its public id.
    pub id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its sender.
    pub sender: UserId,
    /// The sender's name when the message was sent or read.
    pub sender_name: Arc<str>,
    /// The role of the sender.
    pub role: Role,
    /// The text.
    pub content: Content,
    /// The client's own data.
    pub metadata: Metadata,
    /// When it was created.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// Its state.
    pub status: Status,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
    /// Why the answer failed, for clients.
    pub error: Option<Arc<str>>,
    /// The state of the newest answer to this message. Only queries for `GET` read it.
    pub answer: Option<Box<AnswerSummary>>,
    /// The model's reasoning before this answer. Only queries that include it read it.
    pub reasoning: Option<Arc<str>>,
}

/// The newest answer to a message, as the message itself shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSummary {
    /// The phase.
    pub phase: StoredPhase,
    /// The answer's message, if it has text.
    pub message_id: Option<MessageId>,
    /// Why the answer failed, for clients.
    pub error: Option<Arc<str>>,
}

/// The phase of an answer to a message, as far as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredPhase {
    /// The job is open, and the answer has no text yet.
    Queued,
    /// The answer has text, or has ended.
    Begun(Status),
}

impl StoredPhase {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            StoredPhase::Queued => "queued",
            StoredPhase::Begun(status) => status.as_str(),
        }
    }
}

/// Whether a user may use the server, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserStatus {
    /// Tokens and the password of the user are accepted.
    Enabled,
    /// Rejected until an administrator enables the user.
    Disabled,
    /// Rejected in production: the development user, until a server starts in development.
    SwitchedOff,
    /// Rejected forever. The row stays, so that no token brings the user back.
    Deleted,
}

impl UserStatus {
    /// Every status.
    pub const ALL: [UserStatus; 4] =
        [UserStatus::Enabled, UserStatus::Disabled, UserStatus::SwitchedOff, UserStatus::Deleted];

    /// Whether tokens and the password of the user are accepted.
    pub fn is_enabled(self) -> bool {
        self == UserStatus::Enabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(WorkspaceName::new(&"é".repeat(100)).is_ok());
        assert!(WorkspaceName::new(&"é".repeat(101)).is_err());
        assert!(WorkspaceName::new("").is_err());
        assert!(WorkspaceName::new(" ").is_ok(), "names keep their spaces");
        assert!(WorkspaceDescription::new(&"é".repeat(500)).is_ok());
        assert!(WorkspaceDescription::new(&"é".repeat(501)).is_err());
        assert!(Topic::new(&"é".repeat(200)).is_ok());
        assert!(Topic::new(&"é".repeat(201)).is_err());
    }

    #[test]
    fn content_says_something() {
        for bad in ["", " ", "\n\t\u{a0}\u{3000}"] {
            assert!(Content::new(bad).is_err());
        }
        assert!(Content::new(" x ").is_ok());
        assert!(Content::new(&"x".repeat(CONTENT_BYTES_MAX)).is_ok());
        assert!(Content::new(&"x".repeat(CONTENT_BYTES_MAX + 1)).is_err());
    }
}

//! Commands: the changes that a user or a responder asks for.

use crate::domain::answer_job::{AnswerStep, JobId};
use crate::domain::id::{ConversationId, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Content, Metadata, Role, Topic, WorkspaceDescription, WorkspaceName};
use std::sync::Arc;

/// Where an answer goes: a connection of a shard. The generation tells a reused slot from the one that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// Index of the shard.
    pub shard: u16,
    /// Slot of the connection in it.
    pub slot: u32,
    /// Which use of the slot.
    pub generation: u32,
}

/// Who asks, as their token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who it is.
    pub id: UserId,
    /// The name in the token; `None` leaves the stored one.
    pub name: Option<Arc<str>>,
    /// The email in the token; `None` leaves the stored one.
    pub email: Option<Arc<str>>,
}

/// A change that somebody asks for.
#[derive(Debug, Clone)]
pub struct Command {
    /// Who waits for the receipt.
    pub reply_to: ReplyTo,
    /// Who asks.
    pub actor: Actor,
    /// The request's id.
    pub correlation_id: Arc<str>,
    /// Set when the request carried an `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
    /// What to do.
    pub kind: CommandKind,
}

/// An idempotency key and what it was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: Box<str>,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

/// A conversation as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationRef {
    /// The caller's own default conversation, made when it is first written to.
    Default,
    /// By id.
    Id(ConversationId),
}

/// Which API a request came through: it decides the shape of the answer and whether a stranger's thing is `403` or `404`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiVariant {
    /// `/input` and `/config`.
    Config,
    /// `/conversations`.
    Conversations,
}

/// The changes that can be asked for.
#[derive(Debug, Clone)]
pub enum CommandKind {
    /// Adds a message.
    PostMessage {
        /// Where.
        conversation: ConversationRef,
        /// Who speaks.
        role: Role,
        /// What is said.
        content: Content,
        /// The client's own data.
        metadata: Metadata,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// Makes a workspace of the caller's.
    CreateWorkspace {
        /// What it is called.
        name: WorkspaceName,
        /// What it is for.
        description: WorkspaceDescription,
        /// The client's own data.
        metadata: Metadata,
    },
    /// Changes a workspace; by its owner.
    UpdateWorkspace {
        /// Which.
        id: WorkspaceId,
        /// A new name.
        name: Option<WorkspaceName>,
        /// A new description.
        description: Option<WorkspaceDescription>,
        /// Keys to set, or with `null` to remove.
        metadata: Option<Metadata>,
    },
    /// Deletes a workspace with all that is in it; by its owner.
    DeleteWorkspace {
        /// Which.
        id: WorkspaceId,
    },
    /// Makes a conversation; by the owner of the workspace.
    CreateConversation {
        /// Where; `None` is the caller's default workspace.
        workspace: Option<WorkspaceId>,
        /// What it is about.
        topic: Topic,
        /// Who takes part beside the caller; without duplicates.
        participants: Vec<UserId>,
        /// The client's own data.
        metadata: Metadata,
        /// The caller's first message in it.
        initial_message: Option<Content>,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// Changes a conversation; by a participant or the owner of the workspace.
    UpdateConversation {
        /// Which.
        conversation: ConversationRef,
        /// A new topic.
        topic: Option<Topic>,
        /// Who takes part from now on; without duplicates.
        participants: Option<Vec<UserId>>,
        /// Keys to set, or with `null` to remove.
        metadata: Option<Metadata>,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// The caller takes part no longer.
    LeaveConversation {
        /// Which.
        conversation: ConversationRef,
    },
    /// Changes a message; by its sender or the owner of the workspace.
    UpdateMessage {
        /// Where it is.
        conversation: ConversationRef,
        /// Which.
        message: MessageId,
        /// What it is to say.
        content: Option<Content>,
        /// Keys to set, or with `null` to remove.
        metadata: Option<Metadata>,
    },
    /// Deletes a message; by its sender or the owner of the workspace.
    DeleteMessage {
        /// Where it is.
        conversation: ConversationRef,
        /// Which.
        message: MessageId,
    },
    /// A step of an answer; only the responders take it.
    Answer {
        /// The job that is answered.
        job: JobId,
        /// What is done with it.
        step: AnswerStep,
    },
    /// Deletes a conversation with its messages; by the owner of the workspace.
    DeleteConversation {
        /// Which.
        conversation: ConversationRef,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// Stores a new password, already checked and hashed; tokens made before end.
    SetPassword {
        /// The Argon2id hash in PHC form.
        hash: Box<str>,
    },
}

impl Command {
    /// What the command holds in memory, about, in bytes.
    pub fn weight(&self) -> usize {
        const BASE: usize = 512;
        BASE + match &self.kind {
            CommandKind::PostMessage { content, metadata, .. } => content.as_str().len() + metadata.as_str().len(),
            CommandKind::CreateWorkspace { metadata, .. } => metadata.as_str().len(),
            CommandKind::UpdateWorkspace { metadata, .. } => metadata.as_ref().map_or(0, |m| m.as_str().len()),
            CommandKind::CreateConversation { metadata, participants, initial_message, .. } => {
                metadata.as_str().len()
                    + participants.iter().map(|id| id.as_str().len()).sum::<usize>()
                    + initial_message.as_ref().map_or(0, |content| content.as_str().len())
            }
            CommandKind::UpdateConversation { metadata, participants, .. } => {
                metadata.as_ref().map_or(0, |m| m.as_str().len())
                    + participants.iter().flatten().map(|id| id.as_str().len()).sum::<usize>()
            }
            CommandKind::UpdateMessage { content, metadata, .. } => {
                content.as_ref().map_or(0, |content| content.as_str().len())
                    + metadata.as_ref().map_or(0, |m| m.as_str().len())
            }
            CommandKind::Answer { step, .. } => step.text().len(),
            CommandKind::DeleteWorkspace { .. }
            | CommandKind::LeaveConversation { .. }
            | CommandKind::DeleteConversation { .. }
            | CommandKind::DeleteMessage { .. }
            | CommandKind::SetPassword { .. } => 0,
        }
    }
}

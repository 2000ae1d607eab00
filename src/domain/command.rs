//! Commands: changes that users and responders request.

use crate::domain::answer_job::{AnswerStep, CancelledAnswer, JobId};
use crate::domain::id::{ConversationId, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Content, Metadata, Role, Topic, WorkspaceDescription, WorkspaceName};
use crate::domain::token_rules::Credential;
use crate::domain::usage::TokenUsage;
use std::sync::Arc;

/// The address of a reply: one use of a connection's slot in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// Index of the shard.
    pub shard: u16,
    /// Slot of the connection in it.
    pub slot: u32,
    /// The use of the slot, which distinguishes a connection from later ones in the same slot.
    pub generation: u32,
}

/// The user that a verified token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user's id.
    pub id: UserId,
    /// The name in the token; `None` leaves the stored one.
    pub name: Option<Arc<str>>,
    /// The email in the token; `None` leaves the stored one.
    pub email: Option<Arc<str>>,
    /// The token's credential, which the writer checks in the transaction of the command.
    pub credential: Credential,
}

/// A change that a user or a responder requests.
#[derive(Debug, Clone)]
pub struct Command {
    /// The recipient of the result.
    pub reply_to: ReplyTo,
    /// The user that sent the request.
    pub actor: Actor,
    /// The request's id.
    pub correlation_id: Arc<str>,
    /// Set when the request carried an `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
    /// The change.
    pub kind: CommandKind,
}

/// An idempotency key, and a hash of the request that carries it.
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
    /// The caller's own default conversation, which the first message to it creates.
    Default,
    /// The conversation with this id.
    Id(ConversationId),
}

/// The API that a request used. It determines the form of the response, and whether another user's resource is `403` or
/// `404`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiVariant {
    /// `/input` and `/config`.
    Config,
    /// `/conversations`.
    Conversations,
    /// `/v1`, whose clients wait for an answer: a message that nothing would answer is rejected.
    OpenAi,
}

/// The change that a command requests.
#[derive(Debug, Clone)]
pub enum CommandKind {
    /// Adds a message.
    PostMessage {
        /// The conversation.
        conversation: ConversationRef,
        /// The role of the sender.
        role: Role,
        /// The text.
        content: Content,
        /// The client's own data.
        metadata: Metadata,
        /// The API of the request.
        api_variant: ApiVariant,
    },
    /// Creates a workspace, owned by the caller.
    CreateWorkspace {
        /// The name.
        name: WorkspaceName,
        /// The description.
        description: WorkspaceDescription,
        /// The client's own data.
        metadata: Metadata,
    },
    /// Changes a workspace. Only its owner may.
    UpdateWorkspace {
        /// Its id.
        id: WorkspaceId,
        /// A new name.
        name: Option<WorkspaceName>,
        /// A new description.
        description: Option<WorkspaceDescription>,
        /// Keys to set, or to remove where the value is `null`.
        metadata: Option<Metadata>,
    },
    /// Deletes a workspace with its conversations and messages. Only its owner may.
    DeleteWorkspace {
        /// Its id.
        id: WorkspaceId,
    },
    /// Creates a conversation. Only the owner of the workspace may.
    CreateConversation {
        /// The workspace; `None` is the caller's default workspace.
        workspace: Option<WorkspaceId>,
        /// The topic.
        topic: Topic,
        /// The participants beside the caller, without duplicates.
        participants: Vec<UserId>,
        /// The client's own data.
        metadata: Metadata,
        /// Messages of an earlier exchange, oldest first, which nothing answers.
        earlier_messages: Vec<(Role, Content)>,
        /// The caller's first message.
        initial_message: Option<Content>,
        /// The API of the request.
        api_variant: ApiVariant,
    },
    /// Changes a conversation. A participant or the owner of the workspace may.
    UpdateConversation {
        /// Its id.
        conversation: ConversationRef,
        /// A new topic.
        topic: Option<Topic>,
        /// The new participants, without duplicates.
        participants: Option<Vec<UserId>>,
        /// Keys to set, or to remove where the value is `null`.
        metadata: Option<Metadata>,
        /// The API of the request.
        api_variant: ApiVariant,
    },
    /// Removes the caller from the participants.
    LeaveConversation {
        /// Its id.
        conversation: ConversationRef,
    },
    /// Changes a message. Its sender or the owner of the workspace may.
    UpdateMessage {
        /// Its conversation.
        conversation: ConversationRef,
        /// Its id.
        message: MessageId,
        /// A new text.
        content: Option<Content>,
        /// Keys to set, or to remove where the value is `null`.
        metadata: Option<Metadata>,
    },
    /// Deletes a message. Its sender or the owner of the workspace may.
    DeleteMessage {
        /// Its conversation.
        conversation: ConversationRef,
        /// Its id.
        message: MessageId,
    },
    /// Answers a message again, or for the first time. Those who may send messages may.
    AnswerMessage {
        /// Its conversation.
        conversation: ConversationRef,
        /// Its id.
        message: MessageId,
    },
    /// Takes a step of an answer. Only responders do.
    Answer {
        /// The answer's job.
        job: JobId,
        /// The step.
        step: AnswerStep,
    },
    /// Cancels the running answer and all queued answers of a conversation, a bounded number of them at once. Only the
    /// responders' scheduler does, after the access of the user who requested it was checked.
    CancelAnswers {
        /// The conversation.
        conversation: ConversationId,
        /// The running answer, if one runs.
        running: Option<Box<CancelledAnswer>>,
        /// The last job to cancel; `None` for every job that is open now.
        through: Option<JobId>,
    },
    /// Deletes a conversation with its messages. Only the owner of the workspace may.
    DeleteConversation {
        /// Its id.
        conversation: ConversationRef,
        /// The API of the request.
        api_variant: ApiVariant,
    },
    /// Counts the tokens of an answer that was passed on. Only the responders do, for the user of the request.
    CountUsage(TokenUsage),
    /// Stores a new password, unless the stored hash is not the one that was verified any more. Tokens issued before are no
    /// longer accepted.
    SetPassword {
        /// The hash that was verified.
        verified: Box<str>,
        /// The Argon2id hash in PHC form.
        hash: Box<str>,
    },
}

impl Command {
    /// About the bytes that the command holds in memory.
    pub fn weight(&self) -> usize {
        const BASE: usize = 512;
        BASE + match &self.kind {
            CommandKind::PostMessage { content, metadata, .. } => content.as_str().len() + metadata.as_str().len(),
            CommandKind::CreateWorkspace { metadata, .. } => metadata.as_str().len(),
            CommandKind::UpdateWorkspace { metadata, .. } => metadata.as_ref().map_or(0, |m| m.as_str().len()),
            CommandKind::CreateConversation { metadata, participants, earlier_messages, initial_message, .. } => {
                let earlier = earlier_messages.iter().map(|(_, content)| content.as_str().len());
                metadata.as_str().len()
                    + earlier.sum::<usize>()
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
            CommandKind::Answer { step, .. } => step.text_bytes(),
            CommandKind::CancelAnswers { running, .. } => running.as_ref().map_or(0, |running| {
                let text = running.text.as_ref().map_or(0, |text| text.as_str().len());
                text + running.reasoning.as_ref().map_or(0, |it| it.len())
            }),
            CommandKind::DeleteWorkspace { .. }
            | CommandKind::LeaveConversation { .. }
            | CommandKind::DeleteConversation { .. }
            | CommandKind::DeleteMessage { .. }
            | CommandKind::AnswerMessage { .. }
            | CommandKind::CountUsage(_)
            | CommandKind::SetPassword { .. } => 0,
        }
    }
}

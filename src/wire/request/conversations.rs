//! The bodies of the conversations API.

use super::{BodyFields, InvalidBody, any_text};
use crate::domain::model::{Content, Metadata, Role, Topic};

/// `POST /conversations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConversationView {
    /// The topic.
    pub title: Topic,
    /// The caller's first message.
    pub initial_message: Option<Content>,
    /// The workspace's id as sent, which may not be a UUID.
    pub workspace_id: Option<String>,
    /// The client's own data; empty if absent.
    pub metadata: Metadata,
}

/// Reads the body of `POST /conversations`.
pub fn new_conversation_view(body: &[u8]) -> Result<NewConversationView, InvalidBody> {
    let mut fields = BodyFields::read(body, ["title", "initial_message", "workspace_id", "metadata"])?;
    let title = fields.required("title", Topic::new);
    let initial_message = fields.optional("initial_message", Content::new);
    let workspace_id = fields.optional("workspace_id", any_text);
    let metadata = fields.metadata();
    match (title, initial_message, workspace_id, metadata) {
        (Some(title), Some(initial_message), Some(workspace_id), Some(metadata)) => {
            let metadata = metadata.unwrap_or_else(Metadata::empty);
            Ok(NewConversationView { title, initial_message, workspace_id, metadata })
        }
        _ => Err(fields.error()),
    }
}

/// `PUT /conversations/{id}`. `None` leaves a field unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationViewChange {
    /// A new title.
    pub title: Option<Topic>,
    /// Keys to set, or to remove where the value is `null`.
    pub metadata: Option<Metadata>,
}

/// Reads the body of `PUT /conversations/{id}`.
pub fn conversation_view_change(body: &[u8]) -> Result<ConversationViewChange, InvalidBody> {
    let mut fields = BodyFields::read(body, ["title", "metadata"])?;
    let title = fields.optional("title", Topic::new);
    let metadata = fields.metadata();
    match (title, metadata) {
        (Some(title), Some(metadata)) => Ok(ConversationViewChange { title, metadata }),
        _ => Err(fields.error()),
    }
}

/// `POST /conversations/{id}/messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The text.
    pub content: Content,
    /// The role of the sender; `user` if absent.
    pub role: Role,
    /// The client's own data; empty if absent.
    pub metadata: Metadata,
}

/// Reads the body of `POST /conversations/{id}/messages`.
pub fn new_message(body: &[u8]) -> Result<NewMessage, InvalidBody> {
    let mut fields = BodyFields::read(body, ["content", "role", "metadata"])?;
    let content = fields.required("content", Content::new);
    let role = fields.optional("role", |raw| Role::parse(raw).ok_or("must be \"user\", \"assistant\" or \"system\""));
    let metadata = fields.metadata();
    match (content, role, metadata) {
        (Some(content), Some(role), Some(metadata)) => {
            let (role, metadata) = (role.unwrap_or(Role::User), metadata.unwrap_or_else(Metadata::empty));
            Ok(NewMessage { content, role, metadata })
        }
        _ => Err(fields.error()),
    }
}

/// `PUT /conversations/{id}/messages/{msg_id}`. `None` leaves a field unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageChange {
    /// A new text.
    pub content: Option<Content>,
    /// Keys to set, or to remove where the value is `null`.
    pub metadata: Option<Metadata>,
}

/// Reads the body of `PUT /conversations/{id}/messages/{msg_id}`.
pub fn message_change(body: &[u8]) -> Result<MessageChange, InvalidBody> {
    let mut fields = BodyFields::read(body, ["content", "metadata"])?;
    let content = fields.optional("content", Content::new);
    let metadata = fields.metadata();
    match (content, metadata) {
        (Some(content), Some(metadata)) => Ok(MessageChange { content, metadata }),
        _ => Err(fields.error()),
    }
}

//! Conversations and their messages, in the form that chat clients need (`docs/api.md`, section 6).

use super::Action;
use super::error::ApiError;
use super::request::{Request, workspace};
use crate::domain::command::{ApiVariant, CommandKind};
use crate::domain::query::QueryKind;
use crate::wire::{query_params, request as body};

fn refused(request: &Request<'_>) -> impl Fn(body::InvalidBody) -> ApiError {
    let subject = request.operation.subject();
    move |error| ApiError::body(subject, error)
}

/// `POST /conversations`
pub(crate) fn create(request: &Request<'_>) -> Result<Action, ApiError> {
    let new = body::new_chat(request.body).map_err(refused(request))?;
    Ok(Action::Submit(CommandKind::CreateConversation {
        workspace: new.workspace_id.as_deref().map(workspace).transpose()?,
        topic: new.title,
        participants: Vec::new(),
        metadata: new.metadata,
        initial_message: new.initial_message,
        api_variant: ApiVariant::Conversations,
    }))
}

/// `GET /conversations`
pub(crate) fn list(request: &Request<'_>) -> Result<Action, ApiError> {
    let list = query_params::chat_list(&request.pairs()?).map_err(ApiError::query)?;
    Ok(Action::Ask(QueryKind::ConversationViews { span: list.span, with_messages: list.with_messages }))
}

/// `GET /conversations/{id}`
pub(crate) fn get(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Ask(QueryKind::ConversationView(request.conversation()?)))
}

/// `PUT /conversations/{id}`
pub(crate) fn update(request: &Request<'_>) -> Result<Action, ApiError> {
    let conversation = request.conversation()?;
    let change = body::chat_change(request.body).map_err(refused(request))?;
    Ok(Action::Submit(CommandKind::UpdateConversation {
        conversation,
        topic: change.title,
        participants: None,
        metadata: change.metadata,
        api_variant: ApiVariant::Conversations,
    }))
}

/// `DELETE /conversations/{id}`
pub(crate) fn delete(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Submit(CommandKind::DeleteConversation {
        conversation: request.conversation()?,
        api_variant: ApiVariant::Conversations,
    }))
}

/// `POST /conversations/{id}/cancel`
pub(crate) fn cancel(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Cancel(request.conversation()?))
}

/// `POST /conversations/{id}/messages`
pub(crate) fn post_message(request: &Request<'_>) -> Result<Action, ApiError> {
    let conversation = request.conversation()?;
    let new = body::new_message(request.body).map_err(refused(request))?;
    Ok(Action::Submit(CommandKind::PostMessage {
        conversation,
        role: new.role,
        content: new.content,
        metadata: new.metadata,
        api_variant: ApiVariant::Conversations,
    }))
}

/// `GET /conversations/{id}/messages`
pub(crate) fn list_messages(request: &Request<'_>) -> Result<Action, ApiError> {
    let conversation = request.conversation()?;
    let list = query_params::message_list(&request.pairs()?).map_err(ApiError::query)?;
    Ok(Action::Ask(QueryKind::Messages { conversation, cursor: list.cursor, limit: list.limit }))
}

/// `GET /conversations/{id}/messages/{msg_id}`
pub(crate) fn get_message(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Ask(QueryKind::Message(request.conversation()?, request.message()?)))
}

/// `PUT /conversations/{id}/messages/{msg_id}`
pub(crate) fn update_message(request: &Request<'_>) -> Result<Action, ApiError> {
    let (conversation, message) = (request.conversation()?, request.message()?);
    let change = body::message_change(request.body).map_err(refused(request))?;
    let (content, metadata) = (change.content, change.metadata);
    Ok(Action::Submit(CommandKind::UpdateMessage { conversation, message, content, metadata }))
}

/// `DELETE /conversations/{id}/messages/{msg_id}`
pub(crate) fn delete_message(request: &Request<'_>) -> Result<Action, ApiError> {
    let (conversation, message) = (request.conversation()?, request.message()?);
    Ok(Action::Submit(CommandKind::DeleteMessage { conversation, message }))
}

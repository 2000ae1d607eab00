//! The messages of a conversation (`docs/api.md`, section 6).

use super::action::Action;
use super::error::ApiError;
use super::request::Request;
use crate::domain::command::{ApiVariant, CommandKind};
use crate::domain::query::QueryKind;
use crate::wire::{query_params, request as body};

/// `POST /conversations/{id}/messages`
pub(super) fn post(request: &Request<'_>) -> Result<Action, ApiError> {
    let conversation = request.conversation()?;
    let new = body::new_message(request.body).map_err(|error| request.invalid_body(error))?;
    Ok(Action::Submit(CommandKind::PostMessage {
        conversation,
        role: new.role,
        content: new.content,
        metadata: new.metadata,
        api_variant: ApiVariant::Conversations,
    }))
}

/// `GET /conversations/{id}/messages`
pub(super) fn list(request: &Request<'_>) -> Result<Action, ApiError> {
    let conversation = request.conversation()?;
    let list = query_params::message_list(&request.pairs()?).map_err(ApiError::invalid_query)?;
    let query_params::MessageList { cursor, limit, with_reasoning } = list;
    Ok(Action::Query(QueryKind::Messages { conversation, cursor, limit, with_reasoning }))
}

/// `GET /conversations/{id}/messages/{message_id}`
pub(super) fn get(request: &Request<'_>) -> Result<Action, ApiError> {
    let (conversation, message) = (request.conversation()?, request.message()?);
    let with_reasoning = query_params::message(&request.pairs()?).map_err(ApiError::invalid_query)?;
    Ok(Action::Query(QueryKind::Message { conversation, message, with_reasoning }))
}

/// `PUT /conversations/{id}/messages/{message_id}`
pub(super) fn update(request: &Request<'_>) -> Result<Action, ApiError> {
    let (conversation, message) = (request.conversation()?, request.message()?);
    let change = body::message_change(request.body).map_err(|error| request.invalid_body(error))?;
    let (content, metadata) = (change.content, change.metadata);
    Ok(Action::Submit(CommandKind::UpdateMessage { conversation, message, content, metadata }))
}

/// `DELETE /conversations/{id}/messages/{message_id}`
pub(super) fn delete(request: &Request<'_>) -> Result<Action, ApiError> {
    let (conversation, message) = (request.conversation()?, request.message()?);
    Ok(Action::Submit(CommandKind::DeleteMessage { conversation, message }))
}

/// `POST /conversations/{id}/messages/{message_id}/answer`
pub(super) fn answer(request: &Request<'_>) -> Result<Action, ApiError> {
    let (conversation, message) = (request.conversation()?, request.message()?);
    Ok(Action::Submit(CommandKind::AnswerMessage { conversation, message }))
}

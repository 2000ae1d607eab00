//! Conversations in the conversations API (`docs/api.md`, section 6).

use super::action::Action;
use super::error::ApiError;
use super::request::{Request, workspace};
use crate::domain::command::{ApiVariant, CommandKind};
use crate::domain::query::QueryKind;
use crate::wire::{query_params, request as body};

/// `POST /conversations`
pub(super) fn create(request: &Request<'_>) -> Result<Action, ApiError> {
    let new = body::new_conversation_view(request.body).map_err(|error| request.invalid_body(error))?;
    Ok(Action::Submit(CommandKind::CreateConversation {
        workspace: new.workspace_id.as_deref().map(workspace).transpose()?,
        topic: new.title,
        participants: Vec::new(),
        metadata: new.metadata,
        earlier_messages: Vec::new(),
        initial_message: new.initial_message,
        api_variant: ApiVariant::Conversations,
    }))
}

/// `GET /conversations`
pub(super) fn list(request: &Request<'_>) -> Result<Action, ApiError> {
    let list = query_params::conversation_view_list(&request.pairs()?).map_err(ApiError::invalid_query)?;
    Ok(Action::Query(QueryKind::ConversationViews { pagination: list.pagination, with_messages: list.with_messages }))
}

/// `GET /conversations/{id}`
pub(super) fn get(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Query(QueryKind::ConversationView(request.conversation()?)))
}

/// `PUT /conversations/{id}`
pub(super) fn update(request: &Request<'_>) -> Result<Action, ApiError> {
    let conversation = request.conversation()?;
    let change = body::conversation_view_change(request.body).map_err(|error| request.invalid_body(error))?;
    Ok(Action::Submit(CommandKind::UpdateConversation {
        conversation,
        topic: change.title,
        participants: None,
        metadata: change.metadata,
        api_variant: ApiVariant::Conversations,
    }))
}

/// `DELETE /conversations/{id}`
pub(super) fn delete(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Submit(CommandKind::DeleteConversation {
        conversation: request.conversation()?,
        api_variant: ApiVariant::Conversations,
    }))
}

/// `POST /conversations/{id}/cancel`
pub(super) fn cancel_answer(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::CancelAnswer(request.conversation()?))
}

//! Conversations in the configuration API (`docs/api.md`, section 5).

use super::action::Action;
use super::error::ApiError;
use super::request::{Request, workspace};
use crate::domain::command::{ApiVariant, CommandKind};
use crate::domain::query::QueryKind;
use crate::wire::{query_params, request as body};

/// `POST /config/conversation`
pub(super) fn create(request: &Request<'_>) -> Result<Action, ApiError> {
    let new = body::new_conversation(request.body).map_err(|error| request.invalid_body(error))?;
    Ok(Action::Submit(CommandKind::CreateConversation {
        workspace: Some(workspace(&new.workspace_id)?),
        topic: new.topic,
        participants: new.participants,
        metadata: new.metadata,
        earlier_messages: Vec::new(),
        initial_message: None,
        api_variant: ApiVariant::Config,
    }))
}

/// `GET /config/conversation?workspace_id=`
pub(super) fn list(request: &Request<'_>) -> Result<Action, ApiError> {
    let list = query_params::conversation_list(&request.pairs()?).map_err(ApiError::invalid_query)?;
    Ok(Action::Query(QueryKind::Conversations(workspace(&list.workspace_id)?, list.pagination)))
}

/// `GET /config/conversation/{id}`
pub(super) fn get(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Query(QueryKind::Conversation(request.conversation()?)))
}

/// `PUT /config/conversation/{id}`
pub(super) fn update(request: &Request<'_>) -> Result<Action, ApiError> {
    let conversation = request.conversation()?;
    let change = body::conversation_change(request.body).map_err(|error| request.invalid_body(error))?;
    Ok(Action::Submit(CommandKind::UpdateConversation {
        conversation,
        topic: change.topic,
        participants: change.participants,
        metadata: change.metadata,
        api_variant: ApiVariant::Config,
    }))
}

/// `POST /config/conversation/{id}/leave`
pub(super) fn leave(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Submit(CommandKind::LeaveConversation { conversation: request.conversation()? }))
}

/// `DELETE /config/conversation/{id}`
pub(super) fn delete(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Submit(CommandKind::DeleteConversation {
        conversation: request.conversation()?,
        api_variant: ApiVariant::Config,
    }))
}

//! Workspaces, conversations and the names of users, as the configuration API has them (`docs/api.md`, section 5).

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

/// `POST /config/workspace`
pub(crate) fn create_workspace(request: &Request<'_>) -> Result<Action, ApiError> {
    let new = body::new_workspace(request.body).map_err(refused(request))?;
    Ok(Action::Submit(CommandKind::CreateWorkspace {
        name: new.name,
        description: new.description,
        metadata: new.metadata,
    }))
}

/// `GET /config/workspace`
pub(crate) fn list_workspaces(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Ask(QueryKind::Workspaces(query_params::span(&request.pairs()?).map_err(ApiError::query)?)))
}

/// `GET /config/workspace/{id}`
pub(crate) fn get_workspace(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Ask(QueryKind::Workspace(request.workspace()?)))
}

/// `PUT /config/workspace/{id}`
pub(crate) fn update_workspace(request: &Request<'_>) -> Result<Action, ApiError> {
    let id = request.workspace()?;
    let change = body::workspace_change(request.body).map_err(refused(request))?;
    Ok(Action::Submit(CommandKind::UpdateWorkspace {
        id,
        name: change.name,
        description: change.description,
        metadata: change.metadata,
    }))
}

/// `DELETE /config/workspace/{id}`
pub(crate) fn delete_workspace(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Submit(CommandKind::DeleteWorkspace { id: request.workspace()? }))
}

/// `POST /config/conversation`
pub(crate) fn create_conversation(request: &Request<'_>) -> Result<Action, ApiError> {
    let new = body::new_conversation(request.body).map_err(refused(request))?;
    Ok(Action::Submit(CommandKind::CreateConversation {
        workspace: Some(workspace(&new.workspace_id)?),
        topic: new.topic,
        participants: new.participants,
        metadata: new.metadata,
        initial_message: None,
        api_variant: ApiVariant::Config,
    }))
}

/// `GET /config/conversation?workspace_id=`
pub(crate) fn list_conversations(request: &Request<'_>) -> Result<Action, ApiError> {
    let list = query_params::conversation_list(&request.pairs()?).map_err(ApiError::query)?;
    Ok(Action::Ask(QueryKind::Conversations(workspace(&list.workspace_id)?, list.span)))
}

/// `GET /config/conversation/{id}`
pub(crate) fn get_conversation(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Ask(QueryKind::Conversation(request.conversation()?)))
}

/// `PUT /config/conversation/{id}`
pub(crate) fn update_conversation(request: &Request<'_>) -> Result<Action, ApiError> {
    let conversation = request.conversation()?;
    let change = body::conversation_change(request.body).map_err(refused(request))?;
    Ok(Action::Submit(CommandKind::UpdateConversation {
        conversation,
        topic: change.topic,
        participants: change.participants,
        metadata: change.metadata,
        api_variant: ApiVariant::Config,
    }))
}

/// `POST /config/conversation/{id}/leave`
pub(crate) fn leave_conversation(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Submit(CommandKind::LeaveConversation { conversation: request.conversation()? }))
}

/// `DELETE /config/conversation/{id}`
pub(crate) fn delete_conversation(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Submit(CommandKind::DeleteConversation {
        conversation: request.conversation()?,
        api_variant: ApiVariant::Config,
    }))
}

/// `GET /users?ids=`
pub(crate) fn list_users(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Ask(QueryKind::Users(query_params::user_ids(&request.pairs()?).map_err(ApiError::query)?)))
}

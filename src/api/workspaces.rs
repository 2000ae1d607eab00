//! Workspaces (`docs/api.md`, section 5).

use super::action::Action;
use super::error::ApiError;
use super::request::Request;
use crate::domain::command::CommandKind;
use crate::domain::query::QueryKind;
use crate::wire::{query_params, request as body};

/// `POST /config/workspace`
pub(super) fn create(request: &Request<'_>) -> Result<Action, ApiError> {
    let new = body::new_workspace(request.body).map_err(|error| request.invalid_body(error))?;
    Ok(Action::Submit(CommandKind::CreateWorkspace {
        name: new.name,
        description: new.description,
        metadata: new.metadata,
    }))
}

/// `GET /config/workspace`
pub(super) fn list(request: &Request<'_>) -> Result<Action, ApiError> {
    let pagination = query_params::pagination(&request.pairs()?).map_err(ApiError::invalid_query)?;
    Ok(Action::Query(QueryKind::Workspaces(pagination)))
}

/// `GET /config/workspace/{id}`
pub(super) fn get(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Query(QueryKind::Workspace(request.workspace()?)))
}

/// `PUT /config/workspace/{id}`
pub(super) fn update(request: &Request<'_>) -> Result<Action, ApiError> {
    let id = request.workspace()?;
    let change = body::workspace_change(request.body).map_err(|error| request.invalid_body(error))?;
    Ok(Action::Submit(CommandKind::UpdateWorkspace {
        id,
        name: change.name,
        description: change.description,
        metadata: change.metadata,
    }))
}

/// `DELETE /config/workspace/{id}`
pub(super) fn delete(request: &Request<'_>) -> Result<Action, ApiError> {
    Ok(Action::Submit(CommandKind::DeleteWorkspace { id: request.workspace()? }))
}

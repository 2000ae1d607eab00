//! The search for messages (`docs/api.md`, section 6).

use super::action::Action;
use super::error::ApiError;
use super::request::{Request, conversation, workspace};
use crate::domain::query::QueryKind;
use crate::domain::search::Search;
use crate::wire::query_params;

/// `GET /search`
pub(super) fn find(request: &Request<'_>) -> Result<Action, ApiError> {
    let parameters = query_params::search(&request.pairs()?).map_err(ApiError::invalid_query)?;
    Ok(Action::Query(QueryKind::Search(Box::new(Search {
        terms: parameters.terms.into(),
        conversation: parameters.conversation_id.as_deref().map(conversation).transpose()?,
        workspace: parameters.workspace_id.as_deref().map(workspace).transpose()?,
        limit: parameters.limit,
        before: parameters.before,
    }))))
}

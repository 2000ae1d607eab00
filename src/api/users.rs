//! The profiles of users.

use super::action::Action;
use super::error::ApiError;
use super::request::Request;
use crate::domain::query::QueryKind;
use crate::wire::query_params;

/// `GET /users?ids=`
pub(super) fn list(request: &Request<'_>) -> Result<Action, ApiError> {
    let ids = query_params::user_ids(&request.pairs()?).map_err(ApiError::invalid_query)?;
    Ok(Action::Query(QueryKind::Users(ids)))
}

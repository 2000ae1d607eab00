//! The usage of tokens (`docs/api.md`, section 7).

use super::action::Action;
use super::error::ApiError;
use super::request::Request;
use crate::base::time::WallTime;
use crate::domain::query::QueryKind;
use crate::domain::usage::Day;
use crate::wire::query_params;

/// `GET /usage`
pub(super) fn get(request: &Request<'_>, now: WallTime) -> Result<Action, ApiError> {
    let (days, by) = query_params::usage(&request.pairs()?, Day::of(now)).map_err(ApiError::invalid_query)?;
    Ok(Action::Query(QueryKind::Usage { days, by }))
}

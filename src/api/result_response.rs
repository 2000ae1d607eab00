//! The responses to commands and queries.

use super::error::ApiError;
use super::operation::Operation;
use super::response::Response;
use crate::domain::query::QueryResponse;
use crate::domain::result::{CommandResult, Outcome};
use crate::wire;

/// The response to a command that `operation` submitted.
pub(crate) fn command_response(command: CommandResult, operation: Operation) -> Response {
    let outcome = match command.result {
        Ok(outcome) => outcome,
        Err(rejection) => return ApiError::rejected(rejection, operation.subject()).into_response(),
    };
    let is_replayed = matches!(outcome, Outcome::Replayed { .. });
    let is_truncated = matches!(&outcome, Outcome::ConversationViewUpdated(view) if view.last.truncated);
    let mut response = Response::json(wire::command_result::command_body(&outcome));
    response.status = operation.success_status();
    if let Some(number) = command.number {
        response = response.with("X-Event-Id", number.to_string());
    }
    if is_replayed {
        response = response.with("Idempotent-Replayed", "true");
    }
    if is_truncated { response.with("X-Truncated", "true") } else { response }
}

/// The response to a query. `subject` names the request's subject in the message of a validation error. The shard itself handles the results that are not
/// responses: stream access and journal pages.
pub(crate) fn query_response(query: QueryResponse, subject: &'static str) -> Response {
    let result = match query.result {
        Ok(result) => result,
        Err(rejection) => return ApiError::rejected(rejection, subject).into_response(),
    };
    let Some(rendered) = wire::query_result::query_body(&result) else {
        return ApiError::internal().into_response();
    };
    let mut response = Response::json(rendered.body).with("X-Last-Event-Id", query.position.to_string());
    if let Some(total) = rendered.total {
        response = response.with("X-Total-Count", total.to_string());
    }
    if rendered.truncated { response.with("X-Truncated", "true") } else { response }
}

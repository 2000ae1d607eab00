//! The errors of the API (`docs/api.md`, section 1). Every rejection is one of them, and all have the same form.

use super::response::{ErrorParts, JSON, Response, SHOULD_RETRY};
use crate::base::metrics;
use crate::domain::completion_error::CompletionError;
use crate::domain::result::{Rejection, Resource};
use crate::wire;
use crate::wire::request::InvalidBody;
use std::borrow::Cow;

/// `Retry-After` of a server that is overloaded, in seconds.
const RETRY_SECONDS: &str = "1";

/// An error response before it is rendered.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: u16,
    code: &'static str,
    /// The label of the metric that counts it, one of `metrics::REJECTION_REASONS`.
    reason: &'static str,
    message: Cow<'static, str>,
    details: Option<Vec<(&'static str, String)>>,
    fields: Vec<(&'static str, Cow<'static, str>)>,
}

impl ApiError {
    /// An error with this status, code and message.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError { status, code, reason: code, message: message.into(), details: None, fields: Vec::new() }
    }

    /// This error, counted under a more specific reason than its code: one of `metrics::REJECTION_REASONS`.
    pub fn with_metric_reason(mut self, reason: &'static str) -> ApiError {
        self.reason = reason;
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// This error with one more header field.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> ApiError {
        self.fields.push((name, value.into()));
        self
    }

    /// `400`: the request is malformed.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(400, "bad_request", message)
    }

    /// `400` for a preflight. `disallowed` has a name and a message for each part that is not allowed.
    pub fn preflight(disallowed: Vec<(&'static str, String)>) -> ApiError {
        let names: Vec<&str> = disallowed.iter().map(|(name, _)| *name).collect();
        let mut error = ApiError::bad_request(format!("Disallowed CORS {}", names.join(", ")));
        error.details = Some(disallowed);
        error
    }

    /// `401` without a token: RFC 6750 §3.1 requires a challenge without an error code.
    pub fn missing_token() -> ApiError {
        ApiError::new(401, "unauthorized", "A bearer token is required").with("WWW-Authenticate", "Bearer")
    }

    /// `401` for an invalid token. The client receives `message`.
    pub fn invalid_token(message: &'static str) -> ApiError {
        ApiError::new(401, "unauthorized", message).with("WWW-Authenticate", "Bearer error=\"invalid_token\"")
    }

    /// `401` for a token that was valid once.
    pub fn token_ended() -> ApiError {
        ApiError::invalid_token("The token is no longer valid")
    }

    /// `401` for a wrong email or password, the same for both.
    pub fn invalid_credentials() -> ApiError {
        ApiError::new(401, "unauthorized", "Invalid credentials").with("WWW-Authenticate", "Bearer")
    }

    /// `403` for a wrong current password, or for a user who has no password.
    pub fn wrong_password() -> ApiError {
        ApiError::new(403, "forbidden", "The current password is wrong")
    }

    /// `409`: another change of the password was faster.
    pub fn password_conflict() -> ApiError {
        ApiError::new(409, "conflict", "The password was changed in the meantime")
    }

    /// `404` for a path without a route.
    pub fn no_such_path() -> ApiError {
        ApiError::new(404, "not_found", "No such path")
    }

    /// `404` for a resource that does not exist, or that the caller may not learn of.
    pub fn not_found(resource: Resource) -> ApiError {
        ApiError::new(
            404,
            "not_found",
            match resource {
                Resource::Workspace => "Workspace not found",
                Resource::Conversation => "Conversation not found",
                Resource::Message => "Message not found",
                Resource::Answer => "The message has no answer",
            },
        )
    }

    /// `405` with the methods that the path supports.
    pub fn method_not_allowed(allow: String) -> ApiError {
        ApiError::new(405, "method_not_allowed", "The path does not support this method").with("Allow", allow)
    }

    /// `408`: the request did not arrive in time.
    pub fn request_timeout() -> ApiError {
        ApiError::new(408, "request_timeout", "The request did not arrive in time")
    }

    /// `413`: the body exceeds the limit.
    pub fn payload_too_large(bytes_max: u64) -> ApiError {
        ApiError::new(413, "payload_too_large", format!("The body is larger than {bytes_max} bytes"))
    }

    /// `415` with the media types that are accepted.
    pub fn unsupported_media_type(accepted: &'static str) -> ApiError {
        ApiError::new(415, "unsupported_media_type", format!("The body must be {accepted}"))
    }

    /// `415` for a body with a content coding. RFC 9110 §15.5.16: the response names the codings that are accepted.
    pub fn encoded_body() -> ApiError {
        ApiError::new(415, "unsupported_media_type", "The body must not have a Content-Encoding")
            .with("Accept-Encoding", "identity")
    }

    /// `422` with every invalid field.
    pub fn validation(subject: &'static str, details: Vec<(&'static str, String)>) -> ApiError {
        let mut error = ApiError::new(422, "validation_error", format!("Invalid {subject} data"));
        error.details = Some(details);
        error
    }

    /// `422` with every invalid query parameter.
    pub fn invalid_query(details: Vec<(&'static str, String)>) -> ApiError {
        let mut error = ApiError::new(422, "validation_error", "Invalid query parameters");
        error.details = Some(details);
        error
    }

    /// `429`. `retry_seconds` is at least 1, and the caller rounds it up.
    pub fn rate_limited(message: &'static str, retry_seconds: u64) -> ApiError {
        ApiError::new(429, "rate_limited", message).with("Retry-After", retry_seconds.to_string())
    }

    /// `429`: the caller's answers have used the tokens of the day.
    pub fn quota_exceeded(retry_seconds: u64) -> ApiError {
        ApiError::new(429, "quota_exceeded", "Your answers have used the tokens of this day")
            .with("Retry-After", retry_seconds.to_string())
    }

    /// `500` without internal details.
    pub fn internal() -> ApiError {
        ApiError::new(500, "internal_error", "The server failed to process this request")
    }

    /// `503`: a queue is full.
    pub fn overloaded() -> ApiError {
        ApiError::overloaded_by("The server is busy; try again", "queue_full")
    }

    /// `503`: there is no room for the request, for this reason.
    pub fn overloaded_by(message: &'static str, metric_reason: &'static str) -> ApiError {
        ApiError::new(503, "service_unavailable", message)
            .with("Retry-After", RETRY_SECONDS)
            .with_metric_reason(metric_reason)
    }

    /// `503`: the stream is not one of this instance, and may be one of another.
    pub fn stream_elsewhere() -> ApiError {
        let message = "The stream is not open at this instance of the server; it goes on when it is opened again";
        ApiError::new(503, "service_unavailable", message).with("Retry-After", RETRY_SECONDS)
    }

    /// `503`: the server is still starting.
    pub fn starting() -> ApiError {
        ApiError::new(503, "service_unavailable", "The server is starting; try again")
            .with("Retry-After", RETRY_SECONDS)
    }

    /// `400` for a body that is not JSON, `422` for one with invalid fields.
    pub fn invalid_body(subject: &'static str, error: InvalidBody) -> ApiError {
        match error {
            InvalidBody::Json(message) => ApiError::bad_request(message),
            InvalidBody::Fields(details) => ApiError::validation(subject, details),
        }
    }

    /// The error for a rejection of the store.
    pub fn rejected(rejection: Rejection, subject: &'static str) -> ApiError {
        match rejection {
            Rejection::NotFound(resource) => ApiError::not_found(resource),
            Rejection::Forbidden(message) => ApiError::new(403, "forbidden", message),
            Rejection::Conflict(message) => ApiError::new(409, "conflict", message),
            Rejection::Invalid(details) => ApiError::validation(subject, details),
            Rejection::IdempotencyKeyReused => ApiError::new(
                422,
                "idempotency_key_reused",
                "This Idempotency-Key was used before, with another method, path or body",
            ),
            Rejection::Unauthorized => ApiError::token_ended(),
            Rejection::StateEventRate { retry_seconds, .. } => {
                ApiError::rate_limited("Too many changes: their events fill the journal", retry_seconds)
                    .with_metric_reason("journal_rate")
            }
            Rejection::QuotaExceeded { retry_seconds } => ApiError::quota_exceeded(retry_seconds),
            Rejection::Unavailable => {
                ApiError::new(503, "service_unavailable", "The database is not available; try again")
                    .with("Retry-After", RETRY_SECONDS)
                    .with_metric_reason("database_unavailable")
            }
            Rejection::Overloaded => ApiError::overloaded(),
            Rejection::TooLittleMemory => {
                ApiError::new(503, "service_unavailable", "The server has too little memory to check this password")
                    .with("Retry-After", RETRY_SECONDS)
                    .with_metric_reason("too_little_memory")
            }
            Rejection::Database => ApiError::new(500, "database_error", "The database failed to process this request"),
        }
    }

    /// The error of a chat completion that has no answer.
    pub fn of_completion(error: CompletionError) -> ApiError {
        let CompletionError { status, code, message, retry_after_seconds, should_retry } = error;
        let reason = if matches!(status, 401 | 429) { code } else { "completion_failed" };
        let mut own = ApiError::new(status, code, message).with_metric_reason(reason);
        own.fields.extend(retry_after_seconds.map(|seconds| ("Retry-After", seconds.to_string().into())));
        own.with(SHOULD_RETRY, if should_retry { "true" } else { "false" })
    }

    /// This error after the message of the request was stored. Only a request with an `Idempotency-Key` can be repeated then.
    pub fn after_storing(self, is_repeatable: bool) -> ApiError {
        self.with(SHOULD_RETRY, if is_repeatable { "true" } else { "false" })
    }

    /// The response. This counts the rejection.
    pub fn into_response(self) -> Response {
        metrics::count_rejection(self.reason);
        let body = wire::error::error_body(self.code, &self.message, self.details.as_deref());
        let (code, message) = (self.code, self.message);
        let error = Some(Box::new(ErrorParts { code, message, details: self.details.unwrap_or_default() }));
        Response { status: self.status, content_type: JSON, fields: self.fields, body: body.into(), error }
    }
}

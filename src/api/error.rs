//! The table of errors (`docs/api.md`, section 1). Every rejection is one of them, and all have one form.

use super::{JSON, Response};
use crate::base::metrics;
use crate::domain::result::{Rejection, Resource};
use crate::wire;
use crate::wire::request::InvalidBody;
use std::borrow::Cow;

/// How long a client waits before it tries again when the server is full, in seconds.
const RETRY_SECONDS: &str = "1";

/// A refusal: status, code, message and what helps.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: u16,
    code: &'static str,
    /// What it counts as, one of `metrics::REJECTION_REASONS`.
    reason: &'static str,
    message: Cow<'static, str>,
    details: Option<Vec<(&'static str, String)>>,
    fields: Vec<(&'static str, Cow<'static, str>)>,
}

impl ApiError {
    /// An error of the table.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError { status, code, reason: code, message: message.into(), details: None, fields: Vec::new() }
    }

    /// This error, counted as something more exact than its code: one of `metrics::REJECTION_REASONS`.
    pub fn because(mut self, reason: &'static str) -> ApiError {
        self.reason = reason;
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// This error with one more field in the answer's head.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> ApiError {
        self.fields.push((name, value.into()));
        self
    }

    /// `400`: the request cannot be read.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(400, "bad_request", message)
    }

    /// `400` for a preflight; `refused` names what may not be, each with what may.
    pub fn preflight(refused: Vec<(&'static str, String)>) -> ApiError {
        let names: Vec<&str> = refused.iter().map(|(name, _)| *name).collect();
        let mut error = ApiError::bad_request(format!("Disallowed CORS {}", names.join(", ")));
        error.details = Some(refused);
        error
    }

    /// `401` where no token was sent: RFC 6750 §3.1 asks for a challenge without an error code.
    pub fn missing_token() -> ApiError {
        ApiError::new(401, "unauthorized", "A bearer token is required").with("WWW-Authenticate", "Bearer")
    }

    /// `401` for a token that is not good; `why` is fit for the client.
    pub fn invalid_token(why: &'static str) -> ApiError {
        ApiError::new(401, "unauthorized", why).with("WWW-Authenticate", "Bearer error=\"invalid_token\"")
    }

    /// `401` for a wrong email or password, the same for both.
    pub fn invalid_credentials() -> ApiError {
        ApiError::new(401, "unauthorized", "Invalid credentials").with("WWW-Authenticate", "Bearer")
    }

    /// `403` where the current password had to be shown, and is wrong or was never set.
    pub fn wrong_password() -> ApiError {
        ApiError::new(403, "forbidden", "The current password is wrong")
    }

    /// `404` for a path that leads nowhere.
    pub fn no_such_path() -> ApiError {
        ApiError::new(404, "not_found", "No such path")
    }

    /// `404` for a thing that is not there.
    pub fn not_found(thing: Resource) -> ApiError {
        ApiError::new(
            404,
            "not_found",
            match thing {
                Resource::Workspace => "Workspace not found",
                Resource::Conversation => "Conversation not found",
                Resource::Message => "Message not found",
                Resource::User => "User not found",
            },
        )
    }

    /// `405` with what is allowed.
    pub fn method_not_allowed(allow: String) -> ApiError {
        ApiError::new(405, "method_not_allowed", "The path does not know this method").with("Allow", allow)
    }

    /// `408`: the request did not arrive in time.
    pub fn request_timeout() -> ApiError {
        ApiError::new(408, "request_timeout", "The request did not arrive in time")
    }

    /// `413`: the body is over the limit.
    pub fn payload_too_large(bytes_max: u64) -> ApiError {
        ApiError::new(413, "payload_too_large", format!("The body is larger than {bytes_max} bytes"))
    }

    /// `415`: says what would be read.
    pub fn unsupported_media_type(wanted: &'static str) -> ApiError {
        ApiError::new(415, "unsupported_media_type", format!("The body must be {wanted}"))
    }

    /// `415` for a body with a content coding; RFC 9110 §15.5.16 has the answer name what is read.
    pub fn encoded_body() -> ApiError {
        ApiError::new(415, "unsupported_media_type", "The body must come without a Content-Encoding")
            .with("Accept-Encoding", "identity")
    }

    /// `422` with every bad field.
    pub fn validation(subject: &'static str, details: Vec<(&'static str, String)>) -> ApiError {
        let mut error = ApiError::new(422, "validation_error", format!("Invalid {subject} data"));
        error.details = Some(details);
        error
    }

    /// `422` for query parameters, with every bad one.
    pub fn query(details: Vec<(&'static str, String)>) -> ApiError {
        let mut error = ApiError::new(422, "validation_error", "Invalid query parameters");
        error.details = Some(details);
        error
    }

    /// `429`; `retry_seconds` is rounded up by the caller, at least 1.
    pub fn rate_limited(message: &'static str, retry_seconds: u64) -> ApiError {
        ApiError::new(429, "rate_limited", message).with("Retry-After", retry_seconds.to_string())
    }

    /// `500`, never with internals.
    pub fn internal() -> ApiError {
        ApiError::new(500, "internal_error", "The server failed to answer this request")
    }

    /// `503` because a queue is full.
    pub fn overloaded() -> ApiError {
        ApiError::new(503, "service_unavailable", "The server is busy; try again")
            .with("Retry-After", RETRY_SECONDS)
            .because("queue_full")
    }

    /// `503` because nothing can be served yet.
    pub fn starting() -> ApiError {
        ApiError::new(503, "service_unavailable", "The server is starting; try again")
            .with("Retry-After", RETRY_SECONDS)
    }

    /// What a body that cannot be used is answered with.
    pub fn body(subject: &'static str, error: InvalidBody) -> ApiError {
        match error {
            InvalidBody::Json(message) => ApiError::bad_request(message),
            InvalidBody::Fields(details) => ApiError::validation(subject, details),
        }
    }

    /// What the store's refusal is answered with.
    pub fn refused(refusal: Rejection, subject: &'static str) -> ApiError {
        match refusal {
            Rejection::NotFound(thing) => ApiError::not_found(thing),
            Rejection::Forbidden(why) => ApiError::new(403, "forbidden", why),
            Rejection::Conflict(why) => ApiError::new(409, "conflict", why),
            Rejection::Invalid(details) => ApiError::validation(subject, details),
            Rejection::IdempotencyKeyReused => ApiError::new(
                422,
                "idempotency_key_reused",
                "This Idempotency-Key was used before, with another method, path or body",
            ),
            Rejection::Unauthorized => ApiError::invalid_token("The user is disabled"),
            Rejection::Unavailable => {
                ApiError::new(503, "service_unavailable", "The database cannot take this now; try again")
                    .with("Retry-After", RETRY_SECONDS)
                    .because("database_unavailable")
            }
            Rejection::Database => ApiError::new(500, "database_error", "The database failed to answer this request"),
        }
    }

    /// The answer; the refusal is counted with it.
    pub fn into_response(self) -> Response {
        metrics::count_rejection(self.reason);
        let body = wire::error::error_body(self.code, &self.message, self.details.as_deref());
        Response { status: self.status, content_type: JSON, fields: self.fields, body: body.into() }
    }
}

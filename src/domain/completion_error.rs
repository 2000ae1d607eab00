//! Errors of the OpenAI-compatible API that come from an answer instead of from its request.

use std::borrow::Cow;

/// Why a chat completion has no answer, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionError {
    /// The status of the response, if its head was not sent yet.
    pub status: u16,
    /// `code`, by which programs tell errors apart.
    pub code: &'static str,
    /// The message for people.
    pub message: Cow<'static, str>,
    /// The time after which another request may succeed, in seconds.
    pub retry_after_seconds: Option<u64>,
    /// Whether the client should send the request again. Where it should not, this server has tried already, or has stored the
    /// message.
    pub should_retry: bool,
}

impl CompletionError {
    /// An error that another request would meet again.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> CompletionError {
        CompletionError { status, code, message: message.into(), retry_after_seconds: None, should_retry: false }
    }

    /// Too many requests of the user wait already, or too many of all.
    pub fn too_many_waiting() -> CompletionError {
        CompletionError {
            retry_after_seconds: Some(1),
            should_retry: true,
            ..CompletionError::new(429, "rate_limited", "Too many of your requests wait for the model")
        }
    }

    /// The server ends.
    pub fn shutting_down() -> CompletionError {
        CompletionError {
            retry_after_seconds: Some(1),
            should_retry: true,
            ..CompletionError::new(503, "service_unavailable", "The server is shutting down")
        }
    }

    /// The server cannot reach its database.
    pub fn cut_off() -> CompletionError {
        CompletionError {
            retry_after_seconds: Some(1),
            should_retry: true,
            ..CompletionError::new(503, "service_unavailable", "The database cannot be reached")
        }
    }

    /// The user's tokens are no longer accepted.
    pub fn token_ended() -> CompletionError {
        CompletionError::new(401, "invalid_api_key", "The token is no longer valid")
    }

    /// `type`, the class of the error.
    pub fn kind(&self) -> &'static str {
        kind_of(self.status)
    }
}

/// The `type` of an error with this status.
pub(crate) fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

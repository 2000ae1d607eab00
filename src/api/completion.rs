//! What the shard does for a request for a chat completion.

use crate::domain::passing::{PassingBody, PassingForm};

/// A request whose answer is passed on, before it has a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassingDraft {
    /// What the model is sent.
    pub body: PassingBody,
    /// The form of the response.
    pub form: PassingForm,
}

/// How a client wants to see the answer to the message that it posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CompletionView {
    /// Whether the answer comes in chunks.
    pub is_streamed: bool,
    /// Whether a stream ends with a chunk of token counts.
    pub includes_usage: bool,
    /// The model that the client named, or the server's.
    pub model: String,
    /// The time of the request, in seconds since 1970.
    pub created: i64,
    /// Whether the request has an `Idempotency-Key`, so that it can be repeated.
    pub is_repeatable: bool,
}

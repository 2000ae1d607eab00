//! Floor 3: who answers messages when that takes more than a step: `openai` asks a model behind an OpenAI-compatible API.
//!
//! `client` alone waits, reads clocks and has sockets; it runs on a worker's own thread. Everything else here takes bytes,
//! time and randomness as arguments. Nothing here knows where orders come from or where answers go.

pub mod address;
pub mod breaker;
pub mod client;
pub mod coalesce;
pub mod failure;
pub mod openai;
pub mod retry;
#[cfg(feature = "tls")]
mod tls;

pub use client::{Timeouts, Upstream, UpstreamSettings, answer};
pub use failure::{Failure, FailureKind};

use crate::domain::model::Role;
use std::sync::Arc;

/// One message of the conversation that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: Arc<str>,
}

/// What is known of an answer when its text has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// The model that answered, as it calls itself.
    pub model: Option<String>,
    /// Tokens of the question, if they were counted.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, if they were counted.
    pub completion_tokens: Option<u64>,
    /// Why the text ended: `stop`, `length` (also when it was cut at the longest content that a message may have), or
    /// another word of the model's server.
    pub finish_reason: Option<String>,
}

/// Whether an answer is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// It was cancelled, or its conversation is gone.
    Stop,
}

/// Where an answer's text goes, piece by piece. An empty piece says nothing and only asks whether to go on; while the
/// model is silent that happens at least every `UPSTREAM_TICK_MILLISECONDS_MAX`, and soon after each piece.
pub type Shown<'a> = &'a mut dyn FnMut(&str) -> Flow;

//! Layer 3: answers to messages, from the choice of the next job to the protocol of the model.
//!
//! `scheduler` decides which job runs, and `answer` how one answer is stored, shown and ended; both are pure. `client`
//! asks an OpenAI-compatible model over HTTP: it alone waits, reads the clock and owns sockets, on the thread of its
//! caller. This layer names neither the store nor the shards: `runtime` carries jobs, steps and deltas.

pub(crate) mod answer;
pub(crate) mod breaker;
pub(crate) mod client;
pub(crate) mod failure;
pub(crate) mod openai;
pub(crate) mod retry;
pub(crate) mod scheduler;
#[cfg(feature = "tls")]
mod tls;

pub use client::{Timeouts, Upstream, UpstreamSettings, answer};
pub use failure::{Failure, FailureKind};

use crate::wire;
use std::ops::ControlFlow;

/// The properties that the model reported with a finished answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Completion {
    /// The name of the model.
    pub model: Option<String>,
    /// Tokens of the request, if the model counted them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, if the model counted them.
    pub completion_tokens: Option<u64>,
    /// Why the text ended: `stop`, `length` (also when it was truncated to the longest content of a message), or another
    /// word of the model's server.
    pub finish_reason: Option<String>,
}

impl Completion {
    /// The same for the metadata of the answer's message.
    pub fn properties(&self) -> wire::answer_metadata::AnswerFacts<'_> {
        wire::answer_metadata::AnswerFacts {
            model: self.model.as_deref(),
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            finish_reason: self.finish_reason.as_deref(),
        }
    }
}

/// Receives an answer's text in pieces, and decides whether to continue. An empty piece only asks for that decision: at
/// least every `UPSTREAM_TICK_MILLISECONDS_MAX` while the model is silent, and soon after each piece.
pub(crate) type TextSink<'a> = &'a mut dyn FnMut(&str) -> ControlFlow<()>;

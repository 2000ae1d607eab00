//! Layer 3: answers to messages, from the choice of the next job to the protocol of the model.
//!
//! `scheduler` decides which job runs, `answer` how one answer is stored, shown and ended, `model_request` when a model is asked
//! again, and `upstream` speaks HTTP. `passed_answer` is an answer that is passed on instead of stored. All of it is pure: no socket, no thread and no clock. This layer names neither the store nor
//! the shards: `runtime` carries jobs, steps, bytes and deltas.

pub(crate) mod answer;
pub(crate) mod breaker;
pub(crate) mod context;
pub(crate) mod failure;
pub(crate) mod model_request;
pub(crate) mod openai;
pub(crate) mod passed_answer;
mod redaction;
pub(crate) mod retry;
pub(crate) mod scheduler;
#[cfg(feature = "tls")]
mod tls;
pub(crate) mod upstream;

pub use context::ContextRules;
pub use failure::{Failure, FailureKind};
pub use upstream::{Timeouts, Upstream, UpstreamSettings};

use crate::domain::usage::{TokenCounts, TokenUsage};
use crate::wire;

/// The properties that the model reported with a finished answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Completion {
    /// The name of the model.
    pub model: Option<String>,
    /// Tokens of the request, if the model counted them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, if the model counted them.
    pub completion_tokens: Option<u64>,
    /// Tokens of the reasoning, if the model counted them.
    pub reasoning_tokens: Option<u64>,
    /// Tokens of the request that the model had in its cache, if it counted them.
    pub cached_tokens: Option<u64>,
    /// The last reason for the end of the text: `stop`, `length` (also when it was truncated to the longest content of a
    /// message), or another word of the model's server.
    pub finish_reason: Option<String>,
}

impl Completion {
    /// The tokens that the answer used, as far as the model counted them.
    pub fn usage(&self) -> TokenUsage {
        let tokens = TokenCounts {
            prompt: self.prompt_tokens.unwrap_or(0),
            completion: self.completion_tokens.unwrap_or(0),
            reasoning: self.reasoning_tokens.unwrap_or(0),
            cached: self.cached_tokens.unwrap_or(0),
        };
        TokenUsage { model: self.model.as_deref().unwrap_or_default().into(), tokens }
    }

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

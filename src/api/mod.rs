//! Layer 3: the endpoints. [`dispatch()`] turns a request into an [`Action`]; [`command_response`] and [`query_response`]
//! turn a result into a [`Response`].
//!
//! This module names neither the store nor a socket nor a clock: requests and the time are arguments, and actions and
//! responses are plain values that the shard carries out.

mod accept;
mod action;
pub(crate) mod auth;
mod caller;
mod completion;
mod config_conversations;
mod console;
mod context;
mod conversations;
pub(crate) mod cors;
mod dispatch;
mod docs;
pub(crate) mod error;
pub(crate) mod forwarded;
pub(crate) mod health;
mod html;
pub(crate) mod input;
mod messages;
pub(crate) mod metrics;
mod openai;
pub(crate) mod openapi;
pub(crate) mod operation;
pub(crate) mod request;
pub(crate) mod request_metrics;
mod response;
mod result_response;
pub(crate) mod router;
mod search;
pub(crate) mod stream;
mod subscription;
mod usage;
mod users;
mod workspaces;

pub(crate) use action::Action;
pub(crate) use caller::Caller;
pub(crate) use completion::{CompletionView, PassingDraft};
pub use context::Context;
pub(crate) use dispatch::dispatch;
pub(crate) use response::Response;
pub(crate) use result_response::{command_response, query_response};
pub use subscription::StreamStart;
pub(crate) use subscription::{AnswerSubscription, StreamId, Subscription};

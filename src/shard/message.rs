//! Messages from the other threads of the process to a shard. A mailbox carries them, and the shard takes them as
//! `Input::Message`.

use crate::api::Context;
use crate::domain::command::ReplyTo;
use crate::domain::event::Event;
use crate::domain::id::EventNumber;
use crate::domain::live_answer::AnswerDelta;
use crate::domain::password::PasswordResponse;
use crate::domain::query::QueryResponse;
use crate::domain::result::CommandResult;
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::TokenRules;
use std::sync::Arc;

/// One message to one shard.
#[derive(Debug)]
pub enum ShardMessage {
    /// The writer committed a batch: what concerns this shard.
    Committed(CommitShare),
    /// A reader has answered a query of this shard.
    QueryResponse(QueryResponse),
    /// The password thread has finished a check.
    PasswordResponse(PasswordResponse),
    /// The result of a command that no commit carries.
    CommandResult(CommandResult),
    /// An answer grew.
    Delta(AnswerDelta),
    /// The last work of this connection was dropped: its queue was full, or the worker failed. No other reply follows.
    Dropped(ReplyTo),
    /// The process shuts down: finish what is running, accept nothing new.
    Drain,
    /// The settings or keys changed. Open streams continue.
    Reload(Arc<Context>),
}

/// A committed batch as one shard gets it.
#[derive(Debug)]
pub struct CommitShare {
    /// The journal's position before the batch. A shard at an earlier position has missed events.
    pub before: EventNumber,
    /// The journal's position after the batch.
    pub through: EventNumber,
    /// The batch's events, in order; the same for every shard.
    pub events: Arc<[Arc<Event>]>,
    /// Results of the commands that came from this shard.
    pub results: Vec<CommandResult>,
    /// Answers that the batch started.
    pub started: Arc<[AnswerStarted]>,
    /// The rules for users' tokens, if the batch changed them.
    pub token_rules: Option<Arc<TokenRules>>,
}

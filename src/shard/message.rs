//! Messages from the other threads of the process to a shard. A mailbox carries them, and the shard takes them as
//! `Input::Message`.

use crate::api::Context;
use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::command::ReplyTo;
use crate::domain::event::Event;
use crate::domain::id::EventNumber;
use crate::domain::live_answer::AnswerDelta;
use crate::domain::password::PasswordResponse;
#[cfg(feature = "cluster")]
use crate::domain::peer_query::PeerResponse;
use crate::domain::query::QueryResponse;
use crate::domain::result::CommandResult;
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::TokenRules;
use std::sync::Arc;

/// One message to one shard.
#[derive(Debug)]
pub enum ShardMessage {
    /// The writer committed a batch: this shard's share of it.
    Committed(CommitShare),
    /// A reader has finished a query of this shard.
    QueryResponse(QueryResponse),
    /// The password thread has finished a check.
    PasswordResponse(PasswordResponse),
    /// The result of a command that no commit carries.
    CommandResult(CommandResult),
    /// Other instances have answered a query of this shard, or did not in time.
    #[cfg(feature = "cluster")]
    PeerResponse(PeerResponse),
    /// Text was appended to an answer.
    Delta(AnswerDelta),
    /// An answer whose text has not begun has a new status.
    AnswerStatus(Arc<AnswerStatusChange>),
    /// The pipe to this connection has bytes, or an end.
    Piped(ReplyTo),
    /// The work of this connection was dropped: its queue was full, or the worker failed. No result follows.
    Dropped(ReplyTo),
    /// The command of this connection was dropped, because the writer's queue was full. No result follows.
    CommandDropped(ReplyTo),
    /// The process shuts down: finish requests in progress, then close.
    Drain,
    /// The settings or keys changed. Open streams continue, except those of removed keys.
    Reload(Arc<Context>),
}

impl ShardMessage {
    /// Whether only streams need it, and a shard without streams to know its position.
    pub fn is_for_streams(&self) -> bool {
        match self {
            ShardMessage::Committed(share) => share.results.is_empty() && share.token_rules.is_none(),
            ShardMessage::Delta(_) | ShardMessage::AnswerStatus(_) => true,
            _ => false,
        }
    }
}

/// One shard's share of a committed batch.
#[derive(Debug)]
pub struct CommitShare {
    /// The journal's position before the batch. A shard at an earlier position has missed events.
    pub before: EventNumber,
    /// The journal's position after the batch.
    pub through: EventNumber,
    /// The batch's events, in order, shared by all shards.
    pub events: Arc<[Arc<Event>]>,
    /// Results of this shard's commands.
    pub results: Vec<CommandResult>,
    /// Answers that the batch started.
    pub started: Arc<[AnswerStarted]>,
    /// The new rules for tokens, if the batch changed them.
    pub token_rules: Option<Arc<TokenRules>>,
}

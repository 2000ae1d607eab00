//! A committed batch, as the writer reports it.

use crate::domain::answer_job::AnswerJob;
use crate::domain::event::Event;
use crate::domain::id::EventNumber;
use crate::domain::result::CommandResult;
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::TokenRules;
use std::sync::Arc;

/// A committed batch, as every shard is told of it, with its own share of the receipts.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The journal's position before the batch: a shard that is not there has missed something.
    pub before: EventNumber,
    /// The journal's position after the batch.
    pub through: EventNumber,
    /// The batch's events, in order.
    pub events: Arc<[Arc<Event>]>,
    /// Answers to commands.
    pub results: Vec<CommandResult>,
    /// Orders to answer that the batch made, for the responders.
    pub jobs: Vec<AnswerJob>,
    /// Answers whose message the batch made.
    pub started: Arc<[AnswerStarted]>,
    /// Set when the rules for users' tokens changed.
    pub token_rules: Option<Arc<TokenRules>>,
}

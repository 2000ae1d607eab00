//! A committed batch, as the writer reports it.

use crate::domain::answer_job::AnswerJob;
use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::event::Event;
use crate::domain::id::EventNumber;
use crate::domain::result::CommandResult;
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::TokenRules;
use std::sync::Arc;

/// The effects of a committed batch.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The journal's position before the batch. A shard at another position has missed events.
    pub before: EventNumber,
    /// The journal's position after the batch.
    pub through: EventNumber,
    /// The batch's events, in order.
    pub events: Arc<[Arc<Event>]>,
    /// The results of the commands.
    pub results: Vec<CommandResult>,
    /// The answer jobs that the batch made the first of their conversations, by creating them or by closing those before them.
    pub jobs: Vec<AnswerJob>,
    /// The messages that the batch queued for a model, with their recipients.
    pub queued: Vec<Arc<AnswerStatusChange>>,
    /// The answers whose message the batch created.
    pub started: Arc<[AnswerStarted]>,
    /// The rules about users' tokens, if they changed.
    pub token_rules: Option<Arc<TokenRules>>,
}

impl Committed {
    /// A commit of nothing but a range of numbers.
    pub fn empty(before: EventNumber, through: EventNumber) -> Committed {
        Committed {
            before,
            through,
            events: Arc::new([]),
            results: Vec::new(),
            jobs: Vec::new(),
            queued: Vec::new(),
            started: Arc::new([]),
            token_rules: None,
        }
    }

    /// Whether it has nothing but a range of numbers.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.results.is_empty()
            && self.jobs.is_empty()
            && self.queued.is_empty()
            && self.started.is_empty()
            && self.token_rules.is_none()
    }
}

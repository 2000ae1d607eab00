//! One answer of a model: its text, the parts that are stored and shown, and its end. Pure: pieces of text, results of the
//! store and the time go in, and effects come out.
//!
//! Order of calls: [`Answer::poll`] until it returns `None`, after each call of another method and whenever some time
//! has passed. Each [`AnswerEffect`] names the method that takes its result. The answer is over when [`Answer::end`]
//! returns something.
//!
//! Invariant: what is shown is known as shown: no text is in a delta before the store has the answer's message. What is
//! stored is a beginning of the text.

use super::Completion;
use super::failure::Failure;
use super::scheduler::{ImmediateAnswer, JobEnd, RETRY_MILLISECONDS, StopReason};
use crate::base::limits::{OUTPUT_APPEND_MILLISECONDS, OUTPUT_DELTA_MILLISECONDS};
use crate::base::time::MonoTime;
use crate::domain::answer_job::{AnswerJob, AnswerStep, Turn};
use crate::domain::id::MessageId;
use crate::domain::live_answer::AnswerDelta;
use crate::domain::live_answer::LiveAnswer;
use crate::domain::model::{Content, Metadata, Status};
use crate::wire;
use std::ops::ControlFlow;
use std::sync::Arc;

/// An action for one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerEffect {
    /// Read the messages before the answer. Next: [`Answer::history_read`].
    ReadHistory,
    /// Send this to the model. Next: [`Answer::text`] for each piece, then [`Answer::model_ended`].
    AskModel(Vec<Turn>),
    /// Hand this to the store. Next: [`Answer::stored`].
    Store(AnswerStep),
    /// Tell every shard of this delta.
    Show(AnswerDelta),
}

/// The result of a step or a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreResult<T> {
    /// It was done.
    Done(T),
    /// The job is closed: answered, cancelled or deleted.
    Closed,
    /// The store cannot do it now.
    Unavailable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AnswerState {
    /// Next: ReadingHistory.
    New,
    /// Next: Asking, Over.
    ReadingHistory,
    /// The request to the model is ready. Next: Writing.
    Asking(Vec<Turn>),
    /// The model writes. Next: Storing, Ending, Over.
    Writing,
    /// The store has a step with the text through this many bytes, and the model waits. Next: Writing, Over.
    Storing { through: usize },
    /// The model has ended, and the answer is to be stored from this time on. Next: StoringEnd, Over.
    Ending { result: EndedAnswer, not_before: MonoTime },
    /// Next: Ending, Over.
    StoringEnd { result: EndedAnswer },
    /// Nothing more is to be done.
    Over(JobEnd),
}

/// The contents of the last step of an answer, beside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EndedAnswer {
    status: Status,
    metadata: Metadata,
    error: Option<Arc<str>>,
}

/// One answer that a model writes.
#[derive(Debug)]
pub struct Answer {
    job: AnswerJob,
    live: LiveAnswer,
    state: AnswerState,
    /// The answer's message, once the store has it.
    message_id: Option<MessageId>,
    /// Bytes of the text that are stored.
    stored_bytes: usize,
    stored_at: Option<MonoTime>,
    shown_at: Option<MonoTime>,
    stop: Option<StopReason>,
}

impl Answer {
    /// An answer to `job`, whose text `live` is to hold.
    pub fn new(job: AnswerJob, live: LiveAnswer) -> Answer {
        Answer {
            job,
            live,
            state: AnswerState::New,
            message_id: None,
            stored_bytes: 0,
            stored_at: None,
            shown_at: None,
            stop: None,
        }
    }

    /// The job that is answered.
    pub fn job(&self) -> &AnswerJob {
        &self.job
    }

    /// The end of the answer; `None` while it runs.
    pub fn end(&self) -> Option<JobEnd> {
        match self.state {
            AnswerState::Over(end) => Some(end),
            _ => None,
        }
    }

    /// Whether the model is to go on.
    pub fn flow(&self) -> ControlFlow<()> {
        let is_wanted = self.stop.is_none() && self.end().is_none();
        if is_wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// The next action; `None` until another call or until [`Answer::poll_timeout`].
    pub fn poll(&mut self, now: MonoTime) -> Option<AnswerEffect> {
        match &self.state {
            AnswerState::New if self.stop.is_some() => {
                self.stop_early();
                None
            }
            AnswerState::New => {
                self.state = AnswerState::ReadingHistory;
                Some(AnswerEffect::ReadHistory)
            }
            AnswerState::Asking(_) if self.stop.is_some() => {
                self.stop_early();
                None
            }
            AnswerState::Asking(turns) => {
                let turns = turns.clone();
                self.state = AnswerState::Writing;
                Some(AnswerEffect::AskModel(turns))
            }
            AnswerState::Writing if self.flow().is_break() => None,
            AnswerState::Writing => self.poll_writing(now),
            AnswerState::Ending { result, not_before } if *not_before <= now => {
                let result = result.clone();
                if result.status == Status::Complete
                    && let Some(delta) = self.show(now)
                {
                    return Some(AnswerEffect::Show(delta));
                }
                let step = self.last_step(&result);
                self.state = AnswerState::StoringEnd { result };
                Some(AnswerEffect::Store(step))
            }
            AnswerState::ReadingHistory
            | AnswerState::Storing { .. }
            | AnswerState::Ending { .. }
            | AnswerState::StoringEnd { .. } => None,
            AnswerState::Over(_) => None,
        }
    }

    /// When [`Answer::poll`] has something to do, if nothing else happens until then.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        match &self.state {
            AnswerState::Writing if self.flow().is_continue() => {
                [self.store_at(), self.show_at()].into_iter().flatten().min()
            }
            AnswerState::Ending { not_before, .. } => Some(*not_before),
            _ => None,
        }
    }

    /// Takes the messages before the answer. The last is the one to answer.
    pub fn history_read(&mut self, history: StoreResult<Vec<Turn>>) {
        assert_eq!(self.state, AnswerState::ReadingHistory, "a history comes when it was asked for");
        self.state = match history {
            StoreResult::Done(turns) if turns.is_empty() => AnswerState::Over(JobEnd::Closed),
            StoreResult::Done(turns) => AnswerState::Asking(turns),
            StoreResult::Closed => AnswerState::Over(JobEnd::Closed),
            StoreResult::Unavailable => AnswerState::Over(JobEnd::Retry),
        };
    }

    /// Takes a piece of text from the model.
    pub fn text(&mut self, piece: &str) {
        assert!(
            matches!(self.state, AnswerState::Writing | AnswerState::Over(_)),
            "a model writes when it was asked to"
        );
        self.live.append(piece);
    }

    /// Takes the end of the model's answer.
    pub fn model_ended(&mut self, ended: Result<Completion, Failure>, now: MonoTime) {
        if self.end().is_some() {
            return;
        }
        assert_eq!(self.state, AnswerState::Writing, "a model ends while it writes");
        let properties = ended.as_ref().ok().map(Completion::properties);
        let metadata = Metadata::new_unchecked(wire::answer_metadata::metadata(self.job.responder, properties));
        let (status, error) = match (&ended, self.stop) {
            (_, Some(StopReason::JobClosed)) => {
                self.state = AnswerState::Over(JobEnd::Closed);
                return;
            }
            (Ok(_), _) => (Status::Complete, None),
            (Err(_), Some(StopReason::Shutdown)) if self.message_id.is_none() => {
                self.state = AnswerState::Over(JobEnd::Retry);
                return;
            }
            (Err(_), Some(StopReason::Shutdown)) => (Status::Interrupted, None),
            (Err(failure), None) => (Status::Failed, Some(failure.message.as_str().into())),
        };
        self.state = AnswerState::Ending { result: EndedAnswer { status, metadata, error }, not_before: now };
    }

    /// Takes the result of a step, with the id of the answer's message.
    pub fn stored(&mut self, result: StoreResult<Option<MessageId>>, now: MonoTime) {
        self.state = match (std::mem::replace(&mut self.state, AnswerState::New), result) {
            (AnswerState::Storing { .. } | AnswerState::StoringEnd { .. }, StoreResult::Closed) => {
                AnswerState::Over(JobEnd::Closed)
            }
            (AnswerState::Storing { through }, StoreResult::Done(message_id)) => {
                self.message_id = self.message_id.or(message_id);
                self.stored_bytes = through;
                AnswerState::Writing
            }
            // Nothing is shown yet, so the whole answer can begin again.
            (AnswerState::Storing { .. }, StoreResult::Unavailable) if self.message_id.is_none() => {
                AnswerState::Over(JobEnd::Retry)
            }
            // The next step brings this text, too.
            (AnswerState::Storing { .. }, StoreResult::Unavailable) => AnswerState::Writing,
            (AnswerState::StoringEnd { .. }, StoreResult::Done(_)) => AnswerState::Over(JobEnd::Closed),
            // The job stays open, and the next process ends it.
            (AnswerState::StoringEnd { .. }, StoreResult::Unavailable) if self.stop == Some(StopReason::Shutdown) => {
                AnswerState::Over(JobEnd::Closed)
            }
            // The answer exists nowhere else, so it is offered until the store takes it.
            (AnswerState::StoringEnd { result }, StoreResult::Unavailable) => {
                AnswerState::Ending { result, not_before: now.plus_milliseconds(RETRY_MILLISECONDS) }
            }
            (state, _) => panic!("nothing is being stored in {state:?}"),
        };
    }

    /// Requests that the answer ends soon.
    pub fn stop(&mut self, reason: StopReason) {
        if self.stop != Some(StopReason::JobClosed) {
            self.stop = Some(reason);
        }
    }

    /// Panics when an invariant does not hold.
    pub fn check_invariants(&self) {
        let shown = self.live.shown();
        assert!(self.stored_bytes <= self.live.len() && shown.bytes <= self.live.len());
        assert!(shown.bytes == 0 || self.message_id.is_some(), "what is shown is known as shown");
        assert_eq!(shown.bytes == 0, shown.deltas == 0, "no delta is empty");
    }

    /// Ends an answer before the request to the model.
    fn stop_early(&mut self) {
        let end = if self.stop == Some(StopReason::Shutdown) { JobEnd::Retry } else { JobEnd::Closed };
        self.state = AnswerState::Over(end);
    }

    fn poll_writing(&mut self, now: MonoTime) -> Option<AnswerEffect> {
        if self.store_at().is_some_and(|at| at <= now) {
            self.stored_at = Some(now);
            let text: Arc<str> = self.live.text_from(self.stored_bytes).into();
            self.state = AnswerState::Storing { through: self.stored_bytes + text.len() };
            return Some(AnswerEffect::Store(match self.message_id {
                None => AnswerStep::Begin { text, live: self.live.clone() },
                Some(_) => AnswerStep::Append { text },
            }));
        }
        if self.show_at().is_some_and(|at| at <= now) {
            return self.show(now).map(AnswerEffect::Show);
        }
        None
    }

    fn show(&mut self, now: MonoTime) -> Option<AnswerDelta> {
        let delta = self.live.show(self.message_id?)?;
        // The rest of a long piece of text follows at once.
        if delta.to == self.live.len() {
            self.shown_at = Some(now);
        }
        Some(delta)
    }

    /// When the next text is to be stored: the first at once, the rest at intervals.
    fn store_at(&self) -> Option<MonoTime> {
        let at = self.stored_at.map_or(MonoTime(0), |at| at.plus_milliseconds(OUTPUT_APPEND_MILLISECONDS));
        (self.stored_bytes < self.live.len()).then_some(at)
    }

    fn show_at(&self) -> Option<MonoTime> {
        let at = self.shown_at.map_or(MonoTime(0), |at| at.plus_milliseconds(OUTPUT_DELTA_MILLISECONDS));
        (self.message_id.is_some() && self.live.shown().bytes < self.live.len()).then_some(at)
    }

    fn last_step(&self, result: &EndedAnswer) -> AnswerStep {
        let EndedAnswer { status, metadata, error } = result.clone();
        let is_kept = (self.message_id.is_some() || status == Status::Complete) && !self.live.is_empty();
        let text = is_kept.then(|| Content::new_unchecked(self.live.text_from(0)));
        AnswerStep::Finish { status, text, metadata, error }
    }
}

/// The step that cancels the answer to `job` with the text so far.
pub fn cancel_step(job: &AnswerJob, live: &LiveAnswer) -> AnswerStep {
    let text = live.text_from(0);
    AnswerStep::Finish {
        status: Status::Cancelled,
        text: (!text.is_empty()).then(|| Content::new_unchecked(text)),
        metadata: Metadata::new_unchecked(wire::answer_metadata::metadata(job.responder, None)),
        error: None,
    }
}

/// The step that answers `job` without a model.
pub fn immediate_step(job: &AnswerJob, answer: ImmediateAnswer) -> AnswerStep {
    let metadata = Metadata::new_unchecked(wire::answer_metadata::metadata(job.responder, None));
    match answer {
        ImmediateAnswer::Echo => AnswerStep::Echo { metadata, bytes: job.content_bytes },
        ImmediateAnswer::Interrupted => {
            AnswerStep::Finish { status: Status::Interrupted, text: None, metadata, error: None }
        }
        ImmediateAnswer::Cancelled => {
            AnswerStep::Finish { status: Status::Cancelled, text: None, metadata, error: None }
        }
        ImmediateAnswer::NotConfigured => {
            let error = Some("this responder is not configured any more".into());
            AnswerStep::Finish { status: Status::Failed, text: None, metadata, error }
        }
    }
}

#[cfg(test)]
mod tests;

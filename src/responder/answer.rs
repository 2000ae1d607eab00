//! One answer of a model: the question to the model, the text, the parts that are stored and shown, and its end. Pure: bytes,
//! results of the store and the time go in, and effects come out.
//!
//! Order of calls: [`Answer::poll`] until it returns `None`, after each call of another method and when
//! [`Answer::poll_timeout`] says. Each [`AnswerEffect`] names the method that takes its result. The answer is over when
//! [`Answer::end`] returns something and `poll` returns `None`.
//!
//! Invariant: what is shown is known as shown: no text is in a delta before the store has the beginning of the text, and no
//! reasoning before the store has reserved the id of the answer's message. What is stored is a beginning of the text. At most one
//! step is at the store.

use super::model_request::{ModelEffect, ModelRequest};
use super::openai::AnswerPieces;
use super::scheduler::{ImmediateAnswer, JobEnd, RETRY_MILLISECONDS, StopReason};
use super::upstream::Upstream;
use super::{Completion, Failure};
use crate::base::limits::OUTPUT_APPEND_MILLISECONDS;
use crate::base::metrics;
use crate::base::random::Random;
use crate::base::time::{MonoTime, Now};
use crate::domain::answer_job::{AnswerJob, AnswerStep, CancelledAnswer};
use crate::domain::answer_status_change::{AnswerPhase, AnswerStatusChange};
use crate::domain::history::History;
use crate::domain::id::{EventNumber, MessageId, UserId};
use crate::domain::live_answer::AnswerDelta;
use crate::domain::live_answer::LiveAnswer;
use crate::domain::model::{Content, Metadata, Status};
use crate::domain::usage::TokenUsage;
use crate::wire;
use std::sync::Arc;

/// An action for one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerEffect {
    /// Read the messages before the answer. Next: [`Answer::history_read`].
    ReadHistory,
    /// Open a connection to the upstream. Next: [`Answer::connected`] or [`Answer::disconnected`].
    Connect,
    /// Close the connection to the upstream.
    Close,
    /// Hand this to the store. Next: [`Answer::stored`].
    Store(AnswerStep),
    /// Tell every shard of this delta.
    Show(AnswerDelta),
    /// Tell every shard of this state.
    Report(AnswerStatusChange),
}

/// The result of a step or a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreResult<T> {
    /// It was done.
    Done(T),
    /// The job is closed: answered, cancelled, deleted, or claimed by another instance.
    Closed,
    /// The job is open, but the share of its user is taken, over all instances.
    ShareTaken,
    /// The store cannot do it now.
    Unavailable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AnswerState {
    /// The job is claimed before anything else. Next: Writing, Over.
    Claiming,
    /// The model is asked, or writes. Next: Ending, Over.
    Writing,
    /// The model has ended, and the answer is to be stored. Next: Over.
    Ending(EndedAnswer),
    /// Nothing more is to be done.
    Over(JobEnd),
}

/// What is at the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreState {
    /// Nothing. Nothing is handed to it before this time. Next: Claiming, Storing, StoringEnd.
    Idle { not_before: MonoTime },
    /// The claim of the job. Next: Idle; the answer may be over.
    Claiming,
    /// A step with the text through this many bytes. Next: Idle.
    Storing { through: usize },
    /// The last step. Next: Idle; the answer may be over.
    StoringEnd,
}

/// The contents of the last step of an answer, beside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EndedAnswer {
    status: Status,
    metadata: Metadata,
    error: Option<Arc<str>>,
    usage: Option<TokenUsage>,
}

/// One answer that a model writes.
#[derive(Debug)]
pub struct Answer {
    job: AnswerJob,
    live: LiveAnswer,
    upstream: Arc<Upstream>,
    request: ModelRequest,
    /// What the present attempt needs of the history: how often it is halved, and whether the model counts tokens.
    preparing: Option<(u32, bool)>,
    state: AnswerState,
    store: StoreState,
    /// The answer's message, once the store has it or has reserved its id.
    message_id: Option<MessageId>,
    /// Bytes of the text that are stored.
    stored_bytes: usize,
    stored_at: Option<MonoTime>,
    is_stopping: bool,
    /// The recipients of the conversation's events at `known_at`.
    recipients: Arc<[UserId]>,
    known_at: EventNumber,
    /// The model is being asked, and that is not reported yet.
    reports_start: bool,
}

impl Answer {
    /// An answer of the model of `upstream` to `job`. `random` spreads its retries.
    pub fn new(job: AnswerJob, upstream: Arc<Upstream>, random: Random) -> Answer {
        Answer {
            job,
            live: LiveAnswer::default(),
            request: ModelRequest::new(Arc::clone(&upstream), random),
            upstream,
            preparing: None,
            state: AnswerState::Writing,
            store: StoreState::Idle { not_before: MonoTime(0) },
            message_id: None,
            stored_bytes: 0,
            stored_at: None,
            is_stopping: false,
            recipients: Arc::default(),
            known_at: EventNumber::default(),
            reports_start: false,
        }
    }

    /// This answer, which begins with the claim of its job: other instances share the database.
    pub fn claiming(self) -> Answer {
        Answer { state: AnswerState::Claiming, ..self }
    }

    /// Sets the clocks by which dates of the model's server are judged.
    pub(crate) fn set_clock(&mut self, now: Now) {
        self.request.set_clock(now);
    }

    /// The job that is answered.
    pub fn job(&self) -> &AnswerJob {
        &self.job
    }

    /// The model's server.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The bytes that the answer holds: its texts, and what is kept of the request and the response.
    pub(crate) fn held_bytes(&self) -> usize {
        self.live.bytes() + self.request.held_bytes()
    }

    /// Ends the answer, which has the most of a memory that is full. Its text so far is kept.
    pub(crate) fn give_way(&mut self) {
        if self.state == AnswerState::Claiming {
            return self.over(JobEnd::Retry);
        }
        self.request.stop();
        self.model_ended(Err(Failure::no_room()));
    }

    /// What the model reported so far.
    pub fn completion(&self) -> Completion {
        self.request.completion()
    }

    /// The text.
    pub fn live(&self) -> &LiveAnswer {
        &self.live
    }

    /// The end of the answer; `None` while it runs.
    pub fn end(&self) -> Option<JobEnd> {
        match self.state {
            AnswerState::Over(end) => Some(end),
            _ => None,
        }
    }

    /// The next action; `None` until another call or until [`Answer::poll_timeout`].
    pub fn poll(&mut self, now: MonoTime) -> Option<AnswerEffect> {
        while self.state != AnswerState::Claiming
            && let Some(effect) = self.request.poll(now)
        {
            match effect {
                ModelEffect::Prepare { halvings, counts_tokens } => {
                    self.preparing = Some((halvings, counts_tokens));
                    return Some(AnswerEffect::ReadHistory);
                }
                ModelEffect::Connect => {
                    self.reports_start = true;
                    return Some(AnswerEffect::Connect);
                }
                ModelEffect::Close => return Some(AnswerEffect::Close),
                ModelEffect::Retrying(milliseconds) => {
                    let change = self.status_change(AnswerPhase::Retrying { in_milliseconds: milliseconds });
                    return Some(AnswerEffect::Report(change));
                }
                ModelEffect::Ended(ended) => self.model_ended(ended),
            }
        }
        if self.end().is_some() {
            return None;
        }
        if std::mem::take(&mut self.reports_start) {
            return Some(AnswerEffect::Report(self.status_change(AnswerPhase::Started)));
        }
        if let Some(message_id) = self.message_id
            && let Some(delta) = self.live.show(message_id, self.stored_bytes > 0)
        {
            return Some(AnswerEffect::Show(delta));
        }
        self.store_at().filter(|at| *at <= now)?;
        self.next_step(now).map(AnswerEffect::Store)
    }

    /// When [`Answer::poll`] or [`Answer::tick`] has something to do, if nothing else happens until then.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        if self.end().is_some() {
            return None;
        }
        [self.request.poll_timeout(), self.store_at()].into_iter().flatten().min()
    }

    /// Takes the history, whose last turn is the message to answer.
    pub fn history_read(&mut self, history: StoreResult<History>, now: MonoTime) {
        // The answer may have been stopped meanwhile.
        let Some((halvings, counts_tokens)) = self.preparing.take() else { return };
        if self.end().is_some() {
            return;
        }
        match history {
            StoreResult::Done(history) if !history.turns.is_empty() => {
                (self.recipients, self.known_at) = (history.recipients.clone(), history.position);
                let body = self.upstream.answer_body(&history, halvings, counts_tokens);
                self.request.prepared(body.as_deref(), now);
            }
            StoreResult::Done(_) | StoreResult::Closed | StoreResult::ShareTaken => self.over(JobEnd::Closed),
            StoreResult::Unavailable => self.over(JobEnd::Retry),
        }
    }

    /// The connection to the upstream is open.
    pub fn connected(&mut self, now: MonoTime) {
        self.request.connected(now);
    }

    /// The connection to the upstream has ended, or broke, or could not be opened, with this error.
    pub fn disconnected(&mut self, error: Option<String>, now: MonoTime) {
        self.with_pieces(|request, pieces| request.disconnected(error, pieces, now));
    }

    /// The bytes to write to the connection.
    pub fn outgoing(&self) -> &[u8] {
        self.request.outgoing()
    }

    /// The connection took so many bytes of [`Answer::outgoing`]; `None` if it takes nothing more.
    pub fn wrote(&mut self, bytes: Option<usize>) {
        self.request.wrote(bytes);
    }

    /// Takes bytes of the connection.
    pub fn received(&mut self, bytes: &[u8], now: MonoTime) {
        self.with_pieces(|request, pieces| request.received(bytes, pieces, now));
    }

    /// Ends waits that are over.
    pub fn tick(&mut self, now: MonoTime) {
        self.with_pieces(|request, pieces| request.tick(pieces, now));
    }

    /// Takes the result of a step, with the id of the answer's message.
    pub fn stored(&mut self, result: StoreResult<Option<MessageId>>, now: MonoTime) {
        let store = std::mem::replace(&mut self.store, StoreState::Idle { not_before: MonoTime(0) });
        if self.end().is_some() {
            return;
        }
        let later = StoreState::Idle { not_before: now.plus_milliseconds(RETRY_MILLISECONDS) };
        match (store, result) {
            (StoreState::Idle { .. }, _) => panic!("nothing is being stored"),
            (StoreState::Claiming, StoreResult::Done(_)) => self.state = AnswerState::Writing,
            (StoreState::Claiming, StoreResult::ShareTaken) => self.over(JobEnd::ShareTaken),
            // If the store did claim the job, it does so again.
            (StoreState::Claiming, StoreResult::Unavailable) => self.over(JobEnd::Retry),
            (_, StoreResult::Closed | StoreResult::ShareTaken) => self.over(JobEnd::Closed),
            (StoreState::Storing { through }, StoreResult::Done(message_id)) => {
                self.message_id = self.message_id.or(message_id);
                self.stored_bytes = through;
            }
            (StoreState::StoringEnd, StoreResult::Done(_)) => self.over(JobEnd::Closed),
            // Nothing was shown, so the next process can answer from the beginning.
            (_, StoreResult::Unavailable) if self.is_stopping && self.stored_bytes == 0 => self.over(JobEnd::Retry),
            // The job stays open, and the next process ends it.
            (StoreState::StoringEnd, StoreResult::Unavailable) if self.is_stopping => self.over(JobEnd::Closed),
            // The text exists nowhere else, so it is offered until the store takes it. A step brings all text.
            (StoreState::Storing { .. } | StoreState::StoringEnd, StoreResult::Unavailable) => self.store = later,
        }
    }

    /// Ends the answer. The connection to the upstream is closed by the next [`Answer::poll`].
    pub fn stop(&mut self, reason: StopReason) {
        match reason {
            StopReason::JobClosed => self.over(JobEnd::Closed),
            StopReason::Shutdown => {
                self.is_stopping = true;
                if self.state == AnswerState::Claiming {
                    self.over(JobEnd::Retry);
                } else if self.state == AnswerState::Writing {
                    self.request.stop();
                    // Without stored text, none was shown, unless the first of it is at the store.
                    match self.store {
                        StoreState::Idle { .. } if self.stored_bytes == 0 => self.over(JobEnd::Retry),
                        _ => {
                            let completion = self.request.completion();
                            self.ending(Status::Interrupted, Some(&completion), None);
                        }
                    }
                }
            }
        }
    }

    /// Panics when an invariant does not hold.
    pub fn check_invariants(&self) {
        let shown = self.live.shown();
        assert!(self.stored_bytes <= self.live.len() && shown.bytes <= self.live.len());
        assert!(shown.bytes == 0 || self.stored_bytes > 0, "text that is shown is known as shown");
        assert!(shown.reasoning_bytes == 0 || self.message_id.is_some(), "reasoning that is shown has a message");
    }

    fn status_change(&self, phase: AnswerPhase) -> AnswerStatusChange {
        AnswerStatusChange {
            reply_to: self.job.message_id,
            conversation_id: self.job.conversation_id,
            workspace_id: self.job.workspace_id,
            recipients: Arc::clone(&self.recipients),
            known_at: self.known_at,
            sender: self.job.responder.user_id(),
            correlation_id: Arc::clone(&self.job.correlation_id),
            phase,
        }
    }

    /// Lets the request do something, and appends what it receives.
    fn with_pieces(&mut self, step: impl FnOnce(&mut ModelRequest, &mut AnswerPieces)) {
        if self.state != AnswerState::Writing {
            return;
        }
        let mut pieces = AnswerPieces::default();
        step(&mut self.request, &mut pieces);
        self.live.append_reasoning(&pieces.reasoning);
        self.live.append(&pieces.text);
    }

    fn model_ended(&mut self, ended: Result<Completion, Failure>) {
        if self.state != AnswerState::Writing {
            return;
        }
        match ended {
            Ok(completion) => self.ending(Status::Complete, Some(&completion), None),
            Err(failure) => {
                log::warn!("the answer to {} failed: {}", self.job.message_id, failure.message);
                metrics::ANSWERS_FAILED.add(1);
                let completion = self.request.completion();
                self.ending(Status::Failed, Some(&completion), Some(failure.message.as_str().into()));
            }
        }
    }

    fn ending(&mut self, status: Status, completion: Option<&Completion>, error: Option<Arc<str>>) {
        let properties = completion.map(Completion::properties);
        let metadata = Metadata::new_unchecked(wire::answer_metadata::metadata(self.job.responder, properties));
        let usage = Some(completion.map(Completion::usage).unwrap_or_default());
        self.state = AnswerState::Ending(EndedAnswer { status, metadata, error, usage });
    }

    fn over(&mut self, end: JobEnd) {
        self.request.stop();
        self.state = AnswerState::Over(end);
    }

    /// When the next step is due: the first text, and the first reasoning, at once, the rest at intervals.
    fn store_at(&self) -> Option<MonoTime> {
        let StoreState::Idle { not_before } = self.store else { return None };
        match self.state {
            AnswerState::Claiming | AnswerState::Ending(_) => Some(not_before),
            AnswerState::Writing if self.message_id.is_none() => self.live.has_unshown().then_some(not_before),
            AnswerState::Writing if self.stored_bytes == 0 => (!self.live.is_empty()).then_some(not_before),
            AnswerState::Writing if self.stored_bytes < self.live.len() => {
                let at = self.stored_at.map_or(MonoTime(0), |at| at.plus_milliseconds(OUTPUT_APPEND_MILLISECONDS));
                Some(at.max(not_before))
            }
            AnswerState::Writing | AnswerState::Over(_) => None,
        }
    }

    fn next_step(&mut self, now: MonoTime) -> Option<AnswerStep> {
        match &self.state {
            AnswerState::Claiming => {
                self.store = StoreState::Claiming;
                Some(AnswerStep::Claim)
            }
            AnswerState::Ending(ended) => {
                let ended = ended.clone();
                if ended.status == Status::Interrupted && self.stored_bytes == 0 {
                    // The first step had no text, or failed, so no text was shown.
                    self.over(JobEnd::Retry);
                    return None;
                }
                self.store = StoreState::StoringEnd;
                Some(self.last_step(ended))
            }
            AnswerState::Writing => {
                self.stored_at = Some(now);
                let text: Arc<str> = self.live.text_from(self.stored_bytes).into();
                self.store = StoreState::Storing { through: self.stored_bytes + text.len() };
                Some(match self.message_id {
                    None => AnswerStep::Begin { text, live: self.live.clone() },
                    Some(_) => AnswerStep::Append { text },
                })
            }
            AnswerState::Over(_) => None,
        }
    }

    fn last_step(&self, ended: EndedAnswer) -> AnswerStep {
        let EndedAnswer { status, metadata, error, usage } = ended;
        let text = (!self.live.is_empty()).then(|| Content::new_unchecked(self.live.text_from(0)));
        AnswerStep::Finish { status, text, reasoning: kept_reasoning(&self.live), metadata, error, usage }
    }
}

/// The reasoning of an answer, if it has any.
fn kept_reasoning(live: &LiveAnswer) -> Option<Arc<str>> {
    Some(live.reasoning()).filter(|reasoning| !reasoning.is_empty()).map(Arc::from)
}

/// The step that cancels the answer to `job` with the text so far.
pub fn cancel_step(job: &AnswerJob, live: &LiveAnswer, completion: &Completion) -> AnswerStep {
    let CancelledAnswer { text, reasoning, metadata, usage, .. } = cancelled_answer(job, live, completion);
    AnswerStep::Finish { status: Status::Cancelled, text, reasoning, metadata, error: None, usage }
}

/// The end of the answer to `job` that is cancelled with the text so far.
pub fn cancelled_answer(job: &AnswerJob, live: &LiveAnswer, completion: &Completion) -> CancelledAnswer {
    let text = live.text_from(0);
    CancelledAnswer {
        job: job.key,
        text: (!text.is_empty()).then(|| Content::new_unchecked(text)),
        reasoning: kept_reasoning(live),
        metadata: Metadata::new_unchecked(wire::answer_metadata::metadata(
            job.responder,
            Some(completion.properties()),
        )),
        usage: Some(completion.usage()),
    }
}

/// The step that answers `job` without a model.
pub fn immediate_step(job: &AnswerJob, answer: ImmediateAnswer) -> AnswerStep {
    let metadata = Metadata::new_unchecked(wire::answer_metadata::metadata(job.responder, None));
    let (status, error) = match answer {
        ImmediateAnswer::Echo => return AnswerStep::Echo { metadata, bytes: job.content_bytes },
        ImmediateAnswer::Interrupted => (Status::Interrupted, None),
        ImmediateAnswer::Cancelled => (Status::Cancelled, None),
        ImmediateAnswer::NotConfigured => (Status::Failed, Some("this responder is not configured any more".into())),
    };
    AnswerStep::Finish { status, text: None, reasoning: None, metadata, error, usage: None }
}

#[cfg(test)]
mod tests;

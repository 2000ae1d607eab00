//! One answer of a model: asks, shows what comes, and brings it to the store.
//!
//! Invariant: nothing is shown before the store knows that something is; what is stored of an answer is a beginning of its
//! text, without a hole.

use super::desk::{Desk, Reply};
use super::dispatcher::command_for;
use crate::base::metrics;
use crate::domain::answer_job::{AnswerDelta, AnswerJob, AnswerSnapshot, AnswerStep};
use crate::domain::id::MessageId;
use crate::domain::model::{Content, Metadata, Status};
use crate::domain::query::{Query, QueryKind, QueryResponse, QueryResult};
use crate::domain::result::{CommandResult, Outcome, Rejection};
use crate::responder::coalesce::{Due, Growing};
use crate::responder::{self, Finished, Flow, Upstream};
use crate::runtime::clock::Clock;
use crate::runtime::replies::Replies;
use crate::runtime::workers::Workers;
use crate::shard::message::ShardMessage;
use crate::wire;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Stack of a worker, in bytes.
const STACK_BYTES: usize = 256 * 1024;
/// How long a worker waits before it tries again what the store could not take.
const TROUBLE_PATIENCE: Duration = Duration::from_millis(500);

/// How far an answer is, for the worker and for those who look at it.
#[derive(Debug, Default)]
pub struct Progress {
    growing: Mutex<Growing>,
    message_id: Mutex<Option<MessageId>>,
    stopped: AtomicBool,
    closed: AtomicBool,
}

impl Progress {
    /// Asks the worker to end, because the process does.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Asks the worker to end, because its order is closed: nothing is left to be stored.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// The whole text so far.
    pub fn text(&self) -> String {
        self.growing().text().to_owned()
    }

    /// The answer's message, once there is one.
    pub fn message_id(&self) -> Option<MessageId> {
        *self.message_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text through the last delta.
    pub fn snapshot(&self) -> Option<AnswerSnapshot> {
        let growing = self.growing();
        growing.snapshot().map(|(index, text)| AnswerSnapshot { next: index + 1, text: text.into() })
    }

    fn growing(&self) -> MutexGuard<'_, Growing> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker is given.
pub struct Job {
    /// What to answer.
    pub order: AnswerJob,
    /// Where it says how far it is.
    pub progress: Arc<Progress>,
    /// Whom to ask.
    pub upstream: Arc<Upstream>,
    /// Messages that go along as context, beside the one to answer.
    pub history: u32,
    /// Where it waits for the store.
    pub desk: Arc<Desk>,
    /// The ways to the store.
    pub ports: Workers,
    /// The ways to the event loops.
    pub replies: Replies,
    /// The clocks.
    pub clock: Clock,
}

/// What became of a step.
enum Stepped {
    /// It was taken.
    Taken(Option<MessageId>),
    /// The order is closed: cancelled, deleted, or answered by another.
    Closed,
    /// The store cannot take it now.
    Trouble,
}

/// Starts a worker. It says `done` at the desk when it ends, however it ends.
pub fn start(job: Job) -> std::io::Result<()> {
    let work = move || {
        let (desk, order) = (Arc::clone(&job.desk), job.order.key);
        // A mistake with one answer is no reason to leave its conversation without any: it is closed at the next start.
        let again = catch_unwind(AssertUnwindSafe(|| Worker { job, unsaved: String::new() }.work())).unwrap_or(false);
        desk.done(order, again);
    };
    std::thread::Builder::new().name("cortex-answer".into()).stack_size(STACK_BYTES).spawn(work).map(drop)
}

/// Whether a reply says that the store could not take something now, though it may later.
pub fn is_trouble(reply: &Reply) -> bool {
    match reply {
        Reply::CommandResult(receipt) => matches!(receipt.result, Err(Rejection::Unavailable | Rejection::Database)),
        Reply::QueryResponse(answer) => matches!(answer.result, Err(Rejection::Unavailable | Rejection::Database)),
        Reply::Lost => true,
    }
}

struct Worker {
    job: Job,
    /// Shown text that the store could not take yet.
    unsaved: String,
}

impl Worker {
    /// Answers the order; says whether it is to be begun again.
    fn work(mut self) -> bool {
        let turns = match self.ask_history() {
            Ok(turns) if turns.is_empty() => return false,
            Ok(turns) => turns,
            Err(again) => return again,
        };
        let upstream = Arc::clone(&self.job.upstream);
        let mut closed = false;
        let mut trouble = false;
        let result = responder::answer(&upstream, &turns, &mut |piece| match self.show(piece) {
            Stepped::Taken(_) => Flow::Continue,
            Stepped::Closed => {
                closed = true;
                Flow::Stop
            }
            Stepped::Trouble => {
                trouble = true;
                Flow::Stop
            }
        });
        let started = self.job.progress.message_id().is_some();
        if closed || (trouble && !started) {
            return trouble;
        }
        let stopped = self.job.progress.stopped.load(Relaxed);
        match result {
            Ok(finished) => self.complete(&finished),
            Err(_) if stopped && !started => return true,
            Err(_) if stopped => self.end(Status::Interrupted, None, None),
            Err(failure) => {
                log::warn!("the answer to {} failed: {}", self.job.order.message_id, failure.message);
                metrics::ANSWERS_FAILED.add(1);
                self.end(Status::Failed, None, Some(failure.message.as_str().into()));
            }
        }
        false
    }

    fn ask_history(&self) -> Result<Vec<responder::Turn>, bool> {
        let (reply_to, reply) = self.job.desk.expect();
        let order = &self.job.order;
        let kind = QueryKind::History { order: order.key, limit: self.job.history + 1 };
        let query = Query { reply_to, caller: order.user.clone(), kind };
        if let Err(to) = self.job.ports.ask(query) {
            self.job.desk.deliver(to, Reply::Lost);
        }
        match reply.recv() {
            Ok(Reply::QueryResponse(QueryResponse { result: Ok(QueryResult::History(turns)), .. })) => Ok(turns
                .into_iter()
                .map(|turn| responder::Turn { role: turn.role, text: turn.text.as_str().into() })
                .collect()),
            Ok(reply) => Err(is_trouble(&reply)),
            Err(_) => Err(true),
        }
    }

    /// Takes a piece of text in, and does what is due: first the store, then the streams.
    fn show(&mut self, piece: &str) -> Stepped {
        let progress = Arc::clone(&self.job.progress);
        progress.growing().push(piece);
        if progress.closed.load(Relaxed) {
            return Stepped::Closed;
        }
        if progress.stopped.load(Relaxed) {
            return Stepped::Trouble;
        }
        loop {
            let now = self.job.clock.now().mono;
            let (append, delta) = match progress.growing().poll(now) {
                None => return Stepped::Taken(None),
                Some(Due::Append(text)) => (Some(text.to_owned()), None),
                Some(Due::Delta(index, text)) => (None, Some((index, Arc::from(text)))),
            };
            if let Some((index, text)) = delta {
                self.send_delta(index, text);
            }
            if let Some(text) = append {
                match self.save(&text) {
                    Stepped::Taken(_) => {}
                    other => return other,
                }
            }
        }
    }

    fn save(&mut self, text: &str) -> Stepped {
        self.unsaved.push_str(text);
        let started = self.job.progress.message_id();
        let text: Arc<str> = self.unsaved.as_str().into();
        let step = if started.is_none() { AnswerStep::Begin { text } } else { AnswerStep::Append { text } };
        match self.step(step) {
            Stepped::Taken(message_id) => {
                self.unsaved.clear();
                if started.is_none() {
                    *self.job.progress.message_id.lock().unwrap_or_else(PoisonError::into_inner) = message_id;
                }
                Stepped::Taken(message_id)
            }
            // What is shown already can be saved with the next piece.
            Stepped::Trouble if started.is_some() => Stepped::Taken(started),
            other => other,
        }
    }

    fn step(&self, step: AnswerStep) -> Stepped {
        let (reply_to, reply) = self.job.desk.expect();
        if let Err(to) = self.job.ports.submit_now(command_for(&self.job.order, reply_to, step)) {
            self.job.desk.deliver(to, Reply::Lost);
        }
        match reply.recv() {
            Ok(Reply::CommandResult(CommandResult { result: Ok(Outcome::Answered { message_id, .. }), .. })) => {
                Stepped::Taken(message_id)
            }
            Ok(reply) if !is_trouble(&reply) => Stepped::Closed,
            _ => Stepped::Trouble,
        }
    }

    fn send_delta(&self, index: u64, text: Arc<str>) {
        let Some(message_id) = self.job.progress.message_id() else { return };
        let delta = Arc::new(AnswerDelta { message_id, index, text });
        self.job.replies.broadcast(|| ShardMessage::Delta(Arc::clone(&delta)));
    }

    fn complete(&self, finished: &Finished) {
        let rest = match self.job.progress.growing().finish() {
            Some(Due::Delta(index, text)) => Some((index, Arc::from(text))),
            _ => None,
        };
        if let Some((index, text)) = rest {
            self.send_delta(index, text);
        }
        self.end(Status::Complete, Some(finished), None);
    }

    /// Closes the order; tries until the store has taken it, since the answer is there and nobody else has it.
    fn end(&self, status: Status, finished: Option<&Finished>, error: Option<Arc<str>>) {
        let text = self.job.progress.text();
        let metadata = Metadata::new_unchecked(wire::answer_metadata::metadata(
            self.job.order.responder,
            finished.map(|finished| wire::answer_metadata::AnswerFacts {
                model: finished.model.as_deref(),
                prompt_tokens: finished.prompt_tokens,
                completion_tokens: finished.completion_tokens,
                finish_reason: finished.finish_reason.as_deref(),
            }),
        ));
        let shown = self.job.progress.message_id().is_some() || status == Status::Complete;
        let text = (shown && !text.is_empty()).then(|| Content::new_unchecked(text));
        loop {
            let (text, metadata, error) = (text.clone(), metadata.clone(), error.clone());
            match self.step(AnswerStep::Finish { status, text, metadata, error }) {
                Stepped::Taken(_) | Stepped::Closed => return,
                // The order stays open, and the next process ends it.
                Stepped::Trouble if self.job.progress.stopped.load(Relaxed) => return,
                Stepped::Trouble => std::thread::sleep(TROUBLE_PATIENCE),
            }
        }
    }
}

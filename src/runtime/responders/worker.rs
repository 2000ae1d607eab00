//! The thread of one answer: it sends the request to the model, and carries out the answer's effects.

use super::port::{ResponderPort, StoreReply, step_command};
use crate::base::metrics;
use crate::base::thread::{OnPanic, spawn};
use crate::domain::answer_job::{AnswerStep, Turn};
use crate::domain::holder::Holder;
use crate::domain::id::MessageId;
use crate::domain::query::{Query, QueryKind, QueryResult};
use crate::responder::answer::{Answer, AnswerEffect, StoreResult};
use crate::responder::scheduler::{JobEnd, StopReason};
use crate::responder::{self, Upstream};
use crate::runtime::clock::Clock;
use crate::runtime::workers::Workers;
use crate::shard::message::ShardMessage;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Stack of a worker, in bytes.
const STACK_BYTES: usize = 256 * 1024;

/// Asks a worker to end.
#[derive(Debug, Default)]
pub(super) struct StopFlag(AtomicU8);

impl StopFlag {
    const SHUTDOWN: u8 = 1;
    const JOB_CLOSED: u8 = 2;

    /// Asks for the end. A closed job counts more than a shutdown.
    pub(super) fn set(&self, reason: StopReason) {
        let code = match reason {
            StopReason::Shutdown => StopFlag::SHUTDOWN,
            StopReason::JobClosed => StopFlag::JOB_CLOSED,
        };
        self.0.fetch_max(code, Relaxed);
    }

    fn get(&self) -> Option<StopReason> {
        match self.0.load(Relaxed) {
            StopFlag::SHUTDOWN => Some(StopReason::Shutdown),
            StopFlag::JOB_CLOSED => Some(StopReason::JobClosed),
            _ => None,
        }
    }
}

/// The state of a worker.
pub(super) struct Worker {
    /// The answer.
    pub answer: Answer,
    /// Set when the answer is to end.
    pub stop: Arc<StopFlag>,
    /// The model's server.
    pub upstream: Arc<Upstream>,
    /// The maximum number of messages of context, beside the one to answer.
    pub history: u32,
    /// Where replies of the store arrive.
    pub port: Arc<ResponderPort>,
    /// The ways to the store and to the shards.
    pub workers: Workers,
    /// The clocks.
    pub clock: Clock,
}

/// Starts a worker. It reports the end of its answer however it ends.
pub(super) fn start(worker: Worker) -> std::io::Result<()> {
    let work = move || {
        let (port, job) = (Arc::clone(&worker.port), worker.answer.job().key);
        let end = catch_unwind(AssertUnwindSafe(|| worker.run())).unwrap_or(JobEnd::Abandoned);
        port.answer_ended(job, end);
    };
    spawn("answer", STACK_BYTES, OnPanic::Work, work).map(drop)
}

impl Worker {
    fn run(mut self) -> JobEnd {
        loop {
            if let Some(end) = self.answer.end() {
                return end;
            }
            match self.poll() {
                Some(AnswerEffect::ReadHistory) => {
                    let history = self.read_history();
                    self.answer.history_read(history);
                }
                Some(AnswerEffect::AskModel(turns)) => self.ask_model(&turns),
                Some(AnswerEffect::Store(step)) => self.store(step),
                Some(AnswerEffect::Show(delta)) => self.workers.replies.broadcast(|| ShardMessage::Delta(delta)),
                None => self.wait(),
            }
        }
    }

    fn poll(&mut self) -> Option<AnswerEffect> {
        if let Some(reason) = self.stop.get() {
            self.answer.stop(reason);
        }
        self.answer.poll(self.clock.now().mono)
    }

    /// Waits for the time at which the answer continues.
    fn wait(&self) {
        if let Some(at) = self.answer.poll_timeout() {
            std::thread::sleep(Duration::from_micros(at.since(self.clock.now().mono)));
        }
    }

    fn ask_model(&mut self, turns: &[Turn]) {
        let upstream = Arc::clone(&self.upstream);
        let ended = responder::answer(&upstream, turns, &mut |piece| self.take_text(piece));
        if let (Err(failure), ControlFlow::Continue(())) = (&ended, self.answer.flow()) {
            log::warn!("the answer to {} failed: {}", self.answer.job().message_id, failure.message);
            metrics::ANSWERS_FAILED.add(1);
        }
        self.answer.model_ended(ended, self.clock.now().mono);
    }

    /// Takes a piece of text, and stores and shows what is due. Returns whether the model should continue.
    fn take_text(&mut self, piece: &str) -> ControlFlow<()> {
        self.answer.text(piece);
        while let Some(effect) = self.poll() {
            match effect {
                AnswerEffect::Store(step) => self.store(step),
                AnswerEffect::Show(delta) => self.workers.replies.broadcast(|| ShardMessage::Delta(delta)),
                AnswerEffect::ReadHistory | AnswerEffect::AskModel(_) => unreachable!("the model has been asked"),
            }
        }
        self.answer.flow()
    }

    fn read_history(&self) -> StoreResult<Vec<Turn>> {
        let (reply_to, reply) = self.port.reserve_for_worker();
        let job = self.answer.job();
        let kind = QueryKind::History { job: job.key, limit: self.history + 1 };
        let query = Query { reply_to, caller: job.user.clone(), kind };
        self.workers.ask(query);
        wait_for(&reply).of_query(|result| match result {
            QueryResult::History(turns) => Some(turns),
            _ => None,
        })
    }

    fn store(&mut self, step: AnswerStep) {
        let (reply_to, reply) = self.port.reserve_for_worker();
        let job = self.answer.job();
        self.workers.submit_now(&Holder::User(job.user.clone()), step_command(job, reply_to, step));
        let result: StoreResult<Option<MessageId>> = wait_for(&reply).of_step();
        self.answer.stored(result, self.clock.now().mono);
    }
}

/// Waits for the store's reply.
fn wait_for(reply: &Receiver<StoreReply>) -> StoreReply {
    reply.recv().unwrap_or(StoreReply::Dropped)
}

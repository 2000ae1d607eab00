//! How other threads reach the responders, and how the responders wait for the store.
//!
//! Invariant: a reply of the store always has room, because a request reserved it. Nothing here blocks its caller but
//! [`ResponderPort::take`], which the driver's thread calls.

use crate::base::limits::RESPONDER_INPUTS_MAX;
use crate::base::metrics;
use crate::domain::answer_job::{AnswerJob, AnswerStep, JobClass, JobId, RESPONDERS};
use crate::domain::command::{Actor, Command, CommandKind, ReplyTo};
use crate::domain::event::Event;
use crate::domain::id::ConversationId;
use crate::domain::query::{QueryResponse, QueryResult};
use crate::domain::result::{CommandResult, Outcome, Rejection};
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::{Credential, TokenRules};
use crate::responder::answer::StoreResult;
use crate::responder::scheduler::{Deletion, JobEnd, SchedulerInput};
use crate::runtime::queue::{Queue, Wakeup};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The store's reply to a request of the responders.
#[derive(Debug)]
pub enum StoreReply {
    /// To a command.
    CommandResult(CommandResult),
    /// To a query.
    QueryResponse(QueryResponse),
    /// The request was dropped: a queue was full, or its worker failed.
    Dropped,
}

impl StoreReply {
    /// The result of a step of an answer, with the id of the answer's message.
    pub fn of_step(self) -> StoreResult<Option<crate::domain::id::MessageId>> {
        match self {
            StoreReply::CommandResult(CommandResult { result: Ok(Outcome::Answered { message_id, .. }), .. }) => {
                StoreResult::Done(message_id)
            }
            other => other.rejected(),
        }
    }

    /// The result of a query, which `found` converts.
    pub fn of_query<T>(self, found: impl FnOnce(QueryResult) -> Option<T>) -> StoreResult<T> {
        match self {
            StoreReply::QueryResponse(QueryResponse { result: Ok(result), .. }) => {
                found(result).map_or(StoreResult::Closed, StoreResult::Done)
            }
            other => other.rejected(),
        }
    }

    /// Whether the store could do it later.
    fn rejected<T>(self) -> StoreResult<T> {
        let rejection = match self {
            StoreReply::CommandResult(result) => result.result.err(),
            StoreReply::QueryResponse(response) => response.result.err(),
            StoreReply::Dropped => return StoreResult::Unavailable,
        };
        match rejection {
            Some(Rejection::Unavailable | Rejection::Database) => StoreResult::Unavailable,
            _ => StoreResult::Closed,
        }
    }
}

/// A request of the driver, whose reply becomes an input of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverRequest {
    /// A step that answers a job at once.
    AnswerAtOnce(JobId),
    /// A step that cancels an answer, on behalf of a connection if one is given.
    Cancel(JobId, Option<ReplyTo>),
    /// A page of open jobs of a class.
    ListJobs(JobClass),
}

impl DriverRequest {
    /// The input of the scheduler that the reply makes.
    pub fn input(self, reply: StoreReply) -> SchedulerInput {
        match self {
            DriverRequest::AnswerAtOnce(job) => {
                SchedulerInput::AnsweredAtOnce { job, is_closed: reply.of_step() != StoreResult::Unavailable }
            }
            DriverRequest::Cancel(job, to) => {
                let result = match reply {
                    StoreReply::CommandResult(result) => Some(result),
                    StoreReply::QueryResponse(_) | StoreReply::Dropped => None,
                };
                SchedulerInput::CancelStored { job, to, result }
            }
            DriverRequest::ListJobs(class) => {
                let page = reply.of_query(|result| match result {
                    QueryResult::Jobs(page) => Some(page),
                    _ => None,
                });
                let page = if let StoreResult::Done(page) = page { Some(page) } else { None };
                SchedulerInput::JobsListed { class, page }
            }
        }
    }
}

#[derive(Debug)]
enum Waiter {
    /// A worker's thread, which blocks until the reply comes.
    Worker(SyncSender<StoreReply>),
    Driver(DriverRequest),
}

/// The way to the responders.
#[derive(Debug)]
pub(crate) struct ResponderPort {
    /// In the order of their arrival: all inputs have one holder.
    inputs: Queue<(), SchedulerInput>,
    /// Jobs were not enqueued because the queue was full.
    jobs_dropped: AtomicBool,
    waiters: Mutex<HashMap<u32, Waiter>>,
    next_slot: AtomicU32,
}

impl Default for ResponderPort {
    fn default() -> ResponderPort {
        ResponderPort {
            inputs: Queue::new(RESPONDER_INPUTS_MAX, &metrics::RESPONDER_QUEUE),
            jobs_dropped: AtomicBool::new(false),
            waiters: Mutex::default(),
            next_slot: AtomicU32::new(0),
        }
    }
}

impl ResponderPort {
    /// Passes on what a commit means for the responders: replies to their own commands, answers whose first text it
    /// stored, deletions, and new jobs.
    pub(crate) fn committed(
        &self,
        results: Vec<CommandResult>,
        started: &[AnswerStarted],
        deletions: &[Arc<Event>],
        jobs: Vec<AnswerJob>,
    ) {
        for AnswerStarted { job, message_id, .. } in started {
            self.inputs.push_reserved(&(), SchedulerInput::AnswerStarted { job: *job, message_id: *message_id });
        }
        for result in results {
            self.deliver(result.to, StoreReply::CommandResult(result));
        }
        let deletions: Vec<Deletion> = deletions.iter().filter_map(|event| Deletion::of(event)).collect();
        if !deletions.is_empty() {
            // An answer that misses its deletion finds its job closed with its next text.
            self.push(SchedulerInput::Deleted(deletions));
        }
        // A job that is not enqueued here is listed from the table.
        if !jobs.is_empty() && !self.push(SchedulerInput::JobsAdded(jobs)) {
            self.jobs_dropped.store(true, Relaxed);
        }
    }

    /// Passes on the rules about users' tokens.
    pub(crate) fn token_rules_changed(&self, token_rules: Arc<TokenRules>) {
        self.inputs.push_reserved(&(), SchedulerInput::TokenRules(token_rules));
    }

    /// Requests to cancel the running answer of a conversation. These requests are bounded by the number of connections,
    /// each of which waits for at most one result.
    pub(crate) fn cancel(&self, to: ReplyTo, conversation_id: ConversationId) {
        self.inputs.push_reserved(&(), SchedulerInput::CancelRequested { to, conversation_id });
    }

    /// Stops the responders.
    pub(crate) fn stop(&self) {
        self.inputs.push_reserved(&(), SchedulerInput::Stop);
    }

    /// Reports the end of a worker's answer.
    pub(crate) fn answer_ended(&self, job: JobId, end: JobEnd) {
        self.inputs.push_reserved(&(), SchedulerInput::AnswerEnded { job, end });
    }

    /// Moves the waiting inputs into `inputs`. Waits for the first one until `timeout`; `None` waits without bound.
    pub(crate) fn take(&self, inputs: &mut Vec<SchedulerInput>, timeout: Option<Duration>) -> Wakeup {
        let taken = self.inputs.take(inputs, RESPONDER_INPUTS_MAX, usize::MAX, timeout);
        // Before the jobs of later commits, which do not follow the known ones directly.
        if self.jobs_dropped.swap(false, Relaxed) {
            inputs.insert(0, SchedulerInput::JobsDropped);
        }
        taken
    }

    /// An address for one reply for which the calling thread waits.
    pub(crate) fn reserve_for_worker(&self) -> (ReplyTo, Receiver<StoreReply>) {
        let (sender, receiver) = sync_channel(1);
        (self.reserve(Waiter::Worker(sender)), receiver)
    }

    /// An address for one reply that becomes an input.
    pub(crate) fn reserve_for_driver(&self, request: DriverRequest) -> ReplyTo {
        self.reserve(Waiter::Driver(request))
    }

    /// Delivers a reply to its waiter.
    pub(crate) fn deliver(&self, to: ReplyTo, reply: StoreReply) {
        match self.waiters().remove(&to.slot) {
            // The channel has room for its one reply. A worker stops waiting only when the process ends.
            Some(Waiter::Worker(sender)) => drop(sender.try_send(reply)),
            Some(Waiter::Driver(request)) => self.inputs.push_reserved(&(), request.input(reply)),
            None => {}
        }
    }

    /// Enqueues an input; returns whether there was room.
    fn push(&self, input: SchedulerInput) -> bool {
        let mut displaced = Vec::new();
        self.inputs.push(&(), input, 1, &mut displaced);
        displaced.is_empty()
    }

    fn reserve(&self, waiter: Waiter) -> ReplyTo {
        let slot = self.next_slot.fetch_add(1, Relaxed);
        self.waiters().insert(slot, waiter);
        ReplyTo { shard: RESPONDERS, slot, generation: 0 }
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<u32, Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command for a step of an answer.
pub fn step_command(job: &AnswerJob, reply_to: ReplyTo, step: AnswerStep) -> Command {
    Command {
        reply_to,
        actor: Actor {
            id: job.responder.user_id(),
            name: Some(job.responder.as_str().into()),
            email: None,
            credential: Credential::default(),
        },
        correlation_id: Arc::clone(&job.correlation_id),
        idempotency: None,
        kind: CommandKind::Answer { job: job.key, step },
    }
}

//! How other threads reach the responders, and how the responders wait for the store.
//!
//! Invariant: a reply of the store always has room, because a request reserved it. Nothing here blocks its caller.

use crate::base::limits::RESPONDER_INPUTS_MAX;
use crate::base::metrics;
use crate::domain::answer_job::{AnswerJob, AnswerStep, CancelledAnswer, JobClass, JobId, RESPONDERS};
use crate::domain::command::{Actor, Command, CommandKind, ReplyTo};
use crate::domain::completion_error::CompletionError;
use crate::domain::event::Event;
use crate::domain::history::History;
use crate::domain::id::{ConversationId, MessageId};
use crate::domain::passing::{PassingControl, PassingRequest};
use crate::domain::query::{QueryResponse, QueryResult};
use crate::domain::responder::ResponderKind;
use crate::domain::result::{CommandResult, Outcome, Rejection};
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::{Credential, TokenRules};
use crate::domain::usage::TokenUsage;
use crate::responder::answer::StoreResult;
use crate::responder::scheduler::{CancelRequest, OutsideEnd, SchedulerInput};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    pub fn of_step(self) -> StoreResult<Option<MessageId>> {
        match self {
            StoreReply::CommandResult(CommandResult { result: Ok(Outcome::Answered { message_id, .. }), .. }) => {
                StoreResult::Done(message_id)
            }
            other => other.rejected(),
        }
    }

    /// The result of a command; `None` if it was dropped.
    fn command_result(self) -> Option<CommandResult> {
        match self {
            StoreReply::CommandResult(result) => Some(result),
            StoreReply::QueryResponse(_) | StoreReply::Dropped => None,
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

    /// What the rejection of a command or a query means for an answer.
    fn rejected<T>(self) -> StoreResult<T> {
        let rejection = match self {
            StoreReply::CommandResult(result) => result.result.err(),
            StoreReply::QueryResponse(response) => response.result.err(),
            StoreReply::Dropped => return StoreResult::Unavailable,
        };
        match rejection {
            Some(Rejection::Unavailable | Rejection::Database) => StoreResult::Unavailable,
            Some(rejection) if rejection == Rejection::SHARE_TAKEN => StoreResult::ShareTaken,
            _ => StoreResult::Closed,
        }
    }
}

/// Something that happened outside of the responders' thread.
#[derive(Debug)]
pub enum ResponderInput {
    /// An input of the scheduler.
    Scheduler(SchedulerInput),
    /// The messages before an answer.
    HistoryRead(AnswerId, StoreResult<History>),
    /// The result of a step of an answer, with the id of the answer's message.
    Stored(AnswerId, StoreResult<Option<MessageId>>),
    /// A request whose answer is passed on.
    Pass(Box<PassingRequest>),
    /// A word about such a request.
    ControlPassing {
        /// The connection of the request.
        to: ReplyTo,
        /// The word.
        control: PassingControl,
    },
    /// The addresses of the upstream's host, or why there are none.
    Resolved(Result<Vec<SocketAddr>, String>),
}

/// One run of an answer in this process. A job that is answered again gets another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnswerId(pub u64);

/// A request to the store, whose reply becomes an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverRequest {
    /// A step that answers a job at once.
    AnswerAtOnce(JobId),
    /// A step that cancels an answer.
    Cancel(JobId),
    /// A command that cancels the answers of a conversation.
    CancelAll(CancelRequest),
    /// A page of open jobs of a class.
    ListJobs(JobClass),
    /// The messages before an answer.
    History(AnswerId),
    /// A step of an answer.
    Step(AnswerId),
    /// The tokens of an answer that was passed on.
    CountUsage,
}

impl DriverRequest {
    /// The input that the reply makes, if it makes one.
    pub fn input(self, reply: StoreReply) -> Option<ResponderInput> {
        Some(ResponderInput::Scheduler(match self {
            DriverRequest::AnswerAtOnce(job) => {
                SchedulerInput::AnsweredAtOnce { job, is_closed: reply.of_step() != StoreResult::Unavailable }
            }
            DriverRequest::Cancel(job) => SchedulerInput::CancelStored { job, result: reply.command_result() },
            DriverRequest::CancelAll(request) => {
                SchedulerInput::AnswersCancelled { request, result: reply.command_result().map(Box::new) }
            }
            DriverRequest::ListJobs(class) => {
                let page = reply.of_query(|result| match result {
                    QueryResult::Jobs(page) => Some(page),
                    _ => None,
                });
                let page = if let StoreResult::Done(page) = page { Some(page) } else { None };
                SchedulerInput::JobsListed { class, page }
            }
            DriverRequest::History(answer) => {
                let history = reply.of_query(|result| match result {
                    QueryResult::History(history) => Some(*history),
                    _ => None,
                });
                return Some(ResponderInput::HistoryRead(answer, history));
            }
            DriverRequest::Step(answer) => return Some(ResponderInput::Stored(answer, reply.of_step())),
            DriverRequest::CountUsage => {
                if !matches!(reply, StoreReply::CommandResult(CommandResult { result: Ok(_), .. })) {
                    log::warn!("the tokens of an answer that was passed on are not counted: {reply:?}");
                }
                return None;
            }
        }))
    }
}

/// The way to the responders.
#[derive(Debug)]
pub(crate) struct ResponderPort {
    waiting: Mutex<PortState>,
    /// Wakes the responders' thread.
    waker: mio::Waker,
}

#[derive(Debug, Default)]
struct PortState {
    inputs: VecDeque<ResponderInput>,
    /// Jobs were not enqueued because too many inputs waited.
    jobs_dropped: bool,
    /// Requests to the store without a reply, by the slot of their address.
    requests: HashMap<u32, DriverRequest>,
    next_slot: u32,
    /// Nothing is answered any more.
    is_stopping: bool,
}

impl ResponderPort {
    /// A port whose inputs wake a thread.
    pub(crate) fn new(waker: mio::Waker) -> ResponderPort {
        ResponderPort { waiting: Mutex::default(), waker }
    }

    /// Passes on what a commit means for the responders: replies to their own commands, answers whose first text it
    /// stored, events that end answers from outside, and new jobs.
    pub(crate) fn committed(
        &self,
        results: Vec<CommandResult>,
        started: &[AnswerStarted],
        ends: &[Arc<Event>],
        jobs: Vec<AnswerJob>,
    ) {
        for AnswerStarted { job, message_id, .. } in started {
            self.push_reserved(SchedulerInput::AnswerStarted { job: *job, message_id: *message_id });
        }
        for result in results {
            self.deliver(result.to, StoreReply::CommandResult(result));
        }
        let ends: Vec<OutsideEnd> = ends.iter().filter_map(|event| OutsideEnd::of(event)).collect();
        if !ends.is_empty() {
            // An answer that misses its end finds its job closed with its next text.
            self.push(SchedulerInput::EndedOutside(ends));
        }
        // A job that is not enqueued here is listed from the table.
        if !jobs.is_empty() && !self.push(SchedulerInput::JobsAdded(jobs)) {
            self.state().jobs_dropped = true;
        }
    }

    /// Passes on the rules about users' tokens.
    pub(crate) fn token_rules_changed(&self, token_rules: Arc<TokenRules>) {
        self.push_reserved(SchedulerInput::TokenRules(token_rules));
    }

    /// Requests to cancel the running answer of a conversation. These requests are bounded by the number of connections,
    /// each of which waits for at most one result.
    pub(crate) fn cancel(&self, to: ReplyTo, conversation_id: ConversationId) {
        self.push_reserved(SchedulerInput::CancelRequested { to, conversation_id });
    }

    /// Requests an answer that is passed on. These requests are bounded by the number of connections. Returns false if the responders
    /// stop, and the request is over.
    pub(crate) fn pass(&self, request: Box<PassingRequest>) -> bool {
        let mut state = self.state();
        if state.is_stopping {
            request.pipe.end(Err(CompletionError::shutting_down()));
            return false;
        }
        // Under the same lock, so that it comes before the stop.
        let was_empty = state.push(ResponderInput::Pass(request));
        drop(state);
        self.wake_if(was_empty);
        true
    }

    /// Passes on what a connection says of its request.
    pub(crate) fn control_passing(&self, to: ReplyTo, control: PassingControl) {
        self.append(ResponderInput::ControlPassing { to, control }, usize::MAX);
    }

    /// Stops the responders.
    pub(crate) fn stop(&self) {
        self.state().is_stopping = true;
        self.push_reserved(SchedulerInput::Stop);
    }

    /// Reports the addresses of the upstream's host.
    pub(crate) fn resolved(&self, addresses: Result<Vec<SocketAddr>, String>) {
        self.append(ResponderInput::Resolved(addresses), usize::MAX);
    }

    /// Moves the waiting inputs into `inputs`, which is empty.
    pub(crate) fn take(&self, inputs: &mut VecDeque<ResponderInput>) {
        debug_assert!(inputs.is_empty());
        let mut state = self.state();
        std::mem::swap(&mut state.inputs, inputs);
        metrics::RESPONDER_QUEUE.set(0);
        // Before the jobs of later commits, which do not follow the known ones directly.
        if std::mem::take(&mut state.jobs_dropped) {
            inputs.push_front(ResponderInput::Scheduler(SchedulerInput::JobsDropped));
        }
    }

    /// An address for one reply to `request`.
    pub(crate) fn reserve(&self, request: DriverRequest) -> ReplyTo {
        let mut state = self.state();
        let slot = state.next_slot;
        state.next_slot = slot.wrapping_add(1);
        state.requests.insert(slot, request);
        ReplyTo { shard: RESPONDERS, slot, generation: 0 }
    }

    /// Delivers a reply to the request that waits for it.
    pub(crate) fn deliver(&self, to: ReplyTo, reply: StoreReply) {
        let request = self.state().requests.remove(&to.slot);
        if let Some(input) = request.and_then(|request| request.input(reply)) {
            self.append(input, usize::MAX);
        }
    }

    /// Enqueues an input, unless too many wait; returns whether it was enqueued.
    fn push(&self, input: SchedulerInput) -> bool {
        self.append(ResponderInput::Scheduler(input), RESPONDER_INPUTS_MAX)
    }

    /// Enqueues an input, whatever waits: its sender keeps a bound of its own.
    fn push_reserved(&self, input: SchedulerInput) {
        self.append(ResponderInput::Scheduler(input), usize::MAX);
    }

    fn append(&self, input: ResponderInput, inputs_max: usize) -> bool {
        let was_empty = {
            let mut state = self.state();
            if state.inputs.len() >= inputs_max {
                return false;
            }
            state.push(input)
        };
        self.wake_if(was_empty);
        true
    }

    fn wake_if(&self, was_empty: bool) {
        if was_empty && let Err(error) = self.waker.wake() {
            log::error!("the responders cannot be woken: {error}");
        }
    }

    fn state(&self) -> MutexGuard<'_, PortState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PortState {
    /// Enqueues an input. Returns whether there was none.
    fn push(&mut self, input: ResponderInput) -> bool {
        self.inputs.push_back(input);
        metrics::RESPONDER_QUEUE.set(self.inputs.len() as u64);
        self.inputs.len() == 1
    }
}

/// The command that cancels the answers of a conversation, `running` with the text so far.
pub fn cancel_command(request: &CancelRequest, reply_to: ReplyTo, running: Option<CancelledAnswer>) -> Command {
    let CancelRequest { conversation_id, through, .. } = *request;
    let id = ResponderKind::OpenAi.user_id();
    Command {
        reply_to,
        actor: Actor { id, name: None, email: None, credential: Credential::default() },
        correlation_id: Arc::default(),
        idempotency: None,
        kind: CommandKind::CancelAnswers { conversation: conversation_id, running: running.map(Box::new), through },
    }
}

/// The command that counts the tokens of an answer that was passed on.
pub(super) fn usage_command(request: &PassingRequest, reply_to: ReplyTo, usage: TokenUsage) -> Command {
    Command {
        reply_to,
        actor: request.actor.clone(),
        correlation_id: Arc::clone(&request.correlation_id),
        idempotency: None,
        kind: CommandKind::CountUsage(usage),
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

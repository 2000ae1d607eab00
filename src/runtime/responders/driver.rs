//! The thread of the responders: it drives the scheduler and all answers, and has the sockets of the upstream.
//!
//! Invariant: every answer in `dirty` is polled before the thread waits, and `timers` has the next deadline of every other.

use super::port::{
    AnswerId, DriverRequest, ResponderInput, ResponderPort, cancel_command, step_command, usage_command,
};
use super::sockets::{Reading, SocketEvent, SocketId, UpstreamSockets};
use super::task::Task;
use crate::base::limits::RESPONDER_RELIST_MILLISECONDS;
use crate::base::metrics;
use crate::base::random::Random;
use crate::base::shares::Shares;
use crate::base::time::MonoTime;
use crate::domain::answer_job::{AnswerJob, AnswerStep, JobId};
use crate::domain::command::ReplyTo;
use crate::domain::completion_error::CompletionError;
use crate::domain::holder::Holder;
use crate::domain::id::UserId;
use crate::domain::live_answer::LiveAnswer;
use crate::domain::passing::{PassingControl, PassingRequest};
use crate::domain::query::{Query, QueryKind};
use crate::domain::responder::ResponderKind;
use crate::responder::answer::{Answer, AnswerEffect, cancel_step, cancelled_answer, immediate_step};
use crate::responder::passed_answer::{PassedAnswer, PassedEffect};
use crate::responder::scheduler::{
    PassingId, PassingRejection, Scheduler, SchedulerInput, SchedulerLimits, SchedulerOutput,
};
use crate::responder::{Completion, Upstream};
use crate::runtime::clock::Clock;
use crate::runtime::workers::Workers;
use mio::Poll;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The model that writes answers.
#[derive(Clone)]
pub(crate) struct Model {
    /// Its server; `None` if none is configured.
    pub upstream: Option<Arc<Upstream>>,
    /// The maximum number of messages of context, beside the one to answer.
    pub history: u32,
    /// The maximum number of running answers per user.
    pub answers_per_user_max: u32,
    /// Whether other instances share the database, so that jobs are claimed.
    pub shares_database: bool,
    /// How long answers that are passed on may run after the server begins to stop, in milliseconds.
    pub passing_grace_milliseconds: u64,
}

/// The thread that drives the responders.
pub(crate) struct Driver {
    scheduler: Scheduler,
    answers: HashMap<AnswerId, RunningAnswer>,
    /// The answer to each job that has one.
    jobs: HashMap<JobId, AnswerId>,
    /// The answer that is passed on to each connection that waits for one.
    passed: HashMap<ReplyTo, AnswerId>,
    next_answer: u64,
    /// The answer of each socket.
    by_socket: HashMap<SocketId, AnswerId>,
    /// Answers to be polled.
    dirty: VecDeque<AnswerId>,
    /// The bytes that the running answers of each user hold.
    held: Shares<UserId>,
    /// The deadlines of answers.
    timers: BTreeSet<(MonoTime, AnswerId)>,
    sockets: UpstreamSockets,
    /// Empty between turns; kept for its capacity.
    happened: Vec<SocketEvent>,
    port: Arc<ResponderPort>,
    workers: Workers,
    model: Model,
    clock: Clock,
    random: Random,
    /// When the answers that are passed on end, after the stop.
    passing_until: Option<MonoTime>,
}

struct RunningAnswer {
    task: Task,
    socket: Option<SocketId>,
    is_dirty: bool,
    /// Its entry in the timers.
    timer: Option<MonoTime>,
    /// Its part of what its user holds.
    held_bytes: usize,
    /// It gives way to others.
    gives_way: bool,
}

impl Driver {
    /// A driver that lists the open jobs as soon as it runs. `poll` has the waker of the responders' port.
    pub(crate) fn new(workers: Workers, poll: Poll, model: Model, clock: Clock) -> Driver {
        let limits = SchedulerLimits {
            relist_milliseconds: model.shares_database.then_some(RESPONDER_RELIST_MILLISECONDS),
            ..SchedulerLimits::new(model.answers_per_user_max, model.upstream.is_some(), &workers.memory)
        };
        let port = Arc::clone(&workers.replies.responders);
        Driver {
            scheduler: Scheduler::new(limits),
            answers: HashMap::new(),
            jobs: HashMap::new(),
            passed: HashMap::new(),
            next_answer: 0,
            by_socket: HashMap::new(),
            dirty: VecDeque::new(),
            held: Shares::new(workers.memory.answer_bytes),
            timers: BTreeSet::new(),
            sockets: UpstreamSockets::new(poll, Arc::clone(&port)),
            happened: Vec::new(),
            port,
            workers,
            model,
            clock,
            random: Random::from_system(),
            passing_until: None,
        }
    }

    /// Runs until the scheduler has stopped.
    ///
    /// # Errors
    /// Fails if the system cannot wait for sockets.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut inputs = VecDeque::new();
        self.schedule(SchedulerInput::Tick);
        loop {
            self.port.take(&mut inputs);
            for input in inputs.drain(..) {
                self.handle(input);
            }
            self.advance();
            if self.scheduler.is_stopped() {
                return Ok(());
            }
            metrics::ANSWERS_WAITING.set(self.scheduler.waiting_jobs() as u64);
            metrics::ANSWERS_RUNNING.set(self.scheduler.running_jobs() as u64);
            let timeout = self.timeout();
            let mut happened = std::mem::take(&mut self.happened);
            self.sockets.wait(timeout, &mut happened)?;
            happened.drain(..).for_each(|event| self.socket_event(event));
            self.read(&mut happened);
            happened.drain(..).for_each(|event| self.socket_event(event));
            self.happened = happened;
        }
    }

    /// Polls the answers to which something happened, until nothing is left to do.
    fn advance(&mut self) {
        let now = self.now();
        if self.scheduler.poll_timeout().is_some_and(|at| at <= now) {
            self.schedule(SchedulerInput::Tick);
        }
        if self.passing_until.is_some_and(|at| at <= now) {
            self.passing_until = None;
            self.schedule(SchedulerInput::StopPassing);
        }
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(running) = self.answers.get_mut(&id) {
                running.timer = None;
                running.task.tick(now);
                self.mark_dirty(id);
            }
        }
        while let Some(id) = self.dirty.pop_front() {
            self.poll_answer(id);
        }
    }

    /// How long nothing has to be done without an event.
    fn timeout(&self) -> Option<Duration> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let at = [self.scheduler.poll_timeout(), timer, self.passing_until].into_iter().flatten().min()?;
        Some(Duration::from_micros(at.since(self.now()) + 1))
    }

    fn handle(&mut self, input: ResponderInput) {
        let now = self.now();
        match input {
            ResponderInput::Scheduler(input) => {
                if matches!(input, SchedulerInput::Stop) && self.passing_until.is_none() {
                    self.passing_until = Some(now.plus_milliseconds(self.model.passing_grace_milliseconds));
                }
                self.schedule(input);
            }
            ResponderInput::HistoryRead(id, history) => {
                self.with_answer(id, |answer| answer.history_read(history, now));
            }
            ResponderInput::Stored(id, result) => self.with_answer(id, |answer| answer.stored(result, now)),
            ResponderInput::Pass(request) => self.pass(*request),
            ResponderInput::ControlPassing { to, control } => self.control_passing(to, control),
            ResponderInput::Resolved(addresses) => {
                let mut happened = Vec::new();
                self.sockets.resolved(addresses, now, &mut happened);
                happened.into_iter().for_each(|event| self.socket_event(event));
            }
        }
    }

    fn schedule(&mut self, input: SchedulerInput) {
        let now = self.now();
        self.scheduler.handle(input, now);
        while let Some(output) = self.scheduler.poll_output() {
            self.apply_output(output);
        }
    }

    fn apply_output(&mut self, output: SchedulerOutput) {
        match output {
            SchedulerOutput::ListJobs { class, range, per_user, limit } => {
                let to = self.port.reserve(DriverRequest::ListJobs(class));
                let caller = ResponderKind::Echo.user_id();
                let query = Query { reply_to: to, caller, kind: QueryKind::Jobs { class, range, per_user, limit } };
                self.workers.ask(query);
            }
            SchedulerOutput::AnswerAtOnce { job, answer } => {
                let step = immediate_step(&job, answer);
                self.submit(&job, step, DriverRequest::AnswerAtOnce(job.key));
            }
            SchedulerOutput::StartAnswer(job) => self.start_answer(job),
            SchedulerOutput::StopAnswer { job, reason } => {
                if let Some(id) = self.jobs.get(&job).copied() {
                    self.with_answer(id, |answer| answer.stop(reason));
                }
            }
            SchedulerOutput::CancelAnswer(job) => {
                let (live, completion) = self.running_answer(&job);
                self.submit(&job, cancel_step(&job, &live, &completion), DriverRequest::Cancel(job.key));
            }
            SchedulerOutput::CancelAnswers { request, running } => {
                let holder = running.as_ref().map_or(Holder::Server, |job| Holder::User(job.user.clone()));
                let running = running.map(|job| {
                    let (live, completion) = self.running_answer(&job);
                    cancelled_answer(&job, &live, &completion)
                });
                let to = self.port.reserve(DriverRequest::CancelAll(request));
                self.workers.submit_now(&holder, cancel_command(&request, to, running));
            }
            SchedulerOutput::StartPassing(PassingId(id)) => {
                let (random, now) = (Random::new(self.random.next_u64()), self.clock.now());
                self.with_passed(AnswerId(id), |answer| answer.start(random, now));
            }
            SchedulerOutput::RejectPassing(PassingId(id), why) => {
                let error = match why {
                    PassingRejection::TooMany => CompletionError::too_many_waiting(),
                    PassingRejection::Unauthorized => CompletionError::token_ended(),
                    PassingRejection::Shutdown => CompletionError::shutting_down(),
                };
                self.with_passed(AnswerId(id), |answer| answer.stop(error));
            }
            SchedulerOutput::CancelResult(result) => self.workers.replies.command_result(result),
            SchedulerOutput::CancelDropped(to) => self.workers.replies.dropped(to),
        }
    }

    /// The text of the running answer to a job, and what the model reported about it.
    fn running_answer(&self, job: &AnswerJob) -> (LiveAnswer, Completion) {
        let running = self.jobs.get(&job.key).and_then(|id| self.answers.get(id));
        match running.map(|running| &running.task) {
            Some(Task::Answer(answer)) => (answer.live().clone(), answer.completion()),
            Some(Task::Passed(_)) | None => Default::default(),
        }
    }

    fn start_answer(&mut self, job: AnswerJob) {
        let upstream = self.model.upstream.clone().expect("jobs for a model start only if one is configured");
        let job_id = job.key;
        let mut answer = Answer::new(job, upstream, Random::new(self.random.next_u64()));
        answer.set_clock(self.clock.now());
        let answer = if self.model.shares_database { answer.claiming() } else { answer };
        let id = self.insert(Task::Answer(answer));
        self.jobs.insert(job_id, id);
    }

    /// Takes a request whose answer is passed on. It waits until it is its turn.
    fn pass(&mut self, request: PassingRequest) {
        let (to, user, credential) = (request.to, request.actor.id.clone(), request.actor.credential);
        let Some(upstream) = self.model.upstream.clone() else {
            // Settings that were reloaded offer models for which this process has no upstream.
            request.pipe.end(Err(CompletionError::new(503, "service_unavailable", "The server has no model")));
            return self.workers.replies.piped(to);
        };
        let id = self.insert(Task::Passed(PassedAnswer::new(request, upstream)));
        self.passed.insert(to, id);
        self.schedule(SchedulerInput::PassingRequested { id: PassingId(id.0), user, credential });
    }

    /// Takes what a connection says of an answer that is passed on to it.
    fn control_passing(&mut self, to: ReplyTo, control: PassingControl) {
        let Some(id) = self.passed.get(&to).copied() else { return };
        let now = self.now();
        match control {
            PassingControl::Abort => self.with_passed(id, PassedAnswer::abort),
            PassingControl::Resume => {
                self.with_passed(id, |answer| answer.resume(now));
                if let Some(socket) = self.answers.get(&id).and_then(|running| running.socket) {
                    self.sockets.resume(socket);
                }
            }
        }
    }

    fn insert(&mut self, task: Task) -> AnswerId {
        let id = AnswerId(self.next_answer);
        self.next_answer += 1;
        let running =
            RunningAnswer { task, socket: None, is_dirty: false, timer: None, held_bytes: 0, gives_way: false };
        self.answers.insert(id, running);
        self.mark_dirty(id);
        id
    }

    /// Submits a step of an answer, in the share of the user whose message is answered.
    fn submit(&self, job: &AnswerJob, step: AnswerStep, request: DriverRequest) {
        let to = self.port.reserve(request);
        self.workers.submit_now(&Holder::User(job.user.clone()), step_command(job, to, step));
    }

    /// Carries out what an answer wants, and removes it after its end.
    fn poll_answer(&mut self, id: AnswerId) {
        let now = self.now();
        let Some(running) = self.answers.get_mut(&id) else { return };
        running.is_dirty = false;
        while let Some(running) = self.answers.get_mut(&id) {
            match &mut running.task {
                Task::Answer(answer) => match answer.poll(now) {
                    Some(effect) => self.apply_effect(id, effect, now),
                    None => break,
                },
                Task::Passed(answer) => match answer.poll(now) {
                    Some(effect) => self.apply_passed_effect(id, effect, now),
                    None => break,
                },
            }
        }
        self.write(id);
        self.count_held(id);
        let Some(running) = self.answers.get_mut(&id) else { return };
        let timeout = running.task.poll_timeout();
        if running.timer != timeout {
            if let Some(at) = running.timer {
                self.timers.remove(&(at, id));
            }
            running.timer = timeout;
            self.timers.extend(timeout.map(|at| (at, id)));
        }
        let ended = match &running.task {
            Task::Answer(answer) => answer.end().map(|end| SchedulerInput::AnswerEnded { job: answer.job().key, end }),
            Task::Passed(answer) => answer.is_over().then_some(SchedulerInput::PassingEnded(PassingId(id.0))),
        };
        if let Some(ended) = ended {
            self.remove(id);
            self.schedule(ended);
        }
    }

    fn remove(&mut self, id: AnswerId) {
        let Some(running) = self.answers.remove(&id) else { return };
        self.held.remove(running.task.user(), running.held_bytes);
        match running.task {
            Task::Answer(answer) => self.jobs.remove(&answer.job().key),
            Task::Passed(answer) => self.passed.remove(&answer.passing().to),
        };
    }

    /// Counts what an answer holds. If all answers hold too much, the largest of the user who has most gives way, unless it is
    /// the only one.
    fn count_held(&mut self, id: AnswerId) {
        let Some(running) = self.answers.get_mut(&id).filter(|running| !running.gives_way) else { return };
        let (user, bytes) = (running.task.user().clone(), running.task.held_bytes());
        self.held.remove(&user, running.held_bytes);
        self.held.add(&user, bytes);
        running.held_bytes = bytes;
        while self.answers.len() > 1
            && let Some(largest) = self.held.largest_if_over(&user)
        {
            let of_user = self.answers.iter_mut().filter(|(_, running)| *running.task.user() == largest);
            let Some((id, running)) = of_user.max_by_key(|(_, running)| running.held_bytes) else { return };
            // What it still holds until it is stored is not counted any more.
            self.held.remove(&largest, std::mem::take(&mut running.held_bytes));
            running.gives_way = true;
            match &mut running.task {
                Task::Answer(answer) => answer.give_way(),
                Task::Passed(answer) => answer.give_way(),
            }
            let id = *id;
            self.mark_dirty(id);
        }
    }

    fn apply_effect(&mut self, id: AnswerId, effect: AnswerEffect, now: MonoTime) {
        let Some(RunningAnswer { task: Task::Answer(answer), .. }) = self.answers.get_mut(&id) else { return };
        match effect {
            AnswerEffect::ReadHistory => {
                let job = answer.job();
                let reply_to = self.port.reserve(DriverRequest::History(id));
                let kind = QueryKind::History {
                    job: job.key,
                    limit: self.model.history + 1,
                    bytes_max: answer.upstream().context_bytes_max(),
                };
                self.workers.ask(Query { reply_to, caller: job.user.clone(), kind });
            }
            AnswerEffect::Connect => self.connect(id, now),
            AnswerEffect::Close => self.disconnect(id),
            AnswerEffect::Store(step) => {
                let job = answer.job().clone();
                self.submit(&job, step, DriverRequest::Step(id));
            }
            AnswerEffect::Report(change) => self.workers.replies.answer_status(change),
            AnswerEffect::Show(delta) => self.workers.replies.delta(answer.live(), delta),
        }
    }

    fn apply_passed_effect(&mut self, id: AnswerId, effect: PassedEffect, now: MonoTime) {
        let Some(RunningAnswer { task: Task::Passed(answer), .. }) = self.answers.get(&id) else { return };
        match effect {
            PassedEffect::Connect => self.connect(id, now),
            PassedEffect::Close => self.disconnect(id),
            PassedEffect::Announce => self.workers.replies.piped(answer.passing().to),
            PassedEffect::Count(usage) => {
                let reply_to = self.port.reserve(DriverRequest::CountUsage);
                let command = usage_command(answer.passing(), reply_to, usage);
                self.workers.submit_now(&Holder::User(command.actor.id.clone()), command);
            }
        }
    }

    fn connect(&mut self, id: AnswerId, now: MonoTime) {
        let Some(running) = self.answers.get_mut(&id) else { return };
        let mut happened = Vec::new();
        let address = &running.task.upstream().settings().address;
        let socket = self.sockets.connect(address, now, &mut happened);
        running.socket = Some(socket);
        self.by_socket.insert(socket, id);
        happened.into_iter().for_each(|event| self.socket_event(event));
    }

    fn disconnect(&mut self, id: AnswerId) {
        if let Some(socket) = self.answers.get_mut(&id).and_then(|running| running.socket.take()) {
            self.by_socket.remove(&socket);
            self.sockets.close(socket);
        }
    }

    /// Writes what an answer has for its socket.
    fn write(&mut self, id: AnswerId) {
        let Some(RunningAnswer { task, socket: Some(socket), .. }) = self.answers.get_mut(&id) else { return };
        while !task.outgoing().is_empty() {
            match self.sockets.write(*socket, task.outgoing()) {
                Some(0) => return,
                written => task.wrote(written),
            }
        }
    }

    fn read(&mut self, happened: &mut Vec<SocketEvent>) {
        let now = self.now();
        let (answers, by_socket, dirty) = (&mut self.answers, &self.by_socket, &mut self.dirty);
        self.sockets.read(happened, |socket, bytes| {
            let Some(id) = by_socket.get(&socket) else { return Reading::On };
            let Some(running) = answers.get_mut(id) else { return Reading::On };
            running.task.received(bytes, now);
            if !std::mem::replace(&mut running.is_dirty, true) {
                dirty.push_back(*id);
            }
            if running.task.is_paused() { Reading::Paused } else { Reading::On }
        });
    }

    fn socket_event(&mut self, event: SocketEvent) {
        let (SocketEvent::Connected(socket) | SocketEvent::Writable(socket) | SocketEvent::Closed(socket, _)) = event;
        let Some(id) = self.by_socket.get(&socket).copied() else { return };
        let now = self.now();
        match event {
            SocketEvent::Connected(_) => self.with_task(id, |task| task.connected(now)),
            SocketEvent::Writable(_) => self.mark_dirty(id),
            SocketEvent::Closed(_, error) => {
                self.by_socket.remove(&socket);
                if let Some(running) = self.answers.get_mut(&id) {
                    running.socket = None;
                }
                self.with_task(id, |task| task.disconnected(error, now));
            }
        }
    }

    /// Lets something happen to an answer, which is polled afterwards. An answer that is over is ignored.
    fn with_answer(&mut self, id: AnswerId, step: impl FnOnce(&mut Answer)) {
        self.with_task(id, |task| {
            if let Task::Answer(answer) = task {
                step(answer);
            }
        });
    }

    /// The same for an answer that is passed on.
    fn with_passed(&mut self, id: AnswerId, step: impl FnOnce(&mut PassedAnswer)) {
        self.with_task(id, |task| {
            if let Task::Passed(answer) = task {
                step(answer);
            }
        });
    }

    fn with_task(&mut self, id: AnswerId, step: impl FnOnce(&mut Task)) {
        if let Some(running) = self.answers.get_mut(&id) {
            step(&mut running.task);
            self.mark_dirty(id);
        }
    }

    fn mark_dirty(&mut self, id: AnswerId) {
        if let Some(running) = self.answers.get_mut(&id)
            && !std::mem::replace(&mut running.is_dirty, true)
        {
            self.dirty.push_back(id);
        }
    }

    fn now(&self) -> MonoTime {
        self.clock.now().mono
    }
}

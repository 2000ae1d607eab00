//! Decides which answer job runs: one per conversation at a time and in order, different conversations side by side, users
//! in turn and each with a share. Pure: jobs, results and the time go in, what to do comes out.
//!
//! The table of jobs is the queue. Only jobs that are the first of their conversations are passed on, and a bounded [`JobWindow`] of
//! them is in memory, one for each class of jobs.
//!
//! Order of calls: [`Scheduler::handle`] for everything that happened, then [`Scheduler::poll_output`] until it returns
//! `None`, then wait for the next input, or until [`Scheduler::poll_timeout`] and pass [`SchedulerInput::Tick`].
//!
//! Requests whose answers are passed on are no jobs: they wait in memory, and share the slots of jobs for a model.
//!
//! Invariant: an open job that is the first of its conversation is in a window, held, running, or in the part of the table that
//! its window lists before its turn. If other instances change the table, this holds again at the latest when jobs were listed again
//! after [`SchedulerLimits::relist_milliseconds`].

mod messages;
mod passing;
mod window;

use crate::base::time::MonoTime;
use crate::domain::answer_job::{AnswerJob, JobClass, JobId, JobPage};
use crate::domain::id::{ConversationId, MessageId, UserId};
use crate::domain::responder::ResponderKind;
use crate::domain::result::{CommandResult, Outcome, Rejection};
use crate::domain::token_rules::{Credential, TokenRules};
pub use messages::{
    CancelRequest, ImmediateAnswer, JobEnd, OutsideEnd, PassingRejection, SchedulerInput, SchedulerLimits,
    SchedulerOutput, StopReason,
};
pub use passing::PassingId;
use passing::PassingQueue;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use window::{JobWindow, Next, WindowLimits};

/// Pause before anything starts after the store could not take or list something, in milliseconds.
pub(crate) const RETRY_MILLISECONDS: u64 = 500;

/// The scheduler of all answer jobs.
#[derive(Debug)]
pub struct Scheduler {
    limits: SchedulerLimits,
    /// Jobs of [`JobClass::Model`].
    for_model: JobWindow,
    /// Jobs of [`JobClass::Immediate`].
    immediate: JobWindow,
    /// Requests whose answers are passed on.
    passing: PassingQueue,
    /// The next free slot is for one of them, if one can start.
    is_turn_of_passing: bool,
    /// The running jobs for a model, by user.
    model_jobs_of: HashMap<UserId, usize>,
    running: BTreeMap<JobId, RunningJob>,
    /// The running job of each conversation that has one.
    busy: HashMap<ConversationId, JobId>,
    token_rules: Arc<TokenRules>,
    /// Running answers may belong to users whose tokens are all rejected.
    checks_rejected: bool,
    paused_until: Option<MonoTime>,
    /// When jobs are listed again, if other instances change the table.
    relist_at: Option<MonoTime>,
    /// Users whose share is taken over all instances. None of their jobs for a model starts before jobs are listed again.
    share_taken: HashSet<UserId>,
    stopping: bool,
    outputs: VecDeque<SchedulerOutput>,
}

#[derive(Debug)]
struct RunningJob {
    job: AnswerJob,
    by: RunBy,
    /// The answer is being cancelled because its user's tokens are rejected.
    is_rejected: bool,
    /// The next job of the conversation, if the store has closed this one already.
    next: Option<AnswerJob>,
}

/// The party that closes a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunBy {
    /// One step of the store.
    Store,
    /// A model, whose answer has this message once it is begun.
    Model(Option<MessageId>),
}

impl Scheduler {
    /// A scheduler without jobs; the first input makes it list the table.
    pub fn new(limits: SchedulerLimits) -> Scheduler {
        let window = |running_max, running_per_user_max| {
            JobWindow::new(WindowLimits {
                running_max,
                running_per_user_max,
                waiting_max: limits.waiting_max,
                waiting_per_user_max: limits.waiting_per_user_max,
                page_jobs: limits.page_jobs,
            })
        };
        Scheduler {
            limits,
            for_model: window(limits.answers_max, limits.answers_per_user_max),
            immediate: window(limits.steps_max, limits.steps_per_user_max),
            passing: PassingQueue::default(),
            is_turn_of_passing: false,
            model_jobs_of: HashMap::new(),
            running: BTreeMap::new(),
            busy: HashMap::new(),
            token_rules: Arc::default(),
            checks_rejected: false,
            paused_until: None,
            relist_at: None,
            share_taken: HashSet::new(),
            stopping: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input. Follow with [`Scheduler::poll_output`].
    pub fn handle(&mut self, input: SchedulerInput, now: MonoTime) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        self.relist(now);
        match input {
            SchedulerInput::JobsAdded(jobs) => self.jobs_added(jobs),
            SchedulerInput::JobsDropped => {
                self.for_model.forget_all();
                self.immediate.forget_all();
            }
            SchedulerInput::JobsListed { class, page } => self.jobs_listed(class, page, now),
            SchedulerInput::AnsweredAtOnce { job, is_closed } => {
                let end = if is_closed { JobEnd::Closed } else { JobEnd::Retry };
                self.ended(job, end, now);
            }
            SchedulerInput::AnswerStarted { job, message_id } => {
                if let Some(RunningJob { by: RunBy::Model(started), .. }) = self.running.get_mut(&job) {
                    *started = Some(message_id);
                }
            }
            SchedulerInput::AnswerEnded { job, end } => self.ended(job, end, now),
            SchedulerInput::CancelRequested { to, conversation_id } => {
                self.cancel_answers(CancelRequest { to, conversation_id, through: None, count: 0 });
            }
            SchedulerInput::AnswersCancelled { request, result } => {
                self.answers_cancelled(request, result.map(|result| *result));
            }
            SchedulerInput::CancelStored { job, result } => self.cancel_stored(job, result, now),
            SchedulerInput::EndedOutside(ends) => self.ended_outside(&ends),
            SchedulerInput::TokenRules(token_rules) => {
                self.token_rules = token_rules;
                self.checks_rejected = true;
            }
            SchedulerInput::PassingRequested { id, user, credential } => self.passing_requested(id, user, credential),
            SchedulerInput::PassingEnded(id) => self.passing.remove(id),
            SchedulerInput::Tick => {}
            SchedulerInput::Stop => self.stop(),
            SchedulerInput::StopPassing => self.reject_passing(PassingRejection::Shutdown, |_, _, _| true),
        }
        self.cancel_rejected();
        self.run();
    }

    /// The next action.
    pub fn poll_output(&mut self) -> Option<SchedulerOutput> {
        self.outputs.pop_front()
    }

    /// When the scheduler needs a [`SchedulerInput::Tick`] at the latest.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        [self.paused_until, self.relist_at].into_iter().flatten().min().filter(|_| !self.stopping)
    }

    /// Whether [`SchedulerInput::Stop`] came and nothing runs any more.
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.running.is_empty() && self.passing.running() == 0
    }

    /// Jobs and requests that wait in memory.
    pub fn waiting_jobs(&self) -> usize {
        self.for_model.waiting() + self.immediate.waiting() + self.passing.waiting()
    }

    /// Jobs and requests that run.
    pub fn running_jobs(&self) -> usize {
        self.running.len() + self.passing.running()
    }

    /// Panics when an invariant does not hold. To be called when every output is taken.
    pub fn check_invariants(&self) {
        let conversations = self.running.iter().map(|(id, running)| (running.job.conversation_id, *id));
        assert_eq!(conversations.collect::<HashMap<_, _>>(), self.busy, "one job of a conversation runs");
        assert_eq!(self.running.len(), self.busy.len(), "two jobs of one conversation run");
        for class in [JobClass::Model, JobClass::Immediate] {
            self.window_of(class).check_invariants();
            let next = self.next(class);
            let has_stopped = self.stopping || self.paused_until.is_some();
            assert!(has_stopped || matches!(next, Next::Wait), "a job could run and does not: {next:?}");
        }
        self.passing.check_invariants();
        let of_model = self.running.values().filter(|running| running.job.class() == JobClass::Model);
        assert_eq!(self.model_jobs_of.values().sum::<usize>(), of_model.count());
        for (user, jobs) in &self.model_jobs_of {
            let answers = jobs + self.passing.running_of(user);
            assert!(answers <= self.limits.answers_per_user_max as usize, "a user exceeds its share");
        }
    }

    fn window_of(&self, class: JobClass) -> &JobWindow {
        match class {
            JobClass::Model => &self.for_model,
            JobClass::Immediate => &self.immediate,
        }
    }

    /// What the window of a class needs next.
    fn next(&self, class: JobClass) -> Next {
        let taken = |user: Option<&UserId>| match (class, user) {
            (JobClass::Immediate, _) => 0,
            (JobClass::Model, None) => self.passing.running(),
            (JobClass::Model, Some(user)) if self.share_taken.contains(user) => usize::MAX,
            (JobClass::Model, Some(user)) => self.passing.running_of(user),
        };
        self.window_of(class).next(|conversation| self.busy.contains_key(&conversation), taken)
    }

    fn window(&mut self, class: JobClass) -> &mut JobWindow {
        match class {
            JobClass::Model => &mut self.for_model,
            JobClass::Immediate => &mut self.immediate,
        }
    }

    fn jobs_added(&mut self, jobs: Vec<AnswerJob>) {
        for job in jobs {
            // A page can be faster than the commit's own message.
            if !self.running.contains_key(&job.key) {
                self.window(job.class()).add(job);
            }
        }
    }

    fn jobs_listed(&mut self, class: JobClass, mut page: Option<JobPage>, now: MonoTime) {
        match &mut page {
            // A job for a model is of the other class once its answer has begun.
            Some(page) => {
                let users = page.users.iter_mut();
                users.for_each(|user| user.jobs.retain(|job| !self.running.contains_key(&job.key)));
            }
            None => self.pause(now),
        }
        self.window(class).listed(page);
    }

    /// Once per interval, forgets what other instances may have changed, so that jobs are listed again. A window without a free
    /// slot needs no other jobs, and one that is just being listed takes its turn in the next interval.
    fn relist(&mut self, now: MonoTime) {
        let Some(milliseconds) = self.limits.relist_milliseconds else { return };
        let is_due = self.relist_at.is_some_and(|at| at <= now);
        if is_due {
            self.share_taken.clear();
            let passing = self.passing.running();
            for (window, taken) in [(&mut self.for_model, passing), (&mut self.immediate, 0)] {
                if window.has_slot(taken) && !window.is_listing() {
                    window.forget_all();
                }
            }
        }
        if is_due || self.relist_at.is_none() {
            self.relist_at = Some(now.plus_milliseconds(milliseconds));
        }
    }

    /// Starts everything that may run now, and requests the jobs that are needed next. Jobs for a model and requests whose answers
    /// are passed on take turns.
    fn run(&mut self) {
        while self.run_job(JobClass::Immediate) {}
        loop {
            let has_run = match self.is_turn_of_passing {
                true => self.run_passing() || self.run_job(JobClass::Model),
                false => self.run_job(JobClass::Model) || self.run_passing(),
            };
            if !has_run {
                return;
            }
            self.is_turn_of_passing = !self.is_turn_of_passing;
        }
    }

    /// Starts a job of a class, or does what its window needs for that. Returns whether there was something to do.
    fn run_job(&mut self, class: JobClass) -> bool {
        if self.stopping || self.paused_until.is_some() {
            return false;
        }
        match self.next(class) {
            Next::Start(job) => self.start(job),
            Next::Hold(job) => self.hold(job),
            Next::List(range) => {
                self.window(class).list(range);
                let SchedulerLimits { waiting_per_user_max, page_jobs, .. } = self.limits;
                let (per_user, limit) = (waiting_per_user_max as u32, page_jobs as u32);
                self.outputs.push_back(SchedulerOutput::ListJobs { class, range, per_user, limit });
            }
            Next::Wait => return false,
        }
        true
    }

    /// Starts a request whose answer is passed on, if one may start.
    fn run_passing(&mut self) -> bool {
        let SchedulerLimits { answers_max, answers_per_user_max, .. } = self.limits;
        if self.stopping || self.for_model.running() + self.passing.running() >= answers_max {
            return false;
        }
        let jobs_of = |user: &UserId| self.model_jobs_of.get(user).copied().unwrap_or(0);
        let started = self.passing.start(|user, passing| passing + jobs_of(user) < answers_per_user_max as usize);
        self.outputs.extend(started.map(SchedulerOutput::StartPassing));
        started.is_some()
    }

    fn passing_requested(&mut self, id: PassingId, user: UserId, credential: Credential) {
        let rejection = if self.stopping {
            Some((id, PassingRejection::Shutdown))
        } else if !self.token_rules.accepts(&user, &credential) {
            Some((id, PassingRejection::Unauthorized))
        } else {
            self.passing.add(id, user, credential).map(|displaced| (displaced, PassingRejection::TooMany))
        };
        self.outputs.extend(rejection.map(|(id, why)| SchedulerOutput::RejectPassing(id, why)));
    }

    /// Ends the requests of the tokens that `is_meant` selects.
    fn reject_passing(&mut self, why: PassingRejection, is_meant: impl Fn(&TokenRules, &UserId, &Credential) -> bool) {
        for id in self.passing.of_tokens(|user, credential| is_meant(&self.token_rules, user, credential)) {
            self.passing.remove(id);
            self.outputs.push_back(SchedulerOutput::RejectPassing(id, why));
        }
    }

    /// Holds a job until the end of the running one of its conversation, which the store has closed already.
    fn hold(&mut self, job: AnswerJob) {
        self.window(job.class()).hold(&job);
        let running = self.busy.get(&job.conversation_id).and_then(|id| self.running.get_mut(id));
        if let Some(RunningJob { next, .. }) = running
            && next.as_ref().is_none_or(|next| next.key < job.key)
        {
            *next = Some(job);
        }
    }

    /// How the job is answered, if no model is needed.
    fn immediate_answer(&self, job: &AnswerJob) -> Option<ImmediateAnswer> {
        match (job.started, job.responder) {
            _ if self.token_rules.rejects_all(&job.user) => Some(ImmediateAnswer::Cancelled),
            (Some(_), _) => Some(ImmediateAnswer::Interrupted),
            (None, ResponderKind::Echo) => Some(ImmediateAnswer::Echo),
            (None, ResponderKind::OpenAi) if self.limits.has_model => None,
            (None, ResponderKind::OpenAi | ResponderKind::None) => Some(ImmediateAnswer::NotConfigured),
        }
    }

    fn start(&mut self, job: AnswerJob) {
        self.busy.insert(job.conversation_id, job.key);
        self.window(job.class()).started(&job);
        if job.class() == JobClass::Model {
            *self.model_jobs_of.entry(job.user.clone()).or_default() += 1;
        }
        let by = match self.immediate_answer(&job) {
            Some(answer) => {
                self.outputs.push_back(SchedulerOutput::AnswerAtOnce { job: job.clone(), answer });
                RunBy::Store
            }
            None => {
                self.outputs.push_back(SchedulerOutput::StartAnswer(job.clone()));
                RunBy::Model(None)
            }
        };
        self.running.insert(job.key, RunningJob { job, by, is_rejected: false, next: None });
    }

    /// A job runs no longer; one that is still open waits again or is closed.
    fn ended(&mut self, id: JobId, end: JobEnd, now: MonoTime) {
        let Some(RunningJob { job, next, .. }) = self.running.remove(&id) else { return };
        self.busy.remove(&job.conversation_id);
        self.window(job.class()).ended(&job);
        if job.class() == JobClass::Model {
            let count = self.model_jobs_of.get_mut(&job.user).expect("the job ran");
            *count -= 1;
            if *count == 0 {
                self.model_jobs_of.remove(&job.user);
            }
        }
        match end {
            JobEnd::Retry => {
                self.pause(now);
                self.window(job.class()).add(job);
            }
            JobEnd::ShareTaken => {
                self.share_taken.insert(job.user.clone());
                self.window(job.class()).add(job);
            }
            JobEnd::Closed => {
                self.for_model.closed(id);
                self.immediate.closed(id);
            }
        }
        if let Some(next) = next {
            self.window(next.class()).add(next);
        }
    }

    /// Stops the answers of a conversation by closing their jobs before the answers themselves do.
    fn cancel_answers(&mut self, request: CancelRequest) {
        let running = self.busy.get(&request.conversation_id).and_then(|id| self.running.get(id));
        let running = running.filter(|running| running.by != RunBy::Store).map(|running| running.job.clone());
        self.outputs.push_back(SchedulerOutput::CancelAnswers { request, running });
    }

    fn answers_cancelled(&mut self, request: CancelRequest, result: Option<CommandResult>) {
        let Some(CommandResult { number, result, .. }) = result else {
            return self.outputs.push_back(SchedulerOutput::CancelDropped(request.to));
        };
        let result = match result {
            Ok(Outcome::AnswersCancelled { count, closed, rest }) => {
                for job in closed {
                    self.job_closed(request.conversation_id, job);
                }
                let count = request.count + count;
                if rest.is_some() {
                    return self.cancel_answers(CancelRequest { through: rest, count, ..request });
                }
                Ok(Outcome::AnswersCancelled { count, closed: Vec::new(), rest: None })
            }
            other => other,
        };
        self.outputs.push_back(SchedulerOutput::CancelResult(CommandResult { to: request.to, number, result }));
    }

    /// Drops a job that the store has closed, wherever it is.
    fn job_closed(&mut self, conversation_id: ConversationId, id: JobId) {
        let busy = self.busy.get(&conversation_id).and_then(|id| self.running.get_mut(id));
        if let Some(RunningJob { job, by, next, .. }) = busy {
            if job.key == id && *by != RunBy::Store {
                let stop = SchedulerOutput::StopAnswer { job: id, reason: StopReason::JobClosed };
                self.outputs.push_back(stop);
            }
            next.take_if(|next| next.key == id);
        }
        for window in [&mut self.for_model, &mut self.immediate] {
            window.remove(id);
            window.closed(id);
        }
    }

    /// Cancels the running answers of users whose tokens are all rejected.
    fn cancel_rejected(&mut self) {
        if !self.checks_rejected || self.stopping || self.paused_until.is_some() {
            return;
        }
        self.checks_rejected = false;
        let is_rejected = |rules: &TokenRules, user: &UserId, credential: &Credential| !rules.accepts(user, credential);
        self.reject_passing(PassingRejection::Unauthorized, is_rejected);
        for running in self.running.values_mut() {
            if running.by != RunBy::Store && !running.is_rejected && self.token_rules.rejects_all(&running.job.user) {
                running.is_rejected = true;
                self.outputs.push_back(SchedulerOutput::CancelAnswer(running.job.clone()));
            }
        }
    }

    fn cancel_stored(&mut self, job: JobId, result: Option<CommandResult>, now: MonoTime) {
        match result.map(|result| result.result) {
            Some(Ok(_)) => {
                if self.running.contains_key(&job) {
                    self.outputs.push_back(SchedulerOutput::StopAnswer { job, reason: StopReason::JobClosed });
                }
            }
            // The answer was over before.
            Some(Err(Rejection::Conflict(_) | Rejection::NotFound(_))) => {}
            Some(Err(_)) | None => self.cancel_again(job, now),
        }
    }

    /// The store did not take the cancellation of a rejected user's answer.
    fn cancel_again(&mut self, job: JobId, now: MonoTime) {
        if let Some(running) = self.running.get_mut(&job) {
            running.is_rejected = false;
            self.checks_rejected = true;
            self.pause(now);
        }
    }

    /// Stops the answers whose jobs were closed from outside: their model may be silent for long.
    fn ended_outside(&mut self, ends: &[OutsideEnd]) {
        for (id, RunningJob { job, by, .. }) in &self.running {
            let RunBy::Model(started) = by else { continue };
            let is_over = ends.iter().any(|end| match end {
                OutsideEnd::Message(message) => *message == job.message_id || Some(*message) == *started,
                OutsideEnd::Unanswered(message, at) => *message == job.message_id && id.0 < *at,
                OutsideEnd::Conversation(conversation) => *conversation == job.conversation_id,
                OutsideEnd::Workspace(workspace) => *workspace == job.workspace_id,
            });
            if is_over {
                let stop = SchedulerOutput::StopAnswer { job: *id, reason: StopReason::JobClosed };
                self.outputs.push_back(stop);
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        // No client can resume an answer that is passed on, so those that run go on for a while.
        for id in self.passing.waiting_ids() {
            self.passing.remove(id);
            self.outputs.push_back(SchedulerOutput::RejectPassing(id, PassingRejection::Shutdown));
        }
        for (id, running) in &self.running {
            if running.by != RunBy::Store {
                let stop = SchedulerOutput::StopAnswer { job: *id, reason: StopReason::Shutdown };
                self.outputs.push_back(stop);
            }
        }
    }

    fn pause(&mut self, now: MonoTime) {
        self.paused_until = Some(now.plus_milliseconds(RETRY_MILLISECONDS));
    }
}

#[cfg(test)]
mod tests;

//! Decides which answer job runs: one per conversation at a time and in order, different conversations side by side,
//! each user with a share. Pure: jobs, results and the time go in, what to do comes out.
//!
//! Order of calls: [`Scheduler::handle`] for everything that happened, then [`Scheduler::poll_output`] until it returns
//! `None`, then wait for the next input, or until [`Scheduler::poll_timeout`] and pass [`SchedulerInput::Tick`].
//!
//! Invariant: an open job is waiting, running, or unknown here. An unknown job that is newer than every known one is in
//! the table and is listed before any job after it starts.

mod messages;

use crate::base::time::MonoTime;
use crate::domain::answer_job::{AnswerJob, JobId};
use crate::domain::command::ReplyTo;
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId};
use crate::domain::responder::ResponderKind;
use crate::domain::result::{CommandResult, Outcome, Rejection};
pub use messages::{Deletion, ImmediateAnswer, JobEnd, SchedulerInput, SchedulerLimits, SchedulerOutput, StopReason};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Pause before anything starts after the store could not take or list something, in milliseconds.
pub(crate) const RETRY_MILLISECONDS: u64 = 500;

/// The result of a cancel request where no answer runs, or where it ended first.
const NOTHING_CANCELLED: Outcome = Outcome::Answered { message_id: None, closed: false };

/// The scheduler of all answer jobs.
#[derive(Debug)]
pub struct Scheduler {
    limits: SchedulerLimits,
    waiting: BTreeMap<JobId, AnswerJob>,
    running: BTreeMap<JobId, RunningJob>,
    /// Conversations with a running job.
    busy: HashSet<ConversationId>,
    /// Started answers of each user.
    answers_of_users: HashMap<UserId, u32>,
    /// Started answers of all users.
    answers: usize,
    /// The newest job that was ever known.
    newest: JobId,
    /// There may be open jobs after `newest`.
    table_has_more: bool,
    listing: bool,
    /// A job was dropped since the list was requested, so the list may lack it.
    dropped_while_listing: bool,
    paused_until: Option<MonoTime>,
    stopping: bool,
    outputs: VecDeque<SchedulerOutput>,
}

#[derive(Debug)]
struct RunningJob {
    job: AnswerJob,
    by: RunBy,
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
        Scheduler {
            limits,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            busy: HashSet::new(),
            answers_of_users: HashMap::new(),
            answers: 0,
            newest: JobId::default(),
            table_has_more: true,
            listing: false,
            dropped_while_listing: false,
            paused_until: None,
            stopping: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input. Follow with [`Scheduler::poll_output`].
    pub fn handle(&mut self, input: SchedulerInput, now: MonoTime) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        match input {
            SchedulerInput::JobsAdded(jobs) => self.jobs_added(jobs),
            SchedulerInput::JobsDropped => self.jobs_dropped(),
            SchedulerInput::JobsListed(page) => self.jobs_listed(page, now),
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
            SchedulerInput::CancelRequested { to, conversation_id } => self.cancel_requested(to, conversation_id),
            SchedulerInput::CancelStored { job, to, result } => self.cancel_stored(job, to, result),
            SchedulerInput::Deleted(deletions) => self.deleted(&deletions),
            SchedulerInput::Tick => {}
            SchedulerInput::Stop => self.stop(),
        }
        self.start_jobs();
        self.list_jobs();
    }

    /// The next action.
    pub fn poll_output(&mut self) -> Option<SchedulerOutput> {
        self.outputs.pop_front()
    }

    /// When the scheduler needs a [`SchedulerInput::Tick`] at the latest.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        self.paused_until.filter(|_| !self.stopping)
    }

    /// Whether [`SchedulerInput::Stop`] came and nothing runs any more.
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.running.is_empty()
    }

    /// Jobs that wait in memory.
    pub fn waiting_jobs(&self) -> usize {
        self.waiting.len()
    }

    /// Jobs that run.
    pub fn running_jobs(&self) -> usize {
        self.running.len()
    }

    /// Panics when an invariant does not hold. To be called when every output is taken.
    pub fn check_invariants(&self) {
        let mut conversations = HashSet::new();
        let mut users: HashMap<&UserId, u32> = HashMap::new();
        for (id, running) in &self.running {
            assert!(!self.waiting.contains_key(id), "job {id:?} waits and runs");
            assert!(conversations.insert(running.job.conversation_id), "two jobs of one conversation run");
            if running.by != RunBy::Store {
                *users.entry(&running.job.user).or_default() += 1;
            }
        }
        assert_eq!(conversations, self.busy, "a conversation is busy while a job of it runs");
        assert_eq!(users.values().sum::<u32>() as usize, self.answers);
        assert!(self.answers <= self.limits.answers_max, "too many answers");
        assert_eq!(users.len(), self.answers_of_users.len());
        for (user, count) in users {
            assert_eq!(self.answers_of_users.get(user), Some(&count));
            assert!(count <= self.limits.answers_per_user_max, "user {user} has more than a share");
        }
        let known = self.waiting.keys().chain(self.running.keys());
        assert!(known.max().is_none_or(|newest| *newest <= self.newest), "a job is newer than the newest");
        if self.stopping || self.paused_until.is_some() {
            return;
        }
        let mut first_of_conversation = HashSet::new();
        for job in self.waiting.values() {
            let is_first = first_of_conversation.insert(job.conversation_id);
            assert!(!is_first || !self.may_start(job), "job {:?} could run and does not", job.key);
        }
        let has_room = self.waiting.len() <= self.limits.waiting_max / 2;
        assert!(!self.table_has_more || self.listing || !has_room, "jobs in the table are forgotten");
    }

    fn jobs_added(&mut self, jobs: Vec<AnswerJob>) {
        for job in jobs {
            // A list can be faster than the commit's own message.
            if job.key <= self.newest {
                continue;
            }
            if self.table_has_more || self.waiting.len() >= self.limits.waiting_max {
                return self.jobs_dropped();
            }
            self.newest = job.key;
            self.waiting.insert(job.key, job);
        }
    }

    fn jobs_dropped(&mut self) {
        self.table_has_more = true;
        self.dropped_while_listing = true;
    }

    /// Requests jobs from the table, unless there is no room for them or the scheduler pauses.
    fn list_jobs(&mut self) {
        let has_room = self.waiting.len() <= self.limits.waiting_max / 2;
        if !self.table_has_more || self.listing || self.stopping || self.paused_until.is_some() || !has_room {
            return;
        }
        self.listing = true;
        self.dropped_while_listing = false;
        let limit = (self.limits.waiting_max / 2).max(1) as u32;
        self.outputs.push_back(SchedulerOutput::ListJobs { after: self.newest, limit });
    }

    fn jobs_listed(&mut self, page: Option<Vec<AnswerJob>>, now: MonoTime) {
        self.listing = false;
        let Some(jobs) = page else { return self.pause(now) };
        // An empty page is the last one, unless a job was added after its snapshot.
        self.table_has_more = !jobs.is_empty() || self.dropped_while_listing;
        for job in jobs {
            assert!(job.key > self.newest, "a list continues where the known jobs end");
            self.newest = job.key;
            self.waiting.insert(job.key, job);
        }
    }

    /// Starts every job that may run now.
    fn start_jobs(&mut self) {
        if self.stopping || self.paused_until.is_some() {
            return;
        }
        let mut blocked: HashSet<ConversationId> = HashSet::new();
        let ids: Vec<JobId> = self.waiting.keys().copied().collect();
        for id in ids {
            let job = &self.waiting[&id];
            if blocked.contains(&job.conversation_id) {
                continue;
            }
            if self.may_start(job) {
                self.start(id);
            } else {
                blocked.insert(job.conversation_id);
            }
        }
    }

    /// Whether nothing but earlier jobs of its conversation could keep the job from running.
    fn may_start(&self, job: &AnswerJob) -> bool {
        let has_share = || {
            let answers = self.answers_of_users.get(&job.user).copied().unwrap_or_default();
            self.answers < self.limits.answers_max && answers < self.limits.answers_per_user_max
        };
        !self.busy.contains(&job.conversation_id) && (self.immediate(job).is_some() || has_share())
    }

    /// How the job is answered, if no model is needed.
    fn immediate(&self, job: &AnswerJob) -> Option<ImmediateAnswer> {
        match (job.started, job.responder) {
            (Some(_), _) => Some(ImmediateAnswer::Interrupted),
            (None, ResponderKind::Echo) => Some(ImmediateAnswer::Echo),
            (None, ResponderKind::OpenAi) if self.limits.has_model => None,
            (None, ResponderKind::OpenAi | ResponderKind::None) => Some(ImmediateAnswer::NotConfigured),
        }
    }

    fn start(&mut self, id: JobId) {
        let Some(job) = self.waiting.remove(&id) else { return };
        self.busy.insert(job.conversation_id);
        let by = match self.immediate(&job) {
            Some(answer) => {
                self.outputs.push_back(SchedulerOutput::AnswerAtOnce { job: job.clone(), answer });
                RunBy::Store
            }
            None => {
                self.answers += 1;
                *self.answers_of_users.entry(job.user.clone()).or_default() += 1;
                self.outputs.push_back(SchedulerOutput::StartAnswer(job.clone()));
                RunBy::Model(None)
            }
        };
        self.running.insert(id, RunningJob { job, by });
    }

    /// A job runs no longer; one that is still open waits again.
    fn ended(&mut self, id: JobId, end: JobEnd, now: MonoTime) {
        let Some(RunningJob { job, by }) = self.running.remove(&id) else { return };
        self.busy.remove(&job.conversation_id);
        if by != RunBy::Store {
            self.answers -= 1;
            if let Some(count) = self.answers_of_users.get_mut(&job.user) {
                *count -= 1;
                if *count == 0 {
                    self.answers_of_users.remove(&job.user);
                }
            }
        }
        if end == JobEnd::Retry {
            self.pause(now);
            self.waiting.insert(id, job);
        }
    }

    /// Stops the answer of a conversation by closing its job before the answer itself does.
    fn cancel_requested(&mut self, to: ReplyTo, conversation_id: ConversationId) {
        let answered =
            |running: &&RunningJob| running.by != RunBy::Store && running.job.conversation_id == conversation_id;
        match self.running.values().find(answered) {
            Some(RunningJob { job, .. }) => {
                self.outputs.push_back(SchedulerOutput::CancelAnswer { job: job.clone(), to });
            }
            None => self.cancel_result(to, None, Ok(NOTHING_CANCELLED)),
        }
    }

    fn cancel_stored(&mut self, job: JobId, to: ReplyTo, result: Option<CommandResult>) {
        let Some(CommandResult { number, result, .. }) = result else {
            self.outputs.push_back(SchedulerOutput::CancelDropped(to));
            return;
        };
        match result {
            Ok(outcome) => {
                if self.running.contains_key(&job) {
                    self.outputs.push_back(SchedulerOutput::StopAnswer { job, reason: StopReason::JobClosed });
                }
                self.cancel_result(to, number, Ok(outcome));
            }
            // The answer was over before.
            Err(Rejection::Conflict(_) | Rejection::NotFound(_)) => {
                self.cancel_result(to, number, Ok(NOTHING_CANCELLED));
            }
            Err(rejection) => self.cancel_result(to, number, Err(rejection)),
        }
    }

    fn cancel_result(&mut self, to: ReplyTo, number: Option<EventNumber>, result: Result<Outcome, Rejection>) {
        self.outputs.push_back(SchedulerOutput::CancelResult(CommandResult { to, number, result }));
    }

    /// Stops the answers whose jobs a deletion has closed: their model may be silent for long.
    fn deleted(&mut self, deletions: &[Deletion]) {
        for (id, RunningJob { job, by }) in &self.running {
            let RunBy::Model(started) = by else { continue };
            let is_gone = deletions.iter().any(|deletion| match deletion {
                Deletion::Message(message) => *message == job.message_id || Some(*message) == *started,
                Deletion::Conversation(conversation) => *conversation == job.conversation_id,
                Deletion::Workspace(workspace) => *workspace == job.workspace_id,
            });
            if is_gone {
                let stop = SchedulerOutput::StopAnswer { job: *id, reason: StopReason::JobClosed };
                self.outputs.push_back(stop);
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
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

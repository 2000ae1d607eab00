//! Decides which answer job runs: one per conversation at a time and in order, different conversations side by side,
//! each user with a share. Pure: jobs, results and the time go in, what to do comes out.
//!
//! Order of calls: [`Scheduler::handle`] for everything that happened, then [`Scheduler::poll_output`] until it returns
//! `None`, then wait for the next input, or until [`Scheduler::poll_timeout`] and pass [`SchedulerInput::Tick`].
//!
//! Invariant: an open job is waiting, running, or unknown here. An unknown job that is newer than every known one is in
//! the table and is listed before any job after it starts.

use crate::base::limits::{RESPONDER_WAITING_MAX, RESPONDER_WORKERS_MAX};
use crate::base::time::MonoTime;
use crate::domain::answer_job::{AnswerJob, JobId};
use crate::domain::command::ReplyTo;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::responder::ResponderKind;
use crate::domain::result::{CommandResult, Outcome, Rejection};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Pause before anything starts after the store could not take or list something, in milliseconds.
pub(crate) const RETRY_MILLISECONDS: u64 = 500;

/// The result of a cancel request where no answer runs, or where it ended first.
const NOTHING_CANCELLED: Outcome = Outcome::Answered { message_id: None, closed: false };

/// Bounds of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// Answers of all users that a model writes at once.
    pub answers_max: usize,
    /// Answers of one user that a model writes at once.
    pub answers_per_user_max: u32,
    /// Jobs that are kept in memory while they wait; the rest stays in the table.
    pub waiting_max: usize,
    /// Whether a model is configured; without one, its jobs fail.
    pub has_model: bool,
}

impl SchedulerLimits {
    /// The bounds of a server.
    pub fn new(answers_per_user_max: u32, has_model: bool) -> SchedulerLimits {
        SchedulerLimits {
            answers_max: RESPONDER_WORKERS_MAX,
            answers_per_user_max,
            waiting_max: RESPONDER_WAITING_MAX,
            has_model,
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum SchedulerInput {
    /// A commit added jobs.
    JobsAdded(Vec<AnswerJob>),
    /// Jobs of earlier commits were not passed on because a queue was full: they are in the table only.
    JobsDropped,
    /// The page that [`SchedulerOutput::ListJobs`] asked for, oldest first; an empty page is the last one. `None`: the
    /// store could not read it.
    JobsListed(Option<Vec<AnswerJob>>),
    /// What became of [`SchedulerOutput::AnswerAtOnce`].
    AnsweredAtOnce {
        /// The job.
        job: JobId,
        /// Whether the store took the step or the job was closed before; otherwise the job is still open.
        is_closed: bool,
    },
    /// The first text of an answer is stored in this message.
    AnswerStarted {
        /// The job.
        job: JobId,
        /// The answer's message.
        message_id: MessageId,
    },
    /// An answer that [`SchedulerOutput::StartAnswer`] started has ended.
    AnswerEnded {
        /// The job.
        job: JobId,
        /// How.
        end: JobEnd,
    },
    /// A client asks to stop the running answer of a conversation.
    CancelRequested {
        /// The connection that waits for the result.
        to: ReplyTo,
        /// The conversation.
        conversation_id: ConversationId,
    },
    /// What became of [`SchedulerOutput::CancelAnswer`].
    CancelStored {
        /// The job.
        job: JobId,
        /// The connection that waits for the result.
        to: ReplyTo,
        /// The store's result; `None` if there is none because a queue was full.
        result: Option<CommandResult>,
    },
    /// Messages, conversations or workspaces were deleted.
    Deleted(Vec<Deletion>),
    /// Time has passed.
    Tick,
    /// The process ends: nothing more starts, and running answers stop.
    Stop,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// The job is closed, or is left to the next process.
    Closed,
    /// The job is open and nothing of the answer was shown: it is to be started again.
    Retry,
}

/// What a commit deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// A message.
    Message(MessageId),
    /// A conversation and its messages.
    Conversation(ConversationId),
    /// A workspace and its conversations.
    Workspace(WorkspaceId),
}

impl Deletion {
    /// What the event tells of, if it is a deletion.
    pub fn of(event: &Event) -> Option<Deletion> {
        match event.kind {
            EventKind::MessageDeleted => event.message_id().map(Deletion::Message),
            EventKind::ConversationDeleted => event.conversation_id.map(Deletion::Conversation),
            EventKind::WorkspaceDeleted => Some(Deletion::Workspace(event.workspace_id)),
            _ => None,
        }
    }
}

/// What is to be done, in order.
#[derive(Debug, Clone)]
pub enum SchedulerOutput {
    /// Read open jobs after `after`, at most `limit`. Next: [`SchedulerInput::JobsListed`].
    ListJobs {
        /// The newest job that is known.
        after: JobId,
        /// Most jobs.
        limit: u32,
    },
    /// Close the job in one step. Next: [`SchedulerInput::AnsweredAtOnce`].
    AnswerAtOnce {
        /// The job.
        job: AnswerJob,
        /// What to store.
        answer: ImmediateAnswer,
    },
    /// Have a model write the answer. Next: [`SchedulerInput::AnswerEnded`].
    StartAnswer(AnswerJob),
    /// Have a started answer end soon; it still ends with [`SchedulerInput::AnswerEnded`].
    StopAnswer {
        /// The job.
        job: JobId,
        /// Why.
        reason: StopReason,
    },
    /// Close the job as cancelled, with the text so far. Next: [`SchedulerInput::CancelStored`].
    CancelAnswer {
        /// The job.
        job: AnswerJob,
        /// The connection that waits for the result.
        to: ReplyTo,
    },
    /// The result of a cancel request.
    CancelResult(CommandResult),
    /// A cancel request without result: a queue was full.
    CancelDropped(ReplyTo),
}

/// An answer that needs no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImmediateAnswer {
    /// The message itself.
    Echo,
    /// The end of an answer that an earlier process began: its text stays as it is stored.
    Interrupted,
    /// An error: the job's responder is not configured any more.
    NotConfigured,
}

/// Why a started answer is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its job is closed: nothing is left to be stored.
    JobClosed,
    /// The process ends.
    Shutdown,
}

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
    /// A job was not taken in since the list was asked for, so the list may lack it.
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

/// What closes a running job.
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

    /// Takes in what happened.
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

    /// The next thing to be done.
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

    /// Asks for jobs in the table, unless there is no room for them or the store needs a pause.
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
mod tests {
    use super::*;
    use crate::domain::model::Content;
    use uuid::Uuid;

    const LIMITS: SchedulerLimits =
        SchedulerLimits { answers_max: 3, answers_per_user_max: 2, waiting_max: 4, has_model: true };
    const TO: ReplyTo = ReplyTo { shard: 0, slot: 7, generation: 1 };

    /// A job of a user in a conversation, to be answered by a model.
    fn job(id: u64, user: &str, conversation: u128) -> AnswerJob {
        AnswerJob {
            key: JobId(EventNumber(id)),
            message_id: MessageId(Uuid::from_u128(u128::from(id))),
            conversation_id: ConversationId(Uuid::from_u128(conversation)),
            workspace_id: WorkspaceId(Uuid::from_u128(1000)),
            user: UserId::new(user).unwrap(),
            responder: ResponderKind::OpenAi,
            correlation_id: "c".into(),
            content: Content::new_unchecked("Hello?"),
            started: None,
        }
    }

    fn id(number: u64) -> JobId {
        JobId(EventNumber(number))
    }

    /// What the scheduler puts out after an input, in short.
    fn after(scheduler: &mut Scheduler, input: SchedulerInput, milliseconds: u64) -> Vec<String> {
        scheduler.handle(input, MonoTime(milliseconds * 1000));
        let outputs = std::iter::from_fn(|| scheduler.poll_output());
        let said = outputs
            .map(|output| match output {
                SchedulerOutput::ListJobs { after, limit } => format!("list {limit} after {}", after.0),
                SchedulerOutput::AnswerAtOnce { job, answer } => format!("{answer:?} {}", job.key.0),
                SchedulerOutput::StartAnswer(job) => format!("start {}", job.key.0),
                SchedulerOutput::StopAnswer { job, reason } => format!("stop {} {reason:?}", job.0),
                SchedulerOutput::CancelAnswer { job, .. } => format!("cancel {}", job.key.0),
                SchedulerOutput::CancelResult(result) => match result.result {
                    Ok(Outcome::Answered { closed, .. }) => format!("cancelled {closed}"),
                    other => format!("{other:?}"),
                },
                SchedulerOutput::CancelDropped(_) => "dropped".to_owned(),
            })
            .collect();
        scheduler.check_invariants();
        said
    }

    /// A scheduler that has found the table empty.
    fn idle() -> Scheduler {
        let mut scheduler = Scheduler::new(LIMITS);
        assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 0), ["list 2 after 0"]);
        assert!(after(&mut scheduler, SchedulerInput::JobsListed(Some(Vec::new())), 0).is_empty());
        scheduler
    }

    fn ended(job: u64, end: JobEnd) -> SchedulerInput {
        SchedulerInput::AnswerEnded { job: id(job), end }
    }

    #[test]
    fn one_job_per_conversation_and_a_share_per_user() {
        let mut scheduler = idle();
        let jobs = [job(1, "ann", 1), job(2, "ann", 1), job(3, "ann", 2), job(4, "ann", 3)];
        assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs.into()), 0), ["start 1", "start 3"]);
        let of_bob = SchedulerInput::JobsAdded(vec![job(5, "bob", 4)]);
        assert_eq!(after(&mut scheduler, of_bob, 0), ["start 5"], "another user does not wait for hers");
        let of_cyd = SchedulerInput::JobsAdded(vec![job(6, "cyd", 5)]);
        assert!(after(&mut scheduler, of_cyd, 0).is_empty(), "so many answers at once");
        assert_eq!(after(&mut scheduler, ended(1, JobEnd::Closed), 0), ["start 2"], "the conversation is free");
        assert_eq!(after(&mut scheduler, ended(5, JobEnd::Closed), 0), ["start 6"]);
        assert_eq!(after(&mut scheduler, ended(3, JobEnd::Closed), 0), ["start 4"]);
        assert_eq!((scheduler.waiting_jobs(), scheduler.running_jobs()), (0, 3));
    }

    #[test]
    fn what_does_not_fit_is_listed_again_before_anything_newer() {
        let mut scheduler = idle();
        let jobs = (1..=6).map(|n| job(n, "ann", 1)).collect();
        assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs), 0), ["start 1"]);
        // Four wait at most, so the rest is in the table alone; so is whatever comes after it.
        let newer = SchedulerInput::JobsAdded(vec![job(7, "bob", 2)]);
        assert!(after(&mut scheduler, newer, 0).is_empty());
        assert_eq!(after(&mut scheduler, ended(1, JobEnd::Closed), 0), ["start 2", "list 2 after 4"]);
        let page = |jobs: &[AnswerJob]| SchedulerInput::JobsListed(Some(jobs.to_vec()));
        assert!(after(&mut scheduler, page(&[job(5, "ann", 1), job(6, "ann", 1)]), 0).is_empty());
        assert_eq!(after(&mut scheduler, ended(2, JobEnd::Closed), 0), ["start 3"]);
        assert_eq!(after(&mut scheduler, ended(3, JobEnd::Closed), 0), ["start 4", "list 2 after 6"]);
        assert_eq!(after(&mut scheduler, page(&[job(7, "bob", 2)]), 0), ["start 7", "list 2 after 7"]);
        // A job is dropped while the list is read: an empty page is not the last one.
        assert!(after(&mut scheduler, SchedulerInput::JobsDropped, 0).is_empty());
        let empty = SchedulerInput::JobsListed(Some(Vec::new()));
        assert_eq!(after(&mut scheduler, empty.clone(), 0), ["list 2 after 7"]);
        assert!(after(&mut scheduler, empty, 0).is_empty());
        let known = SchedulerInput::JobsAdded(vec![job(7, "bob", 2)]);
        assert!(after(&mut scheduler, known, 0).is_empty(), "a list was faster than the commit's own message");
        assert_eq!(scheduler.waiting_jobs(), 2);
    }

    #[test]
    fn a_store_in_trouble_is_left_alone_for_a_while() {
        let mut scheduler = Scheduler::new(LIMITS);
        assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 0), ["list 2 after 0"]);
        assert!(after(&mut scheduler, SchedulerInput::JobsListed(None), 5).is_empty());
        assert_eq!(scheduler.poll_timeout(), Some(MonoTime((5 + RETRY_MILLISECONDS) * 1000)));
        assert!(after(&mut scheduler, SchedulerInput::Tick, 100).is_empty());
        assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 5 + RETRY_MILLISECONDS), ["list 2 after 0"]);
        let page = SchedulerInput::JobsListed(Some(vec![job(1, "ann", 1)]));
        assert_eq!(after(&mut scheduler, page, 600), ["start 1", "list 2 after 1"]);
        assert!(after(&mut scheduler, ended(1, JobEnd::Retry), 700).is_empty());
        assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 700 + RETRY_MILLISECONDS), ["start 1"]);
    }

    #[test]
    fn jobs_that_need_no_model_take_one_step_each() {
        let mut scheduler = Scheduler::new(SchedulerLimits { has_model: false, ..LIMITS });
        after(&mut scheduler, SchedulerInput::Tick, 0);
        after(&mut scheduler, SchedulerInput::JobsListed(Some(Vec::new())), 0);
        let echo = |number| AnswerJob { responder: ResponderKind::Echo, ..job(number, "ann", 1) };
        let begun = AnswerJob { started: Some(MessageId(Uuid::from_u128(99))), ..job(3, "ann", 2) };
        let jobs = SchedulerInput::JobsAdded(vec![echo(1), echo(2), begun, job(4, "bob", 3)]);
        assert_eq!(after(&mut scheduler, jobs, 0), ["Echo 1", "Interrupted 3", "NotConfigured 4"]);
        let stored = |job, is_closed| SchedulerInput::AnsweredAtOnce { job: id(job), is_closed };
        assert!(after(&mut scheduler, stored(1, false), 0).is_empty(), "the second never overtakes the first");
        assert_eq!(after(&mut scheduler, SchedulerInput::Tick, RETRY_MILLISECONDS), ["Echo 1"]);
        assert_eq!(after(&mut scheduler, stored(1, true), RETRY_MILLISECONDS), ["Echo 2"]);
    }

    #[test]
    fn a_cancel_closes_the_job_first_and_stops_the_answer_then() {
        let mut scheduler = idle();
        let conversation_id = ConversationId(Uuid::from_u128(1));
        let cancel = SchedulerInput::CancelRequested { to: TO, conversation_id };
        assert_eq!(after(&mut scheduler, cancel.clone(), 0), ["cancelled false"], "nothing runs");
        let table = [
            (
                Some(Ok(Outcome::Answered { message_id: None, closed: true })),
                vec!["stop 1 JobClosed", "cancelled true"],
            ),
            (Some(Err(Rejection::Conflict("the job is closed"))), vec!["cancelled false"]),
            (Some(Err(Rejection::Unavailable)), vec!["Err(Unavailable)"]),
            (None, vec!["dropped"]),
        ];
        after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1)]), 0);
        for (result, expected) in table {
            assert_eq!(after(&mut scheduler, cancel.clone(), 0), ["cancel 1"]);
            let result = result.map(|result| CommandResult { to: TO, number: None, result });
            let stored = SchedulerInput::CancelStored { job: id(1), to: TO, result };
            assert_eq!(after(&mut scheduler, stored, 0), expected);
        }
    }

    #[test]
    fn a_deletion_stops_the_answers_in_it() {
        let message = |number| Deletion::Message(MessageId(Uuid::from_u128(number)));
        let table = [
            (message(1), true),
            (message(2), false),
            (message(77), true),
            (Deletion::Conversation(ConversationId(Uuid::from_u128(1))), true),
            (Deletion::Conversation(ConversationId(Uuid::from_u128(2))), false),
            (Deletion::Workspace(WorkspaceId(Uuid::from_u128(1000))), true),
        ];
        for (deletion, stops) in table {
            let mut scheduler = idle();
            after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1)]), 0);
            let message_id = MessageId(Uuid::from_u128(77));
            after(&mut scheduler, SchedulerInput::AnswerStarted { job: id(1), message_id }, 0);
            let said = after(&mut scheduler, SchedulerInput::Deleted(vec![deletion]), 0);
            assert_eq!(said.len(), usize::from(stops), "{deletion:?}");
        }
    }

    #[test]
    fn after_a_stop_nothing_starts_and_what_runs_ends() {
        let mut scheduler = idle();
        after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1), job(2, "ann", 1)]), 0);
        assert_eq!(after(&mut scheduler, SchedulerInput::Stop, 0), ["stop 1 Shutdown"]);
        assert!(!scheduler.is_stopped());
        assert!(after(&mut scheduler, ended(1, JobEnd::Closed), 0).is_empty());
        assert!(scheduler.is_stopped());
    }
}

//! The environment of the scheduler: the writer and a reader with the real SQL, bounded queues, workers with seeded
//! models, clients that post, cancel and delete, and processes that crash or shut down. Everything happens in steps.

use super::planted::{Planted, PlantedScheduler};
use super::reference::Reference;
use super::server::{Arrival, ModelConnection, ServerAction};
use crate::database::{RunDatabase, is_on_server};
use crate::model::Fault;
use crate::trace::Trace;
use cortex_core::internals::answer::{cancel_step, cancelled_answer, immediate_step};
use cortex_core::internals::responders::{cancel_command, step_command};
use cortex_core::internals::{
    Actor, Answer, AnswerEffect, AnswerId, AnswerJob, AnswerStarted, AnswerStep, ApiVariant, Command, CommandKind,
    Committed, Completion, Content, ContextRules, ConversationId, ConversationRef, Credential, DriverRequest,
    EventKind, EventNumber, ImmediateAnswer, JobClass, JobEnd, JobId, LiveAnswer, MessageId, Metadata, MonoTime, Now,
    Outcome, OutsideEnd, PendingQuery, Query, QueryKind, QueryResponse, QueryStep, RESPONDERS, Random, Reader,
    Rejection, ReplyTo, ResponderInput, ResponderKind, ResponderRules, Role, SchedulerInput, SchedulerLimits,
    SchedulerOutput, StoreConfig, StoreReply, TokenRules, Topic, Upstream, UpstreamAddress, UpstreamSettings, UserId,
    WallTime, Writer,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// The shortest timeout of a connection to the model's server.
const TIMEOUT_MILLISECONDS: u64 = 15_000;
/// Maximum number of rounds until a run is idle.
const ROUNDS_MAX: usize = 1_000;

// Events covered by the runs, so that none can silently drop out.
counters! { Counts {
    posts,
    outputs,
    started,
    at_once,
    shown,
    interrupted,
    cancelled,
    cancelled_too_late,
    cancels_rejected,
    deleted,
    jobs_dropped,
    retries,
    failed_commits,
    writer_full,
    reader_full,
    crashes,
    restarts,
    rests,
    rejected,
    passed_over,
    connects,
    reported,
    asked_again,
    connections_lost,
    timeouts,
} }

/// The recipient of a reply from the store.
#[derive(Debug, Clone, Copy)]
enum Waiter {
    Client,
    Driver(DriverRequest),
}

/// A message about the last commit that the writer's thread still has to deliver.
enum Delivery {
    Started(AnswerStarted),
    Reply(Waiter, StoreReply),
    Deleted(Vec<OutsideEnd>),
    Jobs(Vec<AnswerJob>),
}

/// A row of the table of jobs.
struct OpenJob {
    key: JobId,
    conversation_id: ConversationId,
    user: UserId,
    class: JobClass,
}

/// An answer and its connection to the model's server.
struct RunningAnswer {
    job: JobId,
    answer: Answer,
    connection: Option<ModelConnection>,
    /// A connection is being opened.
    is_connecting: bool,
    /// Requests to the store without a reply.
    waits: u32,
    /// Attempts of this answer.
    attempts: u32,
    /// When something arrived last on the connection.
    arrived_at: MonoTime,
}

/// The state of one process.
struct Process {
    writer: Writer,
    reader: Reader,
    scheduler: PlantedScheduler,
    inputs: VecDeque<ResponderInput>,
    jobs_dropped: bool,
    /// Whether a deletion was dropped because the queue was full.
    deletions_dropped: bool,
    commands: VecDeque<(Command, Waiter)>,
    queries: VecDeque<(Query, Waiter)>,
    deliveries: VecDeque<Delivery>,
    answers: BTreeMap<AnswerId, RunningAnswer>,
    next_answer: u64,
    upstream: Arc<Upstream>,
    /// Jobs that started, until the scheduler receives their end.
    running: BTreeMap<JobId, AnswerJob>,
    /// Jobs whose answer has ended for good in this process.
    closed: BTreeSet<JobId>,
    cancels_open: u64,
    /// Jobs of which the scheduler knows, or that it knows to be in the table.
    known: BTreeSet<JobId>,
    /// For each user that waits, how often each other user was served meanwhile. One map for each class of jobs.
    passed_over: [BTreeMap<UserId, BTreeMap<UserId, u32>>; 2],
    /// The rules that the scheduler has.
    token_rules: Arc<TokenRules>,
}

pub struct AnswerWorld {
    limits: SchedulerLimits,
    inputs_max: usize,
    writer_queue: usize,
    reader_queue: usize,
    random: Random,
    planted: Planted,
    now: Now,
    database: RunDatabase,
    pub trace: Trace,
    calm: bool,
    process: Option<Process>,
    reference: Reference,
    /// Users that are disabled.
    rejected: BTreeSet<UserId>,
    users: Vec<UserId>,
    /// Conversations with their owners.
    conversations: Vec<(ConversationId, usize)>,
    pub counts: Counts,
}

impl AnswerWorld {
    pub fn new(seed: u64, planted: Planted, directory: PathBuf, trace: Trace) -> AnswerWorld {
        let mut random = Random::new(seed);
        let waiting_per_user_max = 1 + random.below(4) as usize;
        let limits = SchedulerLimits {
            answers_max: 2 + random.below(3) as usize,
            answers_per_user_max: 1 + random.below(2) as u32,
            steps_max: 1 + random.below(3) as usize,
            steps_per_user_max: 1 + random.below(2) as u32,
            waiting_max: 0,
            waiting_per_user_max,
            page_jobs: waiting_per_user_max + random.below(4) as usize,
            has_model: true,
            relist_milliseconds: (is_on_server() || random.below(2) == 0).then_some(1000),
        };
        let running_max = limits.answers_max + limits.steps_max;
        let waiting_max = running_max * waiting_per_user_max + limits.page_jobs + random.below(3) as usize;
        let limits = SchedulerLimits { waiting_max, ..limits };
        let mut world = AnswerWorld {
            limits,
            inputs_max: [1, 3, 64][random.below(3) as usize],
            writer_queue: [3, 8, 64][random.below(3) as usize],
            reader_queue: [1, 2, 16][random.below(3) as usize],
            random,
            planted,
            now: Now { wall: WallTime(1_790_000_000_000_000), mono: MonoTime(1_000_000) },
            database: RunDatabase::new(&directory),
            trace,
            calm: false,
            process: None,
            reference: Reference::default(),
            rejected: BTreeSet::new(),
            users: ["ann", "bob", "cyd", "dan", "eve"].map(UserId::new_unchecked).into(),
            conversations: Vec::new(),
            counts: Counts::default(),
        };
        world.open(false);
        for user in 0..world.users.len() {
            // The first user has many, and thus a long backlog.
            for _ in 0..if user == 0 { 6 } else { 2 } {
                world.create_conversation(user);
            }
        }
        world
    }

    /// Runs until the final idle state.
    pub fn run(&mut self) {
        for _ in 0..600 {
            self.step();
            if self.chance(1, 250) {
                self.rest();
            }
        }
        self.rest();
    }

    fn step(&mut self) {
        match self.below(100) {
            0..12 => self.post(),
            12..16 => self.cancel(),
            16..17 => self.delete(),
            17 => self.change_status(),
            18..34 => self.writer_step(),
            34..44 => self.reader_step(),
            44..62 => self.driver_step(),
            62..92 => self.any_answer_step(),
            92..98 => {
                let long = self.chance(1, 16);
                let choices = if long { [1200, 16_000, 16_000, 70_000, 310_000] } else { [1, 20, 60, 400, 1200] };
                let milliseconds = choices[self.below(5)];
                self.pass_time(milliseconds);
            }
            98 if self.chance(1, 4) => self.crash(),
            99 if self.chance(1, 4) => self.restart(),
            _ => {}
        }
    }

    fn open(&mut self, is_restarted: bool) {
        let responders = ResponderRules {
            default: ResponderKind::OpenAi,
            allowed: vec![ResponderKind::Echo, ResponderKind::OpenAi],
            models: Vec::new(),
            answers_per_user_max: self.limits.answers_per_user_max,
        };
        let config = StoreConfig { responders, ..StoreConfig::new(self.database.setting()) };
        let mut writer = Writer::open(&config).expect("the database opens");
        self.database.opened(&mut writer);
        let reader = writer.open_reader().expect("a reader opens");
        self.process = Some(Process {
            writer,
            reader,
            scheduler: PlantedScheduler::new(self.limits, self.planted, is_restarted),
            inputs: VecDeque::from([ResponderInput::Scheduler(SchedulerInput::Tick)]),
            jobs_dropped: false,
            deletions_dropped: false,
            commands: VecDeque::new(),
            queries: VecDeque::new(),
            deliveries: VecDeque::new(),
            answers: BTreeMap::new(),
            next_answer: 0,
            upstream: upstream(),
            running: BTreeMap::new(),
            closed: BTreeSet::new(),
            cancels_open: 0,
            known: BTreeSet::new(),
            passed_over: Default::default(),
            token_rules: Arc::default(),
        });
        // A new process lists the table.
        self.process().known = self.first_jobs().into_iter().map(|job| job.key).collect();
        let token_rules = self.process().writer.token_rules().expect("the rules are read");
        self.process().inputs.push_front(ResponderInput::Scheduler(SchedulerInput::TokenRules(token_rules)));
    }

    // Clients.

    fn create_conversation(&mut self, user: usize) {
        let responder = if self.chance(1, 4) { r#"{"responder":"echo"}"# } else { "{}" };
        let kind = CommandKind::CreateConversation {
            workspace: None,
            topic: Topic::new("t").expect("a topic"),
            participants: Vec::new(),
            metadata: Metadata::new_unchecked(responder),
            earlier_messages: Vec::new(),
            initial_message: None,
            api_variant: ApiVariant::Config,
        };
        let command = self.command(user, kind);
        let now = self.now;
        let committed = self.process().writer.commit_batch(&[command], now);
        let Ok(Outcome::ConversationCreated { conversation, .. }) = &committed.results[0].result else {
            panic!("the conversation is created: {:?}", committed.results[0].result)
        };
        self.conversations.push((conversation.id, user));
        self.pass_on(committed, vec![Waiter::Client]);
    }

    fn post(&mut self) {
        let (conversation, user) = self.any_conversation();
        self.counts.posts += 1;
        let kind = CommandKind::PostMessage {
            conversation: ConversationRef::Id(conversation),
            role: Role::User,
            content: Content::new_unchecked(format!("question {}", self.counts.posts)),
            metadata: Metadata::empty(),
            api_variant: ApiVariant::Config,
        };
        let command = self.command(user, kind);
        self.submit(command, Waiter::Client);
    }

    fn cancel(&mut self) {
        let (conversation_id, _) = self.any_conversation();
        let to = ReplyTo { shard: 0, slot: 0, generation: 0 };
        if self.push_bounded(SchedulerInput::CancelRequested { to, conversation_id }) {
            self.process().cancels_open += 1;
        } else {
            self.counts.cancels_rejected += 1;
        }
    }

    fn delete(&mut self) {
        let (conversation, user) = self.any_conversation();
        if self.chance(1, 3) && !self.rejected.contains(&self.users[user]) {
            self.conversations.retain(|(id, _)| *id != conversation);
            let kind = CommandKind::DeleteConversation {
                conversation: ConversationRef::Id(conversation),
                api_variant: ApiVariant::Config,
            };
            let command = self.command(user, kind);
            self.submit(command, Waiter::Client);
            self.create_conversation(user);
            return;
        }
        let asked: Vec<MessageId> = self
            .reference
            .asked
            .iter()
            .filter(|(_, asked)| asked.conversation == conversation)
            .map(|(id, _)| *id)
            .collect();
        if !asked.is_empty() {
            let message = asked[self.below(asked.len())];
            let kind = CommandKind::DeleteMessage { conversation: ConversationRef::Id(conversation), message };
            let command = self.command(user, kind);
            self.submit(command, Waiter::Client);
        }
    }

    /// Another process disables or enables a user, or the writer notices it.
    fn change_status(&mut self) {
        let user = self.below(self.users.len());
        let user = self.users[user].clone();
        let status = i64::from(!self.rejected.remove(&user));
        if status == 1 {
            self.rejected.insert(user.clone());
            self.counts.rejected += 1;
        }
        let parameters = [user.as_str().to_owned().into(), status.into()];
        self.database.change("UPDATE users SET status = ?2 WHERE oid = ?1", &parameters);
    }

    // The store's threads.

    fn writer_step(&mut self) {
        if let Some(delivery) = self.process().deliveries.pop_front() {
            return self.deliver_one(delivery);
        }
        if self.process().commands.is_empty() {
            return self.poll_external_writes();
        }
        let count = 1 + self.below(self.process.as_ref().map_or(1, |process| process.commands.len().min(6)));
        let (commands, waiters): (Vec<Command>, Vec<Waiter>) = self.process().commands.drain(..count).unzip();
        let fails = if !self.calm && self.chance(1, 20) { 1 + self.below(4) as u32 } else { 0 };
        let now = self.now;
        let fault = if fails > 0 { Fault::Commit(fails) } else { Fault::None };
        let process = self.process.as_mut().expect("the program runs");
        self.database.begin_fault(fault, &mut process.writer);
        let committed = process.writer.commit_batch(&commands, now);
        self.database.end_fault(fault, &mut process.writer);
        self.counts.failed_commits += u64::from(fails > 0);
        self.pass_on(committed, waiters);
    }

    /// An idle writer looks for changes by other processes.
    fn poll_external_writes(&mut self) {
        if let Some(changes) = self.process().writer.poll_external_writes() {
            self.pass_on(changes, Vec::new());
        }
    }

    /// Applies a commit, and queues its messages to the responders for the writer's next steps.
    fn pass_on(&mut self, committed: Committed, waiters: Vec<Waiter>) {
        for event in committed.events.iter() {
            self.counts.outputs += u64::from(self.reference.event(event));
        }
        let is_own = |kind: EventKind| matches!(kind, EventKind::Output | EventKind::OutputError);
        let others = committed.events.iter().filter(|event| !is_own(event.kind));
        let deletions: Vec<OutsideEnd> = others.filter_map(|event| OutsideEnd::of(event)).collect();
        if let Some(token_rules) = committed.token_rules {
            self.process().inputs.push_back(ResponderInput::Scheduler(SchedulerInput::TokenRules(token_rules)));
        }
        let mut deliveries: Vec<Delivery> = committed.started.iter().cloned().map(Delivery::Started).collect();
        for (result, waiter) in committed.results.into_iter().zip(waiters) {
            deliveries.push(Delivery::Reply(waiter, StoreReply::CommandResult(result)));
        }
        if !deletions.is_empty() {
            self.counts.deleted += 1;
            deliveries.push(Delivery::Deleted(deletions));
        }
        if !committed.jobs.is_empty() {
            deliveries.push(Delivery::Jobs(committed.jobs));
        }
        self.process().deliveries.extend(deliveries);
    }

    fn deliver_one(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Started(AnswerStarted { job, message_id, .. }) => {
                let started = SchedulerInput::AnswerStarted { job, message_id };
                self.process().inputs.push_back(ResponderInput::Scheduler(started));
            }
            Delivery::Reply(waiter, reply) => self.deliver(waiter, reply),
            Delivery::Deleted(deletions) => {
                let is_pushed = self.push_bounded(SchedulerInput::EndedOutside(deletions));
                self.process().deletions_dropped |= !is_pushed;
            }
            Delivery::Jobs(jobs) => {
                if !self.push_bounded(SchedulerInput::JobsAdded(jobs)) {
                    self.counts.jobs_dropped += 1;
                    self.process().jobs_dropped = true;
                }
            }
        }
    }

    fn reader_step(&mut self) {
        let Some((query, waiter)) = self.process().queries.pop_front() else { return };
        let QueryStep::Done(response) = self.process().reader.step(PendingQuery::new(query)) else {
            panic!("the queries of responders take one step")
        };
        let reply = match self.below(24) {
            _ if self.calm => StoreReply::QueryResponse(response),
            0 => StoreReply::Dropped,
            1 => StoreReply::QueryResponse(QueryResponse { result: Err(Rejection::Unavailable), ..response }),
            _ => StoreReply::QueryResponse(response),
        };
        self.deliver(waiter, reply);
    }

    fn deliver(&mut self, waiter: Waiter, reply: StoreReply) {
        if let Waiter::Driver(request) = waiter {
            self.process().inputs.extend(request.input(reply));
        }
    }

    // The driver's thread.

    fn driver_step(&mut self) {
        let count = if self.calm { usize::MAX } else { 1 + self.below(4) };
        let process = self.process();
        let count = count.min(process.inputs.len());
        let mut inputs: Vec<ResponderInput> = process.inputs.drain(..count).collect();
        if std::mem::take(&mut process.jobs_dropped) {
            inputs.insert(0, ResponderInput::Scheduler(SchedulerInput::JobsDropped));
        }
        for input in inputs {
            self.handle(input);
        }
    }

    fn handle(&mut self, input: ResponderInput) {
        let now = self.now.mono;
        match input {
            ResponderInput::Scheduler(input) => self.schedule(input),
            ResponderInput::HistoryRead(id, history) => {
                if let Some(running) = self.process().answers.get_mut(&id) {
                    running.waits -= 1;
                    running.answer.history_read(history, now);
                }
            }
            ResponderInput::Stored(id, result) => {
                if let Some(running) = self.process().answers.get_mut(&id) {
                    running.waits -= 1;
                    running.answer.stored(result, now);
                }
            }
            ResponderInput::Resolved(_) => unreachable!("addresses need no resolution"),
            ResponderInput::Pass(_) | ResponderInput::ControlPassing { .. } => {
                unreachable!("runs have no requests to pass on")
            }
        }
    }

    fn schedule(&mut self, input: SchedulerInput) {
        let mut next = VecDeque::from([input]);
        let now = self.now.mono;
        while let Some(input) = next.pop_front() {
            self.note(&input);
            self.process().scheduler.handle(input, now);
            while let Some(output) = self.process().scheduler.poll_output() {
                match self.drain_outputs(output) {
                    Some(ResponderInput::Scheduler(input)) => next.push_back(input),
                    Some(other) => panic!("a request of the scheduler leads to {other:?}"),
                    None => {}
                }
            }
        }
        self.process().scheduler.check_invariants();
    }

    fn note(&mut self, input: &SchedulerInput) {
        if self.trace.is_wanted() && !matches!(input, SchedulerInput::Tick) {
            self.trace.line(format_args!("{input:?}"));
        }
        match input {
            SchedulerInput::AnsweredAtOnce { job, is_closed } => {
                self.process().running.remove(job);
                if *is_closed {
                    self.process().closed.insert(*job);
                }
            }
            SchedulerInput::TokenRules(token_rules) => self.process().token_rules = Arc::clone(token_rules),
            SchedulerInput::JobsAdded(jobs) => {
                let keys: Vec<JobId> = jobs.iter().map(|job| job.key).collect();
                self.process().known.extend(keys);
            }
            SchedulerInput::JobsDropped => {
                let first = self.first_jobs().into_iter().map(|job| job.key);
                self.process().known.extend(first);
            }
            SchedulerInput::AnswerEnded { job, end } => {
                self.counts.retries += u64::from(*end == JobEnd::Retry);
                self.process().running.remove(job);
                if *end == JobEnd::Closed {
                    self.process().closed.insert(*job);
                }
            }
            _ => {}
        }
    }

    fn drain_outputs(&mut self, output: SchedulerOutput) -> Option<ResponderInput> {
        if self.trace.is_wanted() {
            self.trace.line(format_args!("    {output:?}"));
        }
        match output {
            SchedulerOutput::ListJobs { class, range, per_user, limit } => {
                let query = self.query(QueryKind::Jobs { class, range, per_user, limit });
                let request = DriverRequest::ListJobs(class);
                let is_asked = self.ask(query, Waiter::Driver(request));
                (!is_asked).then(|| request.input(StoreReply::Dropped))?
            }
            SchedulerOutput::AnswerAtOnce { job, answer } => {
                self.check_start(&job);
                self.counts.at_once += 1;
                self.counts.interrupted += u64::from(answer == ImmediateAnswer::Interrupted);
                self.submit_step(&job, immediate_step(&job, answer), DriverRequest::AnswerAtOnce(job.key))
            }
            SchedulerOutput::StartAnswer(job) => {
                self.check_start(&job);
                let is_rejected = self.process().token_rules.rejects_all(&job.user);
                assert!(!is_rejected, "a message of {}, whose tokens are rejected, is answered", job.user);
                self.counts.started += 1;
                let (random, now) = (Random::new(self.random.next_u64()), self.now.mono);
                let process = self.process();
                let id = AnswerId(process.next_answer);
                process.next_answer += 1;
                let answer = Answer::new(job.clone(), Arc::clone(&process.upstream), random);
                let answer = if is_on_server() { answer.claiming() } else { answer };
                let running = RunningAnswer {
                    job: job.key,
                    answer,
                    connection: None,
                    is_connecting: false,
                    waits: 0,
                    attempts: 0,
                    arrived_at: now,
                };
                process.answers.insert(id, running);
                None
            }
            SchedulerOutput::StopAnswer { job, reason } => {
                if let Some(running) = self.process().answers.values_mut().find(|running| running.job == job) {
                    running.answer.stop(reason);
                }
                None
            }
            SchedulerOutput::CancelAnswer(job) => {
                let live = self.live(&job);
                self.submit_step(&job, cancel_step(&job, &live, &Completion::default()), DriverRequest::Cancel(job.key))
            }
            SchedulerOutput::CancelAnswers { request, running } => {
                let running = running.map(|job| cancelled_answer(&job, &self.live(&job), &Completion::default()));
                let to = ReplyTo { shard: RESPONDERS, slot: 0, generation: 0 };
                let driver_request = DriverRequest::CancelAll(request);
                let is_taken = self.submit(cancel_command(&request, to, running), Waiter::Driver(driver_request));
                (!is_taken).then(|| driver_request.input(StoreReply::Dropped))?
            }
            SchedulerOutput::CancelResult(result) => {
                let is_cancelled = matches!(result.result, Ok(Outcome::AnswersCancelled { count: 1.., .. }));
                *(if is_cancelled { &mut self.counts.cancelled } else { &mut self.counts.cancelled_too_late }) += 1;
                self.cancel_replied();
                None
            }
            SchedulerOutput::CancelDropped(_) => {
                self.cancel_replied();
                None
            }
            SchedulerOutput::StartPassing(_) | SchedulerOutput::RejectPassing(..) => {
                unreachable!("runs have no requests to pass on")
            }
        }
    }

    fn live(&mut self, job: &AnswerJob) -> LiveAnswer {
        let running = self.process().answers.values().find(|running| running.job == job.key);
        running.map(|running| running.answer.live().clone()).unwrap_or_default()
    }

    fn cancel_replied(&mut self) {
        let open = &mut self.process().cancels_open;
        *open = open.checked_sub(1).expect("a cancel request has one reply");
    }

    fn submit_step(&mut self, job: &AnswerJob, step: AnswerStep, request: DriverRequest) -> Option<ResponderInput> {
        let to = ReplyTo { shard: RESPONDERS, slot: 0, generation: 0 };
        let is_taken = self.submit(step_command(job, to, step), Waiter::Driver(request));
        (!is_taken).then(|| request.input(StoreReply::Dropped))?
    }

    /// A job may start if no other of its conversation runs, all earlier ones are closed, and it has not ended before.
    fn check_start(&mut self, job: &AnswerJob) {
        let open = self.open_jobs();
        let earlier = open.iter().find(|other| other.conversation_id == job.conversation_id && other.key < job.key);
        assert!(earlier.is_none(), "job {} overtakes job {}", job.key.0, earlier.map_or(0, |other| other.key.0.0));
        let limits = self.limits;
        let process = self.process();
        let running: Vec<&AnswerJob> = process.running.values().collect();
        let runs = running.iter().any(|other| other.conversation_id == job.conversation_id);
        assert!(!runs, "job {} runs concurrently with another of its conversation", job.key.0);
        assert!(!process.closed.contains(&job.key), "job {} is started again after its end", job.key.0);
        let of_class: Vec<_> = running.iter().filter(|other| other.class() == job.class()).collect();
        let of_user = of_class.iter().filter(|other| other.user == job.user).count();
        let (running_max, per_user_max) = match job.class() {
            JobClass::Model => (limits.answers_max, limits.answers_per_user_max),
            JobClass::Immediate => (limits.steps_max, limits.steps_per_user_max),
        };
        assert!(of_class.len() < running_max, "too many jobs run");
        assert!(of_user < per_user_max as usize, "{} has more than its share", job.user);
        self.check_turn(job, per_user_max);
        self.process().running.insert(job.key, job.clone());
    }

    /// A user may be served while others wait, but not twice. A user waits while the scheduler may know of a job that could run
    /// in the place of the one that starts.
    fn check_turn(&mut self, started: &AnswerJob, per_user_max: u32) {
        let first = self.first_jobs();
        let process = self.process();
        let running: Vec<&AnswerJob> = process.running.values().collect();
        let waits = |job: &OpenJob| {
            let mut of_class = running.iter().filter(|other| other.class() == job.class);
            job.class == started.class()
                && job.user != started.user
                && process.known.contains(&job.key)
                && running.iter().all(|other| other.conversation_id != job.conversation_id)
                && of_class.by_ref().filter(|other| other.user == job.user).count() < per_user_max as usize
        };
        let waiting: BTreeSet<UserId> = first.iter().filter(|job| waits(job)).map(|job| job.user.clone()).collect();
        let passed_over = &mut process.passed_over[usize::from(started.class() == JobClass::Model)];
        passed_over.retain(|user, _| waiting.contains(user));
        for user in &waiting {
            let served = passed_over.entry(user.clone()).or_default().entry(started.user.clone()).or_default();
            *served += 1;
            assert!(*served < 2, "{user} waits while {} is served twice", started.user);
        }
        self.counts.passed_over += waiting.len() as u64;
    }

    // Answers and the model's server.

    fn any_answer_step(&mut self) {
        let ids: Vec<AnswerId> = self.process().answers.keys().copied().collect();
        if !ids.is_empty() {
            let id = ids[self.below(ids.len())];
            self.answer_step(id, true);
        }
    }

    /// Advances an answer by one step; the server sends text only if `may_speak` is set.
    fn answer_step(&mut self, id: AnswerId, may_speak: bool) {
        let now = self.now.mono;
        let Some(running) = self.process().answers.get_mut(&id) else { return };
        let job = running.job;
        let effect = running.answer.poll(now);
        running.answer.check_invariants();
        match effect {
            Some(AnswerEffect::ReadHistory) => {
                running.waits += 1;
                running.attempts += 1;
                let is_again = running.attempts > 1;
                self.counts.asked_again += u64::from(is_again);
                let query = self.query(QueryKind::History { job, limit: 3, bytes_max: 4096 });
                let request = DriverRequest::History(id);
                if !self.ask(query, Waiter::Driver(request)) {
                    self.process().inputs.extend(request.input(StoreReply::Dropped));
                }
            }
            Some(AnswerEffect::Connect) => {
                assert!(running.connection.is_none() && !running.is_connecting, "one connection is open");
                running.is_connecting = true;
                self.counts.connects += 1;
            }
            Some(AnswerEffect::Close) => {
                (running.connection, running.is_connecting) = (None, false);
            }
            Some(AnswerEffect::Store(step)) => {
                running.waits += 1;
                let to = ReplyTo { shard: RESPONDERS, slot: 0, generation: 0 };
                let command = step_command(running.answer.job(), to, step);
                let request = DriverRequest::Step(id);
                if !self.submit(command, Waiter::Driver(request)) {
                    self.process().inputs.extend(request.input(StoreReply::Dropped));
                }
            }
            Some(AnswerEffect::Report(_)) => self.counts.reported += 1,
            Some(AnswerEffect::Show(delta)) => {
                assert!(delta.to <= running.answer.live().len() && delta.from < delta.to);
                self.counts.shown += 1;
            }
            None => match running.answer.end() {
                Some(end) => {
                    assert!(running.connection.is_none() && !running.is_connecting, "the connection is closed");
                    self.process().answers.remove(&id);
                    self.schedule(SchedulerInput::AnswerEnded { job, end });
                }
                None => self.server_step(id, may_speak),
            },
        }
    }

    /// Advances the connection of an answer by one step.
    fn server_step(&mut self, id: AnswerId, may_speak: bool) {
        let (now, calm) = (self.now.mono, self.calm);
        let mut random = Random::new(self.random.next_u64());
        let Some(running) = self.process().answers.get_mut(&id) else { return };
        let job = running.job;
        if running.is_connecting {
            match if calm { 0 } else { random.below(8) } {
                0..5 => {
                    (running.is_connecting, running.connection) = (false, Some(ModelConnection::default()));
                    running.arrived_at = now;
                    running.answer.connected(now);
                    let bytes = running.answer.outgoing().len();
                    assert!(bytes > 0, "a connection begins with the request");
                    running.answer.wrote(Some(bytes));
                    // The text of an attempt that is given up does not count.
                    self.reference.said.entry(job).or_default().push(String::new());
                }
                5 => {
                    running.is_connecting = false;
                    running.answer.disconnected(Some("refused".into()), now);
                    self.counts.connections_lost += 1;
                }
                _ => {}
            }
            return;
        }
        let Some(connection) = &mut running.connection else { return };
        let has_said = !running.answer.live().is_empty();
        if random.below(2) == 0 {
            if (may_speak || !connection.has_responded())
                && let ServerAction::Said(text) = connection.act(&mut random, calm, has_said)
            {
                self.reference.say(job, text);
            }
            return;
        }
        match connection.arrive(&mut random) {
            Arrival::Bytes(bytes) => {
                running.arrived_at = now;
                running.answer.received(&bytes, now);
            }
            Arrival::Closed => {
                running.connection = None;
                running.answer.disconnected(None, now);
                self.counts.connections_lost += 1;
            }
            Arrival::Nothing => {}
        }
    }

    // Time, ends, and rest.

    fn pass_time(&mut self, milliseconds: u64) {
        self.now.mono = self.now.mono.plus_milliseconds(milliseconds);
        self.now.wall.0 += 1000 * milliseconds as i64;
        let now = self.now.mono;
        if self.process().scheduler.poll_timeout().is_some_and(|at| at <= now) {
            self.schedule(SchedulerInput::Tick);
        }
        let mut timed_out = Vec::new();
        for running in self.process().answers.values_mut() {
            if running.answer.poll_timeout().is_some_and(|at| at <= now) {
                running.answer.tick(now);
                if running.connection.is_some() && now >= running.arrived_at.plus_milliseconds(TIMEOUT_MILLISECONDS) {
                    timed_out.push(running.job);
                }
            }
        }
        self.counts.timeouts += timed_out.len() as u64;
        self.reference.timed_out.extend(timed_out);
    }

    /// Kills the process: only data on disk stays.
    fn crash(&mut self) {
        self.trace.line(format_args!("crash"));
        self.counts.crashes += 1;
        let killed = self.process().writer.instance();
        self.database.crash(|| self.process = None);
        self.database.expire_instance(killed);
        self.open(true);
    }

    /// Shuts the process down: answers stop, and accepted commands are committed.
    fn restart(&mut self) {
        self.trace.line(format_args!("restart"));
        self.counts.restarts += 1;
        self.calm = true;
        self.process().inputs.push_back(ResponderInput::Scheduler(SchedulerInput::Stop));
        for _ in 0..ROUNDS_MAX {
            self.turn(|_, _| false);
            if self.process().scheduler.is_stopped() && self.process().commands.is_empty() {
                break;
            }
            self.pass_time(100);
        }
        assert!(self.process().scheduler.is_stopped(), "the responders do not stop");
        self.calm = false;
        let process = self.process.take().expect("the program runs");
        drop(process.reader);
        self.database.closing();
        process.writer.close();
        self.open(true);
    }

    /// Advances everything by one step; a model sends text where it may.
    fn turn(&mut self, may_speak: impl Fn(&AnswerWorld, JobId) -> bool) {
        while !self.process().deliveries.is_empty() || !self.process().commands.is_empty() {
            self.writer_step();
        }
        self.poll_external_writes();
        while !self.process().queries.is_empty() {
            self.reader_step();
        }
        self.driver_step();
        let answers: Vec<(AnswerId, JobId)> =
            self.process().answers.iter().map(|(id, running)| (*id, running.job)).collect();
        for (id, job) in answers {
            let may_speak = may_speak(self, job);
            self.answer_step(id, may_speak);
        }
    }

    /// Runs without faults and new work until every job is closed.
    fn rest(&mut self) {
        self.counts.rests += 1;
        self.calm = true;
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            // The scheduler stops an answer whose job is closed, even if its model is silent.
            let rules = Arc::clone(&self.process().token_rules);
            let open = self.open_jobs();
            let speaking: BTreeSet<JobId> =
                open.iter().filter(|job| !rules.rejects_all(&job.user)).map(|job| job.key).collect();
            let all = self.process().deletions_dropped;
            self.turn(|_, job| all || speaking.contains(&job));
            self.pass_time(100);
            let process = self.process();
            // Jobs may be listed again and again.
            let is_list =
                |input: &ResponderInput| matches!(input, ResponderInput::Scheduler(SchedulerInput::JobsListed { .. }));
            let is_quiet = process.answers.is_empty()
                && process.inputs.iter().all(is_list)
                && process.commands.is_empty()
                && process.deliveries.is_empty();
            quiet = if is_quiet { quiet + 1 } else { 0 };
            // Longer than any delay, and than two intervals of lists.
            if quiet > 24 {
                break;
            }
        }
        let running: Vec<JobId> = self.process().answers.values().map(|running| running.job).collect();
        assert!(running.is_empty(), "answers never end: {running:?}");
        let open: Vec<JobId> = self.open_jobs().iter().map(|job| job.key).collect();
        assert!(open.is_empty(), "jobs stay open: {open:?}");
        assert_eq!(self.process().cancels_open, 0, "a cancel request has no reply");
        assert!(quiet > 0, "the run does not become idle");
        // A transaction drops from the cache what others have changed.
        let now = self.now;
        let committed = self.process().writer.commit_batch(&[], now);
        self.pass_on(committed, Vec::new());
        self.process().writer.check_invariants();
        self.calm = false;
    }

    // Helpers.

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the program runs")
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn chance(&mut self, times: u64, of: u64) -> bool {
        self.random.below(of) < times
    }

    fn any_conversation(&mut self) -> (ConversationId, usize) {
        let place = self.below(self.conversations.len());
        self.conversations[place]
    }

    fn command(&self, user: usize, kind: CommandKind) -> Command {
        let actor = Actor {
            id: self.users[user].clone(),
            name: Some("name".into()),
            email: None,
            credential: Credential::default(),
        };
        let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
        Command { reply_to, actor, correlation_id: "c".into(), idempotency: None, kind }
    }

    fn query(&self, kind: QueryKind) -> Query {
        let reply_to = ReplyTo { shard: RESPONDERS, slot: 0, generation: 0 };
        Query { reply_to, caller: ResponderKind::Echo.user_id(), kind }
    }

    /// The first open job of each conversation.
    fn first_jobs(&mut self) -> Vec<OpenJob> {
        let mut conversations = BTreeSet::new();
        let mut open = self.open_jobs();
        open.retain(|job| conversations.insert(job.conversation_id));
        open
    }

    /// Every open job in the table, oldest first.
    fn open_jobs(&mut self) -> Vec<OpenJob> {
        let query = "SELECT j.number, j.responder = 'openai' AND j.is_begun = 0 FROM answer_jobs j
            JOIN conversations c ON c.number = j.conversation JOIN workspaces w ON w.number = c.workspace
            WHERE c.deleted IS NULL AND w.deleted IS NULL ORDER BY j.number";
        let rows = self.database.query(query, &[], |row| (row.number(0), row.number(1) == 1));
        let jobs = rows.into_iter().map(|(number, is_model)| {
            let key = JobId(EventNumber(number as u64));
            let asked = self.reference.asked.values().find(|asked| asked.job == key).expect("the message was posted");
            let class = if is_model { JobClass::Model } else { JobClass::Immediate };
            OpenJob { key, conversation_id: asked.conversation, user: asked.user.clone(), class }
        });
        jobs.collect()
    }

    fn submit(&mut self, command: Command, waiter: Waiter) -> bool {
        let has_room = self.calm || self.process.as_ref().is_some_and(|p| p.commands.len() < self.writer_queue);
        if has_room {
            self.process().commands.push_back((command, waiter));
        } else {
            self.counts.writer_full += 1;
        }
        has_room
    }

    fn ask(&mut self, query: Query, waiter: Waiter) -> bool {
        let has_room = self.calm || self.process.as_ref().is_some_and(|p| p.queries.len() < self.reader_queue);
        if has_room {
            self.process().queries.push_back((query, waiter));
        } else {
            self.counts.reader_full += 1;
        }
        has_room
    }

    /// Pushes an input that needs no reserved slot; returns whether there was space.
    fn push_bounded(&mut self, input: SchedulerInput) -> bool {
        let inputs_max = self.inputs_max;
        let inputs = &mut self.process().inputs;
        let has_room = inputs.len() < inputs_max;
        if has_room {
            inputs.push_back(ResponderInput::Scheduler(input));
        }
        has_room
    }
}

/// The model's server as the settings have it. Its timeouts are those of the program.
fn upstream() -> Arc<Upstream> {
    let address = UpstreamAddress::parse("http://127.0.0.1:1/v1").expect("an address");
    let context = ContextRules { bytes_max: 4096, ..ContextRules::default() };
    let settings = UpstreamSettings { context, ..UpstreamSettings::new(address, "m".into()) };
    Arc::new(Upstream::new(settings).expect("the settings are valid"))
}

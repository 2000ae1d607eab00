//! Gives orders out: one answer of a conversation at a time and in order, different conversations side by side.
//!
//! Invariant: an order is waiting, running, or not known here; what is not known is in the table and is listed again
//! before anything after it is given out.

use super::desk::{Desk, Errand, News, Reply};
use super::worker::{self, Job, Progress};
use crate::base::limits::*;
use crate::base::metrics;
use crate::base::time::MonoTime;
use crate::domain::answer_job::{AnswerJob, AnswerStep, JobId};
use crate::domain::command::{Actor, Command, CommandKind, ReplyTo};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ConversationId, MessageId, UserId};
use crate::domain::model::{Content, Metadata, Status};
use crate::domain::query::{Query, QueryKind, QueryResponse, QueryResult};
use crate::domain::responder::ResponderKind;
use crate::domain::result::{CommandResult, Outcome, Rejection};
use crate::responder::Upstream;
use crate::runtime::clock::Clock;
use crate::runtime::queue::Wakeup;
use crate::runtime::replies::Replies;
use crate::runtime::workers::Workers;
use crate::shard::message::ShardMessage;
use crate::wire;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before what the store could not take is tried again, in milliseconds.
const RETRY_MILLISECONDS: u64 = 500;

/// Who may answer, and how.
#[derive(Clone)]
pub struct Responders {
    /// The model, if one is set up.
    pub upstream: Option<Arc<Upstream>>,
    /// Messages that go along as context, beside the one to answer.
    pub history: u32,
    /// Answers of one user at once.
    pub per_user_max: u32,
}

/// The thread that gives orders out.
pub struct Dispatcher {
    desk: Arc<Desk>,
    ports: Workers,
    replies: Replies,
    responders: Responders,
    clock: Clock,
    waiting: BTreeMap<JobId, AnswerJob>,
    running: HashMap<JobId, Running>,
    conversations: HashMap<ConversationId, Busy>,
    users: HashMap<UserId, u32>,
    workers: usize,
    /// The newest order that was ever known here.
    newest: JobId,
    /// There may be open orders after `newest` that are not known here.
    more: bool,
    listing: bool,
    /// An order was not taken in since the list was asked for, so it may not be on it.
    dropped: bool,
    paused_until: Option<MonoTime>,
    stopping: bool,
}

struct Running {
    order: AnswerJob,
    /// Set when a worker is at it.
    progress: Option<Arc<Progress>>,
}

/// What runs in a conversation: steps that the writer takes in order anyway, or one worker.
#[derive(Default)]
struct Busy {
    quick: u32,
    worker: bool,
}

impl Dispatcher {
    /// A dispatcher that finds what is open as soon as it runs.
    pub fn new(desk: Arc<Desk>, ports: Workers, replies: Replies, responders: Responders, clock: Clock) -> Dispatcher {
        Dispatcher {
            desk,
            ports,
            replies,
            responders,
            clock,
            waiting: BTreeMap::new(),
            running: HashMap::new(),
            conversations: HashMap::new(),
            users: HashMap::new(),
            workers: 0,
            newest: JobId::default(),
            more: true,
            listing: false,
            dropped: false,
            paused_until: None,
            stopping: false,
        }
    }

    /// Runs until the process ends.
    pub fn run(&mut self) {
        let mut news = Vec::new();
        while !(self.stopping && self.running.is_empty()) {
            self.list();
            self.give_out();
            metrics::ANSWERS_WAITING.set(self.waiting.len() as u64);
            metrics::ANSWERS_RUNNING.set(self.running.len() as u64);
            let patience = if self.paused_until.is_some() || self.more {
                Duration::from_millis(RETRY_MILLISECONDS)
            } else {
                Duration::from_secs(60)
            };
            if self.desk.news(&mut news, Some(patience)) == Wakeup::Closed {
                return;
            }
            let now = self.clock.now().mono;
            if self.paused_until.is_some_and(|until| until <= now) {
                self.paused_until = None;
            }
            for item in news.drain(..) {
                self.hear(item);
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Orders(jobs) => self.learn(jobs),
            News::Settled(errand, reply) => self.settled(errand, reply),
            News::Cancel { to, conversation_id } => self.cancel(to, conversation_id),
            News::Deleted(events) => events.iter().for_each(|event| self.end_deleted(event)),
            News::TextWanted { shard, message_id } => self.tell_text(shard, message_id),
            News::Done { order, again } => {
                self.workers -= 1;
                if let Some(running) = self.forget_running(order, true)
                    && again
                {
                    self.pause();
                    self.waiting.insert(order, running.order);
                }
            }
            News::Stop => {
                self.stopping = true;
                for running in self.running.values() {
                    if let Some(progress) = &running.progress {
                        progress.stop();
                    }
                }
            }
        }
    }

    /// Takes new orders in, unless some before them are not known here yet.
    fn learn(&mut self, jobs: Vec<AnswerJob>) {
        self.more |= self.desk.take_orders_missed();
        for order in jobs {
            if self.more || self.waiting.len() >= RESPONDER_WAITING_MAX {
                self.more = true;
                self.dropped = true;
                return;
            }
            self.newest = self.newest.max(order.key);
            self.waiting.insert(order.key, order);
        }
    }

    /// Asks the table for orders that are not known here.
    fn list(&mut self) {
        if !self.more || self.listing || self.stopping || self.waiting.len() > RESPONDER_WAITING_MAX / 2 {
            return;
        }
        let query = Query {
            reply_to: self.desk.expect_as_news(Errand::List),
            caller: ResponderKind::Echo.user_id(),
            kind: QueryKind::OpenJobs { after: self.newest, limit: RESPONDER_WAITING_MAX as u32 / 2 },
        };
        self.listing = true;
        self.dropped = false;
        if let Err(to) = self.ports.ask(query) {
            self.desk.withdraw(to);
            self.listed(Reply::Lost);
        }
    }

    fn listed(&mut self, reply: Reply) {
        self.listing = false;
        let Reply::QueryResponse(QueryResponse { result: Ok(QueryResult::OpenJobs(jobs)), .. }) = reply else {
            self.pause();
            return;
        };
        // An empty list is the last one, unless an order came between its snapshot and now.
        self.more = !jobs.is_empty() || self.dropped || self.desk.take_orders_missed();
        for order in jobs {
            self.newest = self.newest.max(order.key);
            self.waiting.insert(order.key, order);
        }
    }

    /// Begins every answer that may begin now.
    fn give_out(&mut self) {
        if self.stopping || self.paused_until.is_some() {
            return;
        }
        let mut blocked: HashSet<ConversationId> = HashSet::new();
        let keys: Vec<JobId> = self.waiting.keys().copied().collect();
        for key in keys {
            let order = &self.waiting[&key];
            let conversation_id = order.conversation_id;
            if blocked.contains(&conversation_id) {
                continue;
            }
            let busy = self.conversations.get(&conversation_id);
            let quick = order.started.is_some()
                || order.responder != ResponderKind::OpenAi
                || self.responders.upstream.is_none();
            let free =
                if quick { busy.is_none_or(|busy| !busy.worker) } else { busy.is_none() && self.has_worker(order) };
            if !free {
                blocked.insert(conversation_id);
                continue;
            }
            let started = if quick { self.answer_at_once(key) } else { self.start_worker(key) };
            if !started {
                self.pause();
                return;
            }
        }
    }

    fn has_worker(&self, order: &AnswerJob) -> bool {
        let of_user = self.users.get(&order.user).copied().unwrap_or_default();
        self.workers < RESPONDER_WORKERS_MAX && of_user < self.responders.per_user_max
    }

    /// An echo, the end of an answer that a crash cut off, or a refusal: one step, which the writer takes in order.
    fn answer_at_once(&mut self, key: JobId) -> bool {
        let order = &self.waiting[&key];
        let metadata = Metadata::new_unchecked(wire::answer_metadata::metadata(order.responder, None));
        let step = match (&order.started, order.responder) {
            (Some(_), _) => AnswerStep::Finish { status: Status::Interrupted, text: None, metadata, error: None },
            (None, ResponderKind::Echo) => {
                let text = Some(order.content.clone());
                AnswerStep::Finish { status: Status::Complete, text, metadata, error: None }
            }
            (None, _) => {
                let error = Some("this responder is not set up any more".into());
                AnswerStep::Finish { status: Status::Failed, text: None, metadata, error }
            }
        };
        let reply_to = self.desk.expect_as_news(Errand::Finish(key));
        let command = command_for(order, reply_to, step);
        let conversation_id = order.conversation_id;
        self.conversations.entry(conversation_id).or_default().quick += 1;
        if let Some(order) = self.waiting.remove(&key) {
            self.running.insert(key, Running { order, progress: None });
        }
        match self.ports.submit_now(command) {
            Ok(()) => true,
            Err(to) => {
                self.desk.withdraw(to);
                self.settled(Errand::Finish(key), Reply::Lost);
                false
            }
        }
    }

    fn start_worker(&mut self, key: JobId) -> bool {
        let (Some(upstream), Some(order)) = (&self.responders.upstream, self.waiting.get(&key)) else { return false };
        let progress = Arc::new(Progress::default());
        let job = Job {
            order: order.clone(),
            progress: Arc::clone(&progress),
            upstream: Arc::clone(upstream),
            history: self.responders.history,
            desk: Arc::clone(&self.desk),
            ports: self.ports.clone(),
            replies: self.replies.clone(),
            clock: self.clock,
        };
        if let Err(error) = worker::start(job) {
            log::error!("a responder's thread cannot be started: {error}");
            return false;
        }
        self.workers += 1;
        *self.users.entry(order.user.clone()).or_default() += 1;
        self.conversations.entry(order.conversation_id).or_default().worker = true;
        if let Some(order) = self.waiting.remove(&key) {
            self.running.insert(key, Running { order, progress: Some(progress) });
        }
        true
    }

    fn forget_running(&mut self, key: JobId, by_worker: bool) -> Option<Running> {
        let running = self.running.remove(&key)?;
        let conversation_id = running.order.conversation_id;
        if let Some(busy) = self.conversations.get_mut(&conversation_id) {
            if by_worker {
                busy.worker = false;
            } else {
                busy.quick -= 1;
            }
            if !busy.worker && busy.quick == 0 {
                self.conversations.remove(&conversation_id);
            }
        }
        if by_worker && let Some(count) = self.users.get_mut(&running.order.user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&running.order.user);
            }
        }
        Some(running)
    }

    fn settled(&mut self, errand: Errand, reply: Reply) {
        match errand {
            Errand::List => self.listed(reply),
            Errand::Finish(key) => {
                let Some(running) = self.forget_running(key, false) else { return };
                if worker::is_trouble(&reply) {
                    self.pause();
                    self.waiting.insert(key, running.order);
                }
            }
            Errand::Cancel(key, to) => self.cancelled(key, to, reply),
        }
    }

    /// Stops the running answer of a conversation, by closing its order before the answer itself does.
    fn cancel(&mut self, to: ReplyTo, conversation_id: ConversationId) {
        let found = self.running.iter().find_map(|(key, running)| {
            let progress = running.progress.as_ref()?;
            (running.order.conversation_id == conversation_id).then_some((*key, &running.order, progress))
        });
        let Some((key, order, progress)) = found else {
            let result = Ok(Outcome::Answered { message_id: None, closed: false });
            self.replies.command_result(CommandResult { to, number: None, result });
            return;
        };
        let text = progress.text();
        let step = AnswerStep::Finish {
            status: Status::Cancelled,
            text: (!text.is_empty()).then(|| Content::new_unchecked(text)),
            metadata: Metadata::new_unchecked(wire::answer_metadata::metadata(order.responder, None)),
            error: None,
        };
        let command = command_for(order, self.desk.expect_as_news(Errand::Cancel(key, to)), step);
        if let Err(errand) = self.ports.submit_now(command) {
            self.desk.withdraw(errand);
            self.replies.dropped(to);
        }
    }

    fn cancelled(&mut self, key: JobId, to: ReplyTo, reply: Reply) {
        match reply {
            Reply::CommandResult(receipt) => {
                if let (Ok(_), Some(Running { progress: Some(progress), .. })) =
                    (&receipt.result, self.running.get(&key))
                {
                    progress.close();
                }
                // The answer was over before.
                let result = match receipt.result {
                    Err(Rejection::Conflict(_) | Rejection::NotFound(_)) => {
                        Ok(Outcome::Answered { message_id: None, closed: false })
                    }
                    other => other,
                };
                self.replies.command_result(CommandResult { to, number: receipt.number, result });
            }
            Reply::QueryResponse(_) | Reply::Lost => self.replies.dropped(to),
        }
    }

    /// Ends the answers whose orders a deletion has closed: their workers may be waiting for a model that is silent.
    fn end_deleted(&self, event: &Event) {
        for Running { order, progress } in self.running.values() {
            let Some(progress) = progress else { continue };
            let gone = match event.kind {
                EventKind::WorkspaceDeleted => order.workspace_id == event.workspace_id,
                EventKind::ConversationDeleted => event.conversation_id == Some(order.conversation_id),
                EventKind::MessageDeleted => {
                    event.message_id().is_some_and(|id| id == order.message_id || progress.message_id() == Some(id))
                }
                _ => false,
            };
            if gone {
                progress.close();
            }
        }
    }

    fn tell_text(&self, shard: u16, message_id: MessageId) {
        let snapshot = self
            .running
            .values()
            .filter_map(|running| running.progress.as_ref())
            .find(|progress| progress.message_id() == Some(message_id))
            .and_then(|progress| progress.snapshot());
        if let Some(mailbox) = self.replies.mailboxes.get(shard as usize) {
            mailbox.push(ShardMessage::AnswerText(message_id, snapshot));
        }
    }

    fn pause(&mut self) {
        self.paused_until = Some(self.clock.now().mono.plus_milliseconds(RETRY_MILLISECONDS));
    }
}

/// A step of an answer as the writer takes it.
pub(super) fn command_for(order: &AnswerJob, reply_to: ReplyTo, step: AnswerStep) -> Command {
    Command {
        reply_to,
        actor: Actor { id: order.responder.user_id(), name: Some(order.responder.as_str().into()), email: None },
        correlation_id: Arc::clone(&order.correlation_id),
        idempotency: None,
        kind: CommandKind::Answer { order: order.key, step },
    }
}

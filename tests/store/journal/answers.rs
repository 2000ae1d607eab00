//! The model of answer jobs and answers: which steps are accepted, and their effects.

use super::run::ModelRun;
use crate::common::*;
use cortex_core::internals::{
    AnswerStep, AnswerSummary, CancelledAnswer, CommandKind, Committed, Content, ConversationId, ConversationRef,
    Event, EventBody, EventKind, JobClass, JobId, JobRange, Message, MessageId, Metadata, Outcome, QueryKind,
    QueryResult, Rejection, Role, Status, StoredPhase, UserId, UserKey, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const RESPONDER: &str = "responder:echo";

/// The model of answer jobs.
#[derive(Default)]
pub struct Answers {
    /// All jobs, including closed ones.
    made: Vec<JobId>,
    open: BTreeMap<JobId, Open>,
    /// Answers that started or grew in this batch.
    grown: BTreeSet<MessageId>,
    started: BTreeSet<MessageId>,
    /// The users who had messages answered again.
    requesters: BTreeMap<JobId, &'static str>,
    /// The first open job of each conversation, after the last commit.
    first: BTreeSet<JobId>,
}

struct Open {
    asked: MessageId,
    conversation: ConversationId,
    /// The id of the answer, once it is assigned.
    answer: Option<MessageId>,
    /// Whether the answer has a message.
    is_begun: bool,
}

impl Answers {
    /// Adds the job of a posted message. Every posted message is a user's, and one responder answers all.
    pub fn add_job(&mut self, asked: MessageId, event: &Event) {
        let key = JobId(event.number);
        self.made.push(key);
        let conversation = event.conversation_id.unwrap();
        self.open.insert(key, Open { asked, conversation, answer: None, is_begun: false });
    }
}

type Events<'e, I> = std::iter::Peekable<I>;

impl ModelRun {
    /// A step of one of the last jobs, which may be closed.
    pub fn answer_command(&mut self) -> Option<CommandKind> {
        let made = &self.answers.made;
        let back = 1 + self.random.below(made.len().clamp(1, 30) as u64) as usize;
        let job = *made.get(made.len().checked_sub(back)?)?;
        let text = format!("answer {} ", self.random.below(1000));
        let statuses = [Status::Complete, Status::Cancelled, Status::Interrupted, Status::Failed];
        let status = statuses[self.random.below(4) as usize];
        Some(match self.random.below(10) {
            0..=1 => begin(job, &text),
            2 => begin(job, ""),
            3..=5 => append(job, &text),
            6..=7 => finish(job, status, Some(&text)),
            8 => finish(job, status, None),
            _ => append(job, ""),
        })
    }

    /// A request to answer any message again, also a deleted one or an answer.
    pub fn answer_again_command(&mut self) -> Option<CommandKind> {
        let (message, conversation) = self.message()?;
        Some(CommandKind::AnswerMessage { conversation: ConversationRef::Id(conversation), message })
    }

    /// A request to cancel the answers of a conversation, with or without a running one.
    pub fn cancel_command(&mut self) -> Option<CommandKind> {
        let conversation = self.conversation()?;
        let first = self.answers.open.iter().find(|(_, open)| open.conversation == conversation);
        let job = first.map(|(job, _)| *job).filter(|_| self.random.below(2) == 0);
        let text = (self.random.below(2) == 0).then(|| Content::new_unchecked("cancelled text"));
        let metadata = Metadata::empty();
        let running = job.map(|job| Box::new(CancelledAnswer { job, text, reasoning: None, metadata, usage: None }));
        Some(CommandKind::CancelAnswers { conversation, running, through: None })
    }

    /// Applies one step to the model. Earlier steps and deletions determine whether it is accepted.
    pub fn apply_step<'e>(
        &mut self,
        key: JobId,
        step: &AnswerStep,
        result: &Result<Outcome, Rejection>,
        events: &mut Events<'e, impl Iterator<Item = &'e Arc<Event>>>,
    ) {
        let open = self.answers.open.get(&key).filter(|open| !self.model.is_deleted(&open.conversation));
        let fits = open.is_some_and(|open| match step {
            AnswerStep::Begin { .. } => !open.is_begun,
            AnswerStep::Append { .. } => open.answer.is_some(),
            AnswerStep::Echo { .. } | AnswerStep::Finish { .. } => true,
            AnswerStep::Claim => unreachable!("all jobs are claimed"),
        });
        let (Some(open), Ok(Outcome::Answered { message_id, closed })) = (open.filter(|_| fits), result) else {
            assert!(!fits && matches!(result, Err(Rejection::Conflict(_))), "{step:?} {result:?}");
            return;
        };
        assert_eq!(*closed, matches!(step, AnswerStep::Finish { .. }));
        let (is_begun, answer) = (open.is_begun, open.answer);
        match step {
            AnswerStep::Begin { text, .. } => {
                let id = message_id.unwrap();
                assert!(answer.is_none_or(|reserved| reserved == id));
                self.answers.open.get_mut(&key).unwrap().answer = Some(id);
                self.answers.started.insert(id);
                if !text.is_empty() {
                    self.begin_answer(key, text);
                }
            }
            AnswerStep::Append { text } => {
                assert_eq!(*message_id, answer);
                if !is_begun {
                    if !text.is_empty() {
                        self.begin_answer(key, text);
                    }
                    return;
                }
                self.answers.grown.insert(answer.unwrap());
                let message = self.model.messages.get_mut(&answer.unwrap()).unwrap().1.as_mut().unwrap();
                message.content = Content::new_unchecked(format!("{}{text}", message.content.as_str()));
            }
            AnswerStep::Claim => {}
            AnswerStep::Echo { .. } => unreachable!("it is a finish with the message's text"),
            AnswerStep::Finish { status, text, .. } => {
                assert_eq!(*message_id, self.end_answer(key, *status, text.as_ref(), events));
            }
        }
    }

    /// The answer of an open job gets its message, under the id that was assigned.
    fn begin_answer(&mut self, key: JobId, text: &Arc<str>) {
        let open = self.answers.open.get_mut(&key).unwrap();
        let (asked, conversation, id) = (open.asked, open.conversation, open.answer.unwrap());
        open.is_begun = true;
        self.answers.grown.insert(id);
        self.keep_answer(id, asked, conversation, Content::new_unchecked(text.clone()), Status::Streaming);
        self.set_phase(asked, StoredPhase::Begun(Status::Streaming), Some(id), None);
    }

    fn set_phase(&mut self, asked: MessageId, phase: StoredPhase, message_id: Option<MessageId>, error: Option<&str>) {
        let error = error.map(Arc::from);
        self.model.answers.insert(asked, AnswerSummary { phase, message_id, error });
    }

    /// Closes a job. Returns the id of the answer's message, if it has text.
    fn end_answer<'e>(
        &mut self,
        key: JobId,
        status: Status,
        text: Option<&Content>,
        events: &mut Events<'e, impl Iterator<Item = &'e Arc<Event>>>,
    ) -> Option<MessageId> {
        let Open { asked, conversation, answer, is_begun } = self.answers.open.remove(&key).unwrap();
        if !is_begun && text.is_none() {
            let event = events.next().unwrap();
            assert_eq!((event.kind, event.message_id()), (EventKind::OutputError, Some(asked)));
            let EventBody::Unanswered(_, data) = &event.body else { panic!("{event:?}") };
            let (status, error) = match status {
                Status::Cancelled => (status, None),
                Status::Complete => (Status::Failed, Some("the model's answer is empty")),
                Status::Interrupted => (Status::Failed, Some("the answer was interrupted before its first text")),
                _ => (Status::Failed, Some("the answer failed")),
            };
            assert!(data.contains(&format!("\"code\":\"{}\"", status.as_str())), "{data}");
            self.apply(RESPONDER, &append(key, ""), event);
            self.set_phase(asked, StoredPhase::Begun(status), None, error);
            return None;
        }
        let id = answer.unwrap_or_else(|| events.peek().and_then(|event| event.message_id()).unwrap());
        if !is_begun {
            self.keep_answer(id, asked, conversation, text.unwrap().clone(), status);
        }
        let error = (status == Status::Failed).then_some("the answer failed");
        self.set_phase(asked, StoredPhase::Begun(status), Some(id), error);
        Some(self.finish(id, status, text, events))
    }

    /// Checks whether a message may be answered again, and applies it to the model.
    pub fn apply_answer_again<'e>(
        &mut self,
        user: &'static str,
        (conversation, id): (ConversationRef, MessageId),
        result: &Result<Outcome, Rejection>,
        job: JobId,
        events: &mut Events<'e, impl Iterator<Item = &'e Arc<Event>>>,
    ) {
        let ConversationRef::Id(conversation) = conversation else { unreachable!("it has an id") };
        let asked = self.model.messages[&id].1.as_ref();
        let may = !self.model.is_deleted(&conversation) && self.model.recipients_of(&conversation).contains(user);
        let is_open = self.answers.open.values().any(|open| open.asked == id);
        let fits = may && !is_open && asked.is_some_and(|message| message.role == Role::User);
        assert_eq!(result.is_ok(), fits, "{result:?}");
        if !fits {
            return;
        }
        let superseded = self.model.answers.get(&id).and_then(|answer| answer.message_id);
        let superseded = superseded.filter(|answer| self.model.messages[answer].1.is_some());
        if let Some(answer) = superseded {
            let event = events.next().unwrap();
            assert_eq!((event.kind, event.message_id()), (EventKind::MessageUpdated, Some(answer)));
            let message = self.model.messages.get_mut(&answer).unwrap().1.as_mut().unwrap();
            (message.status, message.updated_at) = (Status::Superseded, event.at);
            assert_eq!(event.message(), Some(&*message));
            let message = message.clone();
            // Anyone who may send messages supersedes an answer, also another user's.
            self.apply(user, &append(job, ""), event);
            self.model.messages.get_mut(&answer).unwrap().1 = Some(message);
        }
        self.set_phase(id, StoredPhase::Queued, None, None);
        self.answers.made.push(job);
        let open = Open { asked: id, conversation, answer: None, is_begun: false };
        self.answers.open.insert(job, open);
        self.answers.requesters.insert(job, user);
    }

    /// Closes the jobs of a conversation: the running one, and then the others from the last one on.
    pub fn apply_cancel<'e>(
        &mut self,
        conversation: ConversationId,
        running: Option<&CancelledAnswer>,
        result: &Result<Outcome, Rejection>,
        events: &mut Events<'e, impl Iterator<Item = &'e Arc<Event>>>,
    ) {
        let Ok(Outcome::AnswersCancelled { count, closed, rest: None }) = result else { panic!("{result:?}") };
        let is_deleted = self.model.is_deleted(&conversation);
        let open = self.answers.open.iter().rev().filter(|(_, open)| open.conversation == conversation && !is_deleted);
        let mut jobs: Vec<JobId> = open.map(|(job, _)| *job).collect();
        if let Some(running) = running
            && let Some(place) = jobs.iter().position(|job| *job == running.job)
        {
            jobs.remove(place);
            jobs.insert(0, running.job);
        }
        assert_eq!((*count, closed), (jobs.len() as u64, &jobs));
        for job in jobs {
            let text = running.filter(|running| running.job == job).and_then(|running| running.text.as_ref());
            self.end_answer(job, Status::Cancelled, text, events);
        }
    }

    /// Checks the event that publishes an answer, and applies it to the model.
    fn finish<'e>(
        &mut self,
        id: MessageId,
        status: Status,
        text: Option<&Content>,
        events: &mut Events<'e, impl Iterator<Item = &'e Arc<Event>>>,
    ) -> MessageId {
        let event = events.next().unwrap();
        assert_eq!(event.kind, EventKind::Output);
        let message = self.model.messages.get_mut(&id).unwrap().1.as_mut().unwrap();
        message.content = text.unwrap_or(&message.content).clone();
        message.status = status;
        message.updated_at = event.at;
        message.error = (status == Status::Failed).then(|| "the answer failed".into());
        assert_eq!(event.message(), Some(&*message));
        self.apply(RESPONDER, &append(JobId(event.number), ""), event);
        id
    }

    fn keep_answer(
        &mut self,
        id: MessageId,
        asked: MessageId,
        conversation: ConversationId,
        content: Content,
        status: Status,
    ) {
        let created_at = creation_time(id);
        let message = Message {
            id,
            conversation_id: conversation,
            sender: UserId::new_unchecked(RESPONDER),
            sender_name: "echo".into(),
            role: Role::Assistant,
            content,
            metadata: Metadata::empty(),
            created_at,
            updated_at: created_at,
            status,
            reply_to: Some(asked),
            error: None,
            answer: None,
            reasoning: None,
        };
        self.model.messages.insert(id, (conversation, Some(message)));
        let conversation = self.model.conversations.get_mut(&conversation).unwrap();
        conversation.updated_at = conversation.updated_at.max(created_at);
    }

    /// Closes the job and the answer of a deleted message.
    pub fn apply_deletion<'e>(
        &mut self,
        deleted: MessageId,
        events: &mut Events<'e, impl Iterator<Item = &'e Arc<Event>>>,
    ) {
        for (_, message) in self.model.messages.values_mut() {
            if let Some(message) = message
                && message.reply_to == Some(deleted)
            {
                message.reply_to = None;
            }
        }
        self.model.answers.remove(&deleted);
        let about = |open: &Open| open.asked == deleted || (open.is_begun && open.answer == Some(deleted));
        let Some(key) = self.answers.open.iter().find(|(_, open)| about(open)).map(|(key, _)| *key) else { return };
        let open = self.answers.open.remove(&key).unwrap();
        match open.answer.filter(|_| open.is_begun) {
            Some(answer) if answer == deleted => {
                self.set_phase(open.asked, StoredPhase::Begun(Status::Cancelled), Some(answer), None);
            }
            Some(answer) => drop(self.finish(answer, Status::Cancelled, None, events)),
            None => {}
        }
    }

    /// Compares the new jobs and started answers of a commit with the model.
    pub fn check_committed(&mut self, committed: &Committed) {
        let lives = |open: &&Open| !self.model.is_deleted(&open.conversation);
        let first = self.first_jobs();
        // A job may have been passed on by one transaction of the batch, and closed by the next.
        let jobs: Vec<_> = committed
            .jobs
            .iter()
            .filter(|job| self.answers.open.get(&job.key).is_some_and(|open| lives(&open)))
            .collect();
        let passed_on: BTreeSet<JobId> = jobs.iter().map(|job| job.key).collect();
        assert_eq!(passed_on.len(), jobs.len(), "each job is passed on once");
        assert_eq!(passed_on, first.difference(&self.answers.first).copied().collect());
        for job in jobs {
            let asked = self.model.messages[&job.message_id].1.as_ref().unwrap();
            let user = self.answers.requesters.get(&job.key).map_or(asked.sender.as_str(), |user| *user);
            assert_eq!(job.user.as_str(), user);
            // The job may have been passed on before the answer began.
            assert!(job.started.is_none() || job.started == self.answers.open[&job.key].answer);
        }
        self.answers.first = first;
        let writing = self.answers.open.values().filter(lives).filter_map(|open| open.answer);
        let writing: BTreeSet<MessageId> = writing.collect();
        let started: BTreeSet<MessageId> = committed.started.iter().map(|started| started.message_id).collect();
        assert_eq!(started, std::mem::take(&mut self.answers.started).intersection(&writing).copied().collect());
        for started in committed.started.iter() {
            let recipients: BTreeSet<&str> = started.recipients.iter().map(UserId::as_str).collect();
            assert!(!recipients.is_empty() && started.sender.as_str() == RESPONDER);
        }
        // The time at which an answer grew is read from the store.
        for id in std::mem::take(&mut self.answers.grown).intersection(&writing) {
            let (conversation, _) = self.model.messages[id];
            let owner = self.model.workspaces[&self.model.conversations[&conversation].workspace].owner;
            let conversation_ref = ConversationRef::Id(conversation);
            let kind = QueryKind::Message { conversation: conversation_ref, message: *id, with_reasoning: false };
            let QueryResult::Message(stored) = self.world.query_result(owner, kind) else { panic!() };
            let message = self.model.messages.get_mut(id).unwrap().1.as_mut().unwrap();
            assert!(stored.updated_at >= message.updated_at);
            message.updated_at = stored.updated_at;
            assert_eq!(stored, *message);
            let conversation = self.model.conversations.get_mut(&conversation).unwrap();
            conversation.updated_at = conversation.updated_at.max(stored.updated_at);
        }
    }

    /// The first open job of each conversation.
    fn first_jobs(&self) -> BTreeSet<JobId> {
        let mut conversations = BTreeSet::new();
        let open = self.answers.open.iter().filter(|(_, open)| !self.model.is_deleted(&open.conversation));
        open.filter(|(_, open)| conversations.insert(open.conversation)).map(|(key, _)| *key).collect()
    }

    /// Compares the jobs that may run, read in pages.
    pub fn check_open_jobs(&mut self) {
        let (mut after, mut listed) = (UserKey(0), Vec::new());
        loop {
            let limit = 1 + self.random.below(9) as u32;
            let range = JobRange::UsersAfter(after);
            let kind = QueryKind::Jobs { class: JobClass::Immediate, range, per_user: 1000, limit };
            let QueryResult::Jobs(page) = self.world.query_result(RESPONDER, kind) else { panic!() };
            for user in page.users {
                assert!(user.user > after && user.through.is_none());
                assert!(user.jobs.iter().all(|job| job.user_key == user.user));
                after = user.user;
                listed.extend(user.jobs);
            }
            if page.is_last {
                break;
            }
        }
        assert_eq!(listed.iter().map(|job| job.key).collect::<BTreeSet<_>>(), self.first_jobs());
        for job in listed {
            let open = &self.answers.open[&job.key];
            let asked = self.model.messages[&job.message_id].1.as_ref().unwrap();
            assert_eq!((job.message_id, job.started), (open.asked, open.answer.filter(|_| open.is_begun)));
            let user = self.answers.requesters.get(&job.key).map_or(asked.sender.as_str(), |user| *user);
            assert_eq!((job.content_bytes, job.user.as_str()), (asked.content.as_str().len(), user));
            assert_eq!((job.responder.as_str(), job.conversation_id), ("echo", asked.conversation_id));
        }
    }
}

/// The time in an id: milliseconds, and microseconds in the twelve bits after the version.
fn creation_time(id: MessageId) -> WallTime {
    let bits = id.0.as_u128();
    WallTime((bits >> 80) as i64 * 1000 + (bits >> 64) as i64 % 4096)
}

//! The model of answer jobs and answers: which steps are accepted, and their effects.

use super::run::ModelRun;
use crate::common::*;
use cortex_core::internals::{
    AnswerStep, CommandKind, Committed, Content, ConversationId, ConversationRef, Event, EventBody, EventKind,
    JobClass, JobId, JobRange, Message, MessageId, Metadata, Outcome, QueryKind, QueryResult, Rejection, Role, Status,
    UserId, UserKey, WallTime,
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
    /// The first open job of each conversation, after the last commit.
    first: BTreeSet<JobId>,
}

struct Open {
    asked: MessageId,
    conversation: ConversationId,
    answer: Option<MessageId>,
}

impl Answers {
    /// Adds the job of a posted message. Every posted message is a user's, and one responder answers all.
    pub fn add_job(&mut self, asked: MessageId, event: &Event) {
        let key = JobId(event.number);
        self.made.push(key);
        self.open.insert(key, Open { asked, conversation: event.conversation_id.unwrap(), answer: None });
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
        Some(match self.random.below(9) {
            0..=2 => begin(job, &text),
            3..=5 => append(job, &text),
            6..=7 => finish(job, status, Some(&text)),
            _ => finish(job, status, None),
        })
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
            AnswerStep::Begin { .. } => open.answer.is_none(),
            AnswerStep::Append { .. } => open.answer.is_some(),
            AnswerStep::Echo { .. } | AnswerStep::Finish { .. } => true,
        });
        let (Some(open), Ok(Outcome::Answered { message_id, closed })) = (open.filter(|_| fits), result) else {
            assert!(!fits && matches!(result, Err(Rejection::Conflict(_))), "{step:?} {result:?}");
            return;
        };
        assert_eq!(*closed, matches!(step, AnswerStep::Finish { .. }));
        let (asked, conversation, answer) = (open.asked, open.conversation, open.answer);
        match step {
            AnswerStep::Begin { text, .. } => {
                let id = message_id.unwrap();
                self.answers.open.get_mut(&key).unwrap().answer = Some(id);
                self.answers.started.insert(id);
                self.answers.grown.insert(id);
                self.keep_answer(id, asked, conversation, Content::new_unchecked(text.clone()), Status::Streaming);
            }
            AnswerStep::Append { text } => {
                assert_eq!(*message_id, answer);
                self.answers.grown.insert(answer.unwrap());
                let message = self.model.messages.get_mut(&answer.unwrap()).unwrap().1.as_mut().unwrap();
                message.content = Content::new_unchecked(format!("{}{text}", message.content.as_str()));
            }
            AnswerStep::Echo { .. } => unreachable!("it is a finish with the message's text"),
            AnswerStep::Finish { status, text, .. } => {
                self.answers.open.remove(&key);
                let id = match (answer, text) {
                    (Some(id), _) => Some(self.finish(id, *status, text.as_ref(), events)),
                    (None, Some(text)) if *status != Status::Failed => {
                        let id = events.peek().and_then(|event| event.message_id()).unwrap();
                        self.keep_answer(id, asked, conversation, text.clone(), *status);
                        Some(self.finish(id, *status, None, events))
                    }
                    (None, _) => None,
                };
                assert_eq!(*message_id, id);
                if *status == Status::Failed {
                    let event = events.next().unwrap();
                    assert_eq!(event.kind, EventKind::OutputError);
                    let EventBody::Data(data) = &event.body else { panic!("{event:?}") };
                    assert!(data.contains(&asked.to_string()) && data.contains("answer_id") == id.is_some(), "{data}");
                    self.apply(RESPONDER, &append(key, ""), event);
                }
            }
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
        let about = |open: &Open| open.asked == deleted || open.answer == Some(deleted);
        let Some(key) = self.answers.open.iter().find(|(_, open)| about(open)).map(|(key, _)| *key) else { return };
        let open = self.answers.open.remove(&key).unwrap();
        if let Some(answer) = open.answer.filter(|answer| *answer != deleted) {
            self.finish(answer, Status::Cancelled, None, events);
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
            assert_eq!(job.user, asked.sender);
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
            let kind = QueryKind::Message(ConversationRef::Id(conversation), *id);
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
            assert_eq!((job.message_id, job.started), (open.asked, open.answer));
            assert_eq!((job.content_bytes, &job.user), (asked.content.as_str().len(), &asked.sender));
            assert_eq!((job.responder.as_str(), job.conversation_id), ("echo", asked.conversation_id));
        }
    }
}

/// The time in an id: milliseconds, and microseconds in the twelve bits after the version.
fn creation_time(id: MessageId) -> WallTime {
    let bits = id.0.as_u128();
    WallTime((bits >> 80) as i64 * 1000 + (bits >> 64) as i64 % 4096)
}

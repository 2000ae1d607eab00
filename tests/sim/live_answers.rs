//! Answers that run at one instance and are shown at all of them. The store of these runs has none, so commits get invented ones, whose texts
//! never begin. Each has the message that it answers as its own, so that it ends with the message, its conversation or its workspace.
//!
//! An instance that has received an answer has it exactly until the event comes out that ends it, with the recipients of that time.

use crate::model::Users;
use crate::world::*;
use cortex_core::internals::{
    AnswerStarted, BusMessage, CommitNotice, Committed, EventKind, EventNumber, JobId, LiveAnswer, UserId,
};
use std::collections::BTreeMap;

/// Answers of a run, which bounds the work of the checks.
const STARTED_MAX: usize = 32;

/// An answer, as it was started.
pub struct SimAnswer {
    started: AnswerStarted,
    /// The journal's position before and after its commit.
    before: u64,
    through: u64,
}

/// The answers that an instance has received.
pub struct ReceivedAnswers {
    /// By the answer's place, the number through which its recipients were known when it was received.
    known_at: BTreeMap<usize, u64>,
    /// The number through which it may lack events, which may have ended any answer that was known before: where it has started, or the
    /// end of a slice.
    lacking_through: u64,
}

impl ReceivedAnswers {
    /// Of an instance that has started at this position.
    pub fn new(position: EventNumber) -> ReceivedAnswers {
        ReceivedAnswers { known_at: BTreeMap::new(), lacking_through: position.0 }
    }

    /// Events through this number may be missing.
    pub fn forget(&mut self, through: EventNumber) {
        *self = ReceivedAnswers::new(through);
    }

    fn told(&mut self, answer: usize, known_at: u64) {
        if known_at >= self.lacking_through {
            self.known_at.entry(answer).or_insert(known_at);
        }
    }
}

impl World {
    /// Lets a commit start an answer to one of its messages.
    pub fn start_answer(&mut self, instance: usize, committed: &mut Committed) {
        if self.setup.instances == 1 || self.answers.len() >= STARTED_MAX || !self.chance(1, 2) {
            return;
        }
        let asked = committed.events.iter().find_map(|event| {
            let entry = self.model.entry(event.number.0).expect("it is committed");
            let place = event.conversation_id.and_then(|id| self.model.conversation_named(id))?;
            let is_asked = event.kind == EventKind::Input && !self.model.is_deleted(entry);
            is_asked.then_some((event, place))
        });
        let Some((event, place)) = asked else { return };
        let audience = self.model.audience(place);
        let users = (0..self.model.users.len()).filter(|user| audience & (1 << user) != 0);
        let number = self.answers.len() as u64 + 1;
        let message_id = event.message_id().expect("a message has an id");
        let started = AnswerStarted {
            job: JobId(EventNumber(number)),
            message_id,
            reply_to: message_id,
            conversation_id: self.model.conversations[place].id,
            workspace_id: event.workspace_id,
            recipients: users.map(|user| self.model.users[user].clone()).collect(),
            known_at: EventNumber::default(),
            sender: UserId::new_unchecked("responder:model"),
            correlation_id: event.correlation_id.clone(),
            live: LiveAnswer::default(),
        };
        trace!(self, "instance {instance}: answer {number} starts in {}", started.conversation_id);
        self.coverage.answers_started += 1;
        committed.started = [started.clone()].into();
        let (before, through) = (committed.before.0, committed.through.0);
        self.answers.push(SimAnswer { started, before, through });
    }

    /// An instance receives the answers that its own commit started.
    pub fn starts_reported(&mut self, instance: usize, committed: &Committed) {
        self.starts_told(instance, &committed.started, committed.before);
    }

    /// An instance receives answers in a notice.
    pub fn starts_noticed(&mut self, instance: usize, notice: &CommitNotice) {
        let position = self.process(instance).merger.position();
        for started in notice.started.iter() {
            self.coverage.answers_noticed += 1;
            self.coverage.answers_early += u64::from(notice.before > position);
            let is_over = self.is_over(&self.answers[place_of(started)], position.0);
            self.coverage.answers_late += u64::from(is_over);
        }
        self.starts_told(instance, &notice.started, notice.before);
    }

    fn starts_told(&mut self, instance: usize, started: &[AnswerStarted], known_at: EventNumber) {
        for started in started {
            let answer = place_of(started);
            self.process(instance).told.told(answer, known_at.0);
        }
    }

    /// An instance that lacks an answer requests it from all, and gets it from the one in which it runs.
    pub fn want_answer(&mut self, instance: usize) {
        if self.answers.is_empty() {
            return;
        }
        let place = self.below(self.answers.len());
        let message_id = self.answers[place].started.message_id;
        let has_it = |world: &World, instance: usize| {
            let process = world.instances[instance].as_ref().filter(|process| !process.stopped);
            process.and_then(|process| process.answers.get(message_id)).cloned()
        };
        let others = (0..self.setup.instances).filter(|other| *other != instance);
        let runs = |(_, started): &(usize, AnswerStarted)| started.live.owner().is_none();
        let found = others.filter_map(|other| Some((other, has_it(self, other)?))).find(runs);
        let Some((other, started)) = found.filter(|_| has_it(self, instance).is_none()) else { return };
        self.coverage.answers_wanted += 1;
        let process = self.process(other);
        let answer = started.for_other_instance(process.merger.position());
        process.port.send(Some(instance), BusMessage::Answer(answer));
    }

    /// Passes a requested answer to the merger.
    pub fn answer_received(&mut self, instance: usize, started: AnswerStarted) {
        let process = self.process(instance);
        if process.answers.get(started.message_id).is_some() {
            return;
        }
        process.told.told(place_of(&started), started.known_at.0);
        let mut passed = Vec::new();
        process.merger.answer_received(started, |committed| passed.push(committed));
        self.distribute(instance, passed);
    }

    /// Applies a commit to the answers of an instance, before its shards get it.
    pub fn update_answers(&mut self, instance: usize, committed: &Committed) {
        let process = self.instances[instance].as_mut().expect("the instance runs");
        for started in committed.started.iter() {
            let is_new = process.answers.get(started.message_id).is_none();
            assert!(is_new, "an answer starts twice at instance {instance}");
        }
        let running = |process: &Process| {
            let ids = self.answers.iter().map(|answer| answer.started.message_id);
            ids.filter(|id| process.answers.get(*id).is_some()).count()
        };
        let count = running(process) + committed.started.len();
        process.answers.committed(&committed.started, &committed.events);
        self.coverage.answers_ended += (count - running(process)) as u64;
    }

    /// Checks the answers of an instance.
    pub fn check_answers(&self, instance: usize) {
        let process = self.instances[instance].as_ref().expect("the instance runs");
        let position = process.merger.position().0;
        for (place, answer) in self.answers.iter().enumerate() {
            let found = process.answers.get(answer.started.message_id);
            let Some(known_at) = process.told.known_at.get(&place) else {
                assert!(found.is_none(), "instance {instance} has an answer that may be over");
                continue;
            };
            let is_over = self.is_over(answer, position);
            assert_eq!(found.is_some(), !is_over, "answer {place} at instance {instance}, which is at {position}");
            let Some(found) = found else { continue };
            // Within its commit, the recipients may be those of the moment or of its end.
            let at = position.max(*known_at);
            if at > answer.before && at < answer.through {
                continue;
            }
            let recipients = found.live.snapshot().recipients;
            let recipients = recipients.iter().fold(0, |users, id| users | 1 << self.model.user(id));
            assert_eq!(
                recipients,
                self.recipients_at(answer, at),
                "recipients of answer {place} at instance {instance}, which is at {position}"
            );
        }
    }

    fn is_over(&self, answer: &SimAnswer, position: u64) -> bool {
        let mut later = self.model.journal[answer.before as usize..].iter().map(|entry| &entry.event);
        later.any(|event| {
            let is_deleted = match event.kind {
                EventKind::ConversationDeleted => event.conversation_id == Some(answer.started.conversation_id),
                EventKind::MessageDeleted => event.message_id() == Some(answer.started.message_id),
                EventKind::WorkspaceDeleted => event.workspace_id == answer.started.workspace_id,
                _ => false,
            };
            is_deleted && event.number.0 <= position
        })
    }

    fn recipients_at(&self, answer: &SimAnswer, at: u64) -> Users {
        let later = self.model.journal[answer.through as usize..].iter();
        let mut changes = later.filter(|entry| {
            entry.event.number.0 <= at
                && entry.event.kind == EventKind::ConversationUpdated
                && entry.event.conversation_id == Some(answer.started.conversation_id)
        });
        let latest = changes.next_back().map(|entry| entry.recipients);
        let users = answer.started.recipients.iter();
        latest.unwrap_or_else(|| users.fold(0, |users, id| users | 1 << self.model.user(id)))
    }
}

/// The place of an answer among those of the run.
fn place_of(started: &AnswerStarted) -> usize {
    usize::try_from(started.job.0.0).expect("it is small") - 1
}

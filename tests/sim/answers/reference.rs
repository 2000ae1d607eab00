//! Properties of the answers, derived from the commits and independent of the scheduler's state.

use cortex_core::internals::{ConversationId, Event, EventKind, JobId, MessageId, Status, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// A message to be answered.
pub struct Asked {
    pub job: JobId,
    pub conversation: ConversationId,
    pub user: UserId,
    pub content: String,
    pub is_answered: bool,
}

#[derive(Default)]
pub struct Reference {
    pub asked: BTreeMap<MessageId, Asked>,
    /// The model's text in each attempt of each job.
    pub said: BTreeMap<JobId, Vec<String>>,
    /// Jobs whose answer a timeout may have ended before all text arrived.
    pub timed_out: BTreeSet<JobId>,
    /// The last answered job of each conversation.
    last_answered: BTreeMap<ConversationId, JobId>,
}

impl Reference {
    /// Records text of the model in its current attempt.
    pub fn say(&mut self, job: JobId, piece: &str) {
        let attempts = self.said.get_mut(&job).expect("the job has an attempt");
        attempts.last_mut().expect("the job has an attempt").push_str(piece);
    }

    /// Applies an event of a commit; returns whether it is an answer.
    pub fn event(&mut self, event: &Event) -> bool {
        let Some(message) = event.message() else { return false };
        match event.kind {
            EventKind::Input => {
                let asked = Asked {
                    job: JobId(event.number),
                    conversation: message.conversation_id,
                    user: message.sender.clone(),
                    content: message.content.as_str().to_owned(),
                    is_answered: false,
                };
                self.asked.insert(message.id, asked);
                false
            }
            EventKind::Output => {
                let Some(about) = message.reply_to else {
                    assert_eq!(message.status, Status::Cancelled, "only the deletion of the message ends its answer");
                    return true;
                };
                let asked = self.asked.get_mut(&about).expect("the message has a job");
                assert!(!asked.is_answered, "job {} is answered twice", asked.job.0);
                asked.is_answered = true;
                let before = self.last_answered.insert(asked.conversation, asked.job);
                assert!(before.is_none_or(|before| before < asked.job), "job {} is answered out of order", asked.job.0);
                let text = message.content.as_str();
                let said = self.said.get(&asked.job);
                match (message.status, said) {
                    (Status::Complete, None) => assert_eq!(text, asked.content, "an echo repeats the message"),
                    (Status::Complete, Some(said)) if !self.timed_out.contains(&asked.job) => {
                        assert_eq!(said.last().map(String::as_str), Some(text), "the answer is the model's text");
                    }
                    // A cancel may have the text of an attempt that is about to be given up.
                    (_, said) => {
                        let is_said = said.is_some_and(|said| said.iter().any(|said| said.starts_with(text)));
                        assert!(is_said, "job {}: {text:?} is not a prefix of {said:?}", asked.job.0);
                    }
                }
                true
            }
            _ => false,
        }
    }
}

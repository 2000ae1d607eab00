//! What must hold of the answers, whatever the scheduler believes: told from the commits alone.

use cortex_core::internals::{ConversationId, Event, EventKind, JobId, MessageId, Status};
use std::collections::BTreeMap;

/// A message that is to be answered.
pub struct Asked {
    pub job: JobId,
    pub conversation: ConversationId,
    pub content: String,
    pub is_answered: bool,
}

#[derive(Default)]
pub struct Reference {
    pub asked: BTreeMap<MessageId, Asked>,
    /// What the model has said in each attempt to answer each job.
    pub said: BTreeMap<JobId, Vec<String>>,
    /// The last job of each conversation that has an answer.
    last_answered: BTreeMap<ConversationId, JobId>,
}

impl Reference {
    /// The model says something in its present attempt.
    pub fn say(&mut self, job: JobId, piece: &str) {
        let attempts = self.said.get_mut(&job).expect("the model was asked");
        attempts.last_mut().expect("the model was asked").push_str(piece);
    }

    /// Takes in an event of a commit; returns whether it is an answer.
    pub fn event(&mut self, event: &Event) -> bool {
        let Some(message) = event.message() else { return false };
        match event.kind {
            EventKind::Input => {
                let asked = Asked {
                    job: JobId(event.number),
                    conversation: message.conversation_id,
                    content: message.content.as_str().to_owned(),
                    is_answered: false,
                };
                self.asked.insert(message.id, asked);
                false
            }
            EventKind::Output => {
                let Some(about) = message.reply_to else {
                    assert_eq!(message.status, Status::Cancelled, "the message is deleted, which ends its answer");
                    return true;
                };
                let asked = self.asked.get_mut(&about).expect("the message was asked");
                assert!(!asked.is_answered, "job {} is answered twice", asked.job.0);
                asked.is_answered = true;
                let before = self.last_answered.insert(asked.conversation, asked.job);
                assert!(before.is_none_or(|before| before < asked.job), "job {} is answered late", asked.job.0);
                let text = message.content.as_str();
                let said = self.said.get(&asked.job);
                match (message.status, said) {
                    (Status::Complete, None) => assert_eq!(text, asked.content, "an echo says the same"),
                    (Status::Complete, Some(said)) => {
                        assert_eq!(said.last().map(String::as_str), Some(text), "an answer is what the model said");
                    }
                    // A cancel may bring the text of an attempt that is just being given up.
                    (_, said) => {
                        let is_said = said.is_some_and(|said| said.iter().any(|said| said.starts_with(text)));
                        assert!(is_said, "job {}: {text:?} is not the beginning of {said:?}", asked.job.0);
                    }
                }
                true
            }
            _ => false,
        }
    }
}

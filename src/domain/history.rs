//! What a conversation contributes to the request for an answer.

use crate::domain::answer_job::Turn;
use crate::domain::id::{EventNumber, UserId};
use crate::domain::model::Content;
use std::sync::Arc;

/// The part of a conversation that the answer to one of its messages depends on, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The texts of users and assistants, oldest first. The last is the message to answer.
    pub turns: Vec<Turn>,
    /// The texts of the conversation's `system` messages, oldest first.
    pub system: Vec<Content>,
    /// The conversation's settings.
    pub settings: AnswerSettings,
    /// The recipients of the conversation's events.
    pub recipients: Arc<[UserId]>,
    /// The journal's position in the snapshot.
    pub position: EventNumber,
}

impl History {
    /// The bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.turns.iter().map(|turn| &turn.text).chain(&self.system).map(|text| text.as_str().len()).sum()
    }
}

/// The settings of a conversation that determine the request for an answer, from its metadata. An absent setting is left to
/// the server's settings or to the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerSettings {
    /// The name of the model.
    pub model: Option<Arc<str>>,
    /// The conversation's system prompt.
    pub system_prompt: Option<Arc<str>>,
    /// The temperature, a JSON number.
    pub temperature: Option<Arc<str>>,
    /// The probability mass that is sampled from, a JSON number.
    pub top_p: Option<Arc<str>>,
    /// Maximum number of tokens of the answer.
    pub max_tokens: Option<u64>,
    /// Texts at which the answer ends.
    pub stop: Vec<Arc<str>>,
}

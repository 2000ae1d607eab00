//! Lengths of JSON texts, so that a list can be bounded before it is written.
//!
//! Invariant: `json_bytes` is exactly the number of bytes that the writer of the same value appends.

use crate::domain::id::UserId;
use crate::domain::model::{AnswerSummary, Conversation, Message, Workspace};
use crate::domain::page::ConversationView;
use crate::domain::search::SearchResult;
use crate::wire::json::string_bytes;

/// Length of a UUID without quotes.
const UUID_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;
/// Length of a time without quotes.
const TIME_BYTES: usize = 27;

/// A value with a JSON text in responses.
pub(crate) trait JsonBytes {
    /// The length of the JSON text, in bytes.
    fn json_bytes(&self) -> usize;
}

impl JsonBytes for Workspace {
    fn json_bytes(&self) -> usize {
        const FRAME: usize = r#"{"id":"","name":,"description":,"owner_id":,"metadata":}"#.len() + UUID_BYTES;
        FRAME
            + string_bytes(self.name.as_str())
            + string_bytes(self.description.as_str())
            + string_bytes(self.owner.as_str())
            + self.metadata.as_str().len()
    }
}

impl JsonBytes for Conversation {
    fn json_bytes(&self) -> usize {
        const FRAME: usize =
            r#"{"id":"","workspace_id":"","topic":,"participant_ids":,"metadata":}"#.len() + 2 * UUID_BYTES;
        FRAME + string_bytes(self.topic.as_str()) + ids_bytes(&self.participants) + self.metadata.as_str().len()
    }
}

impl JsonBytes for Message {
    fn json_bytes(&self) -> usize {
        const FRAME: usize =
            r#"{"id":"","conversation_id":"","sender_id":,"sender_name":,"role":"","content":,"timestamp":"","updated_at":"","status":"","metadata":}"#
                .len()
                + 2 * UUID_BYTES
                + 2 * TIME_BYTES;
        FRAME
            + string_bytes(self.sender.as_str())
            + string_bytes(&self.sender_name)
            + self.role.as_str().len()
            + string_bytes(self.content.as_str())
            + self.status.as_str().len()
            + self.metadata.as_str().len()
            + error_bytes(self.error.as_deref())
            + self.answer.as_deref().map_or(0, answer_bytes)
            + self.reasoning.as_ref().map_or(0, |text| r#","reasoning":"#.len() + string_bytes(text))
    }
}

fn answer_bytes(answer: &AnswerSummary) -> usize {
    const FRAME: usize = r#","answer":{"status":""}"#.len();
    const ID: usize = r#","message_id":"""#.len() + UUID_BYTES;
    let id = answer.message_id.map_or(0, |_| ID);
    FRAME + answer.phase.as_str().len() + id + error_bytes(answer.error.as_deref())
}

fn error_bytes(error: Option<&str>) -> usize {
    error.map_or(0, |error| r#","error":"#.len() + string_bytes(error))
}

impl JsonBytes for SearchResult {
    fn json_bytes(&self) -> usize {
        const FRAME: usize = r#"{"message":,"snippet":}"#.len();
        FRAME + self.message.json_bytes() + string_bytes(&self.snippet)
    }
}

impl JsonBytes for ConversationView {
    fn json_bytes(&self) -> usize {
        const FRAME: usize =
            r#"{"id":"","title":,"workspace_id":"","participant_ids":,"messages":[],"message_count":,"created_at":"","updated_at":"","metadata":}"#
                .len()
                + 2 * UUID_BYTES
                + 2 * TIME_BYTES;
        let Conversation { topic, participants, metadata, message_count, .. } = &self.conversation;
        let digits = message_count.checked_ilog10().unwrap_or(0) as usize + 1;
        let messages: usize = self.last.messages.iter().map(Message::json_bytes).sum();
        FRAME
            + string_bytes(topic.as_str())
            + ids_bytes(participants)
            + messages
            + self.last.messages.len().saturating_sub(1)
            + digits
            + metadata.as_str().len()
    }
}

/// The length of an array of user ids.
fn ids_bytes(ids: &[UserId]) -> usize {
    let texts: usize = ids.iter().map(|id| string_bytes(id.as_str())).sum();
    2 + texts + ids.len().saturating_sub(1)
}

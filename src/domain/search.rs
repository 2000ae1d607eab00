//! Searches for messages by their words.

use crate::domain::command::ConversationRef;
use crate::domain::id::{MessageId, WorkspaceId};
use crate::domain::model::Message;
use std::sync::Arc;

/// The mark before a match in a snippet, a character of private use, which the rest of the snippet does not have.
pub const MATCH_START: char = '\u{e000}';
/// The mark after a match in a snippet.
pub const MATCH_END: char = '\u{e001}';

/// A search for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// What a message must have, and must not have. At least one term is not excluded.
    pub terms: Arc<[SearchTerm]>,
    /// Only messages of this conversation.
    pub conversation: Option<ConversationRef>,
    /// Only messages of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// The maximum number of messages.
    pub limit: u32,
    /// Only messages before this one. The id of a deleted message still marks its place.
    pub before: Option<MessageId>,
}

/// A part of a search: words that are next to each other in a message, usually a single one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerm {
    /// The words as sent. The store cuts them as it cuts the words of messages.
    pub words: Box<str>,
    /// Whether the last word may continue.
    pub is_prefix: bool,
    /// Whether messages with these words are left out.
    pub is_excluded: bool,
}

/// The messages that match, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// The messages.
    pub results: Vec<SearchResult>,
    /// A lower bound of the number of messages that match. It is greater than the number of `results` if there are more.
    pub total_is_at_least: u64,
    /// Whether the page ended early because of its size.
    pub truncated: bool,
}

/// A message that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchResult {
    /// The message.
    pub message: Message,
    /// A part of its text, on one line, around the first match. [`MATCH_START`] and [`MATCH_END`] enclose the matches.
    pub snippet: String,
}

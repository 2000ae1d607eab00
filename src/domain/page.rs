//! Pages: the parts of lists that queries select and return.

use crate::domain::model::{Conversation, Message};

/// The part of a list that a request selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pagination {
    /// The maximum number of items.
    pub limit: u32,
    /// The number of items to skip.
    pub offset: u64,
}

/// The selected part of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The number of items in the whole list.
    pub total: u64,
    /// Whether the page ended early because of its size.
    pub truncated: bool,
}

/// A conversation with its last messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationView {
    /// The conversation.
    pub conversation: Conversation,
    /// Its last messages, if the query includes them.
    pub last: MessagePage,
}

/// Neighbouring messages of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether messages were left out because of the page's size.
    pub truncated: bool,
    /// The end of the selection that a truncated page keeps. A client continues from the other end.
    pub kept: TruncatedEnd,
}

/// The end of a selection of messages that a truncated page keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruncatedEnd {
    /// The oldest messages: the client pages towards the newest.
    Oldest,
    /// The newest messages: the client pages towards the oldest.
    Newest,
}

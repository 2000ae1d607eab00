//! The parameters of a stream.

use crate::domain::command::ConversationRef;
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::query::StreamFilter;
use std::fmt;
use uuid::Uuid;

/// The id of an open stream. It is random, and only the stream's user receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub Uuid);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// The parameters of a stream to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Selects the events.
    pub filter: StreamFilter,
    /// Whether frames have an `event:` line.
    pub named: bool,
    /// The position at which the stream starts.
    pub start: StreamStart,
}

/// The parameters of a stream of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerSubscription {
    /// The conversation.
    pub conversation: ConversationRef,
    /// The answer, or the message that it answers.
    pub message: MessageId,
    /// Whether frames have an `event:` line.
    pub named: bool,
    /// The offset in the text at which the stream starts, in bytes. `Now` is the beginning.
    pub start: StreamStart,
}

/// The position at which a stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// Live: the next event.
    Now,
    /// The first event after this number.
    After(EventNumber),
    /// `Last-Event-ID` is not a valid event number: send `gap`, then live events.
    Unknown,
}

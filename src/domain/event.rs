//! What a stream delivers.

use crate::base::time::WallTime;
use crate::domain::id::*;
use crate::domain::model::Message;
use std::sync::Arc;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The kinds of events, journalled and not, by their names in the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum EventKind {
            $($(#[$doc])* $variant,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[EventKind] = &[$(EventKind::$variant),*];

            /// The name in the API.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventKind::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A message of a person or program.
    Input = "input",
    /// A finished answer.
    Output = "output",
    /// A piece of an answer; not journalled.
    OutputDelta = "output_delta",
    /// The text of an answer so far; not journalled.
    OutputSnapshot = "output_snapshot",
    /// An answer that failed.
    OutputError = "output_error",
    /// A message was changed.
    MessageUpdated = "message_updated",
    /// A message was deleted.
    MessageDeleted = "message_deleted",
    /// A conversation was made.
    ConversationCreated = "conversation_created",
    /// A conversation was changed.
    ConversationUpdated = "conversation_updated",
    /// A conversation was deleted.
    ConversationDeleted = "conversation_deleted",
    /// The receiver no longer takes part.
    ConversationLeft = "conversation_left",
    /// A workspace was made.
    WorkspaceCreated = "workspace_created",
    /// A workspace was changed.
    WorkspaceUpdated = "workspace_updated",
    /// A workspace was deleted.
    WorkspaceDeleted = "workspace_deleted",
    /// Control: the stream is open.
    ConnectionEstablished = "connection_established",
    /// Control: the replay is over.
    CaughtUp = "caught_up",
    /// Control: nothing new.
    Heartbeat = "heartbeat",
    /// Control: something is gone.
    Gap = "gap",
    /// Control: the token ends soon.
    TokenExpiring = "token_expiring",
    /// Control: the token has ended.
    TokenExpired = "token_expired",
    /// Control: the server stops.
    ServerShutdown = "server_shutdown",
}

impl EventKind {
    /// Reads the name in the API.
    pub fn parse(raw: &str) -> Option<EventKind> {
        EventKind::ALL.iter().copied().find(|kind| kind.as_str() == raw)
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindSet(u32);

impl KindSet {
    /// Every kind.
    pub const ALL: KindSet = KindSet(u32::MAX);
    /// No kind.
    pub const NONE: KindSet = KindSet(0);

    /// This set and `kind`.
    pub fn with(self, kind: EventKind) -> KindSet {
        KindSet(self.0 | 1 << kind as u8)
    }

    /// Whether `kind` is in it.
    pub fn has(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

/// What happened, with everything that a stream needs to deliver it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the journal.
    pub number: EventNumber,
    /// What it is.
    pub kind: EventKind,
    /// When it was committed, strictly later than the event before.
    pub at: WallTime,
    /// Who caused it.
    pub actor: UserId,
    /// The request that caused it.
    pub correlation_id: Arc<str>,
    /// The workspace that it happened in.
    pub workspace_id: WorkspaceId,
    /// The conversation that it happened in, if in one.
    pub conversation_id: Option<ConversationId>,
    /// Who gets it. Empty in a journal page, which is for one user.
    pub recipients: Arc<[UserId]>,
    /// What it says.
    pub body: EventBody,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// `input` and `output`: the message is the event. `message_updated`: the message that was changed, as it is when the
    /// event is read.
    Message(Message),
    /// `message_deleted`: which message is gone.
    Deleted(MessageId),
    /// Every other kind: the JSON text of `data`, as it was journalled.
    Data(Arc<str>),
}

impl Event {
    /// The message that this event is or changed, if there is one.
    pub fn message(&self) -> Option<&Message> {
        match &self.body {
            EventBody::Message(message) => Some(message),
            EventBody::Deleted(_) | EventBody::Data(_) => None,
        }
    }

    /// The message that this event is about.
    pub fn message_id(&self) -> Option<MessageId> {
        match &self.body {
            EventBody::Message(message) => Some(message.id),
            EventBody::Deleted(id) => Some(*id),
            EventBody::Data(_) => None,
        }
    }

    /// What the event holds in memory, about, in bytes.
    pub fn weight(&self) -> usize {
        const BASE: usize = 256;
        BASE + match &self.body {
            EventBody::Message(message) => message.content.as_str().len() + message.metadata.as_str().len(),
            EventBody::Deleted(_) => 0,
            EventBody::Data(json) => json.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_and_sets() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(*kind));
            assert!(KindSet::ALL.has(*kind) && !KindSet::NONE.has(*kind));
            assert!(KindSet::NONE.with(*kind).has(*kind));
        }
        assert_eq!(EventKind::parse("outputs"), None);
    }
}

//! Events: what streams deliver.

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
    /// A message from a user.
    Input = "input",
    /// A finished answer.
    Output = "output",
    /// A piece of an answer's text; not journalled.
    OutputDelta = "output_delta",
    /// A piece of the model's reasoning; not journalled.
    OutputReasoningDelta = "output_reasoning_delta",
    /// The text of a running answer; not journalled.
    OutputSnapshot = "output_snapshot",
    /// An answer that ended without text.
    OutputError = "output_error",
    /// The answer to a message is queued, has started, or is to be retried; not journalled.
    AnswerStatus = "answer_status",
    /// A message was changed.
    MessageUpdated = "message_updated",
    /// A message was deleted.
    MessageDeleted = "message_deleted",
    /// A conversation was created.
    ConversationCreated = "conversation_created",
    /// A conversation was changed.
    ConversationUpdated = "conversation_updated",
    /// A conversation was deleted.
    ConversationDeleted = "conversation_deleted",
    /// The recipient is no longer a participant.
    ConversationLeft = "conversation_left",
    /// A workspace was created.
    WorkspaceCreated = "workspace_created",
    /// A workspace was changed.
    WorkspaceUpdated = "workspace_updated",
    /// A workspace was deleted.
    WorkspaceDeleted = "workspace_deleted",
    /// Control: the stream is open.
    ConnectionEstablished = "connection_established",
    /// Control: the replay is complete.
    CaughtUp = "caught_up",
    /// Control: the stream is alive.
    Heartbeat = "heartbeat",
    /// Control: events are missing.
    Gap = "gap",
    /// Control: the token expires soon.
    TokenExpiring = "token_expiring",
    /// Control: the token has expired.
    TokenExpired = "token_expired",
    /// Control: the server is shutting down.
    ServerShutdown = "server_shutdown",
    /// Control: no stream can be opened at the moment.
    Unavailable = "unavailable",
}

impl EventKind {
    /// The kinds that `types=output` names.
    pub const OF_ANSWERS: &[EventKind] = &[
        EventKind::Output,
        EventKind::OutputDelta,
        EventKind::OutputReasoningDelta,
        EventKind::OutputSnapshot,
        EventKind::OutputError,
        EventKind::AnswerStatus,
    ];

    /// Whether it is a control event, which every stream gets whatever its filter.
    pub fn is_control(self) -> bool {
        use EventKind::*;
        matches!(
            self,
            ConnectionEstablished
                | CaughtUp
                | Heartbeat
                | Gap
                | TokenExpiring
                | TokenExpired
                | ServerShutdown
                | Unavailable
        )
    }

    /// Whether it outlives its subject, so that a client that was away learns of the removal.
    pub fn is_tombstone(self) -> bool {
        matches!(self, EventKind::ConversationLeft | EventKind::ConversationDeleted | EventKind::WorkspaceDeleted)
    }

    /// Whether an event of this kind may end an answer, or change who may see it.
    pub(crate) fn may_change_answers(self) -> bool {
        use EventKind::*;
        matches!(
            self,
            Output | OutputError | MessageDeleted | ConversationUpdated | ConversationDeleted | WorkspaceDeleted
        )
    }

    /// Parses the name in the API.
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

/// An event, with everything that is needed to deliver it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in the journal.
    pub number: EventNumber,
    /// Its kind.
    pub kind: EventKind,
    /// When it was committed, strictly later than the event before.
    pub at: WallTime,
    /// The user that caused it.
    pub actor: UserId,
    /// The request that caused it.
    pub correlation_id: Arc<str>,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// Its conversation, if it has one.
    pub conversation_id: Option<ConversationId>,
    /// Its recipients. Empty in a journal page, which is for one user.
    pub recipients: Arc<[UserId]>,
    /// Its contents.
    pub body: EventBody,
}

/// The contents of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// The message: of `input` and `output`, the event itself; of `message_updated`, the changed message as it is when the event
    /// is read.
    Message(Message),
    /// The id of the deleted message: `message_deleted`.
    Deleted(MessageId),
    /// The message to answer, and the JSON text of `data`: `output_error`.
    Unanswered(MessageId, Arc<str>),
    /// The JSON text of `data`, as it was journalled: all other kinds.
    Data(Arc<str>),
}

impl Event {
    /// The message in the event, if it has one.
    pub fn message(&self) -> Option<&Message> {
        match &self.body {
            EventBody::Message(message) => Some(message),
            EventBody::Deleted(_) | EventBody::Unanswered(..) | EventBody::Data(_) => None,
        }
    }

    /// The id of the message that the event is about.
    pub fn message_id(&self) -> Option<MessageId> {
        match &self.body {
            EventBody::Message(message) => Some(message.id),
            EventBody::Deleted(id) | EventBody::Unanswered(id, _) => Some(*id),
            EventBody::Data(_) => None,
        }
    }

    /// About the bytes that the event holds in memory.
    pub fn weight(&self) -> usize {
        const BASE: usize = 256;
        BASE + match &self.body {
            EventBody::Message(message) => message.content.as_str().len() + message.metadata.as_str().len(),
            EventBody::Deleted(_) => 0,
            EventBody::Unanswered(_, json) | EventBody::Data(json) => json.len(),
        }
    }

    /// About the bytes of its frame in a stream if its texts need no escapes, and at least its weight.
    pub fn frame_bytes(&self) -> usize {
        const MESSAGE_FIELDS: usize = 104;
        const ANSWER_FIELDS: usize = 112;
        let of_message = match &self.body {
            EventBody::Message(message) => {
                let answer_fields = if self.kind == EventKind::Input { 0 } else { ANSWER_FIELDS };
                MESSAGE_FIELDS + answer_fields + message.sender_name.len()
            }
            EventBody::Deleted(_) | EventBody::Unanswered(..) | EventBody::Data(_) => 0,
        };
        self.weight() + self.actor.as_str().len() + self.correlation_id.len() + of_message
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

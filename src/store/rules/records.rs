//! Rows as the rules read and write them: plain values, the same for every engine.

use crate::base::time::WallTime;
use crate::domain::answer_job::JobId;
use crate::domain::command::ApiVariant;
use crate::domain::event::EventKind;
use crate::domain::id::{ConversationId, EventNumber, RESPONDER_PREFIX, UserId, WorkspaceId};
use crate::domain::model::{Message, UserStatus, Workspace};
use crate::domain::responder::ResponderKind;
use crate::domain::result::{Rejection, Resource};
use std::sync::Arc;

/// A user. Never changed in place, so that the writer's cache can share it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UserRow {
    /// The key by which other rows refer to the user.
    pub key: i64,
    pub id: UserId,
    pub name: Arc<str>,
    pub email: Arc<str>,
    pub status: UserStatus,
    pub has_password: bool,
    pub default_workspace: Option<EventNumber>,
    pub default_conversation: Option<EventNumber>,
}

impl UserRow {
    pub(crate) fn reference(&self) -> UserRef {
        UserRef { key: self.key, id: self.id.clone() }
    }
}

/// A user's key in the database and id in the API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UserRef {
    pub key: i64,
    pub id: UserId,
}

/// A workspace that is not deleted.
#[derive(Debug)]
pub(crate) struct WorkspaceRow {
    pub workspace: Workspace,
    pub reference: WorkspaceRef,
}

/// A workspace, as far as access checks and events need it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkspaceRef {
    pub number: EventNumber,
    pub created_at: WallTime,
    pub id: WorkspaceId,
    pub owner: UserRef,
}

/// Who may see a conversation, and who receives its events. Never changed in place, so that the writer's cache can share it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConversationAccess {
    pub number: EventNumber,
    pub created_at: WallTime,
    pub id: ConversationId,
    pub workspace: Arc<WorkspaceRef>,
    /// In the order in which they joined.
    pub participants: Vec<UserRef>,
    /// The participants, then the workspace's owner unless among them; shared by all events of the conversation.
    pub recipients: Arc<[UserId]>,
    /// The keys of `recipients`, in the same order.
    pub recipient_keys: Vec<i64>,
    /// The responder that the metadata chooses, whether allowed or not.
    pub responder: Option<Arc<str>>,
}

impl ConversationAccess {
    pub(crate) fn new(
        number: EventNumber,
        created_at: WallTime,
        id: ConversationId,
        workspace: Arc<WorkspaceRef>,
        participants: Vec<UserRef>,
        responder: Option<Arc<str>>,
    ) -> ConversationAccess {
        let owner = &workspace.owner;
        let owner_apart = participants.iter().all(|user| user.key != owner.key).then_some(owner);
        let recipients = participants.iter().chain(owner_apart).map(|user| user.id.clone()).collect();
        let recipient_keys = participants.iter().chain(owner_apart).map(|user| user.key).collect();
        ConversationAccess { number, created_at, id, workspace, participants, recipients, recipient_keys, responder }
    }

    /// The same conversation with other participants.
    pub(crate) fn with_participants(&self, participants: Vec<UserRef>) -> ConversationAccess {
        let (workspace, responder) = (self.workspace.clone(), self.responder.clone());
        ConversationAccess::new(self.number, self.created_at, self.id, workspace, participants, responder)
    }

    pub(crate) fn is_owner(&self, user: &UserId) -> bool {
        self.workspace.owner.id == *user
    }

    pub(crate) fn has_participant(&self, user: &UserId) -> bool {
        self.participants.iter().any(|participant| participant.id == *user)
    }

    /// Whether the user may see the conversation.
    ///
    /// # Errors
    /// For other users the conversation is forbidden; the conversations API does not even tell them that it exists.
    pub(crate) fn authorize(&self, user: &UserId, api_variant: ApiVariant) -> Result<(), Rejection> {
        match api_variant {
            _ if self.is_owner(user) || self.has_participant(user) => Ok(()),
            ApiVariant::Config => Err(Rejection::Forbidden("the conversation is someone else's")),
            ApiVariant::Conversations => Err(Rejection::NotFound(Resource::Conversation)),
        }
    }

    /// The participants' ids, in the order in which they joined.
    pub(crate) fn participant_ids(&self) -> Arc<[UserId]> {
        self.recipients[..self.participants.len()].into()
    }
}

/// What one transaction changes in a conversation's state.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConversationUpdate {
    pub messages_added: i64,
    pub updated_at: WallTime,
    /// The newest message added; 0 if none was.
    pub last_number: EventNumber,
}

/// A message to insert.
pub(crate) struct NewMessageRow<'a> {
    pub conversation: EventNumber,
    pub sender_key: i64,
    pub message: &'a Message,
    pub correlation_id: &'a str,
    /// The message that this one answers.
    pub reply_to: Option<EventNumber>,
    pub publication: Publication,
}

/// The kind of the event that a message of `sender` is. Messages of responders are answers, whatever their role.
pub(crate) fn message_event_kind(sender: &UserId) -> EventKind {
    if sender.as_str().starts_with(RESPONDER_PREFIX) { EventKind::Output } else { EventKind::Input }
}

/// How a message enters the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publication {
    /// The message is its own journal entry, under its own number.
    OwnEntry,
    /// The message still grows. An event of its own publishes it when it is complete.
    Pending,
}

/// An event with a row of its own, to insert.
pub(crate) struct NewEventRow<'a> {
    pub kind: EventKind,
    pub actor_key: i64,
    pub correlation_id: &'a str,
    pub workspace: &'a WorkspaceRef,
    /// The conversation's number and creation time.
    pub conversation: Option<(EventNumber, WallTime)>,
    /// Number and creation time of the message that is published, or was changed or deleted.
    pub message: Option<(EventNumber, WallTime)>,
    /// The event's `data`; empty if it is built from the message.
    pub payload: &'a str,
    pub recipient_keys: &'a [i64],
}

impl NewEventRow<'_> {
    /// The weight of the event's rows, in bytes.
    pub(crate) fn bytes(&self) -> i64 {
        EVENT_BYTES
            + (self.correlation_id.len() + self.payload.len()) as i64
            + self.recipient_keys.len() as i64 * RECIPIENT_BYTES
    }
}

/// The weight of an event's row beside its texts, in bytes.
pub(crate) const EVENT_BYTES: i64 = 64;

/// The weight of one recipient of an event, in bytes: the row with its index entry.
pub(crate) const RECIPIENT_BYTES: i64 = 16;

/// Whether retention may remove events of this kind. Only those are counted in [`JournalStats`].
pub(crate) fn expires(kind: EventKind) -> bool {
    kind != EventKind::Output
}

/// How many expiring events the journal has, and what they weigh with their recipients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JournalStats {
    pub events: i64,
    pub bytes: i64,
}

/// The newest number and time that the journal has given out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct JournalHead {
    pub number: EventNumber,
    pub at: WallTime,
}

/// An open answer job, as a step of its answer needs it.
pub(crate) struct OpenJob {
    pub key: JobId,
    pub conversation: EventNumber,
    /// When the message to answer was created.
    pub asked_at: WallTime,
    pub correlation_id: Arc<str>,
    pub responder: ResponderKind,
    /// The answer's message, once the answer has started.
    pub answer: Option<EventNumber>,
}

/// The response to the first request with an idempotency key.
pub(crate) struct StoredResponse {
    pub fingerprint: [u8; 32],
    /// The number of the first request's own event.
    pub number: Option<EventNumber>,
    pub body: Arc<[u8]>,
}

/// The numbers through which inboxes are complete. A flush adds the messages through `flushing_through` to one inbox after
/// the other, by the users' keys, in as many transactions as it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InboxWatermark {
    pub flushed_through: EventNumber,
    /// Equal to `flushed_through` while no flush is under way.
    pub flushing_through: EventNumber,
    /// The flush is done for users whose key is below this.
    pub users_below: i64,
}

impl InboxWatermark {
    /// Whether a flush has begun and not ended.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing_through > self.flushed_through
    }

    /// The number through which the inbox of the user with this key is complete.
    pub(crate) fn complete_for(&self, user_key: i64) -> EventNumber {
        if user_key < self.users_below { self.flushing_through } else { self.flushed_through }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_tells_users_apart_during_a_flush() {
        let watermark =
            InboxWatermark { flushed_through: EventNumber(10), flushing_through: EventNumber(20), users_below: 3 };
        assert!(watermark.is_flushing());
        assert_eq!([2, 3].map(|user| watermark.complete_for(user).0), [20, 10]);
    }
}

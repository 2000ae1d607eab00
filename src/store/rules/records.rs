//! The rows that the rules read and write: plain values, the same for every engine.

use crate::base::time::WallTime;
use crate::domain::answer_job::{JobId, UserKey};
use crate::domain::command::ApiVariant;
use crate::domain::event::EventKind;
use crate::domain::id::{ConversationId, EventNumber, InstanceId, RESPONDER_PREFIX, UserId, WorkspaceId};
use crate::domain::model::{Message, Status, UserStatus, Workspace};
use crate::domain::responder::ResponderKind;
use crate::domain::result::{Rejection, Resource};
use crate::domain::token_rules::TokenRule;
use crate::domain::usage::{Day, TokenUsage};
use crate::store::rules::age::AgeTime;
use std::sync::Arc;

/// A user. The value is immutable, so that the writer's cache can share it.
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
    /// The rule about the user's tokens.
    pub token_rule: Option<TokenRule>,
    /// Whether the user was only named as a participant, and has written nothing.
    pub only_named: bool,
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

/// The fields of a workspace that access checks and events need.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkspaceRef {
    pub number: EventNumber,
    pub created_at: WallTime,
    pub id: WorkspaceId,
    pub owner: UserRef,
}

/// A deleted workspace, some participants of which are not notified yet.
pub(crate) struct WorkspaceDeletion {
    /// The number of the deletion's own event.
    pub number: EventNumber,
    pub workspace: WorkspaceRef,
    /// The user who deleted the workspace.
    pub actor: UserId,
    /// The id of the request that deleted it.
    pub correlation_id: Arc<str>,
    /// The last participant who is notified.
    pub notified: ParticipantCursor,
}

/// A position among the participants of a workspace, who are in the order of their conversations and keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ParticipantCursor {
    pub conversation: EventNumber,
    pub user_key: i64,
}

/// Some participants of the conversations of a workspace. A user who participates in several occurs several times.
pub(crate) struct WorkspaceParticipants {
    pub users: Vec<UserRef>,
    /// The position of the last row that was examined; `None` if no rows are left.
    pub cursor: Option<ParticipantCursor>,
}

/// The users who may see a conversation and receive its events. The value is immutable, so that the writer's cache can share
/// it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConversationAccess {
    pub number: EventNumber,
    pub created_at: WallTime,
    pub id: ConversationId,
    pub workspace: Arc<WorkspaceRef>,
    /// The participants, in the order in which they joined.
    pub participants: Vec<UserRef>,
    /// The participants, and the workspace's owner. All events of the conversation share the list.
    pub recipients: Arc<[UserId]>,
    /// The keys of `recipients`, in the same order.
    pub recipient_keys: Vec<i64>,
    /// The responder that the metadata chooses, even if it is not allowed.
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
        let other_owner = participants.iter().all(|user| user.key != owner.key).then_some(owner);
        let recipients = participants.iter().chain(other_owner).map(|user| user.id.clone()).collect();
        let recipient_keys = participants.iter().chain(other_owner).map(|user| user.key).collect();
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

    /// Checks that the user may see the conversation.
    ///
    /// # Errors
    /// Fails for other users: with `Forbidden`, or with `NotFound` in the conversations API, which does not reveal that the
    /// conversation exists.
    pub(crate) fn authorize(&self, user: &UserId, api_variant: ApiVariant) -> Result<(), Rejection> {
        match api_variant {
            _ if self.is_owner(user) || self.has_participant(user) => Ok(()),
            ApiVariant::Config => Err(Rejection::Forbidden("the caller is not a participant of the conversation")),
            ApiVariant::Conversations | ApiVariant::OpenAi => Err(Rejection::NotFound(Resource::Conversation)),
        }
    }

    /// The participants' ids, in the order in which they joined.
    pub(crate) fn participant_ids(&self) -> Arc<[UserId]> {
        self.recipients[..self.participants.len()].into()
    }
}

/// The changes of one transaction to a conversation's state.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConversationUpdate {
    pub messages_added: i64,
    pub updated_at: WallTime,
    /// The newest message added; 0 if no message was added.
    pub last_number: EventNumber,
}

/// The origin of an event.
pub(crate) struct EventOrigin {
    /// Its number.
    pub number: EventNumber,
    /// Its time.
    pub at: WallTime,
    /// The user that caused it.
    pub actor: UserId,
    /// The request that caused it.
    pub correlation_id: Arc<str>,
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

/// The kind of the message event of a message by `sender`. Messages of responders are `output`, whatever their role.
pub(crate) fn message_event_kind(sender: &UserId) -> EventKind {
    if sender.as_str().starts_with(RESPONDER_PREFIX) { EventKind::Output } else { EventKind::Input }
}

/// How a message enters the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publication {
    /// The message is its own journal entry, under its own number.
    OwnEntry,
    /// The message is still streaming. A separate event publishes it when it is complete.
    Pending,
}

/// An event to insert into the table of state events.
pub(crate) struct NewEventRow<'a> {
    pub kind: EventKind,
    pub actor_key: i64,
    pub correlation_id: &'a str,
    pub workspace: &'a WorkspaceRef,
    /// The conversation's number and creation time.
    pub conversation: Option<(EventNumber, WallTime)>,
    /// The number and creation time of the message that the event publishes, or that was changed or deleted.
    pub message: Option<(EventNumber, WallTime)>,
    /// The event's `data`; empty if it is derived from the message.
    pub payload: &'a str,
    pub recipient_keys: &'a [i64],
}

impl NewEventRow<'_> {
    /// The weight of the event and its recipients, in bytes.
    pub(crate) fn bytes(&self) -> i64 {
        EVENT_BYTES
            + (self.correlation_id.len() + self.payload.len()) as i64
            + self.recipient_keys.len() as i64 * RECIPIENT_BYTES
    }
}

/// The weight of an event's row without its texts, in bytes.
pub(crate) const EVENT_BYTES: i64 = 64;

/// The weight of one recipient of an event, in bytes: the row with its index entry.
pub(crate) const RECIPIENT_BYTES: i64 = 16;

/// Whether retention may remove events of this kind. Only such events are counted in [`JournalStats`].
pub(crate) fn expires(kind: EventKind) -> bool {
    kind != EventKind::Output
}

/// The number and weight of the expiring events in the journal, or a change of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JournalStats {
    pub events: i64,
    /// The weight of the events and their recipients, in bytes.
    pub bytes: i64,
}

impl std::ops::AddAssign for JournalStats {
    fn add_assign(&mut self, added: JournalStats) {
        self.events += added.events;
        self.bytes += added.bytes;
    }
}

/// The newest number and time that the journal has assigned.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct JournalHead {
    pub number: EventNumber,
    pub at: WallTime,
    /// The age of the database when it was last stored.
    pub age: AgeTime,
}

/// The fields of an open answer job that the steps of its answer need.
pub(crate) struct OpenJob {
    pub key: JobId,
    pub conversation: EventNumber,
    /// The message to answer.
    pub asked: EventNumber,
    /// The creation time of that message.
    pub asked_at: WallTime,
    pub correlation_id: Arc<str>,
    pub responder: ResponderKind,
    /// The number and time of the answer's message, once they are assigned.
    pub answer: Option<(EventNumber, WallTime)>,
    /// Whether the answer's message has a row.
    pub is_begun: bool,
    /// The user for whom the answer counts.
    pub user: UserKey,
    /// Whether no job of the conversation is older.
    pub is_first: bool,
    /// The instance that answers; `None` if there is none, or if only one instance uses the database.
    pub claimed_by: Option<InstanceId>,
}

/// A job to insert.
pub(crate) struct NewJobRow {
    pub key: JobId,
    /// The message to answer.
    pub message: EventNumber,
    pub responder: ResponderKind,
    /// The user for whom the answer counts.
    pub user: UserKey,
}

/// An answer that has ended.
pub(crate) struct EndedAnswerRow<'a> {
    /// The message that it answers.
    pub asked: EventNumber,
    pub status: Status,
    /// The answer's message, if it has text.
    pub answer: Option<EventNumber>,
    pub error: Option<&'a str>,
    pub usage: Option<&'a TokenUsage>,
}

/// The last answer to a message that has ended.
pub(crate) struct LastAnswerRow {
    pub attempt: i64,
    /// The answer's message, if it had text. It may be deleted.
    pub answer: Option<EventNumber>,
}

/// Tokens to count.
pub(crate) struct NewUsage<'a> {
    pub user: UserKey,
    pub day: Day,
    /// The conversation's number and creation time; `None` for an answer outside of conversations.
    pub conversation: Option<(EventNumber, WallTime)>,
    pub usage: &'a TokenUsage,
}

/// The response to the first request with an idempotency key.
pub(crate) struct StoredResponse {
    pub fingerprint: [u8; 32],
    /// The number of the event of the first request.
    pub number: Option<EventNumber>,
    pub body: Arc<[u8]>,
}

/// The numbers through which inboxes are complete. A flush adds the messages through `flushing_through` to one inbox after
/// the other, in the order of the users' keys, in any number of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InboxWatermark {
    pub flushed_through: EventNumber,
    /// Equal to `flushed_through` while no flush is running.
    pub flushing_through: EventNumber,
    /// The key below which the flush has written all inboxes.
    pub users_below: i64,
}

impl InboxWatermark {
    /// Whether a flush has written some inboxes and not all.
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
    fn a_watermark_differs_by_user_during_a_flush() {
        let watermark =
            InboxWatermark { flushed_through: EventNumber(10), flushing_through: EventNumber(20), users_below: 3 };
        assert!(watermark.is_flushing());
        assert_eq!([2, 3].map(|user| watermark.complete_for(user).0), [20, 10]);
    }
}

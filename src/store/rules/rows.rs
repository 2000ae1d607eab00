//! What the rules need of a database: typed operations on rows.
//!
//! The rules reach the tables only through [`Rows`], and an engine implements it. Every operation belongs to the
//! transaction that the engine has open; an error voids that transaction.

use crate::base::time::WallTime;
use crate::domain::answer_job::JobId;
use crate::domain::command::Idempotency;
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Conversation, Message, Metadata, Topic, Workspace};
use crate::domain::page::MessagePage;
use crate::domain::responder::ResponderKind;
use crate::domain::token_rules::TokenRules;
use crate::store::error::EngineError;
use crate::store::rules::records::*;

/// The result of a row operation.
pub(crate) type RowResult<T> = Result<T, EngineError>;

/// Typed operations on the rows of one database, inside one transaction.
///
/// Workspaces, conversations and messages are identified by the number of the event that created them. Lookups return
/// `None` for rows that are deleted, or whose workspace or conversation is.
pub(crate) trait Rows {
    // Users.

    fn user(&self, id: &UserId) -> RowResult<Option<UserRow>>;
    /// Inserts a user without a row, and returns the new key.
    fn insert_user(&self, id: &UserId, name: &str, email: &str, at: WallTime) -> RowResult<i64>;
    fn set_user_profile(&self, key: i64, name: &str, email: &str) -> RowResult<()>;
    fn set_user_defaults(
        &self,
        key: i64,
        workspace: Option<EventNumber>,
        conversation: Option<EventNumber>,
    ) -> RowResult<()>;
    /// Stores a password hash. Tokens issued before `tokens_since` are rejected from now on.
    fn set_user_password(&self, key: i64, hash: &str, tokens_since: WallTime) -> RowResult<()>;
    /// Whether another user than `key` logs in with this email.
    fn is_login_taken(&self, email: &str, key: i64) -> RowResult<bool>;
    /// The users with a rule about their tokens.
    fn token_rules(&self) -> RowResult<TokenRules>;

    // Workspaces.

    fn workspace(&self, id: WorkspaceId) -> RowResult<Option<WorkspaceRow>>;
    fn workspace_at(&self, number: EventNumber) -> RowResult<Option<WorkspaceRow>>;
    fn insert_workspace(&self, number: EventNumber, owner_key: i64, workspace: &Workspace) -> RowResult<()>;
    fn update_workspace(&self, number: EventNumber, workspace: &Workspace) -> RowResult<()>;
    /// Marks a workspace as deleted by event `by`. Its rows are purged later.
    fn mark_workspace_deleted(&self, number: EventNumber, by: EventNumber) -> RowResult<()>;
    /// The participants of all conversations of a workspace, each once.
    fn workspace_participants(&self, number: EventNumber) -> RowResult<Vec<UserRef>>;

    // Conversations.

    fn conversation_access(&self, number: EventNumber) -> RowResult<Option<ConversationAccess>>;
    fn conversation(&self, access: &ConversationAccess) -> RowResult<Conversation>;
    /// Inserts a conversation, its state, and its participants.
    fn insert_conversation(&self, access: &ConversationAccess, conversation: &Conversation) -> RowResult<()>;
    fn update_conversation(&self, access: &ConversationAccess, topic: &Topic, metadata: &Metadata) -> RowResult<()>;
    fn update_conversation_state(&self, number: EventNumber, update: &ConversationUpdate) -> RowResult<()>;
    /// Counts a deleted message out of the conversation's state. Pending updates must be written before.
    fn count_message_out(&self, conversation: EventNumber, at: WallTime) -> RowResult<()>;
    /// Marks a conversation as deleted by event `by`. Its rows are purged later.
    fn mark_conversation_deleted(&self, number: EventNumber, by: EventNumber) -> RowResult<()>;
    /// Adds a participant, who sees what follows event `since`. `ordinal` orders those who join by the same event.
    fn insert_participant(
        &self,
        conversation: EventNumber,
        user_key: i64,
        since: EventNumber,
        ordinal: usize,
    ) -> RowResult<()>;
    fn delete_participant(&self, conversation: EventNumber, user_key: i64) -> RowResult<()>;

    // Messages.

    /// Message `number` of the given conversation.
    fn message(&self, number: EventNumber, conversation_id: ConversationId) -> RowResult<Option<Message>>;
    /// The message that `id` names, with its number, if it is in the conversation.
    fn message_in(&self, access: &ConversationAccess, id: MessageId) -> RowResult<Option<(EventNumber, Message)>>;
    /// The newest messages of a conversation, bounded by number and by bytes.
    fn last_messages(&self, access: &ConversationAccess, messages_max: u32, bytes_max: usize)
    -> RowResult<MessagePage>;
    /// Number and conversation of the first `limit` messages with `after < number <= through`, in order.
    fn message_numbers(
        &self,
        after: EventNumber,
        through: EventNumber,
        limit: usize,
    ) -> RowResult<Vec<(EventNumber, EventNumber)>>;
    fn insert_message(&self, number: EventNumber, row: &NewMessageRow<'_>) -> RowResult<()>;
    /// Stores the content, metadata and time of a changed message.
    fn update_message(&self, number: EventNumber, message: &Message) -> RowResult<()>;
    fn delete_message(&self, number: EventNumber) -> RowResult<()>;

    // Answers and their jobs.

    fn insert_answer_job(&self, message: EventNumber, responder: ResponderKind) -> RowResult<()>;
    /// The job, unless it is closed.
    fn answer_job(&self, key: JobId) -> RowResult<Option<OpenJob>>;
    fn set_job_answer(&self, key: JobId, answer: EventNumber) -> RowResult<()>;
    /// Closes a job, if it is open.
    fn delete_answer_job(&self, key: JobId) -> RowResult<()>;
    /// The length of an answer's stored text, in bytes, and when the answer started.
    fn answer_progress(&self, answer: EventNumber) -> RowResult<(usize, WallTime)>;
    fn append_to_answer(&self, answer: EventNumber, text: &str, at: WallTime) -> RowResult<()>;
    /// Stores the last state of an answer, which event `published_by` publishes.
    fn finish_answer(&self, answer: EventNumber, message: &Message, published_by: EventNumber) -> RowResult<()>;
    /// The event that published a message which is not its own journal entry.
    fn publication(&self, message: EventNumber) -> RowResult<Option<EventNumber>>;

    // The journal.

    /// Inserts an event with a row of its own, and its recipients.
    fn insert_event(&self, number: EventNumber, at: WallTime, row: &NewEventRow<'_>) -> RowResult<()>;
    /// Deletes an event that does not count in [`JournalStats`], and its recipients.
    fn delete_event(&self, number: EventNumber) -> RowResult<()>;
    /// Adds to the counts of expiring events.
    fn add_journal_stats(&self, added: JournalStats) -> RowResult<()>;
    fn set_journal_head(&self, head: JournalHead) -> RowResult<()>;

    // Idempotency keys.

    /// The response stored under the user's key, unless it has expired at `now`.
    fn stored_response(&self, user_key: i64, key: &str, now: WallTime) -> RowResult<Option<StoredResponse>>;
    /// Stores a response, in place of an expired one under the same key.
    fn store_response(
        &self,
        user_key: i64,
        request: &Idempotency,
        number: Option<EventNumber>,
        body: &[u8],
        now: WallTime,
    ) -> RowResult<()>;

    // Inboxes.

    fn inbox_watermark(&self) -> RowResult<InboxWatermark>;
    fn set_inbox_watermark(&self, watermark: &InboxWatermark) -> RowResult<()>;
    /// Appends message numbers to a user's inbox, all of them greater than those in it.
    fn append_to_inbox(&self, user_key: i64, numbers: &[EventNumber], chunk_bytes_max: usize) -> RowResult<()>;
}

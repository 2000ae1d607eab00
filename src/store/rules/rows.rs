//! The interface between the rules and a database: typed operations on rows.
//!
//! The rules access the tables only through [`Rows`], which an engine implements.

use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, JobId, UserKey};
use crate::domain::command::Idempotency;
use crate::domain::id::{ConversationId, EventNumber, InstanceId, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Conversation, Message, Metadata, Topic, Workspace};
use crate::domain::page::MessagePage;
use crate::domain::usage::Day;
use crate::store::error::EngineError;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::*;

/// The result of a row operation.
pub(crate) type RowResult<T> = Result<T, EngineError>;

/// Typed operations on the rows of one database, inside the transaction that the engine has open.
///
/// Workspaces, conversations and messages are identified by the number of the event that created them, and users by their
/// key. Lookups return `None` for rows that are deleted, or whose workspace or conversation is deleted.
///
/// # Errors
/// Every operation fails if the engine fails. The transaction must then be rolled back.
pub(crate) trait Rows {
    // Users.

    /// The user with this id.
    fn user(&self, id: &UserId) -> RowResult<Option<UserRow>>;
    /// Inserts a user, and returns the new key. The id must not have a row.
    fn insert_user(&self, id: &UserId, name: &str, email: &str, at: WallTime) -> RowResult<i64>;
    /// Inserts a user who is only named as a participant, and returns the new key. The id must not have a row.
    fn insert_named_user(&self, id: &UserId, at: WallTime) -> RowResult<i64>;
    /// Stores the name and email of a user, who is then no longer only named.
    fn set_user_profile(&self, key: i64, name: &str, email: &str) -> RowResult<()>;
    /// Stores a user's default workspace and conversation.
    fn set_user_defaults(
        &self,
        key: i64,
        workspace: Option<EventNumber>,
        conversation: Option<EventNumber>,
    ) -> RowResult<()>;
    /// A user's password hash.
    fn user_password(&self, key: i64) -> RowResult<Option<String>>;
    /// Stores a password hash.
    fn set_user_password(&self, key: i64, hash: &str) -> RowResult<()>;
    /// Begins a new generation of a user's tokens at `wall`, the wall clock: all older tokens are rejected.
    fn end_user_tokens(&self, key: i64, wall: WallTime) -> RowResult<()>;
    /// Whether a user other than `key` has a password and this email, ignoring ASCII case.
    fn is_login_taken(&self, email: &str, key: i64) -> RowResult<bool>;

    // Workspaces.

    /// The workspace with this id.
    fn workspace(&self, id: WorkspaceId) -> RowResult<Option<WorkspaceRow>>;
    /// The workspace that event `number` created.
    fn workspace_at(&self, number: EventNumber) -> RowResult<Option<WorkspaceRow>>;
    /// Inserts a workspace.
    fn insert_workspace(&self, number: EventNumber, owner_key: i64, workspace: &Workspace) -> RowResult<()>;
    /// Stores the name, description, metadata and update time of a workspace.
    fn update_workspace(&self, number: EventNumber, workspace: &Workspace) -> RowResult<()>;
    /// Marks a workspace as deleted by event `by`. Its rows are purged later.
    fn mark_workspace_deleted(&self, number: EventNumber, by: EventNumber) -> RowResult<()>;
    /// The participants of the conversations of a workspace after `after`, which may be marked as deleted. Conversations that
    /// were deleted before are left out. Examines at most `rows_max` rows of conversations and participants.
    fn workspace_participants(
        &self,
        number: EventNumber,
        after: ParticipantCursor,
        rows_max: usize,
    ) -> RowResult<WorkspaceParticipants>;
    /// The first deletion after event `after` some participants of which are not notified yet.
    fn workspace_deletion_after(&self, after: EventNumber) -> RowResult<Option<WorkspaceDeletion>>;
    /// Inserts a deletion. `actor_key` is the user who deleted the workspace.
    fn insert_workspace_deletion(&self, deletion: &WorkspaceDeletion, actor_key: i64) -> RowResult<()>;
    /// Stores the last participant who is notified of a deletion.
    fn set_workspace_deletion(&self, number: EventNumber, notified: ParticipantCursor) -> RowResult<()>;
    /// Removes a deletion of which all participants are notified.
    fn delete_workspace_deletion(&self, number: EventNumber) -> RowResult<()>;
    /// Notes that a user is notified of the deletion of a workspace. Returns false if that was noted before.
    fn insert_notified_user(&self, workspace: EventNumber, user_key: i64) -> RowResult<bool>;

    // Conversations.

    /// The access data of the conversation that event `number` created.
    fn conversation_access(&self, number: EventNumber) -> RowResult<Option<ConversationAccess>>;
    /// The conversation of `access`. Fails if its row is missing.
    fn conversation(&self, access: &ConversationAccess) -> RowResult<Conversation>;
    /// Inserts a conversation, its state, and its participants.
    fn insert_conversation(&self, access: &ConversationAccess, conversation: &Conversation) -> RowResult<()>;
    /// Stores a conversation's topic and metadata, and the responder in `access`.
    fn update_conversation(&self, access: &ConversationAccess, topic: &Topic, metadata: &Metadata) -> RowResult<()>;
    /// Applies the changes of one transaction to a conversation's state.
    fn update_conversation_state(&self, number: EventNumber, update: &ConversationUpdate) -> RowResult<()>;
    /// Subtracts a deleted message from the conversation's state. Pending updates must be written before.
    fn count_message_out(&self, conversation: EventNumber, at: WallTime) -> RowResult<()>;
    /// Marks a conversation as deleted by event `by`. Its rows are purged later.
    fn mark_conversation_deleted(&self, number: EventNumber, by: EventNumber) -> RowResult<()>;
    /// Inserts a participant, who sees the events after `since`. `ordinal` orders the users who join by the same event.
    fn insert_participant(
        &self,
        conversation: EventNumber,
        user_key: i64,
        since: EventNumber,
        ordinal: usize,
    ) -> RowResult<()>;
    /// Deletes a participant.
    fn delete_participant(&self, conversation: EventNumber, user_key: i64) -> RowResult<()>;

    // Messages.

    /// Message `number`, which must belong to the given conversation.
    fn message(&self, number: EventNumber, conversation_id: ConversationId) -> RowResult<Option<Message>>;
    /// The message with this id and its number, if it is in the conversation.
    fn message_in(&self, access: &ConversationAccess, id: MessageId) -> RowResult<Option<(EventNumber, Message)>>;
    /// The newest messages of a conversation, at most `messages_max` messages and `bytes_max` bytes of JSON text.
    fn last_messages(&self, access: &ConversationAccess, messages_max: u32, bytes_max: usize)
    -> RowResult<MessagePage>;
    /// The number and conversation of the first `limit` messages with `after < number <= through`, in order.
    fn message_numbers(
        &self,
        after: EventNumber,
        through: EventNumber,
        limit: usize,
    ) -> RowResult<Vec<(EventNumber, EventNumber)>>;
    /// Inserts a message.
    fn insert_message(&self, number: EventNumber, row: &NewMessageRow<'_>) -> RowResult<()>;
    /// Stores the content, metadata and update time of a message.
    fn update_message(&self, number: EventNumber, message: &Message) -> RowResult<()>;
    /// Deletes a message, and what is stored about the answers to it.
    fn delete_message(&self, number: EventNumber) -> RowResult<()>;

    // Answers and their jobs.

    /// Inserts a job. Returns whether it is the first of its conversation.
    fn insert_answer_job(&self, job: &NewJobRow) -> RowResult<bool>;
    /// The job, unless it is closed.
    fn answer_job(&self, key: JobId) -> RowResult<Option<OpenJob>>;
    /// The open job for a message.
    fn job_of_message(&self, message: EventNumber) -> RowResult<Option<JobId>>;
    /// The last open jobs of a conversation through `through`, in descending order.
    fn last_jobs(&self, conversation: EventNumber, through: JobId, limit: usize) -> RowResult<Vec<JobId>>;
    /// The number of jobs of a user that instances have claimed.
    fn claimed_jobs(&self, user: UserKey) -> RowResult<u32>;
    /// Reserves a job for an instance.
    fn claim_answer_job(&self, key: JobId, instance: InstanceId) -> RowResult<()>;
    /// Stores the number and time of the answer's message in its job, and whether the message has a row.
    fn set_job_answer(&self, key: JobId, answer: (EventNumber, WallTime), is_begun: bool) -> RowResult<()>;
    /// Closes a job, if it is open. Returns the job that is now the first of the conversation, if another was.
    fn delete_answer_job(&self, key: JobId) -> RowResult<Option<AnswerJob>>;
    /// The length of an answer's stored text, in bytes.
    fn answer_bytes(&self, answer: EventNumber) -> RowResult<usize>;
    /// Appends text to an answer.
    fn append_to_answer(&self, answer: EventNumber, text: &str, at: WallTime) -> RowResult<()>;
    /// Stores the final state of an answer that event `published_by` publishes.
    fn finish_answer(&self, answer: EventNumber, message: &Message, published_by: EventNumber) -> RowResult<()>;
    /// Stores an answer that has ended, as the last one to its message.
    fn insert_ended_answer(&self, row: &EndedAnswerRow<'_>) -> RowResult<()>;
    /// The last answer to a message that has ended, unless it is superseded.
    fn last_answer(&self, asked: EventNumber) -> RowResult<Option<LastAnswerRow>>;
    /// Marks an answer that has ended as superseded, with its message, if that exists.
    fn supersede_answer(&self, asked: EventNumber, answer: &LastAnswerRow, at: WallTime) -> RowResult<()>;
    /// Stores the reasoning of an answer.
    fn insert_reasoning(&self, answer: EventNumber, text: &str) -> RowResult<()>;
    /// Adds the usage of one answer to the sums.
    fn add_usage(&self, added: &NewUsage<'_>) -> RowResult<()>;
    /// The tokens of prompts and completions that a user has used on a day.
    fn tokens_used(&self, user_key: i64, day: Day) -> RowResult<u64>;
    /// The event that published a message; `None` if the message is its own journal entry or is not published.
    fn publication(&self, message: EventNumber) -> RowResult<Option<EventNumber>>;

    // The journal.

    /// Inserts an event and its recipients.
    fn insert_event(&self, number: EventNumber, at: WallTime, age: AgeTime, row: &NewEventRow<'_>) -> RowResult<()>;
    /// Deletes an event that is not counted in [`JournalStats`], and its recipients.
    fn delete_event(&self, number: EventNumber) -> RowResult<()>;
    /// Adds to the share that a workspace has of the expiring events.
    fn add_workspace_share(&self, workspace: EventNumber, owner_key: i64, added: JournalStats) -> RowResult<()>;
    /// Adds to the share that all workspaces of an owner have of the expiring events.
    fn add_owner_share(&self, owner_key: i64, added: JournalStats) -> RowResult<()>;
    /// Adds to the number and weight of expiring events.
    fn add_journal_stats(&self, added: JournalStats) -> RowResult<()>;
    /// Stores the newest number and time, and the age.
    fn set_journal_head(&self, head: JournalHead) -> RowResult<()>;

    // Idempotency keys.

    /// The response that is stored under the user's key, unless it has expired at `now`.
    fn stored_response(&self, user_key: i64, key: &str, now: AgeTime) -> RowResult<Option<StoredResponse>>;
    /// Stores a response, in place of an expired response under the same key.
    fn store_response(
        &self,
        user_key: i64,
        request: &Idempotency,
        number: Option<EventNumber>,
        body: &[u8],
        now: AgeTime,
    ) -> RowResult<()>;

    // The index of messages by conversation.

    /// The number through which the index has all messages.
    fn indexed_through(&self) -> RowResult<EventNumber>;
    /// Stores the number through which the index has all messages.
    fn set_indexed_through(&self, through: EventNumber) -> RowResult<()>;
    /// Adds a message to the index, unless it is there.
    fn index_message(&self, conversation: EventNumber, message: EventNumber) -> RowResult<()>;

    // Inboxes.

    /// The numbers through which inboxes are complete.
    fn inbox_watermark(&self) -> RowResult<InboxWatermark>;
    /// Stores the numbers through which inboxes are complete.
    fn set_inbox_watermark(&self, watermark: &InboxWatermark) -> RowResult<()>;
    /// Appends message numbers to a user's inbox. All of them must be greater than the numbers in the inbox.
    fn append_to_inbox(&self, user_key: i64, numbers: &[EventNumber], chunk_bytes_max: usize) -> RowResult<()>;
}

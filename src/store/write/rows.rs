//! The row operations of the rules on SQLite. Each runs immediately, with a statement that stays prepared as long as the
//! connection is open.

use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, JobId, UserKey};
use crate::domain::command::Idempotency;
use crate::domain::id::{ConversationId, EventNumber, IdKey, InstanceId, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Conversation, Message, Metadata, Topic, Workspace};
use crate::domain::page::MessagePage;
use crate::domain::usage::Day;
use crate::store::read::conversation_queries;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::*;
use crate::store::rules::rows::{RowResult, Rows};
use crate::store::search::index;
use crate::store::sql::SqlConnection;
use crate::store::tables::{
    answer_jobs, answers, conversation_index, conversations, idempotency, inbox, journal_head, journal_shares,
    messages, reasoning, state_events, usage, users, workspace_deletions, workspaces,
};

/// The rows of a database, inside the transaction that its connection has open.
pub(crate) struct TableRows<'a> {
    pub db: &'a SqlConnection,
    pub ids: &'a IdKey,
}

impl Rows for TableRows<'_> {
    fn user(&self, id: &UserId) -> RowResult<Option<UserRow>> {
        users::find(self.db, id)
    }

    fn insert_user(&self, id: &UserId, name: &str, email: &str, at: WallTime) -> RowResult<i64> {
        users::insert(self.db, id, name, email, at)
    }

    fn insert_named_user(&self, id: &UserId, at: WallTime) -> RowResult<i64> {
        users::insert_named(self.db, id, at)
    }

    fn set_user_profile(&self, key: i64, name: &str, email: &str) -> RowResult<()> {
        users::set_profile(self.db, key, name, email)
    }

    fn set_user_defaults(
        &self,
        key: i64,
        workspace: Option<EventNumber>,
        conversation: Option<EventNumber>,
    ) -> RowResult<()> {
        users::set_defaults(self.db, key, workspace, conversation)
    }

    fn user_password(&self, key: i64) -> RowResult<Option<String>> {
        users::password(self.db, key)
    }

    fn set_user_password(&self, key: i64, hash: &str) -> RowResult<()> {
        users::set_password(self.db, key, hash)
    }

    fn end_user_tokens(&self, key: i64, wall: WallTime) -> RowResult<()> {
        users::end_tokens(self.db, key, wall)
    }

    fn is_login_taken(&self, email: &str, key: i64) -> RowResult<bool> {
        users::is_login_taken(self.db, email, key)
    }

    fn workspace(&self, id: WorkspaceId) -> RowResult<Option<WorkspaceRow>> {
        workspaces::find(self.db, self.ids, id)
    }

    fn workspace_at(&self, number: EventNumber) -> RowResult<Option<WorkspaceRow>> {
        workspaces::at(self.db, self.ids, number)
    }

    fn insert_workspace(&self, number: EventNumber, owner_key: i64, workspace: &Workspace) -> RowResult<()> {
        workspaces::insert(self.db, number, owner_key, workspace)
    }

    fn update_workspace(&self, number: EventNumber, workspace: &Workspace) -> RowResult<()> {
        workspaces::update(self.db, number, workspace)
    }

    fn mark_workspace_deleted(&self, number: EventNumber, by: EventNumber) -> RowResult<()> {
        workspaces::mark_deleted(self.db, number, by)
    }

    fn workspace_participants(
        &self,
        number: EventNumber,
        after: ParticipantCursor,
        rows_max: usize,
    ) -> RowResult<WorkspaceParticipants> {
        workspace_deletions::participants(self.db, number, after, rows_max)
    }

    fn workspace_deletion_after(&self, after: EventNumber) -> RowResult<Option<WorkspaceDeletion>> {
        workspace_deletions::first_after(self.db, self.ids, after)
    }

    fn insert_workspace_deletion(&self, deletion: &WorkspaceDeletion, actor_key: i64) -> RowResult<()> {
        workspace_deletions::insert(self.db, deletion, actor_key)
    }

    fn set_workspace_deletion(&self, number: EventNumber, notified: ParticipantCursor) -> RowResult<()> {
        workspace_deletions::set(self.db, number, notified)
    }

    fn delete_workspace_deletion(&self, number: EventNumber) -> RowResult<()> {
        workspace_deletions::delete(self.db, number)
    }

    fn insert_notified_user(&self, workspace: EventNumber, user_key: i64) -> RowResult<bool> {
        workspace_deletions::insert_notified(self.db, workspace, user_key)
    }

    fn conversation_access(&self, number: EventNumber) -> RowResult<Option<ConversationAccess>> {
        conversations::access(self.db, self.ids, number)
    }

    fn conversation(&self, access: &ConversationAccess) -> RowResult<Conversation> {
        conversations::find(self.db, self.ids, access)
    }

    fn insert_conversation(&self, access: &ConversationAccess, conversation: &Conversation) -> RowResult<()> {
        conversations::insert(self.db, access, conversation)
    }

    fn update_conversation(&self, access: &ConversationAccess, topic: &Topic, metadata: &Metadata) -> RowResult<()> {
        conversations::update(self.db, access, topic, metadata)
    }

    fn update_conversation_state(&self, number: EventNumber, update: &ConversationUpdate) -> RowResult<()> {
        conversations::update_state(self.db, number, update)
    }

    fn count_message_out(&self, conversation: EventNumber, at: WallTime) -> RowResult<()> {
        conversations::count_message_out(self.db, conversation, at)
    }

    fn mark_conversation_deleted(&self, number: EventNumber, by: EventNumber) -> RowResult<()> {
        conversations::mark_deleted(self.db, number, by)
    }

    fn insert_participant(
        &self,
        conversation: EventNumber,
        user_key: i64,
        since: EventNumber,
        ordinal: usize,
    ) -> RowResult<()> {
        conversations::insert_participant(self.db, conversation, user_key, since, ordinal)
    }

    fn delete_participant(&self, conversation: EventNumber, user_key: i64) -> RowResult<()> {
        conversations::delete_participant(self.db, conversation, user_key)
    }

    fn message(&self, number: EventNumber, conversation_id: ConversationId) -> RowResult<Option<Message>> {
        messages::find(self.db, self.ids, number, conversation_id)
    }

    fn message_in(&self, access: &ConversationAccess, id: MessageId) -> RowResult<Option<(EventNumber, Message)>> {
        messages::find_in(self.db, self.ids, access, id)
    }

    fn last_messages(
        &self,
        access: &ConversationAccess,
        messages_max: u32,
        bytes_max: usize,
    ) -> RowResult<MessagePage> {
        conversation_queries::last_messages(self.db, self.ids, access, messages_max, bytes_max)
    }

    fn message_numbers(
        &self,
        after: EventNumber,
        through: EventNumber,
        limit: usize,
    ) -> RowResult<Vec<(EventNumber, EventNumber)>> {
        messages::numbers_between(self.db, after, through, limit)
    }

    fn insert_message(&self, number: EventNumber, row: &NewMessageRow<'_>) -> RowResult<()> {
        messages::insert(self.db, number, row)?;
        // The number of an answer was assigned when it began, and later messages may be indexed by now.
        if row.publication == Publication::Pending {
            conversation_index::add(self.db, row.conversation, number)?;
        }
        if row.reply_to.is_some() { index::published(self.db, number) } else { Ok(()) }
    }

    fn update_message(&self, number: EventNumber, message: &Message) -> RowResult<()> {
        index::will_update(self.db, number, message.content.as_str())?;
        messages::update(self.db, number, message)
    }

    fn delete_message(&self, number: EventNumber) -> RowResult<()> {
        index::will_delete(self.db, number)?;
        reasoning::delete(self.db, number)?;
        answers::delete_of(self.db, number)?;
        messages::delete(self.db, number)
    }

    fn insert_answer_job(&self, job: &NewJobRow) -> RowResult<bool> {
        answer_jobs::insert(self.db, job)
    }

    fn answer_job(&self, key: JobId) -> RowResult<Option<OpenJob>> {
        answer_jobs::find(self.db, key)
    }

    fn job_of_message(&self, message: EventNumber) -> RowResult<Option<JobId>> {
        answer_jobs::of_message(self.db, message)
    }

    fn last_jobs(&self, conversation: EventNumber, through: JobId, limit: usize) -> RowResult<Vec<JobId>> {
        answer_jobs::last_of_conversation(self.db, conversation, through, limit)
    }

    fn claimed_jobs(&self, user: UserKey) -> RowResult<u32> {
        answer_jobs::claimed_of_user(self.db, user)
    }

    fn claim_answer_job(&self, key: JobId, instance: InstanceId) -> RowResult<()> {
        answer_jobs::claim(self.db, key, instance)
    }

    fn set_job_answer(&self, key: JobId, answer: (EventNumber, WallTime), is_begun: bool) -> RowResult<()> {
        answer_jobs::set_answer(self.db, key, answer, is_begun)
    }

    fn delete_answer_job(&self, key: JobId) -> RowResult<Option<AnswerJob>> {
        answer_jobs::delete(self.db, self.ids, key)
    }

    fn answer_bytes(&self, answer: EventNumber) -> RowResult<usize> {
        messages::answer_bytes(self.db, answer)
    }

    fn append_to_answer(&self, answer: EventNumber, text: &str, at: WallTime) -> RowResult<()> {
        messages::append(self.db, answer, text, at)
    }

    fn finish_answer(&self, answer: EventNumber, message: &Message, published_by: EventNumber) -> RowResult<()> {
        messages::finish_answer(self.db, answer, message, published_by)?;
        index::published(self.db, answer)
    }

    fn insert_ended_answer(&self, row: &EndedAnswerRow<'_>) -> RowResult<()> {
        answers::insert(self.db, row)
    }

    fn last_answer(&self, asked: EventNumber) -> RowResult<Option<LastAnswerRow>> {
        answers::last(self.db, asked)
    }

    fn supersede_answer(&self, asked: EventNumber, answer: &LastAnswerRow, at: WallTime) -> RowResult<()> {
        answers::supersede(self.db, asked, answer, at)
    }

    fn insert_reasoning(&self, answer: EventNumber, text: &str) -> RowResult<()> {
        reasoning::insert(self.db, answer, text)
    }

    fn add_usage(&self, added: &NewUsage<'_>) -> RowResult<()> {
        usage::add(self.db, added)
    }

    fn tokens_used(&self, user_key: i64, day: Day) -> RowResult<u64> {
        usage::tokens_used(self.db, user_key, day)
    }

    fn publication(&self, message: EventNumber) -> RowResult<Option<EventNumber>> {
        messages::publication(self.db, message)
    }

    fn insert_event(&self, number: EventNumber, at: WallTime, age: AgeTime, row: &NewEventRow<'_>) -> RowResult<()> {
        state_events::insert(self.db, number, at, age, row)
    }

    fn delete_event(&self, number: EventNumber) -> RowResult<()> {
        state_events::delete(self.db, number)
    }

    fn add_workspace_share(&self, workspace: EventNumber, owner_key: i64, added: JournalStats) -> RowResult<()> {
        journal_shares::add_to_workspace(self.db, workspace, owner_key, added)
    }

    fn add_owner_share(&self, owner_key: i64, added: JournalStats) -> RowResult<()> {
        journal_shares::add_to_owner(self.db, owner_key, added)
    }

    fn add_journal_stats(&self, added: JournalStats) -> RowResult<()> {
        state_events::add_stats(self.db, added)
    }

    fn set_journal_head(&self, head: JournalHead) -> RowResult<()> {
        journal_head::store(self.db, head)
    }

    fn stored_response(&self, user_key: i64, key: &str, now: AgeTime) -> RowResult<Option<StoredResponse>> {
        idempotency::find(self.db, user_key, key, now)
    }

    fn store_response(
        &self,
        user_key: i64,
        request: &Idempotency,
        number: Option<EventNumber>,
        body: &[u8],
        now: AgeTime,
    ) -> RowResult<()> {
        idempotency::store(self.db, user_key, request, number, body, now)
    }

    fn indexed_through(&self) -> RowResult<EventNumber> {
        conversation_index::indexed_through(self.db)
    }

    fn set_indexed_through(&self, through: EventNumber) -> RowResult<()> {
        conversation_index::set_indexed_through(self.db, through)
    }

    fn index_message(&self, conversation: EventNumber, message: EventNumber) -> RowResult<()> {
        conversation_index::add(self.db, conversation, message)
    }

    fn inbox_watermark(&self) -> RowResult<InboxWatermark> {
        inbox::load_watermark(self.db)
    }

    fn set_inbox_watermark(&self, watermark: &InboxWatermark) -> RowResult<()> {
        inbox::store_watermark(self.db, watermark)
    }

    fn append_to_inbox(&self, user_key: i64, numbers: &[EventNumber], chunk_bytes_max: usize) -> RowResult<()> {
        inbox::append(self.db, user_key, numbers, chunk_bytes_max)
    }
}

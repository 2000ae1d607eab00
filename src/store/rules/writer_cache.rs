//! The writer's cache of rows that only it changes.
//!
//! Invariant: every cached value equals its rows, including the changes of the open transaction.

use crate::base::memory_plan::MemoryPlan;
use crate::domain::id::{EventNumber, UserId};
use crate::store::config::{EventRate, FlushLimits, ResponderRules};
use crate::store::rules::cache::{Cache, Weigh};
use crate::store::rules::event_rates::EventRates;
use crate::store::rules::inbox_flush::InboxFlusher;
use crate::store::rules::index_flush::IndexFlusher;
use crate::store::rules::records::{ConversationAccess, JournalHead, JournalStats, UserRef, UserRow};
use crate::store::rules::rows::{RowResult, Rows};
use std::collections::HashSet;
use std::sync::Arc;

/// The writer's caches, and the settings that the rules need.
pub(crate) struct WriterCache {
    pub conversations: Cache<EventNumber, Arc<ConversationAccess>>,
    pub users: Cache<UserId, Arc<UserRow>>,
    pub inboxes: InboxFlusher,
    pub index: IndexFlusher,
    pub event_rates: EventRates,
    /// The counts of expiring events; `None` until they are read.
    pub stats: Option<JournalStats>,
    pub responders: ResponderRules,
    /// Tokens after which a user's messages are no longer answered on a day.
    pub tokens_per_day_max: Option<u64>,
    /// Maximum number of participants' rows that the deletion of a workspace examines, and each step that notifies the others.
    pub notified_rows_max: usize,
    /// The deletion whose participants were notified last. Deletions take turns.
    pub notified_deletion: EventNumber,
    /// Deleted workspaces whose conversations may still be in the cache.
    pub(crate) deleted_workspaces: HashSet<EventNumber>,
}

impl WriterCache {
    pub(crate) fn new(
        mut flush: FlushLimits,
        notified_rows_max: usize,
        event_rate: Option<EventRate>,
        responders: ResponderRules,
        tokens_per_day_max: Option<u64>,
        memory: &MemoryPlan,
    ) -> WriterCache {
        flush.inbox_entries_max = flush.inbox_entries_max.min(memory.inbox_entries_max());
        flush.index_flush_numbers = flush.index_flush_numbers.min(memory.newest_messages_max());
        WriterCache {
            conversations: Cache::new(memory.cached_conversation_bytes_max()),
            users: Cache::new(memory.cached_users_max()),
            inboxes: InboxFlusher::new(flush),
            index: IndexFlusher::new(flush),
            event_rates: EventRates::new(event_rate),
            stats: None,
            responders,
            tokens_per_day_max,
            notified_rows_max,
            notified_deletion: EventNumber(0),
            deleted_workspaces: HashSet::new(),
        }
    }

    /// Drops everything that may differ from the rows, after a rollback or a change by another process.
    pub(crate) fn clear(&mut self) {
        self.conversations.clear();
        self.users.clear();
        self.inboxes.clear();
        self.index.clear();
        self.stats = None;
        self.deleted_workspaces.clear();
    }

    /// Whether a step of a flush may have work to do.
    pub(crate) fn flush_is_due(&self, head: JournalHead) -> bool {
        self.index.is_due(head.number) || self.inboxes.is_due(self.index.indexed_through(head.number))
    }

    /// Drops a user whose row is removed. The user is in no conversation.
    pub(crate) fn user_removed(&mut self, user: &UserRef) {
        self.users.remove(&user.id);
        self.inboxes.user_removed(user.key);
    }

    /// Hides the cached conversations of a deleted workspace. They are removed after many deletions, since that reads the whole
    /// cache.
    pub(crate) fn workspace_deleted(&mut self, number: EventNumber) {
        const DELETIONS_MAX: usize = 256;
        self.deleted_workspaces.insert(number);
        if self.deleted_workspaces.len() >= DELETIONS_MAX {
            let deleted = std::mem::take(&mut self.deleted_workspaces);
            self.conversations.retain(|access| !deleted.contains(&access.workspace.number));
        }
    }

    /// The user with this id, if the row exists.
    pub(crate) fn user(&mut self, rows: &impl Rows, id: &UserId) -> RowResult<Option<Arc<UserRow>>> {
        if let Some(user) = self.users.get(id) {
            return Ok(Some(user));
        }
        let user = rows.user(id)?.map(Arc::new);
        if let Some(user) = &user {
            self.users.insert(id.clone(), user.clone());
        }
        Ok(user)
    }

    /// The conversation that event `number` created, unless it is deleted.
    pub(crate) fn conversation(
        &mut self,
        rows: &impl Rows,
        number: EventNumber,
    ) -> RowResult<Option<Arc<ConversationAccess>>> {
        if let Some(access) = self.conversations.get(&number) {
            return Ok(Some(access).filter(|access| !self.deleted_workspaces.contains(&access.workspace.number)));
        }
        let access = rows.conversation_access(number)?.map(Arc::new);
        if let Some(access) = &access {
            self.conversations.insert(number, access.clone());
        }
        Ok(access)
    }
}

/// The approximate size in memory, in bytes.
impl Weigh for ConversationAccess {
    fn weight(&self) -> usize {
        const BASE: usize = 320;
        const PER_PARTICIPANT: usize = 64;
        let ids: usize = self.recipients.iter().map(|id| id.as_str().len()).sum();
        BASE + self.recipients.len() * PER_PARTICIPANT + ids + self.responder.as_ref().map_or(0, |name| name.len())
    }
}

/// Users have similar sizes, so the cache counts them.
impl Weigh for UserRow {
    fn weight(&self) -> usize {
        1
    }
}

//! The writer's cache of rows that only it changes.
//!
//! Invariant: every cached value equals its rows, including the changes of the open transaction.

use crate::base::limits::{WRITER_CACHE_CONVERSATION_BYTES_MAX, WRITER_CACHE_USERS_MAX};
use crate::domain::id::{EventNumber, UserId};
use crate::store::config::{InboxLimits, ResponderRules};
use crate::store::rules::cache::{Cache, Weigh};
use crate::store::rules::inbox_flush::InboxFlusher;
use crate::store::rules::records::{ConversationAccess, JournalStats, UserRow};
use crate::store::rules::rows::{RowResult, Rows};
use std::sync::Arc;

/// The writer's caches, and the settings that the rules need.
pub(crate) struct WriterCache {
    pub conversations: Cache<EventNumber, Arc<ConversationAccess>>,
    pub users: Cache<UserId, Arc<UserRow>>,
    pub inboxes: InboxFlusher,
    /// The counts of expiring events; `None` until they are read.
    pub stats: Option<JournalStats>,
    pub responders: ResponderRules,
}

impl WriterCache {
    pub(crate) fn new(inbox: InboxLimits, responders: ResponderRules) -> WriterCache {
        WriterCache {
            conversations: Cache::new(WRITER_CACHE_CONVERSATION_BYTES_MAX),
            users: Cache::new(WRITER_CACHE_USERS_MAX),
            inboxes: InboxFlusher::new(inbox),
            stats: None,
            responders,
        }
    }

    /// Drops everything that may differ from the rows, after a rollback or a change by another process.
    pub(crate) fn clear(&mut self) {
        self.conversations.clear();
        self.users.clear();
        self.inboxes.clear();
        self.stats = None;
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
            return Ok(Some(access));
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

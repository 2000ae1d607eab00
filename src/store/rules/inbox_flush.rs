//! Adds the newest messages to their recipients' inboxes: some thousands at a time, in short steps that share transactions
//! with commands.
//!
//! A flush first gathers the numbers of the messages since the last flush for each user, and then writes one inbox after the
//! other. The gathered numbers are in memory only. They are derived from the messages and the watermark, so after a crash or
//! a failed transaction they are gathered again. The recipients are the participants at the time of the flush: a user who
//! may still see a message when it is replayed has been a participant continuously since before it was sent.
//!
//! Invariant: between transactions, the gathered numbers that are not written yet are exactly the numbers that the inboxes
//! lack through the end of the flush.

use crate::domain::id::EventNumber;
use crate::store::config::FlushLimits;
use crate::store::rules::records::{ConversationAccess, InboxWatermark};
use crate::store::rules::rows::{RowResult, Rows};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of the inboxes between transactions.
#[derive(Debug)]
pub(crate) struct InboxFlusher {
    limits: FlushLimits,
    /// The stored watermark; `None` until it is read.
    watermark: Option<InboxWatermark>,
    /// Whether another writer may have changed the stored watermark.
    may_have_moved: bool,
    flush: Option<InboxFlush>,
}

/// A flush that has begun.
#[derive(Debug)]
struct InboxFlush {
    /// The number of the last message to add.
    through: EventNumber,
    gathered_through: EventNumber,
    /// By user key, the numbers to write to the user's inbox.
    gathered: BTreeMap<i64, Vec<EventNumber>>,
    /// How many numbers were gathered.
    entries: usize,
}

impl InboxFlusher {
    pub(crate) fn new(limits: FlushLimits) -> InboxFlusher {
        InboxFlusher { limits, watermark: None, may_have_moved: false, flush: None }
    }

    /// Drops the state that may differ from the rows.
    pub(crate) fn clear(&mut self) {
        self.watermark = None;
        self.flush = None;
    }

    /// Another writer may have changed the stored watermark. It is read again before the next step that changes rows.
    #[cfg(feature = "cluster")]
    pub(crate) fn may_have_moved(&mut self) {
        self.may_have_moved = true;
    }

    /// Drops what was gathered for a user whose row is removed.
    pub(crate) fn user_removed(&mut self, user: i64) {
        if let Some(flush) = &mut self.flush {
            flush.gathered.remove(&user);
        }
    }

    /// Whether a step may have work to do for the messages through `newest`. Reads no row.
    pub(crate) fn is_due(&self, newest: EventNumber) -> bool {
        match (&self.flush, &self.watermark) {
            (Some(_), _) => true,
            (None, Some(watermark)) => watermark.is_flushing() || self.is_far_behind(watermark, newest),
            (None, None) => true,
        }
    }

    /// Runs a short step of the flush that has begun or is due, if any, for the messages through `newest`. `users_min` raises the
    /// number of inboxes that the step may write, so that the flush keeps up with the commands.
    pub(crate) fn step(
        &mut self,
        rows: &impl Rows,
        newest: EventNumber,
        users_min: usize,
        access: impl FnMut(EventNumber) -> RowResult<Option<Arc<ConversationAccess>>>,
    ) -> RowResult<()> {
        let mut watermark = self.watermark(rows)?;
        if self.may_have_moved && self.is_due(newest) {
            let stored = rows.inbox_watermark()?;
            if stored != watermark {
                self.flush = None;
            }
            (self.watermark, self.may_have_moved, watermark) = (Some(stored), false, stored);
        }
        let mut flush = match self.flush.take() {
            Some(flush) => flush,
            None if watermark.is_flushing() => InboxFlush::new(watermark.flushed_through, watermark.flushing_through),
            None if self.is_far_behind(&watermark, newest) => InboxFlush::new(watermark.flushed_through, newest),
            None => return Ok(()),
        };
        if flush.gathered_through < flush.through {
            flush.gather(rows, self.limits, &watermark, access)?;
            self.flush = Some(flush);
            return Ok(());
        }
        let users_max = self.limits.step_users_max.max(users_min);
        let users_below = flush.write(rows, users_max, self.limits.chunk_bytes_max)?;
        let flushing_through = flush.through;
        let watermark = if flush.gathered.is_empty() {
            InboxWatermark { flushed_through: flushing_through, flushing_through, users_below: 0 }
        } else {
            self.flush = Some(flush);
            InboxWatermark { flushed_through: watermark.flushed_through, flushing_through, users_below }
        };
        rows.set_inbox_watermark(&watermark)?;
        self.watermark = Some(watermark);
        Ok(())
    }

    /// Asserts that the state in memory fits the stored watermark.
    pub(crate) fn check_invariants(&self, stored: &InboxWatermark) {
        if self.may_have_moved {
            return;
        }
        assert!(self.watermark.is_none_or(|watermark| watermark == *stored), "{self:?} with {stored:?}");
        if let Some(flush) = &self.flush {
            assert!(!stored.is_flushing() || stored.flushing_through == flush.through, "{self:?} with {stored:?}");
            assert!(flush.gathered.keys().all(|user| *user >= stored.users_below), "{self:?} with {stored:?}");
        }
    }

    fn is_far_behind(&self, watermark: &InboxWatermark, newest: EventNumber) -> bool {
        newest.0.saturating_sub(watermark.flushed_through.0) >= self.limits.inbox_flush_numbers
    }

    fn watermark(&mut self, rows: &impl Rows) -> RowResult<InboxWatermark> {
        let watermark = match self.watermark {
            Some(watermark) => watermark,
            None => rows.inbox_watermark()?,
        };
        self.watermark = Some(watermark);
        Ok(watermark)
    }
}

impl InboxFlush {
    fn new(after: EventNumber, through: EventNumber) -> InboxFlush {
        InboxFlush { through, gathered_through: after, gathered: BTreeMap::new(), entries: 0 }
    }

    fn gather(
        &mut self,
        rows: &impl Rows,
        limits: FlushLimits,
        watermark: &InboxWatermark,
        mut access: impl FnMut(EventNumber) -> RowResult<Option<Arc<ConversationAccess>>>,
    ) -> RowResult<()> {
        let messages = rows.message_numbers(self.gathered_through, self.through, limits.step_messages_max)?;
        for (message, conversation) in &messages {
            self.gathered_through = *message;
            // A conversation that has been deleted in the meantime has no recipients.
            let Some(access) = access(*conversation)? else { continue };
            for user in access.recipient_keys.iter().filter(|user| **user >= watermark.users_below) {
                self.gathered.entry(*user).or_default().push(*message);
                self.entries += 1;
            }
            // Once the flush has written an inbox, its end is stored and must not change.
            if self.entries >= limits.inbox_entries_max && !watermark.is_flushing() {
                self.through = *message;
                return Ok(());
            }
        }
        if messages.len() < limits.step_messages_max {
            self.gathered_through = self.through;
        }
        Ok(())
    }

    /// Writes the next inboxes. Returns the key below which all inboxes are written.
    fn write(&mut self, rows: &impl Rows, users_max: usize, chunk_bytes_max: usize) -> RowResult<i64> {
        let mut users_below = 0;
        for _ in 0..users_max {
            let Some((user, numbers)) = self.gathered.pop_first() else { break };
            rows.append_to_inbox(user, &numbers, chunk_bytes_max)?;
            users_below = user + 1;
        }
        Ok(users_below)
    }
}

//! Maintenance between transactions with commands: notifications of deleted workspaces, purge, retention, and steps of flushes.

use crate::base::limits::{PURGE_ROWS_MAX, RELEASED_USERS_MAX};
use crate::base::metrics;
use crate::base::time::{MonoTime, WallTime};
use crate::domain::event::Event;
use crate::store::config::Retention;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::{JournalHead, JournalStats};
use crate::store::rules::transaction::Transaction;
use crate::store::rules::writer_cache::WriterCache;
use crate::store::sql::{SqlConnection, SqlResult};
use crate::store::tables::{released_users, state_events};
use crate::store::write::purge::{self, PurgeStep};
use crate::store::write::retention::{self, RetentionStep};
use crate::store::write::rows::TableRows;
use std::sync::Arc;

/// Without other changes, the age of the database is stored after this time.
const AGE_STORED_MICROSECONDS: u64 = 10 * 60 * 1_000_000;

/// When the next step of maintenance is due, as far as known without a search for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaintenanceDue {
    /// Now; if commands wait, after the next transaction.
    Now,
    /// As soon as no command waits. Transactions with commands include such steps as well.
    WhenIdle,
    /// At this time, or earlier.
    At(MonoTime),
    /// No work is known.
    Unknown,
}

/// The known work of maintenance.
pub(crate) struct Maintenance {
    retention: Retention,
    /// Whether there may be rows to remove.
    has_rows: bool,
    /// Retention removes no event before this time.
    young_until: AgeTime,
    /// Whether the last step failed. No step is due until a transaction has succeeded.
    has_failed: bool,
}

impl Maintenance {
    pub(crate) fn new(retention: Retention) -> Maintenance {
        // An earlier process may have left rows to remove.
        Maintenance { retention, has_rows: true, young_until: AgeTime(i64::MIN), has_failed: false }
    }

    /// Whether there may be rows to remove.
    pub(crate) fn has_rows(&self) -> bool {
        self.has_rows
    }

    /// Runs one step inside the transaction that `rows` has open. Returns the events to publish after the commit, and the new
    /// head of the journal.
    pub(crate) fn step(
        &mut self,
        rows: &TableRows<'_>,
        cache: &mut WriterCache,
        head: JournalHead,
        wall: WallTime,
        age: AgeTime,
    ) -> SqlResult<(Vec<Arc<Event>>, JournalHead)> {
        self.has_failed = false;
        cache.stats = None;
        let mut transaction = Transaction::new(rows, rows.ids, cache, head, wall, age);
        let has_notified = transaction.step_workspace_deletions()?;
        let mut purged = purge::step(rows.db, age)?;
        if let PurgeStep::AwaitsIndex(required) = purged {
            transaction.step_index(required)?;
            purged = purge::step(rows.db, age)?;
        }
        self.has_rows =
            purged != PurgeStep::Done || self.remove_expired(rows.db, transaction.cache, age)? || has_notified;
        if !self.has_rows {
            transaction.step_flush()?;
        }
        if age.since(head.age) >= AGE_STORED_MICROSECONDS {
            transaction.head.age = age;
        }
        transaction.finish()?;
        Ok((transaction.events, transaction.head))
    }

    /// Records that a step failed, so that it is not retried at once.
    pub(crate) fn step_failed(&mut self) {
        self.has_rows = false;
        self.has_failed = true;
    }

    /// Records that another process has marked rows as deleted.
    pub(crate) fn others_deleted(&mut self) {
        self.has_rows = true;
    }

    /// Records that a transaction with commands succeeded; `has_deleted` if it marked rows as deleted.
    pub(crate) fn transaction_succeeded(&mut self, has_deleted: bool) {
        self.has_failed = false;
        self.has_rows |= has_deleted;
    }

    /// `now` and `age` are the same moment.
    pub(crate) fn due(&self, cache: &WriterCache, head: JournalHead, now: MonoTime, age: AgeTime) -> MaintenanceDue {
        let exceeds = cache.stats.is_some_and(|stats| self.retention.exceeded_by(stats).is_some());
        match self {
            Maintenance { has_failed: true, .. } => MaintenanceDue::Unknown,
            Maintenance { has_rows: true, .. } => MaintenanceDue::Now,
            _ if exceeds && self.young_until <= age => MaintenanceDue::Now,
            _ if cache.flush_is_due(head) => MaintenanceDue::WhenIdle,
            _ if exceeds => MaintenanceDue::At(now.plus(self.young_until.since(age))),
            _ => MaintenanceDue::Unknown,
        }
    }

    /// Removes a few rows that have expired, or of users whom no row names. Returns whether more rows may be left to remove.
    fn remove_expired(&mut self, db: &SqlConnection, cache: &mut WriterCache, age: AgeTime) -> SqlResult<bool> {
        let step = retention::step(db, &self.retention, age)?;
        if let RetentionStep::Young(until) = step {
            self.young_until = until;
        }
        if step == RetentionStep::More {
            return Ok(true);
        }
        let (removed, has_more) = released_users::remove(db, RELEASED_USERS_MAX, PURGE_ROWS_MAX)?;
        removed.iter().for_each(|user| cache.user_removed(user));
        Ok(has_more)
    }
}

/// Reads the counts of expiring events, if they are not cached, and reports them as metrics.
pub(crate) fn refresh_stats(db: &SqlConnection, cache: &mut WriterCache) {
    if cache.stats.is_none() {
        // After a failure, they are read again at the next call.
        cache.stats = state_events::stats(db).ok();
    }
    if let Some(JournalStats { events, bytes }) = cache.stats {
        metrics::JOURNAL_EVENTS.set(events.max(0) as u64);
        metrics::JOURNAL_BYTES.set(bytes.max(0) as u64);
    }
}

/// Reports the age of the oldest expiring event as a metric.
pub(crate) fn report_oldest(db: &SqlConnection) {
    if let Ok(oldest_at) = retention::oldest_at(db) {
        metrics::JOURNAL_OLDEST_AT.set(oldest_at.map_or(0, |at| at.0.max(0) as u64));
    }
}

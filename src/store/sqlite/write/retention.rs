//! Retention: removes the oldest state events when they are too old, too many, or too large together. Messages and the events
//! that publish answers have no retention.
//!
//! Invariant: the transaction that removes a recipient of an event raises the user's `removed_through` to the event's number if
//! the user could still see the event, and otherwise leaves it unchanged. `journal_stats` equals the number and weight of the
//! expiring events.

use crate::base::limits::PURGE_ROWS_MAX;
use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::store::config::Retention;
use crate::store::rules::records::{JournalStats, RECIPIENT_BYTES};
use crate::store::sqlite::tables::{released_users, state_events};
use crate::store::sqlite::values::{number, sql};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetentionStep {
    /// No bound is exceeded.
    Done,
    /// More events are to be removed.
    More,
    /// A bound is exceeded, but no event may be removed before this time.
    Young(WallTime),
}

/// The oldest expiring event.
struct OldestEvent {
    number: EventNumber,
    at: WallTime,
    bytes: i64,
}

/// Removes some of the oldest events, if they exceed a bound at `now`, inside an open transaction.
pub(crate) fn step(db: &Connection, keep: &Retention, now: WallTime) -> rusqlite::Result<RetentionStep> {
    let mut stats = state_events::stats(db)?;
    let mut removed =
        RemovedEvents { stats: JournalStats::default(), rows_left: PURGE_ROWS_MAX, through: BTreeMap::new() };
    let left = loop {
        let Some(oldest) = oldest(db)? else { break RetentionStep::Done };
        if oldest.at > now.plus_seconds(-keep.seconds) && !keep.is_exceeded_by(stats) {
            break RetentionStep::Done;
        }
        let old_enough_at = WallTime(oldest.at.0.saturating_add(1000 * keep.young_milliseconds as i64));
        if old_enough_at > now {
            break RetentionStep::Young(old_enough_at);
        }
        if removed.rows_left == 0 {
            break RetentionStep::More;
        }
        let before = removed.stats;
        removed.remove(db, &oldest)?;
        stats.events -= removed.stats.events - before.events;
        stats.bytes -= removed.stats.bytes - before.bytes;
    };
    let mut raise = db.prepare_cached(RAISE)?;
    for (user, through) in &removed.through {
        raise.execute([*user, sql(*through)])?;
    }
    state_events::add_stats(db, JournalStats { events: -removed.stats.events, bytes: -removed.stats.bytes })?;
    Ok(left)
}

impl Retention {
    /// Whether the number or the weight of the events exceeds its bound.
    pub(crate) fn is_exceeded_by(&self, stats: JournalStats) -> bool {
        stats.events as u64 > self.events || stats.bytes as u64 > self.bytes
    }
}

/// The rows that a step has removed.
struct RemovedEvents {
    stats: JournalStats,
    /// How many rows the step may still remove.
    rows_left: usize,
    /// By user key, the highest number of a removed event that the user could see.
    through: BTreeMap<i64, EventNumber>,
}

impl RemovedEvents {
    /// Removes as many recipients of the event as the step has rows left, and after the last recipient the event itself. A user
    /// either is still a recipient, or has a raised `removed_through`.
    fn remove(&mut self, db: &Connection, event: &OldestEvent) -> rusqlite::Result<()> {
        let mut find = db.prepare_cached(RECIPIENTS)?;
        let mut found = find.query(params![sql(event.number), self.rows_left as i64])?;
        let (mut last, mut recipients) = (0, 0);
        while let Some(row) = found.next()? {
            (last, recipients) = (row.get(0)?, recipients + 1);
            if row.get(1)? {
                self.through.insert(last, event.number);
            }
        }
        drop(found);
        released_users::release_recipients(db, event.number, last)?;
        db.prepare_cached(DELETE_RECIPIENTS)?.execute([sql(event.number), last])?;
        self.rows_left -= recipients;
        self.stats.bytes += recipients as i64 * RECIPIENT_BYTES;
        if self.rows_left > 0 {
            db.prepare_cached("DELETE FROM state_events WHERE number = ?1")?.execute([sql(event.number)])?;
            self.rows_left -= 1;
            self.stats.events += 1;
            self.stats.bytes += event.bytes;
        }
        Ok(())
    }
}

/// The time of the oldest expiring event, if any.
pub(crate) fn oldest_at(db: &Connection) -> rusqlite::Result<Option<WallTime>> {
    Ok(oldest(db)?.map(|oldest| oldest.at))
}

fn oldest(db: &Connection) -> rusqlite::Result<Option<OldestEvent>> {
    db.prepare_cached(OLDEST)?
        .query_row([], |row| {
            Ok(OldestEvent { number: number(row.get(0)?), at: WallTime(row.get(1)?), bytes: row.get(2)? })
        })
        .optional()
}

pub(crate) const OLDEST: &str = concat!(
    "SELECT number, at, ",
    state_events::event_bytes!(),
    " FROM state_events e INDEXED BY state_events_expiring WHERE ",
    state_events::event_expires!(),
    " ORDER BY number LIMIT 1"
);
pub(crate) const RECIPIENTS: &str = concat!(
    "SELECT r.user, ",
    state_events::visible!(),
    " ",
    state_events::from_recipients!(),
    " WHERE r.number = ?1 ORDER BY r.number, r.user LIMIT ?2"
);
pub(crate) const DELETE_RECIPIENTS: &str = "DELETE FROM event_recipients WHERE number = ?1 AND user <= ?2";
pub(crate) const RAISE: &str = "UPDATE users SET removed_through = max(removed_through, ?2) WHERE key = ?1";

//! Removal of the oldest events that are no messages, when they are too old, too many or too large together. Messages can
//! be replayed as long as they exist, and so can an answer that an event of its own published.
//!
//! Invariant: whoever could still see a removed event has `removed_through` at or beyond its number from the same
//! transaction on, and nobody else because of it; `journal_stats` says how many events there are and what they weigh.

use crate::base::limits::PURGE_ROWS_MAX;
use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::store::Retention;
use crate::store::rules::records::{JournalStats, RECIPIENT_BYTES};
use crate::store::sqlite::tables::state_events;
use crate::store::sqlite::values::{number, sql};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// What a step has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing that is too much.
    Nothing,
    /// More to remove.
    More,
    /// Too much, but nothing of it may go before this time.
    Young(WallTime),
}

/// The oldest event.
struct Oldest {
    number: EventNumber,
    at: WallTime,
    bytes: i64,
}

/// Removes some of the oldest events, if they are too much at `now`. The caller has a transaction open.
pub(crate) fn step(db: &Connection, keep: &Retention, now: WallTime) -> rusqlite::Result<Left> {
    let mut stats = state_events::stats(db)?;
    let mut removed = Removed { stats: JournalStats::default(), rows_left: PURGE_ROWS_MAX, of: BTreeMap::new() };
    let left = loop {
        let Some(oldest) = oldest(db)? else { break Left::Nothing };
        if oldest.at > now.plus_seconds(-keep.seconds) && !keep.is_too_much(stats) {
            break Left::Nothing;
        }
        let old_enough_at = WallTime(oldest.at.0.saturating_add(1000 * keep.young_milliseconds as i64));
        if old_enough_at > now {
            break Left::Young(old_enough_at);
        }
        if removed.rows_left == 0 {
            break Left::More;
        }
        let before = removed.stats;
        removed.remove(db, &oldest)?;
        stats.events -= removed.stats.events - before.events;
        stats.bytes -= removed.stats.bytes - before.bytes;
    };
    let mut raise = db.prepare_cached(RAISE)?;
    for (user, through) in &removed.of {
        raise.execute([*user, sql(*through)])?;
    }
    state_events::add_stats(db, JournalStats { events: -removed.stats.events, bytes: -removed.stats.bytes })?;
    Ok(left)
}

impl Retention {
    /// Whether these are too many, or weigh too much.
    pub(crate) fn is_too_much(&self, stats: JournalStats) -> bool {
        stats.events as u64 > self.events || stats.bytes as u64 > self.bytes
    }
}

/// What a step removes.
struct Removed {
    stats: JournalStats,
    rows_left: usize,
    /// The highest number that each user has lost.
    of: BTreeMap<i64, EventNumber>,
}

impl Removed {
    /// Takes the event from as many of its recipients as the step has rows left, and then the event itself. Who has
    /// lost it is told so, and who has not still gets it.
    fn remove(&mut self, db: &Connection, event: &Oldest) -> rusqlite::Result<()> {
        let mut find = db.prepare_cached(RECIPIENTS)?;
        let mut found = find.query(params![sql(event.number), self.rows_left as i64])?;
        let (mut last, mut recipients) = (0, 0);
        while let Some(row) = found.next()? {
            (last, recipients) = (row.get(0)?, recipients + 1);
            if row.get(1)? {
                self.of.insert(last, event.number);
            }
        }
        drop(found);
        db.prepare_cached(DELETE_RECIPIENTS)?.execute([sql(event.number), last])?;
        self.rows_left -= recipients;
        self.stats.bytes += recipients as i64 * RECIPIENT_BYTES;
        if self.rows_left > 0 {
            db.prepare_cached("DELETE FROM events WHERE number = ?1")?.execute([sql(event.number)])?;
            self.rows_left -= 1;
            self.stats.events += 1;
            self.stats.bytes += event.bytes;
        }
        Ok(())
    }
}

/// When the oldest event was made, if there is one.
pub(crate) fn oldest_at(db: &Connection) -> rusqlite::Result<Option<WallTime>> {
    Ok(oldest(db)?.map(|oldest| oldest.at))
}

fn oldest(db: &Connection) -> rusqlite::Result<Option<Oldest>> {
    db.prepare_cached(OLDEST)?
        .query_row([], |row| Ok(Oldest { number: number(row.get(0)?), at: WallTime(row.get(1)?), bytes: row.get(2)? }))
        .optional()
}

pub(crate) const OLDEST: &str = concat!(
    "SELECT number, at, ",
    state_events::event_bytes!(),
    " FROM events e INDEXED BY events_expiring WHERE ",
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

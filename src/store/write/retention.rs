//! Retention: removes state events when they are too old, too many, or too large together. Messages and the events that publish
//! answers have no retention.
//!
//! If they are too many or too large, the largest share of the journal gives way: the oldest events of the largest workspace of
//! the owner who has most. So a user who fills the journal loses own events, and no others.
//!
//! Invariant: the transaction that removes a recipient of an event raises the user's `removed_through` to the event's number if
//! the user could still see the event, and otherwise leaves it unchanged. The events of a workspace are removed in their order.
//! `journal_stats` equals the number and weight of the expiring events.

use crate::base::limits::PURGE_ROWS_MAX;
use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::store::config::Retention;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::{JournalStats, RECIPIENT_BYTES};
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use crate::store::tables::journal_shares::{self, ShareMeasure};
use crate::store::tables::{released_users, state_events};
use std::collections::BTreeMap;

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetentionStep {
    /// No bound is exceeded.
    Done,
    /// More events are to be removed.
    More,
    /// A bound is exceeded, but no event may be removed before this time.
    Young(AgeTime),
}

/// The oldest expiring event, of all or of one workspace.
struct OldestEvent {
    number: EventNumber,
    workspace: EventNumber,
    at: WallTime,
    age_at: AgeTime,
    bytes: i64,
}

/// Removes some events, if they exceed a bound at `now`, inside an open transaction.
pub(crate) fn step(db: &SqlConnection, keep: &Retention, now: AgeTime) -> SqlResult<RetentionStep> {
    let mut stats = state_events::stats(db)?;
    let mut removed =
        RemovedEvents { stats: JournalStats::default(), rows_left: PURGE_ROWS_MAX, through: BTreeMap::new() };
    let left = loop {
        let Some(mut oldest) = oldest(db)? else { break RetentionStep::Done };
        if oldest.age_at > now.minus_seconds(keep.seconds) {
            let Some(measure) = keep.exceeded_by(stats) else { break RetentionStep::Done };
            if let Some(largest) = journal_shares::largest(db, measure)?
                && let Some(event) = oldest_of(db, largest)?
            {
                oldest = event;
            }
        }
        let old_enough_at = oldest.age_at.plus_milliseconds(keep.young_milliseconds);
        if old_enough_at > now {
            break RetentionStep::Young(old_enough_at);
        }
        if removed.rows_left == 0 {
            break RetentionStep::More;
        }
        let done = removed.remove(db, &oldest)?;
        // The next event is of the share that is the largest then.
        journal_shares::subtract(db, oldest.workspace, done)?;
        stats.events -= done.events;
        stats.bytes -= done.bytes;
    };
    let mut raise = db.prepare_cached(RAISE)?;
    for (user, through) in &removed.through {
        raise.run([*user, sql(*through)])?;
    }
    state_events::subtract_stats(db, removed.stats)?;
    Ok(left)
}

impl Retention {
    /// Which of the number and the weight of the events exceeds its bound, if any.
    pub(crate) fn exceeded_by(&self, stats: JournalStats) -> Option<ShareMeasure> {
        if stats.bytes as u64 > self.bytes {
            Some(ShareMeasure::Bytes)
        } else if stats.events as u64 > self.events {
            Some(ShareMeasure::Events)
        } else {
            None
        }
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
    /// either is still a recipient, or has a raised `removed_through`. Returns what was removed.
    fn remove(&mut self, db: &SqlConnection, event: &OldestEvent) -> SqlResult<JournalStats> {
        let mut find = db.prepare_cached(RECIPIENTS)?;
        let mut found = find.query(params![sql(event.number), self.rows_left as i64])?;
        let (mut last, mut recipients) = (0, 0);
        while let Some(row) = found.next()? {
            (last, recipients) = (row.get(0)?, recipients + 1);
            if row.get(1)? {
                let through = self.through.entry(last).or_default();
                *through = event.number.max(*through);
            }
        }
        drop(found);
        released_users::release_recipients(db, event.number, last)?;
        db.prepare_cached(DELETE_RECIPIENTS)?.run([sql(event.number), last])?;
        self.rows_left -= recipients;
        let mut done = JournalStats { events: 0, bytes: recipients as i64 * RECIPIENT_BYTES };
        if self.rows_left > 0 {
            db.prepare_cached("DELETE FROM state_events WHERE number = ?1")?.run([sql(event.number)])?;
            self.rows_left -= 1;
            done += JournalStats { events: 1, bytes: event.bytes };
        }
        self.stats += done;
        Ok(done)
    }
}

/// The time of the oldest expiring event, if any.
pub(crate) fn oldest_at(db: &SqlConnection) -> SqlResult<Option<WallTime>> {
    Ok(oldest(db)?.map(|oldest| oldest.at))
}

fn oldest(db: &SqlConnection) -> SqlResult<Option<OldestEvent>> {
    db.prepare_cached(OLDEST)?.query_row([], read).optional()
}

fn oldest_of(db: &SqlConnection, workspace: EventNumber) -> SqlResult<Option<OldestEvent>> {
    db.prepare_cached(OLDEST_OF_WORKSPACE)?.query_row([sql(workspace)], read).optional()
}

fn read(row: Row<'_>) -> SqlResult<OldestEvent> {
    let (number, workspace) = (number(row.get(0)?), number(row.get(1)?));
    let (at, age_at) = (WallTime(row.get(2)?), AgeTime(row.get(3)?));
    Ok(OldestEvent { number, workspace, at, age_at, bytes: row.get(4)? })
}

pub(crate) const OLDEST_OF_WORKSPACE: &str = concat!(
    "SELECT number, workspace, at, age_at, ",
    state_events::event_bytes!(),
    " FROM state_events e INDEXED BY state_events_expiring_of_workspace WHERE workspace = ?1 AND ",
    state_events::event_expires!(),
    " ORDER BY number LIMIT 1"
);
pub(crate) const OLDEST: &str = concat!(
    "SELECT number, workspace, at, age_at, ",
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

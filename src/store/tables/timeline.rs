//! Timelines. A restored database continues from an older state, so the numbers that were assigned after that state belong to
//! lost events. A restore starts a new timeline: the journal gets a new epoch, and its numbers continue so far ahead that no
//! lost number is assigned again. The numbers in between form a skipped range.
//!
//! Invariant: the numbers that another timeline assigned after the common state are in a skipped range, and no event of this
//! journal has a number in a skipped range.

use crate::base::limits::{EVENT_NUMBER_MAX, RESTORE_NUMBERS_MIN, RESTORE_NUMBERS_PER_SECOND};
use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::store::rules::records::JournalHead;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult, params};
use crate::store::sqlite::schema;
use crate::store::tables::journal_head;
use uuid::Uuid;

/// The number after which a new timeline continues. It starts at `now` from a database whose newest number is `newest`, assigned
/// at `newest_at`. No number through `known` is assigned again. `None` if no numbers are left.
///
/// The clock relates this timeline to unknown ones: each has assigned fewer than `RESTORE_NUMBERS_PER_SECOND` numbers per
/// second since 1970. The other arguments bound the effect of a wrong clock.
fn continuation(newest: EventNumber, newest_at: WallTime, known: EventNumber, now: WallTime) -> Option<EventNumber> {
    let seconds = now.max(newest_at).seconds().max(0) as u64;
    let by_clock = seconds.saturating_mul(RESTORE_NUMBERS_PER_SECOND);
    let at_least = newest.max(known).0.saturating_add(RESTORE_NUMBERS_MIN);
    [by_clock.max(at_least), at_least].into_iter().find(|from| *from <= EVENT_NUMBER_MAX).map(EventNumber)
}

/// Starts a new timeline in an open transaction. No other process may have the database open. Returns the number after which
/// the timeline continues; `None`, without a change, if no numbers are left.
pub(crate) fn start(db: &SqlConnection, known: EventNumber, now: WallTime) -> SqlResult<Option<EventNumber>> {
    let through = skip(db, known, now)?;
    if through.is_some() {
        change_epoch(db)?;
    }
    Ok(through)
}

/// Gives the journal a new epoch, which it returns: the journal lacks events of the one before.
pub(crate) fn change_epoch(db: &SqlConnection) -> SqlResult<Uuid> {
    let epoch = schema::new_epoch();
    db.run("UPDATE meta SET epoch = ?1 WHERE id = 1", [epoch.as_bytes()])?;
    Ok(epoch)
}

/// As [`start`], but keeps the epoch: no event of the journal is known to be missing.
pub(crate) fn skip(db: &SqlConnection, known: EventNumber, now: WallTime) -> SqlResult<Option<EventNumber>> {
    let head @ JournalHead { number: newest, at: newest_at, .. } = journal_head::load(db)?;
    let Some(through) = continuation(newest, newest_at, known, now) else { return Ok(None) };
    db.run(
        "INSERT INTO skipped_ranges (after, through, at) VALUES (?1, ?2, ?3)",
        params![sql(newest), sql(through), now.0],
    )?;
    journal_head::store(db, JournalHead { number: through, ..head })?;
    Ok(Some(through))
}

/// The last number of the skipped range that contains `asked`. `None` if no range contains it, or if it is the last number of
/// one, after which the timeline continues.
pub(crate) fn skipped_through(db: &SqlConnection, asked: EventNumber) -> SqlResult<Option<EventNumber>> {
    let through =
        db.prepare_cached(SKIPPED_BEFORE)?.query_row([sql(asked)], |row| row.get(0).map(number)).optional()?;
    Ok(through.filter(|through| asked < *through))
}

pub(crate) const SKIPPED_BEFORE: &str =
    "SELECT through FROM skipped_ranges WHERE after < ?1 ORDER BY after DESC LIMIT 1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rules::age::AgeTime;
    use crate::store::sqlite::connection::{Durability, open_writing};
    use crate::store::tests::support::TempDir;

    #[test]
    fn numbers_continue_beyond_all_that_may_have_been_assigned() {
        let (clock, late) = (WallTime(1_767_225_600_000_000), WallTime(i64::MAX));
        let by_clock = 1_767_225_600 << 20;
        let table = [
            ("by the clock", 100, WallTime(0), 0, clock, Some(by_clock)),
            ("by the newest time if the clock has gone back", 100, clock, 0, WallTime(0), Some(by_clock)),
            (
                "beyond a newest number that is ahead of the clock",
                by_clock + 5,
                WallTime(0),
                0,
                clock,
                Some(by_clock + 5 + (1 << 32)),
            ),
            (
                "beyond the known numbers of another timeline",
                100,
                WallTime(0),
                by_clock,
                clock,
                Some(by_clock + (1 << 32)),
            ),
            ("without a clock", 100, WallTime(0), 0, WallTime(-5), Some(100 + (1 << 32))),
            ("with a clock far ahead", 100, WallTime(0), 0, late, Some(100 + (1 << 32))),
            ("without numbers left", EVENT_NUMBER_MAX - 5, WallTime(0), 0, clock, None),
        ];
        for (name, newest, newest_at, known, now, expected) in table {
            let from = continuation(EventNumber(newest), newest_at, EventNumber(known), now);
            assert_eq!(from, expected.map(EventNumber), "{name}");
        }
        // Two independent restores of the same backup get different numbers.
        let [first, second] = [0, 1].map(|seconds| {
            continuation(EventNumber(7), WallTime(0), EventNumber(0), clock.plus_seconds(seconds)).expect("a number")
        });
        assert!(second.0 - first.0 >= RESTORE_NUMBERS_PER_SECOND);
    }

    #[test]
    fn a_skipped_range_separates_two_timelines() {
        let directory = TempDir::new();
        let (db, meta) = open_writing(&directory.file("a.db"), Durability::None).unwrap();
        journal_head::store(&db, JournalHead { number: EventNumber(10), at: WallTime(5), age: AgeTime(7) }).unwrap();
        let start_at = |now| start(&db, EventNumber(0), now).unwrap().unwrap();
        let first = start_at(WallTime(1_000_000));
        journal_head::store(&db, JournalHead { number: EventNumber(first.0 + 3), at: WallTime(6), age: AgeTime(8) })
            .unwrap();
        let second = start_at(WallTime(2_000_000));
        assert_eq!(journal_head::load(&db).unwrap(), JournalHead { number: second, at: WallTime(6), age: AgeTime(8) });
        let epoch: Vec<u8> = db.query_row("SELECT epoch FROM meta", [], |row| row.get(0)).unwrap();
        assert_ne!(epoch, meta.epoch.as_bytes());
        let table = [
            (0, None),
            (9, None),
            (10, None),
            (11, Some(first)),
            (first.0 - 1, Some(first)),
            (first.0, None),
            (first.0 + 3, None),
            (first.0 + 4, Some(second)),
            (second.0 - 1, Some(second)),
            (second.0, None),
            (second.0 + 1, None),
        ];
        for (asked, expected) in table {
            assert_eq!(skipped_through(&db, EventNumber(asked)).unwrap(), expected, "{asked}");
        }
    }
}

//! The shares of the journal: the number and weight of the expiring events of each workspace, and of all workspaces of each
//! owner. A workspace keeps its share after its deletion, until retention has removed the last tombstone.
//!
//! Invariant: each workspace with expiring events has a share that equals their number and weight, and the share of an owner is
//! the sum of those of the owner's workspaces. No share is empty.

use crate::domain::id::EventNumber;
use crate::store::rules::records::JournalStats;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult, params};

/// What a bound of retention counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShareMeasure {
    /// The number of events.
    Events,
    /// Their weight, in bytes.
    Bytes,
}

/// Adds to the share of a workspace. The same must be added to that of its owner.
pub(crate) fn add_to_workspace(
    db: &SqlConnection,
    workspace: EventNumber,
    owner: i64,
    added: JournalStats,
) -> SqlResult<()> {
    db.prepare_cached(ADD_TO_WORKSPACE)?.run(params![sql(workspace), owner, added.events, added.bytes])
}

/// Adds to the share of an owner.
pub(crate) fn add_to_owner(db: &SqlConnection, owner: i64, added: JournalStats) -> SqlResult<()> {
    db.prepare_cached(ADD_TO_OWNER)?.run(params![owner, added.events, added.bytes])
}

/// Subtracts from the share of a workspace, and from that of its owner.
pub(crate) fn subtract(db: &SqlConnection, workspace: EventNumber, removed: JournalStats) -> SqlResult<()> {
    if removed == JournalStats::default() {
        return Ok(());
    }
    let JournalStats { events, bytes } = removed;
    let left = db
        .prepare_cached(SUBTRACT_FROM_WORKSPACE)?
        .query_row(params![sql(workspace), events, bytes], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((owner, is_empty)): Option<(i64, bool)> = left else { return Ok(()) };
    if is_empty {
        db.prepare_cached("DELETE FROM journal_workspaces WHERE workspace = ?1")?.run([sql(workspace)])?;
    }
    let is_empty = db
        .prepare_cached(SUBTRACT_FROM_OWNER)?
        .query_row(params![owner, events, bytes], |row| row.get(0))
        .optional()?;
    if is_empty == Some(true) {
        db.prepare_cached("DELETE FROM journal_owners WHERE owner = ?1")?.run([owner])?;
    }
    Ok(())
}

/// The largest workspace of the owner who has most. Of equal ones, the oldest.
pub(crate) fn largest(db: &SqlConnection, measure: ShareMeasure) -> SqlResult<Option<EventNumber>> {
    let statement = match measure {
        ShareMeasure::Events => LARGEST_BY_EVENTS,
        ShareMeasure::Bytes => LARGEST_BY_BYTES,
    };
    db.prepare_cached(statement)?.query_row([], |row| row.get(0).map(number)).optional()
}

pub(crate) const ADD_TO_WORKSPACE: &str = "
    INSERT INTO journal_workspaces (workspace, owner, events, bytes) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (workspace) DO UPDATE SET events = journal_workspaces.events + excluded.events,
        bytes = journal_workspaces.bytes + excluded.bytes";
pub(crate) const ADD_TO_OWNER: &str = "
    INSERT INTO journal_owners (owner, events, bytes) VALUES (?1, ?2, ?3)
    ON CONFLICT (owner) DO UPDATE SET events = journal_owners.events + excluded.events,
        bytes = journal_owners.bytes + excluded.bytes";
pub(crate) const SUBTRACT_FROM_WORKSPACE: &str = "
    UPDATE journal_workspaces SET events = events - ?2, bytes = bytes - ?3 WHERE workspace = ?1
    RETURNING owner, events = 0 AND bytes = 0";
pub(crate) const SUBTRACT_FROM_OWNER: &str = "
    UPDATE journal_owners SET events = events - ?2, bytes = bytes - ?3 WHERE owner = ?1
    RETURNING events = 0 AND bytes = 0";
pub(crate) const LARGEST_BY_EVENTS: &str = "
    SELECT workspace FROM journal_workspaces
    WHERE owner = (SELECT owner FROM journal_owners ORDER BY events DESC, owner LIMIT 1)
    ORDER BY events DESC, workspace LIMIT 1";
pub(crate) const LARGEST_BY_BYTES: &str = "
    SELECT workspace FROM journal_workspaces
    WHERE owner = (SELECT owner FROM journal_owners ORDER BY bytes DESC, owner LIMIT 1)
    ORDER BY bytes DESC, workspace LIMIT 1";

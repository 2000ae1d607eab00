//! Purge: removes the rows of deleted resources and expired responses, a few at a time. Children are removed first, so that
//! foreign keys hold after every step.

use crate::base::limits::{PURGE_BYTES_MAX, PURGE_ROWS_MAX};
use crate::domain::id::EventNumber;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::{JournalStats, RECIPIENT_BYTES};
use crate::store::search::index;
use crate::store::sql::values::number;
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult, params};
use crate::store::tables::{
    answer_jobs, answers, conversation_index, idempotency, journal_shares, reasoning, released_users, state_events,
    workspace_deletions,
};

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PurgeStep {
    /// More rows may be left to remove.
    More,
    /// No rows are left to remove.
    Done,
    /// Before more rows are removed, the index by conversation needs all messages through this number.
    AwaitsIndex(EventNumber),
}

/// Removes some rows of deleted resources or some expired responses, inside an open transaction.
pub(crate) fn step(db: &SqlConnection, now: AgeTime) -> SqlResult<PurgeStep> {
    if let Some((conversation, deleted)) = first(db, DELETED_CONVERSATION)? {
        // Messages are found by the index. No message was inserted after the deletion.
        if deleted > conversation_index::indexed_through(db)? {
            return Ok(PurgeStep::AwaitsIndex(deleted));
        }
        purge_conversation(db, conversation)?;
        return Ok(PurgeStep::More);
    }
    // The participants of a workspace are notified before its rows are removed.
    if let Some((workspace, deleted)) = first(db, DELETED_WORKSPACE)?
        && !workspace_deletions::is_pending(db, workspace)?
    {
        if deleted > conversation_index::indexed_through(db)? {
            return Ok(PurgeStep::AwaitsIndex(deleted));
        }
        match db.prepare_cached(CONVERSATION_OF)?.query_row([workspace], |row| row.get(0)).optional()? {
            Some(conversation) => purge_conversation(db, conversation)?,
            None => purge_workspace(db, workspace)?,
        }
        return Ok(PurgeStep::More);
    }
    // A stored response may be as large as a message, so their number in one step is bounded.
    const RESPONSES_MAX: usize = 32;
    Ok(match idempotency::purge(db, now, RESPONSES_MAX)? == RESPONSES_MAX {
        true => PurgeStep::More,
        false => PurgeStep::Done,
    })
}

/// A deleted resource, and the number of the event that deleted it.
fn first(db: &SqlConnection, statement: &str) -> SqlResult<Option<(i64, EventNumber)>> {
    db.prepare_cached(statement)?.query_row([], |row| Ok((row.get(0)?, number(row.get(1)?)))).optional()
}

/// Removes rows of a conversation, and the conversation itself after its last row.
fn purge_conversation(db: &SqlConnection, conversation: i64) -> SqlResult<()> {
    let mut rows_left = PURGE_ROWS_MAX;
    purge_messages(db, conversation, &mut rows_left)?;
    purge_events(db, EVENTS_OF_CONVERSATION, conversation, &mut rows_left)?;
    if rows_left > 0 {
        // The number of participants is bounded, so they are removed in one step.
        released_users::release_participants(db, conversation)?;
        db.prepare_cached("DELETE FROM participants WHERE conversation = ?1")?.run([conversation])?;
        db.prepare_cached("DELETE FROM conversation_state WHERE conversation = ?1")?.run([conversation])?;
        db.prepare_cached("DELETE FROM conversations WHERE number = ?1")?.run([conversation])?;
    }
    Ok(())
}

/// Removes rows of a workspace that has no conversations left, and the workspace itself after its last event.
fn purge_workspace(db: &SqlConnection, workspace: i64) -> SqlResult<()> {
    let mut rows_left = PURGE_ROWS_MAX;
    purge_events(db, EVENTS_OF_WORKSPACE, workspace, &mut rows_left)?;
    let notified = workspace_deletions::purge_notified(db, workspace, rows_left)?;
    if notified < rows_left {
        db.prepare_cached("DELETE FROM workspaces WHERE number = ?1")?.run([workspace])?;
    }
    Ok(())
}

/// Removes messages until `rows_left` of them, or enough bytes, are removed. Sets `rows_left` to 0 if more may remain.
fn purge_messages(db: &SqlConnection, conversation: i64, rows_left: &mut usize) -> SqlResult<()> {
    let mut find = db.prepare_cached(MESSAGES_OF_CONVERSATION)?;
    let mut found = find.query(params![conversation, *rows_left as i64])?;
    let (mut last, mut bytes_left) = (None, PURGE_BYTES_MAX as i64);
    while let Some(row) = found.next()? {
        last = Some(row.get::<i64>(0)?);
        *rows_left -= 1;
        bytes_left -= row.get::<i64>(1)?;
        if bytes_left <= 0 {
            *rows_left = 0;
            break;
        }
    }
    drop(found);
    match last {
        Some(last) => {
            index::will_purge(db, conversation, last)?;
            answer_jobs::delete_through(db, conversation, last)?;
            reasoning::delete_through(db, conversation, last)?;
            answers::delete_through(db, conversation, last)?;
            db.prepare_cached(DELETE_MESSAGES)?.run([conversation, last])
        }
        None => Ok(()),
    }
}

/// Removes the events that `events_of` selects for `key`, with their recipients, until at least `rows_left` rows are removed.
/// All of them are of one workspace. Sets `rows_left` to 0 if more may remain.
fn purge_events(db: &SqlConnection, events_of: &str, key: i64, rows_left: &mut usize) -> SqlResult<()> {
    let (mut removed, mut workspace) = (JournalStats::default(), number(0));
    while *rows_left > 0 {
        let event = db
            .prepare_cached(events_of)?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let Some((event, bytes, is_counted, of)): Option<(i64, i64, bool, i64)> = event else { break };
        let recipients = state_events::purge(db, number(event))?;
        *rows_left = rows_left.saturating_sub(recipients + 1);
        if is_counted {
            removed += JournalStats { events: 1, bytes: bytes + recipients as i64 * RECIPIENT_BYTES };
            workspace = number(of);
        }
    }
    journal_shares::subtract(db, workspace, removed)?;
    state_events::subtract_stats(db, removed)
}

pub(crate) const DELETED_CONVERSATION: &str =
    "SELECT number, deleted FROM conversations WHERE deleted IS NOT NULL ORDER BY deleted LIMIT 1";
pub(crate) const DELETED_WORKSPACE: &str =
    "SELECT number, deleted FROM workspaces WHERE deleted IS NOT NULL ORDER BY deleted LIMIT 1";
pub(crate) const CONVERSATION_OF: &str = "SELECT number FROM conversations WHERE workspace = ?1 LIMIT 1";
pub(crate) const MESSAGES_OF_CONVERSATION: &str = "SELECT i.number, octet_length(m.content) + octet_length(m.metadata) \
     FROM conversation_index i CROSS JOIN messages m ON m.number = i.number WHERE i.conversation = ?1 ORDER BY i.number LIMIT ?2";
pub(crate) const DELETE_MESSAGES: &str = "DELETE FROM messages WHERE number IN \
     (SELECT number FROM conversation_index WHERE conversation = ?1 AND number <= ?2)";
pub(crate) const EVENTS_OF_CONVERSATION: &str = concat!(
    "SELECT e.number, ",
    state_events::event_bytes!(),
    ", ",
    state_events::event_expires!(),
    ", e.workspace FROM state_events e WHERE e.conversation = ?1 \
     AND e.kind NOT IN ('conversation_left', 'conversation_deleted') LIMIT 1"
);
pub(crate) const EVENTS_OF_WORKSPACE: &str = concat!(
    "SELECT e.number, ",
    state_events::event_bytes!(),
    ", ",
    state_events::event_expires!(),
    ", e.workspace FROM state_events e WHERE e.workspace = ?1 AND e.conversation IS NULL AND e.kind <> 'workspace_deleted' LIMIT 1"
);

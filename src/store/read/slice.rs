//! Slices of the journal: the events of all users in a range of numbers. An instance reads them for all its streams at once, when
//! other instances have committed.
//!
//! Invariant: a slice has every event of its range, each with the recipients that may see it, except events that no user may see
//! any more, or it has a gap.

use crate::base::limits::SLICE_EVENTS_MAX;
use crate::domain::id::{EventNumber, IdKey, UserId};
use crate::domain::slice::JournalSlice;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{EngineError, Row, SqlConnection, SqlResult};
use crate::store::tables::{journal_head, messages, state_events};
use std::collections::HashMap;
use std::sync::Arc;

/// A participant, and the number after which the messages of the conversation are visible.
type Participant = (EventNumber, UserId);

/// Why there is no slice after a number.
#[derive(Debug)]
pub enum SliceError {
    /// The journal lacks the event with that number: it continues from an older state.
    Lacking,
    /// The database cannot be read, with the reason.
    Failed(String),
}

impl From<EngineError> for SliceError {
    fn from(error: EngineError) -> SliceError {
        SliceError::Failed(error.to_string())
    }
}

/// Reads the slice after a number, in the open transaction of `db`, which is a snapshot. With more than one event, it has at most `bytes_max`
/// bytes. `None` if the journal ends there.
///
/// # Errors
/// Also fails if the journal lacks the event with that number.
pub(crate) fn read(
    db: &SqlConnection,
    ids: &IdKey,
    after: EventNumber,
    bytes_max: usize,
) -> Result<Option<JournalSlice>, SliceError> {
    let head = journal_head::load(db)?.number;
    if head <= after {
        return Ok(None);
    }
    let through = end(db, after, head, bytes_max)?;
    let read = |row: Row<'_>| Ok((row.get(0)?, row.get::<Option<i64>>(1)?.map(number)));
    let (has_gap, skipped_through) = db.prepare_cached(REMOVED)?.query_row([sql(after)], read)?;
    if skipped_through.is_some_and(|through| after < through) {
        return Err(SliceError::Lacking);
    }
    let mut events = state_events::of_slice(db, ids, after, through)?;
    let messages = messages::of_slice(db, ids, after, through)?;
    let participants = if messages.is_empty() { HashMap::new() } else { participants(db, after, through)? };
    // Messages of one conversation share their list.
    let mut shared: HashMap<EventNumber, Arc<[UserId]>> = HashMap::new();
    for (mut event, conversation, owner) in messages {
        let all = participants.get(&conversation).map_or(&[][..], Vec::as_slice);
        let is_for_all = all.iter().all(|(since, _)| *since < event.number);
        event.recipients = match shared.get(&conversation) {
            Some(list) if is_for_all => Arc::clone(list),
            _ => {
                let visible = all.iter().filter(|(since, _)| *since < event.number).map(|(_, id)| id.clone());
                let mut list: Vec<UserId> = visible.collect();
                if !list.contains(&owner) {
                    list.push(owner);
                }
                let list: Arc<[UserId]> = list.into();
                if is_for_all {
                    shared.insert(conversation, Arc::clone(&list));
                }
                list
            }
        };
        events.push(event);
    }
    events.sort_unstable_by_key(|event| event.number);
    Ok(Some(JournalSlice { after, through, has_gap, events: events.into_iter().map(Arc::new).collect() }))
}

/// The last number of the slice after a number: as far as its events fit, and at least the first of them.
fn end(db: &SqlConnection, after: EventNumber, head: EventNumber, bytes_max: usize) -> SqlResult<EventNumber> {
    let mut statement = db.prepare_cached(SIZES)?;
    let sizes = statement.query_map([sql(after), SLICE_EVENTS_MAX as i64 + 1], |row| {
        Ok((number(row.get(0)?), row.get::<i64>(1)? as usize))
    })?;
    let (mut last, mut bytes) = (None, 0);
    for (count, size) in sizes.enumerate() {
        let (number, size) = size?;
        bytes += size;
        if let Some(last) = last.filter(|_| count == SLICE_EVENTS_MAX || bytes > bytes_max) {
            return Ok(last);
        }
        last = Some(number);
    }
    Ok(head)
}

/// The participants of the conversations with messages in a range of numbers, in the order in which they joined.
fn participants(
    db: &SqlConnection,
    after: EventNumber,
    through: EventNumber,
) -> SqlResult<HashMap<EventNumber, Vec<Participant>>> {
    let mut participants: HashMap<EventNumber, Vec<Participant>> = HashMap::new();
    let mut statement = db.prepare_cached(PARTICIPANTS)?;
    let mut rows = statement.query([sql(after), sql(through)])?;
    while let Some(row) = rows.next()? {
        let user = UserId::new_unchecked(row.get::<Arc<str>>(2)?);
        participants.entry(number(row.get(0)?)).or_default().push((number(row.get(1)?), user));
    }
    Ok(participants)
}

// Each part has its own limit, so that the server reads no more than it needs of either table.
const SIZES: &str = "
    SELECT * FROM (
        SELECT number, 64 + octet_length(content) AS bytes FROM messages WHERE number > ?1 ORDER BY number LIMIT ?2) m
    UNION ALL
    SELECT * FROM (
        SELECT e.number, 64 + octet_length(e.payload)
            + 64 * (SELECT count(*) FROM event_recipients r WHERE r.number = e.number) AS bytes
        FROM state_events e WHERE e.number > ?1 ORDER BY e.number LIMIT ?2) e
    ORDER BY 1 LIMIT ?2";
/// Whether retention has removed something after a number, and the end of the last range before it that the journal has skipped. The
/// numbers of users without a row are in tables of their own.
const REMOVED: &str = "
    SELECT EXISTS (SELECT 1 FROM users WHERE removed_through > ?1)
        OR EXISTS (SELECT 1 FROM removed_users WHERE removed_through > ?1)
        OR EXISTS (SELECT 1 FROM removed_users_state WHERE others_through > ?1),
        (SELECT through FROM skipped_ranges WHERE after < ?1 ORDER BY after DESC LIMIT 1)";
const PARTICIPANTS: &str = "
    SELECT p.conversation, p.since, u.oid FROM participants p CROSS JOIN users u ON u.key = p.user
    WHERE p.conversation IN (SELECT m.conversation FROM messages m WHERE m.number > ?1 AND m.number <= ?2)
    ORDER BY p.conversation, p.ordinal";

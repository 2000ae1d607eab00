//! State events and their recipients. The table also has the `output` events that publish streamed answers, because the
//! message of such an answer has an older number.
//!
//! An event that publishes or updates a message has no copy of it: the event is completed from the message when it is read,
//! and is deleted or hidden with the message.
//!
//! Tombstones (`*_left`, `*_deleted`) outlive their subject, so that offline clients learn of the removal. All other events
//! are removed with their subject.

use crate::base::limits::HISTORY_ROWS_EXAMINED_MAX;
use crate::base::time::WallTime;
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, IdKey, MessageId, UserId, WorkspaceId};
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::{EventOrigin, JournalStats, NewEventRow};
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use crate::store::tables::{messages, released_users};
#[cfg(feature = "cluster")]
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether recipient `r` may still see event `e`.
macro_rules! visible {
    () => {
        "e.kind IN ('conversation_left', 'conversation_deleted', 'workspace_deleted')
            OR (w.number IS NOT NULL AND w.deleted IS NULL
                AND (e.conversation IS NULL OR (c.number IS NOT NULL AND c.deleted IS NULL))
                AND (e.message IS NULL OR e.kind IN ('output', 'message_deleted')
                    OR EXISTS (SELECT 1 FROM messages WHERE number = e.message))
                AND (w.owner = r.user OR coalesce(p.since <= e.number, FALSE)))"
    };
}
/// Recipients `r` with their events `e`, and the rows that `visible!` needs.
macro_rules! from_recipients {
    () => {
        "FROM event_recipients r
        CROSS JOIN state_events e ON e.number = r.number
        LEFT JOIN workspaces w ON w.number = e.workspace
        LEFT JOIN conversations c ON c.number = e.conversation
        LEFT JOIN participants p ON p.conversation = e.conversation AND p.user = r.user"
    };
}
/// The weight of the row of event `e`, in bytes.
macro_rules! event_bytes {
    () => {
        "(64 + octet_length(e.correlation_id) + octet_length(e.payload))"
    };
}
/// Whether retention may remove event `e`. Must agree with `records::expires`.
macro_rules! event_expires {
    () => {
        "e.kind <> 'output'"
    };
}
pub(crate) use {event_bytes, event_expires, from_recipients, visible};

/// Subtracts from the number and weight of expiring events.
pub(crate) fn subtract_stats(db: &SqlConnection, removed: JournalStats) -> SqlResult<()> {
    add_stats(db, JournalStats { events: -removed.events, bytes: -removed.bytes })
}

/// The number and weight of expiring events.
pub(crate) fn stats(db: &SqlConnection) -> SqlResult<JournalStats> {
    db.prepare_cached(STATS)?.query_row([], |row| Ok(JournalStats { events: row.get(0)?, bytes: row.get(1)? }))
}

/// Adds to the number and weight of expiring events.
pub(crate) fn add_stats(db: &SqlConnection, stats: JournalStats) -> SqlResult<()> {
    if stats == JournalStats::default() {
        return Ok(());
    }
    db.prepare_cached(ADD_STATS)?.run([stats.events, stats.bytes])
}

pub(crate) fn insert(
    db: &SqlConnection,
    number: EventNumber,
    at: WallTime,
    age: AgeTime,
    row: &NewEventRow<'_>,
) -> SqlResult<()> {
    db.prepare_cached(INSERT)?.run(params![
        sql(number),
        row.kind.as_str(),
        at.0,
        row.actor_key,
        sql(row.workspace.number),
        row.workspace.created_at.0,
        row.conversation.map(|(number, _)| sql(number)),
        row.conversation.map(|(_, created_at)| created_at.0),
        row.message.map(|(number, _)| sql(number)),
        row.message.map(|(_, created_at)| created_at.0),
        row.correlation_id,
        row.payload,
        age.0,
    ])?;
    let mut statement = db.prepare_cached(INSERT_RECIPIENT)?;
    for user in row.recipient_keys {
        statement.run([*user, sql(number)])?;
    }
    Ok(())
}

/// Deletes the event that published a deleted message. Such an event is not counted as an expiring event.
pub(crate) fn delete(db: &SqlConnection, number: EventNumber) -> SqlResult<()> {
    purge(db, number).map(drop)
}

/// Deletes an event and its recipients. Returns the number of recipients.
pub(crate) fn purge(db: &SqlConnection, number: EventNumber) -> SqlResult<usize> {
    released_users::release_recipients(db, number, i64::MAX)?;
    let recipients = db.prepare_cached(DELETE_RECIPIENTS)?.execute([sql(number)])?;
    db.prepare_cached(DELETE)?.run([sql(number)])?;
    Ok(recipients)
}

/// One event of a recipient.
pub(crate) struct StateEventEntry {
    pub number: EventNumber,
    /// `None` if the user may no longer see the event, or if its subject is deleted.
    pub event: Option<Event>,
}

/// Completes an event of `entries_after`, which omits payloads and messages because they may be large. A message event is
/// complete. `None` if the event's message is deleted.
pub(crate) fn complete(db: &SqlConnection, ids: &IdKey, mut event: Event) -> SqlResult<Option<Event>> {
    match event.body {
        EventBody::Message(_) => return Ok(Some(event)),
        EventBody::Deleted(_) if event.kind == EventKind::MessageDeleted => return Ok(Some(event)),
        EventBody::Deleted(_) => {}
        EventBody::Unanswered(..) | EventBody::Data(_) => {
            let payload = db.prepare_cached(PAYLOAD)?.query_row([sql(event.number)], |row| row.get(0))?;
            event.body = match event.body {
                EventBody::Unanswered(asked, _) => EventBody::Unanswered(asked, payload),
                _ => EventBody::Data(payload),
            };
            return Ok(Some(event));
        }
    }
    let about = event.message_id().and_then(|id| ids.open(id.0)).zip(event.conversation_id);
    let Some(((number, _), conversation_id)) = about else { return Ok(None) };
    let message = messages::find(db, ids, number, conversation_id)?;
    Ok(message.map(|message| {
        event.body = EventBody::Message(message);
        event
    }))
}

/// The newest event that a user received about an answer to message `asked` that ended without text, and the JSON text of its
/// `data`. `None` if it is no longer retained, or if too many other events of the user came before it.
pub(crate) fn unanswered(
    db: &SqlConnection,
    user: i64,
    asked: EventNumber,
) -> SqlResult<Option<(EventOrigin, Arc<str>)>> {
    db.prepare_cached(UNANSWERED)?
        .query_row(params![user, sql(asked), HISTORY_ROWS_EXAMINED_MAX], |row| {
            let origin = EventOrigin {
                number: number(row.get(0)?),
                at: WallTime(row.get(1)?),
                actor: UserId::new_unchecked(row.get::<Arc<str>>(2)?),
                correlation_id: row.get(3)?,
            };
            Ok((origin, row.get(4)?))
        })
        .optional()
}

/// The first `limit` events of a recipient after `after`, in order.
pub(crate) fn entries_after(
    db: &SqlConnection,
    ids: &IdKey,
    user: i64,
    after: EventNumber,
    limit: usize,
) -> SqlResult<Vec<StateEventEntry>> {
    let mut statement = db.prepare_cached(ENTRIES_AFTER)?;
    let rows = statement.query_map(params![user, sql(after), limit as i64], |row| {
        let visible: bool = row.get(11)?;
        Ok(StateEventEntry { number: number(row.get(0)?), event: if visible { read(row, ids)? } else { None } })
    })?;
    rows.collect()
}

/// The events in a range of numbers that someone may still see, with their recipients.
#[cfg(feature = "cluster")]
pub(crate) fn of_slice(
    db: &SqlConnection,
    ids: &IdKey,
    after: EventNumber,
    through: EventNumber,
) -> SqlResult<Vec<Event>> {
    let range = [sql(after), sql(through)];
    let mut recipients: BTreeMap<EventNumber, Vec<UserId>> = BTreeMap::new();
    let mut statement = db.prepare_cached(RECIPIENTS_OF_SLICE)?;
    let mut rows = statement.query(range)?;
    while let Some(row) = rows.next()? {
        recipients.entry(number(row.get(0)?)).or_default().push(UserId::new_unchecked(row.get::<Arc<str>>(1)?));
    }
    drop(rows);
    if recipients.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = db.prepare_cached(OF_SLICE)?;
    let found = statement.query_map(range, |row| Ok((read(row, ids)?, row.get::<Arc<str>>(11)?)))?;
    let mut events = Vec::new();
    for entry in found {
        let (Some(event), payload) = entry? else { continue };
        let Some(recipients) = recipients.remove(&event.number) else { continue };
        let recipients = recipients.into();
        match event.body {
            EventBody::Data(_) => events.push(Event { recipients, body: EventBody::Data(payload), ..event }),
            EventBody::Unanswered(asked, _) => {
                events.push(Event { recipients, body: EventBody::Unanswered(asked, payload), ..event });
            }
            _ => events.extend(complete(db, ids, Event { recipients, ..event })?),
        }
    }
    Ok(events)
}

/// Reads the columns of `ENTRIES_AFTER`. Until `complete` completes it, the body of an event about a message is `Deleted`, except
/// that of `output_error`, which is empty like that of any other event.
/// `None` for a kind that only a newer program knows.
fn read(row: Row<'_>, ids: &IdKey) -> SqlResult<Option<Event>> {
    let Some(kind) = EventKind::parse(row.text(1)?) else { return Ok(None) };
    let uuid = |raw: i64, at: i64| ids.uuid(number(raw), WallTime(at));
    let conversation_id = match (row.get(7)?, row.get(8)?) {
        (Some(number), Some(at)) => Some(ConversationId(uuid(number, at))),
        _ => None,
    };
    let body = match (row.get(9)?, row.get(10)?) {
        (Some(message), Some(at)) if kind == EventKind::OutputError => {
            EventBody::Unanswered(MessageId(uuid(message, at)), Arc::default())
        }
        (Some(message), Some(at)) => EventBody::Deleted(MessageId(uuid(message, at))),
        _ => EventBody::Data(Arc::default()),
    };
    Ok(Some(Event {
        number: number(row.get(0)?),
        kind,
        at: WallTime(row.get(2)?),
        actor: UserId::new_unchecked(row.get::<Arc<str>>(3)?),
        correlation_id: row.get(4)?,
        workspace_id: WorkspaceId(uuid(row.get(5)?, row.get(6)?)),
        conversation_id,
        recipients: Arc::default(),
        body,
    }))
}

pub(crate) const INSERT: &str = "
    INSERT INTO state_events (number, kind, at, actor, workspace, workspace_at, conversation, conversation_at,
        message, message_at, correlation_id, payload, age_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
pub(crate) const DELETE_RECIPIENTS: &str = "DELETE FROM event_recipients WHERE number = ?1";
pub(crate) const DELETE: &str = "DELETE FROM state_events WHERE number = ?1";
pub(crate) const INSERT_RECIPIENT: &str = "INSERT INTO event_recipients (user, number) VALUES (?1, ?2)";
pub(crate) const ENTRIES_AFTER: &str = concat!(
    "SELECT e.number, e.kind, e.at, actor.oid, e.correlation_id, e.workspace, e.workspace_at, e.conversation, \
        e.conversation_at, e.message, e.message_at, ",
    visible!(),
    " ",
    from_recipients!(),
    " CROSS JOIN users actor ON actor.key = e.actor
    WHERE r.user = ?1 AND r.number > ?2 ORDER BY r.number LIMIT ?3"
);
#[cfg(feature = "cluster")]
const RECIPIENTS_OF_SLICE: &str = concat!(
    "SELECT r.number, u.oid ",
    from_recipients!(),
    " CROSS JOIN users u ON u.key = r.user
    WHERE r.number > ?1 AND r.number <= ?2 AND (",
    visible!(),
    ") ORDER BY r.number, r.user"
);
#[cfg(feature = "cluster")]
const OF_SLICE: &str = "
    SELECT e.number, e.kind, e.at, actor.oid, e.correlation_id, e.workspace, e.workspace_at, e.conversation,
        e.conversation_at, e.message, e.message_at, e.payload
    FROM state_events e CROSS JOIN users actor ON actor.key = e.actor
    WHERE e.number > ?1 AND e.number <= ?2 ORDER BY e.number";
pub(crate) const UNANSWERED: &str = "
    SELECT e.number, e.at, actor.oid, e.correlation_id, e.payload
    FROM state_events e CROSS JOIN users actor ON actor.key = e.actor
    WHERE e.number IN (SELECT number FROM event_recipients WHERE user = ?1 AND number > ?2 ORDER BY number LIMIT ?3)
        AND e.kind = 'output_error' AND e.message = ?2
    ORDER BY e.number DESC LIMIT 1";
pub(crate) const PAYLOAD: &str = "SELECT payload FROM state_events WHERE number = ?1";
pub(crate) const STATS: &str = "SELECT events, bytes FROM journal_stats WHERE id = 1";
pub(crate) const ADD_STATS: &str = "UPDATE journal_stats SET events = events + ?1, bytes = bytes + ?2 WHERE id = 1";

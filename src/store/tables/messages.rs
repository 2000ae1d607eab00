//! Messages. A message is its own journal entry, and its event is derived from the row.

use crate::base::time::WallTime;
use crate::domain::event::{Event, EventBody, EventKind, KindSet};
use crate::domain::id::{ConversationId, EventNumber, IdKey, MessageId, UserId, WorkspaceId};
use crate::domain::model::{AnswerSummary, Content, Message, Metadata, Role, Status, StoredPhase};
use crate::store::rules::records::{ConversationAccess, EventOrigin, NewMessageRow, Publication, message_event_kind};
use crate::store::sql::values::{decode, number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use crate::store::tables::conversation_index::{ConversationIndex, PageStart};
use crate::store::tables::reasoning;
use std::sync::Arc;

pub(crate) fn insert(db: &SqlConnection, number: EventNumber, row: &NewMessageRow<'_>) -> SqlResult<()> {
    let message = row.message;
    db.prepare_cached(INSERT)?.run(params![
        sql(number),
        sql(row.conversation),
        row.sender_key,
        role_code(message.role),
        status_code(message.status),
        row.reply_to.map(sql),
        match row.publication {
            Publication::OwnEntry => Some(0),
            Publication::Pending => None,
        },
        message.created_at.0,
        message.updated_at.0,
        row.correlation_id,
        message.metadata.as_str(),
        message.content.as_str(),
        message.error.as_deref(),
    ])
}

/// The event of each message, if the user with key `viewer` may see the message and it matches the filter of kinds and
/// workspace.
pub(crate) fn events(
    db: &SqlConnection,
    ids: &IdKey,
    numbers: &[EventNumber],
    viewer: i64,
    (kinds, workspace): (KindSet, Option<EventNumber>),
) -> SqlResult<Vec<Option<Event>>> {
    let [input, output] = [EventKind::Input, EventKind::Output].map(|kind| i64::from(kinds.has(kind)));
    let lists =
        numbers.iter().map(|number| [Some(sql(*number)), Some(viewer), Some(input), Some(output), workspace.map(sql)]);
    db.prepare_cached(FIND_VISIBLE)?.query_each(lists, |row| event(row, ids))
}

/// What several messages can have in common.
pub(crate) struct MessageOrigin {
    pub sender: UserId,
    pub sender_name: Arc<str>,
    pub conversation_id: ConversationId,
    pub workspace_id: WorkspaceId,
    /// `{}`, which most messages have as metadata.
    pub no_metadata: Metadata,
}

/// Parameters of a statement about several messages for the first [`ENTRIES_MAX`] of some numbers.
pub(crate) fn entries_params(numbers: &[EventNumber]) -> [Option<i64>; ENTRIES_MAX] {
    std::array::from_fn(|at| numbers.get(at).map(|number| sql(*number)))
}

/// The conversation and the key of the sender of the message in a row of `ENTRIES`; `None` if there is no such entry.
pub(crate) fn entry_origin(row: Row<'_>) -> SqlResult<Option<(i64, i64)>> {
    let conversation: Option<i64> = row.get(0)?;
    conversation.map(|conversation| Ok((conversation, row.get(1)?))).transpose()
}

/// The event of message `number` in a row of `ENTRIES`, without recipients.
pub(crate) fn entry_event(
    db: &SqlConnection,
    row: Row<'_>,
    ids: &IdKey,
    number: EventNumber,
    origin: MessageOrigin,
) -> SqlResult<Event> {
    let MessageOrigin { sender, sender_name, conversation_id, workspace_id, no_metadata } = origin;
    let created_at = WallTime(row.get(4)?);
    let (metadata, content) = match (row.optional_text(8)?, row.optional_text(9)?) {
        (Some(metadata), Some(content)) if metadata == no_metadata.as_str() => (no_metadata, content.into()),
        (Some(metadata), Some(content)) => (Metadata::new_unchecked(metadata), content.into()),
        _ => db.prepare_cached(TEXTS)?.query_row([sql(number)], |row| {
            Ok((Metadata::new_unchecked(row.get::<Arc<str>>(0)?), row.get::<Arc<str>>(1)?))
        })?,
    };
    let message = Message {
        id: MessageId(ids.uuid(number, created_at)),
        conversation_id,
        sender,
        sender_name,
        role: decode(row, 2, role_of)?,
        status: decode(row, 3, status_of)?,
        created_at,
        updated_at: WallTime(row.get(5)?),
        reply_to: match row.get::<Option<i64>>(6)? {
            Some(answered) => {
                row.get::<Option<i64>>(7)?.map(|at| MessageId(ids.uuid(self::number(answered), WallTime(at))))
            }
            None => None,
        },
        metadata,
        content: Content::new_unchecked(content),
        error: row.get(11)?,
        answer: None,
        reasoning: None,
    };
    Ok(event_of(message, number, workspace_id, row.get(10)?))
}

/// The event of a message in a row of `FIND_VISIBLE`, without recipients.
fn event(row: Row<'_>, ids: &IdKey) -> SqlResult<Event> {
    let uuid = |column| -> SqlResult<_> { Ok(ids.uuid(number(row.get(column)?), WallTime(row.get(column + 1)?))) };
    let conversation_id = ConversationId(uuid(12)?);
    let message = Message { error: row.get(16)?, ..read(row, ids, conversation_id)? };
    Ok(event_of(message, number(row.get(0)?), WorkspaceId(uuid(14)?), row.get(10)?))
}

/// The event of a message that is its own entry of the journal, without recipients.
fn event_of(message: Message, number: EventNumber, workspace_id: WorkspaceId, correlation_id: Arc<str>) -> Event {
    Event {
        number,
        kind: message_event_kind(&message.sender),
        at: message.created_at,
        actor: message.sender.clone(),
        correlation_id,
        workspace_id,
        conversation_id: Some(message.conversation_id),
        recipients: Arc::default(),
        body: EventBody::Message(message),
    }
}

/// The event of a message without recipients, the number of its conversation, and the owner of its workspace.
#[cfg(feature = "cluster")]
pub(crate) type SliceMessage = (Event, EventNumber, UserId);

/// The messages in a range of numbers that are their own entries of the journal, and are not deleted.
#[cfg(feature = "cluster")]
pub(crate) fn of_slice(
    db: &SqlConnection,
    ids: &IdKey,
    after: EventNumber,
    through: EventNumber,
) -> SqlResult<Vec<SliceMessage>> {
    let mut statement = db.prepare_cached(OF_SLICE)?;
    let rows = statement.query_map([sql(after), sql(through)], |row| {
        Ok((event(row, ids)?, number(row.get(12)?), UserId::new_unchecked(row.get::<Arc<str>>(17)?)))
    })?;
    rows.collect()
}

/// Message `number`, if it exists. It must belong to `conversation_id`.
pub(crate) fn find(
    db: &SqlConnection,
    ids: &IdKey,
    number: EventNumber,
    conversation_id: ConversationId,
) -> SqlResult<Option<Message>> {
    let read = |row: Row<'_>| Ok(Message { error: row.get(12)?, ..read(row, ids, conversation_id)? });
    db.prepare_cached(FIND)?.query_row([sql(number)], read).optional()
}

/// The message with this id, with the state of the answer to it, and with reasoning if `with_reasoning`; `None` if the message is
/// deleted or not in this conversation.
pub(crate) fn find_shown(
    db: &SqlConnection,
    ids: &IdKey,
    access: &ConversationAccess,
    id: MessageId,
    with_reasoning: bool,
) -> SqlResult<Option<Message>> {
    match locate(db, ids, id)? {
        Some((number, Some(conversation))) if conversation == access.number => db
            .prepare_cached(FIND_SHOWN)?
            .query_row([sql(number)], |row| read_shown(db, row, ids, access.id, with_reasoning))
            .optional(),
        _ => Ok(None),
    }
}

/// Message `number` as [`find_shown`] returns it. It must be in this conversation.
pub(crate) fn shown_at(
    db: &SqlConnection,
    ids: &IdKey,
    access: &ConversationAccess,
    number: EventNumber,
) -> SqlResult<Option<Message>> {
    let read = |row: Row<'_>| read_shown(db, row, ids, access.id, false);
    db.prepare_cached(FIND_SHOWN)?.query_row([sql(number)], read).optional()
}

/// The message with this id and its number; `None` if the message is deleted or not in this conversation.
pub(crate) fn find_in(
    db: &SqlConnection,
    ids: &IdKey,
    access: &ConversationAccess,
    id: MessageId,
) -> SqlResult<Option<(EventNumber, Message)>> {
    match locate(db, ids, id)? {
        Some((number, Some(conversation))) if conversation == access.number => {
            Ok(find(db, ids, number, access.id)?.map(|message| (number, message)))
        }
        _ => Ok(None),
    }
}

/// The number of `id` as a cursor: the id of a message of the conversation, or of a deleted message of any conversation,
/// because the conversation of a deleted message is unknown. `None` for every other id.
pub(crate) fn cursor(
    db: &SqlConnection,
    ids: &IdKey,
    access: &ConversationAccess,
    id: MessageId,
    position: EventNumber,
) -> SqlResult<Option<EventNumber>> {
    let place = place(db, ids, id, position)?;
    Ok(place.filter(|(_, conversation)| conversation.is_none_or(|it| it == access.number)).map(|(number, _)| number))
}

/// The number of a message, and its conversation unless the message is deleted. `None` for an id that no message has had.
pub(crate) fn place(
    db: &SqlConnection,
    ids: &IdKey,
    id: MessageId,
    position: EventNumber,
) -> SqlResult<Option<(EventNumber, Option<EventNumber>)>> {
    match locate(db, ids, id)? {
        Some((number, None)) => {
            let was_message = number <= position && !db.prepare_cached(IS_OTHER_RESOURCE)?.exists([sql(number)])?;
            Ok(was_message.then_some((number, None)))
        }
        place => Ok(place),
    }
}

/// The number in `id`, and the conversation of its message if the message exists. `None` for an id of another database.
fn locate(db: &SqlConnection, ids: &IdKey, id: MessageId) -> SqlResult<Option<(EventNumber, Option<EventNumber>)>> {
    let Some((number, at)) = ids.open(id.0) else { return Ok(None) };
    let found = db
        .prepare_cached(LOCATE)?
        .query_row([sql(number)], |row| Ok((self::number(row.get(0)?), WallTime(row.get(1)?))))
        .optional()?;
    Ok(match found {
        None => Some((number, None)),
        Some((conversation, created_at)) => (created_at == at).then_some((number, Some(conversation))),
    })
}

/// Calls `each` with messages of a conversation, at most `limit`, until it returns false. They have the state of the answers to
/// them, and reasoning if `with_reasoning`.
pub(crate) fn page(
    db: &SqlConnection,
    ids: &IdKey,
    access: &ConversationAccess,
    (from, limit): (PageStart, u32),
    with_reasoning: bool,
    mut each: impl FnMut(Message) -> bool,
) -> SqlResult<()> {
    let index = ConversationIndex::read(db)?;
    let is_ascending = matches!(from, PageStart::After(_));
    let read = |row: Row<'_>| read_shown(db, row, ids, access.id, with_reasoning);
    let (mut from, mut left) = (from, limit as usize);
    // Many of the messages may be deleted, so a short page looks for more.
    while left > 0 {
        let numbers_max = if db.is_server() { left } else { left.max(ENTRIES_MAX) };
        let numbers = index.numbers(access.number, from, numbers_max)?;
        if db.is_server() {
            let lists = numbers.iter().map(|number| [sql(*number)]);
            let found = db.prepare_cached(FIND_SHOWN)?.query_each(lists, read)?;
            left -= found.iter().flatten().count();
            if !found.into_iter().flatten().all(&mut each) {
                return Ok(());
            }
        } else {
            let mut statement = db.prepare_cached(SHOWN)?;
            for some in numbers.chunks(ENTRIES_MAX) {
                let mut rows = statement.query(entries_params(some))?;
                while let Some(row) = rows.next()? {
                    left -= 1;
                    if !each(read(row)?) || left == 0 {
                        return Ok(());
                    }
                }
            }
        }
        let Some(last) = numbers.last().filter(|_| numbers.len() == numbers_max) else { return Ok(()) };
        from = if is_ascending { PageStart::After(*last) } else { PageStart::Before(*last) };
    }
    Ok(())
}

/// Adds those of some numbers that a message has, in their order.
pub(crate) fn existing(db: &SqlConnection, numbers: &[EventNumber], existing: &mut Vec<EventNumber>) -> SqlResult<()> {
    let mut statement = db.prepare_cached(EXISTING)?;
    for some in numbers.chunks(ENTRIES_MAX) {
        let mut rows = statement.query(entries_params(some))?;
        while let Some(row) = rows.next()? {
            existing.push(number(row.get(0)?));
        }
    }
    Ok(())
}

/// Stores the fields of a message that an update may change.
pub(crate) fn update(db: &SqlConnection, number: EventNumber, message: &Message) -> SqlResult<()> {
    db.prepare_cached("UPDATE messages SET content = ?2, metadata = ?3, updated_at = ?4 WHERE number = ?1")?
        .run(params![sql(number), message.content.as_str(), message.metadata.as_str(), message.updated_at.0])
}

pub(crate) fn delete(db: &SqlConnection, number: EventNumber) -> SqlResult<()> {
    db.prepare_cached("DELETE FROM messages WHERE number = ?1")?.run([sql(number)])
}

/// The length of an answer's stored text, in bytes.
pub(crate) fn answer_bytes(db: &SqlConnection, answer: EventNumber) -> SqlResult<usize> {
    db.prepare_cached(ANSWER_BYTES)?.query_row([sql(answer)], |row| Ok(row.get::<i64>(0)? as usize))
}

/// Appends text to an answer.
pub(crate) fn append(db: &SqlConnection, answer: EventNumber, text: &str, at: WallTime) -> SqlResult<()> {
    db.prepare_cached(APPEND)?.run(params![sql(answer), text, at.0])
}

/// Stores the final state of an answer that event `published_by` publishes.
pub(crate) fn finish_answer(
    db: &SqlConnection,
    answer: EventNumber,
    message: &Message,
    published_by: EventNumber,
) -> SqlResult<()> {
    db.prepare_cached(FINISH_ANSWER)?.run(params![
        sql(answer),
        message.content.as_str(),
        message.metadata.as_str(),
        status_code(message.status),
        message.updated_at.0,
        sql(published_by),
        message.error.as_deref(),
    ])
}

/// The event that published a message; `None` if the message is its own journal entry or is not published.
pub(crate) fn publication(db: &SqlConnection, message: EventNumber) -> SqlResult<Option<EventNumber>> {
    db.prepare_cached(PUBLICATION)?.query_row([sql(message)], |row| row.get(0).map(number)).optional()
}

/// The event of a message that is published.
pub(crate) fn published_as(db: &SqlConnection, message: EventNumber) -> SqlResult<EventOrigin> {
    db.prepare_cached(PUBLISHED_AS)?.query_row([sql(message)], |row| {
        Ok(EventOrigin {
            number: number(row.get(0)?),
            at: WallTime(row.get(1)?),
            actor: UserId::new_unchecked(row.get::<Arc<str>>(2)?),
            correlation_id: row.get(3)?,
        })
    })
}

/// The number and conversation of the first `limit` messages with `after < number <= through`, in order.
pub(crate) fn numbers_between(
    db: &SqlConnection,
    after: EventNumber,
    through: EventNumber,
    limit: usize,
) -> SqlResult<Vec<(EventNumber, EventNumber)>> {
    let mut statement = db.prepare_cached(NUMBERS_BETWEEN)?;
    let rows = statement
        .query_map([sql(after), sql(through), limit as i64], |row| Ok((number(row.get(0)?), number(row.get(1)?))))?;
    rows.collect()
}

/// Reads the first twelve columns of `messages!`, which are also those of `FIND_VISIBLE`.
fn read(row: Row<'_>, ids: &IdKey, conversation_id: ConversationId) -> SqlResult<Message> {
    let created_at = WallTime(row.get(5)?);
    let reply_to = match (row.get::<Option<i64>>(7)?, row.get::<Option<i64>>(11)?) {
        (Some(answered), Some(at)) => Some(MessageId(ids.uuid(number(answered), WallTime(at)))),
        _ => None,
    };
    Ok(Message {
        id: MessageId(ids.uuid(number(row.get(0)?), created_at)),
        conversation_id,
        sender: UserId::new_unchecked(row.get::<Arc<str>>(1)?),
        sender_name: row.get(2)?,
        role: decode(row, 3, role_of)?,
        status: decode(row, 4, status_of)?,
        created_at,
        updated_at: WallTime(row.get(6)?),
        reply_to,
        metadata: Metadata::new_unchecked(row.get::<Arc<str>>(8)?),
        content: Content::new_unchecked(row.get::<Arc<str>>(9)?),
        error: None,
        answer: None,
        reasoning: None,
    })
}

/// Reads the columns that `shown!` selects.
fn read_shown(
    db: &SqlConnection,
    row: Row<'_>,
    ids: &IdKey,
    conversation_id: ConversationId,
    with_reasoning: bool,
) -> SqlResult<Message> {
    let phase = match (row.get::<Option<bool>>(13)?, row.get::<Option<i64>>(14)?) {
        (Some(false), _) => Some(StoredPhase::Queued),
        (Some(true), _) => Some(StoredPhase::Begun(Status::Streaming)),
        (None, Some(_)) => Some(StoredPhase::Begun(decode(row, 14, status_of)?)),
        (None, None) => None,
    };
    let answer = match phase {
        None => None,
        Some(phase) => Some(Box::new(AnswerSummary {
            phase,
            message_id: match (row.get::<Option<i64>>(16)?, row.get::<Option<i64>>(17)?) {
                (Some(answer), Some(at)) => Some(MessageId(ids.uuid(number(answer), WallTime(at)))),
                _ => None,
            },
            error: row.get(15)?,
        })),
    };
    let reasoning = if with_reasoning { reasoning::find(db, number(row.get(0)?))? } else { None };
    Ok(Message { error: row.get(12)?, answer, reasoning, ..read(row, ids, conversation_id)? })
}

pub(crate) fn role_code(role: Role) -> i64 {
    match role {
        Role::User => 0,
        Role::Assistant => 1,
        Role::System => 2,
    }
}

pub(crate) fn role_of(code: i64) -> Option<Role> {
    [Role::User, Role::Assistant, Role::System].into_iter().find(|role| role_code(*role) == code)
}

pub(crate) fn status_code(status: Status) -> i64 {
    match status {
        Status::Complete => 0,
        Status::Streaming => 1,
        Status::Cancelled => 2,
        Status::Interrupted => 3,
        Status::Failed => 4,
        Status::Superseded => 5,
    }
}

pub(crate) fn status_of(code: i64) -> Option<Status> {
    Status::ALL.into_iter().find(|status| status_code(*status) == code)
}

pub(crate) const INSERT: &str = "
    INSERT INTO messages (number, conversation, sender, role, status, reply_to, published_by, created_at, updated_at,
        correlation_id, metadata, content, error)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
/// Messages that one execution of `ENTRIES` reads.
pub(crate) const ENTRIES_MAX: usize = 32;
/// Selects a row for each of some numbers, in their order: a message that is its own entry of the journal, or nothing but `NULL`.
/// It has each text only if that is short, because the reader may reject the message. One execution for many messages costs much
/// less than one for each. SQLite evaluates the list of values row by row.
pub(crate) const ENTRIES: &str = "
    SELECT m.conversation, m.sender, m.role, m.status, m.created_at, m.updated_at, m.reply_to,
        CASE WHEN m.reply_to IS NOT NULL THEN (SELECT created_at FROM messages WHERE number = m.reply_to) END,
        CASE WHEN octet_length(m.metadata) <= 512 THEN m.metadata END,
        CASE WHEN octet_length(m.content) <= 3072 THEN m.content END, m.correlation_id, m.error
    FROM (VALUES (?1), (?2), (?3), (?4), (?5), (?6), (?7), (?8), (?9), (?10), (?11), (?12), (?13), (?14), (?15), (?16), (?17),
        (?18), (?19), (?20), (?21), (?22), (?23), (?24), (?25), (?26), (?27), (?28), (?29), (?30), (?31), (?32)) AS wanted
    LEFT JOIN messages m ON m.number = wanted.column1 AND m.published_by = 0";
/// Selects the texts of a message of which `ENTRIES` does not have both.
pub(crate) const TEXTS: &str = "SELECT metadata, content FROM messages WHERE number = ?1";
// The sender comes first, because a filter of kinds rejects most messages by it.
pub(crate) const FIND_VISIBLE: &str = "
    SELECT m.number, u.oid, u.name, m.role, m.status, m.created_at, m.updated_at, m.reply_to, m.metadata, m.content,
        m.correlation_id, answered.created_at, c.number, c.created_at, w.number, w.created_at, m.error
    FROM messages m
    CROSS JOIN users u ON u.key = m.sender
    CROSS JOIN conversations c ON c.number = m.conversation
    CROSS JOIN workspaces w ON w.number = c.workspace
    LEFT JOIN participants p ON p.conversation = m.conversation AND p.user = ?2
    LEFT JOIN messages answered ON answered.number = m.reply_to
    WHERE m.number = ?1 AND m.published_by = 0 AND c.deleted IS NULL AND w.deleted IS NULL AND (w.owner = ?2 OR p.since < m.number)
        AND CASE WHEN substr(u.oid, 1, 10) = 'responder:' THEN ?4 = 1 ELSE ?3 = 1 END AND w.number = coalesce(?5, w.number)";
#[cfg(feature = "cluster")]
const OF_SLICE: &str = "
    SELECT m.number, u.oid, u.name, m.role, m.status, m.created_at, m.updated_at, m.reply_to, m.metadata, m.content,
        m.correlation_id, answered.created_at, c.number, c.created_at, w.number, w.created_at, m.error, owner.oid
    FROM messages m
    CROSS JOIN users u ON u.key = m.sender
    CROSS JOIN conversations c ON c.number = m.conversation
    CROSS JOIN workspaces w ON w.number = c.workspace
    CROSS JOIN users owner ON owner.key = w.owner
    LEFT JOIN messages answered ON answered.number = m.reply_to
    WHERE m.number > ?1 AND m.number <= ?2 AND m.published_by = 0 AND c.deleted IS NULL AND w.deleted IS NULL
    ORDER BY m.number";
/// A statement that selects messages with all columns but their conversation.
macro_rules! messages {
    ($rest:literal) => {
        concat!(
            "SELECT m.number, u.oid, u.name, m.role, m.status, m.created_at, m.updated_at, m.reply_to, m.metadata,
                m.content, m.correlation_id, answered.created_at, m.error
            FROM messages m
            CROSS JOIN users u ON u.key = m.sender
            LEFT JOIN messages answered ON answered.number = m.reply_to ",
            $rest
        )
    };
}
/// The same, with the open job for the message, the last answer to it that has ended, and the message of the newest answer.
macro_rules! shown {
    ($from:literal, $rest:literal) => {
        concat!(
            "SELECT m.number, u.oid, u.name, m.role, m.status, m.created_at, m.updated_at, m.reply_to, m.metadata,
                m.content, m.correlation_id, answered.created_at, m.error, j.is_begun, ended.status, \
                CASE WHEN j.number IS NULL THEN ended.error END, a.number, a.created_at
            FROM ",
            $from,
            "
            CROSS JOIN users u ON u.key = m.sender
            LEFT JOIN messages answered ON answered.number = m.reply_to
            LEFT JOIN answer_jobs j ON j.message = m.number
            LEFT JOIN answers ended ON ended.asked = m.number
                AND ended.attempt = (SELECT max(attempt) FROM answers WHERE asked = m.number)
            LEFT JOIN messages a ON a.number = CASE WHEN j.number IS NULL THEN ended.answer WHEN j.is_begun = 1 THEN j.answer END ",
            $rest
        )
    };
}
pub(crate) const FIND: &str = messages!("WHERE m.number = ?1");
pub(crate) const FIND_SHOWN: &str = shown!("messages m", "WHERE m.number = ?1");
/// Selects each of some numbers that a message has, in their order (see `ENTRIES`).
pub(crate) const SHOWN: &str = shown!(
    "(VALUES (?1), (?2), (?3), (?4), (?5), (?6), (?7), (?8), (?9), (?10), (?11), (?12), (?13), (?14), (?15), (?16), (?17),
        (?18), (?19), (?20), (?21), (?22), (?23), (?24), (?25), (?26), (?27), (?28), (?29), (?30), (?31), (?32)) AS wanted
    CROSS JOIN messages m ON m.number = wanted.column1",
    ""
);
/// Selects those of some numbers that a message has, in their order (see `ENTRIES`).
pub(crate) const EXISTING: &str = "
    SELECT m.number
    FROM (VALUES (?1), (?2), (?3), (?4), (?5), (?6), (?7), (?8), (?9), (?10), (?11), (?12), (?13), (?14), (?15), (?16), (?17),
        (?18), (?19), (?20), (?21), (?22), (?23), (?24), (?25), (?26), (?27), (?28), (?29), (?30), (?31), (?32)) AS wanted
    CROSS JOIN messages m ON m.number = wanted.column1";
pub(crate) const LOCATE: &str = "SELECT conversation, created_at FROM messages WHERE number = ?1";
/// Selects a row if the number is that of a workspace or conversation. Besides them, only messages have ids.
pub(crate) const IS_OTHER_RESOURCE: &str = "
    SELECT 1 FROM workspaces WHERE number = ?1 UNION ALL SELECT 1 FROM conversations WHERE number = ?1";
pub(crate) const NUMBERS_BETWEEN: &str =
    "SELECT number, conversation FROM messages WHERE number > ?1 AND number <= ?2 ORDER BY number LIMIT ?3";
pub(crate) const ANSWER_BYTES: &str = "SELECT octet_length(content) FROM messages WHERE number = ?1";
pub(crate) const APPEND: &str = "UPDATE messages SET content = content || ?2, updated_at = ?3 WHERE number = ?1";
pub(crate) const FINISH_ANSWER: &str = "
    UPDATE messages SET content = ?2, metadata = ?3, status = ?4, updated_at = ?5, published_by = ?6, error = ?7
    WHERE number = ?1";
pub(crate) const PUBLISHED_AS: &str = "
    SELECT coalesce(e.number, m.number), coalesce(e.at, m.created_at), coalesce(actor.oid, sender.oid),
        coalesce(e.correlation_id, m.correlation_id)
    FROM messages m
    CROSS JOIN users sender ON sender.key = m.sender
    LEFT JOIN state_events e ON e.number = m.published_by
    LEFT JOIN users actor ON actor.key = e.actor
    WHERE m.number = ?1";
pub(crate) const PUBLICATION: &str = "SELECT published_by FROM messages WHERE number = ?1 AND published_by > 0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decode_to_the_encoded_values() {
        for role in [Role::User, Role::Assistant, Role::System] {
            assert_eq!(role_of(role_code(role)), Some(role));
        }
        for status in Status::ALL {
            assert_eq!(status_of(status_code(status)), Some(status));
        }
        assert_eq!((role_of(3), status_of(6)), (None, None));
    }
}

//! Conversations, their participants, and the state that changes with every message.

use crate::base::time::WallTime;
use crate::domain::id::{ConversationId, EventNumber, IdKey, UserId, WorkspaceId};
use crate::domain::model::{Conversation, Metadata, Topic};
use crate::store::rules::records::{ConversationAccess, ConversationUpdate, UserRef, WorkspaceRef};
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use std::sync::Arc;

/// The conversation that event `number` created, unless it or its workspace is deleted.
pub(crate) fn access(db: &SqlConnection, ids: &IdKey, number: EventNumber) -> SqlResult<Option<ConversationAccess>> {
    let found = db
        .prepare_cached(ACCESS)?
        .query_row([sql(number)], |row| {
            let created_at = WallTime(row.get(0)?);
            let workspace = WorkspaceRef {
                number: self::number(row.get(1)?),
                created_at: WallTime(row.get(2)?),
                id: WorkspaceId(ids.uuid(self::number(row.get(1)?), WallTime(row.get(2)?))),
                owner: UserRef { key: row.get(3)?, id: UserId::new_unchecked(row.get::<Arc<str>>(4)?) },
            };
            Ok((created_at, Arc::new(workspace), row.get(5)?))
        })
        .optional()?;
    let Some((created_at, workspace, responder)) = found else { return Ok(None) };
    let id = ConversationId(ids.uuid(number, created_at));
    Ok(Some(ConversationAccess::new(number, created_at, id, workspace, participants(db, number)?, responder)))
}

/// The conversation of `access`.
pub(crate) fn find(db: &SqlConnection, ids: &IdKey, access: &ConversationAccess) -> SqlResult<Conversation> {
    db.prepare_cached(FIND)?
        .query_row([sql(access.number)], |row| read(row, ids, access.workspace.id, access.participant_ids()))
}

/// Conversation `number` of a workspace, unless it is deleted.
pub(crate) fn item(
    db: &SqlConnection,
    ids: &IdKey,
    workspace: &WorkspaceRef,
    number: EventNumber,
) -> SqlResult<Option<Conversation>> {
    let mut statement = db.prepare_cached(ITEM)?;
    let mut rows = statement.query([sql(number), sql(workspace.number)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let participants = participants(db, number)?;
    read(row, ids, workspace.id, participants.into_iter().map(|user| user.id).collect()).map(Some)
}

/// Inserts a conversation, its state and its participants, who join by the event that creates it.
pub(crate) fn insert(db: &SqlConnection, access: &ConversationAccess, conversation: &Conversation) -> SqlResult<()> {
    db.prepare_cached(
        "INSERT INTO conversations (number, workspace, topic, metadata, created_at, responder) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .run(params![
        sql(access.number),
        sql(access.workspace.number),
        conversation.topic.as_str(),
        conversation.metadata.as_str(),
        conversation.created_at.0,
        access.responder,
    ])?;
    db.prepare_cached(
        "INSERT INTO conversation_state (conversation, updated_at, message_count, last_number) VALUES (?1, ?2, 0, 0)",
    )?
    .run(params![sql(access.number), conversation.updated_at.0])?;
    for (ordinal, user) in access.participants.iter().enumerate() {
        insert_participant(db, access.number, user.key, access.number, ordinal)?;
    }
    Ok(())
}

pub(crate) fn update(
    db: &SqlConnection,
    access: &ConversationAccess,
    topic: &Topic,
    metadata: &Metadata,
) -> SqlResult<()> {
    db.prepare_cached("UPDATE conversations SET topic = ?2, metadata = ?3, responder = ?4 WHERE number = ?1")?
        .run(params![sql(access.number), topic.as_str(), metadata.as_str(), access.responder])
}

/// Applies the changes of one transaction to a conversation's state.
pub(crate) fn update_state(db: &SqlConnection, number: EventNumber, update: &ConversationUpdate) -> SqlResult<()> {
    db.prepare_cached(UPDATE_STATE)?.run(params![
        sql(number),
        update.messages_added,
        update.updated_at.0,
        sql(update.last_number)
    ])
}

/// Subtracts a deleted message from a conversation's state. The pending updates of the transaction must be written before.
pub(crate) fn count_message_out(db: &SqlConnection, number: EventNumber, at: WallTime) -> SqlResult<()> {
    db.prepare_cached(COUNT_MESSAGE_OUT)?.run(params![sql(number), at.0])
}

/// Marks a conversation as deleted by event `by`. From this commit on, it and its content are invisible.
pub(crate) fn mark_deleted(db: &SqlConnection, number: EventNumber, by: EventNumber) -> SqlResult<()> {
    db.prepare_cached("UPDATE conversations SET deleted = ?2 WHERE number = ?1")?.run([sql(number), sql(by)])
}

/// Inserts a participant, who sees the events after `since`. `ordinal` orders the users who join by the same event.
pub(crate) fn insert_participant(
    db: &SqlConnection,
    conversation: EventNumber,
    user: i64,
    since: EventNumber,
    ordinal: usize,
) -> SqlResult<()> {
    db.prepare_cached("INSERT INTO participants (conversation, user, since, ordinal) VALUES (?1, ?2, ?3, ?4)")?
        .run(params![sql(conversation), user, sql(since), ordinal as i64])
}

pub(crate) fn delete_participant(db: &SqlConnection, conversation: EventNumber, user: i64) -> SqlResult<()> {
    db.prepare_cached("DELETE FROM participants WHERE conversation = ?1 AND user = ?2")?.run([sql(conversation), user])
}

fn participants(db: &SqlConnection, conversation: EventNumber) -> SqlResult<Vec<UserRef>> {
    let mut statement = db.prepare_cached(PARTICIPANTS)?;
    let rows = statement.query_map([sql(conversation)], |row| {
        Ok(UserRef { key: row.get(0)?, id: UserId::new_unchecked(row.get::<Arc<str>>(1)?) })
    })?;
    rows.collect()
}

/// Reads the first six columns: `number, created_at, topic, metadata, updated_at, message_count`.
fn read(row: Row<'_>, ids: &IdKey, workspace_id: WorkspaceId, participants: Arc<[UserId]>) -> SqlResult<Conversation> {
    let created_at = WallTime(row.get(1)?);
    Ok(Conversation {
        id: ConversationId(ids.uuid(number(row.get(0)?), created_at)),
        workspace_id,
        topic: Topic::new_unchecked(row.get::<Arc<str>>(2)?),
        participants,
        metadata: Metadata::new_unchecked(row.get::<Arc<str>>(3)?),
        created_at,
        updated_at: WallTime(row.get(4)?),
        message_count: row.get::<i64>(5)? as u64,
    })
}

pub(crate) const ACCESS: &str = "
    SELECT c.created_at, w.number, w.created_at, w.owner, u.oid, c.responder
    FROM conversations c
    JOIN workspaces w ON w.number = c.workspace
    JOIN users u ON u.key = w.owner
    WHERE c.number = ?1 AND c.deleted IS NULL AND w.deleted IS NULL";
pub(crate) const PARTICIPANTS: &str = "
    SELECT p.user, u.oid FROM participants p JOIN users u ON u.key = p.user
    WHERE p.conversation = ?1 ORDER BY p.since, p.ordinal";
pub(crate) const FIND: &str = "
    SELECT c.number, c.created_at, c.topic, c.metadata, s.updated_at, s.message_count
    FROM conversations c JOIN conversation_state s ON s.conversation = c.number
    WHERE c.number = ?1";
/// Selects the numbers of a workspace's conversations after a number.
pub(crate) const NUMBERS: &str = "
    SELECT number FROM conversations WHERE workspace = ?1 AND deleted IS NULL AND number > ?2 ORDER BY number LIMIT ?3";
pub(crate) const ITEM: &str = "
    SELECT c.number, c.created_at, c.topic, c.metadata, s.updated_at, s.message_count
    FROM conversations c JOIN conversation_state s ON s.conversation = c.number
    WHERE c.number = ?1 AND c.workspace = ?2 AND c.deleted IS NULL";
pub(crate) const COUNT_MESSAGE_OUT: &str = "
    UPDATE conversation_state
    SET message_count = message_count - 1, updated_at = ?2 WHERE conversation = ?1";
pub(crate) const UPDATE_STATE: &str = "
    UPDATE conversation_state
    SET message_count = message_count + ?2, updated_at = ?3, last_number = max(last_number, ?4)
    WHERE conversation = ?1";

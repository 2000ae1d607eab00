//! Jobs to answer a message.
//!
//! Invariant: an open job has a row, which is inserted with its message and deleted when the job is closed. An answer has the
//! status `streaming` exactly while its job is open, and no event publishes it before.

use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, JobId};
use crate::domain::id::{ConversationId, EventNumber, IdKey, MessageId, UserId, WorkspaceId};
use crate::domain::model::Content;
use crate::domain::responder::ResponderKind;
use crate::store::rules::records::OpenJob;
use crate::store::sqlite::values::{number, sql};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

pub(crate) fn insert(db: &Connection, message: EventNumber, responder: ResponderKind) -> rusqlite::Result<()> {
    db.prepare_cached(INSERT)?.execute(params![sql(message), responder.as_str()]).map(drop)
}

/// The job, unless it is closed or its message is deleted.
pub(crate) fn find(db: &Connection, key: JobId) -> rusqlite::Result<Option<OpenJob>> {
    db.prepare_cached(FIND)?
        .query_row([sql(key.0)], |row| {
            Ok(OpenJob {
                key,
                conversation: number(row.get(0)?),
                asked_at: WallTime(row.get(1)?),
                correlation_id: row.get(2)?,
                responder: responder_of(row, 3)?,
                answer: row.get::<_, Option<i64>>(4)?.map(number),
            })
        })
        .optional()
}

pub(crate) fn set_answer(db: &Connection, key: JobId, answer: EventNumber) -> rusqlite::Result<()> {
    db.prepare_cached(SET_ANSWER)?.execute([sql(key.0), sql(answer)]).map(drop)
}

/// Closes a job, if it is open.
pub(crate) fn delete(db: &Connection, key: JobId) -> rusqlite::Result<()> {
    db.prepare_cached(DELETE)?.execute([sql(key.0)]).map(drop)
}

/// Deletes the jobs of a conversation for messages through number `last`, which are about to be purged.
pub(crate) fn delete_through(db: &Connection, conversation: i64, last: i64) -> rusqlite::Result<()> {
    db.prepare_cached(DELETE_THROUGH)?.execute([conversation, last]).map(drop)
}

/// The open jobs after `after`, oldest first: at most `limit` jobs with about `bytes_max` bytes of content, but at least
/// one if any is open.
pub(crate) fn open_after(
    db: &Connection,
    ids: &IdKey,
    after: JobId,
    limit: u32,
    bytes_max: usize,
) -> rusqlite::Result<Vec<AnswerJob>> {
    let mut statement = db.prepare_cached(OPEN_AFTER)?;
    let mut rows = statement.query(params![sql(after.0), limit])?;
    let (mut jobs, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let uuid =
            |column| -> rusqlite::Result<_> { Ok(ids.uuid(number(row.get(column)?), WallTime(row.get(column + 1)?))) };
        let started = row.get::<_, Option<i64>>(10)?.is_some();
        let job = AnswerJob {
            key: JobId(number(row.get(0)?)),
            message_id: MessageId(uuid(0)?),
            conversation_id: ConversationId(uuid(2)?),
            workspace_id: WorkspaceId(uuid(4)?),
            user: UserId::new_unchecked(row.get::<_, Arc<str>>(6)?),
            responder: responder_of(row, 7)?,
            correlation_id: row.get(8)?,
            content: Content::new_unchecked(row.get::<_, Arc<str>>(9)?),
            started: if started { Some(MessageId(uuid(10)?)) } else { None },
        };
        bytes += job.content.as_str().len();
        if bytes > bytes_max && !jobs.is_empty() {
            break;
        }
        jobs.push(job);
    }
    Ok(jobs)
}

/// The responder whose name is in a column.
pub(crate) fn responder_of(row: &Row<'_>, column: usize) -> rusqlite::Result<ResponderKind> {
    let name = row.get_ref(column)?.as_str()?;
    ResponderKind::parse(name).ok_or_else(|| rusqlite::Error::InvalidColumnType(column, name.into(), Type::Text))
}

pub(crate) const INSERT: &str = "INSERT INTO answer_jobs (message, responder) VALUES (?1, ?2)";
pub(crate) const FIND: &str = "
    SELECT c.number, m.created_at, m.correlation_id, j.responder, j.answer
    FROM answer_jobs j
    CROSS JOIN messages m ON m.number = j.message
    CROSS JOIN conversations c ON c.number = m.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    WHERE j.message = ?1";
pub(crate) const SET_ANSWER: &str = "UPDATE answer_jobs SET answer = ?2 WHERE message = ?1";
pub(crate) const DELETE: &str = "DELETE FROM answer_jobs WHERE message = ?1";
pub(crate) const DELETE_THROUGH: &str = "DELETE FROM answer_jobs WHERE message IN \
     (SELECT number FROM messages WHERE conversation = ?1 AND number <= ?2)";
pub(crate) const OPEN_AFTER: &str = "
    SELECT j.message, m.created_at, c.number, c.created_at, w.number, w.created_at, u.oid, j.responder,
        m.correlation_id, m.content, a.number, a.created_at
    FROM answer_jobs j
    CROSS JOIN messages m ON m.number = j.message
    CROSS JOIN conversations c ON c.number = m.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    CROSS JOIN users u ON u.key = m.sender
    LEFT JOIN messages a ON a.number = j.answer
    WHERE j.message > ?1 ORDER BY j.message LIMIT ?2";

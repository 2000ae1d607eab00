//! Jobs to answer a message.
//!
//! Invariant: an open job has a row, which is inserted with its message and deleted when the job is closed. `is_first` is set
//! for the oldest job of each conversation and for no other. An answer has the status `streaming` exactly while its job is
//! open and `is_begun`, and no event publishes it before. `claimed_by` is the instance that has a model answer, if several instances
//! may use the database.

use crate::base::limits::JOBS_EXAMINED_MAX;
use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, JobClass, JobId, JobPage, JobRange, UserJobPage, UserKey};
use crate::domain::id::{ConversationId, EventNumber, IdKey, InstanceId, MessageId, UserId, WorkspaceId};
use crate::domain::responder::ResponderKind;
use crate::store::rules::records::{NewJobRow, OpenJob};
use crate::store::sql::values::{number, sql};
use crate::store::sql::{EngineError, OptionalRow, Row, SqlConnection, SqlResult, params};
use std::sync::Arc;

/// Inserts a job. Returns whether it is the first of its conversation.
pub(crate) fn insert(db: &SqlConnection, job: &NewJobRow) -> SqlResult<bool> {
    let NewJobRow { key, message, responder, user } = job;
    db.prepare_cached(INSERT)?
        .query_row(params![sql(key.0), sql(*message), responder.as_str(), user.0], |row| row.get(0))
}

/// The job, unless it is closed or its message is deleted.
pub(crate) fn find(db: &SqlConnection, key: JobId) -> SqlResult<Option<OpenJob>> {
    db.prepare_cached(FIND)?
        .query_row([sql(key.0)], |row| {
            Ok(OpenJob {
                key,
                conversation: number(row.get(0)?),
                asked: number(row.get(8)?),
                asked_at: WallTime(row.get(1)?),
                correlation_id: row.get(2)?,
                responder: responder_of(row, 3)?,
                answer: match (row.get::<Option<i64>>(4)?, row.get::<Option<i64>>(5)?) {
                    (Some(answer), Some(at)) => Some((number(answer), WallTime(at))),
                    _ => None,
                },
                is_begun: row.get(6)?,
                user: UserKey(row.get(7)?),
                is_first: row.get(9)?,
                claimed_by: row.get::<Option<i64>>(10)?.map(InstanceId),
            })
        })
        .optional()
}

/// The open job for a message.
pub(crate) fn of_message(db: &SqlConnection, message: EventNumber) -> SqlResult<Option<JobId>> {
    db.prepare_cached(OF_MESSAGE)?.query_row([sql(message)], |row| Ok(JobId(number(row.get(0)?)))).optional()
}

/// The last open jobs of a conversation through `through`, in descending order.
pub(crate) fn last_of_conversation(
    db: &SqlConnection,
    conversation: EventNumber,
    through: JobId,
    limit: usize,
) -> SqlResult<Vec<JobId>> {
    let mut statement = db.prepare_cached(LAST_OF_CONVERSATION)?;
    let rows =
        statement.query_map([sql(conversation), sql(through.0), limit as i64], |row| Ok(JobId(number(row.get(0)?))))?;
    rows.collect()
}

/// The number of jobs of a user that instances have claimed.
pub(crate) fn claimed_of_user(db: &SqlConnection, user: UserKey) -> SqlResult<u32> {
    db.prepare_cached(CLAIMED_OF_USER)?.query_row([user.0], |row| Ok(row.get::<i64>(0)? as u32))
}

/// Reserves a job for an instance.
pub(crate) fn claim(db: &SqlConnection, key: JobId, instance: InstanceId) -> SqlResult<()> {
    db.prepare_cached(CLAIM)?.run([sql(key.0), instance.0])
}

/// Gives back the jobs of an instance, so that others find them.
#[cfg(feature = "cluster")]
pub(crate) fn release(db: &SqlConnection, instance: InstanceId) -> SqlResult<()> {
    db.run(RELEASE, [instance.0])
}

/// Stores the number and time of the answer's message, and whether the message has a row.
pub(crate) fn set_answer(
    db: &SqlConnection,
    key: JobId,
    (answer, at): (EventNumber, WallTime),
    is_begun: bool,
) -> SqlResult<()> {
    db.prepare_cached(SET_ANSWER)?.run(params![sql(key.0), sql(answer), at.0, is_begun])
}

/// Closes a job, if it is open. Returns the job that is now the first of the conversation, if another was.
pub(crate) fn delete(db: &SqlConnection, ids: &IdKey, key: JobId) -> SqlResult<Option<AnswerJob>> {
    let deleted: Option<(i64, bool)> =
        db.prepare_cached(DELETE)?.query_row([sql(key.0)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((conversation, true)) = deleted else { return Ok(None) };
    let next: Option<i64> = db.prepare_cached(PROMOTE)?.query_row([conversation], |row| row.get(0)).optional()?;
    let Some(next) = next else { return Ok(None) };
    let job = db.prepare_cached(JOB)?.query_row([next], |row| job_of(row, ids))?;
    Ok(job)
}

/// Deletes the jobs of a conversation for messages through number `last`, which are about to be purged.
pub(crate) fn delete_through(db: &SqlConnection, conversation: i64, last: i64) -> SqlResult<()> {
    db.prepare_cached(DELETE_THROUGH)?.run([conversation, last])
}

/// Jobs that are the first of their conversations and that no instance but `instance` has claimed: at most `per_user` of each user,
/// and none of further users once there are `limit`. At most [`JOBS_EXAMINED_MAX`] rows are read.
pub(crate) fn page(
    (db, ids): (&SqlConnection, &IdKey),
    instance: Option<InstanceId>,
    class: JobClass,
    range: JobRange,
    per_user: u32,
    limit: u32,
) -> SqlResult<JobPage> {
    let instance = instance.map(|instance| instance.0);
    let is_model = class == JobClass::Model;
    let mut page = JobPage { users: Vec::new(), is_last: true };
    let (mut after, mut next) = match range {
        JobRange::User { user, after } => (after, Some(user)),
        JobRange::UsersAfter(user) => (JobId::default(), user_after(db, instance, is_model, user)?),
    };
    let (mut jobs, mut examined) = (0, 0);
    while let Some(user) = next {
        if jobs >= limit as usize || examined >= JOBS_EXAMINED_MAX {
            page.is_last = false;
            break;
        }
        let mut found = UserJobPage { user, jobs: Vec::new(), through: None };
        let mut statement = db.prepare_cached(FIRST_OF_USER)?;
        let mut rows = statement.query(params![is_model, user.0, sql(after.0), instance])?;
        let mut last = after;
        while let Some(row) = rows.next()? {
            if found.jobs.len() >= per_user as usize || examined >= JOBS_EXAMINED_MAX {
                found.through = Some(last);
                break;
            }
            examined += 1;
            last = JobId(number(row.get(15)?));
            found.jobs.extend(job_of(row, ids)?);
        }
        jobs += found.jobs.len();
        page.users.push(found);
        next = match range {
            JobRange::User { .. } => None,
            JobRange::UsersAfter(_) => user_after(db, instance, is_model, user)?,
        };
        after = JobId::default();
    }
    Ok(page)
}

fn user_after(db: &SqlConnection, instance: Option<i64>, is_model: bool, user: UserKey) -> SqlResult<Option<UserKey>> {
    db.prepare_cached(NEXT_USER)?
        .query_row(params![is_model, user.0, instance], |row| Ok(UserKey(row.get(0)?)))
        .optional()
}

/// The job in a row of [`JOB`] or [`FIRST_OF_USER`]; `None` if its conversation is deleted.
fn job_of(row: Row<'_>, ids: &IdKey) -> SqlResult<Option<AnswerJob>> {
    if row.get(12)? {
        return Ok(None);
    }
    let uuid = |column| -> SqlResult<_> { Ok(ids.uuid(number(row.get(column)?), WallTime(row.get(column + 1)?))) };
    let started: bool = row.get(14)?;
    Ok(Some(AnswerJob {
        key: JobId(number(row.get(15)?)),
        message_id: MessageId(uuid(0)?),
        conversation_id: ConversationId(uuid(2)?),
        workspace_id: WorkspaceId(uuid(4)?),
        user: UserId::new_unchecked(row.get::<Arc<str>>(6)?),
        user_key: UserKey(row.get(13)?),
        responder: responder_of(row, 7)?,
        correlation_id: row.get(8)?,
        content_bytes: row.get::<i64>(9)? as usize,
        started: if started { Some(MessageId(uuid(10)?)) } else { None },
    }))
}

/// The responder whose name is in a column.
pub(crate) fn responder_of(row: Row<'_>, column: usize) -> SqlResult<ResponderKind> {
    let name = row.text(column)?;
    ResponderKind::parse(name).ok_or_else(|| EngineError::value(column, format!("unknown responder {name:?}")))
}

pub(crate) const INSERT: &str = "
    INSERT INTO answer_jobs (number, message, responder, is_begun, user, conversation, is_first)
    SELECT ?1, m.number, ?3, 0, ?4, m.conversation,
        CASE WHEN EXISTS (SELECT 1 FROM answer_jobs o WHERE o.conversation = m.conversation) THEN 0 ELSE 1 END
    FROM messages m WHERE m.number = ?2
    RETURNING is_first";
pub(crate) const FIND: &str = "
    SELECT c.number, m.created_at, m.correlation_id, j.responder, j.answer, j.answer_at, j.is_begun, j.user, m.number,
        j.is_first, j.claimed_by
    FROM answer_jobs j
    CROSS JOIN messages m ON m.number = j.message
    CROSS JOIN conversations c ON c.number = m.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    WHERE j.number = ?1";
pub(crate) const OF_MESSAGE: &str = "SELECT number FROM answer_jobs WHERE message = ?1";
pub(crate) const LAST_OF_CONVERSATION: &str = "
    SELECT number FROM answer_jobs WHERE conversation = ?1 AND number <= ?2 ORDER BY number DESC LIMIT ?3";
pub(crate) const CLAIMED_OF_USER: &str = "
    SELECT count(*) FROM answer_jobs j
    CROSS JOIN conversations c ON c.number = j.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    WHERE j.user = ?1 AND j.claimed_by IS NOT NULL";
pub(crate) const CLAIM: &str = "UPDATE answer_jobs SET claimed_by = ?2 WHERE number = ?1";
#[cfg(feature = "cluster")]
const RELEASE: &str = "UPDATE answer_jobs SET claimed_by = NULL WHERE claimed_by = ?1";
pub(crate) const SET_ANSWER: &str =
    "UPDATE answer_jobs SET answer = ?2, answer_at = ?3, is_begun = ?4 WHERE number = ?1";
pub(crate) const DELETE: &str = "DELETE FROM answer_jobs WHERE number = ?1 RETURNING conversation, is_first";
pub(crate) const PROMOTE: &str = "
    UPDATE answer_jobs SET is_first = 1
    WHERE number = (SELECT min(number) FROM answer_jobs WHERE conversation = ?1)
    RETURNING number";
pub(crate) const DELETE_THROUGH: &str = "DELETE FROM answer_jobs WHERE message IN \
     (SELECT number FROM conversation_index WHERE conversation = ?1 AND number <= ?2)";
pub(crate) const NEXT_USER: &str = "
    SELECT user FROM answer_jobs
    WHERE is_first = 1 AND (responder = 'openai' AND is_begun = 0) = ?1 AND user > ?2
        AND (claimed_by IS NULL OR claimed_by = ?3)
    ORDER BY user LIMIT 1";
macro_rules! select_jobs {
    () => {
        "
    SELECT j.message, m.created_at, c.number, c.created_at, w.number, w.created_at, u.oid, j.responder,
        m.correlation_id, octet_length(m.content), j.answer, j.answer_at, c.deleted IS NOT NULL OR w.deleted IS NOT NULL,
        j.user, j.is_begun, j.number
    FROM answer_jobs j
    CROSS JOIN messages m ON m.number = j.message
    CROSS JOIN conversations c ON c.number = m.conversation
    CROSS JOIN workspaces w ON w.number = c.workspace
    CROSS JOIN users u ON u.key = j.user
    "
    };
}
pub(crate) const JOB: &str = concat!(select_jobs!(), "WHERE j.number = ?1");
pub(crate) const FIRST_OF_USER: &str = concat!(
    select_jobs!(),
    "WHERE j.is_first = 1 AND (j.responder = 'openai' AND j.is_begun = 0) = ?1 AND j.user = ?2 AND j.number > ?3
        AND (j.claimed_by IS NULL OR j.claimed_by = ?4)
    ORDER BY j.number"
);

//! Answers that have ended.
//!
//! Invariant: the attempts to answer a message are numbered from 1, and all but the last are superseded. The last is superseded
//! exactly while a job to answer the message again is open.

use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::domain::model::Status;
use crate::store::rules::records::{EndedAnswerRow, LastAnswerRow};
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use crate::store::tables::messages::status_code;

/// Inserts an answer that has ended, as the last one to its message.
pub(crate) fn insert(db: &SqlConnection, row: &EndedAnswerRow<'_>) -> SqlResult<()> {
    let tokens = row.usage.map(|usage| usage.tokens);
    db.prepare_cached(INSERT)?.run(params![
        sql(row.asked),
        status_code(row.status),
        row.answer.map(sql),
        row.error,
        row.usage.map(|usage| &*usage.model),
        tokens.map(|tokens| tokens.prompt as i64),
        tokens.map(|tokens| tokens.completion as i64),
        tokens.map(|tokens| tokens.reasoning as i64),
        tokens.map(|tokens| tokens.cached as i64),
    ])
}

/// The last answer to a message, unless it is superseded.
pub(crate) fn last(db: &SqlConnection, asked: EventNumber) -> SqlResult<Option<LastAnswerRow>> {
    let row = |row: Row<'_>| {
        let is_superseded = row.get::<i64>(1)? == status_code(Status::Superseded);
        let last = LastAnswerRow { attempt: row.get(0)?, answer: row.get::<Option<i64>>(2)?.map(number) };
        Ok((!is_superseded).then_some(last))
    };
    Ok(db.prepare_cached(LAST)?.query_row([sql(asked)], row).optional()?.flatten())
}

/// Marks an answer as superseded, with its message, if that exists. Its error stays on the message alone.
pub(crate) fn supersede(db: &SqlConnection, asked: EventNumber, answer: &LastAnswerRow, at: WallTime) -> SqlResult<()> {
    let superseded = status_code(Status::Superseded);
    db.prepare_cached(SUPERSEDE)?.run(params![sql(asked), answer.attempt, superseded])?;
    if let Some(message) = answer.answer {
        db.prepare_cached(SET_MESSAGE_STATUS)?.run(params![sql(message), superseded, at.0])?;
    }
    Ok(())
}

/// Deletes the answers to a message.
pub(crate) fn delete_of(db: &SqlConnection, message: EventNumber) -> SqlResult<()> {
    db.prepare_cached(DELETE_ANSWERS)?.run([sql(message)])
}

/// Deletes the answers to the messages of a conversation through number `last`, which are about to be purged.
pub(crate) fn delete_through(db: &SqlConnection, conversation: i64, last: i64) -> SqlResult<()> {
    db.prepare_cached(DELETE_ANSWERS_THROUGH)?.run([conversation, last])
}

pub(crate) const INSERT: &str = "
    INSERT INTO answers (asked, attempt, status, answer, error, model, prompt_tokens, completion_tokens, reasoning_tokens,
        cached_tokens)
    VALUES (?1, 1 + coalesce((SELECT max(attempt) FROM answers WHERE asked = ?1), 0), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
pub(crate) const LAST: &str =
    "SELECT attempt, status, answer FROM answers WHERE asked = ?1 ORDER BY attempt DESC LIMIT 1";
pub(crate) const SUPERSEDE: &str = "UPDATE answers SET status = ?3, error = NULL WHERE asked = ?1 AND attempt = ?2";
pub(crate) const SET_MESSAGE_STATUS: &str = "UPDATE messages SET status = ?2, updated_at = ?3 WHERE number = ?1";
pub(crate) const DELETE_ANSWERS: &str = "DELETE FROM answers WHERE asked = ?1";
pub(crate) const DELETE_ANSWERS_THROUGH: &str = "DELETE FROM answers WHERE asked IN \
     (SELECT number FROM conversation_index WHERE conversation = ?1 AND number <= ?2)";

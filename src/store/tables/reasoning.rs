//! The reasoning of models before the text of their answers.

use crate::domain::id::EventNumber;
use crate::store::sql::values::sql;
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult, params};
use std::sync::Arc;

/// Stores the reasoning of an answer.
pub(crate) fn insert(db: &SqlConnection, answer: EventNumber, text: &str) -> SqlResult<()> {
    db.prepare_cached(INSERT)?.run(params![sql(answer), text])
}

/// The reasoning of an answer.
pub(crate) fn find(db: &SqlConnection, answer: EventNumber) -> SqlResult<Option<Arc<str>>> {
    db.prepare_cached(FIND)?.query_row([sql(answer)], |row| row.get(0)).optional()
}

/// Deletes the reasoning of a message, if it has any.
pub(crate) fn delete(db: &SqlConnection, message: EventNumber) -> SqlResult<()> {
    db.prepare_cached(DELETE)?.run([sql(message)])
}

/// Deletes the reasoning of the messages of a conversation through number `last`, which are about to be purged.
pub(crate) fn delete_through(db: &SqlConnection, conversation: i64, last: i64) -> SqlResult<()> {
    db.prepare_cached(DELETE_THROUGH)?.run([conversation, last])
}

pub(crate) const INSERT: &str = "INSERT INTO answer_reasoning (message, text) VALUES (?1, ?2)";
pub(crate) const FIND: &str = "SELECT text FROM answer_reasoning WHERE message = ?1";
pub(crate) const DELETE: &str = "DELETE FROM answer_reasoning WHERE message = ?1";
pub(crate) const DELETE_THROUGH: &str = "DELETE FROM answer_reasoning WHERE message IN \
     (SELECT number FROM conversation_index WHERE conversation = ?1 AND number <= ?2)";

//! The rows of the index: which messages it has, and which texts it must still take in or lose.
//!
//! A command writes a few bytes here for each message that it changes, and the index follows in steps. Until then, a search reads the
//! texts that the index lacks, so it finds what was acknowledged.
//!
//! Invariant: the index has the words of each published message through `search_state`, except for those in `search_pending`, of which
//! it has the first `done` bytes. Beside them, it has of each text in `search_removals` the words that are not in the first `done` bytes.
//!
//! On a server, the index is a table (see [`server_index`]).

use crate::domain::id::EventNumber;
use crate::store::search::server_index;
use crate::store::search::tokenizer::Tokenizer;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use std::ops::Range;

/// A text that the index has in part.
pub(crate) struct PartialText {
    pub number: i64,
    /// Bytes that are done, at the beginning.
    pub done: usize,
    /// The whole text.
    pub text: String,
}

/// The number through which messages are in the index, or among the pending ones.
pub(crate) fn through(db: &SqlConnection) -> SqlResult<EventNumber> {
    db.prepare_cached(THROUGH)?.query_row([], |row| row.get(0).map(number))
}

/// Stores the number through which messages are in the index.
pub(crate) fn set_through(db: &SqlConnection, through: EventNumber) -> SqlResult<()> {
    db.prepare_cached(SET_THROUGH)?.run([sql(through)])
}

/// Records that an answer was published, which may be after later messages were indexed.
pub(crate) fn published(db: &SqlConnection, message: EventNumber) -> SqlResult<()> {
    db.prepare_cached(ADD_PUBLISHED)?.run([sql(message)])
}

/// Records that a message will have this content. Call it before the message is updated.
pub(crate) fn will_update(db: &SqlConnection, message: EventNumber, content: &str) -> SqlResult<()> {
    if db.is_server() {
        return server_index::will_update(db, message, content);
    }
    if !db.prepare_cached(IS_INDEXED_OTHERWISE)?.exists(params![sql(message), content])? {
        return Ok(());
    }
    remove_one(db, message)?;
    db.prepare_cached(SET_PENDING)?.run(params![sql(message), 0])
}

/// Records that a message will be deleted. Call it before its row is.
pub(crate) fn will_delete(db: &SqlConnection, message: EventNumber) -> SqlResult<()> {
    match db.is_server() {
        true => server_index::remove(db, sql(message))?,
        false => remove_one(db, message)?,
    }
    end_pending(db, sql(message))
}

fn remove_one(db: &SqlConnection, message: EventNumber) -> SqlResult<()> {
    db.prepare_cached(REMOVE_ONE)?.run([sql(message)])?;
    db.prepare_cached(REMOVE_BEGINNING_OF_ONE)?.run([sql(message)])
}

/// Records that the messages of a conversation through number `last` will be purged.
pub(crate) fn will_purge(db: &SqlConnection, conversation: i64, last: i64) -> SqlResult<()> {
    if db.is_server() {
        server_index::remove_through(db, conversation, last)?;
    } else {
        db.prepare_cached(REMOVE_THROUGH)?.run([conversation, last])?;
        db.prepare_cached(REMOVE_BEGINNINGS_THROUGH)?.run([conversation, last])?;
    }
    db.prepare_cached(END_PENDING_THROUGH)?.run([conversation, last])
}

/// The first pending message.
pub(crate) fn first_pending(db: &SqlConnection) -> SqlResult<Option<PartialText>> {
    db.prepare_cached(FIRST_PENDING)?.query_row([], partial_text).optional()
}

/// Records how many bytes of a pending message the index has.
pub(crate) fn set_pending(db: &SqlConnection, message: i64, done: usize) -> SqlResult<()> {
    db.prepare_cached(SET_PENDING)?.run(params![message, done as i64])
}

/// Records that the index has a message as a whole.
pub(crate) fn end_pending(db: &SqlConnection, message: i64) -> SqlResult<()> {
    db.prepare_cached(END_PENDING)?.run([message])
}

/// The first text to remove, from number `from` on. A server has none, because it removes the words of a message at once.
pub(crate) fn first_removal(db: &SqlConnection, from: i64) -> SqlResult<Option<PartialText>> {
    if db.is_server() {
        return Ok(None);
    }
    db.prepare_cached(FIRST_REMOVAL)?.query_row([from], partial_text).optional()
}

/// Records how many bytes of a text are removed.
pub(crate) fn set_removal(db: &SqlConnection, message: i64, done: usize) -> SqlResult<()> {
    db.prepare_cached(SET_REMOVAL)?.run(params![message, done as i64])
}

/// Records that a text is removed as a whole.
pub(crate) fn end_removal(db: &SqlConnection, message: i64) -> SqlResult<()> {
    db.prepare_cached(END_REMOVAL)?.run([message])
}

/// Adds the words of a part of a message's text to those that the index has for the message.
pub(crate) fn add(
    db: &SqlConnection,
    tokenizer: &Tokenizer,
    message: i64,
    text: &str,
    part: Range<usize>,
) -> SqlResult<()> {
    match db.is_server() {
        true => server_index::add(db, tokenizer, message, text, part),
        false => db.prepare_cached(ADD)?.run(params![message, &text[part]]),
    }
}

/// Removes the words of a text from those that the index has for a message.
pub(crate) fn remove(db: &SqlConnection, message: i64, text: &str) -> SqlResult<()> {
    db.prepare_cached(REMOVE)?.run(params![message, text])
}

/// Merges segments of the index, about `pages` of it. Returns whether there was anything to merge. The index of a server has no
/// segments.
pub(crate) fn merge(db: &SqlConnection, pages: usize) -> SqlResult<bool> {
    if db.is_server() {
        return Ok(false);
    }
    let before = db.sqlite().total_changes();
    db.prepare_cached(MERGE)?.run([pages as i64])?;
    // The statement itself counts as a change (section 6.7 of the documentation of FTS5).
    Ok(db.sqlite().total_changes() - before >= 2)
}

fn partial_text(row: Row<'_>) -> SqlResult<PartialText> {
    Ok(PartialText { number: row.get(0)?, done: row.get::<i64>(1)? as usize, text: row.get(2)? })
}

/// The text of messages as the view `search_texts` has it.
macro_rules! of_texts {
    ($columns:literal, $condition:literal) => {
        concat!(
            "SELECT m.number, ",
            $columns,
            " FROM messages m JOIN search_texts t ON t.number = m.number \
              WHERE m.number <= (SELECT through FROM search_state WHERE id = 1) AND ",
            $condition
        )
    };
}
macro_rules! remove_whole {
    ($condition:literal) => {
        concat!(
            "INSERT OR IGNORE INTO search_removals (number, done, text) ",
            of_texts!("0, t.text", "m.number NOT IN (SELECT number FROM search_pending) AND "),
            $condition
        )
    };
}
macro_rules! remove_beginning {
    ($condition:literal) => {
        concat!(
            "INSERT OR IGNORE INTO search_removals (number, done, text) \
             SELECT m.number, 0, CAST(substr(CAST(t.text AS BLOB), 1, p.done) AS TEXT) \
             FROM search_pending p JOIN messages m ON m.number = p.number JOIN search_texts t ON t.number = p.number \
             WHERE p.done > 0 AND ",
            $condition
        )
    };
}
pub(crate) const THROUGH: &str = "SELECT through FROM search_state WHERE id = 1";
pub(crate) const SET_THROUGH: &str = "UPDATE search_state SET through = ?1 WHERE id = 1";
pub(crate) const ADD_PUBLISHED: &str = "
    INSERT INTO search_pending (number, done) SELECT m.number, 0
    FROM search_state s CROSS JOIN messages m ON m.number = ?1
    WHERE s.id = 1 AND s.through >= ?1 AND m.published_by IS NOT NULL ON CONFLICT DO NOTHING";
pub(crate) const IS_INDEXED_OTHERWISE: &str = "
    SELECT 1 FROM messages WHERE number = ?1 AND content <> ?2 AND published_by IS NOT NULL
        AND number <= (SELECT through FROM search_state WHERE id = 1)";
pub(crate) const REMOVE_ONE: &str = remove_whole!("m.number = ?1");
pub(crate) const REMOVE_BEGINNING_OF_ONE: &str = remove_beginning!("p.number = ?1");
pub(crate) const REMOVE_THROUGH: &str =
    remove_whole!("m.number IN (SELECT number FROM conversation_index WHERE conversation = ?1 AND number <= ?2)");
pub(crate) const REMOVE_BEGINNINGS_THROUGH: &str =
    remove_beginning!("m.number IN (SELECT number FROM conversation_index WHERE conversation = ?1 AND number <= ?2)");
pub(crate) const END_PENDING_THROUGH: &str = "
    DELETE FROM search_pending WHERE number IN (SELECT number FROM conversation_index WHERE conversation = ?1 AND number <= ?2)";
pub(crate) const FIRST_PENDING: &str = "
    SELECT p.number, p.done, t.text FROM search_pending p CROSS JOIN search_texts t ON t.number = p.number
    ORDER BY p.number LIMIT 1";
pub(crate) const SET_PENDING: &str = "
    INSERT INTO search_pending (number, done) VALUES (?1, ?2) ON CONFLICT (number) DO UPDATE SET done = excluded.done";
pub(crate) const END_PENDING: &str = "DELETE FROM search_pending WHERE number = ?1";
pub(crate) const FIRST_REMOVAL: &str = "
    SELECT number, done, text FROM search_removals WHERE number >= ?1 ORDER BY number LIMIT 1";
pub(crate) const SET_REMOVAL: &str = "UPDATE search_removals SET done = ?2 WHERE number = ?1";
pub(crate) const END_REMOVAL: &str = "DELETE FROM search_removals WHERE number = ?1";
const ADD: &str = "INSERT INTO search_index (rowid, text) VALUES (?1, ?2)";
const REMOVE: &str = "INSERT INTO search_index (search_index, rowid, text) VALUES ('delete', ?1, ?2)";
const MERGE: &str = "INSERT INTO search_index (search_index, rank) VALUES ('merge', ?1)";

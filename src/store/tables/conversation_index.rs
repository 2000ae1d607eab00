//! The index of messages by conversation. It lacks the newest messages, which are added to it some thousands at a time, because the
//! messages of a transaction are of many conversations: each would change another page of the index. Each connection reads the
//! conversations of the messages that the index lacks from the messages themselves, once.
//!
//! Invariant: a message is in the index, or its number is greater than the stored [`indexed_through`] and was the newest when the
//! message was inserted. Of the messages after that number, the index has answers, and those of a flush that has not ended.
//!
//! A server keeps an index that lacks nothing: there, the table has the name `messages`.

use crate::domain::id::EventNumber;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{SqlConnection, SqlResult, params};

/// The messages by conversation, in one snapshot.
pub(crate) struct ConversationIndex<'a> {
    db: &'a SqlConnection,
}

/// The start and direction of a page of messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PageStart {
    /// Ascending after a number.
    After(EventNumber),
    /// Descending before a number.
    Before(EventNumber),
    /// Descending from the newest message.
    End,
}

impl<'a> ConversationIndex<'a> {
    /// The index in the open transaction of `db`.
    pub(crate) fn read(db: &'a SqlConnection) -> SqlResult<ConversationIndex<'a>> {
        if let Some(newest) = db.newest_messages() {
            let read_through = newest.drop_through(sql(indexed_through(db)?));
            let mut statement = db.prepare_cached(NEWEST)?;
            let mut rows = statement.query([read_through])?;
            while let Some(row) = rows.next()? {
                newest.push(row.get(0)?, row.get(1)?);
            }
        }
        Ok(ConversationIndex { db })
    }

    /// The numbers of the first messages of a conversation from a place on, at most `limit`. Those of deleted messages may be among
    /// them.
    pub(crate) fn numbers(
        &self,
        conversation: EventNumber,
        from: PageStart,
        limit: usize,
    ) -> SqlResult<Vec<EventNumber>> {
        let (statement, bound) = match from {
            PageStart::After(number) => (NUMBERS_AFTER, sql(number)),
            PageStart::Before(number) => (NUMBERS_BEFORE, sql(number)),
            PageStart::End => (NUMBERS_BEFORE, i64::MAX),
        };
        let mut statement = self.db.prepare_cached(statement)?;
        let rows = statement.query_map(params![sql(conversation), bound, limit as i64], |row| row.get(0))?;
        let indexed: Vec<i64> = rows.collect::<SqlResult<_>>()?;
        let mut newest = Vec::new();
        let (is_ascending, after, below) = match from {
            PageStart::After(_) => (true, bound, i64::MAX),
            PageStart::Before(_) | PageStart::End => (false, 0, bound),
        };
        if let Some(messages) = self.db.newest_messages() {
            messages.of_conversation(sql(conversation), below, |number| {
                newest.extend((number > after).then_some(number));
                number > after && (is_ascending || newest.len() < limit)
            });
        }
        if is_ascending {
            newest.reverse();
        }
        Ok(merged(indexed, newest, is_ascending).take(limit).map(number).collect())
    }
}

/// The numbers of two lists in the same order, each once.
fn merged(first: Vec<i64>, second: Vec<i64>, is_ascending: bool) -> impl Iterator<Item = i64> {
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    std::iter::from_fn(move || match (first.peek().copied(), second.peek().copied()) {
        (Some(one), Some(other)) => {
            let next = if is_ascending { one.min(other) } else { one.max(other) };
            first.next_if_eq(&next);
            second.next_if_eq(&next);
            Some(next)
        }
        (Some(_), None) => first.next(),
        (None, _) => second.next(),
    })
}

/// The number through which the index has all messages. On a server, this is the largest number.
pub(crate) fn indexed_through(db: &SqlConnection) -> SqlResult<EventNumber> {
    match db.is_server() {
        true => Ok(number(i64::MAX)),
        false => db.prepare_cached(INDEXED_THROUGH)?.query_row([], |row| row.get(0).map(number)),
    }
}

/// Stores the number through which the index has all messages.
pub(crate) fn set_indexed_through(db: &SqlConnection, through: EventNumber) -> SqlResult<()> {
    db.prepare_cached(SET_INDEXED_THROUGH)?.run([sql(through)])
}

/// Adds a message to the index, unless it is there.
pub(crate) fn add(db: &SqlConnection, conversation: EventNumber, message: EventNumber) -> SqlResult<()> {
    match db.is_server() {
        true => Ok(()),
        false => db.prepare_cached(ADD)?.run([sql(conversation), sql(message)]),
    }
}

pub(crate) const INDEXED_THROUGH: &str = "SELECT indexed_through FROM conversation_index_state WHERE id = 1";
pub(crate) const SET_INDEXED_THROUGH: &str = "UPDATE conversation_index_state SET indexed_through = ?1 WHERE id = 1";
pub(crate) const NEWEST: &str = "SELECT number, conversation FROM messages WHERE number > ?1 ORDER BY number";
pub(crate) const NUMBERS_AFTER: &str =
    "SELECT number FROM conversation_index WHERE conversation = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
pub(crate) const NUMBERS_BEFORE: &str =
    "SELECT number FROM conversation_index WHERE conversation = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";
pub(crate) const ADD: &str =
    "INSERT INTO conversation_index (conversation, number) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

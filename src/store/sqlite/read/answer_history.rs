//! The history of a conversation, as a responder gets it.

use crate::base::limits::{HISTORY_BYTES_MAX, HISTORY_ROWS_EXAMINED_MAX, LIST_BYTES_MAX};
use crate::domain::answer_job::{JobId, Turn};
use crate::domain::model::Content;
use crate::store::sqlite::tables::{answer_jobs, messages};
use crate::store::sqlite::values::{decode, sql};
use rusqlite::Connection;
use std::sync::Arc;

/// What was said in a conversation before a message is answered, oldest first, the message to answer last: at most `limit`
/// turns, and fewer if they are large. Each answer stands behind what it answers, also one that came only after the next
/// question. `None` if the job is closed.
pub(crate) fn history(db: &Connection, key: JobId, limit: u32) -> rusqlite::Result<Option<Vec<Turn>>> {
    let Some(order) = answer_jobs::find(db, key)? else { return Ok(None) };
    let (limit, parameters) = (limit as usize, [sql(order.conversation), sql(key.0), HISTORY_ROWS_EXAMINED_MAX.into()]);
    let mut said = Vec::new();
    gather(db, LATE_ANSWERS, parameters, &mut said, |said, _| said.len() >= limit)?;
    // Whatever comes after a row stands before it too, so once enough stand behind the row, the rest is of no use.
    gather(db, HISTORY, parameters, &mut said, |said, row| is_enough(said.iter().filter(|s| s.place.0 > row), limit))?;
    said.sort_unstable_by_key(|said| std::cmp::Reverse(said.place));
    let mut bytes = 0;
    let kept = said.into_iter().map(|said| said.turn).take(limit).enumerate().take_while(|(place, turn)| {
        bytes += turn.text.as_str().len();
        *place == 0 || bytes <= HISTORY_BYTES_MAX
    });
    let mut turns: Vec<Turn> = kept.map(|(_, turn)| turn).collect();
    turns.reverse();
    Ok(Some(turns))
}

/// One turn of a conversation, and its place: the message that it is or answers, and then the message.
struct Said {
    place: (i64, i64),
    turn: Turn,
}

impl Said {
    fn bytes(&self) -> usize {
        self.turn.text.as_str().len()
    }
}

/// Whether these are all that a history may have.
fn is_enough<'s>(said: impl Iterator<Item = &'s Said> + Clone, limit: usize) -> bool {
    said.clone().count() >= limit || said.map(Said::bytes).sum::<usize>() > HISTORY_BYTES_MAX
}

/// Reads turns in falling order of their numbers, until `is_enough` says of those read and the next number that no more are
/// wanted.
fn gather(
    db: &Connection,
    statement: &str,
    parameters: [i64; 3],
    said: &mut Vec<Said>,
    is_enough: impl Fn(&[Said], i64) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(statement)?;
    let mut rows = statement.query(parameters)?;
    let mut bytes: usize = said.iter().map(Said::bytes).sum();
    while bytes <= LIST_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let number: i64 = row.get(0)?;
        if is_enough(said, number) {
            break;
        }
        let text = Content::new_unchecked(row.get::<_, Arc<str>>(2)?);
        if text.as_str().chars().all(char::is_whitespace) {
            continue;
        }
        bytes += text.as_str().len();
        let place = (row.get::<_, Option<i64>>(3)?.unwrap_or(number), number);
        said.push(Said { place, turn: Turn { role: decode(row, 1, messages::role_of)?, text } });
    }
    Ok(())
}

pub(crate) const HISTORY: &str = "
    SELECT number, role, content, reply_to FROM messages
    WHERE conversation = ?1 AND number <= ?2 AND published_by IS NOT NULL ORDER BY number DESC LIMIT ?3";
/// Answers to earlier messages that came after the message itself, among the last messages of the conversation.
pub(crate) const LATE_ANSWERS: &str = "
    SELECT number, role, content, reply_to FROM messages
    WHERE number IN (
        SELECT number FROM messages WHERE conversation = ?1 AND number > ?2 ORDER BY number DESC LIMIT ?3)
    AND reply_to < ?2 AND published_by IS NOT NULL ORDER BY number DESC";

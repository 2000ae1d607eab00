//! The history of a conversation that a responder receives.

use crate::base::limits::{HISTORY_BYTES_MAX, HISTORY_ROWS_EXAMINED_MAX};
use crate::domain::answer_job::{JobId, Turn};
use crate::domain::model::Content;
use crate::store::sqlite::tables::{answer_jobs, messages};
use crate::store::sqlite::values::{decode, sql};
use rusqlite::Connection;
use std::sync::Arc;

/// The turns of a conversation for the answer of a job, oldest first. The message to answer is the last turn. The history has
/// at most `limit` turns and at most `HISTORY_BYTES_MAX` and `list_bytes_max` bytes, except for the message to answer, which is always included.
/// Each answer follows its message, even if other messages came in between. `None` if the job is closed.
pub(crate) fn history(
    db: &Connection,
    key: JobId,
    limit: u32,
    list_bytes_max: usize,
) -> rusqlite::Result<Option<Vec<Turn>>> {
    let bytes_max = list_bytes_max.min(HISTORY_BYTES_MAX);
    let Some(job) = answer_jobs::find(db, key)? else { return Ok(None) };
    let (limit, parameters) =
        (limit as usize, [sql(job.conversation), sql(job.asked), HISTORY_ROWS_EXAMINED_MAX.into()]);
    let mut turns = Vec::new();
    gather(db, LATE_ANSWERS, parameters, list_bytes_max, &mut turns, |turns, _| turns.len() >= limit)?;
    // The remaining rows all have places before `number`, so they are not needed once enough turns have places after it.
    gather(db, HISTORY, parameters, list_bytes_max, &mut turns, |turns, number| {
        is_enough(turns.iter().filter(|turn| turn.place.0 > number), limit, bytes_max)
    })?;
    turns.sort_unstable_by_key(|turn| std::cmp::Reverse(turn.place));
    let mut bytes = 0;
    let fitting = turns.into_iter().map(|placed| placed.turn).take(limit).enumerate().take_while(|(index, turn)| {
        bytes += turn.text.as_str().len();
        *index == 0 || bytes <= bytes_max
    });
    let mut history: Vec<Turn> = fitting.map(|(_, turn)| turn).collect();
    history.reverse();
    Ok(Some(history))
}

/// A turn and its place in the history.
struct PlacedTurn {
    /// The number of the message that the turn answers, or else the turn's own number; then the turn's own number.
    place: (i64, i64),
    turn: Turn,
}

impl PlacedTurn {
    fn bytes(&self) -> usize {
        self.turn.text.as_str().len()
    }
}

/// Whether the turns fill a history.
fn is_enough<'t>(turns: impl Iterator<Item = &'t PlacedTurn> + Clone, limit: usize, bytes_max: usize) -> bool {
    turns.clone().count() >= limit || turns.map(PlacedTurn::bytes).sum::<usize>() > bytes_max
}

/// Adds turns to `turns` in descending order of their numbers, until `is_enough` returns true for the turns and the next
/// number.
fn gather(
    db: &Connection,
    statement: &str,
    parameters: [i64; 3],
    bytes_max: usize,
    turns: &mut Vec<PlacedTurn>,
    is_enough: impl Fn(&[PlacedTurn], i64) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(statement)?;
    let mut rows = statement.query(parameters)?;
    let mut bytes: usize = turns.iter().map(PlacedTurn::bytes).sum();
    while bytes <= bytes_max
        && let Some(row) = rows.next()?
    {
        let number: i64 = row.get(0)?;
        if is_enough(turns, number) {
            break;
        }
        let text = Content::new_unchecked(row.get::<_, Arc<str>>(2)?);
        if text.as_str().chars().all(char::is_whitespace) {
            continue;
        }
        bytes += text.as_str().len();
        let place = (row.get::<_, Option<i64>>(3)?.unwrap_or(number), number);
        turns.push(PlacedTurn { place, turn: Turn { role: decode(row, 1, messages::role_of)?, text } });
    }
    Ok(())
}

pub(crate) const HISTORY: &str = "
    SELECT number, role, content, reply_to FROM messages
    WHERE conversation = ?1 AND number <= ?2 AND published_by IS NOT NULL AND status <> 5
    ORDER BY number DESC LIMIT ?3";
/// Selects answers to earlier messages that came after the message itself, among the last messages of the conversation.
pub(crate) const LATE_ANSWERS: &str = "
    SELECT number, role, content, reply_to FROM messages
    WHERE number IN (
        SELECT number FROM messages WHERE conversation = ?1 AND number > ?2 ORDER BY number DESC LIMIT ?3)
    AND reply_to < ?2 AND published_by IS NOT NULL AND status <> 5 ORDER BY number DESC";

//! The history of a conversation that a responder receives.

use crate::base::limits::HISTORY_ROWS_EXAMINED_MAX;
use crate::domain::answer_job::{JobId, Turn};
use crate::domain::history::{AnswerSettings, History};
use crate::domain::id::{EventNumber, IdKey, UserId};
use crate::domain::model::{Content, Metadata, Role};
use crate::store::sql::values::{decode, sql};
use crate::store::sql::{Row, SqlConnection, SqlResult};
use crate::store::tables::{answer_jobs, conversations, messages};
use crate::wire::answer_settings;
use std::sync::Arc;

/// The texts of a conversation for the answer of a job, oldest first, and the conversation's settings. The message to answer is
/// the last turn. The history has at most `limit` turns and at most `bytes_max` bytes of each kind of text, except for the
/// message to answer, which is always included. Each answer follows its message, even if other messages came in between.
/// `None` if the job is closed, or its conversation deleted.
pub(crate) fn history(
    db: &SqlConnection,
    ids: &IdKey,
    key: JobId,
    limit: u32,
    bytes_max: usize,
) -> SqlResult<Option<History>> {
    let Some(job) = answer_jobs::find(db, key)? else { return Ok(None) };
    let Some(access) = conversations::access(db, ids, job.conversation)? else { return Ok(None) };
    let parameters = [sql(job.conversation), sql(job.asked), HISTORY_ROWS_EXAMINED_MAX.into()];
    Ok(Some(History {
        turns: turns(db, parameters, limit as usize, bytes_max)?,
        system: system_texts(db, parameters, bytes_max)?,
        settings: settings(db, job.conversation)?,
        recipients: access.recipients,
        position: EventNumber::default(),
    }))
}

fn turns(db: &SqlConnection, parameters: [i64; 3], limit: usize, bytes_max: usize) -> SqlResult<Vec<Turn>> {
    let mut turns = Vec::new();
    gather(db, LATE_ANSWERS, parameters, bytes_max, &mut turns, |turns, _| turns.len() >= limit)?;
    // The remaining rows all have places before `number`, so they are not needed once enough turns have places after it.
    gather(db, HISTORY, parameters, bytes_max, &mut turns, |turns, number| {
        is_enough(turns.iter().filter(|turn| turn.place.0 > number), limit, bytes_max)
    })?;
    turns.sort_unstable_by_key(|turn| std::cmp::Reverse(turn.place));
    let mut bytes = 0;
    let fitting = turns.into_iter().map(|placed| placed.turn).take(limit).enumerate().take_while(|(index, turn)| {
        bytes += turn.text.as_str().len();
        *index == 0 || bytes <= bytes_max
    });
    let mut turns: Vec<Turn> = fitting.map(|(_, turn)| turn).collect();
    turns.reverse();
    Ok(turns)
}

/// The newest `system` messages through the message to answer that have at most `bytes_max` bytes together, oldest first.
fn system_texts(db: &SqlConnection, parameters: [i64; 3], bytes_max: usize) -> SqlResult<Vec<Content>> {
    let mut statement = db.prepare_cached(SYSTEM_TEXTS)?;
    let mut rows = statement.query(parameters)?;
    let (mut texts, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let text: Arc<str> = row.get(0)?;
        bytes += text.len();
        if bytes > bytes_max {
            break;
        }
        texts.push(Content::new_unchecked(text));
    }
    texts.reverse();
    Ok(texts)
}

fn settings(db: &SqlConnection, conversation: EventNumber) -> SqlResult<AnswerSettings> {
    let metadata: Arc<str> = db.prepare_cached(METADATA)?.query_row([sql(conversation)], |row| row.get(0))?;
    Ok(answer_settings::read(&Metadata::new_unchecked(metadata)))
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
    db: &SqlConnection,
    statement: &str,
    parameters: [i64; 3],
    bytes_max: usize,
    turns: &mut Vec<PlacedTurn>,
    is_enough: impl Fn(&[PlacedTurn], i64) -> bool,
) -> SqlResult<()> {
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
        let role = decode(row, 1, messages::role_of)?;
        let text = Content::new_unchecked(row.get::<Arc<str>>(2)?);
        if role == Role::System || text.as_str().chars().all(char::is_whitespace) {
            continue;
        }
        if role == Role::User && ended_without_text(row, number, turns)? {
            continue;
        }
        bytes += text.as_str().len();
        let place = (row.get::<Option<i64>>(3)?.unwrap_or(number), number);
        let (sender, sender_name) = (UserId::new_unchecked(row.get::<Arc<str>>(4)?), row.get(5)?);
        turns.push(PlacedTurn { place, turn: Turn { role, text, sender, sender_name } });
    }
    Ok(())
}

/// Whether an answer to the user message in `row` has ended, but none of `later` turns is its text, and no other is to follow.
fn ended_without_text(row: Row<'_>, number: i64, later: &[PlacedTurn]) -> SqlResult<bool> {
    let has_text = || later.iter().any(|turn| turn.place.0 == number);
    Ok(row.get::<bool>(6)? && !has_text())
}

macro_rules! select_turns {
    () => {
        "
    SELECT m.number, m.role, m.content, m.reply_to, u.oid, u.name,
        EXISTS (SELECT 1 FROM answers a WHERE a.asked = m.number)
            AND NOT EXISTS (SELECT 1 FROM answer_jobs j WHERE j.message = m.number)
    FROM messages m CROSS JOIN users u ON u.key = m.sender
    "
    };
}
pub(crate) const HISTORY: &str = concat!(
    select_turns!(),
    "WHERE m.conversation = ?1 AND m.number <= ?2 AND m.published_by IS NOT NULL AND m.status <> 5
    ORDER BY m.number DESC LIMIT ?3"
);
/// Selects answers to earlier messages that came after the message itself, among the last messages of the conversation.
pub(crate) const LATE_ANSWERS: &str = concat!(
    select_turns!(),
    "WHERE m.number IN (
        SELECT number FROM messages WHERE conversation = ?1 AND number > ?2 ORDER BY number DESC LIMIT ?3)
    AND m.reply_to < ?2 AND m.published_by IS NOT NULL AND m.status <> 5 ORDER BY m.number DESC"
);
/// Selects the `system` messages among the last messages through the message to answer.
pub(crate) const SYSTEM_TEXTS: &str = "
    SELECT content FROM messages
    WHERE number IN (
        SELECT number FROM messages WHERE conversation = ?1 AND number <= ?2 ORDER BY number DESC LIMIT ?3)
    AND role = 2 AND published_by IS NOT NULL ORDER BY number DESC";
pub(crate) const METADATA: &str = "SELECT metadata FROM conversations WHERE number = ?1";

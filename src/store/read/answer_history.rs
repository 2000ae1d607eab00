//! The history of a conversation that a responder receives.

use crate::base::limits::HISTORY_ROWS_EXAMINED_MAX;
use crate::domain::answer_job::{JobId, Turn};
use crate::domain::history::{AnswerSettings, History};
use crate::domain::id::{EventNumber, IdKey, UserId};
use crate::domain::model::{Content, Metadata, Role};
use crate::store::sql::values::{decode, sql};
use crate::store::sql::{Row, SqlConnection, SqlResult};
use crate::store::tables::conversation_index::{ConversationIndex, PageStart};
use crate::store::tables::messages::{self, ENTRIES_MAX, entries_params};
use crate::store::tables::{answer_jobs, conversations};
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
    let index = ConversationIndex::read(db)?;
    let through = examined(db, &index, job.conversation, PageStart::Before(job.asked.next()))?;
    let mut later = examined(db, &index, job.conversation, PageStart::End)?;
    later.retain(|number| *number > job.asked);
    Ok(Some(History {
        turns: turns(db, job.asked, (&later, &through), limit as usize, bytes_max)?,
        system: system_texts(db, &through, bytes_max)?,
        settings: settings(db, job.conversation)?,
        recipients: access.recipients,
        position: EventNumber::default(),
    }))
}

/// The numbers of the messages of a conversation that are examined from a place on, newest first.
fn examined(
    db: &SqlConnection,
    index: &ConversationIndex<'_>,
    conversation: EventNumber,
    mut from: PageStart,
) -> SqlResult<Vec<EventNumber>> {
    if db.is_server() {
        return index.numbers(conversation, from, HISTORY_ROWS_EXAMINED_MAX as usize);
    }
    let mut existing = Vec::new();
    loop {
        let left = HISTORY_ROWS_EXAMINED_MAX as usize - existing.len();
        let numbers = index.numbers(conversation, from, left)?;
        let Some(last) = numbers.last() else { return Ok(existing) };
        from = PageStart::Before(*last);
        messages::existing(db, &numbers, &mut existing)?;
    }
}

/// The turns among the messages after `asked`, which is to be answered, and those through it, both newest first.
fn turns(
    db: &SqlConnection,
    asked: EventNumber,
    (later, through): (&[EventNumber], &[EventNumber]),
    limit: usize,
    bytes_max: usize,
) -> SqlResult<Vec<Turn>> {
    let mut turns = Vec::new();
    // Of the later messages, only answers to earlier ones are turns.
    gather(db, (later, asked), bytes_max, &mut turns, &|turns, _| turns.len() >= limit)?;
    // The remaining rows all have places before `number`, so they are not needed once enough turns have places after it.
    gather(db, (through, asked.next()), bytes_max, &mut turns, &|turns, number| {
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

/// The newest `system` messages among some that have at most `bytes_max` bytes together, oldest first.
fn system_texts(db: &SqlConnection, newest_first: &[EventNumber], bytes_max: usize) -> SqlResult<Vec<Content>> {
    let mut statement = db.prepare_cached(SYSTEM_TEXTS)?;
    let (mut texts, mut bytes) = (Vec::new(), 0);
    'texts: for numbers in newest_first.chunks(ENTRIES_MAX) {
        let mut rows = statement.query(entries_params(numbers))?;
        while let Some(row) = rows.next()? {
            let text: Arc<str> = row.get(0)?;
            bytes += text.len();
            if bytes > bytes_max {
                break 'texts;
            }
            texts.push(Content::new_unchecked(text));
        }
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

/// Adds the turns among some messages that have places before `before`, newest first, until `is_enough` returns true for the turns and
/// the next number.
fn gather(
    db: &SqlConnection,
    (newest_first, before): (&[EventNumber], EventNumber),
    bytes_max: usize,
    turns: &mut Vec<PlacedTurn>,
    is_enough: &dyn Fn(&[PlacedTurn], i64) -> bool,
) -> SqlResult<()> {
    let mut statement = db.prepare_cached(TURNS)?;
    let mut bytes: usize = turns.iter().map(PlacedTurn::bytes).sum();
    for numbers in newest_first.chunks(ENTRIES_MAX - 1) {
        let mut parameters = entries_params(numbers);
        parameters[ENTRIES_MAX - 1] = Some(sql(before));
        let mut rows = statement.query(parameters)?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            if bytes > bytes_max || is_enough(turns, number) {
                return Ok(());
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
    }
    Ok(())
}

/// Whether an answer to the user message in `row` has ended, but none of `later` turns is its text, and no other is to follow.
fn ended_without_text(row: Row<'_>, number: i64, later: &[PlacedTurn]) -> SqlResult<bool> {
    let has_text = || later.iter().any(|turn| turn.place.0 == number);
    Ok(row.get::<bool>(6)? && !has_text())
}

/// Selects those of some messages that may be turns and have places before the last parameter, newest first.
pub(crate) const TURNS: &str = "
    SELECT m.number, m.role, m.content, m.reply_to, u.oid, u.name,
        EXISTS (SELECT 1 FROM answers a WHERE a.asked = m.number)
            AND NOT EXISTS (SELECT 1 FROM answer_jobs j WHERE j.message = m.number)
    FROM messages m CROSS JOIN users u ON u.key = m.sender
    WHERE m.number IN (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
        ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31)
        AND coalesce(m.reply_to, m.number) < ?32 AND m.published_by IS NOT NULL AND m.status <> 5
    ORDER BY m.number DESC";
/// Selects the `system` messages among some messages, newest first.
pub(crate) const SYSTEM_TEXTS: &str = "
    SELECT content FROM messages
    WHERE number IN (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
        ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)
        AND role = 2 AND published_by IS NOT NULL
    ORDER BY number DESC";
pub(crate) const METADATA: &str = "SELECT metadata FROM conversations WHERE number = ?1";

//! Orders to answer a message, and the rows of their answers.
//!
//! Invariant: an order is a row from its message's own commit until it is closed; a message streams exactly as long as
//! the order that it answers is open, and while it does, no event has published it.

use crate::base::limits::{HISTORY_BYTES_MAX, HISTORY_ROWS_EXAMINED_MAX, LIST_BYTES_MAX};
use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, JobId, Turn};
use crate::domain::id::{ConversationId, EventNumber, IdKey, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Content, Message};
use crate::domain::responder::ResponderKind;
use crate::store::sqlite::schema::{number, sql};
use crate::store::sqlite::tables::messages;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

/// The responders of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Responders {
    /// The responder of conversations that choose none.
    pub default: ResponderKind,
    /// What a conversation may choose. [`ResponderKind::None`] may always be chosen.
    pub allowed: Vec<ResponderKind>,
}

impl Responders {
    /// The responder of a conversation that chose the name `chosen`. A name that is not allowed counts as no choice.
    pub(crate) fn answering(&self, chosen: Option<&str>) -> Option<ResponderKind> {
        let kind = chosen.and_then(|name| self.chosen(name)).unwrap_or(self.default);
        Some(kind).filter(|kind| *kind != ResponderKind::None)
    }

    /// The responder with this name, if a conversation may choose it.
    pub(crate) fn chosen(&self, name: &str) -> Option<ResponderKind> {
        ResponderKind::parse(name).filter(|kind| *kind == ResponderKind::None || self.allowed.contains(kind))
    }

    /// The error message for a choice that is not allowed.
    pub(crate) fn rule(&self) -> String {
        let kinds = self.allowed.iter().copied().filter(|kind| *kind != ResponderKind::None);
        let names: Vec<&str> = kinds.chain([ResponderKind::None]).map(ResponderKind::as_str).collect();
        format!("responder must be one of {}", names.join(", "))
    }
}

/// An open order, as a step of its answer needs it.
pub(crate) struct Open {
    pub key: JobId,
    pub conversation: EventNumber,
    /// When the message to answer was made.
    pub asked_at: WallTime,
    pub correlation_id: Arc<str>,
    pub responder: ResponderKind,
    /// The answer's message, once it was begun.
    pub answer: Option<EventNumber>,
}

pub(crate) fn insert(db: &Connection, message: EventNumber, responder: ResponderKind) -> rusqlite::Result<()> {
    db.prepare_cached(INSERT)?.execute(params![sql(message), responder.as_str()]).map(drop)
}

/// The order, unless it is closed or what it is about is deleted.
pub(crate) fn find(db: &Connection, key: JobId) -> rusqlite::Result<Option<Open>> {
    db.prepare_cached(FIND)?
        .query_row([sql(key.0)], |row| {
            Ok(Open {
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

/// Closes an order, if it is open.
pub(crate) fn close(db: &Connection, key: JobId) -> rusqlite::Result<()> {
    db.prepare_cached(CLOSE)?.execute([sql(key.0)]).map(drop)
}

/// Closes the orders to answer messages of a conversation through number `last`, which are about to be removed.
pub(crate) fn close_all(db: &Connection, conversation: i64, last: i64) -> rusqlite::Result<()> {
    db.prepare_cached(CLOSE_ALL)?.execute([conversation, last]).map(drop)
}

/// The length of an answer's text so far, in bytes, and when the answer was begun.
pub(crate) fn answer_so_far(db: &Connection, answer: EventNumber) -> rusqlite::Result<(usize, WallTime)> {
    db.prepare_cached(ANSWER_SO_FAR)?
        .query_row([sql(answer)], |row| Ok((row.get::<_, i64>(0)? as usize, WallTime(row.get(1)?))))
}

/// Adds text to an answer.
pub(crate) fn append(db: &Connection, answer: EventNumber, text: &str, at: WallTime) -> rusqlite::Result<()> {
    db.prepare_cached(APPEND)?.execute(params![sql(answer), text, at.0]).map(drop)
}

/// Stores the last state of an answer, which event `published_by` publishes.
pub(crate) fn finish_answer(
    db: &Connection,
    answer: EventNumber,
    message: &Message,
    published_by: EventNumber,
) -> rusqlite::Result<()> {
    db.prepare_cached(FINISH_ANSWER)?
        .execute(params![
            sql(answer),
            message.content.as_str(),
            message.metadata.as_str(),
            messages::status_code(message.status),
            message.updated_at.0,
            sql(published_by),
        ])
        .map(drop)
}

/// The event that published a message which is no entry of the journal itself.
pub(crate) fn publication(db: &Connection, message: EventNumber) -> rusqlite::Result<Option<EventNumber>> {
    db.prepare_cached(PUBLICATION)?.query_row([sql(message)], |row| row.get(0).map(number)).optional()
}

/// Open orders after `after`, oldest first: at most `limit`, and fewer if they are large, but at least one if there is one.
pub(crate) fn open_after(db: &Connection, ids: &IdKey, after: JobId, limit: u32) -> rusqlite::Result<Vec<AnswerJob>> {
    let mut statement = db.prepare_cached(OPEN_AFTER)?;
    let mut rows = statement.query(params![sql(after.0), limit])?;
    let (mut jobs, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let uuid =
            |column| -> rusqlite::Result<_> { Ok(ids.uuid(number(row.get(column)?), WallTime(row.get(column + 1)?))) };
        let started = row.get::<_, Option<i64>>(10)?.is_some();
        let order = AnswerJob {
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
        bytes += order.content.as_str().len();
        if bytes > LIST_BYTES_MAX && !jobs.is_empty() {
            break;
        }
        jobs.push(order);
    }
    Ok(jobs)
}

/// What was said in a conversation before a message is answered, oldest first, the message to answer last: at most `limit`
/// turns, and fewer if they are large. Each answer stands behind what it answers, also one that came only after the next
/// question. `None` if the order is closed.
pub(crate) fn history(db: &Connection, key: JobId, limit: u32) -> rusqlite::Result<Option<Vec<Turn>>> {
    let Some(order) = find(db, key)? else { return Ok(None) };
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

/// The kind of responder that a column names.
pub(crate) fn responder_of(row: &Row<'_>, column: usize) -> rusqlite::Result<ResponderKind> {
    let name = row.get_ref(column)?.as_str()?;
    ResponderKind::parse(name).ok_or_else(|| rusqlite::Error::InvalidColumnType(column, name.into(), Type::Text))
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
        said.push(Said { place, turn: Turn { role: messages::decode(row, 1, messages::role_of)?, text } });
    }
    Ok(())
}

pub(crate) const INSERT: &str = "INSERT INTO orders (message, responder) VALUES (?1, ?2)";
pub(crate) const FIND: &str = "
    SELECT c.number, m.created_at, m.correlation_id, o.responder, o.answer
    FROM orders o
    CROSS JOIN messages m ON m.number = o.message
    CROSS JOIN conversations c ON c.number = m.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    WHERE o.message = ?1";
pub(crate) const SET_ANSWER: &str = "UPDATE orders SET answer = ?2 WHERE message = ?1";
pub(crate) const CLOSE: &str = "DELETE FROM orders WHERE message = ?1";
pub(crate) const CLOSE_ALL: &str = "DELETE FROM orders WHERE message IN \
     (SELECT number FROM messages WHERE conversation = ?1 AND number <= ?2)";
pub(crate) const ANSWER_SO_FAR: &str = "SELECT octet_length(content), created_at FROM messages WHERE number = ?1";
pub(crate) const APPEND: &str = "UPDATE messages SET content = content || ?2, updated_at = ?3 WHERE number = ?1";
pub(crate) const FINISH_ANSWER: &str = "
    UPDATE messages SET content = ?2, metadata = ?3, status = ?4, updated_at = ?5, published_by = ?6 WHERE number = ?1";
pub(crate) const PUBLICATION: &str = "SELECT published_by FROM messages WHERE number = ?1 AND published_by > 0";
pub(crate) const OPEN_AFTER: &str = "
    SELECT o.message, m.created_at, c.number, c.created_at, w.number, w.created_at, u.oid, o.responder,
        m.correlation_id, m.content, a.number, a.created_at
    FROM orders o
    CROSS JOIN messages m ON m.number = o.message
    CROSS JOIN conversations c ON c.number = m.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    CROSS JOIN users u ON u.key = m.sender
    LEFT JOIN messages a ON a.number = o.answer
    WHERE o.message > ?1 ORDER BY o.message LIMIT ?2";
pub(crate) const HISTORY: &str = "
    SELECT number, role, content, reply_to FROM messages
    WHERE conversation = ?1 AND number <= ?2 AND published_by IS NOT NULL ORDER BY number DESC LIMIT ?3";
/// Answers to earlier messages that came after the message itself, among the last messages of the conversation.
pub(crate) const LATE_ANSWERS: &str = "
    SELECT number, role, content, reply_to FROM messages
    WHERE number IN (
        SELECT number FROM messages WHERE conversation = ?1 AND number > ?2 ORDER BY number DESC LIMIT ?3)
    AND reply_to < ?2 AND published_by IS NOT NULL ORDER BY number DESC";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_chooses_among_those_allowed() {
        use ResponderKind::{Echo, None as Off, OpenAi};
        let responders = |default, allowed: &[ResponderKind]| Responders { default, allowed: allowed.to_vec() };
        let both = responders(Echo, &[Echo, OpenAi]);
        let only = responders(Off, &[OpenAi]);
        let off = responders(Off, &[]);
        let table = [
            (&both, None, Some("echo")),
            (&both, Some("openai"), Some("openai")),
            (&both, Some("none"), None),
            (&both, Some("parrot"), Some("echo")),
            (&only, None, None),
            (&only, Some("openai"), Some("openai")),
            (&only, Some("echo"), None),
            (&off, None, None),
            (&off, Some("echo"), None),
        ];
        for (responders, chosen, expected) in table {
            assert_eq!(responders.answering(chosen).map(ResponderKind::as_str), expected, "{responders:?} {chosen:?}");
        }
        let may_be = |responders: &Responders, name| responders.chosen(name).is_some();
        assert!(may_be(&both, "none") && may_be(&both, "openai") && !may_be(&both, "") && !may_be(&only, "echo"));
        assert_eq!(both.rule(), "responder must be one of echo, openai, none");
        assert_eq!(off.rule(), "responder must be one of none");
    }
}

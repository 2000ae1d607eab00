//! Inboxes: the numbers of the messages that were sent to each user, in chunks. With them, the cost of a journal page does not
//! depend on the number of the user's conversations.
//!
//! Invariant: a user's chunks contain every message through `InboxWatermark::complete_for` that the user may see, each once and
//! in order, and no number beyond. They may also contain numbers of messages that are deleted or that the user may no longer
//! see.

use crate::domain::id::EventNumber;
use crate::store::rules::records::InboxWatermark;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};

pub(crate) fn load_watermark(db: &SqlConnection) -> SqlResult<InboxWatermark> {
    db.prepare_cached(WATERMARK)?.query_row([], |row| {
        Ok(InboxWatermark {
            flushed_through: number(row.get(0)?),
            flushing_through: number(row.get(1)?),
            users_below: row.get(2)?,
        })
    })
}

pub(crate) fn store_watermark(db: &SqlConnection, watermark: &InboxWatermark) -> SqlResult<()> {
    db.prepare_cached(SET_WATERMARK)?.run([
        sql(watermark.flushed_through),
        sql(watermark.flushing_through),
        watermark.users_below,
    ])
}

/// Ascending message numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InboxChunk {
    pub first: EventNumber,
    pub last: EventNumber,
    /// The difference of each number but the first from its predecessor, in LEB128.
    pub deltas: Vec<u8>,
}

impl InboxChunk {
    fn new(first: EventNumber) -> InboxChunk {
        InboxChunk { first, last: first, deltas: Vec::new() }
    }

    fn push(&mut self, number: EventNumber) {
        assert!(number > self.last, "numbers are appended in ascending order");
        let mut delta = number.0 - self.last.0;
        while delta >= 0x80 {
            self.deltas.push(delta as u8 | 0x80);
            delta >>= 7;
        }
        self.deltas.push(delta as u8);
        self.last = number;
    }

    /// The numbers of the chunk, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = EventNumber> + '_ {
        let mut bytes = self.deltas.iter();
        let (mut next, mut ended) = (self.first, false);
        std::iter::from_fn(move || {
            let current = (!ended).then_some(next)?;
            let (mut delta, mut shift) = (0, 0);
            ended = true;
            for byte in bytes.by_ref() {
                delta |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    ended = false;
                    break;
                }
            }
            next = EventNumber(current.0 + delta);
            Some(current)
        })
    }
}

/// Appends numbers to a user's inbox. All of them must be greater than the numbers in it. The newest chunk of each user grows
/// in the table `inbox_open`, in which the chunks of many users share a page. Full chunks in `inbox` are never written again.
pub(crate) fn append(db: &SqlConnection, user: i64, numbers: &[EventNumber], chunk_bytes_max: usize) -> SqlResult<()> {
    let mut open = db.prepare_cached(OPEN_CHUNK)?.query_row([user], read).optional()?;
    for number in numbers {
        match &mut open {
            Some(chunk) if chunk.deltas.len() < chunk_bytes_max => chunk.push(*number),
            _ => {
                if let Some(full) = open.replace(InboxChunk::new(*number)) {
                    write(db, INSERT_CHUNK, user, &full)?;
                }
            }
        }
    }
    open.map_or(Ok(()), |open| write(db, SET_OPEN_CHUNK, user, &open))
}

fn write(db: &SqlConnection, statement: &str, user: i64, chunk: &InboxChunk) -> SqlResult<()> {
    db.prepare_cached(statement)?.run(params![user, sql(chunk.first), sql(chunk.last), chunk.deltas])
}

/// The chunk that contains the first number of a user after `after`.
pub(crate) fn chunk_after(db: &SqlConnection, user: i64, after: EventNumber) -> SqlResult<Option<InboxChunk>> {
    let open = db.prepare_cached(OPEN_CHUNK)?.query_row([user], read).optional()?;
    let Some(open) = open.filter(|open| open.last > after) else { return Ok(None) };
    if open.first <= after {
        return Ok(Some(open));
    }
    let containing = db.prepare_cached(CHUNK_CONTAINING)?.query_row([user, sql(after)], read).optional()?;
    let full = match containing.filter(|chunk| chunk.last > after) {
        Some(chunk) => Some(chunk),
        None => db.prepare_cached(CHUNK_AFTER)?.query_row([user, sql(after)], read).optional()?,
    };
    Ok(full.or(Some(open)))
}

/// Reads the columns `first, last, deltas`.
pub(crate) fn read(row: Row<'_>) -> SqlResult<InboxChunk> {
    Ok(InboxChunk { first: number(row.get(0)?), last: number(row.get(1)?), deltas: row.get(2)? })
}

pub(crate) const WATERMARK: &str =
    "SELECT flushed_through, flushing_through, users_below FROM inbox_watermark WHERE id = 1";
pub(crate) const SET_WATERMARK: &str =
    "UPDATE inbox_watermark SET flushed_through = ?1, flushing_through = ?2, users_below = ?3 WHERE id = 1";
pub(crate) const OPEN_CHUNK: &str = "SELECT first, last, deltas FROM inbox_open WHERE user = ?1";
pub(crate) const SET_OPEN_CHUNK: &str = "
    INSERT INTO inbox_open (user, first, last, deltas) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (user) DO UPDATE SET first = excluded.first, last = excluded.last, deltas = excluded.deltas";
pub(crate) const CHUNK_CONTAINING: &str =
    "SELECT first, last, deltas FROM inbox WHERE user = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1";
pub(crate) const CHUNK_AFTER: &str =
    "SELECT first, last, deltas FROM inbox WHERE user = ?1 AND first > ?2 ORDER BY first LIMIT 1";
pub(crate) const INSERT_CHUNK: &str = "INSERT INTO inbox (user, first, last, deltas) VALUES (?1, ?2, ?3, ?4)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn a_chunk_returns_its_numbers() {
        let mut random = Random::new(3);
        for round in 0..200 {
            let mut numbers = vec![EventNumber(random.below(1 << 40))];
            for _ in 0..random.below(300) {
                let bits = 1 + random.below(40);
                let delta = 1 + random.below(1 << bits);
                numbers.push(EventNumber(numbers[numbers.len() - 1].0 + delta));
            }
            let mut chunk = InboxChunk::new(numbers[0]);
            numbers[1..].iter().for_each(|number| chunk.push(*number));
            assert_eq!(chunk.numbers().collect::<Vec<_>>(), numbers, "round {round}");
            assert_eq!((chunk.first, chunk.last), (numbers[0], numbers[numbers.len() - 1]));
        }
    }
}

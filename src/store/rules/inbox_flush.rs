//! Puts the newest messages into their recipients' inboxes, some thousands at a time and in short steps, each of which
//! rides in a transaction that is there anyway.
//!
//! A flush first gathers, for each user, the numbers of the messages since the last one, and then writes to one inbox
//! after the other. What was gathered is in memory only: it follows from the messages and the marker, so after a crash,
//! or a transaction that failed, it is gathered again. Recipients are who takes part by then: whoever may still see a
//! message when it is replayed has taken part without a break since before it was sent.
//!
//! Invariant: between transactions, what is gathered and not written is what the inboxes lack through the flush's end.

use crate::domain::id::EventNumber;
use crate::store::InboxLimits;
use crate::store::rules::transaction::{Batch, Clock};
use crate::store::sqlite::schema::{number, sql};
use crate::store::sqlite::tables::inbox::{self, Marker};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// What the writer knows of the inboxes.
#[derive(Debug)]
pub(crate) struct Inboxes {
    limits: InboxLimits,
    /// As stored; `None` until it is read.
    marker: Option<Marker>,
    flush: Option<Flush>,
}

/// A flush that goes on.
#[derive(Debug)]
struct Flush {
    through: EventNumber,
    gathered_through: EventNumber,
    /// For each user who is still to get them, numbers.
    gathered: BTreeMap<i64, Vec<EventNumber>>,
    entries: usize,
}

impl Inboxes {
    pub(crate) fn new(limits: InboxLimits) -> Inboxes {
        Inboxes { limits, marker: None, flush: None }
    }

    /// Forgets what may not be so on disk.
    pub(crate) fn clear(&mut self) {
        self.marker = None;
        self.flush = None;
    }

    /// Whether a step has something to do, as far as that is known without a look at the database.
    pub(crate) fn is_due(&self, clock: Clock) -> bool {
        match (&self.flush, &self.marker) {
            (Some(_), _) => true,
            (None, Some(marker)) => marker.is_flushing() || self.is_long(marker, clock.number),
            (None, None) => true,
        }
    }

    /// Asserts that what is in memory fits what is stored.
    pub(crate) fn check_invariants(&self, stored: &Marker) {
        assert!(self.marker.is_none_or(|marker| marker == *stored), "{self:?} with {stored:?}");
        if let Some(flush) = &self.flush {
            assert!(!stored.is_flushing() || stored.flushing_through == flush.through, "{self:?} with {stored:?}");
            assert!(flush.gathered.keys().all(|user| *user >= stored.users_below), "{self:?} with {stored:?}");
        }
    }

    fn is_long(&self, marker: &Marker, newest: EventNumber) -> bool {
        newest.0 - marker.flushed_through.0 >= self.limits.flush_numbers
    }

    fn marker(&mut self, db: &Connection) -> rusqlite::Result<Marker> {
        let marker = match self.marker {
            Some(marker) => marker,
            None => Marker::load(db)?,
        };
        self.marker = Some(marker);
        Ok(marker)
    }
}

impl Batch<'_> {
    /// A short step of a flush, if one goes on or is due; whether the database was changed.
    pub(crate) fn step_inboxes(&mut self) -> rusqlite::Result<bool> {
        let marker = self.memory.inboxes.marker(self.db)?;
        let inboxes = &mut self.memory.inboxes;
        let mut flush = match inboxes.flush.take() {
            Some(flush) => flush,
            None if marker.is_flushing() => Flush::new(marker.flushed_through, marker.flushing_through),
            None if inboxes.is_long(&marker, self.clock.number) => {
                Flush::new(marker.flushed_through, self.clock.number)
            }
            None => return Ok(false),
        };
        if flush.gathered_through < flush.through {
            self.gather(&mut flush, &marker)?;
            self.memory.inboxes.flush = Some(flush);
            return Ok(false);
        }
        let users_max = self.memory.inboxes.limits.step_users_max.max(self.events.len());
        let users_below = self.write_gathered(&mut flush, users_max)?;
        let flushing_through = flush.through;
        let marker = if flush.gathered.is_empty() {
            Marker { flushed_through: flushing_through, flushing_through, users_below: 0 }
        } else {
            self.memory.inboxes.flush = Some(flush);
            Marker { flushed_through: marker.flushed_through, flushing_through, users_below }
        };
        marker.store(self.db)?;
        self.memory.inboxes.marker = Some(marker);
        Ok(true)
    }

    fn gather(&mut self, flush: &mut Flush, marker: &Marker) -> rusqlite::Result<()> {
        let limits = self.memory.inboxes.limits;
        let db = self.db;
        let mut statement = db.prepare_cached(GATHER)?;
        let rows_max = limits.step_messages_max;
        let mut rows = statement.query([sql(flush.gathered_through), sql(flush.through), rows_max as i64])?;
        let mut rows_seen = 0;
        while let Some(row) = rows.next()? {
            let (message, conversation) = (number(row.get(0)?), number(row.get(1)?));
            rows_seen += 1;
            flush.gathered_through = message;
            let room = match self.memory.rooms.peek(&conversation) {
                Some(room) => Some(room),
                None => self.room_at(conversation)?,
            };
            // What was deleted since is sent to nobody.
            let Some(room) = room else { continue };
            for user in room.recipient_keys.iter().filter(|user| **user >= marker.users_below) {
                flush.gathered.entry(*user).or_default().push(message);
                flush.entries += 1;
            }
            // The end of a flush that has begun to write stands on disk.
            if flush.entries >= limits.flush_entries_max && !marker.is_flushing() {
                flush.through = message;
                return Ok(());
            }
        }
        if rows_seen < rows_max {
            flush.gathered_through = flush.through;
        }
        Ok(())
    }

    /// Writes to the next inboxes; the key below which all users have their numbers.
    fn write_gathered(&mut self, flush: &mut Flush, users_max: usize) -> rusqlite::Result<i64> {
        let chunk_bytes_max = self.memory.inboxes.limits.chunk_bytes_max;
        let mut users_below = 0;
        for _ in 0..users_max {
            let Some((user, numbers)) = flush.gathered.pop_first() else { break };
            inbox::append(self.db, user, &numbers, chunk_bytes_max)?;
            users_below = user + 1;
        }
        Ok(users_below)
    }
}

impl Flush {
    fn new(after: EventNumber, through: EventNumber) -> Flush {
        Flush { through, gathered_through: after, gathered: BTreeMap::new(), entries: 0 }
    }
}

pub(crate) const GATHER: &str =
    "SELECT number, conversation FROM messages WHERE number > ?1 AND number <= ?2 ORDER BY number LIMIT ?3";

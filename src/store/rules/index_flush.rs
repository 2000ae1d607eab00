//! Adds the newest messages to the index by conversation: some thousands at a time, in the order of their conversations, in short
//! steps that share transactions with commands.
//!
//! The gathered messages are in memory only. After a crash or a failed transaction they are gathered again, and those that are in
//! the index already are passed over.

use crate::domain::id::EventNumber;
use crate::store::config::FlushLimits;
use crate::store::rules::rows::{RowResult, Rows};
use std::collections::BTreeMap;

/// The state of the index between transactions.
#[derive(Debug)]
pub(crate) struct IndexFlusher {
    limits: FlushLimits,
    /// The stored number; `None` until it is read.
    indexed_through: Option<EventNumber>,
    /// The bytes of the messages that were inserted since a flush began.
    bytes: usize,
    flush: Option<IndexFlush>,
}

/// A flush that has begun.
#[derive(Debug)]
struct IndexFlush {
    /// The number of the last message to add.
    through: EventNumber,
    gathered_through: EventNumber,
    /// By conversation, the messages to add that are gathered.
    gathered: BTreeMap<EventNumber, Vec<EventNumber>>,
    /// How many messages were gathered.
    entries: u64,
}

impl IndexFlusher {
    pub(crate) fn new(limits: FlushLimits) -> IndexFlusher {
        IndexFlusher { limits, indexed_through: None, bytes: 0, flush: None }
    }

    /// Drops the state that may differ from the rows.
    pub(crate) fn clear(&mut self) {
        self.indexed_through = None;
        self.flush = None;
    }

    /// The number through which the index has all messages, as far as known, and at most `newest`.
    pub(crate) fn indexed_through(&self, newest: EventNumber) -> EventNumber {
        self.indexed_through.map_or(EventNumber(0), |through| through.min(newest))
    }

    /// Counts a message that the index lacks.
    pub(crate) fn message_inserted(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Drops a message that is deleted.
    pub(crate) fn message_deleted(&mut self, conversation: EventNumber, message: EventNumber) {
        let gathered = self.flush.as_mut().and_then(|flush| flush.gathered.get_mut(&conversation));
        if let Some(gathered) = gathered {
            gathered.retain(|number| *number != message);
        }
    }

    /// Whether a step may have work to do. Reads no row.
    pub(crate) fn is_due(&self, newest: EventNumber) -> bool {
        let is_due_after = |through: EventNumber| {
            let lacking = newest.0.saturating_sub(through.0);
            lacking >= self.limits.index_flush_numbers || (lacking > 0 && self.bytes >= self.limits.index_flush_bytes)
        };
        self.flush.is_some() || self.indexed_through.is_none_or(is_due_after)
    }

    /// Runs a short step of the flush that has begun or is due, if any. A flush is also due if the index lacks messages through
    /// `required`. `messages_min` raises the number of messages that the step may add, so that the flush keeps up with the commands.
    pub(crate) fn step(
        &mut self,
        rows: &impl Rows,
        newest: EventNumber,
        required: EventNumber,
        messages_min: usize,
    ) -> RowResult<()> {
        let indexed_through = match self.indexed_through {
            Some(through) => through,
            None => rows.indexed_through()?,
        };
        self.indexed_through = Some(indexed_through);
        if !self.is_due(newest) && required <= indexed_through {
            return Ok(());
        }
        let mut flush = match self.flush.take() {
            Some(flush) => flush,
            None => {
                self.bytes = 0;
                IndexFlush { through: newest, gathered_through: indexed_through, gathered: BTreeMap::new(), entries: 0 }
            }
        };
        let messages_max = self.limits.step_indexed_max.max(2 * messages_min);
        if flush.gathered_through < flush.through {
            // To read a message costs less than to add it.
            flush.gather(rows, 8 * messages_max, self.limits.index_flush_numbers)?;
        }
        let is_gathered = flush.gathered_through == flush.through;
        if is_gathered {
            flush.write(rows, messages_max)?;
        }
        if is_gathered && flush.gathered.is_empty() {
            rows.set_indexed_through(flush.through)?;
            self.indexed_through = Some(flush.through);
        } else {
            self.flush = Some(flush);
        }
        Ok(())
    }

    /// Asserts that the state in memory fits the stored number.
    pub(crate) fn check_invariants(&self, stored: EventNumber) {
        assert!(self.indexed_through.is_none_or(|through| through == stored), "{self:?} with {stored:?}");
        if let Some(flush) = &self.flush {
            assert!(flush.through > stored && flush.gathered_through <= flush.through, "{self:?} with {stored:?}");
        }
    }
}

impl IndexFlush {
    /// Gathers the next messages, at most `messages_max`. Once there are `enough`, the flush has no more.
    fn gather(&mut self, rows: &impl Rows, messages_max: usize, enough: u64) -> RowResult<()> {
        let messages = rows.message_numbers(self.gathered_through, self.through, messages_max)?;
        for (message, conversation) in &messages {
            self.gathered.entry(*conversation).or_default().push(*message);
            self.entries += 1;
            self.gathered_through = *message;
        }
        if messages.len() < messages_max {
            self.gathered_through = self.through;
        } else if self.entries >= enough {
            self.through = self.gathered_through;
        }
        Ok(())
    }
    /// Adds the next messages to the index, at most `messages_max`.
    fn write(&mut self, rows: &impl Rows, messages_max: usize) -> RowResult<()> {
        let mut left = messages_max;
        while left > 0
            && let Some((conversation, mut messages)) = self.gathered.pop_first()
        {
            let rest = messages.split_off(messages.len().min(left));
            left -= messages.len();
            for message in messages {
                rows.index_message(conversation, message)?;
            }
            if !rest.is_empty() {
                self.gathered.insert(conversation, rest);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of a server lacks nothing.
    #[test]
    fn bytes_of_messages_that_the_index_has_begin_no_flush() {
        let mut index = IndexFlusher::new(FlushLimits::default());
        index.message_inserted(usize::MAX);
        for (through, is_due) in [(7, true), (8, false), (i64::MAX as u64, false)] {
            index.indexed_through = Some(EventNumber(through));
            assert_eq!(index.is_due(EventNumber(8)), is_due, "{through}");
        }
    }
}

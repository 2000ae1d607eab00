//! The conversations of the newest messages, as far as a connection has read them: those that the index by conversation may lack
//! (see [`crate::store::tables::conversation_index`]).
//!
//! Invariant: outside a transaction, and at its beginning, they are what committed transactions have written.

use std::cell::RefCell;
use std::collections::HashMap;

/// The newest messages that a connection has read.
#[derive(Debug, Default)]
pub(crate) struct NewestMessages {
    read: RefCell<ReadMessages>,
}

#[derive(Debug, Default)]
struct ReadMessages {
    /// In ascending order of numbers.
    messages: Vec<NewestMessage>,
    /// By conversation, the place of its last message in `messages`.
    last_of: HashMap<i64, usize>,
    /// The number through which messages were read or are indexed.
    through: i64,
    /// Whether some were read in a transaction that has not committed.
    is_uncommitted: bool,
}

#[derive(Debug)]
struct NewestMessage {
    number: i64,
    conversation: i64,
    /// The place of the message before in the same conversation.
    previous: Option<u32>,
}

impl NewestMessages {
    /// Drops what was read in a transaction that has not committed. Call it when a transaction begins.
    pub(super) fn begin(&self) {
        let mut read = self.read.borrow_mut();
        if read.is_uncommitted {
            *read = ReadMessages::default();
        }
    }

    /// Keeps what was read in the transaction that has committed.
    pub(super) fn commit(&self) {
        self.read.borrow_mut().is_uncommitted = false;
    }

    /// Drops messages through a number. Returns the number after which messages have not been read.
    pub(crate) fn drop_through(&self, number: i64) -> i64 {
        let mut read = self.read.borrow_mut();
        if read.messages.first().is_some_and(|first| first.number <= number) {
            let kept = read.messages.partition_point(|message| message.number <= number);
            let messages = std::mem::take(&mut read.messages);
            read.last_of.clear();
            messages[kept..].iter().for_each(|message| read.push(message.number, message.conversation));
        }
        read.is_uncommitted |= number > read.through;
        read.through = read.through.max(number);
        read.through
    }

    /// Adds a message that was read. Its number must be greater than those of all others.
    pub(crate) fn push(&self, number: i64, conversation: i64) {
        let mut read = self.read.borrow_mut();
        read.is_uncommitted = true;
        read.push(number, conversation);
    }

    /// Calls `each` with the numbers less than `below` of a conversation's messages, newest first, until it returns false.
    pub(crate) fn of_conversation(&self, conversation: i64, below: i64, mut each: impl FnMut(i64) -> bool) {
        let read = self.read.borrow();
        if read.messages.first().is_none_or(|first| first.number >= below) {
            return;
        }
        let mut next = read.last_of.get(&conversation).copied();
        while let Some(place) = next {
            let message = &read.messages[place];
            if message.number < below && !each(message.number) {
                return;
            }
            next = message.previous.map(|place| place as usize);
        }
    }
}

impl ReadMessages {
    fn push(&mut self, number: i64, conversation: i64) {
        assert!(self.messages.last().is_none_or(|last| last.number < number), "messages are read in order");
        let previous = self.last_of.insert(conversation, self.messages.len()).map(|place| place as u32);
        self.messages.push(NewestMessage { number, conversation, previous });
        self.through = self.through.max(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(newest: &NewestMessages, conversation: i64) -> Vec<i64> {
        let mut numbers = Vec::new();
        newest.of_conversation(conversation, i64::MAX, |number| {
            numbers.push(number);
            true
        });
        numbers
    }

    #[test]
    fn each_conversation_has_its_messages_newest_first() {
        let newest = NewestMessages::default();
        (1..=9).for_each(|number| newest.push(number * 2, number % 3));
        assert_eq!(numbers(&newest, 0), [18, 12, 6]);
        assert_eq!(numbers(&newest, 1), [14, 8, 2]);
        assert!(numbers(&newest, 5).is_empty());
        assert_eq!(newest.drop_through(7), 18);
        assert_eq!((numbers(&newest, 0), numbers(&newest, 1)), (vec![18, 12], vec![14, 8]));
        assert_eq!(newest.drop_through(30), 30);
        assert!(numbers(&newest, 0).is_empty());
        assert_eq!(newest.drop_through(4), 30);
    }

    #[test]
    fn what_is_not_committed_is_read_again() {
        let newest = NewestMessages::default();
        newest.push(1, 7);
        newest.commit();
        newest.begin();
        assert_eq!(numbers(&newest, 7), [1]);
        newest.push(2, 7);
        newest.begin();
        assert!(numbers(&newest, 7).is_empty());
        assert_eq!(newest.drop_through(0), 0);
        newest.drop_through(2);
        newest.begin();
        assert_eq!(newest.drop_through(0), 0, "nor is it what the index has");
    }
}

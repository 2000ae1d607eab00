//! The threads beside the event loops: the writer, the readers, and the password thread, with the bounded queues that lead
//! to them.
//!
//! Invariant: every item taken from a queue gets a response, also when handling it panics.

mod passwords;
mod reader;
mod writer;

pub(super) use passwords::check_passwords;
pub(super) use reader::read;
pub(super) use writer::write;

use super::queue::Queue;
use super::responders::ResponderPort;
use crate::base::limits::*;
use crate::base::metrics;
use crate::domain::command::{Command, ReplyTo};
use crate::domain::password::PasswordJob;
use crate::domain::query::Query;
use crate::domain::work::Work;
use std::sync::Arc;

/// The queues that lead to the other threads.
#[derive(Clone)]
pub(crate) struct Workers {
    /// Commands for the writer.
    pub writer: Arc<Queue<Command>>,
    /// Queries for the readers.
    pub readers: Arc<Queue<Query>>,
    /// Jobs for the password thread.
    pub passwords: Arc<Queue<PasswordJob>>,
    /// The responders.
    pub responders: Arc<ResponderPort>,
}

impl Workers {
    /// Empty queues.
    #[allow(clippy::new_without_default)]
    pub(crate) fn new() -> Workers {
        Workers {
            writer: Arc::new(Queue::new(WRITER_QUEUE_MAX, WRITER_QUEUE_BYTES_MAX, &metrics::WRITER_QUEUE)),
            readers: Arc::new(Queue::new(READER_QUEUE_MAX, usize::MAX, &metrics::READER_QUEUE)),
            passwords: Arc::new(Queue::new(PASSWORD_QUEUE_MAX, usize::MAX, &metrics::PASSWORD_QUEUE)),
            responders: Arc::default(),
        }
    }

    /// Enqueues work for its worker. The writer starts on a command only after [`Workers::wake_writer`], so that the commands
    /// of one turn of an event loop share a transaction.
    ///
    /// # Errors
    /// Returns the recipient of the response if the queue is full.
    pub(crate) fn submit(&self, work: Work) -> Result<(), ReplyTo> {
        match work {
            Work::Command(command) => self.submit_command(command),
            Work::Query(query) => self.ask(query),
            Work::Password(job) => self.passwords.push(job, 1).map_err(|job| job.reply_to),
            Work::CancelAnswer { reply_to: to, conversation_id } => self.responders.cancel(to, conversation_id),
        }
    }

    /// Wakes the writer for the commands submitted since the last call.
    pub(crate) fn wake_writer(&self) {
        self.writer.wake();
    }

    /// Enqueues a query.
    ///
    /// # Errors
    /// As [`Workers::submit`].
    pub(crate) fn ask(&self, query: Query) -> Result<(), ReplyTo> {
        self.readers.push(query, 1).map_err(|query| query.reply_to)
    }

    /// Enqueues one command and wakes the writer at once.
    ///
    /// # Errors
    /// As [`Workers::submit`].
    pub(crate) fn submit_now(&self, command: Command) -> Result<(), ReplyTo> {
        self.submit_command(command)?;
        self.wake_writer();
        Ok(())
    }

    /// Closes the queues. What they hold is still handled.
    pub(crate) fn close(&self) {
        self.readers.close();
        self.passwords.close();
        self.writer.close();
    }

    fn submit_command(&self, command: Command) -> Result<(), ReplyTo> {
        let weight = command.weight();
        self.writer.push_without_wake(command, weight).map_err(|command| command.reply_to)
    }
}

//! The threads beside the event loops: the writer, the readers, and the password thread, with the bounded queues that lead
//! to them.
//!
//! Invariant: every item taken from a queue gets a response, also when handling it panics.

#[cfg(feature = "cluster")]
mod follower;
mod passwords;
#[cfg(feature = "cluster")]
mod publisher;
mod reader;
#[cfg(feature = "cluster")]
mod subscriber;
mod writer;

#[cfg(feature = "cluster")]
pub(super) use follower::follow;
pub(super) use passwords::check_passwords;
#[cfg(feature = "cluster")]
pub(super) use publisher::publish;
pub(super) use reader::read;
#[cfg(feature = "cluster")]
pub(super) use subscriber::receive;
pub(super) use writer::write;

use super::queue::Queue;
use super::replies::Replies;
use crate::base::limits::*;
use crate::base::memory_plan::MemoryPlan;
use crate::base::metrics;
use crate::domain::command::Command;
use crate::domain::holder::Holder;
use crate::domain::password::PasswordJob;
use crate::domain::query::Query;
use crate::domain::work::Work;
use crate::store::PendingQuery;
use std::sync::Arc;

/// The queues that lead to the other threads, and the way back.
///
/// Work that a full queue displaces gets its reply as any other: that it was dropped.
#[derive(Clone)]
pub(crate) struct Workers {
    /// Commands for the writer.
    pub writer: Arc<Queue<Holder, Command>>,
    /// Queries for the readers.
    pub readers: Arc<Queue<Holder, PendingQuery>>,
    /// Jobs for the password thread.
    pub passwords: Arc<Queue<Holder, PasswordJob>>,
    /// The receivers of replies.
    pub replies: Replies,
    /// The budgets of memory.
    pub memory: MemoryPlan,
}

impl Workers {
    /// Empty queues.
    pub(crate) fn new(replies: Replies, memory: MemoryPlan) -> Workers {
        Workers {
            writer: Arc::new(Queue::new(memory.writer_queue_limit_bytes(), &metrics::WRITER_QUEUE)),
            readers: Arc::new(Queue::new(memory.reader_queue_max(), &metrics::READER_QUEUE)),
            passwords: Arc::new(Queue::new(PASSWORD_QUEUE_MAX, &metrics::PASSWORD_QUEUE)),
            replies,
            memory,
        }
    }

    /// Enqueues work for its worker. The writer starts on a command only after [`Workers::wake_writer`], so that the commands
    /// of one turn of an event loop share a transaction.
    pub(crate) fn submit(&self, work: Work) {
        match work {
            Work::Command(command) => self.submit_command(&Holder::User(command.actor.id.clone()), command),
            Work::Query(query) => self.ask(query),
            Work::Password(job) => {
                let mut displaced = Vec::new();
                self.passwords.push(&job.holder.clone(), job, 1, &mut displaced);
                displaced.into_iter().for_each(|job| self.replies.dropped(job.reply_to));
            }
            Work::CancelAnswer { reply_to: to, conversation_id } => self.replies.responders.cancel(to, conversation_id),
            #[cfg(feature = "cluster")]
            Work::AskPeers(query) => self.replies.ask_peers(query),
            Work::Pass(request) => {
                let to = request.to;
                if !self.replies.responders.pass(request) {
                    self.replies.piped(to);
                }
            }
            Work::ControlPassing { to, control } => self.replies.responders.control_passing(to, control),
        }
    }

    /// Wakes the writer for the commands submitted since the last call.
    pub(crate) fn wake_writer(&self) {
        self.writer.wake();
    }

    /// Enqueues a query.
    pub(crate) fn ask(&self, query: Query) {
        #[cfg(feature = "cluster")]
        if let Some(response) = self.replies.recent_page(&query) {
            metrics::RECENT_PAGES.add(1);
            return self.replies.query_response(&query.holder(), response);
        }
        self.enqueue_query(PendingQuery::new(query));
    }

    /// Enqueues one command in the share of `holder`, and wakes the writer at once.
    pub(crate) fn submit_now(&self, holder: &Holder, command: Command) {
        self.submit_command(holder, command);
        self.wake_writer();
    }

    /// Closes the queues. What they hold is still handled.
    pub(crate) fn close(&self) {
        self.readers.close();
        self.passwords.close();
        self.writer.close();
    }

    /// Enqueues a query, or the next step of one.
    fn enqueue_query(&self, pending: PendingQuery) {
        let weight = 1 + pending.bytes() / self.memory.reader_queue_item_bytes();
        let mut displaced = Vec::new();
        self.readers.push(&pending.query.holder(), pending, weight, &mut displaced);
        displaced.into_iter().for_each(|pending| self.replies.dropped(pending.query.reply_to));
    }

    fn submit_command(&self, holder: &Holder, command: Command) {
        let weight = command.weight().max(self.memory.command_weight_min());
        let mut displaced = Vec::new();
        self.writer.push_without_wake(holder, command, weight, &mut displaced);
        displaced.into_iter().for_each(|command| self.replies.command_dropped(command.reply_to));
    }
}

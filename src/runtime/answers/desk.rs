//! How other threads reach the responders, and how a responder waits for the store.

use crate::base::limits::RESPONDER_NEWS_MAX;
use crate::base::metrics;
use crate::domain::answer_job::{AnswerJob, JobId, RESPONDERS};
use crate::domain::command::ReplyTo;
use crate::domain::event::Event;
use crate::domain::id::{ConversationId, MessageId};
use crate::domain::query::QueryResponse;
use crate::domain::result::CommandResult;
use crate::runtime::queue::{Queue, Wakeup};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the dispatcher is told.
#[derive(Debug)]
pub enum News {
    /// Messages that are to be answered.
    Orders(Vec<AnswerJob>),
    /// What became of a step that the dispatcher took itself.
    Settled(Errand, Reply),
    /// Somebody wants the running answer of a conversation stopped.
    Cancel {
        /// Who waits to hear whether it was.
        to: ReplyTo,
        /// Which conversation.
        conversation_id: ConversationId,
    },
    /// Events of a commit by which messages, or what they are in, are gone.
    Deleted(Vec<Arc<Event>>),
    /// A shard missed a piece of an answer.
    TextWanted {
        /// Index of the shard.
        shard: u16,
        /// The answer's message.
        message_id: MessageId,
    },
    /// A worker is done with an order; `again` says that the order is still open and nothing of its answer was shown.
    Done {
        /// Which order.
        order: JobId,
        /// Whether it is to be begun again.
        again: bool,
    },
    /// The process is to end.
    Stop,
}

/// What comes back from the store.
#[derive(Debug)]
pub enum Reply {
    /// Of a command.
    CommandResult(CommandResult),
    /// Of a question.
    QueryResponse(QueryResponse),
    /// Nothing will come: a queue was full, or answering failed.
    Lost,
}

/// What the dispatcher waits for without blocking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// An answer that it gave itself.
    Finish(JobId),
    /// A cancel, and who waits to hear of it.
    Cancel(JobId, ReplyTo),
    /// The list of open orders.
    List,
}

#[derive(Debug)]
enum Waiter {
    Thread(SyncSender<Reply>),
    Dispatcher(Errand),
}

/// The responders' desk.
#[derive(Debug)]
pub struct Desk {
    news: Queue<News>,
    waiting: Mutex<HashMap<u32, Waiter>>,
    next_slot: AtomicU32,
    orders_missed: AtomicBool,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk {
            news: Queue::new(RESPONDER_NEWS_MAX, usize::MAX, &metrics::RESPONDER_QUEUE),
            waiting: Mutex::default(),
            next_slot: AtomicU32::new(0),
            orders_missed: AtomicBool::new(false),
        }
    }
}

impl Desk {
    /// New orders. When there is no room for them they are found in the table later.
    pub fn take_orders(&self, jobs: Vec<AnswerJob>) {
        if self.news.push(News::Orders(jobs), 1).is_err() {
            self.orders_missed.store(true, Relaxed);
        }
    }

    /// Whether orders were not taken since the last call.
    pub fn take_orders_missed(&self) -> bool {
        self.orders_missed.swap(false, Relaxed)
    }

    /// Tells the dispatcher something; says whether there was room.
    pub fn tell(&self, news: News) -> bool {
        self.news.push(news, 1).is_ok()
    }

    /// Tells the dispatcher that a worker is done; waits while there is no room.
    pub fn done(&self, order: JobId, again: bool) {
        let mut news = News::Done { order, again };
        while let Err(back) = self.news.push(news, 1) {
            news = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Moves the news into `into`.
    pub fn news(&self, into: &mut Vec<News>, patience: Option<Duration>) -> Wakeup {
        self.news.take(into, RESPONDER_NEWS_MAX, usize::MAX, patience)
    }

    /// An address for one reply that the calling thread will wait for.
    pub fn expect(&self) -> (ReplyTo, Receiver<Reply>) {
        let (sender, receiver) = sync_channel(1);
        (self.enter(Waiter::Thread(sender)), receiver)
    }

    /// An address for one reply that comes as news.
    pub fn expect_as_news(&self, errand: Errand) -> ReplyTo {
        self.enter(Waiter::Dispatcher(errand))
    }

    /// Takes back an address that nothing will be sent to.
    pub fn withdraw(&self, to: ReplyTo) {
        self.waiting().remove(&to.slot);
    }

    /// Brings a reply to whoever waits for it. Never called by the dispatcher, which would wait for itself.
    pub fn deliver(&self, to: ReplyTo, reply: Reply) {
        match self.waiting().remove(&to.slot) {
            // A thread that no longer waits has ended with the process.
            Some(Waiter::Thread(sender)) => drop(sender.send(reply)),
            Some(Waiter::Dispatcher(errand)) => {
                let mut news = News::Settled(errand, reply);
                while let Err(back) = self.news.push(news, 1) {
                    news = back;
                    // The dispatcher never waits for whoever delivers, so there will be room.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            None => {}
        }
    }

    fn enter(&self, waiter: Waiter) -> ReplyTo {
        let slot = self.next_slot.fetch_add(1, Relaxed);
        self.waiting().insert(slot, waiter);
        ReplyTo { shard: RESPONDERS, slot, generation: 0 }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u32, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

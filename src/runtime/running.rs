//! A running server: reloads its settings, and shuts down in order. Running requests are finished, accepted commands are
//! committed, the database is released to the next process, and the last responses are read to their end.

use super::allocator;
use super::connection_limits::ConnectionLimits;
use super::mailbox::Mailbox;
use super::main_event::{MainEvent, MainEvents};
use super::reload::CurrentContext;
use super::sd_notify::{State, notify};
use super::workers::Workers;
use crate::base::limits::HEAP_TRIM_MILLISECONDS;
use crate::config::from_environment;
use crate::shard::message::ShardMessage;
use crate::store::DatabaseLock;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The threads and the shared parts of a server.
pub(super) struct Running {
    /// Event loops, with the responders, that have not ended.
    pub loops: usize,
    pub mailboxes: Vec<Arc<Mailbox>>,
    pub workers: Workers,
    /// `None` once the writer has ended.
    pub writer_thread: Option<JoinHandle<()>>,
    pub threads: Vec<JoinHandle<()>>,
    pub current: CurrentContext,
    pub connection_limits: Arc<ConnectionLimits>,
    pub lock: Option<DatabaseLock>,
}

impl Running {
    /// Runs until a signal to shut down, then drains.
    pub(super) fn run(mut self, events: &MainEvents) {
        loop {
            let event = if self.workers.memory.is_trimmed {
                events.next_within(Duration::from_millis(HEAP_TRIM_MILLISECONDS))
            } else {
                Some(events.next())
            };
            let Some(event) = event else {
                allocator::trim_heap();
                continue;
            };
            match event {
                MainEvent::Shutdown => break,
                MainEvent::Reload => {
                    notify(State::Reloading);
                    self.current.reload(from_environment(), &self.mailboxes, &self.connection_limits);
                    notify(State::Ready);
                }
                MainEvent::LoopQuiesced | MainEvent::LoopEnded => {}
            }
        }
        log::info!("draining: finishing running requests, then accepting no more");
        notify(State::Stopping);
        for mailbox in &self.mailboxes {
            mailbox.push(ShardMessage::Drain);
        }
        let grace = Duration::from_millis(self.current.context().settings.shutdown_grace_ms);
        let all_ended = self.wait_for_loops(events, Instant::now() + grace);
        self.release_database();
        if all_ended {
            for thread in self.threads {
                // A thread whose panic ends only itself may have panicked.
                let _ = thread.join();
            }
        }
        log::info!("ended");
    }

    /// Waits until all loops have ended; `false` if the deadline came first. The database is released as soon as all loops
    /// have quiesced.
    fn wait_for_loops(&mut self, events: &MainEvents, deadline: Instant) -> bool {
        let (mut busy, mut left) = (self.loops, self.loops);
        while left > 0 {
            match events.next_until(deadline) {
                Some(MainEvent::LoopQuiesced) => {
                    busy -= 1;
                    if busy == 0 {
                        self.release_database();
                    }
                }
                Some(MainEvent::LoopEnded) => left -= 1,
                Some(MainEvent::Shutdown | MainEvent::Reload) => {}
                None => {
                    log::warn!("the grace period is over: closing the remaining connections");
                    return false;
                }
            }
        }
        true
    }

    /// Commits the commands in the queue, closes the database, and releases its lock to the next process.
    fn release_database(&mut self) {
        if let Some(writer_thread) = self.writer_thread.take() {
            self.workers.close();
            // If the writer panicked, the acknowledged commands are on disk all the same.
            let _ = writer_thread.join();
            self.lock = None;
        }
    }
}

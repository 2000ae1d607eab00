//! The events that the main thread waits for.

use super::STACK_BYTES;
use crate::base::log as logging;
use crate::base::thread::{self, OnPanic};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::process::exit;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// A shell reports a process that a signal ended with this number plus the signal's (POSIX, 2.8.2).
const SIGNAL_EXIT_BASE: i32 = 128;

/// An event for the main thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MainEvent {
    /// SIGTERM or SIGINT: shut down.
    Shutdown,
    /// SIGHUP: reload the settings.
    Reload,
    /// A loop hands over no more work.
    LoopQuiesced,
    /// A loop that had quiesced has ended.
    LoopEnded,
}

/// The main thread's queue of events.
pub(super) struct MainEvents {
    sender: Sender<MainEvent>,
    receiver: Receiver<MainEvent>,
}

impl MainEvents {
    /// A queue that receives the signals of the process. The second signal to shut down ends the process at once, whatever
    /// the main thread does.
    pub(super) fn watch_signals() -> io::Result<MainEvents> {
        let (sender, receiver) = channel();
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let signal_sender = sender.clone();
        thread::spawn("signals", STACK_BYTES, OnPanic::Process, move || {
            let mut is_shutting_down = false;
            for signal in signals.forever() {
                let event = match signal {
                    SIGHUP => MainEvent::Reload,
                    _ if is_shutting_down => {
                        log::warn!("second signal: exiting at once");
                        logging::flush();
                        exit(SIGNAL_EXIT_BASE + signal);
                    }
                    _ => {
                        is_shutting_down = true;
                        MainEvent::Shutdown
                    }
                };
                // The main thread may have returned.
                let _ = signal_sender.send(event);
            }
        })?;
        Ok(MainEvents { sender, receiver })
    }

    /// A sender for another thread.
    pub(super) fn sender(&self) -> Sender<MainEvent> {
        self.sender.clone()
    }

    /// Waits for the next event.
    pub(super) fn next(&self) -> MainEvent {
        self.receiver.recv().expect("this queue holds a sender itself")
    }

    /// Waits for the next event; `None` if none came before the timeout.
    pub(super) fn next_within(&self, timeout: Duration) -> Option<MainEvent> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// Waits for the next event; `None` if none came before the deadline.
    pub(super) fn next_until(&self, deadline: Instant) -> Option<MainEvent> {
        self.next_within(deadline.saturating_duration_since(Instant::now()))
    }
}

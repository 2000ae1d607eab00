//! The shutdown of a shard, in steps that keep the time short in which no process serves:
//!
//! 1. Notice: requests are served, but every response closes its connection, and streams are deferred. A client with an
//!    idle connection has time for a last request.
//! 2. Stopped: no connection is accepted, streams end, and requests in progress are finished.
//! 3. Quiesced: the remaining connections only wait for their peers. No more work is handed to other threads, so the
//!    next process can open the database.
//! 4. Drained: the last connection is closed.

use super::connection::DrainNotice;
use super::subscription::subscriber::TurnAway;
use super::{Output, Shard};
use crate::base::limits::DRAIN_NOTICE_MILLISECONDS;
use crate::base::time::{MonoTime, Now};

/// How far the shutdown has come.
#[derive(Debug, Default)]
pub(super) struct ShutdownProgress {
    step: ShutdownStep,
    /// When the notice ends.
    notice_until: MonoTime,
    /// Connections in slots below this one have quiesced, and stay so.
    quiesced_below: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ShutdownStep {
    /// Next: Notice.
    #[default]
    Serving,
    /// Next: Stopped.
    Notice,
    /// Next: Quiesced.
    Stopped,
    /// Next: Drained.
    Quiesced,
    Drained,
}

impl ShutdownProgress {
    /// When the present step ends by itself.
    pub(super) fn timeout(&self) -> Option<MonoTime> {
        (self.step == ShutdownStep::Notice).then_some(self.notice_until)
    }
}

impl Shard {
    /// Begins the shutdown. The notice is skipped if no client can be about to send a request.
    pub(super) fn drain(&mut self, now: Now) {
        if self.draining {
            return;
        }
        self.draining = true;
        let milliseconds = DRAIN_NOTICE_MILLISECONDS.min(self.context.settings.shutdown_grace_ms / 2);
        self.shutdown = ShutdownProgress {
            step: ShutdownStep::Notice,
            notice_until: now.mono.plus_milliseconds(milliseconds),
            quiesced_below: 0,
        };
        if !self.connections.begin_drain(DrainNotice { began: now.mono, milliseconds }, now) {
            self.stop(now);
        }
    }

    /// Ends the notice when its time has come.
    pub(super) fn tick_drain(&mut self, now: Now) {
        if self.shutdown.timeout().is_some_and(|until| until <= now.mono) {
            self.stop(now);
        }
    }

    fn stop(&mut self, now: Now) {
        self.shutdown.step = ShutdownStep::Stopped;
        self.outputs.push_back(Output::StopAccepting);
        for slot in self.connections.streams() {
            self.turn_away(slot, TurnAway::Shutdown, now);
        }
    }

    /// The step that was reached since the last call, if the event loop must act on it. All calls together look at each
    /// connection once, since no new one comes and a quiesced one stays so.
    pub(super) fn poll_drain(&mut self) -> Option<Output> {
        match self.shutdown.step {
            ShutdownStep::Stopped => match self.connections.first_busy(self.shutdown.quiesced_below) {
                Some(busy) => {
                    self.shutdown.quiesced_below = busy;
                    None
                }
                None => {
                    self.shutdown.step = ShutdownStep::Quiesced;
                    Some(Output::Quiesced)
                }
            },
            ShutdownStep::Quiesced if self.connections.len() == 0 => {
                self.shutdown.step = ShutdownStep::Drained;
                Some(Output::Drained)
            }
            ShutdownStep::Serving | ShutdownStep::Notice | ShutdownStep::Quiesced | ShutdownStep::Drained => None,
        }
    }
}

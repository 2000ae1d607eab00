//! The end of a shard, in steps that keep the time short in which nobody serves:
//!
//! 1. Notice: all goes on, but every answer says that its connection ends with it, and nobody is kept waiting for a
//!    stream. Whoever keeps a connection has time for a last request.
//! 2. Stopped: nothing more is accepted, streams end, what runs is finished.
//! 3. Quiet: whatever is left only waits for its reader. Nothing more is asked of anybody, so the database can go to
//!    the next process.
//! 4. Drained: the last connection is gone.

use super::connection::{Connection, Phase};
use super::{Output, Shard};
use crate::base::limits::DRAIN_NOTICE_MILLISECONDS;
use crate::base::time::{MonoTime, Now};

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct ShutdownProgress {
    step: ShutdownStep,
    /// When it began.
    began: MonoTime,
    /// How long a connection without a request is kept from then on, in milliseconds.
    notice_milliseconds: u64,
    /// Connections below this slot are quiet, which they stay.
    quiesced_below: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ShutdownStep {
    #[default]
    Serving,
    Notice,
    Stopped,
    Quiesced,
    Drained,
}

impl ShutdownProgress {
    /// When to go on from the notice by itself.
    pub(super) fn timeout(&self) -> Option<MonoTime> {
        (self.step == ShutdownStep::Notice).then(|| self.began.plus_milliseconds(self.notice_milliseconds))
    }

    /// When a connection that waits since then for a request is closed.
    pub(super) fn idle_until(&self, since: MonoTime) -> Option<MonoTime> {
        (self.step != ShutdownStep::Serving).then(|| self.began.max(since).plus_milliseconds(self.notice_milliseconds))
    }
}

impl Shard {
    /// Begins the end. Without anybody who could be in the middle of sending a request there is nothing to give notice of.
    pub(super) fn drain(&mut self, now: Now) {
        if self.draining {
            return;
        }
        self.draining = true;
        self.ending = ShutdownProgress {
            step: ShutdownStep::Notice,
            began: now.mono,
            notice_milliseconds: DRAIN_NOTICE_MILLISECONDS.min(self.context.settings.shutdown_grace_ms / 2),
            quiesced_below: 0,
        };
        let idle: Vec<u32> =
            self.connections.iter().filter(|(_, conn)| is_idle(conn)).map(|(slot, _)| slot as u32).collect();
        for slot in &idle {
            self.arm(*slot, now);
        }
        if idle.is_empty() {
            self.stop(now);
        }
    }

    /// Goes on from the notice when its time is over.
    pub(super) fn tick_drain(&mut self, now: Now) {
        if self.ending.timeout().is_some_and(|until| until <= now.mono) {
            self.stop(now);
        }
    }

    fn stop(&mut self, now: Now) {
        self.ending.step = ShutdownStep::Stopped;
        self.outputs.push_back(Output::StopAccepting);
        let streams = self.connections.iter().filter(|(_, conn)| matches!(conn.phase, Phase::Stream(_)));
        let streams: Vec<u32> = streams.map(|(slot, _)| slot as u32).collect();
        for slot in streams {
            self.shut_stream_down(slot, now);
        }
    }

    /// The step that has been reached since the last call, if it is one to tell of. Looks at each connection once in all,
    /// since nothing new comes and a quiet connection stays quiet.
    pub(super) fn poll_drain(&mut self) -> Option<Output> {
        match self.ending.step {
            ShutdownStep::Stopped => {
                while self.ending.quiesced_below < self.connections.capacity() {
                    if self.connections.get(self.ending.quiesced_below).is_some_and(|conn| !is_quiesced(conn)) {
                        return None;
                    }
                    self.ending.quiesced_below += 1;
                }
                self.ending.step = ShutdownStep::Quiesced;
                Some(Output::Quiesced)
            }
            ShutdownStep::Quiesced if self.connections.is_empty() => {
                self.ending.step = ShutdownStep::Drained;
                Some(Output::Drained)
            }
            ShutdownStep::Serving | ShutdownStep::Notice | ShutdownStep::Quiesced | ShutdownStep::Drained => None,
        }
    }
}

/// Its next request may be on its way.
fn is_idle(conn: &Connection) -> bool {
    matches!(conn.phase, Phase::Head) && conn.input.is_empty()
}

/// It only waits for its reader.
fn is_quiesced(conn: &Connection) -> bool {
    match &conn.phase {
        Phase::Closing { .. } => true,
        Phase::Stream(stream) => stream.ended,
        Phase::Head | Phase::Body(_) | Phase::Discard(_) | Phase::Waiting(_) => false,
    }
}

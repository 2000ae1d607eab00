//! Bytes out: responses into the outbox, and the outbox to the socket.

use super::phase::Phase;
use super::{Connection, Effect};
use crate::base::time::MonoTime;
use crate::http1::response_write::{self, ResponseHead};
use std::borrow::Cow;
use std::io::IoSlice;

/// What the table must do after output was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) struct OutputEffect {
    /// Add the slot to the list of connections to write.
    pub(super) enlist: bool,
    /// Arm the timer, since the connection begins to wait for its reader.
    pub(super) arm: bool,
}

impl Connection {
    /// Bytes that wait to be written.
    pub(in crate::shard) fn outgoing_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Fills `slices` with what waits to be written; returns how many were filled.
    pub(in crate::shard) fn outgoing<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.outbox.slices(slices)
    }

    /// Queues `100 Continue`.
    pub(in crate::shard) fn push_continue(&mut self) {
        self.outbox.push_with(|out| out.extend_from_slice(response_write::CONTINUE));
    }

    /// Queues the head of a response. Follow with `push_body`, `open_stream` or `begin_closing`.
    pub(in crate::shard) fn push_head(&mut self, head: &ResponseHead<'_>) {
        let may_begin = matches!(self.phase, Phase::Head | Phase::Passing(_));
        assert!(may_begin, "a response follows a request that was taken from the connection");
        self.outbox.push_with(|out| response_write::write_head(out, head));
    }

    /// Queues the body of a response, and begins to wait for the next request.
    pub(super) fn push_body(&mut self, body: Cow<'static, [u8]>, now: MonoTime) {
        if let Cow::Owned(bytes) = &body {
            self.response_bytes += bytes.len();
        }
        self.outbox.push_body(body);
        self.since = now;
    }

    /// Notes that output may have been queued.
    pub(super) fn output_queued(&mut self, now: MonoTime) -> OutputEffect {
        if self.outbox.is_empty() {
            return OutputEffect { enlist: false, arm: false };
        }
        let effect = OutputEffect { enlist: !self.dirty, arm: !self.waits_for_reader };
        if effect.arm {
            self.progress_at = now;
        }
        self.dirty = true;
        self.waits_for_reader = true;
        effect
    }

    /// Notes that the list of connections to write was taken over.
    pub(super) fn delisted(&mut self) {
        self.dirty = false;
    }

    /// Notes that the socket took the first `bytes` of what `outgoing` returned; 0 if it was full.
    pub(super) fn wrote(&mut self, bytes: usize, now: MonoTime) -> Effect {
        let was_paused = self.is_paused();
        if bytes > 0 {
            self.response_bytes -= bytes.min(self.response_bytes);
            self.outbox.advance(bytes);
            self.progress_at = now;
        }
        let is_empty = self.outbox.is_empty();
        self.waits_for_reader = !is_empty;
        match self.phase {
            Phase::Head => {
                if is_empty {
                    self.since = now;
                }
                match (was_paused && !self.is_paused(), is_empty) {
                    (true, _) => Effect::ReadOn,
                    // The timer may still stand at the stall timeout, which is far off.
                    (false, true) => self.settle(),
                    (false, false) => Effect::None,
                }
            }
            Phase::Stream(_) => Effect::StreamWritten,
            Phase::Passing(_) => Effect::PassedWritten,
            Phase::Closing { write_ended: false, .. } if is_empty => self.end_writing(now),
            Phase::Body(_) | Phase::Discard(_) | Phase::Waiting(_) | Phase::Closing { .. } => Effect::None,
        }
    }
}

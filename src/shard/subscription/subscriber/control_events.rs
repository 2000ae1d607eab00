//! The events that a stream gets besides those of the journal: they say where it starts, that it is alive, and why it ends.

use super::Subscriber;
use crate::api::StreamStart;
use crate::base::limits::STREAM_RETRY_MILLISECONDS;
use crate::base::metrics::{self, GapReason};
use crate::base::time::{MonoTime, Now, SECOND};
use crate::domain::completion_error::CompletionError;
use crate::domain::id::EventNumber;
use crate::shard::connection::outbox::Outbox;
use crate::shard::subscription::fan_out::FanOut;
use crate::sse::BlockFields;
use crate::sse::frame::{LAST_CHUNK, write_block_in};
use crate::wire;

/// How long before its token expires a stream is notified, in seconds.
const EXPIRY_NOTICE_SECONDS: i64 = 60;

/// Why a process serves a stream no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnAway {
    /// It ends.
    Shutdown,
    /// It cannot reach its database server.
    CutOff,
}

impl Subscriber {
    /// Queues the first events of a new stream: `connection_established`, and a `gap` if its start is unknown.
    pub(crate) fn send_established(&mut self, outbox: &mut Outbox, start: StreamStart, epoch: &str, now: Now) {
        if self.has_view() {
            return self.push_comment(outbox);
        }
        let id = self.id.to_string();
        let through = self.followed_through().unwrap_or(self.cursor);
        let fields = BlockFields { retry_milliseconds: Some(STREAM_RETRY_MILLISECONDS), id: Some(through) };
        self.control_with(outbox, fields, "connection_established", |json| {
            wire::event::connection_established(self.user(), now.wall, through, epoch, &id, json)
        });
        if self.follows_answer() {
            return;
        }
        let is_known = match start {
            StreamStart::Now => true,
            StreamStart::After(number) => number <= self.cursor,
            StreamStart::Unknown => false,
        };
        if !is_known {
            self.send_gap(outbox, self.cursor.next());
            metrics::GAPS[GapReason::Unknown as usize].add(1);
        }
    }

    /// Queues a `gap`: events before `first` may follow, but not all of them.
    pub(super) fn send_gap(&mut self, outbox: &mut Outbox, first: EventNumber) {
        self.gap_sent = first;
        self.control(outbox, self.cursor, "gap", |json| wire::event::gap(first, json));
    }

    /// Ends the stream, which another process may continue. The client reconnects after `retry_milliseconds`.
    pub(crate) fn send_away(
        &mut self,
        reason: TurnAway,
        fan_out: &FanOut,
        outbox: &mut Outbox,
        retry_milliseconds: u64,
    ) {
        if self.ended {
            return;
        }
        if self.has_view() {
            let error = match reason {
                TurnAway::Shutdown => CompletionError::shutting_down(),
                TurnAway::CutOff => CompletionError::cut_off(),
            };
            return self.fail_view(error, outbox);
        }
        let id = Some(self.control_id(fan_out));
        let fields = BlockFields { retry_milliseconds: Some(retry_milliseconds), id };
        match reason {
            TurnAway::Shutdown => {
                self.control_with(outbox, fields, "server_shutdown", wire::event::server_shutdown);
            }
            TurnAway::CutOff => self.control_with(outbox, fields, "unavailable", |json| {
                wire::event::unavailable(retry_milliseconds, json);
            }),
        }
        self.end(outbox);
    }

    /// Ends the stream because its token is no longer valid.
    pub(crate) fn send_expired(&mut self, fan_out: &FanOut, outbox: &mut Outbox) {
        if self.ended {
            return;
        }
        if self.has_view() {
            return self.fail_view(CompletionError::token_ended(), outbox);
        }
        self.control(outbox, self.control_id(fan_out), "token_expired", wire::event::token_expired);
        self.end(outbox);
    }

    /// Ends the stream as planned. The last chunk tells the client that nothing was cut.
    pub(super) fn end(&mut self, outbox: &mut Outbox) {
        if self.form.chunked && !self.wants_whole() {
            outbox.push_with(|out| out.extend_from_slice(LAST_CHUNK));
        }
        self.ended = true;
    }

    /// Does what is due: a heartbeat, the notice of the token's expiry, that expiry, another request for a page.
    pub(crate) fn tick(&mut self, fan_out: &FanOut, outbox: &mut Outbox, now: Now, heartbeat_milliseconds: u64) {
        if self.retry_at.is_some_and(|at| at <= now.mono) {
            self.retry_at = None;
        }
        if self.ended {
            return;
        }
        let expires_at = self.stats.expires_at();
        if now.wall >= expires_at {
            self.send_expired(fan_out, outbox);
            return;
        }
        // Before the notice below, which says nothing about the reader.
        let reader_keeps_up = outbox.is_empty();
        let left = expires_at.0 - now.wall.0;
        if left <= EXPIRY_NOTICE_SECONDS * SECOND && self.expiry_announced != Some(expires_at) {
            self.expiry_announced = Some(expires_at);
            if self.has_view() {
                return;
            }
            let seconds = left.div_euclid(SECOND).max(0) as u64;
            let through = self.control_id(fan_out);
            self.control(outbox, through, "token_expiring", |json| wire::event::token_expiring(seconds, json));
        }
        if self.heartbeat_at <= now.mono {
            self.heartbeat_at = now.mono.plus_milliseconds(heartbeat_milliseconds);
            if reader_keeps_up && self.has_view() {
                self.push_comment(outbox);
            } else if reader_keeps_up {
                let through = self.control_id(fan_out);
                self.control(outbox, through, "heartbeat", |json| wire::event::heartbeat(now.wall, json));
            }
        }
    }

    /// When `tick` has something to do next.
    pub(crate) fn next_tick(&self, now: Now) -> MonoTime {
        let expires_at = self.stats.expires_at();
        let notice = if self.expiry_announced == Some(expires_at) { 0 } else { EXPIRY_NOTICE_SECONDS };
        let micros = expires_at.0.saturating_sub(notice * SECOND).saturating_sub(now.wall.0);
        let token = now.mono.plus(micros.max(0) as u64);
        self.heartbeat_at.min(token).min(self.retry_at.unwrap_or(self.heartbeat_at))
    }

    /// The id of a control event: the number through which the stream is complete. In a stream of one answer, that is the
    /// offset of the next delta.
    fn control_id(&self, fan_out: &FanOut) -> EventNumber {
        self.followed_through().unwrap_or_else(|| self.complete_through(fan_out))
    }

    fn followed_through(&self) -> Option<EventNumber> {
        self.following.as_deref().map(|following| EventNumber(following.through.bytes as u64))
    }

    /// Queues a control event, whose id is the number through which the stream is complete. There is always room for it:
    /// control events are small, and at most one of each kind waits.
    pub(super) fn control(
        &self,
        outbox: &mut Outbox,
        id: EventNumber,
        kind: &str,
        write_json: impl FnOnce(&mut Vec<u8>),
    ) {
        self.control_with(outbox, BlockFields { id: Some(id), retry_milliseconds: None }, kind, write_json);
    }

    fn control_with(
        &self,
        outbox: &mut Outbox,
        fields: BlockFields,
        kind: &str,
        write_json: impl FnOnce(&mut Vec<u8>),
    ) {
        outbox.push_with(|out| write_block_in(self.form, fields, kind, write_json, out));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{stream, waiting};
    use super::*;
    use crate::base::time::WallTime;

    #[test]
    fn a_notice_of_the_expiry_does_not_suppress_a_heartbeat() {
        let (mut stream, mut outbox) = (stream(WallTime(30_000_000)), Outbox::default());
        let now = Now { wall: WallTime(0), mono: MonoTime(1) };
        stream.tick(&FanOut::new(EventNumber(1), 4096), &mut outbox, now, 5_000);
        let sent = waiting(&mut outbox);
        assert!(sent.contains("token_expiring") && sent.contains("heartbeat"), "{sent}");
    }
}

//! Driving a connection: its bytes in, its bytes out, its deadline and its end.

use crate::base::limits::*;
use crate::base::time::{MonoTime, Now};
use crate::domain::command::ReplyTo;
use crate::http1::head::{HeadLimits, HeaderBuf, parse_head, worth_parsing};
use crate::shard::PIPELINE_BYTES_MAX;
use crate::shard::connection::{Connection, Continuation, Phase};
use crate::shard::{Output, Shard};

impl Shard {
    pub(in crate::shard) fn bytes(&mut self, slot: u32, bytes: &[u8], now: Now) {
        let Some(conn) = self.connections.get_mut(slot as usize) else { return };
        if conn.input.is_empty() {
            let used = self.take_in(slot, bytes, 0, now);
            if let Some(conn) = self.connections.get_mut(slot as usize) {
                conn.input.extend_from_slice(&bytes[used..]);
                if used < bytes.len() {
                    conn.since = now.mono;
                }
            }
        } else {
            let seen = conn.input.len();
            conn.input.extend_from_slice(bytes);
            self.go_on(slot, seen, now);
        }
        self.settle(slot, now);
    }

    /// Goes on with the bytes that a connection holds, of which the first `seen` made no whole head.
    pub(in crate::shard) fn go_on(&mut self, slot: u32, seen: usize, now: Now) {
        let Some(conn) = self.connections.get_mut(slot as usize) else { return };
        let mut input = std::mem::take(&mut conn.input);
        let used = self.take_in(slot, &input, seen, now);
        let Some(conn) = self.connections.get_mut(slot as usize) else { return };
        if used > 0 {
            conn.since = now.mono;
        }
        if used < input.len() {
            input.drain(..used);
            conn.input = input;
        }
    }

    /// Takes in as much of `input` as the connection's phases allow; returns how much.
    fn take_in(&mut self, slot: u32, input: &[u8], seen: usize, now: Now) -> usize {
        let limits = HeadLimits { head_bytes_max: self.context.settings.header_bytes_max };
        let (mut at, mut seen) = (0, seen);
        loop {
            let Some(conn) = self.connections.get_mut(slot as usize) else { return input.len() };
            let rest = &input[at..];
            match &mut conn.phase {
                Phase::Head => {
                    let paused = conn.outbox.bytes() >= PIPELINE_BYTES_MAX;
                    if rest.is_empty() || paused || !worth_parsing(seen, rest, &limits) {
                        return at;
                    }
                    let mut slots = HeaderBuf::new();
                    match parse_head(rest, &mut slots, &limits) {
                        Ok(None) => return at,
                        Ok(Some(head)) => {
                            at += head.bytes;
                            self.head_complete(slot, &head, at == input.len(), now);
                        }
                        Err(error) => {
                            self.bad_head(slot, error, now);
                            return input.len();
                        }
                    }
                }
                Phase::Body(receiving) => match receiving.reader.read(rest, &mut receiving.body) {
                    Ok(progress) => {
                        at += progress.consumed;
                        if !progress.done {
                            return at;
                        }
                        self.body_complete(slot, now);
                    }
                    Err(error) => {
                        self.bad_body(slot, error, now);
                        return input.len();
                    }
                },
                Phase::Discard(discarding) => match discarding.reader.discard(rest) {
                    Ok(progress) => {
                        at += progress.consumed;
                        if !progress.done {
                            return at;
                        }
                        conn.phase = Phase::Head;
                        conn.since = now.mono;
                    }
                    Err(_) => {
                        self.begin_closing(slot, now);
                        return input.len();
                    }
                },
                Phase::Waiting(_) => return at,
                // Nothing is expected on a stream; what comes all the same is nobody's.
                Phase::Stream(_) => return input.len(),
                Phase::Closing { discarded, .. } => {
                    *discarded += rest.len();
                    if *discarded > LINGER_BYTES_MAX {
                        self.close(slot);
                    }
                    return input.len();
                }
            }
            seen = 0;
        }
    }

    pub(in crate::shard) fn peer_ended(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.connections.get_mut(slot as usize) else { return };
        conn.half_closed = true;
        match conn.phase {
            Phase::Stream(_) => self.close(slot),
            Phase::Closing { ended, .. } if ended => self.close(slot),
            // Half a body is no request.
            Phase::Body(_) | Phase::Discard(_) => self.begin_closing(slot, now),
            _ => self.settle(slot, now),
        }
    }

    /// After anything that moved a connection: one whose peer sends no more ends once it has all its answers.
    pub(in crate::shard) fn settle(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.connections.get(slot as usize) else { return };
        let paused = !conn.input.is_empty() && conn.outbox.bytes() >= PIPELINE_BYTES_MAX;
        if matches!(conn.phase, Phase::Head) && !paused && conn.half_closed {
            self.begin_closing(slot, now);
        }
        self.arm(slot, now);
    }

    pub(in crate::shard) fn wrote(&mut self, slot: u32, bytes: usize, now: Now) {
        let Some(conn) = self.connections.get_mut(slot as usize) else { return };
        let was_paused = conn.outbox.bytes() >= PIPELINE_BYTES_MAX;
        if bytes > 0 {
            let of_replies = bytes.min(conn.reply_bytes);
            conn.reply_bytes -= of_replies;
            self.reply_bytes -= of_replies;
            conn.outbox.advance(bytes);
            conn.progress_at = now.mono;
        }
        let empty = conn.outbox.is_empty();
        conn.waits_for_reader = !empty;
        if empty && matches!(conn.phase, Phase::Head) {
            conn.since = now.mono;
        }
        match &mut conn.phase {
            Phase::Stream(_) => self.stream_wrote(slot, now),
            Phase::Closing { ended: false, .. } if empty => self.end_writing(slot, now),
            Phase::Head if was_paused && conn.outbox.bytes() < PIPELINE_BYTES_MAX => {
                self.go_on(slot, 0, now);
                // What arrived meanwhile may still stand in the socket, and nothing new need come to tell of it.
                self.outputs.push_back(Output::Resume(slot));
                self.settle(slot, now);
            }
            // Settling arms too: what was armed while the reader was waited for may be far off.
            Phase::Head if empty => self.settle(slot, now),
            _ => {}
        }
    }

    /// Notes that a connection has something to write.
    pub(in crate::shard) fn mark_dirty(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.connections.get_mut(slot as usize) else { return };
        if conn.outbox.is_empty() {
            return;
        }
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(slot);
        }
        if !conn.waits_for_reader {
            conn.waits_for_reader = true;
            conn.progress_at = now.mono;
            self.arm(slot, now);
        }
    }

    /// Writes what is left, then ends.
    pub(in crate::shard) fn begin_closing(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.connections.get_mut(slot as usize) else { return };
        if matches!(conn.phase, Phase::Closing { .. }) {
            return;
        }
        self.forget_stream(slot);
        let conn = &mut self.connections[slot as usize];
        conn.phase = Phase::Closing { ended: false, discarded: conn.input.len() };
        conn.input = Vec::new();
        conn.since = now.mono;
        if conn.outbox.is_empty() {
            self.end_writing(slot, now);
        } else {
            self.mark_dirty(slot, now);
        }
        self.arm(slot, now);
        // Whatever the peer still sends is read and thrown away.
        self.outputs.push_back(Output::Resume(slot));
    }

    fn end_writing(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.connections.get_mut(slot as usize) else { return };
        if conn.half_closed {
            self.close(slot);
            return;
        }
        if let Phase::Closing { ended, .. } = &mut conn.phase {
            *ended = true;
            conn.since = now.mono;
            self.outputs.push_back(Output::EndWriting(slot));
            self.arm(slot, now);
        }
    }

    pub(in crate::shard) fn close(&mut self, slot: u32) {
        if !self.connections.contains(slot as usize) {
            return;
        }
        self.forget_stream(slot);
        let conn = self.connections.remove(slot as usize);
        self.reply_bytes -= conn.reply_bytes;
        self.timers.clear(slot);
        self.outputs.push_back(Output::Close(slot));
    }

    /// The connection that waits for this answer, unless it is gone.
    pub(in crate::shard) fn waiting(&mut self, to: ReplyTo) -> Option<&mut Connection> {
        self.connections.get_mut(to.slot as usize).filter(|conn| conn.generation == to.generation)
    }

    pub(in crate::shard) fn reply_to(&self, slot: u32) -> ReplyTo {
        ReplyTo { shard: self.index, slot, generation: self.connections[slot as usize].generation }
    }

    /// Makes sure that the connection is looked at no later than its deadline. A deadline that moved back is found out
    /// when the earlier one fires, so that a busy connection costs no work here.
    pub(in crate::shard) fn arm(&mut self, slot: u32, now: Now) {
        let Some(deadline) = self.deadline(slot, now) else { return };
        if self.timers.get(slot).is_none_or(|armed| deadline < armed) {
            self.timers.set(slot, deadline);
        }
    }

    fn deadline(&self, slot: u32, now: Now) -> Option<MonoTime> {
        let settings = &self.context.settings;
        let conn = self.connections.get(slot as usize)?;
        let stall = conn.progress_at.plus_milliseconds(settings.stream_stall_timeout_ms);
        Some(match &conn.phase {
            Phase::Head if conn.waits_for_reader => stall,
            Phase::Head if conn.input.is_empty() => {
                let kept_until = conn.since.plus_milliseconds(settings.keep_alive_ms);
                self.ending.idle_until(conn.since).map_or(kept_until, |until| until.min(kept_until))
            }
            Phase::Head => conn.since.plus_milliseconds(settings.header_timeout_ms),
            Phase::Body(_) | Phase::Discard(_) => conn.since.plus_milliseconds(settings.body_timeout_ms),
            Phase::Waiting(pending) if pending.continuation == Continuation::Health => {
                conn.since.plus_milliseconds(HEALTH_TIMEOUT_MILLISECONDS)
            }
            Phase::Waiting(_) => return None,
            // Only its reader is waited for: what the stream itself would do next is never done.
            Phase::Stream(stream) if stream.ended => stall,
            Phase::Stream(stream) if conn.waits_for_reader => stream.next_tick(now).min(stall),
            Phase::Stream(stream) => stream.next_tick(now),
            Phase::Closing { ended: true, .. } => conn.since.plus_milliseconds(LINGER_MILLISECONDS),
            Phase::Closing { .. } => stall,
        })
    }

    pub(in crate::shard) fn deadline_reached(&mut self, slot: u32, now: Now) {
        let Some(deadline) = self.deadline(slot, now) else { return };
        if deadline > now.mono {
            self.timers.set(slot, deadline);
            return;
        }
        let stalled_at = |conn: &Connection, timeout| conn.progress_at.plus_milliseconds(timeout);
        let conn = &self.connections[slot as usize];
        let stalled =
            conn.waits_for_reader && stalled_at(conn, self.context.settings.stream_stall_timeout_ms) <= now.mono;
        match &conn.phase {
            _ if stalled => self.close(slot),
            // Its peer has had all answers for a while, and there is nothing left that an end at once could cut off.
            Phase::Head if conn.input.is_empty() && self.draining => self.close(slot),
            Phase::Head if conn.input.is_empty() => self.begin_closing(slot, now),
            Phase::Head | Phase::Body(_) => self.request_timed_out(slot, now),
            Phase::Discard(_) => self.begin_closing(slot, now),
            Phase::Stream(stream) if stream.ended => self.close(slot),
            Phase::Stream(_) => self.tick_stream(slot, now),
            Phase::Closing { .. } => self.close(slot),
            // Nobody else who waits has a deadline.
            Phase::Waiting(_) => self.health_timed_out(slot, now),
        }
        self.arm(slot, now);
    }
}

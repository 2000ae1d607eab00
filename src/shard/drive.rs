//! Drives connections: calls their transitions and carries out the effects.

use crate::base::metrics::{self, ConnectionCut};
use crate::base::time::Now;
use crate::domain::command::ReplyTo;
use crate::domain::holder::Holder;
use crate::http1::head::{HeadLimits, HeaderBuf};
use crate::shard::connection::reading::{ReadEffect, ReadPosition};
use crate::shard::connection::{Effect, Expiry};
use crate::shard::{Output, Shard};
use std::borrow::Cow;

impl Shard {
    /// Bytes arrived on a connection.
    pub(in crate::shard) fn bytes_received(&mut self, slot: u32, bytes: &[u8], now: Now) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let (input, position) = conn.receive(bytes);
        self.read(slot, input, position, now);
        self.settle(slot, now);
    }

    /// Reads what a connection has kept, and from its socket again. The socket's readiness may have been reported while the
    /// connection wanted no bytes, and is not reported again.
    pub(in crate::shard) fn read_on(&mut self, slot: u32, now: Now) {
        if let Some(conn) = self.connections.get_mut(slot) {
            let (input, position) = conn.resume_reading();
            self.read(slot, input, position, now);
        }
        self.outputs.push_back(Output::Resume(slot));
        self.settle(slot, now);
    }

    /// Reads as many requests as the connection's phase allows.
    fn read(&mut self, slot: u32, input: Cow<'_, [u8]>, mut position: ReadPosition, now: Now) {
        let limits = HeadLimits { head_bytes_max: self.context.settings.header_bytes_max };
        loop {
            let Some(conn) = self.connections.get_mut(slot) else { return };
            let mut headers = HeaderBuf::new();
            match conn.read(&input, &mut position, &mut headers, &limits, now.mono) {
                ReadEffect::Blocked => break,
                ReadEffect::Head { head, ends_input } => self.head_complete(slot, &head, ends_input, now),
                ReadEffect::InvalidHead(error) => self.reject_head(slot, error, now),
                ReadEffect::Request(receiving) => self.body_complete(slot, *receiving, now),
                ReadEffect::InvalidBody(receiving, error) => self.reject_body(slot, *receiving, error, now),
                ReadEffect::BeginClosing => self.begin_closing(slot, now),
                ReadEffect::Close => self.close(slot),
            }
        }
        self.connections[slot].keep_rest(input, &position, now.mono);
        self.connections.count_requests(slot);
    }

    /// The peer ended its side.
    pub(in crate::shard) fn peer_ended(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let effect = conn.peer_ended();
        self.apply(slot, effect, now);
    }

    /// The socket took bytes, or was full.
    pub(in crate::shard) fn wrote(&mut self, slot: u32, bytes: usize, now: Now) {
        let effect = self.connections.wrote(slot, bytes, now.mono);
        self.apply(slot, effect, now);
    }

    /// A connection's deadline has passed.
    pub(in crate::shard) fn expired(&mut self, slot: u32, expiry: Expiry, now: Now) {
        match expiry {
            Expiry::Close => self.close(slot),
            Expiry::BeginClosing => self.begin_closing(slot, now),
            Expiry::RequestTimeout => self.request_timed_out(slot, now),
            Expiry::HealthTimeout => self.health_timed_out(slot, now),
            Expiry::TickStream => self.tick_stream(slot, now),
            Expiry::TickPassing => self.tick_passing(slot, now),
            Expiry::MeasureDrain => {
                self.connections.begin_drain_window(slot, now.mono);
                self.outputs.push_back(Output::MeasureUndelivered(slot));
            }
        }
        self.connections.arm(slot, now);
    }

    /// The kernel has not delivered so many bytes to the peer.
    pub(in crate::shard) fn undelivered_measured(&mut self, slot: u32, bytes: usize, now: Now) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let effect = conn.drain_measured(bytes);
        if effect == Effect::Close {
            metrics::CONNECTIONS_CUT[ConnectionCut::Slow as usize].add(1);
        }
        self.apply(slot, effect, now);
    }

    /// Makes room in the budgets: rejects incomplete requests and closes connections with unread responses, those of the
    /// largest holder.
    pub(in crate::shard) fn keep_budgets(&mut self, now: Now) {
        if !self.connections.may_exceed_budgets() {
            return;
        }
        while let Some(slot) = self.connections.over_request_budget() {
            if self.connections[slot].is_receiving() {
                self.reject_incomplete(slot, now);
            } else {
                metrics::CONNECTIONS_CUT[ConnectionCut::RequestBytes as usize].add(1);
                self.close(slot);
            }
        }
        while let Some((slot, holder)) = self.connections.over_response_budget() {
            if let Holder::User(user) = &holder {
                self.shared.overload.note(user, true, now.mono);
            }
            metrics::CONNECTIONS_CUT[ConnectionCut::ResponseBytes as usize].add(1);
            self.close(slot);
        }
    }

    /// Ends a connection whose peer sends no more and has all responses; arms the timer of any other.
    fn settle(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.connections.get(slot) else { return };
        let effect = conn.settle();
        self.apply(slot, effect, now);
    }

    fn apply(&mut self, slot: u32, effect: Effect, now: Now) {
        match effect {
            Effect::None => {}
            Effect::Arm => self.connections.arm(slot, now),
            Effect::ReadOn => self.read_on(slot, now),
            Effect::StreamWritten => self.stream_written(slot, now),
            Effect::PassedWritten => self.advance_passing(slot, now),
            Effect::BeginClosing => self.begin_closing(slot, now),
            Effect::EndWriting => {
                self.outputs.push_back(Output::EndWriting(slot));
                self.connections.arm(slot, now);
            }
            Effect::Close => self.close(slot),
        }
    }

    /// Writes what is left on a connection, then ends it.
    pub(in crate::shard) fn begin_closing(&mut self, slot: u32, now: Now) {
        self.unsubscribe(slot);
        self.abort_passing(slot);
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let effect = conn.begin_closing(now.mono);
        if effect == Effect::None {
            return;
        }
        self.connections.count_requests(slot);
        self.connections.output_queued(slot, now);
        self.apply(slot, effect, now);
        // All further input is read and discarded.
        self.outputs.push_back(Output::Resume(slot));
    }

    /// Removes a connection and closes its socket.
    pub(in crate::shard) fn close(&mut self, slot: u32) {
        self.unsubscribe(slot);
        self.abort_passing(slot);
        if self.connections.remove(slot) {
            self.outputs.push_back(Output::Close(slot));
        }
    }

    /// Where a worker sends the result of this connection's request.
    pub(in crate::shard) fn reply_to(&self, slot: u32) -> ReplyTo {
        ReplyTo { shard: self.index, slot, generation: self.connections[slot].generation() }
    }
}

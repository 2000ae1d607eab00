//! The connections of a shard: by slot, by deadline, and those that have something to write.
//!
//! Invariant: every connection has a timer at or before its deadline, or waits for a worker, which always responds.

use super::deadline::ConnectionTimeouts;
use super::held::{ByteBudget, DrainWindow, HeldBytes};
use super::phase::Phase;
use super::{Connection, DrainNotice, Effect, Expiry};
use crate::base::limits::READ_BYTES_MAX;
use crate::base::memory_plan::MemoryPlan;
use crate::base::time::{MonoTime, Now};
use crate::base::timers::Timers;
use crate::config::Settings;
use crate::domain::command::ReplyTo;
use crate::domain::holder::{Holder, network_of};
use crate::domain::id::UserId;
use crate::http1::response_write::COPIED_BYTES_MAX;
use slab::Slab;
use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::{Index, IndexMut};

/// The connections.
pub(in crate::shard) struct ConnectionTable {
    slots: Slab<Connection>,
    timers: Timers,
    timeouts: ConnectionTimeouts,
    /// Slots with output that were not returned by `take_dirty` yet.
    dirty: Vec<u32>,
    /// The sum of `response_bytes` of all connections.
    response_bytes: usize,
    /// Bytes of incomplete requests.
    requests: ByteBudget,
    /// Bytes of responses that their sockets did not take at once.
    responses: ByteBudget,
    /// The generation of the connection accepted last.
    generation: u32,
}

impl ConnectionTable {
    /// An empty table.
    pub(in crate::shard) fn new(settings: &Settings, memory: &MemoryPlan) -> ConnectionTable {
        ConnectionTable {
            slots: Slab::new(),
            timers: Timers::default(),
            timeouts: ConnectionTimeouts::new(settings, None),
            dirty: Vec::new(),
            response_bytes: 0,
            requests: ByteBudget::new(memory.request_limit_bytes()),
            responses: ByteBudget::new(memory.response_limit_bytes()),
            generation: 0,
        }
    }

    /// Adds a connection that was just accepted; returns its slot.
    pub(in crate::shard) fn insert(&mut self, peer: IpAddr, now: Now) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.slots.insert(Connection::new(self.generation, peer, now.mono)) as u32;
        self.arm(slot, now);
        slot
    }

    /// Removes a connection; returns whether there was one.
    pub(in crate::shard) fn remove(&mut self, slot: u32) -> bool {
        let Some(mut conn) = self.slots.try_remove(slot as usize) else { return false };
        self.response_bytes -= conn.response_bytes;
        if let Some(held) = &mut conn.held {
            self.requests.count(&mut held.requests, None);
            self.responses.count(&mut held.responses, None);
        }
        self.timers.clear(slot);
        true
    }

    /// The connection in a slot.
    pub(in crate::shard) fn get(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize)
    }

    /// The same to change.
    pub(in crate::shard) fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)
    }

    /// The connection that a worker responds to, unless it was removed in between.
    pub(in crate::shard) fn find(&mut self, to: ReplyTo) -> Option<&mut Connection> {
        self.get_mut(to.slot).filter(|conn| conn.generation == to.generation)
    }

    /// Number of connections.
    pub(in crate::shard) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slots of open streams.
    pub(in crate::shard) fn streams(&self) -> Vec<u32> {
        self.slots.iter().filter(|(_, conn)| conn.is_stream()).map(|(slot, _)| slot as u32).collect()
    }

    /// The first slot from `from` on whose connection does not only wait for its peer.
    pub(in crate::shard) fn first_busy(&self, from: u32) -> Option<u32> {
        let end = self.slots.capacity() as u32;
        (from..end).find(|slot| self.get(*slot).is_some_and(|conn| !conn.is_quiesced()))
    }

    /// Makes sure that a timer expires no later than the connection's deadline. A deadline that moved back is noticed when
    /// the earlier timer expires, so a busy connection costs no work here.
    pub(in crate::shard) fn arm(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.slots.get(slot as usize) else { return };
        let Some((deadline, _)) = conn.deadline(&self.timeouts, now) else { return };
        if self.timers.get(slot).is_none_or(|armed| deadline < armed) {
            self.timers.set(slot, deadline);
        }
    }

    /// As `arm`, for a connection whose reader may stall from now on. A timer that expires before that needs no change.
    fn arm_stall(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.slots.get(slot as usize) else { return };
        if self.timers.get(slot).is_none_or(|armed| conn.stalls_at(&self.timeouts) < armed) {
            self.arm(slot, now);
        }
    }

    /// Sets the timer to the connection's deadline, or clears it if there is none.
    pub(in crate::shard) fn rearm(&mut self, slot: u32, now: Now) {
        self.timers.clear(slot);
        self.arm(slot, now);
    }

    /// When the next timer expires.
    pub(in crate::shard) fn next_timer(&self) -> Option<MonoTime> {
        self.timers.next()
    }

    /// Returns one connection whose deadline has passed, until there is none. Call `arm` for it when that is handled.
    pub(in crate::shard) fn pop_expired(&mut self, now: Now) -> Option<(u32, Expiry)> {
        while let Some(slot) = self.timers.pop_due(now.mono) {
            match self.slots.get(slot as usize).and_then(|conn| conn.expire(&self.timeouts, now)) {
                Some(Ok(expiry)) => return Some((slot, expiry)),
                Some(Err(deadline)) => self.timers.set(slot, deadline),
                None => {}
            }
        }
        None
    }

    /// Takes over the timeouts of new settings.
    pub(in crate::shard) fn reload(&mut self, settings: &Settings, now: Now) {
        self.timeouts = ConnectionTimeouts::new(settings, self.timeouts.drain);
        let slots: Vec<u32> = self.slots.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            self.arm(slot, now);
        }
    }

    /// Shortens how long connections wait for a request; returns whether any does.
    pub(in crate::shard) fn begin_drain(&mut self, notice: DrainNotice, now: Now) -> bool {
        self.timeouts.drain = Some(notice);
        let idle: Vec<u32> =
            self.slots.iter().filter(|(_, conn)| conn.is_idle()).map(|(slot, _)| slot as u32).collect();
        for slot in &idle {
            self.arm(*slot, now);
        }
        !idle.is_empty()
    }

    /// Queues the body of a response to a request of `user`.
    pub(in crate::shard) fn push_body(
        &mut self,
        slot: u32,
        body: Cow<'static, [u8]>,
        user: Option<&UserId>,
        now: MonoTime,
    ) {
        let is_large = matches!(&body, Cow::Owned(bytes) if bytes.len() > COPIED_BYTES_MAX);
        let conn = &mut self.slots[slot as usize];
        let before = conn.response_bytes;
        conn.push_body(body, now);
        self.response_bytes += conn.response_bytes - before;
        if is_large {
            conn.held.get_or_insert_default().responses_of = user.map(|user| Holder::User(user.clone()));
        }
        if conn.held.as_ref().is_some_and(|held| held.responses.is_some()) {
            self.count_responses(slot, now);
        }
    }

    /// Counts the bytes of incomplete requests that a connection holds. Call it after each change of them.
    pub(in crate::shard) fn count_requests(&mut self, slot: u32) {
        let Some(conn) = self.slots.get_mut(slot as usize) else { return };
        let bytes = conn.request_bytes();
        if bytes == 0 && conn.held.as_ref().is_none_or(|held| held.requests.is_none()) {
            return;
        }
        let now = (bytes > 0).then(|| (conn.holder_of_requests(), bytes));
        let held = conn.held.get_or_insert_default();
        self.requests.count(&mut held.requests, now);
        if held.is_empty() {
            conn.held = None;
        }
    }

    /// Counts the bytes of responses that wait on a connection, after its socket was written to.
    fn count_responses(&mut self, slot: u32, now: MonoTime) {
        let Some(conn) = self.slots.get_mut(slot as usize) else { return };
        let is_waiting = !conn.outbox.is_empty() && !conn.is_stream();
        if !is_waiting && conn.held.is_none() {
            return;
        }
        let (bytes, peer) = (conn.waiting_response_bytes(), conn.peer);
        let held = conn.held.get_or_insert_default();
        let counted = (bytes > 0).then(|| {
            let holder = held.responses_of.clone().unwrap_or_else(|| Holder::Network(network_of(peer)));
            (holder, bytes)
        });
        self.responses.count(&mut held.responses, counted);
        if is_waiting {
            if held.drain.is_none() {
                held.drain = Some(DrainWindow::new(now));
                self.timers.set(slot, now);
            }
        } else {
            (held.drain, held.responses_of) = (None, None);
            if held.is_empty() {
                conn.held = None;
            }
        }
    }

    /// Whether a budget may be exceeded.
    pub(in crate::shard) fn may_exceed_budgets(&self) -> bool {
        self.requests.may_be_exceeded() || self.responses.may_be_exceeded()
    }

    /// The connection whose incomplete requests are to be rejected, while they exceed their budget: the one that holds most,
    /// of the holder that holds most.
    pub(in crate::shard) fn over_request_budget(&mut self) -> Option<u32> {
        let largest = self.requests.largest_if_over()?;
        let (slot, bytes) = self.largest_connection(|held| held.requests.as_ref(), &largest)?;
        // The only one may exceed it, since its request could otherwise never be executed.
        if bytes == self.requests.total() {
            self.requests.tolerate();
            return None;
        }
        Some(slot)
    }

    /// As [`ConnectionTable::over_request_budget`], for a connection to be closed because of its unread responses.
    pub(in crate::shard) fn over_response_budget(&mut self) -> Option<(u32, Holder)> {
        let largest = self.responses.largest_if_over()?;
        let (slot, bytes) = self.largest_connection(|held| held.responses.as_ref(), &largest)?;
        if bytes == self.responses.total() {
            self.responses.tolerate();
            return None;
        }
        Some((slot, largest))
    }

    fn largest_connection(
        &self,
        counted: impl Fn(&HeldBytes) -> Option<&(Holder, usize)>,
        holder: &Holder,
    ) -> Option<(u32, usize)> {
        let of_holder = self.slots.iter().filter_map(|(slot, conn)| {
            let (counted_for, bytes) = counted(conn.held.as_ref()?)?;
            (counted_for == holder).then_some((slot as u32, *bytes))
        });
        of_holder.max_by_key(|(_, bytes)| *bytes)
    }

    /// Bytes of response bodies that wait for their readers, on all connections.
    pub(in crate::shard) fn response_bytes(&self) -> usize {
        self.response_bytes
    }

    /// Those of them that no socket was offered yet.
    pub(in crate::shard) fn unoffered_response_bytes(&self) -> usize {
        self.response_bytes.saturating_sub(self.responses.total())
    }

    /// Begins the next measurement of how fast the peer drains its responses.
    pub(in crate::shard) fn begin_drain_window(&mut self, slot: u32, now: MonoTime) {
        let held = self.slots.get_mut(slot as usize).and_then(|conn| conn.held.as_mut());
        if let Some(drain) = held.and_then(|held| held.drain.as_mut()) {
            drain.begin_next(now);
        }
    }

    /// Notes that output may have been queued on a connection.
    pub(in crate::shard) fn output_queued(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.slots.get_mut(slot as usize) else { return };
        let effect = conn.output_queued(now.mono);
        if effect.enlist {
            self.dirty.push(slot);
        }
        if effect.arm {
            self.arm_stall(slot, now);
        }
    }

    /// Whether a connection has had output queued since `take_dirty`.
    pub(in crate::shard) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Moves the list of connections to write into `into`.
    pub(in crate::shard) fn take_dirty(&mut self, into: &mut Vec<u32>) {
        into.clear();
        std::mem::swap(&mut self.dirty, into);
        for slot in into.iter() {
            if let Some(conn) = self.get_mut(*slot) {
                conn.delisted();
            }
        }
    }

    /// Notes that the socket took the first `bytes` of what waited on a connection.
    pub(in crate::shard) fn wrote(&mut self, slot: u32, bytes: usize, now: MonoTime) -> Effect {
        let Some(conn) = self.slots.get_mut(slot as usize) else { return Effect::None };
        let before = conn.response_bytes;
        let effect = conn.wrote(bytes, now);
        self.response_bytes -= before - conn.response_bytes;
        if let Some(drain) = conn.held.as_mut().and_then(|held| held.drain.as_mut()) {
            drain.wrote(bytes);
        }
        self.count_responses(slot, now);
        effect
    }

    /// Asserts the invariants of the table and of each connection.
    pub(in crate::shard) fn check_invariants(&self, settings: &Settings) {
        self.timers.check_invariants();
        let incoming_bytes_max = settings.header_bytes_max + READ_BYTES_MAX + settings.body_bytes_max;
        for (slot, conn) in &self.slots {
            conn.check_invariants(incoming_bytes_max);
            let waits = matches!(conn.phase, Phase::Waiting(_));
            assert!(waits || self.timers.get(slot as u32).is_some(), "a connection has a timer, or waits for a worker");
        }
        let sum =
            |bytes_of: &dyn Fn(&Connection) -> usize| self.slots.iter().map(|(_, conn)| bytes_of(conn)).sum::<usize>();
        let counted = |counted: &Option<(Holder, usize)>| counted.as_ref().map_or(0, |(_, bytes)| *bytes);
        let held = |conn: &Connection| conn.held.as_ref().map_or(0, |held| counted(&held.requests));
        assert_eq!(self.response_bytes, sum(&|conn| conn.response_bytes));
        assert_eq!(self.requests.total(), sum(&held));
        assert_eq!(self.requests.total(), sum(&Connection::request_bytes), "all incomplete requests are counted");
        let held = |conn: &Connection| conn.held.as_ref().map_or(0, |held| counted(&held.responses));
        assert_eq!(self.responses.total(), sum(&held));
    }
}

impl Index<u32> for ConnectionTable {
    type Output = Connection;

    fn index(&self, slot: u32) -> &Connection {
        &self.slots[slot as usize]
    }
}

impl IndexMut<u32> for ConnectionTable {
    fn index_mut(&mut self, slot: u32) -> &mut Connection {
        &mut self.slots[slot as usize]
    }
}

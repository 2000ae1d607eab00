//! The connections of a shard: by slot, by deadline, and those that have something to write.
//!
//! Invariant: every connection has a timer at or before its deadline, or waits for a worker, which always responds.

use super::deadline::ConnectionTimeouts;
use super::phase::Phase;
use super::{Connection, DrainNotice, Effect, Expiry};
use crate::base::limits::READ_BYTES_MAX;
use crate::base::time::{MonoTime, Now};
use crate::base::timers::Timers;
use crate::config::Settings;
use crate::domain::command::ReplyTo;
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
    /// The generation of the connection accepted last.
    generation: u32,
}

impl ConnectionTable {
    /// An empty table.
    pub(in crate::shard) fn new(settings: &Settings) -> ConnectionTable {
        ConnectionTable {
            slots: Slab::new(),
            timers: Timers::default(),
            timeouts: ConnectionTimeouts::new(settings, None),
            dirty: Vec::new(),
            response_bytes: 0,
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
        let Some(conn) = self.slots.try_remove(slot as usize) else { return false };
        self.response_bytes -= conn.response_bytes;
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

    /// Queues the body of a response.
    pub(in crate::shard) fn push_body(&mut self, slot: u32, body: Cow<'static, [u8]>, now: MonoTime) {
        self.response_bytes += body.len();
        self[slot].push_body(body, now);
    }

    /// Bytes of response bodies that wait for their readers, on all connections.
    pub(in crate::shard) fn response_bytes(&self) -> usize {
        self.response_bytes
    }

    /// Notes that output may have been queued on a connection.
    pub(in crate::shard) fn output_queued(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.slots.get_mut(slot as usize) else { return };
        let effect = conn.output_queued(now.mono);
        if effect.enlist {
            self.dirty.push(slot);
        }
        if effect.arm {
            self.arm(slot, now);
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
        assert_eq!(self.response_bytes, self.slots.iter().map(|(_, conn)| conn.response_bytes).sum::<usize>());
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

//! Layer 4: one event loop's connections and streams as a pure state machine. No socket, no clock, no thread, no SQL.
//!
//! Invariant: every connection has a deadline, or waits for a reply that always comes.

pub(crate) mod commit_routing;
mod connection;
mod drive;
pub(crate) mod message;
mod request;
pub(crate) mod shared;
mod shutdown;
mod subscription;
mod trace;

use crate::api::Context;
use crate::api::request_metrics::{self, Endpoint};
use crate::base::log::{self, AccessLine};
use crate::base::metrics;
use crate::base::random::Random;
use crate::base::time::{MonoTime, Now};
use crate::base::timers::Timers;
use crate::domain::id::{EventNumber, UserId};
use crate::domain::token_rules::TokenRules;
use crate::domain::work::Work;
use crate::http1::head::Method;
use connection::outbox::Outbox;
use connection::{Connection, Phase};
use message::ShardMessage;
use shared::SharedState;
use shutdown::ShutdownProgress;
use slab::Slab;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::IpAddr;
use std::sync::Arc;
use subscription::fan_out::FanOut;
use subscription::live_answers::LiveAnswers;
use trace::{TracedInput, TracedOutput};

/// Bytes of answers that may wait before the next pipelined request is taken up.
const PIPELINE_BYTES_MAX: usize = 64 * 1024;

/// An event outside of the shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes arrived on a connection.
    Bytes {
        /// Slot of the connection.
        slot: u32,
        /// The bytes, in order.
        bytes: &'a [u8],
    },
    /// The peer ended its side of a connection; it may still read.
    Ended {
        /// Slot of the connection.
        slot: u32,
    },
    /// Reading or writing a connection failed.
    Failed {
        /// Slot of the connection.
        slot: u32,
    },
    /// The socket took the first bytes of what `outgoing` offered; none if it was full.
    Wrote {
        /// Slot of the connection.
        slot: u32,
        /// How many bytes.
        bytes: usize,
    },
    /// Another thread sent a message.
    Message(ShardMessage),
}

/// An action that the event loop must take, in the order of `poll_output`.
// An output lives until the next `poll_output`: a box around `Work` would cost an allocation per command and save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Output {
    /// Hand the work to its worker. If its queue is full, pass `ShardMessage::Dropped` to `handle` at once.
    Work(Work),
    /// The connection in this slot became a stream: bound what the kernel buffers for it.
    TuneStream(u32),
    /// The connection in this slot takes bytes again.
    Resume(u32),
    /// End our side of the connection in this slot.
    EndWriting(u32),
    /// Close the connection in this slot; the slot is free.
    Close(u32),
    /// Accept no more connections.
    StopAccepting,
    /// After `Drain`: the shard hands over no more work; the remaining connections only wait for their readers.
    Quiesced,
    /// After `Quiesced`: the last connection is closed.
    Drained,
}

/// The connections and streams of one event loop.
///
/// # Order of calls
///
/// 1. `accept` once per connection, `handle` for each [`Input`], and `tick` when the time of `poll_timeout` has come.
/// 2. After each of these calls: `poll_output` until it returns `None`, and each [`Output`] is carried out in this order.
///    Work that was not taken is passed to `handle` as `ShardMessage::Dropped`, before the next `poll_output`.
/// 3. Once per turn of the loop, before anything is written: `count_finished`, so that whoever reads a response finds it
///    counted.
/// 4. `take_dirty` returns the slots that have something to write. For each: `outgoing`, write, then `handle` with
///    `Input::Wrote`, also when the socket took nothing.
/// 5. Last, `poll_timeout` says until when the loop may wait, unless `has_dirty`.
///
/// Bytes of a connection are read only while `wants_bytes`; after it was false, `Output::Resume` says when to read again.
pub struct Shard {
    index: u16,
    context: Arc<Context>,
    shared: Arc<SharedState>,
    token_rules: Arc<TokenRules>,
    connections: Slab<Connection>,
    fan_out: FanOut,
    live: LiveAnswers,
    timers: Timers,
    random: Random,
    outputs: VecDeque<Output>,
    dirty: Vec<u32>,
    /// Bytes of answers that wait for their readers, on all connections.
    reply_bytes: usize,
    /// The same as `metrics` was last told.
    reply_bytes_counted: u64,
    finished: Vec<FinishedRequest>,
    generation: u32,
    date: (i64, [u8; 29]),
    /// Where the fields about the rate are written.
    quota_text: Vec<u8>,
    draining: bool,
    ending: ShutdownProgress,
}

/// A request that was answered in this turn.
struct FinishedRequest {
    started: MonoTime,
    method: Method,
    endpoint: Endpoint,
    status: u16,
    line: Option<FinishedRequestLine>,
}

/// The rest of it that the log wants.
struct FinishedRequestLine {
    method: Box<str>,
    path: Box<str>,
    bytes: usize,
    request_id: Arc<str>,
    user: Option<UserId>,
}

impl Shard {
    /// A shard that starts at the journal's position.
    pub fn new(
        index: u16,
        context: Arc<Context>,
        shared: Arc<SharedState>,
        token_rules: Arc<TokenRules>,
        position: EventNumber,
        random: Random,
    ) -> Shard {
        Shard {
            index,
            context,
            shared,
            token_rules,
            connections: Slab::new(),
            fan_out: FanOut::new(position),
            live: LiveAnswers::default(),
            timers: Timers::default(),
            random,
            outputs: VecDeque::new(),
            dirty: Vec::new(),
            reply_bytes: 0,
            reply_bytes_counted: 0,
            finished: Vec::new(),
            generation: 0,
            date: (i64::MIN, [b' '; 29]),
            quota_text: Vec::new(),
            draining: false,
            ending: ShutdownProgress::default(),
        }
    }

    /// Takes a new connection in; returns its slot.
    pub fn accept(&mut self, peer: IpAddr, now: Now) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.connections.insert(Connection {
            generation: self.generation,
            peer,
            input: Vec::new(),
            outbox: Outbox::default(),
            phase: Phase::Head,
            since: now.mono,
            progress_at: now.mono,
            half_closed: false,
            dirty: false,
            reply_bytes: 0,
            waits_for_reader: false,
        }) as u32;
        self.arm(slot, now);
        slot
    }

    /// Takes an input. Follow with `poll_output`.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        if ::log::log_enabled!(::log::Level::Trace) {
            ::log::trace!("shard {} <- {}", self.index, TracedInput(&input));
        }
        match input {
            Input::Bytes { slot, bytes } => self.bytes(slot, bytes, now),
            Input::Ended { slot } => self.peer_ended(slot, now),
            Input::Failed { slot } => self.close(slot),
            Input::Wrote { slot, bytes } => self.wrote(slot, bytes, now),
            Input::Message(message) => self.receive(message, now),
        }
    }

    fn receive(&mut self, message: ShardMessage, now: Now) {
        match message {
            ShardMessage::Committed(share) => self.committed(share, now),
            ShardMessage::QueryResponse(response) => self.query_answered(response, now),
            ShardMessage::PasswordResponse(response) => self.password_checked(response, now),
            ShardMessage::CommandResult(result) => self.command_finished(result, now),
            ShardMessage::Delta(delta) => self.answer_grows(&delta, now),
            ShardMessage::Dropped(to) => self.dropped(to, now),
            ShardMessage::Drain => self.drain(now),
            ShardMessage::Reload(context) => self.reload(context, now),
        }
    }

    /// The next action to take, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front().or_else(|| self.poll_drain());
        if let Some(output) = &output
            && ::log::log_enabled!(::log::Level::Trace)
        {
            ::log::trace!("shard {} -> {}", self.index, TracedOutput(output));
        }
        output
    }

    /// When `tick` must be called.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        [self.timers.next(), self.ending.timeout()].into_iter().flatten().min()
    }

    /// Handles every deadline that has passed. Follow with `poll_output`.
    pub fn tick(&mut self, now: Now) {
        while let Some(slot) = self.timers.pop_due(now.mono) {
            self.deadline_reached(slot, now);
        }
        self.tick_drain(now);
    }

    /// Whether a connection has something to write since `take_dirty`.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes over the list of connections that have something to write since the last call.
    pub fn take_dirty(&mut self, into: &mut Vec<u32>) {
        into.clear();
        std::mem::swap(&mut self.dirty, into);
        for slot in into.iter() {
            if let Some(conn) = self.connections.get_mut(*slot as usize) {
                conn.dirty = false;
            }
        }
    }

    /// Whether a connection is an open stream.
    pub fn is_stream(&self, slot: u32) -> bool {
        self.connections.get(slot as usize).is_some_and(|conn| matches!(conn.phase, Phase::Stream(_)))
    }

    /// Bytes that came on a connection and are kept: of a request that is not complete, and of those behind it.
    pub fn incoming_bytes(&self, slot: u32) -> usize {
        self.connections.get(slot as usize).map_or(0, |conn| match &conn.phase {
            Phase::Body(receiving) => conn.input.len() + receiving.body.len(),
            _ => conn.input.len(),
        })
    }

    /// Bytes that wait to be written to a connection.
    pub fn outgoing_bytes(&self, slot: u32) -> usize {
        self.connections.get(slot as usize).map_or(0, |conn| conn.outbox.bytes())
    }

    /// What waits to be written to a connection; returns how many slices were filled.
    pub fn outgoing<'a>(&'a self, slot: u32, slices: &mut [IoSlice<'a>]) -> usize {
        self.connections.get(slot as usize).map_or(0, |conn| conn.outbox.slices(slices))
    }

    /// Whether bytes of a connection would be taken in now.
    pub fn wants_bytes(&self, slot: u32) -> bool {
        self.connections.get(slot as usize).is_some_and(|conn| match conn.phase {
            Phase::Head => conn.outbox.bytes() < PIPELINE_BYTES_MAX,
            Phase::Waiting(_) => false,
            Phase::Body(_) | Phase::Discard(_) | Phase::Stream(_) | Phase::Closing { .. } => true,
        })
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether requests were answered since `count_finished`.
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Counts the requests that were answered since the last call, and writes their log lines. To be called before their
    /// answers are written: who reads an answer finds it counted.
    pub fn count_finished(&mut self, now: Now) {
        for done in self.finished.drain(..) {
            let micros = now.mono.since(done.started);
            request_metrics::record(done.endpoint, done.method, done.status, micros);
            let Some(line) = done.line else { continue };
            log::access(&AccessLine {
                method: &line.method,
                path: &line.path,
                status: done.status,
                bytes: line.bytes as u64,
                micros,
                request_id: &line.request_id,
                user: line.user.as_ref().map(UserId::as_str),
            });
        }
    }

    /// Says how many bytes of answers wait. To be called when what could be written is.
    pub fn count_waiting(&mut self) {
        let (waiting, counted) = (self.reply_bytes as u64, self.reply_bytes_counted);
        if waiting > counted {
            metrics::RESPONSES_WAITING_BYTES.add(waiting - counted);
        } else if waiting < counted {
            metrics::RESPONSES_WAITING_BYTES.sub(counted - waiting);
        }
        self.reply_bytes_counted = waiting;
    }

    /// Asserts what must hold between any two calls.
    pub fn check_invariants(&self) {
        self.timers.check_invariants();
        self.fan_out.check_invariants();
        assert_eq!(self.reply_bytes, self.connections.iter().map(|(_, conn)| conn.reply_bytes).sum::<usize>());
        for (slot, conn) in &self.connections {
            assert!(conn.reply_bytes <= conn.outbox.bytes());
            conn.outbox.check_invariants();
            assert!(conn.outbox.is_empty() || conn.waits_for_reader, "whoever has output waiting is waited for");
            let waits = matches!(conn.phase, Phase::Waiting(_));
            assert!(
                waits || self.timers.get(slot as u32).is_some(),
                "every connection has a deadline or an answer to come"
            );
        }
    }

    /// Goes on with another context. A connection whose deadline has come nearer is looked at then.
    fn reload(&mut self, context: Arc<Context>, now: Now) {
        self.context = context;
        let slots: Vec<u32> = self.connections.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            self.arm(slot, now);
        }
    }
}

//! Layer 4: one event loop's connections and streams as a pure state machine. No socket, no clock, no thread, no SQL.
//!
//! Invariant: after each call, what the event loop must do is in `poll_output`, and when to call again in `poll_timeout`.

pub(crate) mod commit_routing;
mod connection;
mod cut_off;
mod drive;
pub(crate) mod message;
mod request;
pub(crate) mod shared;
mod shutdown;
mod subscription;
mod trace;

use crate::api::Context;
use crate::base::metrics;
use crate::base::random::Random;
use crate::base::time::{MonoTime, Now};
use crate::domain::id::EventNumber;
use crate::domain::token_rules::TokenRules;
use crate::domain::work::Work;
use connection::table::ConnectionTable;
use message::ShardMessage;
use request::finished::FinishedRequest;
use shared::SharedState;
use shutdown::ShutdownProgress;
use std::collections::{BTreeSet, VecDeque};
use std::io::IoSlice;
use std::net::IpAddr;
use std::sync::Arc;
use subscription::answer_statuses::AnswerStatuses;
use subscription::fan_out::FanOut;
use subscription::live_answers::LiveAnswers;
use subscription::long_frames::LongFrames;
use trace::{TracedInput, TracedOutput};

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
    /// The socket took the first bytes of what `outgoing` returned.
    Wrote {
        /// Slot of the connection.
        slot: u32,
        /// Number of bytes; 0 if the socket was full.
        bytes: usize,
    },
    /// The response to `Output::MeasureUndelivered`.
    Undelivered {
        /// Slot of the connection.
        slot: u32,
        /// Number of bytes.
        bytes: usize,
    },
    /// Another thread sent a message.
    Message(ShardMessage),
}

/// An action that the event loop must take, in the order of `poll_output`.
// Few outputs exist at a time, so a box around `Work` would cost an allocation per command and save no memory.
#[allow(clippy::large_enum_variant)]
pub enum Output {
    /// Hand the work to its worker. If the worker's queue is full, `ShardMessage::Dropped` or `CommandDropped` follows.
    Work(Work),
    /// The connection in this slot became a stream: limit the kernel's send buffer for it.
    TuneStream(u32),
    /// The connection in this slot wants bytes again.
    Resume(u32),
    /// Pass `Input::Undelivered` with the number of bytes that the kernel has taken for the connection in this slot and that
    /// its peer has not acknowledged, if the kernel tells.
    MeasureUndelivered(u32),
    /// End our side of the connection in this slot.
    EndWriting(u32),
    /// Close the connection in this slot. The slot may be used again.
    Close(u32),
    /// Accept no more connections.
    StopAccepting,
    /// After `Drain`: no more work follows. The remaining connections only wait for their peers.
    Quiesced,
    /// After `Quiesced`: the last connection is closed.
    Drained,
}

/// The connections and streams of one event loop.
///
/// # Order of calls
///
/// 1. `accept` once per connection, `handle` for each [`Input`], and `tick` when the time of `poll_timeout` has come.
/// 2. After each of these calls: `poll_output` until it returns `None`. Execute each [`Output`] before polling the next.
/// 3. Once per turn of the loop, before anything is written: `count_finished`, so that a client that has read a response
///    finds its request in the metrics.
/// 4. `take_dirty` for the slots that have something to write. For each: `outgoing`, write to the socket, then `handle`
///    with `Input::Wrote`, also when the socket took nothing.
/// 5. Last, `count_waiting`, then `poll_timeout` for how long the loop may wait, unless `has_dirty`.
///
/// Read a socket only while `wants_bytes` is true. After it was false, `Output::Resume` says when to read again.
pub struct Shard {
    index: u16,
    context: Arc<Context>,
    shared: Arc<SharedState>,
    token_rules: Arc<TokenRules>,
    connections: ConnectionTable,
    /// The connections in phase `Passing`.
    passing_slots: BTreeSet<u32>,
    fan_out: FanOut,
    long_frames: LongFrames,
    live_answers: LiveAnswers,
    answer_statuses: AnswerStatuses,
    /// Slots of streams that have room for text, which they get once the shard has applied more events.
    awaiting_text: BTreeSet<u32>,
    random: Random,
    outputs: VecDeque<Output>,
    finished: Vec<FinishedRequest>,
    /// The part of `RESPONSES_WAITING_BYTES` that is this shard's.
    waiting_bytes_counted: u64,
    /// The present second, and its text for `Date`.
    date: (i64, [u8; 29]),
    /// Keeps the memory of the rate's field values between responses.
    quota_text: Vec<u8>,
    draining: bool,
    shutdown: ShutdownProgress,
    /// When streams may be turned away next, because the database server cannot be reached.
    cut_off_check_at: MonoTime,
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
        let tail_bytes = context.memory.tail_limit_bytes();
        let long_frame_bytes = tail_bytes / 4;
        Shard {
            index,
            connections: ConnectionTable::new(&context.settings, &context.memory),
            passing_slots: BTreeSet::new(),
            fan_out: FanOut::new(position, tail_bytes - long_frame_bytes),
            long_frames: LongFrames::new(long_frame_bytes),
            context,
            shared,
            token_rules,
            live_answers: LiveAnswers::default(),
            answer_statuses: AnswerStatuses::new(position),
            awaiting_text: BTreeSet::new(),
            random,
            outputs: VecDeque::new(),
            finished: Vec::new(),
            waiting_bytes_counted: 0,
            date: (i64::MIN, [b' '; 29]),
            quota_text: Vec::new(),
            draining: false,
            shutdown: ShutdownProgress::default(),
            cut_off_check_at: MonoTime(0),
        }
    }

    /// Adds a new connection; returns its slot.
    pub fn accept(&mut self, peer: IpAddr, now: Now) -> u32 {
        self.connections.insert(peer, now)
    }

    /// Handles an input. Follow with `poll_output`.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        if ::log::log_enabled!(::log::Level::Trace) {
            ::log::trace!("shard {} <- {}", self.index, TracedInput(&input));
        }
        match input {
            Input::Bytes { slot, bytes } => self.bytes_received(slot, bytes, now),
            Input::Ended { slot } => self.peer_ended(slot, now),
            Input::Failed { slot } => self.close(slot),
            Input::Wrote { slot, bytes } => self.wrote(slot, bytes, now),
            Input::Undelivered { slot, bytes } => self.undelivered_measured(slot, bytes, now),
            Input::Message(message) => self.receive(message, now),
        }
        self.keep_budgets(now);
    }

    fn receive(&mut self, message: ShardMessage, now: Now) {
        match message {
            ShardMessage::Committed(share) => self.committed(share, now),
            ShardMessage::QueryResponse(response) => self.query_finished(response, now),
            ShardMessage::PasswordResponse(response) => self.password_checked(response, now),
            ShardMessage::CommandResult(result) => self.command_finished(result, now),
            #[cfg(feature = "cluster")]
            ShardMessage::PeerResponse(response) => self.peers_answered(response, now),
            ShardMessage::Delta(delta) => self.delta_received(&delta, now),
            ShardMessage::AnswerStatus(change) => self.status_received(&change, now),
            ShardMessage::Piped(to) => self.piped(to, now),
            ShardMessage::Dropped(to) | ShardMessage::CommandDropped(to) => self.work_dropped(to, now),
            ShardMessage::Drain => self.drain(now),
            ShardMessage::Reload(context) => self.reload(context, now),
        }
    }

    /// The next action to take; `None` when there is none until the next input.
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
        [self.connections.next_timer(), self.shutdown.timeout(), self.cut_off_timeout()].into_iter().flatten().min()
    }

    /// Handles every deadline that has passed. Follow with `poll_output`.
    pub fn tick(&mut self, now: Now) {
        while let Some((slot, expiry)) = self.connections.pop_expired(now) {
            self.expired(slot, expiry, now);
        }
        self.tick_drain(now);
        self.tick_cut_off(now);
    }

    /// Whether a connection waits for events, or for the text of answers. Otherwise, what only streams need may be passed later,
    /// before the next input.
    pub fn awaits_events(&self) -> bool {
        self.fan_out.has_streams() || !self.passing_slots.is_empty() || self.draining
    }

    /// Whether a connection has had output queued since `take_dirty`.
    pub fn has_dirty(&self) -> bool {
        self.connections.has_dirty()
    }

    /// Replaces the contents of `into` with the slots that had output queued since the last call.
    pub fn take_dirty(&mut self, into: &mut Vec<u32>) {
        self.connections.take_dirty(into);
    }

    /// Whether a connection is an open stream.
    pub fn is_stream(&self, slot: u32) -> bool {
        self.connections.get(slot).is_some_and(|conn| conn.is_stream())
    }

    /// Bytes that wait to be written to a connection.
    pub fn outgoing_bytes(&self, slot: u32) -> usize {
        self.connections.get(slot).map_or(0, |conn| conn.outgoing_bytes())
    }

    /// Fills `slices` with what waits to be written to a connection; returns how many were filled.
    pub fn outgoing<'a>(&'a self, slot: u32, slices: &mut [IoSlice<'a>]) -> usize {
        self.connections.get(slot).map_or(0, |conn| conn.outgoing(slices))
    }

    /// Whether bytes of a connection's socket are wanted now.
    pub fn wants_bytes(&self, slot: u32) -> bool {
        self.connections.get(slot).is_some_and(|conn| conn.wants_bytes())
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Counts the requests whose responses were queued since the last call, and writes their log lines. Call it before the
    /// responses are written, so that a client that has read one finds its request in the metrics.
    pub fn count_finished(&mut self, now: Now) {
        for finished in self.finished.drain(..) {
            finished.record(now.mono);
        }
    }

    /// Bytes of responses that no socket was offered yet. The loop writes before it goes on when they are many.
    pub fn unoffered_response_bytes(&self) -> usize {
        self.connections.unoffered_response_bytes()
    }

    /// Updates the metric of response bytes that wait. Call it when what can be written is.
    pub fn count_waiting(&mut self) {
        let (waiting, counted) = (self.connections.response_bytes() as u64, self.waiting_bytes_counted);
        if waiting > counted {
            metrics::RESPONSES_WAITING_BYTES.add(waiting - counted);
        } else if waiting < counted {
            metrics::RESPONSES_WAITING_BYTES.sub(counted - waiting);
        }
        self.waiting_bytes_counted = waiting;
    }

    /// Asserts what must hold between two calls.
    pub fn check_invariants(&self) {
        self.connections.check_invariants(&self.context.settings);
        self.fan_out.check_invariants();
    }

    /// Continues with other settings or keys.
    fn reload(&mut self, context: Arc<Context>, now: Now) {
        self.connections.reload(&context.settings, now);
        self.context = context;
        self.end_streams_of_removed_keys(now);
        self.end_rejected_passing(now);
    }
}

//! One connection as a state machine without a socket.
//!
//! Invariant: a connection that waits for a worker has exactly one request there, and reads nothing until the result comes.

mod deadline;
mod held;
pub(super) mod outbox;
mod phase;
pub(super) mod reading;
pub(super) mod table;
#[cfg(test)]
mod tests;
mod writing;

pub(super) use deadline::{DrainNotice, Expiry};

use crate::auth::verified_token::VerifiedToken;
use crate::base::time::MonoTime;
use crate::domain::holder::{Holder, network_of};
use crate::http1::body::BodyReader;
use crate::shard::request::passing::PassedResponse;
use crate::shard::request::pending::{PendingRequest, ReceivingRequest};
use crate::shard::subscription::subscriber::Subscriber;
use held::HeldBytes;
use outbox::Outbox;
use phase::Phase;
use std::net::IpAddr;

/// One connection.
///
/// # Order of calls
///
/// 1. `receive` for bytes of the socket, or `resume_reading` for bytes that were kept. Then `read` until it returns
///    `Blocked`, and last `keep_rest`.
/// 2. After each request that `read` returned, one of: `receive_body` or `discard_body` (after a head), `wait`,
///    `open_stream`, or `push_head` with `push_body` (a response).
/// 3. After `wait`, the result of the worker: `take_pending`, then again one of `wait`, `open_stream` or a response.
/// 4. After anything that queues output, `output_queued`. After each write to the socket, `wrote`.
/// 5. At the end of an input, `settle`.
///
/// Each `Effect` that a method returns is carried out before the next call.
#[derive(Debug)]
pub(super) struct Connection {
    /// Distinguishes the connections that use a slot one after the other.
    generation: u32,
    peer: IpAddr,
    /// Bytes that arrived and are not read yet; empty on an idle connection.
    input: Vec<u8>,
    outbox: Outbox,
    phase: Phase,
    /// When the present wait began: for a request, for the rest of one, for a worker, or for the peer's end.
    since: MonoTime,
    /// When the socket last took bytes, or output began to wait.
    progress_at: MonoTime,
    /// The peer has ended its side.
    half_closed: bool,
    /// The slot is in the table's list of connections to write.
    dirty: bool,
    /// Bytes of response bodies in the outbox, except static ones.
    response_bytes: usize,
    /// What it counts for in the budgets.
    held: Option<Box<HeldBytes>>,
    /// Output has been waiting since `progress_at`.
    waits_for_reader: bool,
    /// The token of the last request that had one; none once the connection is a stream.
    last_token: Option<Box<VerifiedToken>>,
}

/// What the shard must do after a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Arm the timer, since the deadline may have come nearer.
    Arm,
    /// Call `resume_reading` and read on: the outbox has room for further responses.
    ReadOn,
    /// Bytes of a stream were written: fill its outbox, or end it.
    StreamWritten,
    /// Bytes of an answer that is passed on were written: fill its outbox.
    PassedWritten,
    /// Unsubscribe the stream, if it is one, and call `begin_closing`.
    BeginClosing,
    /// End our side of the socket.
    EndWriting,
    /// Close the socket and remove the connection.
    Close,
}

impl Connection {
    /// A connection that was just accepted.
    fn new(generation: u32, peer: IpAddr, now: MonoTime) -> Connection {
        Connection {
            generation,
            peer,
            input: Vec::new(),
            outbox: Outbox::default(),
            phase: Phase::Head,
            since: now,
            progress_at: now,
            half_closed: false,
            dirty: false,
            response_bytes: 0,
            held: None,
            waits_for_reader: false,
            last_token: None,
        }
    }

    /// Distinguishes the connections that use a slot one after the other.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// The token of the last request.
    pub(super) fn last_token_mut(&mut self) -> &mut Option<Box<VerifiedToken>> {
        &mut self.last_token
    }

    /// The address of the socket's other end.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether it is an open stream.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.phase, Phase::Stream(_))
    }

    /// Whether no part of a request has arrived, so that the next may be on its way.
    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Head) && self.input.is_empty()
    }

    /// Whether only the peer is waited for: to read what is left, or to end its side.
    pub(super) fn is_quiesced(&self) -> bool {
        match &self.phase {
            Phase::Closing { .. } => true,
            Phase::Stream(stream) => stream.has_ended(),
            Phase::Head | Phase::Body(_) | Phase::Discard(_) | Phase::Waiting(_) | Phase::Passing(_) => false,
        }
    }

    /// Whether a part of a request has arrived that is not with a worker.
    pub(super) fn is_receiving(&self) -> bool {
        matches!(self.phase, Phase::Body(_)) || (matches!(self.phase, Phase::Head) && !self.input.is_empty())
    }

    /// Takes the number of bytes that the kernel has not delivered to the peer. A peer that is too slow is disconnected.
    pub(super) fn drain_measured(&mut self, undelivered: usize) -> Effect {
        let drain = self.held.as_mut().and_then(|held| held.drain.as_mut());
        let is_too_slow = drain.is_some_and(|drain| drain.measured(undelivered));
        if is_too_slow { Effect::Close } else { Effect::None }
    }

    /// The memory of incomplete requests.
    fn request_bytes(&self) -> usize {
        match &self.phase {
            Phase::Body(receiving) => receiving.capacity(),
            _ => self.input.capacity(),
        }
    }

    /// The holder of incomplete requests: the user, once the head of the first is accepted.
    fn holder_of_requests(&self) -> Holder {
        match &self.phase {
            Phase::Body(receiving) => receiving.holder(self.peer),
            _ => Holder::Network(network_of(self.peer)),
        }
    }

    /// The bytes of responses that wait for the peer, after the socket did not take all at once.
    fn waiting_response_bytes(&self) -> usize {
        let has_own_budget = matches!(self.phase, Phase::Stream(_) | Phase::Passing(_));
        if has_own_budget || self.outbox.is_empty() { 0 } else { self.response_bytes }
    }

    /// The stream and its outbox, in phase `Stream`.
    pub(super) fn stream(&self) -> Option<(&Subscriber, &Outbox)> {
        match &self.phase {
            Phase::Stream(stream) => Some((stream, &self.outbox)),
            _ => None,
        }
    }

    /// The same to change. Follow with `output_queued`.
    pub(super) fn stream_mut(&mut self) -> Option<(&mut Subscriber, &mut Outbox)> {
        match &mut self.phase {
            Phase::Stream(stream) => Some((stream, &mut self.outbox)),
            _ => None,
        }
    }

    /// The head of a request was accepted: its body is collected.
    pub(super) fn receive_body(&mut self, receiving: ReceivingRequest, now: MonoTime) {
        self.leave_head(Phase::Body(Box::new(receiving)), now);
    }

    /// The response to a head is queued: the body is read and discarded. A connection that closes discards all input anyway.
    pub(super) fn discard_body(&mut self, reader: BodyReader, now: MonoTime) {
        if !matches!(self.phase, Phase::Closing { .. }) {
            self.leave_head(Phase::Discard(Box::new(reader)), now);
        }
    }

    /// A request is with a worker.
    pub(super) fn wait(&mut self, pending: PendingRequest, now: MonoTime) {
        self.leave_head(Phase::Waiting(Box::new(pending)), now);
    }

    /// The head of a stream's response is queued: events follow.
    pub(super) fn open_stream(&mut self, stream: Box<Subscriber>, now: MonoTime) {
        self.leave_head(Phase::Stream(stream), now);
        self.input = Vec::new();
        self.last_token = None;
    }

    /// A request was handed to the responders, whose answer is passed on.
    pub(super) fn begin_passing(&mut self, response: Box<PassedResponse>, now: MonoTime) {
        self.leave_head(Phase::Passing(response), now);
    }

    /// The response that an answer is passed on to, in phase `Passing`.
    pub(super) fn passing(&self) -> Option<&PassedResponse> {
        match &self.phase {
            Phase::Passing(response) => Some(response),
            _ => None,
        }
    }

    /// The same to change, and its outbox. Follow with `output_queued`.
    pub(super) fn passing_mut(&mut self) -> Option<(&mut PassedResponse, &mut Outbox)> {
        match &mut self.phase {
            Phase::Passing(response) => Some((response, &mut self.outbox)),
            _ => None,
        }
    }

    /// The stream has ended without a byte of output. Follow with a response.
    pub(super) fn end_stream(&mut self, now: MonoTime) {
        if matches!(self.phase, Phase::Stream(_)) {
            (self.phase, self.since) = (Phase::Head, now);
        }
    }

    /// The answer is over. Follow with a response, or with `resume_reading` or `begin_closing` if all of it is queued.
    pub(super) fn end_passing(&mut self, now: MonoTime) -> Option<Box<PassedResponse>> {
        match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Passing(response) => {
                self.since = now;
                Some(response)
            }
            other => {
                self.phase = other;
                None
            }
        }
    }

    fn leave_head(&mut self, next: Phase, now: MonoTime) {
        assert!(matches!(self.phase, Phase::Head), "a request follows the response to the one before it");
        self.phase = next;
        self.since = now;
    }

    /// The request that waits for a worker, if one does. Follow with `wait`, `open_stream` or a response.
    pub(super) fn take_pending(&mut self) -> Option<Box<PendingRequest>> {
        match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Waiting(pending) => Some(pending),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// The request whose body is being collected, if one is. It is over: follow with a response that ends the connection.
    pub(super) fn take_receiving(&mut self) -> Option<Box<ReceivingRequest>> {
        match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Body(receiving) => Some(receiving),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// The peer has ended its side. It may still read.
    pub(super) fn peer_ended(&mut self) -> Effect {
        self.half_closed = true;
        match self.phase {
            // A client that has ended its side does not wait for an answer any more.
            Phase::Stream(_) | Phase::Passing(_) | Phase::Closing { write_ended: true, .. } => Effect::Close,
            // The rest of the body will not come.
            Phase::Body(_) | Phase::Discard(_) => Effect::BeginClosing,
            Phase::Head | Phase::Waiting(_) | Phase::Closing { .. } => self.settle(),
        }
    }

    /// Ends a connection whose peer sends no more once every complete request has its response.
    pub(super) fn settle(&self) -> Effect {
        let has_unread = !self.input.is_empty() && self.is_paused();
        if matches!(self.phase, Phase::Head) && self.half_closed && !has_unread {
            Effect::BeginClosing
        } else {
            Effect::Arm
        }
    }

    /// Writes what is left, then ends.
    pub(super) fn begin_closing(&mut self, now: MonoTime) -> Effect {
        if matches!(self.phase, Phase::Closing { .. }) {
            return Effect::None;
        }
        let input = std::mem::take(&mut self.input);
        self.phase = Phase::Closing { write_ended: false, discarded_bytes: input.len() };
        self.since = now;
        if self.outbox.is_empty() { self.end_writing(now) } else { Effect::Arm }
    }

    /// All output is written: ends our side, or the connection if the peer has ended its own.
    fn end_writing(&mut self, now: MonoTime) -> Effect {
        let Phase::Closing { write_ended, .. } = &mut self.phase else {
            unreachable!("only a closing connection ends")
        };
        if self.half_closed {
            return Effect::Close;
        }
        *write_ended = true;
        self.since = now;
        Effect::EndWriting
    }

    /// Asserts what must hold between two inputs. `incoming_bytes_max` bounds what is kept of incomplete requests and of
    /// those behind them.
    fn check_invariants(&self, incoming_bytes_max: usize) {
        self.outbox.check_invariants();
        assert!(self.response_bytes <= self.outbox.bytes());
        assert!(self.outbox.is_empty() || self.waits_for_reader, "output that waits has a stall timeout");
        let keeps_input = matches!(self.phase, Phase::Head | Phase::Waiting(_) | Phase::Passing(_));
        assert!(keeps_input || self.input.is_empty(), "other phases read all that arrives");
        let body_bytes = if let Phase::Body(receiving) = &self.phase { receiving.body().len() } else { 0 };
        assert!(self.input.len() + body_bytes <= incoming_bytes_max, "what is kept of requests is bounded");
    }
}

//! One event loop: it passes the bytes of sockets and the messages of other threads to a shard, and carries its outputs out.
//!
//! Invariant: a connection with unread bytes that the shard wants is in `ready`, because the kernel reports readiness only when
//! it changes.

mod acceptor;
mod ready_queue;

use super::clock::Clock;
use super::connection_limits::ConnectionLimits;
use super::mailbox::Mailbox;
use super::workers::Workers;
use super::write_queue::WriteQueue;
use crate::base::limits::*;
use crate::base::metrics::{self, ConnectionRejection};
use crate::base::time::Now;
use crate::domain::work::Work;
use crate::shard::message::ShardMessage;
use crate::shard::{Input, Output, Shard};
use acceptor::Acceptor;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use ready_queue::ReadyQueue;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The token of the loop's waker.
pub(crate) const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_SOCKET: usize = 2;
/// Maximum number of readiness events per poll.
const EVENTS: usize = 1024;

struct ClientSocket {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The peer ended its side, so that a short read may not be the last.
    read_closed: bool,
    in_ready: bool,
    write_queued: bool,
    /// The group of its network in the ready queue.
    group: u32,
    /// The network that it is counted for; `None` if that is exempt.
    network: Option<IpAddr>,
}

/// The parts of an event loop.
pub(crate) struct EventLoopParts {
    /// The poll whose waker `mailbox` has.
    pub poll: Poll,
    /// The listening socket, non-blocking.
    pub listener: std::net::TcpListener,
    /// The logic of its connections.
    pub shard: Shard,
    /// The messages of other threads.
    pub mailbox: Arc<Mailbox>,
    /// The queues of other threads.
    pub workers: Workers,
    /// The limits of connections, shared with the other loops.
    pub connection_limits: Arc<ConnectionLimits>,
    /// The clock of the process.
    pub clock: Clock,
    /// `STREAM_STALL_TIMEOUT_SECONDS`, in milliseconds.
    pub stall_timeout_milliseconds: u64,
    /// Called when the loop hands over no more work.
    pub on_quiesced: Box<dyn FnMut() + Send>,
}

/// One event loop.
pub(crate) struct EventLoop {
    poll: Poll,
    acceptor: Acceptor,
    sockets: Vec<Option<ClientSocket>>,
    shard: Shard,
    mailbox: Arc<Mailbox>,
    workers: Workers,
    clock: Clock,
    stall_timeout_milliseconds: u64,
    /// Bytes of responses queued in one turn after which the loop writes.
    turn_response_bytes_max: usize,
    /// Bytes that are offered to a socket at once. The kernel takes them whole, also beyond the size of the socket's buffer.
    write_bytes_max: usize,
    scratch: Box<[u8]>,
    ready: ReadyQueue,
    write_queue: WriteQueue,
    /// Empty between turns; kept for its capacity.
    dirty: Vec<u32>,
    /// As `dirty`.
    replies: Vec<u32>,
    /// Messages that were taken from the mailbox and not handled yet.
    messages: VecDeque<ShardMessage>,
    /// Commands were enqueued since the writer was last woken.
    submitted: bool,
    on_quiesced: Box<dyn FnMut() + Send>,
    drained: bool,
}

impl EventLoop {
    /// A loop that accepts connections and drives a shard.
    ///
    /// # Errors
    /// Fails if the listening socket cannot be registered.
    pub(crate) fn new(parts: EventLoopParts) -> io::Result<EventLoop> {
        let mut listener = TcpListener::from_std(parts.listener);
        parts.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(EventLoop {
            poll: parts.poll,
            acceptor: Acceptor::new(listener, parts.connection_limits),
            sockets: Vec::new(),
            shard: parts.shard,
            mailbox: parts.mailbox,
            turn_response_bytes_max: parts.workers.memory.turn_response_bytes_max(),
            write_bytes_max: parts.workers.memory.write_bytes_max(),
            workers: parts.workers,
            clock: parts.clock,
            stall_timeout_milliseconds: parts.stall_timeout_milliseconds,
            scratch: vec![0; READ_BYTES_MAX].into(),
            ready: ReadyQueue::default(),
            write_queue: WriteQueue::default(),
            dirty: Vec::new(),
            replies: Vec::new(),
            messages: VecDeque::new(),
            submitted: false,
            on_quiesced: parts.on_quiesced,
            drained: false,
        })
    }

    /// Runs until the shard has drained. `early` are connections that were accepted before.
    ///
    /// # Errors
    /// Fails if the kernel cannot be polled.
    pub(crate) fn run(&mut self, early: Vec<(std::net::TcpStream, SocketAddr)>) -> io::Result<()> {
        for (stream, peer) in early {
            self.add_connection(TcpStream::from_std(stream), peer, self.clock.now());
        }
        let mut events = Events::with_capacity(EVENTS);
        let mut now = self.clock.now();
        while !self.drained {
            match self.poll.poll(&mut events, self.poll_timeout(now)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    // Every turn takes the messages.
                    WAKER => {}
                    LISTENER => self.acceptor.readable(),
                    Token(token) => self.note_readiness((token - FIRST_SOCKET) as u32, event),
                }
            }
            // Reading the clocks costs about as much as parsing a head, so it is done once for all inputs and once for all
            // outputs.
            now = self.clock.now();
            self.read_mailbox(now);
            self.accept(now);
            self.read_ready(now);
            now = self.clock.now();
            self.shard.tick(now);
            self.drain_outputs(now);
            self.wake_writer();
            self.shard.count_finished(now);
            self.write_dirty(now);
            self.wake_writer();
            self.shard.count_finished(now);
            self.shard.count_waiting();
        }
        Ok(())
    }

    /// The timeout of the next poll: zero while there is work.
    fn poll_timeout(&self, now: Now) -> Option<Duration> {
        let has_messages = !self.messages.is_empty() || self.mailbox.is_due(self.shard.awaits_events());
        if has_messages || !self.ready.is_empty() || self.shard.has_dirty() || self.write_queue.any_now() {
            return Some(Duration::ZERO);
        }
        if self.acceptor.is_ready() {
            return Some(Duration::ZERO);
        }
        let next = [self.shard.poll_timeout(), self.acceptor.paused_until(), self.write_queue.wakes_at()]
            .into_iter()
            .flatten()
            .min()?;
        // One more microsecond, because the kernel rounds down.
        Some(Duration::from_micros(next.since(now.mono) + 1))
    }

    fn note_readiness(&mut self, slot: u32, event: &mio::event::Event) {
        let Some(Some(socket)) = self.sockets.get_mut(slot as usize) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            socket.readable = true;
            socket.read_closed |= event.is_read_closed() || event.is_error();
            if !socket.in_ready {
                socket.in_ready = true;
                self.ready.push(socket.group, slot);
            }
        }
        if event.is_writable() && !socket.writable {
            socket.writable = true;
            self.queue_write(slot);
        }
    }

    /// Handles messages until there is none, or until so many responses are queued that they are to be written first.
    fn read_mailbox(&mut self, now: Now) {
        if self.messages.is_empty() {
            self.mailbox.take(&mut self.messages);
        }
        while !self.turn_is_full()
            && let Some(message) = self.messages.pop_front()
        {
            match &message {
                ShardMessage::Committed(share) => self.write_queue.commands_answered(share.results.len()),
                ShardMessage::CommandDropped(_) => self.write_queue.commands_answered(1),
                _ => {}
            }
            self.shard.handle(Input::Message(message), now);
            self.drain_outputs(now);
        }
    }

    /// Whether so many responses are queued that the loop writes before it goes on.
    fn turn_is_full(&self) -> bool {
        self.shard.unoffered_response_bytes() >= self.turn_response_bytes_max
    }

    fn accept(&mut self, now: Now) {
        self.acceptor.tick(now);
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some((stream, peer)) = self.acceptor.accept(now) else { return };
            self.add_connection(stream, peer, now);
        }
    }

    fn add_connection(&mut self, mut stream: TcpStream, peer: SocketAddr, now: Now) {
        // A rejected connection is closed without a response, which would cost a buffer and a timer.
        let Some(network) = self.acceptor.admit(peer.ip(), now) else { return };
        let slot = self.shard.accept(peer.ip(), now);
        let token = Token(slot as usize + FIRST_SOCKET);
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE) {
            log::warn!("cannot register a connection with the event loop: {error}");
            metrics::CONNECTIONS_REJECTED[ConnectionRejection::Unwatched as usize].add(1);
            self.shard.handle(Input::Failed { slot }, now);
        }
        if self.sockets.len() <= slot as usize {
            self.sockets.resize_with(slot as usize + 1, || None);
        }
        metrics::CONNECTIONS_OPEN.add(1);
        metrics::CONNECTIONS_ACCEPTED.add(1);
        self.sockets[slot as usize] = Some(ClientSocket {
            stream,
            readable: false,
            writable: true,
            read_closed: false,
            in_ready: false,
            write_queued: false,
            group: self.ready.join(network),
            network,
        });
        self.drain_outputs(now);
    }

    /// Reads readable connections, the networks in turns, each connection a bounded number of times, so that none starves.
    fn read_ready(&mut self, now: Now) {
        // Connections that become ready meanwhile are read in the next turn.
        for _ in 0..self.ready.len().min(TURN_CONNECTIONS_MAX) {
            if self.turn_is_full() {
                return;
            }
            let Some(slot) = self.ready.pop() else { return };
            if let Some(Some(socket)) = self.sockets.get_mut(slot as usize) {
                socket.in_ready = false;
                self.read_socket(slot, now);
            }
        }
    }

    fn read_socket(&mut self, slot: u32, now: Now) {
        for _ in 0..READS_PER_TURN_MAX {
            let Some(Some(socket)) = self.sockets.get_mut(slot as usize) else { return };
            if !socket.readable || !self.shard.wants_bytes(slot) {
                return;
            }
            match socket.stream.read(&mut self.scratch) {
                Ok(0) => {
                    socket.readable = false;
                    self.shard.handle(Input::Ended { slot }, now);
                }
                Ok(n) => {
                    // A short read has emptied the socket. The kernel reports later bytes.
                    socket.readable = n == self.scratch.len() || socket.read_closed;
                    metrics::BYTES_RECEIVED.add(n as u64);
                    self.shard.handle(Input::Bytes { slot, bytes: &self.scratch[..n] }, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    socket.readable = false;
                    self.shard.handle(Input::Failed { slot }, now);
                }
            }
            self.drain_outputs(now);
        }
        self.resume(slot);
    }

    /// Adds a connection to `ready` if it has unread bytes.
    fn resume(&mut self, slot: u32) {
        if let Some(Some(socket)) = self.sockets.get_mut(slot as usize)
            && socket.readable
            && !socket.in_ready
        {
            socket.in_ready = true;
            self.ready.push(socket.group, slot);
        }
    }

    /// Writes each connection with pending output, at most once per turn.
    fn write_dirty(&mut self, now: Now) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.shard.take_dirty(&mut dirty);
        for slot in dirty.drain(..) {
            self.queue_write(slot);
        }
        self.dirty = dirty;

        let mut replies = std::mem::take(&mut self.replies);
        self.write_queue.take_replies(&mut replies);
        for slot in replies.drain(..) {
            self.write_socket(slot, now);
        }
        self.replies = replies;

        self.write_queue.begin_turn(now.mono, |slot| self.shard.outgoing_bytes(slot));
        while let Some(slot) = self.write_queue.next_stream(|slot| self.shard.outgoing_bytes(slot)) {
            self.write_socket(slot, now);
        }
    }

    fn queue_write(&mut self, slot: u32) {
        let Some(Some(socket)) = self.sockets.get_mut(slot as usize) else { return };
        if std::mem::replace(&mut socket.write_queued, true) {
            return;
        }
        if self.shard.is_stream(slot) { self.write_queue.push_stream(slot) } else { self.write_queue.push_reply(slot) }
    }

    fn write_socket(&mut self, slot: u32, now: Now) {
        let Some(Some(socket)) = self.sockets.get_mut(slot as usize) else { return };
        socket.write_queued = false;
        if !socket.writable {
            return;
        }
        let mut slices = [IoSlice::new(&[]); WRITE_BUFFERS_MAX];
        let filled = self.shard.outgoing(slot, &mut slices);
        if filled == 0 {
            return;
        }
        let waiting: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        let offered = waiting.min(self.write_bytes_max);
        let written = if offered < waiting {
            gather(&slices[..filled], &mut self.scratch[..offered]);
            socket.stream.write(&self.scratch[..offered])
        } else if filled == 1 {
            socket.stream.write(&slices[0])
        } else {
            socket.stream.write_vectored(&slices[..filled])
        };
        match written {
            Ok(bytes) => {
                // After a short write, the kernel reports when there is room.
                socket.writable = bytes == offered;
                metrics::BYTES_SENT.add(bytes as u64);
                let more = socket.writable && (filled == WRITE_BUFFERS_MAX || offered < waiting);
                self.shard.handle(Input::Wrote { slot, bytes }, now);
                if more {
                    self.queue_write(slot);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.writable = false;
                // The shard must learn that the reader is behind.
                self.shard.handle(Input::Wrote { slot, bytes: 0 }, now);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.queue_write(slot),
            Err(_) => self.shard.handle(Input::Failed { slot }, now),
        }
        self.drain_outputs(now);
    }

    fn drain_outputs(&mut self, now: Now) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Work(work) => {
                    self.submit(work);
                }
                Output::TuneStream(slot) => {
                    self.tune_stream(slot);
                }
                Output::Resume(slot) => {
                    self.resume(slot);
                }
                Output::MeasureUndelivered(slot) => {
                    if let Some(Some(socket)) = self.sockets.get(slot as usize)
                        && let Some(bytes) = undelivered_bytes(&socket.stream)
                    {
                        self.shard.handle(Input::Undelivered { slot, bytes }, now);
                    }
                }
                Output::EndWriting(slot) => {
                    if let Some(Some(socket)) = self.sockets.get(slot as usize) {
                        // If the peer has disconnected, reading reports it.
                        let _ = socket.stream.shutdown(Shutdown::Write);
                    }
                }
                Output::Close(slot) => {
                    self.close(slot);
                }
                Output::StopAccepting => {
                    self.acceptor.stop(self.poll.registry());
                    self.workers.replies.responders.stop();
                }
                Output::Quiesced => {
                    (self.on_quiesced)();
                }
                Output::Drained => {
                    self.drained = true;
                }
            }
        }
    }

    /// Enqueues work for its worker.
    fn submit(&mut self, work: Work) {
        if matches!(work, Work::Command(_)) {
            self.submitted = true;
            self.write_queue.command_submitted();
        }
        self.workers.submit(work);
    }

    /// Wakes the writer for the commands of this turn.
    fn wake_writer(&mut self) {
        if std::mem::take(&mut self.submitted) {
            self.workers.wake_writer();
        }
    }

    fn tune_stream(&mut self, slot: u32) {
        let Some(Some(socket)) = self.sockets.get(slot as usize) else { return };
        let socket = SockRef::from(&socket.stream);
        // Failures are ignored: the stall timeout bounds the same.
        if self.workers.memory.socket_buffer_bytes.is_none() {
            let _ = socket.set_send_buffer_size(STREAM_SEND_BUFFER_BYTES);
        }
        let _ = socket.set_tcp_user_timeout(Some(Duration::from_millis(self.stall_timeout_milliseconds)));
    }

    fn close(&mut self, slot: u32) {
        // The kernel forgets the registration of a socket that is closed (epoll(7), question 6).
        if let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) {
            self.acceptor.release(socket.network);
            self.ready.leave(socket.group);
            metrics::CONNECTIONS_OPEN.sub(1);
        }
    }
}

/// Fills `into` with the first bytes of `slices`, which have at least as many.
fn gather(slices: &[IoSlice<'_>], into: &mut [u8]) {
    let mut filled = 0;
    for slice in slices {
        let part = slice.len().min(into.len() - filled);
        into[filled..filled + part].copy_from_slice(&slice[..part]);
        filled += part;
    }
}

/// Bytes that the kernel has taken for a socket and that its peer has not acknowledged (tcp(7), `SIOCOUTQ`); `None` if it does
/// not tell.
#[cfg(target_os = "linux")]
fn undelivered_bytes(socket: &TcpStream) -> Option<usize> {
    use std::os::fd::AsRawFd;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the pointer is to an integer that outlives the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    (status == 0).then_some(bytes.max(0) as usize)
}

#[cfg(not(target_os = "linux"))]
fn undelivered_bytes(_socket: &TcpStream) -> Option<usize> {
    None
}

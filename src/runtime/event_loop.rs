//! One event loop: sockets and wakeups in, a shard fed, its outputs carried out.
//!
//! Invariant: a connection with bytes left to read that the shard would take is in `ready`, so that none is forgotten
//! between two edges of its readiness.

use super::clock::Clock;
use super::connections::Connections;
use super::mailbox::Mailbox;
use super::workers::Workers;
use super::write_queue::WriteQueue;
use crate::base::limits::*;
use crate::base::metrics::{self, ConnectionRejection};
use crate::base::time::{MonoTime, Now};
use crate::domain::command::ReplyTo;
use crate::domain::work::Work;
use crate::shard::message::ShardMessage;
use crate::shard::{Input, Output, Shard};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The token of the loop's waker.
pub(crate) const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_SOCKET: usize = 2;
/// How seldom refused connections are told of, in milliseconds.
const REFUSALS_TOLD_MILLISECONDS: u64 = 60_000;
/// Readiness events taken from the kernel at once.
const EVENTS: usize = 1024;

struct ClientSocket {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The peer ended its side: a short read is not yet the last.
    read_closed: bool,
    in_ready: bool,
    write_queued: bool,
    /// The network that it counts for, if its connections are limited.
    network: Option<IpAddr>,
}

/// One event loop.
pub(crate) struct EventLoop {
    poll: Poll,
    listener: Option<TcpListener>,
    sockets: Vec<Option<ClientSocket>>,
    shard: Shard,
    mailbox: Arc<Mailbox>,
    workers: Workers,
    connections: Arc<Connections>,
    clock: Clock,
    stall_timeout_milliseconds: u64,
    scratch: Box<[u8]>,
    ready: Vec<u32>,
    write_queue: WriteQueue,
    /// Empty between turns; they keep their memory.
    dirty: Vec<u32>,
    replies: Vec<u32>,
    messages: Vec<ShardMessage>,
    /// Commands were handed over that the writer has not been told of.
    submitted: bool,
    accepting: bool,
    accept_again_at: Option<MonoTime>,
    accept_failed: bool,
    on_quiet: Box<dyn FnMut() + Send>,
    refusals_told_at: Option<MonoTime>,
    drained: bool,
}

impl EventLoop {
    /// A loop that accepts from `listener` and feeds `shard`. `poll` is the one whose waker `mailbox` has.
    /// `on_quiet` is told when the loop asks nothing more of anybody.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        poll: Poll,
        listener: std::net::TcpListener,
        shard: Shard,
        mailbox: Arc<Mailbox>,
        workers: Workers,
        connections: Arc<Connections>,
        clock: Clock,
        stall_timeout_milliseconds: u64,
        on_quiet: Box<dyn FnMut() + Send>,
    ) -> io::Result<EventLoop> {
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(EventLoop {
            poll,
            listener: Some(listener),
            sockets: Vec::new(),
            shard,
            mailbox,
            workers,
            connections,
            clock,
            stall_timeout_milliseconds,
            scratch: vec![0; READ_BYTES_MAX].into(),
            ready: Vec::new(),
            write_queue: WriteQueue::default(),
            dirty: Vec::new(),
            replies: Vec::new(),
            messages: Vec::new(),
            submitted: false,
            accepting: true,
            accept_again_at: None,
            accept_failed: false,
            on_quiet,
            refusals_told_at: None,
            drained: false,
        })
    }

    /// Runs until the shard has drained. `adopted` are the connections that were accepted for this loop before it ran.
    pub(crate) fn run(&mut self, adopted: Vec<(std::net::TcpStream, SocketAddr)>) -> io::Result<()> {
        for (stream, peer) in adopted {
            self.accepted(TcpStream::from_std(stream), peer, self.clock.now());
        }
        let mut events = Events::with_capacity(EVENTS);
        while !self.drained {
            match self.poll.poll(&mut events, self.poll_timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let mut woken = false;
            for event in &events {
                match event.token() {
                    WAKER => woken = true,
                    LISTENER => self.accepting = true,
                    Token(token) => self.note_readiness((token - FIRST_SOCKET) as u32, event),
                }
            }
            if woken {
                self.read_mailbox();
            }
            self.accept();
            self.read_ready();
            let now = self.clock.now();
            self.shard.tick(now);
            self.drain_outputs(now);
            self.wake_writer();
            self.count_finished();
            self.write_dirty();
            self.wake_writer();
            self.count_finished();
            self.shard.count_waiting();
        }
        Ok(())
    }

    /// Counts the requests that were answered meanwhile.
    fn count_finished(&mut self) {
        if self.shard.has_finished() {
            self.shard.count_finished(self.clock.now());
        }
    }

    /// How long to wait for the kernel: not at all while there is something to go on with.
    fn poll_timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.shard.has_dirty() || self.write_queue.any_now() {
            return Some(Duration::ZERO);
        }
        if self.accepting && self.accept_again_at.is_none() && self.listener.is_some() {
            return Some(Duration::ZERO);
        }
        let next = [self.shard.poll_timeout(), self.accept_again_at, self.write_queue.wakes_at()]
            .into_iter()
            .flatten()
            .min()?;
        // One microsecond more, because the kernel rounds, and waking too early would be for nothing.
        Some(Duration::from_micros(next.since(self.clock.now().mono) + 1))
    }

    fn note_readiness(&mut self, slot: u32, event: &mio::event::Event) {
        let Some(Some(socket)) = self.sockets.get_mut(slot as usize) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            socket.readable = true;
            socket.read_closed |= event.is_read_closed() || event.is_error();
            if !socket.in_ready {
                socket.in_ready = true;
                self.ready.push(slot);
            }
        }
        if event.is_writable() && !socket.writable {
            socket.writable = true;
            self.queue_write(slot);
        }
    }

    fn read_mailbox(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        self.mailbox.take(&mut messages);
        for message in messages.drain(..) {
            let now = self.clock.now();
            if let ShardMessage::Committed(share) = &message {
                self.write_queue.commands_answered(share.results.len());
            }
            self.shard.handle(Input::Message(message), now);
            self.drain_outputs(now);
        }
        self.messages = messages;
    }

    fn accept(&mut self) {
        let now = self.clock.now();
        if self.accept_again_at.is_some_and(|at| at <= now.mono) {
            self.accept_again_at = None;
        }
        if !self.accepting || self.accept_again_at.is_some() {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some(listener) = &self.listener else { return };
            if self.connections.are_full() {
                self.pause_accepting(now, ConnectionRejection::Maximum);
                return;
            }
            match listener.accept() {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut self.accept_failed) {
                        log::info!("accepting goes on");
                    }
                    self.accepted(stream, peer, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accepting = false;
                    return;
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.accept_failed, true) {
                        log::warn!("accepting pauses: {}", why_not_accepted(&error));
                    }
                    self.pause_accepting(now, ConnectionRejection::Resources);
                    return;
                }
            }
        }
    }

    fn pause_accepting(&mut self, now: Now, why: ConnectionRejection) {
        metrics::CONNECTIONS_REJECTED[why as usize].add(1);
        self.accept_again_at = Some(now.mono.plus_milliseconds(ACCEPT_PAUSE_MILLISECONDS));
    }

    fn accepted(&mut self, mut stream: TcpStream, peer: SocketAddr, now: Now) {
        // Closed without a word: whoever takes up too many gets nothing that costs a buffer, a timer or a descriptor.
        let Ok(network) = self.connections.begin(peer.ip()) else {
            self.note_refusal(peer.ip(), now);
            return;
        };
        // An answer is written in one piece, so waiting to join small ones only delays it.
        let _ = stream.set_nodelay(true);
        let slot = self.shard.accept(peer.ip(), now);
        let token = Token(slot as usize + FIRST_SOCKET);
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE) {
            log::warn!("a connection cannot be watched: {error}");
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
            network,
        });
        self.drain_outputs(now);
    }

    /// Counts a connection that was refused, and says so now and then.
    fn note_refusal(&mut self, peer: IpAddr, now: Now) {
        metrics::CONNECTIONS_REJECTED[ConnectionRejection::Address as usize].add(1);
        if self.refusals_told_at.is_none_or(|told| now.mono >= told.plus_milliseconds(REFUSALS_TOLD_MILLISECONDS)) {
            self.refusals_told_at = Some(now.mono);
            log::warn!(
                "{peer} has MAX_CONNECTIONS_PER_ADDRESS connections: more are closed, as those of others may be"
            );
        }
    }

    /// Reads every connection that has something, each at most a few times, so that none starves.
    fn read_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for slot in ready.drain(..) {
            if let Some(Some(socket)) = self.sockets.get_mut(slot as usize) {
                socket.in_ready = false;
                self.read_socket(slot);
            }
        }
        // What was added meanwhile comes first next time.
        std::mem::swap(&mut self.ready, &mut ready);
        self.ready.append(&mut ready);
    }

    fn read_socket(&mut self, slot: u32) {
        for _ in 0..READS_PER_TURN_MAX {
            let Some(Some(socket)) = self.sockets.get_mut(slot as usize) else { return };
            if !socket.readable || !self.shard.wants_bytes(slot) {
                return;
            }
            let now = self.clock.now();
            match socket.stream.read(&mut self.scratch) {
                Ok(0) => {
                    socket.readable = false;
                    self.shard.handle(Input::Ended { slot }, now);
                }
                Ok(n) => {
                    // A short read has emptied the socket; what arrives later makes a new edge.
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

    /// Puts a connection back on the list if there is more to read from it.
    fn resume(&mut self, slot: u32) {
        if let Some(Some(socket)) = self.sockets.get_mut(slot as usize)
            && socket.readable
            && !socket.in_ready
        {
            socket.in_ready = true;
            self.ready.push(slot);
        }
    }

    /// Writes each connection that has something, at most once in a turn.
    fn write_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.shard.take_dirty(&mut dirty);
        for slot in dirty.drain(..) {
            self.queue_write(slot);
        }
        self.dirty = dirty;

        let now = self.clock.now();
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
        let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        let written =
            if filled == 1 { socket.stream.write(&slices[0]) } else { socket.stream.write_vectored(&slices[..filled]) };
        match written {
            Ok(bytes) => {
                // After a short write the kernel tells when there is room again.
                socket.writable = bytes == offered;
                metrics::BYTES_SENT.add(bytes as u64);
                let more = socket.writable && filled == WRITE_BUFFERS_MAX;
                self.shard.handle(Input::Wrote { slot, bytes }, now);
                if more {
                    self.queue_write(slot);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.writable = false;
                // The shard does not know yet that its reader has fallen behind.
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
                    if let Err(to) = self.submit(work) {
                        self.shard.handle(Input::Message(ShardMessage::Dropped(to)), now);
                    }
                }
                Output::TuneStream(slot) => {
                    self.tune_stream(slot);
                }
                Output::Resume(slot) => {
                    self.resume(slot);
                }
                Output::EndWriting(slot) => {
                    if let Some(Some(socket)) = self.sockets.get(slot as usize) {
                        // The peer may be gone already; then reading says so.
                        let _ = socket.stream.shutdown(Shutdown::Write);
                    }
                }
                Output::Close(slot) => {
                    self.close(slot);
                }
                Output::StopAccepting => {
                    if let Some(mut listener) = self.listener.take() {
                        let _ = self.poll.registry().deregister(&mut listener);
                    }
                    self.workers.responders.stop();
                }
                Output::Quiesced => {
                    (self.on_quiet)();
                }
                Output::Drained => {
                    self.drained = true;
                }
            }
        }
    }

    /// Hands work to its worker; gives back whose work was not taken because the queue is full.
    fn submit(&mut self, work: Work) -> Result<(), ReplyTo> {
        let is_command = matches!(work, Work::Command(_));
        self.workers.submit(work)?;
        if is_command {
            self.submitted = true;
            self.write_queue.command_submitted();
        }
        Ok(())
    }

    /// Tells the writer of the commands that this turn has handed over.
    fn wake_writer(&mut self) {
        if std::mem::take(&mut self.submitted) {
            self.workers.wake_writer();
        }
    }

    fn tune_stream(&mut self, slot: u32) {
        let Some(Some(socket)) = self.sockets.get(slot as usize) else { return };
        let socket = SockRef::from(&socket.stream);
        // Neither is worth ending the stream for: they only tighten what the stall timeout bounds anyway.
        let _ = socket.set_send_buffer_size(STREAM_SEND_BUFFER_BYTES);
        let _ = socket.set_tcp_user_timeout(Some(Duration::from_millis(self.stall_timeout_milliseconds)));
    }

    fn close(&mut self, slot: u32) {
        if let Some(mut socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) {
            let _ = self.poll.registry().deregister(&mut socket.stream);
            self.connections.end(socket.network);
            metrics::CONNECTIONS_OPEN.sub(1);
        }
    }
}

/// What stands in the way of accepting, and what helps.
fn why_not_accepted(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "no descriptors are left to this process: raise its limit of open files".into(),
        Some(libc::ENFILE) => "no descriptors are left to this machine".into(),
        _ => error.to_string(),
    }
}

/// Errors of `accept` that say nothing about the next connection (accept(2), "Error handling").
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPERM
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::ENONET
                | libc::EOPNOTSUPP
        )
    )
}

//! The sockets of the requests to the upstream, on the poll of the responders' thread.
//!
//! Invariant: a socket with unread bytes is in `readable`, because the kernel reports readiness only when it changes.

use super::port::ResponderPort;
use crate::base::limits::UPSTREAM_ADDRESS_SECONDS;
use crate::base::thread::{OnPanic, spawn};
use crate::base::time::MonoTime;
use crate::config::upstream_address::UpstreamAddress;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// The token of the thread's waker.
pub(crate) const WAKER: Token = Token(0);
const FIRST_SOCKET: usize = 1;
/// Maximum number of readiness events per poll.
const EVENTS: usize = 512;
/// Maximum bytes per read.
const READ_BYTES_MAX: usize = 32 * 1024;
/// Stack of the thread that resolves names, in bytes: the system's resolver needs some.
const RESOLVER_STACK_BYTES: usize = 2 * 1024 * 1024;

/// The name of a socket. No other socket of this process has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SocketId(usize);

/// Something that happened to a socket.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// It is connected.
    Connected(SocketId),
    /// It takes bytes again.
    Writable(SocketId),
    /// It ended, or broke, or could not be connected, with this error. It is closed.
    Closed(SocketId, Option<String>),
}

/// Whether a socket is to be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As soon as it has bytes.
    On,
    /// Not before [`UpstreamSockets::resume`].
    Paused,
}

/// The sockets.
pub(super) struct UpstreamSockets {
    poll: Poll,
    events: Events,
    port: Arc<ResponderPort>,
    sockets: HashMap<SocketId, UpstreamSocket>,
    next_token: usize,
    readable: VecDeque<SocketId>,
    addresses: Addresses,
    scratch: Box<[u8]>,
}

struct UpstreamSocket {
    state: SocketState,
    in_readable: bool,
    /// The peer ended its side, so that a short read may not be the last.
    read_closed: bool,
    is_paused: bool,
}

enum SocketState {
    /// Waits for the addresses of the host.
    Resolving,
    /// Waits for the connection to `address`. The rest follows if it fails.
    Connecting {
        stream: TcpStream,
        address: SocketAddr,
        rest: VecDeque<SocketAddr>,
    },
    Open(TcpStream),
}

/// The addresses of the upstream's host. They are resolved on a thread of its own, because resolution cannot be cancelled.
#[derive(Default)]
struct Addresses {
    known: Vec<SocketAddr>,
    /// The addresses are resolved again after this time.
    known_until: MonoTime,
    is_resolving: bool,
}

impl UpstreamSockets {
    /// No sockets yet. The waker of `poll` is that of `port`.
    pub(super) fn new(poll: Poll, port: Arc<ResponderPort>) -> UpstreamSockets {
        UpstreamSockets {
            poll,
            events: Events::with_capacity(EVENTS),
            port,
            sockets: HashMap::new(),
            next_token: FIRST_SOCKET,
            readable: VecDeque::new(),
            addresses: Addresses::default(),
            scratch: vec![0; READ_BYTES_MAX].into(),
        }
    }

    /// Begins to open a connection to the upstream.
    pub(super) fn connect(
        &mut self,
        address: &UpstreamAddress,
        now: MonoTime,
        happened: &mut Vec<SocketEvent>,
    ) -> SocketId {
        let id = SocketId(self.next_token);
        self.next_token += 1;
        self.sockets.insert(
            id,
            UpstreamSocket { state: SocketState::Resolving, in_readable: false, read_closed: false, is_paused: false },
        );
        let addresses = match address.host.parse::<IpAddr>() {
            Ok(ip) => Some(VecDeque::from([SocketAddr::new(ip, address.port)])),
            Err(_) => (now < self.addresses.known_until).then(|| self.addresses.known.iter().copied().collect()),
        };
        match addresses {
            Some(addresses) => self.dial(id, addresses, None, happened),
            None if self.addresses.is_resolving => {}
            None => self.resolve(address, happened),
        }
        id
    }

    /// Closes a socket.
    pub(super) fn close(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.remove(&id) else { return };
        match socket.state {
            SocketState::Resolving => {}
            SocketState::Connecting { stream, address, .. } => {
                self.drop_stream(stream);
                // An address that does not respond in time is tried last.
                let known = &mut self.addresses.known;
                if let Some(place) = known.iter().position(|known| *known == address) {
                    known[place..].rotate_left(1);
                }
            }
            SocketState::Open(stream) => self.drop_stream(stream),
        }
    }

    /// Takes the addresses of the host, and connects the sockets that wait for them.
    pub(super) fn resolved(
        &mut self,
        resolved: Result<Vec<SocketAddr>, String>,
        now: MonoTime,
        happened: &mut Vec<SocketEvent>,
    ) {
        self.addresses.is_resolving = false;
        let waiting: Vec<SocketId> = self
            .sockets
            .iter()
            .filter(|(_, socket)| matches!(socket.state, SocketState::Resolving))
            .map(|(id, _)| *id)
            .collect();
        match resolved {
            Ok(addresses) => {
                self.addresses.known_until = now.plus_milliseconds(1000 * UPSTREAM_ADDRESS_SECONDS);
                self.addresses.known = addresses;
                for id in waiting {
                    let addresses = self.addresses.known.iter().copied().collect();
                    self.dial(id, addresses, None, happened);
                }
            }
            Err(error) => {
                for id in waiting {
                    self.sockets.remove(&id);
                    happened.push(SocketEvent::Closed(id, Some(error.clone())));
                }
            }
        }
    }

    /// Writes bytes; returns how many the socket took, or `None` if it takes nothing more.
    pub(super) fn write(&mut self, id: SocketId, bytes: &[u8]) -> Option<usize> {
        let Some(UpstreamSocket { state: SocketState::Open(stream), .. }) = self.sockets.get_mut(&id) else {
            return Some(0);
        };
        loop {
            match stream.write(bytes) {
                Ok(written) => return Some(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the peer sent before is still read.
                Err(_) => return None,
            }
        }
    }

    /// Waits for something to happen until `timeout`; `None` waits without bound.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, happened: &mut Vec<SocketEvent>) -> io::Result<()> {
        let timeout = if self.readable.is_empty() { timeout } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let mut failed = Vec::new();
        for event in &self.events {
            let id = SocketId(event.token().0);
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            if matches!(socket.state, SocketState::Connecting { .. }) {
                match connection_result(&socket.state) {
                    None => continue,
                    Some(Err(error)) => {
                        failed.push((id, error));
                        continue;
                    }
                    Some(Ok(())) => {
                        if let SocketState::Connecting { stream, .. } =
                            std::mem::replace(&mut socket.state, SocketState::Resolving)
                        {
                            socket.state = SocketState::Open(stream);
                            happened.push(SocketEvent::Connected(id));
                        }
                    }
                }
            }
            if event.is_writable() {
                happened.push(SocketEvent::Writable(id));
            }
            socket.read_closed |= event.is_read_closed() || event.is_error();
            if (event.is_readable() || socket.read_closed)
                && !socket.is_paused
                && !std::mem::replace(&mut socket.in_readable, true)
            {
                self.readable.push_back(id);
            }
        }
        for (id, error) in failed {
            self.dial_next(id, error, happened);
        }
        Ok(())
    }

    /// Reads on from a socket that was paused.
    pub(super) fn resume(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id)
            && std::mem::take(&mut socket.is_paused)
            && !std::mem::replace(&mut socket.in_readable, true)
        {
            self.readable.push_back(id);
        }
    }

    /// Reads once from each readable socket, and passes the bytes to `take`, which says whether to read on.
    pub(super) fn read(&mut self, happened: &mut Vec<SocketEvent>, mut take: impl FnMut(SocketId, &[u8]) -> Reading) {
        for _ in 0..self.readable.len() {
            let Some(id) = self.readable.pop_front() else { return };
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            let SocketState::Open(stream) = &mut socket.state else { continue };
            let end = match stream.read(&mut self.scratch) {
                Ok(0) => Some(None),
                Ok(read) if take(id, &self.scratch[..read]) == Reading::Paused => {
                    // What it has is read after `resume`, whether it is reported meanwhile or not.
                    (socket.is_paused, socket.in_readable) = (true, false);
                    continue;
                }
                Ok(read) => {
                    if read == self.scratch.len() || socket.read_closed {
                        self.readable.push_back(id);
                    } else {
                        // A short read has taken everything, and the next bytes are reported.
                        socket.in_readable = false;
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    self.readable.push_back(id);
                    continue;
                }
                Err(error) => Some(Some(error.to_string())),
            };
            socket.in_readable = false;
            if let Some(error) = end {
                self.close(id);
                happened.push(SocketEvent::Closed(id, error));
            }
        }
    }

    /// Connects a socket to the first of the addresses that can be tried. `error` is that of an address before them.
    fn dial(
        &mut self,
        id: SocketId,
        mut addresses: VecDeque<SocketAddr>,
        mut error: Option<String>,
        happened: &mut Vec<SocketEvent>,
    ) {
        while let Some(address) = addresses.pop_front() {
            match self.open(id, address) {
                Ok(stream) => {
                    if let Some(socket) = self.sockets.get_mut(&id) {
                        socket.state = SocketState::Connecting { stream, address, rest: addresses };
                    }
                    return;
                }
                Err(failed) => error = Some(failed.to_string()),
            }
        }
        self.sockets.remove(&id);
        let error = error.unwrap_or_else(|| "the name has no address".to_owned());
        happened.push(SocketEvent::Closed(id, Some(error)));
    }

    fn dial_next(&mut self, id: SocketId, error: String, happened: &mut Vec<SocketEvent>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let state = std::mem::replace(&mut socket.state, SocketState::Resolving);
        if let SocketState::Connecting { rest, stream, .. } = state {
            self.drop_stream(stream);
            self.dial(id, rest, Some(error), happened);
        }
    }

    fn drop_stream(&self, mut stream: TcpStream) {
        // Closing removes the socket from the poll as well; an error changes nothing.
        let _ = self.poll.registry().deregister(&mut stream);
    }

    fn open(&self, id: SocketId, address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        self.poll.registry().register(&mut stream, Token(id.0), Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    fn resolve(&mut self, address: &UpstreamAddress, happened: &mut Vec<SocketEvent>) {
        let (host, port) = (address.host.clone(), address.port);
        let responders = Arc::clone(&self.port);
        let resolve = move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            responders.resolved(addresses.map_err(|error| error.to_string()));
        };
        self.addresses.is_resolving = true;
        if let Err(error) = spawn("resolve", RESOLVER_STACK_BYTES, OnPanic::Process, resolve) {
            self.resolved(Err(error.to_string()), MonoTime(0), happened);
        }
    }
}

/// Whether a connection is made; `None` if that is not known yet.
fn connection_result(state: &SocketState) -> Option<Result<(), String>> {
    let SocketState::Connecting { stream, .. } = state else { return None };
    if let Ok(Some(error)) | Err(error) = stream.take_error() {
        return Some(Err(error.to_string()));
    }
    match stream.peer_addr() {
        Ok(_) => Some(Ok(())),
        Err(error) if error.kind() == ErrorKind::NotConnected || error.raw_os_error() == Some(libc::EINPROGRESS) => {
            None
        }
        Err(error) => Some(Err(error.to_string())),
    }
}

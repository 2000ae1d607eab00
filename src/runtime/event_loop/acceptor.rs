//! Accepts connections, within the limits.

use crate::base::limits::ACCEPT_PAUSE_MILLISECONDS;
use crate::base::metrics::{self, ConnectionRejection};
use crate::base::time::{MonoTime, Now};
use crate::runtime::connection_limits::ConnectionLimits;
use mio::Registry;
use mio::net::{TcpListener, TcpStream};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Shortest time between two log lines about rejected connections, in milliseconds.
const REJECTION_LOG_MILLISECONDS: u64 = 60_000;

/// The listening socket, and the state of accepting.
pub(super) struct Acceptor {
    /// `None` once the loop accepts no more.
    listener: Option<TcpListener>,
    limits: Arc<ConnectionLimits>,
    /// The socket may have more connections.
    has_more: bool,
    paused_until: Option<MonoTime>,
    /// The last attempt failed, which is logged once.
    is_failing: bool,
    rejection_logged_at: Option<MonoTime>,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, limits: Arc<ConnectionLimits>) -> Acceptor {
        Acceptor {
            listener: Some(listener),
            limits,
            has_more: true,
            paused_until: None,
            is_failing: false,
            rejection_logged_at: None,
        }
    }

    /// Notes that the listening socket has become readable.
    pub(super) fn readable(&mut self) {
        self.has_more = true;
    }

    /// Whether `accept` may return a connection now.
    pub(super) fn is_ready(&self) -> bool {
        self.has_more && self.paused_until.is_none() && self.listener.is_some()
    }

    /// When a pause ends.
    pub(super) fn paused_until(&self) -> Option<MonoTime> {
        self.paused_until
    }

    /// Accepts no more connections.
    pub(super) fn stop(&mut self, registry: &Registry) {
        if let Some(mut listener) = self.listener.take() {
            // It is closed in any case.
            let _ = registry.deregister(&mut listener);
        }
    }

    /// Ends a pause whose time has come.
    pub(super) fn tick(&mut self, now: Now) {
        if self.paused_until.is_some_and(|until| until <= now.mono) {
            self.paused_until = None;
        }
    }

    /// Accepts the next connection; `None` until the socket has more, or until the end of a pause.
    pub(super) fn accept(&mut self, now: Now) -> Option<(TcpStream, SocketAddr)> {
        while self.is_ready() {
            if self.limits.is_full() {
                self.pause(now, ConnectionRejection::Maximum);
                return None;
            }
            match self.listener.as_ref()?.accept() {
                Ok(accepted) => {
                    if std::mem::take(&mut self.is_failing) {
                        log::info!("accepting connections again");
                    }
                    return Some(accepted);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.has_more = false,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        log::warn!("accepting pauses: {}", describe(&error));
                    }
                    self.pause(now, ConnectionRejection::Resources);
                }
            }
        }
        None
    }

    /// Counts an accepted connection. Returns the network that it is counted for, to be passed to `release`. `None` rejects
    /// the connection: its network has too many.
    pub(super) fn admit(&mut self, peer: IpAddr, now: Now) -> Option<Option<IpAddr>> {
        let counted = self.limits.begin(peer).ok();
        if counted.is_none() {
            self.count_rejection(peer, now);
        }
        counted
    }

    /// Counts the end of an admitted connection.
    pub(super) fn release(&self, network: Option<IpAddr>) {
        self.limits.end(network);
    }

    fn pause(&mut self, now: Now, reason: ConnectionRejection) {
        metrics::CONNECTIONS_REJECTED[reason as usize].add(1);
        self.paused_until = Some(now.mono.plus_milliseconds(ACCEPT_PAUSE_MILLISECONDS));
    }

    fn count_rejection(&mut self, peer: IpAddr, now: Now) {
        metrics::CONNECTIONS_REJECTED[ConnectionRejection::Address as usize].add(1);
        let logged_at = self.rejection_logged_at;
        if logged_at.is_none_or(|logged| now.mono >= logged.plus_milliseconds(REJECTION_LOG_MILLISECONDS)) {
            self.rejection_logged_at = Some(now.mono);
            log::warn!(
                "closing connections from {peer}, which has MAX_CONNECTIONS_PER_ADDRESS; other addresses are not logged for a while"
            );
        }
    }
}

/// An error of accept, with the remedy.
fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "this process has no file descriptors left: raise its limit of open files".into(),
        Some(libc::ENFILE) => "this machine has no file descriptors left".into(),
        _ => error.to_string(),
    }
}

/// Whether an error of accept concerns only one connection, so that the next may succeed (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
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

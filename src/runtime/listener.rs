//! The listening socket of all event loops: inherited from the parent process, or bound by this one.

use crate::base::memory_plan::MemoryPlan;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, RawFd};

/// Maximum length of the kernel's queue of connections that are not accepted yet.
const BACKLOG: i32 = 4096;

/// The first descriptor of inherited sockets (sd_listen_fds(3), `SD_LISTEN_FDS_START`).
const INHERITED_FROM: RawFd = 3;

/// The reason why there is no socket to listen on. It displays as one sentence for the operator.
#[derive(Debug)]
pub(crate) enum ListenError {
    /// A variable of the socket activation protocol cannot be parsed.
    Variable(&'static str, OsString),
    /// More than one socket was passed; with the names that `LISTEN_FDNAMES` gives.
    SeveralSockets(u32, Option<OsString>),
    /// The descriptor that should be a socket is not open.
    NotOpen,
    /// The passed socket cannot be used, for this reason.
    Unusable(String),
    /// The address is in use.
    InUse(String, u16),
    /// The user may not bind the port.
    NotPermitted(String, u16, io::Error),
    /// Binding failed for another reason.
    Bind(String, u16, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Variable(name, value) => write!(f, "{name} is {value:?}: it must be a whole number"),
            ListenError::SeveralSockets(count, names) => {
                write!(f, "LISTEN_FDS passes {count} sockets")?;
                if let Some(names) = names {
                    write!(f, " ({})", names.display())?;
                }
                f.write_str(": it must pass one")
            }
            ListenError::NotOpen => {
                write!(f, "LISTEN_FDS passes a socket, but the descriptor {INHERITED_FROM} is not open")
            }
            ListenError::Unusable(reason) => write!(f, "the socket that LISTEN_FDS passes {reason}"),
            ListenError::InUse(host, port) => write!(
                f,
                "port {port} on {host} is in use by another program: stop it, or set PORT to a free port (0: any)"
            ),
            ListenError::NotPermitted(host, port, error) => {
                write!(f, "this user may not listen on port {port} of {host}: {error}")
            }
            ListenError::Bind(host, port, error) => write!(f, "cannot listen on {host}, port {port}: {error}"),
        }
    }
}

/// Sets the size of the kernel's buffers, as the memory plan has it. The connections inherit it.
pub(crate) fn limit_buffers(socket: &TcpListener, memory: &MemoryPlan) {
    let Some(bytes) = memory.socket_buffer_bytes else { return };
    let socket = SockRef::from(socket);
    for result in [socket.set_send_buffer_size(bytes), socket.set_recv_buffer_size(bytes)] {
        if let Err(error) = result {
            log::warn!("the buffers of sockets keep their sizes: {error}");
        }
    }
}

/// The listening socket that was passed to this process (sd_listen_fds(3)): `LISTEN_PID` is the id of this process, and
/// `LISTEN_FDS` is 1. `None` without one. Call it once, before any descriptor is opened.
///
/// # Errors
/// Fails if the variables are invalid, or if the descriptor is not a listening TCP socket.
pub(crate) fn inherited() -> Result<Option<TcpListener>, ListenError> {
    let count = inherited_count(&|name| std::env::var_os(name), std::process::id())?;
    if count == 0 {
        return Ok(None);
    }
    // SAFETY: fcntl has no pointer arguments here. It fails if the descriptor is not open.
    if unsafe { libc::fcntl(INHERITED_FROM, libc::F_GETFD) } < 0 {
        return Err(ListenError::NotOpen);
    }
    // SAFETY: the descriptor is open, the protocol gives it to this process, and this function runs once.
    let socket = unsafe { Socket::from_raw_fd(INHERITED_FROM) };
    prepared(socket).map(Some)
}

/// The number of sockets that are passed to the process with this id: 0 or 1.
fn inherited_count(variable: &dyn Fn(&str) -> Option<OsString>, id: u32) -> Result<u32, ListenError> {
    let number = |name: &'static str| {
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let parsed = value.to_str().and_then(|text| text.parse::<u32>().ok());
        parsed.map(Some).ok_or(ListenError::Variable(name, value))
    };
    // Otherwise the variables belong to a parent process, which passed its environment on.
    if number("LISTEN_PID")? != Some(id) {
        return Ok(0);
    }
    match number("LISTEN_FDS")?.unwrap_or(0) {
        count @ (0 | 1) => Ok(count),
        count => Err(ListenError::SeveralSockets(count, variable("LISTEN_FDNAMES"))),
    }
}

/// The socket, prepared for event loops.
fn prepared(socket: Socket) -> Result<TcpListener, ListenError> {
    let unusable = |error: io::Error| ListenError::Unusable(format!("cannot be used: {error}"));
    let domain = socket.domain().map_err(unusable)?;
    if domain != Domain::IPV4 && domain != Domain::IPV6 || socket.r#type().map_err(unusable)? != Type::STREAM {
        return Err(ListenError::Unusable("is not a TCP socket".into()));
    }
    if !socket.is_listener().map_err(unusable)? {
        return Err(ListenError::Unusable("does not listen for connections".into()));
    }
    socket.set_nonblocking(true).and_then(|()| socket.set_cloexec(true)).map_err(unusable)?;
    socket.set_tcp_nodelay(true).map_err(unusable)?;
    Ok(socket.into())
}

/// Binds and listens.
///
/// # Errors
/// Fails if the address cannot be bound.
pub(crate) fn listen(host: &str, port: u16) -> Result<TcpListener, ListenError> {
    let address = SocketAddr::new(address_of(host), port);
    bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(host.into(), port),
        io::ErrorKind::PermissionDenied => ListenError::NotPermitted(host.into(), port, error),
        _ => ListenError::Bind(host.into(), port, error),
    })
}

/// The address of a `HOST`. `localhost` is the only name, and is not resolved, because a static program in an otherwise empty
/// container could not resolve it.
pub(crate) fn address_of(host: &str) -> IpAddr {
    host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process in TIME_WAIT do not block the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // The connections inherit it. A response is written at once, so Nagle's algorithm would only delay it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_sockets_are_counted() {
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let table: &[(&str, Variables<'_>, Result<u32, &str>)] = &[
            ("nothing is set", &[], Ok(0)),
            ("one for this process", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "1")], Ok(1)),
            ("one with a name", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "http")], Ok(1)),
            ("none for this process", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "0")], Ok(0)),
            ("no count", &[("LISTEN_PID", "7")], Ok(0)),
            ("one for another", &[("LISTEN_PID", "8"), ("LISTEN_FDS", "1")], Ok(0)),
            ("without a process id", &[("LISTEN_FDS", "1")], Ok(0)),
            ("several for another", &[("LISTEN_PID", "8"), ("LISTEN_FDS", "2")], Ok(0)),
            ("several", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b")], Err("2 sockets (a:b)")),
            ("no number of sockets", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "x")], Err("LISTEN_FDS is \"x\"")),
            ("fewer than none", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "-1")], Err("LISTEN_FDS is \"-1\"")),
            ("no id", &[("LISTEN_PID", "me"), ("LISTEN_FDS", "1")], Err("LISTEN_PID is \"me\"")),
        ];
        for (name, variables, expected) in table {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            match (inherited_count(&find, 7), expected) {
                (Ok(count), Ok(expected)) => assert_eq!(count, *expected, "{name}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{name}: {error}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_passed_socket_must_listen_for_tcp() {
        let bound = |kind| {
            let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            socket
        };
        assert!(prepared(bound(Type::DGRAM)).unwrap_err().to_string().contains("not a TCP socket"));
        assert!(
            prepared(Socket::new(Domain::UNIX, Type::STREAM, None).unwrap())
                .unwrap_err()
                .to_string()
                .contains("not a TCP socket")
        );
        assert!(prepared(bound(Type::STREAM)).unwrap_err().to_string().contains("does not listen"));
        let listening = bound(Type::STREAM);
        listening.listen(1).unwrap();
        listening.set_cloexec(false).unwrap();
        let listener = prepared(listening).unwrap();
        assert!(socket2::SockRef::from(&listener).nonblocking().unwrap());
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn connections_inherit_that_nothing_is_delayed() {
        let passed = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        passed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        passed.listen(1).unwrap();
        for listener in [listen("127.0.0.1", 0).unwrap(), prepared(passed).unwrap()] {
            listener.set_nonblocking(false).unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(listener.accept().unwrap().0.nodelay().unwrap());
        }
    }
}

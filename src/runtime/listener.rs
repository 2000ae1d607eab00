//! The listening socket that all event loops accept from: inherited from whoever started the process, or its own.

use socket2::{Domain, Protocol, Socket, Type};
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, RawFd};

/// Connections that the kernel keeps while no loop accepts.
const BACKLOG: i32 = 4096;

/// The first of the descriptors that a process is started with for its sockets (sd_listen_fds(3), SD_LISTEN_FDS_START).
const INHERITED_FROM: RawFd = 3;

/// The listening socket that this process was started with, as sd_listen_fds(3) has it: `LISTEN_PID` is its own id, and
/// `LISTEN_FDS` says that it got one. `None` when it got none. Must be called before any descriptor is opened, and once.
pub(crate) fn inherited() -> Result<Option<TcpListener>, String> {
    let count = inherited_count(&|name| std::env::var_os(name), std::process::id())?;
    if count == 0 {
        return Ok(None);
    }
    // SAFETY: fcntl takes a number and no pointer; it fails when the descriptor is not open.
    if unsafe { libc::fcntl(INHERITED_FROM, libc::F_GETFD) } < 0 {
        return Err(format!("LISTEN_FDS says that there is a socket, but descriptor {INHERITED_FROM} is not open"));
    }
    // SAFETY: it is open, and by the protocol it belongs to this process's one server, which asks once.
    let socket = unsafe { Socket::from_raw_fd(INHERITED_FROM) };
    checked(socket).map(Some)
}

/// How many sockets are meant for the process of this id: none or one.
fn inherited_count(variable: &dyn Fn(&str) -> Option<OsString>, id: u32) -> Result<u32, String> {
    let number = |name: &str| {
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let parsed = value.to_str().and_then(|text| text.parse::<u32>().ok());
        parsed.map(Some).ok_or_else(|| format!("{name} is {value:?}: allowed is a whole number"))
    };
    // Without the first, or with another's id, the variables are a parent's, which has passed them on by mistake.
    if number("LISTEN_PID")? != Some(id) {
        return Ok(0);
    }
    match number("LISTEN_FDS")?.unwrap_or(0) {
        count @ (0 | 1) => Ok(count),
        count => {
            let names = variable("LISTEN_FDNAMES").map_or_else(String::new, |names| format!(" ({})", names.display()));
            Err(format!("{count} sockets{names} were handed over in LISTEN_FDS: allowed is one"))
        }
    }
}

/// The socket, made ready for event loops, if it is one that connections can be accepted from.
fn checked(socket: Socket) -> Result<TcpListener, String> {
    let say = |what: &str| format!("the socket that was handed over in LISTEN_FDS {what}");
    let cannot = |error: io::Error| say(&format!("cannot be used: {error}"));
    let domain = socket.domain().map_err(cannot)?;
    if domain != Domain::IPV4 && domain != Domain::IPV6 || socket.r#type().map_err(cannot)? != Type::STREAM {
        return Err(say("is no TCP socket"));
    }
    if !socket.is_listener().map_err(cannot)? {
        return Err(say("does not listen: it must be one that connections are accepted from"));
    }
    socket.set_nonblocking(true).and_then(|()| socket.set_cloexec(true)).map_err(cannot)?;
    Ok(socket.into())
}

/// Binds and listens. The error says in one sentence what is wrong and what helps.
pub(crate) fn listen(host: &str, port: u16) -> Result<TcpListener, String> {
    let address = SocketAddr::new(address_of(host), port);
    bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} on {host} is taken by another program: stop it, or set PORT to a free port (0: any)")
        }
        io::ErrorKind::PermissionDenied => format!("port {port} on {host} may not be used by this user: {error}"),
        _ => format!("cannot listen on {host}, port {port}: {error}"),
    })
}

/// The address that a `HOST` means. `localhost` is the only name, and its address needs nobody to be asked: a static
/// program in an otherwise empty directory could not.
pub(crate) fn address_of(host: &str) -> IpAddr {
    host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process that the kernel still remembers do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Makes every file that the process creates from now on readable by its own user alone: the database has password
/// hashes and a signing key in it.
pub(crate) fn keep_files_private() {
    // SAFETY: umask only sets the process's file mode mask, and cannot fail.
    unsafe {
        libc::umask(0o077);
    }
}

/// Makes a write past the limit of a file's size (RLIMIT_FSIZE) an error, as one to a full disk is: the signal that comes with
/// it would end the process (setrlimit(2)).
pub(crate) fn survive_full_files() {
    // SAFETY: no handler is set, so nothing of ours runs at a bad moment; the call cannot fail for this signal.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Raises the open-file limit to its hard limit, and returns it.
pub fn raise_open_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a whole rlimit that lives through them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
            limit = raised;
        }
    }
    limit.rlim_cur
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_sockets_are_meant_for() {
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let table: &[(&str, Variables<'_>, Result<u32, &str>)] = &[
            ("nothing is set", &[], Ok(0)),
            ("one for us", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "1")], Ok(1)),
            ("one with a name", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "http")], Ok(1)),
            ("none for us", &[("LISTEN_PID", "7"), ("LISTEN_FDS", "0")], Ok(0)),
            ("no count", &[("LISTEN_PID", "7")], Ok(0)),
            ("one for another", &[("LISTEN_PID", "8"), ("LISTEN_FDS", "1")], Ok(0)),
            ("for nobody", &[("LISTEN_FDS", "1")], Ok(0)),
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
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{name}: {error}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_socket_that_is_handed_over_must_listen_for_tcp() {
        let bound = |kind| {
            let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            socket
        };
        assert!(checked(bound(Type::DGRAM)).unwrap_err().contains("no TCP socket"));
        assert!(checked(Socket::new(Domain::UNIX, Type::STREAM, None).unwrap()).unwrap_err().contains("no TCP socket"));
        assert!(checked(bound(Type::STREAM)).unwrap_err().contains("does not listen"));
        let listening = bound(Type::STREAM);
        listening.listen(1).unwrap();
        listening.set_cloexec(false).unwrap();
        let listener = checked(listening).unwrap();
        assert!(socket2::SockRef::from(&listener).nonblocking().unwrap());
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

//! The listening socket that all event loops accept from.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// Connections that the kernel keeps while no loop accepts.
const BACKLOG: i32 = 4096;

/// Binds and listens. The error says in one sentence what is wrong and what helps.
pub fn listen(host: &str, port: u16) -> Result<TcpListener, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = (bare, port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| format!("HOST={host} is no address of this machine"))?;
    bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} on {host} is taken by another program: stop it, or set PORT to a free port (0: any)")
        }
        io::ErrorKind::PermissionDenied => format!("port {port} on {host} may not be used by this user: {error}"),
        _ => format!("cannot listen on {host}, port {port}: {error}"),
    })
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
pub fn keep_files_private() {
    // SAFETY: umask only sets the process's file mode mask, and cannot fail.
    unsafe {
        libc::umask(0o077);
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

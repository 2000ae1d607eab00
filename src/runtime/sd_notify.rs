//! Reports the state of the process to a service manager (sd_notify(3)): datagrams of `NAME=VALUE` lines to the socket in
//! `NOTIFY_SOCKET`. Without that variable, nothing is sent.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Timeout of sending to a service manager that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// A state that is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The process serves: after its start, or after `Reloading`.
    Ready,
    /// The settings are being reloaded. `Ready` follows.
    Reloading,
    /// The process is shutting down.
    Stopping,
}

/// Reports the state, if there is a service manager. A failure is only logged.
pub(crate) fn notify(state: State) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&name, &message(state)) {
        log::warn!("cannot report {state:?} to the service manager at NOTIFY_SOCKET: {error}");
    }
}

fn message(state: State) -> String {
    match state {
        State::Ready => "READY=1".into(),
        State::Stopping => "STOPPING=1".into(),
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_microseconds()),
    }
}

fn send(name: &OsStr, message: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    socket.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

/// The kernel's monotonic clock, which the service manager compares with its own.
fn monotonic_microseconds() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole timespec that outlives the call.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now);
    }
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let bytes = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..bytes].to_vec()).unwrap()
    }

    #[test]
    fn both_kinds_of_address_are_reached() {
        let path = std::env::temp_dir().join(format!("cortex-core-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let at_path = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&at_path), "READY=1");
        std::fs::remove_file(&path).unwrap();

        let name = format!("cortex-core-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let in_abstract = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(received(&in_abstract), "STOPPING=1");

        assert!(send(OsStr::new("somewhere"), "READY=1").is_err());
        assert!(send(path.as_os_str(), "READY=1").is_err(), "nobody is there any more");
    }

    #[test]
    fn a_reload_says_when_it_began() {
        let before = monotonic_microseconds();
        let text = message(State::Reloading);
        let told: u64 = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!((before..=monotonic_microseconds()).contains(&told), "{text}");
    }
}

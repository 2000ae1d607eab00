//! `health`: checks whether the server with these settings is ready. It is for containers without a shell.

use super::output::print_text;
use super::{CliError, reject_more_arguments, settings};
use crate::runtime::listener;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Timeout of connecting, writing and reading.
const PATIENCE: Duration = Duration::from_secs(3);
/// Maximum length of the response that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    reject_more_arguments(parser)?;
    let settings = settings()?;
    let address = SocketAddr::new(reachable(&settings.host), settings.port);
    // A host that `ALLOWED_HOSTS` admits.
    let host = format!("{}:{}", settings.allowed_hosts.served(&address.ip().to_string()), settings.port);
    let answer = ask(address, &host).map_err(|error| format!("{address} does not answer: {}", why_not(&error)))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => print_text(&format!("{body}\n")),
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => {
            Err(format!("{address} is not ready ({status}): {}", body.lines().next().unwrap_or_default()).into())
        }
        _ => Err(format!("{address} does not speak HTTP").into()),
    }
}

fn why_not(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("nothing came in {} s", PATIENCE.as_secs()),
        _ => error.to_string(),
    }
}

/// The address at which a server with this `HOST` can be reached from the same machine.
fn reachable(host: &str) -> IpAddr {
    match listener::address_of(host) {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

fn ask(address: SocketAddr, host: &str) -> io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

//! `health`: whether the server of these settings is ready, for whoever has no other way to ask, such as a container
//! without a shell.

use super::output::say;
use super::{CliError, no_more, settings};
use crate::runtime::listener;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long the server may take for each step of the answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most of an answer that is looked at, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    no_more(parser)?;
    let settings = settings()?;
    let address = SocketAddr::new(reachable(&settings.host), settings.port);
    // Nobody has this name for it, so it is one of those that are served.
    let host = format!("{}:{}", settings.allowed_hosts.served(&address.ip().to_string()), settings.port);
    let answer = ask(address, &host).map_err(|error| format!("{address} does not answer: {}", why_not(&error)))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => say(&format!("{body}\n")),
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

/// Where a server that listens on this host is reached from the same machine.
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

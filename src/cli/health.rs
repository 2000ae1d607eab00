//! `health`: whether the server of these settings is ready, for whoever has no other way to ask, such as a container
//! without a shell.

use super::{Failure, no_more, settings};
use crate::runtime::listener;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long the server may take for each step of the answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most of an answer that is looked at, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    no_more(parser)?;
    let settings = settings()?;
    let address = SocketAddr::new(reachable(&settings.host), settings.port);
    let answer = ask(address).map_err(|error| format!("{address} does not answer: {error}"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match answer.split(' ').nth(1) {
        Some("200") => {
            println!("{body}");
            Ok(())
        }
        status => Err(format!("{address} is not ready ({}): {body}", status.unwrap_or("no status")).into()),
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

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    // By address, like every probe of this kind: ALLOWED_HOSTS must have it.
    socket
        .write_all(format!("GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    socket.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

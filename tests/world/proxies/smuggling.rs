//! Every request of the table through a third-party proxy that reuses its connections to the server: one request for
//! the proxy is never two for the server, and no response goes to another request.

use super::proxy::{Kind, Proxy};
use crate::common::conformance::expected::{End, Expected};
use crate::common::conformance::{marker, requests, served, server};
use crate::common::{DEADLINE, Server};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Concurrent clients, whose requests share connections to the server and whose timeouts overlap.
const CLIENTS: usize = 16;
/// Timeout of the proxy in seconds. A slow machine may cut off more requests, which splits none.
const TIMEOUT: u32 = 2;

#[test]
fn one_request_for_nginx_is_one_for_the_server() {
    no_request_becomes_two(Kind::Nginx);
}

#[test]
fn one_request_for_haproxy_is_one_for_the_server() {
    no_request_becomes_two(Kind::Haproxy);
}

fn no_request_becomes_two(kind: Kind) {
    let mut server = server();
    let Some(proxy) = Proxy::start(kind, server.addr, TIMEOUT) else { return };
    let cases = requests::all_cases();
    let (next, responses) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while let Some((name, bytes, outcome)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let waits = Expected::of(outcome).end == End::Waits;
                    let said = converse(proxy.addr, &served(bytes), waits, name);
                    responses.fetch_add(check_responses(&said, name), Ordering::Relaxed);
                }
            });
        }
    });
    // A proxy may log a request after the client has its response.
    let end = Instant::now() + DEADLINE;
    while !Logged::of(&server).named.is_subset(&proxy.forwarded()) && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    let forwarded = proxy.forwarded();
    drop(proxy);
    server.stop();
    let Logged { named, unread } = Logged::of(&server);
    let unknown: Vec<&String> = named.iter().filter(|id| !forwarded.contains(*id)).collect();
    assert!(unknown.is_empty(), "{kind:?} did not forward {unknown:?}");
    let sum = named.len() + unread;
    assert!(sum <= forwarded.len(), "{kind:?} forwarded {} requests, and the server saw {sum}", forwarded.len());
    // Most requests must get through for the test to be meaningful.
    let responses = responses.into_inner();
    assert!(named.len().min(responses) > cases.len() / 3, "{} seen, {responses} responses", named.len());
    println!("{kind:?}: {} passed on, {} seen, {unread} unreadable, {responses} answers", forwarded.len(), named.len());
}

/// The requests in the server's log.
struct Logged {
    /// The ids of the parsed requests.
    named: BTreeSet<String>,
    /// The number of invalid requests.
    unread: usize,
}

impl Logged {
    #[track_caller]
    fn of(server: &Server) -> Logged {
        let mut logged = Logged { named: BTreeSet::new(), unread: 0 };
        for line in server.log().lines().filter(|line| line.contains(" INFO request ")) {
            if line.contains(" method=\"-\" ") {
                logged.unread += 1;
                continue;
            }
            let id = line.split(" request_id=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            assert!(logged.named.insert(id.to_owned()), "one request was served twice: {line}");
        }
        logged
    }
}

/// Sends a case and a request that closes the connection, and reads to the end.
fn converse(addr: SocketAddr, case: &[u8], waits: bool, name: &str) -> Vec<u8> {
    let mut socket = TcpStream::connect(addr).expect("the proxy accepts");
    socket.set_read_timeout(Some(DEADLINE)).expect("the socket is open");
    // The proxy may have closed the connection before it read everything.
    if waits {
        let _ = socket.write_all(case);
        let _ = socket.shutdown(Shutdown::Write);
    } else {
        let _ = socket.write_all(&[case, &marker("behind", "Connection: close\r\n")].concat());
    }
    let mut said = Vec::new();
    match socket.read_to_end(&mut said) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{name}: {error}"),
        _ => said,
    }
}

/// Checks that every response belongs to its request, and counts those of the server.
fn check_responses(said: &[u8], name: &str) -> usize {
    let text = String::from_utf8_lossy(said);
    let mut count = 0;
    for head in text.split("HTTP/1.1 ").skip(1) {
        let head = head.split("\r\n\r\n").next().unwrap_or_default();
        let field = |name: &str| {
            head.lines().filter_map(|line| line.split_once(": ")).find(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        let (Some((_, server)), Some((_, proxy))) = (field("X-Request-Id"), field("X-Proxy-Id")) else { continue };
        // An invalid head has no id to return.
        let is_unread = ["400 ", "414 ", "417 ", "431 "].iter().any(|status| head.starts_with(status));
        assert!(server == proxy || is_unread, "{name}: the response of another request: {head}");
        count += 1;
    }
    count
}

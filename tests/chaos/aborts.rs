//! Clients that disconnect midway: with a reset, a half-close, or within a chunk.

use crate::common::token::token;
use crate::common::{DEADLINE, Response, Server, User, database};
use crate::idle::IdleState;
use crate::scale::{self, fork, once_in};
use cortex_core::internals::Random;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 6;
const SECONDS: u64 = 8;
/// Minimum number of connections per thread.
const EACH_MIN: usize = 60;

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// `SO_LINGER` 0: bytes in transit are lost and the server sees a reset.
    Reset,
    /// The sending direction is shut down, and the responses are read.
    Half,
    /// Both directions are closed.
    Close,
}

#[test]
fn clients_that_disconnect_midway_leak_no_resources() {
    let mut random = scale::random("rude");
    let mut server = Server::with(&[("MAX_STREAMS_PER_USER", "0"), ("LOG_LEVEL", "WARNING")]);
    User::new(&server, "polite").say("default", "warm");
    User::new(&server, "rude").say("default", "warm");
    let idle_state = IdleState::of(&mut server);
    let (addr, end) = (server.addr, scale::ends_after(SECONDS));
    let (connections, responses) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let mut random = fork(&mut random);
            let (connections, responses) = (&connections, &responses);
            scope.spawn(move || {
                for n in 0.. {
                    if n >= EACH_MIN && Instant::now() >= end {
                        return;
                    }
                    responses.fetch_add(misbehave(addr, &mut random), Relaxed);
                    connections.fetch_add(1, Relaxed);
                }
            });
        }
        // A well-behaved client is not affected.
        let mut user = User::new(&server, "polite");
        let mut stream = user.stream();
        for n in 0.. {
            if n >= EACH_MIN && Instant::now() >= end {
                break;
            }
            user.say("default", &format!("politely {n}"));
            assert_eq!(stream.next_of("input").content(), format!("politely {n}"));
        }
    });
    println!("{} connections left in the middle, {} answers read", connections.load(Relaxed), responses.load(Relaxed));
    idle_state.returns(&mut server);
    // A request that did not arrive completely has no effect.
    let stored = database::sound_message_contents(&server.database());
    let halves = stored.iter().filter(|content| content.contains("half")).count();
    assert_eq!(halves, 0, "an incomplete request is executed");
}

/// Makes one connection and returns the number of responses.
fn misbehave(addr: SocketAddr, random: &mut Random) -> usize {
    let mut socket = TcpStream::connect_timeout(&addr, DEADLINE).expect("the server accepts");
    socket.set_read_timeout(Some(DEADLINE)).expect("the socket takes a timeout");
    socket.set_write_timeout(Some(DEADLINE)).expect("the socket takes a timeout");
    let head = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n{more}\r\n", token("rude"))
    };
    let json = "Content-Type: application/json\r\n";
    let chunked = format!("{json}Transfer-Encoding: chunked\r\n");
    let large = format!("{{\"content\":\"half{}", "x".repeat(random.below(100_000) as usize));
    // The bytes to send and the number of complete requests in them.
    let (bytes, whole) = match random.below(9) {
        0 => ("GET / HT".to_owned(), 0),
        1 => (head("GET", "/config/workspace", "").repeat(1 + random.below(8) as usize), usize::MAX),
        2 => (format!("{}{large}", head("POST", "/input", &format!("{json}Content-Length: 300000\r\n"))), 0),
        3 => (format!("{}20000\r\n{large}", head("POST", "/input", &chunked)), 0),
        4 => (format!("{}5\r\n{{\"con", head("POST", "/input", &chunked)), 0),
        5 => (format!("{}11\r\n{{\"content\": \"all\"}}\r\n0\r\n\r\n", head("POST", "/input", &chunked)), 1),
        6 => (head("GET", "/output/stream?last_event_id=0", ""), 0),
        7 => (head("POST", "/input", &format!("{json}Expect: 100-continue\r\nContent-Length: 20\r\n")), 0),
        _ => (head("GET", "/", "") + "GET /half", 1),
    };
    let whole = if whole == usize::MAX { bytes.matches("GET ").count() } else { whole };
    // The server may have closed the connection first; this shows below.
    let _ = socket.write_all(bytes.as_bytes());
    if once_in(random, 2) {
        thread::sleep(Duration::from_micros(random.below(3000)));
    }
    if whole > 0 && once_in(random, 3) {
        // Closing with unread bytes makes the kernel send a reset.
        let _ = socket.read(&mut [0; 100]);
        return 0;
    }
    let end = [End::Reset, End::Half, End::Close][random.below(3) as usize];
    match end {
        End::Reset => drop(SockRef::from(&socket).set_linger(Some(Duration::ZERO))),
        End::Close => {}
        End::Half => {
            if socket.shutdown(Shutdown::Write).is_err() {
                return 0;
            }
            let mut all = Vec::new();
            match socket.read_to_end(&mut all) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return 0,
                Err(error) => panic!("{end:?} after {bytes:.200}: {error}"),
            }
            // A stream has no end, so only the others are expected to have responses.
            if !bytes.contains("/output/stream") {
                let responses = responses_in(&all);
                assert!(responses >= whole, "{responses} responses to {whole} requests: {bytes:.200}");
                return responses;
            }
        }
    }
    0
}

/// The number of complete responses in `bytes`.
fn responses_in(mut bytes: &[u8]) -> usize {
    let mut responses = 0;
    while !bytes.is_empty() {
        if bytes.starts_with(b"HTTP/1.1 100 ") {
            bytes = bytes.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").expect("an interim response");
            continue;
        }
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a complete head") + 4;
        let text = std::str::from_utf8(&bytes[..head]).expect("a head of ASCII");
        let length = text.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let end = head + length.parse::<usize>().expect("a number");
        Response::read(&bytes[..end]);
        responses += 1;
        bytes = &bytes[end..];
    }
    responses
}

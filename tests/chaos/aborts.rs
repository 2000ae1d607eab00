//! Clients that go in the middle of everything: with a reset, with half of a close, with half of a chunk.

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
/// Connections of every thread, at least.
const EACH_MIN: usize = 60;

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// `SO_LINGER` 0: what is on its way is lost, and the server is told so.
    Reset,
    /// Nothing more is sent; the answers are read.
    Half,
    /// Both at once.
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
        // Somebody polite loses nothing by it.
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
    // Of a request that did not arrive as a whole nothing was done.
    let stored = database::sound_message_contents(&server.database());
    let halves = stored.iter().filter(|content| content.contains("half")).count();
    assert_eq!(halves, 0, "half a request is none");
}

/// One connection; how many answers it got.
fn misbehave(addr: SocketAddr, random: &mut Random) -> usize {
    let mut socket = TcpStream::connect_timeout(&addr, DEADLINE).expect("the server accepts");
    socket.set_read_timeout(Some(DEADLINE)).expect("a socket can be told so");
    socket.set_write_timeout(Some(DEADLINE)).expect("and so");
    let head = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n{more}\r\n", token("rude"))
    };
    let json = "Content-Type: application/json\r\n";
    let chunked = format!("{json}Transfer-Encoding: chunked\r\n");
    let large = format!("{{\"content\":\"half{}", "x".repeat(random.below(100_000) as usize));
    // What is sent, and how many whole requests stand in it.
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
    // A server may have ended first; that is seen below.
    let _ = socket.write_all(bytes.as_bytes());
    if once_in(random, 2) {
        thread::sleep(Duration::from_micros(random.below(3000)));
    }
    if whole > 0 && once_in(random, 3) {
        // Goes with bytes unread, which the kernel makes a reset of.
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
            // A stream's reader that ends its side has no more to get; the others have their answers.
            if !bytes.contains("/output/stream") {
                let responses = responses_in(&all);
                assert!(responses >= whole, "{responses} answers to {whole} requests: {bytes:.200}");
                return responses;
            }
        }
    }
    0
}

/// How many whole answers stand there, one behind the other.
fn responses_in(mut bytes: &[u8]) -> usize {
    let mut responses = 0;
    while !bytes.is_empty() {
        if bytes.starts_with(b"HTTP/1.1 100 ") {
            bytes = bytes.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").expect("an interim answer");
            continue;
        }
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        let text = std::str::from_utf8(&bytes[..head]).expect("a head of ASCII");
        let length = text.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let end = head + length.parse::<usize>().expect("a number");
        Response::read(&bytes[..end]);
        responses += 1;
        bytes = &bytes[end..];
    }
    responses
}

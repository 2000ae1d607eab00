//! Two thousand connections that send heads and bodies one byte at a time, while other clients are served.

use crate::common::token::token;
use crate::common::{DEADLINE, Options, Response, Server, User, assert_error};
use crate::idle::IdleState;
use crate::scale::{self, once_in};
use cortex_core::internals::Random;
use cortex_core::internals::limits::READ_BYTES_MAX;
use cortex_core::internals::process::raise_open_file_limit;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const ATTACKERS: usize = 2000;
const OTHER_CLIENTS: usize = 4;
const REQUESTS_EACH: usize = 60;
/// `HEADER_TIMEOUT_SECONDS` and `BODY_TIMEOUT_SECONDS` of this server.
const TIMEOUT_SECONDS: u64 = 4;
/// Maximum growth for this number of incomplete requests: each may hold one read of its socket, and nothing for the
/// announced length.
const GROWTH_BYTES_MAX: usize = ATTACKERS * READ_BYTES_MAX / 4 + crate::idle::KEPT_BYTES_MAX;

/// A client that sends slowly.
struct Attacker {
    socket: TcpStream,
    /// Bytes to send before an endless drip.
    opening: Vec<u8>,
    response: Vec<u8>,
    ended: bool,
}

/// The outcomes of the attackers.
#[derive(Debug, Default)]
struct Fates {
    timed_out: usize,
    reset: usize,
}

impl Attacker {
    fn new(addr: SocketAddr, random: &mut Random) -> Attacker {
        let socket = TcpStream::connect_timeout(&addr, DEADLINE).expect("the server accepts");
        socket.set_nonblocking(true).expect("the socket takes the option");
        let authorization = format!("Host: localhost\r\nAuthorization: Bearer {}\r\n", token("attacker"));
        let json = "Content-Type: application/json\r\n";
        let opening = match random.below(5) {
            0 => "G".to_owned(),
            1 => format!("GET / HTTP/1.1\r\n{authorization}X-Endless: "),
            // The announced length must not be allocated.
            2 => format!("POST /input HTTP/1.1\r\n{authorization}{json}Content-Length: 2000000\r\n\r\n{{"),
            3 => format!("POST /input HTTP/1.1\r\n{authorization}{json}Transfer-Encoding: chunked\r\n\r\n100000\r\n"),
            // A body that is rejected by its head and then discarded.
            _ => format!("POST /input HTTP/1.1\r\nHost: localhost\r\n{json}Content-Length: 200000\r\n\r\n"),
        };
        Attacker { socket, opening: opening.into_bytes(), response: Vec::new(), ended: false }
    }

    /// Sends one byte, or reads the available bytes.
    fn turn(&mut self) {
        let mut piece = [0; 4096];
        match self.socket.read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(n) => self.response.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // It continues even after a response.
                let bytes: &[u8] = if self.opening.is_empty() { b"x" } else { &self.opening };
                match self.socket.write(bytes) {
                    Ok(n) if !self.opening.is_empty() => drop(self.opening.drain(..n)),
                    _ => {}
                }
            }
            Err(_) => self.ended = true,
        }
    }

    /// Counts the response that it received, unless a reset lost it.
    fn count(&self, fates: &mut Fates) {
        if self.response.is_empty() {
            fates.reset += 1;
            return;
        }
        let response = Response::read(&self.response);
        match response.status {
            408 => drop(assert_error(&response, 408, "request_timeout")),
            401 => drop(assert_error(&response, 401, "unauthorized")),
            _ => panic!("{}", response.shown()),
        }
        fates.timed_out += 1;
    }
}

#[test]
fn slow_attackers_time_out_and_do_not_delay_other_clients() {
    assert!(raise_open_file_limit() > 2 * ATTACKERS as u64, "this test needs descriptors: ulimit -n 5000");
    let mut random = scale::random("attacks");
    let timeout = TIMEOUT_SECONDS.to_string();
    let settings =
        [("HEADER_TIMEOUT_SECONDS", &*timeout), ("BODY_TIMEOUT_SECONDS", &*timeout), ("LOG_LEVEL", "WARNING")];
    let options = settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value));
    let mut server = Server::start(options);
    let addr = server.addr;
    User::new(&server, "victim0").say("default", "warm");
    let idle_state = IdleState::of(&mut server);
    let (served, stop, growth) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
    let end = scale::ends_after(0);
    let fates = thread::scope(|scope| {
        let attack = scope.spawn(|| attack(addr, &mut random, &stop, &growth, &idle_state));
        while growth.load(Relaxed) == 0 {
            assert!(!attack.is_finished(), "the attack ended early");
            thread::sleep(Duration::from_millis(1));
        }
        let others: Vec<_> = (0..OTHER_CLIENTS)
            .map(|n| {
                let served = &served;
                scope.spawn(move || be_served(addr, n, end, served))
            })
            .collect();
        others.into_iter().for_each(|target| target.join().expect("another client is served"));
        stop.store(true, Relaxed);
        attack.join().expect("the attack ends")
    });
    println!("{fates:?}, {} requests of others served, {} bytes of growth", served.load(Relaxed), growth.load(Relaxed));
    assert!(fates.timed_out > 0, "no attacker got a timeout: {fates:?}");
    assert!(growth.load(Relaxed) <= GROWTH_BYTES_MAX, "{} bytes of growth", growth.load(Relaxed));
    idle_state.returns(&mut server);
}

/// Keeps this many connections open and replaces closed ones until `stop`. `growth` is set once all are open.
fn attack(
    addr: SocketAddr,
    random: &mut Random,
    stop: &AtomicBool,
    growth: &AtomicUsize,
    idle_state: &IdleState,
) -> Fates {
    let mut fates = Fates::default();
    let mut attackers: Vec<Attacker> = (0..ATTACKERS).map(|_| Attacker::new(addr, random)).collect();
    growth.fetch_max(1, Relaxed);
    let mut timeout = None;
    while !attackers.is_empty() {
        let stops = stop.load(Relaxed);
        for attacker in &mut attackers {
            // Only some of them per turn.
            if once_in(random, 4) {
                attacker.turn();
            }
            if attacker.ended {
                attacker.count(&mut fates);
                if !stops {
                    *attacker = Attacker::new(addr, random);
                }
            }
        }
        attackers.retain(|attacker| !attacker.ended);
        growth.fetch_max(idle_state.growth_bytes(), Relaxed);
        if stops {
            let since = *timeout.get_or_insert_with(Instant::now);
            assert!(since.elapsed() < 2 * DEADLINE, "{} connections never end", attackers.len());
        }
        thread::sleep(Duration::from_millis(20));
    }
    fates
}

/// Posts and reads, and checks that each of its messages arrives on its stream.
fn be_served(addr: SocketAddr, n: usize, end: Instant, served: &AtomicUsize) {
    let mut user = User::at(addr, &format!("victim{n}"));
    let mut stream = user.stream();
    for said in 0.. {
        if said >= REQUESTS_EACH && Instant::now() >= end {
            return;
        }
        let content = format!("{n} says {said}");
        user.say("default", &content);
        user.get("/conversations?include=messages&limit=2").expect(200);
        assert_eq!(stream.next_of("input").content(), content);
        served.fetch_add(2, Relaxed);
    }
}

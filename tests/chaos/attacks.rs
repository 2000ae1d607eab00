//! Two thousand connections that send their heads and bodies a byte at a time, while others are served.

use crate::common::token::token;
use crate::common::{DEADLINE, Options, Response, Server, User, assert_error};
use crate::idle::IdleState;
use crate::scale::{self, once_in};
use cortex_core::internals::Random;
use cortex_core::internals::limits::READ_BYTES_MAX;
use cortex_core::internals::listener::raise_open_file_limit;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const ATTACKERS: usize = 2000;
const VICTIMS: usize = 4;
const REQUESTS_EACH: usize = 60;
/// `HEADER_TIMEOUT_SECONDS` and `BODY_TIMEOUT_SECONDS` of this server.
const TIMEOUT_SECONDS: u64 = 4;
/// Memory of a server with so many requests under way: each may hold one read of its socket, and none what it announces.
const GROWTH_BYTES_MAX: usize = ATTACKERS * READ_BYTES_MAX / 4 + crate::idle::KEPT_BYTES_MAX;

/// One who sends slowly.
struct Attacker {
    socket: TcpStream,
    /// What is still to be sent, before an endless drip.
    opening: Vec<u8>,
    response: Vec<u8>,
    ended: bool,
}

/// How the attackers fared.
#[derive(Debug, Default)]
struct Fates {
    timed_out: usize,
    reset: usize,
}

impl Attacker {
    fn new(addr: SocketAddr, random: &mut Random) -> Attacker {
        let socket = TcpStream::connect_timeout(&addr, DEADLINE).expect("the server accepts");
        socket.set_nonblocking(true).expect("a socket can be told so");
        let authorization = format!("Host: localhost\r\nAuthorization: Bearer {}\r\n", token("attacker"));
        let json = "Content-Type: application/json\r\n";
        let opening = match random.below(5) {
            0 => "G".to_owned(),
            1 => format!("GET / HTTP/1.1\r\n{authorization}X-Endless: "),
            // What is announced must not be set aside for it.
            2 => format!("POST /input HTTP/1.1\r\n{authorization}{json}Content-Length: 2000000\r\n\r\n{{"),
            3 => format!("POST /input HTTP/1.1\r\n{authorization}{json}Transfer-Encoding: chunked\r\n\r\n100000\r\n"),
            // A body that is refused from its head alone, and passed over.
            _ => format!("POST /input HTTP/1.1\r\nHost: localhost\r\n{json}Content-Length: 200000\r\n\r\n"),
        };
        Attacker { socket, opening: opening.into_bytes(), response: Vec::new(), ended: false }
    }

    /// Sends a little, or takes what has come.
    fn turn(&mut self) {
        let mut piece = [0; 4096];
        match self.socket.read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(n) => self.response.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Answered or not, it goes on as if it had not noticed.
                let bytes: &[u8] = if self.opening.is_empty() { b"x" } else { &self.opening };
                match self.socket.write(bytes) {
                    Ok(n) if !self.opening.is_empty() => drop(self.opening.drain(..n)),
                    _ => {}
                }
            }
            Err(_) => self.ended = true,
        }
    }

    /// What it was told before the end, if that was not lost in a reset.
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
            assert!(!attack.is_finished(), "the attack goes on");
            thread::sleep(Duration::from_millis(1));
        }
        let victims: Vec<_> = (0..VICTIMS)
            .map(|n| {
                let served = &served;
                scope.spawn(move || be_served(addr, n, end, served))
            })
            .collect();
        victims.into_iter().for_each(|target| target.join().expect("a victim is served"));
        stop.store(true, Relaxed);
        attack.join().expect("the attackers end")
    });
    println!("{fates:?}, {} requests of others served, {} bytes of growth", served.load(Relaxed), growth.load(Relaxed));
    assert!(fates.timed_out > 0, "who is slow is told so: {fates:?}");
    assert!(growth.load(Relaxed) <= GROWTH_BYTES_MAX, "{} bytes of growth", growth.load(Relaxed));
    idle_state.returns(&mut server);
}

/// Keeps so many connections open, each new when it was ended, until all may end. `growth` is set once all are there.
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
            // Not everybody at once.
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
            assert!(since.elapsed() < 2 * DEADLINE, "{} connections are waited for for ever", attackers.len());
        }
        thread::sleep(Duration::from_millis(20));
    }
    fates
}

/// Posts and reads, and sees each of its messages on its stream.
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

//! More connections than the limits allow, in total and from one address.

use crate::common::http::Origin;
use crate::common::metrics::wait_for;
use crate::common::{Client, Connection, Options, Server, User};
use crate::idle::IdleState;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// `MAX_CONNECTIONS` of the first server and `MAX_CONNECTIONS_PER_ADDRESS` of the second.
const MAX: usize = 50;
const FLOOD: usize = 1500;
const THREADS: usize = 30;

#[test]
fn connections_over_the_limit_wait_and_are_served_later() {
    let options = Options::new().set("MAX_CONNECTIONS", MAX).set("MAX_CONNECTIONS_PER_ADDRESS", 0);
    let mut server = Server::start(options.set("LOG_LEVEL", "WARNING"));
    let mut user = User::new(&server, "u");
    user.say("default", "warm");
    drop(user);
    let idle_state = IdleState::of(&mut server);
    let (addr, answered) = (server.addr, AtomicUsize::new(0));
    // A connection opened before all others is served however many follow.
    let mut early = User::new(&server, "u");
    let mut stream = early.stream();
    early.say("default", "before");
    stream.next_of("input");
    let idle: Vec<TcpStream> =
        (0..3 * MAX).map(|_| TcpStream::connect(addr).expect("the kernel accepts the connection")).collect();
    for n in 0..20 {
        early.say("default", &format!("while full {n}"));
        stream.next_of("input");
    }
    let limit = early.get("/metrics").expect(200);
    let open = limit.text().lines().find_map(|line| line.strip_prefix("cortex_connections_open ")).expect("a gauge");
    // Each loop checks before it accepts, so the two loops may exceed the limit by one each.
    assert!(open.parse::<usize>().expect("a number") <= MAX + 2, "{open} are open");
    drop(idle);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..FLOOD / THREADS {
                    let mut client = Client::new(addr);
                    // Some send a second request; none keeps its connection open.
                    for _ in 0..1 + n % 2 {
                        client.request("GET", "/").send().expect(200);
                        answered.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    println!("{} requests answered on {FLOOD} connections, {MAX} at once", answered.load(Relaxed));
    early.say("default", "after");
    assert_eq!(stream.before_message("after").len(), 0, "no message is repeated");
    drop((early, stream));
    idle_state.returns(&mut server);
}

/// A connection from a given local address.
fn connect_from(from: [u8; 4], addr: SocketAddr) -> TcpStream {
    Origin::of(from).connect(addr).expect("the server accepts")
}

/// Whether a request gets a response; `false` if the connection is closed without one.
fn is_answered(mut socket: &TcpStream) -> bool {
    let mut piece = [0; 4096];
    if socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").is_err() {
        return false;
    }
    match socket.read(&mut piece) {
        Ok(n) => n > 0,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_flood_from_one_address_does_not_affect_other_addresses() {
    let options = Options::new().set("MAX_CONNECTIONS_PER_ADDRESS", MAX).set("LOG_LEVEL", "WARNING");
    let mut server = Server::start(options);
    Connection::open(server.addr);
    let idle_state = IdleState::of(&mut server);
    let flood: Vec<TcpStream> = (0..FLOOD).map(|_| connect_from([127, 0, 0, 2], server.addr)).collect();
    let answered = flood.iter().filter(|socket| is_answered(socket)).count();
    assert_eq!(answered, MAX, "of {FLOOD} connections from one address");
    let others: Vec<TcpStream> = (3..20).map(|n| connect_from([127, 0, 0, n], server.addr)).collect();
    assert!(others.iter().all(is_answered), "other addresses are served");
    let rejected = "cortex_connections_refused_total{reason=\"address\"}";
    let scrape = wait_for(&server, |scrape| scrape.get(rejected) > 0.0);
    assert_eq!(scrape.get(rejected) as usize, FLOOD - MAX);
    drop((flood, others));
    // After they disconnect, the same number is accepted again.
    idle_state.returns(&mut server);
    let again: Vec<TcpStream> = (0..MAX).map(|_| connect_from([127, 0, 0, 2], server.addr)).collect();
    assert!(again.iter().all(is_answered));
    drop(again);
    idle_state.returns(&mut server);
}

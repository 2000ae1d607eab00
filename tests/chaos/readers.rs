//! Clients that never read: streams, and responses with large lists.

use crate::common::metrics::{Scrape, wait_for};
use crate::common::token::token;
use crate::common::{Client, Options, Origin, Server, User};
use crate::idle::IdleState;
use cortex_core::internals::limits::{
    LIST_BYTES_MAX, MAILBOX_EVENT_BYTES_MAX, MAILBOX_RESULT_BYTES_MAX, RESPONSES_WAITING_BYTES_MAX, TAIL_BYTES_MAX,
};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

const WORKERS: usize = 2;
const STREAMS: usize = 150;
/// `STREAM_BUFFER_BYTES` of this server.
const OUTBOX_BYTES_MAX: usize = 16 * 1024;
const CONTENT_BYTES: usize = 128 * 1024;
/// The size of a frame with such a message.
const FRAME_BYTES: usize = CONTENT_BYTES + 4096;
/// Maximum growth: an empty outbox accepts one frame of any size, and each connection may hold another one; each loop
/// has a tail and a mailbox. The rest is for the writer and SQLite.
const GROWTH_BYTES_MAX: usize = STREAMS * (OUTBOX_BYTES_MAX + FRAME_BYTES)
    + WORKERS * (TAIL_BYTES_MAX + MAILBOX_EVENT_BYTES_MAX)
    + crate::idle::KEPT_BYTES_MAX;
/// Enough messages to exceed the bound if each stream kept them.
const MESSAGES: usize = 60;
const _: () = assert!(MESSAGES * CONTENT_BYTES * STREAMS > 4 * GROWTH_BYTES_MAX);

/// A connection with a minimal receive buffer.
fn narrow(addr: SocketAddr, request: &str) -> TcpStream {
    let origin = Origin::with_receive_buffer(4096);
    let mut socket = origin.connect(addr).expect("the server accepts");
    socket.write_all(request.as_bytes()).expect("the server accepts the request");
    socket
}

#[test]
fn unread_streams_use_bounded_memory_and_are_closed() {
    let settings = [
        ("WORKERS", WORKERS.to_string()),
        ("STREAM_BUFFER_BYTES", OUTBOX_BYTES_MAX.to_string()),
        ("MAX_STREAMS_PER_USER", "0".into()),
        ("STREAM_STALL_TIMEOUT_SECONDS", "3".into()),
        ("LOG_LEVEL", "WARNING".into()),
    ];
    let mut server =
        Server::start(settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value)));
    let addr = server.addr;
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["never", "quick"]);
    owner.say(&conversation, &"w".repeat(CONTENT_BYTES));
    drop(owner);
    let idle_state = IdleState::of(&mut server);
    let mut owner = User::new(&server, "owner");
    let request = |from: &str| {
        let token = token("never");
        format!("GET /output/stream{from} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    // Some replay everything, others only receive live events.
    let never: Vec<TcpStream> = (0..STREAMS).map(|n| narrow(addr, &request(["", "?last_event_id=0"][n % 2]))).collect();
    let mut quick = User::new(&server, "quick").stream();
    let mut growth = 0;
    for n in 0..MESSAGES {
        let content = format!("{n} ").repeat(CONTENT_BYTES / format!("{n} ").len());
        owner.say(&conversation, &content);
        assert!(quick.next_of("input").content() == content, "a reading client gets it");
        growth = growth.max(idle_state.growth_bytes());
    }
    println!("{STREAMS} streams that are never read: {growth} bytes of growth, {GROWTH_BYTES_MAX} are allowed");
    assert!(growth <= GROWTH_BYTES_MAX, "{growth} bytes of growth; the limit is {GROWTH_BYTES_MAX}");
    // Streams that take nothing are closed in time.
    let open =
        |scrape: &Scrape| scrape.get("cortex_streams{state=\"live\"}") + scrape.get("cortex_streams{state=\"behind\"}");
    wait_for(&server, |scrape| open(scrape) == 1.0);
    drop((never, quick, owner));
    idle_state.returns(&mut server);
}

/// Every response is a list of several megabytes, requested repeatedly on connections that are never read.
#[test]
fn unread_lists_use_bounded_memory_and_are_closed() {
    const READERS: usize = 100;
    const MESSAGES: usize = 6;
    /// Besides the responses that wait to be read, each in a buffer of up to twice its size, a mailbox of responses may
    /// be full while the previous one is processed; each reader thread and the loop hold one more.
    /// worked off; each reading thread and the loop have one in their hands.
    const GROWTH_BYTES_MAX: usize = 2 * RESPONSES_WAITING_BYTES_MAX
        + 2 * MAILBOX_RESULT_BYTES_MAX
        + 3 * LIST_BYTES_MAX
        + crate::idle::KEPT_BYTES_MAX;
    const _: () = assert!(READERS * MESSAGES * 1024 * 1024 > 2 * GROWTH_BYTES_MAX);
    let settings = [("WORKERS", "1"), ("STREAM_STALL_TIMEOUT_SECONDS", "3"), ("LOG_LEVEL", "WARNING")];
    let mut server =
        Server::start(settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value)));
    let mut user = User::new(&server, "u");
    for _ in 0..MESSAGES {
        user.say("default", &"m".repeat(1024 * 1024 - 10));
    }
    user.get("/conversations/default/messages?limit=10").expect(200);
    drop(user);
    let idle_state = IdleState::of(&mut server);
    let request = format!(
        "GET /conversations/default/messages?limit=10 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        token("u")
    );
    let never: Vec<TcpStream> = (0..READERS).map(|_| narrow(server.addr, &request.repeat(4))).collect();
    let mut growth = 0;
    // Small requests are served meanwhile.
    for _ in 0..200 {
        Client::new(server.addr).request("GET", "/health/live").send().expect(200);
        growth = growth.max(idle_state.growth_bytes());
    }
    // Connections that take nothing are closed; those that got an overload error have their response and stay open.
    wait_for(&server, |scrape| {
        growth = growth.max(idle_state.growth_bytes());
        scrape.get("cortex_outbox_bytes{of=\"replies\"}") == 0.0
    });
    println!("{READERS} lists that are never read: {growth} bytes of growth, {GROWTH_BYTES_MAX} are allowed");
    assert!(growth <= GROWTH_BYTES_MAX, "{growth} bytes of growth; the limit is {GROWTH_BYTES_MAX}");
    drop(never);
    idle_state.returns(&mut server);
}

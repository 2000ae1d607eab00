//! Rolling restarts under load.

use crate::common::http::Connection;
use crate::common::publish::Acknowledged;
use crate::common::reader::{Opening, Reader};
use crate::common::token::token;
use crate::common::user::text;
use crate::common::{DEADLINE, Options, Server, User, database};
use cortex_core::internals::limits::DRAIN_NOTICE_MILLISECONDS;
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const RESTARTS: usize = 10;
/// Publishers with persistent connections, and the same number with one connection per request.
const PUBLISHERS_EACH: usize = 3;
const STREAMS: usize = 4;
/// Messages posted between two restarts.
const MESSAGES_BETWEEN: usize = 100;
/// Pause of a publisher between two messages.
const PAUSE: Duration = Duration::from_millis(3);

#[test]
fn ten_rolling_restarts_lose_no_connection_request_or_event() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut server = Server::start(Options::new().pass_socket(listener.try_clone().expect("a second handle")));
    let addr = listener.local_addr().expect("it is bound");
    let names: Vec<String> = (0..2 * PUBLISHERS_EACH).map(|n| format!("publisher{n}")).collect();
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let participants: Vec<&str> = names.iter().map(String::as_str).collect();
    let conversation = owner.create_conversation(&workspace, "t", &participants);
    let start = owner.get("/config/workspace").expect(200).number("X-Last-Event-Id");
    drop(owner);

    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut acknowledged, streams) = thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS).map(|n| scope.spawn(move || follow(addr, n, start))).collect();
        let publishers: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, name)| {
                let publisher = Publisher::new(addr, name, n < PUBLISHERS_EACH);
                let (conversation, stop, count) = (&conversation, &stop, &count);
                scope.spawn(move || publisher.post_until(stop, conversation, count))
            })
            .collect();
        // Publishers that are not stopped would block the scope, also when this thread panics.
        let stopping = Stopping(&stop);
        for _ in 0..RESTARTS {
            wait_for(&count, count.load(Ordering::Relaxed) + MESSAGES_BETWEEN);
            server.roll();
            assert_eq!(server.addr, addr, "the address is the socket's");
        }
        wait_for(&count, count.load(Ordering::Relaxed) + MESSAGES_BETWEEN);
        drop(stopping);
        let mut acknowledged: Vec<Acknowledged> =
            publishers.into_iter().flat_map(|publisher| publisher.join().expect("no request fails")).collect();
        acknowledged.push(Publisher::new(addr, "owner", false).post(&conversation, "the end"));
        let streams: Vec<StreamLog> =
            streams.into_iter().map(|stream| stream.join().expect("a stream succeeds")).collect();
        (acknowledged, streams)
    });
    assert_eq!(server.stop().code(), Some(0));

    acknowledged.sort();
    let expected: Vec<(u64, String)> =
        acknowledged.into_iter().map(|message| (message.number, message.content)).collect();
    for (n, log) in streams.iter().enumerate() {
        let same = expected.iter().zip(&log.messages).take_while(|(want, got)| want == got).count();
        let (want, got) = (expected.get(same), log.messages.get(same));
        assert!(want.is_none() && got.is_none(), "stream {n}: {same} are right, then {got:?} and not {want:?}");
        assert!(log.connections > RESTARTS, "stream {n} reconnected each time: {}", log.connections);
    }
    let stored = database::sound_message_contents(&server.database());
    assert!(stored.iter().eq(expected.iter().map(|(_, content)| content)), "acknowledged messages are stored once");
}

/// A keep-alive connection gets a response that announces its close, if its next request comes soon.
#[test]
fn a_keep_alive_connection_has_time_for_a_last_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut server = Server::start(Options::new().pass_socket(listener.try_clone().expect("a second handle")));
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut kept: Vec<Connection> = (0..8).map(|_| Connection::open(server.addr)).collect();
    for connection in &mut kept {
        connection.send(request);
        assert!(!connection.response("GET").expect(200).closes());
    }
    // A connection without a request is not cut off either.
    kept.push(Connection::open(server.addr));
    let mut silent = Connection::open(server.addr);
    // A response on a later connection shows that the earlier ones were accepted.
    assert_eq!(User::new(&server, "u").get("/auth/verify").status, 200);
    let asked_at = Instant::now();
    server.process().signal(libc::SIGTERM);
    server.wait_for_log("draining");
    // Readiness probes fail.
    let probe = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (n, connection) in kept.iter_mut().enumerate() {
        let (request, status) = if n == 0 { (probe, 503) } else { (request, 200) };
        // A failure here shows in the response as well.
        let _ = connection.try_send(request.as_bytes());
        match connection.try_response("GET") {
            Ok(response) => assert!(response.status == status && response.closes(), "{}", response.shown()),
            // On a machine that stalls for this long, the test cannot decide.
            Err(error) => {
                let late = asked_at.elapsed() >= Duration::from_millis(DRAIN_NOTICE_MILLISECONDS);
                assert!(late, "closed early: {error}");
            }
        }
    }
    silent.expect_end();
    assert_eq!(server.process().wait_exit().code(), Some(0));
    // The socket remains open for the next process.
    let mut early = Connection::open(listener.local_addr().expect("it is bound"));
    early.send(request);
    server.process().wait_exit();
    server.start_again();
    early.response("GET").expect(200);
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_for(count: &AtomicUsize, enough: usize) {
    let end = Instant::now() + DEADLINE;
    while count.load(Ordering::Relaxed) < enough {
        assert!(Instant::now() < end, "the publishers are stuck at {count:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A user who posts and expects a response to every request.
struct Publisher {
    addr: SocketAddr,
    name: String,
    token: String,
    keeps: bool,
    kept: Option<(Connection, Instant)>,
    posted: u64,
}

impl Publisher {
    fn new(addr: SocketAddr, name: &str, keeps: bool) -> Publisher {
        Publisher { addr, name: name.to_owned(), token: token(name), keeps, kept: None, posted: 0 }
    }

    fn post_until(mut self, stop: &AtomicBool, conversation: &str, count: &AtomicUsize) -> Vec<Acknowledged> {
        let mut acknowledged = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let content = format!("{} says {}", self.name, self.posted);
            acknowledged.push(self.post(conversation, &content));
            count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
        acknowledged
    }

    #[track_caller]
    fn post(&mut self, conversation: &str, content: &str) -> Acknowledged {
        self.posted += 1;
        let body = json!({"content": content, "conversation_id": conversation}).to_string();
        let request = format!(
            "POST /input HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nIdempotency-Key: {}-{}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.addr,
            self.token,
            self.name,
            self.posted,
            body.len()
        );
        loop {
            let (mut connection, since) = self.kept.take().unwrap_or_else(|| {
                (Connection::try_open(self.addr).expect("no connection is refused"), Instant::now())
            });
            // A failure here shows in the response as well.
            let _ = connection.try_send(request.as_bytes());
            let sent_after = since.elapsed();
            match connection.try_response("POST") {
                Ok(response) => {
                    assert_eq!(response.status, 200, "{}", response.shown());
                    if self.keeps && !response.closes() {
                        self.kept = Some((connection, Instant::now()));
                    }
                    return Acknowledged {
                        number: response.number("X-Event-Id"),
                        content: content.to_owned(),
                        conversation: conversation.to_owned(),
                        message_id: text(&response.json()["data"]["message_id"]),
                    };
                }
                // The machine stalled, so the publisher was late: it retries, like every client whose idle connection
                // was closed (RFC 9112 §9.3.1).
                Err(error) => {
                    let warning = Duration::from_millis(DRAIN_NOTICE_MILLISECONDS);
                    assert!(sent_after >= warning * 9 / 10, "a request failed, sent after {sent_after:?}: {error}");
                }
            }
        }
    }
}

struct StreamLog {
    messages: Vec<(u64, String)>,
    connections: usize,
}

/// Reads a stream to the last message, over any number of connections.
fn follow(addr: SocketAddr, n: usize, start: u64) -> StreamLog {
    let mut log = StreamLog { messages: Vec::new(), connections: 0 };
    let mut opening = Opening { token: token("owner"), last_event_id: Some(start), ..Opening::default() };
    loop {
        let mut reader = Reader::open(addr, &opening).expect("a stream gets a response");
        log.connections += 1;
        while let Some(frame) = reader.next().expect("a stream ends without a reset") {
            assert!(frame.id >= opening.last_event_id || frame.id.is_none(), "ids go back: {frame:?}");
            opening.last_event_id = frame.id.or(opening.last_event_id);
            match frame.kind.as_str() {
                "connection_established" | "caught_up" | "server_shutdown" => {}
                "input" => {
                    let is_last = frame.content == "the end";
                    log.messages.push((frame.id.expect("a message has a number"), frame.content));
                    if is_last {
                        return log;
                    }
                }
                _ => panic!("an unexpected event: {frame:?}"),
            }
        }
        // Shorter than the server's retry time, so that more of the shutdown is covered.
        thread::sleep(Duration::from_millis(20 + 10 * n as u64));
    }
}

//! `/health`, `/health/live` and `/health/ready`.

use crate::common::database::open_externally;
use crate::common::token::{KEY, now as seconds_now};
use crate::common::{
    Client, Connection, DEADLINE, Options, Response, Server, User, assert_error, assert_time, of_sqlite_only,
};
use cortex_core::internals::limits::HEALTH_TIMEOUT_MILLISECONDS;
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{
    Context, EventNumber, Input, Keys, MemoryPlan, MonoTime, Now, Output, Query, QueryResponse, QueryResult, Random,
    Rejection, ReplyTo, Settings, Shard, ShardMessage, WallTime, Work,
};
use serde_json::json;
use std::io::IoSlice;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_healthy_server_reports_ok_without_a_token() {
    // Health checks have no rate limit.
    let server = Server::with(&[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "1")]);
    let mut client = Client::new(server.addr);
    for _ in 0..10 {
        let response = client.request("GET", "/health").send().expect(200);
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
        let body = response.json();
        assert_time(&body["timestamp"]);
        let want = json!({
            "status": "healthy", "service": "conversational-core", "timestamp": body["timestamp"],
            "version": env!("CARGO_PKG_VERSION"), "checks": {"database_read": "ok", "database_write": "ok"},
        });
        assert_eq!(body, want);
    }
    let live = client.request("GET", "/health/live").send().expect(200);
    let ready = client.request("GET", "/health/ready").send().expect(200);
    assert_eq!((&live.json()["status"], &ready.json()["status"]), (&json!("alive"), &json!("ready")));
    for path in ["/health", "/health/live", "/health/ready"] {
        let head = client.request("HEAD", path).send().expect(200);
        assert_eq!(head.header("Cache-Control"), Some("no-store"));
        assert_error(&client.request("POST", path).send(), 405, "method_not_allowed");
    }
}

#[test]
fn an_in_memory_database_is_healthy() {
    let server = Server::with(&[("DATABASE_URL", "sqlite:///:memory:")]);
    Client::new(server.addr).request("GET", "/health").send().expect(200);
}

#[test]
fn an_unwritable_database_is_reported_and_recovers() {
    of_sqlite_only!("it is another program that locks the file");
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.post("/input", json!({"content": "before"})).expect(200);
    let mut client = Client::new(server.addr);
    let holder = open_externally(&server.database());
    holder.execute_batch("BEGIN EXCLUSIVE").expect("the database can be locked");
    // Without a pending write, the lock has no effect.
    client.request("GET", "/health").send().expect(200);
    assert_error(&user.post("/input", json!({"content": "refused"})), 503, "service_unavailable");

    let unhealthy = client.request("GET", "/health").send().expect(503).json();
    assert_eq!(unhealthy["status"], "unhealthy");
    assert_eq!(unhealthy["checks"], json!({"database_read": "ok", "database_write": "the database is locked"}));
    let not_ready = client.request("GET", "/health/ready").send().expect(503).json();
    assert_eq!(not_ready["checks"], json!({"ready": "the database is locked"}));
    client.request("GET", "/health/live").send().expect(200);
    assert!(client.request("GET", "/metrics").send().text().contains("\ncortex_writer_failing 1\n"));
    // Reads continue.
    user.get("/conversations").expect(200);

    holder.execute_batch("ROLLBACK").expect("the lock can be released");
    let end = Instant::now() + DEADLINE;
    while client.request("GET", "/health").send().status != 200 {
        assert!(Instant::now() < end, "it does not recover without a write:\n{}", server.log());
        thread::sleep(Duration::from_millis(50));
    }
    client.request("GET", "/health/ready").send().expect(200);
    user.post("/input", json!({"content": "after"})).expect(200);
    assert!(client.request("GET", "/metrics").send().text().contains("\ncortex_writer_failing 0\n"));
}

#[test]
fn a_draining_server_is_live_and_not_ready() {
    for (path, status, said) in [("/health/ready", 503, "the server is shutting down"), ("/health/live", 200, "alive")]
    {
        // With one event loop, it knows of the shutdown when its stream ends.
        let mut server = Server::with(&[("WORKERS", "1")]);
        let mut stream = User::new(&server, "u").stream();
        let mut connection = Connection::open(server.addr);
        // One write: with the first response, the server has the beginning of the second request as well.
        connection.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET {path} HTTP/1.1\r\n").as_bytes());
        connection.response("GET").expect(200);
        server.process().signal(libc::SIGTERM);
        stream.next_of("server_shutdown");
        connection.send(b"Host: localhost\r\n\r\n");
        let response = connection.response("GET").expect(status);
        assert!(response.text().contains(said), "{}", response.shown());
        assert_eq!(server.process().wait_exit().code(), Some(0));
    }
}

/// A shard that got a request for `/health`, and the destination of its query.
struct Asked {
    shard: Shard,
    slot: u32,
    to: ReplyTo,
    now: Now,
}

impl Asked {
    fn new() -> Asked {
        let settings = Settings::load(&|_| None, 1).expect("the defaults are valid").settings;
        let keys = Keys::new(KEY.as_bytes(), &[], None, None);
        let context = Arc::new(Context { settings, memory: MemoryPlan::unlimited(), keys, epoch: "e".into() });
        let mut shard = Shard::new(0, context, Arc::default(), Arc::default(), EventNumber(7), Random::new(1));
        let now = Now { wall: WallTime(seconds_now() * SECOND), mono: MonoTime(0) };
        let slot = shard.accept([127, 0, 0, 1].into(), now);
        shard.handle(Input::Bytes { slot, bytes: b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" }, now);
        shard.check_invariants();
        let query = std::iter::from_fn(|| shard.poll_output()).find_map(|output| match output {
            Output::Work(Work::Query(query)) => Some(query),
            _ => None,
        });
        let Query { reply_to: to, .. } = query.expect("it queries the store");
        Asked { shard, slot, to, now }
    }

    fn written(&mut self) -> Option<Response> {
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = self.shard.outgoing(self.slot, &mut slices);
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        let (slot, written) = (self.slot, bytes.len());
        self.shard.handle(Input::Wrote { slot, bytes: written }, self.now);
        self.shard.check_invariants();
        (written > 0).then(|| Response::read(&bytes))
    }
}

#[test]
fn health_does_not_wait_for_a_stuck_reader() {
    let mut asked = Asked::new();
    let waits_until = asked.shard.poll_timeout().expect("the wait has a timeout");
    assert_eq!(waits_until, MonoTime(1000 * HEALTH_TIMEOUT_MILLISECONDS));
    asked.now.mono = waits_until;
    asked.shard.tick(asked.now);
    let response = asked.written().expect("a response").expect(503);
    assert_eq!(response.json()["checks"]["database_read"], "the database does not respond in time");
    assert!(response.closes(), "the next request must not get this response: {}", response.shown());
    let (to, position) = (asked.to, EventNumber(7));
    asked.shard.handle(
        Input::Message(ShardMessage::QueryResponse(QueryResponse { to, position, result: Ok(QueryResult::Alive) })),
        asked.now,
    );
    assert!(asked.written().is_none(), "a late result causes no response");
}

#[test]
fn failing_and_saturated_readers_are_reported() {
    for (result, said) in [(None, "too many queries wait"), (Some(Rejection::Database), "the database cannot be read")]
    {
        let mut asked = Asked::new();
        let (to, position) = (asked.to, EventNumber(7));
        let input = match result {
            None => Input::Message(ShardMessage::Dropped(to)),
            Some(rejection) => {
                Input::Message(ShardMessage::QueryResponse(QueryResponse { to, position, result: Err(rejection) }))
            }
        };
        asked.shard.handle(input, asked.now);
        let response = asked.written().expect("a response").expect(503);
        assert_eq!(response.json()["checks"]["database_read"], said);
        assert!(!response.closes());
    }
}

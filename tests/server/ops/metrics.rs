//! `/metrics`: exact counts, and bounded labels.

use crate::common::metrics::{REQUESTS, SECONDS, Scrape, wait_for};
use crate::common::{Client, Connection, DEADLINE, Options, Server, UNKNOWN_ID, User, database};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;

#[test]
fn requests_are_counted_by_the_pattern_of_their_path() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let before = Scrape::of(&server);
    for _ in 0..3 {
        user.get("/").expect(200);
    }
    user.request("HEAD", "/").send().expect(200);
    for n in 0..4 {
        user.get(&format!("/secret-{n}")).expect(404);
        user.get(&format!("/config/workspace/{n}")).expect(404);
    }
    user.get(&format!("/config/workspace/{UNKNOWN_ID}?q=secret")).expect(404);
    user.post("/input", json!({"content": "one"})).expect(200);
    user.post("/input", json!({"content": " "})).expect(422);
    Client::new(server.addr).request("POST", "/input").json(&json!({"content": "no token"})).send().expect(401);
    user.request("DELETE", "/users").send().expect(405);
    for method in ["BREW", "SECRET"] {
        user.request(method, "/").send().expect(405);
    }
    let mut connection = Connection::open(server.addr);
    connection.send(b"no request at all\r\n\r\n");
    connection.response("GET").expect(400);

    let after = Scrape::of(&server);
    let series = |method: &str, endpoint: &str, status: &str| {
        format!("{REQUESTS}{{method=\"{method}\",endpoint=\"{endpoint}\",status=\"{status}\"}}")
    };
    let want: BTreeMap<String, f64> = [
        (series("GET", "/", "200"), 3.0),
        (series("HEAD", "/", "200"), 1.0),
        (series("GET", "unmatched", "404"), 4.0),
        (series("GET", "/config/workspace/{workspace_id}", "404"), 5.0),
        (series("POST", "/input", "200"), 1.0),
        (series("POST", "/input", "422"), 1.0),
        (series("POST", "/input", "401"), 1.0),
        (series("DELETE", "/users", "405"), 1.0),
        (series("other", "/", "405"), 2.0),
        (series("other", "unreadable", "400"), 1.0),
        // The previous scrape, which did not count itself.
        (series("GET", "/metrics", "200"), 1.0),
    ]
    .into();
    assert_eq!(after.since(&before, REQUESTS), want);
    let counted: f64 = after.since(&before, &format!("{SECONDS}_count")).values().sum();
    assert_eq!(counted, want.values().sum::<f64>(), "each request has a duration");
    for series in after.0.keys() {
        for secret in ["secret", "SECRET", "BREW", UNKNOWN_ID] {
            assert!(!series.contains(secret), "{series}");
        }
    }
    let rejected = after.since(&before, "cortex_refusals_total");
    let reason = |reason: &str| rejected.get(&format!("cortex_refusals_total{{reason=\"{reason}\"}}")).copied();
    assert_eq!(reason("not_found"), Some(9.0));
    assert_eq!(reason("method_not_allowed"), Some(3.0));
    assert_eq!(reason("validation_error"), Some(1.0));
    assert_eq!(reason("unauthorized"), Some(1.0));
    assert_eq!(reason("bad_request"), Some(1.0));
    assert_eq!(rejected.len(), 5, "{rejected:?}");
}

#[test]
fn client_input_creates_no_series() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut round = |n: u32| {
        for method in ["GET", "POST", &format!("M{n}")] {
            for path in [format!("/{n}"), format!("/config/workspace/{n}"), format!("/conversations/{n}/messages/{n}")]
            {
                let mut request = user.request(method, &path).header("X-Request-Id", &format!("r{n}"));
                request = request.header("Origin", &format!("https://o{n}.example"));
                request.send();
            }
        }
        User::new(&server, &format!("user{n}")).get("/conversations").expect(200);
        let mut connection = Connection::open(server.addr);
        connection.send(format!("GET / HTTP/1.1\r\nHost: h{n}.example\r\n\r\n"));
        connection.response("GET").expect(400);
        Scrape::of(&server).0.into_keys().collect::<BTreeSet<_>>()
    };
    round(0);
    let first = round(1);
    for n in 2..6 {
        let grown = round(n);
        assert!(grown.is_subset(&first), "{:?}", grown.difference(&first).collect::<Vec<_>>());
    }
}

#[test]
fn connections_streams_and_messages_are_counted() {
    let server = Server::start(Options::new());
    let before = wait_for(&server, |scrape| scrape.get("cortex_connections_open") == 1.0);
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &[]);
    user.start_conversation("c");
    for n in 0..5 {
        user.say(&conversation, &n.to_string());
    }
    user.post("/input", json!({"content": "to the default conversation"})).expect(200);
    let mut client = Client::new(server.addr);
    let mut login = |password: &str| {
        let form = format!("username=user@example.com&password={password}");
        client.request("POST", "/auth/login").body("application/x-www-form-urlencoded", form).send().status
    };
    assert_eq!((login("password123"), login("wrong"), login("wrong")), (200, 401, 401));
    let mut stream = user.stream_with("last_event_id=0");
    stream.next_of("caught_up");

    // On a PostgreSQL server, the events of the journal are counted once a second.
    let open = wait_for(&server, |scrape| {
        scrape.get("cortex_streams{state=\"live\"}") == 1.0 && scrape.get("cortex_journal_events") >= 3.0
    });
    let change = |series: &str| open.get(series) - before.get(series);
    let exactly = [
        ("conversational_core_conversations_total", 3.0),
        ("cortex_logins_total{result=\"success\"}", 1.0),
        ("cortex_logins_total{result=\"wrong\"}", 2.0),
        ("cortex_streams_opened_total", 1.0),
        ("cortex_streams_closed_total", 0.0),
        ("cortex_streams{state=\"behind\"}", 0.0),
        ("cortex_stream_lag_events", 0.0),
        ("cortex_catchup_pages_total", 1.0),
        ("cortex_gaps_total{reason=\"removed\"}", 0.0),
        ("cortex_gaps_total{reason=\"unknown_number\"}", 0.0),
        ("cortex_mailbox_dropped_total{what=\"events\"}", 0.0),
        ("cortex_log_lines_dropped_total", 0.0),
        ("cortex_commits_failed_total", 0.0),
        ("cortex_writer_failing", 0.0),
    ];
    for (series, want) in exactly {
        assert!(before.0.contains_key(series), "{series} exists from the start");
        assert_eq!(change(series), want, "{series}");
    }
    // Includes the events of workspaces and users created on the way.
    assert_eq!(change("cortex_catchup_events_total"), open.get("cortex_journal_position"));
    assert_eq!(change("cortex_commit_commands_sum"), change("cortex_commands_committed_total"));
    assert_eq!(change("cortex_commit_duration_seconds_count"), change("cortex_commits_total"));
    assert!(change("cortex_commits_total") >= 8.0 && change("cortex_received_bytes_total") > 1000.0);
    assert!(change("cortex_sent_bytes_total") > 1000.0);
    assert_eq!(open.get("cortex_wal_bytes") > 0.0, !database::is_on_server(), "only a file has a log of the program's");
    assert!(open.get("cortex_journal_bytes") > 0.0);
    // An open stream has a head and no end.
    assert_eq!(open.requests("GET", "/output/stream", "200"), 1.0);
    let count = format!("{SECONDS}_count{{method=\"GET\",endpoint=\"/output/stream\"}}");
    assert_eq!(open.get(&count), 1.0);

    drop(stream);
    let mut unknown = user.stream_with("last_event_id=999999");
    unknown.next_of("gap");
    let closed = wait_for(&server, |scrape| scrape.get("cortex_streams_closed_total") == 1.0);
    assert_eq!(closed.get("cortex_gaps_total{reason=\"unknown_number\"}"), 1.0);
}

#[test]
fn a_slow_stream_is_counted() {
    let server = Server::with(&[("STREAM_BUFFER_BYTES", "4096"), ("LOG_LEVEL", "WARNING")]);
    let mut user = User::new(&server, "u");
    let mut reader = TcpStream::connect(server.addr).expect("a connection");
    let request =
        format!("GET /output/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", user.token);
    reader.write_all(request.as_bytes()).expect("the request is sent");
    wait_for(&server, |scrape| scrape.get("cortex_streams{state=\"live\"}") == 1.0);
    let content = "x".repeat(256 * 1024);
    let behind = wait_for(&server, |scrape| {
        user.post("/input", json!({"content": content})).expect(200);
        scrape.get("cortex_stream_lag_events") >= 3.0
    });
    assert_eq!(behind.get("cortex_streams{state=\"behind\"}"), 1.0);
    assert_eq!(behind.get("cortex_streams{state=\"live\"}"), 0.0);
    assert!(behind.get("cortex_outbox_bytes{of=\"streams\"}") > 0.0);
    assert!(behind.get("cortex_stream_lag_seconds") > 0.0);
    drop(reader);
    wait_for(&server, |scrape| scrape.get("cortex_streams{state=\"behind\"}") == 0.0);
}

#[test]
fn process_metrics_are_served() {
    let server = Server::start(Options::new());
    let scrape = Scrape::of(&server);
    let resident = scrape.get("process_resident_memory_bytes");
    assert!((1e6..1e9).contains(&resident), "{resident}");
    assert!(scrape.get("process_open_fds") >= 5.0);
    assert!(scrape.get("process_max_fds") >= scrape.get("process_open_fds"));
    assert!(scrape.0.contains_key("process_cpu_seconds_total"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let age = now - scrape.get("process_start_time_seconds");
    assert!((-5.0..DEADLINE.as_secs_f64()).contains(&age), "{age}");
    assert_eq!(scrape.get(&format!("cortex_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    assert!(scrape.get("cortex_connections_max") >= 1.0);
    // All series exist from the start, so that their growth is visible.
    for family in
        ["cortex_queue_items", "cortex_outbox_bytes", "cortex_refusals_total", "cortex_responder_breaker_state"]
    {
        assert!(scrape.0.keys().any(|series| series.starts_with(family)), "{family}");
    }
}

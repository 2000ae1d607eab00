//! Limits on sizes, times and rates, and the responses beyond them.

use crate::common::token::token;
use crate::common::{Client, Connection, DEADLINE, Options, Origin, Server, User, assert_error, eventually, metrics};
use cortex_core::internals::limits::TRAILER_BYTES_MAX;
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_body_over_the_limit_is_rejected_by_its_length() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        token("u"),
        2 * 1024 * 1024 + 1
    ));
    let response = connection.response("POST");
    assert_error(&response, 413, "payload_too_large");
    assert!(response.closes(), "the body is not read");
    connection.expect_end();
}

#[test]
fn a_chunked_body_is_rejected_when_it_exceeds_the_limit() {
    let server = Server::with(&[("MAX_BODY_BYTES", "65536")]);
    let mut connection = Connection::open(server.addr);
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        token("u")
    ));
    for _ in 0..17 {
        connection.send(format!("1000\r\n{}\r\n", " ".repeat(4096)));
    }
    assert_error(&connection.response("POST"), 413, "payload_too_large");
    connection.expect_end();
    // A body at the limit is accepted.
    let mut user = User::new(&server, "u");
    let frame = json!({"content": ""}).to_string().len();
    user.post("/input", json!({"content": "x".repeat(65_536 - frame)})).expect(200);
    assert_error(&user.post("/input", json!({"content": "x".repeat(65_537 - frame)})), 413, "payload_too_large");
}

/// A chunk may announce any size; it is rejected without waiting for it.
#[test]
fn a_chunk_over_the_limit_is_rejected_by_its_size_line() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n",
        token("u")
    ));
    assert_error(&connection.response("POST"), 413, "payload_too_large");
    connection.expect_end();
}

/// Regression test of a fuzzing finding: the response was `400`.
#[test]
fn trailers_over_the_limit_are_rejected() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n10\r\n{{\"content\":\"hi\"}}\r\n0\r\nA:{}",
        server.addr,
        token("u"),
        "t".repeat(TRAILER_BYTES_MAX)
    ));
    assert_error(&connection.response("POST"), 431, "headers_too_large");
}

#[test]
fn a_target_over_eight_kibibytes_is_rejected() {
    let server = Server::start(Options::new());
    let path = |bytes: usize| format!("/?{}", "x".repeat(bytes - 2));
    Client::new(server.addr).request("GET", &path(8 * 1024)).send().expect(200);
    assert_error(&Client::new(server.addr).request("GET", &path(8 * 1024 + 1)).send(), 414, "uri_too_long");
    assert_error(&Client::new(server.addr).request("GET", &path(12 * 1024)).send(), 414, "uri_too_long");
}

#[test]
fn an_endless_target_is_rejected_at_the_limit() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send(format!("GET /{}", "x".repeat(20 * 1024)));
    let response = connection.response("GET");
    assert!(matches!(response.status, 414 | 431), "{}", response.shown());
    connection.expect_end();
}

#[test]
fn fields_over_the_limit_are_rejected() {
    let server = Server::start(Options::new());
    let padding = |bytes: usize| "x".repeat(bytes);
    let mut client = Client::new(server.addr);
    client.request("GET", "/").header("X-Padding", &padding(15 * 1024)).send().expect(200);
    let response = client.request("GET", "/").header("X-Padding", &padding(17 * 1024)).send();
    assert_error(&response, 431, "headers_too_large");
    assert!(response.closes());

    let many = |count: usize| {
        let mut client = Client::new(server.addr);
        // The client adds `Host` itself.
        (1..count).fold(client.request("GET", "/"), |request, n| request.header(&format!("X-{n}"), "x")).send()
    };
    many(100).expect(200);
    assert_error(&many(101), 431, "headers_too_large");

    // An endless head is rejected when it exceeds the limit, not at its end.
    let mut connection = Connection::open(server.addr);
    connection.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Padding: {}", padding(17 * 1024)));
    assert_error(&connection.response("GET"), 431, "headers_too_large");
    connection.expect_end();
}

#[test]
fn the_limit_of_heads_is_configurable() {
    let server = Server::with(&[("MAX_HEADER_BYTES", "65536")]);
    Client::new(server.addr).request("GET", "/").header("X-Padding", &"x".repeat(60 * 1024)).send().expect(200);
}

#[test]
fn a_late_head_times_out() {
    let server = Server::with(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    let mut connection = Connection::open(server.addr);
    connection.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Unfinished: ");
    let response = connection.response("GET");
    assert_error(&response, 408, "request_timeout");
    assert!(response.closes());
    connection.expect_end();
}

/// Single bytes do not extend the timeout of the head.
#[test]
fn a_slowly_dripping_head_times_out() {
    let server = Server::with(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    let mut connection = Connection::open(server.addr);
    connection.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Drip: ");
    let end = Instant::now() + DEADLINE;
    while connection.arrived_by_now().is_some_and(|bytes| bytes.is_empty()) {
        assert!(Instant::now() < end, "a dripping head does not time out");
        if connection.try_send(b"x").is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_error(&connection.response("GET"), 408, "request_timeout");
}

#[test]
fn a_late_body_times_out() {
    let server = Server::with(&[("BODY_TIMEOUT_SECONDS", "1")]);
    let mut connection = Connection::open(server.addr);
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{\"content\":",
        token("u")
    ));
    let response = connection.response("POST");
    assert_error(&response, 408, "request_timeout");
    assert!(response.closes());
    connection.expect_end();
}

#[test]
fn an_idle_keep_alive_connection_is_closed_without_a_response() {
    let server = Server::with(&[("KEEP_ALIVE_SECONDS", "1")]);
    let mut connection = Connection::open(server.addr);
    connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.response("GET").expect(200);
    connection.expect_end();
}

#[test]
fn requests_of_one_user_are_rate_limited() {
    let server = Server::with(&[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "2")]);
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    ann.post("/input", json!({"content": "one"})).expect(200);
    ann.post("/input", json!({"content": "two"})).expect(200);
    // Even a slow machine sends more than one request per second.
    let rejected =
        (0..1000).map(|_| ann.post("/input", json!({"content": "more"}))).find(|response| response.status != 200);
    let rejected = rejected.expect("more than one per second is rejected");
    assert_error(&rejected, 429, "rate_limited");
    assert!(rejected.number("Retry-After") <= 2, "one token is refilled per second: {}", rejected.shown());
    ben.post("/input", json!({"content": "others are not held up"})).expect(200);
    let end = Instant::now() + DEADLINE;
    while ann.post("/input", json!({"content": "later"})).status != 200 {
        assert!(Instant::now() < end, "the rate does not recover");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_rate_of_a_user_covers_all_connections() {
    let server = Server::with(&[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "2"), ("WORKERS", "4")]);
    let responses: Vec<u16> = (0..200)
        .map(|n| {
            let request = json!({"content": format!("from a connection of its own {n}")});
            User::new(&server, "ann").post("/input", request).status
        })
        .collect();
    assert!(responses.iter().all(|status| [200, 429].contains(status)), "{responses:?}");
    assert!(responses.contains(&429), "the rate covers all connections");
}

#[test]
fn development_has_no_rate_limit() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for n in 0..300 {
        user.say("default", &n.to_string());
    }
}

#[test]
fn logins_are_limited_by_account_and_address_together() {
    let server = Server::with(&[("LOGIN_RATE_LIMIT_PER_MINUTE", "3")]);
    let mut client = Client::new(server.addr);
    let mut login =
        |email: &str| client.request("POST", "/auth/login").json(&json!({"email": email, "password": "wrong"})).send();
    for _ in 0..3 {
        assert_error(&login("user@example.com"), 401, "unauthorized");
    }
    let rejected = (0..30).map(|_| login("user@example.com")).find(|response| response.status != 401);
    assert_error(&rejected.expect("guessing is limited"), 429, "rate_limited");
    assert_error(&login("somebody@example.com"), 401, "unauthorized");
}

#[test]
fn logins_of_one_address_are_limited_whatever_the_account() {
    let server = Server::with(&[("LOGIN_RATE_LIMIT_PER_MINUTE", "2")]);
    let mut client = Client::new(server.addr);
    let statuses: Vec<u16> = (0..60)
        .map(|n| {
            let body = json!({"email": format!("user{n}@example.com"), "password": "wrong"});
            client.request("POST", "/auth/login").json(&body).send().status
        })
        .collect();
    assert!(statuses[..20].iter().all(|status| *status == 401), "ten times the limit of one account: {statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
}

/// At the limit, a new connection is rejected or waits; it is never served beyond the limit, and each closed connection
/// frees a slot.
#[test]
fn connections_are_bounded() {
    let server = Server::with(&[("MAX_CONNECTIONS", "8"), ("MAX_CONNECTIONS_PER_ADDRESS", "0")]);
    let users: Vec<User> = (0..8).map(|n| User::new(&server, &format!("u{n}"))).collect();
    let mut streams: Vec<_> = users.iter().map(User::stream).collect();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut ninth = Connection::open(server.addr);
    // It may be closed before the request is read.
    let _ = ninth.try_send(request.as_bytes());
    if let Some(bytes) = ninth.arrived_by_now() {
        assert!(!bytes.starts_with(b"HTTP/1.1 200"), "served beyond the limit");
    }
    drop((ninth, streams.pop()));
    let end = Instant::now() + DEADLINE;
    loop {
        let mut connection = Connection::open(server.addr);
        let sent = connection.try_send(request.as_bytes());
        match sent.and_then(|()| connection.try_response("GET")) {
            Ok(response) if response.status == 200 => break,
            Ok(response) => drop(assert_error(&response, 503, "service_unavailable")),
            Err(_) => {}
        }
        assert!(Instant::now() < end, "a closed connection frees no slot");
        drop(connection);
        thread::sleep(Duration::from_millis(20));
    }
}

/// One address cannot use all connections; its excess is closed immediately, and each closed connection frees a slot.
#[test]
fn connections_of_one_address_are_bounded() {
    const MAX: usize = 3;
    let mut server = Server::with(&[("MAX_CONNECTIONS_PER_ADDRESS", &MAX.to_string()), ("WORKERS", "2")]);
    let is_served = |connection: &mut Connection| {
        let sent = connection.try_send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        sent.and_then(|()| connection.try_response("GET")).is_ok_and(|response| response.status == 200)
    };
    let mut open: Vec<Connection> = (0..MAX).map(|_| Connection::open(server.addr)).collect();
    assert!(open.iter_mut().all(is_served));
    for _ in 0..10 {
        assert!(!is_served(&mut Connection::open(server.addr)), "a connection beyond the limit is served");
    }
    assert!(open.iter_mut().all(is_served), "existing connections stay open");
    let metrics = |connection: &mut Connection| {
        connection.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.response("GET").expect(200).text().to_owned()
    };
    assert!(
        metrics(&mut open[0]).contains("cortex_connections_refused_total{reason=\"address\"} 10\n"),
        "{}",
        metrics(&mut open[0])
    );
    // All slots are freed, however the connections close.
    for _ in 0..3 {
        open.clear();
        let end = Instant::now() + DEADLINE;
        while open.len() < MAX {
            let mut connection = Connection::open(server.addr);
            if is_served(&mut connection) {
                open.push(connection);
            }
            assert!(Instant::now() < end, "closed connections free no slots");
        }
        assert!(!is_served(&mut Connection::open(server.addr)), "the limit is unchanged");
    }
    drop(open);
    // The last log lines are written before the exit.
    assert_eq!(server.stop().code(), Some(0));
    let lines = server.log().matches("MAX_CONNECTIONS_PER_ADDRESS").count();
    assert!((1..=2).contains(&lines), "each of the two loops logs it at a limited rate: {lines}");
}

/// Without a setting, an address has a quarter of the connections, so that one alone leaves room for others.
#[test]
fn an_address_has_a_quarter_of_the_connections_by_default() {
    let server = Server::with(&[("MAX_CONNECTIONS", "40")]);
    let open_from = |address| Connection::try_open_from(Origin::of(address), server.addr).expect("the server accepts");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut flood: Vec<Connection> = (0..60).map(|_| open_from([127, 0, 0, 2])).collect();
    let served = flood.iter_mut().filter_map(|connection| {
        connection.try_send(request.as_bytes()).and_then(|()| connection.try_response("GET")).ok()
    });
    assert_eq!(served.filter(|response| response.status == 200).count(), 10);
    for last in [1, 3, 4] {
        let mut other = open_from([127, 0, 0, last]);
        other.send(request);
        other.response("GET").expect(200);
    }
}

#[test]
fn connections_of_a_trusted_proxy_are_not_counted() {
    let server = Server::with(&[("MAX_CONNECTIONS_PER_ADDRESS", "1"), ("TRUSTED_PROXIES", "127.0.0.0/8")]);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::new(server.addr)).collect();
    for client in &mut clients {
        client.request("GET", "/").send().expect(200);
    }
}

/// A page of a list stays under 8 MiB, reports truncation, and can be continued.
#[test]
fn a_list_is_truncated_at_the_byte_limit() {
    const WORKSPACES: usize = 140;
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let metadata = json!({"x": "x".repeat(64 * 1024 - 8)});
    for n in 0..WORKSPACES {
        let body = json!({"name": n.to_string(), "description": "d", "metadata": metadata});
        user.post("/config/workspace", body).expect(200);
    }
    let (mut seen, mut pages) = (Vec::new(), 0);
    while seen.len() < WORKSPACES {
        let page = user.get(&format!("/config/workspace?limit=1000&offset={}", seen.len())).expect(200);
        assert!(page.body.len() <= 8 * 1024 * 1024, "{}", page.body.len());
        let body = page.json();
        assert_eq!(body["total"], WORKSPACES);
        let names = body["workspaces"].as_array().expect("a list").iter().map(|item| item["name"].clone());
        let before = seen.len();
        seen.extend(names);
        assert!(seen.len() > before, "a page is not empty");
        let truncated = page.header("X-Truncated") == Some("true");
        assert_eq!(truncated, seen.len() < WORKSPACES, "truncation is reported exactly when it happens");
        pages += 1;
    }
    assert!(pages > 1);
    let expected: Vec<_> = (0..WORKSPACES).map(|n| json!(n.to_string())).collect();
    assert_eq!(seen, expected, "every workspace is listed once");
}

/// A login needs no token, so its body limit is small.
#[test]
fn a_login_with_a_large_body_is_rejected_by_its_head() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let form = format!("username=user%40example.com&password={}", "x".repeat(16 * 1024));
    let response = client.request("POST", "/auth/login").body("application/x-www-form-urlencoded", form).send();
    assert_error(&response, 413, "payload_too_large");
}

/// The connection is not reset before the client has read the error.
#[test]
fn the_response_to_a_large_rejected_body_can_be_read_after_the_body_was_sent() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    let bytes = 8 * 1024 * 1024;
    connection.send(format!("POST /input HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n"));
    for _ in 0..bytes / 65_536 {
        connection.send(" ".repeat(65_536));
    }
    assert_error(&connection.response("POST"), 401, "unauthorized");
}

/// The connections that were closed because unread responses filled their budget.
const CUT: &str = r#"cortex_connections_cut_total{reason="response_bytes"}"#;

/// Responses that wait for their readers share one budget, and the user that fills it gives way.
#[test]
fn unread_responses_are_bounded_over_all_connections() {
    let server = Server::with(&[("WORKERS", "1")]);
    let mut user = User::new(&server, "u");
    let filler = "x".repeat(60_000);
    for n in 0..140 {
        let body = json!({"name": n.to_string(), "description": "d", "metadata": {"filler": filler}});
        user.post("/config/workspace", body).expect(200);
    }
    let ask = || {
        let mut connection = Connection::open(server.addr);
        let token = crate::common::token::token("u");
        connection.send(format!(
            "GET /config/workspace?limit=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        connection
    };
    let connections: Vec<Connection> = (0..60).map(|_| ask()).collect();
    eventually("the budget is kept", || metrics::Scrape::of(&server).get(CUT) > 0.0);
    let mut other = User::new(&server, "v");
    other.get("/config/workspace").expect(200);
    let complete = connections.into_iter().filter_map(|mut one| one.try_response("GET").ok()).count();
    assert!((1..60).contains(&complete), "{complete} of 60 are complete");
    assert_eq!(ask().response("GET").status, 200, "reading frees the budget");
}

//! nginx and Caddy with the configurations of `deploy/`: they forward events immediately, pass on the clients' addresses,
//! keep streams alive through a restart of five seconds, and log no ticket.

use super::between::Route;
use super::shipped::{Kind, Shipped};
use crate::clients::browser::{self, Browser, PageClient};
use crate::clients::follower::Follower;
use crate::clients::matrix::{node, python};
use crate::common::http::{Connection, Framing};
use crate::common::token::token;
use crate::common::{Client, DEADLINE, Server, User};
use crate::tools;
use serde_json::json;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn nginx_forwards_streams_and_addresses() {
    streams_and_addresses_are_forwarded(Kind::Nginx);
}

#[test]
fn caddy_forwards_streams_and_addresses() {
    streams_and_addresses_are_forwarded(Kind::Caddy);
}

#[test]
fn clients_behind_nginx_survive_a_long_restart() {
    a_long_restart_is_survived(Kind::Nginx);
}

#[test]
fn clients_behind_caddy_survive_a_long_restart() {
    a_long_restart_is_survived(Kind::Caddy);
}

#[test]
fn nginx_removes_claims_and_queries() {
    claims_and_queries_are_removed(Kind::Nginx);
}

#[test]
fn caddy_removes_claims_and_queries() {
    claims_and_queries_are_removed(Kind::Caddy);
}

fn streams_and_addresses_are_forwarded(kind: Kind) {
    let settings = [("TRUSTED_PROXIES", "127.0.0.1"), ("ALLOWED_HOSTS", "*"), ("LOGIN_RATE_LIMIT_PER_MINUTE", "1")];
    let server = Server::with(&settings);
    let Some(proxy) = Shipped::start(kind, server.addr) else { return };

    let mut user = User::at(proxy.addr, "u");
    let mut stream = Connection::open(proxy.addr);
    let token = &user.token;
    stream.send(format!("GET /output/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let head = stream.try_head().expect("the head of a response");
    assert_eq!(head.status, 200, "{}", head.shown());
    let (mut framing, mut text) = (Framing::of(&head, "GET"), String::new());
    let mut read_to = |wanted: &str| {
        while !text.contains(wanted) {
            let piece = stream.try_body_piece(&mut framing).expect("the stream continues").expect("no end");
            text.push_str(std::str::from_utf8(&piece).expect("the events are ASCII"));
        }
    };
    read_to("connection_established");
    user.say("default", "through the proxy");
    // The stream continues, and nothing buffers it.
    read_to("through the proxy");
    // When the client disconnects, the proxy closes the stream at the server too.
    drop(stream);
    let mut direct = User::new(&server, "u");
    let end = Instant::now() + DEADLINE;
    while direct.get("/output/streams").expect(200).json()["streams"] != json!([]) {
        assert!(Instant::now() < end, "the stream is still open at the server");
        thread::sleep(Duration::from_millis(20));
    }

    // Logins are limited by address: an address claimed by the client has no effect, since the proxy sends its own.
    let login = |addr: SocketAddr, field: &str, value: &str| {
        let mut client = Client::new(addr);
        let request = client.request("POST", "/auth/login").header(field, value);
        let form = "username=nobody%40example.com&password=wrong";
        request.body("application/x-www-form-urlencoded", form).send().status
    };
    assert_eq!(login(proxy.addr, "X-Forwarded-For", "192.0.2.1"), 401);
    assert_eq!(login(proxy.addr, "X-Forwarded-For", "192.0.2.2"), 429, "the claimed address is ignored");
    // Connected directly, the server trusts this machine, and the claimed address counts.
    assert_eq!(login(server.addr, "X-Forwarded-For", "192.0.2.2"), 401);

    // Outsiders do not see metrics, and the server validates long tokens.
    let mut anonymous = Connection::open(proxy.addr);
    anonymous.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let response = anonymous.read_to_end();
    assert!(response.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&response));
    assert_eq!(Client::new(server.addr).request("GET", "/metrics").send().status, 200);
    let response = Client::new(proxy.addr).request("GET", "/auth/verify").token(&"x".repeat(8192)).send();
    assert_eq!((response.status, response.json()["error"]["code"].as_str()), (401, Some("unauthorized")));
}

fn a_long_restart_is_survived(kind: Kind) {
    let mut route = Route::start();
    let Some(proxy) = Shipped::start(kind, route.server.addr) else { return };
    let (Some(chromium), Some(packages)) = (tools::chromium(), tools::node_packages()) else { return };
    let page_client = PageClient {
        name: "eventsource".into(),
        module: "eventsource",
        is_traced: false,
        server: proxy.addr,
        token: token("reader"),
    };
    let browser = browser::Kind::Chromium;
    let (_browser, mut clients) = Browser::start(browser, Path::new(chromium), &packages, &[page_client]);
    for command in [node("eventsource.mjs", "eventsource"), python("follow_httpx_sse.py")].into_iter().flatten() {
        clients.push(Follower::start(command, proxy.addr, &token("reader")));
    }
    clients.iter_mut().for_each(Follower::wait_for_established);
    route.post_alone(&mut clients);

    route.take_down(|server| assert!(server.stop().success()));
    route.post_after_restart(&mut clients);
    route.post_alone(&mut clients);
    route.take_down(Server::kill);
    route.post_after_restart(&mut clients);
    route.post_alone(&mut clients);
    route.finish(clients);

    let logs = proxy.logs();
    assert!(kind != Kind::Nginx || logs.contains("\"GET /output/stream\" 200"), "requests are logged: {logs}");
    assert_logs_have_no_query(&logs);
}

/// Runs the proxy in front of a server that closes each connection after a request. The addresses that a client claims do
/// not reach the server, and the failed requests are logged without queries.
fn claims_and_queries_are_removed(kind: Kind) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let Some(proxy) = Shipped::start(kind, listener.local_addr().expect("an address")) else { return };
    let (sender, requests) = channel();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = [0; 8192];
            let n = socket.read(&mut request).unwrap_or(0);
            // The test may have ended.
            drop(sender.send(String::from_utf8_lossy(&request[..n]).to_lowercase()));
        }
    });
    // A proxy may retry a GET, but not a POST that the server may have executed.
    for path in ["/output/stream", "/conversations/x/messages/y/stream", "/auth/verify", "/here%0Aand"] {
        let mut connection = Connection::open(proxy.addr);
        connection.send(format!(
            "POST {path}?ticket=secret HTTP/1.1\r\nHost: localhost\r\nReferer: http://localhost/?ticket=secret\r\n\
             X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ));
        connection.read_to_end();
    }
    let request = requests.recv_timeout(DEADLINE).expect("a request arrives");
    assert!(request.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{request}");
    assert!(!request.contains("192.0.2.1"), "{request}");
    let logs = proxy.logs();
    assert!(logs.contains("/auth/verify"), "requests are logged: {logs}");
    assert_logs_have_no_query(&logs);
}

#[track_caller]
fn assert_logs_have_no_query(logs: &str) {
    let line = logs.lines().find(|line| line.contains("ticket=") || line.contains("stream?"));
    assert_eq!(line, None, "a query is logged");
}

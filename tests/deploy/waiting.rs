//! A process that waits for the database on a port of its own: it says so, and keeps what comes.

use crate::common::port::free_port;
use crate::common::token::token;
use crate::common::{Client, Connection, DEADLINE, Options, Server, User};
use cortex_core::base::limits::STARTUP_CONNECTIONS_MAX;
use serde_json::json;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_process_that_waits_says_that_it_is_starting_and_keeps_what_comes() {
    let mut server = Server::start(Options::new());
    let port = free_port();
    server.set("PORT", port);
    let mut second = server.second();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let end = Instant::now() + DEADLINE;
    while !server.log().contains("waiting for the process") {
        assert!(Instant::now() < end, "it says that it waits:\n{}", server.log());
        thread::sleep(Duration::from_millis(5));
    }

    let body = json!({"content": "early"}).to_string();
    let mut early = Connection::open(addr);
    early.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token("u"),
        body.len()
    ));
    for (method, path, status) in [
        ("GET", "/health", 503),
        ("GET", "/health/ready", 503),
        ("HEAD", "/health/ready", 503),
        ("GET", "/health/live", 200),
    ] {
        let answer = Client::new(addr).request(method, path).send();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.shown());
        assert!(answer.closes(), "{}", answer.shown());
        if method == "GET" {
            assert_eq!(answer.json()["service"], "conversational-core", "{}", answer.shown());
        }
    }
    // More than are kept: the kernel holds the others.
    let mut many: Vec<Connection> = (0..STARTUP_CONNECTIONS_MAX + 20).map(|_| Connection::open(addr)).collect();
    for connection in &mut many {
        connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    User::new(&server, "u").say("default", "to the first");
    assert_eq!(early.arrived_by_now().as_deref(), Some(&[][..]), "nothing is answered beside the first");

    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(second.wait_listening(), addr);
    let answer = early.response("POST").expect(200);
    assert_eq!(answer.json()["data"]["content"], "early");
    for connection in &mut many {
        connection.response("GET").expect(200);
    }
}

//! A process that waits for the database on its own port: it reports this and keeps connections.

use crate::common::port::free_port;
use crate::common::server::Sandbox;
use crate::common::token::token;
use crate::common::{Client, Connection, DEADLINE, Options, Server, User, of_sqlite_only};
use cortex_core::internals::limits::STARTUP_CONNECTIONS_MAX;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_waiting_process_reports_starting_and_keeps_connections() {
    of_sqlite_only!("a second process waits for the first one");
    let mut server = Server::start(Options::new());
    let port = free_port();
    server.set("PORT", port);
    let mut second = server.second();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    server.wait_for_log("waiting for another process");

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
        let response = Client::new(addr).request(method, path).send();
        assert_eq!(response.status, status, "{method} {path}: {}", response.shown());
        assert!(response.closes(), "{}", response.shown());
        if method == "GET" {
            assert_eq!(response.json()["service"], "conversational-core", "{}", response.shown());
        }
    }
    // More than are kept: the kernel queues the others.
    let mut many: Vec<Connection> = (0..STARTUP_CONNECTIONS_MAX + 20).map(|_| Connection::open(addr)).collect();
    for connection in &mut many {
        connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    User::new(&server, "u").say("default", "to the first");
    assert_eq!(early.arrived_by_now().as_deref(), Some(&[][..]), "the second process does not respond");

    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(second.wait_listening(), addr);
    let response = early.response("POST").expect(200);
    assert_eq!(response.json()["data"]["content"], "early");
    for connection in &mut many {
        connection.response("GET").expect(200);
    }
}

/// The health check of a container.
#[test]
fn the_command_health_reports_readiness() {
    let port = free_port();
    let sandbox = Sandbox::new(Options::new().set("PORT", port));
    let health = || {
        let output = sandbox.command().arg("health").output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = health();
    assert!(code == Some(1) && said.contains("does not answer"), "{code:?}: {said}");
    for (status, expected) in [("200 OK", Some(0)), ("503 Service Unavailable", Some(1))] {
        let standin = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let server = thread::spawn(move || {
            let (mut client, _) = standin.accept().expect("a connection arrives");
            let mut request = [0; 1024];
            let bytes = client.read(&mut request).expect("a request");
            client
                .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello").as_bytes())
                .expect("it reads the response");
            String::from_utf8_lossy(&request[..bytes]).into_owned()
        });
        let (code, said) = health();
        assert!(code == expected && said.contains("hello"), "{status}: {code:?}: {said}");
        let request = server.join().expect("it got a request");
        assert!(request.starts_with("GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    }
}

fn health_of(server: &Server) -> Command {
    let mut command = server.sandbox().command();
    command.env("PORT", server.addr.port().to_string()).arg("health");
    command
}

#[test]
fn the_command_health_works_when_only_other_hosts_are_allowed() {
    for hosts in ["chat.example.org", "*.example.org, chat.example.net", "[2001:db8::1]"] {
        let server = Server::start(Options::new().set("ALLOWED_HOSTS", hosts));
        let output = health_of(&server).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{hosts}: {output:?}");
    }
}

#[test]
fn the_command_health_does_not_panic_when_its_output_is_closed() {
    let server = Server::start(Options::new());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = health_of(&server).stdout(writer).output().expect("it starts");
    assert!(output.status.code() == Some(0) && output.stderr.is_empty(), "{output:?}");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = health_of(&server).stdout(full).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("cannot write to standard output"), "{said}");
}

#[test]
fn the_command_health_fails_on_a_response_that_is_not_http() {
    let standin = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let sandbox = Sandbox::new(Options::new().set("PORT", standin.local_addr().expect("an address").port()));
    for response in [&b"anything 200 goes"[..], b"", b"\xff\xfe", b"SSH-2.0-x\r\n"] {
        let output = thread::scope(|scope| {
            scope.spawn(|| {
                let (mut client, _) = standin.accept().expect("a connection arrives");
                // Everything is read, since closing with unread bytes would cause a reset.
                let _ = client.read(&mut [0; 1024]);
                client.write_all(response).expect("it reads the response");
            });
            sandbox.command().arg("health").output().expect("it starts")
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("does not speak HTTP"), "{response:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn early_connections_get_a_response_when_the_waiting_process_ends() {
    of_sqlite_only!("a second process waits for the first one");
    let port = free_port();
    let server = Server::start(Options::new());
    let mut second = server.sandbox().command();
    let mut second = second.env("PORT", port.to_string()).stderr(Stdio::null()).spawn().expect("it starts");
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let end = Instant::now() + DEADLINE;
    let mut early = loop {
        match TcpStream::connect(addr) {
            Ok(early) => break early,
            Err(_) => assert!(Instant::now() < end, "it does not listen"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    early.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is connected");
    // Connections are accepted in order, so the early one is kept once a later one gets a response.
    Client::new(addr).request("GET", "/health/live").send().expect(200);
    // SAFETY: the child has not been waited for, so its id is not reused.
    unsafe { libc::kill(second.id() as libc::pid_t, libc::SIGTERM) };
    let mut response = String::new();
    early.read_to_string(&mut response).expect("a response and the end");
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("Retry-After: "), "{response:?}");
    assert_eq!(second.wait().expect("it exits").code(), Some(0));
}

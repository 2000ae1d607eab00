//! Starting, waiting for another process, draining, and shutdown.

use crate::common::token::{KEY, token};
use crate::common::user::text;
use crate::common::{
    Client, Connection, DEADLINE, Options, Response, Server, User, assert_error, database, of_sqlite_only,
};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_port_in_use_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let failed = Server::failed_start(Options::new().set("PORT", port));
    assert!(failed.code.is_some_and(|code| code != 0), "{:?}: {}", failed.code, failed.stderr);
    assert!(failed.stderr.contains(&port.to_string()), "the port is named: {}", failed.stderr);
    assert!(!failed.stderr.contains("panicked"), "{}", failed.stderr);
}

/// A restart on the same port works immediately, despite earlier connections in TIME_WAIT.
#[test]
fn a_port_can_be_reused_immediately() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut server = Server::start(Options::new().set("PORT", free.port()));
    for _ in 0..3 {
        let mut user = User::new(&server, "u");
        let _stream = user.stream();
        user.say("default", "hello");
        server.kill();
        server.restart();
        assert_eq!(server.addr, free);
    }
}

#[test]
fn a_second_process_on_the_same_database_waits_for_the_first() {
    of_sqlite_only!("a second process waits for the first one");
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "to the first");
    let mut second = server.second();
    let end = Instant::now() + DEADLINE;
    while !server.log().contains("waiting") {
        assert!(!second.ended_by_now(), "it exits instead of waiting:\n{}", server.log());
        assert!(Instant::now() < end, "it does not log what it waits for:\n{}", server.log());
        thread::sleep(Duration::from_millis(5));
    }

    // If it already listens, its connections wait in its queue.
    let (sender, response) = channel();
    let early = second.listening_by_now();
    if let Some(addr) = early {
        thread::spawn(move || {
            let body = json!({"content": "to the second"});
            sender.send(Client::new(addr).request("POST", "/input").token(&token("u")).json(&body).send())
        });
    }
    for n in 0..50 {
        user.say("default", &format!("to the first {n}"));
        assert!(
            early.is_none() || matches!(response.try_recv(), Err(TryRecvError::Empty)),
            "the second process responds"
        );
    }
    assert!(!second.ended_by_now(), "{}", server.log());
    assert!(early.is_some() || second.listening_by_now().is_none(), "the second process serves");

    assert_eq!(server.stop().code(), Some(0));
    let response: Response = match early {
        Some(_) => response.recv_timeout(DEADLINE).expect("the waiting request gets a response"),
        None => {
            let body = json!({"content": "to the second"});
            Client::new(second.wait_listening()).request("POST", "/input").token(&token("u")).json(&body).send()
        }
    };
    response.expect(200);
    let stored = database::sound_message_contents(&server.database());
    assert_eq!(stored.len(), 52);
    assert_eq!(stored.last().map(String::as_str), Some("to the second"));
    second.signal(libc::SIGTERM);
    assert_eq!(second.wait_exit().code(), Some(0));
}

/// The lock is released with its process, however that ended.
#[test]
fn a_second_process_takes_over_after_a_kill() {
    let mut server = Server::start(Options::new());
    User::new(&server, "u").say("default", "before the kill");
    let mut second = server.second();
    server.kill();
    second.wait_listening();
    assert_eq!(database::sound_message_contents(&server.database()), ["before the kill"]);
}

#[test]
fn sigterm_drains() {
    let mut server = Server::with(&[("SHUTDOWN_GRACE_SECONDS", "20")]);
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    let mut streams: Vec<_> = (0..5).map(|_| user.stream()).collect();
    let mut kept = Connection::open(server.addr);
    kept.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    kept.response("GET").expect(200);

    // A request whose first bytes have arrived is finished.
    let body = json!({"content": "begun before the end"}).to_string();
    let head = format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        token("u"),
        body.len()
    );
    let mut running = Connection::open(server.addr);
    running.send(head);
    running.expect_continue();

    server.process().signal(libc::SIGTERM);
    for stream in &mut streams {
        let events = stream.until_end();
        assert_eq!(events.last().map(|event| event.kind()), Some("server_shutdown"), "{events:?}");
        assert_eq!(stream.retries().len(), 2, "the first one, and one for the shutdown: {:?}", stream.retries());
    }
    running.send(&body);
    let response = running.response("POST").expect(200);
    assert!(response.closes(), "{}", response.shown());
    running.expect_end();
    kept.expect_end();
    assert_eq!(server.process().wait_exit().code(), Some(0), "{}", server.log());
    assert!(Connection::try_open(server.addr).is_err(), "the server still listens");
    let stored = database::sound_message_contents(&server.database());
    assert_eq!(stored, ["before", "begun before the end"]);
}

#[test]
fn sigint_drains() {
    let mut server = Server::start(Options::new());
    let mut stream = User::new(&server, "u").stream();
    server.process().signal(libc::SIGINT);
    stream.next_of("server_shutdown");
    assert_eq!(stream.until_end().len(), 0);
    assert_eq!(server.process().wait_exit().code(), Some(0));
}

/// Retry delays are spread, so that clients do not all reconnect at once.
#[test]
fn retry_delays_at_shutdown_are_spread() {
    let mut server = Server::start(Options::new());
    let user = User::new(&server, "u");
    let mut streams: Vec<_> = (0..40).map(|_| user.stream()).collect();
    server.process().signal(libc::SIGTERM);
    let mut retries: Vec<u64> = Vec::new();
    for stream in &mut streams {
        stream.until_end();
        retries.push(*stream.retries().last().expect("there is one"));
    }
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 10, "{retries:?}");
    assert!(retries.iter().all(|retry| *retry <= 10_000), "within a few seconds: {retries:?}");
}

#[test]
fn an_unfinished_request_delays_shutdown_by_at_most_the_grace_period() {
    let mut server = Server::with(&[("SHUTDOWN_GRACE_SECONDS", "1"), ("BODY_TIMEOUT_SECONDS", "600")]);
    let mut stuck = Connection::open(server.addr);
    stuck.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{",
        token("u")
    ));
    // A response to another request shows that the server has read the first one.
    User::new(&server, "u").say("default", "hello");
    server.process().signal(libc::SIGTERM);
    server.process().wait_exit();
}

#[test]
fn a_second_signal_exits_immediately() {
    let mut server = Server::with(&[("SHUTDOWN_GRACE_SECONDS", "600"), ("BODY_TIMEOUT_SECONDS", "600")]);
    let mut stuck = Connection::open(server.addr);
    stuck.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        token("u")
    ));
    stuck.expect_continue();
    let mut stream = User::new(&server, "u").stream();
    server.process().signal(libc::SIGTERM);
    stream.next_of("server_shutdown");
    assert!(!server.process().ended_by_now(), "it waits for the incomplete request");
    server.process().signal(libc::SIGTERM);
    server.process().wait_exit();
}

#[test]
fn the_development_key_is_generated_once_and_stored() {
    let mut server = Server::start(Options::new().unset("JWT_SECRET_KEY"));
    let login = json!({"email": "user@example.com", "password": "password123"});
    let response = Client::new(server.addr).request("POST", "/auth/login").json(&login).send().expect(200);
    let token = text(&response.json()["access_token"]);
    for way in ["stop", "kill"] {
        if way == "kill" {
            server.kill();
        }
        server.restart();
        Client::new(server.addr).request("GET", "/auth/verify").token(&token).send().expect(200);
    }
    // It is random: another database has another key, and neither is a known one.
    let other = Server::start(Options::new().unset("JWT_SECRET_KEY"));
    for token in [token, crate::common::token::token("u")] {
        let response = Client::new(other.addr).request("GET", "/auth/verify").token(&token).send();
        assert_error(&response, 401, "unauthorized");
    }
}

#[test]
fn production_needs_a_key_of_its_own() {
    let production = || Options::new().set("ENV", "production");
    let table = [
        ("none", None),
        ("an empty one", Some("")),
        ("a short one", Some("thirty-one-bytes-are-too-few-01")),
        ("a seed's", Some("your-secret-key-here")),
        ("the other seed's", Some("dev-secret-key-change-in-production")),
    ];
    for (name, key) in table {
        let options = match key {
            Some(key) => production().set("JWT_SECRET_KEY", key),
            None => production().unset("JWT_SECRET_KEY"),
        };
        let failed = Server::failed_start(options);
        assert!(failed.code.is_some_and(|code| code != 0), "{name}: {:?}", failed.code);
        assert!(failed.stderr.contains("JWT_SECRET_KEY"), "{name}: {}", failed.stderr);
        let is_shown = key.is_some_and(|key| !key.is_empty() && failed.stderr.contains(key));
        assert!(!is_shown, "{name}: an invalid key is in the output: {}", failed.stderr);
    }
    let server = Server::start(production().set("JWT_SECRET_KEY", &KEY[..32]));
    assert_eq!(Client::new(server.addr).request("GET", "/").send().status, 200);
}

#[test]
fn production_disables_the_development_user() {
    let mut server = Server::start(Options::new());
    let login = json!({"email": "user@example.com", "password": "password123"});
    let response = Client::new(server.addr).request("POST", "/auth/login").json(&login).send().expect(200);
    let token = text(&response.json()["access_token"]);
    let mut user = User::with_token(&server, "550e8400-e29b-41d4-a716-446655440000", &token);
    user.say("default", "in development");
    server.stop();
    server.set("ENV", "production");
    server.restart();
    let mut client = Client::new(server.addr);
    assert_error(&client.request("POST", "/auth/login").json(&login).send(), 401, "unauthorized");
    assert_error(&client.request("GET", "/auth/verify").token(&token).send(), 401, "unauthorized");
}

#[test]
fn a_database_of_a_newer_version_is_rejected_unchanged() {
    of_sqlite_only!("the version is in the head of the file");
    let mut server = Server::start(Options::new());
    User::new(&server, "u").say("default", "kept");
    server.stop();
    let external = database::open_externally(&server.database());
    let version: i64 = external.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("it has a version");
    assert!(version > 0);
    external.execute_batch("PRAGMA user_version = 9999").expect("a version from the future");
    drop(external);
    let failed = server.failed_restart();
    assert!(failed.code.is_some_and(|code| code != 0), "{:?}", failed.code);
    assert!(
        failed.stderr.contains("newer") || failed.stderr.contains("9999"),
        "the reason is named: {}",
        failed.stderr
    );
    assert!(!failed.stderr.contains("panicked"), "{}", failed.stderr);
    let external = database::open_externally(&server.database());
    external.execute_batch(&format!("PRAGMA user_version = {version}")).expect("the version can be restored");
    drop(external);
    server.restart();
    assert_eq!(database::sound_message_contents(&server.database()), ["kept"]);
}

#[test]
fn a_file_that_is_not_a_database_is_rejected_unchanged() {
    of_sqlite_only!("it is a file");
    let content = "this is not a database, and somebody may still need it\n".repeat(100);
    let options = Options::new().file("cortex.db", content.as_bytes());
    let (failed, directory) = Server::failed_start_in(options);
    assert!(failed.code.is_some_and(|code| code != 0), "{:?}", failed.code);
    assert!(failed.stderr.contains("cortex.db"), "the file is named: {}", failed.stderr);
    assert!(!failed.stderr.contains("panicked"), "{}", failed.stderr);
    let left = std::fs::read_to_string(directory.path().join("cortex.db")).expect("the file is there");
    assert!(left == content, "the file is unchanged");
}

#[test]
fn a_missing_directory_is_reported() {
    let failed = Server::failed_start(Options::new().set("DATABASE_URL", "sqlite:///./no/such/directory/cortex.db"));
    assert!(failed.code.is_some_and(|code| code != 0), "{:?}", failed.code);
    assert!(failed.stderr.contains("no/such/directory"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("panicked"), "{}", failed.stderr);
}

#[test]
fn an_in_memory_database_is_served_and_discarded() {
    let mut server = Server::with(&[("DATABASE_URL", "sqlite:///:memory:")]);
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    let workspace = user.create_workspace("fleeting");
    user.say("default", "hello");
    assert_eq!(stream.next_of("input").content(), "hello");
    assert_eq!(user.workspace(&workspace)["name"], "fleeting");
    drop(stream);
    server.restart();
    user.follow(&server);
    assert_eq!(user.get("/config/workspace").expect(200).json()["total"], Value::from(0));
    assert!(!server.database().exists(), "nothing was written to a file");
}

/// The second signal also takes effect after the grace period, while shutdown waits for the writer.
#[test]
fn a_second_signal_ends_the_process_while_shutdown_waits_for_the_writer() {
    let mut server = Server::with(&[("SHUTDOWN_GRACE_SECONDS", "0"), ("WORKERS", "1")]);
    let user = User::new(&server, "u");
    let _lock = database::Lock::take(&server.database());
    let mut connection = Connection::open(server.addr);
    let body = json!({"content": "x"}).to_string();
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        user.token,
        body.len()
    ));
    // A response on a second connection shows that the message was handed to the writer.
    Client::new(server.addr).request("GET", "/").send().expect(200);
    server.process().signal(libc::SIGTERM);
    server.wait_for_log("the grace period is over");
    server.process().signal(libc::SIGTERM);
    assert_eq!(server.process().wait_exit().code(), Some(128 + libc::SIGTERM));
}

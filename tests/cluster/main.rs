//! The real program on a PostgreSQL server, which these tests start themselves.

#[path = "../common/mod.rs"]
mod common;

mod balancer;
mod cluster;
mod commands;
mod failures;
mod history;
mod instance;
mod proxy;
mod redis_messages;
mod resume;
mod scenarios;
mod traffic;
mod transfer;

use common::postgres::{self, TestServer};
use common::sse::Event;
use common::{Options, Sandbox, Server, User};
use std::io::Write;
use std::process::{Output, Stdio};

const PASSWORD: &str = "a good pass phrase";

/// A database of the test's own on the server.
struct ServerDatabase {
    name: &'static str,
    address: String,
    /// The port of the server.
    port: u16,
}

impl ServerDatabase {
    /// An empty database.
    fn create(name: &'static str) -> ServerDatabase {
        let server = TestServer::shared();
        server.create_database(name);
        ServerDatabase { name, address: server.address(name), port: server.port() }
    }

    /// Runs a statement past the program, and returns what it selects.
    #[track_caller]
    fn run(&self, statement: &str) -> String {
        postgres::run_at(self.port, statement, self.name)
    }

    /// The settings of a program that uses the database.
    fn options(&self) -> Options {
        options().set("DATABASE_URL", &self.address)
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.options())
    }
}

/// Settings with the responder `echo`, and a database in a file.
fn options() -> Options {
    Options::new().set("RESPONDER", "echo")
}

/// Runs a command with this standard input.
#[track_caller]
fn run_with(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Output {
    let mut command = sandbox.command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // It may exit without reading the input.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it exits")
}

/// The output of a command that must succeed without a message on standard error.
#[track_caller]
fn printed(sandbox: &Sandbox, arguments: &[&str], input: &str) -> String {
    let output = run_with(sandbox, arguments, input);
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one line of error of a command that must fail.
#[track_caller]
fn failed(sandbox: &Sandbox, arguments: &[&str], input: &str) -> String {
    let output = run_with(sandbox, arguments, input);
    let said = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert!(said.starts_with("cortex-core: ") && said.lines().count() == 1, "{arguments:?}: {said}");
    said
}

/// All events of a user, from the beginning.
#[track_caller]
fn replayed(server: &Server, user: &str) -> Vec<Event> {
    let mut stream = User::new(server, user).stream_with("last_event_id=0");
    let mut events = Vec::new();
    loop {
        let event = stream.next();
        if event.kind() == "caught_up" {
            return events;
        }
        events.push(event);
    }
}

//! The command line: real processes, with and without a running server.

mod lines;
mod settings;
mod terminal;
mod tokens;
mod users;
mod watched;

use crate::common::{Client, Response, Sandbox};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Output, Stdio};

pub const PASSWORD: &str = "a good pass phrase";

/// The result of a command.
#[derive(Debug)]
pub struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Done {
        let text = |bytes| String::from_utf8(bytes).expect("a command prints UTF-8");
        Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Done {
    /// Asserts success without a message on standard error and returns the output.
    #[track_caller]
    pub fn well(self) -> String {
        assert!(self.code == Some(0) && self.stderr.is_empty(), "{self:?}");
        self.stdout
    }

    /// Asserts failure with a one-line error that contains `says`, and no output.
    #[track_caller]
    pub fn failed(self, code: i32, says: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(says) && self.stderr.starts_with("cortex-core: "), "{says}: {self:?}");
        assert!(self.stderr.lines().count() == 1 && self.stdout.is_empty(), "{self:?}");
    }
}

/// Runs the program with arguments and this standard input.
#[track_caller]
pub fn run_with(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Done {
    let mut command = sandbox.command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // It may exit without reading the input.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it exits").into()
}

/// Runs the program with arguments and empty standard input.
#[track_caller]
pub fn run(sandbox: &Sandbox, arguments: &[&str]) -> Done {
    run_with(sandbox, arguments, "")
}

/// Adds a user with `PASSWORD` and returns the id.
#[track_caller]
pub fn add(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["user", "add"].iter().chain(arguments).copied().collect();
    let done = run_with(sandbox, &all, &format!("{PASSWORD}\n"));
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout.trim_end().to_owned()
}

/// All users, as printed by `user list --json`.
#[track_caller]
fn users(sandbox: &Sandbox) -> Vec<Value> {
    let printed = run(sandbox, &["user", "list", "--json"]).well();
    printed.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect()
}

pub fn login(client: &mut Client, email: &str, password: &str) -> Response {
    client.request("POST", "/auth/login").json(&json!({"email": email, "password": password})).send()
}

pub fn verify(client: &mut Client, token: &str) -> Response {
    client.request("GET", "/auth/verify").token(token).send()
}

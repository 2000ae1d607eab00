//! Invalid command lines, failing commands, and closed output.

use super::{PASSWORD, add, run, run_with};
use crate::common::database::open_externally;
use crate::common::{Options, Sandbox, of_sqlite_only};
use std::fs;
use std::io::pipe;
use std::process::Stdio;

/// Arguments, exit code, and part of the one line on standard error.
const TABLE: &[(&[&str], i32, &str)] = &[
    (&["serv"], 2, "unknown command \"serv\""),
    (&["user"], 2, "needs a subcommand"),
    (&["user", "remove"], 2, "unknown command \"user remove\""),
    (&["--verbose"], 2, "--verbose"),
    (&["serve", "now"], 2, "now"),
    (&["config", "check", "--json"], 2, "--json"),
    (&["user", "add"], 2, "an email is missing"),
    (&["user", "add", "ann"], 2, "\"ann\" is not an email address"),
    (&["user", "add", "ann@"], 2, "not an email address"),
    (&["user", "add", "ann @example.com"], 2, "not an email address"),
    (&["user", "add", "ann@example.com", "ben@example.com"], 2, "ben@example.com"),
    (&["user", "add", "ann@example.com", "--password", "secret-secret"], 2, "may not be an argument"),
    (&["user", "add", "ann@example.com", "--password=secret-secret"], 2, "may not be an argument"),
    (&["user", "add", "ann@example.com", "--id", "responder:echo"], 2, "must not start with \"responder:\""),
    (&["user", "add", "ann@example.com", "--id", ""], 2, "1 to 255 characters"),
    (&["user", "add", "ann@example.com", "--name", "a\u{7}b"], 2, "control characters"),
    (&["user", "add", "ann@example.com", "--name"], 2, "--name"),
    (&["user", "add", "ann@example.com", "--id", "550e8400-e29b-41d4-a716-446655440000"], 1, "the development user"),
    (&["user", "add", "ann@example.com"], 1, "has no password"),
    (&["user", "list", "all"], 2, "all"),
    (&["user", "passwd"], 2, "an email or an id is missing"),
    (&["user", "passwd", "ann", "--password", "secret-secret"], 2, "may not be an argument"),
    (&["user", "passwd", "ben@example.com"], 1, "no user has the id \"ben@example.com\""),
    (&["user", "disable"], 2, "an email or an id is missing"),
    (&["user", "disable", "ann", "ben"], 2, "only one user may be named"),
    (&["user", "disable", "ann", "--id", "ben"], 2, "only one user may be named"),
    (&["user", "disable", "ben"], 1, "no user has the id \"ben\""),
    (&["user", "disable", "responder:echo"], 1, "no user has the id"),
    (&["user", "enable", "ben"], 1, "no user has the id \"ben\""),
    (&["user", "enable", "--id", "ben"], 1, "no user has the id \"ben\""),
    (&["user", "delete", "ben", "--yes"], 1, "no user has the id \"ben\""),
    (&["user", "delete", "somebody@example.com"], 1, "--yes"),
    (&["token", "issue"], 2, "an email or an id is missing"),
    (&["token", "issue", "ben"], 1, "no user has the id \"ben\""),
    (&["token", "issue", "ben", "--hours", "0"], 2, "from 1 to 8784"),
    (&["token", "issue", "ben", "--hours", "8785"], 2, "from 1 to 8784"),
    (&["token", "issue", "ben", "--hours", "1.5"], 2, "from 1 to 8784"),
    (&["token", "issue", "--id", "responder:x"], 2, "must not start with"),
];

#[test]
fn errors_are_one_line_with_an_exit_code() {
    let sandbox = Sandbox::new(Options::new());
    add(&sandbox, &["somebody@example.com"]);
    for (arguments, code, says) in TABLE {
        let done = run(&sandbox, arguments);
        assert!(!done.stderr.contains("secret-secret"), "{arguments:?}: {done:?}");
        let usage = done.stderr.contains("--help");
        assert_eq!(usage, *code == 2, "{arguments:?}: {done:?}");
        done.failed(*code, says);
    }
}

#[test]
fn every_command_has_help() {
    let sandbox = Sandbox::new(Options::new());
    let all = run(&sandbox, &["--help"]).well();
    for (name, usage, summary) in cortex_core::internals::cli::commands() {
        assert!(all.contains(name) && all.contains(summary), "{all}");
        let words: Vec<&str> = name.split(' ').chain(["--help"]).collect();
        let help = run(&sandbox, &words).well();
        assert!(help.contains(&format!("usage: cortex-core {name} {usage}").trim_end().to_owned()), "{help}");
        let options = usage.split(['[', ']', ' ']).filter(|word| word.starts_with("--"));
        let (_, rest) = help.split_once("usage:").expect("the usage is there");
        for option in options {
            assert!(rest.matches(option).count() > 1, "{option} is explained: {help}");
        }
    }
    assert!(!sandbox.database().exists(), "help creates no database");
}

#[test]
fn passwords_are_validated() {
    let sandbox = Sandbox::new(Options::new());
    add(&sandbox, &["somebody@example.com"]);
    let too_long = "x".repeat(201);
    let table = [
        ("", "has no password"),
        ("\n", "12 to 200 characters"),
        ("elevenchars\n", "12 to 200 characters"),
        (&too_long, "12 to 200 characters"),
        (&"x".repeat(100_000), "too long"),
    ];
    for (input, says) in table {
        run_with(&sandbox, &["user", "add", "ann@example.com"], input).failed(1, says);
        run_with(&sandbox, &["user", "passwd", "somebody@example.com"], input).failed(1, says);
    }
    for (email, input) in [("a@b", "twelve chars"), ("b@b", "twelve chars\r\nand more\n"), ("c@b", &"🦀".repeat(200))]
    {
        run_with(&sandbox, &["user", "add", email, "--password-stdin"], input).well();
    }
}

#[test]
fn an_unusable_database_is_named() {
    of_sqlite_only!("these are files and their addresses");
    let memory = Sandbox::new(Options::new().set("DATABASE_URL", "sqlite:///:memory:"));
    let missing = Sandbox::new(Options::new());
    let other =
        Sandbox::new(Options::new().file("cortex.db", "This is a letter and no database, whatever its name says."));
    let newer = Sandbox::new(Options::new());
    add(&newer, &["somebody@example.com"]);
    open_externally(&newer.database()).execute_batch("PRAGMA user_version = 9999").expect("a version from the future");
    let nowhere = Sandbox::new(Options::new().set("DATABASE_URL", "sqlite:///no/such/directory.db"));
    let table = [
        (&memory, "a database in memory"),
        (&missing, "there is no such file"),
        (&other, "not an SQLite database"),
        (&newer, "use a newer program"),
        (&nowhere, "no/such/directory.db"),
    ];
    for (sandbox, says) in table {
        for command in [&["user", "list"][..], &["user", "disable", "ann"], &["token", "issue", "--id", "ann"]] {
            run(sandbox, command).failed(1, says);
        }
    }
    assert!(!missing.database().exists(), "a read-only command creates no database");
    run_with(&memory, &["user", "add", "ann@example.com"], PASSWORD).failed(1, "a database in memory");
    run_with(&other, &["user", "add", "ann@example.com"], PASSWORD).failed(1, "not an SQLite database");
    let bad = Sandbox::new(Options::new().set("PORT", "x").set("WORKERS", "none"));
    let done = run(&bad, &["user", "list"]);
    assert!(done.code == Some(1) && done.stderr.contains("PORT") && done.stderr.contains("WORKERS"), "{done:?}");
}

#[test]
fn closed_output_is_not_a_failure() {
    let sandbox = Sandbox::new(Options::new());
    add(&sandbox, &["somebody@example.com"]);
    for arguments in [&["user", "list"][..], &["user", "list", "--json"], &["config", "check"], &["--help"], &["-V"]] {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let done = sandbox.command().args(arguments).stdin(Stdio::null()).stdout(writer).output().expect("it exits");
        assert!(done.status.success() && done.stderr.is_empty(), "{arguments:?}: {done:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full exists");
    let done = sandbox.command().args(["user", "list"]).stdout(full).output().expect("it exits");
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("cannot write to standard output"), "{done:?}");
}

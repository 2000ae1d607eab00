//! Backups of running and stopped servers.

use super::{ABOUT_A_FILE, failed_with, printed};
use crate::common::database::sound_message_contents;
use crate::common::publish::Publisher;
use crate::common::{Options, Server, User, of_sqlite_only};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The files in the database's directory whose names begin with `name`.
fn files_beginning_with(server: &Server, name: &str) -> Vec<String> {
    let files = fs::read_dir(server.file("")).expect("the directory can be read");
    let mut names: Vec<String> =
        files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|found| found.starts_with(name));
    names.sort();
    names
}

#[test]
fn a_backup_under_load_has_everything_acknowledged_before_it_began() {
    of_sqlite_only!(ABOUT_A_FILE);
    let server = Server::start(Options::new());
    let conversation = User::new(&server, "u").start_conversation("c");
    let (acknowledged, ended) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for n in 0..3 {
            let (acknowledged, ended, conversation) = (&acknowledged, &ended, conversation.as_str());
            let mut publisher = Publisher::with_keys_of(server.addr, "u", &format!("p{n}"));
            scope.spawn(move || {
                for round in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let content = format!("{n} {round} {}", "x".repeat(2000));
                    acknowledged.lock().expect("no panic").push(publisher.post(conversation, &content));
                }
            });
        }
        for round in 0..4 {
            let wanted = 100 * (round + 1);
            while acknowledged.lock().expect("no panic").len() < wanted {
                thread::yield_now();
            }
            let before = acknowledged.lock().expect("no panic").clone();
            let name = format!("{round}.db");
            let said = printed(&server.run(&["backup", &name]));
            let file = server.file(&name);
            assert!(said.starts_with(&format!("{name}: ")), "{said}");
            let contents = sound_message_contents(&file);
            let there: HashSet<&str> = contents.iter().map(String::as_str).collect();
            assert_eq!(there.len(), contents.len(), "each message once");
            for message in &before {
                assert!(there.contains(message.content.as_str()), "{} is missing", message.number);
            }
            // It is consistent: publishers wait for each response, so it has a gapless prefix of each publisher's
            // messages.
            for n in 0..3 {
                let of_one: Vec<u64> = contents
                    .iter()
                    .filter_map(|content| content.strip_prefix(&format!("{n} "))?.split(' ').next()?.parse().ok())
                    .collect();
                assert!(of_one.iter().copied().eq(0..of_one.len() as u64), "{of_one:?}");
            }
            assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
            assert_eq!(files_beginning_with(&server, &name), [name], "there is no other file");
        }
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_backup_after_a_kill_includes_the_write_ahead_log() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    User::new(&server, "u").say("default", "hello");
    server.kill();
    printed(&server.run(&["backup", "copy.db"]));
    assert_eq!(sound_message_contents(&server.file("copy.db")), ["hello"]);
    server.restart();
    assert_eq!(server.stop().code(), Some(0));
    printed(&server.run(&["backup", "stopped.db"]));
    assert_eq!(sound_message_contents(&server.file("stopped.db")), ["hello"]);
}

#[test]
fn a_failed_backup_reports_why_and_leaves_no_file() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    fs::write(server.file("taken"), "mine").expect("a file");
    fs::create_dir(server.file("directory")).expect("a directory");
    let table = [
        ("no file", vec!["backup"], 2, "a file is missing"),
        ("standard output", vec!["backup", "-"], 2, "a database is a file"),
        ("two files", vec!["backup", "a", "b"], 2, "unexpected argument \"b\""),
        ("an unknown option", vec!["backup", "--force", "a"], 2, "invalid option '--force'"),
        ("a taken name", vec!["backup", "taken"], 1, "taken already exists"),
        ("the database itself", vec!["backup", "cortex.db"], 1, "cortex.db already exists"),
        ("a directory", vec!["backup", "directory"], 1, "directory already exists"),
        ("no directory", vec!["backup", "no/a"], 1, "no/a.partial cannot be written: No such file"),
    ];
    for (name, arguments, code, expected) in table {
        let said = failed_with(&server.run(&arguments), code);
        assert!(said.contains(expected), "{name}: {said}");
    }
    assert_eq!(fs::read(server.file("taken")).expect("a file"), b"mine");

    server.set("DATABASE_URL", "sqlite:///:memory:");
    let said = failed_with(&server.run(&["backup", "a"]), 1);
    assert!(said.contains("in memory"), "{said}");
    server.set("DATABASE_URL", "sqlite:///./nowhere.db");
    let said = failed_with(&server.run(&["backup", "a"]), 1);
    assert!(said.contains("nowhere.db") && said.contains("it does not exist"), "{said}");
    server.set("DATABASE_URL", "sqlite:///./taken");
    let said = failed_with(&server.run(&["backup", "a"]), 1);
    assert!(said.contains("taken is not an SQLite database"), "{said}");
    assert!(files_beginning_with(&server, "a").is_empty());
}

#[test]
fn a_killed_backup_leaves_no_target_file_and_can_be_repeated() {
    of_sqlite_only!(ABOUT_A_FILE);
    let server = Server::start(Options::new());
    User::new(&server, "u").say("default", "hello");
    // A leftover of a process that was killed midway.
    fs::write(server.file("copy.db.partial"), "half").expect("a file");
    let mut command = server.command();
    let mut killed = command.args(["backup", "other.db"]).stdout(Stdio::null()).spawn().expect("the program starts");
    killed.kill().expect("it can be killed unless it has exited");
    killed.wait().expect("it exits");
    let other = server.file("other.db");
    if other.exists() {
        assert_eq!(sound_message_contents(&other), ["hello"], "complete, if it exists");
    }
    printed(&server.run(&["backup", "copy.db"]));
    assert_eq!(files_beginning_with(&server, "copy.db"), ["copy.db"]);
    assert_eq!(sound_message_contents(Path::new(&server.file("copy.db"))), ["hello"]);
}

/// A reader of help texts may stop reading.
#[test]
fn closed_standard_output_causes_no_panic() {
    of_sqlite_only!(ABOUT_A_FILE);
    let server = Server::start(Options::new());
    for arguments in [vec!["--help"], vec!["config", "check"], vec!["backup", "copy.db"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = server.command();
        let output = command.args(&arguments).stdout(writer).stderr(Stdio::piped()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{arguments:?}");
    }
}

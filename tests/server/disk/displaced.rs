//! Files of the database that are removed, moved or replaced while the server runs: nothing is acknowledged into a file
//! without a name, and what was acknowledged before is kept as far as the other files allow it.

use super::ABOUT_A_FILE;
use super::faults::say_until_acknowledged;
use crate::cli::run;
use crate::common::{Options, Server, User, assert_error, database, eventually, of_sqlite_only};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

fn beside(server: &Server, suffix: &str) -> PathBuf {
    let mut name = server.database().into_os_string();
    name.push(suffix);
    name.into()
}

/// Replaces a file by a copy, as some tools for backups and editing do.
fn replace_by_copy(path: PathBuf) {
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).expect("the file can be copied");
    fs::rename(&copy, &path).expect("the copy can be renamed");
}

/// Asserts that writes are rejected and reads served, and that health, readiness and the log say why.
#[track_caller]
fn assert_faulty(server: &Server, user: &mut User, says: &str) {
    user.get("/config/conversation/default").expect(200);
    assert_nothing_acknowledged(server, user, says);
}

#[track_caller]
fn assert_nothing_acknowledged(server: &Server, user: &mut User, says: &str) {
    for n in 0..3 {
        let response = user.post("/input", json!({"content": format!("refused {n}")}));
        assert_error(&response, 503, "service_unavailable");
    }
    let health = user.get("/health").expect(503).json();
    assert_eq!(health["checks"]["database_write"], "the database cannot be written to");
    user.get("/health/ready").expect(503);
    server.wait_for_log(says);
}

type Displace = fn(&Server);

#[test]
fn nothing_is_acknowledged_without_the_log_or_its_index() {
    of_sqlite_only!(ABOUT_A_FILE);
    const LOG: &str = "its write-ahead log was moved, removed or replaced";
    const INDEX: &str = "its shared memory was moved, removed or replaced";
    let ways: [(&str, Displace, &str); 8] = [
        ("removed", |server| fs::remove_file(beside(server, "-wal")).expect("it exists"), LOG),
        ("moved", |server| fs::rename(beside(server, "-wal"), server.file("aside")).expect("it exists"), LOG),
        ("replaced by a copy", |server| replace_by_copy(beside(server, "-wal")), LOG),
        (
            "removed and created anew",
            |server| {
                fs::remove_file(beside(server, "-wal")).expect("it exists");
                fs::write(beside(server, "-wal"), "").expect("a new file");
            },
            LOG,
        ),
        ("index removed", |server| fs::remove_file(beside(server, "-shm")).expect("it exists"), INDEX),
        ("index replaced", |server| replace_by_copy(beside(server, "-shm")), INDEX),
        (
            "removed with its index",
            |server| ["-wal", "-shm"].iter().for_each(|name| fs::remove_file(beside(server, name)).expect("it exists")),
            LOG,
        ),
        (
            "replaced with the database",
            |server| ["", "-wal", "-shm"].iter().for_each(|name| replace_by_copy(beside(server, name))),
            "its file was moved, removed or replaced",
        ),
    ];
    for (way, displace, says) in ways {
        for is_killed in [false, true] {
            let mut server = Server::start(Options::new());
            let mut user = User::new(&server, "u");
            user.say("default", "before");
            displace(&server);
            assert_faulty(&server, &mut user, says);
            if is_killed {
                server.kill();
            } else {
                assert_eq!(server.stop().code(), Some(0), "{way}");
            }
            let kept = database::sound_message_contents(&server.database());
            assert_eq!(kept, ["before"], "{way}, killed: {is_killed}");
            server.restart();
            user.follow(&server);
            user.say("default", "after");
        }
    }
}

/// The file that was opened keeps its name, and gets other content.
#[test]
fn nothing_is_acknowledged_behind_an_overwritten_log() {
    of_sqlite_only!(ABOUT_A_FILE);
    let ways: [(&str, Displace, &[&str]); 3] = [
        ("an older log", |server| overwrite(server, "-wal"), &["saved", "logged"]),
        ("an empty log", |server| fs::write(beside(server, "-wal"), "").expect("it is writable"), &["saved"]),
        (
            "an older database and log",
            |server| ["", "-wal"].iter().for_each(|suffix| overwrite(server, suffix)),
            &["saved", "logged"],
        ),
    ];
    for (way, displace, kept) in ways {
        for is_killed in [false, true] {
            let mut server = Server::start(Options::new());
            let mut user = User::new(&server, "u");
            user.say("default", "saved");
            server.stop();
            server.restart();
            user.follow(&server);
            user.say("default", "logged");
            for suffix in ["", "-wal"] {
                fs::copy(beside(&server, suffix), older(&server, suffix)).expect("the file can be copied");
            }
            user.say("default", "overwritten");
            displace(&server);
            assert_nothing_acknowledged(&server, &mut user, "its write-ahead log was overwritten");
            if is_killed {
                server.kill();
            } else {
                assert_eq!(server.stop().code(), Some(0), "{way}");
            }
            assert_eq!(database::sound_message_contents(&server.database()), kept, "{way}, killed: {is_killed}");
            server.restart();
            user.follow(&server);
            user.say("default", "after");
        }
    }
}

fn older(server: &Server, suffix: &str) -> PathBuf {
    beside(server, &format!("{suffix}.older"))
}

/// Overwrites a file in place by its older copy, as `cp` does.
fn overwrite(server: &Server, suffix: &str) {
    fs::copy(older(server, suffix), beside(server, suffix)).expect("the copy can be copied back");
}

/// A command creates a log and an index, and uses what is in the database.
#[test]
fn a_command_that_creates_the_log_anew_changes_no_acknowledgement() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    // The process that opened the database before has written all to it.
    user.say("default", "before");
    server.stop();
    server.restart();
    user.follow(&server);
    user.say("default", "also before");
    for name in ["-wal", "-shm"] {
        fs::remove_file(beside(&server, name)).expect("it exists");
    }
    let disabled = run(server.sandbox(), &["user", "disable", "--id", "someone"]);
    assert_faulty(&server, &mut user, "its write-ahead log was moved, removed or replaced");
    server.kill();
    let kept = database::sound_message_contents(&server.database());
    assert!(kept.starts_with(&["before".to_owned()]) && kept.len() <= 2, "{kept:?} {disabled:?}");
    server.restart();
    user.follow(&server);
    user.say("default", "after");
}

#[test]
fn a_log_that_is_moved_back_is_used_again() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    let (log, aside) = (beside(&server, "-wal"), server.file("aside"));
    fs::rename(&log, &aside).expect("the log can be moved");
    assert_faulty(&server, &mut user, "its write-ahead log was moved, removed or replaced");
    fs::rename(&aside, &log).expect("the log can be moved back");
    say_until_acknowledged(&mut user, "after");
    user.get("/health").expect(200);
    server.kill();
    assert_eq!(database::sound_message_contents(&server.database()), ["before", "after"]);
}

/// Without a write that could detect it.
#[test]
fn an_idle_server_reports_a_removed_log_and_commands_do_not_create_another() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    fs::remove_file(beside(&server, "-wal")).expect("it exists");
    eventually("health reports it", || user.get("/health").status == 503);
    for command in [&["user", "list"][..], &["user", "disable", "--id", "u"], &["backup", "copy.db"]] {
        run(server.sandbox(), command).failed(1, "its write-ahead log was removed while it was in use");
    }
    assert!(!beside(&server, "-wal").exists());
    server.kill();
    server.restart();
    run(server.sandbox(), &["user", "disable", "--id", "u"]).well();
    assert_eq!(database::sound_message_contents(&server.database()), ["before"]);
}

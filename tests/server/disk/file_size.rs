//! A limit on file sizes is handled like a full disk and does not kill the process.

use super::ABOUT_A_FILE;
use crate::common::{Options, Server, User, assert_error, database, of_sqlite_only};
use serde_json::json;
use std::fs;
use std::process::Command;

/// Sets the file size limit of a running process, in bytes.
fn limit_files(process: u32, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the call gets a pointer to a complete limit, or null, and the id of our child.
    let done = unsafe { libc::prlimit(process as libc::pid_t, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_file_size_limit_does_not_kill_the_server() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    let process = server.process().id();
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    limit_files(process, 4096);
    let rejected = user.post("/input", json!({"content": "refused"}));
    assert_error(&rejected, 503, "service_unavailable");
    user.get("/config/conversation/default").expect(200);
    limit_files(process, libc::RLIM_INFINITY);
    super::faults::say_until_acknowledged(&mut user, "after");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(database::sound_message_contents(&server.database()), ["before", "after"]);
}

#[test]
fn a_file_size_limit_does_not_kill_commands_and_is_reported_for_the_target() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    User::new(&server, "u").say("default", &"hello ".repeat(20_000));
    for command in [["backup", "copy.db"], ["export", "lines"]] {
        assert!(server.run(&command).status.success());
    }
    server.stop();
    let table = [
        ("cortex.db", ["backup", "full"], "full.partial failed: disk I/O error"),
        ("cortex.db", ["export", "full"], "the output cannot be written: File too large"),
        ("full", ["restore", "copy.db"], "full.partial failed: disk I/O error"),
        ("full", ["import", "lines"], "full.partial failed: disk I/O error"),
    ];
    for (name, command, expected) in table {
        let started = server.command();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\""]).arg(started.get_program()).args(command);
        shell.env_clear().envs(started.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("DATABASE_URL", format!("sqlite:///{name}")).current_dir(server.file(""));
        let output = shell.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(expected), "{command:?}: {output:?}");
        let left =
            fs::read_dir(server.file("")).expect("the directory").map(|entry| entry.expect("an entry").file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("full")).collect();
        assert!(left.iter().all(|name| name == "full.lock"), "{command:?}: {left:?}");
    }
}

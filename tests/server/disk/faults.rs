//! A full or failing disk: nothing is acknowledged without being stored, reads continue, and the server recovers
//! without a restart.

use super::ABOUT_A_FILE;
use super::shim::Disk;
use crate::common::{DEADLINE, Options, Server, User, assert_error, database, of_sqlite_only};
use serde_json::json;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Posts until a message is acknowledged.
#[track_caller]
pub fn say_until_acknowledged(user: &mut User, content: &str) {
    let end = Instant::now() + DEADLINE;
    loop {
        let response = user.post("/input", json!({"content": content}));
        if response.status == 200 {
            return;
        }
        assert_error(&response, 503, "service_unavailable");
        assert!(Instant::now() < end, "the disk works again, and the server does not recover");
        thread::sleep(Duration::from_millis(20));
    }
}

fn contents(server: &Server) -> Vec<String> {
    database::sound_message_contents(&server.database())
}

type Break = fn(&Disk);

#[test]
fn a_failing_disk_rejects_writes_and_recovers_without_loss() {
    of_sqlite_only!(ABOUT_A_FILE);
    let ways: [(&str, Break); 6] = [
        ("writes: no space", |disk| disk.fail_writes(libc::ENOSPC, 1000)),
        ("writes: error", |disk| disk.fail_writes(libc::EIO, 1000)),
        ("writes: read-only by now", |disk| disk.fail_writes(libc::EROFS, 1000)),
        ("writes: quota", |disk| disk.fail_writes(libc::EDQUOT, 1000)),
        ("syncs: no space", |disk| disk.fail_syncs(libc::ENOSPC, 1000)),
        ("syncs: error", |disk| disk.fail_syncs(libc::EIO, 1000)),
    ];
    for (way, break_it) in ways {
        let (disk, mut server) = Disk::with_server(1, Options::new());
        let mut user = User::new(&server, "u");
        let mut stream = user.stream();
        user.say("default", "before");
        break_it(&disk);
        for n in 0..5 {
            let rejected = user.post("/input", json!({"content": format!("refused {n}")}));
            assert_error(&rejected, 503, "service_unavailable");
            user.get("/config/conversation/default").expect(200);
        }
        assert!(disk.failures() >= 5, "{way}: {}", disk.failures());
        disk.heal();
        say_until_acknowledged(&mut user, "after");
        // The stream has received none of the rejected messages.
        let seen: Vec<String> =
            [stream.next_of("input"), stream.next_of("input")].iter().map(|event| event.content().to_owned()).collect();
        assert_eq!(seen, ["before", "after"], "{way}");
        disk.cut_power(&mut server);
        let kept = contents(&server);
        assert_eq!(kept, ["before", "after"], "{way}: exactly the acknowledged messages are stored");
        server.restart();
        user.follow(&server);
        user.say("default", "once more");
    }
}

#[test]
fn a_start_on_a_full_disk_serves_reads() {
    of_sqlite_only!(ABOUT_A_FILE);
    let (disk, mut server) = Disk::with_server(1, Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "kept");
    assert_eq!(server.stop().code(), Some(0));
    disk.fail_writes(libc::ENOSPC, 1000);
    server.restart();
    user.follow(&server);
    user.get("/config/conversation/default").expect(200);
    assert_error(&user.post("/input", json!({"content": "refused"})), 503, "service_unavailable");
    disk.heal();
    say_until_acknowledged(&mut user, "after");
    assert_eq!(contents(&server), ["kept", "after"]);
}

#[test]
fn a_first_start_on_a_broken_disk_reports_an_error() {
    of_sqlite_only!(ABOUT_A_FILE);
    let ways: [(&str, Break); 4] = [
        ("read-only", |disk| disk.fail_opens(libc::EROFS)),
        ("no space", |disk| disk.fail_writes(libc::ENOSPC, 1000)),
        ("write error", |disk| disk.fail_writes(libc::EIO, 1000)),
        ("sync error", |disk| disk.fail_syncs(libc::EIO, 1000)),
    ];
    for (way, break_it) in ways {
        let (disk, mut server) = Disk::with_server(1, Options::new());
        server.kill();
        std::fs::remove_file(server.database()).expect("the database can be removed");
        break_it(&disk);
        let failed = server.failed_restart();
        assert_eq!(failed.code, Some(1), "{way}: {}", failed.stderr);
        let last = failed.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("cortex-core: ") && last.contains("cortex.db"), "{way}: {last}");
        disk.heal();
        server.restart();
        User::new(&server, "u").say("default", "now");
    }
}

#[test]
fn a_read_only_database_is_rejected_until_it_is_writable() {
    of_sqlite_only!(ABOUT_A_FILE);
    for errno in [libc::EROFS, libc::EACCES, libc::EPERM] {
        let (disk, mut server) = Disk::with_server(1, Options::new());
        User::new(&server, "u").say("default", "kept");
        server.kill();
        disk.fail_opens(errno);
        let failed = server.failed_restart();
        assert_eq!(failed.code, Some(1), "{}", failed.stderr);
        let last = failed.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("cortex-core: ") && last.contains("cortex.db"), "{last}");
        assert!(last.contains("cannot be written to") || last.contains("do not allow it"), "{last}");
        disk.heal();
        server.restart();
        assert_eq!(contents(&server), ["kept"]);
    }
}

#[test]
fn nothing_is_acknowledged_into_a_removed_file() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    user.say("default", "before");
    let (database, aside) = (server.database(), server.file("aside.db"));
    fs::rename(&database, &aside).expect("the database can be moved");
    assert_error(&user.post("/input", json!({"content": "refused"})), 503, "service_unavailable");
    fs::write(&database, "something else").expect("a file of that name");
    assert_error(&user.post("/input", json!({"content": "refused"})), 503, "service_unavailable");
    user.get("/config/conversation/default").expect(200);
    let health = user.get("/health").expect(503).json();
    assert_eq!(health["checks"]["database_write"], "the database cannot be written to");
    server.wait_for_log("its file was moved, removed or replaced");
    fs::rename(&aside, &database).expect("the database can be moved back");
    say_until_acknowledged(&mut user, "after");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(contents(&server), ["before", "after"]);
}

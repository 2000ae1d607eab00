//! Little memory: what the server says about it, and passwords whose hashes need more. `tests/world/memory` has the load.

use crate::cli::{PASSWORD, add, login, run, run_with};
use crate::common::{Client, Options, Sandbox, Server, User, assert_error};

const MIB: u64 = 1024 * 1024;

fn with_limit(mebibytes: u64) -> Options {
    Options::new().set("MEMORY_LIMIT_BYTES", mebibytes * MIB)
}

/// Starts a server with another limit on the same database.
fn restart(server: &mut Server, mebibytes: u64) -> Client {
    server.set("MEMORY_LIMIT_BYTES", mebibytes * MIB);
    server.restart();
    Client::new(server.addr)
}

#[test]
fn a_hash_that_needs_too_much_memory_is_rejected_before_it_is_checked() {
    let mut server = Server::start(with_limit(256));
    add(server.sandbox(), &["old@example.com"]);
    login(&mut Client::new(server.addr), "old@example.com", PASSWORD).expect(200);
    for mebibytes in [14, 16, 24, 32] {
        let mut client = restart(&mut server, mebibytes);
        for password in [PASSWORD, "another password"] {
            let error = assert_error(&login(&mut client, "old@example.com", password), 503, "service_unavailable");
            assert!(error["message"].as_str().unwrap().contains("too little memory"), "{error}");
        }
        assert_error(&login(&mut client, "unknown@example.com", PASSWORD), 401, "unauthorized");
    }
    server.wait_for_log("its hash needs 19456 KiB of memory");
    let mut client = restart(&mut server, 64);
    login(&mut client, "old@example.com", PASSWORD).expect(200);
    // The operator sets the password again.
    let mut client = restart(&mut server, 16);
    let passwd = ["user", "passwd", "old@example.com", "--password-stdin"];
    run_with(server.sandbox(), &passwd, &format!("{PASSWORD}\n")).well();
    login(&mut client, "old@example.com", PASSWORD).expect(200);
}

#[test]
fn hashes_made_with_less_memory_are_checked_with_more() {
    let mut server = Server::start(with_limit(14));
    for (mebibytes, email) in [(14, "a@example.com"), (24, "b@example.com"), (32, "c@example.com")] {
        restart(&mut server, mebibytes);
        add(server.sandbox(), &[email]);
    }
    let mut client = restart(&mut server, 64);
    for email in ["a@example.com", "b@example.com", "c@example.com"] {
        login(&mut client, email, PASSWORD).expect(200);
        assert_error(&login(&mut client, email, "another password"), 401, "unauthorized");
    }
}

#[test]
fn the_plan_is_logged_and_printed() {
    let server = Server::start(with_limit(16));
    let logged = server.log();
    let line = logged.lines().find(|line| line.contains("memory: ")).expect("the plan is logged");
    for part in ["16777216 bytes (MEMORY_LIMIT_BYTES)", "password hashes of 7168 KiB with 5 passes", "request bodies"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let printed = run(server.sandbox(), &["config", "check"]).well();
    let printed = printed.lines().find_map(|line| line.strip_prefix("# memory: ")).expect("a comment has the plan");
    assert!(line.ends_with(printed), "{printed:?} in {line:?}");
    let too_little = Sandbox::new(with_limit(14).set("MEMORY_LIMIT_BYTES", 14 * MIB - 1));
    run(&too_little, &["config", "check"]).failed(1, "MEMORY_LIMIT_BYTES");
}

#[test]
fn more_connections_than_there_is_memory_for_are_not_promised() {
    let server = Server::start(with_limit(16).set("MAX_CONNECTIONS", 10_000));
    server.wait_for_log("MAX_CONNECTIONS is lowered to ");
}

/// The socket takes a response in many small parts.
#[test]
fn responses_arrive_whole_through_small_buffers() {
    let server = Server::start(with_limit(16));
    let mut user = User::new(&server, "u");
    let contents: Vec<String> = (0..5).map(|n| format!("{n}").repeat(10_000 + n)).collect();
    let mut stream = user.stream();
    for content in &contents {
        user.post_message("default", content);
        assert_eq!(stream.next_of("input").content(), content);
    }
    for _ in 0..20 {
        let listed = user.get("/conversations/default/messages?limit=10").expect(200).json();
        let listed: Vec<&str> =
            listed.as_array().expect("a list").iter().map(|item| item["content"].as_str().unwrap()).collect();
        assert_eq!(listed, contents);
    }
    let mut replay = user.stream_with("last_event_id=0");
    for content in &contents {
        assert_eq!(replay.next_of("input").content(), content);
    }
}

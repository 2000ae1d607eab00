//! Without free descriptors, connected clients are served, new ones wait, and no thread spins.

use crate::common::{Client, Options, Server, User};
use std::thread;
use std::time::{Duration, Instant};

/// Sets the descriptor limit of a running process.
fn limit_descriptors(process: u32, soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get pointers to complete limits, or null, and the id of our child.
    unsafe {
        let id = process as libc::pid_t;
        assert_eq!(libc::prlimit(id, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit), 0);
        limit.rlim_cur = soft;
        assert_eq!(libc::prlimit(id, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()), 0);
    }
}

/// Processor time used by a process, in hundredths of a second.
fn processor_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name in brackets").1.split_whitespace().collect();
    fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
}

#[test]
fn without_descriptors_connected_clients_are_served_and_others_wait() {
    let mut server = Server::start(Options::new().set("MAX_CONNECTIONS", 10_000));
    let process = server.process().id();
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    user.say("default", "before");
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs").count() as u64;
    limit_descriptors(process, open + 4);
    let mut waiting: Vec<Client> = (0..30).map(|_| Client::new(server.addr)).collect();
    let threads: Vec<_> = waiting
        .drain(..)
        .map(|mut client| {
            thread::spawn(move || {
                let response = client.request("GET", "/").send();
                // The connection holds its descriptor until the thread is stopped.
                (response.status, client)
            })
        })
        .collect();
    server.wait_for_log("descriptors");
    let (before, since) = (processor_time(process), Instant::now());
    for n in 0..20 {
        user.say("default", &format!("meanwhile {n}"));
        stream.next_of("input");
        thread::sleep(Duration::from_millis(50));
    }
    let (used, elapsed) = (processor_time(process) - before, since.elapsed());
    assert!(used * 10 < elapsed.as_millis() as u64 / 2, "{used} hundredths of a second in {elapsed:?}");
    limit_descriptors(process, 1024);
    let clients: Vec<Client> = threads
        .into_iter()
        .map(|thread| {
            let (status, client) = thread.join().expect("every client is served in the end");
            assert_eq!(status, 200);
            client
        })
        .collect();
    assert_eq!(clients.len(), 30);
    let complaints = server.log().matches("descriptors").count();
    assert!(complaints <= 8, "the log is rate-limited: {complaints}");
}

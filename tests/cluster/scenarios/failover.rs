//! Database servers that are replaced by their standby, which has everything or lacks something, and that come back.

use crate::cluster::{Cluster, amount};
use crate::common::postgres::{TestServer, free_port};
use crate::common::user::text;
use crate::common::{Client, DEADLINE, Stream, User, eventually};
use crate::printed;
use crate::traffic::{self, FollowerPlan, WriterPlan};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

/// Numbers continue at least so far ahead on another server.
const LEAP_MIN: u64 = 1 << 31;

/// A server, and a standby without whose confirmation it acknowledges nothing.
fn start_synchronous() -> (TestServer, TestServer) {
    let primary = TestServer::start();
    let standby = TestServer::standby_of(&primary, free_port());
    make_synchronous(&primary);
    (primary, standby)
}

fn make_synchronous(primary: &TestServer) {
    primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'", "postgres");
    primary.run("SELECT pg_reload_conf()", "postgres");
    eventually("the standby confirms commits", || {
        primary.run("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", "postgres") == "1"
    });
}

fn epoch(cluster: &Cluster, instance: usize) -> String {
    text(&cluster.user(instance, "witness").stream().established.data["epoch"])
}

/// Posts a message. Returns the number of its event, if it is acknowledged.
fn try_post(user: &mut User, content: &str) -> Option<u64> {
    let response = user.post("/input", json!({"content": content}));
    assert!(matches!(response.status, 200 | 503), "{}", response.shown());
    (response.status == 200).then(|| response.number("X-Event-Id"))
}

/// Posts a message until it is acknowledged. It may be stored several times.
#[track_caller]
fn post(user: &mut User, content: &str) -> u64 {
    let mut number = None;
    eventually("a message is acknowledged", || {
        number = try_post(user, content);
        number.is_some()
    });
    number.expect("it was acknowledged")
}

/// The kinds of the events that a stream replays after a number.
fn replayed_kinds(user: &User, after: u64) -> Vec<String> {
    let mut stream = user.stream_with(&format!("last_event_id={after}&types=input"));
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "caught_up") {
        kinds.push(stream.next().kind().to_owned());
    }
    kinds
}

#[test]
fn a_synchronous_standby_takes_over_without_a_loss() {
    let (mut primary, mut standby) = start_synchronous();
    let mut cluster = Cluster::start_on("synchronous", [&primary, &standby]);
    let before = epoch(&cluster, 0);
    let writers = [0, 1, 0, 1].map(|instance| WriterPlan { instance, moves: false });
    let followers: Vec<FollowerPlan> = (0..6).map(|number| FollowerPlan::at(number / 3)).collect();
    let rounds = amount(1, 10);
    let written = traffic::run(&mut cluster, &writers, &followers, |cluster, traffic| {
        for _ in 0..rounds {
            traffic.wait_for_progress(&[0, 1, 2, 3], DEADLINE);
            primary.kill();
            standby.promote();
            let took = traffic.wait_for_progress(&[0, 1, 2, 3], DEADLINE);
            println!("all writers wrote {took:?} after the promotion");
            cluster.database.port = standby.port();
            // Another server takes the place of the old one.
            let next = TestServer::standby_of(&standby, primary.port());
            primary = std::mem::replace(&mut standby, next);
            make_synchronous(&primary);
        }
    });
    let mut numbers: Vec<u64> =
        written.iter().flat_map(|written| &written.acknowledged).map(|said| said.number).collect();
    numbers.sort_unstable();
    let leaps = numbers.windows(2).filter(|pair| pair[1] - pair[0] > LEAP_MIN).count() as u64;
    assert_eq!(leaps, rounds, "numbers continue far ahead on each server");
    for instance in 0..2 {
        assert_eq!(epoch(&cluster, instance), before, "nothing is missing");
    }
}

#[test]
fn a_number_that_a_standby_lacks_is_not_assigned_again() {
    for round in 0..amount(1, 10) {
        lose_events(round, true);
        lose_events(round, false);
    }
}

/// A standby takes over that lacks the last messages, which the first instance has shown, and the second one has not. If `knows`, the
/// first turn on the standby is that of the first instance.
fn lose_events(round: u64, knows: bool) {
    println!("round {round}: the first instance takes the first turn: {knows}");
    let primary = TestServer::start();
    let standby = TestServer::standby_of(&primary, free_port());
    let mut cluster = Cluster::start_on("lost", [&primary, &standby]);
    let before = epoch(&cluster, 0);
    let mut users = [0, 1].map(|instance| cluster.user(instance, "ann"));
    let mut streams: Vec<Stream> = users.iter().map(User::stream).collect();
    let kept = post(&mut users[0], "kept");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.next_of("input").number(), kept));
    let position = primary.run("SELECT pg_current_wal_lsn()", "postgres");
    eventually("the standby has it", || {
        standby.run(&format!("SELECT pg_last_wal_replay_lsn() >= '{position}'"), "postgres") == "t"
    });
    cluster.pause(1);
    standby.stop_receiving();
    let mut lost: Vec<u64> = (0..3).map(|_| post(&mut users[0], "lost")).collect();
    lost.iter().for_each(|number| assert_eq!(streams[0].next_of("input").number(), *number));

    let (addr, token, is_over) = (users[0].addr(), users[0].token.clone(), AtomicBool::new(false));
    // Commits are under way when the server is killed.
    let write = || {
        let (mut client, mut acknowledged) = (Client::new(addr), Vec::new());
        // A test that fails does not wait for it forever.
        let end = Instant::now() + 2 * DEADLINE;
        while !is_over.load(Relaxed) && Instant::now() < end {
            let request = client.request("POST", "/input").token(&token).json(&json!({"content": "lost"}));
            match request.try_send() {
                Ok(response) if response.status == 200 => acknowledged.push(response.number("X-Event-Id")),
                Ok(response) => assert_eq!(response.status, 503, "{}", response.shown()),
                Err(_) => client = Client::new(addr),
            }
        }
        acknowledged
    };
    let mut after = None;
    if knows {
        lost.extend(thread::scope(|scope| {
            let writer = scope.spawn(write);
            streams[0].next_of("input");
            primary.kill();
            standby.promote();
            let status = cluster.instances[0].process().wait_exit();
            is_over.store(true, Relaxed);
            assert_eq!(status.code(), Some(1));
            writer.join().expect("the writer succeeds")
        }));
        cluster.resume(1);
    } else {
        cluster.pause(0);
        primary.kill();
        standby.promote();
        cluster.resume(1);
        after = Some(post(&mut users[1], "after"));
        assert_eq!(epoch(&cluster, 1), before, "the second instance cannot know what is missing");
        cluster.resume(0);
        assert_eq!(cluster.instances[0].process().wait_exit().code(), Some(1));
    }
    assert_eq!(cluster.instances[1].process().wait_exit().code(), Some(1));
    // What was shown before the end needs a gap.
    let mut shown = Vec::new();
    while let Ok(Some(event)) = streams[0].try_next() {
        shown.push(format!("{} {:?}", event.kind(), event.id));
        if event.id.is_some() {
            lost.push(event.number());
        }
    }
    cluster.database.port = standby.port();
    cluster.instances.iter_mut().for_each(|instance| instance.start_again());
    let [first, second] = [0, 1].map(|instance| epoch(&cluster, instance));
    assert!(first == second && first != before, "{before}, {first}, {second}");

    let mut users = [0, 1].map(|instance| cluster.user(instance, "ann"));
    let last = post(&mut users[0], "last");
    let newest_lost = *lost.iter().max().expect("some are lost");
    let after = after.unwrap_or(last);
    assert!(after > newest_lost + LEAP_MIN && last >= after, "{newest_lost}, {after}, {last}: {shown:?}");
    for user in &users {
        for number in [lost[0], lost[1], newest_lost, newest_lost + 1] {
            assert_eq!(replayed_kinds(user, number)[0], "gap", "{number}");
        }
        for number in [kept - 1, kept, after, last] {
            let kinds = replayed_kinds(user, number);
            assert!(!kinds.contains(&"gap".to_owned()), "{number}: {kinds:?}");
        }
    }
    assert!(printed(cluster.instances[0].sandbox(), &["verify"], "").starts_with("ok: "));
}

#[test]
fn a_server_that_was_replaced_is_not_used_when_it_comes_back() {
    let (old, new) = start_synchronous();
    // The old one comes first.
    let cluster = Cluster::start_on("split", [&old, &new]);
    let mut users = [0, 1].map(|instance| cluster.user(instance, "ann"));
    let mut acknowledged = Vec::new();
    acknowledged.extend(users.iter_mut().map(|user| post(user, "before")));
    old.kill();
    new.promote();
    acknowledged.extend(users.iter_mut().map(|user| post(user, "on the new one")));

    old.start_again();
    old.run("ALTER SYSTEM RESET synchronous_standby_names", "postgres");
    old.run("SELECT pg_reload_conf()", "postgres");
    let state = || {
        let state = "SELECT h.turn, h.number, (SELECT count(*) FROM messages), (SELECT max(alive_until) FROM instances) \
            FROM journal_head h";
        old.run(state, "split")
    };
    let before = state();
    for _ in 0..amount(2, 10) {
        // The sessions are lost, and both servers accept writes.
        new.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cortex-core'",
            "postgres",
        );
        acknowledged.extend(users.iter_mut().map(|user| post(user, "both accept writes")));
        assert_eq!(state(), before, "nothing is written on the old server");

        new.kill();
        for user in &mut users {
            assert_eq!(try_post(user, "refused"), None);
            user.get("/health/ready").expect(503);
            let read = user.get("/conversations/default/messages");
            assert_eq!(read.status, 503, "the old server lacks messages: {}", read.shown());
        }
        assert_eq!(state(), before, "nothing is written on the old server");
        new.start_again();
        acknowledged.extend(users.iter_mut().map(|user| post(user, "the new one is back")));
    }
    assert_eq!(state(), before, "nothing is written on the old server");
    let mut stream = users[0].stream_with("last_event_id=0&types=input");
    let mut shown = Vec::new();
    loop {
        let event = stream.next();
        match event.kind() {
            "caught_up" => break,
            "gap" => panic!("nothing is missing"),
            _ => shown.push(event.number()),
        }
    }
    assert!(acknowledged.iter().all(|number| shown.contains(number)), "{acknowledged:?}, {shown:?}");
}

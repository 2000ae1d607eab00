//! Rolling restarts of all instances behind a balancer, with tables of this version of the program, and of the next one.

use crate::balancer::{Balancer, Follower};
use crate::cluster::{Cluster, STALL_MAX, amount};
use crate::common::token::token;
use crate::common::{Client, User};
use crate::{printed, traffic};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: usize = 4;
const FOLLOWERS: usize = 6;
/// Messages between two restarts.
const MESSAGES_BETWEEN: u64 = 100;
/// The content of the last message.
const LAST: &str = "the end";

/// A client that posts messages, and reads. Each request must succeed.
struct Writer {
    addr: SocketAddr,
    name: String,
    /// With a key, nginx repeats what an instance that ends has not responded to.
    has_keys: bool,
}

impl Writer {
    /// Writes until the end. Returns number and content of each message.
    fn write(&self, conversation: &str, is_over: &AtomicBool, count: &AtomicU64) -> Vec<(u64, String)> {
        let (mut client, token, mut written) = (Client::new(self.addr), token(&self.name), Vec::new());
        while !is_over.load(Relaxed) {
            let content = format!("{} says {}", self.name, written.len());
            let body = json!({"content": content, "conversation_id": conversation});
            let mut request = client.request("POST", "/input").token(&token);
            if self.has_keys {
                request = request.header("Idempotency-Key", &format!("{}-{}", self.name, written.len()));
            }
            written.push((request.json(&body).send().expect(200).number("X-Event-Id"), content));
            client.request("GET", "/conversations").token(&token).send().expect(200);
            count.fetch_add(1, Relaxed);
        }
        written
    }
}

#[test]
fn rolling_restarts_with_tables_of_two_versions_fail_no_request_and_lose_no_event() {
    let mut cluster = Cluster::start_with("upgrades", Balancer::options());
    let Some(balancer) = Balancer::start(&cluster.addresses()) else { return };
    let names: Vec<String> = (0..WRITERS).map(|number| format!("writer{number}")).collect();
    let mut owner = User::at(balancer.addr, "owner");
    let workspace = owner.create_workspace("w");
    let participants: Vec<&str> = names.iter().map(String::as_str).collect();
    let conversation = owner.create_conversation(&workspace, "t", &participants);
    let start = owner.get("/config/workspace").expect(200).number("X-Last-Event-Id");
    let (is_over, count) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let (mut written, followed) = thread::scope(|scope| {
        let followers: Vec<_> = (0..FOLLOWERS)
            .map(|_| {
                let mut follower = Follower::start(&balancer, &owner.token, start);
                scope.spawn(move || {
                    follower.read_to(LAST);
                    follower.messages
                })
            })
            .collect();
        let (addr, conversation) = (balancer.addr, &*conversation);
        let writers: Vec<_> = (names.iter().enumerate())
            .map(|(number, name)| Writer { addr, name: name.clone(), has_keys: number % 2 == 0 })
            .map(|writer| scope.spawn(move || writer.write(conversation, is_over, count)))
            .collect();
        let over = Over(is_over);
        let rounds = amount(2, 10);
        for round in 0..rounds {
            for instance in 0..3 {
                wait_for(count, count.load(Relaxed) + MESSAGES_BETWEEN);
                assert!(cluster.instances[instance].stop().success());
                wait_for(count, count.load(Relaxed) + MESSAGES_BETWEEN);
                cluster.instances[instance].start_again();
                if (round, instance) == (rounds / 2, 0) {
                    // What the next version does when it starts.
                    cluster.database.run("ALTER TABLE messages ADD COLUMN planted BIGINT");
                    cluster.database.run("ALTER TABLE users ADD COLUMN planted BIGINT NOT NULL DEFAULT 7");
                    cluster.database.run("UPDATE meta SET version = version + 1");
                }
            }
        }
        wait_for(count, count.load(Relaxed) + MESSAGES_BETWEEN);
        drop(over);
        let mut written: Vec<(u64, String)> =
            writers.into_iter().flat_map(|writer| writer.join().expect("no request fails")).collect();
        let body = json!({"content": LAST, "conversation_id": conversation});
        written.push((owner.post("/input", body).expect(200).number("X-Event-Id"), LAST.to_owned()));
        let followed: Vec<Vec<(u64, String)>> =
            followers.into_iter().map(|follower| follower.join().expect("a follower succeeds")).collect();
        println!("{} messages, and as many queries, in {rounds} rounds", written.len());
        (written, followed)
    });
    written.sort_unstable();
    assert!(followed.iter().all(|messages| *messages == written), "each stream shows each message once, in order");
    assert_eq!(traffic::stored(&mut cluster.user(0, "owner"), &conversation).len(), written.len());
    assert!(printed(cluster.instances[0].sandbox(), &["verify"], "").starts_with("ok: "));
}

/// Ends the writers, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn wait_for(count: &AtomicU64, enough: u64) {
    let start = Instant::now();
    while count.load(Relaxed) < enough {
        assert!(start.elapsed() < STALL_MAX, "the writers make no progress");
        thread::sleep(Duration::from_millis(1));
    }
}

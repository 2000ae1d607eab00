//! Users who are disabled.

use super::redis::wait_until_up;
use crate::cluster::{Cluster, STALL_MAX, amount};
use crate::common::redis::TestRedis;
use crate::common::{Client, Options, Stream, eventually};
use crate::printed;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

/// Writes until the end. Returns when the last request that succeeded was sent.
fn write(addr: SocketAddr, token: &str, is_over: &AtomicBool) -> Option<Instant> {
    let (mut client, mut last) = (Client::new(addr), None);
    while !is_over.load(Relaxed) {
        let sent_at = Instant::now();
        let response = client.request("POST", "/input").token(token).json(&json!({"content": "hello"})).send();
        match response.status {
            200 => last = Some(sent_at),
            401 => {}
            other => panic!("{other}"),
        }
    }
    last
}

#[test]
fn a_disabled_user_has_no_stream_and_writes_nothing_at_any_instance() {
    disable_users(&Cluster::start("disabled"));
}

#[test]
fn a_disabled_user_has_no_stream_and_writes_nothing_with_redis() {
    let redis = TestRedis::start();
    let cluster = Cluster::start_with_redis("disabled_redis", &Options::new(), [redis.port(); 3]);
    wait_until_up(&cluster.addresses());
    disable_users(&cluster);
}

fn disable_users(cluster: &Cluster) {
    for round in 0..amount(3, 50) {
        let id = format!("user{round}");
        let users = [0, 1, 2].map(|instance| cluster.user(instance, &id));
        let mut streams: Vec<Stream> = users.iter().map(|user| user.stream()).collect();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (is_over, users) = (&is_over, &users);
            let writers: Vec<_> =
                users.iter().map(|user| scope.spawn(move || write(user.addr(), &user.token, is_over))).collect();
            // Each stream shows the writers of all instances.
            streams.iter_mut().for_each(|stream| (0..6).for_each(|_| drop(stream.next_of("input"))));
            printed(cluster.instances[0].sandbox(), &["user", "disable", &id], "");
            let disabled_at = Instant::now();
            for stream in &mut streams {
                while let Ok(Some(_)) = stream.try_next() {}
            }
            let ended_in = disabled_at.elapsed();
            println!("the streams ended in {ended_in:?}");
            is_over.store(true, Relaxed);
            for writer in writers {
                let last = writer.join().expect("a writer succeeds").expect("it wrote before");
                assert!(last <= disabled_at, "a request after the end of the command succeeded");
            }
            assert!(ended_in < STALL_MAX, "the streams end soon");
        });
        for mut user in users {
            // A query may be served until the instance has read the rules.
            eventually("queries are rejected", || user.get("/conversations").status == 401);
        }
    }
}

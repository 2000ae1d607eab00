//! Everything at once: clients of all kinds, while instances and Redis are killed and stopped.

use crate::ServerDatabase;
use crate::cluster::{Cluster, STALL_MAX, amount};
use crate::common::metrics::Scrape;
use crate::common::redis::TestRedis;
use crate::common::{Options, Sandbox, Stream};
use crate::proxy::Proxy;
use crate::redis_messages::Damage;
use crate::traffic::{self, FollowerPlan, WriterPlan};
use crate::transfer::{body, export, import};
use cortex_core::internals::Random;
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

/// What the memory of an instance may grow by, beside a half of what it was: buffers are as large as the largest of their contents.
const GROWTH_BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0;

/// Memory of the instance that is neither killed nor stopped, in bytes.
fn resident_bytes(cluster: &Cluster) -> f64 {
    Scrape::at(cluster.instances[0].addr).get("process_resident_memory_bytes")
}

#[test]
fn nothing_is_lost_and_memory_is_flat_whatever_happens() {
    let redis = TestRedis::start();
    let proxy = Proxy::damaging(redis.port(), Damage::new(11));
    let options = Options::new().set("RESPONDERS_ALLOWED", "none,echo");
    let ports = [redis.port(), redis.port(), proxy.port()];
    let mut cluster = Cluster::start_with_redis("soak", &options, ports);
    let writers = [0, 1, 2, 1, 2].map(|instance| WriterPlan { instance, moves: true });
    let stays = Duration::from_millis(amount(500, 20_000));
    let mut followers: Vec<FollowerPlan> =
        (0..6).map(|number| FollowerPlan { instance: number % 3, moves: true, stays }).collect();
    followers.extend((0..3).map(|_| FollowerPlan::at(0)));
    // Their clients read nothing.
    let idle: Vec<Stream> = (0..3).map(|_| cluster.user(0, "owner").stream()).collect();
    // The messages of one user are answered.
    let mut asking = cluster.user(0, "asking");
    let answered = asking.start_conversation("answered");
    asking.put(&format!("/conversations/{answered}"), json!({"metadata": {"responder": "echo"}})).expect(200);
    let start = cluster.user(1, "asking").stream().established.number();
    let mut random = Random::from_system();
    let duration = Duration::from_secs(amount(8, 1800));
    let mut memory = Vec::new();
    traffic::run(&mut cluster, &writers, &followers, |cluster, traffic| {
        let began = Instant::now();
        while began.elapsed() < duration {
            thread::sleep(Duration::from_millis(random.below(500)));
            match random.below(4) {
                0 => {
                    cluster.instances[1].kill();
                    thread::sleep(Duration::from_millis(random.below(1000)));
                    cluster.instances[1].start_again();
                }
                1 => {
                    cluster.pause(2);
                    thread::sleep(Duration::from_millis(random.below(2000)));
                    cluster.resume(2);
                }
                2 => {
                    redis.kill();
                    thread::sleep(Duration::from_millis(random.below(2500)));
                    redis.start_again();
                }
                _ => {
                    cluster.instances[1].restart();
                }
            }
            traffic.wait_for_progress(&[0, 1, 2, 3, 4], STALL_MAX);
            asking.post_message(&answered, &format!("question {}", memory.len()));
            memory.push(resident_bytes(cluster));
        }
    });
    drop(idle);
    let mut answers = cluster.user(2, "asking").stream_with(&format!("last_event_id={start}"));
    let (mut asked, mut said) = (Vec::new(), Vec::new());
    while said.len() < memory.len() {
        let event = answers.next_own();
        match event.kind() {
            "input" => asked.push(event.content().to_owned()),
            "output" => said.push(event.content().to_owned()),
            _ => {}
        }
    }
    assert_eq!(asked, (0..memory.len()).map(|number| format!("question {number}")).collect::<Vec<_>>());
    assert_eq!(said, asked, "each question has one answer, in order");
    let (early, late) = (memory[memory.len() / 3], memory[memory.len() - 1]);
    println!("{} disturbances; memory of an instance: {early} bytes after a third, {late} at the end", memory.len());
    assert!(late < 1.5 * early + GROWTH_BYTES_MAX, "{memory:?}");
    // Both engines have the same.
    for instance in &mut cluster.instances {
        instance.stop();
    }
    let lines = export(cluster.instances[0].sandbox());
    let file = Sandbox::new(Options::new());
    import(&file, &lines);
    assert!(body(&export(&file)) == body(&lines), "the export of SQLite is another one");
    let again = ServerDatabase::create("soak_again");
    import(&again.sandbox(), &lines);
    assert!(body(&export(&again.sandbox())) == body(&lines), "the export of PostgreSQL is another one");
}

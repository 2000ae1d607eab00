//! Instances that are killed, stopped, or lose their connection to the database.

use crate::cluster::{Cluster, STALL_MAX, amount};
use crate::common::eventually;
use crate::proxy::Cut;
use crate::traffic::{self, FollowerPlan, WriterPlan};
use cortex_core::internals::Random;
use serde_json::json;
use std::thread;
use std::time::Duration;

#[test]
fn instances_that_are_killed_lose_no_acknowledged_message() {
    let mut cluster = Cluster::start("kills");
    let mut random = Random::from_system();
    // The clients of an instance that is killed go to another one.
    let writers = [0, 1, 2, 0, 1, 2].map(|instance| WriterPlan { instance, moves: true });
    let stays = Duration::from_secs(60);
    let followers: Vec<FollowerPlan> =
        (0..9).map(|number| FollowerPlan { instance: number / 3, moves: true, stays }).collect();
    let kills = amount(12, 250);
    let mut longest = Duration::ZERO;
    let written = traffic::run(&mut cluster, &writers, &followers, |cluster, traffic| {
        for _ in 0..kills {
            let killed = random.below(3) as usize;
            thread::sleep(Duration::from_millis(random.below(amount(100, 1000))));
            cluster.instances[killed].kill();
            longest = longest.max(traffic.wait_for_progress(&[0, 1, 2, 3, 4, 5], STALL_MAX));
            cluster.instances[killed].start_again();
        }
    });
    println!(
        "{kills} kills, {} messages, {} replayed, progress of all writers in at most {longest:?}",
        written.iter().map(|written| written.acknowledged.len()).sum::<usize>(),
        written.iter().map(|written| written.replayed).sum::<u64>(),
    );
}

#[test]
fn an_instance_that_stops_in_its_turn_does_not_stop_the_others() {
    let mut cluster = Cluster::start("stops");
    let mut random = Random::from_system();
    // Most turns are those of the instance that is stopped.
    let mut writers = vec![WriterPlan { instance: 0, moves: false }; 6];
    writers.extend([1, 2].map(|instance| WriterPlan { instance, moves: false }));
    let followers: Vec<FollowerPlan> = (0..9).map(|number| FollowerPlan::at(number / 3)).collect();
    let (hits, tries) = (amount(3, 30), amount(40, 400));
    traffic::run(&mut cluster, &writers, &followers, |cluster, traffic| {
        let (mut hits_left, mut longest) = (hits, Duration::ZERO);
        for number in 1..=tries {
            thread::sleep(Duration::from_millis(random.below(100)));
            cluster.pause(0);
            thread::sleep(Duration::from_millis(100));
            // No other session of this program is in a transaction without a statement for that long.
            let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND state = 'idle in transaction' AND state_change < clock_timestamp() - interval '90 milliseconds'";
            let is_hit = cluster.database.run(idle) != "0";
            longest = longest.max(traffic.wait_for_progress(&[6, 7], STALL_MAX));
            cluster.resume(0);
            traffic.wait_for_progress(&[0, 1, 2, 3, 4, 5], STALL_MAX);
            hits_left -= u64::from(is_hit);
            if hits_left == 0 {
                println!("{hits} turns in {number} tries; the others waited for at most {longest:?}");
                return;
            }
        }
        panic!("the instance was stopped in {} of its turns in {tries} tries", hits - hits_left);
    });
}

#[test]
fn streams_of_an_instance_that_was_stopped_catch_up() {
    let mut cluster = Cluster::start("wakes");
    // The instance has no turns when it is stopped.
    let writers = [1, 2].map(|instance| WriterPlan { instance, moves: false });
    let followers: Vec<FollowerPlan> = (0..9).map(|number| FollowerPlan::at(number / 3)).collect();
    traffic::run(&mut cluster, &writers, &followers, |cluster, traffic| {
        traffic.wait_for_progress(&[0, 1], STALL_MAX);
        cluster.pause(0);
        // Longer than its lease.
        thread::sleep(Duration::from_secs(amount(7, 60)));
        traffic.wait_for_progress(&[0, 1], STALL_MAX);
        cluster.resume(0);
        traffic.wait_for_progress(&[0, 1], STALL_MAX);
        // It serves writers at once.
        cluster.user(0, "other").say("default", "hello");
    });
}

#[test]
fn the_result_of_a_command_is_true_when_its_commit_is_cut_while_others_write() {
    let (mut cluster, proxy) = Cluster::start_with_proxy("cuts");
    let writers = [1, 2].map(|instance| WriterPlan { instance, moves: false });
    let followers: Vec<FollowerPlan> = (0..6).map(|number| FollowerPlan::at(number / 3)).collect();
    traffic::run(&mut cluster, &writers, &followers, |cluster, traffic| {
        // This user has other conversations than the writers.
        let mut user = cluster.user(0, "u");
        let mut witness = cluster.user(1, "u");
        for round in 0..amount(4, 100) {
            for cut in [Cut::Before, Cut::After] {
                let conversation = user.start_conversation("c");
                // With warm caches, the message and the commit are in one flight.
                (0..3).for_each(|_| drop(user.say(&conversation, "warm")));
                let text = format!("message {cut:?} {round}");
                proxy.cut(&text, cut);
                let response = user.post("/input", json!({"content": text, "conversation_id": conversation}));
                assert!(proxy.has_cut());
                let messages = witness.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
                let messages = messages.as_array().expect("a list");
                let times = messages.iter().filter(|message| message["content"] == text).count();
                match response.status {
                    200 => assert_eq!(times, 1, "{cut:?}: acknowledged"),
                    503 => assert_eq!(times, 0, "{cut:?}: rejected"),
                    other => panic!("{other}"),
                }
                assert!(times == 1 || cut == Cut::Before, "{cut:?}");
                eventually("the instance writes again", || {
                    user.post("/input", json!({"content": "next"})).status == 200
                });
            }
            traffic.wait_for_progress(&[0, 1], STALL_MAX);
        }
    });
}

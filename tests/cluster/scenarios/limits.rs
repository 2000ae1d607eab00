//! What counts over all instances: the streams of a user, and the rates of requests.

use super::redis::{wait_until_down, wait_until_up};
use crate::cluster::Cluster;
use crate::common::metrics::Scrape;
use crate::common::redis::TestRedis;
use crate::common::{Options, Stream, User, eventually};
use serde_json::json;

/// Waits until all instances know how many there are, and use Redis.
pub fn wait_until_acquainted(cluster: &Cluster) {
    wait_until_up(&cluster.addresses());
    for instance in cluster.addresses() {
        eventually("the instances know each other", || Scrape::at(instance).get("cortex_instances") == 3.0);
    }
}

/// The ids of the streams that a user sees, and whether these are all.
fn listed(user: &mut User) -> (Vec<String>, bool) {
    let response = user.get("/output/streams").expect(200);
    let streams = response.json()["streams"].as_array().expect("a list").clone();
    let ids = streams.iter().map(|stream| stream["stream_id"].as_str().expect("an id").to_owned());
    (ids.collect(), response.header("X-Incomplete").is_none())
}

fn id(stream: &Stream) -> String {
    stream.established.data["stream_id"].as_str().expect("an id").to_owned()
}

#[test]
fn streams_are_listed_and_renewed_at_any_instance() {
    let redis = TestRedis::start();
    let mut cluster = Cluster::start_with_redis("listed", &Options::new(), [redis.port(); 3]);
    wait_until_acquainted(&cluster);
    let streams: Vec<Stream> = (0..6).map(|number| cluster.user(number % 3, "ann").stream()).collect();
    let _other = cluster.user(0, "bob").stream();
    let all: Vec<String> = streams.iter().map(id).collect();
    for instance in 0..3 {
        let mut ann = cluster.user(instance, "ann");
        eventually("the list is complete", || listed(&mut ann).1);
        assert_eq!(listed(&mut ann), (all.clone(), true), "the oldest first");
        for id in &all {
            ann.post(&format!("/output/streams/{id}/renew"), json!({})).expect(200);
        }
        // That of another user, and one that there never was.
        let mut bob = cluster.user(instance, "bob");
        bob.post(&format!("/output/streams/{}/renew", all[0]), json!({})).expect(409);
        let unknown = "00000000-0000-4000-8000-000000000000";
        ann.post(&format!("/output/streams/{unknown}/renew"), json!({})).expect(409);
    }
    // An instance that does not answer.
    cluster.pause(2);
    let mut ann = cluster.user(0, "ann");
    let (some, is_complete) = listed(&mut ann);
    assert_eq!((some, is_complete), ([&all[..2], &all[3..5]].concat(), false));
    ann.post(&format!("/output/streams/{}/renew", all[1]), json!({})).expect(200);
    ann.post(&format!("/output/streams/{}/renew", all[2]), json!({})).expect(503);
    cluster.resume(2);
    eventually("the list is complete again", || listed(&mut ann) == (all.clone(), true));
    // Without Redis, each instance has its own.
    let mut redis = redis;
    redis.kill();
    wait_until_down(&cluster.addresses());
    eventually("the list is that of one instance", || {
        listed(&mut ann) == (vec![all[0].clone(), all[3].clone()], false)
    });
    ann.post(&format!("/output/streams/{}/renew", all[0]), json!({})).expect(200);
    let elsewhere = ann.post(&format!("/output/streams/{}/renew", all[1]), json!({})).expect(503);
    assert!(elsewhere.header("Retry-After").is_some());
}

//! What counts over all instances: the streams of a user, and the rates of requests.

use super::redis::{wait_until_down, wait_until_up};
use crate::cluster::Cluster;
use crate::common::metrics::Scrape;
use crate::common::redis::TestRedis;
use crate::common::{Options, Stream, User, eventually};
use serde_json::json;
use std::cell::Cell;
use std::io::ErrorKind;

/// Waits until all three instances know each other, and each can ask the others.
pub fn wait_until_acquainted(cluster: &Cluster) {
    wait_until_up(&cluster.addresses());
    for instance in 0..3 {
        let addr = cluster.instances[instance].addr;
        eventually("the instances know each other", || Scrape::at(addr).get("cortex_instances") == 3.0);
        eventually("an instance asks the others", || listed(&mut cluster.user(instance, "acquainted")).1);
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

/// Renews a stream of a user and returns the status. An instance that gets no answer in time from the one of the stream
/// responds 503, and says when to try again.
#[track_caller]
fn renew(user: &mut User, id: &str) -> u16 {
    let response = user.post(&format!("/output/streams/{id}/renew"), json!({}));
    assert_eq!(response.status == 503, response.header("Retry-After").is_some(), "{}", response.shown());
    response.status
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
        eventually("all are listed, the oldest first", || listed(&mut ann) == (all.clone(), true));
        for id in &all {
            eventually("it is renewed", || renew(&mut ann, id) == 200);
        }
        // That of another user, and one that there never was.
        let mut bob = cluster.user(instance, "bob");
        eventually("another user is rejected", || renew(&mut bob, &all[0]) == 409);
        let unknown = "00000000-0000-4000-8000-000000000000";
        eventually("an unknown stream is rejected", || renew(&mut ann, unknown) == 409);
    }
    // An instance that does not answer.
    cluster.pause(2);
    let mut ann = cluster.user(0, "ann");
    let others = ([&all[..2], &all[3..5]].concat(), false);
    eventually("those of the others are listed", || listed(&mut ann) == others);
    eventually("one of another instance is renewed", || renew(&mut ann, &all[1]) == 200);
    assert_eq!(renew(&mut ann, &all[2]), 503);
    cluster.resume(2);
    eventually("the list is complete again", || listed(&mut ann) == (all.clone(), true));
    // Without Redis, each instance has its own.
    redis.kill();
    wait_until_down(&cluster.addresses());
    eventually("the list is that of one instance", || {
        listed(&mut ann) == (vec![all[0].clone(), all[3].clone()], false)
    });
    assert_eq!(renew(&mut ann, &all[0]), 200);
    assert_eq!(renew(&mut ann, &all[1]), 503);
}

/// Opens a stream of a user at an instance; `None` if the user has too many.
#[track_caller]
fn open(cluster: &Cluster, instance: usize, id: &str) -> Option<Stream> {
    let user = cluster.user(instance, id);
    match Stream::try_open_with(user.addr(), "", &[("Authorization", &format!("Bearer {}", user.token))]) {
        Ok(stream) => Some(stream),
        Err(error) if error.kind() == ErrorKind::QuotaExceeded => None,
        Err(error) => panic!("no stream: {error}"),
    }
}

/// Opens streams at the instances in turn until one is rejected, at most so many. Returns them.
#[track_caller]
fn open_until_rejected(cluster: &Cluster, id: &str, most: usize) -> Vec<Stream> {
    (0..most).map_while(|number| open(cluster, number % 3, id)).collect()
}

#[test]
fn streams_of_a_user_are_limited_over_all_instances() {
    const MAX: usize = 6;
    let redis = TestRedis::start();
    let options = Options::new().set("MAX_STREAMS_PER_USER", MAX);
    let cluster = Cluster::start_with_redis("stream_limit", &options, [redis.port(); 3]);
    wait_until_acquainted(&cluster);
    // Each instance accepts the last of them, whatever it knows of the others by then. Streams that are opened at once at
    // several instances may exceed the limit, until these have told each other.
    let mut streams = open_until_rejected(&cluster, "ann", MAX);
    assert_eq!(streams.len(), MAX);
    let rejected_everywhere = || (0..3).all(|instance| open(&cluster, instance, "ann").is_none());
    eventually("the streams are counted at all instances", rejected_everywhere);
    assert_eq!(open_until_rejected(&cluster, "bob", 2).len(), 2, "others are not affected");
    streams.truncate(MAX - 1);
    eventually("there is room again", || open_until_rejected(&cluster, "ann", 1).len() == 1);
    // Without Redis, each instance has the limit for itself.
    redis.kill();
    wait_until_down(&cluster.addresses());
    drop(streams);
    let mut alone: Vec<Stream> = Vec::new();
    eventually("each instance counts its own", || {
        alone.clear();
        alone = open_until_rejected(&cluster, "ann", 3 * MAX);
        alone.len() == 3 * MAX
    });
    // The instances count them together when Redis is back.
    redis.start_again();
    wait_until_acquainted(&cluster);
    alone.truncate(MAX);
    eventually("the streams are counted at all instances", rejected_everywhere);
}

#[test]
fn requests_of_a_user_are_limited_over_all_instances() {
    const BURST: u64 = 30;
    let redis = TestRedis::start();
    let options = Options::new().set("RATE_LIMIT_PER_SECOND", 1).set("RATE_LIMIT_BURST", BURST);
    let cluster = Cluster::start_with_redis("rate_limit", &options, [redis.port(); 3]);
    wait_until_up(&cluster.addresses());
    // What a user may still request at an instance, after one request.
    let remaining = |instance: usize, id: &str| {
        let field = cluster.user(instance, id).get("/output/streams").header("RateLimit").expect("a field").to_owned();
        let (_, rest) = field.split_once(";r=").expect("what remains");
        rest.split(';').next().and_then(|digits| digits.parse::<u64>().ok()).expect("a number")
    };
    // Each probe is another user, who has requested nothing.
    let probes = Cell::new(0);
    let part = |instance: usize| {
        probes.set(probes.get() + 1);
        remaining(instance, &format!("probe {}", probes.get())) + 1
    };
    eventually("each instance allows the whole rate", || (0..3).all(|instance| part(instance) == BURST));
    // What is taken at one instance is taken at all.
    for _ in 0..20 {
        cluster.user(0, "ann").get("/output/streams").expect(200);
    }
    eventually("it is taken at the other instances", || (1..3).all(|instance| remaining(instance, "ann") < BURST - 15));
    assert_eq!(part(1), BURST, "others are not affected");
    // Without Redis, each instance has a third.
    redis.kill();
    wait_until_down(&cluster.addresses());
    eventually("each instance has its part", || (0..3).all(|instance| part(instance) == BURST / 3));
}

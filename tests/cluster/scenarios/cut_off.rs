//! An instance that cannot reach the database, while others can.

use crate::cluster::{Cluster, STALL_MAX, amount};
use crate::common::{Client, User, eventually};
use crate::proxy::Link;
use crate::traffic::{self, FollowerPlan, WriterPlan};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn status(addr: SocketAddr, path: &str) -> u16 {
    Client::new(addr).request("GET", path).send().status
}

#[test]
fn an_instance_that_is_cut_off_the_database_turns_its_streams_away() {
    let (mut cluster, proxy) = Cluster::start_with_proxy("cut_off");
    let writers = [0, 1, 2].map(|instance| WriterPlan { instance, moves: instance == 0 });
    let stays = Duration::from_secs(60);
    let followers: Vec<FollowerPlan> =
        (0..9).map(|number| FollowerPlan { instance: number / 3, moves: true, stays }).collect();
    traffic::run(&mut cluster, &writers, &followers, |cluster, traffic| {
        let links = [Link::Break, Link::Swallow];
        for link in &links[..amount(1, 2) as usize] {
            let addr = cluster.instances[0].addr;
            let user = User::at(addr, "u");
            let mut stream = user.stream();
            cluster.user(1, "u").say("default", "before");
            assert_eq!(stream.next_of("input").content(), "before");
            traffic.wait_for_progress(&[0, 1, 2], STALL_MAX);

            let cut_at = Instant::now();
            proxy.set(*link);
            eventually("the instance is not ready", || status(addr, "/health/ready") == 503);
            println!("{link:?}: not ready after {:?}", cut_at.elapsed());
            assert_eq!((status(addr, "/health"), status(addr, "/health/live")), (503, 200));
            // It opens no stream any more, and says when to come back.
            let response = user_stream(&user);
            assert!(response.contains("data: {\"type\":\"unavailable\",\"retry_ms\":"), "{response}");
            let event = stream.next_of("unavailable");
            let turned_away = cut_at.elapsed();
            println!("{link:?}: the streams were turned away after {turned_away:?}");
            assert!(turned_away >= Duration::from_secs(15) && event.data["retry_ms"].as_u64() >= Some(500));
            assert!(stream.try_next().expect("no reset").is_none(), "the stream ends");
            // It rejects requests without trying any more.
            let response = Client::new(addr).request("GET", "/conversations").token(&user.token).send().expect(503);
            assert_eq!(response.header("Retry-After"), Some("1"));
            // All clients go on at the others.
            traffic.wait_for_progress(&[0, 1, 2], STALL_MAX);

            proxy.set(Link::Pass);
            eventually("the instance is ready again", || status(addr, "/health/ready") == 200);
            let mut stream = user.stream_with(&format!("last_event_id={}", event.number()));
            cluster.user(1, "u").say("default", "after");
            assert_eq!(stream.next_of("input").content(), "after");
            cluster.user(0, "u").say("default", "here");
            assert_eq!(stream.next_of("input").content(), "here");
        }
    });
}

/// The response to a request for a stream.
fn user_stream(user: &User) -> String {
    let mut client = Client::new(user.addr());
    let response = client.request("GET", "/output/stream").token(&user.token).send().expect(200);
    response.text().to_owned()
}

//! Writers and streams at all instances: one journal.

use crate::cluster::{Cluster, amount};
use crate::common::sse::Event;
use crate::common::user::text;
use crate::common::{Client, Stream};
use crate::traffic::{self, FollowerPlan, WriterPlan};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

#[test]
fn every_stream_shows_each_event_once_in_order() {
    let mut cluster = Cluster::start("journal");
    let writers: Vec<WriterPlan> =
        (0..amount(9, 200) as usize).map(|number| WriterPlan { instance: number % 3, moves: false }).collect();
    // Each user has streams at each instance.
    let followers: Vec<FollowerPlan> =
        (0..amount(18, 300) as usize).map(|number| FollowerPlan::at(number / 3 % 3)).collect();
    let written = traffic::run(&mut cluster, &writers, &followers, |_, traffic| {
        thread::sleep(Duration::from_secs(amount(3, 60)));
        traffic.wait_for_progress(&(0..writers.len()).collect::<Vec<_>>(), crate::cluster::STALL_MAX);
    });
    let slowest = written.iter().map(|written| written.slowest).max().expect("a writer");
    let messages: usize = written.iter().map(|written| written.acknowledged.len()).sum();
    println!("{messages} messages, the slowest in {slowest:?}");
}

#[test]
fn streams_move_between_instances_without_a_gap() {
    let mut cluster = Cluster::start("moves");
    let writers = [0, 1, 2].map(|instance| WriterPlan { instance, moves: false });
    let stays = Duration::from_millis(amount(200, 1000));
    let followers: Vec<FollowerPlan> = (0..amount(9, 60) as usize)
        .map(|number| FollowerPlan { instance: number / 3 % 3, moves: true, stays })
        .collect();
    traffic::run(&mut cluster, &writers, &followers, |_, _| thread::sleep(Duration::from_secs(amount(4, 60))));
}

#[test]
fn a_number_of_one_instance_is_valid_at_another_at_once() {
    let cluster = Cluster::start("numbers");
    let mut users = [0, 1, 2].map(|instance| cluster.user(instance, "ann"));
    let conversation = users[0].start_conversation("c");
    let mut shown = users[0].get("/conversations").expect(200).number("X-Last-Event-Id");
    let mut previous: Option<Stream> = None;
    for round in 0..amount(100, 10_000) as usize {
        let content = format!("message {round}");
        let (here, there) = (round % 3, (round + 1 + round / 3 % 2) % 3);
        let body = json!({"content": content, "conversation_id": conversation});
        let written = users[here].post("/input", body).expect(200).number("X-Event-Id");
        // The number of a query at the other instance: the stream shows the message that came after it.
        let mut stream = users[there].stream_with(&format!("last_event_id={shown}"));
        let event = next_event(&mut stream);
        assert_eq!((event.kind(), event.number(), event.content()), ("input", written, &*content), "round {round}");
        // The number of the message itself, which no instance but its own may have read yet.
        let mut stream = users[there].stream_with(&format!("last_event_id={written}"));
        let event = stream.next();
        assert_eq!((event.kind(), event.number()), ("caught_up", written), "round {round}");
        if let Some(mut stream) = previous.replace(stream) {
            let event = next_event(&mut stream);
            assert_eq!((event.kind(), event.content()), ("input", &*content), "round {round}: the next message");
        }
        shown = users[here].get("/conversations").expect(200).number("X-Last-Event-Id");
        assert!(shown >= written);
    }
}

/// The next event, which may come after the end of the replay.
fn next_event(stream: &mut Stream) -> Event {
    let event = stream.next();
    if event.kind() == "caught_up" { stream.next() } else { event }
}

#[test]
fn one_idempotency_key_at_all_instances_at_once_is_one_message() {
    let cluster = Cluster::start("keys");
    let mut ann = cluster.user(0, "ann");
    let conversation = ann.start_conversation("c");
    let rounds = amount(30, 500);
    for round in 0..rounds {
        let body = json!({"content": format!("message {round}"), "conversation_id": conversation});
        let barrier = Barrier::new(3);
        let (token, key) = (ann.token.clone(), format!("key-{round}"));
        let send = &|addr: SocketAddr| {
            let mut client = Client::new(addr);
            let request = client.request("POST", "/input").token(&token).header("Idempotency-Key", &key);
            barrier.wait();
            request.json(&body).send().expect(200)
        };
        let responses: Vec<_> = thread::scope(|scope| {
            let threads = cluster.addresses().into_iter().map(|addr| scope.spawn(move || send(addr)));
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().expect("a response")).collect()
        });
        let replayed = responses.iter().filter(|response| response.header("Idempotent-Replayed") == Some("true"));
        assert_eq!(replayed.count(), 2, "round {round}");
        let bodies: BTreeSet<&[u8]> = responses.iter().map(|response| response.body.as_slice()).collect();
        assert_eq!(bodies.len(), 1, "round {round}");
        let id = text(&responses[0].json()["data"]["message_id"]);
        assert_eq!(traffic::stored(&mut ann, &conversation).last(), Some(&id));
    }
    assert_eq!(traffic::stored(&mut ann, &conversation).len() as u64, rounds);
}

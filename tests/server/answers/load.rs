//! Measures and prints the effect of many streaming answers on other requests; a limit in milliseconds would test the
//! machine. `cargo test --release --test server answers::load -- --nocapture` shows the numbers.

use super::*;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const USERS: usize = 4;
const ANSWERS: usize = 200;
const POSTS: usize = 400;
/// Pause between two posts, so that they cover several appends of the answers' text.
const PAUSE: Duration = Duration::from_millis(10);

/// Posts messages one after another and returns the sorted durations in microseconds.
fn post(addr: SocketAddr, name: &str) -> Vec<u128> {
    let mut poster = User::at(addr, name);
    let conversation = poster.start_conversation("quiet");
    poster.put(&format!("/conversations/{conversation}"), json!({"metadata": {"responder": "none"}})).expect(200);
    let mut stream = poster.stream();
    let mut times: Vec<u128> = (0..POSTS)
        .map(|n| {
            thread::sleep(PAUSE);
            let started = Instant::now();
            poster.say(&conversation, &n.to_string());
            started.elapsed().as_micros()
        })
        .collect();
    for n in 0..POSTS {
        assert_eq!(stream.next_own().content(), n.to_string());
    }
    times.sort_unstable();
    times
}

fn report(name: &str, times: &[u128]) {
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!("POST /input {name}: p50 {} us, p99 {} us, longest {} us", at(50), at(99), times[times.len() - 1]);
}

#[test]
fn two_hundred_answers_stream_without_delaying_other_requests() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 64).set("LOG_LEVEL", "WARNING"));
    let addr = server.addr;
    report("alone", &post(addr, "before"));

    let mut streams = Vec::new();
    for user in 0..USERS {
        let mut user = User::new(&server, &format!("user{user}"));
        streams.push(user.stream_with("types=output"));
        for n in 0..ANSWERS / USERS {
            let conversation = user.start_conversation("c");
            user.post_message(&conversation, &format!("question {n}"));
        }
    }
    let over = AtomicBool::new(false);
    let pieces = AtomicUsize::new(0);
    thread::scope(|scope| {
        let mut calls: Vec<_> = (0..ANSWERS).map(|_| model.call()).collect();
        let (over, pieces) = (&over, &pieces);
        scope.spawn(move || {
            // Twenty deltas a second from each, like a real model.
            for call in &mut calls {
                call.begin();
            }
            let mut round = 0;
            while !over.load(Ordering::Relaxed) || round < 20 {
                for call in &mut calls {
                    call.say("word ");
                }
                round += 1;
                pieces.store(round, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
            calls.into_iter().for_each(|call| call.finish());
        });
        let readers: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                scope.spawn(move || {
                    let mut outputs = Vec::new();
                    let mut deltas = 0;
                    while outputs.len() < ANSWERS / USERS {
                        let event = stream.next_own();
                        match event.kind() {
                            "output" => outputs.push(event.content().to_owned()),
                            _ => deltas += 1,
                        }
                    }
                    (outputs, deltas)
                })
            })
            .collect();
        while pieces.load(Ordering::Relaxed) < 5 {
            thread::sleep(Duration::from_millis(5));
        }
        let times = post(addr, "meanwhile");
        over.store(true, Ordering::Relaxed);
        report(&format!("beside {ANSWERS} answers"), &times);
        let mut deltas = 0;
        for reader in readers {
            let (outputs, seen) = reader.join().expect("a reader");
            deltas += seen;
            let expected = "word ".repeat(pieces.load(Ordering::Relaxed));
            assert!(outputs.iter().all(|output| *output == expected), "every answer is complete");
        }
        println!("{deltas} deltas and snapshots were read meanwhile");
    });
    report("alone again", &post(addr, "after"));
}

/// The memory of answers is shared between users: an answer that fills it ends, and those of other users go on.
#[test]
fn an_answer_that_fills_the_memory_gives_way_to_those_of_others() {
    let model = Model::start();
    let server = Server::start(options(&model).set("MEMORY_LIMIT_BYTES", 24 << 20));
    let (mut ann, mut eve) = (User::new(&server, "ann"), User::new(&server, "eve"));
    let (mut ann_stream, mut eve_stream) = (ann.stream_with("types=output"), eve.stream_with("types=output"));
    ann.say("default", "ann asks");
    let mut for_ann = model.call();
    for_ann.begin().say("half");
    eve.say("default", "eve asks");
    let mut for_eve = model.call();
    for_eve.begin().say("a beginning").send("data: {\"choices\":[{\"delta\":{\"content\":\"");
    for _ in 0..5 {
        for_eve.send(&"x".repeat(1 << 20));
    }
    let output = loop {
        let event = eve_stream.next_own();
        if event.kind() == "output" {
            break event;
        }
    };
    assert_eq!((output.content(), output.data["data"]["status"].as_str()), ("a beginning", Some("failed")));
    let error = output.data["data"]["error"].as_str().expect("an error");
    assert!(error.contains("no room"), "{error}");
    for_ann.say(" and half");
    for_ann.finish();
    let output = loop {
        let event = ann_stream.next_own();
        if event.kind() == "output" {
            break event;
        }
    };
    assert_eq!((output.content(), output.data["data"]["status"].as_str()), ("half and half", Some("complete")));

    // An answer that is alone may take more.
    eve.say("default", "eve asks again");
    let mut for_eve = model.call();
    for_eve.begin().send("data: {\"choices\":[{\"delta\":{\"content\":\"");
    for _ in 0..5 {
        for_eve.send(&"x".repeat(200_000));
    }
    for_eve.send("\"}}]}\n\n");
    for_eve.finish();
    let output = loop {
        let event = eve_stream.next_own();
        if event.kind() == "output" {
            break event;
        }
    };
    assert_eq!((output.content().len(), output.data["data"]["status"].as_str()), (1_000_000, Some("complete")));
}

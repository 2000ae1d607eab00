//! Answers at instances that are killed or stopped, and ends of one answer at several instances at once.

use crate::cluster::{Cluster, amount};
use crate::common::model::{Call, Model};
use crate::common::sse::Event;
use crate::common::user::text;
use crate::common::{DEADLINE, Options, Stream, User, eventually};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const USERS: u64 = 4;

/// Instances whose messages are answered by a model.
fn start(name: &'static str, model: &Model) -> Cluster {
    let options = Options::new().set("RESPONDER", "openai").set("RESPONDER_URL", model.url());
    Cluster::start_with(name, options.set("RESPONDER_MODEL", "small").set("RESPONDER_CONCURRENCY_PER_USER", 64))
}

/// A conversation whose messages are not answered.
fn quiet_conversation(user: &mut User) -> String {
    let conversation = user.start_conversation("quiet");
    user.put(&format!("/conversations/{conversation}"), json!({"metadata": {"responder": "none"}})).expect(200);
    conversation
}

fn is_end(event: &Event) -> bool {
    matches!(event.kind(), "output" | "output_error")
}

/// How the answers to each message ended, by the id of the message.
fn ends(events: &[Event]) -> BTreeMap<String, Vec<&Event>> {
    let mut ends: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| is_end(event)) {
        ends.entry(text(&event.data["data"]["reply_to"])).or_default().push(event);
    }
    ends
}

/// The numbers and kinds of the events of the journal, which are the same at all instances.
fn journalled(events: &[Event]) -> Vec<(u64, String)> {
    let events = events.iter().filter(|event| event.id.is_some());
    events.map(|event| (event.number(), event.kind().to_owned())).collect()
}

/// No part of an answer comes after its end.
#[track_caller]
fn assert_ends_come_last(events: &[Event]) {
    for (at, end) in events.iter().enumerate().filter(|(_, event)| is_end(event)) {
        let asked = &end.data["data"]["reply_to"];
        let late = events[at + 1..]
            .iter()
            .find(|event| event.kind().starts_with("output") && &event.data["data"]["reply_to"] == asked);
        assert!(late.is_none(), "{late:?} after {end:?}");
    }
}

/// The deletion of a conversation is shown once, and nothing of it afterwards.
#[track_caller]
fn assert_deletions_come_last(events: &[Event], is_deleted: bool) {
    let deletions = events.iter().filter(|event| event.kind() == "conversation_deleted").count();
    assert_eq!(deletions, usize::from(is_deleted), "{events:?}");
    let last = events.iter().rfind(|event| event.id.is_some()).map(Event::kind);
    assert!(!is_deleted || last == Some("conversation_deleted"), "{events:?}");
}

#[test]
fn each_message_of_a_killed_instance_gets_one_end_of_its_answer() {
    let model = Model::start();
    let mut cluster = start("killed_answers", &model);
    let answers = amount(24, 200);
    let mut users: Vec<User> = (0..USERS).map(|number| cluster.user(0, &format!("user{number}"))).collect();
    let quiet: Vec<String> = users.iter_mut().map(quiet_conversation).collect();
    let streams: Vec<Stream> =
        users.iter().map(|user| cluster.user(1, &user.id).stream_with("last_event_id=0")).collect();
    let mut asked = BTreeMap::new();
    for number in 0..answers {
        let user = &mut users[(number % USERS) as usize];
        let conversation = user.start_conversation("c");
        asked.insert(user.post_message(&conversation, &format!("question {number}")), number);
    }
    let mut calls: Vec<Call> = (0..answers).map(|_| model.call()).collect();
    // Half of them show a text.
    let is_shown = |prompt: &str| prompt.ends_with(['0', '2', '4', '6', '8']);
    for call in calls.iter_mut().filter(|call| is_shown(&call.prompt())) {
        call.begin().say("half of it");
    }
    let begun = "SELECT count(*) FROM answer_jobs WHERE is_begun = 1";
    let shown = answers.div_ceil(2).to_string();
    eventually("the texts are shown", || cluster.database.run(begun) == shown);
    // If there are many, some run at other instances, which end them.
    let of_first = format!("{begun} AND claimed_by = (SELECT min(id) FROM instances WHERE serves = 1)");
    let interrupted: usize = cluster.database.run(&of_first).parse().expect("a number");
    cluster.instances[0].kill();
    let killed_at = Instant::now();
    for call in calls {
        if is_shown(&call.prompt()) { call.finish() } else { call.answer("again") }
    }
    let ended = AtomicU64::new(0);
    let events: Vec<Event> = thread::scope(|scope| {
        let readers: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                let ended = &ended;
                scope.spawn(move || {
                    let mut events = Vec::new();
                    loop {
                        let event = stream.next_own();
                        if event.content() == "the end" {
                            return events;
                        }
                        ended.fetch_add(u64::from(is_end(&event)), Relaxed);
                        events.push(event);
                    }
                })
            })
            .collect();
        let mut is_complete = false;
        while !is_complete && killed_at.elapsed() < DEADLINE {
            is_complete = ended.load(Relaxed) >= answers;
            if let Some(call) = model.call_within(Duration::from_millis(50)) {
                call.answer("again");
            }
        }
        println!("{} of {answers} answers ended within {:?}", ended.load(Relaxed), killed_at.elapsed());
        cluster.instances[0].start_again();
        // Whatever would answer twice does it now.
        thread::sleep(Duration::from_secs(1));
        while let Some(call) = model.call_by_now() {
            call.answer("twice");
        }
        for (user, quiet) in users.iter().zip(&quiet) {
            cluster.user(2, &user.id).say(quiet, "the end");
        }
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect()
    });
    assert_ends_come_last(&events);
    let ends = ends(&events);
    let mut is_interrupted = 0;
    for (id, number) in &asked {
        let ends = ends.get(id).map(Vec::as_slice).unwrap_or_default();
        let [end] = ends else { panic!("question {number} has {} ends: {ends:?}", ends.len()) };
        let status = end.data["data"]["status"].as_str().unwrap_or_default();
        match (is_shown(&number.to_string()), end.kind(), end.content(), status) {
            (true, "output", _, "interrupted") | (true, "output_error", ..) => is_interrupted += 1,
            (true, "output", "half of it", "complete") | (false, "output", "again", "complete") => {}
            _ => panic!("question {number}: {end:?}"),
        }
    }
    assert_eq!(is_interrupted, interrupted);
    assert_eq!(ends.len() as u64, answers);
}

#[test]
fn an_answer_whose_instance_was_stopped_ends_once() {
    let model = Model::start();
    let mut cluster = start("stopped_answers", &model);
    let mut ann = cluster.user(1, "ann");
    let quiet = quiet_conversation(&mut ann);
    for (round, is_shown) in [true, false].into_iter().enumerate() {
        let conversation = ann.start_conversation("c");
        let mut streams: Vec<Stream> = (0..3).map(|instance| cluster.user(instance, "ann").stream()).collect();
        let asked = cluster.user(0, "ann").post_message(&conversation, "Hello?");
        let mut call = model.call();
        call.begin();
        if is_shown {
            call.say("half of it");
            streams[0].next_of("output_delta");
        }
        cluster.pause(0);
        let stopped_at = Instant::now();
        if !is_shown {
            model.call().answer("again");
        }
        let end = loop {
            let event = streams[1].next_own();
            if is_end(&event) {
                break event;
            }
        };
        println!("the answer ended after {:?}", stopped_at.elapsed());
        let expected = if is_shown { "interrupted" } else { "complete" };
        assert!(end.kind() == "output_error" || end.data["data"]["status"] == expected, "{end:?}");
        thread::sleep(Duration::from_secs(amount(0, 30)));
        call.say(" and the rest");
        call.finish();
        cluster.resume(0);
        // It tries its steps now.
        thread::sleep(Duration::from_secs(1));
        let last = format!("the end {round}");
        ann.say(&quiet, &last);
        for (instance, stream) in streams.iter_mut().enumerate() {
            let mut events = stream.before_message(&last);
            if instance == 1 {
                events.insert(0, end.clone());
            }
            assert_ends_come_last(&events);
            assert_eq!(ends(&events).get(&asked).map(Vec::len), Some(1), "instance {instance}: {events:?}");
        }
    }
}

#[test]
fn cancelling_deleting_and_finishing_at_once_is_one_end() {
    let model = Model::start();
    let cluster = start("races", &model);
    let mut ann = cluster.user(0, "ann");
    let quiet = quiet_conversation(&mut ann);
    let start = ann.get("/conversations").expect(200).number("X-Last-Event-Id");
    let open = |instance| cluster.user(instance, "ann").stream_with(&format!("last_event_id={start}"));
    let mut streams: Vec<Stream> = (0..3).map(open).collect();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..amount(24, 600) {
        let instance = |offset: u64| ((round + offset) % 3) as usize;
        let is_deleted = round % 2 == 1;
        let conversation = ann.start_conversation("c");
        let asked = cluster.user(instance(0), "ann").post_message(&conversation, "Hello?");
        let mut call = model.call();
        call.begin().say("all of it");
        let barrier = Barrier::new(3);
        let (mut canceller, mut deleter) = (cluster.user(instance(1), "ann"), cluster.user(instance(2), "ann"));
        let (cancelled, deleted) = thread::scope(|scope| {
            let finisher = scope.spawn(|| {
                barrier.wait();
                call.finish();
            });
            let canceller = scope.spawn(|| {
                barrier.wait();
                canceller.post(&format!("/conversations/{conversation}/cancel"), json!({}))
            });
            let deleter = scope.spawn(|| {
                barrier.wait();
                is_deleted.then(|| deleter.delete(&format!("/conversations/{conversation}")))
            });
            finisher.join().expect("the model answers");
            (canceller.join().expect("a response"), deleter.join().expect("a response"))
        });
        if let Some(deleted) = deleted {
            deleted.expect(200);
        }
        let is_cancelled = match cancelled.status {
            200 => cancelled.json()["cancelled"] == true,
            404 if is_deleted => false,
            _ => panic!("{}", cancelled.shown()),
        };
        // The answer ends by itself, unless it was ended or its conversation deleted.
        let mut seen = Vec::new();
        while !is_deleted && !seen.iter().any(is_end) {
            seen.push(streams[0].next_own());
        }
        let last = format!("the end {round}");
        ann.say(&quiet, &last);
        seen.extend(streams[0].before_message(&last));
        let end = match ends(&seen).get(&asked).map(Vec::as_slice) {
            // A stream that reads the events after the deletion does not show those of the conversation.
            None if is_deleted => "not shown".to_owned(),
            Some([end]) if end.kind() == "output" => text(&end.data["data"]["status"]),
            Some([end]) => text(&end.data["data"]["code"]),
            ends => panic!("round {round}: {ends:?}"),
        };
        assert!(is_deleted && end == "not shown" || is_cancelled == (end == "cancelled"), "round {round}: {end}");
        *counts.entry(end).or_default() += 1;
        assert_deletions_come_last(&seen, is_deleted);
        assert_ends_come_last(&seen);
        for stream in &mut streams[1..] {
            let events = stream.before_message(&last);
            assert_deletions_come_last(&events, is_deleted);
            assert_ends_come_last(&events);
            assert!(ends(&events).values().all(|ends| ends.len() == 1), "round {round}: {events:?}");
            if !is_deleted {
                assert_eq!(journalled(&events), journalled(&seen), "round {round}");
            }
        }
    }
    println!("{counts:?}");
}

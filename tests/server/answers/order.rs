//! Concurrency of answers: by conversation, by user, and with deletions.

use super::*;
use crate::common::{Client, DEADLINE, assert_error};
use std::time::{Duration, Instant};

#[test]
fn conversations_are_answered_in_order_and_concurrently() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let (slow, quick) = (ann.start_conversation("slow"), ann.start_conversation("quick"));
    let mut stream = ann.stream();
    for n in 0..3 {
        ann.post_message(&slow, &format!("slow {n}"));
    }
    let first = model.call();
    assert_eq!(first.prompt(), "slow 0");
    // While the first answer waits, the other conversation is answered completely, and this one starts no other answer.
    for n in 0..5 {
        ann.post_message(&quick, &format!("quick {n}"));
        let call = model.call();
        assert_eq!(call.prompt(), format!("quick {n}"));
        call.answer(&format!("to quick {n}"));
        assert_output(&stream.next_of("output"), &format!("to quick {n}"), "complete");
    }
    let mut call = first;
    for n in 0..3 {
        assert_eq!(call.prompt(), format!("slow {n}"));
        let users: Vec<String> = call.turns().into_iter().filter(|turn| turn.0 == "user").map(|turn| turn.1).collect();
        assert_eq!(
            users,
            (0..=n).map(|n| format!("slow {n}")).collect::<Vec<_>>(),
            "later messages are not in the request"
        );
        call.answer(&format!("to slow {n}"));
        assert_output(&stream.next_of("output"), &format!("to slow {n}"), "complete");
        if n == 2 {
            break;
        }
        call = model.call();
    }
    assert!(model.call_by_now().is_none());
}

#[test]
fn concurrent_answers_of_one_user_are_bounded() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 2));
    let (mut ann, mut bob) = (User::new(&server, "ann"), User::new(&server, "bob"));
    let mut stream = ann.stream();
    for n in 0..5 {
        let conversation = ann.start_conversation("c");
        ann.post_message(&conversation, &format!("ann {n}"));
    }
    let mut running = vec![model.call(), model.call()];
    let of_bob = bob.start_conversation("c");
    bob.post_message(&of_bob, "bob");
    let call = model.call();
    assert_eq!(call.prompt(), "bob", "another user does not wait for her");
    // The backlog is visible in the metrics.
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = Client::new(server.addr).request("GET", "/metrics").send().expect(200).text().to_owned();
        if seen.contains("\ncortex_answers_waiting 3\n") && seen.contains("\ncortex_answers_running 3\n") {
            break;
        }
        assert!(Instant::now() < deadline, "three wait and three run: {seen}");
    }
    call.answer("to bob");
    // Two answers run at any time: each end starts exactly one.
    for waiting in [3, 2, 1, 0, 0] {
        assert!(model.call_within(Duration::from_millis(100)).is_none(), "no third answer starts");
        running.remove(0).answer("to ann");
        assert_output(&stream.next_of("output"), "to ann", "complete");
        if waiting > 0 {
            running.push(model.call());
        }
    }
    assert!(running.is_empty() && model.call_by_now().is_none());
}

#[test]
fn deleting_the_context_of_an_answer_ends_it() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 1));
    let mut ann = User::new(&server, "ann");
    for shown in [true, false] {
        for what in ["conversation", "workspace", "question", "answer"] {
            if what == "answer" && !shown {
                continue;
            }
            let workspace = ann.create_workspace("w");
            let conversation = ann.create_conversation(&workspace, "t", &[]);
            let mut stream = ann.stream();
            let asked = text(&ann.say(&conversation, "Hello?")["message_id"]);
            let mut call = model.call();
            let mut reading = Reading::default();
            if shown {
                call.begin().say("half");
                reading.until(&mut stream, "half");
            }
            match what {
                "conversation" => ann.delete(&format!("/conversations/{conversation}")),
                "workspace" => ann.delete(&format!("/config/workspace/{workspace}")),
                "question" => ann.delete(&format!("/conversations/{conversation}/messages/{asked}")),
                _ => {
                    let answer = reading.message_id.as_deref().expect("the answer has a message");
                    ann.delete(&format!("/conversations/{conversation}/messages/{answer}"))
                }
            }
            .expect(200);
            // The model is silent, so only the deletion can end the answer; its slot is free again immediately.
            call.wait_until_closed();
            let other = ann.start_conversation("next");
            ann.post_message(&other, "And now?");
            model.call().answer("yes");
            let before = stream.before_message("yes");
            let outputs: Vec<&Event> = before.iter().filter(|event| event.kind() == "output").collect();
            if what == "question" && shown {
                assert_eq!(outputs.len(), 1, "{before:?}");
                assert_output(outputs[0], "half", "cancelled");
            } else {
                assert!(outputs.is_empty(), "{what}, {shown}: {before:?}");
            }
            let left = ann.get(&format!("/conversations/{conversation}/messages"));
            match what {
                "question" | "answer" => {
                    assert_eq!(left.expect(200).json().as_array().map(Vec::len), Some(usize::from(shown)))
                }
                _ => drop(assert_error(&left, 404, "not_found")),
            }
        }
    }
}

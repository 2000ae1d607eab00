//! Users take turns with their answers, and messages of users whose tokens are rejected are not answered.

use super::*;
use std::time::Duration;

/// A time within which a request to the model would arrive.
const A_WHILE: Duration = Duration::from_millis(300);

/// Starts conversations with one message each.
fn ask_in_conversations(user: &mut User, count: usize) {
    for n in 0..count {
        let body = json!({"title": "c", "initial_message": format!("{n}")});
        user.post("/conversations", body).expect(200);
    }
}

/// The open jobs in the database.
fn open_jobs(server: &Server) -> i64 {
    database::number(&server.database(), "SELECT count(*) FROM answer_jobs")
}

#[test]
fn fifteen_hundred_waiting_messages_of_one_user_delay_no_other_user() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 2).set("LOG_LEVEL", "WARNING"));
    let mut ann = User::new(&server, "ann");
    ask_in_conversations(&mut ann, 1_500);
    let running = [model.call(), model.call()];
    let mut bob = User::new(&server, "bob");
    let mut stream = bob.stream_with("types=output");
    bob.say("default", "bob asks");
    let call = model.call();
    assert_eq!(call.prompt(), "bob asks");
    call.answer("yes");
    while stream.next_own().kind() != "output" {}

    // The backlog goes on in order, and survives a crash.
    for call in running {
        call.answer("yes");
    }
    // Two requests are sent at once, so either may arrive first.
    let mut next = [model.call().prompt(), model.call().prompt()];
    next.sort();
    assert_eq!(next, ["2", "3"]);
}

#[test]
fn a_backlog_in_one_conversation_delays_no_other_user() {
    let model = Model::start();
    let server = Server::start(options(&model).set("LOG_LEVEL", "WARNING"));
    let mut ann = User::new(&server, "ann");
    for n in 0..1_500 {
        ann.say("default", &format!("{n}"));
    }
    let first = model.call();
    User::new(&server, "bob").say("default", "bob asks");
    assert_eq!(model.call().prompt(), "bob asks");
    first.answer("yes");
    assert_eq!(model.call().prompt(), "1", "the messages of a conversation are answered in order");
}

#[test]
fn a_free_slot_belongs_to_the_user_that_was_not_served() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 64).set("LOG_LEVEL", "WARNING"));
    let mut users: Vec<User> = (0..4).map(|n| User::new(&server, &format!("busy{n}"))).collect();
    for user in &mut users {
        ask_in_conversations(user, 100);
    }
    let mut running: Vec<_> = (0..256).map(|_| model.call()).collect();
    assert!(model.call_within(A_WHILE).is_none(), "the slots of all users are taken");
    let mut late: Vec<User> = (0..3).map(|n| User::new(&server, &format!("late{n}"))).collect();
    for user in &mut late {
        user.say("default", user.id.clone().as_str());
    }
    // While three more users wait, seven slots become free: each user gets one.
    let mut prompts = Vec::new();
    for _ in 0..7 {
        running.pop().expect("an answer runs").answer("yes");
        prompts.push(model.call().prompt());
    }
    for user in &late {
        assert_eq!(prompts.iter().filter(|prompt| **prompt == user.id).count(), 1, "{prompts:?}");
    }
}

#[test]
fn messages_of_a_disabled_user_are_closed_as_cancelled() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 2));
    let mut ann = User::new(&server, "ann");
    let mut bob = User::new(&server, "bob");
    let workspace = ann.create_workspace("shared");
    let shared = ann.create_conversation(&workspace, "shared", &["bob"]);
    let mut stream = ann.stream_with("types=output");
    bob.say(&shared, "first");
    let mut call = model.call();
    assert_eq!(call.prompt(), "first");
    call.begin().say("half");
    while stream.next_own().kind() != "output_delta" {}
    for n in 0..30 {
        bob.say(&shared, &format!("waits {n}"));
    }
    ask_in_conversations(&mut bob, 40);
    let second = model.call();

    assert!(server.run(&["user", "disable", "--id", "bob"]).status.success());
    call.wait_until_closed();
    second.wait_until_closed();
    let output = loop {
        let event = stream.next_own();
        if event.kind() == "output" {
            break event;
        }
    };
    assert_eq!((output.content(), &output.data["data"]["status"]), ("half", &json!("cancelled")));
    crate::common::eventually("all jobs are closed", || open_jobs(&server) == 0);
    assert!(model.call_within(A_WHILE).is_none(), "none is answered");
    // The conversation goes on, without the messages that were not answered.
    ann.say(&shared, "last");
    let texts: Vec<String> = model.call().turns().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["Name of bob: first", "half", "Name of ann: last"]);
}

#[test]
fn messages_of_a_user_deleted_while_the_server_is_down_are_closed_as_cancelled() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let mut bob = User::new(&server, "bob");
    ask_in_conversations(&mut bob, 40);
    model.call();
    server.kill();
    assert!(server.run(&["user", "delete", "--id", "bob", "--yes"]).status.success());
    while model.call_by_now().is_some() {}
    server.start_again();
    crate::common::eventually("all jobs are closed", || open_jobs(&server) == 0);
    assert!(model.call_within(A_WHILE).is_none(), "none is answered");
    User::new(&server, "ann").say("default", "last");
    assert_eq!(model.call().prompt(), "last");
}

//! Cancelling the running answer, by any client.

use super::*;
use crate::common::{UNKNOWN_ID, assert_error};

#[test]
fn any_client_can_cancel_a_running_answer_and_its_text_remains() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut owner, mut ann, mut eve) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "eve"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let path = format!("/conversations/{conversation}/cancel");
    let (mut stream, mut other) = (ann.stream(), owner.stream());
    assert!(!cancel(&mut ann, &conversation), "no answer runs yet");
    ann.say(&conversation, "Hello?");
    let mut call = model.call();
    call.begin().say("half of it");
    let mut reading = Reading::default();
    reading.until(&mut stream, "half of it");
    for path in [&path, &format!("/conversations/{UNKNOWN_ID}/cancel")] {
        assert_error(&eve.post(path, json!({})), 404, "not_found");
    }
    assert!(cancel(&mut owner, &conversation));
    assert!(!cancel(&mut owner, &conversation), "once");
    assert_output(&reading.until_output(&mut stream), "half of it", "cancelled");
    assert_output(&Reading::default().until_output(&mut other), "half of it", "cancelled");
    call.say(" and what nobody wants");
    call.wait_until_closed();
    assert_eq!(
        said(&mut ann, &conversation),
        lines(&[("user", "Hello?", "complete"), ("assistant", "half of it", "cancelled")])
    );

    // The next message is answered, and the cancelled answer sends nothing more.
    ann.say(&conversation, "And now?");
    model.call().answer("all of it");
    assert_eq!(stream.next_own().content(), "And now?");
    assert_output(&Reading::default().until_output(&mut stream), "all of it", "complete");
}

#[test]
fn a_cancelled_answer_without_text_is_an_event_and_no_message() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let mut other = ann.stream();
    let call = model.call();
    let asked = text(&messages(&mut ann, &conversation)[0]["id"]);
    assert!(cancel(&mut ann, &conversation));
    call.wait_until_closed();
    for stream in [&mut stream, &mut other] {
        let event = stream.next_own();
        assert_eq!(event.kind(), "output_error");
        let data = json!({"reply_to": asked, "conversation_id": conversation, "code": "cancelled",
            "error": event.data["data"]["error"]});
        assert_eq!(event.data["data"], data);
    }
    assert_eq!(states(&mut ann, &conversation), [json!({"status": "cancelled"})]);
    ann.post_message(&conversation, "And now?");
    model.call().answer("yes");
    let before = stream.before_message("And now?");
    assert!(before.iter().all(|event| event.kind() == "input"), "{before:?}");
    assert_output(&Reading::default().until_output(&mut stream), "yes", "complete");
    assert_eq!(messages(&mut ann, &conversation).len(), 3);
    assert!(!cancel(&mut ann, &conversation), "the answer had ended");
}

#[test]
fn disconnecting_cancels_no_answer() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (ann, _, mut stream) = start_question(&server);
    let mut call = model.call();
    call.begin().say("one");
    Reading::default().until(&mut stream, "one");
    drop(stream);
    call.say(" two");
    call.finish();
    let mut stream = ann.stream_with("last_event_id=0");
    assert_output(&stream.next_of("output"), "one two", "complete");
}

#[test]
fn queued_answers_are_cancelled_with_the_running_one() {
    for shows_text in [false, true] {
        let model = Model::start();
        let server = Server::start(options(&model));
        let (mut ann, conversation, mut stream) = start_question(&server);
        let mut call = model.call();
        if shows_text {
            call.begin().say("half of it");
            Reading::default().until(&mut stream, "half of it");
        }
        let mut asked = Vec::new();
        for content in ["And this?", "And that?"] {
            asked.push(ann.post_message(&conversation, content));
            assert_eq!(stream.next_own().content(), content);
        }
        assert_eq!(cancel_all(&mut ann, &conversation), 3);
        call.wait_until_closed();
        let ends: Vec<Event> = (0..3).map(|_| stream.next_own()).collect();
        let of_queued = |event: &&Event| asked.contains(&text(&event.data["data"]["reply_to"]));
        let cancelled: Vec<&Event> = ends.iter().filter(of_queued).collect();
        assert_eq!(cancelled.len(), 2);
        assert!(cancelled.iter().all(|event| event.kind() == "output_error"), "{cancelled:?}");
        let running = ends.iter().find(|event| !of_queued(event)).expect("the running answer ends");
        let expected = if shows_text { "output" } else { "output_error" };
        assert_eq!(running.kind(), expected, "{running:?}");
        let mut states = states(&mut ann, &conversation);
        assert!(states.iter().all(|state| state["status"] == "cancelled"), "{states:?}");
        assert_eq!(states.remove(0)["message_id"].is_string(), shows_text);
        assert!(model.call_by_now().is_none(), "a cancelled message is not answered");
        assert_eq!(cancel_all(&mut ann, &conversation), 0);
        // The next message is answered.
        ann.post_message(&conversation, "And now?");
        assert_eq!(stream.next_own().content(), "And now?");
        model.call().answer("yes");
        assert_output(&Reading::default().until_output(&mut stream), "yes", "complete");
    }
}

#[test]
fn a_cancel_leaves_other_conversations_alone() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let call = model.call();
    let other = ann.start_conversation("other");
    ann.post_message(&other, "Elsewhere?");
    stream.before_message("Elsewhere?");
    let elsewhere = model.call();
    assert_eq!(cancel_all(&mut ann, &conversation), 1);
    call.wait_until_closed();
    assert_eq!(stream.next_own().kind(), "output_error");
    elsewhere.answer("here");
    assert_output(&Reading::default().until_output(&mut stream), "here", "complete");
    assert_eq!(states(&mut ann, &other)[0]["status"], "complete");
}

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
fn a_cancelled_answer_without_text_leaves_no_message() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let call = model.call();
    assert!(cancel(&mut ann, &conversation));
    call.wait_until_closed();
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

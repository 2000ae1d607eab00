//! A misbehaving model, as a client observes it.

use super::*;
use crate::common::port::free_port;

/// A user's conversation and stream.
struct Dialog {
    _server: Server,
    ann: User,
    conversation: String,
    stream: Stream,
}

impl Dialog {
    fn start(options: Options) -> Dialog {
        let server = Server::start(options);
        let mut ann = User::new(&server, "ann");
        let conversation = ann.start_conversation("c");
        let stream = ann.stream();
        Dialog { _server: server, ann, conversation, stream }
    }

    #[track_caller]
    fn ask(&mut self, text: &str) -> String {
        let id = self.ann.post_message(&self.conversation, text);
        assert_eq!(self.stream.next_own().content(), text);
        id
    }
}

/// Asserts that the event reports an unanswered message, with a text for the user.
#[track_caller]
fn assert_failure(event: &Event, asked: &str) {
    assert_eq!(event.kind(), "output_error", "{event:?}");
    let data = &event.data["data"];
    assert_eq!((&data["reply_to"], &data["code"]), (&json!(asked), &json!("failed")), "{event:?}");
    let error = data["error"].as_str().expect("words");
    assert!(!error.is_empty() && !error.contains("127.0.0.1"), "{error}");
    event.number();
}

#[test]
fn a_failing_model_leaves_an_error_and_no_message() {
    let model = Model::start();
    let mut dialog = Dialog::start(options(&model));
    let asked = dialog.ask("Hello?");
    for _ in 0..4 {
        model.call().reject(500, "");
    }
    assert_failure(&dialog.stream.next_own(), &asked);
    assert!(model.call_by_now().is_none(), "it gets no further request");
    assert_eq!(said(&mut dialog.ann, &dialog.conversation), lines(&[("user", "Hello?", "complete")]));
    assert!(!cancel(&mut dialog.ann, &dialog.conversation));

    // Five messages in a row open the breaker: answers fail immediately, and other requests are served.
    for _ in 0..4 {
        let asked = dialog.ask("And now?");
        model.call().reject(500, "Retry-After: 9999\r\n");
        assert_failure(&dialog.stream.next_own(), &asked);
    }
    let asked = dialog.ask("And now?");
    assert_failure(&dialog.stream.next_own(), &asked);
    assert!(model.call_by_now().is_none(), "the breaker is open");
    assert_eq!(messages(&mut dialog.ann, &dialog.conversation).len(), 6);
}

#[test]
fn a_refused_connection_leaves_an_error_and_no_message() {
    let url = format!("http://127.0.0.1:{}/v1", free_port());
    let mut dialog =
        Dialog::start(Options::new().set("RESPONDER", "openai").set("RESPONDER_MODEL", "m").set("RESPONDER_URL", url));
    let asked = dialog.ask("Hello?");
    assert_failure(&dialog.stream.next_own(), &asked);
    assert_eq!(said(&mut dialog.ann, &dialog.conversation), lines(&[("user", "Hello?", "complete")]));
}

#[test]
fn an_answer_that_fails_midway_keeps_its_text() {
    let error = "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n";
    for (name, end) in [("an error", error), ("garbage", "data: {oops\n\n"), ("a cut", "")] {
        let model = Model::start();
        let mut dialog = Dialog::start(options(&model));
        let asked = dialog.ask("Hello?");
        let mut call = model.call();
        call.begin().say("half");
        let mut reading = Reading::default();
        reading.until(&mut dialog.stream, "half");
        call.send(end);
        call.disconnect();
        let output = reading.until_output(&mut dialog.stream);
        assert_output(&output, "half", "failed");
        let data = &output.data["data"];
        assert_eq!(data["reply_to"], json!(asked), "{name}");
        let reason = data["error"].as_str().expect("the reason");
        assert!(!reason.is_empty(), "{name}");
        // A client that was away finds the same.
        let list = messages(&mut dialog.ann, &dialog.conversation);
        assert_eq!(list[1]["error"], json!(reason), "{name}");
        let answer = json!({"status": "failed", "message_id": data["message_id"], "error": reason});
        assert_eq!(list[0]["answer"], answer, "{name}");
        assert_eq!(
            said(&mut dialog.ann, &dialog.conversation),
            lines(&[("user", "Hello?", "complete"), ("assistant", "half", "failed")]),
            "{name}"
        );
        assert!(model.call_by_now().is_none(), "a shown answer is not restarted: {name}");
        dialog.ask("And now?");
        model.call().answer("whole");
        assert_output(&Reading::default().until_output(&mut dialog.stream), "whole", "complete");
    }
}

#[test]
fn failures_before_any_text_are_retried() {
    let model = Model::start();
    let mut dialog = Dialog::start(options(&model));
    let first_tries: [fn(model::Call); 3] = [
        |call| call.reject(429, "Retry-After: 1\r\n"),
        |call| call.disconnect(),
        |mut call| {
            call.begin();
        },
    ];
    for first_try in first_tries {
        let asked = dialog.ask("Hello?");
        first_try(model.call());
        model.call().answer("Hello!");
        let output = Reading::default().until_output(&mut dialog.stream);
        assert_output(&output, "Hello!", "complete");
        assert_eq!(output.data["data"]["reply_to"], json!(asked));
    }
    assert_eq!(messages(&mut dialog.ann, &dialog.conversation).len(), 6);
}

#[test]
fn an_answer_that_is_not_streamed_is_accepted() {
    let model = Model::start();
    let mut dialog = Dialog::start(options(&model));
    dialog.ask("Hello?");
    let body = json!({"model": model::NAME, "choices": [{"message": {"content": "at once"}}]}).to_string();
    model.call().send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let mut reading = Reading::default();
    assert_output(&reading.until_output(&mut dialog.stream), "at once", "complete");
}

#[test]
fn an_empty_answer_leaves_an_error() {
    let model = Model::start();
    let mut dialog = Dialog::start(options(&model));
    let asked = dialog.ask("Hello?");
    let mut call = model.call();
    call.begin();
    call.finish();
    assert_failure(&dialog.stream.next_own(), &asked);
    assert_eq!(messages(&mut dialog.ann, &dialog.conversation).len(), 1);
}

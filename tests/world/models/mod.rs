//! Conversations with a real llama.cpp server, whose model has random weights, a context of 256 tokens, each of which is a
//! byte, and a template that requires user and assistant to alternate. Only the ends of answers are checked.

mod llama;

use crate::common::{Options, Server, Stream, User};
use llama::Llama;
use serde_json::json;
use std::time::Duration;

/// A server in front of a model, and a user's conversation.
struct Chat {
    server: Server,
    ann: User,
    conversation: String,
    stream: Stream,
}

impl Chat {
    fn start(llama: &Llama, settings: &[(&str, &str)]) -> Chat {
        let options = Options::new()
            .set("RESPONDER", "openai")
            .set("RESPONDER_URL", llama.url())
            .set("RESPONDER_MODEL", "tiny")
            .set("RESPONDER_SYSTEM_PROMPT", "s");
        let server = Server::start(settings.iter().fold(options, |options, (name, value)| options.set(name, value)));
        let mut ann = User::new(&server, "ann");
        let conversation = ann.start_conversation("c");
        let stream = ann.stream();
        Chat { server, ann, conversation, stream }
    }

    /// Posts a message; returns the status of its answer, or `none` for an answer without text.
    #[track_caller]
    fn ask(&mut self, text: &str) -> String {
        let message = self.ann.post_message(&self.conversation, text);
        self.end_of_answer(&message)
    }

    #[track_caller]
    fn end_of_answer(&mut self, message: &str) -> String {
        loop {
            let event = self.stream.next();
            let data = &event.data["data"];
            match event.kind() {
                // An answer without text has no message of its own.
                _ if data["reply_to"] != message && data["message_id"] != message => {}
                "output" => return event.data["data"]["status"].as_str().expect("a status").to_owned(),
                "output_error" => return "none".to_owned(),
                _ => {}
            }
        }
    }

    #[track_caller]
    fn assert_goes_on(&mut self) {
        for text in ["go", "on"] {
            assert_eq!(self.ask(text), "complete", "{}", self.server.log());
        }
    }
}

#[test]
fn a_conversation_goes_on_after_the_model_was_down() {
    let Some(mut llama) = Llama::start() else { return };
    let mut chat = Chat::start(&llama, &[]);
    assert_eq!(chat.ask("hello"), "complete");
    llama.stop();
    assert_eq!(chat.ask("nobody reads this"), "none");
    llama.start_again();
    chat.assert_goes_on();
}

#[test]
fn a_conversation_goes_on_after_a_stop_before_the_first_token() {
    let Some(llama) = Llama::start() else { return };
    let mut chat = Chat::start(&llama, &[]);
    assert_eq!(chat.ask("hello"), "complete");
    llama.freeze();
    chat.ann.post_message(&chat.conversation, "wait, no");
    let path = format!("/conversations/{}/cancel", chat.conversation);
    // The answer may not have begun yet.
    while chat.ann.post(&path, json!({})).expect(200).json()["cancelled"] != true {
        std::thread::sleep(Duration::from_millis(20));
    }
    llama.thaw();
    chat.assert_goes_on();
}

#[test]
fn a_conversation_goes_on_with_an_odd_window() {
    let Some(llama) = Llama::start() else { return };
    let mut chat = Chat::start(&llama, &[("RESPONDER_HISTORY", "3")]);
    for text in ["one", "two", "three", "four"] {
        assert_eq!(chat.ask(text), "complete", "{text}: {}", chat.server.log());
    }
}

#[test]
fn a_conversation_goes_on_after_a_message_that_is_too_long() {
    let Some(llama) = Llama::start() else { return };
    let mut chat = Chat::start(&llama, &[]);
    assert_eq!(chat.ask("hello"), "complete");
    assert_eq!(chat.ask(&"long ".repeat(80)), "none");
    chat.assert_goes_on();
}

#[test]
fn a_conversation_that_outgrows_the_context_goes_on() {
    let Some(llama) = Llama::start() else { return };
    let mut chat = Chat::start(&llama, &[]);
    for round in 0..8 {
        let text = format!("message {round} of a long conversation, which does not fit");
        assert_eq!(chat.ask(&text), "complete", "{text}: {}", chat.server.log());
    }
}

#[test]
fn two_people_and_system_messages_keep_the_order_of_the_template() {
    let Some(llama) = Llama::start() else { return };
    let mut chat = Chat::start(&llama, &[]);
    let path = format!("/config/conversation/{}", chat.conversation);
    chat.ann
        .put(&path, json!({"participant_ids": ["bob"], "metadata": {"temperature": 0.5, "max_tokens": 4}}))
        .expect(200);
    let mut bob = User::new(&chat.server, "bob");
    for round in 0..2 {
        let path = format!("/conversations/{}/messages", chat.conversation);
        chat.ann.post(&path, json!({"role": "system", "content": "be kind"})).expect(200);
        assert_eq!(chat.ask("hi"), "complete", "{round}: {}", chat.server.log());
        let of_bob = bob.post_message(&chat.conversation, "ho");
        assert_eq!(chat.end_of_answer(&of_bob), "complete", "{round}: {}", chat.server.log());
    }
}

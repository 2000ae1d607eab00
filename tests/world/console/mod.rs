//! The console in a headless Chromium, used by the roles and names of its parts. Every tab is watched: it violates no content
//! security policy, logs no error, asks no other host, and names no token in a URL.

mod answers;
mod browser;
mod chat;
mod checks;
mod hostile;
mod outage;
mod screenshots;
mod search;
mod views;

use crate::common::model::{Call, Model};
use crate::common::port::free_port;
use crate::common::{Options, Server, User, eventually};
use serde_json::{Value, json};

/// A development server that echoes.
fn echo_server() -> Server {
    Server::start(Options::new().set("RESPONDER", "echo").set("LOGIN_RATE_LIMIT_PER_MINUTE", 0))
}

/// A development server on a fixed port with answers from `model`. A stream whose connection vanished is detected by missing
/// heartbeats.
fn server_of(model: &Model) -> Server {
    let options = Options::new().set("PORT", free_port()).set("HEARTBEAT_INTERVAL_SECONDS", 1);
    let options = options.set("RESPONDER", "openai").set("RESPONDER_URL", model.url());
    Server::start(options.set("RESPONDER_MODEL", "small").set("RESPONDER_HISTORY", 1))
}

/// A user's token, and a conversation of that user.
fn conversation_of(server: &Server, user: &str, title: &str) -> (String, String) {
    let mut user = User::new(server, user);
    let workspace = user.create_workspace("Garden");
    let conversation = user.create_conversation(&workspace, title, &[]);
    (user.token, conversation)
}

/// A conversation with every kind of answer.
fn conversation_with_answers(server: &Server, model: &Model) -> (String, String) {
    let (token, conversation) = conversation_of(server, "ann", "Turtles");
    let mut ann = User::new(server, "ann");
    ann.post_message(&conversation, "What is a turtle?");
    let mut call = model.call();
    call.begin();
    think(&mut call, "An easy question.");
    call.say("A turtle is a **reptile** with a `shell`:\n\n- slow\n- patient\n\n```\nturtle --walk\n```\n");
    call.finish();
    ann.post_message(&conversation, "And a fast one?");
    reject(model.call(), "no such turtle");
    ann.post_message(&conversation, "How old do they get?");
    model.call().answer("A hundred years, says [the book](https://example.com/turtles).");
    eventually("all are answered", || {
        let messages = ann.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
        let is_over =
            |message: &Value| matches!(message["answer"]["status"].as_str(), None | Some("complete" | "failed"));
        messages.as_array().expect("a list").iter().all(is_over)
    });
    (token, conversation)
}

/// Sends a piece of reasoning.
fn think(call: &mut Call, text: &str) {
    let chunk = json!({"choices": [{"index": 0, "delta": {"reasoning_content": text}}]});
    call.send(&format!("data: {chunk}\n\n"));
}

/// Rejects a request with a message.
fn reject(mut call: Call, message: &str) {
    let body = json!({"error": {"message": message}}).to_string();
    call.send(&format!("HTTP/1.1 400 x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
}

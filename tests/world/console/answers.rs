//! Answers of a model that the test plays.

use super::browser::Browser;
use super::{conversation_of, reject, server_of, think};
use crate::common::model::Model;
use crate::common::{User, eventually};
use serde_json::json;

#[test]
fn answers_appear_piece_by_piece() {
    let model = Model::start();
    let mut server = server_of(&model);
    let (token, conversation) = conversation_of(&server, "ann", "Answers");
    let setup = json!({"token": token, "conversation": conversation});
    let Some(mut browser) = Browser::start("answers.mjs", &server, setup) else { return };

    browser.passes("a question is asked");
    let mut call = model.call();
    call.begin();
    think(&mut call, "The user asks ");
    think(&mut call, "about turtles.");
    call.say("Turtles are ");
    browser.passes("the first piece is shown");
    call.say("slow ");
    browser.passes("the second piece is shown");
    browser.passes("the answer is stopped");
    call.wait_until_closed();

    browser.passes("it is asked for again");
    let mut call = model.call();
    call.begin().say("Turtles are patient.");
    browser.passes("the new answer is shown");
    call.finish();

    browser.passes("a question fails");
    reject(model.call(), "model \"small\" is out of turtles");
    browser.passes("the failure is shown");
    browser.passes("the failed one is asked for again");
    model.call().answer("There are turtles again.");

    browser.passes("a question is asked before a cut");
    let mut call = model.call();
    call.begin().say("One, ");
    browser.reaches("the answer is under way");
    browser.resume();
    browser.reaches("the connection is cut");
    call.say("two, ");
    browser.resume();
    browser.passes("the stream is back");
    call.say("three.");
    call.finish();

    browser.passes("a question is asked before a kill");
    let mut call = model.call();
    call.begin().say("Half of ");
    browser.reaches("half of an answer is shown");
    // What is on disk survives; text is appended about once a second.
    let mut ann = User::new(&server, "ann");
    eventually("half of the answer is stored", || {
        let messages = ann.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
        messages.as_array().expect("a list").last().expect("messages")["content"] == "Half of "
    });
    server.kill();
    server.start_again();
    browser.resume();
    browser.passes("the interruption is shown");
    browser.ends();
}

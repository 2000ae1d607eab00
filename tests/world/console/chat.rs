//! A user chats: with a mouse, with a keyboard, on a phone, and with other users.

use super::browser::Browser;
use super::{conversation_with_answers, echo_server, server_of};
use crate::common::model::Model;
use crate::common::{Options, Server, User};
use serde_json::json;

#[test]
fn a_user_logs_in_and_chats() {
    let server = echo_server();
    let Some(browser) = Browser::start("chat.mjs", &server, json!({})) else { return };
    browser.ends();
}

#[test]
fn what_is_typed_is_not_lost_and_sent_once() {
    let server = echo_server();
    // The user of a development server takes part in what ben shares.
    let mut ben = User::new(&server, "ben");
    let workspace = ben.create_workspace("Office");
    ben.create_conversation(&workspace, "Shared", &["550e8400-e29b-41d4-a716-446655440000"]);
    let setup = json!({"ben": ben.token, "shared": "Shared"});
    let Some(browser) = Browser::start("drafts.mjs", &server, setup) else { return };
    browser.ends();
}

#[test]
fn two_users_see_each_others_messages() {
    let server = echo_server();
    let [ann, ben, eve] = ["ann", "ben", "eve"].map(|id| User::new(&server, id));
    let setup = json!({"ann": ann.token, "ben": ben.token, "eve": eve.token});
    let Some(browser) = Browser::start("users.mjs", &server, setup) else { return };
    browser.ends();
}

#[test]
fn a_keyboard_is_enough() {
    let server = echo_server();
    let Some(browser) = Browser::start("keyboard.mjs", &server, json!({})) else { return };
    browser.ends();
}

#[test]
fn a_phone_shows_one_part_at_a_time() {
    let model = Model::start();
    let server = server_of(&model);
    let (token, conversation) = conversation_with_answers(&server, &model);
    let setup = json!({"token": token, "conversation": conversation});
    let Some(browser) = Browser::start("narrow.mjs", &server, setup) else { return };
    browser.ends();
}

#[test]
fn older_messages_load_while_the_user_scrolls() {
    const MESSAGES: usize = 300;
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("Long");
    for number in 1..=MESSAGES {
        ann.say(&conversation, &format!("message {number}"));
    }
    let setup = json!({"token": ann.token, "conversation": conversation, "messages": MESSAGES});
    let Some(browser) = Browser::start("history.mjs", &server, setup) else { return };
    browser.ends();
}

#[test]
fn messages_that_end_a_response_early_load_while_the_user_scrolls() {
    const MESSAGES: usize = 12;
    const BYTES: usize = 1_000_000;
    let server = Server::start(Options::new().set("RESPONDER", "none"));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("Long");
    for number in 1..=MESSAGES {
        ann.post_message(
            &conversation,
            &format!("needle {number}\n{}", "a message of many lines\n".repeat(BYTES / 24)),
        );
    }
    let marks = "**a ".repeat(10_000) + "end";
    let conversation = ann.start_conversation("Marks");
    let body = json!({"content": marks, "role": "assistant"});
    ann.post(&format!("/conversations/{conversation}/messages"), body).expect(200);
    let setup = json!({"token": ann.token, "messages": MESSAGES, "marks": marks});
    let Some(browser) = Browser::start("long.mjs", &server, setup) else { return };
    browser.ends();
}

//! Names and texts that are harmful where they are interpreted.

use super::browser::Browser;
use super::{reject, server_of, think};
use crate::common::User;
use crate::common::model::Model;
use crate::common::token::{now, token_with};
use crate::common::user::text;
use serde_json::{Value, json};

const HOSTILE: &str = include_str!("hostile.json");

#[test]
fn what_users_write_is_shown_as_text() {
    let hostile: Value = serde_json::from_str(HOSTILE).expect("a file of JSON");
    let model = Model::start();
    let server = server_of(&model);
    let name = text(&hostile["name"]);
    let mallory = token_with(json!({"oid": "mallory", "name": name, "exp": now() + 3600}));
    let mut mallory = User::with_token(&server, "mallory", &mallory);
    let workspace = mallory.create_workspace(&name);
    let participants: Vec<String> = hostile["participants"].as_array().expect("a list").iter().map(text).collect();
    let participants: Vec<&str> = participants.iter().map(String::as_str).collect();
    let ann = User::new(&server, "ann");
    let all = [participants.as_slice(), &["ann"]].concat();
    let conversation = mallory.create_conversation(&workspace, &text(&hostile["title"]), &all);
    let setup = json!({
        "token": mallory.token, "other_token": ann.token, "conversation": conversation, "hostile": hostile,
    });
    let Some(mut browser) = Browser::start("hostile.mjs", &server, setup) else { return };

    browser.reaches("the conversation is open");
    for payload in hostile["texts"].as_array().expect("a list") {
        let path = format!("/conversations/{conversation}/messages");
        for role in ["system", "assistant"] {
            let body = json!({"content": payload, "role": role, "metadata": {"note": payload}});
            mallory.post(&path, body).expect(200);
        }
        let title = text(payload).chars().take(200).collect::<String>();
        mallory.create_conversation(&workspace, &title, &["ann"]);
    }
    // A model is no more to be trusted than a user.
    let markup = text(&hostile["markup"]);
    mallory.post_message(&conversation, &markup);
    let mut call = model.call();
    call.begin();
    think(&mut call, &markup);
    for piece in markup.split_inclusive(' ') {
        call.say(piece);
    }
    call.finish();
    mallory.post_message(&conversation, &format!("{markup} again"));
    reject(model.call(), &markup);
    browser.resume();
    browser.ends();
}

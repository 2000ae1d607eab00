//! The stream ends and comes back while another client posts.

use super::browser::Browser;
use crate::common::port::free_port;
use crate::common::publish::Publisher;
use crate::common::{Options, Server, User};
use serde_json::json;
use std::thread;

#[test]
fn a_restart_of_the_server_loses_nothing() {
    const MESSAGES: usize = 90;
    let options = Options::new().set("RESPONDER", "echo").set("PORT", free_port());
    let mut server = Server::start(options.set("HEARTBEAT_INTERVAL_SECONDS", 1));
    let mut ann = User::new(&server, "ann");
    let workspace = ann.create_workspace("Garden");
    let conversation = ann.create_conversation(&workspace, "Gate", &["ben"]);
    let setup = json!({"token": ann.token, "conversation": conversation, "last": format!("ben {MESSAGES}")});
    let Some(mut browser) = Browser::start("outage.mjs", &server, setup) else { return };

    browser.passes("the conversation is open");
    let addr = server.addr;
    let post = |from: usize, to: usize| {
        let conversation = conversation.clone();
        thread::spawn(move || {
            let mut ben = Publisher::with_keys_of(addr, "ben", &format!("from-{from}"));
            (from..=to).for_each(|number| drop(ben.post(&conversation, &format!("ben {number}"))));
        })
    };
    let first = post(1, MESSAGES / 3);
    browser.reaches("the connection is cut");
    first.join().expect("all are posted");
    post(MESSAGES / 3 + 1, MESSAGES / 2).join().expect("all are posted");
    browser.resume();
    browser.passes("the connection comes back");
    let second = post(MESSAGES / 2 + 1, 2 * MESSAGES / 3);
    browser.reaches("the server may go");
    server.kill();
    browser.resume();
    browser.reaches("a message cannot be sent");
    server.start_again();
    browser.resume();
    browser.passes("the stream is back");
    second.join().expect("all are posted");
    post(2 * MESSAGES / 3 + 1, MESSAGES).join().expect("all are posted");
    browser.passes("everything is shown");
    browser.ends();
}

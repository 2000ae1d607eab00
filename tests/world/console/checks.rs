//! What every tab is checked for, and the switch.

use super::browser::Browser;
use super::{conversation_with_answers, echo_server, server_of};
use crate::common::model::Model;
use crate::common::{Client, Options, Server, User};
use serde_json::json;

/// What the other scripts rely on: a tab that does what it must not is noticed.
#[test]
fn the_watch_notices_mistakes() {
    let server = echo_server();
    let setup = json!({"token": User::new(&server, "ann").token});
    let Some(browser) = Browser::start("watch.mjs", &server, setup) else { return };
    browser.ends();
}

#[test]
fn no_view_has_a_serious_accessibility_finding() {
    let model = Model::start();
    let server = server_of(&model);
    let (token, conversation) = conversation_with_answers(&server, &model);
    let setup = json!({"token": token, "conversation": conversation});
    let Some(browser) = Browser::start("access.mjs", &server, setup) else { return };
    browser.ends();
}

#[test]
fn the_console_can_be_switched_off() {
    let server = Server::start(Options::new().set("CONSOLE", "false"));
    let mut client = Client::new(server.addr);
    for path in ["/console", "/console/app.js", "/console/style.css", "/console/index.html"] {
        client.request("GET", path).send().expect(404);
    }
    let response = client.request("GET", "/").header("Accept", "text/html,application/xhtml+xml").send().expect(200);
    assert_eq!(response.json(), json!({"status": "online", "service": "Cortex Core"}));

    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    for path in ["/", "/console"] {
        let response = client.request("GET", path).header("Accept", "text/html").send().expect(200);
        assert!(response.header("Content-Type").is_some_and(|value| value.starts_with("text/html")), "{path}");
        let policy = response.header("Content-Security-Policy").expect("a policy").to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-"), "{policy}");
    }
    let response = client.request("GET", "/").header("Accept", "*/*").send().expect(200);
    assert_eq!(response.json(), json!({"status": "online", "service": "Cortex Core"}));
}

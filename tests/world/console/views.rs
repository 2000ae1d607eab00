//! The views beside the chat, and the description of the API.

use super::browser::Browser;
use super::{conversation_of, echo_server};
use crate::common::User;
use crate::tools;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_views_show_the_system_at_work() {
    let server = echo_server();
    let (token, conversation) = conversation_of(&server, "ann", "Views");
    let other = User::new(&server, "ann").start_conversation("Other");
    let setup = json!({"token": token, "conversation": conversation, "other": other});
    let Some(mut browser) = Browser::start("views.mjs", &server, setup) else { return };

    // The requests of the view "Learn" work as they are shown, with the ids of the open conversation.
    let texts = browser.reaches("the requests are shown");
    let own = format!("/conversations/{conversation}");
    let messages = format!("{own}/messages");
    let python = tools::python("the view Learn").expect("these tests are not left out");
    for (method, path) in [("POST", &messages), ("GET", &messages), ("PUT", &own)] {
        let url = format!("http://{}{path}", server.addr);
        assert_runs(Path::new("bash"), "-euc", shown(&texts["curl"], method, &url), &token);
        let script =
            format!("import os, httpx\ntoken = os.environ['TOKEN']\n{}", shown(&texts["Python"], method, &url));
        assert_runs(&python, "-c", &script, &token);
        let script = format!("const token = process.env.TOKEN;\n{}", shown(&texts["JavaScript"], method, &url));
        assert_runs(Path::new("node"), "--eval", &script, &token);
    }
    // A search and two of the lists need a parameter.
    for (method, path) in [
        ("POST", "/config/workspace"),
        ("GET", "/conversations"),
        ("GET", "/output/streams"),
        ("GET", "/config/conversation"),
        ("GET", "/search"),
        ("GET", "/users"),
        ("DELETE", &own),
    ] {
        let url = format!("http://{}{path}", server.addr);
        assert_runs(Path::new("bash"), "-euc", shown(&texts["curl"], method, &url), &token);
    }
    browser.resume();
    browser.ends();
}

#[test]
fn the_documentation_sends_requests() {
    let server = echo_server();
    let Some(browser) = Browser::start("docs.mjs", &server, json!({})) else { return };
    browser.ends();
}

/// The text of a request in a list of them.
#[track_caller]
fn shown<'a>(texts: &'a Value, method: &str, url: &str) -> &'a str {
    let is_it = |text: &&str| {
        let ends = ["'", "\"", "?"].iter().any(|end| text.contains(&format!("{url}{end}")));
        let methods = ["POST", "PUT", "DELETE"].into_iter().filter(|method| text.contains(method));
        ends && methods.eq((method != "GET").then_some(method))
    };
    let mut texts = texts.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text"));
    texts.find(is_it).unwrap_or_else(|| panic!("{method} {url} is not shown"))
}

/// Runs a script with a token in its environment. It must succeed, and its output must not be an error of the API.
#[track_caller]
fn assert_runs(program: &Path, option: &str, script: &str, token: &str) {
    let mut command = Command::new(program);
    command
        .args([option, script])
        .env("TOKEN", token)
        .envs([("NO_PROXY", "*"), ("no_proxy", "*")])
        .stdin(Stdio::null());
    let output = command.output().expect("the program starts");
    let [said, complaint] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let is_error = serde_json::from_str::<Value>(&said).is_ok_and(|value| value.get("error").is_some());
    assert!(output.status.success() && !said.is_empty() && !is_error, "{script}\n{said}\n{complaint}");
}

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

    // The requests of the view "Learn" work as they are shown: those that change and read, then those that delete.
    let texts = browser.reaches("the requests are shown");
    const NOT_RUN: [&str; 4] = ["Log in", "Follow the stream", "Search", "Leave a conversation"];
    let lines = texts["curl"].as_object().expect("texts by their titles");
    let (deletions, others): (Vec<_>, Vec<_>) = lines
        .iter()
        .filter(|(title, _)| !NOT_RUN.contains(&title.as_str()))
        .partition(|(title, _)| title.contains("Delete"));
    assert!(others.len() >= 10 && deletions.len() == 3, "{lines:?}");
    let bash = Path::new("bash");
    for (title, line) in others {
        assert_runs(title, bash, &["-euc", text(line)], &token);
    }
    for title in ["Send a message", "List messages", "Rename a conversation"] {
        let script = format!("const token = process.env.TOKEN;\n{}", text(&texts["JavaScript"][title]));
        assert_runs(title, Path::new("node"), &["--input-type=module", "--eval", &script], &token);
        if let Some(python) = tools::python("the view Learn") {
            assert_runs(title, &python, &["-c", text(&texts["Python"][title])], &token);
        }
    }
    for title in ["Delete a message", "Delete a conversation", "Delete a workspace"] {
        assert_runs(title, bash, &["-euc", text(&lines[title])], &token);
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

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Runs a program with a token in its environment. It must succeed, and its output must not be an error of the API.
#[track_caller]
fn assert_runs(title: &str, program: &Path, arguments: &[&str], token: &str) {
    let mut command = Command::new(program);
    command.args(arguments).env("TOKEN", token).envs([("NO_PROXY", "*"), ("no_proxy", "*")]).stdin(Stdio::null());
    let output = command.output().expect("the program starts");
    let [said, complaint] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let is_error = serde_json::from_str::<Value>(&said).is_ok_and(|value| value.get("error").is_some());
    assert!(output.status.success() && !said.is_empty() && !is_error, "{title}: {arguments:?}\n{said}\n{complaint}");
}

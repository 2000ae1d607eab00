//! Exports, imports of them, and every kind of invalid line.

use super::{failed_with, printed, replayed};
use crate::common::publish::Publisher;
use crate::common::sse::Event;
use crate::common::user::text;
use crate::common::{Options, Server, User, database, of_sqlite_only};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A stopped server without a database.
fn sandbox() -> Server {
    let mut server = Server::start(Options::new().set("RESPONDER", "echo"));
    server.stop();
    database::remove(&server.database());
    server
}

/// Imports a text.
fn import(server: &Server, lines: &str) -> std::process::Output {
    fs::write(server.file("lines"), lines).expect("a file");
    let mut command = server.command();
    command.args(["import", "-"]).stdin(File::open(server.file("lines")).expect("it is there"));
    command.output().expect("the program starts")
}

/// The export without its header, which has the epoch and position of the journal.
fn body(export: &str) -> &str {
    export.split_once('\n').expect("a header").1
}

fn contents(events: &[Event]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event.kind(), event.content())).collect()
}

/// The data that a user sees, without the parts that differ between responses.
fn seen(user: &mut User) -> Value {
    let mut all = user.get("/conversations?include=messages&limit=1000").expect(200).json();
    let workspaces = user.get("/config/workspace?limit=1000").expect(200).json();
    for conversation in all.as_array_mut().expect("a list") {
        let id = text(&conversation["id"]);
        let messages = user.get(&format!("/conversations/{id}/messages?limit=1000")).expect(200).json();
        conversation["all"] = messages;
    }
    json!([all, workspaces])
}

/// A server with data of every kind, and its export.
fn populated_server() -> (Server, String) {
    let server = Server::start(Options::new().set("RESPONDER", "echo"));
    let (mut user, mut other) = (User::new(&server, "u\"é"), User::new(&server, "v"));
    let workspace = user.create_workspace(" w\u{1} ");
    let metadata = r#"{"b":1.10,"a":99999999999999999999,"a":"\u00e9","n":{"z":[],"y":null}}"#;
    let body = format!(r#"{{"name":"n","description":"d","metadata":{metadata}}}"#);
    user.request("POST", "/config/workspace").body("application/json", body).send().expect(200);
    let conversation = user.create_conversation(&workspace, "t", &["v", "never seen"]);
    let body = format!(r#"{{"content":"hello\n\u0001","conversation_id":"{conversation}","metadata":{metadata}}}"#);
    user.request("POST", "/input").body("application/json", body).send().expect(200);
    other.say(&conversation, "there");
    user.put(&format!("/config/conversation/{conversation}"), json!({"participant_ids": ["v", "w"]})).expect(200);
    let mut late = User::new(&server, "w");
    late.say(&conversation, "late");
    let edited = user.start_conversation("c");
    let (first, second) = (user.post_message(&edited, "first"), user.post_message(&edited, "second"));
    user.put(&format!("/conversations/{edited}/messages/{first}"), json!({"content": "changed"})).expect(200);
    user.delete(&format!("/conversations/{edited}/messages/{second}")).expect(200);
    let gone = user.start_conversation("gone");
    user.post_message(&gone, "gone too");
    user.delete(&format!("/conversations/{gone}")).expect(200);
    user.say("default", "by default");
    // Answers in a conversation come in order, and these are the last ones.
    for (conversation, last) in [(conversation.as_str(), "late"), ("default", "by default")] {
        let mut stream = user.stream_with(&format!("last_event_id=0&conversation_id={conversation}"));
        while stream.next_of("output").content() != last {}
    }
    let export = printed(&server.run(&["export"]));
    (server, export)
}

#[test]
fn an_import_reproduces_the_export_byte_for_byte() {
    let (server, export) = populated_server();
    assert!(!export.contains("argon2"), "password hashes need an option");
    printed(&server.run(&["export", "lines.jsonl"]));
    assert_eq!(fs::read_to_string(server.file("lines.jsonl")).expect("a file"), export, "the same output in a file");
    assert!(failed_with(&server.run(&["export", "lines.jsonl"]), 1).contains("lines.jsonl already exists"));

    let mut elsewhere = sandbox();
    let said = printed(&import(&elsewhere, &export));
    assert!(said.contains(" workspaces, ") && said.contains("new events from "), "{said}");
    assert!(printed(&elsewhere.run(&["verify"])).starts_with("ok: "));
    let again = printed(&elsewhere.run(&["export", "-"]));
    assert_eq!(body(&again), body(&export));

    elsewhere.restart();
    for name in ["u\"é", "v", "w", "never seen"] {
        let (mut before, mut after) = (User::new(&server, name), User::new(&elsewhere, name));
        assert_eq!(seen(&mut after), seen(&mut before), "{name}");
        // Messages can be replayed from the beginning. Users who received other events get one gap for them.
        let messages = |events: Vec<Event>| -> Vec<(u64, String)> {
            let is_message = |event: &&Event| ["input", "output"].contains(&event.kind());
            events.iter().filter(is_message).map(|event| (event.number(), event.content().to_owned())).collect()
        };
        let replay = replayed(&elsewhere, name, 0);
        assert_eq!(replay.iter().filter(|event| event.kind() == "gap").count(), 1, "{name}");
        assert_eq!(messages(replay), messages(replayed(&server, name, 0)), "{name}");
    }
    // A client that has all exported events resumes without a gap; one with later events gets a gap.
    let mut user = User::new(&server, "v");
    let newest = user.stream().established.number();
    assert_eq!(contents(&replayed(&elsewhere, "v", newest)), []);
    let lost = user.post("/input", json!({"content": "lost"})).expect(200).number("X-Event-Id");
    let gap = [("gap", "")];
    assert_eq!(contents(&replayed(&elsewhere, "v", lost)), gap);
    let mut user = User::new(&elsewhere, "v");
    user.say("default", "new");
    let events = replayed(&elsewhere, "v", newest);
    assert!(contents(&events).contains(&("input", "new")) && !contents(&events).contains(&gap[0]));
}

#[test]
fn exported_password_hashes_work_after_an_import() {
    let server = Server::start(Options::new());
    let login = json!({"email": "user@example.com", "password": "a new password"});
    let first = json!({"email": "user@example.com", "password": "password123"});
    let bearer = User::new(&server, "x").post("/auth/login", first).expect(200).json()["access_token"].clone();
    let mut user = User::with_token(&server, "x", bearer.as_str().expect("a token"));
    let change = json!({"current_password": "password123", "new_password": "a new password"});
    user.post("/auth/password", change).expect(200);
    User::new(&server, "gone").say("default", "I was here");
    for arguments in [["user", "disable", "--id", "out"].as_slice(), &["user", "delete", "--id", "gone", "--yes"]] {
        assert!(server.run(arguments).status.success());
    }
    let export = printed(&server.run(&["export", "--with-passwords"]));
    let mut elsewhere = sandbox();
    printed(&import(&elsewhere, &export));
    assert_eq!(body(&printed(&elsewhere.run(&["export", "--with-passwords"]))), body(&export));
    elsewhere.restart();
    User::new(&elsewhere, "x").post("/auth/login", login).expect(200);
    let old = User::with_token(&elsewhere, "x", bearer.as_str().expect("a token")).get("/auth/verify");
    assert_eq!(old.status, 401, "revoked tokens stay revoked");
    for (id, comes_back) in [("out", true), ("gone", false)] {
        assert_eq!(User::new(&elsewhere, id).get("/auth/verify").status, 401, "{id} stays disabled");
        assert_eq!(elsewhere.run(&["user", "enable", "--id", id]).status.success(), comes_back, "{id}");
    }
}

#[test]
fn an_import_needs_an_empty_database() {
    of_sqlite_only!("it compares and keeps files; tests/cluster/transfer.rs imports into a server");
    let (mut server, export) = populated_server();
    let said = failed_with(&import(&server, &export), 1);
    assert!(said.contains("stop the server first"), "{said}");
    server.stop();
    let before = fs::read(server.database()).expect("the database");
    let said = failed_with(&import(&server, &export), 1);
    assert!(said.contains("is not empty"), "{said}");
    assert_eq!(fs::read(server.database()).expect("the database"), before);

    // The content that a server creates at its first start does not count.
    let mut fresh = Server::start(Options::new().set("RESPONDER", "echo"));
    fresh.stop();
    let said = printed(&import(&fresh, &export));
    assert!(said.contains("the empty database that was there before"), "{said}");
    fresh.restart();
    assert_eq!(body(&printed(&fresh.run(&["export"]))), body(&export));
    fs::write(fresh.file("text"), "hello").expect("a file");
    fresh.stop();
    fresh.set("DATABASE_URL", "sqlite:///./text");
    assert!(failed_with(&import(&fresh, &export), 1).contains("text is not an SQLite database"));
    assert!(failed_with(&fresh.run(&["import", "nowhere"]), 1).contains("nowhere cannot be read: No such file"));
}

#[test]
fn an_invalid_line_is_named_and_nothing_is_imported() {
    of_sqlite_only!("a server reports ranges of lines, see tests/cluster/transfer.rs");
    let (_server, export) = populated_server();
    let server = sandbox();
    let lines: Vec<&str> = export.lines().collect();
    let first_of =
        |kind: &str| lines.iter().position(|line| line.contains(&format!("{{\"type\":\"{kind}\""))).expect(kind);
    let (user, workspace) = (first_of("user"), first_of("workspace"));
    let (conversation, message) = (first_of("conversation"), first_of("message"));
    let end = lines.len() - 1;
    let changed = |at: usize, from: &str, to: &str| {
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        changed[at] = changed[at].replacen(from, to, 1);
        assert_ne!(changed[at], lines[at], "{from}");
        changed.join("\n")
    };
    let without = |at: usize| {
        let mut left = lines.clone();
        left.remove(at);
        left.join("\n")
    };
    let table = [
        ("nothing", String::new(), 1, "the input ends before its last line"),
        ("no header", without(0), 1, "the first line must be the header"),
        ("another format", changed(0, "\"version\":2", "\"version\":9"), 1, "`version` is 9"),
        ("no end", without(end), end + 1, "the input ends before its last line"),
        ("half a line", export[..export.len() / 2].to_owned(), 0, "EOF"),
        ("no JSON", changed(message, "{", "{{"), message + 1, "key must be a string at line 1 column 2"),
        ("an unknown type", changed(message, "message", "massage"), message + 1, "there is no type \"massage\""),
        ("an unknown field", changed(user, "\"name\"", "\"nick\""), user + 1, "`name` is missing"),
        ("a missing user", without(user + 1), 0, "is not a user in the lines before"),
        ("a missing workspace", without(workspace), 0, "is not an id in the lines before"),
        ("a missing conversation", without(conversation), 0, "is not an id in the lines before"),
        ("a missing message", without(message), 0, ""),
        ("a user twice", format!("{}\n{}", lines[..=user].join("\n"), lines[user]), user + 2, "already"),
        ("a message twice", format!("{}\n{}", lines[..=message].join("\n"), lines[message]), message + 2, "UNIQUE"),
        ("something after the end", format!("{export}\n{{}}"), end + 1, "it follows the last line"),
        ("two headers", format!("{}\n{}", lines[0], lines[0]), 2, "only the first line may be a header"),
        ("a wrong count", changed(end, "\"users\":", "\"users\":9"), end + 1, "it counts"),
        ("another key", changed(0, "\"id_key\":\"", "\"id_key\":\"0000").replacen(&lines[0][80..84], "", 1), 0, ""),
        ("a position too small", changed(0, "\"position\":", "\"position\":1,\"x\":"), 1, "`x` is unknown"),
        (
            "metadata",
            changed(workspace, "\"metadata\":{", "\"metadata\":7,\"m\":{"),
            workspace + 1,
            "must be a JSON object",
        ),
    ];
    for (name, text, line, expected) in table {
        let said = failed_with(&import(&server, &text), 1);
        assert!(said.contains(expected), "{name}: {said}");
        assert!(line == 0 && said.contains("line ") || said.contains(&format!("line {line}: ")), "{name}: {said}");
        let left: Vec<_> = fs::read_dir(server.file("")).expect("a directory").collect();
        let names = left.iter().map(|file| file.as_ref().expect("a file").file_name());
        assert!(
            names.filter(|name| name.to_string_lossy().starts_with("cortex.db")).all(|name| name == "cortex.db.lock")
        );
    }
    // After all failures, the same database accepts the valid lines.
    printed(&import(&server, &export));
}

/// An export is one snapshot, consistent under concurrent writes.
#[test]
fn an_export_of_a_busy_server_can_be_imported() {
    let server = Server::start(Options::new().set("RESPONDER", "echo"));
    let conversation = User::new(&server, "u").start_conversation("c");
    let ended = AtomicBool::new(false);
    let export = thread::scope(|scope| {
        let mut publisher = Publisher::new(server.addr, "u");
        let (ended, conversation) = (&ended, conversation.as_str());
        let posting = scope.spawn(move || {
            let mut posted = Vec::new();
            while !ended.load(Ordering::Relaxed) || posted.len() < 100 {
                posted.push(publisher.post(conversation, &posted.len().to_string()));
            }
        });
        let export = printed(&server.run(&["export"]));
        ended.store(true, Ordering::Relaxed);
        posting.join().expect("no panic");
        export
    });
    let elsewhere = sandbox();
    printed(&import(&elsewhere, &export));
    assert_eq!(body(&printed(&elsewhere.run(&["export"]))), body(&export));
}

#[test]
fn an_export_with_a_closed_reader_ends_without_a_panic() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for _ in 0..8 {
        user.say("default", &"x".repeat(100_000));
    }
    let mut command = server.command();
    let mut child = command.arg("export").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    assert!(first.starts_with("{\"type\":\"header\""), "{first}");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "it is not a failure: {output:?}");
}

//! Exports and imports between both engines.

use super::{PASSWORD, ServerDatabase, failed, options, printed};
use crate::common::{Client, Response, Sandbox, Server, User};
use serde_json::json;

/// The export without its header, which has the epoch and position of the journal.
pub fn body(export: &str) -> &str {
    export.split_once('\n').expect("a header").1
}

pub fn export(sandbox: &Sandbox) -> String {
    printed(sandbox, &["export", "--with-passwords"], "")
}

pub fn import(sandbox: &Sandbox, lines: &str) {
    printed(sandbox, &["import"], lines);
}

fn login(server: &Server) -> Response {
    let body = json!({"email": "ann@example.com", "password": PASSWORD});
    Client::new(server.addr).request("POST", "/auth/login").json(&body).send()
}

/// A server with data of every kind, and with more rows than are read at once.
fn populated(sandbox: &Sandbox) -> Server {
    let added = super::run_with(sandbox, &["user", "add", "ann@example.com", "--id", "ann", "--name", "Ann"], PASSWORD);
    assert!(added.status.success(), "{added:?}");
    let server = sandbox.serve();
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "b\"\u{e9}n"));
    let workspace = ann.create_workspace(" w\u{1} ");
    let metadata = r#"{"b":1.10,"a":99999999999999999999,"a":"\u00e9","n":{"z":[],"y":null}}"#;
    let conversation = ann.create_conversation(&workspace, "t", &["b\"\u{e9}n", "never seen"]);
    let message = format!(r#"{{"content":"a\u0000\n","conversation_id":"{conversation}","metadata":{metadata}}}"#);
    ann.request("POST", "/input").body("application/json", message).send().expect(200);
    ann.put(&format!("/config/conversation/{conversation}"), json!({"participant_ids": ["b\"\u{e9}n", "cyd"]}))
        .expect(200);
    let named: Vec<String> = (0..300).map(|number| format!("user {number}")).collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    ann.create_conversation(&workspace, "many", &named[..150]);
    ann.create_conversation(&workspace, "more", &named[150..]);
    let edited = ann.start_conversation("c");
    let (first, second) = (ann.post_message(&edited, "first"), ann.post_message(&edited, "second"));
    ann.put(&format!("/conversations/{edited}/messages/{first}"), json!({"content": "changed"})).expect(200);
    ann.delete(&format!("/conversations/{edited}/messages/{second}")).expect(200);
    let gone = ann.start_conversation("gone");
    ann.post_message(&gone, "gone too");
    ann.delete(&format!("/conversations/{gone}")).expect(200);
    for number in 0..40 {
        ben.say(&conversation, &format!("message {number}"));
    }
    for (user, conversation, last) in [(&mut ben, conversation.as_str(), "message 39")] {
        let mut stream = user.stream_with(&format!("last_event_id=0&conversation_id={conversation}"));
        while stream.next_of("output").content() != last {}
    }
    printed(sandbox, &["user", "disable", "--id", "outsider"], "");
    printed(sandbox, &["user", "delete", "--id", "cyd", "--yes"], "");
    server
}

#[test]
fn data_move_to_a_server_and_back() {
    let (from, to, back) = (Sandbox::new(options()), ServerDatabase::create("moved"), Sandbox::new(options()));
    let mut server = populated(&from);
    let lines = export(&from);
    server.stop();
    // The development user of a first start is not in the way.
    to.sandbox().serve().stop();
    import(&to.sandbox(), &lines);
    assert_eq!(body(&export(&to.sandbox())), body(&lines));
    assert!(printed(&to.sandbox(), &["verify"], "").starts_with("ok: "));
    import(&back, &export(&to.sandbox()));
    assert_eq!(body(&export(&back)), body(&lines));

    let mut moved = to.sandbox().serve();
    login(&moved).expect(200);
    assert_eq!(User::new(&moved, "outsider").get("/auth/verify").status, 401, "a disabled user stays so");
    let (mut here, mut there) = (User::new(server_again(&mut server), "ann"), User::new(&moved, "ann"));
    for path in ["/conversations?include=messages&limit=1000", "/config/workspace?limit=1000"] {
        assert_eq!(there.get(path).expect(200).json(), here.get(path).expect(200).json(), "{path}");
    }
    there.say("default", "the journal continues");
    moved.stop();
    login(&back.serve()).expect(200);
}

fn server_again(server: &mut Server) -> &mut Server {
    server.start_again();
    server
}

#[test]
fn both_engines_export_the_same_activity_alike() {
    let database = ServerDatabase::create("alike");
    let server = populated(&database.sandbox());
    let lines = export(server.sandbox());
    let (copy, again) = (Sandbox::new(options()), ServerDatabase::create("alike_again"));
    import(&copy, &lines);
    assert_eq!(body(&export(&copy)), body(&lines));
    import(&again.sandbox(), &lines);
    assert_eq!(body(&export(&again.sandbox())), body(&lines));
    assert!(printed(server.sandbox(), &["verify"], "").starts_with("ok: "));
}

#[test]
fn an_import_needs_an_empty_database_and_no_running_server() {
    let database = ServerDatabase::create("occupied");
    let mut server = Server::start(database.options());
    let lines = export(server.sandbox());
    assert!(failed(server.sandbox(), &["import"], &lines).contains("stop the server first"));
    User::new(&server, "ann").say("default", "hello");
    server.stop();
    let before = export(server.sandbox());
    assert!(failed(server.sandbox(), &["import"], &lines).contains("is not empty"));
    assert_eq!(export(server.sandbox()), before);
}

#[test]
fn an_invalid_line_is_named_and_nothing_is_imported() {
    let lines = export(populated(&Sandbox::new(options())).sandbox());
    let lines: Vec<&str> = lines.lines().collect();
    let message = lines.iter().position(|line| line.contains("{\"type\":\"message\"")).expect("a message");
    let end = lines.len() - 1;
    let twice = [&lines[..=message], &[lines[message]], &lines[message + 1..]].concat();
    let without_header = lines[1..].to_vec();
    let mut foreign = lines.clone();
    foreign[message] = "{\"type\":\"massage\"}";
    let table = [
        ("no header", without_header, "line 1: the first line must be the header"),
        ("an unknown type", foreign, &format!("line {}: there is no type \"massage\"", message + 1)),
        ("no end", lines[..end].to_vec(), &format!("line {}: the input ends before its last line", end + 1)),
        ("a message twice", twice.clone(), "duplicate key value violates unique constraint \"messages_pkey\""),
    ];
    let empty = ServerDatabase::create("invalid");
    let started = ServerDatabase::create("invalid_started");
    started.sandbox().serve().stop();
    let before = export(&started.sandbox());
    for (name, text, expected) in table {
        for database in [&empty, &started] {
            let said = failed(&database.sandbox(), &["import"], &text.join("\n"));
            assert!(said.contains(expected), "{name}: {said}");
        }
        assert_eq!(empty.run("SELECT to_regclass('meta') IS NULL"), "t", "{name}: no tables are left");
        assert_eq!(export(&started.sandbox()), before, "{name}: nothing is changed");
    }
    // The range of lines has the duplicate.
    let said = failed(&empty.sandbox(), &["import"], &twice.join("\n"));
    let numbers: Vec<usize> =
        said.split(|char: char| !char.is_ascii_digit()).filter_map(|text| text.parse().ok()).collect();
    assert!(numbers[0] <= message + 2 && message + 2 <= numbers[1], "{said}");
    import(&empty.sandbox(), &lines.join("\n"));
}

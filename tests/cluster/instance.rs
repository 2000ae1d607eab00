//! The first start, kills and restarts, and two processes on one database.

use super::{ServerDatabase, failed, printed, replayed};
use crate::common::sse::Event;
use crate::common::{Client, Server, User, eventually};
use serde_json::json;

/// The number, kind and content of each event.
fn summary(events: &[Event]) -> Vec<(u64, String, String)> {
    events.iter().map(|event| (event.number(), event.kind().to_owned(), event.content().to_owned())).collect()
}

#[test]
fn acknowledged_messages_and_answers_survive_a_kill() {
    let database = ServerDatabase::create("kill");
    assert_eq!(database.run("SELECT to_regclass('messages') IS NULL"), "t");
    let mut server = Server::start(database.options());
    let mut user = User::new(&server, "ann");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &["ben"]);
    let texts = ["hello", "a\u{0}b \u{1f980} \u{e9}", "\\x00 \\\\ ' \" $1"];
    let mut live = User::new(&server, "ben").stream();
    for text in texts {
        user.say(&conversation, text);
        assert_eq!(live.next_of("input").content(), text);
        while live.next_of("output").content() != text {}
    }
    let gone = user.create_workspace("gone");
    user.delete(&format!("/config/workspace/{gone}")).expect(200);
    let before = ["ann", "ben"].map(|user| summary(&replayed(&server, user)));
    assert!(before[1].iter().filter(|event| texts.contains(&event.2.as_str())).count() == 2 * texts.len());
    for _ in 0..3 {
        server.kill();
        server.start_again();
        assert_eq!(["ann", "ben"].map(|user| summary(&replayed(&server, user))), before);
    }
    user.follow(&server);
    user.say(&conversation, "again");
    let after = summary(&replayed(&server, "ben"));
    assert!(after.starts_with(&before[1]) && after.len() > before[1].len());
    assert!(printed(server.sandbox(), &["verify"], "").starts_with("ok: "));
}

#[test]
fn messages_without_an_answer_are_answered_after_a_kill() {
    let database = ServerDatabase::create("answers");
    let mut server = Server::start(database.options());
    let mut user = User::new(&server, "ann");
    let texts = ["first", "second", "third"].map(|text| format!("{text} with an answer of many parts ").repeat(500));
    texts.iter().for_each(|text| drop(user.say("default", text)));
    server.kill();
    server.start_again();
    let mut stream = User::new(&server, "ann").stream_with("last_event_id=0");
    for text in &texts {
        assert_eq!(stream.next_of("output").content(), text);
    }
}

#[test]
fn a_second_process_serves_the_same_database_and_continues_after_a_kill() {
    let database = ServerDatabase::create("two");
    let mut server = Server::start(database.options());
    User::new(&server, "ann").say("default", "from the first one");
    let mut second = server.second();
    let addr = second.wait_listening();
    let mut user = User::at(addr, "ann");
    let mut stream = user.stream_with("last_event_id=0");
    user.say("default", "from the second one");
    User::new(&server, "ann").say("default", "from the first one again");
    // Commands do not wait.
    assert!(printed(server.sandbox(), &["user", "list"], "").contains("ann"));
    server.kill();
    user.say("default", "from the second one again");
    for content in
        ["from the first one", "from the second one", "from the first one again", "from the second one again"]
    {
        assert_eq!(stream.next_of("input").content(), content);
    }
}

#[test]
fn every_metric_that_the_documentation_names_is_served() {
    let database = ServerDatabase::create("metrics");
    let server = Server::start(database.options());
    let served = Client::new(server.addr).request("GET", "/metrics").send().expect(200).text().to_owned();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cluster.md");
    let document = std::fs::read_to_string(path).expect("the document exists");
    let named: Vec<&str> = document.split('`').filter(|name| name.starts_with("cortex_")).collect();
    assert!(named.len() >= 5, "{named:?}");
    for name in named {
        assert!(served.contains(&format!("# TYPE {name} ")), "there is no metric {name}");
    }
}

/// A stream is at one instance. Another one cannot list or renew it, and says so as long as there are several.
#[test]
fn an_instance_knows_that_it_does_not_have_all_streams() {
    let database = ServerDatabase::create("streams");
    let mut server = Server::start(database.options());
    let mut second = server.second();
    let addr = second.wait_listening();
    let mut users = [User::new(&server, "ann"), User::at(addr, "ann")];
    let stream = users[0].stream();
    let listed = |user: &mut User| {
        let response = user.get("/output/streams").expect(200);
        let is_complete = response.header("X-Incomplete").is_none();
        (response.json()["streams"].as_array().map_or(0, Vec::len), is_complete)
    };
    eventually("both know each other", || listed(&mut users[0]) == (1, false) && listed(&mut users[1]) == (0, false));
    let id = users[0].get("/output/streams").json()["streams"][0]["stream_id"].as_str().expect("an id").to_owned();
    let renewal = format!("/output/streams/{id}/renew");
    users[0].post(&renewal, json!({})).expect(200);
    let elsewhere = users[1].post(&renewal, json!({})).expect(503);
    assert!(elsewhere.header("Retry-After").is_some(), "{}", elsewhere.shown());
    drop(stream);
    server.stop();
    eventually("the second one is alone", || listed(&mut users[1]) == (0, true));
    users[1].post(&renewal, json!({})).expect(409);
}

#[test]
fn a_database_of_a_newer_program_is_rejected_and_not_changed() {
    let database = ServerDatabase::create("newer");
    let mut server = Server::start(database.options());
    server.stop();
    let export = printed(server.sandbox(), &["export"], "");
    database.run("UPDATE meta SET version = 9999, usable_from = 9999");
    let start = server.failed_restart();
    assert!(start.code == Some(1) && start.stderr.contains("schema version 9999"), "{}", start.stderr);
    for (arguments, input) in
        [(&["user", "list"][..], ""), (&["verify"], ""), (&["export"], ""), (&["import"], export.as_str())]
    {
        assert!(failed(server.sandbox(), arguments, input).contains("use a newer program"), "{arguments:?}");
    }
    assert_eq!(database.run("SELECT version FROM meta"), "9999");
    // One beside which this version may run.
    database.run("UPDATE meta SET usable_from = 1");
    server.start_again();
    User::new(&server, "ann").say("default", "beside a newer program");
    assert!(printed(server.sandbox(), &["verify"], "").starts_with("ok: "));
}

#[test]
fn production_needs_a_server_that_keeps_what_it_has_committed() {
    let database = ServerDatabase::create("unsafe");
    let start = Server::failed_start(database.options().set("ENV", "production"));
    assert!(
        start.stderr.contains("fsync = off") || start.stderr.contains("full_page_writes = off"),
        "{}",
        start.stderr
    );
}

//! Effects of commands on a running server: they apply without a restart and without a request to it.

use super::{PASSWORD, add, login, run, run_with, users, verify};
use crate::common::token::token;
use crate::common::user::text;
use crate::common::{Client, Options, Server, Stream, User, assert_error, eventually};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const ANOTHER: &str = "quite another pass phrase";

/// Asserts that a stream ends as with a revoked token, without other events.
#[track_caller]
fn ends(stream: &mut Stream) {
    let kinds: Vec<String> = stream.until_end().iter().map(|event| event.kind().to_owned()).collect();
    assert_eq!(kinds, ["token_expired"]);
}

/// Every event loop detects the change by itself, so one may lag behind.
#[track_caller]
fn assert_rejected(client: &mut Client, token: &str) {
    eventually("the token is rejected", || verify(client, token).status == 401);
    let stream = client.request("GET", "/output/stream").token(token).send();
    assert_error(&stream, 401, "unauthorized");
    let post = client.request("POST", "/input").token(token).json(&json!({"content": "x"})).send();
    assert_error(&post, 401, "unauthorized");
    assert_error(&client.request("POST", "/auth/refresh").token(token).send(), 401, "unauthorized");
}

fn log_in(client: &mut Client, email: &str, password: &str) -> String {
    text(&login(client, email, password).expect(200).json()["access_token"])
}

#[test]
fn a_disabled_user_is_rejected_and_an_enabled_one_accepted() {
    // With one event loop, all connections see the same state.
    let mut server = Server::start(Options::new().set("WORKERS", 1));
    let id = add(server.sandbox(), &["ann@example.com"]);
    let mut client = Client::new(server.addr);
    let held = log_in(&mut client, "ann@example.com", PASSWORD);
    let mut ann = User::with_token(&server, &id, &held);
    ann.say("default", "first");
    let mut others = User::new(&server, "ben").stream();
    let mut stream = ann.stream();
    run(server.sandbox(), &["user", "disable", "ann@example.com"]).well();
    ends(&mut stream);
    assert_rejected(&mut client, &held);
    let unknown = login(&mut client, "nobody@example.com", PASSWORD);
    let disabled = login(&mut client, "ann@example.com", PASSWORD);
    assert_eq!((disabled.status, &disabled.body), (401, &unknown.body), "like an unknown user");

    server.restart();
    client = Client::new(server.addr);
    assert_rejected(&mut client, &held);
    run(server.sandbox(), &["user", "enable", "ann@example.com"]).well();
    eventually("ann is let in", || login(&mut client, "ann@example.com", PASSWORD).status == 200);
    assert_rejected(&mut client, &held);
    let mut ann = User::with_token(&server, &id, &log_in(&mut client, "ann@example.com", PASSWORD));
    let mut stream = ann.stream();
    ann.say("default", "second");
    assert_eq!(stream.next_own().content(), "second");
    assert!(others.try_next().is_ok_and(|event| event.is_some_and(|event| event.kind() == "server_shutdown")));
}

#[test]
fn an_unknown_id_can_be_disabled() {
    let server = Server::start(Options::new());
    let reader = User::new(&server, "only-reads");
    let mut stream = reader.stream();
    run(server.sandbox(), &["user", "disable", "only-reads"]).failed(1, "no user has the id");
    run(server.sandbox(), &["user", "disable", "--id", "only-reads"]).well();
    ends(&mut stream);
    assert_rejected(&mut Client::new(server.addr), &reader.token);
}

#[test]
fn a_changed_password_revokes_older_tokens() {
    let server = Server::start(Options::new());
    let id = add(server.sandbox(), &["ann@example.com"]);
    let mut client = Client::new(server.addr);
    let old = log_in(&mut client, "ann@example.com", PASSWORD);
    let mut stream = Stream::open(server.addr, &old, "");
    run_with(server.sandbox(), &["user", "passwd", &id], ANOTHER).well();
    // A login takes effect immediately.
    let new = log_in(&mut client, "ann@example.com", ANOTHER);
    verify(&mut client, &new).expect(200);
    ends(&mut stream);
    assert_rejected(&mut client, &old);
    assert_error(&login(&mut client, "ann@example.com", PASSWORD), 401, "unauthorized");
    verify(&mut client, &new).expect(200);
    Stream::open(server.addr, &new, "");
}

#[test]
fn a_deleted_user_stays_deleted_and_their_messages_remain() {
    let mut server = Server::start(Options::new());
    let id = add(server.sandbox(), &["ann@example.com", "--name", "Ann"]);
    let mut client = Client::new(server.addr);
    let held = log_in(&mut client, "ann@example.com", PASSWORD);
    let (mut ben, mut ann) = (User::new(&server, "ben"), User::with_token(&server, &id, &held));
    let workspace = ben.create_workspace("w");
    let conversation = ben.create_conversation(&workspace, "t", &[&id]);
    ann.say(&conversation, "from ann");
    let of_ann = ann.create_workspace("of ann");
    let shared = ann.create_conversation(&of_ann, "t", &["ben"]);
    let mut stream = ann.stream();
    run(server.sandbox(), &["user", "delete", "ann@example.com", "--yes"]).well();
    ends(&mut stream);
    for _ in 0..2 {
        // Any token of the id, also a new one.
        for token in [&held, &token(&id)] {
            assert_rejected(&mut client, token);
        }
        assert_error(&login(&mut client, "ann@example.com", PASSWORD), 401, "unauthorized");
        let said = ben.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
        let message = &said[0];
        assert_eq!((&message["content"], &message["sender_id"]), (&json!("from ann"), &json!(id)));
        assert_eq!(message["sender_name"], "");
        ben.say(&conversation, "ben goes on");
        ben.say(&shared, "in what was ann's, too");
        let users = ben.get(&format!("/users?ids={id}")).expect(200).json();
        assert_eq!(users["users"], json!([{"user_id": id, "name": ""}]));
        server.restart();
        ben.follow(&server);
        client = Client::new(server.addr);
    }
}

#[test]
fn a_deleted_development_user_is_not_recreated() {
    for (command, says) in [
        (&["user", "disable", "user@example.com"][..], "disabled"),
        (&["user", "delete", "user@example.com", "--yes"], "deleted"),
    ] {
        let mut server = Server::start(Options::new());
        login(&mut Client::new(server.addr), "user@example.com", "password123").expect(200);
        run(server.sandbox(), command).well();
        server.restart();
        assert_error(&login(&mut Client::new(server.addr), "user@example.com", "password123"), 401, "unauthorized");
        assert_eq!(users(server.sandbox())[0][says], true);
    }
}

/// A busy writer detects the change with its next batch, and the external writer gets the lock in between.
#[test]
fn a_busy_server_detects_external_changes() {
    let server = Server::start(Options::new());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for name in ["one", "two", "three", "four"] {
            let (ended, mut user) = (&ended, User::new(&server, name));
            scope.spawn(move || {
                while !ended.load(Relaxed) {
                    user.say("default", "again");
                }
            });
        }
        let id = add(server.sandbox(), &["ann@example.com"]);
        let mut client = Client::new(server.addr);
        let held = log_in(&mut client, "ann@example.com", PASSWORD);
        let mut stream = User::with_token(&server, &id, &held).stream();
        run(server.sandbox(), &["user", "disable", &id]).well();
        ends(&mut stream);
        assert_rejected(&mut client, &held);
        ended.store(true, Relaxed);
    });
}

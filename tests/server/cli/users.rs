//! `user …` without a server: what is stored and what is rejected.

use super::{PASSWORD, add, login, run, run_with, users};
use crate::common::user::text;
use crate::common::{Client, Options, Sandbox, User, assert_time, database, of_sqlite_only};
use serde_json::json;

#[test]
fn added_users_are_listed_and_can_log_in_after_a_start() {
    let sandbox = Sandbox::new(Options::new());
    let first = run_with(&sandbox, &["user", "add", "Ann@example.com", "--name", "Ann A."], &format!("{PASSWORD}\n"));
    let notes_file = first.stderr.contains("note: created the database");
    assert!(first.code == Some(0) && notes_file != database::is_on_server(), "{first:?}");
    let ann = first.stdout.trim_end();
    assert_eq!((ann.len(), ann.as_bytes()[14]), (36, b'4'), "a random UUID: {ann}");
    assert_eq!(add(&sandbox, &["ben@example.com", "--id", "ben", "--name", "Ben\u{202e}"]), "ben");
    let listed = users(&sandbox);
    assert_time(&listed[0]["created_at"]);
    let without_time = |mut user: serde_json::Value| {
        user.as_object_mut().expect("an object").remove("created_at");
        user
    };
    let expected = |id: &str, email: &str, name: &str| json!({"id": id, "email": email, "name": name, "disabled": false, "deleted": false, "has_password": true});
    assert_eq!(
        listed.into_iter().map(without_time).collect::<Vec<_>>(),
        [expected(ann, "Ann@example.com", "Ann A."), expected("ben", "ben@example.com", "Ben\u{202e}")]
    );
    let table = run(&sandbox, &["user", "list"]).well();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "EMAIL", "NAME", "STATUS", "PASSWORD", "CREATED"]);
    assert_eq!(rows[1][..6], [ann, "Ann@example.com", "Ann", "A.", "enabled", "yes"]);
    let columns: Vec<_> = table.lines().map(|line| line.find("enabled").or(line.find("STATUS"))).collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "{table}");
    assert!(table.contains("Ben\\u{202e}"), "{table}");

    let server = sandbox.serve();
    let response = login(&mut Client::new(server.addr), "ann@EXAMPLE.com", PASSWORD).expect(200).json();
    assert_eq!(response["claims"], json!({"oid": ann, "name": "Ann A.", "email": "Ann@example.com"}));
}

#[test]
fn emails_and_ids_are_unique() {
    let sandbox = Sandbox::new(Options::new());
    let ann = add(&sandbox, &["ann@example.com"]);
    let rejected = |arguments: &[&str], says: &str| {
        let all: Vec<&str> = ["user", "add"].iter().chain(arguments).copied().collect();
        run_with(&sandbox, &all, PASSWORD).failed(1, says);
    };
    rejected(&["ANN@example.com"], &ann);
    rejected(&["other@example.com", "--id", &ann], "has a password already");
    run(&sandbox, &["user", "disable", "--id", "outsider"]).well();
    rejected(&["other@example.com", "--id", "outsider"], "is disabled");
    run(&sandbox, &["user", "delete", "--id", "outsider", "--yes"]).well();
    rejected(&["other@example.com", "--id", "outsider"], "was deleted");
    // A user's email may be another user's id.
    add(&sandbox, &["other@example.com", "--id", "ann@example.com"]);
    run(&sandbox, &["user", "disable", "ann@example.com"]).failed(1, "select one of them with --id");
    run(&sandbox, &["user", "disable", "--id", "ann@example.com"]).well();
    let disabled: Vec<bool> = users(&sandbox).iter().map(|user| user["disabled"] == true).collect();
    assert_eq!(disabled, [false, true, true]);
}

#[test]
fn concurrent_adds_of_one_email_succeed_once() {
    let sandbox = Sandbox::new(Options::new());
    let codes: Vec<_> = std::thread::scope(|scope| {
        let adding = || run_with(&sandbox, &["user", "add", "ann@example.com"], PASSWORD);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(adding)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it exits").code).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(users(&sandbox).len(), 1);
}

#[test]
fn a_user_known_by_token_can_be_given_a_password() {
    let sandbox = Sandbox::new(Options::new());
    let mut server = sandbox.serve();
    User::new(&server, "by-token").say("default", "hello");
    server.stop();
    run_with(&sandbox, &["user", "passwd", "by-token"], PASSWORD).failed(1, "has no password to change");
    assert_eq!(add(&sandbox, &["new@example.com", "--id", "by-token"]), "by-token");
    let user = users(&sandbox).into_iter().find(|user| user["id"] == "by-token").expect("listed");
    assert_eq!((text(&user["email"]), text(&user["name"])), ("new@example.com".into(), "Name of by-token".into()));
    let server = sandbox.serve();
    login(&mut Client::new(server.addr), "new@example.com", PASSWORD).expect(200);
    // The token issued before is still valid.
    User::new(&server, "by-token").say("default", "hello");
}

#[test]
fn names_are_escaped_on_a_terminal() {
    let server = Sandbox::new(Options::new()).serve();
    let claims =
        json!({"oid": "id\u{1b}[2J", "name": "two\nlines", "email": "\r\t", "exp": crate::common::token::now() + 60});
    let token = crate::common::token::token_with(claims);
    User::with_token(&server, "x", &token).say("default", "hello");
    let table = run(server.sandbox(), &["user", "list"]).well();
    assert!(!table.contains(['\u{1b}', '\r', '\t']) && table.lines().count() == 3, "{table:?}");
    assert!(table.contains("two\\nlines"), "{table}");
}

#[test]
fn a_list_of_more_than_one_page_is_printed_whole() {
    let sandbox = Sandbox::new(Options::new());
    add(&sandbox, &["first@example.com"]);
    let id = database::stored_text("'user-' || i");
    let more = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
        INSERT INTO users (oid, name, email, created_at) SELECT {id}, '', '', i FROM n;
        INSERT INTO users (oid, name, email, created_at) VALUES ('responder:echo', 'echo', '', 0)"
    );
    database::execute(&sandbox.database(), &more);
    let listed = users(&sandbox);
    assert_eq!(listed.len(), 1001, "responders are not listed");
    assert!((1..=1000).all(|at| listed[at]["id"] == format!("user-{at}")), "in creation order");
    assert_eq!(run(&sandbox, &["user", "list"]).well().lines().count(), 1002);
}

#[test]
fn deleted_users_are_erased_from_the_file() {
    of_sqlite_only!("it reads the file");
    let sandbox = Sandbox::new(Options::new());
    let id = add(&sandbox, &["unmistakable-email@example.com", "--name", "Unmistakable Name"]);
    run(&sandbox, &["user", "delete", "unmistakable-email@example.com", "--yes"]).well();
    let file = std::fs::read(sandbox.database()).expect("the database");
    for gone in ["unmistakable-email", "Unmistakable Name", "$argon2id$"] {
        assert!(!file.windows(gone.len()).any(|window| window == gone.as_bytes()), "{gone}");
    }
    assert!(file.windows(id.len()).any(|window| window == id.as_bytes()), "the id is kept, so that it stays rejected");
}

#[test]
fn deleted_users_stay_deleted() {
    let sandbox = Sandbox::new(Options::new());
    let id = add(&sandbox, &["unmistakable-email@example.com", "--name", "Unmistakable Name"]);
    run(&sandbox, &["user", "delete", "unmistakable-email@example.com", "--yes"]).well();
    let deleted = &users(&sandbox)[0];
    assert_eq!((&deleted["deleted"], &deleted["disabled"]), (&json!(true), &json!(true)));
    for command in [&["user", "enable", &id][..], &["user", "disable", &id], &["user", "passwd", &id]] {
        run(&sandbox, command).failed(1, "was deleted permanently");
    }
    run(&sandbox, &["user", "delete", &id, "--yes"]).well();
    assert_ne!(add(&sandbox, &["unmistakable-email@example.com"]), id, "the email can be used again");
}

//! `user …` without a server: what is stored, and what is refused.

use super::{PASSWORD, add, login, run, run_with, users};
use crate::common::user::text;
use crate::common::{Client, Options, Place, User, assert_time};
use serde_json::json;

#[test]
fn users_are_added_listed_and_let_in_by_a_server_that_starts_later() {
    let place = Place::new(Options::new());
    let first = run_with(&place, &["user", "add", "Ann@example.com", "--name", "Ann A."], &format!("{PASSWORD}\n"));
    assert!(first.code == Some(0) && first.stderr.contains("note: made the database"), "{first:?}");
    let ann = first.stdout.trim_end();
    assert_eq!((ann.len(), ann.as_bytes()[14]), (36, b'4'), "a random UUID: {ann}");
    assert_eq!(add(&place, &["ben@example.com", "--id", "ben", "--name", "Ben\u{202e}"]), "ben");
    let listed = users(&place);
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
    let table = run(&place, &["user", "list"]).well();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "EMAIL", "NAME", "STATUS", "PASSWORD", "CREATED"]);
    assert_eq!(rows[1][..6], [ann, "Ann@example.com", "Ann", "A.", "enabled", "yes"]);
    let columns: Vec<_> = table.lines().map(|line| line.find("enabled").or(line.find("STATUS"))).collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "{table}");
    assert!(table.contains("Ben\\u{202e}"), "{table}");

    let server = place.serve();
    let answer = login(&mut Client::new(server.addr), "ann@EXAMPLE.com", PASSWORD).expect(200).json();
    assert_eq!(answer["claims"], json!({"oid": ann, "name": "Ann A.", "email": "Ann@example.com"}));
}

#[test]
fn an_email_is_one_users_and_an_id_too() {
    let place = Place::new(Options::new());
    let ann = add(&place, &["ann@example.com"]);
    let refused = |arguments: &[&str], says: &str| {
        let all: Vec<&str> = ["user", "add"].iter().chain(arguments).copied().collect();
        run_with(&place, &all, PASSWORD).failed(1, says);
    };
    refused(&["ANN@example.com"], &ann);
    refused(&["other@example.com", "--id", &ann], "has a password already");
    run(&place, &["user", "disable", "--id", "stranger"]).well();
    refused(&["other@example.com", "--id", "stranger"], "is disabled");
    run(&place, &["user", "delete", "--id", "stranger", "--yes"]).well();
    refused(&["other@example.com", "--id", "stranger"], "was deleted");
    // The email of somebody is the id of another.
    add(&place, &["other@example.com", "--id", "ann@example.com"]);
    run(&place, &["user", "disable", "ann@example.com"]).failed(1, "name the one you mean with --id");
    run(&place, &["user", "disable", "--id", "ann@example.com"]).well();
    let disabled: Vec<bool> = users(&place).iter().map(|user| user["disabled"] == true).collect();
    assert_eq!(disabled, [false, true, true]);
}

#[test]
fn of_several_at_once_one_gets_the_email() {
    let place = Place::new(Options::new());
    let codes: Vec<_> = std::thread::scope(|scope| {
        let adding = || run_with(&place, &["user", "add", "ann@example.com"], PASSWORD);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(adding)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends").code).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(users(&place).len(), 1);
}

#[test]
fn a_user_who_came_by_token_can_get_a_password() {
    let place = Place::new(Options::new());
    let mut server = place.serve();
    User::new(&server, "by-token").say("default", "hello");
    server.stop();
    run_with(&place, &["user", "passwd", "by-token"], PASSWORD).failed(1, "has no password to change");
    assert_eq!(add(&place, &["new@example.com", "--id", "by-token"]), "by-token");
    let user = users(&place).into_iter().find(|user| user["id"] == "by-token").expect("listed");
    assert_eq!((text(&user["email"]), text(&user["name"])), ("new@example.com".into(), "Name of by-token".into()));
    let server = place.serve();
    login(&mut Client::new(server.addr), "new@example.com", PASSWORD).expect(200);
    // The token that came first is still good.
    User::new(&server, "by-token").say("default", "hello");
}

#[test]
fn what_others_chose_moves_nothing_on_a_terminal() {
    let server = Place::new(Options::new()).serve();
    let claims =
        json!({"oid": "id\u{1b}[2J", "name": "two\nlines", "email": "\r\t", "exp": crate::common::token::now() + 60});
    let token = crate::common::token::token_with(claims);
    User::with_token(&server, "x", &token).say("default", "hello");
    let table = run(server.place(), &["user", "list"]).well();
    assert!(!table.contains(['\u{1b}', '\r', '\t']) && table.lines().count() == 3, "{table:?}");
    assert!(table.contains("two\\nlines"), "{table}");
}

#[test]
fn a_list_is_longer_than_what_is_read_at_once() {
    let place = Place::new(Options::new());
    add(&place, &["first@example.com"]);
    let more = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
        INSERT INTO users (oid, name, email, created_at) SELECT 'user-' || i, '', '', i FROM n;
        INSERT INTO users (oid, name, email, created_at) VALUES ('responder:echo', 'echo', '', 0)";
    crate::common::database::open_beside(&place.database()).execute_batch(more).expect("more users");
    let listed = users(&place);
    assert_eq!(listed.len(), 1001, "responders are no users");
    assert!((1..=1000).all(|at| listed[at]["id"] == format!("user-{at}")), "in the order in which they came");
    assert_eq!(run(&place, &["user", "list"]).well().lines().count(), 1002);
}

#[test]
fn what_is_deleted_is_gone_from_the_file() {
    let place = Place::new(Options::new());
    let id = add(&place, &["unmistakable-email@example.com", "--name", "Unmistakable Name"]);
    run(&place, &["user", "delete", "unmistakable-email@example.com", "--yes"]).well();
    let file = std::fs::read(place.database()).expect("the database");
    for gone in ["unmistakable-email", "Unmistakable Name", "$argon2id$"] {
        assert!(!file.windows(gone.len()).any(|window| window == gone.as_bytes()), "{gone}");
    }
    assert!(file.windows(id.len()).any(|window| window == id.as_bytes()), "the id stays, so that it is refused");
    let deleted = &users(&place)[0];
    assert_eq!((&deleted["deleted"], &deleted["disabled"]), (&json!(true), &json!(true)));
    for command in [&["user", "enable", &id][..], &["user", "disable", &id], &["user", "passwd", &id]] {
        run(&place, command).failed(1, "was deleted, which is for good");
    }
    run(&place, &["user", "delete", &id, "--yes"]).well();
    assert_ne!(add(&place, &["unmistakable-email@example.com"]), id, "the email is free for another");
}

//! The command line with a database on a server.

use super::{PASSWORD, ServerDatabase, failed, printed, run_with};
use crate::common::{Client, Server, User, eventually};
use serde_json::{Value, json};

#[test]
fn users_and_tokens_are_managed_while_a_server_runs() {
    let database = ServerDatabase::create("users");
    let sandbox = database.sandbox();
    for arguments in [&["user", "list"][..], &["user", "disable", "--id", "ann"], &["token", "issue", "--id", "ann"]] {
        assert!(failed(&sandbox, arguments, "").contains("it is empty"), "{arguments:?}");
    }
    assert_eq!(database.run("SELECT to_regclass('meta') IS NULL"), "t", "they create no tables");
    printed(&sandbox, &["user", "add", "Ann@example.com", "--id", "ann", "--name", "Ann"], PASSWORD);
    assert!(failed(&sandbox, &["user", "add", "ANN@example.com"], PASSWORD).contains("already logs in"));

    let server = sandbox.serve();
    let login = |password: &str| {
        let body = json!({"email": "ann@EXAMPLE.com", "password": password});
        Client::new(server.addr).request("POST", "/auth/login").json(&body).send().status
    };
    assert_eq!(login(PASSWORD), 200);
    let token = printed(&sandbox, &["token", "issue", "ann@example.com"], "");
    let verify = || Client::new(server.addr).request("GET", "/auth/verify").token(token.trim_end()).send().status;
    assert_eq!(verify(), 200);
    printed(&sandbox, &["user", "passwd", "ann"], "another pass phrase");
    eventually("the older token is rejected", || verify() == 401);
    assert_eq!((login(PASSWORD), login("another pass phrase")), (401, 200));

    let token = printed(&sandbox, &["token", "issue", "ann"], "");
    let mut stream = User::with_token(&server, "ann", token.trim_end()).stream();
    printed(&sandbox, &["user", "disable", "ann"], "");
    stream.until_end();
    assert_eq!(login("another pass phrase"), 401);
    printed(&sandbox, &["user", "enable", "ann"], "");
    eventually("the user can log in again", || login("another pass phrase") == 200);
    printed(&sandbox, &["user", "delete", "ann", "--yes"], "");
    eventually("the deleted user cannot", || login("another pass phrase") == 401);
    let listed = printed(&sandbox, &["user", "list", "--json"], "");
    let users: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect();
    assert!(users.iter().any(|user| user["id"] == "ann" && user["deleted"] == true && user["email"] == ""), "{listed}");
    assert!(printed(&sandbox, &["usage"], "").contains("total"));
}

#[test]
fn no_command_shows_the_password_of_the_database() {
    let database = ServerDatabase::create("secret");
    for address in [
        database.address.replace("postgres@", "postgres:hidden-word@"),
        format!("{}?password=hidden-word", database.address),
        // No server listens there.
        "postgres://postgres:hidden-word@127.0.0.1:1/x".to_owned(),
        "postgres://postgres:hidden-word@127.0.0.1:not-a-port/x".to_owned(),
    ] {
        let sandbox = crate::common::Sandbox::new(database.options().set("DATABASE_URL", address));
        for arguments in [
            &["config", "check"][..],
            &["user", "list"],
            &["verify"],
            &["export"],
            &["import"],
            &["backup", "file"],
            &["restore", "file"],
        ] {
            let output = run_with(&sandbox, arguments, "");
            let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!shown.contains("hidden-word") && !shown.is_empty(), "{arguments:?}: {shown}");
        }
    }
}

#[test]
fn health_asks_the_server_with_these_settings() {
    let database = ServerDatabase::create("health");
    let port = crate::common::port::free_port();
    let server = Server::start(database.options().set("PORT", port));
    assert!(printed(server.sandbox(), &["health"], "").contains("\"ready\""));
}

#[test]
fn files_cannot_be_copied_from_or_to_a_server() {
    let sandbox = ServerDatabase::create("files").sandbox();
    for arguments in [&["backup", "file"][..], &["restore", "file"], &["restore", "--force", "file"]] {
        let said = failed(&sandbox, arguments, "");
        assert!(said.contains("pg_basebackup") && said.contains("point-in-time recovery"), "{said}");
    }
}

#[test]
fn verify_finds_what_is_wrong_on_a_server() {
    let database = ServerDatabase::create("damaged");
    let server = Server::start(database.options());
    let mut user = User::new(&server, "ann");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &["ben"]);
    user.say(&conversation, "hello");
    user.stream_with("last_event_id=0").next_of("output");
    let said = printed(server.sandbox(), &["verify"], "");
    assert!(said.starts_with("ok: ") && said.contains(" 1 workspaces, 1 conversations, 2 messages, "), "{said}");
    let table = [
        ("UPDATE conversation_state SET message_count = 77", "a conversation's counts differ from its messages"),
        ("UPDATE messages SET sender = 999999 WHERE role = 0", "a message has no sender"),
        ("UPDATE messages SET metadata = '[1'", "metadata is not a JSON object: message"),
        ("UPDATE journal_head SET number = 1", "an event is beyond the head of the journal"),
        ("DELETE FROM event_recipients", "an event has no recipients"),
        ("DELETE FROM users WHERE oid = 'ben'", "a row refers to a missing row: participants to users"),
        ("UPDATE journal_stats SET events = 900", "the statistics of the journal differ from its events"),
    ];
    drop(server);
    for (number, (damage, expected)) in table.into_iter().enumerate() {
        let name: &'static str = format!("damaged_{number}").leak();
        database_from(name, "damaged");
        let copy =
            ServerDatabase { name, address: database.address.replace("/damaged", &format!("/{name}")), ..database };
        copy.run(damage);
        let output = run_with(&copy.sandbox(), &["verify"], "");
        let (found, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{damage}: {found}{said}");
        assert!(found.lines().any(|line| line.contains(expected)), "{damage}: {found}{said}");
        assert!(said.contains(&format!("{name}: {} findings", found.lines().count())), "{said}");
    }
}

/// Copies a database that no session uses.
fn database_from(name: &str, template: &str) {
    let server = crate::TestServer::shared();
    eventually("the sessions of the killed server have ended", || {
        server.run(&format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{template}'"), "postgres") == "0"
    });
    server.run(&format!("CREATE DATABASE {name} TEMPLATE {template}"), "postgres");
}

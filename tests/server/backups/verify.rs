//! Verification of sound databases, also of running servers, and of damaged ones.

use super::{ABOUT_A_FILE, failed_with, printed};
use crate::common::database::open_externally;
use crate::common::{Options, Server, User, of_sqlite_only};
use serde_json::json;
use std::fs;

/// A server with data of every kind, and its backup `copy.db`.
fn populated_server() -> Server {
    let server = Server::start(Options::new().set("RESPONDER", "echo"));
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &["v"]);
    user.say(&conversation, "hello");
    let edited = user.start_conversation("c");
    let gone = user.post_message(&edited, "gone soon");
    user.delete(&format!("/conversations/{edited}/messages/{gone}")).expect(200);
    user.put(&format!("/config/conversation/{conversation}"), json!({"metadata": {"responder": "none"}})).expect(200);
    // All answers are complete once this arrives, since answers in a conversation come in order.
    let mut stream = user.stream_with("last_event_id=0");
    stream.next_of("output");
    printed(&server.run(&["backup", "copy.db"]));
    server
}

#[test]
fn a_running_server_and_its_backup_pass_verify() {
    of_sqlite_only!(ABOUT_A_FILE);
    let server = populated_server();
    let said = printed(&server.run(&["verify"]));
    assert!(said.starts_with("ok: ") && said.contains("users, 2 workspaces, 2 conversations, "), "{said}");
    assert_eq!(said.lines().count(), 1);
    let copy = server.file("copy.db");
    let before = fs::read(&copy).expect("a backup");
    assert!(printed(&server.run(&["verify", "copy.db"])).starts_with("ok: "));
    assert_eq!(fs::read(&copy).expect("a backup"), before, "nothing is changed");
    assert!(!server.file("copy.db-wal").exists(), "no other file is left");
}

#[test]
fn verify_names_every_kind_of_damage() {
    of_sqlite_only!(ABOUT_A_FILE);
    let server = populated_server();
    let table = [
        ("UPDATE messages SET conversation = 999999", "a row refers to a missing row: messages to conversations"),
        ("DELETE FROM conversations", "a row refers to a missing row: participants to conversations"),
        ("DELETE FROM users WHERE oid = 'v'", "a row refers to a missing row: participants to users"),
        (
            "INSERT INTO answer_jobs VALUES (999999, 999999, 'echo', NULL, NULL, 0, 1, 1, 1, NULL)",
            "an answer job has no message of a user",
        ),
        (
            "INSERT INTO answer_jobs SELECT number, number, 'echo', NULL, NULL, 0, sender, conversation, 0, NULL FROM messages WHERE role = 0 LIMIT 1",
            "an answer job differs from its message, or is marked wrongly",
        ),
        ("INSERT INTO inbox_open VALUES (1, 999999, 999999, x'')", "has a number beyond its watermark: 999999"),
        (
            "INSERT OR IGNORE INTO conversation_index SELECT conversation, number FROM messages; \
            UPDATE conversation_index_state SET indexed_through = 5; \
            UPDATE inbox_watermark SET flushed_through = 5, flushing_through = 5",
            "lacks a message: ",
        ),
        ("UPDATE inbox_watermark SET flushed_through = 9", "the inbox watermark is inconsistent"),
        ("UPDATE conversation_state SET message_count = 77", "a conversation's counts differ from its messages"),
        ("DELETE FROM conversation_state", "a conversation has no state: conversation"),
        ("UPDATE journal_head SET number = 1", "an event is beyond the head of the journal"),
        ("UPDATE journal_head SET at = 1", "an event is beyond the head of the journal"),
        ("DELETE FROM journal_head", "the order of the journal: cannot be checked"),
        ("UPDATE messages SET created_at = 5", "an event is not later than the one before it"),
        ("INSERT INTO skipped_ranges VALUES (0, 999999, 0)", "an event's number is in a skipped range"),
        ("UPDATE messages SET metadata = '[1'", "metadata is not a JSON object: message"),
        ("UPDATE conversations SET metadata = '{}'", "a conversation's responder differs from its metadata"),
        ("UPDATE messages SET status = 1", "a streaming message is published"),
        ("UPDATE messages SET published_by = 2 WHERE role = 1", "an answer lacks the event that publishes it"),
        ("UPDATE messages SET reply_to = 3", "a message has two answers"),
        ("DELETE FROM answers", "an answer differs from its message, or an answer with text is not recorded"),
        (
            "UPDATE answers SET attempt = 7",
            "the answers to a message are not numbered, or the wrong ones are superseded",
        ),
        (
            "INSERT INTO answer_reasoning SELECT number, 'x' FROM messages WHERE role = 0 LIMIT 1",
            "the reasoning of a message that is not an answer",
        ),
        ("UPDATE journal_stats SET events = 900", "the statistics of the journal differ from its events"),
        ("UPDATE journal_workspaces SET bytes = 9", "a share of the journal differs from its events: workspace"),
        ("UPDATE journal_owners SET events = 9", "a share of the journal differs from its events: user"),
        ("DELETE FROM event_recipients", "an event has no recipients"),
        (
            "UPDATE state_events SET workspace = 999999 WHERE kind = 'workspace_created'",
            "an event has outlived its workspace or conversation: event",
        ),
        (
            "INSERT INTO conversation_index SELECT number, 999999 FROM conversations LIMIT 1",
            "the index by conversation has a row without its message: message 999999",
        ),
        (
            "UPDATE conversation_index_state SET indexed_through = (SELECT number FROM journal_head)",
            "the index by conversation lacks a message",
        ),
        (
            "UPDATE conversation_index_state SET indexed_through = 999999",
            "the index by conversation has a wrong state: event",
        ),
        ("DELETE FROM conversation_index_state", "the index by conversation has a wrong state: event"),
        ("DELETE FROM inbox_watermark", "the inboxes: cannot be checked"),
    ];
    let good = fs::read(server.file("copy.db")).expect("a backup");
    for (damage, expected) in table {
        let file = server.file("damaged.db");
        fs::write(&file, &good).expect("a copy");
        let database = open_externally(&file);
        database.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").expect("settings");
        database.execute_batch(damage).unwrap_or_else(|error| panic!("{damage}: {error}"));
        drop(database);
        let output = server.run(&["verify", "damaged.db"]);
        let said = failed_with(&output, 1);
        let findings = String::from_utf8(output.stdout).expect("text");
        assert!(findings.lines().any(|line| line.contains(expected)), "{damage}:\n{findings}");
        assert!(said.contains(&format!("damaged.db: {} findings", findings.lines().count())), "{said}");
    }
}

/// Every corruption has a result: `ok` if no row uses the bytes, findings, or a one-line error.
#[test]
fn verify_reports_corrupt_files_without_a_panic() {
    of_sqlite_only!(ABOUT_A_FILE);
    let server = populated_server();
    let good = fs::read(server.file("copy.db")).expect("a backup");
    let (mut sound, mut unsound) = (0, 0);
    let mut check = |name: &str, bytes: &[u8]| {
        fs::write(server.file("damaged.db"), bytes).expect("a copy");
        let output = server.run(&["verify", "damaged.db"]);
        match output.status.code() {
            Some(0) => sound += 1,
            _ => {
                failed_with(&output, 1);
                unsound += 1;
            }
        }
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{name}");
    };
    for length in [0, 1, 99, 100, 4095, 4096, good.len() / 2, good.len() - 4096, good.len() - 1] {
        check(&format!("cut at {length}"), &good[..length]);
    }
    let pages = good.len() / 4096;
    for page in 0..pages {
        let mut bytes = good.clone();
        // The header of the page, and bytes in its cells.
        for at in [page * 4096 + if page == 0 { 105 } else { 5 }, page * 4096 + 4000, page * 4096 + 4090] {
            bytes[at] ^= 0x5a;
        }
        check(&format!("page {page}"), &bytes);
    }
    assert!(unsound > pages / 2, "{unsound} of {pages} pages, {sound} sound");
}

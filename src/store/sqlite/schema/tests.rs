use super::*;
use crate::base::time::WallTime;
use crate::domain::id::{EventNumber, UserId};
use crate::domain::token_rules::TokenRule;
use crate::store::admin::integrity;
use crate::store::config::Retention;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::JournalHead;
use crate::store::sql;
use crate::store::sqlite::connection::{Durability, open_reading, open_writing};
use crate::store::tables::conversation_index::{self, ConversationIndex, PageStart};
use crate::store::tables::journal_shares::{self, ShareMeasure};
use crate::store::tables::{idempotency, journal_head, released_users, users};
use crate::store::tests::support::TempDir;
use crate::store::write::purge::{self, PurgeStep};
use crate::store::write::retention::{self, RetentionStep};

#[test]
fn an_older_schema_is_migrated_and_a_newer_one_rejected() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let (mut db, meta) = open_writing(&path, Durability::Full).unwrap();
    let head = JournalHead { number: EventNumber(5), at: WallTime(7), age: AgeTime(9) };
    journal_head::store(&db, head).unwrap();
    let later = ["ALTER TABLE users ADD COLUMN colour TEXT", "CREATE TABLE later (x INTEGER)"];
    let steps = [MIGRATIONS, &later].concat();
    run_steps(db.sqlite_mut(), &path, &steps).unwrap();
    run_steps(db.sqlite_mut(), &path, &steps).unwrap();
    db.sqlite().prepare("SELECT colour, x FROM users, later").unwrap();
    assert_eq!(journal_head::load(&db).unwrap(), head);
    assert_eq!(load_meta(db.sqlite()).unwrap().epoch, meta.epoch, "migration keeps the data");
    drop(db);

    let newer = OpenError::Newer { path: path.clone(), found: version_after(&steps), known: version_after(MIGRATIONS) };
    assert_eq!(open_writing(&path, Durability::Full).err(), Some(newer.clone()));
    assert_eq!(open_reading(&path).err(), Some(newer));
}

/// A database of version 3 with the rows that `rows` inserts, migrated to the present version.
fn migrated_from_version_3(directory: &TempDir, rows: &str) -> sql::SqlConnection {
    let path = directory.file("a.db");
    let mut db = Connection::open(&path).unwrap();
    db.pragma_update(None, "foreign_keys", true).unwrap();
    run_steps(&mut db, &path, &[VERSION_3]).unwrap();
    db.execute_batch(rows).unwrap();
    run_steps(&mut db, &path, MIGRATIONS).unwrap();
    sql::SqlConnection::of_sqlite(db)
}

fn assert_consistent(db: &sql::SqlConnection) {
    let findings = integrity::rows(db, |_, _| {});
    assert!(findings.is_empty(), "{findings:?}");
}

/// A database of version 3, with a user whose tokens were restricted and one whose were not.
#[test]
fn version_4_keeps_restrictions_of_tokens() {
    let directory = TempDir::new();
    let db = migrated_from_version_3(
        &directory,
        "INSERT INTO users (oid, name, email, tokens_since, created_at) VALUES ('a', '', '', 7, 1), ('b', '', '', NULL, 1)",
    );
    let rules = users::token_rules(&db).unwrap();
    let rule = |id| rules.get(&UserId::new_unchecked(id));
    assert_eq!(rule("a"), Some(TokenRule::Since { generation: 7, at: WallTime(7) }));
    assert_eq!(rule("b"), None);
}

/// A database of version 3 with a deleted conversation, whose rows are not purged yet.
#[test]
fn version_5_purges_what_was_deleted_before() {
    let directory = TempDir::new();
    let db = migrated_from_version_3(
        &directory,
        "INSERT INTO users (key, oid, name, email, created_at) VALUES (1, 'a', '', '', 1);
        INSERT INTO workspaces VALUES (1, 1, 'w', 'd', '{}', 1, 1, NULL);
        INSERT INTO conversations VALUES (2, 1, 't', '{}', 2, 5, NULL);
        INSERT INTO conversation_state VALUES (2, 4, 1, 4);
        INSERT INTO messages (number, conversation, sender, role, status, created_at, updated_at, correlation_id,
            metadata, content) VALUES (4, 2, 1, 0, 0, 4, 4, '', '{}', 'x');
        INSERT INTO state_events (number, kind, at, actor, workspace, workspace_at, conversation, conversation_at,
            correlation_id, payload) VALUES (2, 'conversation_created', 2, 1, 1, 1, 2, 2, '', '{}'),
            (3, 'conversation_left', 3, 1, 1, 1, 2, 2, '', '{}'), (5, 'conversation_deleted', 5, 1, 1, 1, 2, 2, '', '{}');
        INSERT INTO event_recipients VALUES (1, 2), (1, 3), (1, 5);
        UPDATE journal_stats SET events = 3, bytes = 3 * (64 + 2 + 16);
        UPDATE journal_head SET number = 5, at = 5;",
    );
    while purge::step(&db, AgeTime(10)).unwrap() == PurgeStep::More {}
    let left = db.query_row("SELECT group_concat(number) FROM state_events", [], |row| row.get::<String>(0));
    assert_eq!(left.unwrap(), "3,5", "tombstones are kept");
    assert_consistent(&db);
}

/// A database of version 3 with a participant, a former participant, a sender, an owner, and a user with a rule.
#[test]
fn version_6_removes_users_whom_nothing_names() {
    let directory = TempDir::new();
    let db = migrated_from_version_3(
        &directory,
        "INSERT INTO users (key, oid, name, email, created_at, removed_through) VALUES (1, 'owner', '', '', 1, 0),
            (2, 'sender', '', '', 1, 0), (3, 'participant', '', '', 1, 0), (4, 'former', '', '', 1, 3);
        INSERT INTO users (key, oid, name, email, created_at, tokens_since) VALUES (5, 'rule', '', '', 1, 1);
        INSERT INTO workspaces VALUES (1, 1, 'w', 'd', '{}', 1, 1, NULL);
        INSERT INTO conversations VALUES (2, 1, 't', '{}', 2, NULL, NULL);
        INSERT INTO conversation_state VALUES (2, 4, 1, 4);
        INSERT INTO participants VALUES (2, 3, 2, 0);
        INSERT INTO messages (number, conversation, sender, role, status, created_at, updated_at, correlation_id,
            metadata, content) VALUES (4, 2, 2, 0, 0, 4, 4, '', '{}', 'x');
        UPDATE journal_head SET number = 4, at = 4;",
    );
    let (removed, has_more) = released_users::remove(&db, 10, 10).unwrap();
    assert_eq!(removed.iter().map(|user| user.id.as_str()).collect::<Vec<_>>(), ["former"]);
    assert!(!has_more);
    let former = UserId::new_unchecked("former");
    assert_eq!(released_users::removed_through(&db, &former).unwrap(), EventNumber(3));
    assert_eq!(db.query_row("SELECT count(*) FROM released_users", [], |row| row.get::<i64>(0)).unwrap(), 0);
    assert!(users::find(&db, &UserId::new_unchecked("participant")).unwrap().unwrap().only_named);
    // The other connections use the new text of the tables as well.
    drop(db);
    let (db, _) = open_writing(&directory.file("a.db"), Durability::Full).unwrap();
    let references = "SELECT count(*) FROM pragma_foreign_key_list(?1) WHERE \"table\" = 'users'";
    for table in ["messages", "state_events"] {
        assert_eq!(db.query_row(references, [table], |row| row.get::<i64>(0)).unwrap(), 0, "{table}");
    }
    assert_eq!(db.query_row("PRAGMA integrity_check", [], |row| row.get::<String>(0)).unwrap(), "ok");
    assert_consistent(&db);
}

/// A database of version 3 with events of two workspaces, one of which is purged.
#[test]
fn version_7_counts_the_shares_of_the_journal() {
    let directory = TempDir::new();
    let db = migrated_from_version_3(
        &directory,
        "INSERT INTO users (key, oid, name, email, created_at) VALUES (1, 'a', '', '', 1), (2, 'b', '', '', 1);
        INSERT INTO workspaces VALUES (1, 1, 'w', 'd', '{}', 1, 1, NULL);
        INSERT INTO state_events (number, kind, at, actor, workspace, workspace_at, correlation_id, payload) VALUES
            (1, 'workspace_created', 1, 1, 1, 1, 'abc', '{}'), (2, 'workspace_updated', 2, 1, 1, 1, '', '{}'),
            (4, 'workspace_deleted', 4, 1, 3, 3, '', '{}');
        INSERT INTO event_recipients VALUES (1, 1), (1, 2), (1, 4), (2, 4);
        UPDATE journal_stats SET events = 3, bytes = 3 * (64 + 2) + 3 + 4 * 16;
        UPDATE journal_head SET number = 4, at = 4;",
    );
    let shares =
        "SELECT group_concat(workspace || ':' || owner || ':' || events || ':' || bytes, ' ') FROM journal_workspaces";
    let shares: String = db.query_row(shares, [], |row| row.get(0)).unwrap();
    assert_eq!(shares, format!("1:1:2:{} 3:0:1:{}", 2 * (66 + 16) + 3, 66 + 2 * 16));
    assert_eq!(journal_shares::largest(&db, ShareMeasure::Bytes).unwrap(), Some(EventNumber(1)));
    assert_consistent(&db);
}

/// A database of version 3, at whose last commit the wall clock was ahead.
#[test]
fn version_8_makes_nothing_older() {
    let directory = TempDir::new();
    let db = migrated_from_version_3(
        &directory,
        "INSERT INTO users (key, oid, name, email, created_at) VALUES (1, 'a', '', '', 1);
        INSERT INTO workspaces VALUES (1, 1, 'w', 'd', '{}', 1, 1, NULL);
        INSERT INTO state_events (number, kind, at, actor, workspace, workspace_at, correlation_id, payload)
            VALUES (1, 'workspace_created', 1, 1, 1, 1, '', '{}');
        INSERT INTO event_recipients VALUES (1, 1);
        INSERT INTO idempotency (user, key, fingerprint, at, body) VALUES (1, 'k', zeroblob(32), 1, x'');
        UPDATE journal_stats SET events = 1, bytes = 64 + 2 + 16;
        UPDATE journal_head SET number = 1, at = 9000000000000000000;",
    );
    let head = journal_head::load(&db).unwrap();
    assert_eq!((head.number, head.age), (EventNumber(1), AgeTime(0)));
    let (day, week) = (AgeTime(86_399_000_000), AgeTime(7 * 86_400_000_000 - 1));
    assert!(idempotency::find(&db, 1, "k", day).unwrap().is_some());
    assert_eq!(retention::step(&db, &Retention::default(), week).unwrap(), RetentionStep::Done);
    assert_consistent(&db);
}

/// A database of version 3, in which the second of two jobs of a conversation waits for the first.
#[test]
fn version_9_marks_the_first_job_of_each_conversation() {
    let directory = TempDir::new();
    let db = migrated_from_version_3(
        &directory,
        "INSERT INTO users (key, oid, name, email, created_at) VALUES (1, 'a', '', '', 1), (2, 'b', '', '', 1);
        INSERT INTO workspaces VALUES (1, 1, 'w', 'd', '{}', 1, 1, NULL);
        INSERT INTO conversations VALUES (2, 1, 't', '{}', 2, NULL, NULL), (3, 1, 't', '{}', 3, NULL, NULL);
        INSERT INTO conversation_state VALUES (2, 5, 2, 5), (3, 6, 1, 6);
        INSERT INTO messages (number, conversation, sender, role, status, created_at, updated_at, correlation_id,
            metadata, content) VALUES (4, 2, 2, 0, 0, 4, 4, '', '{}', 'x'), (5, 2, 1, 0, 0, 5, 5, '', '{}', 'x'),
            (6, 3, 1, 0, 0, 6, 6, '', '{}', 'x');
        INSERT INTO answer_jobs (message, responder) VALUES (4, 'echo'), (5, 'echo'), (6, 'openai');
        UPDATE journal_head SET number = 6, at = 6;",
    );
    let mut statement =
        db.prepare_cached("SELECT message, user, conversation, is_first FROM answer_jobs ORDER BY number").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    let rows: Vec<(i64, i64, i64, bool)> = rows.collect::<sql::SqlResult<_>>().unwrap();
    assert_eq!(rows, [(4, 2, 2, true), (5, 1, 2, false), (6, 1, 3, true)]);
}

/// A database of version 3 with a finished, a failed, a running and a queued answer.
#[test]
fn version_11_keeps_answers_and_open_jobs() {
    let directory = TempDir::new();
    let db = migrated_from_version_3(
        &directory,
        "INSERT INTO users (key, oid, name, email, created_at) VALUES (1, 'a', '', '', 1),
            (2, 'responder:openai', '', '', 1);
        INSERT INTO workspaces VALUES (1, 1, 'w', 'd', '{}', 1, 1, NULL);
        INSERT INTO conversations VALUES (2, 1, 't', '{}', 2, NULL, NULL);
        INSERT INTO conversation_state VALUES (2, 9, 7, 9);
        INSERT INTO messages (number, conversation, sender, role, status, reply_to, published_by, created_at, updated_at,
            correlation_id, metadata, content) VALUES (3, 2, 1, 0, 0, NULL, 0, 3, 3, '', '{}', 'x'),
            (4, 2, 2, 1, 0, 3, 0, 4, 4, '', '{}', 'x'), (5, 2, 1, 0, 0, NULL, 0, 5, 5, '', '{}', 'x'),
            (6, 2, 2, 1, 4, 5, 0, 6, 6, '', '{}', 'x'), (7, 2, 1, 0, 0, NULL, 0, 7, 7, '', '{}', 'x'),
            (8, 2, 2, 1, 1, 7, NULL, 8, 8, '', '{}', 'x'), (9, 2, 1, 0, 0, NULL, 0, 9, 9, '', '{}', 'x');
        INSERT INTO answer_jobs (message, responder, answer) VALUES (7, 'openai', 8), (9, 'openai', NULL);
        UPDATE journal_head SET number = 9, at = 9;",
    );
    let rows = |query: &str| -> String { db.query_row(query, [], |row| row.get(0)).unwrap() };
    let jobs =
        "SELECT group_concat(number || ':' || message || ':' || is_begun || ':' || coalesce(answer_at, '-'), ' ')
        FROM answer_jobs";
    assert_eq!(rows(jobs), "7:7:1:8 9:9:0:-");
    let answers = "SELECT group_concat(asked || ':' || attempt || ':' || status || ':' || answer || ':' ||
        coalesce(error, '-'), ' ') FROM answers";
    assert_eq!(rows(answers), "3:1:0:4:- 5:1:4:6:the answer failed");
    assert_consistent(&db);
}

/// A database of version 3 with messages of two conversations.
#[test]
fn version_14_keeps_the_messages_of_conversations() {
    let directory = TempDir::new();
    let db = migrated_from_version_3(
        &directory,
        "INSERT INTO users (key, oid, name, email, created_at) VALUES (1, 'a', '', '', 1);
        INSERT INTO workspaces VALUES (1, 1, 'w', 'd', '{}', 1, 1, NULL);
        INSERT INTO conversations VALUES (2, 1, 't', '{}', 2, NULL, NULL), (3, 1, 't', '{}', 3, NULL, NULL);
        INSERT INTO conversation_state VALUES (2, 7, 2, 7), (3, 5, 2, 5);
        INSERT INTO messages (number, conversation, sender, role, status, created_at, updated_at, correlation_id,
            metadata, content) VALUES (4, 3, 1, 0, 0, 4, 4, '', '{}', 'x'), (5, 3, 1, 0, 0, 5, 5, '', '{}', 'x'),
            (6, 2, 1, 0, 0, 6, 6, '', '{}', 'x'), (7, 2, 1, 0, 0, 7, 7, '', '{}', 'x');
        UPDATE journal_head SET number = 8, at = 8;",
    );
    assert_eq!(conversation_index::indexed_through(&db).unwrap(), EventNumber(8));
    let index = ConversationIndex::read(&db).unwrap();
    let numbers = |conversation| index.numbers(EventNumber(conversation), PageStart::End, 9).unwrap();
    assert_eq!(numbers(2), [EventNumber(7), EventNumber(6)]);
    assert_eq!(numbers(3), [EventNumber(5), EventNumber(4)]);
    let references = "SELECT group_concat(\"table\") FROM pragma_foreign_key_list('messages')";
    assert_eq!(db.query_row(references, [], |row| row.get::<Option<String>>(0)).unwrap(), None);
    assert_eq!(db.query_row("PRAGMA integrity_check", [], |row| row.get::<String>(0)).unwrap(), "ok");
    assert_consistent(&db);
}

#[test]
fn a_database_of_an_unreleased_version_is_rejected_unchanged() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let (db, _) = open_writing(&path, Durability::Full).unwrap();
    db.sqlite().pragma_update(None, "user_version", FIRST_VERSION - 1).unwrap();
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    let unreleased = OpenError::Unreleased { path: path.clone(), found: 2 };
    assert!(unreleased.to_string().contains("unreleased version"), "{unreleased}");
    assert_eq!(open_writing(&path, Durability::Full).err(), Some(unreleased.clone()));
    assert_eq!(open_reading(&path).err(), Some(unreleased));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let (mut db, _) = open_writing(&path, Durability::Full).unwrap();
    let error =
        run_steps(db.sqlite_mut(), &path, &[MIGRATIONS, &["CREATE TABLE one (x)", "CREATE TABLE one (x)"]].concat())
            .unwrap_err();
    assert!(matches!(error, OpenError::Failed { .. }), "{error}");
    assert!(db.sqlite().prepare("SELECT x FROM one").is_err());
    drop(db);
    open_writing(&path, Durability::Full).unwrap();
}

//! The tables, how a connection is set up, and the few values that a database has once.
//!
//! The key of a workspace, a conversation and a message is the number of the event that made it, so no UUID is stored
//! and none is indexed. A message is its own journal entry; only the other events have rows of their own. What changes
//! with every message stands in narrow tables.

use crate::base::limits::*;
use crate::base::random::fill_secret;
use crate::base::time::WallTime;
use crate::domain::id::{EventNumber, IdKey};
use crate::store::{Database, OpenError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// One step per schema version: the first makes version 1 of nothing.
const MIGRATIONS: &[&str] = &[VERSION_1];

/// "Crtx", so that `file` and we can tell our databases from others.
const APPLICATION_ID: i64 = 0x4372_7478;

/// Statements that one connection keeps prepared; more than it has.
const STATEMENTS_MAX: usize = 128;

/// How often somebody who changes something beside a writer tries to begin, with a millisecond or more between.
const BESIDE_TRIES_MAX: i32 = 10_000;

/// What the write-ahead log is cut to after a checkpoint that emptied it: as much as it may grow to, twice.
const WAL_BYTES_MAX: i64 = 4096 * WAL_FRAMES_MAX as i64;

// Numbers in `deleted`, `default_*`, `reply_to`, `published_by`, `orders.answer` and `events.message` refer to nothing by
// contract: what they name may be purged. `published_by` is 0 for a message that is its own journal entry, NULL for one
// that is not published yet, and else the event that published it. What `users.disabled` says stands in `users.rs`.
const VERSION_1: &str = "
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    id_key BLOB NOT NULL,
    epoch BLOB NOT NULL,
    signing_key BLOB NOT NULL
);
CREATE TABLE position (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL,
    at INTEGER NOT NULL
);
INSERT INTO position (id, number, at) VALUES (1, 0, 0);
CREATE TABLE restores (
    after INTEGER PRIMARY KEY,
    through INTEGER NOT NULL,
    at INTEGER NOT NULL
);

CREATE TABLE users (
    key INTEGER PRIMARY KEY,
    oid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    password TEXT,
    disabled INTEGER NOT NULL DEFAULT 0,
    tokens_since INTEGER,
    default_workspace INTEGER,
    default_conversation INTEGER,
    removed_through INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX users_login ON users (email COLLATE NOCASE) WHERE password IS NOT NULL;
CREATE INDEX users_gates ON users (key) WHERE disabled <> 0 OR tokens_since IS NOT NULL;

CREATE TABLE workspaces (
    number INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL REFERENCES users (key),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted INTEGER
);
CREATE INDEX workspaces_owner ON workspaces (owner, deleted);
CREATE INDEX workspaces_deleted ON workspaces (deleted) WHERE deleted IS NOT NULL;

CREATE TABLE conversations (
    number INTEGER PRIMARY KEY,
    workspace INTEGER NOT NULL REFERENCES workspaces (number),
    topic TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    deleted INTEGER,
    responder TEXT
);
CREATE INDEX conversations_workspace ON conversations (workspace, deleted);
CREATE INDEX conversations_deleted ON conversations (deleted) WHERE deleted IS NOT NULL;
CREATE TABLE conversation_state (
    conversation INTEGER PRIMARY KEY REFERENCES conversations (number),
    updated_at INTEGER NOT NULL,
    message_count INTEGER NOT NULL,
    last_number INTEGER NOT NULL
);
CREATE TABLE participants (
    conversation INTEGER NOT NULL REFERENCES conversations (number),
    user INTEGER NOT NULL REFERENCES users (key),
    since INTEGER NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (conversation, user)
) WITHOUT ROWID;
CREATE INDEX participants_user ON participants (user, conversation, since);

CREATE TABLE messages (
    number INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (number),
    sender INTEGER NOT NULL REFERENCES users (key),
    role INTEGER NOT NULL,
    status INTEGER NOT NULL,
    reply_to INTEGER,
    published_by INTEGER DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    metadata TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE INDEX messages_conversation ON messages (conversation);
CREATE TABLE orders (
    message INTEGER PRIMARY KEY REFERENCES messages (number),
    responder TEXT NOT NULL,
    answer INTEGER
);

CREATE TABLE inbox (
    user INTEGER NOT NULL REFERENCES users (key),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    deltas BLOB NOT NULL,
    PRIMARY KEY (user, first)
) WITHOUT ROWID;
CREATE TABLE inbox_open (
    user INTEGER PRIMARY KEY REFERENCES users (key),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    deltas BLOB NOT NULL
);
CREATE TABLE inbox_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    flushed_through INTEGER NOT NULL,
    flushing_through INTEGER NOT NULL,
    users_below INTEGER NOT NULL
);
INSERT INTO inbox_state (id, flushed_through, flushing_through, users_below) VALUES (1, 0, 0, 0);

CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor INTEGER NOT NULL REFERENCES users (key),
    workspace INTEGER NOT NULL,
    workspace_at INTEGER NOT NULL,
    conversation INTEGER,
    conversation_at INTEGER,
    message INTEGER,
    message_at INTEGER,
    correlation_id TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX events_conversation ON events (conversation) WHERE conversation IS NOT NULL;
CREATE INDEX events_expiring ON events (number) WHERE kind <> 'output';
CREATE INDEX events_workspace ON events (workspace) WHERE conversation IS NULL;
CREATE TABLE event_recipients (
    user INTEGER NOT NULL REFERENCES users (key),
    number INTEGER NOT NULL REFERENCES events (number),
    PRIMARY KEY (user, number)
) WITHOUT ROWID;
CREATE INDEX event_recipients_number ON event_recipients (number);

CREATE TABLE journal_stats (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
INSERT INTO journal_stats (id, events, bytes) VALUES (1, 0, 0);

CREATE TABLE idempotency (
    id INTEGER PRIMARY KEY,
    user INTEGER NOT NULL REFERENCES users (key),
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    number INTEGER,
    at INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (user, key)
);
CREATE INDEX idempotency_at ON idempotency (at);
";

/// What a database has once. Nothing of it changes while the database is open.
#[derive(Clone)]
pub(crate) struct Meta {
    /// Turns numbers into UUIDs.
    pub ids: IdKey,
    /// Names this journal.
    pub epoch: Uuid,
    /// Development's key for tokens.
    pub signing_key: [u8; 32],
}

/// Opens a database for writing, and makes or migrates its schema.
pub(crate) fn open_writing(database: &Database) -> Result<(Connection, Meta), OpenError> {
    let path = path_of(database);
    let connection = match database {
        Database::Memory => Connection::open_in_memory(),
        Database::File(file) => {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
            Connection::open_with_flags(file, flags)
        }
    };
    let mut db = connection.map_err(|error| OpenError::of(&path, &error))?;
    let failed = |error: rusqlite::Error| OpenError::of(&path, &error);
    db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS)).map_err(failed)?;
    // The version is looked at before anything is changed, so that a refused database stays as it was.
    check_version(&db, &path, MIGRATIONS.len() as i64)?;
    set_up_writing(&db).map_err(failed)?;
    migrate(&mut db, &path, MIGRATIONS)?;
    let meta = load_meta(&db).map_err(failed)?;
    Ok((db, meta))
}

/// Opens a database for a few changes beside whoever writes to it; `None` if its schema is older than ours.
pub(crate) fn open_beside(file: &Path) -> Result<Option<(Connection, Meta)>, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(file, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let mut db = Connection::open_with_flags(file, flags).map_err(failed)?;
    // A busy writer rests for less than SQLite's own handler sleeps between two tries.
    db.busy_handler(Some(|tries| {
        std::thread::sleep(Duration::from_millis(1));
        tries < BESIDE_TRIES_MAX
    }))
    .map_err(failed)?;
    if check_version(&db, file, MIGRATIONS.len() as i64)? < MIGRATIONS.len() as i64 {
        return Ok(None);
    }
    set_up_writing(&db).map_err(failed)?;
    // Only the server carries the log over, because only it knows when it must not (`wal.rs`).
    db.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(())).map_err(failed)?;
    let meta = load_meta(&db).map_err(failed)?;
    Ok(Some((db, meta)))
}

/// Opens a database for reading; a writer has made it.
pub(crate) fn open_reading(database: &Database) -> Result<(Connection, Meta), OpenError> {
    let path = path_of(database);
    let Database::File(file) = database else {
        let reason = "a database in memory has no second connection".to_owned();
        return Err(OpenError::CannotOpen { path, reason });
    };
    let failed = |error: rusqlite::Error| OpenError::of(&path, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let db = Connection::open_with_flags(file, flags).map_err(failed)?;
    db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS)).map_err(failed)?;
    if check_version(&db, &path, MIGRATIONS.len() as i64)? == 0 {
        return Err(OpenError::CannotOpen { path, reason: "there is nothing in it".into() });
    }
    keep_statements(&db).map_err(failed)?;
    db.pragma_update(None, "query_only", true).map_err(failed)?;
    let meta = load_meta(&db).map_err(failed)?;
    Ok((db, meta))
}

/// The newest number and time that the journal has given out.
pub(crate) fn position(db: &Connection) -> rusqlite::Result<(EventNumber, WallTime)> {
    db.prepare_cached(POSITION)?.query_row([], |row| Ok((number(row.get(0)?), WallTime(row.get(1)?))))
}

/// Stores the newest number and time.
pub(crate) fn set_position(db: &Connection, newest: EventNumber, at: WallTime) -> rusqlite::Result<()> {
    db.prepare_cached(SET_POSITION)?.execute(params![sql(newest), at.0]).map(drop)
}

pub(crate) const POSITION: &str = "SELECT number, at FROM position WHERE id = 1";
pub(crate) const SET_POSITION: &str = "UPDATE position SET number = ?1, at = ?2 WHERE id = 1";

/// A number as SQLite stores it; `IdKey` keeps them far below the sign bit.
pub(crate) fn sql(number: EventNumber) -> i64 {
    number.0 as i64
}

/// A number as SQLite stored it.
pub(crate) fn number(raw: i64) -> EventNumber {
    EventNumber(raw as u64)
}

/// The path that messages about a database name.
pub(crate) fn path_of(database: &Database) -> PathBuf {
    match database {
        Database::Memory => PathBuf::from(":memory:"),
        Database::File(path) => path.clone(),
    }
}

/// Has statements prepared once. Without the second setting SQLite prepares a statement with a `LIMIT ?` or a range again
/// whenever its parameters are bound, in the hope of a better plan, which takes longer than to run it.
fn keep_statements(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn set_up_writing(db: &Connection) -> rusqlite::Result<()> {
    keep_statements(db)?;
    db.pragma_update(None, "page_size", 4096)?;
    // Setting the journal mode answers with the mode, so it is a query; in memory the answer is "memory".
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.query_row(&format!("PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_FRAMES}"), [], |_| Ok(()))?;
    db.query_row(&format!("PRAGMA journal_size_limit = {WAL_BYTES_MAX}"), [], |_| Ok(()))
}

/// The schema version of a database of ours; 0 if there is nothing in it yet.
fn check_version(db: &Connection, path: &Path, known: i64) -> Result<i64, OpenError> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables = || db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
    let found = (|| Ok((pragma("user_version")?, pragma("application_id")?, tables()?)))()
        .map_err(|error| OpenError::of(path, &error))?;
    match found {
        (0, 0, 0) => Ok(0),
        (_, application, _) if application != APPLICATION_ID => Err(OpenError::Foreign(path.to_path_buf())),
        (found, ..) if found > known => Err(OpenError::Newer { path: path.to_path_buf(), found, known }),
        (found, ..) => Ok(found),
    }
}

/// Brings the schema to the version of the last step, in one transaction.
fn migrate(db: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(path, &error);
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    // Looked at again, now that nobody else can change it.
    let found = check_version(&transaction, path, steps.len() as i64)?;
    if found == steps.len() as i64 {
        return Ok(());
    }
    for step in &steps[found as usize..] {
        transaction.execute_batch(step).map_err(failed)?;
    }
    if found == 0 {
        create_meta(&transaction).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", steps.len() as i64).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn create_meta(db: &Connection) -> rusqlite::Result<()> {
    let (mut id_key, mut signing_key) = ([0; 16], [0; 32]);
    fill_secret(&mut id_key);
    fill_secret(&mut signing_key);
    let epoch = new_epoch();
    db.execute(
        "INSERT INTO meta (id, id_key, epoch, signing_key) VALUES (1, ?1, ?2, ?3)",
        params![id_key, epoch.as_bytes(), signing_key],
    )
    .map(drop)
}

/// A name for a journal, which no other has.
pub(crate) fn new_epoch() -> Uuid {
    let mut random = [0; 16];
    fill_secret(&mut random);
    uuid::Builder::from_random_bytes(random).into_uuid()
}

fn load_meta(db: &Connection) -> rusqlite::Result<Meta> {
    db.query_row("SELECT id_key, epoch, signing_key FROM meta WHERE id = 1", [], |row| {
        Ok(Meta { ids: IdKey::new(row.get(0)?), epoch: Uuid::from_bytes(row.get(1)?), signing_key: row.get(2)? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::support::TempDir;

    #[test]
    fn an_older_schema_is_migrated_and_a_newer_one_refused() {
        let directory = TempDir::new();
        let path = directory.file("a.db");
        let (mut db, meta) = open_writing(&Database::File(path.clone())).unwrap();
        set_position(&db, EventNumber(5), WallTime(7)).unwrap();
        let steps = [VERSION_1, "ALTER TABLE users ADD COLUMN colour TEXT", "CREATE TABLE later (x INTEGER)"];
        migrate(&mut db, &path, &steps).unwrap();
        migrate(&mut db, &path, &steps).unwrap();
        db.prepare("SELECT colour, x FROM users, later").unwrap();
        assert_eq!(position(&db).unwrap(), (EventNumber(5), WallTime(7)));
        assert_eq!(load_meta(&db).unwrap().epoch, meta.epoch, "what was there stays");
        drop(db);

        let newer = OpenError::Newer { path: path.clone(), found: 3, known: 1 };
        assert_eq!(open_writing(&Database::File(path.clone())).err(), Some(newer.clone()));
        assert_eq!(open_reading(&Database::File(path)).err(), Some(newer));
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let directory = TempDir::new();
        let path = directory.file("a.db");
        let (mut db, _) = open_writing(&Database::File(path.clone())).unwrap();
        let error = migrate(&mut db, &path, &[VERSION_1, "CREATE TABLE one (x)", "CREATE TABLE one (x)"]).unwrap_err();
        assert!(matches!(error, OpenError::Failed { .. }), "{error}");
        assert!(db.prepare("SELECT x FROM one").is_err());
        drop(db);
        open_writing(&Database::File(path)).unwrap();
    }

    #[test]
    fn the_connection_is_durable_and_checks_keys() {
        let directory = TempDir::new();
        let (db, _) = open_writing(&Database::File(directory.file("a.db"))).unwrap();
        let table = [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("foreign_keys", "1"),
            ("page_size", "4096"),
            ("wal_autocheckpoint", "4000"),
            ("journal_size_limit", "32768000"),
        ];
        for (name, expected) in table {
            let value: rusqlite::types::Value = db.pragma_query_value(None, name, |row| row.get(0)).unwrap();
            let value = match value {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => panic!("{other:?}"),
            };
            assert_eq!(value, expected, "{name}");
        }
    }
}

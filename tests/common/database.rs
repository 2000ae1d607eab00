//! Direct access to the database of a server: to its file or, with `CORTEX_TEST_ENGINE=postgres`, to the database on the tests'
//! PostgreSQL server that stands for this file.

#[cfg(feature = "cluster")]
use super::postgres;
use rusqlite::{Connection, OpenFlags};
use std::io::Write;
use std::path::Path;

/// Whether the tests run on a PostgreSQL server.
pub fn is_on_server() -> bool {
    #[cfg(feature = "cluster")]
    return postgres::is_selected();
    #[cfg(not(feature = "cluster"))]
    false
}

/// Ends a test of what only a database in a file has, if the tests run on a PostgreSQL server. It prints the reason.
macro_rules! of_sqlite_only {
    ($reason:expr) => {
        if crate::common::database::is_on_server() {
            return crate::common::database::note_left_out($reason);
        }
    };
}
pub(crate) use of_sqlite_only;

/// Prints that the running test is left out. Unlike `eprintln`, this is also shown for a test that passes.
pub fn note_left_out(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: of SQLite only: {reason}\n", thread.name().unwrap_or("a test"));
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

/// The address of a database, as in `DATABASE_URL`.
pub fn address_of(path: &Path) -> String {
    #[cfg(feature = "cluster")]
    if is_on_server() {
        return postgres::address_of(path);
    }
    format!("sqlite:///{}", path.display())
}

/// Removes a database that nothing uses, if there is one.
pub fn remove(path: &Path) {
    #[cfg(feature = "cluster")]
    postgres::remove_for(path);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

/// An SQL expression for another one, as the program stores text.
pub fn stored_text(expression: &str) -> String {
    if is_on_server() { format!("convert_to(({expression})::text, 'UTF8')") } else { expression.to_owned() }
}

/// The content of all messages, ordered by number, after an integrity check of the file.
///
/// Works after a crash and next to a running server.
pub fn sound_message_contents(path: &Path) -> Vec<String> {
    #[cfg(feature = "cluster")]
    if is_on_server() {
        let json = postgres::run_for(
            path,
            "SELECT coalesce(json_agg(convert_from(content, 'UTF8') ORDER BY number), '[]') FROM messages",
        );
        return serde_json::from_str(&json).expect("a list of texts");
    }
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens");
    let outcome: String =
        database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("the integrity check runs");
    assert_eq!(outcome, "ok");
    let dangling = database
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut check| check.query([]).and_then(|mut rows| rows.next().map(|row| row.is_some())))
        .expect("the foreign key check runs");
    assert!(!dangling, "every reference resolves");
    let mut statement = database.prepare("SELECT content FROM messages ORDER BY number").expect("there are messages");
    let rows = statement.query_map([], |row| row.get(0)).expect("messages can be read");
    rows.map(|content| content.expect("content is text")).collect()
}

/// Adds messages `0`, `1`, … from the existing sender to a conversation with one message, while no server runs.
pub fn add_messages(path: &Path, count: u32) {
    let content = stored_text("n");
    execute(
        path,
        &format!(
            "BEGIN;
            INSERT INTO messages (number, conversation, sender, role, status, created_at, updated_at, correlation_id,
                metadata, content)
            WITH RECURSIVE added (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM added WHERE n + 1 < {count})
            SELECT journal_head.number + 1 + n, first.conversation, first.sender, 0, 0, journal_head.at + 1 + n,
                journal_head.at + 1 + n, 'added', '{{}}', {content}
            FROM added, journal_head,
                (SELECT conversation, sender FROM messages ORDER BY number DESC LIMIT 1) AS first;
            UPDATE journal_head SET number = number + {count}, at = at + {count};
            UPDATE conversation_state SET message_count = message_count + {count},
                updated_at = (SELECT at FROM journal_head), last_number = (SELECT number FROM journal_head)
            WHERE conversation = (SELECT conversation FROM messages ORDER BY number DESC LIMIT 1);
            COMMIT;"
        ),
    );
}

/// The number that a query finds.
#[track_caller]
pub fn number(path: &Path, query: &str) -> i64 {
    #[cfg(feature = "cluster")]
    if is_on_server() {
        return postgres::run_for(path, query).parse().expect("a number");
    }
    open_externally(path).query_row(query, [], |row| row.get(0)).expect("a number")
}

/// Executes statements, as another program could.
#[track_caller]
pub fn execute(path: &Path, statements: &str) {
    #[cfg(feature = "cluster")]
    if is_on_server() {
        postgres::run_for(path, statements);
        return;
    }
    open_externally(path).execute_batch(statements).expect("the statements succeed");
}

/// While it exists, a program starts in production: a server, unlike a file, may lose what it has committed.
pub struct Durability {
    #[cfg(feature = "cluster")]
    _server: Option<postgres::Durability>,
}

impl Durability {
    /// Makes the tests' PostgreSQL server durable, if the tests run on it.
    pub fn begin() -> Durability {
        Durability {
            #[cfg(feature = "cluster")]
            _server: is_on_server().then(postgres::Durability::begin),
        }
    }
}

/// Keeps others from changing the database until it is dropped. They can read.
pub enum Lock {
    File(Connection),
    #[cfg(feature = "cluster")]
    Server(postgres::Session),
}

impl Lock {
    /// Takes the lock.
    #[track_caller]
    pub fn take(path: &Path) -> Lock {
        #[cfg(feature = "cluster")]
        if is_on_server() {
            return Lock::Server(postgres::Session::with(path, "BEGIN; LOCK TABLE journal_head IN EXCLUSIVE MODE;"));
        }
        let database = open_externally(path);
        database.execute_batch("BEGIN IMMEDIATE").expect("the database can be locked");
        Lock::File(database)
    }
}

/// Opens the file for writing, as another program could.
pub fn open_externally(path: &Path) -> Connection {
    Connection::open(path).expect("the database opens")
}

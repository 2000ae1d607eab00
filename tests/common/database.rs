//! Direct access to the database file. Only this module depends on its tables.

use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// The content of all messages, ordered by number, after an integrity check of the file.
///
/// Opens the file read-only, so it works after a crash and next to a running server.
pub fn sound_message_contents(path: &Path) -> Vec<String> {
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
    let database = Connection::open(path).expect("the database opens");
    let statements = format!(
        "BEGIN;
        INSERT INTO messages (number, conversation, sender, role, status, created_at, updated_at, correlation_id,
            metadata, content)
        WITH RECURSIVE added (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM added WHERE n + 1 < {count})
        SELECT journal_head.number + 1 + n, first.conversation, first.sender, 0, 0, journal_head.at + 1 + n,
            journal_head.at + 1 + n, 'added', '{{}}', n
        FROM added, journal_head, (SELECT conversation, sender FROM messages ORDER BY number DESC LIMIT 1) AS first;
        UPDATE journal_head SET number = number + {count}, at = at + {count};
        UPDATE conversation_state SET message_count = message_count + {count}, updated_at = (SELECT at FROM journal_head),
            last_number = (SELECT number FROM journal_head)
        WHERE conversation = (SELECT conversation FROM messages ORDER BY number DESC LIMIT 1);
        COMMIT;"
    );
    database.execute_batch(&statements).expect("messages can be added");
}

/// Opens the file for writing, as another program could.
pub fn open_externally(path: &Path) -> Connection {
    Connection::open(path).expect("the database opens")
}

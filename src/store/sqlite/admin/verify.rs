//! Looks through a whole database, also beside a running server, and says what is wrong with it.

use crate::domain::id::EventNumber;
use crate::store::sqlite::admin::integrity::{self, IntegrityCheck};
use crate::store::sqlite::connection;
use crate::store::sqlite::files::atomic_file::{Progress, Report};
use crate::store::sqlite::tables::journal_head;
use crate::store::{Database, OpenError};
use rusqlite::Connection;
use std::path::Path;

/// What a database was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong, one line each.
    pub findings: Vec<String>,
    /// The newest number of the journal; 0 if it cannot be read.
    pub position: EventNumber,
    /// Rows of tables, by what they are; empty if there are findings.
    pub counts: Vec<(&'static str, u64)>,
}

/// The tables whose rows are counted.
const COUNTED: [(&str, &str); 5] = [
    ("users", "SELECT count(*) FROM users"),
    ("workspaces", "SELECT count(*) FROM workspaces WHERE deleted IS NULL"),
    ("conversations", "SELECT count(*) FROM conversations WHERE deleted IS NULL"),
    ("messages", "SELECT count(*) FROM messages"),
    ("other events", "SELECT count(*) FROM events"),
];

/// Looks through the database at `path` in one snapshot, and changes nothing. An error is one line for people, and says why
/// there is nothing to look through.
pub fn verify(path: &Path, report: Report<'_>) -> Result<Verdict, String> {
    let (db, _) = connection::open_reading(&Database::File(path.into())).map_err(|error| error.to_string())?;
    db.execute_batch("BEGIN").map_err(|error| OpenError::of(path, &error).to_string())?;
    let mut findings = integrity::damage(&db, IntegrityCheck::Whole);
    findings.extend(integrity::rows(&db, |done, checks| report(Progress { done, of: Some(checks) })));
    let position = journal_head::load(&db).map_or(EventNumber(0), |head| head.number);
    let counts = if findings.is_empty() { counts(&db) } else { Ok(Vec::new()) };
    let counts = counts.unwrap_or_else(|error| {
        findings.push(error.to_string());
        Vec::new()
    });
    Ok(Verdict { findings, position, counts })
}

fn counts(db: &Connection) -> rusqlite::Result<Vec<(&'static str, u64)>> {
    let count = |query: &str| db.query_row(query, [], |row| row.get::<_, i64>(0));
    COUNTED.into_iter().map(|(what, query)| Ok((what, count(query)? as u64))).collect()
}

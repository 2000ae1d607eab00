//! Verification of a whole database, also while a server has it open.

use crate::config::types::Database;
use crate::domain::id::EventNumber;
use crate::store::admin::integrity;
use crate::store::error::DataError;
use crate::store::progress::{Progress, ProgressReport};
use crate::store::snapshot::Snapshot;
use crate::store::sql::{SqlConnection, SqlResult};
use crate::store::sqlite::damage::{self, IntegrityCheck};
use crate::store::tables::journal_head;
use std::path::PathBuf;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The path of the database, or the address of its server.
    pub path: PathBuf,
    /// The defects, one line each.
    pub findings: Vec<String>,
    /// The newest event number; 0 if it cannot be read.
    pub position: EventNumber,
    /// The name and number of rows of each table; empty if there are findings.
    pub counts: Vec<(&'static str, u64)>,
}

/// The names and statements of `VerifyReport::counts`.
const COUNTED: [(&str, &str); 5] = [
    ("users", "SELECT count(*) FROM users"),
    ("workspaces", "SELECT count(*) FROM workspaces WHERE deleted IS NULL"),
    ("conversations", "SELECT count(*) FROM conversations WHERE deleted IS NULL"),
    ("messages", "SELECT count(*) FROM messages"),
    ("other events", "SELECT count(*) FROM state_events"),
];

/// Checks a database in one snapshot, without changing it. The files of a server are its own matter.
///
/// # Errors
/// Fails if the database cannot be opened. A defect is a finding, not an error.
pub fn verify(database: &Database, progress: ProgressReport<'_>) -> Result<VerifyReport, DataError> {
    let Snapshot { db, path, .. } = Snapshot::begin(database)?;
    let mut findings = if db.is_server() { Vec::new() } else { damage::damage(db.sqlite(), IntegrityCheck::Whole) };
    findings.extend(integrity::rows(&db, |done, checks| progress(Progress { done, of: Some(checks) })));
    findings.extend(integrity::search_index(&db));
    let position = journal_head::load(&db).map_or(EventNumber(0), |head| head.number);
    let counts = if findings.is_empty() { counts(&db) } else { Ok(Vec::new()) };
    let counts = counts.unwrap_or_else(|error| {
        findings.push(error.to_string());
        Vec::new()
    });
    Ok(VerifyReport { path, findings, position, counts })
}

fn counts(db: &SqlConnection) -> SqlResult<Vec<(&'static str, u64)>> {
    let count = |query: &str| db.query_row(query, [], |row| row.get::<i64>(0));
    COUNTED.into_iter().map(|(name, query)| Ok((name, count(query)? as u64))).collect()
}

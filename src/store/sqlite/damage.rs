//! The damage that SQLite finds in a file.

use rusqlite::Connection;

/// The extent of a check by SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntegrityCheck {
    /// All pages.
    Quick,
    /// All pages, and the agreement of indexes with their tables.
    Whole,
}

/// The damage that SQLite finds in a database before it stops the check.
pub(crate) fn damage(db: &Connection, check: IntegrityCheck) -> Vec<String> {
    let mut findings = Vec::new();
    if let Err(error) = find_damage(db, check, &mut findings) {
        findings.push(error.to_string());
    }
    findings
}

fn find_damage(db: &Connection, check: IntegrityCheck, findings: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut statement = db.prepare(match check {
        IntegrityCheck::Quick => "PRAGMA quick_check",
        IntegrityCheck::Whole => "PRAGMA integrity_check",
    })?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // One row may have several lines under a heading.
        let report: String = row.get(0)?;
        findings.extend(report.lines().filter(|line| *line != "ok" && !line.starts_with("***")).map(str::to_owned));
    }
    Ok(())
}

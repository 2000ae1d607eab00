//! Copies of a database that another process may be writing to.
//!
//! SQLite's backup interface copies pages, which is as fast as the disk is. By itself it would begin again after every
//! commit of another process. Here the source is in a read transaction all the while, so that the copy is of one moment, and
//! the writer goes on in its log, which it only cannot start anew. `VACUUM INTO` would hold its snapshot longer, since it
//! makes every page again.

use crate::base::limits::COPY_PAGES;
use crate::domain::id::EventNumber;
use crate::store::error::is_about_writing;
use crate::store::sqlite::admin::integrity::{self, IntegrityCheck};
use crate::store::sqlite::connection;
use crate::store::sqlite::files::atomic_file::{Partial, Progress, Report, refuse_existing};
use crate::store::sqlite::tables::journal_head;
use crate::store::{Database, OpenError};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// A copy that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// How large it is.
    pub bytes: u64,
    /// The newest number of the journal in it.
    pub through: EventNumber,
}

/// Copies the database at `source` to a new file: all that was committed when this began, and perhaps a little more. The file
/// stands alone, without a log beside it. Errors are one line for people.
pub fn backup(source: &Path, target: &Path, report: Report<'_>) -> Result<Copied, String> {
    refuse_existing(target)?;
    let (db, _) = connection::open_reading(&Database::File(source.into())).map_err(|error| error.to_string())?;
    let partial = Partial::begin(target)?;
    let through = copy(&db, source, &partial, report)?;
    if let Some(said) = damage(partial.path(), IntegrityCheck::Quick) {
        return Err(format!("the database {} is damaged: {said}", source.display()));
    }
    let bytes = partial.file().metadata().map_or(0, |file| file.len());
    // Looked at again, since copying takes its time.
    refuse_existing(target)?;
    partial.publish()?;
    Ok(Copied { bytes, through })
}

/// Copies what `db` says at this moment, and leaves a file that needs no other beside it; the journal's position in it.
pub(crate) fn copy(
    db: &Connection,
    source: &Path,
    partial: &Partial,
    report: Report<'_>,
) -> Result<EventNumber, String> {
    let failed = |path: &Path, error: rusqlite::Error| OpenError::of(path, &error).to_string();
    let at_source = |error| failed(source, error);
    let at_copy = |error| failed(partial.path(), error);
    db.execute_batch("BEGIN").map_err(at_source)?;
    // The first read fixes the snapshot.
    let through = journal_head::load(db).map_err(at_source)?.number;
    let mut copied = open_unjournalled(partial.path()).map_err(at_copy)?;
    let steps = Backup::new(db, &mut copied).map_err(at_copy)?;
    loop {
        let step = steps.step(COPY_PAGES as i32);
        let step = step.map_err(|error| if is_about_writing(&error) { at_copy(error) } else { at_source(error) })?;
        let progress = steps.progress();
        let (all, left) = (progress.pagecount.max(0) as u64, progress.remaining.max(0) as u64);
        report(Progress { done: all - left.min(all), of: Some(all) });
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => return Err(OpenError::Locked(source.into()).to_string()),
        }
    }
    drop(steps);
    db.execute_batch("COMMIT").map_err(at_source)?;
    drop(copied);
    let copied = open_unjournalled(partial.path()).map_err(at_copy)?;
    copied.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(at_copy)?;
    Ok(through)
}

/// Opens a partial file. No crash can leave it half written under its own name, so it needs no journal.
fn open_unjournalled(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "OFF")?;
    Ok(db)
}

/// The first thing that SQLite finds wrong with a file.
pub(crate) fn damage(path: &Path, check: IntegrityCheck) -> Option<String> {
    match Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        Ok(db) => integrity::damage(&db, check).into_iter().next(),
        Err(error) => Some(error.to_string()),
    }
}

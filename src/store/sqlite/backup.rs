//! Copies of a database, also while another process writes to it.
//!
//! SQLite's backup interface copies pages, at the speed of the disk. By default it starts over after every commit of another
//! process. Here the source stays in one read transaction, so the copy is a snapshot. The writer continues in its write-ahead
//! log, but cannot restart it until the copy is complete. `VACUUM INTO` would hold its snapshot longer, because it rebuilds
//! every page.

use crate::base::limits::COPY_PAGES;
use crate::domain::id::EventNumber;
use crate::store::error::{DataError, OpenError, is_about_writing};
use crate::store::progress::{Progress, ProgressReport};
use crate::store::sql;
use crate::store::sqlite::connection;
use crate::store::sqlite::damage::{self, IntegrityCheck};
use crate::store::sqlite::files::atomic_file::{AtomicFile, reject_existing};
use crate::store::tables::journal_head;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// The result of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupReport {
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// The newest event number in it.
    pub through: EventNumber,
}

/// Copies the database at `source` to a new file without a log. The copy includes every commit before the call, and possibly
/// commits during the call.
///
/// # Errors
/// Fails if `target` exists or cannot be written, or if the source cannot be read or is damaged.
pub fn backup(source: &Path, target: &Path, progress: ProgressReport<'_>) -> Result<BackupReport, DataError> {
    reject_existing(target)?;
    let (db, _) = connection::open_reading(source)?;
    let file = AtomicFile::create(target)?;
    let through = copy(&db, source, &file, progress)?;
    if let Some(finding) = first_damage(file.path(), IntegrityCheck::Quick) {
        return Err(DataError::DamagedSource { path: source.into(), finding });
    }
    let bytes = file.file().metadata().map_or(0, |file| file.len());
    // Checked again, because another process may have created the file in the meantime.
    reject_existing(target)?;
    file.publish()?;
    Ok(BackupReport { bytes, through })
}

/// Copies a snapshot of `db` into a file that needs no log, and returns the newest event number in it.
pub(crate) fn copy(
    db: &sql::SqlConnection,
    source: &Path,
    file: &AtomicFile,
    progress: ProgressReport<'_>,
) -> Result<EventNumber, DataError> {
    let at_source = |error: rusqlite::Error| OpenError::of(source, &error);
    let unread = |error| OpenError::of_engine(source, &error);
    let at_copy = |error| OpenError::of(file.path(), &error);
    db.begin_snapshot().map_err(unread)?;
    // The first read fixes the snapshot.
    let through = journal_head::load(db).map_err(unread)?.number;
    let mut copied = open_unjournalled(file.path()).map_err(at_copy)?;
    let steps = Backup::new(db.sqlite(), &mut copied).map_err(at_copy)?;
    let unsynced_pages = connection::unsynced_pages();
    loop {
        let step = steps.step(COPY_PAGES.min(unsynced_pages) as i32);
        let step = step.map_err(|error| if is_about_writing(&error) { at_copy(error) } else { at_source(error) })?;
        let pages = steps.progress();
        let (all, left) = (pages.pagecount.max(0) as u64, pages.remaining.max(0) as u64);
        progress(Progress { done: all - left.min(all), of: Some(all) });
        if unsynced_pages < COPY_PAGES {
            let failed = |error| DataError::Write { path: file.path().into(), error };
            file.file().sync_data().map_err(failed)?;
        }
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => return Err(OpenError::Locked(source.into()).into()),
        }
    }
    drop(steps);
    db.commit().map_err(unread)?;
    drop(copied);
    let copied = open_unjournalled(file.path()).map_err(at_copy)?;
    copied.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(at_copy)?;
    Ok(through)
}

/// The first damage that SQLite finds in a file.
pub(crate) fn first_damage(path: &Path, check: IntegrityCheck) -> Option<String> {
    match Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        Ok(db) => match connection::limit_cache(&db) {
            Ok(()) => damage::damage(&db, check).into_iter().next(),
            Err(error) => Some(error.to_string()),
        },
        Err(error) => Some(error.to_string()),
    }
}

/// Opens an unpublished file without a journal. A crash leaves it under its temporary name, which is discarded.
fn open_unjournalled(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    connection::limit_cache(&db)?;
    db.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "OFF")?;
    Ok(db)
}

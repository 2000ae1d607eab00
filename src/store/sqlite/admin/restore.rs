//! Puts a backup in the place of a database.

use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::store::sqlite::admin::backup;
use crate::store::sqlite::admin::integrity::IntegrityCheck;
use crate::store::sqlite::connection;
use crate::store::sqlite::files::atomic_file::{Partial, Report, beside, hand_over, remove, sync_directory_of};
use crate::store::sqlite::tables::journal_head;
use crate::store::sqlite::tables::timeline;
use crate::store::{Database, Lock, OpenError};
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::path::{Path, PathBuf};

/// The logs that may stand beside a database: the write-ahead log, and that of a database which has none or is about to.
const LOGS: [&str; 2] = ["-wal", "-journal"];

/// A database that was put in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The newest number of the journal in the backup.
    pub through: EventNumber,
    /// The number that the journal goes on from.
    pub goes_on_from: EventNumber,
    /// Where the database is now that was there before.
    pub kept: Option<PathBuf>,
}

/// Makes `target` the database that `file` is a backup of, as a new journal. A database that is there already is refused, or
/// kept under another name if `replaces`. Errors are one line for people.
pub fn restore(
    file: &Path,
    target: &Path,
    replaces: bool,
    now: WallTime,
    report: Report<'_>,
) -> Result<Restored, String> {
    let place = Place::take(target)?;
    if place.is_taken && !replaces {
        return Err(format!(
            "the database {} is there already: with --force it is kept under another name, and replaced",
            target.display()
        ));
    }
    let (db, _) = connection::open_reading(&Database::File(file.into())).map_err(|error| error.to_string())?;
    let partial = Partial::begin(target)?;
    let through = backup::copy(&db, file, &partial, report)?;
    drop(db);
    if let Some(said) = backup::damage(partial.path(), IntegrityCheck::Whole) {
        return Err(format!("{} is damaged, and is not restored: {said}", file.display()));
    }
    let goes_on_from = start_timeline(partial.path(), place.known, now)?;
    let kept = place.give_to(partial, now)?;
    Ok(Restored { through, goes_on_from, kept })
}

/// The place of a database into which another is to be put: locked, so that no server has it.
pub(crate) struct Place {
    target: PathBuf,
    /// What is known of the numbers that were given out there.
    pub known: EventNumber,
    /// Whether there is something.
    pub is_taken: bool,
    _lock: Lock,
}

impl Place {
    /// Takes the lock, so that nobody else writes there.
    pub(crate) fn take(target: &Path) -> Result<Place, String> {
        let there = fs::symlink_metadata(target).ok();
        if there.is_some_and(|there| !there.is_file()) {
            return Err(format!("{} is no file, so no database can take its place", target.display()));
        }
        let lock = Lock::try_acquire(target).map_err(|error| error.to_string())?.ok_or_else(|| {
            let holder = Lock::holder(target).map_or_else(String::new, |pid| format!(" (process {pid})"));
            format!("a server{holder} has the database {}: stop it first", target.display())
        })?;
        let is_taken = is_there(target);
        let found = connection::open_reading(&Database::File(target.into())).ok();
        let known = found.and_then(|(db, _)| journal_head::load(&db).ok()).map_or(EventNumber(0), |head| head.number);
        Ok(Place { target: target.into(), known, is_taken, _lock: lock })
    }

    /// Puts a file into the place. What was there is kept under a name with the time in it, which is returned.
    pub(crate) fn give_to(self, partial: Partial, now: WallTime) -> Result<Option<PathBuf>, String> {
        let target = &self.target;
        hand_over(partial.file(), target);
        let failed = |error: std::io::Error| format!("{} cannot be kept: {error}", target.display());
        let digits: String = now.to_string().chars().filter(|char| char.is_ascii_alphanumeric()).collect();
        let kept = beside(target, &format!(".before-{digits}"));
        if self.is_taken {
            carry_log_over(target);
        }
        // With second names for all of it, the old database is whole at every moment under one name, and there is one in
        // the place. Some file systems have no second names.
        for ending in ["", LOGS[0], LOGS[1]] {
            let _ = fs::hard_link(beside(target, ending), beside(&kept, ending));
        }
        sync_directory_of(target).map_err(failed)?;
        // A log that is still there belongs to the old file, and would be played into the new one.
        for ending in LOGS {
            let (log, kept) = (beside(target, ending), beside(&kept, ending));
            if is_there(&kept) {
                fs::remove_file(&log).map_err(failed)?;
            } else if is_there(&log) {
                fs::rename(&log, &kept).map_err(failed)?;
            }
        }
        if self.is_taken && !is_there(&kept) {
            fs::rename(target, &kept).map_err(failed)?;
        }
        sync_directory_of(target).map_err(failed)?;
        partial.publish()?;
        remove(&beside(target, "-shm"));
        Ok(self.is_taken.then_some(kept))
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Brings what the log has into the database itself, if both are sound: then one file is all that there is to keep.
fn carry_log_over(path: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let done = Connection::open_with_flags(path, flags)
        .and_then(|db| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)));
    if let Err(error) = done {
        log::warn!("the log of {} is kept as it is: {error}", path.display());
    }
}

/// Makes the journal of a partial file a new one.
fn start_timeline(path: &Path, known: EventNumber, now: WallTime) -> Result<EventNumber, String> {
    // Older schemas are brought up to date on the way.
    let (db, _) = connection::open_writing(&Database::File(path.into())).map_err(|error| error.to_string())?;
    finish(db, path, known, now)
}

/// Makes the journal of a partial file, which the caller has open without a transaction, a new one, and closes the file.
pub(crate) fn finish(
    mut db: Connection,
    path: &Path,
    known: EventNumber,
    now: WallTime,
) -> Result<EventNumber, String> {
    let failed = |error: rusqlite::Error| OpenError::of(path, &error).to_string();
    let transaction = db.transaction().map_err(failed)?;
    let from = timeline::start_timeline(&transaction, known, now).map_err(failed)?;
    let from = from.ok_or("there are no numbers left that JavaScript could read")?;
    transaction.commit().map_err(failed)?;
    // One file is to be moved, and not one with a log.
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(failed)?;
    Ok(from)
}

//! Replaces a database with a backup.

use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::store::error::{DataError, OpenError};
use crate::store::progress::ProgressReport;
use crate::store::sql;
use crate::store::sqlite::backup;
use crate::store::sqlite::connection;
use crate::store::sqlite::damage::IntegrityCheck;
use crate::store::sqlite::files::atomic_file::AtomicFile;
use crate::store::sqlite::files::lock::Lock;
use crate::store::sqlite::files::paths::{chown_to_parent, is_taken, remove, sibling, sync_directory_of};
use crate::store::tables::{journal_head, timeline};
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Suffixes of the logs that may be beside a database: the write-ahead log and the rollback journal.
const LOGS: [&str; 2] = ["-wal", "-journal"];

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestoreReport {
    /// The newest event number in the backup.
    pub through: EventNumber,
    /// The number after which new events are numbered.
    pub continues_after: EventNumber,
    /// The new path of the previous database.
    pub kept: Option<PathBuf>,
}

/// Replaces the database at `target` with the backup `file`, as a new timeline. With `replace`, an existing database is kept
/// under another name.
///
/// # Errors
/// Fails if a server has `target` open, if it exists and `replace` is false, or if the backup is damaged. The target is then
/// unchanged.
pub(crate) fn restore(
    file: &Path,
    target: &Path,
    replace: bool,
    now: WallTime,
    progress: ProgressReport<'_>,
) -> Result<RestoreReport, DataError> {
    let target = RestoreTarget::lock(target)?;
    if target.exists && !replace {
        return Err(DataError::TargetExists(target.path));
    }
    let (db, _) = connection::open_reading(file)?;
    let copy = AtomicFile::create(&target.path)?;
    let through = backup::copy(&db, file, &copy, progress)?;
    drop(db);
    if let Some(finding) = backup::first_damage(copy.path(), IntegrityCheck::Whole) {
        return Err(DataError::DamagedBackup { path: file.into(), finding });
    }
    // Migrates an older schema.
    let (db, _) = connection::open_writing(copy.path(), connection::Durability::Full)?;
    let continues_after = start_timeline(db, copy.path(), target.known, now)?;
    let kept = target.replace_with(copy, now)?;
    Ok(RestoreReport { through, continues_after, kept })
}

/// The path of a database to replace, locked against servers.
pub(crate) struct RestoreTarget {
    path: PathBuf,
    /// The newest event number that is known to have been assigned there.
    pub known: EventNumber,
    /// Whether a file exists there.
    pub exists: bool,
    _lock: Lock,
}

impl RestoreTarget {
    /// Locks the path.
    ///
    /// # Errors
    /// Fails if another process has the lock, or if the path is not that of a regular file.
    pub(crate) fn lock(path: &Path) -> Result<RestoreTarget, DataError> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(DataError::NotAFile(path.into()));
        }
        let lock = Lock::try_acquire(path)?;
        let lock = lock.ok_or_else(|| DataError::InUse { path: path.into(), holder: Lock::holder(path) })?;
        let opened = connection::open_reading(path).ok();
        let known = opened.and_then(|(db, _)| journal_head::load(&db).ok()).map_or(EventNumber(0), |head| head.number);
        Ok(RestoreTarget { path: path.into(), known, exists: is_taken(path), _lock: lock })
    }

    /// Publishes `file` as the database. Returns the new path of the previous database, whose name ends with the time.
    ///
    /// # Errors
    /// Fails if a file cannot be renamed, linked or synced.
    pub(crate) fn replace_with(self, file: AtomicFile, now: WallTime) -> Result<Option<PathBuf>, DataError> {
        let target = &self.path;
        chown_to_parent(file.file(), target);
        let failed = |error: io::Error| DataError::Keep { path: target.clone(), error };
        let digits: String = now.to_string().chars().filter(|char| char.is_ascii_alphanumeric()).collect();
        let kept = sibling(target, &format!(".before-{digits}"));
        if self.exists {
            checkpoint(target);
        }
        // Hard links keep the previous database complete under one of its names at every moment, and the target exists at
        // every moment. On a file system without hard links, the files are renamed below.
        for suffix in ["", LOGS[0], LOGS[1]] {
            let _ = fs::hard_link(sibling(target, suffix), sibling(&kept, suffix));
        }
        sync_directory_of(target).map_err(failed)?;
        // SQLite would replay a remaining log of the previous file into the new one.
        for suffix in LOGS {
            let (log, kept) = (sibling(target, suffix), sibling(&kept, suffix));
            if is_taken(&kept) {
                fs::remove_file(&log).map_err(failed)?;
            } else if is_taken(&log) {
                fs::rename(&log, &kept).map_err(failed)?;
            }
        }
        if self.exists && !is_taken(&kept) {
            fs::rename(target, &kept).map_err(failed)?;
        }
        sync_directory_of(target).map_err(failed)?;
        file.publish()?;
        remove(&sibling(target, "-shm"));
        Ok(self.exists.then_some(kept))
    }
}

/// Starts a new timeline in an unpublished file, and closes the file. No transaction may be open on `db`. Returns the number
/// after which new events are numbered.
///
/// # Errors
/// Fails if the file cannot be written, or if no numbers are left.
pub(crate) fn start_timeline(
    db: sql::SqlConnection,
    path: &Path,
    known: EventNumber,
    now: WallTime,
) -> Result<EventNumber, DataError> {
    let failed = |error| OpenError::of_engine(path, &error);
    db.begin().map_err(failed)?;
    let from = timeline::start(&db, known, now).map_err(failed)?;
    let from = from.ok_or(DataError::NumbersExhausted)?;
    db.commit().map_err(failed)?;
    // The file is published without a log.
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(failed)?;
    Ok(from)
}

/// Moves the content of the log into the database, so that the kept database is one file. Logs a failure.
fn checkpoint(path: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let done = Connection::open_with_flags(path, flags)
        .and_then(|db| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)));
    if let Err(error) = done {
        log::warn!("cannot checkpoint the log of {}, so it is kept: {error}", path.display());
    }
}

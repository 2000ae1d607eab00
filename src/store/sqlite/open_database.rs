//! The files of a database that is open for writing: what is checked before and after each transaction.
//!
//! Invariant: a transaction begins, and its commit is reported as a success, only while the names of the database and its log lead
//! to the files that were opened, and the log has what was committed before. It begins only while this process may run
//! checkpoints.

use crate::base::limits::SQLITE_BUSY_MILLISECONDS;
use crate::store::error::OpenError;
use crate::store::sql::{SqlConnection, SqlResult};
use crate::store::sqlite::checkpoint::{self, WriteAheadLog};
use crate::store::sqlite::connection::{self, Durability};
use crate::store::sqlite::files::log_index::IndexHeader;
use crate::store::sqlite::files::open_files::{DisplacedFile, LogState, OpenFiles};
use crate::store::sqlite::schema::DatabaseMeta;
use rusqlite::ffi;
use std::path::Path;
use std::time::Duration;

/// Writes 64 KiB, in place of a table that a crash may have left.
const PROBE_FILL: &str =
    "DROP TABLE IF EXISTS probe; CREATE TABLE probe (filler); INSERT INTO probe VALUES (zeroblob(65536))";
const PROBE_EMPTY: &str = "DROP TABLE probe";

/// The files of a database, and the state of its log.
pub(crate) struct OpenDatabase {
    /// `None` for a temporary database, which no other process can replace.
    files: Option<OpenFiles>,
    log: WriteAheadLog,
}

impl OpenDatabase {
    /// Opens the database at `path` for writing, and creates or migrates its schema.
    ///
    /// # Errors
    /// As [`connection::open_writing`].
    pub(crate) fn open(
        path: &Path,
        is_temporary: bool,
    ) -> Result<(OpenDatabase, SqlConnection, DatabaseMeta), OpenError> {
        let durability = if is_temporary { Durability::None } else { Durability::Full };
        let (mut db, meta) = connection::open_writing(path, durability)?;
        let files = if is_temporary { None } else { Some(open_files(path)?) };
        let log = WriteAheadLog::watch(db.sqlite_mut()).map_err(|error| OpenError::of(path, &error))?;
        Ok((OpenDatabase { files, log }, db, meta))
    }

    /// Prepares the next transaction: checks the files, and runs a checkpoint if one is due.
    ///
    /// # Errors
    /// Fails if a file was displaced, or if the database could not be synced.
    pub(crate) fn prepare(&mut self, db: &rusqlite::Connection) -> SqlResult<()> {
        self.check(db)?;
        // The previous transaction has been reported by now, so no client waits for the checkpoint.
        self.log.shorten(db);
        if self.is_poisoned() {
            let unsynced = ffi::Error::new(ffi::SQLITE_IOERR_FSYNC);
            return Err(rusqlite::Error::SqliteFailure(unsynced, None).into());
        }
        Ok(())
    }

    /// Checks the files after a commit.
    ///
    /// # Errors
    /// Fails if a file was displaced during the transaction. The changes are then visible until this process ends.
    pub(crate) fn check_commit(&mut self, db: &rusqlite::Connection) -> SqlResult<()> {
        let checked = self.files.as_ref().map_or(Ok(()), |files| files.check_data(|| IndexHeader::of(db)));
        // A file without a name is deleted with the process, so nothing may be acknowledged into it. What was acknowledged before
        // is saved now, since the process may be killed before the next transaction.
        checked.map_err(|displaced| self.contain(displaced, db))?;
        Ok(())
    }

    /// Checks the files while no transaction is open.
    ///
    /// # Errors
    /// Fails if a file was displaced.
    pub(crate) fn check(&mut self, db: &rusqlite::Connection) -> SqlResult<()> {
        self.find_displaced(db).map_err(|displaced| self.contain(displaced, db))?;
        Ok(())
    }

    fn find_displaced(&self, db: &rusqlite::Connection) -> Result<(), DisplacedFile> {
        self.files.as_ref().map_or(Ok(()), |files| files.check(|| IndexHeader::of(db)))
    }

    /// Saves what a displaced file would lose. No transaction may be open.
    fn contain(&mut self, displaced: DisplacedFile, db: &rusqlite::Connection) -> DisplacedFile {
        // A removed log is deleted with the process.
        if displaced.log == LogState::Removed {
            self.log.save(db);
        }
        displaced
    }

    /// Runs checkpoints from this length of the log on, in frames. For tests.
    pub(crate) fn checkpoint_after(&mut self, frames: u32) {
        self.log.checkpoint_after(frames);
    }

    /// Whether the database could not be synced, so that no transaction begins any more.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.log.is_poisoned()
    }

    /// Writes and drops a table that is large enough for a few messages. No transaction is open. The probe does not wait for
    /// locks, because commands may be waiting.
    ///
    /// # Errors
    /// Fails if the database cannot be written to. A transaction may then be open.
    pub(crate) fn probe(&mut self, db: &SqlConnection) -> SqlResult<()> {
        db.sqlite().busy_timeout(Duration::ZERO)?;
        let probed = [PROBE_FILL, PROBE_EMPTY].iter().try_for_each(|statements| {
            self.prepare(db.sqlite())?;
            db.begin()?;
            db.execute_batch(statements)?;
            db.commit()?;
            self.check_commit(db.sqlite())
        });
        let restored = db.sqlite().busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS));
        probed.and(Ok(restored?))
    }

    /// Runs a last checkpoint, without waiting for readers, and closes the database. The checkpoint only saves work at the
    /// next start.
    pub(crate) fn close(self, db: SqlConnection) {
        let is_replaced = |log| matches!(log, LogState::Replaced | LogState::Overwritten);
        if self.find_displaced(db.sqlite()).is_err_and(|displaced| is_replaced(displaced.log)) {
            log::warn!("the last checkpoint is omitted, because the write-ahead log was replaced or overwritten");
            // On close, SQLite would run another checkpoint and remove the log.
            return std::mem::forget(db);
        }
        let checkpoint = db
            .sqlite()
            .busy_timeout(Duration::ZERO)
            .and_then(|()| db.sqlite().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)));
        match checkpoint {
            Ok(0) => {}
            Ok(_) => log::debug!("the write-ahead log is kept, because readers still use it"),
            Err(error) => {
                log::warn!("the last checkpoint failed: {error}");
                if checkpoint::is_failed_sync(&error) {
                    // On close, SQLite would run another checkpoint and remove the log.
                    std::mem::forget(db);
                }
            }
        }
    }
}

fn open_files(path: &Path) -> Result<OpenFiles, OpenError> {
    OpenFiles::of(path).ok_or_else(|| OpenError::CannotOpen {
        path: path.into(),
        reason: "it, its write-ahead log or its shared memory was removed".into(),
    })
}

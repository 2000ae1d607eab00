//! The connection that writes: its transactions, and whether the database can be written to.
//!
//! Invariant: a transaction begins, and its commit succeeds, only while the names of the database and its log lead to the files
//! that were opened, and the log has what was committed before. It begins only while this process may run checkpoints.

use crate::base::limits::SQLITE_BUSY_MILLISECONDS;
use crate::base::metrics;
use crate::domain::health::WriterFault;
use crate::store::error::{OpenError, fault_of};
use crate::store::sqlite::connection::{self, Durability};
use crate::store::sqlite::files::log_index::IndexHeader;
use crate::store::sqlite::files::open_files::{DisplacedFile, LogState, OpenFiles};
use crate::store::sqlite::schema::DatabaseMeta;
use crate::store::sqlite::write::checkpoint::{self, WriteAheadLog};
use rusqlite::{Connection, ffi};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Writes 64 KiB, in place of a table that a crash may have left.
const PROBE_FILL: &str =
    "DROP TABLE IF EXISTS probe; CREATE TABLE probe (filler); INSERT INTO probe VALUES (zeroblob(65536))";
const PROBE_EMPTY: &str = "DROP TABLE probe";

/// A connection that writes, and the state of its database.
///
/// Order of calls: `begin`, then statements on `db`, then `commit`; after an error of any of them `roll_back`, then
/// `transaction_failed`.
pub(crate) struct WriteConnection {
    pub db: Connection,
    pub path: PathBuf,
    /// `None` for a temporary database, which no other process can replace.
    files: Option<OpenFiles>,
    log: WriteAheadLog,
    /// Set when a transaction fails because of the database, until one succeeds that changes it.
    fault: Option<WriterFault>,
}

impl WriteConnection {
    /// Opens the database at `path`, and creates or migrates its schema.
    ///
    /// # Errors
    /// As [`connection::open_writing`].
    pub(crate) fn open(path: PathBuf, is_temporary: bool) -> Result<(WriteConnection, DatabaseMeta), OpenError> {
        let durability = if is_temporary { Durability::None } else { Durability::Full };
        let (mut db, meta) = connection::open_writing(&path, durability)?;
        let files = if is_temporary { None } else { Some(open_files(&path)?) };
        let log = WriteAheadLog::watch(&mut db).map_err(|error| OpenError::of(&path, &error))?;
        Ok((WriteConnection { db, path, files, log, fault: None }, meta))
    }

    /// Whether no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.db.is_autocommit()
    }

    /// Runs a checkpoint if one is due, and begins a transaction.
    ///
    /// # Errors
    /// Also fails if a file was displaced, or if the database could not be synced.
    pub(crate) fn begin(&mut self) -> rusqlite::Result<()> {
        if let Err(displaced) = self.check_files() {
            self.contain(displaced);
            return Err(displaced.into());
        }
        // The previous transaction has been reported by now, so no client waits for the checkpoint.
        self.log.shorten(&self.db);
        if self.is_poisoned() {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None));
        }
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    /// Commits the open transaction.
    ///
    /// # Errors
    /// Also fails if a file was displaced during the transaction. The changes are then visible until this process ends.
    pub(crate) fn commit(&mut self) -> rusqlite::Result<()> {
        self.db.prepare_cached("COMMIT")?.execute([])?;
        // A file without a name is deleted with the process, so nothing may be acknowledged into it.
        if let Err(displaced) =
            self.files.as_ref().map_or(Ok(()), |files| files.check_data(|| IndexHeader::of(&self.db)))
        {
            // What was acknowledged before is saved now, since the process may be killed before the next transaction.
            self.contain(displaced);
            return Err(displaced.into());
        }
        Ok(())
    }

    /// Checks the files while no transaction is due, so that a displaced file becomes a fault soon.
    pub(crate) fn poll_files(&mut self) {
        if self.fault.is_none()
            && let Err(displaced) = self.check_files()
        {
            self.contain(displaced);
            self.transaction_failed(&displaced.into());
        }
    }

    fn check_files(&self) -> Result<(), DisplacedFile> {
        self.files.as_ref().map_or(Ok(()), |files| files.check(|| IndexHeader::of(&self.db)))
    }

    /// Saves what a displaced file would lose. No transaction may be open.
    fn contain(&mut self, displaced: DisplacedFile) {
        // A removed log is deleted with the process.
        if displaced.log == LogState::Removed {
            self.log.save(&self.db);
        }
    }

    /// Ends a failed transaction, unless SQLite has ended it. If that fails, the transaction stays open.
    pub(crate) fn roll_back(&mut self) {
        if !self.is_idle()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            log::error!("cannot roll back a transaction yet: {error}");
        }
    }

    /// Records that a transaction changed the database.
    pub(crate) fn transaction_succeeded(&mut self) {
        if self.fault.take().is_some() {
            log::info!("the database can be written to again");
            metrics::WRITER_FAILING.set(0);
        }
    }

    /// Records that a transaction failed. An error that is not about the database leaves `fault` as it is.
    pub(crate) fn transaction_failed(&mut self, error: &rusqlite::Error) {
        metrics::COMMITS_FAILED.add(1);
        if let Some(fault) = fault_of(error) {
            if self.fault.is_none() {
                log::error!("the database cannot be written to: {error}");
            }
            self.fault = Some(fault);
            metrics::WRITER_FAILING.set(1);
        }
    }

    /// Why the database cannot be written to, according to the last transactions.
    pub(crate) fn fault(&self) -> Option<WriterFault> {
        self.fault
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
    pub(crate) fn probe(&mut self) -> rusqlite::Result<()> {
        let probed = self
            .db
            .busy_timeout(Duration::ZERO)
            .and_then(|()| self.execute_alone(PROBE_FILL))
            .and_then(|()| self.execute_alone(PROBE_EMPTY));
        let restored = self.db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS));
        probed.and(restored)
    }

    /// A number that changes whenever another connection has written.
    pub(crate) fn external_version(&self) -> rusqlite::Result<i64> {
        self.db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }

    /// Runs a last checkpoint, without waiting for readers, and closes the database. The checkpoint only saves work at the
    /// next start.
    pub(crate) fn close(self) {
        let is_replaced = |log| matches!(log, LogState::Replaced | LogState::Overwritten);
        if self.check_files().is_err_and(|displaced| is_replaced(displaced.log)) {
            log::warn!("the last checkpoint is omitted, because the write-ahead log was replaced or overwritten");
            // On close, SQLite would run another checkpoint and remove the log.
            return std::mem::forget(self);
        }
        let checkpoint = self
            .db
            .busy_timeout(Duration::ZERO)
            .and_then(|()| self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)));
        match checkpoint {
            Ok(0) => {}
            Ok(_) => log::debug!("the write-ahead log is kept, because readers still use it"),
            Err(error) => {
                log::warn!("the last checkpoint failed: {error}");
                if checkpoint::is_failed_sync(&error) {
                    // On close, SQLite would run another checkpoint and remove the log.
                    std::mem::forget(self);
                }
            }
        }
    }

    fn execute_alone(&mut self, statements: &str) -> rusqlite::Result<()> {
        self.begin()?;
        self.db.execute_batch(statements)?;
        self.commit()
    }
}

fn open_files(path: &Path) -> Result<OpenFiles, OpenError> {
    OpenFiles::of(path).ok_or_else(|| OpenError::CannotOpen {
        path: path.into(),
        reason: "it, its write-ahead log or its shared memory was removed".into(),
    })
}

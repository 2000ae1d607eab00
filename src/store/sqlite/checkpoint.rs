//! Checkpoints of the write-ahead log. They run between two transactions, so that no commit waits for one, and keep the log
//! short even if readers never pause.
//!
//! SQLite restarts the log only when no reader uses it, so readers that always overlap would let it grow without bound.
//! Therefore the writer waits a moment when the log is long: readers that begin after a complete checkpoint read from the
//! database alone, and readers that use the log have short transactions.
//!
//! After a failed sync of the database, this process must not run a checkpoint again. The kernel has marked the written pages
//! as clean, although they may not be on disk. SQLite would rewrite only the frames that it had not counted as checkpointed,
//! and while there are readers it counts frames before they are synced. The process that opens the database next checkpoints
//! the whole log, which every commit has synced.

use crate::base::limits::{SQLITE_BUSY_MILLISECONDS, WAL_CHECKPOINT_FRAMES, WAL_FRAMES_MAX, WAL_READERS_MILLISECONDS};
use crate::base::metrics;
use crate::store::sqlite::connection;
use rusqlite::{Connection, ffi};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Bytes before the page in each frame (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
const FRAME_HEADER_BYTES: u64 = 24;

/// The length of the write-ahead log of a database, and when to run the next checkpoint.
pub(crate) struct WriteAheadLog {
    /// Length after the newest commit, in frames.
    frames: Arc<AtomicU32>,
    /// Length at the last call of `shorten`, in frames.
    frames_seen: u32,
    /// Length at which the log gets its first checkpoint, in frames.
    checkpoint_frames: u32,
    /// Length at which the next checkpoint runs, in frames.
    next_at: u32,
    /// Whether all pages of a log that is about to be lost are in the database.
    is_saved: bool,
    /// Whether a sync of the database has failed.
    is_poisoned: bool,
}

impl WriteAheadLog {
    /// Observes the log of a writing connection. This replaces SQLite's own checkpoints, which run as part of commits.
    pub(crate) fn watch(db: &mut Connection) -> rusqlite::Result<WriteAheadLog> {
        let checkpoint_frames = WAL_CHECKPOINT_FRAMES.min(connection::unsynced_pages().saturating_mul(2));
        let frames = Arc::new(AtomicU32::new(0));
        let observed = Arc::clone(&frames);
        let page_bytes = u64::from(db.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0))?);
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, frames| {
            let frames = u32::try_from(frames).unwrap_or(0);
            observed.store(frames, Relaxed);
            metrics::WAL_BYTES.set(u64::from(frames) * (FRAME_HEADER_BYTES + page_bytes));
            Ok(())
        }))?;
        Ok(WriteAheadLog {
            frames,
            frames_seen: 0,
            checkpoint_frames,
            next_at: checkpoint_frames,
            is_saved: false,
            is_poisoned: false,
        })
    }

    /// Runs checkpoints from this length on, in frames. For tests, whose logs are short.
    pub(crate) fn checkpoint_after(&mut self, frames: u32) {
        (self.checkpoint_frames, self.next_at) = (frames, frames);
    }

    /// Runs a checkpoint if the log is long. No transaction may be open. An error is logged, and poisons the log if it is a
    /// failed sync.
    pub(crate) fn shorten(&mut self, db: &Connection) {
        self.is_saved = false;
        let frames = self.frames.load(Relaxed);
        if frames < self.frames_seen {
            self.next_at = self.checkpoint_frames;
        }
        self.frames_seen = frames;
        if frames < self.next_at {
            return;
        }
        // Do not wait for a long read, such as a backup, before every transaction.
        self.next_at = frames + (self.checkpoint_frames / 4).max(frames / 8);
        let result = if frames < WAL_FRAMES_MAX.min(2 * self.checkpoint_frames) {
            checkpoint(db, "PASSIVE")
        } else {
            restart(db)
        };
        match result {
            Ok(true) => {}
            Ok(false) => log::debug!("the write-ahead log keeps {frames} frames, because readers still use them"),
            Err(error) => {
                log::warn!("a checkpoint of the write-ahead log failed: {error}");
                self.is_poisoned |= is_failed_sync(&error);
            }
        }
    }

    /// Copies all pages of a log that is about to be lost to the database, once. No transaction may be open. A failed sync poisons
    /// the log.
    pub(crate) fn save(&mut self, db: &Connection) {
        if self.is_saved || self.is_poisoned {
            return;
        }
        match restart(db) {
            Ok(is_complete) => self.is_saved = is_complete,
            Err(error) => {
                log::error!("the pages of the removed write-ahead log cannot be saved to the database: {error}");
                self.is_poisoned |= is_failed_sync(&error);
            }
        }
    }

    /// Whether a sync of the database has failed, so that this process must not run a checkpoint again.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }
}

/// Whether the error is a failed sync.
pub(crate) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Runs a checkpoint that waits for readers, so that the next commit restarts the log. Returns whether it was complete.
fn restart(db: &Connection) -> rusqlite::Result<bool> {
    db.busy_timeout(Duration::from_millis(WAL_READERS_MILLISECONDS))?;
    let result = checkpoint(db, "RESTART");
    db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS))?;
    result
}

/// Runs a checkpoint, and returns whether it was complete.
fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<bool> {
    db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok(row.get::<_, i64>(0)? == 0))
}

//! Carries the write-ahead log over into the database between two transactions, so that no commit waits for it, and keeps
//! the log small also while readers never rest.
//!
//! Whoever writes starts the log anew only when nobody reads from it. Readers that take turns without a pause would let
//! it grow for as long as they do; so when it is long, the writer waits a moment: who begins to read after all of it is
//! carried over reads from the database alone, and who reads from the log has a short transaction.
//!
//! When the database cannot be synced, the log must not be carried over by this process again. After a failed sync the
//! kernel counts what was written as clean, though it may not be on the disk. SQLite would write again only what it had
//! not counted as carried over, and part of that may have been counted before it was synced, as happens while somebody
//! reads. Whoever opens the database anew carries the whole log over, and each commit has synced that.

use crate::base::limits::{SQLITE_BUSY_MILLISECONDS, WAL_CHECKPOINT_FRAMES, WAL_FRAMES_MAX, WAL_READERS_MILLISECONDS};
use crate::base::metrics;
use rusqlite::{Connection, ffi};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Bytes before the page in each frame (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
const FRAME_HEADER_BYTES: u64 = 24;

/// How long the log of one connection's database is.
pub(crate) struct Log {
    /// As of the newest commit.
    frames: Arc<AtomicU32>,
    frames_seen: u32,
    /// Length at which something is done about it.
    next_at: u32,
    /// The database could not be synced.
    is_spoiled: bool,
}

impl Log {
    /// Watches the log of a connection that writes, instead of SQLite, which would carry it over as part of a commit.
    pub(crate) fn watch(db: &mut Connection) -> rusqlite::Result<Log> {
        let frames = Arc::new(AtomicU32::new(0));
        let noted = Arc::clone(&frames);
        let page_bytes = u64::from(db.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0))?);
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, frames| {
            let frames = u32::try_from(frames).unwrap_or(0);
            noted.store(frames, Relaxed);
            metrics::WAL_BYTES.set(u64::from(frames) * (FRAME_HEADER_BYTES + page_bytes));
            Ok(())
        }))?;
        Ok(Log { frames, frames_seen: 0, next_at: WAL_CHECKPOINT_FRAMES, is_spoiled: false })
    }

    /// Carries the log over if it is long. There is no transaction open. A failure is not the next transaction's.
    pub(crate) fn shorten(&mut self, db: &Connection) {
        let frames = self.frames.load(Relaxed);
        if frames < self.frames_seen {
            self.next_at = WAL_CHECKPOINT_FRAMES;
        }
        self.frames_seen = frames;
        if frames < self.next_at {
            return;
        }
        // Something that reads for long, such as a backup, is not waited for over and over.
        self.next_at = frames + (WAL_CHECKPOINT_FRAMES / 4).max(frames / 8);
        let result = if frames < WAL_FRAMES_MAX { checkpoint(db, "PASSIVE") } else { restart(db) };
        match result {
            Ok(true) => {}
            Ok(false) => log::debug!("{frames} frames of the write-ahead log are still being read"),
            Err(error) => {
                log::warn!("the write-ahead log could not be carried over: {error}");
                self.is_spoiled |= is_failed_sync(&error);
            }
        }
    }

    /// Whether the database could not be synced, so that this process must not carry the log over again.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.is_spoiled
    }
}

/// Whether this is a sync that failed.
pub(crate) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Waits for readers, so that the next commit starts the log anew.
fn restart(db: &Connection) -> rusqlite::Result<bool> {
    db.busy_timeout(Duration::from_millis(WAL_READERS_MILLISECONDS))?;
    let result = checkpoint(db, "RESTART");
    db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS))?;
    result
}

/// Whether nothing stood in the way.
fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<bool> {
    db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok(row.get::<_, i64>(0)? == 0))
}

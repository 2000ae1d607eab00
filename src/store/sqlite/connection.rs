//! Opens and configures each kind of connection.

use crate::base::limits::*;
use crate::store::error::OpenError;
use crate::store::sql;
use crate::store::sqlite::files::log_rewrite::rewrite_log;
use crate::store::sqlite::files::open_files::is_log_removed;
use crate::store::sqlite::schema::{self, DatabaseMeta, SchemaState};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Capacity of a connection's cache of prepared statements; larger than the number of statements.
const STATEMENTS_MAX: usize = 192;

/// How often a shared connection retries to begin a transaction, at least a millisecond apart.
const SHARED_RETRIES_MAX: i32 = 10_000;

/// Size to which the write-ahead log is truncated after a complete checkpoint, in bytes.
const WAL_BYTES_MAX: i64 = 4096 * WAL_FRAMES_MAX as i64;

/// Page cache of each connection that is opened, in bytes.
static CACHE_BYTES: AtomicUsize = AtomicUsize::new(PAGE_CACHE_BYTES_MAX);

/// Pages that are written to a file before it is synced. Until then, they are in memory that the kernel cannot reclaim at once.
static UNSYNCED_PAGES: AtomicU32 = AtomicU32::new(u32::MAX);

/// Sets the page cache of the connections that are opened from now on, in bytes, and the number of pages that are written to a
/// file before it is synced.
pub(crate) fn limit_memory(cache_bytes: usize, unsynced_pages: u32) {
    CACHE_BYTES.store(cache_bytes, Relaxed);
    UNSYNCED_PAGES.store(unsynced_pages, Relaxed);
}

/// The number of pages that may be written to a file before it is synced.
pub(crate) fn unsynced_pages() -> u32 {
    UNSYNCED_PAGES.load(Relaxed)
}

/// Whether commits are synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Every commit is synced before it returns.
    Full,
    /// Commits are not synced: for files that are worthless after a crash.
    None,
}

/// Opens a database for writing, and creates or migrates its schema.
///
/// # Errors
/// Fails if the file cannot be opened, is not a database of this program, or has an unknown schema version. The file is then
/// unchanged.
pub(crate) fn open_writing(
    path: &Path,
    durability: Durability,
) -> Result<(sql::SqlConnection, DatabaseMeta), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let mut db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS)).map_err(failed)?;
    limit_cache(&db).map_err(failed)?;
    // The version is checked first, so that a rejected database is not changed.
    schema::check_version(&db, path)?;
    set_up_writing(&db, durability).map_err(failed)?;
    // What is read from now on is on disk, also what a process has left that was killed after a failed sync.
    rewrite_log(&db).map_err(failed)?;
    schema::migrate(&mut db, path)?;
    let meta = schema::load_meta(&db).map_err(failed)?;
    Ok((sql::SqlConnection::of_sqlite(db), meta))
}

/// Opens a database for a few changes while its writer may be running; `None` if the schema must be migrated first.
///
/// # Errors
/// As [`open_writing`], and if the log was removed while the database was in use.
pub(crate) fn open_shared(file: &Path) -> Result<Option<(sql::SqlConnection, DatabaseMeta)>, OpenError> {
    reject_removed_log(file)?;
    let failed = |error: rusqlite::Error| OpenError::of(file, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let mut db = Connection::open_with_flags(file, flags).map_err(failed)?;
    // A busy writer pauses for less time than SQLite's own handler sleeps between two retries.
    db.busy_handler(Some(|retries| {
        std::thread::sleep(Duration::from_millis(1));
        retries < SHARED_RETRIES_MAX
    }))
    .map_err(failed)?;
    limit_cache(&db).map_err(failed)?;
    if schema::check_version(&db, file)? != SchemaState::Current {
        return Ok(None);
    }
    set_up_writing(&db, Durability::Full).map_err(failed)?;
    // Only the server runs checkpoints, because only it detects when a checkpoint is not allowed (`write::checkpoint`).
    db.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(())).map_err(failed)?;
    checkpoint_on_close(&db, false).map_err(failed)?;
    let meta = schema::load_meta(&db).map_err(failed)?;
    Ok(Some((sql::SqlConnection::of_sqlite(db), meta)))
}

/// Sets whether a connection runs a checkpoint when it is closed and no other one is open.
pub(crate) fn checkpoint_on_close(db: &Connection, runs: bool) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !runs).map(drop)
}

/// Opens a database for reading. A writer must have created it.
///
/// # Errors
/// As [`open_shared`], and if the database is empty.
pub(crate) fn open_reading(path: &Path) -> Result<(sql::SqlConnection, DatabaseMeta), OpenError> {
    reject_removed_log(path)?;
    let failed = |error: rusqlite::Error| OpenError::of(path, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS)).map_err(failed)?;
    limit_cache(&db).map_err(failed)?;
    if schema::check_version(&db, path)? == SchemaState::Empty {
        return Err(OpenError::CannotOpen { path: path.into(), reason: "it is empty".into() });
    }
    keep_statements(&db).map_err(failed)?;
    db.pragma_update(None, "query_only", true).map_err(failed)?;
    let meta = schema::load_meta(&db).map_err(failed)?;
    Ok((sql::SqlConnection::of_sqlite(db), meta))
}

/// Sets the size of a connection's page cache. A transaction that changes more pages writes them to the log early.
pub(crate) fn limit_cache(db: &Connection) -> rusqlite::Result<()> {
    // A negative size is in KiB.
    db.pragma_update(None, "cache_size", -((CACHE_BYTES.load(Relaxed) / 1024).max(1) as i64))
}

fn reject_removed_log(path: &Path) -> Result<(), OpenError> {
    if !is_log_removed(path) {
        return Ok(());
    }
    let reason =
        "its write-ahead log was removed while it was in use: stop the server that uses it, and start it again";
    Err(OpenError::CannotOpen { path: path.into(), reason: reason.into() })
}

/// Keeps statements prepared. Without `ENABLE_QPSG`, SQLite prepares a statement with a `LIMIT ?` or a range again whenever
/// its parameters are bound, to find a better plan, and that takes longer than running the statement.
fn keep_statements(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn set_up_writing(db: &Connection, durability: Durability) -> rusqlite::Result<()> {
    keep_statements(db)?;
    db.pragma_update(None, "page_size", 4096)?;
    // The statement returns the new mode, so it is a query.
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::None => "OFF",
    };
    db.pragma_update(None, "synchronous", synchronous)?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.query_row(&format!("PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_FRAMES}"), [], |_| Ok(()))?;
    db.query_row(&format!("PRAGMA journal_size_limit = {WAL_BYTES_MAX}"), [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::support::TempDir;

    #[test]
    fn a_writing_connection_is_durable_and_checks_foreign_keys() {
        let directory = TempDir::new();
        let (db, _) = open_writing(&directory.file("a.db"), Durability::Full).unwrap();
        let table = [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("foreign_keys", "1"),
            ("page_size", "4096"),
            ("wal_autocheckpoint", "4000"),
            ("journal_size_limit", "32768000"),
        ];
        for (name, expected) in table {
            let value: rusqlite::types::Value = db.sqlite().pragma_query_value(None, name, |row| row.get(0)).unwrap();
            let value = match value {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => panic!("{other:?}"),
            };
            assert_eq!(value, expected, "{name}");
        }
    }
}

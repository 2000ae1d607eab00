//! Writing a write-ahead log again, so that what it has is on disk.

use rusqlite::{Connection, MAIN_DB, ffi};
use std::ptr;

/// The log is written in parts of this size, in bytes.
const PART_BYTES: usize = 64 * 1024;

/// Writes every part of the log again with what it has, and syncs it. No transaction may be open.
///
/// After a failed sync, the kernel takes the pages for written, and no later sync writes them unless they change. A process that opens the
/// database afterwards finds frames in the log which a power cut would lose.
///
/// # Errors
/// Fails if the log cannot be read, written or synced, or if another process is writing. Its content is then the same as before.
pub(crate) fn rewrite_log(db: &Connection) -> rusqlite::Result<()> {
    if db.is_readonly(MAIN_DB)? {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY), None));
    }
    // No other process appends to the log meanwhile.
    db.execute_batch("BEGIN IMMEDIATE")?;
    let rewritten = rewrite(db);
    db.execute_batch("ROLLBACK")?;
    rewritten
}

fn rewrite(db: &Connection) -> rusqlite::Result<()> {
    let check = |status| match status {
        ffi::SQLITE_OK => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(status), None)),
    };
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, and has the log open as long as a transaction is open. The methods of the file get it and a
    // buffer of the length that is passed with it.
    unsafe {
        let control = ffi::SQLITE_FCNTL_JOURNAL_POINTER;
        check(ffi::sqlite3_file_control(db.handle(), c"main".as_ptr(), control, ptr::from_mut(&mut file).cast()))?;
        let methods = file.as_ref().and_then(|file| file.pMethods.as_ref());
        let methods = methods.and_then(|all| Some((all.xFileSize?, all.xRead?, all.xWrite?, all.xSync?)));
        let Some((file_size, read, write, sync)) = methods else { return Ok(()) };
        let mut size = 0;
        check(file_size(file, &raw mut size))?;
        if size == 0 {
            return Ok(());
        }
        let mut part = vec![0; PART_BYTES];
        for at in (0..size).step_by(PART_BYTES) {
            let bytes = (size - at).min(PART_BYTES as i64) as i32;
            check(read(file, part.as_mut_ptr().cast(), bytes, at))?;
            check(write(file, part.as_ptr().cast(), bytes, at))?;
        }
        check(sync(file, ffi::SQLITE_SYNC_NORMAL))
    }
}

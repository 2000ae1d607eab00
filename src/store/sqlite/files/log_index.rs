//! Whether a write-ahead log still has the content that its index describes. A process that writes into the log in place keeps
//! its identity, and SQLite would continue behind frames that the next process does not read.
//!
//! The formats are described in <https://www.sqlite.org/fileformat2.html#the_write_ahead_log> and
//! <https://www.sqlite.org/walformat.html>.

use rusqlite::{Connection, ffi};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr;

const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// Size of the parts in which SQLite maps the index, in bytes.
const INDEX_PART_BYTES: i32 = 32 * 1024;

/// Length of a header of the index, in words of 32 bits. The index begins with two copies.
const INDEX_HEADER_WORDS: usize = 12;

/// How often an index is read again that another process is changing.
const RETRIES_MAX: u32 = 100;

/// What the index says about the log: the words of its header, in native byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexHeader([u32; INDEX_HEADER_WORDS]);

impl IndexHeader {
    /// Reads the index that a connection uses. `None` if there is no valid index, which SQLite then restores from the log.
    ///
    /// This uses SQLite's own mapping: closing a descriptor of the file would release the locks of this process on it.
    pub(crate) fn of(db: &Connection) -> Option<IndexHeader> {
        let words = index_words(db)?;
        (0..RETRIES_MAX).find_map(|_| {
            // SAFETY: the connection keeps the part mapped, and it is longer than both copies. Other processes may change
            // it meanwhile, hence the volatile reads, and the comparison of the copies.
            let copy = |from| std::array::from_fn(|n| unsafe { ptr::read_volatile(words.add(from + n)) });
            // SQLite writes the second copy first.
            let first: [u32; INDEX_HEADER_WORDS] = copy(0);
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            let second = copy(INDEX_HEADER_WORDS);
            let header = IndexHeader(first);
            (first == second && header.is_initialized()).then_some(header)
        })
    }

    fn is_initialized(self) -> bool {
        self.0[3].to_ne_bytes()[0] == 1
    }

    fn page_bytes(self) -> u64 {
        let [_, _, high, low] = self.0[3].to_ne_bytes();
        // 65536 does not fit into 16 bits, and is stored as 1.
        match u16::from_ne_bytes([high, low]) {
            1 => 65536,
            bytes => bytes.into(),
        }
    }

    /// The last frame of the log. `None` if all pages of the log are in the database, and the next commit restarts the log.
    fn last_frame(self) -> Option<Frame> {
        let [salt_1, salt_2] = [self.0[8], self.0[9]].map(u32::to_ne_bytes);
        let [checksum_1, checksum_2] = [self.0[6], self.0[7]].map(u32::to_be_bytes);
        (self.0[4] > 0).then(|| Frame {
            number: self.0[4],
            page_bytes: self.page_bytes(),
            salts: [salt_1, salt_2],
            checksum: [checksum_1, checksum_2],
        })
    }
}

/// The start of the index that a connection has mapped.
fn index_words(db: &Connection) -> Option<*const u32> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    let mut part = ptr::null_mut();
    // SAFETY: the connection is open, and `file` is valid until it is closed. SQLite maps the index with the same arguments.
    let status = unsafe {
        let control = ffi::SQLITE_FCNTL_FILE_POINTER;
        let found = ffi::sqlite3_file_control(db.handle(), c"main".as_ptr(), control, ptr::from_mut(&mut file).cast());
        if found != ffi::SQLITE_OK || file.is_null() || (*file).pMethods.is_null() {
            return None;
        }
        let map = (*(*file).pMethods).xShmMap?;
        map(file, 0, INDEX_PART_BYTES, 0, &mut part)
    };
    (status == ffi::SQLITE_OK && !part.is_null()).then_some(part.cast())
}

/// A frame of the log, with the parts of its header as they are in the file. The checksum covers all frames before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    number: u32,
    page_bytes: u64,
    salts: [[u8; 4]; 2],
    checksum: [[u8; 4]; 2],
}

impl Frame {
    fn end(self) -> u64 {
        LOG_HEADER_BYTES + u64::from(self.number) * (FRAME_HEADER_BYTES + self.page_bytes)
    }

    /// Whether the frame is in the log.
    fn is_in(self, log: &File) -> io::Result<bool> {
        let mut header = [0; FRAME_HEADER_BYTES as usize];
        log.read_exact_at(&mut header, self.end() - FRAME_HEADER_BYTES - self.page_bytes)?;
        Ok(header[8..16] == *self.salts.as_flattened() && header[16..24] == *self.checksum.as_flattened())
    }
}

/// The content of an open log.
pub(crate) struct LogContent {
    log: File,
    /// The last frame at the last check. A commit that follows an overwritten part does not hide it.
    last_seen: Cell<Option<Frame>>,
}

impl LogContent {
    pub(crate) fn of(log: File) -> LogContent {
        LogContent { log, last_seen: Cell::new(None) }
    }

    /// Whether the log has the frames that its index counts. `index` reads the index.
    pub(crate) fn is_intact(&self, index: impl Fn() -> Option<IndexHeader>) -> bool {
        for _ in 0..RETRIES_MAX {
            let Some(header) = index() else { return true };
            let last = header.last_frame();
            if last.is_none_or(|last| self.has(last).unwrap_or(false)) {
                self.last_seen.set(last);
                return true;
            }
            // Another process may have restarted the log meanwhile. It changes the index first.
            if index() == Some(header) {
                return false;
            }
        }
        false
    }

    fn has(&self, last: Frame) -> io::Result<bool> {
        let mut header = [0; LOG_HEADER_BYTES as usize];
        self.log.read_exact_at(&mut header, 0)?;
        // The log has other salts since it was restarted.
        let seen = self.last_seen.get().filter(|seen| *seen != last && seen.salts == last.salts);
        Ok(header[16..24] == *last.salts.as_flattened()
            && self.log.metadata()?.len() >= last.end()
            && last.is_in(&self.log)?
            && seen.map_or(Ok(true), |seen| seen.is_in(&self.log))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::files::paths::sibling;
    use crate::store::tests::support::TempDir;
    use std::fs;

    /// A database in WAL mode with a table.
    fn create(directory: &TempDir, page_bytes: u32) -> (Connection, LogContent) {
        let path = directory.file("a.db");
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "page_size", page_bytes).unwrap();
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        db.execute_batch("CREATE TABLE t (x)").unwrap();
        let log = File::open(sibling(&path, "-wal")).unwrap();
        (db, LogContent::of(log))
    }

    fn insert(db: &Connection) {
        db.execute_batch("INSERT INTO t VALUES (randomblob(3000))").unwrap();
    }

    fn checkpoint(db: &Connection, mode: &str) {
        db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())).unwrap();
    }

    #[test]
    fn a_log_that_only_sqlite_writes_is_intact() {
        for page_bytes in [512, 4096, 65536] {
            let directory = TempDir::new();
            let (db, content) = create(&directory, page_bytes);
            let other = Connection::open(directory.file("a.db")).unwrap();
            let assert_intact = |step: &str| {
                let header = IndexHeader::of(&db).expect("the index is valid");
                assert_eq!(header.page_bytes(), u64::from(page_bytes), "{step}");
                assert!(content.is_intact(|| IndexHeader::of(&db)), "{step}, {page_bytes}: {header:?}");
            };
            assert_intact("created");
            for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
                for from in [&db, &other] {
                    insert(&db);
                    assert_intact("a commit");
                    insert(from);
                    assert_intact("a commit of either");
                    checkpoint(from, mode);
                    assert_intact(mode);
                    insert(&other);
                    assert_intact("a commit after a checkpoint");
                }
            }
            // More pages than the cache has, so that the transaction writes pages to the log before it ends.
            db.pragma_update(None, "cache_size", 5).unwrap();
            for end in ["ROLLBACK", "COMMIT"] {
                db.execute_batch("BEGIN").unwrap();
                (0..60).for_each(|_| insert(&db));
                db.execute_batch("UPDATE t SET x = zeroblob(4000)").unwrap();
                assert_intact("in a transaction");
                db.execute_batch(end).unwrap();
                assert_intact(end);
            }
        }
    }

    #[test]
    fn a_log_is_intact_while_another_connection_restarts_it() {
        let directory = TempDir::new();
        let (db, content) = create(&directory, 4096);
        let path = directory.file("a.db");
        std::thread::scope(|scope| {
            let restarting = scope.spawn(|| {
                let other = Connection::open(&path).unwrap();
                other.pragma_update(None, "synchronous", "OFF").unwrap();
                for n in 0..3000 {
                    insert(&other);
                    checkpoint(&other, ["RESTART", "TRUNCATE", "PASSIVE"][n % 3]);
                }
            });
            while !restarting.is_finished() {
                assert!(content.is_intact(|| IndexHeader::of(&db)));
            }
        });
    }

    #[test]
    fn an_overwritten_log_is_not_intact() {
        type Overwrite = fn(&dyn Fn(&str) -> std::path::PathBuf);
        let table: [(&str, Overwrite, bool); 7] = [
            ("unchanged", |_| {}, true),
            ("the same content", |at| fs::write(at("-wal"), fs::read(at("-wal")).unwrap()).unwrap(), true),
            ("older", |at| fs::write(at("-wal"), fs::read(at(".older")).unwrap()).unwrap(), false),
            ("of another log", |at| fs::write(at("-wal"), fs::read(at(".other")).unwrap()).unwrap(), false),
            ("empty", |at| fs::write(at("-wal"), "").unwrap(), false),
            ("without its last frame", |at| shorten(at("-wal"), 24 + 4096), false),
            ("without its last byte", |at| shorten(at("-wal"), 1), false),
        ];
        for (name, overwrite, is_intact) in table {
            let directory = TempDir::new();
            let (db, content) = create(&directory, 4096);
            let at = |suffix: &str| sibling(&directory.file("a.db"), suffix);
            insert(&db);
            fs::copy(at("-wal"), at(".other")).unwrap();
            checkpoint(&db, "RESTART");
            insert(&db);
            fs::copy(at("-wal"), at(".older")).unwrap();
            (0..3).for_each(|_| insert(&db));
            assert!(content.is_intact(|| IndexHeader::of(&db)), "{name}");
            overwrite(&at);
            assert_eq!(content.is_intact(|| IndexHeader::of(&db)), is_intact, "{name}");
            // A commit that follows it does not hide it, except in a page.
            let _ = db.execute_batch("INSERT INTO t VALUES (1)");
            let is_intact = is_intact || name == "without its last byte";
            assert_eq!(content.is_intact(|| IndexHeader::of(&db)), is_intact, "{name}, then a commit");
        }
    }

    fn shorten(path: std::path::PathBuf, bytes: u64) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
    }
}

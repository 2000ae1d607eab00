//! Directories for databases, and databases on a server in their place.

#[cfg(feature = "cluster")]
#[path = "../../../tests/common/postgres.rs"]
#[allow(unreachable_pub, reason = "the tests of the whole program use it as well")]
pub(crate) mod postgres;

use super::{Database, Writer};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether the tests run on SQLite. A test that counts its instructions, reads its plans, or damages its files runs on no other
/// engine.
pub(crate) fn is_sqlite() -> bool {
    #[cfg(feature = "cluster")]
    if postgres::is_selected() {
        return false;
    }
    true
}

/// Ends a writer as the end of its process does. On a server, its lease ends at once, and not some seconds later.
pub(crate) fn kill(mut writer: Writer) {
    if !is_sqlite() {
        writer.execute_batch("UPDATE instances SET is_expired = 1");
    }
}

/// Claims all open jobs for the writer, on a server, where only claimed answers are written. Tests that have one writer need no more.
pub(crate) fn claim_open_jobs(writer: &mut Writer) {
    if !is_sqlite() {
        let instance = "(SELECT max(id) FROM instances)";
        let change =
            format!("UPDATE answer_jobs SET claimed_by = {instance} WHERE claimed_by IS DISTINCT FROM {instance}");
        writer.execute_batch(&change);
    }
}

/// The database in the file at `path`, or the one on a server that stands for it.
pub(crate) fn database_at(path: &Path) -> Database {
    #[cfg(feature = "cluster")]
    if !is_sqlite() {
        return Database::parse(&postgres::address_of(path)).unwrap();
    }
    Database::File(path.into())
}

/// A database that is not opened again: in memory, or on a server.
pub(crate) fn temporary_database() -> Database {
    #[cfg(feature = "cluster")]
    if !is_sqlite() {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        return database_at(Path::new(&format!(":memory:{}", COUNT.fetch_add(1, Ordering::Relaxed))));
    }
    Database::Memory
}

/// A directory that is removed on drop.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// A new empty directory.
    #[allow(clippy::new_without_default)]
    pub(crate) fn new() -> TempDir {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("cortex-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    /// The path of a file in the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

//! The lock that a process holds as long as it may write to a database.

use crate::config::types::Database;
use crate::store::error::OpenError;
use crate::store::sqlite::files::lock::Lock;

/// A lock that is held until it is dropped.
pub(crate) enum DatabaseLock {
    /// Of a file.
    File { _lock: Lock },
    /// None is needed: no other process can open a temporary database, and processes that serve a server's take turns.
    NotNeeded,
}

impl DatabaseLock {
    /// Takes the lock; `None` if another process has it.
    ///
    /// # Errors
    /// Fails if the file cannot be locked.
    pub(crate) fn try_acquire(database: &Database) -> Result<Option<DatabaseLock>, OpenError> {
        match database {
            Database::File(path) => Ok(Lock::try_acquire(path)?.map(|lock| DatabaseLock::File { _lock: lock })),
            Database::Memory => Ok(Some(DatabaseLock::NotNeeded)),
            #[cfg(feature = "cluster")]
            Database::Server(_) => Ok(Some(DatabaseLock::NotNeeded)),
        }
    }

    /// The database that is waited for, and the process that has its lock, if that is known.
    pub(crate) fn holder(database: &Database) -> String {
        match database {
            Database::File(path) => {
                let holder = Lock::holder(path).map_or_else(String::new, |pid| format!(" (process {pid})"));
                format!("{}{holder}", path.display())
            }
            Database::Memory => ":memory:".into(),
            #[cfg(feature = "cluster")]
            Database::Server(_) => "server".into(),
        }
    }
}

//! The lock that a process holds as long as it may write to a database.

use crate::config::types::Database;
use crate::store::error::OpenError;
#[cfg(feature = "cluster")]
use crate::store::postgres::address::{Address, SessionUse};
#[cfg(feature = "cluster")]
use crate::store::sql::SqlConnection;
use crate::store::sqlite::files::lock::Lock;
#[cfg(feature = "cluster")]
use std::path::Path;

/// The lock of a server's session, in the name space of this program.
#[cfg(feature = "cluster")]
const INSTANCE_LOCK: i64 = 0x4372_7478_0000_0003;

/// A lock that is held until it is dropped.
pub(crate) enum DatabaseLock {
    /// Of a file.
    File(#[allow(dead_code)] Lock),
    /// Of a session with a server, which releases the lock when the session ends.
    #[cfg(feature = "cluster")]
    Server(#[allow(dead_code)] SqlConnection),
    /// No other process can open a temporary database.
    Temporary,
}

impl DatabaseLock {
    /// Takes the lock; `None` if another process has it.
    ///
    /// # Errors
    /// Fails if the file cannot be locked, or if the server cannot be reached.
    pub(crate) fn try_acquire(database: &Database) -> Result<Option<DatabaseLock>, OpenError> {
        match database {
            Database::File(path) => Ok(Lock::try_acquire(path)?.map(DatabaseLock::File)),
            Database::Memory => Ok(Some(DatabaseLock::Temporary)),
            #[cfg(feature = "cluster")]
            Database::Server(url) => {
                let address = Address::parse(url)?;
                let db = address.connect(SessionUse::Reader)?;
                let taken = db.query_row("SELECT pg_try_advisory_lock(?1)", [INSTANCE_LOCK], |row| row.get(0));
                let taken: bool = taken.map_err(|error| OpenError::of_engine(Path::new(address.name()), &error))?;
                Ok(taken.then_some(DatabaseLock::Server(db)))
            }
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
            Database::Server(url) => {
                Address::parse(url).map_or_else(|_| String::new(), |address| address.name().into())
            }
        }
    }
}

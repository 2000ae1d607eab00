//! One state of a whole database, for tools that read all of it.

use crate::config::types::Database;
use crate::store::error::OpenError;
#[cfg(feature = "cluster")]
use crate::store::postgres::address::{Address, SessionUse};
use crate::store::sql::SqlConnection;
use crate::store::sqlite::connection;
use crate::store::sqlite::schema::DatabaseMeta;
use std::path::PathBuf;

/// A connection with an open transaction, whose reads see one state.
pub(crate) struct Snapshot {
    pub db: SqlConnection,
    pub meta: DatabaseMeta,
    /// The path of the database, or the address of its server.
    pub path: PathBuf,
}

impl Snapshot {
    /// Opens a database and begins a snapshot. A server may be running on it.
    ///
    /// # Errors
    /// Fails if the database does not exist, cannot be opened, or is in memory.
    pub(crate) fn begin(database: &Database) -> Result<Snapshot, OpenError> {
        let ((db, meta), path) = match database {
            Database::File(path) => (connection::open_reading(path)?, path.clone()),
            Database::Memory => return Err(OpenError::in_memory()),
            #[cfg(feature = "cluster")]
            Database::Server(url) => {
                let address = Address::parse(url)?;
                (address.open(SessionUse::Tool)?, address.name().into())
            }
        };
        match db.begin_snapshot() {
            Ok(()) => Ok(Snapshot { db, meta, path }),
            Err(error) => Err(OpenError::of_engine(&path, &error)),
        }
    }
}

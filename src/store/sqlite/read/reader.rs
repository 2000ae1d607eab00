//! A reading connection. Beside the writer, any number of them work at once.

use crate::domain::id::{EventNumber, IdKey, UserId};
use crate::domain::query::{Query, QueryResponse};
use crate::domain::result::Rejection;
use crate::store::error::{OpenError, rejection_of};
use crate::store::sqlite::connection;
use crate::store::sqlite::read::queries;
use crate::store::sqlite::tables::users::{self, PasswordRecord};
use rusqlite::Connection;
use std::path::Path;

/// Answers queries from a connection of its own that cannot write.
pub struct Reader {
    db: Connection,
    ids: IdKey,
    /// The newest position seen.
    position: EventNumber,
}

impl Reader {
    /// Opens the database at `path`, which a `Writer` must have created.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, or is not a database of this schema version.
    pub fn open(path: &Path) -> Result<Reader, OpenError> {
        let (db, meta) = connection::open_reading(path)?;
        Ok(Reader { db, ids: meta.ids, position: EventNumber::default() })
    }

    /// Answers in one short read transaction.
    pub fn answer(&mut self, query: &Query) -> QueryResponse {
        let answer = queries::answer(&self.db, &self.ids, query, self.position);
        self.position = answer.position;
        answer
    }

    /// The password user who logs in with this email, in any case of ASCII letters.
    pub fn password_record(&mut self, email: &str) -> Result<Option<PasswordRecord>, Rejection> {
        users::password_record(&self.db, email).map_err(|error| failed(&error))
    }

    /// The password hash of a user who may log in.
    pub fn password_of(&mut self, user: &UserId) -> Result<Option<String>, Rejection> {
        users::password_of(&self.db, user).map_err(|error| failed(&error))
    }
}

/// Logs an error of SQLite outside of a query, and says what a client is told.
pub(crate) fn failed(error: &rusqlite::Error) -> Rejection {
    log::error!("reading a user failed: {error}");
    rejection_of(error)
}

//! Errors of an engine.

#[cfg(feature = "cluster")]
use crate::store::postgres::error::{ServerError, ServerErrorKind};
use std::fmt;

/// The result of a statement.
pub(crate) type SqlResult<T> = Result<T, EngineError>;

/// The error of an engine. The rules do not interpret it.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// A query that must have a row has none.
    NoRow,
    /// A column has a value that this program does not write.
    Value {
        /// The column, from 0.
        column: usize,
        /// The reason why the value is invalid.
        reason: String,
    },
    /// An error of SQLite.
    Sqlite(rusqlite::Error),
    /// An error of a PostgreSQL server.
    #[cfg(feature = "cluster")]
    Postgres(ServerError),
}

impl EngineError {
    /// The error for the value in a column.
    pub(crate) fn value(column: usize, reason: impl Into<String>) -> EngineError {
        EngineError::Value { column, reason: reason.into() }
    }

    /// Whether the transaction may have been committed all the same, so that it must not run again.
    pub(crate) fn may_have_committed(&self) -> bool {
        #[cfg(feature = "cluster")]
        if let EngineError::Postgres(error) = self {
            return error.kind == ServerErrorKind::OutcomeUnknown;
        }
        false
    }

    /// Whether a server had ended the session, or the connection was lost. That takes no time, and a new session may succeed.
    pub(crate) fn has_lost_session(&self) -> bool {
        #[cfg(feature = "cluster")]
        if let EngineError::Postgres(error) = self {
            return error.kind == ServerErrorKind::Unreachable;
        }
        false
    }

    /// The error of SQLite, if it is one.
    pub(crate) fn sqlite(&self) -> Option<&rusqlite::Error> {
        match self {
            EngineError::Sqlite(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::NoRow => f.write_str("a row is missing"),
            EngineError::Value { column, reason } => write!(f, "column {column} of a row is invalid: {reason}"),
            EngineError::Sqlite(error) => error.fmt(f),
            #[cfg(feature = "cluster")]
            EngineError::Postgres(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> EngineError {
        match error {
            rusqlite::Error::QueryReturnedNoRows => EngineError::NoRow,
            error => EngineError::Sqlite(error),
        }
    }
}

#[cfg(feature = "cluster")]
impl From<ServerError> for EngineError {
    fn from(error: ServerError) -> EngineError {
        EngineError::Postgres(error)
    }
}

/// Reads something, and once more if the session was lost: only a read notices that, and the next one opens a new session.
pub(crate) fn read_in_open_session<T>(read: impl Fn() -> SqlResult<T>) -> SqlResult<T> {
    read().or_else(|error| if error.has_lost_session() { read() } else { Err(error) })
}

/// A row that may be absent.
pub(crate) trait OptionalRow<T> {
    /// The value; `None` if there is no row.
    fn optional(self) -> SqlResult<Option<T>>;
}

impl<T> OptionalRow<T> for SqlResult<T> {
    fn optional(self) -> SqlResult<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(EngineError::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

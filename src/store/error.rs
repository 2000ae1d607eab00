//! Errors of SQLite, as people at a terminal and clients are told of them.

use crate::domain::health::WriterFault;
use crate::domain::result::Rejection;
use crate::store::sqlite::files::atomic_file::directory_of;
use rusqlite::{ErrorCode, ffi};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a database could not be opened; each says so in one line that names the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// A newer program wrote it.
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// A version of this program that was never released wrote it.
    Unreleased {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
    },
    /// The file is no SQLite database.
    NotADatabase(PathBuf),
    /// It is a database of something else.
    Foreign(PathBuf),
    /// Another process holds it.
    Locked(PathBuf),
    /// The file, or a file that belongs beside it, cannot be opened or made.
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// Anything else that SQLite reports.
    Failed {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Newer { path, found, known } => write!(
                f,
                "the database {} has schema version {found}, and this program knows versions up to {known}: use a newer program",
                path.display()
            ),
            OpenError::Unreleased { path, found } => write!(
                f,
                "the database {} was made by an unreleased version of this program (schema version {found}), which this one cannot migrate: export it with that version and import it here",
                path.display()
            ),
            OpenError::NotADatabase(path) => write!(f, "{} is not an SQLite database", path.display()),
            OpenError::Foreign(path) => write!(f, "{} is a database of another program", path.display()),
            OpenError::Locked(path) => write!(f, "the database {} is held by another process", path.display()),
            OpenError::CannotOpen { path, reason } => write!(f, "cannot open {}: {reason}", path.display()),
            OpenError::Failed { path, reason } => write!(f, "the database {} failed: {reason}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// What an error of SQLite means while `path` is opened.
    pub(crate) fn of(path: &Path, error: &rusqlite::Error) -> OpenError {
        let path = path.to_path_buf();
        match error.sqlite_error_code() {
            // Some file systems let a directory be opened and fail only when it is read.
            Some(ErrorCode::SystemIoFailure) if path.is_dir() => OpenError::CannotOpen { reason: why_not(&path), path },
            Some(ErrorCode::NotADatabase) => OpenError::NotADatabase(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked(path),
            Some(ErrorCode::CannotOpen) => OpenError::CannotOpen { reason: why_not(&path), path },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                OpenError::CannotOpen { path, reason: "it cannot be written to".into() }
            }
            _ => OpenError::Failed { path, reason: error.to_string() },
        }
    }
}

/// Whether an error tells of a file that takes no more, and so of the one that is written of several.
pub(crate) fn is_about_writing(error: &rusqlite::Error) -> bool {
    const OF_WRITING: [i32; 3] = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_TRUNCATE];
    let code = error.sqlite_error().map(|error| error.extended_code);
    error.sqlite_error_code() == Some(ErrorCode::DiskFull) || code.is_some_and(|code| OF_WRITING.contains(&code))
}

/// SQLite only says that it cannot open a file; the file system says why.
fn why_not(path: &Path) -> String {
    let directory = directory_of(path);
    match std::fs::metadata(directory) {
        Err(error) => format!("its directory: {error}"),
        Ok(metadata) if !metadata.is_dir() => format!("{} is not a directory", directory.display()),
        Ok(_) if path.is_dir() => "it is a directory".into(),
        Ok(_) if !path.exists() => "it is not there, or may not be made".into(),
        Ok(_) => "the file or its directory does not permit it".into(),
    }
}

/// The error of a row operation. Rules only pass it on.
pub(crate) type EngineError = rusqlite::Error;

/// The error for a row that another row promised.
pub(crate) fn missing_row() -> EngineError {
    rusqlite::Error::QueryReturnedNoRows
}

/// Why an operation ended early.
#[derive(Debug)]
pub(crate) enum Abort<E> {
    /// The operation was rejected, and nothing was changed.
    Rejected(E),
    /// The engine failed. What was written in this transaction is void.
    Failed(EngineError),
}

impl<E> From<EngineError> for Abort<E> {
    fn from(error: EngineError) -> Abort<E> {
        Abort::Failed(error)
    }
}

impl From<Rejection> for Abort<Rejection> {
    fn from(rejection: Rejection) -> Abort<Rejection> {
        Abort::Rejected(rejection)
    }
}

impl From<std::io::Error> for Abort<std::io::Error> {
    fn from(error: std::io::Error) -> Abort<std::io::Error> {
        Abort::Rejected(error)
    }
}

/// What a client is told of an error of SQLite: whether waiting may mend it.
pub(crate) fn rejection_of(error: &rusqlite::Error) -> Rejection {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen,
        ) => Rejection::Unavailable,
        _ => Rejection::Database,
    }
}

/// What is wrong with the database, if the error is about it and not about what was asked of it.
pub(crate) fn fault_of(error: &rusqlite::Error) -> Option<WriterFault> {
    Some(match error.sqlite_error_code()? {
        ErrorCode::DiskFull => WriterFault::Full,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            WriterFault::Locked
        }
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => WriterFault::ReadOnly,
        ErrorCode::SystemIoFailure => WriterFault::Disk,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => WriterFault::Damaged,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_errors_are_the_database_s_own() {
        let table = [
            (ffi::SQLITE_FULL, Some(WriterFault::Full)),
            (ffi::SQLITE_BUSY, Some(WriterFault::Locked)),
            (ffi::SQLITE_IOERR_WRITE, Some(WriterFault::Disk)),
            (ffi::SQLITE_READONLY_DBMOVED, Some(WriterFault::ReadOnly)),
            (ffi::SQLITE_CORRUPT, Some(WriterFault::Damaged)),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, None),
            (ffi::SQLITE_TOOBIG, None),
        ];
        for (code, fault) in table {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(fault_of(&error), fault, "{error}");
        }
        assert_eq!(fault_of(&rusqlite::Error::QueryReturnedNoRows), None);
    }

    #[test]
    fn waiting_mends_some_errors() {
        let table = [
            (ffi::SQLITE_FULL, Rejection::Unavailable),
            (ffi::SQLITE_BUSY, Rejection::Unavailable),
            (ffi::SQLITE_BUSY_SNAPSHOT, Rejection::Unavailable),
            (ffi::SQLITE_LOCKED, Rejection::Unavailable),
            (ffi::SQLITE_IOERR_FSYNC, Rejection::Unavailable),
            (ffi::SQLITE_READONLY, Rejection::Unavailable),
            (ffi::SQLITE_CANTOPEN, Rejection::Unavailable),
            (ffi::SQLITE_CORRUPT, Rejection::Database),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, Rejection::Database),
            (ffi::SQLITE_NOMEM, Rejection::Database),
        ];
        for (code, refusal) in table {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(rejection_of(&error), refusal, "{error}");
        }
        assert_eq!(rejection_of(&rusqlite::Error::QueryReturnedNoRows), Rejection::Database);
    }
}

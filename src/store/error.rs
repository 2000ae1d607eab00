//! Errors of the store, and their meaning for operators, clients and the writer.

use crate::domain::health::WriterFault;
use crate::domain::result::Rejection;
#[cfg(feature = "cluster")]
use crate::store::postgres::error::ServerErrorKind;
use crate::store::sqlite::files::paths::directory_of;
use rusqlite::{ErrorCode, ffi};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a database cannot be opened or used. Its message is one line that names the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// A newer program wrote the database.
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this program supports.
        known: i64,
    },
    /// A version of this program that was never released wrote the database.
    Unreleased {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
    },
    /// The file is not an SQLite database.
    NotADatabase(PathBuf),
    /// The database belongs to another program.
    Foreign(PathBuf),
    /// Another process has the database locked.
    Locked(PathBuf),
    /// The database, or a file that belongs beside it, cannot be opened or created.
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// The reason, for operators.
        reason: String,
    },
    /// SQLite reported another error.
    Failed {
        /// The database.
        path: PathBuf,
        /// The message of SQLite.
        reason: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Newer { path, found, known } => write!(
                f,
                "the database {} has schema version {found}, and this program supports versions up to {known}: use a newer program",
                path.display()
            ),
            OpenError::Unreleased { path, found } => write!(
                f,
                "the database {} was created by an unreleased version of this program (schema version {found}) and cannot be migrated: export it with that version and import it with this one",
                path.display()
            ),
            OpenError::NotADatabase(path) => write!(f, "{} is not an SQLite database", path.display()),
            OpenError::Foreign(path) => write!(f, "{} is a database of another program", path.display()),
            OpenError::Locked(path) => write!(f, "the database {} is locked by another process", path.display()),
            OpenError::CannotOpen { path, reason } => write!(f, "cannot open {}: {reason}", path.display()),
            OpenError::Failed { path, reason } => write!(f, "the database {} failed: {reason}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// A database in memory, which a tool is to open.
    pub(crate) fn in_memory() -> OpenError {
        let reason = "a database in memory cannot be opened by another process".into();
        OpenError::CannotOpen { path: ":memory:".into(), reason }
    }

    /// Interprets an error of an engine about the database at `path`.
    pub(crate) fn of_engine(path: &Path, error: &EngineError) -> OpenError {
        match error {
            EngineError::Sqlite(error) => OpenError::of(path, error),
            #[cfg(feature = "cluster")]
            EngineError::Postgres(error) => match error.kind {
                ServerErrorKind::Busy => OpenError::Locked(path.into()),
                _ if error.ends_session() => OpenError::CannotOpen { path: path.into(), reason: error.to_string() },
                _ => OpenError::Failed { path: path.into(), reason: error.to_string() },
            },
            error => OpenError::Failed { path: path.into(), reason: error.to_string() },
        }
    }

    /// Interprets an error of SQLite about the database at `path`.
    pub(crate) fn of(path: &Path, error: &rusqlite::Error) -> OpenError {
        let path = path.to_path_buf();
        match error.sqlite_error_code() {
            // Some file systems let a directory be opened and fail only when it is read.
            Some(ErrorCode::SystemIoFailure) if path.is_dir() => {
                OpenError::CannotOpen { reason: open_failure(&path), path }
            }
            Some(ErrorCode::NotADatabase) => OpenError::NotADatabase(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked(path),
            Some(ErrorCode::CannotOpen) => OpenError::CannotOpen { reason: open_failure(&path), path },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                OpenError::CannotOpen { path, reason: "it cannot be written to".into() }
            }
            _ => OpenError::Failed { path, reason: error.to_string() },
        }
    }
}

/// Why an operation on a whole database failed: backup, restore, export, import or verification. Its message is one
/// line.
#[derive(Debug)]
pub enum DataError {
    /// A database cannot be opened or used.
    Open(OpenError),
    /// A file with the name of the new file exists.
    Exists(PathBuf),
    /// A file cannot be written.
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The previous database cannot be renamed.
    Keep {
        /// The database.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// Another process is writing the file.
    Busy(PathBuf),
    /// The database to copy is damaged.
    DamagedSource {
        /// The database.
        path: PathBuf,
        /// The first finding.
        finding: String,
    },
    /// The backup is damaged.
    DamagedBackup {
        /// The backup.
        path: PathBuf,
        /// The first finding.
        finding: String,
    },
    /// The target exists, and is not a regular file.
    NotAFile(PathBuf),
    /// A server has the target open.
    InUse {
        /// The target.
        path: PathBuf,
        /// The id of the server's process, if it is known.
        holder: Option<u32>,
    },
    /// The target exists, and the caller did not ask to replace it.
    TargetExists(PathBuf),
    /// The target of an import is a database with data.
    TargetNotEmpty(PathBuf),
    /// A line of an import is invalid.
    Line {
        /// The number of the line, from 1.
        number: u64,
        /// The rule that the line violates.
        rule: String,
    },
    /// One of some lines of an import is invalid.
    Lines {
        /// The number of the first one.
        first: u64,
        /// The number of the last one.
        last: u64,
        /// The rule that the line violates.
        rule: String,
    },
    /// The lines of an import contradict each other.
    Inconsistent(String),
    /// The input of an import cannot be read.
    Input(io::Error),
    /// The output of an export cannot be written.
    Output(io::Error),
    /// No event numbers are left that JavaScript can represent.
    NumbersExhausted,
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataError::Open(error) => error.fmt(f),
            DataError::Exists(path) => {
                write!(f, "{} already exists and is not overwritten: choose another name", path.display())
            }
            DataError::Write { path, error } => write!(f, "{} cannot be written: {error}", path.display()),
            DataError::Keep { path, error } => {
                write!(f, "the previous database {} cannot be renamed: {error}", path.display())
            }
            DataError::Busy(path) => write!(f, "{} is being written by another process", path.display()),
            DataError::DamagedSource { path, finding } => {
                write!(f, "the database {} is damaged: {finding}", path.display())
            }
            DataError::DamagedBackup { path, finding } => {
                write!(f, "the backup {} is damaged and was not restored: {finding}", path.display())
            }
            DataError::NotAFile(path) => {
                write!(f, "{} is not a file, so it cannot be replaced by a database", path.display())
            }
            DataError::InUse { path, holder } => {
                let holder = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
                write!(f, "a server{holder} has the database {} open: stop the server first", path.display())
            }
            DataError::TargetExists(path) => write!(
                f,
                "the database {} already exists: --force renames it and puts the backup in its place",
                path.display()
            ),
            DataError::TargetNotEmpty(path) => write!(
                f,
                "the database {} is not empty: import into a new database, at another DATABASE_URL",
                path.display()
            ),
            DataError::Line { number, rule } => write!(f, "line {number}: {rule}"),
            DataError::Lines { first, last, rule } => write!(f, "one of the lines {first} to {last}: {rule}"),
            DataError::Inconsistent(finding) => write!(f, "the lines are inconsistent: {finding}"),
            DataError::Input(error) => write!(f, "the input cannot be read: {error}"),
            DataError::Output(error) => write!(f, "the output cannot be written: {error}"),
            DataError::NumbersExhausted => f.write_str("no event numbers are left that JavaScript can represent"),
        }
    }
}

impl std::error::Error for DataError {}

impl From<OpenError> for DataError {
    fn from(error: OpenError) -> DataError {
        DataError::Open(error)
    }
}

/// Whether an error comes from writing. During a copy, such an error concerns the target and not the source.
pub(crate) fn is_about_writing(error: &rusqlite::Error) -> bool {
    const OF_WRITING: [i32; 3] = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_TRUNCATE];
    let code = error.sqlite_error().map(|error| error.extended_code);
    error.sqlite_error_code() == Some(ErrorCode::DiskFull) || code.is_some_and(|code| OF_WRITING.contains(&code))
}

/// The reason why a file cannot be opened. SQLite does not report it.
fn open_failure(path: &Path) -> String {
    let directory = directory_of(path);
    match std::fs::metadata(directory) {
        Err(error) => format!("its directory cannot be used: {error}"),
        Ok(metadata) if !metadata.is_dir() => format!("{} is not a directory", directory.display()),
        Ok(_) if path.is_dir() => "it is a directory".into(),
        Ok(_) if !path.exists() => "it does not exist and cannot be created".into(),
        Ok(_) => "the permissions of the file or its directory do not allow it".into(),
    }
}

pub(crate) use crate::store::sql::EngineError;

/// The error for a missing row that another row refers to.
pub(crate) fn missing_row() -> EngineError {
    EngineError::NoRow
}

/// Why an operation ended early.
#[derive(Debug)]
pub(crate) enum Abort<E> {
    /// The operation was rejected, and nothing was changed.
    Rejected(E),
    /// The engine failed. The transaction must be rolled back.
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

impl From<io::Error> for Abort<io::Error> {
    fn from(error: io::Error) -> Abort<io::Error> {
        Abort::Rejected(error)
    }
}

/// The rejection of a request that failed with an error of the engine: `Unavailable` if a retry may succeed.
pub(crate) fn rejection_of(error: &EngineError) -> Rejection {
    #[cfg(feature = "cluster")]
    if let EngineError::Postgres(error) = error {
        let may_succeed = !matches!(error.kind, ServerErrorKind::Statement | ServerErrorKind::Damaged);
        return if may_succeed { Rejection::Unavailable } else { Rejection::Database };
    }
    match error.sqlite().and_then(rusqlite::Error::sqlite_error_code) {
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

/// The fault of the database that an error reports; `None` if the error is about the statement.
pub(crate) fn fault_of(error: &EngineError) -> Option<WriterFault> {
    #[cfg(feature = "cluster")]
    if let EngineError::Postgres(error) = error {
        return match error.kind {
            ServerErrorKind::Unreachable | ServerErrorKind::Silent | ServerErrorKind::OutcomeUnknown => {
                Some(WriterFault::Unreachable)
            }
            ServerErrorKind::Busy => Some(WriterFault::Locked),
            ServerErrorKind::Full => Some(WriterFault::Full),
            ServerErrorKind::ReadOnly => Some(WriterFault::ReadOnly),
            ServerErrorKind::Damaged => Some(WriterFault::Damaged),
            ServerErrorKind::Statement => None,
        };
    }
    Some(match error.sqlite()?.sqlite_error_code()? {
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
    fn errors_of_the_database_are_told_from_errors_of_statements() {
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
            let error = EngineError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert_eq!(fault_of(&error), fault, "{error}");
        }
        assert_eq!(fault_of(&EngineError::NoRow), None);
    }

    #[test]
    fn rejections_tell_whether_a_retry_may_succeed() {
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
        for (code, rejection) in table {
            let error = EngineError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert_eq!(rejection_of(&error), rejection, "{error}");
        }
        assert_eq!(rejection_of(&EngineError::NoRow), Rejection::Database);
    }
}

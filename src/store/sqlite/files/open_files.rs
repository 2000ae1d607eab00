//! The files of a database that is open for writing, by identity. Another process may remove, move or replace any of them, and
//! SQLite would continue in files that have no name: everything would be lost with the process. The log may also be overwritten
//! in place, which its index shows.

use crate::store::sql::EngineError;
use crate::store::sqlite::files::log_index::{IndexHeader, LogContent};
use crate::store::sqlite::files::paths::{FileId, file_id, id_of, sibling};
use rusqlite::ffi;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The files, each with the name that must lead to it.
pub(crate) struct OpenFiles {
    database: OpenFile,
    log: OpenFile,
    /// The index of the log, by which processes coordinate.
    index: OpenFile,
    content: LogContent,
}

struct OpenFile {
    path: PathBuf,
    id: FileId,
}

/// A file whose name does not lead to it any more, or a log with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DisplacedFile {
    subject: &'static str,
    /// What is at the names of the log and its index.
    pub log: LogState,
}

/// What is at the names of a log and its index, if a file of the database was displaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogState {
    /// No other file has the name of the log or the index, and the log has its name or the database has lost its own.
    InPlace,
    /// The log has no name, or an empty file has it, and no other file has another name. The pages in the log can be saved to
    /// the database.
    Removed,
    /// Another file. The next process applies it to the database, which must stay as the file expects it.
    Replaced,
    /// The log, overwritten in place. The next process applies it, as another file.
    Overwritten,
}

impl OpenFiles {
    /// The files of the database at `path`, which a connection has open in WAL mode. `None` if one of them has no name already.
    pub(crate) fn of(path: &Path) -> Option<OpenFiles> {
        let open = |path: PathBuf| file_id(&path).map(|id| OpenFile { path, id });
        let log_path = sibling(path, "-wal");
        let log = File::open(&log_path).ok()?;
        Some(OpenFiles {
            database: open(path.into())?,
            log: OpenFile { path: log_path, id: id_of(&log.metadata().ok()?) },
            index: open(sibling(path, "-shm"))?,
            content: LogContent::of(log),
        })
    }

    /// Checks that every name leads to the file that was opened, and that the log has the content that its index describes.
    /// This costs a system call for each file, and three or four for the content. `header` reads the index.
    pub(crate) fn check(&self, header: impl Fn() -> Option<IndexHeader>) -> Result<(), DisplacedFile> {
        let index = self.index.target();
        self.check_with(index, header)
    }

    /// Checks the files that have the data: all but the index, which a process may lose without losing a commit.
    pub(crate) fn check_data(&self, header: impl Fn() -> Option<IndexHeader>) -> Result<(), DisplacedFile> {
        self.check_with(NameTarget::Same, header)
    }

    fn check_with(&self, index: NameTarget, header: impl Fn() -> Option<IndexHeader>) -> Result<(), DisplacedFile> {
        let (database, log) = (self.database.target(), self.log.target());
        let subject = match (database, log, index) {
            (NameTarget::Same, NameTarget::Same, NameTarget::Same) if self.content.is_intact(header) => return Ok(()),
            (NameTarget::Same, NameTarget::Same, NameTarget::Same) => {
                return Err(DisplacedFile { subject: "write-ahead log", log: LogState::Overwritten });
            }
            (NameTarget::Same, NameTarget::Same, _) => "shared memory",
            (NameTarget::Same, ..) => "write-ahead log",
            _ => "file",
        };
        let log = match (log, index) {
            (NameTarget::Missing | NameTarget::Other { is_empty: true }, NameTarget::Same | NameTarget::Missing)
                if database == NameTarget::Same =>
            {
                LogState::Removed
            }
            (NameTarget::Other { .. }, _) | (_, NameTarget::Other { .. }) => LogState::Replaced,
            _ => LogState::InPlace,
        };
        Err(DisplacedFile { subject, log })
    }
}

/// What a name leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameTarget {
    /// The file that was opened.
    Same,
    /// Nothing.
    Missing,
    /// Another file.
    Other { is_empty: bool },
}

impl OpenFile {
    fn target(&self) -> NameTarget {
        match fs::metadata(&self.path) {
            Ok(file) if id_of(&file) == self.id => NameTarget::Same,
            Ok(file) => NameTarget::Other { is_empty: file.len() == 0 },
            Err(_) => NameTarget::Missing,
        }
    }
}

impl From<DisplacedFile> for EngineError {
    fn from(displaced: DisplacedFile) -> EngineError {
        let moved = ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED);
        let change = match displaced.log {
            LogState::Overwritten => "overwritten",
            _ => "moved, removed or replaced",
        };
        let text = format!("its {} was {change}", displaced.subject);
        rusqlite::Error::SqliteFailure(moved, Some(text)).into()
    }
}

/// Whether the log of the database at `path` was removed while it was in use. SQLite creates the log before its index, and
/// removes it after its index, so the index is never alone. A connection would create an empty log, and use it with the index
/// of the removed one.
pub(crate) fn is_log_removed(path: &Path) -> bool {
    let (log, index) = (sibling(path, "-wal"), sibling(path, "-shm"));
    // Another process may open or close the database meanwhile.
    !log.exists() && index.exists() && !log.exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::support::TempDir;

    /// A name, a change of files, what it displaces, and whether the database and its log are still in place.
    type DisplacementCase = (&'static str, fn(&dyn Fn(&str) -> PathBuf), Option<(&'static str, LogState)>, bool);

    #[test]
    fn displaced_files_are_detected_by_identity() {
        let table: [DisplacementCase; 9] = [
            ("nothing", |_| {}, None, true),
            ("grown", |at| fs::write(at("-wal"), "longer than before").unwrap(), None, true),
            (
                "log removed",
                |at| fs::remove_file(at("-wal")).unwrap(),
                Some(("write-ahead log", LogState::Removed)),
                false,
            ),
            ("log empty", |at| replace(at("-wal"), ""), Some(("write-ahead log", LogState::Removed)), false),
            ("log replaced", |at| replace(at("-wal"), "copy"), Some(("write-ahead log", LogState::Replaced)), false),
            (
                "index removed",
                |at| fs::remove_file(at("-shm")).unwrap(),
                Some(("shared memory", LogState::InPlace)),
                true,
            ),
            ("index replaced", |at| replace(at("-shm"), ""), Some(("shared memory", LogState::Replaced)), true),
            ("database replaced", |at| replace(at(""), "copy"), Some(("file", LogState::InPlace)), false),
            (
                "all removed",
                |at| ["", "-wal", "-shm"].iter().for_each(|name| fs::remove_file(at(name)).unwrap()),
                Some(("file", LogState::InPlace)),
                false,
            ),
        ];
        for (name, change, expected, has_data) in table {
            let directory = TempDir::new();
            let at = |suffix: &str| sibling(&directory.file("a.db"), suffix);
            ["", "-wal", "-shm"].iter().for_each(|suffix| fs::write(at(suffix), "x").unwrap());
            let files = OpenFiles::of(&at("")).unwrap();
            change(&at);
            let expected = expected.map(|(subject, log)| DisplacedFile { subject, log });
            assert_eq!(files.check(|| None).err(), expected, "{name}");
            assert_eq!(files.check_data(|| None).is_ok(), has_data, "{name}");
        }
    }

    fn replace(path: PathBuf, content: &str) {
        let copy = path.with_extension("copy");
        fs::write(&copy, content).unwrap();
        fs::rename(&copy, &path).unwrap();
    }
}

//! A file that is written under a temporary name, and renamed to its target when it is complete and on disk.
//!
//! Invariant: at every moment the target name refers to the previous file or to the complete new file.

use crate::store::error::DataError;
use crate::store::sqlite::files::paths::{is_taken, remove, sibling, sync_directory_of};
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Suffixes of the files that SQLite may keep beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A file under its temporary name, which only its owner can read. It is removed on drop. A file that a killed process left
/// under the name is reused.
pub(crate) struct AtomicFile {
    target: PathBuf,
    path: PathBuf,
    /// Locked, so that only one process writes to the file.
    file: File,
    is_published: bool,
}

impl AtomicFile {
    /// Creates the file that will replace `target`.
    ///
    /// # Errors
    /// Fails if the file cannot be created, or if another process is writing it.
    pub(crate) fn create(target: &Path) -> Result<AtomicFile, DataError> {
        let path = sibling(target, ".partial");
        let failed = |error| DataError::Write { path: path.clone(), error };
        let file = loop {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            // `O_NOFOLLOW`, because a symbolic link may refer to another user's file.
            let file = options.custom_flags(libc::O_NOFOLLOW).open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(DataError::Busy(path)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // The previous holder of the lock may have renamed or removed the file in between.
            let (opened, named) = (file.metadata().map_err(failed)?, fs::metadata(&path));
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())) {
                break file;
            }
        };
        file.set_len(0).map_err(failed)?;
        let created = AtomicFile { target: target.into(), path, file, is_published: false };
        created.remove_companions();
        Ok(created)
    }

    /// The temporary path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Syncs the file and renames it to its target. An existing target is replaced.
    ///
    /// # Errors
    /// Fails if the file cannot be synced or renamed. If only the directory cannot be synced, the file has been renamed.
    pub(crate) fn publish(mut self) -> Result<(), DataError> {
        let failed = |error| DataError::Write { path: self.target.clone(), error };
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.path, &self.target).map_err(failed)?;
        self.is_published = true;
        sync_directory_of(&self.target).map_err(|error| DataError::Write { path: self.target.clone(), error })
    }

    fn remove_companions(&self) {
        for suffix in COMPANIONS {
            remove(&sibling(&self.path, suffix));
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.is_published {
            remove(&self.path);
            self.remove_companions();
        }
    }
}

/// Checks that no file has the name `path`.
pub(crate) fn reject_existing(path: &Path) -> Result<(), DataError> {
    if is_taken(path) { Err(DataError::Exists(path.into())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::support::TempDir;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_renamed_when_it_is_complete() {
        let directory = TempDir::new();
        let target = directory.file("a");
        fs::write(&target, "old").unwrap();
        fs::write(directory.file("a.partial"), "left by a process that was killed").unwrap();
        fs::write(directory.file("a.partial-wal"), "left too").unwrap();

        let dropped = AtomicFile::create(&target).unwrap();
        dropped.file().write_all(b"half").unwrap();
        assert!(AtomicFile::create(&target).is_err_and(|error| error.to_string().contains("another process")));
        drop(dropped);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1, "no other file is left");

        let whole = AtomicFile::create(&target).unwrap();
        whole.file().write_all(b"new").unwrap();
        whole.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(reject_existing(&target).is_err_and(|error| error.to_string().contains("not overwritten")));
        let error = AtomicFile::create(&directory.file("no/a")).err().unwrap();
        assert!(error.to_string().contains("no/a.partial"), "{error}");
    }
}

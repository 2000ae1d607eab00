//! The lock that allows one writing process per database.

use crate::store::error::OpenError;
use crate::store::sqlite::files::paths::{chown_to_parent, sibling};
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// An advisory lock (`flock`) on `<database>.lock`. The kernel releases it when the process ends. The file is never removed:
/// otherwise a process could lock a new file while another one waits for the removed file.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Acquires the lock of the database at `path`, and writes the id of this process into the file; `None` while another process
    /// holds the lock.
    ///
    /// # Errors
    /// Fails if the lock file cannot be created, locked or written.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Lock>, OpenError> {
        let path = sibling(path, ".lock");
        let failed = |error: io::Error| OpenError::CannotOpen { path: path.clone(), reason: error.to_string() };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&path).map_err(failed)?;
        chown_to_parent(&file, &path);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Some(Lock { file }))
    }

    /// The id of the process that holds the lock of the database at `path`, according to the file.
    pub(crate) fn holder(path: &Path) -> Option<u32> {
        std::fs::read_to_string(sibling(path, ".lock")).ok()?.trim().parse().ok()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The id only informs operators. Closing the descriptor releases the lock.
        if let Err(error) = self.file.set_len(0) {
            log::debug!("the process id cannot be removed from the lock file: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::support::TempDir;

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let directory = TempDir::new();
        let path = directory.file("a.db");
        let lock = Lock::try_acquire(&path).unwrap().expect("no process holds it");
        assert_eq!(Lock::holder(&path), Some(std::process::id()));
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        drop(lock);
        assert_eq!(Lock::holder(&path), None);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn the_error_names_a_missing_directory() {
        let directory = TempDir::new();
        let error = Lock::try_acquire(&directory.file("no/a.db")).unwrap_err();
        assert!(error.to_string().contains("no/a.db.lock"), "{error}");
    }
}

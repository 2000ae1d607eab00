//! The lock that admits one writing process per database.

use crate::store::OpenError;
use crate::store::sqlite::files::atomic_file::{beside, hand_over};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// An advisory lock (`flock`) on `<database>.lock`. The kernel releases it with the process, whatever ends it; the file
/// stays, since removing it would let a third process lock a file that a second one already waits for.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`, and writes this process's id into it; `None` while another holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Lock>, OpenError> {
        let path = beside(path, ".lock");
        let failed = |error: std::io::Error| OpenError::CannotOpen { path: path.clone(), reason: error.to_string() };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&path).map_err(failed)?;
        hand_over(&file, &path);
        if !flock(&file).map_err(failed)? {
            return Ok(None);
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Some(Lock { file }))
    }

    /// The id of the process that holds the lock of the database at `path`, as far as the file says.
    pub fn holder(path: &Path) -> Option<u32> {
        std::fs::read_to_string(beside(path, ".lock")).ok()?.trim().parse().ok()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only for people who look into the file: the lock itself goes with the descriptor.
        if let Err(error) = self.file.set_len(0) {
            log::debug!("the lock file keeps its process id: {error}");
        }
    }
}

/// Takes the lock of an open file; `false` while another descriptor has it.
pub(crate) fn flock(file: &File) -> std::io::Result<bool> {
    loop {
        // SAFETY: flock takes a descriptor, which `file` keeps open for the whole call, and no pointer.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = std::io::Error::last_os_error();
        match error.kind() {
            ErrorKind::WouldBlock => return Ok(false),
            ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::support::TempDir;

    #[test]
    fn one_holder_at_a_time() {
        let directory = TempDir::new();
        let path = directory.file("a.db");
        let lock = Lock::try_acquire(&path).unwrap().expect("nobody holds it");
        assert_eq!(Lock::holder(&path), Some(std::process::id()));
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        drop(lock);
        assert_eq!(Lock::holder(&path), None);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = TempDir::new();
        let error = Lock::try_acquire(&directory.file("no/a.db")).unwrap_err();
        assert!(error.to_string().contains("no/a.db.lock"), "{error}");
    }
}

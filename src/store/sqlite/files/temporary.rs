//! The private file of a database in memory (`:memory:`).

use crate::base::random::fill_secret;
use crate::store::error::OpenError;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A new directory for one database, which only its owner can access. It is removed with its files on drop.
#[derive(Debug)]
pub(crate) struct TemporaryDatabase {
    directory: PathBuf,
}

impl TemporaryDatabase {
    /// Creates the directory.
    ///
    /// # Errors
    /// Fails if no directory for temporary files is writable.
    pub(crate) fn create() -> Result<TemporaryDatabase, OpenError> {
        let mut random = [0; 8];
        fill_secret(&mut random);
        let name = format!("cortex-core-{:016x}", u64::from_ne_bytes(random));
        let create = |parent: &Path| -> io::Result<PathBuf> {
            let directory = parent.join(&name);
            DirBuilder::new().mode(0o700).create(&directory)?;
            Ok(directory)
        };
        let parent = std::env::temp_dir();
        // A minimal container may have no other directory for temporary files.
        let created = create(&parent).or_else(|error| create(Path::new("/dev/shm")).map_err(|_| error));
        match created {
            Ok(directory) => Ok(TemporaryDatabase { directory }),
            Err(error) => Err(OpenError::CannotOpen {
                reason: format!("cannot create a temporary file in {}: {error}", parent.display()),
                path: PathBuf::from(":memory:"),
            }),
        }
    }

    /// The path of the database file.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("database")
    }
}

impl Drop for TemporaryDatabase {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            log::debug!("{} cannot be removed: {error}", self.directory.display());
        }
    }
}

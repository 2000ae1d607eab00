//! Names, identity and ownership of files beside a database.

use crate::config::types::Database;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

/// Maximum number of symbolic links to resolve one after the other: that of Linux (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// The database with the symbolic links at the end of its path resolved. The log and the lock of a database are beside the
/// file itself, whatever name it is opened by, and a restore replaces the file and not the link.
pub(crate) fn resolve_symlinks(database: &Database) -> Database {
    let Database::File(path) = database else { return database.clone() };
    let mut path = path.clone();
    for _ in 0..LINKS_MAX {
        let Ok(to) = fs::read_link(&path) else { break };
        path.set_file_name(to);
    }
    Database::File(path)
}

/// The path with `suffix` appended to its last component.
pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

/// The directory of a file.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file, directory or link has this name, including a dangling link.
pub(crate) fn is_taken(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Device and inode, which identify a file independently of its name.
pub(crate) type FileId = (u64, u64);

/// The id of the file that has this name now.
pub(crate) fn file_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|file| id_of(&file))
}

/// The id of a file.
pub(crate) fn id_of(file: &Metadata) -> FileId {
    (file.dev(), file.ino())
}

/// Syncs the directory of a file, so that renamed and removed files in it are on disk.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Removes a file, if it exists. Logs a failure.
pub(crate) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("{} cannot be removed: {error}", path.display());
        }
        _ => {}
    }
}

/// Changes the owner of a file that root has created to the owner of its directory, so that a server of another user can open
/// it. Does nothing if another user created the file.
pub(crate) fn chown_to_parent(file: &File, path: &Path) {
    let (Ok(created), Ok(directory)) = (file.metadata(), fs::metadata(directory_of(path))) else { return };
    // A file with several hard links may belong to another directory.
    if created.uid() == 0
        && directory.uid() != 0
        && created.nlink() == 1
        && let Err(error) = fchown(file, Some(directory.uid()), Some(directory.gid()))
    {
        log::warn!("cannot change the owner of {} from root: {error}", path.display());
    }
}

//! A file that is written under another name, and gets its own only when it is whole and on disk.
//!
//! Invariant: under the file's own name there is at every moment what was there before, or all of the new file.

use crate::store::sqlite::files::lock::flock;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// How far a long piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done, in units that `of` has too.
    pub done: u64,
    /// All there is, if that is known.
    pub of: Option<u64>,
}

/// Is told how far a long piece of work is, many times a second.
pub type Report<'a> = &'a mut dyn FnMut(Progress);

/// Links that are followed one after the other, as many as Linux does (path_resolution(7)). More lead nowhere.
const LINKS_MAX: u32 = 40;

/// The files that SQLite may keep beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The file that a path leads to, where its last part is a symbolic link. Log and lock of a database stand beside the file
/// itself, by whatever name it is opened, and another file takes the place of that file.
pub fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let Ok(to) = fs::read_link(&path) else { break };
        path.set_file_name(to);
    }
    path
}

/// The path of a file that stands beside `path` and ends in `suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

/// A file under its other name, readable for its owner alone. It is removed when it is dropped; what a process left that
/// was killed, the next one takes over.
pub(crate) struct Partial {
    target: PathBuf,
    path: PathBuf,
    /// Locked, so that two processes do not write to it.
    file: File,
    is_named: bool,
}

impl Partial {
    /// Begins a file that will be `target`. Errors are one line for people.
    pub(crate) fn begin(target: &Path) -> Result<Partial, String> {
        let path = beside(target, ".partial");
        let failed = |error: io::Error| format!("{} cannot be written: {error}", path.display());
        let file = loop {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            // Another's file is not written to, whoever has put a link there.
            let file = options.custom_flags(libc::O_NOFOLLOW).open(&path);
            let file = file.map_err(failed)?;
            if !flock(&file).map_err(failed)? {
                return Err(format!("{} is being written by another process", path.display()));
            }
            // The one that had the lock may have given the file its name, or removed it, meanwhile.
            let (ours, there) = (file.metadata().map_err(failed)?, fs::metadata(&path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                break file;
            }
        };
        file.set_len(0).map_err(failed)?;
        let partial = Partial { target: target.into(), path, file, is_named: false };
        partial.remove_companions();
        Ok(partial)
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Syncs it and gives it its name, in place of what has it.
    pub(crate) fn publish(mut self) -> Result<(), String> {
        let target = &self.target;
        let failed = |error: io::Error| format!("{} cannot be written: {error}", target.display());
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.path, target).map_err(failed)?;
        self.is_named = true;
        sync_directory_of(target).map_err(failed)
    }

    fn remove_companions(&self) {
        for suffix in COMPANIONS {
            remove(&beside(&self.path, suffix));
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_named {
            remove(&self.path);
            self.remove_companions();
        }
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => log::warn!("{} stays: {error}", path.display()),
        _ => {}
    }
}

/// Gives a file that root has made in the place of `path`, or beside it, to whom the directory belongs: a server that runs as
/// somebody else could not open it. Nobody else has files to give away.
pub(crate) fn hand_over(file: &File, path: &Path) {
    let (Ok(made), Ok(directory)) = (file.metadata(), fs::metadata(directory_of(path))) else { return };
    // A file with a second name may be anything.
    if made.uid() == 0
        && directory.uid() != 0
        && made.nlink() == 1
        && let Err(error) = fchown(file, Some(directory.uid()), Some(directory.gid()))
    {
        log::warn!("{} belongs to root: {error}", path.display());
    }
}

/// What tells a file from all others, whatever its name: device and inode.
pub(crate) type FileId = (u64, u64);

/// Which file has this name now.
pub(crate) fn file_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Makes the names in a file's directory last.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Where a file stands.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses a name that is taken.
pub(crate) fn refuse_existing(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(format!("{} is there already, and is not overwritten: name another file", path.display())),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::support::TempDir;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_gets_its_name_when_it_is_whole() {
        let directory = TempDir::new();
        let target = directory.file("a");
        fs::write(&target, "old").unwrap();
        fs::write(directory.file("a.partial"), "left by a process that was killed").unwrap();
        fs::write(directory.file("a.partial-wal"), "left too").unwrap();

        let dropped = Partial::begin(&target).unwrap();
        dropped.file().write_all(b"half").unwrap();
        assert!(Partial::begin(&target).is_err_and(|error| error.contains("another process")));
        drop(dropped);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1, "nothing else is left");

        let whole = Partial::begin(&target).unwrap();
        whole.file().write_all(b"new").unwrap();
        whole.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(refuse_existing(&target).is_err_and(|error| error.contains("not overwritten")));
        assert!(Partial::begin(&directory.file("no/a")).is_err_and(|error| error.contains("no/a.partial")));
    }
}

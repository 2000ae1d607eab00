//! What the commands about the database file share.

use super::{Failure, settings};
use crate::runtime::server;
use crate::store::{Database, Progress};
use lexopt::prelude::*;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two reports of progress.
const REPORT_PAUSE: Duration = Duration::from_millis(200);

/// The file that the settings name.
pub(super) fn database() -> Result<PathBuf, Failure> {
    match server::database(&settings()?) {
        Database::File(path) => Ok(path),
        Database::Memory => {
            Err(String::from("DATABASE_URL names a database in memory, which only its own server sees").into())
        }
    }
}

/// What a command was given: at most one file, and options of its own.
pub(super) struct Arguments {
    /// The file.
    pub file: Option<PathBuf>,
    /// Whether the option was there.
    pub option: bool,
}

/// Reads the arguments of a command that has one option at most, named without its dashes.
pub(super) fn arguments(parser: &mut lexopt::Parser, option: Option<&str>) -> Result<Arguments, Failure> {
    let mut found = Arguments { file: None, option: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long(name) if Some(name) == option => found.option = true,
            Value(value) if found.file.is_none() && !value.is_empty() => found.file = Some(value.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(found)
}

impl Arguments {
    /// The file, which there must be.
    pub(super) fn required(&self) -> Result<&Path, Failure> {
        match self.file.as_deref() {
            // It can be neither read twice nor written anywhere but in order.
            Some(file) if is_standard(file) => Err(Failure::usage("a database is a file; one of the name - is ./-")),
            Some(file) => Ok(file),
            None => Err(Failure::usage("a file is missing")),
        }
    }
}

/// Whether a file is a standard stream: a single dash.
pub(super) fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Shows on a terminal how far something is, and nothing anywhere else.
pub(super) struct Meter {
    doing: &'static str,
    /// When it was shown last; `None` where nobody looks.
    shown: Option<Instant>,
    is_shown: bool,
}

impl Meter {
    /// For something that is called `doing`.
    pub(super) fn new(doing: &'static str) -> Meter {
        let shown = std::io::stderr().is_terminal().then(Instant::now);
        Meter { doing, shown, is_shown: false }
    }

    /// Takes how far it is.
    pub(super) fn show(&mut self, progress: Progress) {
        if self.shown.is_none_or(|shown| shown.elapsed() < REPORT_PAUSE) {
            return;
        }
        self.shown = Some(Instant::now());
        self.is_shown = true;
        let text = match progress.of {
            Some(all) if all > 0 => format!("{} %", progress.done * 100 / all),
            _ => progress.done.to_string(),
        };
        let _ = write!(std::io::stderr(), "\r{}: {text}\x1b[K", self.doing);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

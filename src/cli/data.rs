//! The shared parts of the commands on whole databases: the database, arguments, and the progress meter.

use super::{CliError, settings};
use crate::base::memory_plan::{Instances, MemoryDemand, MemoryPlan};
use crate::config::from_environment;
use crate::config::types::Database;
use crate::runtime::memory_limit::memory_limit;
use crate::store::{self, DataError, Progress, resolve_symlinks};
use lexopt::prelude::*;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two reports of progress.
const REPORT_PAUSE: Duration = Duration::from_millis(200);

/// The database that the settings name.
pub(super) fn database() -> Result<Database, CliError> {
    match resolve_symlinks(&settings()?.database) {
        Database::Memory => {
            Err(String::from("DATABASE_URL names a database in memory, which only its own server can open").into())
        }
        database => Ok(database),
    }
}

/// The database file that the settings name.
pub(super) fn database_file() -> Result<PathBuf, CliError> {
    match database()? {
        Database::File(path) => Ok(path),
        _ => Err(String::from(
            "DATABASE_URL names a PostgreSQL server, which has its own tools for this: pg_basebackup and \
             point-in-time recovery",
        )
        .into()),
    }
}

/// Limits the memory of this process to what the memory plan has for one command beside a server. `setting` is
/// `MEMORY_LIMIT_BYTES`.
pub(super) fn limit_memory(setting: Option<u64>) {
    let limit_bytes = memory_limit(setting).bytes;
    let demand = MemoryDemand { limit_bytes, workers: 1, connections_max: 1, instances: Instances::One };
    if let Ok(plan) = MemoryPlan::new(demand) {
        store::limit_memory(plan.command_cache_bytes(), plan.unsynced_pages());
    }
}

/// The arguments of a command: at most one file, and its own option.
pub(super) struct Arguments {
    /// The file argument.
    pub file: Option<PathBuf>,
    /// Whether the option was given.
    pub option: bool,
}

/// Parses the arguments of a command with at most one option, named without its dashes.
pub(super) fn arguments(parser: &mut lexopt::Parser, option: Option<&str>) -> Result<Arguments, CliError> {
    // These commands also work while other settings are invalid.
    limit_memory(from_environment().ok().and_then(|loaded| loaded.settings.memory_limit_bytes));
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
    /// The file argument, which is required.
    pub(super) fn required(&self) -> Result<&Path, CliError> {
        match self.file.as_deref() {
            // A stream can be neither read twice nor written out of order.
            Some(file) if is_standard(file) => Err(CliError::usage("a database is a file; one of the name - is ./-")),
            Some(file) => Ok(file),
            None => Err(CliError::usage("a file is missing")),
        }
    }
}

/// Whether a file argument names a standard stream: a single dash.
pub(super) fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Shows the progress of an operation if standard error is a terminal.
pub(super) struct Meter {
    label: &'static str,
    /// When progress was shown last; `None` without a terminal.
    shown: Option<Instant>,
    is_shown: bool,
}

impl Meter {
    pub(super) fn new(label: &'static str) -> Meter {
        let shown = std::io::stderr().is_terminal().then(Instant::now);
        Meter { label, shown, is_shown: false }
    }

    /// Shows the progress, unless it was shown a moment ago.
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
        let _ = write!(std::io::stderr(), "\r{}: {text}\x1b[K", self.label);
    }
}

impl From<DataError> for CliError {
    fn from(error: DataError) -> CliError {
        error.to_string().into()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

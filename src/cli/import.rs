//! `import`: creates a database from an export.

use super::data::{Meter, arguments, database, is_standard};
use super::{CliError, output::print_text};
use crate::runtime::{clock::Clock, process};
use crate::store;
use std::fs::File;
use std::io::{BufRead, BufReader};

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let given = arguments(parser, None)?;
    let target = database()?;
    process::keep_files_private();
    let mut input: Box<dyn BufRead> = match given.file.filter(|file| !is_standard(file)) {
        Some(file) => Box::new(BufReader::new(
            File::open(&file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?,
        )),
        None => Box::new(std::io::stdin().lock()),
    };
    let mut meter = Meter::new("imported lines");
    let now = Clock::start().now().wall;
    let report = store::import(&target, &mut input, now, &mut |progress| meter.show(progress))?;
    drop(meter);
    if let Some(kept) = report.kept {
        print_text(&format!("{}: the empty database that was there before\n", kept.display()))?;
    }
    print_text(&format!(
        "{}: {}, new events from {}\n",
        report.path.display(),
        report.counts,
        report.continues_after.next()
    ))?;
    Ok(())
}

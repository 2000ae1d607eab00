//! `restore`: replaces the database with a backup.

use super::data::{Meter, arguments, database_file};
use super::{CliError, output::print_text};
use crate::runtime::{clock::Clock, process};
use crate::store;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let given = arguments(parser, Some("force"))?;
    let file = given.required()?;
    let target = database_file()?;
    process::keep_files_private();
    let mut meter = Meter::new("restored");
    let now = Clock::start().now().wall;
    let report = store::restore(file, &target, given.option, now, &mut |progress| meter.show(progress))?;
    drop(meter);
    if let Some(kept) = report.kept {
        print_text(&format!(
            "{}: the previous database
",
            kept.display()
        ))?;
    }
    print_text(&format!(
        "{}: events through {}, new ones from {}\n",
        target.display(),
        report.through,
        report.continues_after.next()
    ))?;
    Ok(())
}

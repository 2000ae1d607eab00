//! `backup`: copies the database.

use super::data::{Meter, arguments, database_file};
use super::{CliError, output::print_text};
use crate::store;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let given = arguments(parser, None)?;
    let file = given.required()?;
    let source = database_file()?;
    let mut meter = Meter::new("copied");
    let report = store::backup(&source, file, &mut |progress| meter.show(progress))?;
    drop(meter);
    print_text(&format!("{}: {} bytes, events through {}\n", file.display(), report.bytes, report.through))?;
    Ok(())
}

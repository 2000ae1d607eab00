//! `verify`: checks a database.

use super::data::{Meter, arguments, database};
use super::{CliError, output::print_text};
use crate::config::types::Database;
use crate::store;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let given = arguments(parser, None)?;
    let database = given.file.map_or_else(database, |file| Ok(Database::File(file)))?;
    let mut meter = Meter::new("checked");
    let report = store::verify(&database, &mut |progress| meter.show(progress))?;
    drop(meter);
    if !report.findings.is_empty() {
        for finding in &report.findings {
            print_text(&format!("{finding}\n"))?;
        }
        return Err(format!("{}: {} findings", report.path.display(), report.findings.len()).into());
    }
    let counts: Vec<String> = report.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    print_text(&format!("ok: {}, events through {}\n", counts.join(", "), report.position))?;
    Ok(())
}

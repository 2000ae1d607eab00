//! `export`: everything that people have put in, as lines of text.

use super::Failure;
use super::data::{Meter, arguments, database, is_standard};
use crate::store;
use std::io::BufWriter;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    let given = arguments(parser, Some("with-passwords"))?;
    let source = database()?;
    let mut meter = Meter::new("exported lines");
    let mut report = |progress| meter.show(progress);
    match given.file.filter(|file| !is_standard(file)) {
        Some(file) => store::export_to_file(&source, &file, given.option, &mut report)?,
        None => store::export(&source, &mut BufWriter::new(std::io::stdout().lock()), given.option, &mut report)?,
    };
    Ok(())
}

//! `export`: writes the content of the database as lines of text.

use super::CliError;
use super::data::{Meter, arguments, database, is_standard};
use crate::store::{self, DataError};
use std::io::{BufWriter, ErrorKind};

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let given = arguments(parser, Some("with-passwords"))?;
    let source = database()?;
    let mut meter = Meter::new("exported lines");
    let mut report = |progress| meter.show(progress);
    if let Some(file) = given.file.filter(|file| !is_standard(file)) {
        store::export_to_file(&source, &file, given.option, &mut report)?;
        return Ok(());
    }
    let mut output = BufWriter::new(std::io::stdout().lock());
    match store::export(&source, &mut output, given.option, &mut report) {
        Err(DataError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Err(CliError::BrokenPipe),
        done => Ok(done.map(drop)?),
    }
}

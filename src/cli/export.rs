//! `export`: everything that people have put in, as lines of text.

use super::Failure;
use super::data::{Meter, arguments, database, is_standard};
use crate::store::{self, ExportError};
use std::io::{BufWriter, ErrorKind};

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
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
        Err(ExportError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::NobodyReads),
        done => done.map(drop).map_err(|error| Failure::from(error.to_string())),
    }
}

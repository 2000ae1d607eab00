//! The output of commands. A closed standard output ends a command without an error.

use super::CliError;
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

/// Standard output, for many lines.
pub(super) struct StdoutLines(BufWriter<StdoutLock<'static>>);

impl StdoutLines {
    pub(super) fn new() -> StdoutLines {
        StdoutLines(BufWriter::new(io::stdout().lock()))
    }

    /// Prints a line.
    pub(super) fn line(&mut self, line: impl Display) -> Result<(), CliError> {
        writeln!(self.0, "{line}").map_err(failure)
    }

    /// Writes the buffered lines.
    pub(super) fn end(mut self) -> Result<(), CliError> {
        self.0.flush().map_err(failure)
    }
}

/// Prints a text to standard output.
pub(super) fn print_text(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(failure)
}

/// Prints a line to standard error, which may be closed.
pub(super) fn print_error(line: impl Display) {
    let _ = writeln!(io::stderr(), "cortex-core: {line}");
}

fn failure(error: io::Error) -> CliError {
    match error.kind() {
        ErrorKind::BrokenPipe => CliError::BrokenPipe,
        _ => format!("cannot write to standard output: {error}").into(),
    }
}

//! `config check`: what the settings come to.

use super::output::{StdoutLines, complain};
use super::{CliError, bad_settings, no_more};
use crate::config::described_environment;

pub(super) fn check(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    no_more(parser)?;
    let (loaded, lines) = described_environment().map_err(bad_settings)?;
    for warning in loaded.warnings {
        complain(format_args!("warning: {warning}"));
    }
    let mut output = StdoutLines::new();
    for line in lines {
        output.line(line)?;
    }
    output.end()
}

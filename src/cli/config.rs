//! `config check`: prints the effective settings.

use super::output::{StdoutLines, print_error};
use super::{CliError, bad_settings, reject_more_arguments};
use crate::config::described_environment;

pub(super) fn check(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    reject_more_arguments(parser)?;
    let (loaded, lines) = described_environment().map_err(bad_settings)?;
    for warning in loaded.warnings {
        print_error(format_args!("warning: {warning}"));
    }
    let mut output = StdoutLines::new();
    for line in lines {
        output.line(line)?;
    }
    output.end()
}

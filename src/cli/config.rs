//! `config check`: prints the effective settings and the memory plan.

use super::output::{StdoutLines, print_error};
use super::{CliError, bad_settings, reject_more_arguments};
use crate::config::described_environment;
use crate::runtime::{process, server};

pub(super) fn check(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    reject_more_arguments(parser)?;
    let (loaded, lines) = described_environment().map_err(bad_settings)?;
    for warning in loaded.warnings {
        print_error(format_args!("warning: {warning}"));
    }
    let open_files_max = process::raise_open_file_limit();
    let planned = server::memory_plan(&loaded.settings, open_files_max);
    let (limit, memory) = planned.map_err(|error| CliError::from(error.to_string()))?;
    let mut output = StdoutLines::new();
    for line in lines {
        output.line(line)?;
    }
    output.line(format_args!("# memory: {limit}: {memory}"))?;
    output.end()
}

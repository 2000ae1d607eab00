//! `serve`: the server itself.

use super::{CliError, bad_settings, reject_more_arguments};
use crate::base::log as logging;
use crate::config::from_environment;
use crate::runtime::{process, server};

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    reject_more_arguments(parser)?;
    let loaded = from_environment().map_err(bad_settings)?;
    logging::init(loaded.settings.log_format, loaded.settings.log_level)
        .map_err(|error| format!("logging cannot be started: {error}"))?;
    process::handle_panics();
    for warning in loaded.warnings {
        log::warn!("{warning}");
    }
    server::serve(loaded.settings).map_err(|error| {
        logging::flush();
        CliError::from(error.to_string())
    })
}

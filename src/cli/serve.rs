//! `serve`: the server itself.

use super::{Failure, bad_settings, no_more};
use crate::base::log as logging;
use crate::config::from_environment;
use crate::runtime::server;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    no_more(parser)?;
    let loaded = from_environment().map_err(bad_settings)?;
    logging::init(loaded.settings.log_format, loaded.settings.log_level)
        .map_err(|error| format!("logging cannot be started: {error}"))?;
    end_on_panic();
    for warning in loaded.warnings {
        log::warn!("{warning}");
    }
    server::serve(loaded.settings).map_err(|error| {
        logging::flush();
        Failure::from(error)
    })
}

/// A panic is a mistake of ours. A reader or the password thread survives its own, since it answers one question at a
/// time; anywhere else the process ends at once, and what it had acknowledged is on disk.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        log::error!("{name} panicked: {panic}");
        logging::flush();
        if name != "cortex-reader" && name != "cortex-passwords" {
            std::process::exit(101);
        }
    }));
}

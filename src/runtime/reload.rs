//! What a running server goes by, and how it changes without a restart: the settings are read again, and each event loop
//! gets a new context. Whatever is wrong with one of them, all stay as they are.

use super::mailbox::{Mail, Mailbox};
use crate::api::Context;
use crate::auth::jwt::Keys;
use crate::base::log as logging;
use crate::config::{Loaded, SettingError, Settings};
use std::sync::Arc;

/// What every loop of a running server was last given, and what new ones are made with.
pub struct Current {
    context: Arc<Context>,
    /// The key that signs where the settings have none.
    kept_key: Vec<u8>,
}

impl Current {
    /// What a server starts with; `kept_key` is the database's own.
    pub fn new(settings: Settings, kept_key: Vec<u8>, epoch: Arc<str>) -> Current {
        let keys = keys(&settings, &kept_key);
        Current { context: Arc::new(Context { settings, keys, epoch }), kept_key }
    }

    /// What every loop goes by.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Takes up settings that were read again, and passes them on.
    pub fn reload(&mut self, read: Result<Loaded, Vec<SettingError>>, mailboxes: &[Arc<Mailbox>]) {
        let loaded = match read {
            Ok(loaded) => loaded,
            Err(errors) => {
                for error in errors {
                    log::error!("{error}");
                }
                log::error!("the settings were read again and nothing of them was taken up");
                return;
            }
        };
        let old = &self.context.settings;
        if loaded.settings.environment != old.environment {
            log::error!("ENV has changed, which needs a restart: nothing of the settings was taken up");
            return;
        }
        for warning in loaded.warnings {
            log::warn!("{warning}");
        }
        let (settings, restart) = old.reloaded(loaded.settings);
        if !restart.is_empty() {
            log::warn!("a restart is needed for what has changed of {}", restart.join(", "));
        }
        let changed = settings != *old;
        if changed {
            logging::set_level(settings.log_level);
            let keys = keys(&settings, &self.kept_key);
            self.context = Arc::new(Context { settings, keys, epoch: Arc::clone(&self.context.epoch) });
            for mailbox in mailboxes {
                mailbox.push(Mail::Reload(Arc::clone(&self.context)));
            }
        }
        log::info!(
            "the settings were read again: {}",
            if changed { "they have changed" } else { "nothing has changed" }
        );
    }
}

fn keys(settings: &Settings, kept_key: &[u8]) -> Keys {
    let key = settings.jwt_secret_key.as_ref().map_or(kept_key, |secret| secret.expose().as_bytes());
    let previous: Vec<Vec<u8>> =
        settings.jwt_previous_secret_keys.iter().map(|secret| secret.expose().as_bytes().to_vec()).collect();
    Keys::new(key, &previous, settings.jwt_issuer.clone(), settings.jwt_audience.clone())
}

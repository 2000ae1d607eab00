//! What a running server goes by, and how it changes without a restart: the settings are read again, and each event loop
//! gets a new context. Whatever is wrong with one of them, all stay as they are.

use super::connections::Connections;
use super::mailbox::Mailbox;
use crate::api::Context;
use crate::auth::jwt::Keys;
use crate::base::log as logging;
use crate::config::{LoadedSettings, SettingError, Settings};
use crate::shard::message::ShardMessage;
use std::sync::Arc;

/// What every loop of a running server was last given, and what new ones are made with.
pub(crate) struct Current {
    context: Arc<Context>,
    /// The key that signs where the settings have none.
    kept_key: [u8; 32],
}

impl Current {
    /// What a server starts with; `kept_key` is the database's own.
    pub(crate) fn new(settings: Settings, kept_key: [u8; 32], epoch: Arc<str>) -> Current {
        let keys = keys(&settings, kept_key);
        Current { context: Arc::new(Context { settings, keys, epoch }), kept_key }
    }

    /// What every loop goes by.
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Takes up settings that were read again, and passes them on.
    pub(crate) fn reload(
        &mut self,
        read: Result<LoadedSettings, Vec<SettingError>>,
        mailboxes: &[Arc<Mailbox>],
        connections: &Connections,
    ) {
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
            connections.set_exempt(settings.trusted_proxies.clone());
            let keys = keys(&settings, self.kept_key);
            self.context = Arc::new(Context { settings, keys, epoch: Arc::clone(&self.context.epoch) });
            for mailbox in mailboxes {
                mailbox.push(ShardMessage::Reload(Arc::clone(&self.context)));
            }
        }
        log::info!(
            "the settings were read again: {}",
            if changed { "they have changed" } else { "nothing has changed" }
        );
    }
}

/// The keys for tokens that the settings name; `kept` is the database's own, for where they name none.
pub(crate) fn keys(settings: &Settings, kept: [u8; 32]) -> Keys {
    let key = match &settings.jwt_secret_key {
        Some(secret) => secret.expose().as_bytes().to_vec(),
        None => kept.to_vec(),
    };
    let previous: Vec<Vec<u8>> =
        settings.jwt_previous_secret_keys.iter().map(|secret| secret.expose().as_bytes().to_vec()).collect();
    Keys::new(&key, &previous, settings.jwt_issuer.clone(), settings.jwt_audience.clone())
}

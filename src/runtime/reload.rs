//! Reloads the settings of a running server: each event loop gets a new context. If any setting is invalid, all stay
//! unchanged.

use super::connection_limits::ConnectionLimits;
use super::mailbox::Mailbox;
use crate::api::Context;
use crate::auth::jwt::Keys;
use crate::base::log as logging;
use crate::base::memory_plan::MemoryPlan;
use crate::config::{LoadedSettings, SettingError, Settings};
use crate::shard::message::ShardMessage;
use std::sync::Arc;

/// The present context of all event loops.
pub(crate) struct CurrentContext {
    context: Arc<Context>,
    /// The signing key in the database, which is used without `JWT_SECRET_KEY`.
    kept_key: [u8; 32],
}

impl CurrentContext {
    /// The context of a server that starts. `kept_key` is the signing key in the database.
    pub(crate) fn new(settings: Settings, memory: MemoryPlan, kept_key: [u8; 32], epoch: Arc<str>) -> CurrentContext {
        let keys = keys(&settings, kept_key);
        CurrentContext { context: Arc::new(Context { settings, memory, keys, epoch }), kept_key }
    }

    /// The present context.
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Applies the settings that can change without a restart, and sends the new context to all event loops.
    pub(crate) fn reload(
        &mut self,
        read: Result<LoadedSettings, Vec<SettingError>>,
        mailboxes: &[Arc<Mailbox>],
        connection_limits: &ConnectionLimits,
    ) {
        let loaded = match read {
            Ok(loaded) => loaded,
            Err(errors) => {
                for error in errors {
                    log::error!("{error}");
                }
                log::error!("the settings are invalid and stay unchanged");
                return;
            }
        };
        let old = &self.context.settings;
        if loaded.settings.environment != old.environment {
            log::error!("ENV has changed, which needs a restart: the settings stay unchanged");
            return;
        }
        for warning in loaded.warnings {
            log::warn!("{warning}");
        }
        let (settings, restart) = old.reloaded(loaded.settings);
        if !restart.is_empty() {
            log::warn!("a restart is needed to apply {}", restart.join(", "));
        }
        let changed = settings != *old;
        if changed {
            logging::set_level(settings.log_level);
            connection_limits.set_exempt(settings.trusted_proxies.clone());
            let keys = keys(&settings, self.kept_key);
            let Context { memory, epoch, .. } = &*self.context;
            self.context = Arc::new(Context { settings, memory: *memory, keys, epoch: Arc::clone(epoch) });
            for mailbox in mailboxes {
                mailbox.push(ShardMessage::Reload(Arc::clone(&self.context)));
            }
        }
        log::info!("settings reloaded: {}", if changed { "changed" } else { "unchanged" });
    }
}

/// The keys for tokens. `kept` is the signing key in the database, which is used without `JWT_SECRET_KEY`.
pub(crate) fn keys(settings: &Settings, kept: [u8; 32]) -> Keys {
    let key = match &settings.jwt_secret_key {
        Some(secret) => secret.expose().as_bytes().to_vec(),
        None => kept.to_vec(),
    };
    let previous: Vec<Vec<u8>> =
        settings.jwt_previous_secret_keys.iter().map(|secret| secret.expose().as_bytes().to_vec()).collect();
    Keys::new(&key, &previous, settings.jwt_issuer.clone(), settings.jwt_audience.clone())
}

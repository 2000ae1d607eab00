//! Opens the database at the start: waits for its lock, migrates it, and prepares its users.

use super::clock::Clock;
use super::main_event::{MainEvent, MainEvents};
use super::start_error::StartError;
use crate::auth::password::DEVELOPMENT_HASH;
use crate::base::memory_plan::MemoryPlan;
use crate::config::Settings;
use crate::config::types::Environment;
use crate::store::{self, DatabaseLock, Retention, StoreConfig, Writer};
use std::net::SocketAddr;
use std::time::Duration;

/// Time between two attempts to take a lock that another process holds.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The store's part of the settings.
pub(super) fn store_config(settings: &Settings, memory: MemoryPlan) -> StoreConfig {
    let database = store::resolve_symlinks(&settings.database);
    let retention = Retention {
        seconds: i64::from(settings.journal_retention_days) * 24 * 60 * 60,
        events: settings.journal_retention_events,
        bytes: settings.journal_retention_bytes,
        young_milliseconds: 2 * settings.stream_stall_timeout_ms,
    };
    let responders = store::ResponderRules {
        default: settings.responder,
        allowed: settings.responders_allowed.clone(),
        models: settings.responder_models.clone(),
        answers_per_user_max: settings.responder_concurrency_per_user,
    };
    StoreConfig {
        retention,
        event_rate: Some(retention.event_rate()),
        responders,
        tokens_per_day_max: settings.responder_tokens_per_user_per_day,
        memory,
        ..StoreConfig::new(database)
    }
}

/// The result of waiting for a lock.
pub(super) enum Acquired {
    /// The lock.
    Lock(DatabaseLock),
    /// A signal to shut down came first.
    Shutdown,
}

/// Waits until no other process writes to the database. A signal to reload is sent again afterwards, when there is a server
/// that can obey it.
pub(super) fn acquire_lock(config: &StoreConfig, events: &MainEvents) -> Result<Acquired, StartError> {
    let (mut is_logged, mut reload) = (false, false);
    loop {
        if let Some(lock) = DatabaseLock::try_acquire(&config.database)? {
            if reload {
                events.sender().send(MainEvent::Reload).expect("the queue is open");
            }
            return Ok(Acquired::Lock(lock));
        }
        if !is_logged {
            is_logged = true;
            let holder = DatabaseLock::holder(&config.database);
            log::info!("waiting for another process to release the database {holder}");
        }
        match events.next_within(LOCK_RETRY_INTERVAL) {
            Some(MainEvent::Shutdown) => return Ok(Acquired::Shutdown),
            Some(MainEvent::Reload) => reload = true,
            Some(MainEvent::LoopQuiesced | MainEvent::LoopEnded) | None => {}
        }
    }
}

/// Opens the database for writing, and enables or disables the development user.
pub(super) fn open_writer(
    config: &StoreConfig,
    environment: Environment,
    address: SocketAddr,
    clock: Clock,
) -> Result<Writer, StartError> {
    let mut writer = Writer::open(config)?;
    let is_development = environment == Environment::Development;
    match writer.durability_gap()? {
        Some(gap) if is_development => log::warn!("the database server may lose what was acknowledged: {gap}"),
        Some(gap) => return Err(StartError::NotDurable(gap)),
        None => {}
    }
    let is_local = address.ip().is_loopback();
    if is_development && !is_local {
        log::warn!("no development user, because {address} is reachable from other machines: set ENV=production there");
    }
    let hash = (is_development && is_local).then_some(DEVELOPMENT_HASH);
    writer.set_development_user(hash, clock.now().wall)?;
    Ok(writer)
}

//! `Settings` and how it is read.

use super::network::{HostPattern, Hosts, Network, Networks, Origins};
use super::parse::{SettingError, VariableReader, items};
use super::types::{Database, Environment, RateLimit, Secret};
use super::upstream_address::UpstreamAddress;
use super::upstream_fields::UpstreamField;
use crate::base::limits::{
    CONTEXT_TOKENS_MAX, HEAD_BYTES_SETTING_MAX, HISTORY_BYTES_MAX, MEMORY_LIMIT_BYTES_MIN,
    MEMORY_LIMIT_BYTES_SETTING_MAX, MODELS_MAX, TARGET_BYTES_MAX, TOKEN_BYTES, UPSTREAM_BETWEEN_BYTES_MILLISECONDS,
    UPSTREAM_FIRST_BYTE_MILLISECONDS,
};
use crate::base::log::LogFormat;
use crate::domain::responder::ResponderKind;
use log::LevelFilter;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Shortest key that production starts with, in bytes: as long as the hash (RFC 7518 §3.2).
pub(crate) const SECRET_KEY_BYTES_MIN: usize = 32;
/// Fewest different bytes in a key that production starts with. A random key of this length has more, also one of decimal
/// digits (but for one in 800); white space, one letter held down and a pattern that comes again have fewer.
const SECRET_KEY_DIFFERENT_BYTES_MIN: usize = 8;
/// Published keys, which production rejects.
const PRINTED_KEYS: [&str; 2] = ["dev-secret-key-change-in-production", "your-secret-key-here"];
/// Most previous keys: each costs one more hash per request.
const PREVIOUS_KEYS_MAX: usize = 16;
/// Longest issuer, audience or model name, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Longest system prompt, in characters.
const SYSTEM_PROMPT_CHARS_MAX: usize = 32 * 1024;
/// Most event-loop threads.
const WORKERS_MAX: u32 = 64;
/// Maximum default of `WORKERS`.
const WORKERS_DEFAULT_MAX: u32 = 4;
/// Largest `JWT_EXPIRATION_HOURS`: a year.
pub(crate) const EXPIRATION_HOURS_MAX: u64 = 366 * 24;
/// Default and range of `MAX_BODY_BYTES`.
const BODY_BYTES: [u64; 3] = [2 * MIB, KIB, 64 * MIB];
/// Default and range of `MAX_HEADER_BYTES`.
const HEADER_BYTES: [u64; 3] = [16 * KIB, KIB, HEAD_BYTES_SETTING_MAX as u64];
/// Default and range of `STREAM_BUFFER_BYTES`.
const STREAM_BUFFER_BYTES: [u64; 3] = [64 * KIB, 4 * KIB, 16 * MIB];
/// Largest number that counts connections, streams or requests.
const COUNT_MAX: u32 = 10_000_000;
/// Shortest timeout, in milliseconds.
const TIMEOUT_MS_MIN: u64 = 100;
/// Longest timeout of a request, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 60 * 60 * 1000;
/// Shortest time between two heartbeats, in milliseconds.
const HEARTBEAT_MS_MIN: u64 = 10;
/// Longest `STREAM_STALL_TIMEOUT_SECONDS`, in milliseconds.
const STALL_MS_MAX: u64 = 12 * 60 * 60 * 1000;
/// Longest `SHUTDOWN_GRACE_SECONDS`, in milliseconds.
const GRACE_MS_MAX: u64 = 10 * 60 * 1000;
/// Shortest and longest `JOURNAL_RETENTION_DAYS`.
const RETENTION_DAYS: [u32; 2] = [1, 36_500];
/// Most `RESPONDER_HISTORY`.
const HISTORY_MAX: u32 = 1000;
/// Largest `RESPONDER_TOKENS_PER_USER_PER_DAY`.
const TOKENS_PER_DAY_MAX: u64 = 1_000_000_000_000;
/// Longest timeout of an answer, in milliseconds: a day.
const ANSWER_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Most `RESPONDER_CONCURRENCY_PER_USER`.
const CONCURRENCY_MAX: u32 = 64;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

// A target of the maximum length fits into a head of the default size, so that the error names the target.
const _: () = assert!(TARGET_BYTES_MAX as u64 * 2 <= HEADER_BYTES[0]);
// Nothing younger than twice the stall timeout is ever removed from the journal.
const _: () = assert!(2 * STALL_MS_MAX <= RETENTION_DAYS[0] as u64 * 24 * 60 * 60 * 1000);

/// Everything that people can set, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `ENV`
    pub environment: Environment,
    /// `HOST`: an IP address without brackets, or `localhost`.
    pub host: String,
    /// `PORT`; 0 is any free one.
    pub port: u16,
    /// `WORKERS`
    pub workers: usize,
    /// `DATABASE_URL`
    pub database: Database,
    /// `REDIS_URL`; `None` without other instances, or if they are not told at once.
    pub redis: Option<Secret>,
    /// `LOG_LEVEL`
    pub log_level: LevelFilter,
    /// `LOG_FORMAT`
    pub log_format: LogFormat,
    /// `JWT_SECRET_KEY`; always set in production.
    pub jwt_secret_key: Option<Secret>,
    /// `JWT_PREVIOUS_SECRET_KEYS`
    pub jwt_previous_secret_keys: Vec<Secret>,
    /// `JWT_EXPIRATION_HOURS`, in seconds.
    pub jwt_expiration_seconds: i64,
    /// `JWT_ISSUER`
    pub jwt_issuer: Option<String>,
    /// `JWT_AUDIENCE`
    pub jwt_audience: Option<String>,
    /// `ALLOW_ORIGINS`
    pub origins: Origins,
    /// `MEMORY_LIMIT_BYTES`; `None` follows the system.
    pub memory_limit_bytes: Option<u64>,
    /// `TRUSTED_PROXIES`
    pub trusted_proxies: Networks,
    /// `ALLOWED_HOSTS`
    pub allowed_hosts: Hosts,
    /// `MAX_BODY_BYTES`
    pub body_bytes_max: usize,
    /// `MAX_HEADER_BYTES`
    pub header_bytes_max: usize,
    /// `MAX_CONNECTIONS`; `None` follows the limit of open files.
    pub connections_max: Option<u32>,
    /// `MAX_CONNECTIONS_PER_ADDRESS`; `None` is a quarter of the connections, and 0 is no limit.
    pub connections_per_address_max: Option<u32>,
    /// `HEADER_TIMEOUT_SECONDS`, in milliseconds.
    pub header_timeout_ms: u64,
    /// `BODY_TIMEOUT_SECONDS`, in milliseconds.
    pub body_timeout_ms: u64,
    /// `KEEP_ALIVE_SECONDS`, in milliseconds.
    pub keep_alive_ms: u64,
    /// `HEARTBEAT_INTERVAL_SECONDS`, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// `STREAM_STALL_TIMEOUT_SECONDS`, in milliseconds.
    pub stream_stall_timeout_ms: u64,
    /// `STREAM_BUFFER_BYTES`
    pub stream_buffer_bytes: usize,
    /// `MAX_STREAMS_PER_USER`; `None` is no limit.
    pub streams_per_user_max: Option<u32>,
    /// `RATE_LIMIT_PER_SECOND` and `RATE_LIMIT_BURST`; `None` is no limit.
    pub rate_limit: Option<RateLimit>,
    /// `LOGIN_RATE_LIMIT_PER_MINUTE`; `None` is no limit.
    pub logins_per_minute_max: Option<u32>,
    /// `JOURNAL_RETENTION_DAYS`
    pub journal_retention_days: u32,
    /// `JOURNAL_RETENTION_EVENTS`
    pub journal_retention_events: u64,
    /// `JOURNAL_RETENTION_BYTES`
    pub journal_retention_bytes: u64,
    /// `RESPONDER`
    pub responder: ResponderKind,
    /// `RESPONDERS_ALLOWED`, each once.
    pub responders_allowed: Vec<ResponderKind>,
    /// `RESPONDER_URL`; set when a responder needs it.
    pub responder_url: Option<UpstreamAddress>,
    /// `RESPONDER_MODEL`; set when a responder needs it.
    pub responder_model: Option<String>,
    /// `RESPONDER_MODELS` and `RESPONDER_MODEL`, each once; `RESPONDER_MODEL` is the first.
    pub responder_models: Vec<Arc<str>>,
    /// `RESPONDER_API_KEY`
    pub responder_api_key: Option<Secret>,
    /// `RESPONDER_HEADERS`
    pub responder_headers: Vec<UpstreamField>,
    /// `RESPONDER_CA_FILE`
    pub responder_ca_file: Option<PathBuf>,
    /// `RESPONDER_SYSTEM_PROMPT`
    pub responder_system_prompt: Option<String>,
    /// `RESPONDER_HISTORY`
    pub responder_history: u32,
    /// `RESPONDER_CONTEXT_TOKENS`; `None` is the bound of [`HISTORY_BYTES_MAX`].
    pub responder_context_tokens: Option<u32>,
    /// `RESPONDER_NAMES`
    pub responder_names: bool,
    /// `RESPONDER_CONCURRENCY_PER_USER`
    pub responder_concurrency_per_user: u32,
    /// `RESPONDER_TOKENS_PER_USER_PER_DAY`; `None` is no limit.
    pub responder_tokens_per_user_per_day: Option<u64>,
    /// `RESPONDER_FIRST_BYTE_SECONDS`, in milliseconds.
    pub responder_first_byte_ms: u64,
    /// `RESPONDER_BETWEEN_BYTES_SECONDS`, in milliseconds.
    pub responder_between_bytes_ms: u64,
    /// `RESPONDER_TOTAL_SECONDS`, in milliseconds; `None` is no limit.
    pub responder_total_ms: Option<u64>,
    /// `CONSOLE`
    pub console: bool,
    /// `SHUTDOWN_GRACE_SECONDS`, in milliseconds.
    pub shutdown_grace_ms: u64,
}

/// Settings, and warnings about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedSettings {
    /// The settings.
    pub settings: Settings,
    /// Sentences for the log.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads every variable through `lookup`; `cores` decides the default of `WORKERS`. Every bad value is reported.
    pub fn load(lookup: &dyn Fn(&str) -> Option<String>, cores: usize) -> Result<LoadedSettings, Vec<SettingError>> {
        let mut reader = VariableReader::new(lookup);
        let mut warnings = Vec::new();
        let settings = read_all(&mut reader, cores, &mut warnings);
        if reader.errors.is_empty() { Ok(LoadedSettings { settings, warnings }) } else { Err(reader.errors) }
    }

    /// Maximum bytes of text that are sent to a model.
    pub(crate) fn context_bytes_max(&self) -> usize {
        self.responder_context_tokens.map_or(HISTORY_BYTES_MAX, |tokens| tokens as usize * TOKEN_BYTES)
    }
}

fn read_all(reader: &mut VariableReader<'_>, cores: usize, warnings: &mut Vec<String>) -> Settings {
    let environment = environment(reader);
    let production = environment == Environment::Production;
    warn_of_ignored(reader, warnings);
    algorithm(reader);
    let workers_default = u32::try_from(cores).unwrap_or(u32::MAX).clamp(1, WORKERS_DEFAULT_MAX);
    let responder = responder(reader, production);
    let responders_allowed = responders_allowed(reader, responder);
    let responder_model = reader.bounded_text("RESPONDER_MODEL", NAME_CHARS_MAX);
    let database = reader.checked("DATABASE_URL", Database::File("./cortex.db".into()), Database::parse);
    let settings = Settings {
        environment,
        host: host(reader, production),
        port: reader.small_number("PORT", 8000, 0, 65535) as u16,
        workers: reader.small_number("WORKERS", workers_default, 1, WORKERS_MAX) as usize,
        redis: redis(reader, &database),
        database,
        log_level: log_level(reader),
        log_format: log_format(reader),
        jwt_secret_key: secret_key(reader, production),
        jwt_previous_secret_keys: previous_keys(reader, production, warnings),
        jwt_expiration_seconds: reader.number("JWT_EXPIRATION_HOURS", 24, 1, EXPIRATION_HOURS_MAX) as i64 * 3600,
        jwt_issuer: reader.bounded_text("JWT_ISSUER", NAME_CHARS_MAX),
        jwt_audience: reader.bounded_text("JWT_AUDIENCE", NAME_CHARS_MAX),
        origins: origins(reader, production),
        memory_limit_bytes: memory_limit(reader),
        trusted_proxies: reader.checked("TRUSTED_PROXIES", Networks::default(), |value| {
            items(value).map(Network::parse).collect::<Result<_, _>>().map(Networks)
        }),
        allowed_hosts: allowed_hosts(reader, production),
        body_bytes_max: ranged(reader, "MAX_BODY_BYTES", BODY_BYTES),
        header_bytes_max: ranged(reader, "MAX_HEADER_BYTES", HEADER_BYTES),
        connections_max: some_number(reader, "MAX_CONNECTIONS", None, 1),
        connections_per_address_max: connections_per_address(reader),
        header_timeout_ms: reader.seconds("HEADER_TIMEOUT_SECONDS", 10_000, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
        body_timeout_ms: reader.seconds("BODY_TIMEOUT_SECONDS", 30_000, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
        keep_alive_ms: reader.seconds("KEEP_ALIVE_SECONDS", 75_000, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
        heartbeat_interval_ms: reader.seconds("HEARTBEAT_INTERVAL_SECONDS", 15_000, HEARTBEAT_MS_MIN, TIMEOUT_MS_MAX),
        stream_stall_timeout_ms: reader.seconds("STREAM_STALL_TIMEOUT_SECONDS", 120_000, TIMEOUT_MS_MIN, STALL_MS_MAX),
        stream_buffer_bytes: ranged(reader, "STREAM_BUFFER_BYTES", STREAM_BUFFER_BYTES),
        streams_per_user_max: some_number(reader, "MAX_STREAMS_PER_USER", Some(100), 0),
        rate_limit: rate_limit(reader, production),
        logins_per_minute_max: some_number(reader, "LOGIN_RATE_LIMIT_PER_MINUTE", Some(10), 0),
        journal_retention_days: reader.small_number("JOURNAL_RETENTION_DAYS", 7, RETENTION_DAYS[0], RETENTION_DAYS[1]),
        journal_retention_events: reader.number("JOURNAL_RETENTION_EVENTS", 10_000_000, 1, 1_000_000_000_000),
        journal_retention_bytes: reader.number("JOURNAL_RETENTION_BYTES", GIB, 64 * KIB, 1024 * TIB),
        responder,
        responder_url: responder_url(reader),
        responder_models: responder_models(reader, responder_model.as_deref()),
        responder_model,
        responder_api_key: reader.text("RESPONDER_API_KEY").map(Secret::new),
        responder_headers: reader.checked("RESPONDER_HEADERS", Vec::new(), UpstreamField::parse_list),
        responder_ca_file: reader.text("RESPONDER_CA_FILE").map(PathBuf::from),
        responder_system_prompt: reader.bounded_text("RESPONDER_SYSTEM_PROMPT", SYSTEM_PROMPT_CHARS_MAX),
        responder_history: reader.small_number("RESPONDER_HISTORY", 20, 0, HISTORY_MAX),
        responder_context_tokens: optional_number(reader, "RESPONDER_CONTEXT_TOKENS", CONTEXT_TOKENS_MAX.into())
            .map(|tokens| tokens as u32),
        responder_names: boolean(reader, "RESPONDER_NAMES", true),
        responder_concurrency_per_user: reader.small_number("RESPONDER_CONCURRENCY_PER_USER", 4, 1, CONCURRENCY_MAX),
        responder_tokens_per_user_per_day: optional_number(
            reader,
            "RESPONDER_TOKENS_PER_USER_PER_DAY",
            TOKENS_PER_DAY_MAX,
        ),
        responder_first_byte_ms: answer_timeout(
            reader,
            "RESPONDER_FIRST_BYTE_SECONDS",
            UPSTREAM_FIRST_BYTE_MILLISECONDS,
        ),
        responder_between_bytes_ms: answer_timeout(
            reader,
            "RESPONDER_BETWEEN_BYTES_SECONDS",
            UPSTREAM_BETWEEN_BYTES_MILLISECONDS,
        ),
        responder_total_ms: answer_total(reader),
        responders_allowed,
        console: boolean(reader, "CONSOLE", true),
        shutdown_grace_ms: reader.seconds("SHUTDOWN_GRACE_SECONDS", 10_000, 0, GRACE_MS_MAX),
    };
    require_upstream(reader, &settings);
    settings
}

fn environment(reader: &mut VariableReader<'_>) -> Environment {
    let name = if reader.text("ENV").is_some() { "ENV" } else { "ENVIRONMENT" };
    reader.parsed(name, Environment::Development, "allowed are development and production", |value| {
        match value.to_ascii_lowercase().as_str() {
            "development" => Some(Environment::Development),
            "production" => Some(Environment::Production),
            _ => None,
        }
    })
}

/// The Redis server, which only instances with a database on a server have.
fn redis(reader: &mut VariableReader<'_>, database: &Database) -> Option<Secret> {
    const SCHEMES: [&str; 4] = ["redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://"];
    let parse = |raw: &str| match SCHEMES.iter().any(|scheme| raw.starts_with(scheme)) {
        true => Ok(Some(Secret::new(raw))),
        false => Err(format!("allowed are {}", SCHEMES.join(", "))),
    };
    reader.text("REDIS_URL")?;
    let refused = if cfg!(not(feature = "cluster")) {
        "is set, but several instances need a program built with --features cluster: leave it unset"
    } else if !database.is_server() {
        "is set, but only instances with a database on a PostgreSQL server use it: leave it unset, or set DATABASE_URL"
    } else {
        return reader.checked("REDIS_URL", None, parse);
    };
    reader.errors.push(SettingError::new("REDIS_URL", refused));
    None
}

fn warn_of_ignored(reader: &mut VariableReader<'_>, warnings: &mut Vec<String>) {
    let mut set = ["RELOAD", "DEBUG", "SENTRY_DSN"].to_vec();
    set.retain(|name| reader.text(name).is_some());
    match set[..] {
        [] => {}
        [one] => warnings.push(format!("{one} is set, but has no effect here")),
        _ => warnings.push(format!("{} are set, but have no effect here", set.join(", "))),
    }
}

fn algorithm(reader: &mut VariableReader<'_>) {
    reader.parsed("JWT_ALGORITHM", (), "allowed is HS256", |value| (value == "HS256").then_some(()));
}

fn host(reader: &mut VariableReader<'_>, production: bool) -> String {
    let default = if production { "0.0.0.0" } else { "127.0.0.1" };
    reader.parsed("HOST", default.into(), "allowed are an IP address and localhost", |value| {
        if value.eq_ignore_ascii_case("localhost") {
            return Some("localhost".into());
        }
        let bare = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
        bare.parse::<IpAddr>().is_ok().then(|| bare.to_owned())
    })
}

fn log_level(reader: &mut VariableReader<'_>) -> LevelFilter {
    let allowed = "allowed are TRACE, DEBUG, INFO, WARNING, ERROR, CRITICAL and OFF";
    reader.parsed("LOG_LEVEL", LevelFilter::Info, allowed, |value| match value.to_ascii_uppercase().as_str() {
        "TRACE" => Some(LevelFilter::Trace),
        "DEBUG" => Some(LevelFilter::Debug),
        "INFO" => Some(LevelFilter::Info),
        "WARNING" | "WARN" => Some(LevelFilter::Warn),
        // Nothing is logged above ERROR.
        "ERROR" | "CRITICAL" => Some(LevelFilter::Error),
        "OFF" => Some(LevelFilter::Off),
        _ => None,
    })
}

fn log_format(reader: &mut VariableReader<'_>) -> LogFormat {
    reader.parsed("LOG_FORMAT", LogFormat::Text, "allowed are text and json", |value| {
        match value.to_ascii_lowercase().as_str() {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        }
    })
}

/// The key is taken byte for byte, with any white space in it.
fn secret_key(reader: &mut VariableReader<'_>, production: bool) -> Option<Secret> {
    const NAME: &str = "JWT_SECRET_KEY";
    let key = reader.raw(NAME);
    match &key {
        None if production => {
            let rest = format!("is unset: production needs one of at least {SECRET_KEY_BYTES_MIN} bytes");
            reader.errors.push(SettingError::new(NAME, rest));
        }
        Some(key) if production && is_printed(key) => {
            let rest = "is one that was printed for everybody to read: production needs its own";
            reader.errors.push(SettingError::new(NAME, rest));
        }
        Some(key) if production && key.len() < SECRET_KEY_BYTES_MIN => {
            reader.refuse(NAME, key, format_args!("production needs at least {SECRET_KEY_BYTES_MIN}"));
        }
        Some(key) if production && is_monotonous(key) => {
            let rest = format!(
                "has too few different characters to be random: production needs at least \
                 {SECRET_KEY_DIFFERENT_BYTES_MIN}, as `openssl rand -hex 32` gives"
            );
            reader.errors.push(SettingError::new(NAME, rest));
        }
        _ => {}
    }
    key.map(Secret::new)
}

fn previous_keys(reader: &mut VariableReader<'_>, production: bool, warnings: &mut Vec<String>) -> Vec<Secret> {
    const NAME: &str = "JWT_PREVIOUS_SECRET_KEYS";
    let list = reader.raw(NAME).unwrap_or_default();
    let keys: Vec<&str> = items(&list).collect();
    if keys.len() > PREVIOUS_KEYS_MAX {
        let rest = format!("has {} keys: allowed are at most {PREVIOUS_KEYS_MAX}", keys.len());
        reader.errors.push(SettingError::new(NAME, rest));
    }
    if production && keys.iter().any(|key| is_printed(key)) {
        let rest = "has a key that was printed for everybody to read: anybody could make tokens with it";
        reader.errors.push(SettingError::new(NAME, rest));
    }
    if production && keys.iter().any(|key| key.len() < SECRET_KEY_BYTES_MIN || is_monotonous(key)) {
        let rest = "or with too few different characters: drop it as soon as you can";
        warnings.push(format!("{NAME} has a key of less than {SECRET_KEY_BYTES_MIN} bytes {rest}"));
    }
    keys.into_iter().map(Secret::new).collect()
}

fn is_printed(key: &str) -> bool {
    PRINTED_KEYS.iter().any(|printed| key.trim().eq_ignore_ascii_case(printed))
}

fn is_monotonous(key: &str) -> bool {
    let mut seen = [false; 256];
    key.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    seen.into_iter().filter(|seen| *seen).count() < SECRET_KEY_DIFFERENT_BYTES_MIN
}

fn origins(reader: &mut VariableReader<'_>, production: bool) -> Origins {
    let default = if production { Origins::None } else { Origins::AnyLocalhostPort };
    let name = if reader.text("ALLOW_ORIGINS").is_some() { "ALLOW_ORIGINS" } else { "CORS_ORIGINS" };
    reader.checked(name, default, Origins::parse)
}

fn allowed_hosts(reader: &mut VariableReader<'_>, production: bool) -> Hosts {
    let default = if production { "*" } else { "localhost,127.0.0.1,[::1]" };
    let parse = |list: &str| match items(list).map(HostPattern::parse).collect::<Result<Vec<_>, _>>()? {
        hosts if hosts.is_empty() => Err("there is no host between the commas".to_owned()),
        hosts => Ok(Hosts(hosts)),
    };
    reader.checked("ALLOWED_HOSTS", parse(default).expect("the defaults are good"), parse)
}

fn memory_limit(reader: &mut VariableReader<'_>) -> Option<u64> {
    const NAME: &str = "MEMORY_LIMIT_BYTES";
    reader.text(NAME)?;
    Some(reader.number(NAME, 0, MEMORY_LIMIT_BYTES_MIN, MEMORY_LIMIT_BYTES_SETTING_MAX))
}

fn connections_per_address(reader: &mut VariableReader<'_>) -> Option<u32> {
    const NAME: &str = "MAX_CONNECTIONS_PER_ADDRESS";
    reader.text(NAME)?;
    Some(reader.small_number(NAME, 0, 0, COUNT_MAX))
}

fn ranged(reader: &mut VariableReader<'_>, name: &'static str, [default, min, max]: [u64; 3]) -> usize {
    reader.number(name, default, min, max) as usize
}

/// A number of which 0 means no limit, if 0 is allowed.
fn some_number(reader: &mut VariableReader<'_>, name: &'static str, default: Option<u32>, min: u32) -> Option<u32> {
    let number = reader.small_number(name, default.unwrap_or(0), min, COUNT_MAX);
    (number > 0).then_some(number)
}

fn rate_limit(reader: &mut VariableReader<'_>, production: bool) -> Option<RateLimit> {
    let per_second = reader.small_number("RATE_LIMIT_PER_SECOND", if production { 50 } else { 0 }, 0, COUNT_MAX);
    let burst = reader.small_number("RATE_LIMIT_BURST", 100, 1, COUNT_MAX);
    (per_second > 0).then_some(RateLimit { per_second, burst })
}

fn responder(reader: &mut VariableReader<'_>, production: bool) -> ResponderKind {
    let default = if production { ResponderKind::None } else { ResponderKind::Echo };
    reader.parsed("RESPONDER", default, "allowed are echo, openai and none", ResponderKind::parse)
}

fn responders_allowed(reader: &mut VariableReader<'_>, responder: ResponderKind) -> Vec<ResponderKind> {
    let mut default = vec![responder];
    if responder != ResponderKind::None {
        default.push(ResponderKind::None);
    }
    reader.checked("RESPONDERS_ALLOWED", default, |list| {
        let mut allowed = Vec::new();
        for item in items(list) {
            let responder =
                ResponderKind::parse(item).ok_or("allowed are echo, openai and none, with commas between")?;
            if !allowed.contains(&responder) {
                allowed.push(responder);
            }
        }
        Ok(allowed)
    })
}

/// The default model and those of the list, each once.
fn responder_models(reader: &mut VariableReader<'_>, default: Option<&str>) -> Vec<Arc<str>> {
    let mut models: Vec<Arc<str>> = default.map(Arc::from).into_iter().collect();
    let listed = reader.checked("RESPONDER_MODELS", Vec::new(), |list| {
        let listed: Vec<Arc<str>> = items(list).map(Arc::from).collect();
        match listed.iter().all(|model| model.chars().count() <= NAME_CHARS_MAX) && listed.len() <= MODELS_MAX {
            true => Ok(listed),
            false => Err(format!("allowed are at most {MODELS_MAX} names of at most {NAME_CHARS_MAX} characters")),
        }
    });
    for model in listed {
        if !models.contains(&model) {
            models.push(model);
        }
    }
    models
}

/// A whole number from 1 to `max`; `None` if unset.
fn optional_number(reader: &mut VariableReader<'_>, name: &'static str, max: u64) -> Option<u64> {
    reader.text(name)?;
    Some(reader.number(name, 1, 1, max))
}

fn boolean(reader: &mut VariableReader<'_>, name: &'static str, default: bool) -> bool {
    reader.parsed(name, default, "allowed are true and false", |value| match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    })
}

fn answer_timeout(reader: &mut VariableReader<'_>, name: &'static str, default_ms: u64) -> u64 {
    reader.seconds(name, default_ms, TIMEOUT_MS_MIN, ANSWER_MS_MAX)
}

fn answer_total(reader: &mut VariableReader<'_>) -> Option<u64> {
    const NAME: &str = "RESPONDER_TOTAL_SECONDS";
    reader.text(NAME)?;
    Some(answer_timeout(reader, NAME, ANSWER_MS_MAX))
}

fn responder_url(reader: &mut VariableReader<'_>) -> Option<UpstreamAddress> {
    let value = reader.text("RESPONDER_URL")?;
    let address = UpstreamAddress::parse(&value);
    if let Err(rule) = address {
        let allowed = format!("{rule}; allowed is an address that begins with http:// or https://");
        // Before an `@` there may be a password, which is not repeated.
        let shown = if value.contains('@') { "…" } else { &*value };
        reader.refuse("RESPONDER_URL", shown, allowed);
    }
    address.ok()
}

fn require_upstream(reader: &mut VariableReader<'_>, settings: &Settings) {
    if settings.responder != ResponderKind::OpenAi && !settings.responders_allowed.contains(&ResponderKind::OpenAi) {
        return;
    }
    let bad = |reader: &VariableReader<'_>, name| reader.errors.iter().any(|error| error.variable == name);
    for (name, set) in
        [("RESPONDER_URL", settings.responder_url.is_some()), ("RESPONDER_MODEL", settings.responder_model.is_some())]
    {
        if !set && !bad(reader, name) {
            reader.errors.push(SettingError::new(name, "is unset: the responder openai needs it"));
        }
    }
}

//! The settings that a reload applies.

use super::settings::Settings;

impl Settings {
    /// The settings to go on with after `read` was read again, and the variables that have changed and need a restart.
    /// Those keep their values. The environment must be the same, since it decides the defaults of others.
    pub fn reloaded(&self, read: Settings) -> (Settings, Vec<&'static str>) {
        let mut next = read;
        let mut changed = Vec::new();
        macro_rules! keep {
            ($($field:ident: $name:literal,)*) => {$(
                if next.$field != self.$field {
                    changed.push($name);
                    next.$field.clone_from(&self.$field);
                }
            )*};
        }
        keep! {
            environment: "ENV",
            host: "HOST",
            port: "PORT",
            workers: "WORKERS",
            database: "DATABASE_URL",
            redis: "REDIS_URL",
            log_format: "LOG_FORMAT",
            memory_limit_bytes: "MEMORY_LIMIT_BYTES",
            connections_max: "MAX_CONNECTIONS",
            connections_per_address_max: "MAX_CONNECTIONS_PER_ADDRESS",
            stream_stall_timeout_ms: "STREAM_STALL_TIMEOUT_SECONDS",
            journal_retention_days: "JOURNAL_RETENTION_DAYS",
            journal_retention_events: "JOURNAL_RETENTION_EVENTS",
            journal_retention_bytes: "JOURNAL_RETENTION_BYTES",
            responder: "RESPONDER",
            responders_allowed: "RESPONDERS_ALLOWED",
            responder_url: "RESPONDER_URL",
            responder_model: "RESPONDER_MODEL",
            responder_models: "RESPONDER_MODELS",
            responder_api_key: "RESPONDER_API_KEY",
            responder_headers: "RESPONDER_HEADERS",
            responder_ca_file: "RESPONDER_CA_FILE",
            responder_system_prompt: "RESPONDER_SYSTEM_PROMPT",
            responder_history: "RESPONDER_HISTORY",
            responder_context_tokens: "RESPONDER_CONTEXT_TOKENS",
            responder_names: "RESPONDER_NAMES",
            responder_concurrency_per_user: "RESPONDER_CONCURRENCY_PER_USER",
            responder_tokens_per_user_per_day: "RESPONDER_TOKENS_PER_USER_PER_DAY",
            responder_first_byte_ms: "RESPONDER_FIRST_BYTE_SECONDS",
            responder_between_bytes_ms: "RESPONDER_BETWEEN_BYTES_SECONDS",
            responder_total_ms: "RESPONDER_TOTAL_SECONDS",
        }
        (next, changed)
    }
}

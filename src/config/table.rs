//! The table of all variables, in the order of the documentation. A test compares it with `.env.example` and with the names
//! that `Settings::load` reads.

/// An environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its default in development, as text; empty if it is unset by default.
    pub default: &'static str,
    /// Its default in production.
    pub in_production: &'static str,
    /// An older name, which is read if this one is unset.
    pub alias: Option<&'static str>,
    /// Its purpose, in one line.
    pub help: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether a reload applies a new value.
    pub reloadable: bool,
}

/// The whole table.
pub const VARIABLES: &[Variable] = &[
    plain("ENV", "development", "development or production; production changes the defaults of other settings")
        .in_production("production")
        .alias("ENVIRONMENT"),
    plain("ENVIRONMENT", "", "alias of ENV, which wins"),
    plain("HOST", "127.0.0.1", "IP address to listen on, or localhost; 0.0.0.0 in production").in_production("0.0.0.0"),
    plain("PORT", "8000", "port to listen on; 0: any free one, which is printed"),
    plain("WORKERS", "4", "number of event-loop threads; by default the number of cores, but at most 4"),
    plain(
        "DATABASE_URL",
        "sqlite:///./cortex.db",
        "database file: sqlite:///relative/path or sqlite:////absolute/path; sqlite:///:memory: for tests; with the cargo feature cluster also postgres://user:password@host/name",
    ),
    plain("LOG_LEVEL", "INFO", "TRACE, DEBUG, INFO, WARNING, ERROR, CRITICAL or OFF").reloadable(),
    plain("LOG_FORMAT", "text", "text, or json for one JSON object per line"),
    secret(
        "JWT_SECRET_KEY",
        "key that signs tokens, at least 32 bytes in production; in development generated once and stored",
    )
    .reloadable(),
    plain("JWT_ALGORITHM", "HS256", "signature algorithm of tokens; only HS256 is supported"),
    plain("JWT_EXPIRATION_HOURS", "24", "lifetime of the tokens that this server issues").reloadable(),
    plain("JWT_ISSUER", "", "when set, the iss that every token must have").reloadable(),
    plain("JWT_AUDIENCE", "", "when set, the aud that every token must have").reloadable(),
    secret("JWT_PREVIOUS_SECRET_KEYS", "comma-separated older keys whose tokens are still valid").reloadable(),
    plain(
        "ALLOW_ORIGINS",
        "",
        "comma-separated origins whose pages may read responses, or *; unset: any port of localhost, none in production",
    )
    .reloadable()
    .alias("CORS_ORIGINS"),
    plain("CORS_ORIGINS", "", "alias of ALLOW_ORIGINS, which wins").reloadable(),
    plain(
        "MEMORY_LIMIT_BYTES",
        "",
        "memory that the process may take; unset: the limit of its control group, or a quarter of the machine's memory, at most 1 GiB",
    ),
    plain(
        "TRUSTED_PROXIES",
        "",
        "comma-separated addresses or networks whose X-Forwarded-For and Forwarded are trusted",
    )
    .reloadable(),
    plain(
        "ALLOWED_HOSTS",
        "localhost,127.0.0.1,[::1]",
        "comma-separated names that Host may have; *.example.org and * are allowed; * in production",
    )
    .reloadable()
    .in_production("*"),
    plain("MAX_BODY_BYTES", "2097152", "maximum size of a request body").reloadable(),
    plain("MAX_HEADER_BYTES", "16384", "maximum size of a request head").reloadable(),
    plain("MAX_CONNECTIONS", "", "maximum number of open connections; unset: 90 % of the open-file limit"),
    plain(
        "MAX_CONNECTIONS_PER_ADDRESS",
        "",
        "maximum number of open connections per address or IPv6 /64, trusted proxies excepted; unset: a quarter of \
         MAX_CONNECTIONS; 0: no limit",
    ),
    plain("HEADER_TIMEOUT_SECONDS", "10", "time for a request head to arrive").reloadable(),
    plain("BODY_TIMEOUT_SECONDS", "30", "time for a request body to arrive").reloadable(),
    plain("KEEP_ALIVE_SECONDS", "75", "time that a connection may be idle between two requests").reloadable(),
    plain("HEARTBEAT_INTERVAL_SECONDS", "15", "interval between two heartbeats of a stream; fractions allowed")
        .reloadable(),
    plain(
        "STREAM_STALL_TIMEOUT_SECONDS",
        "120",
        "a stream whose client reads nothing for this long is closed; fractions allowed",
    ),
    plain("STREAM_BUFFER_BYTES", "65536", "maximum number of bytes that wait in memory for one stream's client").reloadable(),
    plain("MAX_STREAMS_PER_USER", "100", "maximum number of open streams per user; 0: no limit").reloadable(),
    plain(
        "RATE_LIMIT_PER_SECOND",
        "0",
        "requests per user, and ten times that per address for unauthenticated requests; 0: no limit; 50 in production",
    )
    .reloadable()
    .in_production("50"),
    plain("RATE_LIMIT_BURST", "100", "number of requests that may arrive at once, if there is a limit").reloadable(),
    plain("LOGIN_RATE_LIMIT_PER_MINUTE", "10", "login attempts per account and address, and ten times that per address; 0: no limit").reloadable(),
    plain("JOURNAL_RETENTION_DAYS", "7", "maximum age of state events in the journal"),
    plain("JOURNAL_RETENTION_EVENTS", "10000000", "maximum number of state events"),
    plain("JOURNAL_RETENTION_BYTES", "1073741824", "maximum size of the state events, in bytes"),
    plain("RESPONDER", "echo", "responder of conversations that choose none: echo, openai or none; none in production").in_production("none"),
    plain(
        "RESPONDERS_ALLOWED",
        "",
        "comma-separated responders that a conversation may choose; unset: RESPONDER and none",
    ),
    plain("RESPONDER_URL", "", "base URL of an OpenAI-compatible API; required for openai"),
    plain("RESPONDER_MODEL", "", "model to request; required for openai"),
    plain(
        "RESPONDER_MODELS",
        "",
        "comma-separated models that a conversation may choose; RESPONDER_MODEL is always one of them",
    ),
    secret("RESPONDER_API_KEY", "key of that API, if it requires one"),
    secret("RESPONDER_HEADERS", "fields added to each request to that API: Name=value,Name2=value2, values percent-encoded"),
    plain(
        "RESPONDER_CA_FILE",
        "",
        "PEM file of the certificates that an https RESPONDER_URL is verified against; unset: the system's",
    ),
    plain("RESPONDER_SYSTEM_PROMPT", "", "system prompt sent before every conversation"),
    plain("RESPONDER_HISTORY", "20", "number of earlier messages that are sent as context"),
    plain(
        "RESPONDER_CONTEXT_TOKENS",
        "",
        "maximum number of tokens sent as context, counted as 4 bytes each; unset: 256 KiB of text",
    ),
    plain("RESPONDER_NAMES", "true", "whether texts begin with their senders' names where several users speak"),
    plain("RESPONDER_CONCURRENCY_PER_USER", "4", "maximum number of answers per user that run at once"),
    plain(
        "RESPONDER_TOKENS_PER_USER_PER_DAY",
        "",
        "tokens of prompts and answers after which a user's messages are rejected until the day (UTC) ends; unset: no limit",
    ),
    plain("RESPONDER_FIRST_BYTE_SECONDS", "300", "time for the model to begin to answer; fractions allowed"),
    plain("RESPONDER_BETWEEN_BYTES_SECONDS", "60", "longest silence of the model in the middle of an answer; fractions allowed"),
    plain("RESPONDER_TOTAL_SECONDS", "", "maximum duration of an answer; unset: none while bytes arrive; fractions allowed"),
    plain("CONSOLE", "true", "whether browsers get the console at / and /console").reloadable(),
    plain("SHUTDOWN_GRACE_SECONDS", "10", "time for running requests to end at shutdown").reloadable(),
    secret("REDIS_URL", "Redis server through which several instances tell each other at once what happens: redis://user:password@host"),
    plain("RELOAD", "", "known and ignored, with a warning"),
    plain("DEBUG", "", "known and ignored, with a warning"),
    plain("SENTRY_DSN", "", "known and ignored, with a warning"),
];

const fn plain(name: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable { name, default, in_production: default, alias: None, help, secret: false, reloadable: false }
}

impl Variable {
    const fn reloadable(self) -> Variable {
        Variable { reloadable: true, ..self }
    }

    const fn in_production(self, default: &'static str) -> Variable {
        Variable { in_production: default, ..self }
    }

    const fn alias(self, name: &'static str) -> Variable {
        Variable { alias: Some(name), ..self }
    }
}

const fn secret(name: &'static str, help: &'static str) -> Variable {
    Variable { name, default: "", in_production: "", alias: None, help, secret: true, reloadable: false }
}

/// The row of a variable.
///
/// # Panics
/// Panics if the table lacks the name.
pub(super) fn variable(name: &str) -> &'static Variable {
    VARIABLES.iter().find(|variable| variable.name == name).expect("every variable that is read stands in the table")
}

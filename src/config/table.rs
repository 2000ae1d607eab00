//! Every variable that is read, in the order in which people are told of them. `.env.example` is this table, and a test
//! holds both together with what `Settings::load` asks for.

/// A variable of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its default in development, as it would be written; empty when it is unset by default.
    pub default: &'static str,
    /// Its default in production.
    pub in_production: &'static str,
    /// An older name, whose value counts when this one has none.
    pub alias: Option<&'static str>,
    /// What it is for, in one line.
    pub help: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether a running server takes a new value up when it is told to read its settings again.
    pub reloadable: bool,
}

/// The whole table.
pub const VARIABLES: &[Variable] = &[
    plain("ENV", "development", "development or production: decides the defaults of others")
        .in_production("production")
        .alias("ENVIRONMENT"),
    plain("ENVIRONMENT", "", "the same as ENV, which wins"),
    plain("HOST", "127.0.0.1", "IP address to listen on, or localhost; 0.0.0.0 in production").in_production("0.0.0.0"),
    plain("PORT", "8000", "port to listen on; 0: any free one, which is printed"),
    plain("WORKERS", "4", "event-loop threads; by default as many as there are cores, but at most 4"),
    plain(
        "DATABASE_URL",
        "sqlite:///./cortex.db",
        "the database's file; sqlite:////absolute/path, sqlite:///:memory: for tests",
    ),
    plain("LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING, ERROR, CRITICAL or OFF").reloadable(),
    plain("LOG_FORMAT", "text", "text, or json for machines"),
    secret(
        "JWT_SECRET_KEY",
        "key that signs tokens, at least 32 bytes in production; in development made at random and kept",
    )
    .reloadable(),
    plain("JWT_ALGORITHM", "HS256", "the only algorithm there is"),
    plain("JWT_EXPIRATION_HOURS", "24", "how long a token lives").reloadable(),
    plain("JWT_ISSUER", "", "when set, the iss that every token must have").reloadable(),
    plain("JWT_AUDIENCE", "", "when set, the aud that every token must have").reloadable(),
    secret("JWT_PREVIOUS_SECRET_KEYS", "comma-separated keys whose tokens are still good").reloadable(),
    plain(
        "ALLOW_ORIGINS",
        "",
        "comma-separated origins of browsers, or *; unset: any port of localhost, none in production",
    )
    .reloadable()
    .alias("CORS_ORIGINS"),
    plain("CORS_ORIGINS", "", "the same as ALLOW_ORIGINS, which wins").reloadable(),
    plain(
        "TRUSTED_PROXIES",
        "",
        "comma-separated addresses or networks whose X-Forwarded-For and Forwarded are believed",
    )
    .reloadable(),
    plain(
        "ALLOWED_HOSTS",
        "localhost,127.0.0.1,[::1]",
        "comma-separated names that Host may have, with *.example.org or *; * in production",
    )
    .reloadable()
    .in_production("*"),
    plain("MAX_BODY_BYTES", "2097152", "largest request body").reloadable(),
    plain("MAX_HEADER_BYTES", "16384", "largest request head").reloadable(),
    plain("MAX_CONNECTIONS", "", "most open connections; unset: 90 % of the open-file limit"),
    plain(
        "MAX_CONNECTIONS_PER_ADDRESS",
        "0",
        "most open connections of one address or IPv6 /64 that is no trusted proxy; 0: no limit",
    ),
    plain("HEADER_TIMEOUT_SECONDS", "10", "time for a request's head to arrive").reloadable(),
    plain("BODY_TIMEOUT_SECONDS", "30", "time for a request's body to arrive").reloadable(),
    plain("KEEP_ALIVE_SECONDS", "75", "how long a connection may wait for its next request").reloadable(),
    plain("HEARTBEAT_INTERVAL_SECONDS", "30", "time between two heartbeats of a stream; fractions allowed")
        .reloadable(),
    plain(
        "STREAM_STALL_TIMEOUT_SECONDS",
        "120",
        "a stream that takes nothing for so long is closed; fractions allowed",
    ),
    plain("STREAM_BUFFER_BYTES", "65536", "bytes that a stream holds in memory for a slow reader").reloadable(),
    plain("MAX_STREAMS_PER_USER", "100", "most open streams of one user; 0: no limit").reloadable(),
    plain(
        "RATE_LIMIT_PER_SECOND",
        "0",
        "requests of one user, ten times as many of nobody's from one address; 0: no limit; 50 in production",
    )
    .reloadable()
    .in_production("50"),
    plain("RATE_LIMIT_BURST", "100", "requests of one user at once, when there is a limit").reloadable(),
    plain("LOGIN_RATE_LIMIT_PER_MINUTE", "10", "logins of one account from one address; 0: no limit").reloadable(),
    plain("JOURNAL_RETENTION_DAYS", "7", "how long events that are no messages are kept"),
    plain("JOURNAL_RETENTION_EVENTS", "10000000", "how many of them are kept"),
    plain("JOURNAL_RETENTION_BYTES", "1073741824", "how many bytes of them are kept"),
    plain("RESPONDER", "echo", "who answers messages: echo, openai or none; none in production").in_production("none"),
    plain(
        "RESPONDERS_ALLOWED",
        "",
        "comma-separated responders that a conversation may choose; unset: RESPONDER and none",
    ),
    plain("RESPONDER_URL", "", "base address of an OpenAI-compatible API, for openai"),
    plain("RESPONDER_MODEL", "", "model to ask, for openai"),
    secret("RESPONDER_API_KEY", "key of that API, if it wants one"),
    plain(
        "RESPONDER_CA_FILE",
        "",
        "file of PEM certificates that an https RESPONDER_URL is trusted by; unset: the system's",
    ),
    plain("RESPONDER_SYSTEM_PROMPT", "", "instruction that goes before every conversation"),
    plain("RESPONDER_HISTORY", "20", "messages of the conversation that go along as context"),
    plain("RESPONDER_CONCURRENCY_PER_USER", "4", "answers of one user at once"),
    plain("SHUTDOWN_GRACE_SECONDS", "10", "time for running requests to end at shutdown").reloadable(),
    plain("REDIS_URL", "", "for several instances, which are not built yet: must stay unset"),
    plain("RELOAD", "", "has no effect here"),
    plain("DEBUG", "", "has no effect here"),
    plain("SENTRY_DSN", "", "has no effect here"),
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

/// The row of a name; panics when there is none, which is our mistake.
pub(super) fn variable(name: &str) -> &'static Variable {
    VARIABLES.iter().find(|variable| variable.name == name).expect("every variable that is read stands in the table")
}

//! Good and bad values of every variable, and the table of them against `.env.example`.

use super::network::Origins;
use super::table::VARIABLES;
use super::types::{Database, Environment, RateLimit, Secret};
use super::upstream_address::UpstreamAddress;
use super::upstream_fields::UpstreamField;
use super::{LoadedSettings, SettingError, Settings};
use crate::base::log::LogFormat;
use crate::domain::responder::ResponderKind;
use log::LevelFilter;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;

const LONG_KEY: &str = "0123456789abcdef0123456789abcdef";
const PRODUCTION: [(&str, &str); 2] = [("ENV", "production"), ("JWT_SECRET_KEY", LONG_KEY)];

fn load(variables: &[(&str, &str)]) -> Result<LoadedSettings, Vec<SettingError>> {
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    Settings::load(&find, 8)
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    load(variables).unwrap_or_else(|errors| panic!("{variables:?}: {errors:?}")).settings
}

fn production(more: &[(&str, &str)]) -> Result<LoadedSettings, Vec<SettingError>> {
    load(&[&PRODUCTION, more].concat())
}

fn messages(result: Result<LoadedSettings, Vec<SettingError>>) -> Vec<String> {
    result.expect_err("something is wrong with it").iter().map(ToString::to_string).collect()
}

/// The one message about one bad value.
fn rejection(name: &str, value: &str) -> String {
    let messages = messages(load(&[(name, value)]));
    assert_eq!(messages.len(), 1, "{name}={value}: {messages:?}");
    messages.into_iter().next().unwrap()
}

/// Each value gives what the field is expected to be.
fn good<T: PartialEq + Debug>(name: &str, field: impl Fn(Settings) -> T, table: &[(&str, T)]) {
    for (value, expected) in table {
        assert_eq!(&field(settings(&[(name, value)])), expected, "{name}={value}");
    }
}

/// Each value is refused with a message that names the variable, the value, and what is allowed.
fn bad(name: &str, allowed: &str, values: &[&str]) {
    for value in values {
        let message = rejection(name, value);
        assert!(message.starts_with(&format!("{name} is {value:?}: ")), "{message}");
        assert!(message.contains(allowed), "{message}");
    }
}

#[test]
fn the_table_is_what_is_read() {
    let asked = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    Settings::load(&lookup, 1).unwrap();
    let table: BTreeSet<String> = VARIABLES.iter().map(|variable| variable.name.to_owned()).collect();
    assert_eq!(table.len(), VARIABLES.len(), "no name stands there twice");
    assert_eq!(asked.into_inner(), table);
}

#[test]
fn the_example_file_is_the_table() {
    let file = include_str!("../../.env.example");
    let mut expected = file.split_inclusive("\n\n").next().unwrap().to_owned();
    assert!(expected.lines().all(|line| line.is_empty() || line.starts_with("# ")));
    let rows: Vec<String> =
        VARIABLES.iter().map(|row| format!("# {}\n# {}={}\n", row.help, row.name, row.default)).collect();
    expected.push_str(&rows.join("\n"));
    assert_eq!(file, expected);
}

#[test]
fn every_default_loads_as_the_default() {
    let all: Vec<(&str, &str)> = VARIABLES.iter().map(|variable| (variable.name, variable.default)).collect();
    assert_eq!(load(&all), load(&[]));
    for variable in all {
        assert_eq!(load(&[variable]), load(&[]), "{variable:?}");
    }
    assert_eq!(load(&[]).unwrap().warnings, [""; 0]);
}

#[test]
fn defaults_of_development_and_production() {
    let development = settings(&[]);
    assert_eq!(development.environment, Environment::Development);
    assert_eq!(development.host, "127.0.0.1");
    assert_eq!(development.workers, 4);
    assert_eq!(development.jwt_secret_key, None);
    assert_eq!(development.jwt_expiration_seconds, 24 * 3600);
    assert_eq!(development.origins, Origins::AnyLocalhostPort);
    assert!(development.allowed_hosts.matches("localhost") && !development.allowed_hosts.matches("example.org"));
    assert_eq!(development.rate_limit, None);
    assert_eq!(development.responder, ResponderKind::Echo);
    assert_eq!(development.responders_allowed, [ResponderKind::Echo, ResponderKind::None]);

    let production = production(&[]).unwrap().settings;
    assert_eq!(production.environment, Environment::Production);
    assert_eq!(production.host, "0.0.0.0");
    assert_eq!(production.origins, Origins::None);
    assert!(production.allowed_hosts.matches("example.org"));
    assert_eq!(production.rate_limit, Some(RateLimit { per_second: 50, burst: 100 }));
    assert_eq!(production.responder, ResponderKind::None);
    assert_eq!(production.responders_allowed, [ResponderKind::None]);
}

#[test]
fn the_environment_has_two_names() {
    let is_production = |variables: &[(&str, &str)]| {
        settings(&[variables, &[("JWT_SECRET_KEY", LONG_KEY)]].concat()).environment == Environment::Production
    };
    assert!(is_production(&[("ENV", "production")]));
    assert!(is_production(&[("ENV", " Production ")]));
    assert!(is_production(&[("ENVIRONMENT", "production")]));
    assert!(is_production(&[("ENV", ""), ("ENVIRONMENT", "production")]));
    assert!(!is_production(&[("ENV", "development"), ("ENVIRONMENT", "production")]));
    bad("ENV", "development and production", &["prod", "staging", "development,production", "a/path"]);
    bad("ENVIRONMENT", "development and production", &["prod"]);
}

#[test]
fn addresses() {
    let table = ["0.0.0.0", "127.0.0.1", "::", "::1", "fe80::1", "localhost"];
    good("HOST", |s| s.host, &table.map(|host| (host, host.to_owned())));
    good("HOST", |s| s.host, &[("[::1]", "::1".to_owned()), ("LocalHost", "localhost".to_owned())]);
    bad("HOST", "an IP address and localhost", &["example.org", "127.0.0.1:80", "256.0.0.1", "[127.0.0.1", "*"]);
    good("PORT", |s| s.port, &[("0", 0), ("1", 1), ("65535", 65535), (" 8080 ", 8080)]);
    bad(
        "PORT",
        "from 0 to 65535",
        &["65536", "-1", "+1", "http", "80.0", "0x50", "1e3", "8_000", "99999999999999999999"],
    );
}

#[test]
fn workers() {
    good("WORKERS", |s| s.workers, &[("1", 1), ("64", 64)]);
    bad("WORKERS", "from 1 to 64", &["0", "65", "auto", "1.5"]);
    for (cores, expected) in [(0, 1), (1, 1), (3, 3), (4, 4), (128, 4)] {
        assert_eq!(Settings::load(&|_| None, cores).unwrap().settings.workers, expected);
    }
}

#[test]
fn databases() {
    let file = |path: &str| Database::File(path.into());
    let table = [
        ("sqlite:///:memory:", Database::Memory),
        ("sqlite+aiosqlite:///:memory:", Database::Memory),
        ("sqlite:///./cortex.db", file("./cortex.db")),
        ("sqlite:///data/cortex.db", file("data/cortex.db")),
        ("sqlite:////var/lib/cortex.db", file("/var/lib/cortex.db")),
        ("sqlite+aiosqlite:///./cortex.db", file("./cortex.db")),
        ("SQLite:///with space%20.db", file("with space%20.db")),
    ];
    good("DATABASE_URL", |s| s.database, &table);
    let others =
        ["cortex.db", "/var/lib/cortex.db", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x", "mysql:///x"];
    bad("DATABASE_URL", "allowed are sqlite:///relative/path", &others);
    bad("DATABASE_URL", "options", &["sqlite:///x?mode=ro", "sqlite:///file:x", "sqlite:///:memory:?cache=shared"]);
    bad(
        "DATABASE_URL",
        "directory",
        &["sqlite:///data/", "sqlite:////", "sqlite:///.", "sqlite:///..", "sqlite:///a/.."],
    );
    let message = rejection("DATABASE_URL", "mysql://user:pa@ss@db/x");
    assert!(message.starts_with("DATABASE_URL is \"mysql://***@db/x\": allowed are"), "{message}");
    if cfg!(feature = "cluster") {
        let address = "postgresql://user:secret@db/x";
        let database = settings(&[("DATABASE_URL", address)]).database;
        assert!(!format!("{database:?}").contains("secret"), "{database:?}");
    } else {
        let message = rejection("DATABASE_URL", "postgresql://user:pa@ss@db/x");
        assert!(
            message.starts_with("DATABASE_URL is \"postgresql://***@db/x\": a PostgreSQL server needs"),
            "{message}"
        );
    }
}

#[test]
fn logging() {
    let table = [
        ("TRACE", LevelFilter::Trace),
        ("DEBUG", LevelFilter::Debug),
        ("info", LevelFilter::Info),
        ("WARNING", LevelFilter::Warn),
        ("Warn", LevelFilter::Warn),
        ("ERROR", LevelFilter::Error),
        ("CRITICAL", LevelFilter::Error),
        ("off", LevelFilter::Off),
    ];
    good("LOG_LEVEL", |s| s.log_level, &table);
    bad("LOG_LEVEL", "TRACE, DEBUG, INFO, WARNING, ERROR, CRITICAL and OFF", &["verbose", "10", "INFO,DEBUG"]);
    good("LOG_FORMAT", |s| s.log_format, &[("text", LogFormat::Text), ("JSON", LogFormat::Json)]);
    bad("LOG_FORMAT", "text and json", &["xml"]);
}

#[test]
fn keys() {
    good("JWT_SECRET_KEY", |s| s.jwt_secret_key, &[("x", Some(Secret::new("x"))), (" x ", Some(Secret::new(" x ")))]);
    good(
        "JWT_PREVIOUS_SECRET_KEYS",
        |s| s.jwt_previous_secret_keys,
        &[
            ("a", vec![Secret::new("a")]),
            ("a, b ,,c,", vec![Secret::new("a"), Secret::new("b"), Secret::new("c")]),
            (",", vec![]),
        ],
    );
    good("JWT_ALGORITHM", |_| (), &[("HS256", ())]);
    bad("JWT_ALGORITHM", "allowed is HS256", &["HS384", "RS256", "none", "hs256"]);
    good("JWT_EXPIRATION_HOURS", |s| s.jwt_expiration_seconds, &[("1", 3600), ("8784", 8784 * 3600)]);
    bad("JWT_EXPIRATION_HOURS", "from 1 to 8784", &["0", "8785", "0.5", "-24"]);
    good("JWT_ISSUER", |s| s.jwt_issuer, &[("us", Some("us".to_owned())), (" ", None)]);
    good("JWT_AUDIENCE", |s| s.jwt_audience, &[("them", Some("them".to_owned()))]);
    let long = "x".repeat(256);
    assert!(rejection("JWT_ISSUER", &long).ends_with("x…\": allowed are at most 255 characters"));
    assert!(rejection("JWT_AUDIENCE", &long).ends_with("x…\": allowed are at most 255 characters"));
    let many = rejection("JWT_PREVIOUS_SECRET_KEYS", &"k,".repeat(17));
    assert_eq!(many, "JWT_PREVIOUS_SECRET_KEYS has 17 keys: allowed are at most 16");
}

#[test]
fn production_wants_a_key_of_its_own() {
    let table = [
        (None, "JWT_SECRET_KEY is unset: production needs one of at least 32 bytes"),
        (Some(""), "JWT_SECRET_KEY is unset: production needs one of at least 32 bytes"),
        (Some(&LONG_KEY[1..]), "JWT_SECRET_KEY has 31 bytes: production needs at least 32"),
        (Some("your-secret-key-here"), "JWT_SECRET_KEY is one that was printed"),
        (Some("dev-secret-key-change-in-production"), "JWT_SECRET_KEY is one that was printed"),
        (Some(" dev-secret-key-change-in-production\n"), "JWT_SECRET_KEY is one that was printed"),
        (Some("DEV-SECRET-KEY-CHANGE-IN-PRODUCTION"), "JWT_SECRET_KEY is one that was printed"),
        (Some(&" ".repeat(40)), "JWT_SECRET_KEY has too few different characters"),
        (Some(&"\t\n \r".repeat(10)), "JWT_SECRET_KEY has too few different characters"),
        (Some(&"a".repeat(40)), "JWT_SECRET_KEY has too few different characters"),
        (Some(&"1234567".repeat(10)), "JWT_SECRET_KEY has too few different characters"),
    ];
    for (key, expected) in table {
        let mut variables = vec![("ENV", "production")];
        variables.extend(key.map(|key| ("JWT_SECRET_KEY", key)));
        let messages = messages(load(&variables));
        assert!(messages.len() == 1 && messages[0].starts_with(expected), "{messages:?}");
        variables[0].1 = "development";
        assert!(load(&variables).is_ok(), "development takes {key:?}");
    }
    for keys in ["dev-secret-key-change-in-production", &format!("{LONG_KEY}, your-secret-key-here")] {
        let messages = messages(production(&[("JWT_PREVIOUS_SECRET_KEYS", keys)]));
        assert!(
            messages.len() == 1 && messages[0].starts_with("JWT_PREVIOUS_SECRET_KEYS has a key that"),
            "{messages:?}"
        );
    }
    production(&[]).expect("hexadecimal digits are different enough");
    for previous in ["short", &"a".repeat(40)] {
        let warnings = production(&[("JWT_PREVIOUS_SECRET_KEYS", previous)]).unwrap().warnings;
        let expected = "JWT_PREVIOUS_SECRET_KEYS has a key of less than 32 bytes or with too few different characters: \
                        drop it as soon as you can";
        assert_eq!(warnings, [expected]);
    }
}

#[test]
fn secrets_are_never_shown() {
    let variables = [
        ("ENV", "production"),
        ("JWT_SECRET_KEY", "hidden-1"),
        ("JWT_PREVIOUS_SECRET_KEYS", "hidden-2,your-secret-key-here"),
        ("RESPONDER_API_KEY", "hidden-3"),
        ("RESPONDER_HEADERS", "X-Key=hidden-5"),
        ("REDIS_URL", "redis://:hidden-4@host"),
        ("PORT", "x"),
    ];
    let messages = messages(load(&variables)).concat();
    assert!(messages.contains("JWT_SECRET_KEY has 8 bytes") && !messages.contains("hidden"), "{messages}");
    let shown = format!("{:?}", load(&variables[1..5]).unwrap());
    assert!(shown.contains("Secret(8 bytes)") && !shown.contains("hidden"), "{shown}");
    let marked: Vec<&str> = VARIABLES.iter().filter(|variable| variable.secret).map(|variable| variable.name).collect();
    let secrets = ["JWT_SECRET_KEY", "JWT_PREVIOUS_SECRET_KEYS", "RESPONDER_API_KEY", "RESPONDER_HEADERS", "REDIS_URL"];
    assert_eq!(marked, secrets);
}

#[test]
fn who_may_call() {
    let list = |origins: &[&str]| Origins::List(origins.iter().map(|origin| origin.to_string()).collect());
    for name in ["ALLOW_ORIGINS", "CORS_ORIGINS"] {
        good(
            name,
            |s| s.origins,
            &[
                ("*", Origins::Any),
                ("https://example.org", list(&["https://example.org"])),
                ("https://a.org, http://localhost:3000 ,", list(&["https://a.org", "http://localhost:3000"])),
                ("HTTPS://Example.org:443,https://example.org", list(&["https://example.org"])),
            ],
        );
        bad(name, "scheme://host", &["example.org", "https://a.org,*", "https://a.org/", "null"]);
        bad(name, "no origin between", &[",", ", ,"]);
    }
    let both = [("ALLOW_ORIGINS", "https://a.org"), ("CORS_ORIGINS", "https://b.org")];
    assert_eq!(settings(&both).origins, list(&["https://a.org"]));

    let proxies = settings(&[("TRUSTED_PROXIES", "10.0.0.0/8, ::1")]).trusted_proxies;
    assert!(proxies.contains("10.1.2.3".parse().unwrap()) && proxies.contains("::1".parse().unwrap()));
    assert!(!proxies.contains("11.0.0.1".parse().unwrap()));
    assert!(!settings(&[]).trusted_proxies.contains("127.0.0.1".parse().unwrap()));
    bad("TRUSTED_PROXIES", "nor a network", &["proxy", "10.0.0.0/33", "10.0.0.1,x", "*"]);
    bad("TRUSTED_PROXIES", "the network is 10.0.0.0/8", &["10.0.0.1/8"]);

    let hosts = settings(&[("ALLOWED_HOSTS", "example.org, *.example.com")]).allowed_hosts;
    assert!(hosts.matches("example.org") && hosts.matches("a.example.com") && !hosts.matches("localhost"));
    bad(
        "ALLOWED_HOSTS",
        "*.example.org",
        &["*example.org", "a.*.org", "**", "*.", "example.org:80", "a b", "http://a"],
    );
    bad("ALLOWED_HOSTS", "no host between", &[","]);
    let table = [
        ("*", "127.0.0.1", "127.0.0.1"),
        ("example.org, 127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("example.org, *.example.com", "127.0.0.1", "example.org"),
        ("*.example.com, example.org", "127.0.0.1", "health.example.com"),
        ("[::1]", "::1", "[::1]"),
        ("[2001:db8::1]", "::1", "[2001:db8::1]"),
    ];
    for (allowed, address, expected) in table {
        let hosts = settings(&[("ALLOWED_HOSTS", allowed)]).allowed_hosts;
        let served = hosts.served(address);
        assert!(served == expected && hosts.matches(&served), "{allowed}: {served}");
    }
}

#[test]
fn sizes_and_counts() {
    good("MAX_BODY_BYTES", |s| s.body_bytes_max, &[("1024", 1024), ("67108864", 64 << 20)]);
    bad("MAX_BODY_BYTES", "from 1024 to 67108864", &["1023", "67108865", "2MiB", "0"]);
    good("MAX_HEADER_BYTES", |s| s.header_bytes_max, &[("1024", 1024), ("1048576", 1 << 20)]);
    bad("MAX_HEADER_BYTES", "from 1024 to 1048576", &["1023", "1048577"]);
    good(
        "MEMORY_LIMIT_BYTES",
        |s| s.memory_limit_bytes,
        &[("14680064", Some(14 << 20)), ("1125899906842624", Some(1 << 50))],
    );
    bad("MEMORY_LIMIT_BYTES", "from 14680064 to 1125899906842624", &["0", "14680063", "1125899906842625", "64M"]);
    good("MAX_CONNECTIONS", |s| s.connections_max, &[("1", Some(1)), ("10000000", Some(10_000_000))]);
    bad("MAX_CONNECTIONS", "from 1 to 10000000", &["0", "10000001", "many"]);
    good("MAX_CONNECTIONS_PER_ADDRESS", |s| s.connections_per_address_max, &[("0", Some(0)), ("64", Some(64))]);
    assert_eq!(settings(&[]).connections_per_address_max, None);
    bad("MAX_CONNECTIONS_PER_ADDRESS", "from 0 to 10000000", &["-1", "10000001", "many"]);
    good("STREAM_BUFFER_BYTES", |s| s.stream_buffer_bytes, &[("4096", 4096), ("16777216", 16 << 20)]);
    bad("STREAM_BUFFER_BYTES", "from 4096 to 16777216", &["4095", "16777217"]);
    good("MAX_STREAMS_PER_USER", |s| s.streams_per_user_max, &[("0", None), ("1", Some(1))]);
    bad("MAX_STREAMS_PER_USER", "from 0 to 10000000", &["-1", "10000001"]);
    good("JOURNAL_RETENTION_DAYS", |s| s.journal_retention_days, &[("1", 1), ("36500", 36500)]);
    bad("JOURNAL_RETENTION_DAYS", "from 1 to 36500", &["0", "36501", "0.5"]);
    good("JOURNAL_RETENTION_EVENTS", |s| s.journal_retention_events, &[("1", 1), ("1000000000000", 1_000_000_000_000)]);
    bad("JOURNAL_RETENTION_EVENTS", "from 1 to", &["0", "1000000000001"]);
    good("JOURNAL_RETENTION_BYTES", |s| s.journal_retention_bytes, &[("65536", 65536), ("1125899906842624", 1 << 50)]);
    bad("JOURNAL_RETENTION_BYTES", "from 65536 to", &["65535", "1125899906842625"]);
}

#[test]
fn times() {
    good("HEADER_TIMEOUT_SECONDS", |s| s.header_timeout_ms, &[("0.1", 100), ("3600", 3_600_000)]);
    bad("HEADER_TIMEOUT_SECONDS", "seconds from 0.1 to 3600", &["0.099", "3600.001", "1e1", "1.", ".5", "1.0005", "∞"]);
    good("BODY_TIMEOUT_SECONDS", |s| s.body_timeout_ms, &[("1.25", 1250), ("30", 30_000)]);
    bad("BODY_TIMEOUT_SECONDS", "seconds from 0.1 to 3600", &["0", "-1", "30s"]);
    good("KEEP_ALIVE_SECONDS", |s| s.keep_alive_ms, &[("5", 5000)]);
    bad("KEEP_ALIVE_SECONDS", "seconds from 0.1 to 3600", &["0", "nan", "inf"]);
    good(
        "HEARTBEAT_INTERVAL_SECONDS",
        |s| s.heartbeat_interval_ms,
        &[("0.01", 10), ("0.5", 500), ("3600.000", 3_600_000)],
    );
    bad("HEARTBEAT_INTERVAL_SECONDS", "seconds from 0.01 to 3600", &["0", "0.009", "1,5", "99999999999999999999"]);
    good("STREAM_STALL_TIMEOUT_SECONDS", |s| s.stream_stall_timeout_ms, &[("0.1", 100), ("43200", 43_200_000)]);
    bad("STREAM_STALL_TIMEOUT_SECONDS", "seconds from 0.1 to 43200", &["0.05", "43200.1"]);
    good("CONSOLE", |s| s.console, &[("true", true), ("False", false), ("off", false)]);
    bad("CONSOLE", "true and false", &["maybe"]);
    good("SHUTDOWN_GRACE_SECONDS", |s| s.shutdown_grace_ms, &[("0", 0), ("600", 600_000)]);
    bad("SHUTDOWN_GRACE_SECONDS", "seconds from 0 to 600", &["601", "never"]);
}

#[test]
fn rates() {
    let limit = |per_second, burst| Some(RateLimit { per_second, burst });
    good("RATE_LIMIT_PER_SECOND", |s| s.rate_limit, &[("0", None), ("1", limit(1, 100)), ("1000", limit(1000, 100))]);
    good("RATE_LIMIT_BURST", |s| s.rate_limit, &[("5", None)]);
    let both = [("RATE_LIMIT_PER_SECOND", "5"), ("RATE_LIMIT_BURST", "7")];
    assert_eq!(settings(&both).rate_limit, limit(5, 7));
    assert_eq!(production(&[("RATE_LIMIT_PER_SECOND", "0")]).unwrap().settings.rate_limit, None);
    bad("RATE_LIMIT_PER_SECOND", "from 0 to 10000000", &["-1", "0.5", "off"]);
    bad("RATE_LIMIT_BURST", "from 1 to 10000000", &["0", "x"]);
    good("LOGIN_RATE_LIMIT_PER_MINUTE", |s| s.logins_per_minute_max, &[("0", None), ("60", Some(60))]);
    bad("LOGIN_RATE_LIMIT_PER_MINUTE", "from 0 to 10000000", &["-1", "ten"]);
}

#[test]
fn responders() {
    let upstream = [("RESPONDER_URL", "https://api.example.org/v1/"), ("RESPONDER_MODEL", "m")];
    good("RESPONDER", |s| s.responder, &[("echo", ResponderKind::Echo), ("none", ResponderKind::None)]);
    bad("RESPONDER", "echo, openai and none", &["gpt", "echo,none", "ECHO"]);
    good(
        "RESPONDERS_ALLOWED",
        |s| s.responders_allowed,
        &[
            ("none", vec![ResponderKind::None]),
            ("echo, none,echo", vec![ResponderKind::Echo, ResponderKind::None]),
            (",", vec![]),
        ],
    );
    bad("RESPONDERS_ALLOWED", "echo, openai and none", &["gpt", "echo none"]);
    for openai in [("RESPONDER", "openai"), ("RESPONDERS_ALLOWED", "openai")] {
        let expected =
            ["RESPONDER_URL", "RESPONDER_MODEL"].map(|name| format!("{name} is unset: the responder openai needs it"));
        assert_eq!(messages(load(&[openai])), expected);
        let settings = settings(&[&upstream[..], &[openai]].concat());
        assert!(settings.responders_allowed.contains(&ResponderKind::OpenAi));
        assert_eq!(settings.responder_url, UpstreamAddress::parse("https://api.example.org/v1").ok());
        assert_eq!(settings.responder_model.as_deref(), Some("m"));
    }
    assert_eq!(messages(load(&[("RESPONDER", "openai"), ("RESPONDER_URL", "x"), upstream[1]])).len(), 1);
    let ipv6 = "http://[::1]:8080/v1";
    good("RESPONDER_URL", |s| s.responder_url, &[(ipv6, UpstreamAddress::parse(ipv6).ok())]);
    assert!(!rejection("RESPONDER_URL", "http://user:hunter2@a/v1").contains("hunter2"));
    good("RESPONDER_CA_FILE", |s| s.responder_ca_file, &[("/etc/own-ca.pem", Some("/etc/own-ca.pem".into()))]);
    bad("RESPONDER_URL", "http:// or https://", &["api.example.org", "ftp://x", "http://", "http:///v1", "http://a b"]);
    assert!(rejection("RESPONDER_MODEL", &"x".repeat(256)).contains("at most 255 characters"));
    good("RESPONDER_API_KEY", |s| s.responder_api_key, &[("k", Some(Secret::new("k"))), (" ", None)]);
    good("RESPONDER_SYSTEM_PROMPT", |s| s.responder_system_prompt, &[("Be brief.", Some("Be brief.".to_owned()))]);
    assert!(rejection("RESPONDER_SYSTEM_PROMPT", &"x".repeat(32 * 1024 + 1)).contains("at most 32768 characters"));
    good("RESPONDER_HISTORY", |s| s.responder_history, &[("0", 0), ("1000", 1000)]);
    bad("RESPONDER_HISTORY", "from 0 to 1000", &["1001", "-1"]);
    good("RESPONDER_CONCURRENCY_PER_USER", |s| s.responder_concurrency_per_user, &[("1", 1), ("64", 64)]);
    bad("RESPONDER_CONCURRENCY_PER_USER", "from 1 to 64", &["0", "65"]);
}

#[test]
fn models() {
    let names = |variables: &[(&str, &str)]| {
        settings(variables).responder_models.iter().map(|model| model.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), [""; 0]);
    assert_eq!(names(&[("RESPONDER_MODEL", "a")]), ["a"]);
    assert_eq!(names(&[("RESPONDER_MODELS", " b, c,,b ")]), ["b", "c"]);
    assert_eq!(names(&[("RESPONDER_MODEL", "a"), ("RESPONDER_MODELS", "b,a")]), ["a", "b"], "the default is first");
    assert!(rejection("RESPONDER_MODELS", &"x".repeat(256)).contains("at most 256 names of at most 255 characters"));
    let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
    assert!(rejection("RESPONDER_MODELS", &many.join(",")).contains("at most 256 names"));
}

#[test]
fn requests_to_models() {
    let secret = Secret::new("Basic x");
    let field = UpstreamField { name: "Authorization".into(), value: secret };
    good("RESPONDER_HEADERS", |s| s.responder_headers, &[("Authorization=Basic%20x", vec![field]), (",", vec![])]);
    let message = "RESPONDER_HEADERS has 12 bytes: the field Host is set by the server itself";
    assert_eq!(rejection("RESPONDER_HEADERS", "Host=hunter2"), message);
    good("RESPONDER_CONTEXT_TOKENS", |s| s.context_bytes_max(), &[("1", 4), ("4096", 16384), ("1048576", 4 << 20)]);
    assert_eq!(settings(&[]).context_bytes_max(), 256 * 1024);
    bad("RESPONDER_CONTEXT_TOKENS", "from 1 to 1048576", &["0", "1048577", "4k"]);
    good("RESPONDER_NAMES", |s| s.responder_names, &[("true", true), ("False", false), ("0", false), ("yes", true)]);
    bad("RESPONDER_NAMES", "true and false", &["maybe", "2"]);
    let limit = |s: Settings| s.responder_tokens_per_user_per_day;
    good("RESPONDER_TOKENS_PER_USER_PER_DAY", limit, &[("1", Some(1)), ("5000000", Some(5_000_000))]);
    bad("RESPONDER_TOKENS_PER_USER_PER_DAY", "from 1 to 1000000000000", &["0", "-1", "1e6"]);
}

#[test]
fn timeouts_of_answers() {
    let defaults = settings(&[]);
    assert_eq!((defaults.responder_first_byte_ms, defaults.responder_between_bytes_ms), (300_000, 60_000));
    assert_eq!(defaults.responder_total_ms, None);
    good("RESPONDER_FIRST_BYTE_SECONDS", |s| s.responder_first_byte_ms, &[("0.1", 100), ("86400", 86_400_000)]);
    good("RESPONDER_BETWEEN_BYTES_SECONDS", |s| s.responder_between_bytes_ms, &[("90", 90_000)]);
    good("RESPONDER_TOTAL_SECONDS", |s| s.responder_total_ms, &[("600", Some(600_000)), (" ", None)]);
    for name in ["RESPONDER_FIRST_BYTE_SECONDS", "RESPONDER_BETWEEN_BYTES_SECONDS", "RESPONDER_TOTAL_SECONDS"] {
        bad(name, "seconds from 0.1 to 86400", &["0", "86401", "5m"]);
    }
}

#[test]
fn what_is_not_ours() {
    let warnings = |variables: &[(&str, &str)]| load(variables).unwrap().warnings;
    assert_eq!(warnings(&[("RELOAD", "true")]), ["RELOAD is set, but has no effect here"]);
    let all = [("SENTRY_DSN", "https://hidden@x"), ("DEBUG", "0"), ("RELOAD", "true")];
    assert_eq!(warnings(&all), ["RELOAD, DEBUG, SENTRY_DSN are set, but have no effect here"]);
    assert_eq!(warnings(&[("RELOAD", "")]), [""; 0]);
}

#[test]
fn a_bus_needs_the_feature_and_a_database_server() {
    let loaded = |url, database| load(&[("REDIS_URL", url), ("DATABASE_URL", database)]);
    let message = |url, database| messages(loaded(url, database)).concat();
    let file = message("redis://localhost", "sqlite:///x");
    if cfg!(feature = "cluster") {
        assert!(file.contains("REDIS_URL is set, but only instances with a database on a PostgreSQL server"), "{file}");
        let server = "postgres://localhost/x";
        assert!(message("http://:secret@host", server).contains("REDIS_URL has 19 bytes: allowed are redis://"));
        for url in
            ["redis://:secret@host", "rediss://host:1/2", "redis+sentinel://a,b/main", "rediss+sentinel://a/main"]
        {
            assert!(loaded(url, server).is_ok_and(|loaded| loaded.settings.redis.is_some()), "{url}");
        }
    } else {
        assert!(file.contains("REDIS_URL is set, but several instances need a program built with --features cluster"));
    }
}

#[test]
fn every_bad_value_is_reported_at_once() {
    let variables =
        [("PORT", "x"), ("WORKERS", "0"), ("LOG_LEVEL", "loud"), ("JWT_ALGORITHM", "none"), ("REDIS_URL", "x")];
    let errors = load(&variables).unwrap_err();
    let named: BTreeSet<&str> = errors.iter().map(|error| error.variable).collect();
    assert_eq!(named, variables.iter().map(|(name, _)| *name).collect());
    assert_eq!(errors.len(), variables.len());
}

#[test]
fn long_and_odd_values_are_shown_in_one_line() {
    let message = rejection("PORT", &format!("\u{1b}[2J\n{}", "x".repeat(1000)));
    assert!(message.starts_with("PORT is \"\\u{1b}[2J\\nxxx") && message.len() < 250, "{message}");
}

#[test]
fn a_reload_takes_up_what_the_table_says() {
    let base = [
        ("JWT_SECRET_KEY", LONG_KEY),
        ("RESPONDERS_ALLOWED", "openai"),
        ("RESPONDER_URL", "http://a.example"),
        ("RESPONDER_MODEL", "a"),
        ("RATE_LIMIT_PER_SECOND", "5"),
    ];
    let others = [
        ("ENV", "production"),
        ("ENVIRONMENT", "production"),
        ("HOST", "::1"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("LOG_LEVEL", "DEBUG"),
        ("LOG_FORMAT", "json"),
        ("JWT_SECRET_KEY", "another-0123456789abcdef01234567"),
        ("JWT_ISSUER", "i"),
        ("JWT_AUDIENCE", "a"),
        ("JWT_PREVIOUS_SECRET_KEYS", LONG_KEY),
        ("ALLOW_ORIGINS", "*"),
        ("CORS_ORIGINS", "*"),
        ("TRUSTED_PROXIES", "10.0.0.1"),
        ("ALLOWED_HOSTS", "*"),
        ("MAX_BODY_BYTES", "4096"),
        ("MAX_HEADER_BYTES", "4096"),
        ("STREAM_BUFFER_BYTES", "8192"),
        ("MEMORY_LIMIT_BYTES", "33554432"),
        ("JOURNAL_RETENTION_BYTES", "100000"),
        ("RESPONDER", "none"),
        ("RESPONDERS_ALLOWED", "openai,echo"),
        ("RESPONDER_URL", "http://b.example"),
        ("RESPONDER_MODEL", "b"),
        ("RESPONDER_API_KEY", "k"),
        ("RESPONDER_CA_FILE", "f"),
        ("RESPONDER_SYSTEM_PROMPT", "p"),
        ("RESPONDER_HEADERS", "a=b"),
        ("RESPONDER_NAMES", "false"),
        ("CONSOLE", "false"),
    ];
    // These have one value or none.
    let fixed = ["JWT_ALGORITHM", "REDIS_URL", "RELOAD", "DEBUG", "SENTRY_DSN"];
    let running = settings(&base);
    assert_eq!(running.reloaded(running.clone()), (running.clone(), Vec::new()));
    for variable in VARIABLES.iter().filter(|variable| !fixed.contains(&variable.name)) {
        // Every number may be 3.
        let value = others.iter().find(|(name, _)| *name == variable.name).map_or("3", |(_, value)| value);
        let kept = base.iter().filter(|(name, _)| *name != variable.name).copied();
        let read = settings(&kept.chain([(variable.name, value)]).collect::<Vec<_>>());
        assert_ne!(read, running, "{} is changed by {value}", variable.name);
        let (next, restart) = running.reloaded(read.clone());
        if variable.reloadable {
            assert_eq!((next, restart), (read, Vec::new()), "{}", variable.name);
        } else {
            let name = if variable.name == "ENVIRONMENT" { "ENV" } else { variable.name };
            assert!(restart.contains(&name), "{name} needs a restart: {restart:?}");
        }
    }
    assert!(VARIABLES.iter().all(|variable| !variable.reloadable || !fixed.contains(&variable.name)));
}

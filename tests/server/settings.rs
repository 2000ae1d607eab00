//! Settings: their sources, the messages about invalid ones, and secrets in the log.

use crate::common::token::{KEY, now, signed, token};
use crate::common::user::text;
use crate::common::{Client, Options, Server, Stream, User, assert_error, of_sqlite_only};
use serde_json::{Value, json};

#[test]
fn an_invalid_setting_is_reported_with_variable_value_and_rule() {
    let table: [(&str, &str, &str); 26] = [
        ("ENV", "staging", "production"),
        ("PORT", "http", "65535"),
        ("PORT", "65536", "65535"),
        ("PORT", "-1", "65535"),
        ("HOST", "not a host", ""),
        ("WORKERS", "0", "1"),
        ("WORKERS", "many", "1"),
        ("DATABASE_URL", "mysql://localhost/cortex", "sqlite"),
        ("LOG_LEVEL", "LOUD", "INFO"),
        ("LOG_FORMAT", "xml", "json"),
        ("JWT_ALGORITHM", "RS256", "HS256"),
        ("JWT_EXPIRATION_HOURS", "soon", ""),
        ("JWT_EXPIRATION_HOURS", "0", ""),
        ("MAX_BODY_BYTES", "2MiB", ""),
        ("MAX_HEADER_BYTES", "-1", ""),
        ("MAX_CONNECTIONS", "0", ""),
        ("HEADER_TIMEOUT_SECONDS", "never", ""),
        ("BODY_TIMEOUT_SECONDS", "-5", ""),
        ("KEEP_ALIVE_SECONDS", "NaN", ""),
        ("HEARTBEAT_INTERVAL_SECONDS", "inf", ""),
        ("STREAM_STALL_TIMEOUT_SECONDS", "1h", ""),
        ("MAX_STREAMS_PER_USER", "-1", ""),
        ("RATE_LIMIT_PER_SECOND", "fast", ""),
        ("LOGIN_RATE_LIMIT_PER_MINUTE", "x", ""),
        ("SHUTDOWN_GRACE_SECONDS", "x", ""),
        ("TRUSTED_PROXIES", "the-proxy", ""),
    ];
    for (name, value, allowed) in table {
        let failed = Server::failed_start(Options::new().set(name, value));
        let said = &failed.stderr;
        assert!(failed.code.is_some_and(|code| code != 0), "{name}={value}: {:?}: {said}", failed.code);
        assert!(!said.contains("panicked"), "{name}={value}: {said}");
        let line = said.lines().find(|line| line.contains(name));
        let line = line.unwrap_or_else(|| panic!("{name}={value}: the variable is named: {said}"));
        assert!(line.contains(value), "{name}={value}: the value is named: {line}");
        assert!(line.contains(allowed), "{name}={value}: what is allowed is named: {line}");
    }
}

/// A program with the feature supports these.
#[test]
#[cfg(not(feature = "cluster"))]
fn a_server_in_the_settings_needs_the_feature() {
    let failed = Server::failed_start(Options::new().set("DATABASE_URL", "postgres://localhost/cortex"));
    assert!(failed.code.is_some_and(|code| code != 0), "{:?}", failed.code);
    let line = failed.stderr.lines().find(|line| line.contains("DATABASE_URL")).expect("the variable is named");
    assert!(line.contains("postgres://localhost/cortex") && line.contains("--features cluster"), "{line}");
}

#[test]
fn redis_without_a_server_is_rejected() {
    of_sqlite_only!("instances on a server use Redis");
    let failed = Server::failed_start(Options::new().set("REDIS_URL", "redis://localhost:6379"));
    assert!(failed.code.is_some_and(|code| code != 0), "{:?}", failed.code);
    assert!(failed.stderr.contains("REDIS_URL"), "{}", failed.stderr);
}

#[test]
fn settings_without_a_meaning_here_cause_a_warning() {
    let server =
        Server::with(&[("RELOAD", "true"), ("DEBUG", "false"), ("SENTRY_DSN", "https://key@sentry.example/1")]);
    Client::new(server.addr).request("GET", "/").send().expect(200);
    for name in ["RELOAD", "DEBUG", "SENTRY_DSN"] {
        assert!(server.log().contains(name), "{name}: {}", server.log());
    }
}

#[test]
fn older_names_of_settings_are_accepted() {
    let failed =
        Server::failed_start(Options::new().unset("ENV").unset("JWT_SECRET_KEY").set("ENVIRONMENT", "production"));
    assert!(failed.stderr.contains("JWT_SECRET_KEY"), "production needs a key: {}", failed.stderr);
    let server = Server::with(&[("CORS_ORIGINS", "https://app.example")]);
    let response = Client::new(server.addr).request("GET", "/").header("Origin", "https://app.example").send();
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("https://app.example"));
}

#[test]
fn the_environment_overrides_the_settings_file() {
    let file = "# settings for a test\n\
                JWT_SECRET_KEY=the-key-in-the-file-0123456789-0123456789\n\
                JWT_ISSUER=\"the issuer in the file\"\n\
                HEARTBEAT_INTERVAL_SECONDS=0.2\n";
    let server = Server::start(Options::new().unset("HEARTBEAT_INTERVAL_SECONDS").file(".env", file));
    let mut client = Client::new(server.addr);
    let signed_with = |key: &str, issuer: &str| {
        signed(&json!({"alg": "HS256"}), &json!({"oid": "u", "exp": now() + 600, "iss": issuer}), key)
    };
    let good = signed_with(KEY, "the issuer in the file");
    client.request("GET", "/auth/verify").token(&good).send().expect(200);
    let response = client.request("GET", "/auth/verify").token(&signed_with(KEY, "another")).send();
    assert_error(&response, 401, "unauthorized");
    let of_the_file = signed_with("the-key-in-the-file-0123456789-0123456789", "the issuer in the file");
    assert_error(&client.request("GET", "/auth/verify").token(&of_the_file).send(), 401, "unauthorized");
    // With the default interval, three heartbeats would exceed the test's timeout.
    let mut stream = Stream::open(server.addr, &good, "");
    for _ in 0..3 {
        stream.next_of("heartbeat");
    }
}

#[test]
fn an_invalid_setting_in_the_file_is_reported() {
    let failed = Server::failed_start(Options::new().unset("WORKERS").file(".env", "WORKERS=none\n"));
    assert!(failed.code.is_some_and(|code| code != 0), "{:?}", failed.code);
    assert!(failed.stderr.contains("WORKERS") && failed.stderr.contains("none"), "{}", failed.stderr);
}

#[test]
fn the_log_has_no_secrets() {
    let issued = |user: &str| token(user);
    let (bearer, in_query, as_token) = (issued("by-header"), issued("by-query"), issued("by-older-query"));
    let ticket = "tickets-are-secret-too";
    let mut server = Server::with(&[("LOG_LEVEL", "DEBUG")]);
    let mut client = Client::new(server.addr);
    let form = "username=user%40example.com&password=a-wrong-password-in-a-form";
    client.request("POST", "/auth/login").body("application/x-www-form-urlencoded", form).send();
    let login = json!({"email": "user@example.com", "password": "password123"});
    let own = text(&client.request("POST", "/auth/login").json(&login).send().expect(200).json()["access_token"]);
    let change = json!({"current_password": "password123", "new_password": "a-new-password-to-be-kept"});
    client.request("POST", "/auth/password").token(&own).json(&change).send().expect(200);
    client.request("GET", "/auth/verify").token("not.a.token-but-still-somebodys").send();
    let mut user = User::with_token(&server, "by-header", &bearer);
    let body = json!({"content": "what-people-say-is-theirs", "metadata": {"key": "metadata-is-theirs-too"}});
    user.request("POST", "/input").header("X-Request-Id", "seen-in-the-log").json(&body).send().expect(200);
    for query in [format!("access_token={in_query}"), format!("token={as_token}")] {
        Stream::open_with(server.addr, &query, &[]);
    }
    client.request("GET", &format!("/output/stream?ticket={ticket}")).send();
    client.request("GET", &format!("/?access_token={in_query}")).send();
    client.request("GET", "/config/workspace?limit=%0a%0dforged-line").token(&bearer).send();
    server.stop();

    let log = server.log();
    let secrets = [
        KEY,
        &bearer,
        &in_query,
        &as_token,
        &own,
        ticket,
        "password123",
        "a-wrong-password-in-a-form",
        "a-new-password-to-be-kept",
        "not.a.token-but-still-somebodys",
        "what-people-say-is-theirs",
        "metadata-is-theirs-too",
    ];
    for secret in secrets {
        // The signature of a token must not be there either.
        let tail = secret.rsplit('.').next().expect("a split has a part");
        assert!(!log.contains(secret) && !log.contains(tail), "{secret} in the log:\n{log}");
    }
    assert!(!log.lines().any(|line| line.starts_with("forged-line")), "{log}");
    let line = log.lines().find(|line| line.contains("seen-in-the-log")).expect("the request is in the log");
    for part in ["POST", "/input", "200", "by-header"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    for path in ["/auth/login", "/auth/password", "/auth/verify", "/output/stream", "/config/workspace"] {
        assert!(log.contains(path), "{path} in the log");
    }
}

#[test]
fn the_json_log_has_one_object_per_line() {
    let mut server = Server::with(&[("LOG_FORMAT", "json")]);
    let mut user = User::new(&server, "somebody \"quoted\"\n");
    user.request("POST", "/input").header("X-Request-Id", "find-me").json(&json!({"content": "x"})).send().expect(200);
    user.get("/nowhere?\"x\"");
    server.stop();
    let log = server.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let request = lines.iter().find(|line| line.to_string().contains("find-me")).expect("the request is in the log");
    let shown = request.to_string();
    for part in ["POST", "/input", "200", "somebody"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn a_log_of_errors_only_is_empty() {
    let mut server = Server::with(&[("LOG_LEVEL", "ERROR")]);
    let mut user = User::new(&server, "u");
    user.say("default", "x");
    user.get("/nowhere");
    server.stop();
    assert_eq!(server.log(), "");
}

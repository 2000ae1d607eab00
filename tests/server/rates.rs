//! Rate limits per user and, without a user, per address, and their response fields.

use crate::common::token::token;
use crate::common::{Client, Options, Response, Server, User, assert_error};
use serde_json::json;

/// A rate so low that nothing is refilled during a test on any machine.
fn limited(burst: u32, more: &[(&str, &str)]) -> Server {
    let options = Options::new().set("RATE_LIMIT_PER_SECOND", 1).set("RATE_LIMIT_BURST", burst);
    Server::start(more.iter().fold(options, |options, (name, value)| options.set(name, value)))
}

/// The number in a parameter of the single member of a list of structured fields (RFC 9651).
#[track_caller]
fn parameter(response: &Response, field: &str, policy: &str, name: &str) -> u64 {
    let value = response.header(field).unwrap_or_else(|| panic!("no {field}: {}", response.shown()));
    let rest = value.strip_prefix(&format!("\"{policy}\";")).unwrap_or_else(|| panic!("{policy}, not {value}"));
    let found = rest.split(';').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{name} in {value}"))
}

/// Repeats until a request is rejected; returns the responses before it and the rejection.
#[track_caller]
fn until_rejected(send: &mut dyn FnMut() -> Response) -> (Vec<Response>, Response) {
    let mut before = Vec::new();
    for _ in 0..5000 {
        let response = send();
        if response.status == 429 {
            return (before, response);
        }
        before.push(response);
    }
    panic!("5000 requests are not limited");
}

#[test]
fn every_response_to_a_limited_user_has_the_remaining_rate() {
    let server = limited(40, &[]);
    let mut user = User::new(&server, "u");
    let mut left = 40;
    for (path, status) in [("/config/workspace", 200), ("/output/streams", 200), ("/config/workspace?limit=x", 422)] {
        let response = user.get(path).expect(status);
        assert_eq!(response.header("RateLimit-Policy"), Some("\"default\";q=40;w=40"), "{}", response.shown());
        let now_left = parameter(&response, "RateLimit", "default", "r");
        // Each request takes one token, and one is refilled per second.
        assert!(now_left >= left - 1 && now_left < 40, "{now_left} after {left}");
        left = now_left;
        assert_eq!(parameter(&response, "RateLimit", "default", "t"), 1, "one is refilled per second");
    }
    let (before, rejected) = until_rejected(&mut || user.get("/output/streams"));
    assert_eq!(parameter(before.last().expect("some were left"), "RateLimit", "default", "r"), 0);
    assert_error(&rejected, 429, "rate_limited");
    assert_eq!(parameter(&rejected, "RateLimit", "default", "r"), 0);
    assert_eq!(rejected.number("Retry-After"), parameter(&rejected, "RateLimit", "default", "t"));
    assert_eq!(rejected.header("RateLimit-Policy"), Some("\"default\";q=40;w=40"));
    // Opening a stream counts as well.
    let other = User::new(&server, "v");
    let stream = other.stream();
    assert!(stream.head.header("RateLimit").is_some(), "{}", stream.head.shown());
}

#[test]
fn unlimited_users_get_no_rate_fields() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for path in ["/", "/config/workspace", "/nowhere"] {
        let response = user.get(path);
        assert!(response.header("RateLimit").is_none() && response.header("RateLimit-Policy").is_none());
    }
    let limited = limited(5, &[]);
    let response = Client::new(limited.addr).request("GET", "/").send().expect(200);
    assert!(response.header("RateLimit").is_none(), "public endpoints are not limited: {}", response.shown());
}

/// Requests without a valid token share the rate of their address: ten times a user's.
#[test]
fn requests_without_a_user_are_limited_by_address() {
    let forged = format!("{}x", token("u"));
    let requests: [(&str, &str, Option<&str>, u16); 4] = [
        ("GET", "/auth/verify", None, 401),
        ("GET", "/auth/verify", Some(&forged), 401),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/auth/verify", None, 405),
    ];
    for (method, path, token, status) in requests {
        let server = limited(5, &[]);
        let mut client = Client::new(server.addr);
        let mut send = || match token {
            Some(token) => client.request(method, path).token(token).send(),
            None => client.request(method, path).send(),
        };
        let (before, rejected) = until_rejected(&mut send);
        assert!(before.len() >= 50, "{method} {path}: only {} of 50", before.len());
        assert!(before.iter().all(|response| response.status == status), "{method} {path}");
        assert_eq!(before[0].header("RateLimit-Policy"), Some("\"address\";q=50;w=5"));
        assert_error(&rejected, 429, "rate_limited");
        assert_eq!(parameter(&rejected, "RateLimit", "address", "r"), 0);
        // Public endpoints and preflights stay available.
        client.request("GET", "/").send().expect(200);
        let preflight = client
            .request("OPTIONS", "/auth/verify")
            .header("Origin", "http://localhost:1")
            .header("Access-Control-Request-Method", "GET");
        preflight.send().expect(200);
    }
}

/// Otherwise anyone could lock out all users of an address, which behind a proxy missing in `TRUSTED_PROXIES` are all
/// users.
#[test]
fn invalid_requests_do_not_lock_out_valid_tokens_of_the_same_address() {
    let server = limited(1, &[]);
    let (forged, mut client) = (format!("{}x", token("u")), Client::new(server.addr));
    for n in 0..20 {
        until_rejected(&mut || client.request("GET", "/auth/verify").token(&forged).send());
        client.request("GET", "/auth/verify").token(&token(&format!("u{n}"))).send().expect(200);
    }
}

/// Valid tokens do not use the rate of the address, so that many users can share one.
#[test]
fn valid_tokens_do_not_consume_the_rate_of_their_address() {
    let server = limited(2, &[]);
    for n in 0..40 {
        User::new(&server, &format!("u{n}")).get("/auth/verify").expect(200);
    }
    let response = Client::new(server.addr).request("GET", "/nowhere").send().expect(404);
    assert_eq!(parameter(&response, "RateLimit", "address", "r"), 19);
}

/// Behind a trusted proxy, the addresses are those of the clients.
#[test]
fn addresses_behind_a_trusted_proxy_are_limited_separately() {
    let server = limited(1, &[("TRUSTED_PROXIES", "127.0.0.1")]);
    let mut client = Client::new(server.addr);
    let mut from = |address: &str| client.request("GET", "/nowhere").header("X-Forwarded-For", address).send();
    let left = |response: Response| match response.status {
        429 => 0,
        _ => parameter(&response, "RateLimit", "address", "r"),
    };
    // Ten are allowed at once. A busy machine refills some, but not each time.
    let shared = (0..100).any(|n| {
        until_rejected(&mut || from("2001:db8::1"));
        left(from(&format!("2001:db8::ffff:{n}"))) < 9
    });
    assert!(shared, "an IPv6 network counts as one");
    for other in ["203.0.113.2", "2001:db8:0:1::1"] {
        assert_eq!(left(from(other)), 9, "{other} has its own rate");
    }
}

/// `docs/api.md`, section 3: a replay does not count against the rate limit.
#[test]
fn idempotent_replays_do_not_consume_the_rate() {
    let server = limited(4, &[]);
    let mut user = User::new(&server, "u");
    let body = json!({"content": "once"});
    let mut send = || user.request("POST", "/input").header("Idempotency-Key", "k").json(&body).send().expect(200);
    let first = parameter(&send(), "RateLimit", "default", "r");
    for _ in 0..20 {
        let response = send();
        assert_eq!(response.header("Idempotent-Replayed"), Some("true"));
        let left = parameter(&response, "RateLimit", "default", "r");
        assert!(left >= first, "{left} after {first}: {}", response.shown());
    }
}

/// A user that repeats one request without end would otherwise never reach a limit.
#[test]
fn replays_are_limited_to_ten_times_the_rate() {
    let server = limited(4, &[]);
    let mut user = User::new(&server, "u");
    let body = json!({"content": "once"});
    let mut send = || user.request("POST", "/input").header("Idempotency-Key", "k").json(&body).send();
    send().expect(200);
    let (before, rejected) = until_rejected(&mut send);
    assert!(before.len() >= 40, "{} replays were served", before.len());
    assert_error(&rejected, 429, "rate_limited");
    User::new(&server, "v").post("/input", body.clone()).expect(200);
}

#[test]
fn logins_report_the_remaining_attempts() {
    let server = Server::with(&[("LOGIN_RATE_LIMIT_PER_MINUTE", "3")]);
    let mut client = Client::new(server.addr);
    let body = json!({"email": "user@example.com", "password": "wrong"});
    let mut login = || client.request("POST", "/auth/login").json(&body).send();
    let response = login().expect(401);
    assert_eq!(response.header("RateLimit-Policy"), Some("\"login\";q=3;w=60"));
    assert_eq!(parameter(&response, "RateLimit", "login", "r"), 2);
    let (_, rejected) = until_rejected(&mut login);
    assert_eq!(parameter(&rejected, "RateLimit", "login", "r"), 0);
    assert!((1..=20).contains(&rejected.number("Retry-After")), "{}", rejected.shown());
}

/// The response shows the lower of both limits, so a client that tries several accounts sees the limit of its address.
#[test]
fn remaining_logins_are_the_minimum_of_both_limits() {
    let server = Server::with(&[("LOGIN_RATE_LIMIT_PER_MINUTE", "5")]);
    let mut client = Client::new(server.addr);
    let mut login = |body| client.request("POST", "/auth/login").json(&body).send();
    // An invalid login counts for the address only. A busy machine refills some tokens, but not each time.
    let is_lower = (0..100).any(|n| {
        while parameter(&login(json!({})).expect(422), "RateLimit", "login-address", "r") > 1 {}
        let response = login(json!({"email": format!("{n}@example.com"), "password": "wrong"}));
        response.status == 401 && response.header("RateLimit-Policy") == Some("\"login-address\";q=50;w=60")
    });
    assert!(is_lower, "less is left of the address than of any account");
}

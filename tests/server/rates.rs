//! How often people may ask: per user, per address without a user, and what they are told of it.

use crate::common::token::token;
use crate::common::{Client, Options, Response, Server, User, assert_error};
use serde_json::json;

/// A rate so low that nothing comes back while a test runs, however slow the machine.
fn limited(burst: u32, more: &[(&str, &str)]) -> Server {
    let options = Options::new().set("RATE_LIMIT_PER_SECOND", 1).set("RATE_LIMIT_BURST", burst);
    Server::start(more.iter().fold(options, |options, (name, value)| options.set(name, value)))
}

/// The number in a parameter of the one member of a list of structured fields (RFC 9651).
#[track_caller]
fn parameter(answer: &Response, field: &str, policy: &str, name: &str) -> u64 {
    let value = answer.header(field).unwrap_or_else(|| panic!("no {field}: {}", answer.shown()));
    let rest = value.strip_prefix(&format!("\"{policy}\";")).unwrap_or_else(|| panic!("{policy}, not {value}"));
    let found = rest.split(';').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{name} in {value}"))
}

/// Sends until something is refused; what was answered before, and the refusal.
#[track_caller]
fn until_refused(send: &mut dyn FnMut() -> Response) -> (Vec<Response>, Response) {
    let mut before = Vec::new();
    for _ in 0..5000 {
        let answer = send();
        if answer.status == 429 {
            return (before, answer);
        }
        before.push(answer);
    }
    panic!("5000 are not too many");
}

#[test]
fn every_answer_to_a_limited_user_says_what_is_left() {
    let server = limited(40, &[]);
    let mut user = User::new(&server, "u");
    let mut left = 40;
    for (path, status) in [("/config/workspace", 200), ("/output/streams", 200), ("/config/workspace?limit=x", 422)] {
        let answer = user.get(path).expect(status);
        assert_eq!(answer.header("RateLimit-Policy"), Some("\"default\";q=40;w=40"), "{}", answer.shown());
        let now_left = parameter(&answer, "RateLimit", "default", "r");
        // One is taken by each, and one comes back each second.
        assert!(now_left >= left - 1 && now_left < 40, "{now_left} after {left}");
        left = now_left;
        assert_eq!(parameter(&answer, "RateLimit", "default", "t"), 1, "one comes back each second");
    }
    let (before, refused) = until_refused(&mut || user.get("/output/streams"));
    assert_eq!(parameter(before.last().expect("some were left"), "RateLimit", "default", "r"), 0);
    assert_error(&refused, 429, "rate_limited");
    assert_eq!(parameter(&refused, "RateLimit", "default", "r"), 0);
    assert_eq!(refused.number("Retry-After"), parameter(&refused, "RateLimit", "default", "t"));
    assert_eq!(refused.header("RateLimit-Policy"), Some("\"default\";q=40;w=40"));
    // A stream is an answer as well.
    let other = User::new(&server, "v");
    let stream = other.stream();
    assert!(stream.head.header("RateLimit").is_some(), "{}", stream.head.shown());
}

#[test]
fn who_is_not_limited_is_told_of_no_limit() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for path in ["/", "/config/workspace", "/nowhere"] {
        let answer = user.get(path);
        assert!(answer.header("RateLimit").is_none() && answer.header("RateLimit-Policy").is_none());
    }
    let limited = limited(5, &[]);
    let answer = Client::new(limited.addr).request("GET", "/").send().expect(200);
    assert!(answer.header("RateLimit").is_none(), "what is open to all is not counted: {}", answer.shown());
}

/// Whoever has no good token shares the rate of their address: ten times a user's.
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
        let (before, refused) = until_refused(&mut send);
        assert!(before.len() >= 50, "{method} {path}: only {} of 50", before.len());
        assert!(before.iter().all(|answer| answer.status == status), "{method} {path}");
        assert_eq!(before[0].header("RateLimit-Policy"), Some("\"address\";q=50;w=5"));
        assert_error(&refused, 429, "rate_limited");
        assert_eq!(parameter(&refused, "RateLimit", "address", "r"), 0);
        // What is open to all stays open, and so do preflights.
        client.request("GET", "/").send().expect(200);
        let preflight = client
            .request("OPTIONS", "/auth/verify")
            .header("Origin", "http://localhost:1")
            .header("Access-Control-Request-Method", "GET");
        preflight.send().expect(200);
    }
}

/// Whoever sent bad requests from an address once locked out everybody who came from it, which behind a proxy that is not
/// named in `TRUSTED_PROXIES` was everybody there is.
#[test]
fn a_flood_of_bad_requests_locks_out_nobody_who_has_a_good_token() {
    let server = limited(1, &[]);
    let (forged, mut client) = (format!("{}x", token("u")), Client::new(server.addr));
    for n in 0..20 {
        until_refused(&mut || client.request("GET", "/auth/verify").token(&forged).send());
        client.request("GET", "/auth/verify").token(&token(&format!("u{n}"))).send().expect(200);
    }
}

/// Good requests cost the address nothing: a thousand people may share one.
#[test]
fn users_do_not_use_up_the_rate_of_their_address() {
    let server = limited(2, &[]);
    for n in 0..40 {
        User::new(&server, &format!("u{n}")).get("/auth/verify").expect(200);
    }
    let answer = Client::new(server.addr).request("GET", "/nowhere").send().expect(404);
    assert_eq!(parameter(&answer, "RateLimit", "address", "r"), 19);
}

/// Behind a trusted proxy the addresses are those of the clients.
#[test]
fn addresses_behind_a_trusted_proxy_are_limited_each_for_itself() {
    let server = limited(1, &[("TRUSTED_PROXIES", "127.0.0.1")]);
    let mut client = Client::new(server.addr);
    let mut from = |address: &str| client.request("GET", "/nowhere").header("X-Forwarded-For", address).send();
    let left = |answer: Response| match answer.status {
        429 => 0,
        _ => parameter(&answer, "RateLimit", "address", "r"),
    };
    // Ten are allowed at once. Some may come back while this machine is busy, but not each time.
    let shared = (0..100).any(|n| {
        until_refused(&mut || from("2001:db8::1"));
        left(from(&format!("2001:db8::ffff:{n}"))) < 9
    });
    assert!(shared, "an IPv6 network counts as one");
    for other in ["203.0.113.2", "2001:db8:0:1::1"] {
        assert_eq!(left(from(other)), 9, "{other} is somebody else");
    }
}

/// `docs/api.md`, section 3: a replay does not count against the rate limit.
#[test]
fn a_replay_costs_nothing_of_the_rate() {
    let server = limited(4, &[]);
    let mut user = User::new(&server, "u");
    let body = json!({"content": "once"});
    let mut send = || user.request("POST", "/input").header("Idempotency-Key", "k").json(&body).send().expect(200);
    let first = parameter(&send(), "RateLimit", "default", "r");
    for _ in 0..20 {
        let answer = send();
        assert_eq!(answer.header("Idempotent-Replayed"), Some("true"));
        let left = parameter(&answer, "RateLimit", "default", "r");
        assert!(left >= first, "{left} after {first}: {}", answer.shown());
    }
}

#[test]
fn logins_say_what_is_left_of_them() {
    let server = Server::with(&[("LOGIN_RATE_LIMIT_PER_MINUTE", "3")]);
    let mut client = Client::new(server.addr);
    let body = json!({"email": "user@example.com", "password": "wrong"});
    let mut login = || client.request("POST", "/auth/login").json(&body).send();
    let answer = login().expect(401);
    assert_eq!(answer.header("RateLimit-Policy"), Some("\"login\";q=3;w=60"));
    assert_eq!(parameter(&answer, "RateLimit", "login", "r"), 2);
    let (_, refused) = until_refused(&mut login);
    assert_eq!(parameter(&refused, "RateLimit", "login", "r"), 0);
    assert!((1..=20).contains(&refused.number("Retry-After")), "{}", refused.shown());
}

/// Whoever tried one account after the other was told what was left of each account, up to the refusal for their address.
#[test]
fn what_is_left_of_logins_is_where_least_is_left() {
    let server = Server::with(&[("LOGIN_RATE_LIMIT_PER_MINUTE", "5")]);
    let mut client = Client::new(server.addr);
    let mut login = |body| client.request("POST", "/auth/login").json(&body).send();
    // What is no login counts for the address alone. Some may come back while this machine is busy, but not each time.
    let told = (0..100).any(|n| {
        while parameter(&login(json!({})).expect(422), "RateLimit", "login-address", "r") > 1 {}
        let answer = login(json!({"email": format!("{n}@example.com"), "password": "wrong"}));
        answer.status == 401 && answer.header("RateLimit-Policy") == Some("\"login-address\";q=50;w=60")
    });
    assert!(told, "less is left of the address than of any account");
}

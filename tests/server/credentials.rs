//! Credentials end with the login they come from, also those that are derived or used while it ends.

use crate::cli::{PASSWORD, add, login, run, run_with, verify};
use crate::common::token::{KEY, now, signed, token_with};
use crate::common::user::text;
use crate::common::{Client, Connection, Options, Server, Stream, User, assert_error, eventually};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};
use std::thread;

const ANOTHER: &str = "quite another pass phrase";
const PREVIOUS: &str = "a-previous-key-that-is-long-enough-0123456789";

fn log_in(addr: SocketAddr, password: &str) -> String {
    text(&login(&mut Client::new(addr), "ann@example.com", password).expect(200).json()["access_token"])
}

fn change_password(addr: SocketAddr, token: &str, current: &str, new: &str) -> u16 {
    let body = json!({"current_password": current, "new_password": new});
    Client::new(addr).request("POST", "/auth/password").token(token).json(&body).send().status
}

fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a payload")).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

fn refresh(client: &mut Client, token: &str) -> Option<String> {
    let response = client.request("POST", "/auth/refresh").token(token).send();
    if response.status == 401 { None } else { Some(text(&response.expect(200).json()["access_token"])) }
}

fn ticket(client: &mut Client, token: &str) -> String {
    text(&client.request("POST", "/auth/stream-ticket").token(token).send().expect(200).json()["ticket"])
}

fn stream_status(addr: SocketAddr, ticket: &str) -> u16 {
    let mut connection = Connection::open(addr);
    connection.send(format!("GET /output/stream?ticket={ticket} HTTP/1.1\r\nHost: {addr}\r\n\r\n"));
    connection.try_head().expect("a response").status
}

/// A request whose head has been sent with all but the last byte of its body.
struct Held {
    shown: String,
    connection: Connection,
    last: &'static str,
}

/// One held request for each kind of operation.
fn hold_requests(addr: SocketAddr, token: &str) -> Vec<Held> {
    let table = [
        ("POST", "/auth/refresh", "{}"),
        ("POST", "/auth/stream-ticket", "{}"),
        ("POST", "/input", r#"{"content":"held"}"#),
        ("POST", "/config/workspace", r#"{"name":"held"}"#),
        ("POST", "/auth/password", r#"{"current_password":"a good pass phrase","new_password":"of the thief 123"}"#),
        ("GET", "/auth/verify", "{}"),
        ("GET", "/config/workspace", "{}"),
        ("GET", "/output/stream", "{}"),
        ("GET", "/output/streams", "{}"),
        ("POST", "/conversations/default/cancel", "{}"),
    ];
    let hold = |(method, path, body): (&str, &str, &'static str)| {
        let (sent, last) = body.split_at(body.len() - 1);
        let mut connection = Connection::open(addr);
        connection.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{sent}",
            body.len()
        ));
        Held { shown: format!("{method} {path}"), connection, last }
    };
    table.map(hold).into()
}

/// The server must have received the heads: with one event loop, it has when it responds to a request sent later.
fn settle(addr: SocketAddr) {
    for _ in 0..3 {
        Client::new(addr).request("GET", "/health/live").send().expect(200);
    }
}

#[test]
fn nothing_that_was_held_open_outlives_its_token() {
    type Change = fn(&Server, &str);
    let changes: [(&str, Change); 5] = [
        ("password", |server, token| assert_eq!(change_password(server.addr, token, PASSWORD, ANOTHER), 200)),
        ("user passwd", |server, _| {
            run_with(server.sandbox(), &["user", "passwd", "ann@example.com"], ANOTHER).well();
        }),
        ("user disable", |server, _| {
            run(server.sandbox(), &["user", "disable", "ann@example.com"]).well();
        }),
        ("user disable and enable", |server, _| {
            run(server.sandbox(), &["user", "disable", "ann@example.com"]).well();
            run(server.sandbox(), &["user", "enable", "ann@example.com"]).well();
        }),
        ("user delete", |server, _| {
            run(server.sandbox(), &["user", "delete", "ann@example.com", "--yes"]).well();
        }),
    ];
    for (name, change) in changes {
        // With one event loop, the held requests see what the token check sees.
        let server = Server::start(Options::new().set("WORKERS", 1));
        let id = add(server.sandbox(), &["ann@example.com"]);
        let token = log_in(server.addr, PASSWORD);
        let mut ben = User::new(&server, "ben");
        let workspace = ben.create_workspace("w");
        let conversation = ben.create_conversation(&workspace, "t", &[&id]);
        let held = hold_requests(server.addr, &token);
        settle(server.addr);
        change(&server, &token);
        let mut client = Client::new(server.addr);
        eventually("the token is rejected", || verify(&mut client, &token).status == 401);
        for mut held in held {
            held.connection.send(held.last);
            let response = held.connection.response(held.shown.split(' ').next().expect("a method"));
            assert_eq!(response.status, 401, "{name}: {}: {}", held.shown, response.shown());
        }
        // Nothing was stored.
        let messages = ben.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
        assert_eq!(messages, json!([]), "{name}");
    }
}

#[test]
fn a_held_request_ends_with_its_key_its_issuer_and_its_audience() {
    let lines = |key: &str, more: &str| format!("JWT_SECRET_KEY={key}\nJWT_ISSUER=a\nJWT_AUDIENCE=b\n{more}\n");
    let table = [
        ("the key is kept", lines(KEY, "LOG_LEVEL=WARNING"), 200),
        ("the key becomes a previous one", lines(PREVIOUS, &format!("JWT_PREVIOUS_SECRET_KEYS={KEY}")), 200),
        ("the key is removed", lines(PREVIOUS, ""), 401),
        ("another issuer", lines(KEY, "").replace("JWT_ISSUER=a", "JWT_ISSUER=c"), 401),
        ("another audience", lines(KEY, "").replace("JWT_AUDIENCE=b", "JWT_AUDIENCE=c"), 401),
    ];
    for (name, changed, status) in table {
        let unset = ["JWT_SECRET_KEY", "JWT_ISSUER", "JWT_AUDIENCE", "LOG_LEVEL"];
        let options = unset.iter().fold(Options::new().set("WORKERS", 1), |options, name| options.unset(name));
        let mut server = Server::start(options.file(".env", lines(KEY, "LOG_LEVEL=INFO")));
        let token = token_with(json!({"oid": "u", "iss": "a", "aud": ["b", "d"], "exp": now() + 60, "iat": now()}));
        let mut held = hold_requests(server.addr, &token);
        settle(server.addr);
        std::fs::write(server.database().with_file_name(".env"), changed).expect("the file can be written");
        server.process().signal(libc::SIGHUP);
        let mut client = Client::new(server.addr);
        if status == 200 {
            // The workers' mailboxes are in order, but nothing shows the reload from outside.
            thread::sleep(std::time::Duration::from_millis(300));
        } else {
            eventually("the token is rejected", || verify(&mut client, &token).status == 401);
        }
        let refresh = &mut held[0];
        refresh.connection.send(refresh.last);
        let response = refresh.connection.response("POST");
        assert_eq!(response.status, status, "{name}: {}", response.shown());
    }
}

/// Refreshes tokens without a pause in several threads until each is rejected.
fn refresh_until_rejected(addr: SocketAddr, token: &str, change: impl FnOnce()) -> Vec<String> {
    let tokens = Mutex::new(vec![token.to_owned()]);
    let changed = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (mut client, mut latest) = (Client::new(addr), token.to_owned());
                while let Some(fresh) = refresh(&mut client, &latest) {
                    latest.clone_from(&fresh);
                    tokens.lock().expect("not poisoned").push(fresh);
                }
                assert!(changed.load(Relaxed), "a token ended before the change");
            });
        }
        eventually("refreshes", || tokens.lock().expect("not poisoned").len() > 30);
        changed.store(true, Relaxed);
        change();
    });
    tokens.into_inner().expect("not poisoned")
}

/// Asserts that no token that was issued before the change is accepted, and none can be derived from one.
fn assert_all_ended(server: &Server, tokens: &[String]) {
    let mut client = Client::new(server.addr);
    // Every event loop learns of the change by itself.
    for _ in 0..4 {
        let mut client = Client::new(server.addr);
        eventually("the latest token is rejected", || {
            verify(&mut client, tokens.last().expect("the first")).status == 401
        });
    }
    for token in tokens.iter().rev().take(200).chain(&tokens[..1]) {
        assert_eq!(verify(&mut client, token).status, 401, "{}", claims(token));
        assert_eq!(refresh(&mut client, token), None, "{}", claims(token));
    }
}

#[test]
fn no_refreshed_token_survives_user_passwd() {
    let server = Server::start(Options::new());
    add(server.sandbox(), &["ann@example.com"]);
    for (old, new) in [(PASSWORD, ANOTHER), (ANOTHER, PASSWORD), (PASSWORD, ANOTHER)] {
        let token = log_in(server.addr, old);
        let tokens = refresh_until_rejected(server.addr, &token, || {
            run_with(server.sandbox(), &["user", "passwd", "ann@example.com"], new).well();
        });
        assert_all_ended(&server, &tokens);
    }
}

#[test]
fn no_refreshed_token_survives_a_password_change() {
    let server = Server::start(Options::new());
    add(server.sandbox(), &["ann@example.com"]);
    for (old, new) in [(PASSWORD, ANOTHER), (ANOTHER, PASSWORD), (PASSWORD, ANOTHER)] {
        let token = log_in(server.addr, old);
        let tokens = refresh_until_rejected(server.addr, &token, || {
            assert_eq!(change_password(server.addr, &token, old, new), 200);
        });
        assert_all_ended(&server, &tokens);
    }
}

#[test]
fn no_refreshed_token_survives_user_disable() {
    let server = Server::start(Options::new());
    add(server.sandbox(), &["ann@example.com"]);
    let token = log_in(server.addr, PASSWORD);
    let tokens = refresh_until_rejected(server.addr, &token, || {
        run(server.sandbox(), &["user", "disable", "ann@example.com"]).well();
        run(server.sandbox(), &["user", "enable", "ann@example.com"]).well();
    });
    assert_all_ended(&server, &tokens);
    // The event loops may have seen the first of the two commands and not yet the second.
    let mut client = Client::new(server.addr);
    eventually("the user can log in again", || login(&mut client, "ann@example.com", PASSWORD).status == 200);
}

/// The user of another program has no generation: the time of the first token counts, however often it was refreshed.
#[test]
fn what_derives_from_a_credential_has_its_time() {
    let mut server = Server::start(Options::new().set("WORKERS", 1));
    let mut client = Client::new(server.addr);
    add(server.sandbox(), &["ann@example.com"]);
    let own = log_in(server.addr, PASSWORD);
    let of_another = token_with(json!({"oid": "u", "iat": now() - 50, "exp": now() + 60}));
    let without_time = token_with(json!({"oid": "v", "exp": now() + 60}));
    for first in [&own, &of_another, &without_time] {
        let told = claims(first);
        let (since, generation) = (&told["iat"], &told["token_generation"]);
        let mut latest = first.clone();
        for _ in 0..3 {
            latest = refresh(&mut client, &latest).expect("a valid token");
        }
        for derived in [&latest, &ticket(&mut client, &latest), &ticket(&mut client, first)] {
            let derived = claims(derived);
            let of_derived = [&derived["auth_time"], &derived["iat"]].into_iter().find(|it| !it.is_null());
            assert_eq!(of_derived.unwrap_or(&Value::Null).as_f64(), since.as_f64(), "{derived}");
            assert_eq!(derived["token_generation"], *generation, "{derived}");
        }
    }
    // After a refresh, `auth_time` still decides.
    let fresh = refresh(&mut client, &of_another).expect("a valid token");
    let (from_ticket, late) = (ticket(&mut client, &fresh), ticket(&mut client, &without_time));
    let mut stream = Stream::open_with(server.addr, &format!("ticket={from_ticket}"), &[]);
    for id in ["u", "v"] {
        run(server.sandbox(), &["user", "disable", "--id", id]).well();
        run(server.sandbox(), &["user", "enable", "--id", id]).well();
    }
    assert_eq!(stream.until_end().last().map(|event| event.kind().to_owned()).as_deref(), Some("token_expired"));
    for _ in 0..2 {
        for ticket in [&from_ticket, &late] {
            eventually("the ticket is rejected", || stream_status(server.addr, ticket) == 401);
        }
        assert_error(&verify(&mut Client::new(server.addr), &fresh), 401, "unauthorized");
        let new = token_with(json!({"oid": "u", "iat": now() + 2, "exp": now() + 60}));
        verify(&mut Client::new(server.addr), &new).expect(200);
        server.restart();
    }
}

#[test]
fn of_concurrent_password_changes_one_succeeds() {
    let server = Server::with(&[("LOGIN_RATE_LIMIT_PER_MINUTE", "1000")]);
    add(server.sandbox(), &["ann@example.com"]);
    let mut current = PASSWORD.to_owned();
    for round in 0..4 {
        let token = log_in(server.addr, &current);
        let barrier = Barrier::new(3);
        let new = |n: usize| format!("pass phrase {n} of round {round}");
        let statuses: Vec<u16> = thread::scope(|scope| {
            let change = |n: usize| {
                let (token, current, barrier) = (&token, &current, &barrier);
                move || {
                    barrier.wait();
                    change_password(server.addr, token, current, &new(n))
                }
            };
            let threads: Vec<_> = (0..3).map(|n| scope.spawn(change(n))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let winner = statuses.iter().position(|status| *status == 200).expect("one change succeeds");
        for (n, status) in statuses.into_iter().enumerate() {
            assert!(n == winner || status == 409, "{n}: {status}");
            let login = login(&mut Client::new(server.addr), "ann@example.com", &new(n));
            assert_eq!(login.status, if n == winner { 200 } else { 401 }, "{n}: {}", login.shown());
        }
        current = new(winner);
    }
}

/// An administrator's change during a check of the old password wins.
#[test]
fn a_password_change_does_not_undo_that_of_an_administrator() {
    let server = Server::start(Options::new().set("WORKERS", 1));
    add(server.sandbox(), &["ann@example.com"]);
    let token = log_in(server.addr, PASSWORD);
    let mut held = hold_requests(server.addr, &token).remove(4);
    run_with(server.sandbox(), &["user", "passwd", "ann@example.com"], ANOTHER).well();
    held.connection.send(held.last);
    let status = held.connection.response("POST").status;
    // The event loop may not know of the change yet; the writer does.
    assert!([401, 409, 403].contains(&status), "{status}");
    log_in(server.addr, ANOTHER);
}

#[test]
fn what_derives_from_a_previous_key_ends_with_it() {
    let previous = format!("some-other-previous-key-0123456789,{PREVIOUS}");
    let mut server = Server::with(&[("JWT_PREVIOUS_SECRET_KEYS", &previous)]);
    let mut client = Client::new(server.addr);
    let old = signed(&json!({"alg": "HS256"}), &json!({"oid": "u", "exp": now() + 60}), PREVIOUS);
    verify(&mut client, &old).expect(200);
    let fresh = refresh(&mut client, &old).expect("a valid token");
    let again = refresh(&mut client, &fresh).expect("a valid token");
    let tickets = [&old, &again].map(|token| ticket(&mut client, token));
    verify(&mut client, &again).expect(200);
    assert_eq!(tickets.each_ref().map(|ticket| stream_status(server.addr, ticket)), [200, 200]);
    // A token of the current key is refreshed with that.
    let current = refresh(&mut client, &token_with(json!({"oid": "u", "exp": now() + 60}))).expect("a valid token");

    server.set("JWT_PREVIOUS_SECRET_KEYS", "some-other-previous-key-0123456789");
    server.restart();
    let mut client = Client::new(server.addr);
    for token in [&old, &fresh, &again] {
        assert_error(&verify(&mut client, token), 401, "unauthorized");
    }
    assert_eq!(tickets.each_ref().map(|ticket| stream_status(server.addr, ticket)), [401, 401]);
    verify(&mut client, &current).expect(200);
}

/// The kinds of a stream's events through its planned end.
fn kinds_until_end(stream: &mut Stream) -> Vec<String> {
    let kinds = stream.until_end().into_iter().map(|event| event.kind().to_owned());
    kinds.filter(|kind| kind != "heartbeat").collect()
}

/// Two event loops at least, so that a stream and the request that renews it are on different ones.
#[test]
fn open_streams_end_with_the_key_of_the_token_that_gives_their_end() {
    let lines = |previous: &str| format!("JWT_SECRET_KEY={KEY}\nJWT_PREVIOUS_SECRET_KEYS={previous}\n");
    let unset = ["JWT_SECRET_KEY", "JWT_PREVIOUS_SECRET_KEYS"];
    let options = unset.iter().fold(Options::new().set("WORKERS", 2), |options, name| options.unset(name));
    let kept = "some-other-previous-key-0123456789";
    let mut server = Server::start(options.file(".env", lines(&format!("{kept},{PREVIOUS}"))));
    let addr = server.addr;
    let token =
        |key: &str, seconds: i64| signed(&json!({"alg": "HS256"}), &json!({"oid": "u", "exp": now() + seconds}), key);
    let mut user = User::with_token(&server, "u", &token(KEY, 300));
    // The keys and lifetimes of the tokens that open and renew the stream, and whether it ends.
    let table = [
        (PREVIOUS, 300, None, true),
        (KEY, 300, Some((PREVIOUS, 600)), true),
        (kept, 300, Some((PREVIOUS, 600)), true),
        (KEY, 300, None, false),
        (kept, 300, None, false),
        (PREVIOUS, 300, Some((KEY, 600)), false),
        (KEY, 600, Some((PREVIOUS, 300)), false),
    ];
    let mut streams = Vec::new();
    // Several of each, for both event loops.
    for (key, seconds, renewed, ends) in table.into_iter().cycle().take(3 * table.len()) {
        let stream = Stream::open(addr, &token(key, seconds), "");
        let path = format!("/output/streams/{}/renew", text(&stream.established.data["stream_id"]));
        if let Some((key, seconds)) = renewed {
            let token = token(key, seconds);
            Client::new(addr).request("POST", &path).token(&token).json(&json!({})).send().expect(200);
        }
        streams.push((stream, ends, format!("{key} {renewed:?}")));
    }
    // A stream that is opened with a ticket of the key.
    let ticket = ticket(&mut Client::new(addr), &token(PREVIOUS, 300));
    streams.push((Stream::open_with(addr, &format!("ticket={ticket}"), &[]), true, "ticket".into()));

    std::fs::write(server.database().with_file_name(".env"), lines(kept)).expect("the file can be written");
    server.process().signal(libc::SIGHUP);
    for (stream, ends, name) in &mut streams {
        if *ends {
            assert_eq!(kinds_until_end(stream), ["token_expired"], "{name}");
        }
    }
    user.say("default", "after the removal");
    for (stream, ends, _) in &mut streams {
        if !*ends {
            assert_eq!(stream.next_of("input").content(), "after the removal");
        }
    }
}

#[test]
fn open_streams_end_with_their_issuer_and_audience_and_survive_other_changes() {
    let lines = format!("JWT_SECRET_KEY={KEY}\nJWT_ISSUER=a\nJWT_AUDIENCE=b\nLOG_LEVEL=INFO\n");
    let table = [
        ("JWT_ISSUER=a", "JWT_ISSUER=c", true),
        ("JWT_AUDIENCE=b", "JWT_AUDIENCE=d", true),
        (KEY, PREVIOUS, true),
        (KEY, &format!("{PREVIOUS}\nJWT_PREVIOUS_SECRET_KEYS={KEY}"), false),
        ("INFO", "WARNING", false),
    ];
    for (from, to, ends) in table {
        let unset = ["JWT_SECRET_KEY", "JWT_ISSUER", "JWT_AUDIENCE", "LOG_LEVEL"];
        let options = unset.iter().fold(Options::new(), |options, name| options.unset(name));
        let mut server = Server::start(options.file(".env", lines.as_str()));
        let token = token_with(json!({"oid": "u", "iss": "a", "aud": ["b"], "exp": now() + 300}));
        let mut stream = Stream::open(server.addr, &token, "");
        std::fs::write(server.database().with_file_name(".env"), lines.replace(from, to))
            .expect("the file can be written");
        server.process().signal(libc::SIGHUP);
        if ends {
            assert_eq!(kinds_until_end(&mut stream), ["token_expired"], "{to}");
        } else {
            // Nothing else shows the reload from outside at all log levels.
            thread::sleep(std::time::Duration::from_millis(300));
            User::with_token(&server, "u", &token).say("default", "still here");
            assert_eq!(stream.next_of("input").content(), "still here", "{to}");
        }
    }
}

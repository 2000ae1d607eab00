//! Settings reloaded from a changed `.env` with SIGHUP.

use crate::common::token::{KEY, now, signed};
use crate::common::user::text;
use crate::common::{Client, Connection, Options, Response, Server, User, eventually, of_sqlite_only};
use serde_json::json;
use std::fs;

const NEW_KEY: &str = "the-key-that-comes-with-a-reload-0123456789";

/// A server whose `.env` has these lines and whose environment has none of them. With one event loop, a response shows
/// that the new settings apply to the next request.
fn server(lines: &str) -> Server {
    let names = lines.lines().filter_map(|line| line.split_once('=').map(|(name, _)| name));
    let options = names.fold(Options::new().set("WORKERS", 1), |options, name| options.unset(name));
    Server::start(options.file(".env", lines))
}

/// Writes another `.env` and makes the server reload it.
fn reload(server: &mut Server, lines: &str) {
    let path = server.database().with_file_name(".env");
    fs::write(path, lines).expect("the file can be written");
    server.process().signal(libc::SIGHUP);
}

fn verify(server: &Server, token: &str) -> Response {
    Client::new(server.addr).request("GET", "/auth/verify").token(token).send()
}

fn token_of(key: &str) -> String {
    signed(&json!({"alg": "HS256"}), &json!({"oid": "u", "exp": now() + 3600}), key)
}

#[test]
fn the_log_level_changes() {
    let mut server = server("LOG_LEVEL=WARNING\n");
    assert_eq!(Client::new(server.addr).request("GET", "/").send().status, 200);
    reload(&mut server, "LOG_LEVEL=INFO\n");
    eventually("a line of a request", || {
        Client::new(server.addr).request("GET", "/").send().expect(200);
        server.log().contains("method=GET path=/ ")
    });
    eventually("that it was done", || server.log().contains("settings reloaded"));
}

#[test]
fn keys_rotate_and_streams_continue_until_their_key_is_removed() {
    let mut server = server(&format!("JWT_SECRET_KEY={KEY}\n"));
    let (old, new) = (token_of(KEY), token_of(NEW_KEY));
    let mut user = User::with_token(&server, "u", &old);
    let mut stream = user.stream();
    assert_eq!(verify(&server, &new).status, 401);

    reload(&mut server, &format!("JWT_SECRET_KEY={NEW_KEY}\nJWT_PREVIOUS_SECRET_KEYS={KEY}\n"));
    eventually("the new key is good", || verify(&server, &new).status == 200);
    assert_eq!(verify(&server, &old).status, 200, "older tokens are still valid");
    let refreshed = text(&user.post("/auth/refresh", json!({})).expect(200).json()["access_token"]);
    assert_eq!(verify(&server, &refreshed).status, 200);
    let mut newer = User::with_token(&server, "u", &new).stream();
    user.say("default", "with both keys");
    assert_eq!(stream.next_of("input").content(), "with both keys");
    assert_eq!(newer.next_of("input").content(), "with both keys");

    reload(&mut server, &format!("JWT_SECRET_KEY={NEW_KEY}\n"));
    eventually("the old key is no longer good", || verify(&server, &old).status == 401);
    assert_eq!(verify(&server, &refreshed).status, 401, "a refresh is signed with the key of its token");
    stream.next_of("token_expired");
    User::with_token(&server, "u", &new).say("default", "still there");
    assert_eq!(newer.next_of("input").content(), "still there");
}

#[test]
fn origins_hosts_and_limits_change() {
    let mut server = server("ALLOW_ORIGINS=https://a.example\nMAX_BODY_BYTES=100000\n");
    let addr = server.addr;
    let allowed = |origin: &str| {
        let response = Client::new(addr).request("GET", "/").header("Origin", origin).send();
        response.header("Access-Control-Allow-Origin").map(str::to_owned)
    };
    assert_eq!(allowed("https://a.example").as_deref(), Some("https://a.example"));
    assert_eq!(allowed("https://b.example"), None);
    let body = json!({"content": "x".repeat(50_000)});
    assert_eq!(User::new(&server, "u").post("/input", body.clone()).status, 200);

    let lines = "ALLOW_ORIGINS=https://b.example\nMAX_BODY_BYTES=10000\nALLOWED_HOSTS=127.0.0.1\n\
                 RATE_LIMIT_PER_SECOND=1\nRATE_LIMIT_BURST=1\n";
    reload(&mut server, lines);
    eventually("the new origin", || allowed("https://b.example").is_some());
    assert_eq!(allowed("https://a.example"), None);
    assert_eq!(User::new(&server, "v").post("/input", body).status, 413);
    let mut elsewhere = Connection::open(addr);
    elsewhere.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(elsewhere.response("GET").status, 400, "this host is no longer allowed");
    let mut user = User::new(&server, "w");
    assert_eq!(user.get("/auth/verify").status, 200);
    eventually("too many requests", || user.get("/auth/verify").status == 429);
}

#[test]
fn an_invalid_value_is_named_and_changes_nothing() {
    let mut server = server(&format!("JWT_SECRET_KEY={KEY}\nENV=development\n"));
    reload(&mut server, &format!("JWT_SECRET_KEY={NEW_KEY}\nMAX_BODY_BYTES=lots\n"));
    eventually("the bad value is named", || server.log().contains("MAX_BODY_BYTES is \"lots\""));
    eventually("and what follows", || server.log().contains("the settings are invalid and stay unchanged"));
    assert_eq!(verify(&server, &token_of(KEY)).status, 200);
    assert_eq!(verify(&server, &token_of(NEW_KEY)).status, 401);

    reload(&mut server, &format!("JWT_SECRET_KEY={NEW_KEY}\nENV=production\n"));
    eventually("another environment", || server.log().contains("ENV has changed, which needs a restart"));
    assert_eq!(verify(&server, &token_of(KEY)).status, 200);
}

#[test]
fn settings_that_need_a_restart_are_named_once() {
    let mut server = server(&format!("JWT_SECRET_KEY={KEY}\nWORKERS=1\nPORT=0\nLOG_FORMAT=text\n"));
    reload(&mut server, &format!("JWT_SECRET_KEY={NEW_KEY}\nWORKERS=3\nPORT=1\nLOG_FORMAT=json\n"));
    eventually("the other settings are taken up", || verify(&server, &token_of(NEW_KEY)).status == 200);
    eventually("one line names them all", || {
        server.log().contains("a restart is needed to apply PORT, WORKERS, LOG_FORMAT")
    });
    assert_eq!(server.log().matches("a restart is needed").count(), 1);
}

/// A process that waits for the database reloads its settings when it starts to serve.
#[test]
fn a_reload_while_waiting_takes_effect_at_start() {
    of_sqlite_only!("a second process waits for the first one");
    let mut server = server(&format!("JWT_SECRET_KEY={KEY}\n"));
    let mut second = server.second();
    eventually("it waits", || server.log().contains("waiting for another process"));
    let path = server.database().with_file_name(".env");
    fs::write(path, format!("JWT_SECRET_KEY={NEW_KEY}\n")).expect("the file can be written");
    second.signal(libc::SIGHUP);
    server.stop();
    let addr = second.wait_listening();
    eventually("the new key is good", || {
        Client::new(addr).request("GET", "/auth/verify").token(&token_of(NEW_KEY)).send().status == 200
    });
}

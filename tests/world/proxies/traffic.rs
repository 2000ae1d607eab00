//! Ordinary traffic through third-party proxies: everything arrives, and events are forwarded immediately.

use super::proxy::{Kind, Proxy};
use crate::common::token::token;
use crate::common::user::text;
use crate::common::{Connection, Options, Server, Stream, User, assert_error};
use serde_json::json;

/// Timeout of the proxy for either side, in seconds: longer than any test.
const TIMEOUT: u32 = 3600;
const EVENTS: usize = 20;
const PIPELINED: usize = 20;

#[test]
fn nginx_forwards_ordinary_traffic() {
    check_all_traffic(Kind::Nginx);
}

#[test]
fn haproxy_forwards_ordinary_traffic() {
    check_all_traffic(Kind::Haproxy);
}

fn check_all_traffic(kind: Kind) {
    let server = Server::start(Options::new().set("TRUSTED_PROXIES", "127.0.0.1"));
    let Some(proxy) = Proxy::start(kind, server.addr, TIMEOUT) else { return };
    let mut user = User::at(proxy.addr, "u");
    requests_and_responses(&mut user);
    bodies(&proxy, &mut user);
    pipelines(&proxy);
    streams(&proxy, &mut user);
}

fn requests_and_responses(user: &mut User) {
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &[]);
    let path = format!("/config/conversation/{conversation}");
    user.put(&path, json!({"topic": "changed"})).expect(200);
    assert_eq!(user.conversation(&conversation)["topic"], "changed");
    assert!(user.request("HEAD", &path).send().expect(200).body.is_empty());
    assert_error(&user.get("/nowhere"), 404, "not_found");
    assert_error(&user.request("PATCH", &path).send(), 405, "method_not_allowed");
    assert_error(&user.request("POST", "/input").body("text/plain", "x").send(), 415, "unsupported_media_type");
    assert_eq!(user.request("OPTIONS", &path).send().status, 204);
    user.delete(&path).expect(200);
    assert_error(&user.get(&path), 404, "not_found");
}

fn bodies(proxy: &Proxy, user: &mut User) {
    let long = "x".repeat(1024 * 1024);
    assert_eq!(user.say("default", &long)["content"], long);
    let head = |framing: &str| {
        format!(
            "POST /input HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n",
            proxy.addr,
            token("u")
        )
    };
    let body = r#"{"content":"piecemeal"}"#;
    let mut connection = Connection::open(proxy.addr);
    connection.send(head("Transfer-Encoding: chunked"));
    for byte in body.bytes() {
        connection.send(format!("1\r\n{}\r\n", byte as char));
    }
    connection.send("0\r\n\r\n");
    assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], "piecemeal");
    connection.send(head(&format!("Expect: 100-continue\r\nContent-Length: {}", body.len())));
    connection.expect_continue();
    connection.send(body);
    assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], "piecemeal");
}

fn pipelines(proxy: &Proxy) {
    let mut connection = Connection::open(proxy.addr);
    let one = |n: usize| {
        let body = format!(r#"{{"content":"number {n}"}}"#);
        format!(
            "POST /input HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}GET /nowhere HTTP/1.1\r\nHost: {}\r\n\r\n",
            proxy.addr,
            token("u"),
            body.len(),
            proxy.addr
        )
    };
    connection.send((0..PIPELINED).map(one).collect::<String>());
    for n in 0..PIPELINED {
        let response = connection.response("POST").expect(200);
        assert_eq!(response.json()["data"]["content"], format!("number {n}"));
        assert_error(&connection.response("GET"), 404, "not_found");
    }
}

/// Heartbeats are disabled, so nothing would push out an event that the proxy buffers.
fn streams(proxy: &Proxy, user: &mut User) {
    let mut streams: Vec<Stream> = (0..3).map(|_| user.stream()).collect();
    let mut last = 0;
    for n in 0..EVENTS {
        let said = user.say("default", &format!("event {n}"));
        for stream in &mut streams {
            let event = stream.next_of("input");
            assert_eq!(event.data["data"]["message_id"].as_str(), Some(text(&said["message_id"]).as_str()));
            last = event.number();
        }
    }
    let first = streams[0].established.number();
    drop(streams);
    let mut again = Stream::open(proxy.addr, &token("u"), &format!("last_event_id={first}"));
    for n in 0..EVENTS {
        assert_eq!(again.next_of("input").content(), format!("event {n}"));
    }
    assert_eq!(again.next_of("caught_up").data["last_event_id"], last);
}

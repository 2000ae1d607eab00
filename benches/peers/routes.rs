//! The ways of messages to streams, for this program and each peer.

use crate::fan_out::{Greeting, Route, UNDELIVERED_MAX, content};
use crate::servers::ROOM;
use crate::support::http::{bearer, get_events, post, read_head};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// `POST /input` and `GET /output/stream`.
pub fn api(address: SocketAddr, token: &str) -> Route {
    let authorization = bearer(token);
    let body = format!("{{\"content\":\"{}\"}}", content());
    Route {
        publish: address,
        message: post(address, "/input", &authorization, &body),
        greeting: None,
        reply: Some(http_reply),
        undelivered_max: UNDELIVERED_MAX,
        subscribe: address,
        subscription: get_events(address, "/output/stream", &authorization),
        opened: b"connection_established",
    }
}

/// nchan's publisher and subscriber.
pub fn nchan(address: SocketAddr) -> Route {
    Route {
        publish: address,
        message: post(address, "/publish", "", &event()),
        greeting: None,
        reply: Some(http_reply),
        undelivered_max: UNDELIVERED_MAX,
        subscribe: address,
        subscription: get_events(address, "/subscribe", ""),
        opened: b"\r\n\r\n",
    }
}

/// A new JSON stream of durable-streams, with a connection of Server-Sent Events from its end.
pub fn durable_streams(address: SocketAddr) -> Result<Route, String> {
    create_stream(address)?;
    let path = format!("/{ROOM}");
    Ok(Route {
        publish: address,
        message: post(address, &path, "", &event()),
        greeting: None,
        reply: Some(http_reply),
        undelivered_max: UNDELIVERED_MAX,
        subscribe: address,
        subscription: get_events(address, &format!("{path}?offset=now&live=sse"), ""),
        opened: b"upToDate",
    })
}

/// Creates the stream of all messages.
pub fn create_stream(address: SocketAddr) -> Result<(), String> {
    let create = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "PUT /{ROOM} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        )?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        Ok(response)
    };
    match create() {
        Ok(response) if response.starts_with(b"HTTP/1.1 201") => Ok(()),
        Ok(response) => Err(format!("no new stream: {}", response.escape_ascii())),
        Err(error) => Err(format!("no new stream: {error}")),
    }
}

/// `PUBLISH` and `SUBSCRIBE` of Redis.
pub fn redis(address: SocketAddr) -> Route {
    Route {
        publish: address,
        message: redis_command(&["PUBLISH", ROOM, &event()]),
        greeting: None,
        reply: Some(|reply| match reply {
            [b':', .., b'\r', b'\n'] => Ok(Some(())),
            [] | [b':', ..] => Ok(None),
            _ => Err(format!("not a number: {}", reply.escape_ascii())),
        }),
        undelivered_max: UNDELIVERED_MAX,
        subscribe: address,
        subscription: redis_command(&["SUBSCRIBE", ROOM]),
        opened: b":1\r\n",
    }
}

/// A command in the protocol of Redis: an array of strings with their lengths.
fn redis_command(words: &[&str]) -> Vec<u8> {
    let words_text: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{words_text}", words.len()).into_bytes()
}

/// pushpin's proxy, and its ZeroMQ socket for messages, which do not get a reply (ZMTP 3.0, RFC 23 of ZeroMQ).
pub fn pushpin(address: SocketAddr, publish: SocketAddr) -> Route {
    let text = format!("data: {}\n\n", event()).replace('"', "\\\"").replace('\n', "\\n");
    let item = format!(r#"J{{"channel":"{ROOM}","formats":{{"http-stream":{{"content":"{text}"}}}}}}"#);
    // A frame that is longer than 255 bytes and the only one of its message.
    let mut message = vec![0x02];
    message.extend_from_slice(&(item.len() as u64).to_be_bytes());
    message.extend_from_slice(item.as_bytes());
    // The signature, version 3.0, no security, not as a server, and filler up to 64 bytes.
    let mut sent = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    sent.extend_from_slice(b"NULL");
    sent.resize(64, 0);
    let received_bytes = sent.len();
    // The command READY with the type of the socket.
    let mut ready = b"\x05READY\x0bSocket-Type\0\0\0\x04PUSH".to_vec();
    sent.extend_from_slice(&[0x04, ready.len() as u8]);
    sent.append(&mut ready);
    Route {
        publish,
        message,
        greeting: Some(Greeting { sent, received_bytes }),
        reply: None,
        // They fit the buffer that it has for a client. It ends a stream that needs more.
        undelivered_max: 8,
        subscribe: address,
        // Without chunks, which pushpin ends anywhere, also within a mark.
        subscription: format!("GET / HTTP/1.0\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n").into_bytes(),
        opened: b"\r\n\r\n",
    }
}

/// The event of a message as this program sends it, without its number.
fn event() -> String {
    const ID: &str = "019b76da-a800-7000-8000-000000000000";
    const TIME: &str = "2026-01-31T09:15:30.123456Z";
    format!(
        "{{\"type\":\"input\",\"data\":{{\"content\":\"{}\",\"conversation_id\":\"{ID}\",\"timestamp\":\"{TIME}\",\
         \"message_id\":\"{ID}\",\"role\":\"user\"}},\"user_id\":\"bench\",\"timestamp\":\"{TIME}\",\"metadata\":{{}},\
         \"correlation_id\":\"0123456789abcdef\"}}",
        content()
    )
}

/// `Some(())` once the response is complete.
fn http_reply(response: &[u8]) -> Result<Option<()>, String> {
    let Some(head) = read_head(response)? else { return Ok(None) };
    Ok((response.len() >= head.head_bytes + head.body_bytes).then_some(()))
}

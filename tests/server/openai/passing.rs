//! Completions that are passed on: the model's own words, one connection, and nothing stored but the usage.

use super::*;
use crate::common::Client;
use crate::common::eventually;
use crate::common::process::held_bytes;
use crate::common::token::{now, token_with};
use std::time::Duration;

/// What the user used: answers, tokens of the prompts and of the completions.
fn used(user: &mut User) -> (u64, u64, u64) {
    let total = user.get("/usage").expect(200).json()["total"].clone();
    let count = |name: &str| total[name].as_u64().expect("a count");
    (count("answers"), count("prompt_tokens"), count("completion_tokens"))
}

#[test]
fn a_request_and_its_whole_answer_pass_unchanged() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let body =
        request("x", json!({"tools": tools, "temperature": 0.25, "unknown": {"a": [1, null]}, "model": "org/large"}));
    let (answer, sent) = std::thread::scope(|scope| {
        let answering = scope.spawn(|| ann.post(PATH, body.clone()));
        let mut call = model.call();
        let calls = json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.50}"}}]);
        let answer = json!({
            "id": "own", "object": "chat.completion", "x": 1.50,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": calls}, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        })
        .to_string();
        let sent = call.body.clone();
        call.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()));
        let response = answering.join().expect("a response").expect(200);
        assert_eq!(response.text(), answer);
        (response, sent)
    });
    assert_eq!(sent, body);
    assert!(!answer.closes(), "the connection persists");
    eventually("the usage is counted", || used(&mut ann) == (1, 3, 4));
    assert_eq!(ann.get("/conversations").expect(200).json(), json!([]), "nothing is stored");
    let groups = ann.get("/usage?by=conversation").expect(200).json()["usage"].clone();
    assert_eq!(groups[0]["conversation_id"], Value::Null);
}

#[test]
fn chunks_pass_as_they_come() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let mut reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    assert_eq!(reader.head.status, 200);
    assert_eq!(reader.head.header("Content-Type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reader.line().as_deref(), Some(":"), "the head and a comment come before the model answers");
    let mut call = model.call();
    assert_eq!(call.body["stream_options"], json!({"include_usage": true}), "tokens are counted");
    call.begin().say("Hel");
    reader.until("Hel");
    call.say("lo");
    reader.until("lo");
    call.finish();
    let rest = reader.rest();
    assert!(rest.is_done && rest.finish_reason == "stop");
    assert_eq!(rest.usage, Value::Null, "the client did not ask for it");
    eventually("the usage is counted", || used(&mut ann) == (1, 7, 5));

    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let reader = Reader::open(&ann, &request("x", options), "");
    model.call().answer("a");
    assert_eq!(reader.rest().usage, json!({"prompt_tokens": 7, "completion_tokens": 5}));
}

#[test]
fn a_connection_persists_after_a_stream() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let ann = User::new(&server, "ann");
    let mut conn = Connection::open(ann.addr());
    for text in ["a", "b"] {
        send(&mut conn, &ann, &request(text, json!({"stream": true})), "");
        let mut reader = Reader::on(conn);
        let call = model.call();
        assert_eq!(call.prompt(), text);
        call.answer("c");
        while reader.event().is_some() {}
        conn = reader.conn;
    }
    // Two requests at once: the second waits for the first.
    send(&mut conn, &ann, &request("d", json!({"stream": true})), "");
    send(&mut conn, &ann, &request("e", json!({"model": "echo"})), "");
    let mut reader = Reader::on(conn);
    model.call().answer("f");
    while reader.event().is_some() {}
    let second = reader.conn.response("POST").expect(200).json();
    assert_eq!(second["choices"][0]["message"]["content"], "e");
}

#[test]
fn a_client_of_http_1_0_reads_until_the_end() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let ann = User::new(&server, "ann");
    let body = request("x", json!({"stream": true})).to_string();
    let mut conn = Connection::open(ann.addr());
    conn.send(format!(
        "POST {PATH} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        ann.token,
        body.len()
    ));
    model.call().answer("a");
    let bytes = String::from_utf8(conn.read_to_end()).unwrap();
    assert!(bytes.contains("\r\n\r\n:\ndata: ") && bytes.ends_with("data: [DONE]\n\n"), "{bytes}");
}

#[test]
fn a_client_that_disconnects_ends_its_request() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 1));
    let mut ann = User::new(&server, "ann");
    // In the middle of a stream, before the first byte, and with a whole answer.
    for (is_streamed, begins) in [(true, true), (true, false), (false, false)] {
        let mut conn = Connection::open(ann.addr());
        send(&mut conn, &ann, &request("x", json!({"stream": is_streamed})), "");
        let mut call = model.call();
        if begins {
            let mut reader = Reader::on(conn);
            call.begin().say("a");
            reader.until("a");
            drop(reader);
        } else {
            drop(conn);
        }
        call.wait_until_closed();
    }
    // While it waits for its turn: it is never sent.
    let mut first = Connection::open(ann.addr());
    send(&mut first, &ann, &request("first", json!({})), "");
    let call = model.call();
    let mut second = Connection::open(ann.addr());
    send(&mut second, &ann, &request("second", json!({})), "");
    let waiting = |count: f64| {
        let scrape = crate::common::metrics::Scrape::of(&server);
        scrape.get("cortex_answers_waiting") == count
    };
    eventually("the second waits", || waiting(1.0));
    drop(second);
    eventually("the second is gone", || waiting(0.0));
    drop(first);
    call.wait_until_closed();
    assert_eq!(ann.post(PATH, request("third", json!({"model": "echo"}))).status, 200);
    assert!(model.call_by_now().is_none());
}

#[test]
fn a_slow_reader_slows_its_model_and_costs_little_memory() {
    const PIECES: usize = 200;
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let ann = User::new(&server, "ann");
    let mut reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    let mut call = model.call();
    call.begin();
    let before = held_bytes(server.process().id());
    let piece = "x".repeat(100_000);
    let writing = std::thread::spawn(move || {
        for _ in 0..PIECES {
            call.say(&piece);
        }
        call.finish();
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(!writing.is_finished(), "the model waits for the reader");
    let grown = held_bytes(server.process().id()).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes are held for a reader that does not read");
    let mut bytes = 0;
    loop {
        let data = reader.event().expect("the answer has an end");
        if data == "[DONE]" {
            break;
        }
        bytes += data.matches('x').count();
    }
    assert!(bytes >= PIECES * 100_000);
    writing.join().expect("the model has written all");
}

#[test]
fn passed_answers_and_those_of_conversations_share_the_slots_of_a_user() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 2));
    let (mut ann, ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    let conversation = ann.start_conversation("c");
    ann.post_message(&conversation, "stored");
    let stored = model.call();
    assert_eq!(stored.prompt(), "stored");
    let readers: Vec<Reader> =
        (0..3).map(|n| Reader::open(&ann, &request(&format!("ann {n}"), json!({"stream": true})), "")).collect();
    let first = model.call();
    assert_eq!(first.prompt(), "ann 0");
    assert!(model.call_within(Duration::from_millis(200)).is_none(), "ann has two at once");
    let other = Reader::open(&ben, &request("ben", json!({"stream": true})), "");
    let of_ben = model.call();
    assert_eq!(of_ben.prompt(), "ben", "her backlog delays nobody else");
    of_ben.answer("b");
    assert_eq!(other.rest().text, "b");
    first.answer("a");
    model.call().answer("a");
    model.call().answer("a");
    stored.answer("s");
    for reader in readers {
        assert_eq!(reader.rest().text, "a");
    }
}

#[test]
fn a_request_is_sent_again_before_its_first_byte_only() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let ann = User::new(&server, "ann");
    let reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    model.call().reject(503, "Retry-After: 0\r\n");
    model.call().answer("a");
    assert_eq!(reader.rest().text, "a");

    let reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    let mut call = model.call();
    call.begin().say("a");
    call.disconnect();
    let rest = reader.rest();
    assert_eq!((rest.text.as_str(), rest.is_done), ("a", false));
    assert_eq!(rest.error["code"], "upstream_error");
    assert!(model.call_by_now().is_none());
}

#[test]
fn a_silent_model_is_bridged_by_comments() {
    let model = Model::start();
    let server = Server::start(options(&model).set("HEARTBEAT_INTERVAL_SECONDS", 0.05));
    let ann = User::new(&server, "ann");
    let mut reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    for _ in 0..4 {
        assert_eq!(reader.line().as_deref(), Some(":"));
    }
    model.call().answer("a");
    assert_eq!(reader.rest().text, "a");
}

#[test]
fn a_user_who_is_disabled_gets_no_more() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    ann.start_conversation("c");
    let mut reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    let mut call = model.call();
    call.begin().say("a");
    reader.until("a");
    assert!(server.run(&["user", "disable", "ann"]).status.success());
    call.wait_until_closed();
    assert_eq!(reader.rest().error["code"], "invalid_api_key");
}

#[test]
fn an_answer_that_is_passed_on_has_the_grace_of_the_shutdown() {
    let model = Model::start();
    for (grace, ends_in_time) in [(20, true), (1, false)] {
        let mut server = Server::start(
            options(&model).set("SHUTDOWN_GRACE_SECONDS", grace).set("RESPONDER_CONCURRENCY_PER_USER", 1),
        );
        let ann = User::new(&server, "ann");
        let mut reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
        let mut call = model.call();
        call.begin().say("a");
        reader.until("a");
        let waiting = Reader::open(&ann, &request("y", json!({"stream": true})), "");
        let ending = std::thread::spawn(move || {
            server.stop();
        });
        // What waits does not begin any more.
        assert_eq!(waiting.rest().error["code"], "service_unavailable");
        if ends_in_time {
            call.say("b");
            call.finish();
        }
        let rest = reader.rest();
        match ends_in_time {
            true => assert_eq!((rest.text.as_str(), rest.is_done), ("b", true)),
            false => assert_eq!(rest.error["code"], "service_unavailable"),
        }
        ending.join().expect("the server ends");
    }
}

#[test]
fn a_changed_password_ends_what_it_was_used_for() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 1));
    let login = json!({"username": "user@example.com", "password": "password123"});
    let token = Client::new(server.addr).request("POST", "/auth/login").json(&login).send().expect(200);
    let token = crate::common::user::text(&token.json()["access_token"]);
    let mut user = User::with_token(&server, "550e8400-e29b-41d4-a716-446655440000", &token);
    let mut reader = Reader::open(&user, &request("x", json!({"stream": true})), "");
    let mut call = model.call();
    call.begin().say("a");
    reader.until("a");
    // One that waits, and one that wants a whole answer.
    let waiting = Reader::open(&user, &request("y", json!({"stream": true})), "");
    let mut whole = Connection::open(user.addr());
    send(&mut whole, &user, &request("z", json!({})), "");
    let change = json!({"current_password": "password123", "new_password": "another password"});
    user.post("/auth/password", change).expect(200);
    assert_eq!(reader.rest().error["code"], "invalid_api_key");
    assert_eq!(waiting.rest().error["code"], "invalid_api_key");
    assert_eq!(error_of(&whole.response("POST")), error(401, "authentication_error", "invalid_api_key"));
    call.wait_until_closed();
    assert!(model.call_by_now().is_none(), "what waited is not sent");
}

#[test]
fn a_token_that_expires_ends_what_it_was_used_for() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let expiring = token_with(json!({"oid": "ann", "exp": now() + 2}));
    let ann = User::with_token(&server, "ann", &expiring);
    let reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    let mut whole = Connection::open(ann.addr());
    send(&mut whole, &ann, &request("z", json!({})), "");
    let calls = [model.call(), model.call()];
    assert_eq!(reader.rest().error["code"], "invalid_api_key");
    assert_eq!(error_of(&whole.response("POST")), error(401, "authentication_error", "invalid_api_key"));
    for call in calls {
        call.wait_until_closed();
    }
}

#[test]
fn an_answer_that_nobody_reads_keeps_its_slot() {
    const BYTES: usize = 5 << 20;
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 2));
    let ann = User::new(&server, "ann");
    let readers: Vec<Reader> = (0..4).map(|_| Reader::open(&ann, &request("x", json!({"stream": true})), "")).collect();
    // One event with more than sockets and buffers hold.
    let text = "x".repeat(BYTES);
    for _ in 0..2 {
        model.call().answer(&text);
    }
    assert!(model.call_within(Duration::from_millis(500)).is_none(), "two answers are not read yet");
    let mut readers = readers.into_iter();
    for _ in 0..2 {
        assert_eq!(readers.next().expect("a reader").rest().text.len(), BYTES);
        model.call().answer("a");
    }
    for reader in readers {
        assert_eq!(reader.rest().text, "a");
    }
}

#[test]
fn a_quota_counts_for_passed_answers_too() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_TOKENS_PER_USER_PER_DAY", 10));
    let mut ann = User::new(&server, "ann");
    let reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    model.call().answer("a");
    assert!(reader.rest().is_done);
    eventually("the usage is counted", || used(&mut ann) == (1, 7, 5));
    for fields in [json!({}), json!({"stream": true}), json!({"store": true})] {
        let response = ann.post(PATH, request("x", fields));
        assert_eq!(error_of(&response), error(429, "rate_limit_error", "quota_exceeded"));
        assert!(response.number("Retry-After") > 0);
    }
    assert_eq!(ann.post(PATH, request("x", json!({"model": "echo"}))).status, 200, "echo costs nothing");
}

#[test]
fn a_whole_answer_for_a_stream_is_one_chunk() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let ann = User::new(&server, "ann");
    let reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    let answer = json!({"choices": [{"index": 0, "message": {"content": "all"}, "finish_reason": "stop"}]}).to_string();
    model.call().send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()));
    let rest = reader.rest();
    assert_eq!((rest.text.as_str(), rest.finish_reason.as_str(), rest.is_done), ("all", "stop", true));
}

#[test]
fn a_client_that_reads_nothing_is_cut_off_and_its_model_released() {
    let model = Model::start();
    let server = Server::start(options(&model).set("STREAM_STALL_TIMEOUT_SECONDS", 0.3));
    let ann = User::new(&server, "ann");
    let reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    let mut call = model.call();
    call.begin();
    let piece = "x".repeat(1 << 20);
    // Until the server's socket and the pipe are full, and then until the connection is closed.
    for _ in 0..64 {
        call.say(&piece);
    }
    call.wait_until_closed();
    drop(reader);
}

//! `Idempotency-Key`: one message and one response, for any number of sequential or concurrent requests.

use super::replay::replay;
use crate::common::token::token;
use crate::common::user::text;
use crate::common::{Client, Options, Response, Server, User, assert_error, assert_invalid, database};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

/// Posts a message under a key.
#[track_caller]
fn post(addr: SocketAddr, user: &str, key: &str, body: &Value) -> Response {
    Client::new(addr).request("POST", "/input").token(&token(user)).header("Idempotency-Key", key).json(body).send()
}

fn is_replayed(response: &Response) -> bool {
    match response.header("Idempotent-Replayed") {
        None => false,
        Some(value) => {
            assert_eq!(value, "true");
            true
        }
    }
}

/// Asserts that `again` is the response `first`, marked as replayed.
#[track_caller]
fn assert_replayed(first: &Response, again: &Response) {
    assert_eq!(again.status, 200, "{}", again.shown());
    assert!(is_replayed(again), "{}", again.shown());
    assert_eq!(again.body, first.body, "byte for byte");
    assert_eq!(again.number("X-Event-Id"), first.number("X-Event-Id"));
    assert_eq!(again.header("Content-Type"), first.header("Content-Type"));
    assert_ne!(again.header("X-Request-Id"), first.header("X-Request-Id"), "each request has its own");
}

#[test]
fn a_repeated_request_gets_the_first_response_and_stores_nothing() {
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    let body = json!({"content": "once", "metadata": {"z": 1, "a": 12345678901234567890_u64}});
    let first = post(server.addr, "u", "key", &body).expect(200);
    assert!(!is_replayed(&first), "the first is not a replay");
    for _ in 0..5 {
        assert_replayed(&first, &post(server.addr, "u", "key", &body));
    }
    user.say("default", "the end");
    let before = stream.before_message("the end");
    let messages: Vec<&str> =
        before.iter().map(|event| event.content()).filter(|content| !content.is_empty()).collect();
    assert_eq!(messages, ["once"], "one event");
    // Another key, or none, makes another message.
    let other = post(server.addr, "u", "other key".replace(' ', "-").as_str(), &body).expect(200);
    assert!(!is_replayed(&other) && other.number("X-Event-Id") != first.number("X-Event-Id"));

    for way in ["a restart", "a kill"] {
        if way == "a kill" {
            server.kill();
        }
        user.follow(&server);
        server.restart();
        assert_replayed(&first, &post(server.addr, "u", "key", &body));
    }
    server.stop();
    assert_eq!(database::sound_message_contents(&server.database()), ["once", "the end", "once"]);
}

#[test]
fn a_key_reused_with_another_body_is_rejected_and_unchanged() {
    let server = Server::start(Options::new());
    let first = post(server.addr, "u", "key", &json!({"content": "the one"})).expect(200);
    let bodies = [
        json!({"content": "another"}),
        json!({"content": "the one", "metadata": {}}),
        json!({"content": "the one", "conversation_id": "default"}),
    ];
    for body in bodies {
        let rejected = post(server.addr, "u", "key", &body);
        assert_error(&rejected, 422, "idempotency_key_reused");
        assert!(!is_replayed(&rejected) && rejected.header("X-Event-Id").is_none(), "{}", rejected.shown());
    }
    assert_replayed(&first, &post(server.addr, "u", "key", &json!({"content": "the one"})));
    assert_eq!(database::sound_message_contents(&server.database()), ["the one"]);
}

#[test]
fn concurrent_repetitions_get_one_response() {
    const AT_ONCE: usize = 16;
    let server = Server::with(&[("WORKERS", "4")]);
    let addr = server.addr;
    for round in 0..10 {
        let (start, key) = (Barrier::new(AT_ONCE), format!("key-{round}"));
        let responses: Vec<Response> = thread::scope(|scope| {
            let senders: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        post(addr, "u", &key, &json!({"content": key}))
                    })
                })
                .collect();
            senders.into_iter().map(|sender| sender.join().expect("a response")).collect()
        });
        let (again, firsts): (Vec<&Response>, Vec<&Response>) =
            responses.iter().partition(|response| is_replayed(response));
        assert_eq!(firsts.len(), 1, "one of them was the first");
        again.into_iter().for_each(|again| assert_replayed(firsts[0], again));
    }
    assert_eq!(database::sound_message_contents(&server.database()).len(), 10);
}

#[test]
fn idempotency_keys_are_per_user() {
    let server = Server::start(Options::new());
    let body = json!({"content": "the same words"});
    let (ann, ben) = (post(server.addr, "ann", "key", &body).expect(200), post(server.addr, "ben", "key", &body));
    assert!(!is_replayed(&ben), "{}", ben.shown());
    let id = |response: &Response| text(&response.json()["data"]["message_id"]);
    assert_ne!(id(&ann), id(&ben));
    for (name, number) in [("ann", ann.number("X-Event-Id")), ("ben", ben.number("X-Event-Id"))] {
        let seen = replay(&User::new(&server, name), "types=input", 0);
        assert_eq!(seen.iter().map(|event| event.number()).collect::<Vec<_>>(), [number], "{name}");
    }
}

/// A failed request may be repeated under the same key.
#[test]
fn only_successful_responses_are_replayed() {
    let server = Server::start(Options::new());
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &[]);
    let body = json!({"content": "let me in", "conversation_id": conversation});
    for _ in 0..2 {
        let rejected = post(server.addr, "ann", "key", &body);
        assert_error(&rejected, 403, "forbidden");
        assert!(!is_replayed(&rejected));
    }
    owner.put(&format!("/config/conversation/{conversation}"), json!({"participant_ids": ["ann"]})).expect(200);
    let first = post(server.addr, "ann", "key", &body).expect(200);
    assert!(!is_replayed(&first));
    assert_replayed(&first, &post(server.addr, "ann", "key", &body));
}

#[test]
fn repetitions_do_not_consume_the_rate() {
    // Far fewer tokens than repetitions are refilled during the test.
    let server = Server::with(&[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "30")]);
    let body = json!({"content": "once"});
    let first = post(server.addr, "u", "key", &body).expect(200);
    for _ in 0..200 {
        assert_replayed(&first, &post(server.addr, "u", "key", &body));
    }
    // New messages count: even a slow machine sends more than one per second.
    let statuses: Vec<u16> =
        (0..300).map(|n| post(server.addr, "u", &format!("key-{n}"), &body).status).take_while(|s| *s == 200).collect();
    assert!((29..300).contains(&statuses.len()), "{} new ones after 200 repetitions", statuses.len());
}

#[test]
fn a_key_is_at_most_128_visible_ascii_characters() {
    let server = Server::start(Options::new());
    let body = json!({"content": "x"});
    let (longest, all): (String, String) = ("k".repeat(128), ('!'..='~').collect());
    for good in ["k", &longest, &all] {
        post(server.addr, "u", good, &body).expect(200);
    }
    for bad in ["", "two words", "k\tk", "é", &"k".repeat(129)] {
        assert_invalid(&post(server.addr, "u", bad, &body), &["Idempotency-Key"]);
    }
    assert_eq!(database::sound_message_contents(&server.database()).len(), 3);
}

/// A client or proxy may repeat the request with the two fields in another order, so neither key is used.
#[test]
fn a_request_with_two_idempotency_keys_is_rejected() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let request = user.request("POST", "/input").header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    let response = request.json(&json!({"content": "x"})).send();
    assert_error(&response, 400, "bad_request");
    assert!(response.text().contains("Idempotency-Key"), "{}", response.shown());
}

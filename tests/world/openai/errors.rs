//! Errors reach the client's caller as the class that its own handling of errors expects, and are retried where the client
//! retries.

use super::client::{Api, Client, Clients};
use super::mock::Mock;
use super::{request, with};
use crate::common::{Options, Server, User};
use serde_json::{Value, json};

#[test]
fn errors_have_the_class_that_clients_expect() {
    let Some(clients) = Clients::install() else { return };
    let mock = Mock::start(&clients);
    let server = mock.serve();
    let api = Api::new(&server, &User::new(&server, "ann"));
    let table = [
        (request("unheard-of", "say hello"), "NotFoundError", 404, Some("model_not_found")),
        (with(request("small", "say hello"), json!({"token": "x.y.z"})), "AuthenticationError", 401, None),
        (json!({"model": "small", "messages": []}), "BadRequestError", 400, None),
        // What the model's server says.
        (request("small", "do what you do not accept"), "BadRequestError", 400, None),
        // The quota is that of the server's account, so no client can do anything about it.
        (request("small", "answer without quota"), "InternalServerError", 502, Some("upstream_unavailable")),
    ];
    let mut requests: Vec<Value> = table.iter().map(|(request, ..)| request.clone()).collect();
    requests.push(request("small", "answer with a wrong key"));
    clients.each(|client| {
        let mut answers = client.send(&api, &requests);
        // A client that is shown `401` would ask its user for another key, but the wrong key is the server's own.
        let wrong_key = answers.pop().expect("an answer");
        let status = wrong_key["error"]["status"].as_u64().unwrap_or_else(|| panic!("{}: {wrong_key}", client.name));
        assert!((500..600).contains(&status), "{}: {wrong_key}", client.name);
        assert_does_not_blame_the_key(client, &wrong_key);
        for (answer, (_, class, status, code)) in answers.iter().zip(&table) {
            client.assert_error(answer, class, *status, *code);
        }
    });
}

#[track_caller]
fn assert_does_not_blame_the_key(client: &Client, answer: &Value) {
    let classes = answer["error"]["classes"].as_array().unwrap_or_else(|| panic!("{}: {answer}", client.name));
    assert!(!classes.contains(&json!("AuthenticationError")), "{}: {answer}", client.name);
}

/// The head of a streamed response is sent before the model answers, so its errors are events.
#[test]
fn a_failed_stream_is_an_error() {
    let Some(clients) = Clients::install() else { return };
    let mock = Mock::start(&clients);
    let server = mock.serve();
    let api = Api::new(&server, &User::new(&server, "ann"));
    let texts = ["answer without quota", "answer with a wrong key", "do what you do not accept", "please break off"];
    let requests = texts.map(|text| with(request("small", text), json!({"stream": true})));
    clients.each(|client| {
        let answers = client.send(&api, &requests);
        for answer in &answers {
            let message = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{}: {answer}", client.name));
            assert!(!message.is_empty(), "{}: {answer}", client.name);
            assert_does_not_blame_the_key(client, answer);
        }
        let partial = answers[3]["text"].as_str().expect("a text");
        let is_begun = !partial.is_empty() && "This text ends in the middle of a sentence.".starts_with(partial);
        assert!(is_begun, "{}: the text before the error is shown: {}", client.name, answers[3]);
    });
}

#[test]
fn clients_wait_and_repeat_a_request_that_was_limited() {
    let Some(clients) = Clients::install() else { return };
    let limits = Options::new().unset("RESPONDER").set("RATE_LIMIT_PER_SECOND", 1).set("RATE_LIMIT_BURST", 1);
    let server = Server::start(limits);
    for client in clients.of_openai() {
        let api = Api::new(&server, &User::new(&server, client.name));
        // On a slow machine, a second may pass between two requests.
        let mut requests = vec![request("echo", "limited"); 10];
        requests.push(with(request("echo", "repeated"), json!({"retries": 5})));
        let mut answers = client.send(&api, &requests);
        let repeated = answers.pop().expect("an answer");
        assert_eq!((&repeated["error"], &repeated["text"]), (&Value::Null, &json!("repeated")), "{}", client.name);
        let limited = answers.iter().find(|answer| !answer["error"].is_null());
        let limited = limited.unwrap_or_else(|| panic!("{}: ten requests in a second: {answers:?}", client.name));
        client.assert_error(limited, "RateLimitError", 429, Some("rate_limited"));
    }
}

//! Errors of the OpenAI-compatible API: every one has OpenAI's form, and the status by which its clients judge it.

use super::*;
use crate::common::Client;

#[test]
fn every_rejection_has_the_form_of_openai() {
    let model = Model::start();
    let server = Server::start(options(&model).set("MAX_BODY_BYTES", 100_000));
    let mut ann = User::new(&server, "ann");
    let post = |user: &mut User, media: &str, body: &str| user.request("POST", PATH).body(media, body).send();
    let json_type = "application/json";
    let table = [
        (
            Client::new(server.addr).request("GET", "/v1/models").send(),
            error(401, "authentication_error", "invalid_api_key"),
        ),
        (
            Client::new(server.addr).request("POST", PATH).token("sk-wrong").body(json_type, "{}").send(),
            error(401, "authentication_error", "invalid_api_key"),
        ),
        (ann.get("/v1/embeddings"), error(404, "invalid_request_error", "not_found")),
        (ann.get("/v1"), error(404, "invalid_request_error", "not_found")),
        (ann.get(PATH), error(405, "invalid_request_error", "method_not_allowed")),
        (ann.get("/v1/models/gpt"), error(404, "invalid_request_error", "model_not_found")),
        (post(&mut ann, "text/plain", "{}"), error(415, "invalid_request_error", "unsupported_media_type")),
        (post(&mut ann, json_type, "{"), error(400, "invalid_request_error", "bad_request")),
        (post(&mut ann, json_type, "{}"), error(400, "invalid_request_error", "validation_error")),
        (post(&mut ann, json_type, &" ".repeat(100_001)), error(413, "invalid_request_error", "payload_too_large")),
    ];
    for (response, expected) in table {
        assert_eq!(error_of(&response), expected);
    }
    let response = ann.post(PATH, request("x", json!({"model": "gpt"})));
    assert_eq!(error_of(&response), error(404, "invalid_request_error", "model_not_found"));
    let response = ann.post(PATH, json!({"messages": [], "stream": 1})).json();
    assert_eq!(response["error"]["param"], "messages");
    let message = response["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("messages must have a message") && message.contains("stream must be"), "{message}");
}

#[test]
fn what_the_model_rejects_is_an_error_of_the_client_or_of_the_server() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let table = [
        (400, error(400, "invalid_request_error", "upstream_rejected_request"), "false"),
        (401, error(502, "server_error", "upstream_unavailable"), "false"),
        (403, error(502, "server_error", "upstream_unavailable"), "false"),
        (404, error(404, "invalid_request_error", "upstream_rejected_request"), "false"),
        (422, error(422, "invalid_request_error", "upstream_rejected_request"), "false"),
    ];
    for (status, expected, should_retry) in table {
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| ann.post(PATH, request("x", json!({}))));
            model.call().reject(status, "");
            let response = answering.join().expect("a response");
            assert_eq!(error_of(&response), expected, "{status}");
            assert_eq!(response.header("x-should-retry"), Some(should_retry), "{status}");
        });
    }
    // A stream has its head already.
    let reader = Reader::open(&ann, &request("x", json!({"stream": true})), "");
    model.call().reject(400, "");
    let rest = reader.rest();
    assert_eq!((rest.error["code"].as_str(), rest.is_done), (Some("upstream_rejected_request"), false));
}

#[test]
fn too_many_waiting_requests_of_a_user_are_rejected() {
    const WAITING_MAX: usize = 256;
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONCURRENCY_PER_USER", 1));
    let (ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    let body = request("x", json!({}));
    let mut waiting: Vec<Connection> = Vec::new();
    for _ in 0..=WAITING_MAX {
        let mut conn = Connection::open(ann.addr());
        send(&mut conn, &ann, &body, "");
        waiting.push(conn);
    }
    let first = model.call();
    crate::common::eventually("they wait", || {
        crate::common::metrics::Scrape::of(&server).get("cortex_answers_waiting") == WAITING_MAX as f64
    });
    let mut conn = Connection::open(ann.addr());
    send(&mut conn, &ann, &body, "");
    let response = conn.response("POST");
    assert_eq!(error_of(&response), error(429, "rate_limit_error", "rate_limited"));
    assert_eq!(response.header("Retry-After"), Some("1"));
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| ben.post(PATH, request("ben", json!({}))));
        let call = model.call();
        assert_eq!(call.prompt(), "ben");
        call.reject(400, "");
        assert_eq!(answering.join().expect("a response").status, 400);
    });
    drop(waiting);
    first.wait_until_closed();
}

#[test]
fn a_server_without_a_model_says_so() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    assert_eq!(ann.get("/v1/models").expect(200).json(), json!({"object": "list", "data": []}));
    let response = ann.post(PATH, request("x", json!({})));
    assert_eq!(error_of(&response), error(404, "invalid_request_error", "model_not_found"));
}

#[test]
fn echo_is_a_model() {
    let server = Server::start(Options::new().set("RESPONDER", "echo"));
    let mut ann = User::new(&server, "ann");
    let models = ann.get("/v1/models").expect(200).json();
    assert_eq!(models["data"][0]["id"], "echo");
    let whole = ann.post(PATH, request("one two", json!({"model": "echo"}))).expect(200).json();
    let message = &whole["choices"][0]["message"];
    assert_eq!((&message["role"], &message["content"]), (&json!("assistant"), &json!("one two")));
    assert_eq!(whole["usage"], json!({"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}));
    let fields = json!({"model": null, "stream": true, "stream_options": {"include_usage": true}});
    let rest = Reader::open(&ann, &request("one two", fields), "").rest();
    assert_eq!((rest.text.as_str(), rest.finish_reason.as_str(), rest.is_done), ("one two", "stop", true));
    assert_eq!(rest.usage["total_tokens"], 4);
    for fields in [json!({"n": 2}), json!({"messages": [{"role": "assistant", "content": "x"}]})] {
        let mut body = request("x", json!({"model": "echo"}));
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        assert_eq!(error_of(&ann.post(PATH, body)), error(400, "invalid_request_error", "validation_error"));
    }
}

//! Clients of OpenAI's API use the server unmodified, with one of its tokens as their key: the package `openai` for Python and
//! for Node, LiteLLM, LangChain, the program `llm`, and the load tool llmeter. Behind the server is `echo` or a mock of the
//! API, `@copilotkit/aimock`.

mod client;
mod durable;
mod errors;
mod mock;
mod passing;
mod programs;

use crate::common::{Options, Server, User};
use client::{Api, Clients};
use serde_json::{Value, json};

/// A request with one user message.
fn request(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

/// The same request with more fields.
fn with(mut request: Value, fields: Value) -> Value {
    let fields = fields.as_object().expect("fields are an object").clone();
    request.as_object_mut().expect("a request is an object").extend(fields);
    request
}

/// A development server as it is without settings, apart from the key of the tests.
fn echo_server() -> Server {
    Server::start(Options::new().unset("RESPONDER"))
}

#[test]
fn echo_answers_every_client() {
    let Some(clients) = Clients::install() else { return };
    let server = echo_server();
    let api = Api::new(&server, &User::new(&server, "ann"));
    const TEXT: &str = "Żółw says \"hi\"\n\u{1f422}";
    let counted = json!({"stream": true, "parameters": {"stream_options": {"include_usage": true}}});
    let requests =
        [json!({}), json!({"stream": true}), counted].map(|fields| with(request("echo", TEXT), fields)).to_vec();
    clients.each(|client| {
        let answers = client.send(&api, &requests);
        for answer in &answers {
            let shown = format!("{}: {answer}", client.name);
            assert_eq!((&answer["error"], &answer["text"]), (&Value::Null, &json!(TEXT)), "{shown}");
            assert_eq!((&answer["finish_reason"], &answer["model"]), (&json!("stop"), &json!("echo")), "{shown}");
            // LangChain keeps no id of a streamed answer.
            assert!(answer["id"].as_str().is_none_or(|id| id.starts_with("chatcmpl-")), "{shown}");
        }
        assert_eq!(answers[1]["usage"], Value::Null, "{}: usage is sent on request only", client.name);
        for counted in [&answers[0], &answers[2]] {
            let [prompt, completion, total] = usage(counted);
            assert_eq!(prompt + completion, total, "{}: {counted}", client.name);
        }
    });
}

#[test]
fn models_are_listed() {
    let Some(clients) = Clients::install() else { return };
    let server = echo_server();
    let api = Api::new(&server, &User::new(&server, "ann"));
    let requests = [
        json!({"do": "models"}),
        json!({"do": "model", "model": "echo"}),
        json!({"do": "model", "model": "unheard-of"}),
    ];
    for client in clients.of_openai() {
        let answers = client.send(&api, &requests);
        for answer in &answers[..2] {
            let models = answer["models"].as_array().unwrap_or_else(|| panic!("{}: {answer}", client.name));
            assert_eq!(models.len(), 1, "{}: {answer}", client.name);
            assert_eq!((&models[0]["id"], &models[0]["object"]), (&json!("echo"), &json!("model")), "{}", client.name);
            let has_the_rest = models[0]["created"].is_u64() && models[0]["owned_by"].is_string();
            assert!(has_the_rest, "{}: {answer}", client.name);
        }
        client.assert_error(&answers[2], "NotFoundError", 404, Some("model_not_found"));
    }
}

/// The counted tokens of an answer: of the prompt, of the completion, and their sum.
#[track_caller]
fn usage(answer: &Value) -> [u64; 3] {
    serde_json::from_value(answer["usage"].clone()).unwrap_or_else(|error| panic!("usage: {error}: {answer}"))
}

//! Passing mode: requests reach the model unchanged, and its answers the client.

use super::client::{Api, Clients};
use super::mock::Mock;
use super::{request, usage, with};
use crate::common::{User, eventually};
use serde_json::{Value, json};

fn tools() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name, as \"Łódź\""},
            "days": {"type": "integer", "minimum": 1},
        },
        "required": ["city"],
        "additionalProperties": false,
    });
    let description = "The weather of the coming days";
    json!([{"type": "function", "function": {"name": "weather", "description": description, "parameters": parameters}}])
}

#[test]
fn texts_pass() {
    let Some(clients) = Clients::install() else { return };
    let mock = Mock::start(&clients);
    let server = mock.serve();
    clients.each(|client| {
        let mut user = User::new(&server, client.name);
        let api = Api::new(&server, &user);
        let counted = json!({"stream": true, "parameters": {"stream_options": {"include_usage": true}}});
        let requests = [json!({}), json!({"stream": true}), counted];
        let requests = requests.map(|fields| with(request("small", "Please say hello"), fields));
        let answers = client.send(&api, &requests);
        for answer in &answers {
            let shown = format!("{}: {answer}", client.name);
            assert_eq!(answer["error"], Value::Null, "{shown}");
            assert_eq!(answer["text"], "Hello, a mock says this in pieces: żółw.", "{shown}");
            assert_eq!((&answer["finish_reason"], &answer["model"]), (&json!("stop"), &json!("small")), "{shown}");
            assert_eq!(answer["conversation_id"], Value::Null, "{shown}");
        }
        assert!(answers[1]["pieces"].as_u64() > Some(1), "{}: it is streamed: {}", client.name, answers[1]);
        assert_eq!(answers[1]["usage"], Value::Null, "{}: usage is sent on request only", client.name);
        assert_eq!([&answers[0], &answers[2]].map(usage), [[11, 7, 18]; 2], "{}", client.name);
        // Nothing but the usage is stored, which also counts where the client did not ask for it.
        let total = user.get("/usage").expect(200).json()["total"].clone();
        assert_eq!((&total["prompt_tokens"], &total["completion_tokens"]), (&json!(33), &json!(21)), "{}", client.name);
        assert_eq!(user.get("/conversations").expect(200).json(), json!([]), "{}", client.name);
    });
}

/// Each field of a request reaches the model as the client sent it.
#[test]
fn parameters_pass() {
    let Some(clients) = Clients::install() else { return };
    let mock = Mock::start(&clients);
    let server = mock.serve();
    let api = Api::new(&server, &User::new(&server, "ann"));
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Please say hello"}]},
        {"role": "user", "content": "and say hello again"},
    ]);
    let parameters = json!({"temperature": 0.25, "top_p": 0.5, "seed": 7, "stop": ["END"], "presence_penalty": -0.5});
    let unknown = json!({"top_k": 3, "chat_template_kwargs": {"enable_thinking": false, "budget": [1, null]}});
    let requests = [("small", false), ("large", true)].map(|(model, stream)| {
        json!({
            "model": model, "messages": messages, "stream": stream, "parameters": parameters, "unknown": unknown,
        })
    });
    clients.each(|client| {
        for answer in client.send(&api, &requests) {
            assert_eq!(answer["error"], Value::Null, "{}: {answer}", client.name);
        }
        let arrived = mock.arrived();
        let models: Vec<_> = arrived.iter().map(|body| &body["model"]).collect();
        assert_eq!(models, ["small", "large"], "{}", client.name);
        for body in &arrived {
            assert_eq!(body["messages"], messages, "{}", client.name);
            for (name, value) in
                [&parameters, &unknown].into_iter().flat_map(|fields| fields.as_object().expect("an object"))
            {
                assert_eq!(&body[name], value, "{}: {name}: {body}", client.name);
            }
        }
    });
}

#[test]
fn tools_and_tool_calls_pass_both_ways() {
    let Some(clients) = Clients::install() else { return };
    let mock = Mock::start(&clients);
    let server = mock.serve();
    let api = Api::new(&server, &User::new(&server, "ann"));
    let calls = json!([
        {"id": "call_weather_1", "name": "weather", "arguments": {"city": "Łódź", "days": 2}},
        {"id": "call_weather_2", "name": "weather", "arguments": {"city": "São Paulo", "days": 1}},
    ]);
    let asked = with(request("small", "Now what is the weather?"), json!({"tools": tools()}));
    let mut answered = asked.clone();
    let messages = answered["messages"].as_array_mut().expect("messages");
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": as_sent(&calls)}));
    for (id, result) in [("call_weather_1", "rain"), ("call_weather_2", "sun")] {
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
    }
    let requests: Vec<Value> = [false, true]
        .into_iter()
        .flat_map(|stream| [&asked, &answered].map(|request| with(request.clone(), json!({"stream": stream}))))
        .collect();
    clients.each(|client| {
        let answers = client.send(&api, &requests);
        let arrived = mock.arrived();
        assert_eq!(arrived.len(), requests.len(), "{}", client.name);
        for (answer, body) in answers.iter().zip(&arrived).step_by(2) {
            let shown = format!("{}: {answer}", client.name);
            assert_eq!((&answer["error"], &answer["tool_calls"]), (&Value::Null, &calls), "{shown}");
            assert_eq!((&answer["finish_reason"], &answer["text"]), (&json!("tool_calls"), &json!("")), "{shown}");
            assert_eq!(body["tools"], tools(), "{shown}");
        }
        for (answer, body) in answers.iter().zip(&arrived).skip(1).step_by(2) {
            let shown = format!("{}: {answer}", client.name);
            assert_eq!((&answer["error"], &answer["text"]), (&Value::Null, &json!("It rains in Łódź.")), "{shown}");
            let messages = body["messages"].as_array().expect("messages");
            let roles: Vec<_> = messages.iter().map(|message| &message["role"]).collect();
            assert_eq!(roles, ["user", "assistant", "tool", "tool"], "{shown}");
            let ids: Vec<_> = messages[2..].iter().map(|message| &message["tool_call_id"]).collect();
            assert_eq!(ids, ["call_weather_1", "call_weather_2"], "{shown}");
        }
    });
}

/// Calls of tools in the form of OpenAI's API, in which arguments are a text.
fn as_sent(calls: &Value) -> Value {
    let call = |call: &Value| {
        let function = json!({"name": call["name"], "arguments": call["arguments"].to_string()});
        json!({"id": call["id"], "type": "function", "function": function})
    };
    calls.as_array().expect("a list").iter().map(call).collect()
}

#[test]
fn an_aborted_stream_closes_the_request_to_the_model() {
    let Some(clients) = Clients::install() else { return };
    let mock = Mock::start(&clients);
    let server = mock.serve();
    let api = Api::new(&server, &User::new(&server, "ann"));
    clients.each(|client| {
        let before = mock.aborted();
        let fields = json!({"stream": true, "abort_after": 2});
        // The mock needs a minute for the whole text.
        let answer = client.send_one(&api, with(request("small", "Please speak for a minute"), fields));
        assert_eq!((&answer["error"], &answer["pieces"]), (&Value::Null, &json!(2)), "{}: {answer}", client.name);
        eventually(client.name, || mock.aborted() == before + 1);
    });
}

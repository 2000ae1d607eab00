//! Durable mode: a client that names a conversation, or stores its request, sees the view of an answer that the server keeps.

use super::client::{Api, Client, Clients};
use super::mock::Mock;
use super::{echo_server, request, with};
use crate::common::user::text;
use crate::common::{UNKNOWN_ID, User};
use serde_json::{Value, json};

/// The messages of a conversation, oldest first.
#[track_caller]
fn messages(user: &mut User, conversation: &str) -> Vec<Value> {
    let list = user.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
    list.as_array().expect("a list").clone()
}

/// Asserts that a client's answer is that of these two messages of a conversation.
#[track_caller]
fn assert_is_view(client: &Client, conversation: &str, stored: &[Value], asked: &str, answer: &Value) {
    let shown = format!("{}: {answer}", client.name);
    let [question, reply] = stored else { panic!("two messages, not {stored:?}: {shown}") };
    assert_eq!((&answer["error"], &answer["conversation_id"]), (&Value::Null, &json!(conversation)), "{shown}");
    assert_eq!((&question["role"], &question["content"]), (&json!("user"), &json!(asked)), "{shown}");
    assert_eq!(question["id"], answer["message_id"], "{shown}");
    assert_eq!(question["answer"]["message_id"], reply["id"], "{shown}");
    assert_eq!((&reply["role"], &reply["status"]), (&json!("assistant"), &json!("complete")), "{shown}");
    assert_eq!(reply["content"], answer["text"], "{shown}");
    // LangChain keeps no id of a streamed answer.
    if !answer["id"].is_null() {
        assert_eq!(answer["id"], format!("chatcmpl-{}", text(&reply["id"])), "{shown}");
    }
}

#[test]
fn a_conversation_is_named_by_a_header_or_in_the_metadata() {
    let Some(clients) = Clients::install() else { return };
    let server = echo_server();
    clients.each(|client| {
        let mut user = User::new(&server, client.name);
        let api = Api::new(&server, &user);
        let conversation = user.start_conversation("from a client");
        let header = json!({"headers": {"X-Conversation-Id": conversation}});
        let metadata = json!({"metadata": {"conversation_id": conversation}});
        let both = with(header.clone(), metadata.clone());
        let mut asked = Vec::new();
        let mut requests = Vec::new();
        for (name, fields) in [("header", header), ("metadata", metadata), ("both", both)] {
            for stream in [false, true] {
                asked.push(format!("named by: {name}, streamed: {stream}"));
                requests.push(with(
                    request("echo", &asked[asked.len() - 1]),
                    with(fields.clone(), json!({"stream": stream})),
                ));
            }
        }
        let answers = client.send(&api, &requests);
        let stored = messages(&mut user, &conversation);
        assert_eq!(stored.len(), 2 * answers.len(), "{}", client.name);
        for ((answer, asked), stored) in answers.iter().zip(&asked).zip(stored.chunks(2)) {
            assert_is_view(client, &conversation, stored, asked, answer);
            assert_eq!(&answer["text"], asked, "{}", client.name);
        }
    });
}

/// Earlier messages of the request are the beginning of the conversation.
#[test]
fn a_stored_request_creates_a_conversation() {
    let Some(clients) = Clients::install() else { return };
    let server = echo_server();
    clients.each(|client| {
        let mut user = User::new(&server, client.name);
        let api = Api::new(&server, &user);
        let requests = [false, true].map(|stream| {
            json!({
                "model": "echo",
                "messages": [
                    {"role": "user", "content": "earlier"},
                    {"role": "assistant", "content": "an answer"},
                    {"role": "user", "content": "later"},
                ],
                "stream": stream,
                "parameters": {"store": true},
            })
        });
        for answer in client.send(&api, &requests) {
            assert_eq!(answer["error"], Value::Null, "{}: {answer}", client.name);
            let conversation = text(&answer["conversation_id"]);
            let stored = messages(&mut user, &conversation);
            let before: Vec<&Value> = stored[..2].iter().map(|message| &message["content"]).collect();
            assert_eq!(before, [&json!("earlier"), &json!("an answer")], "{}", client.name);
            assert_is_view(client, &conversation, &stored[2..], "later", &answer);
        }
        assert_eq!(user.get("/conversations").expect(200).json().as_array().map(Vec::len), Some(2), "{}", client.name);
    });
}

#[test]
fn the_same_key_returns_the_same_answer() {
    let Some(clients) = Clients::install() else { return };
    let server = echo_server();
    for client in clients.of_openai() {
        let mut user = User::new(&server, client.name);
        let api = Api::new(&server, &user);
        let requests =
            [("whole", false), ("whole", false), ("streamed", true), ("streamed", true)].map(|(key, stream)| {
                let headers = json!({"Idempotency-Key": key});
                with(request("echo", key), json!({"stream": stream, "parameters": {"store": true}, "headers": headers}))
            });
        let answers = client.send(&api, &requests);
        for (answers, asked) in answers.chunks(2).zip(["whole", "streamed"]) {
            assert_eq!(answers[0]["error"], Value::Null, "{}: {}", client.name, answers[0]);
            let conversation = text(&answers[0]["conversation_id"]);
            for answer in answers {
                assert_is_view(client, &conversation, &messages(&mut user, &conversation), asked, answer);
            }
        }
    }
}

#[test]
fn requests_that_a_conversation_cannot_hold_are_rejected() {
    let Some(clients) = Clients::install() else { return };
    let server = echo_server();
    for client in clients.of_openai() {
        let mut user = User::new(&server, client.name);
        let api = Api::new(&server, &user);
        let conversation = user.start_conversation("stays empty");
        let named = json!({"headers": {"X-Conversation-Id": conversation}});
        let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]);
        let table = [
            with(named.clone(), json!({"tools": tool})),
            with(named.clone(), json!({"metadata": {"conversation_id": UNKNOWN_ID}})),
        ];
        let requests = table.map(|fields| with(request("echo", "no"), fields));
        for answer in client.send(&api, &requests) {
            client.assert_error(&answer, "BadRequestError", 400, None);
        }
        assert_eq!(messages(&mut user, &conversation).len(), 0, "{}", client.name);
    }
}

/// After a disconnect, the same request with the same key returns the answer from its beginning: the first time while it
/// runs, then when it is complete.
#[test]
fn a_client_that_disconnects_does_not_stop_the_answer() {
    let Some(clients) = Clients::install() else { return };
    let mock = Mock::start(&clients);
    let server = mock.serve();
    const ASKED: &str = "Please speak for two seconds";
    for client in clients.of_openai() {
        let mut user = User::new(&server, client.name);
        let api = Api::new(&server, &user);
        let conversation = user.start_conversation("survives");
        let headers = json!({"X-Conversation-Id": conversation, "Idempotency-Key": "only"});
        let whole = with(request("small", ASKED), json!({"stream": true, "headers": headers}));
        let aborted = with(whole.clone(), json!({"abort_after": 2}));
        let answers = client.send(&api, &[aborted, whole.clone(), whole]);
        assert_eq!((&answers[0]["error"], &answers[0]["pieces"]), (&Value::Null, &json!(2)), "{}", client.name);
        let stored = messages(&mut user, &conversation);
        for answer in &answers[1..] {
            assert_eq!(answer["text"], "one two three four five six seven eight nine ten", "{}: {answer}", client.name);
            assert_is_view(client, &conversation, &stored, ASKED, answer);
        }
        assert_eq!((mock.arrived().len(), mock.aborted()), (1, 0), "{}: the model is asked once", client.name);
    }
}

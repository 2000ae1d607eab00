//! Completions that are views of the answers to stored messages.

use super::*;
use crate::answers::{lines, said};
use crate::common::token::token;
use crate::common::user::text;

/// The field that names a conversation.
fn field(conversation: &str) -> String {
    format!("X-Conversation-Id: {conversation}\r\n")
}

#[test]
fn a_message_is_stored_and_its_answer_is_the_response() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let mut stream = ann.stream();
    let mut reader = Reader::open(&ann, &request("Hello?", json!({"stream": true})), &field(&conversation));
    assert_eq!(reader.head.header("X-Conversation-Id"), Some(conversation.as_str()));
    let message = reader.head.header("X-Message-Id").expect("the message").to_owned();
    assert!(reader.head.number("X-Event-Id") > 0);
    let mut call = model.call();
    assert_eq!(call.turns(), [("user".to_owned(), "Hello?".to_owned())]);
    assert_eq!(reader.line().as_deref(), Some(":"));
    call.begin().say("He");
    reader.until("He");
    call.say("y");
    reader.until("y");
    call.finish();
    let rest = reader.rest();
    assert!(rest.is_done && rest.error.is_null() && rest.finish_reason == "stop", "{rest:?}");
    assert_eq!(
        said(&mut ann, &conversation),
        lines(&[("user", "Hello?", "complete"), ("assistant", "Hey", "complete")])
    );
    let list = ann.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
    assert_eq!(list[0]["id"], json!(message));
    let id = format!("chatcmpl-{}", text(&list[1]["id"]));
    assert!(rest.ids.iter().all(|one| *one == id), "{:?}", rest.ids);
    // Another device sees both live.
    assert_eq!(stream.next_own().content(), "Hello?");
    loop {
        let event = stream.next_own();
        if event.kind() == "output" {
            assert_eq!(event.content(), "Hey");
            break;
        }
    }

    // A whole answer, named in the metadata; the context is the conversation's.
    let whole = std::thread::scope(|scope| {
        let body = json!({"messages": [{"role": "user", "content": "ignored"}, {"role": "user", "content": "And?"}], "metadata": {"conversation_id": conversation}});
        let answering = scope.spawn(|| ann.post(PATH, body));
        let call = model.call();
        let turns: Vec<String> = call.turns().into_iter().map(|(_, text)| text).collect();
        assert_eq!(turns, ["Hello?", "Hey", "And?"]);
        call.answer("Well");
        answering.join().expect("a response").expect(200)
    });
    let body = whole.json();
    assert_eq!(body["choices"][0]["message"]["content"], "Well");
    assert_eq!(body["usage"], json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}));
    assert_eq!(body["model"], crate::common::model::NAME);
    let list = ann.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
    assert_eq!(body["id"], json!(format!("chatcmpl-{}", text(&list[3]["id"]))));
    assert_eq!(whole.header("X-Message-Id"), list[2]["id"].as_str());
}

#[test]
fn store_begins_a_conversation_with_the_settings_of_the_request() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let body = json!({
        "model": "org/large", "store": true, "stream": true, "temperature": 0.5, "max_completion_tokens": 9,
        "messages": [{"role": "system", "content": "Be kind"}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "metadata": {"team": "x"},
    });
    let reader = Reader::open(&ann, &body, "");
    let conversation = reader.head.header("X-Conversation-Id").expect("a conversation").to_owned();
    let call = model.call();
    assert_eq!(call.body["model"], "org/large");
    assert_eq!((&call.body["temperature"], &call.body["max_tokens"]), (&json!(0.5), &json!(9)));
    assert_eq!(call.turns()[0], ("system".to_owned(), "Be kind".to_owned()));
    call.answer("Hello");
    assert_eq!(reader.rest().text, "Hello");
    let view = ann.get(&format!("/conversations/{conversation}")).expect(200).json();
    assert_eq!(
        (&view["title"], &view["metadata"]["team"], &view["metadata"]["model"]),
        (&json!("Hi"), &json!("x"), &json!("org/large"))
    );
    assert_eq!(said(&mut ann, &conversation), lines(&[("user", "Hi", "complete"), ("assistant", "Hello", "complete")]));

    // Another responder than the server's.
    let response = ann.post(PATH, request("again", json!({"model": "echo", "store": true}))).expect(200);
    assert_eq!(response.json()["choices"][0]["message"]["content"], "again");
    // The exchange before the message is part of the conversation, and of the context.
    let more = json!({"store": true, "messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
    ]});
    let whole = std::thread::scope(|scope| {
        let answering = scope.spawn(|| ann.post(PATH, more));
        let call = model.call();
        let turns: Vec<String> = call.turns().into_iter().map(|(_, text)| text).collect();
        assert_eq!(turns, ["a", "b", "c"]);
        call.answer("d");
        answering.join().expect("a response").expect(200)
    });
    let conversation = whole.header("X-Conversation-Id").expect("a conversation");
    let view = ann.get(&format!("/conversations/{conversation}")).expect(200).json();
    assert_eq!(view["messages"].as_array().map(Vec::len), Some(4));
    assert_eq!(
        said(&mut ann, conversation),
        lines(&[
            ("user", "a", "complete"),
            ("assistant", "b", "complete"),
            ("user", "c", "complete"),
            ("assistant", "d", "complete")
        ])
    );
    let hot = ann.post(PATH, request("x", json!({"store": true, "temperature": 3})));
    assert_eq!(error_of(&hot), error(400, "invalid_request_error", "validation_error"));
}

#[test]
fn a_client_that_disconnects_ends_nothing_and_finds_its_answer_again() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let fields = format!("{}Idempotency-Key: k\r\n", field(&conversation));
    let body = request("Hello?", json!({"stream": true}));
    let mut reader = Reader::open(&ann, &body, &fields);
    let mut call = model.call();
    call.begin().say("One");
    reader.until("One");
    drop(reader);
    call.say(" two");
    let mut again = Reader::open(&ann, &body, &fields);
    assert_eq!(again.head.header("Idempotent-Replayed"), Some("true"));
    again.until("One two");
    let mut third = Reader::open(&ann, &body, &fields);
    third.until("One two");
    call.finish();
    for reader in [again, third] {
        assert!(reader.rest().is_done);
    }
    let messages = [("user", "Hello?", "complete"), ("assistant", "One two", "complete")];
    assert_eq!(said(&mut ann, &conversation), lines(&messages));
    server.restart();
    ann.follow(&server);
    let rest = Reader::open(&ann, &body, &fields).rest();
    assert_eq!((rest.text.as_str(), rest.is_done), ("One two", true));
    let whole = request("Hello?", json!({}));
    let response = ann.request("POST", PATH).header("X-Conversation-Id", &conversation).header("Idempotency-Key", "k");
    assert_eq!(error_of(&response.json(&whole).send()), error(422, "invalid_request_error", "idempotency_key_reused"));
    assert_eq!(said(&mut ann, &conversation), lines(&messages));
}

#[test]
fn an_answer_that_is_not_complete_is_an_error() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");

    // The model fails before its first text, and after it.
    for text in ["", "Half"] {
        let mut reader = Reader::open(&ann, &request("x", json!({"stream": true})), &field(&conversation));
        let mut call = model.call();
        if text.is_empty() {
            call.reject(400, "");
        } else {
            call.begin().say(text);
            reader.until(text);
            call.disconnect();
        }
        let rest = reader.rest();
        assert_eq!((rest.error["code"].as_str(), rest.is_done), (Some("failed"), false), "{rest:?}");
    }
    std::thread::scope(|scope| {
        let whole = request("x", json!({"metadata": {"conversation_id": conversation}}));
        let answering = scope.spawn(|| ann.post(PATH, whole));
        model.call().reject(400, "");
        let response = answering.join().expect("a response");
        assert_eq!(error_of(&response), error(502, "server_error", "failed"));
        assert_eq!(response.header("x-should-retry"), Some("false"), "the message is stored");
        assert!(response.header("X-Message-Id").is_some());
    });

    // Another device cancels it.
    let mut reader = Reader::open(&ann, &request("x", json!({"stream": true})), &field(&conversation));
    let mut call = model.call();
    call.begin().say("Half");
    reader.until("Half");
    ann.post(&format!("/conversations/{conversation}/cancel"), json!({})).expect(200);
    assert_eq!(reader.rest().error["code"], "cancelled");
    call.wait_until_closed();

    // The conversation is deleted.
    let mut reader = Reader::open(&ann, &request("x", json!({"stream": true})), &field(&conversation));
    let mut call = model.call();
    call.begin().say("Half");
    reader.until("Half");
    let mut whole = Connection::open(ann.addr());
    send(&mut whole, &ann, &request("y", json!({})), &field(&conversation));
    crate::common::eventually("both wait", || {
        ann.get(&format!("/conversations/{conversation}/messages?limit=1000")).expect(200).text().contains("\"y\"")
    });
    ann.delete(&format!("/conversations/{conversation}")).expect(200);
    assert_eq!(reader.rest().error["code"], "not_found");
    assert_eq!(error_of(&whole.response("POST")), error(404, "invalid_request_error", "not_found"));
}

#[test]
fn what_cannot_be_stored_is_rejected_before_it_is() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let post = |user: &mut User, conversation: &str, body: Value| {
        user.request("POST", PATH).header("X-Conversation-Id", conversation).json(&body).send()
    };
    let invalid = error(400, "invalid_request_error", "validation_error");
    for fields in [
        json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
        json!({"functions": [{"name": "f"}]}),
        json!({"n": 2}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"messages": [{"role": "assistant", "content": "x"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
        json!({"messages": [{"role": "user", "content": " "}]}),
    ] {
        let mut body = request("x", json!({}));
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let found = error_of(&post(&mut ann, &conversation, body));
        assert_eq!(found, invalid, "{fields}");
    }
    let other = request("x", json!({"metadata": {"conversation_id": "default"}}));
    assert_eq!(error_of(&post(&mut ann, &conversation, other)), error(400, "invalid_request_error", "bad_request"));
    let unknown = post(&mut ann, "0190c42e-8d3f-7123-9abc-0123456789ab", request("x", json!({})));
    assert_eq!(error_of(&unknown), error(404, "invalid_request_error", "not_found"));
    let mut ben = User::with_token(&server, "ben", &token("ben"));
    let foreign = post(&mut ben, &conversation, request("x", json!({})));
    assert_eq!(error_of(&foreign), error(404, "invalid_request_error", "not_found"));
    let silent = json!({"title": "s", "metadata": {"responder": "none"}});
    let silent = text(&ann.post("/conversations", silent).expect(200).json()["id"]);
    let response = post(&mut ann, &silent, request("x", json!({})));
    assert_eq!(error_of(&response), error(409, "invalid_request_error", "conflict"));
    assert_eq!(response.header("x-should-retry"), Some("false"));
    for conversation in [conversation, silent] {
        assert!(said(&mut ann, &conversation).is_empty(), "nothing is stored");
    }
    assert!(model.call_by_now().is_none());
}

#[test]
fn reasoning_and_long_texts_are_part_of_a_view() {
    let model = Model::start();
    let server = Server::start(options(&model).set("STREAM_BUFFER_BYTES", 8192));
    let mut ann = User::new(&server, "ann");
    let long = "\u{1f600}\"long\" ".repeat(20_000);
    let fields = json!({"stream": true, "store": true});
    let reader = Reader::open(&ann, &request("x", fields), "Idempotency-Key: k\r\n");
    let mut call = model.call();
    call.begin();
    let thought = json!({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]});
    call.send(&format!("data: {thought}\n\n")).say(&long);
    call.finish();
    let rest = reader.rest();
    assert_eq!((rest.text == long, rest.reasoning.as_str(), rest.is_done), (true, "hm", true));
    // From the store.
    let rest =
        Reader::open(&ann, &request("x", json!({"stream": true, "store": true})), "Idempotency-Key: k\r\n").rest();
    assert!(rest.text == long && rest.is_done);
    let whole = std::thread::scope(|scope| {
        let answering = scope.spawn(|| ann.post(PATH, request("x", json!({"store": true}))));
        model.call().answer(&long);
        answering.join().expect("a response").expect(200).json()
    });
    assert_eq!(whole["choices"][0]["message"]["content"], json!(long));
}

#[test]
fn a_stored_message_is_not_posted_again_by_a_client_that_retries() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let mut waiting = Vec::new();
    for key in ["", "Idempotency-Key: k\r\n"] {
        let mut conn = Connection::open(ann.addr());
        send(&mut conn, &ann, &request("x", json!({})), &format!("{}{key}", field(&conversation)));
        waiting.push(conn);
        crate::common::eventually("it is stored", || said(&mut ann, &conversation).len() == waiting.len());
    }
    let call = model.call();
    let ending = std::thread::spawn(move || {
        server.stop();
    });
    for (mut conn, should_retry) in waiting.into_iter().zip(["false", "true"]) {
        let response = conn.response("POST");
        assert_eq!(error_of(&response).0, 503);
        assert_eq!(response.header("x-should-retry"), Some(should_retry));
    }
    call.wait_until_closed();
    ending.join().expect("the server ends");
}

#[test]
fn all_chunks_have_the_id_of_the_answer() {
    let server = Server::start(Options::new().set("RESPONDER", "echo"));
    let mut ann = User::new(&server, "ann");
    for _ in 0..20 {
        let fields = json!({"model": "echo", "stream": true, "store": true, "stream_options": {"include_usage": true}});
        let reader = Reader::open(&ann, &request("hello", fields), "");
        let conversation = reader.head.header("X-Conversation-Id").expect("a conversation").to_owned();
        let rest = reader.rest();
        let list = ann.get(&format!("/conversations/{conversation}/messages")).expect(200).json();
        let id = format!("chatcmpl-{}", text(&list[1]["id"]));
        assert!(rest.ids.iter().all(|one| *one == id), "{:?} of {id}", rest.ids);
        assert_eq!(rest.usage["total_tokens"], 4, "an echo has token counts");
    }
}

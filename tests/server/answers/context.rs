//! What the model receives of a conversation whose answers failed, whose users are several, or whose messages are too many,
//! and the settings of conversations.

use super::*;

/// Role and text of messages, in the notation `user: text`.
fn sent(call: &model::Call) -> Vec<String> {
    call.turns().iter().map(|(role, text)| format!("{role}: {text}")).collect()
}

/// Answers that end without text, by what the model does with the request.
fn end_without_text(how: &str, call: model::Call, ann: &mut User, conversation: &str, stream: &mut Stream) {
    match how {
        "rejected" => {
            call.reject(400, "");
            stream.next_of("output_error");
        }
        "cancelled" => {
            assert!(cancel(ann, conversation));
            call.wait_until_closed();
        }
        "empty" => {
            let mut call = call;
            call.begin();
            call.finish();
            stream.next_of("output_error");
        }
        _ => unreachable!("{how} is not in the table"),
    }
}

#[test]
fn a_message_whose_answer_ended_without_text_is_not_sent_again() {
    for how in ["rejected", "cancelled", "empty"] {
        let model = Model::start();
        let server = Server::start(options(&model));
        let mut ann = User::new(&server, "ann");
        let conversation = ann.start_conversation("c");
        let mut stream = ann.stream();
        ann.post_message(&conversation, "one");
        model.call().answer("1");
        stream.next_of("output");
        ann.post_message(&conversation, "two");
        let call = model.call();
        assert_eq!(sent(&call), ["user: one", "assistant: 1", "user: two"], "{how}");
        end_without_text(how, call, &mut ann, &conversation, &mut stream);
        ann.post_message(&conversation, "three");
        let call = model.call();
        assert_eq!(sent(&call), ["user: one", "assistant: 1", "user: three"], "{how}");
        call.answer("3");
        stream.next_of("output");
    }
}

#[test]
fn a_partial_answer_stays_in_the_context() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let mut stream = ann.stream();
    ann.post_message(&conversation, "one");
    let mut call = model.call();
    call.begin().say("half");
    stream.next_of("output_delta");
    assert!(cancel(&mut ann, &conversation));
    stream.next_of("output");
    ann.post_message(&conversation, "two");
    assert_eq!(sent(&model.call()), ["user: one", "assistant: half", "user: two"]);
}

#[test]
fn a_cut_window_begins_with_a_user() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_HISTORY", 3));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let mut stream = ann.stream();
    let expected: [&[&str]; 3] =
        [&["user: a"], &["user: a", "assistant: A", "user: b"], &["user: b", "assistant: B", "user: c"]];
    for (text, expected) in ["a", "b", "c"].iter().zip(expected) {
        ann.post_message(&conversation, text);
        let call = model.call();
        assert_eq!(sent(&call), expected);
        call.answer(&text.to_uppercase());
        stream.next_of("output");
    }
}

#[test]
fn two_people_in_one_conversation_are_told_apart() {
    for (names, expected) in [("true", "user: Name of bob: yes"), ("false", "user: yes")] {
        let model = Model::start();
        let server = Server::start(options(&model).set("RESPONDER_NAMES", names));
        let (mut ann, mut bob) = (User::new(&server, "ann"), User::new(&server, "bob"));
        let conversation = ann.start_conversation("c");
        ann.put(&format!("/config/conversation/{conversation}"), json!({"participant_ids": ["bob"]})).expect(200);
        let mut stream = ann.stream();
        ann.post_message(&conversation, "who is there?");
        let call = model.call();
        assert_eq!(sent(&call), ["user: who is there?"], "one person alone needs no name");
        call.answer("me");
        stream.next_of("output");
        bob.post_message(&conversation, "yes");
        let call = model.call();
        assert_eq!(sent(&call)[2], expected, "RESPONDER_NAMES={names}");
        assert_eq!(sent(&call)[0].contains("Name of ann: "), names == "true");
    }
}

#[test]
fn one_long_message_does_not_end_a_conversation() {
    const TOO_LONG: &str =
        r#"{"error":{"message":"This model's maximum context length is 10 tokens.","code":"context_length_exceeded"}}"#;
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let mut stream = ann.stream();
    let reject = |mut call: model::Call| {
        let head = format!("HTTP/1.1 400 x\r\nContent-Length: {}\r\n\r\n{TOO_LONG}", TOO_LONG.len());
        call.send(&head);
    };
    ann.post_message(&conversation, "one");
    model.call().answer("1");
    stream.next_of("output");
    ann.post_message(&conversation, "a long message");
    reject(model.call());
    let alone = model.call();
    assert_eq!(sent(&alone), ["user: a long message"], "the older half is dropped");
    reject(alone);
    let error = stream.next_of("output_error");
    assert!(error.data.to_string().contains("maximum context length"), "{}", error.data);
    ann.post_message(&conversation, "three");
    let call = model.call();
    assert_eq!(sent(&call), ["user: one", "assistant: 1", "user: three"]);
    call.answer("3");
    stream.next_of("output");
}

#[test]
fn the_window_is_bounded_in_tokens() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER_CONTEXT_TOKENS", 3));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let mut stream = ann.stream();
    for (text, expected) in [("aaaaaa", 1), ("bbbb", 3), ("cccccccc", 1)] {
        ann.post_message(&conversation, text);
        let call = model.call();
        assert_eq!(sent(&call).len(), expected, "{:?}", sent(&call));
        call.answer("AA");
        stream.next_of("output");
    }
}

#[test]
fn a_conversation_has_settings_of_its_own() {
    let model = Model::start();
    let server = Server::start(
        options(&model)
            .set("RESPONDER_MODELS", "large, small")
            .set("RESPONDER_SYSTEM_PROMPT", "Be kind.")
            .set("RESPONDER_HEADERS", "X-Team=a%20b,Authorization=Basic%20hidden-4711"),
    );
    let (mut ann, mut bob) = (User::new(&server, "ann"), User::new(&server, "bob"));
    let metadata = json!({
        "model": "large", "system_prompt": "Be brief.", "temperature": 0.5, "top_p": 1, "max_tokens": 9, "stop": "END",
    });
    let body = json!({"title": "c", "metadata": metadata});
    let conversation = text(&ann.post("/conversations", body).expect(200).json()["id"]);
    ann.put(&format!("/config/conversation/{conversation}"), json!({"participant_ids": ["bob"]})).expect(200);
    let mut stream = ann.stream();
    let system = json!({"role": "system", "content": "Speak Latin."});
    ann.post(&format!("/conversations/{conversation}/messages"), system).expect(200);
    ann.post_message(&conversation, "a");
    let call = model.call();
    assert_eq!(sent(&call), ["system: Be kind.\n\nBe brief.\n\nSpeak Latin.", "user: a"]);
    let options = ["model", "temperature", "top_p", "max_tokens", "stop"].map(|name| call.body[name].clone());
    assert_eq!(options, [json!("large"), json!(0.5), json!(1), json!(9), json!(["END"])]);
    assert!(call.head.contains("X-Team: a b\r\n") && call.head.contains("Authorization: Basic hidden-4711"));
    call.answer("A");
    stream.next_of("output");

    for path in [format!("/config/conversation/{conversation}"), format!("/conversations/{conversation}")] {
        for (metadata, key) in [(json!({"model": "huge"}), "model"), (json!({"temperature": "hot"}), "temperature")] {
            let rejected = ann.put(&path, json!({"metadata": metadata})).expect(422).json();
            let rule = rejected["error"]["details"]["metadata"].as_str().expect("a rule");
            assert!(rule.starts_with(key), "{rule}");
            bob.put(&path, json!({"metadata": metadata})).expect(403);
        }
        bob.put(&path, json!({"metadata": {"stop": null}})).expect(403);
        bob.put(&path, json!({"metadata": {"colour": "blue"}})).expect(200);
        ann.put(&path, json!({"metadata": {"model": null, "temperature": null, "stop": null}})).expect(200);
    }
    ann.post("/conversations", json!({"title": "c", "metadata": {"top_p": 2}})).expect(422);
    ann.post_message(&conversation, "b");
    let call = model.call();
    assert_eq!(call.body["model"], "small");
    assert!(call.body.get("temperature").is_none() && call.body.get("stop").is_none(), "{}", call.body);
    assert!(!server.log().contains("hidden"), "no value of a field is in a log");
}

//! What a message shows of its answer, messages that are answered again, and the usage of tokens.

use super::*;
use crate::common::assert_error;

#[test]
fn a_message_shows_what_became_of_its_answer() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let mut call = model.call();
    assert_eq!(states(&mut ann, &conversation), [json!({"status": "queued"})]);
    call.begin().say("half");
    let mut reading = Reading::default();
    reading.until(&mut stream, "half");
    let id = reading.message_id.clone();
    assert_eq!(states(&mut ann, &conversation), [json!({"status": "streaming", "message_id": id})]);
    call.finish();
    reading.until_output(&mut stream);
    let state = json!({"status": "complete", "message_id": id});
    assert_eq!(states(&mut ann, &conversation), std::slice::from_ref(&state));
    let asked = text(&messages(&mut ann, &conversation)[0]["id"]);
    let one = ann.get(&format!("/conversations/{conversation}/messages/{asked}")).expect(200).json();
    assert_eq!(one["answer"], state);
    let view = ann.get(&format!("/conversations/{conversation}")).expect(200).json();
    assert_eq!(view["messages"][0]["answer"], state);
    let list = ann.get("/conversations?include=messages").expect(200).json();
    assert_eq!(list[0]["messages"][0]["answer"], state);
    assert!(view["messages"][1]["answer"].is_null(), "an answer has no answer");
    for bad in [
        format!("/conversations/{conversation}/messages?include=all"),
        format!("/conversations/{conversation}/messages/{asked}?include="),
    ] {
        assert_error(&ann.get(&bad), 422, "validation_error");
    }
}

#[test]
fn a_message_is_answered_again() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let asked = text(&messages(&mut ann, &conversation)[0]["id"]);
    let path = format!("/conversations/{conversation}/messages/{asked}/answer");
    let mut call = model.call();
    assert_error(&ann.post(&path, json!({})), 409, "conflict");
    call.begin().say("first");
    call.finish();
    let first = text(&Reading::default().until_output(&mut stream).data["data"]["message_id"]);

    let again = |ann: &mut User| ann.request("POST", &path).header("Idempotency-Key", "again").send();
    let queued = again(&mut ann).expect(202);
    assert_eq!(queued.json(), json!({"status": "queued", "reply_to": asked}));
    let replayed = again(&mut ann).expect(202);
    assert_eq!((replayed.json(), replayed.header("Idempotent-Replayed")), (queued.json(), Some("true")));
    let updated = stream.next_own();
    assert_eq!((updated.kind(), &updated.data["data"]["status"]), ("message_updated", &json!("superseded")));
    assert_eq!(updated.data["data"]["message_id"], json!(first));
    let call = model.call();
    assert_eq!(call.turns().len(), 1, "the superseded answer is not sent: {:?}", call.turns());
    call.answer("second");
    let output = Reading::default().until_output(&mut stream);
    assert_output(&output, "second", "complete");
    assert_eq!(output.data["data"]["reply_to"], json!(asked));
    assert_eq!(
        said(&mut ann, &conversation),
        lines(&[
            ("user", "Hello?", "complete"),
            ("assistant", "first", "superseded"),
            ("assistant", "second", "complete")
        ])
    );
    assert!(model.call_by_now().is_none(), "a repeated request asks for one answer");
    for (id, status) in [(first, 422), ("0190c42e-8d3f-7123-9abc-0123456789ab".to_owned(), 404)] {
        let path = format!("/conversations/{conversation}/messages/{id}/answer");
        assert_eq!(ann.post(&path, json!({})).status, status);
    }
}

#[test]
fn usage_is_reported_to_the_user_and_the_operator() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    model.call().answer("one");
    assert_output(&Reading::default().until_output(&mut stream), "one", "complete");
    let stored = messages(&mut ann, &conversation)[1]["metadata"].clone();
    let sums = json!({
        "answers": 1, "prompt_tokens": stored["prompt_tokens"].as_u64().unwrap_or(0),
        "completion_tokens": stored["completion_tokens"].as_u64().unwrap_or(0),
        "reasoning_tokens": 0, "cached_tokens": 0,
    });
    for by in ["day", "conversation", "model"] {
        let report = ann.get(&format!("/usage?by={by}")).expect(200).json();
        assert_eq!(report["total"], sums, "{by}");
        let mut group = report["usage"][0].clone();
        let key = if by == "conversation" { "conversation_id" } else { by };
        let value = group.as_object_mut().expect("an object").remove(key).expect("the key");
        assert_eq!(group, sums, "{by}");
        assert!(by != "conversation" || value == json!(conversation));
    }
    assert_eq!(User::new(&server, "eve").get("/usage").expect(200).json()["usage"], json!([]));
    assert_error(&ann.get("/usage?by=user"), 422, "validation_error");
    ann.delete(&format!("/conversations/{conversation}")).expect(200);
    assert_eq!(ann.get("/usage").expect(200).json()["total"], sums, "a deletion gives nothing back");
}

#[test]
fn a_message_beyond_the_quota_of_the_day_is_rejected_with_the_time_to_wait() {
    let model = Model::start();
    // Each answer of the model uses 12 tokens.
    let server = Server::start(options(&model).set("RESPONDER_TOKENS_PER_USER_PER_DAY", "12"));
    let (mut ann, conversation, mut stream) = start_question(&server);
    model.call().answer("one");
    let output = Reading::default().until_output(&mut stream);
    let asked = text(&output.data["data"]["reply_to"]);
    let messages_path = format!("/conversations/{conversation}/messages");
    let answer_path = format!("{messages_path}/{asked}/answer");
    let message = json!({"content": "more"});
    for (path, body) in [(&*messages_path, message.clone()), ("/input", message), (&answer_path, json!({}))] {
        let rejected = ann.post(path, body);
        assert_error(&rejected, 429, "quota_exceeded");
        let seconds: u64 = rejected.header("Retry-After").and_then(|it| it.parse().ok()).expect("seconds");
        assert!((1..=24 * 60 * 60).contains(&seconds), "{seconds}");
    }
    assert_eq!(messages(&mut ann, &conversation).len(), 2, "a rejected request changes nothing");
    assert!(model.call_by_now().is_none());
}

//! What a request contains: the conversation's settings, fields of the operator, and fewer messages when the model reports
//! that there are too many.

use super::*;
use cortex_core::internals::{AnswerSettings, Completion, Failure, UpstreamField};
use serde_json::{Value, json};

/// Asks with this history; returns the result of the answer.
fn ask_with(upstream: &Arc<Upstream>, history: &History) -> Result<Completion, Failure> {
    ask_about(upstream, history).1
}

fn too_long() -> Vec<Step> {
    let error = json!({"error": {
        "code": 400,
        "message": "the request exceeds the available context size, try increasing it",
        "type": "exceed_context_size_error",
    }});
    say(with_length(400, "", &error.to_string()))
}

fn sent(body: &Value) -> Vec<&str> {
    let messages = body["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["content"].as_str().expect("text")).collect()
}

#[test]
fn a_context_that_is_too_long_is_sent_again_without_its_older_half() {
    let standin = StandIn::start(vec![too_long(), too_long(), say(until_close(&good_events()))]);
    let upstream = upstream(&standin);
    ask_with(&upstream, &history(&["a", "b", "c", "d", "e"])).expect("the rest fits");
    let requests = standin.requests();
    let sent: Vec<_> = requests.iter().map(|request| sent(&request.body)).collect();
    assert_eq!(sent, [vec!["a", "b", "c", "d", "e"], vec!["c", "d", "e"], vec!["e"]]);
}

#[test]
fn a_message_that_is_too_long_alone_fails_once() {
    let standin = StandIn::start(vec![too_long()]);
    let upstream = upstream(&standin);
    let failure = ask_with(&upstream, &history(&["a", "b", "c"])).expect_err("nothing fits");
    assert!(failure.message.contains("exceeds the available context size"), "{failure:?}");
    let requests = standin.requests();
    assert_eq!(requests.iter().map(|request| sent(&request.body).len()).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn another_error_leaves_the_context_alone() {
    let error = json!({"error": {"message": "the temperature must be positive"}}).to_string();
    let standin = StandIn::start(vec![say(with_length(400, "", &error))]);
    ask_with(&upstream(&standin), &history(&["a", "b", "c"])).expect_err("it is rejected");
    assert_eq!(standin.requests().len(), 1);
}

#[test]
fn a_conversation_chooses_among_the_models() {
    let standin = StandIn::start(vec![say(until_close(&good_events()))]);
    let upstream = upstream(&standin);
    for model in [None, Some("standin-2"), Some("no longer served")] {
        let settings = AnswerSettings { model: model.map(Into::into), ..AnswerSettings::default() };
        ask_with(&upstream, &History { settings, ..history(&["a"]) }).expect("an answer");
    }
    let requests = standin.requests();
    let models: Vec<_> = requests.iter().map(|request| request.body["model"].as_str().expect("a model")).collect();
    assert_eq!(models, ["standin-1", "standin-2", "standin-1"]);
}

#[test]
fn fields_of_the_operator_are_sent() {
    let standin = StandIn::start(vec![say(until_close(&good_events()))]);
    let field = |name: &str, value: &str| UpstreamField { name: name.into(), value: Secret::new(value) };
    let headers = vec![field("X-Team", "chat"), field("authorization", "Basic eA=="), field("user-agent", "mine/1")];
    let settings = UpstreamSettings { headers, ..settings(format!("http://{}/v1", standin.addr)) };
    ask(&Arc::new(Upstream::new(settings).expect("valid settings"))).1.expect("an answer");
    let requests = standin.requests();
    let fields: Vec<&str> = requests[0].head.lines().collect();
    for field in ["X-Team: chat", "authorization: Basic eA==", "user-agent: mine/1"] {
        assert_eq!(fields.iter().filter(|other| **other == field).count(), 1, "{field} in {fields:?}");
    }
    assert!(!requests[0].head.contains(KEY) && !requests[0].head.contains("cortex-core"), "{fields:?}");
}

//! The responder that echoes messages, and the choice of a responder.

use super::*;
use crate::common::{assert_error, assert_invalid, assert_time, assert_uuid};

fn echoing() -> Server {
    Server::start(Options::new().unset("RESPONDER"))
}

#[test]
fn a_development_server_echoes_messages() {
    let server = echoing();
    let mut ann = User::new(&server, "ann");
    let mut stream = ann.stream();
    let answer = ann.post("/input", json!({"content": " Hello, \u{1f600}\n"})).expect(200).json();
    let asked = text(&answer["data"]["message_id"]);
    assert_eq!(stream.next_of("input").content(), " Hello, \u{1f600}\n");
    let output = stream.next_own();
    assert_output(&output, " Hello, \u{1f600}\n", "complete");
    let data = &output.data["data"];
    assert_eq!((&data["reply_to"], &output.data["user_id"]), (&json!(asked), &json!("responder:echo")));
    assert_uuid(&data["message_id"]);
    assert_time(&data["timestamp"]);
    let stored = messages(&mut ann, "default").pop().expect("the answer");
    assert_eq!((&stored["id"], &stored["sender_id"]), (&data["message_id"], &json!("responder:echo")));
    assert_eq!((&stored["status"], &stored["role"]), (&json!("complete"), &json!("assistant")));
    assert_eq!(stored["metadata"], json!({"responder": "echo"}));
}

#[test]
fn many_messages_are_answered_once_each_and_in_order() {
    const COUNT: usize = 50;
    let server = echoing();
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("many");
    let mut stream = ann.stream();
    let ids: Vec<String> = (0..COUNT).map(|n| ann.post_message(&conversation, &n.to_string())).collect();
    let mut answered = Vec::new();
    while answered.len() < COUNT {
        let output = stream.next_of("output");
        assert_eq!(output.content(), answered.len().to_string());
        answered.push(text(&output.data["data"]["reply_to"]));
    }
    assert_eq!(answered, ids);
    assert_eq!(messages(&mut ann, &conversation).len(), 2 * COUNT);
    // A second answer would arrive before this one.
    ann.post_message(&conversation, "the end");
    assert_eq!(stream.next_own().kind(), "input");
    assert_output(&stream.next_own(), "the end", "complete");
}

#[test]
fn only_messages_of_users_are_answered() {
    let server = echoing();
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("roles");
    let mut stream = ann.stream();
    for role in ["assistant", "system"] {
        let body = json!({"content": format!("as {role}"), "role": role});
        ann.post(&format!("/conversations/{conversation}/messages"), body).expect(200);
    }
    ann.post_message(&conversation, "as user");
    let output = stream.next_of("output");
    assert_output(&output, "as user", "complete");
    ann.post_message(&conversation, "again");
    let kinds: Vec<String> = (0..2).map(|_| stream.next_own().content().to_owned()).collect();
    assert_eq!(kinds, ["again", "again"], "the answer itself was not answered");
    assert_eq!(messages(&mut ann, &conversation).len(), 6);
}

#[test]
fn a_server_without_a_responder_does_not_answer() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let mut stream = ann.stream();
    ann.say("default", "one");
    ann.say("default", "two");
    let before = stream.before_message("two");
    assert!(before.iter().all(|event| !event.kind().starts_with("output")), "{before:?}");
    assert!(!cancel(&mut ann, "default"));
    assert_eq!(said(&mut ann, "default"), lines(&[("user", "one", "complete"), ("user", "two", "complete")]));
}

#[test]
fn the_owner_chooses_among_the_allowed_responders() {
    let model = Model::start();
    let server = Server::start(options(&model).set("RESPONDER", "none").set("RESPONDERS_ALLOWED", "echo,openai"));
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let path = format!("/config/conversation/{conversation}");
    let messages_path = format!("/conversations/{conversation}");
    let choose = |name: &str| json!({"metadata": {"responder": name}});

    let mut stream = ann.stream();
    ann.say(&conversation, "to nobody");
    for path in [&path, &messages_path] {
        owner.put(path, choose("echo")).expect(200);
        assert_error(&ann.put(path, choose("none")), 403, "forbidden");
        for name in ["parrot", "", "ECHO"] {
            assert_invalid(&owner.put(path, choose(name)), &["metadata"]);
        }
        assert_invalid(&owner.put(path, json!({"metadata": {"responder": 1}})), &["metadata"]);
    }
    let with_wrong = json!({"workspace_id": workspace, "topic": "t", "metadata": {"responder": "parrot"}});
    assert_invalid(&owner.post("/config/conversation", with_wrong), &["metadata"]);

    ann.say(&conversation, "to echo");
    assert_output(&stream.next_of("output"), "to echo", "complete");
    owner.put(&path, choose("openai")).expect(200);
    ann.say(&conversation, "to the model");
    model.call().answer("from the model");
    let output = Reading::default().until_output_past_changes(&mut stream);
    assert_output(&output, "from the model", "complete");
    assert_eq!(output.data["user_id"], "responder:openai");
    owner.put(&path, choose("none")).expect(200);
    ann.say(&conversation, "to nobody again");
    owner.put(&path, json!({"metadata": {"responder": null}})).expect(200);
    ann.say(&conversation, "the end");
    let before = stream.before_message("the end");
    assert!(before.iter().all(|event| !event.kind().starts_with("output")), "{before:?}");
}

impl Reading {
    /// Reads to the end of the answer, skipping events of the conversation itself.
    #[track_caller]
    fn until_output_past_changes(&mut self, stream: &mut Stream) -> Event {
        loop {
            let event = stream.next_own();
            match event.kind() {
                "input" | "conversation_updated" => {}
                "output" => return event,
                _ => self.take(&event),
            }
        }
    }
}

//! A streaming answer: deltas, snapshots, the lists meanwhile, and visibility.

use super::*;
use crate::common::assert_error;

#[test]
fn concatenated_deltas_are_the_answer() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let (mut stream, mut named) = (ann.stream(), ann.stream_with("named=true"));
    let asked = ann.post_message(&conversation, "Hello?");
    let mut call = model.call();
    let mut reading = Reading::default();
    let mut expected = String::new();
    call.begin();
    for piece in ["H\u{e9}", "llo ", "\u{1f600}", "\n\ndata: x", "\"quoted\""] {
        call.say(piece);
        expected += piece;
        reading.until(&mut stream, &expected);
        let stored = messages(&mut ann, &conversation).pop().expect("the answer so far");
        assert_eq!((&stored["status"], &stored["role"]), (&json!("streaming"), &json!("assistant")));
        assert!(expected.starts_with(stored["content"].as_str().expect("text")), "{stored}");
        assert_eq!(Some(text(&stored["id"])), reading.message_id);
    }
    call.finish();
    let output = reading.until_output(&mut stream);
    assert_output(&output, &reading.text, "complete");
    assert_eq!(
        (reading.text.as_str(), reading.snapshots),
        (expected.as_str(), 0),
        "a stream open from the start gets no snapshot"
    );
    assert!(reading.deltas >= 5, "each delta arrives before the next one is sent");
    assert_eq!(output.data["data"]["reply_to"], json!(asked));
    assert_eq!(Some(text(&output.data["data"]["message_id"])), reading.message_id);

    let stored = messages(&mut ann, &conversation);
    assert_eq!(stored.len(), 2);
    let answer = &stored[1];
    assert_eq!((&answer["status"], &answer["content"]), (&json!("complete"), &json!(expected)));
    let metadata = json!({"responder": "openai", "model": model::NAME, "finish_reason": "stop", "prompt_tokens": 7,
        "completion_tokens": 5});
    assert_eq!(answer["metadata"], metadata);
    assert_eq!(output.data["metadata"], metadata);

    let mut again = Reading::default();
    assert_eq!(again.until_output(&mut named).name.as_deref(), Some("output"));
    assert_eq!(again.text, expected);
    let mut replay = ann.stream_with("last_event_id=0");
    let replayed: Vec<String> = std::iter::from_fn(|| Some(replay.next()))
        .take_while(|event| event.kind() != "caught_up")
        .map(|event| event.kind().to_owned())
        .collect();
    assert_eq!(replayed.iter().filter(|kind| *kind == "output").count(), 1, "{replayed:?}");
    assert!(!replayed.iter().any(|kind| kind == "output_delta" || kind == "output_snapshot"), "{replayed:?}");
}

#[test]
fn a_stream_opened_midway_gets_a_snapshot_and_the_following_deltas() {
    let model = Model::start();
    // With one event loop and with several, so that each loop serves a stream.
    for workers in [1, 4] {
        let server = Server::start(options(&model).set("WORKERS", workers));
        let mut ann = User::new(&server, "ann");
        let conversation = ann.start_conversation("c");
        let mut first = (ann.stream(), Reading::default());
        ann.post_message(&conversation, "Hello?");
        let mut call = model.call();
        let mut expected = String::new();
        call.begin();
        let mut readers = Vec::new();
        for round in 0..6 {
            let piece = format!("piece {round}; ");
            call.say(&piece);
            expected += &piece;
            first.1.until(&mut first.0, &expected);
            let mut late = (ann.stream(), Reading::default());
            late.1.until(&mut late.0, &expected);
            let got = (late.1.snapshots, late.1.deltas);
            // Another event loop may receive the newest delta slightly later than the one of `first`.
            let one_behind = workers > 1 && [(1, 1), (0, 1)].contains(&got);
            assert!(got == (1, 0) || one_behind, "one snapshot has the whole text: {got:?}");
            let query = format!("types=output&conversation_id={conversation}");
            let mut filtered = (ann.stream_with(&query), Reading::default());
            filtered.1.until(&mut filtered.0, &expected);
            readers.extend([late, filtered]);
        }
        call.say("the end");
        expected += "the end";
        call.finish();
        readers.push(first);
        for (stream, reading) in &mut readers {
            let output = reading.until_output(stream);
            assert_output(&output, &expected, "complete");
            assert_eq!(reading.text, expected);
        }
    }
}

#[test]
fn a_stream_resumed_midway_gets_its_replay_and_then_a_snapshot() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (ann, _, mut stream) = start_question(&server);
    let mut call = model.call();
    call.begin().say("so far");
    Reading::default().until(&mut stream, "so far");
    let mut late = ann.stream_with("last_event_id=0");
    assert_eq!(late.next_of("input").content(), "Hello?");
    let mut reading = Reading::default();
    reading.until(&mut late, "so far");
    call.say(" so good");
    call.finish();
    assert_output(&reading.until_output(&mut late), "so far so good", "complete");
    assert_eq!(reading.text, "so far so good");
}

#[test]
fn answer_events_follow_the_filters_and_reach_no_outsider() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut owner, mut ann, mut eve) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "eve"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let other = owner.create_conversation(&workspace, "t", &["ann"]);
    let mut outputs = ann.stream_with("types=output");
    let mut elsewhere = ann.stream_with(&format!("conversation_id={other}"));
    let mut inputs = ann.stream_with("types=input");
    let mut of_workspace = owner.stream_with(&format!("workspace_id={workspace}"));
    let mut of_eve = eve.stream();
    ann.say(&conversation, "Hello?");
    let mut call = model.call();
    call.begin().say("one");
    let mut reading = Reading::default();
    reading.until(&mut outputs, "one");
    call.say(" two");
    reading.until(&mut outputs, "one two");
    call.finish();
    let output = outputs.next_own();
    assert_output(&output, "one two", "complete");
    let mut seen = Reading::default();
    assert_output(&seen.until_output(&mut of_workspace), "one two", "complete");
    assert_eq!(seen.text, "one two");

    owner.put(&format!("/config/conversation/{other}"), json!({"metadata": {"responder": "none"}})).expect(200);
    ann.say(&other, "elsewhere");
    let before = elsewhere.before_message("elsewhere");
    assert!(before.iter().all(|event| event.kind() == "conversation_updated"), "{before:?}");
    assert_eq!(inputs.before_message("elsewhere").len(), 1, "the question alone");
    let mailbox = eve.start_conversation("own");
    eve.put(&format!("/conversations/{mailbox}"), json!({"metadata": {"responder": "none"}})).expect(200);
    eve.post_message(&mailbox, "to myself");
    let before = of_eve.before_message("to myself");
    assert!(before.iter().all(|event| !event.kind().starts_with("output")), "{before:?}");
    let id = text(&output.data["data"]["message_id"]);
    assert_error(&eve.get(&format!("/conversations/{conversation}/messages/{id}")), 404, "not_found");
}

#[test]
fn participants_added_or_removed_midway_see_only_their_part() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut owner, mut ann, mut bob) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "bob"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let (mut of_owner, mut of_ann, mut of_bob) = (owner.stream(), ann.stream(), bob.stream());
    owner.say(&conversation, "Hello?");
    let mut call = model.call();
    call.begin().say("before ");
    let (mut by_ann, mut by_bob) = (Reading::default(), Reading::default());
    Reading::default().until(&mut of_owner, "before ");
    by_ann.until(&mut of_ann, "before ");
    let path = format!("/config/conversation/{conversation}");
    owner.put(&path, json!({"participant_ids": ["bob"]})).expect(200);
    assert_eq!(of_ann.next_own().kind(), "conversation_left");
    assert_eq!(of_bob.next_own().kind(), "conversation_updated");
    call.say("after");
    by_bob.until(&mut of_bob, "before after");
    assert!(by_bob.snapshots <= 1);
    call.finish();
    assert_output(&by_bob.until_output(&mut of_bob), "before after", "complete");
    let mailbox = ann.start_conversation("own");
    ann.put(&format!("/conversations/{mailbox}"), json!({"metadata": {"responder": "none"}})).expect(200);
    ann.post_message(&mailbox, "to myself");
    let before = of_ann.before_message("to myself");
    assert!(before.iter().all(|event| !event.kind().starts_with("output")), "{before:?}");
    drop(bob.get(&path).expect(200));
}

#[test]
fn the_model_receives_the_instruction_and_the_history() {
    let model = Model::start();
    let server = Server::start(
        options(&model)
            .set("RESPONDER_SYSTEM_PROMPT", "Be kind.")
            .set("RESPONDER_HISTORY", "3")
            .set("RESPONDER_API_KEY", "sk-hidden-4711"),
    );
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let mut stream = ann.stream();
    for n in 0..3 {
        ann.post_message(&conversation, &format!("question {n}"));
        let call = model.call();
        assert!(call.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", call.head);
        assert!(call.head.contains("Authorization: Bearer sk-hidden-4711"));
        assert_eq!((&call.body["model"], &call.body["stream"]), (&json!("small"), &json!(true)));
        let mut expected = vec![("system".to_owned(), "Be kind.".to_owned())];
        let mut said: Vec<_> = (0..n)
            .flat_map(|n| {
                [("user".to_owned(), format!("question {n}")), ("assistant".to_owned(), format!("answer {n}"))]
            })
            .chain([("user".to_owned(), format!("question {n}"))])
            .collect();
        // Of four texts the first is the assistant's, and no context begins with the assistant.
        expected.extend(said.split_off(said.len().saturating_sub(3)));
        assert_eq!(call.turns(), expected);
        call.answer(&format!("answer {n}"));
        stream.next_of("output");
    }
    assert!(!server.log().contains("hidden"), "the key is in no log");
}

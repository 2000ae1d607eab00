//! The server exits during an answer, by a kill or gracefully.

use super::*;
use crate::common::token::token;

/// The events after `last_event_id` up to the message with `content`.
#[track_caller]
fn missed(server: &Server, last_event_id: &str, content: &str) -> Vec<Event> {
    let authorization = format!("Bearer {}", token("ann"));
    let fields = [("Authorization", authorization.as_str()), ("Last-Event-ID", last_event_id)];
    Stream::open_with(server.addr, "", &fields).before_message(content)
}

#[test]
fn a_kill_during_an_answer_leaves_one_message_and_one_event() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    for ending in ["kill", "two kills", "good order"] {
        let (mut ann, conversation, mut stream) = start_question(&server);
        let last = ann.get(&format!("/conversations/{conversation}")).expect(200).number("X-Last-Event-Id").to_string();
        let mut call = model.call();
        call.begin().say("the first half");
        let mut reading = Reading::default();
        reading.until(&mut stream, "the first half");
        match ending {
            "good order" => assert_eq!(server.stop().code(), Some(0)),
            _ => server.kill(),
        }
        drop(stream);
        server.restart();
        if ending == "two kills" {
            server.kill();
            server.restart();
        }
        ann.follow(&server);
        // Both messages are in one conversation, so the interrupted answer comes first.
        ann.post_message(&conversation, "And now?");
        let next = model.call();
        assert_eq!(next.prompt(), "And now?", "a shown answer is not restarted");
        next.answer("whole");
        let events = missed(&server, &last, "whole");
        let outputs: Vec<&Event> = events.iter().filter(|event| event.kind() == "output").collect();
        assert_eq!(outputs.len(), 1, "{ending}: {events:?}");
        assert_output(outputs[0], "the first half", "interrupted");
        assert_eq!(Some(text(&outputs[0].data["data"]["message_id"])), reading.message_id);
        assert_eq!(
            said(&mut ann, &conversation),
            lines(&[
                ("user", "Hello?", "complete"),
                ("assistant", "the first half", "interrupted"),
                ("user", "And now?", "complete"),
                ("assistant", "whole", "complete"),
            ]),
            "{ending}"
        );
    }
}

#[test]
fn an_answer_without_text_restarts_after_any_exit() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    for ending in ["kill", "kill after the head", "good order"] {
        let (mut ann, conversation, stream) = start_question(&server);
        let last = ann.get(&format!("/conversations/{conversation}")).expect(200).number("X-Last-Event-Id").to_string();
        let mut call = model.call();
        match ending {
            "good order" => assert_eq!(server.stop().code(), Some(0)),
            "kill" => server.kill(),
            _ => {
                call.begin();
                server.kill();
            }
        }
        drop(stream);
        server.restart();
        ann.follow(&server);
        let again = model.call();
        assert_eq!(again.prompt(), "Hello?");
        again.answer("whole");
        let mut stream = ann.stream_with(&format!("last_event_id={last}"));
        assert_output(&stream.next_of("output"), "whole", "complete");
        ann.post_message(&conversation, "And now?");
        model.call().answer("too");
        assert_eq!(missed(&server, &last, "too").iter().filter(|event| event.kind() == "output").count(), 1);
        assert_eq!(
            said(&mut ann, &conversation),
            lines(&[
                ("user", "Hello?", "complete"),
                ("assistant", "whole", "complete"),
                ("user", "And now?", "complete"),
                ("assistant", "too", "complete"),
            ]),
            "{ending}"
        );
    }
}

#[test]
fn shown_text_is_on_disk_within_about_a_second() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let mut call = model.call();
    let mut reading = Reading::default();
    let mut expected = String::new();
    call.begin();
    // Stored after a delay, although the model sends nothing more.
    for piece in ["one", " two", " three"] {
        call.say(piece);
        expected += piece;
        reading.until(&mut stream, &expected);
        while messages(&mut ann, &conversation)[1]["content"] != json!(expected) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    server.kill();
    server.restart();
    ann.follow(&server);
    let mut stream = ann.stream_with("last_event_id=0");
    assert_output(&stream.next_of("output"), "one two three", "interrupted");
}

#[test]
fn waiting_answer_jobs_survive_a_kill() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let mut ann = User::new(&server, "ann");
    let conversations: Vec<String> = (0..3).map(|n| ann.start_conversation(&format!("c{n}"))).collect();
    for n in 0..4 {
        for conversation in &conversations {
            ann.post_message(conversation, &format!("question {n}"));
        }
    }
    let running: Vec<_> = conversations.iter().map(|_| model.call()).collect();
    server.kill();
    drop(running);
    while model.call_by_now().is_some() {}
    server.restart();
    ann.follow(&server);
    let mut stream = ann.stream();
    // Some may have been answered before the stream was open; the lists have all of them at the end.
    for _ in 0..12 {
        let call = model.call();
        let answer = format!("to {}", call.prompt());
        call.answer(&answer);
    }
    let expected: Vec<_> = (0..4).map(|n| format!("to question {n}")).collect();
    for conversation in &conversations {
        let answers = |ann: &mut User| -> Vec<String> {
            let list = said(ann, conversation);
            list.into_iter()
                .filter(|(role, _, status)| role == "assistant" && status == "complete")
                .map(|l| l.1)
                .collect()
        };
        while answers(&mut ann).len() < 4 {
            stream.next();
        }
        assert_eq!(answers(&mut ann), expected);
        assert_eq!(messages(&mut ann, conversation).len(), 8);
    }
    assert!(model.call_by_now().is_none());
}

#[test]
fn jobs_of_a_disabled_responder_are_closed() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let (mut ann, shown, mut stream) = start_question(&server);
    let mut call = model.call();
    call.begin().say("half");
    Reading::default().until(&mut stream, "half");
    let hidden = ann.start_conversation("hidden");
    ann.post_message(&hidden, "And here?");
    let other_call = model.call();
    server.kill();
    drop((call, other_call));
    server.set("RESPONDER", "none");
    server.restart();
    ann.follow(&server);
    let mut stream = ann.stream_with("last_event_id=0");
    let (mut output, mut failure) = (None, None);
    while output.is_none() || failure.is_none() {
        let event = stream.next_own();
        match event.kind() {
            "output" => output = Some(event),
            "output_error" => failure = Some(event),
            _ => {}
        }
    }
    assert_output(&output.expect("there is one"), "half", "interrupted");
    assert_eq!(failure.expect("there is one").data["data"]["conversation_id"], json!(hidden));
    assert_eq!(said(&mut ann, &shown)[1].2, "interrupted");
    assert_eq!(messages(&mut ann, &hidden).len(), 1);
}

#[test]
fn a_graceful_shutdown_closes_running_answers() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let mut call = model.call();
    call.begin().say("half");
    Reading::default().until(&mut stream, "half");
    let hidden = ann.start_conversation("hidden");
    ann.post_message(&hidden, "And here?");
    let silent = model.call();
    assert_eq!(server.stop().code(), Some(0));
    call.wait_until_closed();
    silent.wait_until_closed();
    let open = database::number(&server.database(), "SELECT count(*) FROM answer_jobs");
    assert_eq!(open, 1, "only the job without text is open");
    server.restart();
    ann.follow(&server);
    assert_eq!(
        said(&mut ann, &conversation),
        lines(&[("user", "Hello?", "complete"), ("assistant", "half", "interrupted")])
    );
    model.call().answer("after all");
    assert_output(&ann.stream_with("last_event_id=0&types=output").next_of("output"), "half", "interrupted");
}

//! The events of real streams, validated against their schemas.

use super::{directory, python, run};
use crate::common::sse::Parser;
use crate::common::token::{now, token_with};
use crate::common::user::text;
use crate::common::{Connection, Server, Stream, User};
use cortex_core::internals::wire::event;
use cortex_core::internals::{
    AnswerPhase, AnswerStarted, AnswerStatusChange, ConversationId, EventNumber, JobId, LiveAnswer, MessageId, UserId,
    WallTime, WorkspaceId,
};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

#[test]
fn every_event_matches_the_description() {
    let Some(python) = python() else { return };
    let mut server = Server::with(&[
        ("HEARTBEAT_INTERVAL_SECONDS", "1"),
        ("RESPONDER", "echo"),
        ("RESPONDERS_ALLOWED", "echo,openai"),
        // Nothing listens there, so answers fail.
        ("RESPONDER_URL", "http://127.0.0.1:9/v1"),
        ("RESPONDER_MODEL", "none"),
    ]);
    let mut owner = User::new(&server, "owner");
    let mut guest = Stream::open(server.addr, &User::new(&server, "guest").token, "");
    let mut events = events_of_all_types(&mut owner);
    let end = owner.create_workspace("the end");
    owner.delete(&format!("/config/workspace/{end}")).expect(200);

    // A replay without deleted events, beyond the shutdown, and with an expiring token.
    let mut replay = Stream::open(server.addr, &owner.token, "last_event_id=0");
    let mut lost = Stream::open_with(
        server.addr,
        "",
        &[("Authorization", &format!("Bearer {}", owner.token)), ("Last-Event-ID", "no number")],
    );
    let short = token_with(json!({"oid": "owner", "exp": now() - 28}));
    let mut expiring = Stream::open(server.addr, &short, "");
    events.extend([&replay, &lost, &expiring].map(|stream| stream.established.data.clone()));
    events.push(lost.next_of("gap").data);
    events.extend(expiring.until_end().into_iter().map(|event| event.data));
    events.push(replay.next_of("caught_up").data);
    events.push(replay.next_of("heartbeat").data);
    server.stop();
    for stream in [&mut replay, &mut guest] {
        events.extend(stream.until_end().into_iter().map(|event| event.data));
    }
    events.extend(ephemeral_events());
    events.push(unavailable_event());

    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let place = directory("events").join("events.jsonl");
    fs::write(&place, lines.join("\n")).expect("the events can be written");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/contract/events.py");
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi.json");
    run(Command::new(python).args([script, document]).arg(place));
}

/// The event of a stream that is requested while the server drains.
fn unavailable_event() -> Value {
    let mut server = Server::with(&[("WORKERS", "1")]);
    let mut owner = User::new(&server, "owner");
    let mut stream = owner.stream();
    let mut late = Connection::open(server.addr);
    late.send(format!("GET /output/stream HTTP/1.1\r\nHost: {}\r\n", server.addr));
    // The event loop has read the first bytes of the late request before it responds to this one.
    owner.say("default", "Hello");
    server.process().signal(libc::SIGTERM);
    stream.next_of("server_shutdown");
    late.send(format!("Authorization: Bearer {}\r\n\r\n", owner.token));
    let mut parser = Parser::default();
    parser.feed(&late.response("GET").expect(200).body);
    parser.events.pop_front().expect("one event").data
}

/// Creates, changes and deletes a resource of each kind; returns the events of the owner's stream.
fn events_of_all_types(owner: &mut User) -> Vec<Value> {
    let mut stream = owner.stream();
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["guest"]);
    let said = text(&owner.say(&conversation, "Hello")["message_id"]);
    let mut events = Vec::new();
    loop {
        let event = stream.next();
        events.push(event.data.clone());
        if event.kind() == "output" {
            break;
        }
    }
    let (config_path, conversation_path) =
        (format!("/config/conversation/{conversation}"), format!("/conversations/{conversation}"));
    owner.put(&format!("/config/workspace/{workspace}"), json!({"metadata": {"a": 1}})).expect(200);
    owner
        .put(&format!("{conversation_path}/messages/{said}"), json!({"content": "Hello, all", "metadata": {"b": null}}))
        .expect(200);
    owner.delete(&format!("{conversation_path}/messages/{said}")).expect(200);
    owner.put(&config_path, json!({"metadata": {"responder": "openai"}, "participant_ids": []})).expect(200);
    owner.say(&conversation, "Is anybody there?");
    loop {
        let event = stream.next();
        events.push(event.data.clone());
        if event.kind() == "output_error" {
            break;
        }
    }
    owner.post(&format!("{config_path}/leave"), json!({})).expect(200);
    owner.delete(&config_path).expect(200);
    owner.delete(&format!("/config/workspace/{workspace}")).expect(200);
    loop {
        let event = stream.next();
        events.push(event.data.clone());
        if event.kind() == "workspace_deleted" {
            break;
        }
    }
    events
}

/// The ephemeral events of a growing answer, as the program writes them.
fn ephemeral_events() -> Vec<Value> {
    let id = "0190c42e-8d3f-7123-9abc-0123456789ab";
    let started = AnswerStarted {
        job: JobId::default(),
        message_id: MessageId::parse(id).expect("an id"),
        reply_to: MessageId::parse(id).expect("an id"),
        conversation_id: ConversationId::parse(id).expect("an id"),
        workspace_id: WorkspaceId::parse(id).expect("an id"),
        recipients: [].into(),
        known_at: EventNumber::default(),
        sender: UserId::new_unchecked("responder:echo"),
        correlation_id: "c".into(),
        live: LiveAnswer::default(),
    };
    let retrying = AnswerStatusChange {
        reply_to: started.reply_to,
        conversation_id: started.conversation_id,
        workspace_id: started.workspace_id,
        recipients: [].into(),
        known_at: EventNumber(0),
        sender: started.sender.clone(),
        correlation_id: "c".into(),
        phase: AnswerPhase::Retrying { in_milliseconds: 1 },
    };
    let mut lines = vec![Vec::new(); 5];
    for (line, write) in
        lines.iter_mut().zip([event::output_delta, event::output_reasoning_delta, event::output_snapshot])
    {
        write(&started, (0, 0), "Hello", WallTime(0), line);
    }
    event::answer_status(&retrying, WallTime(0), &mut lines[3]);
    event::answer_status(&AnswerStatusChange { phase: AnswerPhase::Queued, ..retrying }, WallTime(0), &mut lines[4]);
    lines.iter().map(|line| serde_json::from_slice(line).expect("an event is JSON")).collect()
}

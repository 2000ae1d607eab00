//! Events of the conversations API, live and replayed, and repeated requests.

use crate::common::sse::Event;
use crate::common::user::{ids, text};
use crate::common::{Options, Server, Stream, User, assert_error};
use serde_json::{Value, json};

/// The parts of an event that both APIs have in common.
fn summary(event: &Event) -> (u64, String, Value) {
    (event.number(), event.kind().to_owned(), event.data["data"].clone())
}

/// The replay of `user` after a number.
#[track_caller]
fn replay(user: &User, after: u64) -> Vec<Event> {
    let mut stream = user.stream_with(&format!("last_event_id={after}"));
    let mut events = Vec::new();
    loop {
        let event = stream.next();
        match event.kind() {
            "caught_up" => return events,
            "connection_established" => {}
            kind => {
                assert_ne!(kind, "gap");
                events.push(event);
            }
        }
    }
}

#[test]
fn both_apis_publish_the_same_events_live_and_replayed() {
    let mut server = Server::start(Options::new());
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let workspace = owner.create_workspace("w");
    let start = owner.stream().established.number();
    let (mut owners, mut anns) = (owner.stream(), ann.stream());
    let mut kinds = Vec::new();
    for is_conversations_api in [true, false] {
        let id = if is_conversations_api {
            let body = json!({"title": "t", "workspace_id": workspace, "initial_message": "first"});
            text(&owner.post("/conversations", body).expect(200).json()["id"])
        } else {
            let id = owner.create_conversation(&workspace, "t", &[]);
            owner.say(&id, "first");
            id
        };
        let config = format!("/config/conversation/{id}");
        owner.put(&config, json!({"participant_ids": ["ann"]})).expect(200);
        let path = if is_conversations_api { format!("/conversations/{id}") } else { config };
        let renamed = if is_conversations_api { json!({"title": "new"}) } else { json!({"topic": "new"}) };
        ann.put(&path, renamed).expect(200);
        if is_conversations_api {
            drop(ann.post_message(&id, "from ann"))
        } else {
            drop(ann.say(&id, "from ann"))
        }
        owner.delete(&path).expect(200);
        let mut seen = Vec::new();
        while seen.last().is_none_or(|event: &Event| event.kind() != "conversation_deleted") {
            seen.push(owners.next_own());
        }
        assert!(seen.iter().all(|event| event.data["data"]["conversation_id"] == id), "named by its UUID: {seen:?}");
        kinds.push(seen.iter().map(|event| (event.kind().to_owned(), event.content().to_owned())).collect::<Vec<_>>());
        let theirs: Vec<_> = std::iter::repeat_with(|| anns.next_own()).take(4).map(|event| summary(&event)).collect();
        assert_eq!(theirs, seen[2..].iter().map(summary).collect::<Vec<_>>(), "from when Ann joined");
    }
    let expected = [
        ("conversation_created", ""),
        ("input", "first"),
        ("conversation_updated", ""),
        ("conversation_updated", ""),
        ("input", "from ann"),
        ("conversation_deleted", ""),
    ];
    let expected = expected.map(|(kind, content)| (kind.to_owned(), content.to_owned()));
    assert_eq!(kinds, [expected.clone(), expected]);
    // After a deletion, only the tombstone is replayed.
    for restarted in [false, true] {
        if restarted {
            server.restart();
            owner.follow(&server);
        }
        let kinds: Vec<String> = replay(&owner, start).iter().map(|event| event.kind().to_owned()).collect();
        assert_eq!(kinds, ["conversation_deleted", "conversation_deleted"]);
    }
}

#[test]
fn message_changes_and_deletions_reach_all_participants_only() {
    let mut server = Server::start(Options::new());
    let mut owner = User::new(&server, "owner");
    let [mut ann, ben, mut outsider] = ["ann", "ben", "outsider"].map(|id| User::new(&server, id));
    let workspace = owner.create_workspace("w");
    let id = owner.create_conversation(&workspace, "t", &["ann", "ben"]);
    let start = owner.stream().established.number();
    let mut streams: Vec<Stream> = [&owner, &ann, &ben].map(User::stream).into();
    let mut outsiders = outsider.stream();

    let (kept, gone) = (ann.post_message(&id, "kept"), ann.post_message(&id, "gone"));
    let path = format!("/conversations/{id}/messages");
    let body = json!({"content": "kept, and changed", "metadata": {"k": 1}});
    let request = owner.request("PUT", &format!("{path}/{kept}")).header("X-Request-Id", "the-change").json(&body);
    let changed = request.send().expect(200);
    owner.put(&format!("{path}/{gone}"), json!({"content": "soon gone"})).expect(200);
    let deleted = ann.delete(&format!("{path}/{gone}")).expect(200);
    owner.say(&id, "the end");

    let mut live = Vec::new();
    for stream in &mut streams {
        live.push(stream.before_message("the end"));
    }
    for seen in &live {
        let kinds: Vec<&str> = seen.iter().map(Event::kind).collect();
        assert_eq!(kinds, ["input", "input", "message_updated", "message_updated", "message_deleted"]);
        let [_, _, update, _, end] = &seen[..] else { panic!() };
        assert_eq!(update.number(), changed.number("X-Event-Id"));
        assert_eq!((&update.data["user_id"], &update.data["correlation_id"]), (&json!("owner"), &json!("the-change")));
        assert_eq!(update.data["metadata"], json!({"k": 1}));
        let (message, data) = (changed.json(), &update.data["data"]);
        assert_eq!(data["message_id"], message["id"]);
        for field in
            ["conversation_id", "content", "role", "timestamp", "sender_id", "sender_name", "status", "updated_at"]
        {
            assert_eq!(data[field], message[field], "{field}");
        }
        assert_eq!((&data["sender_id"], &data["content"]), (&json!("ann"), &json!("kept, and changed")));
        assert_eq!(end.number(), deleted.number("X-Event-Id"));
        assert_eq!(end.data["data"], json!({"message_id": gone, "conversation_id": id}));
        assert_eq!(end.data["user_id"], "ann");
    }
    let filtered = ben.stream_with(&format!("last_event_id={start}&types=message_deleted")).next();
    assert_eq!(filtered.kind(), "message_deleted");
    outsider.say("default", "alone");
    let heard = outsiders.before_message("alone");
    assert!(heard.iter().all(|event| event.data["user_id"] == "outsider"), "{heard:?}");

    // A replay has the remaining messages in their current state: from the tail, and from the journal after a restart.
    for restarted in [false, true] {
        if restarted {
            server.restart();
            [&mut owner, &mut ann].into_iter().for_each(|user| user.follow(&server));
        }
        for user in [&owner, &ann] {
            let again = replay(user, start);
            let summary: Vec<_> = again.iter().map(|event| (event.kind(), event.content())).collect();
            let expected = [
                ("input", "kept, and changed"),
                ("message_updated", "kept, and changed"),
                ("message_deleted", ""),
                ("input", "the end"),
            ];
            assert_eq!(summary, expected, "restarted: {restarted}");
            assert_eq!(again[1].data, live[0][2].data, "a replayed event is unchanged");
            assert_eq!(again[2].data, live[0][4].data);
        }
    }
}

/// With one event loop and one permanent stream, a resumed stream is served from the tail.
#[test]
fn deleted_messages_disappear_from_the_tail() {
    let server = Server::with(&[("WORKERS", "1")]);
    let mut user = User::new(&server, "u");
    let id = user.start_conversation("t");
    let mut stays = user.stream();
    let start = stays.established.number();
    let path = format!("/conversations/{id}/messages");
    let (first, second) = (user.post_message(&id, "first secret"), user.post_message(&id, "second secret"));
    let middle = user.post_message(&id, "in the middle");
    user.put(&format!("{path}/{first}"), json!({"content": "first"})).expect(200);
    user.put(&format!("{path}/{first}"), json!({"content": "changed again"})).expect(200);
    user.delete(&format!("{path}/{second}")).expect(200);
    user.say(&id, "the end");
    assert_eq!(stays.before_message("the end").len(), 6, "an open stream has seen every event");
    let mut back = user.stream_with(&format!("last_event_id={start}"));
    let seen = back.before_message("the end");
    let summary: Vec<_> = seen.iter().map(|event| (event.kind(), event.content())).collect();
    let expected = [
        ("input", "changed again"),
        ("input", "in the middle"),
        ("message_updated", "changed again"),
        ("message_updated", "changed again"),
        ("message_deleted", ""),
    ];
    assert_eq!(summary, expected);
    assert!(!String::from_utf8_lossy(&back.raw).contains("secret"));
    // A stream resumed midway misses nothing that it has not seen.
    let number = seen[1].number();
    assert_eq!(seen[1].data["data"]["message_id"], middle);
    let later = user.stream_with(&format!("last_event_id={number}")).before_message("the end");
    let summary: Vec<_> = later.iter().map(|event| (event.kind(), event.content())).collect();
    assert_eq!(summary, expected[2..]);
}

#[test]
fn a_repeated_request_with_an_idempotency_key_runs_once() {
    let mut server = Server::start(Options::new());
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let workspace = owner.create_workspace("w");
    let id = owner.create_conversation(&workspace, "t", &["ann"]);
    let path = format!("/conversations/{id}/messages");
    let body = json!({"content": "once", "role": "user", "metadata": {"k": 1}});
    let send = |user: &mut User, path: &str, key: &str, body: &Value| {
        user.request("POST", path).header("Idempotency-Key", key).json(body).send()
    };
    let first = send(&mut owner, &path, "key", &body).expect(200);
    assert_eq!(first.header("Idempotent-Replayed"), None);
    for restarted in [false, true] {
        if restarted {
            server.restart();
            owner.follow(&server);
            ann.follow(&server);
        }
        let again = send(&mut owner, &path, "key", &body).expect(200);
        assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
        assert_eq!((&again.body, again.number("X-Event-Id")), (&first.body, first.number("X-Event-Id")));
    }
    let other = json!({"content": "another", "role": "user"});
    assert_error(&send(&mut owner, &path, "key", &other), 422, "idempotency_key_reused");
    assert_error(&send(&mut owner, "/input", "key", &json!({"content": "x"})), 422, "idempotency_key_reused");
    assert_error(&send(&mut owner, "/conversations/default/messages", "key", &body), 422, "idempotency_key_reused");
    assert_error(&send(&mut owner, &path, "not visible", &body), 422, "validation_error");
    // Keys are per user, and a rejection stores none.
    assert_ne!(send(&mut ann, &path, "key", &body).expect(200).body, first.body);
    let as_system = json!({"content": "x", "role": "system"});
    assert_error(&send(&mut ann, &path, "refused", &as_system), 403, "forbidden");
    send(&mut ann, &path, "refused", &body).expect(200);
    let listed = owner.get(&path).expect(200).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(3), "{listed}");

    let new = json!({"title": "made once", "initial_message": "hello"});
    let made = send(&mut owner, "/conversations", "new", &new).expect(200);
    let again = send(&mut owner, "/conversations", "new", &new).expect(200);
    assert_eq!((&again.body, again.header("Idempotent-Replayed")), (&made.body, Some("true")));
    assert_eq!(ids(&owner.get("/conversations").expect(200).json()).len(), 2);
}

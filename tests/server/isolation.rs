//! Isolation: users never see each other's data; participants and the owner see a conversation's events.

use crate::common::user::text;
use crate::common::{Options, Server, Stream, User, assert_error};
use serde_json::json;

/// A conversation in which the user is the only participant.
fn private_conversation(user: &mut User) -> String {
    let workspace = user.create_workspace(&format!("private of {}", user.id));
    user.create_conversation(&workspace, "private", &[])
}

/// Reads a stream up to a message that its user posts now: all earlier events have arrived by then.
#[track_caller]
fn everything_so_far(user: &mut User, stream: &mut Stream) -> Vec<crate::common::sse::Event> {
    let sentinel = format!("sentinel of {} {}", user.id, stream.raw.len());
    user.say("default", &sentinel);
    stream.before_message(&sentinel)
}

#[test]
fn two_users_never_see_each_others_data() {
    let server = Server::start(Options::new());
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    let (mut anns, mut bens) = (ann.stream(), ben.stream());
    let mut private = Vec::new();
    for user in [&mut ann, &mut ben] {
        let workspace = user.create_workspace(&format!("workspace of {}", user.id));
        let conversation = user.create_conversation(&workspace, &format!("topic of {}", user.id), &[]);
        user.say(&conversation, &format!("message of {}", user.id));
        user.say("default", &format!("default of {}", user.id));
        user.put(&format!("/config/workspace/{workspace}"), json!({"description": "changed"})).expect(200);
        user.put(&format!("/config/conversation/{conversation}"), json!({"topic": "changed"})).expect(200);
        let fleeting = user.create_conversation(&workspace, "fleeting", &[]);
        user.delete(&format!("/config/conversation/{fleeting}")).expect(200);
        private.push((workspace, conversation));
    }
    for (user, stream, other) in [(&mut ann, &mut anns, "ben"), (&mut ben, &mut bens, "ann")] {
        let events = everything_so_far(user, stream);
        for event in &events {
            assert_eq!(event.data["user_id"].as_str(), Some(user.id.as_str()), "{event:?}");
        }
        let kinds: Vec<&str> = events.iter().map(|event| event.kind()).collect();
        for kind in [
            "workspace_created",
            "workspace_updated",
            "conversation_created",
            "conversation_updated",
            "conversation_deleted",
            "input",
        ] {
            assert!(kinds.contains(&kind), "{kind} among {kinds:?}");
        }
        assert!(!String::from_utf8_lossy(&stream.raw).contains(&format!("of {other}")), "data of {other}");
    }
    for (user, (workspace, conversation)) in [(&mut ann, &private[1]), (&mut ben, &private[0])] {
        assert_error(&user.get(&format!("/config/workspace/{workspace}")), 403, "forbidden");
        assert_error(&user.get(&format!("/config/conversation/{conversation}")), 403, "forbidden");
        let body = json!({"content": "intruding", "conversation_id": conversation});
        assert_error(&user.post("/input", body), 403, "forbidden");
        let (workspaces, own) = (user.workspace_ids(), user.get("/users?ids=ann,ben").expect(200));
        assert!(!workspaces.contains(workspace));
        assert!(own.json()["users"].as_array().is_some_and(|users| users.len() <= 1), "{}", own.shown());
    }
}

#[test]
fn every_user_has_a_separate_default_conversation() {
    let server = Server::start(Options::new());
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    ann.say("default", "from ann");
    ben.say("default", "from ben");
    let (anns, bens) = (ann.conversation("default"), ben.conversation("default"));
    assert_ne!(anns["id"], bens["id"]);
    assert_eq!(anns["participant_ids"], json!(["ann"]));
    assert_error(&ben.get(&format!("/config/conversation/{}", text(&anns["id"]))), 403, "forbidden");
}

#[test]
fn participants_and_the_owner_all_get_a_conversations_events() {
    // With several event loops, the streams are spread over them.
    let server = Server::with(&[("WORKERS", "4")]);
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["p0", "p1", "p2"]);
    owner.post(&format!("/config/conversation/{conversation}/leave"), json!({})).expect(200);
    let mut users: Vec<User> = (0..3).map(|n| User::new(&server, &format!("p{n}"))).collect();
    users.push(owner);
    let mut streams: Vec<Stream> =
        users.iter().flat_map(|user| [user.stream(), user.stream(), user.stream()]).collect();
    let mut outsider = User::new(&server, "outsider");
    let mut outsiders = outsider.stream();
    let mut expected = Vec::new();
    for round in 0..10 {
        for user in &mut users {
            let content = format!("{round} by {}", user.id);
            let sent = user.say(&conversation, &content);
            expected.push((content, user.id.clone(), text(&sent["message_id"])));
        }
    }
    for stream in &mut streams {
        let mut last = stream.established.number();
        for (content, sender, message) in &expected {
            let event = stream.next_of("input");
            assert_eq!(event.content(), content);
            assert_eq!(event.data["user_id"].as_str(), Some(sender.as_str()), "the actor is named");
            assert_eq!(event.data["data"]["message_id"].as_str(), Some(message.as_str()));
            assert_eq!(event.data["data"]["conversation_id"].as_str(), Some(conversation.as_str()));
            assert_eq!(event.data["data"]["sender_name"], format!("Name of {sender}"));
            assert!(event.number() > last, "numbers increase");
            last = event.number();
        }
    }
    let seen = everything_so_far(&mut outsider, &mut outsiders);
    assert!(seen.iter().all(|event| event.data["user_id"] == "outsider"), "{seen:?}");
}

#[test]
fn a_removed_participant_gets_conversation_left_and_no_later_event() {
    let server = Server::start(Options::new());
    let (mut owner, mut ann, mut ben) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "ben"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann", "ben"]);
    let path = format!("/config/conversation/{conversation}");
    let (mut owners, mut anns, mut bens) = (owner.stream(), ann.stream(), ben.stream());

    owner.say(&conversation, "both hear this");
    owner.put(&path, json!({"participant_ids": ["owner", "ben"]})).expect(200);
    owner.say(&conversation, "without ann");
    ben.post(&format!("{path}/leave"), json!({})).expect(200);
    owner.say(&conversation, "without ben");

    let received = everything_so_far(&mut ann, &mut anns);
    let of_it: Vec<&str> =
        received.iter().filter(|event| event.data["user_id"] != "ann").map(|event| event.kind()).collect();
    assert_eq!(of_it.first(), Some(&"input"));
    assert_eq!(of_it.last(), Some(&"conversation_left"), "the last event of that conversation: {received:?}");
    assert!(!received.iter().any(|event| event.content().starts_with("without")), "{received:?}");
    let left = received.iter().find(|event| event.kind() == "conversation_left").expect("seen above");
    assert!(left.data.to_string().contains(&conversation), "it names the conversation: {left:?}");

    let received = everything_so_far(&mut ben, &mut bens);
    let contents: Vec<&str> =
        received.iter().map(|event| event.content()).filter(|content| !content.is_empty()).collect();
    assert_eq!(contents, ["both hear this", "without ann"]);
    assert!(received.iter().any(|event| event.kind() == "conversation_left"), "{received:?}");

    let received = everything_so_far(&mut owner, &mut owners);
    let contents: Vec<&str> =
        received.iter().map(|event| event.content()).filter(|content| !content.is_empty()).collect();
    assert_eq!(contents, ["both hear this", "without ann", "without ben"]);
    for user in [&mut ann, &mut ben] {
        assert_error(&user.get(&path), 403, "forbidden");
        assert_error(&user.post("/input", json!({"content": "x", "conversation_id": conversation})), 403, "forbidden");
    }
}

#[test]
fn an_added_participant_gets_later_events_only() {
    let server = Server::start(Options::new());
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let conversation = private_conversation(&mut owner);
    let mut anns = ann.stream();
    owner.say(&conversation, "before ann");
    let body = json!({"participant_ids": ["owner", "ann"]});
    owner.put(&format!("/config/conversation/{conversation}"), body).expect(200);
    owner.say(&conversation, "with ann");
    let received = everything_so_far(&mut ann, &mut anns);
    let contents: Vec<&str> =
        received.iter().map(|event| event.content()).filter(|content| !content.is_empty()).collect();
    assert_eq!(contents, ["with ann"]);
}

#[test]
fn all_participants_get_the_deletion_of_a_workspace() {
    let server = Server::start(Options::new());
    let (mut owner, ann, mut outsider) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "outsider"));
    let workspace = owner.create_workspace("w");
    owner.create_conversation(&workspace, "t", &["ann"]);
    let (mut owners, mut anns, mut outsiders) = (owner.stream(), ann.stream(), outsider.stream());
    owner.delete(&format!("/config/workspace/{workspace}")).expect(200);
    for stream in [&mut owners, &mut anns] {
        let event = stream.next_of("workspace_deleted");
        assert_eq!(event.data["user_id"], "owner");
        assert!(event.data.to_string().contains(&workspace), "{event:?}");
    }
    let received = everything_so_far(&mut outsider, &mut outsiders);
    assert!(received.iter().all(|event| event.data["user_id"] == "outsider"), "{received:?}");
}

#[test]
fn only_the_token_identifies_the_user() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = private_conversation(&mut ann);
    // Ids that a careless comparison would confuse are different users.
    for other in ["Ann", "ann ", " ann", "ann\u{0}", "a\u{0301}nn", "an", "annn", "ann%", "a_n"] {
        let mut user = User::new(&server, other);
        assert_eq!(user.get("/auth/verify").expect(200).json()["user_id"], other);
        assert_error(&user.get(&format!("/config/conversation/{conversation}")), 403, "forbidden");
        assert!(user.workspace_ids().is_empty(), "{other:?}");
    }
    let mut long = User::new(&server, &"ü".repeat(255));
    long.say("default", "a long id is an id");
}

//! Deleting workspaces with more participants than one transaction notifies.

use super::replay::replay;
use crate::common::{Options, Server, User, assert_error, database, eventually};

/// Participants per conversation, besides the owner.
const CROWD: usize = 255;
const CONVERSATIONS: usize = 8;

fn participant(number: usize) -> String {
    format!("participant-{number}")
}

/// A workspace of `owner` with conversations of different participants, and `everywhere` in each. Returns the ids of the
/// workspace and the conversations.
fn add_crowd(owner: &mut User) -> (String, Vec<String>) {
    let workspace = owner.create_workspace("w");
    let conversations = (0..CONVERSATIONS).map(|conversation| {
        let crowd = (1..CROWD).map(|number| participant(conversation * CROWD + number));
        let ids: Vec<String> = crowd.chain(["everywhere".to_owned()]).collect();
        owner.create_conversation(&workspace, "t", &ids.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let conversations = conversations.collect();
    (workspace, conversations)
}

#[test]
fn a_workspace_with_many_participants_vanishes_at_once_for_all_of_them() {
    let server = Server::start(Options::new());
    let mut owner = User::new(&server, "owner");
    let (workspace, conversations) = add_crowd(&mut owner);
    owner.say(&conversations[CONVERSATIONS - 1], "seen by the last");
    let last = (CONVERSATIONS - 1) * CROWD + 7;
    let mut users: Vec<User> =
        [participant(1), participant(last), "everywhere".into()].iter().map(|id| User::new(&server, id)).collect();
    let mut streams: Vec<_> = users.iter().map(User::stream).collect();
    streams.push(owner.stream());

    owner.delete(&format!("/config/workspace/{workspace}")).expect(200);
    // Those who are not notified yet have lost their access as well.
    for user in &mut users {
        for conversation in [&conversations[0], &conversations[CONVERSATIONS - 1]] {
            assert_error(&user.get(&format!("/config/conversation/{conversation}")), 404, "not_found");
            let body = serde_json::json!({"content": "x", "conversation_id": conversation});
            assert_error(&user.post("/input", body), 404, "not_found");
            assert_error(&user.get(&format!("/output/stream?conversation_id={conversation}")), 404, "not_found");
        }
        assert_error(&user.get(&format!("/output/stream?workspace_id={workspace}")), 404, "not_found");
        assert_eq!(user.get("/conversations").expect(200).json(), serde_json::json!([]));
        let seen = replay(user, "", 0);
        assert!(seen.iter().all(|event| event.kind() == "workspace_deleted"), "{seen:?}");
    }
    for stream in &mut streams {
        let event = stream.next_of("workspace_deleted");
        assert_eq!(event.data["data"]["workspace_id"], workspace.as_str());
        assert_eq!(event.data["user_id"], "owner");
    }
    // Each user is notified once, also one who took part in every conversation.
    for user in &users {
        let seen = replay(user, "", 0);
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}

#[test]
fn participants_are_notified_although_the_server_is_killed() {
    let mut server = Server::start(Options::new());
    let mut owner = User::new(&server, "owner");
    let (workspace, _) = add_crowd(&mut owner);
    let start = owner.stream().established.number();
    owner.delete(&format!("/config/workspace/{workspace}")).expect(200);
    server.kill();
    server.start_again();
    for conversation in 0..CONVERSATIONS {
        let user = User::new(&server, &participant(conversation * CROWD + 9));
        eventually("the participant is notified", || {
            let seen = replay(&user, "", start);
            assert!(seen.len() <= 1, "{seen:?}");
            seen.iter().any(|event| event.kind() == "workspace_deleted")
        });
    }
    owner.follow(&server);
    assert!(owner.workspace_ids().is_empty());
}

#[test]
fn many_joins_and_departures_do_not_slow_down_a_deletion() {
    let server = Server::start(Options::new());
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &[]);
    let path = format!("/config/conversation/{conversation}");
    for _ in 0..300 {
        owner.put(&path, serde_json::json!({"participant_ids": ["ann"]})).expect(200);
        owner.put(&path, serde_json::json!({"participant_ids": []})).expect(200);
    }
    owner.delete(&path).expect(200);
    let ann = User::new(&server, "ann");
    let seen = replay(&ann, "", 0);
    assert_eq!(seen.len(), 300, "every departure is a tombstone");
    assert!(seen.iter().all(|event| event.kind() == "conversation_left"));
    let count = "SELECT count(*) FROM state_events WHERE kind = 'conversation_updated'";
    eventually("the other events are purged", || database::number(&server.database(), count) == 0);
}

#[test]
fn users_who_were_only_named_leave_nothing_but_a_gap() {
    let settings = [("JOURNAL_RETENTION_EVENTS", "2"), ("STREAM_STALL_TIMEOUT_SECONDS", "0.2")];
    let server = Server::with(&settings);
    let mut owner = User::new(&server, "owner");
    let (workspace, _) = add_crowd(&mut owner);
    let start = owner.stream().established.number();
    owner.delete(&format!("/config/workspace/{workspace}")).expect(200);
    let path = server.database();
    let count = || database::number(&path, "SELECT count(*) FROM users WHERE oid LIKE 'participant-%'");
    eventually("all participants are notified", || {
        database::number(&path, "SELECT count(*) FROM workspace_deletions") == 0
    });
    // Later events push the notifications out of the journal.
    owner.create_workspace("a");
    owner.create_workspace("b");
    eventually("the users are removed", || count() == 0);
    let participant = User::new(&server, &participant(3));
    let first = |user: &User, after: u64| {
        let mut stream = user.stream_with(&format!("last_event_id={after}"));
        stream.next().kind().to_owned()
    };
    assert_eq!(first(&participant, start), "gap", "the event that told the user of the deletion is gone");
    assert_eq!(first(&User::new(&server, "unnamed"), start), "caught_up");
    // A user who is named again is a user like any other.
    let workspace = owner.create_workspace("c");
    let conversation = owner.create_conversation(&workspace, "t", &[&participant.id]);
    let mut stream = participant.stream();
    owner.say(&conversation, "hello");
    assert_eq!(stream.next_of("input").content(), "hello");
    assert_eq!(count(), 1);
}

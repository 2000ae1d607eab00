//! A replay leaves out what the user may no longer see and what was deleted, as of the moment it is asked for, and a stream
//! that is open stops at the very commit.

use super::replay::replay;
use crate::common::sse::Event;
use crate::common::{Server, Stream, User};
use serde_json::{Value, json};

/// An owner with a workspace, and two people who take part in one of its conversations.
struct House {
    server: Server,
    owner: User,
    ann: User,
    ben: User,
    workspace: String,
    conversation: String,
    /// Where the journal stood when all that was there.
    start: u64,
}

impl House {
    fn new() -> House {
        let server = Server::with(&[("WORKERS", "1")]);
        let (mut owner, ann, ben) = (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "ben"));
        let workspace = owner.create_workspace("w");
        let conversation = owner.create_conversation(&workspace, "t", &["ann", "ben"]);
        let start = owner.stream().established.number();
        House { server, owner, ann, ben, workspace, conversation, start }
    }

    fn set_participants(&mut self, participants: &[&str]) {
        let path = format!("/config/conversation/{}", self.conversation);
        self.owner.put(&path, json!({"participant_ids": participants})).expect(200);
    }

    /// Everybody's replay from the beginning, each from the loop's memory and then from the journal, which must agree.
    fn replays(&mut self, witnesses: Vec<Stream>) -> [Vec<Event>; 3] {
        let users = [&self.owner, &self.ann, &self.ben];
        let remembered = users.map(|user| replay(user, "", self.start));
        drop(witnesses);
        // Their connections end first: a server that drains waits a little for clients that keep theirs.
        self.follow();
        self.server.restart();
        self.follow();
        let users = [&self.owner, &self.ann, &self.ben];
        let kept = users.map(|user| replay(user, "", self.start));
        for ((remembered, kept), user) in remembered.iter().zip(&kept).zip(users) {
            assert_eq!(short(remembered), short(kept), "{}: memory and journal agree", user.id);
        }
        kept
    }

    fn follow(&mut self) {
        for user in [&mut self.owner, &mut self.ann, &mut self.ben] {
            user.follow(&self.server);
        }
    }

    fn witnesses(&self) -> Vec<Stream> {
        [&self.owner, &self.ann, &self.ben].map(User::stream).into()
    }
}

/// Events as a test names them: what a message says, and of others the kind.
fn short(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| if event.content().is_empty() { event.kind().to_owned() } else { event.content().to_owned() })
        .collect()
}

#[test]
fn a_removed_participant_replays_conversation_left_only() {
    let mut house = House::new();
    let witnesses = house.witnesses();
    let conversation = house.conversation.clone();
    house.owner.say(&conversation, "before");
    house.ann.say(&conversation, "ann's own");
    house.set_participants(&["ben"]);
    house.owner.say(&conversation, "after");
    let [owner, ann, ben] = house.replays(witnesses);
    assert_eq!(short(&ann), ["conversation_left"]);
    assert_eq!(ann[0].data["data"]["conversation_id"], Value::from(conversation));
    assert_eq!(short(&owner), ["before", "ann's own", "conversation_updated", "after"]);
    assert_eq!(short(&ben), short(&owner));
}

#[test]
fn a_participant_who_left_replays_nothing_of_the_conversation() {
    let mut house = House::new();
    let witnesses = house.witnesses();
    let conversation = house.conversation.clone();
    house.ben.say(&conversation, "before");
    house.ben.post(&format!("/config/conversation/{conversation}/leave"), json!({})).expect(200);
    house.owner.say(&conversation, "after");
    let [owner, ann, ben] = house.replays(witnesses);
    assert_eq!(short(&ben), ["conversation_left"]);
    assert_eq!(short(&owner), ["before", "conversation_updated", "after"]);
    assert_eq!(short(&ann), short(&owner));
}

/// An owner who leaves still owns what was said.
#[test]
fn an_owner_who_left_still_replays_the_conversation() {
    let mut house = House::new();
    let witnesses = house.witnesses();
    let conversation = house.conversation.clone();
    house.ann.say(&conversation, "before");
    house.owner.post(&format!("/config/conversation/{conversation}/leave"), json!({})).expect(200);
    house.ann.say(&conversation, "after");
    let [owner, ann, _] = house.replays(witnesses);
    assert_eq!(short(&owner), ["before", "conversation_updated", "conversation_left", "after"]);
    assert_eq!(short(&ann), ["before", "conversation_updated", "after"]);
}

#[test]
fn a_participant_who_returns_replays_events_since_the_return() {
    let mut house = House::new();
    let witnesses = house.witnesses();
    let conversation = house.conversation.clone();
    house.owner.say(&conversation, "before");
    house.set_participants(&["ben"]);
    house.owner.say(&conversation, "meanwhile");
    house.set_participants(&["ben", "ann", "carl"]);
    house.owner.say(&conversation, "since");
    let carl = User::new(&house.server, "carl");
    assert_eq!(short(&replay(&carl, "", 0)), ["conversation_updated", "since"]);
    let [owner, ann, _] = house.replays(witnesses);
    assert_eq!(short(&ann), ["conversation_left", "conversation_updated", "since"]);
    let everything = ["before", "conversation_updated", "meanwhile", "conversation_updated", "since"];
    assert_eq!(short(&owner), everything);
}

#[test]
fn deleted_events_are_in_no_replay() {
    let mut house = House::new();
    let witnesses = house.witnesses();
    let (conversation, workspace) = (house.conversation.clone(), house.workspace.clone());
    let other = house.owner.create_conversation(&workspace, "other", &["ann"]);
    house.owner.say(&conversation, "in the one");
    house.owner.say(&other, "in the other");
    house.owner.delete(&format!("/config/conversation/{conversation}")).expect(200);
    let [owner, ann, ben] = house.replays(witnesses);
    assert_eq!(short(&owner), ["conversation_created", "in the other", "conversation_deleted"]);
    assert_eq!(short(&ann), short(&owner));
    assert_eq!(short(&ben), ["conversation_deleted"]);

    let witnesses = house.witnesses();
    house.owner.delete(&format!("/config/workspace/{workspace}")).expect(200);
    let [owner, ann, ben] = house.replays(witnesses);
    assert_eq!(short(&owner), ["conversation_deleted", "workspace_deleted"]);
    assert_eq!(short(&ann), short(&owner));
    assert_eq!(short(&ben), ["conversation_deleted"], "who took part in nothing of it that was left");
}

/// An open stream of somebody who is removed gets nothing that was committed later, and neither does one of theirs that
/// was behind.
#[test]
fn an_open_stream_stops_at_the_commit_of_the_removal() {
    let mut house = House::new();
    let conversation = house.conversation.clone();
    let mut stream = house.ann.stream();
    let filtered = house.ann.stream_with(&format!("conversation_id={conversation}"));
    house.owner.say(&conversation, "before");
    house.set_participants(&["ben"]);
    house.owner.say(&conversation, "after");
    let number = house.ann.post("/input", json!({"content": "to herself"})).expect(200).number("X-Event-Id");
    assert_eq!(short(&stream.before_message("to herself"))[..2], ["before", "conversation_left"]);
    assert!(!String::from_utf8_lossy(&stream.raw).contains("after"));
    let mut filtered = filtered;
    let mut seen = vec![filtered.next_own(), filtered.next_own()];
    assert_eq!(short(&seen), ["before", "conversation_left"]);
    // Back in: what comes then is theirs again, and what was said without them is not.
    house.set_participants(&["ben", "ann"]);
    house.owner.say(&conversation, "since");
    seen = vec![filtered.next_own(), filtered.next_own()];
    assert_eq!(short(&seen), ["conversation_updated", "since"]);
    assert!(seen[0].number() > number);
}

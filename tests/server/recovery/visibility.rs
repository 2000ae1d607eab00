//! A replay leaves out deleted events and those the user may no longer see, as of the request, and an open stream stops
//! at the commit.

use super::replay::replay;
use crate::common::sse::Event;
use crate::common::{Server, Stream, User};
use serde_json::{Value, json};

/// An owner with a workspace, and two participants of one of its conversations.
struct Fixture {
    server: Server,
    owner: User,
    ann: User,
    ben: User,
    workspace: String,
    conversation: String,
    /// The journal position after the setup.
    start: u64,
}

impl Fixture {
    fn new() -> Fixture {
        let server = Server::with(&[("WORKERS", "1")]);
        let (mut owner, ann, ben) = (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "ben"));
        let workspace = owner.create_workspace("w");
        let conversation = owner.create_conversation(&workspace, "t", &["ann", "ben"]);
        let start = owner.stream().established.number();
        Fixture { server, owner, ann, ben, workspace, conversation, start }
    }

    fn set_participants(&mut self, participants: &[&str]) {
        let path = format!("/config/conversation/{}", self.conversation);
        self.owner.put(&path, json!({"participant_ids": participants})).expect(200);
    }

    /// Every user's replay from the beginning, from the tail and then from the journal, which must agree.
    fn replays(&mut self, streams: Vec<Stream>) -> [Vec<Event>; 3] {
        let users = [&self.owner, &self.ann, &self.ben];
        let remembered = users.map(|user| replay(user, "", self.start));
        drop(streams);
        // Their connections close first: a draining server waits briefly for persistent ones.
        self.follow();
        self.server.restart();
        self.follow();
        let users = [&self.owner, &self.ann, &self.ben];
        let kept = users.map(|user| replay(user, "", self.start));
        for ((remembered, kept), user) in remembered.iter().zip(&kept).zip(users) {
            assert_eq!(short(remembered), short(kept), "{}: tail and journal agree", user.id);
        }
        kept
    }

    fn follow(&mut self) {
        for user in [&mut self.owner, &mut self.ann, &mut self.ben] {
            user.follow(&self.server);
        }
    }

    fn streams(&self) -> Vec<Stream> {
        [&self.owner, &self.ann, &self.ben].map(User::stream).into()
    }
}

/// A short form of events: the content of messages, and the type of others.
fn short(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| if event.content().is_empty() { event.kind().to_owned() } else { event.content().to_owned() })
        .collect()
}

#[test]
fn a_removed_participant_replays_conversation_left_only() {
    let mut fixture = Fixture::new();
    let streams = fixture.streams();
    let conversation = fixture.conversation.clone();
    fixture.owner.say(&conversation, "before");
    fixture.ann.say(&conversation, "ann's own");
    fixture.set_participants(&["ben"]);
    fixture.owner.say(&conversation, "after");
    let [owner, ann, ben] = fixture.replays(streams);
    assert_eq!(short(&ann), ["conversation_left"]);
    assert_eq!(ann[0].data["data"]["conversation_id"], Value::from(conversation));
    assert_eq!(short(&owner), ["before", "ann's own", "conversation_updated", "after"]);
    assert_eq!(short(&ben), short(&owner));
}

#[test]
fn a_participant_who_left_replays_nothing_of_the_conversation() {
    let mut fixture = Fixture::new();
    let streams = fixture.streams();
    let conversation = fixture.conversation.clone();
    fixture.ben.say(&conversation, "before");
    fixture.ben.post(&format!("/config/conversation/{conversation}/leave"), json!({})).expect(200);
    fixture.owner.say(&conversation, "after");
    let [owner, ann, ben] = fixture.replays(streams);
    assert_eq!(short(&ben), ["conversation_left"]);
    assert_eq!(short(&owner), ["before", "conversation_updated", "after"]);
    assert_eq!(short(&ann), short(&owner));
}

/// An owner who leaves still owns the conversation.
#[test]
fn an_owner_who_left_still_replays_the_conversation() {
    let mut fixture = Fixture::new();
    let streams = fixture.streams();
    let conversation = fixture.conversation.clone();
    fixture.ann.say(&conversation, "before");
    fixture.owner.post(&format!("/config/conversation/{conversation}/leave"), json!({})).expect(200);
    fixture.ann.say(&conversation, "after");
    let [owner, ann, _] = fixture.replays(streams);
    assert_eq!(short(&owner), ["before", "conversation_updated", "conversation_left", "after"]);
    assert_eq!(short(&ann), ["before", "conversation_updated", "after"]);
}

#[test]
fn a_participant_who_returns_replays_events_since_the_return() {
    let mut fixture = Fixture::new();
    let streams = fixture.streams();
    let conversation = fixture.conversation.clone();
    fixture.owner.say(&conversation, "before");
    fixture.set_participants(&["ben"]);
    fixture.owner.say(&conversation, "meanwhile");
    fixture.set_participants(&["ben", "ann", "carl"]);
    fixture.owner.say(&conversation, "since");
    let carl = User::new(&fixture.server, "carl");
    assert_eq!(short(&replay(&carl, "", 0)), ["conversation_updated", "since"]);
    let [owner, ann, _] = fixture.replays(streams);
    assert_eq!(short(&ann), ["conversation_left", "conversation_updated", "since"]);
    let everything = ["before", "conversation_updated", "meanwhile", "conversation_updated", "since"];
    assert_eq!(short(&owner), everything);
}

#[test]
fn deleted_events_are_in_no_replay() {
    let mut fixture = Fixture::new();
    let streams = fixture.streams();
    let (conversation, workspace) = (fixture.conversation.clone(), fixture.workspace.clone());
    let other = fixture.owner.create_conversation(&workspace, "other", &["ann"]);
    fixture.owner.say(&conversation, "in the one");
    fixture.owner.say(&other, "in the other");
    fixture.owner.delete(&format!("/config/conversation/{conversation}")).expect(200);
    let [owner, ann, ben] = fixture.replays(streams);
    assert_eq!(short(&owner), ["conversation_created", "in the other", "conversation_deleted"]);
    assert_eq!(short(&ann), short(&owner));
    assert_eq!(short(&ben), ["conversation_deleted"]);

    let streams = fixture.streams();
    fixture.owner.delete(&format!("/config/workspace/{workspace}")).expect(200);
    let [owner, ann, ben] = fixture.replays(streams);
    assert_eq!(short(&owner), ["conversation_deleted", "workspace_deleted"]);
    assert_eq!(short(&ann), short(&owner));
    assert_eq!(short(&ben), ["conversation_deleted"], "ben has no other event left");
}

/// An open stream of a removed participant gets nothing committed later, also if it lags behind.
#[test]
fn an_open_stream_stops_at_the_commit_of_the_removal() {
    let mut fixture = Fixture::new();
    let conversation = fixture.conversation.clone();
    let mut stream = fixture.ann.stream();
    let filtered = fixture.ann.stream_with(&format!("conversation_id={conversation}"));
    fixture.owner.say(&conversation, "before");
    fixture.set_participants(&["ben"]);
    fixture.owner.say(&conversation, "after");
    let number = fixture.ann.post("/input", json!({"content": "to herself"})).expect(200).number("X-Event-Id");
    assert_eq!(short(&stream.before_message("to herself"))[..2], ["before", "conversation_left"]);
    assert!(!String::from_utf8_lossy(&stream.raw).contains("after"));
    let mut filtered = filtered;
    let mut seen = vec![filtered.next_own(), filtered.next_own()];
    assert_eq!(short(&seen), ["before", "conversation_left"]);
    // Added again, she gets later events, and not those in between.
    fixture.set_participants(&["ben", "ann"]);
    fixture.owner.say(&conversation, "since");
    seen = vec![filtered.next_own(), filtered.next_own()];
    assert_eq!(short(&seen), ["conversation_updated", "since"]);
    assert!(seen[0].number() > number);
}

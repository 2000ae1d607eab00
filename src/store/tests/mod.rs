//! Tests that look behind the methods: at faults of SQLite, at rows, and at query plans.

mod admin;
mod answers;
mod faults;
mod plans;
mod purge;
mod retention;
pub(super) mod support;
mod transfer;

use crate::base::time::Wall;
use crate::domain::command::*;
use crate::domain::event::Event;
use crate::domain::id::*;
use crate::domain::model::*;
use crate::store::{Database, StoreConfig, Writer};
use std::path::Path;
use std::sync::Arc;

const NOW: Wall = Wall(1_767_225_600_000_000);

fn open(path: &Path) -> Writer {
    let config = StoreConfig::new(Database::File(path.into()));
    Writer::open(&config, |outcome| format!("{outcome:?}").into_bytes()).unwrap()
}

fn command(user: &str, act: Act) -> Command {
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    let actor = Actor { id: UserId::trusted(user), name: None, email: None };
    Command { reply_to, actor, correlation_id: "request".into(), idempotency: None, act }
}

fn post(conversation: ConversationRef, text: &str) -> Act {
    Act::PostMessage {
        conversation,
        role: Role::User,
        content: Content::new(text).unwrap(),
        metadata: Metadata::empty(),
        surface: Surface::Config,
    }
}

fn create_workspace() -> Act {
    Act::CreateWorkspace {
        name: WorkspaceName::trusted("w"),
        description: WorkspaceDescription::trusted("d"),
        metadata: Metadata::empty(),
    }
}

fn create_conversation(workspace: WorkspaceId, participants: &[&str]) -> Act {
    Act::CreateConversation {
        workspace: Some(workspace),
        topic: Topic::trusted("t"),
        participants: participants.iter().map(|id| UserId::trusted(*id)).collect(),
        metadata: Metadata::empty(),
        initial_message: None,
        surface: Surface::Config,
    }
}

fn done(writer: &mut Writer, user: &str, act: Act) -> Outcome {
    writer.commit_batch(&[command(user, act)], NOW).receipts.remove(0).result.unwrap()
}

fn workspace(writer: &mut Writer, user: &str) -> WorkspaceId {
    let Outcome::WorkspaceCreated(made) = done(writer, user, create_workspace()) else { panic!() };
    made.id
}

fn conversation(writer: &mut Writer, user: &str, workspace: WorkspaceId, participants: &[&str]) -> ConversationId {
    let act = create_conversation(workspace, participants);
    let Outcome::ConversationCreated { conversation, .. } = done(writer, user, act) else { panic!() };
    conversation.id
}

/// Everything that `user` gets replayed.
fn replay(writer: &mut Writer, user: &str) -> Vec<Arc<Event>> {
    let filter = StreamFilter { conversation: None, workspace: None, kinds: crate::domain::event::KindSet::ALL };
    let (mut after, mut events) = (EventNumber(0), Vec::new());
    loop {
        let question = Question::JournalPage { after, bytes_max: usize::MAX, filter };
        let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
        let answer = writer.read(&Query { reply_to, caller: UserId::trusted(user), question });
        let Found::JournalPage(page) = answer.result.unwrap() else { panic!() };
        events.extend(page.events);
        after = page.through;
        if after == page.position {
            return events;
        }
    }
}

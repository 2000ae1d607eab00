//! Tests with access to the internals of the store: faults of SQLite, rows, and query plans.

mod admin;
mod answers;
mod claims;
mod conversation_index;
mod faults;
#[cfg(feature = "cluster")]
mod instances;
mod memory;
#[cfg(feature = "cluster")]
mod migrations;
mod named_users;
mod plans;
mod purge;
mod query_steps;
mod retention;
mod search;
mod server_search;
mod steps;
pub(crate) mod support;
mod transfer;

use crate::base::limits::LIST_BYTES_MAX;
use crate::base::limits::QUERY_ROWS_EXAMINED_MAX;
use crate::base::time::{MonoTime, Now, WallTime};
use crate::config::types::Database;
use crate::domain::command::{Actor, ApiVariant, Command, CommandKind, ConversationRef, ReplyTo};
use crate::domain::event::Event;
use crate::domain::id::*;
use crate::domain::model::*;
use crate::domain::query::{Query, QueryKind, QueryResponse, QueryResult, StreamFilter};
use crate::domain::result::Outcome;
use crate::domain::token_rules::Credential;
use crate::store::read::queries;
use crate::store::read::read_transaction::ReadLimits;
use crate::store::{MaintenanceDue, PendingQuery, QueryStep, Reader, StoreConfig, Writer};
use std::path::Path;
use std::sync::Arc;

const NOW: Now = Now { wall: WallTime(1_767_225_600_000_000), mono: MonoTime(1_000_000) };

/// Both clocks `seconds` after [`NOW`].
fn after_seconds(seconds: i64) -> Now {
    Now { wall: NOW.wall.plus_seconds(seconds), mono: NOW.mono.plus_milliseconds(1000 * seconds as u64) }
}

fn open(path: &Path) -> Writer {
    let config = StoreConfig::new(support::database_at(path));
    Writer::open(&config).unwrap()
}

fn command(user: &str, kind: CommandKind) -> Command {
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    let actor = Actor { id: UserId::new_unchecked(user), name: None, email: None, credential: Credential::default() };
    Command { reply_to, actor, correlation_id: "request".into(), idempotency: None, kind }
}

fn post(conversation: ConversationRef, text: &str) -> CommandKind {
    CommandKind::PostMessage {
        conversation,
        role: Role::User,
        content: Content::new(text).unwrap(),
        metadata: Metadata::empty(),
        api_variant: ApiVariant::Config,
    }
}

fn create_workspace() -> CommandKind {
    CommandKind::CreateWorkspace {
        name: WorkspaceName::new_unchecked("w"),
        description: WorkspaceDescription::new_unchecked("d"),
        metadata: Metadata::empty(),
    }
}

fn create_conversation(workspace: WorkspaceId, participants: &[&str]) -> CommandKind {
    CommandKind::CreateConversation {
        workspace: Some(workspace),
        topic: Topic::new_unchecked("t"),
        participants: participants.iter().map(|id| UserId::new_unchecked(*id)).collect(),
        metadata: Metadata::empty(),
        earlier_messages: Vec::new(),
        initial_message: None,
        api_variant: ApiVariant::Config,
    }
}

fn done(writer: &mut Writer, user: &str, kind: CommandKind) -> Outcome {
    writer.commit_batch(&[command(user, kind)], NOW).results.remove(0).result.unwrap()
}

fn add_workspace(writer: &mut Writer, user: &str) -> WorkspaceId {
    let Outcome::WorkspaceCreated(made) = done(writer, user, create_workspace()) else { panic!() };
    made.id
}

fn add_conversation(writer: &mut Writer, user: &str, workspace: WorkspaceId, participants: &[&str]) -> ConversationId {
    let kind = create_conversation(workspace, participants);
    let Outcome::ConversationCreated { conversation, .. } = done(writer, user, kind) else { panic!() };
    conversation.id
}

/// Executes a query in the state of the last commit.
fn execute(writer: &Writer, query: &Query) -> QueryResponse {
    execute_in_steps(writer, query, QUERY_ROWS_EXAMINED_MAX).0
}

/// The limits of queries in steps that examine about `rows_max` rows each.
fn limits(rows_max: usize) -> ReadLimits {
    ReadLimits { rows_max, list_bytes_max: LIST_BYTES_MAX }
}

/// Executes a query in steps that examine about `rows_max` rows each. Returns the response and the number of steps.
fn execute_in_steps(writer: &Writer, query: &Query, rows_max: usize) -> (QueryResponse, usize) {
    let mut pending = PendingQuery::new(query.clone());
    let known = (writer.position(), writer.connection.instance());
    for steps in 1.. {
        match queries::step(&writer.connection.db, &writer.meta.ids, pending, limits(rows_max), known) {
            QueryStep::Done(response) => return (response, steps),
            QueryStep::More(more) => pending = more,
        }
    }
    unreachable!()
}

/// Executes the only step of a query.
fn execute_on(reader: &mut Reader, query: &Query) -> QueryResponse {
    match reader.step(PendingQuery::new(query.clone())) {
        QueryStep::Done(response) => response,
        QueryStep::More(_) => panic!("the query needs a second step"),
    }
}

/// Runs a step of maintenance. Returns whether another one is due.
fn maintain(writer: &mut Writer, now: Now) -> bool {
    writer.maintain(now);
    matches!(writer.maintenance_due(now), MaintenanceDue::Now | MaintenanceDue::WhenIdle)
}

/// All events that are replayed to `user`.
fn replay(writer: &mut Writer, user: &str) -> Vec<Arc<Event>> {
    let filter = StreamFilter { conversation: None, workspace: None, kinds: crate::domain::event::KindSet::ALL };
    let (mut after, mut events) = (EventNumber(0), Vec::new());
    loop {
        let kind = QueryKind::JournalPage { after, bytes_max: usize::MAX, filter };
        let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
        let response = execute(writer, &Query { reply_to, caller: UserId::new_unchecked(user), kind });
        let QueryResult::JournalPage(page) = response.result.unwrap() else { panic!() };
        events.extend(page.events);
        after = page.through;
        if after == page.position {
            return events;
        }
    }
}

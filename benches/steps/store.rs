//! The steps of the writer and of a reader.

use super::data::*;
use super::{Report, timed};
use cortex_core::internals::{
    ApiVariant, CommandKind, Content, ConversationId, ConversationRef, Database as Location, EventNumber, KindSet,
    MaintenanceDue, MessageCursor, MessageId, Metadata, Outcome, Pagination, Query, QueryKind, QueryResult, Reader,
    Retention, Role, StoreConfig, StreamFilter, Topic, UserId, WallTime, WorkspaceId, WorkspaceName, Writer,
};
use rusqlite::Connection;
use std::time::Duration;

/// Most steps of one kind that are measured. With more rows, others follow, which do the same.
const STEPS_MAX: usize = 1000;
const ROUNDS: usize = 5;
const LATER: WallTime = WallTime(NOW.0 + 1_000_000_000_000);

pub fn measure(database: Database, report: &mut Report) -> Result<(), String> {
    let (time, mut writer) = timed(|| open(&database.path));
    report.add("start: open the database", time);
    let (time, rules) = timed(|| writer.token_rules());
    rules.map_err(|error| error.to_string())?;
    report.add("start: load the token rules", time);

    // Nothing else is due yet, and the rest of this work would disturb the later measurements.
    report.add("maintenance: remove users, flush inboxes", maintain(&mut writer, NOW));
    writer.close();
    rest_from_users(&database).map_err(|error| error.to_string())?;
    let mut writer = open(&database.path);
    maintain(&mut writer, NOW);

    let mut reader = Reader::open(&database.path).map_err(|error| error.to_string())?;
    queries(&database, &mut reader, report);
    commands(&database, &mut writer, report);
    let about = ConversationRef::Id(database.former);
    let delete = CommandKind::DeleteConversation { conversation: about, api_variant: ApiVariant::Config };
    report.add("writer: delete a conversation with former participants", run(&mut writer, "ann", delete).0);
    report.add("maintenance: purge of former participants", maintain(&mut writer, NOW));
    let about = ConversationRef::Id(database.messages);
    let delete = CommandKind::DeleteConversation { conversation: about, api_variant: ApiVariant::Config };
    report.add("writer: delete a conversation with messages", run(&mut writer, "ann", delete).0);
    report.add("maintenance: purge of messages", maintain(&mut writer, NOW));
    report.add("writer: delete a workspace", run(&mut writer, "ann", delete_workspace(database.crowd)).0);
    report.add("maintenance: notify participants, purge a workspace", maintain(&mut writer, NOW));
    writer.close();

    let retention = Retention { events: 0, young_milliseconds: 0, ..Retention::default() };
    let config = StoreConfig { retention, ..StoreConfig::new(Location::File(database.path.clone())) };
    let mut writer = Writer::open(&config).map_err(|error| error.to_string())?;
    report.add("maintenance: retention", maintain(&mut writer, LATER));
    writer.close();
    Ok(())
}

/// Runs steps of maintenance until none is due, or many are measured. Returns the longest.
fn maintain(writer: &mut Writer, now: WallTime) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..STEPS_MAX {
        let (time, _) = timed(|| drop(writer.maintain(now)));
        longest = longest.max(time);
        if !matches!(writer.maintenance_due(now), MaintenanceDue::Now | MaintenanceDue::WhenIdle) {
            break;
        }
    }
    longest
}

/// Removes the work that `maintain` has left: users to remove, and messages to add to inboxes.
fn rest_from_users(database: &Database) -> rusqlite::Result<()> {
    let db = Connection::open(&database.path)?;
    let is_there = "SELECT 1 FROM sqlite_schema WHERE name = 'released_users'";
    if db.prepare(is_there)?.exists([])? {
        db.execute_batch("DELETE FROM released_users")?;
    }
    db.execute_batch(
        "UPDATE inbox_watermark SET flushed_through = (SELECT number FROM journal_head),
            flushing_through = (SELECT number FROM journal_head), users_below = 0",
    )
}

fn run(writer: &mut Writer, user: &str, kind: CommandKind) -> (Duration, Outcome) {
    let commands = [command(user, kind)];
    let (time, committed) = timed(|| writer.commit_batch(&commands, NOW));
    let result = committed.results.into_iter().next().expect("one result").result;
    (time, result.unwrap_or_else(|rejection| panic!("{:?}: {rejection:?}", commands[0].kind)))
}

/// The longest of some rounds of a command.
fn rounds(report: &mut Report, name: &str, mut round: impl FnMut(usize) -> Duration) {
    let longest = (0..ROUNDS).map(&mut round).max().unwrap_or_default();
    report.add(name, longest);
}

fn commands(database: &Database, writer: &mut Writer, report: &mut Report) {
    let about = ConversationRef::Id(database.messages);
    let mut posted: Vec<MessageId> = Vec::new();
    rounds(report, "writer: post a message", |_| {
        let (time, outcome) = run(writer, "ben", post(about));
        let Outcome::Posted { event, .. } = outcome else { panic!("a message") };
        posted.extend(event.message_id());
        time
    });
    rounds(report, "writer: update a message", |round| {
        let content = Some(Content::new_unchecked("changed"));
        let message = posted[round];
        run(writer, "ben", CommandKind::UpdateMessage { conversation: about, message, content, metadata: None }).0
    });
    rounds(report, "writer: delete a message", |round| {
        run(writer, "ben", CommandKind::DeleteMessage { conversation: about, message: posted[round] }).0
    });
    rounds(report, "writer: create a workspace", |_| run(writer, "ann", create_workspace()).0);
    rounds(report, "writer: update a workspace", |_| run(writer, "ann", update_workspace(database.crowd)).0);
    rounds(report, "writer: create a conversation of 256 new users", |round| {
        let ids: Vec<String> = (0..255).map(|number| format!("new-{round}-{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        run(writer, "ann", create_conversation(database.workspace, &ids)).0
    });
    rounds(report, "writer: add a participant", |round| {
        let ids = [&["ann", "ben", "cyd"][..], &["ann", "ben"]][round % 2];
        run(writer, "ann", update_conversation(database.small, ids)).0
    });
    let everybody: Vec<String> = (0..255).map(|number| format!("crowd-{number}")).collect();
    let everybody: Vec<&str> = everybody.iter().map(String::as_str).collect();
    rounds(report, "writer: add 255 participants, or remove them", |round| {
        let ids = [&everybody[..], &["ben"]][round % 2];
        run(writer, "ann", update_conversation(database.small, ids)).0
    });
    run(writer, "ann", update_conversation(database.small, &["ben"]));
    report.add(
        "writer: leave a conversation",
        run(writer, "ben", CommandKind::LeaveConversation { conversation: ConversationRef::Id(database.small) }).0,
    );
}

fn queries(database: &Database, reader: &mut Reader, report: &mut Report) {
    let Database { messages, full, workspace, .. } = database;
    let page = |cursor| QueryKind::Messages { conversation: ConversationRef::Id(*messages), cursor, limit: 1000 };
    let filter = StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL };
    let pagination = Pagination { limit: 100, offset: 0 };
    let last = match execute(reader, "ben", QueryKind::ConversationView(ConversationRef::Id(*messages))).1 {
        QueryResult::ConversationView(view) => view.last.messages.last().map(|message| message.id),
        _ => None,
    };
    let last = last.expect("a message");
    let end = EventNumber(u64::MAX);
    let end = match execute(reader, "ben", QueryKind::JournalPage { after: end, bytes_max: 1, filter }).1 {
        QueryResult::JournalPage(page) => page.position,
        other => panic!("{other:?}"),
    };
    let table = [
        ("reader: a conversation with 256 participants", QueryKind::Conversation(ConversationRef::Id(*full))),
        ("reader: the last messages of a conversation", page(MessageCursor::Before(last))),
        ("reader: the first messages of a conversation", page(MessageCursor::First)),
        ("reader: a conversation with its last messages", QueryKind::ConversationView(ConversationRef::Id(*messages))),
        ("reader: the conversations of a workspace", QueryKind::Conversations(*workspace, pagination)),
        ("reader: the conversations of a user", QueryKind::ConversationViews { pagination, with_messages: false }),
        (
            "reader: a page of the journal at its end",
            QueryKind::JournalPage { after: EventNumber(end.0 - 100), bytes_max: 64 * 1024, filter },
        ),
        (
            "reader: a page of the journal at its start",
            QueryKind::JournalPage { after: EventNumber(0), bytes_max: 64 * 1024, filter },
        ),
    ];
    for (name, kind) in table {
        rounds(report, name, |_| execute(reader, "ann", kind.clone()).0);
    }
}

fn execute(reader: &mut Reader, user: &str, kind: QueryKind) -> (Duration, QueryResult) {
    let query = Query { reply_to: NO_REPLY, caller: UserId::new_unchecked(user), kind };
    let (time, response) = timed(|| reader.execute(&query));
    (time, response.result.unwrap_or_else(|rejection| panic!("{:?}: {rejection:?}", query.kind)))
}

fn post(conversation: ConversationRef) -> CommandKind {
    CommandKind::PostMessage {
        conversation,
        role: Role::User,
        content: Content::new_unchecked("x".repeat(200)),
        metadata: Metadata::empty(),
        api_variant: ApiVariant::Config,
    }
}

fn update_workspace(id: WorkspaceId) -> CommandKind {
    let name = Some(WorkspaceName::new_unchecked("changed"));
    CommandKind::UpdateWorkspace { id, name, description: None, metadata: None }
}

fn delete_workspace(id: WorkspaceId) -> CommandKind {
    CommandKind::DeleteWorkspace { id }
}

fn update_conversation(id: ConversationId, participants: &[&str]) -> CommandKind {
    CommandKind::UpdateConversation {
        conversation: ConversationRef::Id(id),
        topic: Some(Topic::new_unchecked("changed")),
        participants: Some(participants.iter().map(|id| UserId::new_unchecked(*id)).collect()),
        metadata: None,
        api_variant: ApiVariant::Conversations,
    }
}

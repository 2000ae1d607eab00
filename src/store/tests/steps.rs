//! The work of one step does not grow with the data. Work is counted in instructions of SQLite, which are the same in each run.

use super::support::TempDir;
use super::*;
use crate::base::limits::{NOTIFIED_ROWS_MAX, PARTICIPANTS_MAX, PURGE_ROWS_MAX};
use crate::domain::event::EventKind;
use crate::domain::query::MessageCursor;
use crate::domain::result::{Rejection, Resource};
use crate::domain::token_rules::{TokenRule, TokenRules};
use crate::store::Retention;
use crate::store::admin::account_rows::UserSelector;
use crate::store::admin::accounts::Admin;
use rusqlite::{Connection, ffi};
use std::collections::BTreeMap;

/// Runs `step` and returns its work.
fn work<T>(writer: &mut Writer, step: impl FnOnce(&mut Writer) -> T) -> (u64, T) {
    let before = instructions(writer.connection.db.sqlite());
    let done = step(writer);
    (instructions(writer.connection.db.sqlite()) - before, done)
}

/// The instructions that all statements of a connection have executed. None of them is dropped from the connection's cache.
fn instructions(db: &Connection) -> u64 {
    let (mut all, mut statement) = (0, std::ptr::null_mut());
    loop {
        // SAFETY: the connection is open, and the statement is its own or null.
        statement = unsafe { ffi::sqlite3_next_stmt(db.handle(), statement) };
        if statement.is_null() {
            return all;
        }
        // SAFETY: the statement is not finalized.
        all += unsafe { ffi::sqlite3_stmt_status(statement, ffi::SQLITE_STMTSTATUS_VM_STEP, 0) } as u64;
    }
}

/// Runs maintenance until no work is left. Returns the most work of a step, and the number of steps.
fn maintain_all(writer: &mut Writer, now: Now) -> (u64, usize) {
    let (mut most, mut steps) = (0, 0);
    loop {
        let (work, more) = work(writer, |writer| maintain(writer, now));
        (most, steps) = (most.max(work), steps + 1);
        if !more {
            return (most, steps);
        }
    }
}

/// Commits many commands of one user.
fn commit_all(writer: &mut Writer, user: &str, kinds: impl Iterator<Item = CommandKind>) {
    let commands: Vec<Command> = kinds.map(|kind| command(user, kind)).collect();
    let mut left = &commands[..];
    while !left.is_empty() {
        let batch = &left[..left.len().min(64)];
        let results = writer.commit_batch(batch, NOW).results;
        assert!(results.iter().all(|result| result.result.is_ok()));
        left = &left[results.len()..];
    }
}

fn participant(number: usize) -> String {
    format!("participant-{number}")
}

/// A workspace of `ann` with conversations of 250 participants, each of whom participates in two.
fn add_crowd(writer: &mut Writer, participants: usize) -> WorkspaceId {
    let workspace = add_workspace(writer, "ann");
    let conversations = participants.div_ceil(125);
    let kinds = (0..conversations).map(|conversation| {
        let first = conversation * 125;
        let ids: Vec<String> = (first..first + 250).map(|number| participant(number % participants)).collect();
        create_conversation(workspace, &ids.iter().map(String::as_str).collect::<Vec<_>>())
    });
    commit_all(writer, "ann", kinds);
    workspace
}

fn delete_workspace(workspace: WorkspaceId) -> CommandKind {
    CommandKind::DeleteWorkspace { id: workspace }
}

fn delete_conversation(conversation: ConversationId) -> CommandKind {
    CommandKind::DeleteConversation { conversation: ConversationRef::Id(conversation), api_variant: ApiVariant::Config }
}

/// Asserts that work that takes `small` with little data and `large` with ten times as much does not grow with the data, but
/// for the depth of the trees and a few percent.
#[track_caller]
fn assert_bounded(what: &str, small: u64, large: u64) {
    assert!(large <= small + small / 4 + 200, "{what}: {small} instructions, and {large} with ten times as much data");
}

#[test]
fn deleting_a_workspace_takes_the_same_work_for_any_number_of_participants() {
    if !support::is_sqlite() {
        return;
    }
    let [small, large] = [1000, 10_000].map(|participants| {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        let workspace = add_crowd(&mut writer, participants);
        maintain_all(&mut writer, NOW);
        let (delete, _) = work(&mut writer, |writer| done(writer, "ann", delete_workspace(workspace)));
        let (step, steps) = maintain_all(&mut writer, NOW);
        assert!(steps > 2 * participants / NOTIFIED_ROWS_MAX, "{steps}");
        writer.check_invariants();
        (delete, step)
    });
    assert_bounded("the deletion", small.0, large.0);
    assert_bounded("a step", small.1, large.1);
}

#[test]
fn all_participants_are_notified_once_whenever_the_process_ends() {
    if !support::is_sqlite() {
        return;
    }
    let directory = support::TempDir::new();
    let path = directory.file("a.db");
    let mut writer = open(&path);
    let participants = 2000;
    let workspace = add_crowd(&mut writer, participants);
    maintain_all(&mut writer, NOW);
    let before = writer.position();
    let committed = writer.commit_batch(&[command("ann", delete_workspace(workspace))], NOW);
    let mut events = committed.events.to_vec();
    assert!(events[0].recipients.len() <= NOTIFIED_ROWS_MAX + 1);
    let mut commands = 0;
    loop {
        // Access has ended for all of them, whether they are notified or not.
        let last = participant(participants - 1);
        assert!(replay(&mut writer, &last).iter().all(|event| event.kind == EventKind::WorkspaceDeleted));
        // A process that ends here has lost no notification.
        drop(writer);
        writer = open(&path);
        let committed = writer.maintain(NOW);
        events.extend(committed.iter().flat_map(|committed| committed.events.iter().cloned()));
        writer.check_invariants();
        if !matches!(writer.maintenance_due(NOW), MaintenanceDue::Now) {
            break;
        }
        // Commands are not held up.
        commands += 1;
        done(&mut writer, "zoe", post(ConversationRef::Default, "x"));
    }
    assert!(commands > 10, "{commands}");
    let mut notified: BTreeMap<String, usize> = BTreeMap::new();
    for event in &events {
        assert_eq!((event.workspace_id, event.actor.as_str()), (workspace, "ann"));
        assert!(event.recipients.len() <= NOTIFIED_ROWS_MAX + 1);
        event.recipients.iter().for_each(|id| *notified.entry(id.to_string()).or_default() += 1);
    }
    assert_eq!(notified.len(), participants + 1);
    assert!(notified.values().all(|times| *times == 1));
    for number in (0..participants).step_by(97) {
        let seen = replay(&mut writer, &participant(number));
        assert_eq!(seen.len(), 1, "{number}");
        assert!(seen[0].number > before);
    }
}

#[test]
fn deleted_workspaces_take_turns() {
    if !support::is_sqlite() {
        return;
    }
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let large = add_crowd(&mut writer, 5000);
    let people: Vec<String> = (0..255).map(|number| format!("friend-{number}")).collect();
    let small = add_workspace(&mut writer, "ben");
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    for people in [&people[..], &people[..2], &["late"][..]] {
        add_conversation(&mut writer, "ben", small, people);
    }
    maintain_all(&mut writer, NOW);
    done(&mut writer, "ann", delete_workspace(large));
    done(&mut writer, "ben", delete_workspace(small));
    let notified = |writer: &mut Writer| !replay(writer, "late").is_empty();
    assert!(!notified(&mut writer));
    for _ in 0..2 {
        assert!(maintain(&mut writer, NOW));
    }
    assert!(notified(&mut writer), "the smaller workspace does not wait for the larger one");
}

#[test]
fn conversations_without_participants_count_as_well() {
    if !support::is_sqlite() {
        return;
    }
    let [small, large] = [1000, 10_000].map(|conversations| {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        let workspace = add_workspace(&mut writer, "ann");
        commit_all(&mut writer, "ann", (0..conversations).map(|_| create_conversation(workspace, &[])));
        writer.connection.db.sqlite().execute("DELETE FROM participants", []).unwrap();
        writer.cache.clear();
        let (delete, _) = work(&mut writer, |writer| done(writer, "ann", delete_workspace(workspace)));
        let (step, _) = maintain_all(&mut writer, NOW);
        (delete, step)
    });
    assert_bounded("the deletion", small.0, large.0);
    assert_bounded("a step", small.1, large.1);
}

#[test]
fn a_purge_does_not_pass_over_tombstones() {
    if !support::is_sqlite() {
        return;
    }
    let [small, large] = [300, 3000].map(|cycles| {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        let workspace = add_workspace(&mut writer, "ann");
        let conversation = add_conversation(&mut writer, "ann", workspace, &[]);
        let update = |participants: &[&str]| CommandKind::UpdateConversation {
            conversation: ConversationRef::Id(conversation),
            topic: None,
            participants: Some(participants.iter().map(|id| UserId::new_unchecked(*id)).collect()),
            metadata: None,
            api_variant: ApiVariant::Config,
        };
        let kinds = (0..cycles).flat_map(|_| [update(&["ann", "ben"]), update(&["ann"])]);
        commit_all(&mut writer, "ann", kinds);
        maintain_all(&mut writer, NOW);
        let (delete, _) = work(&mut writer, |writer| done(writer, "ann", delete_conversation(conversation)));
        let (step, steps) = maintain_all(&mut writer, NOW);
        assert!(steps <= 8 * cycles / PURGE_ROWS_MAX + 3, "{steps} steps for {cycles} cycles");
        writer.check_invariants();
        (delete, step)
    });
    assert_bounded("the deletion", small.0, large.0);
    assert_bounded("a step of the purge", small.1, large.1);
}

#[test]
fn no_command_takes_more_work_with_more_data() {
    if !support::is_sqlite() {
        return;
    }
    let [small, large] = [1000, 10_000].map(|rows| {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        add_crowd(&mut writer, rows);
        let workspace = add_workspace(&mut writer, "ann");
        let conversation = add_conversation(&mut writer, "ann", workspace, &["ben"]);
        let about = ConversationRef::Id(conversation);
        commit_all(&mut writer, "ben", (0..rows).map(|_| post(about, "x")));
        let Outcome::Posted { event, .. } = done(&mut writer, "ben", post(about, "last")) else { panic!() };
        let message = event.message_id().unwrap();
        maintain_all(&mut writer, NOW);
        let update = |participants: &[&str], content| CommandKind::UpdateConversation {
            conversation: about,
            topic: Some(Topic::new_unchecked(content)),
            participants: Some(participants.iter().map(|id| UserId::new_unchecked(*id)).collect()),
            metadata: None,
            api_variant: ApiVariant::Conversations,
        };
        // Each message is read once for its conversation, when a conversation is first asked for after it.
        done(&mut writer, "ann", update(&["ann", "ben"], "first"));
        let content = Some(Content::new("changed").unwrap());
        let everybody: Vec<String> = (0..PARTICIPANTS_MAX - 1).map(|number| format!("new-{number}")).collect();
        let everybody: Vec<&str> = everybody.iter().map(String::as_str).collect();
        let commands = [
            ("post", "ben", post(about, "x")),
            (
                "update a message",
                "ben",
                CommandKind::UpdateMessage { conversation: about, message, content, metadata: None },
            ),
            ("delete a message", "ben", CommandKind::DeleteMessage { conversation: about, message }),
            ("add a participant", "ann", update(&["ann", "ben", "cyd"], "a")),
            ("add participants", "ann", update(&everybody, "b")),
            ("remove participants", "ann", update(&["ann", "ben"], "c")),
            ("leave", "ben", CommandKind::LeaveConversation { conversation: about }),
            ("create a conversation", "ann", create_conversation(workspace, &["ben"])),
            ("delete a conversation", "ann", delete_conversation(conversation)),
            ("create a workspace", "ann", create_workspace()),
            ("delete a workspace", "ann", delete_workspace(workspace)),
        ];
        let mut found = Vec::new();
        for (what, user, kind) in commands {
            let (work, result) =
                work(&mut writer, |writer| writer.commit_batch(&[command(user, kind)], NOW).results.remove(0).result);
            assert!(result.is_ok(), "{what}: {result:?}");
            found.push((what, work));
        }
        let result = writer.commit_batch(&[command("ben", post(about, "x"))], NOW).results.remove(0).result;
        assert_eq!(result.err(), Some(Rejection::NotFound(Resource::Conversation)));
        found.push(("a step of maintenance", maintain_all(&mut writer, NOW).0));
        found
    });
    for ((what, small), (_, large)) in small.into_iter().zip(large) {
        assert_bounded(what, small, large);
    }
}

#[test]
fn a_step_of_retention_takes_the_same_work_for_any_number_of_events() {
    if !support::is_sqlite() {
        return;
    }
    let [small, large] = [1000, 10_000].map(|events| {
        let retention = Retention { events: 10, young_milliseconds: 0, ..Retention::default() };
        let mut writer =
            Writer::open(&StoreConfig { retention, ..StoreConfig::new(support::temporary_database()) }).unwrap();
        commit_all(&mut writer, "ann", (0..events).map(|_| create_workspace()));
        let (step, steps) = maintain_all(&mut writer, after_seconds(1));
        assert!(steps > events / PURGE_ROWS_MAX, "{steps}");
        step
    });
    assert_bounded("a step", small, large);
}

#[test]
fn a_changed_password_takes_the_same_work_for_any_number_of_rules() {
    if !support::is_sqlite() {
        return;
    }
    let [small, large] = [1000, 10_000].map(|rules| {
        let directory = support::TempDir::new();
        let path = directory.file("a.db");
        let mut writer = open(&path);
        let insert = "INSERT INTO users (oid, name, email, created_at, tokens_since, token_generation, password)
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            SELECT 'user-' || i, '', 'user-' || i, 1, 1, 1, 'hash' FROM n";
        writer.connection.db.sqlite().execute(insert, [rules]).unwrap();
        let loaded = writer.token_rules().unwrap();
        assert!(loaded.get(&UserId::new_unchecked(format!("user-{rules}"))).is_some());
        let change = CommandKind::SetPassword { verified: "hash".into(), hash: "other".into() };
        let mut change = command("user-1", change);
        change.actor.credential.generation = Some(1);
        let (by_user, committed) = work(&mut writer, |writer| writer.commit_batch(&[change], NOW));
        assert!(committed.results[0].result.is_ok());
        let rule = |rules: &TokenRules, id| match rules.get(&UserId::new_unchecked(id)) {
            Some(TokenRule::Since { generation, .. }) => Some(generation),
            _ => None,
        };
        let changed = committed.token_rules.expect("the rules changed");
        assert!(rule(&changed, "user-1") > rule(&loaded, "user-1"));
        assert_eq!(rule(&changed, "user-2"), Some(1));

        // The same from another process.
        let mut admin = Admin::open(&Database::File(path), false).unwrap();
        admin.disable(&UserSelector::Id(UserId::new_unchecked("user-3")), NOW.wall).unwrap();
        let (by_admin, committed) = work(&mut writer, |writer| writer.poll_external_writes());
        let changed = committed.unwrap().token_rules.expect("the rules changed");
        assert!(changed.rejects_all(&UserId::new_unchecked("user-3")));
        assert_eq!(rule(&changed, "user-2"), Some(1));

        // A rule that was changed and removed again, by whichever process, is removed.
        admin.enable(&UserSelector::Id(UserId::new_unchecked("user-3"))).unwrap();
        assert!(!writer.token_rules().unwrap().rejects_all(&UserId::new_unchecked("user-3")));
        writer.check_invariants();
        (by_user, by_admin)
    });
    assert_bounded("a change by the user", small.0, large.0);
    assert_bounded("a change by an administrator", small.1, large.1);
}

/// A connection may know of deleted messages, which a page passes over.
#[test]
fn a_short_page_passes_over_many_deleted_messages_at_once() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    let workspace = add_workspace(&mut writer, "ann");
    let conversation = ConversationRef::Id(add_conversation(&mut writer, "ann", workspace, &[]));
    let mut posted = Vec::new();
    for _ in 0..500 {
        let Outcome::Posted { event, .. } = done(&mut writer, "ann", post(conversation, "x")) else { panic!() };
        posted.push(event.message_id().unwrap());
    }
    let page = |writer: &mut Writer, cursor: MessageCursor| {
        let kind = QueryKind::Messages { conversation, cursor, limit: 1, with_reasoning: false };
        let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
        let query = Query { reply_to, caller: UserId::new_unchecked("ann"), kind };
        let (work, (response, _)) = work(writer, |writer| execute_in_steps(writer, &query, QUERY_ROWS_EXAMINED_MAX));
        let Ok(QueryResult::Messages(found)) = response.result else { panic!("{response:?}") };
        (work, found.messages.len())
    };
    assert_eq!(page(&mut writer, MessageCursor::First).1, 1);
    for cursor in [MessageCursor::After(posted[0]), MessageCursor::Before(posted[499])] {
        assert_eq!(page(&mut writer, cursor).1, 1);
    }
    let deleted = posted[1..499].iter().map(|message| CommandKind::DeleteMessage { conversation, message: *message });
    commit_all(&mut writer, "ann", deleted);
    for cursor in [MessageCursor::After(posted[0]), MessageCursor::Before(posted[499])] {
        let (work, found) = page(&mut writer, cursor);
        assert!(found == 1 && work < 20 * 500, "{found} {work}");
    }
}

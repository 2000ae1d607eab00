//! Users who were only named as participants are removed with the last row that names them.

use super::*;
use crate::store::Retention;
use crate::store::admin::account_rows::UserSelector;
use crate::store::admin::accounts::Admin;
use crate::store::{FlushLimits, export, import};

/// Retention that removes every event at once.
const NOTHING: Retention = Retention { seconds: 0, events: 0, bytes: 0, young_milliseconds: 0 };
const LATER: Now = Now { wall: WallTime(NOW.wall.0 + 1_000_000_000), mono: MonoTime(NOW.mono.0 + 1_000_000_000) };

fn count(writer: &Writer, table: &str) -> i64 {
    writer.connection.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn maintain_all(writer: &mut Writer, now: Now) {
    while maintain(writer, now) {}
    writer.check_invariants();
}

/// Reopens the database with a retention that removes all events, and lets maintenance do all its work.
fn forget_events(writer: Writer, config: &StoreConfig) -> Writer {
    writer.close();
    let mut writer = Writer::open(&StoreConfig { retention: NOTHING, ..config.clone() }).unwrap();
    maintain_all(&mut writer, LATER);
    assert_eq!(count(&writer, "released_users"), 0);
    writer.close();
    Writer::open(config).unwrap()
}

fn in_file(directory: &support::TempDir) -> StoreConfig {
    StoreConfig::new(support::database_at(&directory.file("a.db")))
}

fn remove_all_but_ann(conversation: ConversationId) -> CommandKind {
    CommandKind::UpdateConversation {
        conversation: ConversationRef::Id(conversation),
        topic: None,
        participants: Some(Vec::new()),
        metadata: None,
        api_variant: ApiVariant::Config,
    }
}

#[test]
fn named_users_are_removed_with_the_last_row_that_names_them() {
    let directory = support::TempDir::new();
    let config = in_file(&directory);
    let mut writer = Writer::open(&config).unwrap();
    let workspace = add_workspace(&mut writer, "ann");
    for request in 0..41 {
        let ids: Vec<String> = (0..255).map(|number| format!("named-{request}-{number}")).collect();
        add_conversation(&mut writer, "ann", workspace, &ids.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(count(&writer, "users"), 41 * 255 + 1);
    done(&mut writer, "ann", CommandKind::DeleteWorkspace { id: workspace });
    maintain_all(&mut writer, NOW);
    assert_eq!(count(&writer, "users"), 41 * 255 + 1, "the tombstones name them");
    let writer = forget_events(writer, &config);
    assert_eq!(count(&writer, "users"), 1);
    assert_eq!(count(&writer, "notified_users") + count(&writer, "workspace_deletions"), 0);
}

#[test]
fn users_who_wrote_or_were_administered_are_kept() {
    let directory = support::TempDir::new();
    let config = in_file(&directory);
    let mut writer = Writer::open(&config).unwrap();
    let workspace = add_workspace(&mut writer, "ann");
    let named = ["named", "writes", "disabled", "elsewhere", "owns"];
    let conversation = add_conversation(&mut writer, "ann", workspace, &named);
    let other = add_workspace(&mut writer, "ann");
    let kept = add_conversation(&mut writer, "ann", other, &["elsewhere"]);
    done(&mut writer, "writes", post(ConversationRef::Id(conversation), "x"));
    add_workspace(&mut writer, "owns");
    let mut admin = Admin::open(&config.database, false).unwrap();
    admin.disable(&UserSelector::Id(UserId::new_unchecked("disabled")), NOW.wall).unwrap();
    done(&mut writer, "ann", remove_all_but_ann(conversation));
    maintain_all(&mut writer, NOW);
    let mut writer = forget_events(writer, &config);
    let left = |writer: &Writer| {
        let mut users = writer.connection.db.prepare_cached("SELECT oid FROM users ORDER BY oid").unwrap();
        let users = users.query_map([], |row| row.get::<String>(0)).unwrap();
        users.collect::<Result<Vec<_>, _>>().unwrap().join(" ")
    };
    assert_eq!(left(&writer), "ann disabled elsewhere owns writes");

    // The last of them is removed when its last conversation is.
    let delete =
        CommandKind::DeleteConversation { conversation: ConversationRef::Id(kept), api_variant: ApiVariant::Config };
    done(&mut writer, "ann", delete);
    maintain_all(&mut writer, NOW);
    let writer = forget_events(writer, &config);
    assert_eq!(left(&writer), "ann disabled owns writes");
}

fn gap(writer: &mut Writer, user: &str, after: EventNumber) -> Option<EventNumber> {
    let filter = StreamFilter { conversation: None, workspace: None, kinds: crate::domain::event::KindSet::ALL };
    let kind = QueryKind::JournalPage { after, bytes_max: usize::MAX, filter };
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    let response = execute(writer, &Query { reply_to, caller: UserId::new_unchecked(user), kind });
    let QueryResult::JournalPage(page) = response.result.unwrap() else { panic!() };
    page.gap
}

#[test]
fn a_removed_user_still_gets_a_gap() {
    let directory = support::TempDir::new();
    let config = in_file(&directory);
    let mut writer = Writer::open(&config).unwrap();
    let workspace = add_workspace(&mut writer, "ann");
    let conversation = add_conversation(&mut writer, "ann", workspace, &["ben"]);
    done(&mut writer, "ann", remove_all_but_ann(conversation));
    let left = writer.position();
    let before = EventNumber(left.0 - 1);
    assert_eq!(gap(&mut writer, "ben", before), None, "the event is kept");
    let mut writer = forget_events(writer, &config);
    assert_eq!(count(&writer, "users"), 1);
    let check = |writer: &mut Writer| {
        assert_eq!(gap(writer, "ben", before), Some(left.next()));
        assert_eq!(gap(writer, "ben", left), None);
        assert_eq!(gap(writer, "cyd", EventNumber(0)), None, "a user who had no events");
    };
    check(&mut writer);

    // An import restores what the users without a row must get.
    let mut lines = Vec::new();
    let path = directory.file("a.db");
    export(&support::database_at(&path), &mut lines, false, &mut |_| {}).unwrap();
    let target = directory.file("b.db");
    import(&support::database_at(&target), &mut &lines[..], LATER.wall, &mut |_| {}).unwrap();
    let mut imported = open(&target);
    assert_eq!(gap(&mut imported, "ben", before), Some(left.next()));
    let mut again = Vec::new();
    export(&support::database_at(&target), &mut again, false, &mut |_| {}).unwrap();
    let after_header = |lines: &[u8]| lines.splitn(2, |byte| *byte == b'\n').nth(1).unwrap().to_vec();
    assert_eq!(after_header(&again), after_header(&lines));

    // So does a row that is inserted anew, whether the user is named or writes.
    add_conversation(&mut writer, "ann", workspace, &["ben"]);
    check(&mut writer);
    done(&mut writer, "ben", post(ConversationRef::Default, "x"));
    check(&mut writer);
}

#[test]
fn the_inbox_of_a_removed_user_is_removed_even_during_a_flush() {
    let flush = FlushLimits {
        inbox_flush_numbers: 1,
        inbox_entries_max: 1000,
        step_messages_max: 1000,
        step_users_max: 1,
        chunk_bytes_max: 1,
        index_flush_numbers: 1,
        index_flush_bytes: usize::MAX,
        step_indexed_max: 3,
    };
    let retention = Retention { events: 1, young_milliseconds: 0, ..Retention::default() };
    let config = StoreConfig { flush, retention, ..StoreConfig::new(support::temporary_database()) };
    let mut writer = Writer::open(&config).unwrap();
    let workspace = add_workspace(&mut writer, "ann");
    for round in 0..20 {
        let conversation = add_conversation(&mut writer, "ann", workspace, &["ben", "cyd", "dan"]);
        for _ in 0..700 {
            done(&mut writer, "ann", post(ConversationRef::Id(conversation), "x"));
        }
        for _ in 0..round % 4 {
            maintain(&mut writer, NOW);
        }
        let delete = CommandKind::DeleteWorkspace { id: workspace };
        let delete = if round == 19 { delete } else { remove_all_but_ann(conversation) };
        done(&mut writer, "ann", delete);
        maintain_all(&mut writer, LATER);
        // The last event may name some of them.
        add_workspace(&mut writer, "zoe");
        maintain_all(&mut writer, LATER);
        assert_eq!(count(&writer, "users"), 2);
        let inboxes = "(SELECT user FROM inbox UNION SELECT user FROM inbox_open) named WHERE user NOT IN (SELECT key FROM users)";
        assert_eq!(count(&writer, inboxes), 0);
    }
}

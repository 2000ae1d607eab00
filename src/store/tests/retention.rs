//! Retention: state events are removed when they are too old, too many or too large, in small steps.

use super::support::TempDir;
use super::*;
use crate::base::limits::PURGE_ROWS_MAX;
use crate::store::Retention;

/// Bounds that are never exceeded.
const ALL: Retention = Retention { seconds: i64::MAX, events: u64::MAX, bytes: u64::MAX, young_milliseconds: 240_000 };

fn open_with(retention: Retention) -> Writer {
    let config = StoreConfig { retention, ..StoreConfig::new(support::temporary_database()) };
    Writer::open(&config).unwrap()
}

fn select(writer: &Writer, expression: &str) -> i64 {
    writer.connection.db.query_row(&format!("SELECT {expression}"), [], |row| row.get(0)).unwrap()
}

fn events(writer: &Writer) -> i64 {
    select(writer, "count(*) FROM state_events")
}

/// Runs maintenance until no work is left. Returns the number of steps.
fn maintain_all(writer: &mut Writer, now: Now) -> usize {
    let mut steps = 1;
    while maintain(writer, now) {
        writer.check_invariants();
        steps += 1;
    }
    writer.check_invariants();
    steps
}

fn gap(writer: &mut Writer, user: &str, after: u64) -> Option<u64> {
    let filter = StreamFilter { conversation: None, workspace: None, kinds: crate::domain::event::KindSet::ALL };
    let kind = QueryKind::JournalPage { after: EventNumber(after), bytes_max: usize::MAX, filter };
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    let response = execute(writer, &Query { reply_to, caller: UserId::new_unchecked(user), kind });
    let QueryResult::JournalPage(page) = response.result.unwrap() else { panic!() };
    page.gap.map(|first| first.0)
}

#[test]
fn the_first_exceeded_bound_applies() {
    let later = after_seconds(1000);
    // The weight of each event of this test, in bytes.
    const WEIGHT: u64 = 206;
    let table = [
        ("none", ALL, 10),
        ("age", Retention { seconds: 1000 - 3, ..ALL }, 6),
        ("events", Retention { events: 4, ..ALL }, 4),
        ("bytes", Retention { bytes: 3 * WEIGHT, ..ALL }, 3),
        ("events before bytes", Retention { events: 2, bytes: 3 * WEIGHT, ..ALL }, 2),
        ("age before events", Retention { seconds: 0, events: 4, ..ALL }, 0),
        ("all events young", Retention { seconds: 0, events: 0, bytes: 0, young_milliseconds: 2_000_000 }, 10),
        ("some events young", Retention { seconds: 0, events: 0, bytes: 0, young_milliseconds: 995_500 }, 5),
    ];
    for (name, retention, kept) in table {
        let mut writer = open_with(retention);
        for second in 0..10 {
            writer.commit_batch(&[command("ann", create_workspace())], after_seconds(second));
        }
        assert_eq!(select(&writer, "bytes FROM journal_stats"), 10 * WEIGHT as i64);
        maintain_all(&mut writer, later);
        let left = events(&writer);
        assert_eq!(left, kept, "{name}");
        let lost = 10 - left;
        let first = if lost == 0 { None } else { Some(lost as u64 + 1) };
        assert_eq!(gap(&mut writer, "ann", 0), first, "{name}");
        #[cfg(feature = "cluster")]
        for after in [0, lost as u64] {
            let slice = writer.open_reader().unwrap().slice(EventNumber(after)).unwrap();
            assert_eq!(slice.is_some_and(|slice| slice.has_gap), after < lost as u64, "{name} after {after}");
        }
        assert_eq!(gap(&mut writer, "ann", lost as u64), None, "{name}");
        assert_eq!(gap(&mut writer, "ben", 0), None, "{name}");
        let next = writer.commit_batch(&[command("ann", create_workspace())], later);
        assert_eq!(next.through, EventNumber(11), "numbers continue");
    }
}

#[test]
fn the_recipients_of_one_event_are_removed_in_small_steps() {
    let retention = Retention { events: 1, ..ALL };
    let config = StoreConfig { retention, notified_rows_max: 1000, ..StoreConfig::new(support::temporary_database()) };
    let mut writer = Writer::open(&config).unwrap();
    let workspace = add_workspace(&mut writer, "ann");
    // The deletion of the workspace has more recipients than a step may remove.
    let people: Vec<String> = (0..600).map(|person| format!("person-{person}")).collect();
    for people in people.chunks(200) {
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        add_conversation(&mut writer, "ann", workspace, &people);
    }
    done(&mut writer, "ann", CommandKind::DeleteWorkspace { id: workspace });
    let last = writer.position().0;
    maintain_all(&mut writer, NOW);
    assert_eq!(events(&writer), 1, "the other events were purged with the workspace");
    assert_eq!(gap(&mut writer, "person-0", 0), None, "a purge causes no gap");

    add_workspace(&mut writer, "zoe");
    let later = after_seconds(241);
    let (mut most, mut gaps) = (0, 0);
    loop {
        let before = select(&writer, "count(*) FROM event_recipients");
        let more = maintain(&mut writer, later);
        writer.check_invariants();
        let removed = before - select(&writer, "count(*) FROM event_recipients");
        most = most.max(removed);
        for person in &people {
            // After every step, each recipient gets either the event or a gap.
            let deleted = gap(&mut writer, person, last - 1) == Some(last + 1);
            assert_ne!(deleted, replay(&mut writer, person).iter().any(|event| event.number.0 == last));
            gaps += usize::from(deleted && removed > 0);
        }
        if !more {
            break;
        }
    }
    assert!(most <= PURGE_ROWS_MAX as i64, "{most}");
    assert!((1200..1800).contains(&gaps), "all recipients get a gap, in several steps: {gaps}");
    assert_eq!(gap(&mut writer, "zoe", 0), None);
}

#[test]
fn a_removal_is_due_as_soon_as_an_event_is_old_enough() {
    let mut writer = open_with(Retention { events: 2, young_milliseconds: 5_000, ..ALL });
    assert_eq!(writer.maintenance_due(NOW), MaintenanceDue::Now, "an earlier process may have left work");
    maintain_all(&mut writer, NOW);
    add_workspace(&mut writer, "ann");
    add_workspace(&mut writer, "ann");
    assert_eq!(writer.maintenance_due(NOW), MaintenanceDue::Unknown);
    add_workspace(&mut writer, "ann");
    assert_eq!(writer.maintenance_due(NOW), MaintenanceDue::Now, "the batch has exceeded a bound");
    assert!(!maintain(&mut writer, NOW));
    let old_enough = after_seconds(5);
    assert_eq!((writer.maintenance_due(NOW), events(&writer)), (MaintenanceDue::At(old_enough.mono), 3));
    assert_eq!(writer.maintenance_due(old_enough), MaintenanceDue::Now);
    maintain_all(&mut writer, old_enough);
    assert_eq!((writer.maintenance_due(old_enough), events(&writer)), (MaintenanceDue::Unknown, 2));
    // A deletion causes work as well.
    let workspace = add_workspace(&mut writer, "ben");
    maintain_all(&mut writer, after_seconds(1 << 40));
    done(&mut writer, "ben", CommandKind::DeleteWorkspace { id: workspace });
    assert_eq!(writer.maintenance_due(NOW), MaintenanceDue::Now);
}

#[test]
fn a_removed_update_of_a_deleted_message_causes_no_gap() {
    let mut writer = open_with(Retention { events: 1, ..ALL });
    let workspace = add_workspace(&mut writer, "ann");
    let conversation = ConversationRef::Id(add_conversation(&mut writer, "ann", workspace, &[]));
    let Outcome::Posted { event, .. } = done(&mut writer, "ann", post(conversation, "said")) else { panic!() };
    let message = event.message_id().unwrap();
    let content = Some(Content::new("unsaid").unwrap());
    done(&mut writer, "ann", CommandKind::UpdateMessage { conversation, message, content, metadata: None });
    done(&mut writer, "ann", CommandKind::DeleteMessage { conversation, message });
    let changed = writer.position().0 - 1;
    maintain_all(&mut writer, after_seconds(241));
    assert_eq!(events(&writer), 1);
    assert_eq!(
        gap(&mut writer, "ann", 0),
        Some(3),
        "the events before are the creations of workspace and conversation"
    );
    assert_eq!(gap(&mut writer, "ann", changed - 1), None, "a replay would not have included the update");
}

/// Creates a workspace of `user` with a conversation, in which `updates` further events of equal weight follow.
fn busy_workspace(writer: &mut Writer, user: &str, participants: &[&str], updates: usize) -> ConversationId {
    let workspace = add_workspace(writer, user);
    let conversation = add_conversation(writer, user, workspace, participants);
    let kind = CommandKind::UpdateConversation {
        conversation: ConversationRef::Id(conversation),
        topic: Some(Topic::new_unchecked("t")),
        participants: None,
        metadata: None,
        api_variant: ApiVariant::Config,
    };
    for _ in 0..updates {
        done(writer, user, kind.clone());
    }
    conversation
}

/// The number of events that are replayed to each of `users`.
fn replayed<const N: usize>(writer: &mut Writer, users: [&str; N]) -> [usize; N] {
    users.map(|user| replay(writer, user).len())
}

#[test]
fn the_oldest_events_of_the_largest_share_are_removed_first() {
    // Each user has the same number of events in each case, and the bound is half of all.
    let many_workspaces = |writer: &mut Writer| {
        for _ in 0..80 {
            add_workspace(writer, "eve");
        }
    };
    let one_workspace = |writer: &mut Writer| {
        busy_workspace(writer, "eve", &[], 78);
    };
    type FillCase<'a> = (&'a str, &'a dyn Fn(&mut Writer));
    let table: [FillCase<'_>; 2] = [("many workspaces", &many_workspaces), ("one workspace", &one_workspace)];
    for (name, fill) in table {
        for by_bytes in [false, true] {
            let directory = TempDir::new();
            let mut config = StoreConfig::new(support::database_at(&directory.file("a.db")));
            let mut writer = Writer::open(&config).unwrap();
            busy_workspace(&mut writer, "ann", &[], 8);
            fill(&mut writer);
            busy_workspace(&mut writer, "ben", &[], 8);
            let own = replay(&mut writer, "eve");
            let bytes = select(&writer, "bytes FROM journal_stats") as u64;
            writer.close();
            // The shares survive a restart.
            config.retention = match by_bytes {
                false => Retention { events: 50, ..ALL },
                true => Retention { bytes: bytes / 2, ..ALL },
            };
            let mut writer = Writer::open(&config).unwrap();
            writer.check_invariants();
            // The age of the database starts with the first step.
            maintain_all(&mut writer, NOW);
            maintain_all(&mut writer, after_seconds(241));
            let [ann, ben, eve] = replayed(&mut writer, ["ann", "ben", "eve"]);
            assert_eq!([ann, ben], [10, 10], "{name}, {by_bytes}");
            let is_half = if by_bytes { (20..40).contains(&eve) } else { eve == 30 };
            assert!(is_half, "{name}, {by_bytes}: {eve}");
            let kept = replay(&mut writer, "eve");
            assert_eq!(kept[..], own[own.len() - eve..], "the oldest are removed");
            for user in ["ann", "ben"] {
                assert_eq!(gap(&mut writer, user, 0), None);
            }
            let newest_lost = own[own.len() - eve - 1].number.0;
            assert_eq!(gap(&mut writer, "eve", 0), Some(newest_lost + 1));
            assert_eq!(gap(&mut writer, "eve", newest_lost), None);
        }
    }
}

#[test]
fn a_flooded_workspace_spares_the_others_of_its_owner() {
    let mut writer = open_with(Retention { events: 20, ..ALL });
    maintain_all(&mut writer, NOW);
    let spared = busy_workspace(&mut writer, "ann", &["ben"], 3);
    let flooded = busy_workspace(&mut writer, "ann", &["cyd"], 30);
    maintain_all(&mut writer, after_seconds(241));
    let events = replay(&mut writer, "ann");
    let count = |id| events.iter().filter(|event| event.conversation_id == Some(id)).count();
    assert_eq!((events.len(), count(spared), count(flooded)), (20, 4, 15));
    let first = events.iter().find(|event| event.conversation_id == Some(flooded)).unwrap().number.0;
    let gaps = ["ann", "ben", "cyd"].map(|user| gap(&mut writer, user, 0));
    assert_eq!(gaps, [Some(first), None, Some(first)], "only the recipients of the removed events get a gap");
}

#[test]
fn owners_give_way_until_they_are_equal() {
    let mut writer = open_with(Retention { events: 30, ..ALL });
    maintain_all(&mut writer, NOW);
    for (user, updates) in [("ann", 2), ("ben", 30), ("cyd", 20), ("dan", 9)] {
        busy_workspace(&mut writer, user, &[], updates);
    }
    maintain_all(&mut writer, after_seconds(241));
    assert_eq!(replayed(&mut writer, ["ann", "ben", "cyd", "dan"]), [4, 8, 9, 9]);
}

#[test]
fn no_other_events_are_removed_while_the_largest_share_is_young() {
    let mut writer = open_with(Retention { events: 10, ..ALL });
    maintain_all(&mut writer, NOW);
    busy_workspace(&mut writer, "ann", &[], 6);
    let workspace = add_workspace(&mut writer, "eve");
    let later = after_seconds(200);
    writer.commit_batch(&vec![command("eve", create_conversation(workspace, &[])); 20], later);
    maintain_all(&mut writer, after_seconds(250));
    // The creation of the workspace is old enough.
    assert_eq!(replayed(&mut writer, ["ann", "eve"]), [8, 20]);
    assert_eq!(writer.maintenance_due(after_seconds(250)), MaintenanceDue::At(after_seconds(440).mono));
    maintain_all(&mut writer, after_seconds(441));
    assert_eq!(replayed(&mut writer, ["ann", "eve"]), [5, 5]);
}

/// Tombstones of a purged workspace belong to the share of its owner.
#[test]
fn tombstones_count_for_the_owner_of_the_deleted_workspace() {
    let mut writer = open_with(Retention { events: 12, ..ALL });
    maintain_all(&mut writer, NOW);
    busy_workspace(&mut writer, "ann", &[], 4);
    for _ in 0..20 {
        let workspace = add_workspace(&mut writer, "eve");
        done(&mut writer, "eve", CommandKind::DeleteWorkspace { id: workspace });
        maintain_all(&mut writer, NOW);
    }
    assert_eq!(replayed(&mut writer, ["ann", "eve"]), [6, 20]);
    maintain_all(&mut writer, after_seconds(241));
    assert_eq!(replayed(&mut writer, ["ann", "eve"]), [6, 6]);
    assert_eq!(select(&writer, "count(*) FROM journal_workspaces"), 7, "no share is empty");
}

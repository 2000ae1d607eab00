//! Retention: state events are removed when they are too old, too many or too large, in small steps.

use super::*;
use crate::base::limits::PURGE_ROWS_MAX;
use crate::base::time::SECOND;
use crate::store::Retention;

/// Bounds that are never exceeded.
const ALL: Retention = Retention { seconds: i64::MAX, events: u64::MAX, bytes: u64::MAX, young_milliseconds: 240_000 };

fn open_with(retention: Retention) -> Writer {
    let config = StoreConfig { retention, ..StoreConfig::new(Database::Memory) };
    Writer::open(&config).unwrap()
}

fn select(writer: &Writer, expression: &str) -> i64 {
    writer.connection.db.query_row(&format!("SELECT {expression}"), [], |row| row.get(0)).unwrap()
}

fn events(writer: &Writer) -> i64 {
    select(writer, "count(*) FROM state_events")
}

/// Runs maintenance until no work is left. Returns the number of steps.
fn maintain_all(writer: &mut Writer, now: WallTime) -> usize {
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
    let later = NOW.plus_seconds(1000);
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
            writer.commit_batch(&[command("ann", create_workspace())], NOW.plus_seconds(second));
        }
        assert_eq!(select(&writer, "bytes FROM journal_stats"), 10 * WEIGHT as i64);
        maintain_all(&mut writer, later);
        let left = events(&writer);
        assert_eq!(left, kept, "{name}");
        let lost = 10 - left;
        let first = if lost == 0 { None } else { Some(lost as u64 + 1) };
        assert_eq!(gap(&mut writer, "ann", 0), first, "{name}");
        assert_eq!(gap(&mut writer, "ann", lost as u64), None, "{name}");
        assert_eq!(gap(&mut writer, "ben", 0), None, "{name}");
        let next = writer.commit_batch(&[command("ann", create_workspace())], later);
        assert_eq!(next.through, EventNumber(11), "numbers continue");
    }
}

#[test]
fn the_recipients_of_one_event_are_removed_in_small_steps() {
    let retention = Retention { events: 1, ..ALL };
    let config = StoreConfig { retention, notified_rows_max: 1000, ..StoreConfig::new(Database::Memory) };
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
    let later = NOW.plus_seconds(241);
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
    let old_enough = WallTime(NOW.0 + 5 * SECOND);
    assert_eq!((writer.maintenance_due(NOW), events(&writer)), (MaintenanceDue::At(old_enough), 3));
    assert_eq!(writer.maintenance_due(old_enough), MaintenanceDue::Now);
    maintain_all(&mut writer, old_enough);
    assert_eq!((writer.maintenance_due(old_enough), events(&writer)), (MaintenanceDue::Unknown, 2));
    // A deletion causes work as well.
    let workspace = add_workspace(&mut writer, "ben");
    maintain_all(&mut writer, WallTime(i64::MAX / 4));
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
    maintain_all(&mut writer, NOW.plus_seconds(241));
    assert_eq!(events(&writer), 1);
    assert_eq!(
        gap(&mut writer, "ann", 0),
        Some(3),
        "the events before are the creations of workspace and conversation"
    );
    assert_eq!(gap(&mut writer, "ann", changed - 1), None, "a replay would not have included the update");
}

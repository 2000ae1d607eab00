//! Events that are no messages go when they are too old, too many or too large, in small steps.

use super::*;
use crate::base::limits::PURGE_ROWS_MAX;
use crate::base::time::SECOND;
use crate::store::Retention;

/// Bounds that nothing reaches.
const ALL: Retention = Retention { seconds: i64::MAX, events: u64::MAX, bytes: u64::MAX, young_milliseconds: 240_000 };

fn open_with(retention: Retention) -> Writer {
    let config = StoreConfig { retention, ..StoreConfig::new(Database::Memory) };
    Writer::open(&config).unwrap()
}

fn count(writer: &Writer, what: &str) -> i64 {
    writer.connection.db.query_row(&format!("SELECT {what}"), [], |row| row.get(0)).unwrap()
}

fn events(writer: &Writer) -> i64 {
    count(writer, "count(*) FROM state_events")
}

/// Steps until there is nothing left to do.
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
    let answer = answer(writer, &Query { reply_to, caller: UserId::new_unchecked(user), kind });
    let QueryResult::JournalPage(page) = answer.result.unwrap() else { panic!() };
    page.gap.map(|first| first.0)
}

#[test]
fn whichever_bound_is_reached_first_counts() {
    let later = NOW.plus_seconds(1000);
    // What each of the events weighs that this test makes.
    const WEIGHT: u64 = 206;
    let table = [
        ("none", ALL, 10),
        ("age", Retention { seconds: 1000 - 3, ..ALL }, 6),
        ("events", Retention { events: 4, ..ALL }, 4),
        ("bytes", Retention { bytes: 3 * WEIGHT, ..ALL }, 3),
        ("events before bytes", Retention { events: 2, bytes: 3 * WEIGHT, ..ALL }, 2),
        ("age before events", Retention { seconds: 0, events: 4, ..ALL }, 0),
        ("all of them young", Retention { seconds: 0, events: 0, bytes: 0, young_milliseconds: 2_000_000 }, 10),
        ("some of them young", Retention { seconds: 0, events: 0, bytes: 0, young_milliseconds: 995_500 }, 5),
    ];
    for (name, retention, kept) in table {
        let mut writer = open_with(retention);
        for second in 0..10 {
            writer.commit_batch(&[command("ann", create_workspace())], NOW.plus_seconds(second));
        }
        assert_eq!(count(&writer, "bytes FROM journal_stats"), 10 * WEIGHT as i64);
        maintain_all(&mut writer, later);
        let left = events(&writer);
        assert_eq!(left, kept, "{name}");
        let lost = 10 - left;
        let first = if lost == 0 { None } else { Some(lost as u64 + 1) };
        assert_eq!(gap(&mut writer, "ann", 0), first, "{name}");
        assert_eq!(gap(&mut writer, "ann", lost as u64), None, "{name}");
        assert_eq!(gap(&mut writer, "ben", 0), None, "{name}");
        let next = writer.commit_batch(&[command("ann", create_workspace())], later);
        assert_eq!(next.through, EventNumber(11), "numbers go on");
    }
}

#[test]
fn steps_are_small_also_within_one_event() {
    let mut writer = open_with(Retention { events: 1, ..ALL });
    let home = workspace(&mut writer, "ann");
    // The end of the workspace goes to more people than a step may have rows.
    let people: Vec<String> = (0..600).map(|person| format!("person-{person}")).collect();
    for people in people.chunks(200) {
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        conversation(&mut writer, "ann", home, &people);
    }
    done(&mut writer, "ann", CommandKind::DeleteWorkspace { id: home });
    let last = writer.position().0;
    maintain_all(&mut writer, NOW);
    assert_eq!(events(&writer), 1, "the rest went with the workspace");
    assert_eq!(gap(&mut writer, "person-0", 0), None, "which is no gap");

    workspace(&mut writer, "zoe");
    let later = NOW.plus_seconds(241);
    let (mut most, mut told) = (0, 0);
    loop {
        let before = count(&writer, "count(*) FROM event_recipients");
        let more = maintain(&mut writer, later);
        writer.check_invariants();
        most = most.max(before - count(&writer, "count(*) FROM event_recipients"));
        for person in &people {
            // At every step a person either still has the event or knows that it is gone.
            let gone = gap(&mut writer, person, last - 1) == Some(last + 1);
            assert_ne!(gone, replay(&mut writer, person).iter().any(|event| event.number.0 == last));
            told += usize::from(gone);
        }
        if !more {
            break;
        }
    }
    assert!(most <= PURGE_ROWS_MAX as i64, "{most}");
    assert!((1200..1800).contains(&told), "everybody is told at last, and not all at once: {told}");
    assert_eq!(gap(&mut writer, "zoe", 0), None);
}

#[test]
fn a_removal_is_due_as_soon_as_it_may_be() {
    let mut writer = open_with(Retention { events: 2, young_milliseconds: 5_000, ..ALL });
    assert_eq!(writer.maintenance_due(NOW), MaintenanceDue::Now, "what was left undone is not known");
    maintain_all(&mut writer, NOW);
    workspace(&mut writer, "ann");
    workspace(&mut writer, "ann");
    assert_eq!(writer.maintenance_due(NOW), MaintenanceDue::Unknown);
    workspace(&mut writer, "ann");
    assert_eq!(writer.maintenance_due(NOW), MaintenanceDue::Now, "the batch that passed a bound says so");
    assert!(!maintain(&mut writer, NOW));
    let old_enough = WallTime(NOW.0 + 5 * SECOND);
    assert_eq!((writer.maintenance_due(NOW), events(&writer)), (MaintenanceDue::At(old_enough), 3));
    assert_eq!(writer.maintenance_due(old_enough), MaintenanceDue::Now);
    maintain_all(&mut writer, old_enough);
    assert_eq!((writer.maintenance_due(old_enough), events(&writer)), (MaintenanceDue::Unknown, 2));
    // Deletion makes work as well.
    let home = workspace(&mut writer, "ben");
    maintain_all(&mut writer, WallTime(i64::MAX / 4));
    done(&mut writer, "ben", CommandKind::DeleteWorkspace { id: home });
    assert_eq!(writer.maintenance_due(NOW), MaintenanceDue::Now);
}

#[test]
fn a_change_that_vanished_with_its_message_leaves_no_gap() {
    let mut writer = open_with(Retention { events: 1, ..ALL });
    let home = workspace(&mut writer, "ann");
    let room = ConversationRef::Id(conversation(&mut writer, "ann", home, &[]));
    let Outcome::Posted { event, .. } = done(&mut writer, "ann", post(room, "said")) else { panic!() };
    let message = event.message_id().unwrap();
    let content = Some(Content::new("unsaid").unwrap());
    done(&mut writer, "ann", CommandKind::UpdateMessage { conversation: room, message, content, metadata: None });
    done(&mut writer, "ann", CommandKind::DeleteMessage { conversation: room, message });
    let changed = writer.position().0 - 1;
    maintain_all(&mut writer, NOW.plus_seconds(241));
    assert_eq!(events(&writer), 1);
    assert_eq!(gap(&mut writer, "ann", 0), Some(3), "the workspace and the conversation were made before");
    assert_eq!(gap(&mut writer, "ann", changed - 1), None, "a replay would have left the change out");
}

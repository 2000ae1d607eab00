//! The index of messages by conversation, and the newest messages that it lacks.

use super::support::TempDir;
use super::*;
use crate::base::random::Random;
use crate::store::config::FlushLimits;
use crate::store::sql::SqlConnection;
use crate::store::sql::values::{number, sql};
use crate::store::tables::conversation_index::{ConversationIndex, PageStart, indexed_through};
use crate::store::tables::inbox;

/// The numbers that the index has for a page, without those of deleted messages.
fn page(db: &SqlConnection, conversation: EventNumber, from: PageStart, limit: usize) -> Vec<EventNumber> {
    db.begin_snapshot().unwrap();
    let mut numbers = ConversationIndex::read(db).unwrap().numbers(conversation, from, limit).unwrap();
    let mut exists = db.prepare_cached("SELECT 1 FROM messages WHERE number = ?1").unwrap();
    numbers.retain(|number| exists.exists([sql(*number)]).unwrap());
    drop(exists);
    db.commit().unwrap();
    numbers
}

/// The numbers of a conversation's messages, found without the index.
fn stored(db: &SqlConnection, conversation: EventNumber) -> Vec<EventNumber> {
    let mut statement =
        db.prepare_cached("SELECT number FROM messages WHERE conversation + 0 = ?1 ORDER BY number").unwrap();
    let numbers = statement.query_map([sql(conversation)], |row| row.get(0).map(number)).unwrap();
    numbers.map(Result::unwrap).collect()
}

fn count(writer: &Writer, table: &str) -> i64 {
    writer.connection.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn limits(numbers: u64, bytes: usize, step: usize) -> FlushLimits {
    FlushLimits {
        index_flush_numbers: numbers,
        index_flush_bytes: bytes,
        step_indexed_max: step,
        step_messages_max: step,
        ..FlushLimits::default()
    }
}

fn open_with(path: &Path, flush: FlushLimits) -> Writer {
    Writer::open(&StoreConfig { flush, ..StoreConfig::new(support::database_at(path)) }).unwrap()
}

/// Several connections read while messages are posted, deleted and indexed; some of them rarely.
#[test]
fn every_connection_finds_the_messages_of_a_conversation() {
    if !support::is_sqlite() {
        return;
    }
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let directory = TempDir::new();
        let path = directory.file("a.db");
        let mut writer = open_with(&path, limits(1 + random.below(30), usize::MAX, 1 + random.below(4) as usize));
        let workspace = add_workspace(&mut writer, "ann");
        let mut made: Vec<ConversationId> =
            (0..5).map(|_| add_conversation(&mut writer, "ann", workspace, &[])).collect();
        let readers: Vec<SqlConnection> = (0..3).map(|_| writer.connection.open_reading().unwrap().0).collect();
        let mut messages = Vec::new();
        for _ in 0..250 {
            let place = random.below(made.len() as u64) as usize;
            match random.below(20) {
                0..12 => {
                    let kind = post(ConversationRef::Id(made[place]), "x");
                    let Outcome::Posted { event, .. } = done(&mut writer, "ann", kind) else { panic!() };
                    messages.push((made[place], event.message_id().unwrap()));
                }
                12..14 if !messages.is_empty() => {
                    let (conversation, message) = messages.swap_remove(random.below(messages.len() as u64) as usize);
                    let conversation = ConversationRef::Id(conversation);
                    done(&mut writer, "ann", CommandKind::DeleteMessage { conversation, message });
                }
                14 if made.len() > 3 => {
                    let deleted = made.swap_remove(place);
                    messages.retain(|(conversation, _)| *conversation != deleted);
                    let conversation = ConversationRef::Id(deleted);
                    let api_variant = ApiVariant::Config;
                    done(&mut writer, "ann", CommandKind::DeleteConversation { conversation, api_variant });
                }
                15 => made.push(add_conversation(&mut writer, "ann", workspace, &[])),
                _ => drop(writer.maintain(NOW)),
            }
            // A connection that has not read for a while finds a part of what it knows in the index.
            let reader = random.below(10) as usize;
            let db = readers.get(reader).unwrap_or(&writer.connection.db);
            for id in &made {
                let (conversation, _) = writer.meta.ids.open(id.0).unwrap();
                let all = stored(db, conversation);
                assert_eq!(page(db, conversation, PageStart::After(EventNumber(0)), 1000), all, "seed {seed}");
                let reversed: Vec<EventNumber> = all.iter().rev().copied().collect();
                assert_eq!(page(db, conversation, PageStart::End, 1000), reversed, "seed {seed}");
                let bound = EventNumber(random.below(1 + writer.position().0));
                let after: Vec<EventNumber> = all.iter().copied().filter(|number| *number > bound).collect();
                assert_eq!(page(db, conversation, PageStart::After(bound), 1000), after, "seed {seed}");
                let before: Vec<EventNumber> = reversed.iter().copied().filter(|number| *number < bound).collect();
                assert_eq!(page(db, conversation, PageStart::Before(bound), 1000), before, "seed {seed}");
                // Numbers of deleted messages may be among the first.
                let first = page(db, conversation, PageStart::After(bound), 3);
                assert!(first.len() <= 3 && after.starts_with(&first), "seed {seed}");
                let last = page(db, conversation, PageStart::Before(bound), 3);
                assert!(last.len() <= 3 && before.starts_with(&last), "seed {seed}");
            }
            writer.check_invariants();
        }
    }
}

#[test]
fn what_a_transaction_reads_is_forgotten_with_it() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    let workspace = add_workspace(&mut writer, "ann");
    let [first, second] = [0, 1].map(|_| add_conversation(&mut writer, "ann", workspace, &[]));
    done(&mut writer, "ann", post(ConversationRef::Id(first), "x"));
    let position = writer.position();
    let ids = writer.meta.ids.clone();
    let [first_number, second_number] = [first, second].map(|id| ids.open(id.0).unwrap().0);
    let db = &writer.connection.db;
    fn newest(db: &SqlConnection, conversation: EventNumber) -> Vec<EventNumber> {
        ConversationIndex::read(db).unwrap().numbers(conversation, PageStart::End, 1).unwrap()
    }
    db.begin().unwrap();
    let copy = "INSERT INTO messages SELECT number + 1, conversation, sender, role, status, reply_to, published_by, created_at,
        updated_at, correlation_id, metadata, content, error FROM messages";
    db.execute_batch(copy).unwrap();
    assert_eq!(newest(db, first_number), [position.next()]);
    db.roll_back().unwrap();
    done(&mut writer, "ann", post(ConversationRef::Id(second), "y"));
    let db = &writer.connection.db;
    assert_eq!((newest(db, first_number), newest(db, second_number)), (vec![position], vec![position.next()]));
}

#[test]
fn many_messages_or_bytes_begin_a_flush() {
    if !support::is_sqlite() {
        return;
    }
    let (long, object) = ("x".repeat(200), Metadata::new_unchecked(format!(r#"{{"x":"{:200}"}}"#, "")));
    for (limits, text, metadata) in [
        (limits(12, usize::MAX, 2), "x", Metadata::empty()),
        (limits(1_000_000, 1000, 2), &long, Metadata::empty()),
        (limits(1_000_000, 1000, 2), "x", object),
    ] {
        let directory = TempDir::new();
        let mut writer = open_with(&directory.file("a.db"), limits);
        let workspace = add_workspace(&mut writer, "ann");
        let conversation = ConversationRef::Id(add_conversation(&mut writer, "ann", workspace, &[]));
        while maintain(&mut writer, NOW) {}
        let mut posted = 0;
        while writer.maintenance_due(NOW) == MaintenanceDue::Unknown {
            let (role, content) = (Role::User, Content::new(text).unwrap());
            let api_variant = ApiVariant::Config;
            let kind =
                CommandKind::PostMessage { conversation, role, content, metadata: metadata.clone(), api_variant };
            done(&mut writer, "ann", kind);
            posted += 1;
        }
        assert!((5..=12).contains(&posted), "{posted}");
        // The transaction that made the flush due had a step of it.
        assert!(count(&writer, "conversation_index") <= 2);
        let mut steps = 2;
        while maintain(&mut writer, NOW) {
            steps += 1;
        }
        assert!(steps >= posted / 2, "a step adds at most two messages: {steps}");
        assert_eq!(count(&writer, "conversation_index"), posted);
        assert_eq!(indexed_through(&writer.connection.db).unwrap(), writer.position());
        writer.check_invariants();
    }
}

/// The rows of a deleted conversation are found by the index, so its newest messages are added to it first.
#[test]
fn a_deleted_conversation_is_purged_as_a_whole() {
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    let workspace = add_workspace(&mut writer, "ann");
    let [deleted, kept] = [0, 1].map(|_| add_conversation(&mut writer, "ann", workspace, &[]));
    for _ in 0..100 {
        done(&mut writer, "ann", post(ConversationRef::Id(deleted), "x"));
        done(&mut writer, "ann", post(ConversationRef::Id(kept), "y"));
    }
    let conversation = ConversationRef::Id(deleted);
    done(&mut writer, "ann", CommandKind::DeleteConversation { conversation, api_variant: ApiVariant::Config });
    while maintain(&mut writer, NOW) {}
    assert_eq!((count(&writer, "messages"), count(&writer, "conversations")), (100, 1));
    assert_eq!(count(&writer, "conversation_index"), 100);
    writer.check_invariants();
}

/// Both flushes keep up with the largest transactions, without steps between them.
#[test]
fn the_index_and_the_inboxes_keep_up_with_commands() {
    let directory = TempDir::new();
    let limits = FlushLimits { inbox_flush_numbers: 256, step_users_max: 8, ..limits(256, usize::MAX, 32) };
    let mut writer = open_with(&directory.file("a.db"), FlushLimits { step_indexed_max: 4, ..limits });
    let workspace = add_workspace(&mut writer, "ann");
    let made: Vec<ConversationRef> = (0..100)
        .map(|user| ConversationRef::Id(add_conversation(&mut writer, "ann", workspace, &[&format!("user{user}")])))
        .collect();
    while maintain(&mut writer, NOW) {}
    for from in 0..1000 {
        let commands: Vec<Command> =
            (0..8).map(|at| command("ann", post(made[(8 * from + at) % made.len()], "x"))).collect();
        writer.commit_batch(&commands, NOW);
    }
    let flushed_through = inbox::load_watermark(&writer.connection.db).unwrap().flushed_through;
    let indexed_through = indexed_through(&writer.connection.db).unwrap();
    let newest = writer.position();
    let lacking = [flushed_through, indexed_through.min(newest)].map(|through| newest.0 - through.0);
    assert!(lacking.iter().all(|lacking| *lacking < 1024), "{lacking:?}");
}

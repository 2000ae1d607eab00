//! Several instances that serve one database on a server.

use super::*;
use crate::base::limits::CONTENT_BYTES_MAX;
use crate::base::random::Random;
use crate::domain::result::{Rejection, Resource};
use crate::store::admin::account_rows::UserSelector;
use crate::store::admin::accounts::Admin;
use std::thread;
use std::time::Duration;

const USERS: [&str; 4] = ["ann", "ben", "cleo", "dan"];

/// Events whose recipients are sorted.
fn sorted(events: &[Arc<Event>]) -> Vec<Event> {
    let mut events: Vec<Event> = events.iter().map(|event| Event::clone(event)).collect();
    for event in &mut events {
        let mut recipients = event.recipients.to_vec();
        recipients.sort_unstable();
        event.recipients = recipients.into();
    }
    events
}

/// The events of all slices after a number.
fn slices(reader: &mut Reader, mut after: EventNumber) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(slice) = reader.slice(after).unwrap() {
        assert_eq!(slice.after, after);
        events.extend(sorted(&slice.events));
        after = slice.through;
    }
    events
}

fn open_both() -> (Writer, Writer, StoreConfig) {
    let config = StoreConfig::new(support::temporary_database());
    (Writer::open(&config).unwrap(), Writer::open(&config).unwrap(), config)
}

#[test]
fn a_long_journal_is_read_in_several_slices() {
    if support::is_sqlite() {
        return;
    }
    let (mut writer, _, _) = open_both();
    let mut reader = writer.open_reader().unwrap();
    let long = "x".repeat(CONTENT_BYTES_MAX);
    let mut emitted = Vec::new();
    for text in [&long, "a", &long, &long, &long, &long, &long, &long, &long, &long, "b"] {
        let command = command("ann", post(ConversationRef::Default, text));
        emitted.extend(sorted(&writer.commit_batch(&[command], NOW).events));
    }
    let first = reader.slice(EventNumber(0)).unwrap().unwrap();
    assert!(first.through < writer.position() && first.events.len() > 3, "{}", first.events.len());
    assert_eq!(slices(&mut reader, EventNumber(0)), emitted);
    assert_eq!(reader.slice(writer.position()).unwrap(), None);
}

/// Any other writer's change of a cached row was missed if it is still in a cache after the next transaction.
#[test]
fn a_writer_drops_from_its_cache_what_others_have_changed() {
    if support::is_sqlite() {
        return;
    }
    let config = StoreConfig::new(support::temporary_database());
    let mut writers: Vec<Writer> = (0..3).map(|_| Writer::open(&config).unwrap()).collect();
    let mut reader = writers[0].open_reader().unwrap();
    let mut admin = Admin::open(&config.database, false).unwrap();
    let mut random = Random::new(5);
    let (mut workspaces, mut conversations) = (Vec::new(), Vec::new());
    let (mut accepted, mut rejected) = (0, 0);
    for step in 0..400 {
        let user = USERS[random.below(4) as usize];
        let others: Vec<&str> = USERS.into_iter().filter(|_| random.below(2) == 0).collect();
        let participants = || others.iter().map(|id| UserId::new_unchecked(*id)).collect::<Vec<_>>();
        let any = |random: &mut Random, of: usize| random.below(of as u64) as usize;
        let update =
            |conversation: ConversationId, participants, metadata: Option<&str>| CommandKind::UpdateConversation {
                conversation: ConversationRef::Id(conversation),
                topic: None,
                participants,
                metadata: metadata.map(Metadata::new_unchecked),
                api_variant: ApiVariant::Config,
            };
        let kind = match random.below(12) {
            0 => create_workspace(),
            1 | 2 if !workspaces.is_empty() => {
                create_conversation(workspaces[any(&mut random, workspaces.len())], &others)
            }
            3 | 4 if !conversations.is_empty() => {
                update(conversations[any(&mut random, conversations.len())], Some(participants()), None)
            }
            5 if !conversations.is_empty() => {
                let responder = ["{\"responder\":\"none\"}", "{\"responder\":null}"][any(&mut random, 2)];
                update(conversations[any(&mut random, conversations.len())], None, Some(responder))
            }
            6 if conversations.len() > 5 => CommandKind::DeleteConversation {
                conversation: ConversationRef::Id(conversations[any(&mut random, conversations.len())]),
                api_variant: ApiVariant::Config,
            },
            7 if workspaces.len() > 3 => {
                CommandKind::DeleteWorkspace { id: workspaces[any(&mut random, workspaces.len())] }
            }
            8 => {
                let selector = UserSelector::Id(UserId::new_unchecked(user));
                // A user that has written nothing yet is unknown.
                let _ = if random.below(4) == 0 { admin.disable(&selector, NOW.wall) } else { admin.enable(&selector) };
                continue;
            }
            _ if !conversations.is_empty() => {
                post(ConversationRef::Id(conversations[any(&mut random, conversations.len())]), "x")
            }
            _ => post(ConversationRef::Default, "x"),
        };
        let mut command = command(user, kind);
        command.actor.name = Some(format!("{user} {}", random.below(3)).into());
        let writer = &mut writers[random.below(3) as usize];
        let mut committed = writer.commit_batch(&[command], after_seconds(step));
        assert_eq!(slices(&mut reader, committed.before), sorted(&committed.events), "what was emitted");
        match committed.results.remove(0).result {
            Ok(Outcome::WorkspaceCreated(workspace)) => workspaces.push(workspace.id),
            Ok(Outcome::ConversationCreated { conversation, .. }) => conversations.push(conversation.id),
            Ok(_) => accepted += 1,
            Err(_) => rejected += 1,
        }
        writer.check_invariants();
        if random.below(8) == 0 {
            maintain(writer, after_seconds(step));
            writer.check_invariants();
        }
    }
    assert!(accepted > 60 && rejected > 20, "{accepted} accepted, {rejected} rejected");
}

#[test]
fn a_lease_that_expires_is_ended_by_others_and_renewed_by_a_turn() {
    if support::is_sqlite() {
        return;
    }
    let (mut first, mut second, _) = open_both();
    let (one, two) = (first.instance().unwrap(), second.instance().unwrap());
    assert!(one < two);
    done(&mut first, "ann", post(ConversationRef::Default, "x"));
    done(&mut second, "ann", post(ConversationRef::Default, "x"));
    assert!(first.connection.leads() && !second.connection.leads(), "the first one leads");
    // An instance that has just begun leaves the others alone for a lease.
    first.execute_batch("UPDATE instances SET alive_until = clock_timestamp() - interval '1 s' WHERE id = 1");
    done(&mut second, "ann", post(ConversationRef::Default, "x"));
    assert!(!second.connection.leads());
    thread::sleep(Duration::from_secs(6));
    second.execute_batch("UPDATE instances SET alive_until = clock_timestamp() + interval '5 s' WHERE id = 2");
    // It takes the first one's lease when it rests, or in its next turn.
    while !second.connection.leads() {
        second.poll_external_writes();
        thread::sleep(Duration::from_millis(50));
    }
    done(&mut first, "ann", post(ConversationRef::Default, "x"));
    assert!(first.instance().unwrap() > two, "an id is never used again");
    done(&mut first, "ann", post(ConversationRef::Default, "x"));
    assert!(!first.connection.leads());
    second.close();
    done(&mut first, "ann", post(ConversationRef::Default, "x"));
    assert!(first.connection.leads(), "an instance that ends gives its lease back");
    first.check_invariants();
}

#[test]
fn an_instance_whose_id_another_one_has_registers_anew() {
    if support::is_sqlite() {
        return;
    }
    let (mut first, mut second, config) = open_both();
    let posted = |writer: &mut Writer| done(writer, "ann", post(ConversationRef::Default, "x"));
    posted(&mut second);
    // As if the server had lost the end of its log, with the registration of the second instance.
    let lose_second = |first: &mut Writer, id: InstanceId| {
        first.execute_batch(&format!(
            "DELETE FROM instances WHERE id = {0}; ALTER TABLE instances ALTER COLUMN id RESTART WITH {0}",
            id.0
        ));
        Writer::open(&config).unwrap()
    };
    let lost = second.instance().unwrap();
    let mut third = lose_second(&mut first, lost);
    assert_eq!(third.instance(), Some(lost));
    second.poll_external_writes();
    assert!(second.instance().unwrap() > lost, "it notices while it rests");
    let lost = second.instance().unwrap();
    let mut fourth = lose_second(&mut first, lost);
    assert_eq!(fourth.instance(), Some(lost));
    posted(&mut second);
    assert!(second.instance().unwrap() > lost, "it notices in its turn");
    second.close();
    posted(&mut first);
    assert_eq!(first.connection.others(), 2);
    posted(&mut third);
    posted(&mut fourth);
    assert!(third.instance() < fourth.instance() && fourth.instance() == Some(lost), "they keep their leases");

    fourth.connection.begin().unwrap();
    first.execute_batch(&format!("UPDATE instances SET token = NULL WHERE id = {}", lost.0));
    assert!(fourth.connection.commit().is_err(), "a turn of an instance without a lease fails");
    fourth.connection.roll_back();
    posted(&mut fourth);
    assert!(fourth.instance().unwrap() > lost);
    fourth.check_invariants();
}

#[test]
fn a_session_that_stopped_in_its_turn_is_ended() {
    if support::is_sqlite() {
        return;
    }
    let (mut first, mut second, _) = open_both();
    done(&mut first, "ann", post(ConversationRef::Default, "x"));
    // Only a waiter ends it: the server itself would wait for ten minutes.
    first.execute_batch("SET idle_in_transaction_session_timeout = 600000");
    first.connection.begin().unwrap();
    done(&mut second, "ann", post(ConversationRef::Default, "y"));
    let late = first.commit_batch(&[command("ann", post(ConversationRef::Default, "z"))], NOW);
    let number = late.through;
    assert!(late.results[0].result.is_ok() || number == second.position(), "{late:?}");
    done(&mut first, "ann", post(ConversationRef::Default, "z"));
    first.check_invariants();
}

#[test]
fn a_command_whose_session_was_lost_before_the_commit_runs_again() {
    if support::is_sqlite() {
        return;
    }
    let (mut first, _, _) = open_both();
    first.execute_batch(
        "CREATE SEQUENCE commits;
        CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('commits') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER end_session AFTER UPDATE ON journal_head DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION end_session()",
    );
    done(&mut first, "ann", post(ConversationRef::Default, "x"));
    assert_eq!(
        (first.fault(), replay(&mut first, "ann").iter().filter(|event| event.message().is_some()).count()),
        (None, 1)
    );
    first.check_invariants();
}

#[test]
fn reads_after_a_lost_session_succeed() {
    if support::is_sqlite() {
        return;
    }
    let (mut first, _, _) = open_both();
    done(&mut first, "ann", post(ConversationRef::Default, "x"));
    let mut reader = first.open_reader().unwrap();
    let mut end_others = || {
        first.execute_batch(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    };
    let filter = StreamFilter { conversation: None, workspace: None, kinds: crate::domain::event::KindSet::ALL };
    let kind = QueryKind::JournalPage { after: EventNumber(0), bytes_max: usize::MAX, filter };
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    let query = Query { reply_to, caller: UserId::new_unchecked("ann"), kind };
    end_others();
    assert!(execute_on(&mut reader, &query).result.is_ok());
    end_others();
    assert_eq!(reader.password_of(&UserId::new_unchecked("ann")), Ok(None));
    end_others();
    assert!(reader.slice(EventNumber(0)).unwrap().is_some());
    end_others();
    assert!(execute_on(&mut reader, &query).result.is_ok());
}

#[test]
fn what_another_instance_has_deleted_is_gone() {
    if support::is_sqlite() {
        return;
    }
    let (mut first, mut second, _) = open_both();
    let workspace = add_workspace(&mut first, "ann");
    let conversation = add_conversation(&mut first, "ann", workspace, &["ben"]);
    let posted = |writer: &mut Writer| {
        let command = command("ben", post(ConversationRef::Id(conversation), "x"));
        writer.commit_batch(&[command], NOW).results.remove(0).result
    };
    assert!(posted(&mut first).is_ok() && posted(&mut second).is_ok());
    done(&mut second, "ann", CommandKind::DeleteWorkspace { id: workspace });
    assert_eq!(posted(&mut first).unwrap_err(), Rejection::NotFound(Resource::Conversation));
    first.check_invariants();
}

#[test]
fn numbers_leap_when_the_server_continues_on_a_new_timeline() {
    if support::is_sqlite() {
        return;
    }
    let (mut first, mut second, _) = open_both();
    let posted = |writer: &mut Writer| {
        done(writer, "ann", post(ConversationRef::Default, "x"));
        writer.position()
    };
    posted(&mut first);
    let before = posted(&mut second);
    // As if a standby had been promoted that had everything. The first instance notices while it rests.
    second.execute_batch("UPDATE journal_head SET timeline = 0");
    first.probe();
    assert!(first.position() > EventNumber(before.0 + 1000));
    assert!(posted(&mut second) > first.position());
    posted(&mut first);
    assert!(!first.has_new_epoch() && !second.has_new_epoch(), "nothing is missing");
    let reader = second.open_reader().unwrap();
    assert_eq!(gap_after(reader, before), None);

    // As if that standby had lacked the last event of the first instance.
    let known = posted(&mut first);
    second.execute_batch(&format!(
        "DELETE FROM messages WHERE number = {known}; \
         UPDATE journal_head SET timeline = 0, number = number - 1, turn = turn - 1"
    ));
    let next = posted(&mut first);
    assert!(next > EventNumber(known.0 + 1000), "a number that was shown is not assigned again");
    posted(&mut first);
    assert!(first.has_new_epoch());
    posted(&mut second);
    assert!(second.has_new_epoch(), "every instance notices");
    let reader = second.open_reader().unwrap();
    assert!(gap_after(reader, known).is_some(), "the event is missing");
}

/// The gap that a stream after a number gets.
fn gap_after(mut reader: Reader, after: EventNumber) -> Option<EventNumber> {
    let filter = StreamFilter { conversation: None, workspace: None, kinds: crate::domain::event::KindSet::ALL };
    let kind = QueryKind::JournalPage { after, bytes_max: usize::MAX, filter };
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    let query = Query { reply_to, caller: UserId::new_unchecked("ann"), kind };
    let QueryResult::JournalPage(page) = execute_on(&mut reader, &query).result.unwrap() else { panic!() };
    page.gap
}

//! Numbers, times, batches, repeated requests, users and passwords, and what opening a database may meet.

use crate::common::support::TempDir;
use crate::common::*;
use cortex_core::internals::limits::{IDEMPOTENCY_RETENTION_SECONDS, LIST_BYTES_MAX, METADATA_BYTES_MAX};
use cortex_core::internals::{
    Command, CommandKind, CommandResult, ConversationId, ConversationRef, Database, EventNumber, Idempotency,
    MessageId, Metadata, Outcome, Pagination, QueryKind, QueryResult, Reader, Rejection, Resource, StoreConfig,
    TokenRule, UserId, UserProfile, WallTime, WorkspaceDescription, WorkspaceName, Writer,
};
use std::sync::Arc;

#[test]
fn numbers_are_never_used_twice() {
    let mut world = World::in_file();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &[]);
    let last = world.post("ann", conversation, "x").number;
    world.done("ann", CommandKind::DeleteWorkspace { id: workspace });
    assert_eq!(world.writer().position(), last.next());
    world.maintain_all();
    world.reopen();
    assert_eq!(world.writer().position(), last.next());
    let (receipt, _) = world.act("ann", create_workspace("w"));
    assert_eq!(receipt.number, Some(EventNumber(last.0 + 2)));
}

#[test]
fn times_grow_when_the_clock_goes_back() {
    let mut world = World::in_file();
    let mut last = WallTime(0);
    for (step, clock) in [0, 5_000_000, -3_000_000, -86_400_000_000, 5_000_001].into_iter().enumerate() {
        world.now = WallTime(START.0 + clock);
        if step == 3 {
            world.reopen();
        }
        let (_, events) = world.act("ann", post(ConversationRef::Default, "x"));
        for event in events {
            assert!(event.at > last, "step {step}");
            let message = event.message();
            assert!(message.is_none_or(|message| message.created_at == event.at));
            last = event.at;
        }
    }
    assert!(last.0 < START.0 + 6_000_000, "a clock that went back is caught up with in microseconds, not ahead of");
    world.writer().check_invariants();
}

#[test]
fn ids_grow_in_commit_order() {
    let mut world = World::in_memory();
    let mut last = MessageId(uuid::Uuid::nil());
    for round in 0..200 {
        world.now = WallTime(START.0 - round * 7);
        let (_, events) = world.act("ann", post(ConversationRef::Default, "x"));
        let id = events.last().unwrap().message().unwrap().id;
        assert!(id > last);
        last = id;
    }
}

#[test]
fn one_refusal_in_a_batch_leaves_the_others() {
    let mut world = World::in_file();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &["ben"]);
    let here = ConversationRef::Id(conversation);
    let committed = world.commit(&[
        command("ann", post(here, "one")),
        command("dan", post(here, "a stranger's")),
        command("ben", post(here, "two")),
        command("ann", delete_conversation(conversation)),
        command("ben", post(here, "too late")),
        command("ann", CommandKind::SetPassword { hash: "x".into() }),
        command("eve", create_workspace("w")),
    ]);
    let results: Vec<bool> = committed.results.iter().map(|receipt| receipt.result.is_ok()).collect();
    assert_eq!(results, [true, false, true, true, false, false, true]);
    assert_eq!(committed.events.len(), 4);
    assert_eq!(committed.results[4].result.as_ref().unwrap_err(), &Rejection::NotFound(Resource::Conversation));
    world.writer().check_invariants();
    // Who was refused has not been written down, so "first seen" is still to come.
    let (receipt, _) = world.act("dan", create_workspace("w"));
    assert!(receipt.result.is_ok());
}

fn keyed(user: &str, key: &str, fingerprint: u8, text: &str) -> Command {
    let mut command = command(user, post(ConversationRef::Default, text));
    command.idempotency = Some(Idempotency { key: key.into(), fingerprint: [fingerprint; 32] });
    command
}

/// The body and number of a replayed answer; `None` for a first one.
fn replayed(receipt: &CommandResult) -> Option<(Arc<[u8]>, Option<EventNumber>)> {
    match receipt.result.as_ref().unwrap() {
        Outcome::Replayed { body, number } => {
            assert_eq!(*number, receipt.number);
            Some((body.clone(), *number))
        }
        _ => None,
    }
}

#[test]
fn a_repeated_request_gets_the_first_answer() {
    let mut world = World::in_file();
    let first = world.commit(&[keyed("ann", "k", 1, "x")]);
    let kept = (render(first.results[0].result.as_ref().unwrap()).into(), first.results[0].number);
    assert!(first.results[0].number.is_some());

    for _ in 0..2 {
        let again = world.commit(&[keyed("ann", "k", 1, "x")]);
        assert_eq!(replayed(&again.results[0]), Some(kept.clone()));
        assert!(again.events.is_empty(), "nothing is stored");
        world.reopen();
    }
    let other = world.commit(&[keyed("ann", "k", 2, "y")]);
    assert_eq!(other.results[0].result.as_ref().unwrap_err(), &Rejection::IdempotencyKeyReused);
    assert!(replayed(&world.commit(&[keyed("ben", "k", 1, "x")]).results[0]).is_none(), "keys are per user");

    let twice = world.commit(&[keyed("ann", "two", 1, "x"), keyed("ann", "two", 1, "x"), keyed("ann", "two", 3, "x")]);
    let body = render(twice.results[0].result.as_ref().unwrap());
    assert_eq!(&*replayed(&twice.results[1]).unwrap().0, &*body);
    assert_eq!(twice.results[2].result.as_ref().unwrap_err(), &Rejection::IdempotencyKeyReused);
    assert_eq!(twice.events.len(), 1);
    world.writer().check_invariants();
}

#[test]
fn keys_of_refused_and_of_old_requests_do_not_count() {
    let mut world = World::in_memory();
    let mut refused = keyed("ann", "k", 1, "x");
    refused.kind = post(ConversationRef::Id(ConversationId(uuid::Uuid::nil())), "x");
    assert!(world.commit(&[refused]).results[0].result.is_err());
    assert!(replayed(&world.commit(&[keyed("ann", "k", 2, "x")]).results[0]).is_none());

    world.now = world.now.plus_seconds(IDEMPOTENCY_RETENTION_SECONDS - 1);
    assert!(replayed(&world.commit(&[keyed("ann", "k", 2, "x")]).results[0]).is_some());
    world.now = world.now.plus_seconds(2);
    assert!(replayed(&world.commit(&[keyed("ann", "k", 3, "x")]).results[0]).is_none(), "a day later it is free");
    assert!(replayed(&world.commit(&[keyed("ann", "k", 3, "x")]).results[0]).is_some());
    world.maintain_all();
    assert!(replayed(&world.commit(&[keyed("ann", "k", 3, "x")]).results[0]).is_some(), "young ones stay");
}

#[test]
fn the_last_tokens_name_and_email_win() {
    let mut world = World::in_file();
    let mut post_as = |name: Option<&str>, email: Option<&str>| -> UserProfile {
        let mut command = command("ann", post(ConversationRef::Default, "x"));
        (command.actor.name, command.actor.email) = (name.map(Into::into), email.map(Into::into));
        let committed = world.commit(&[command]);
        let sent = committed.events.last().unwrap().message().unwrap().sender_name.clone();
        world.writer().check_invariants();
        let QueryResult::Users(found) = world.found("ann", QueryKind::Users(users(&["ann"]))) else { panic!() };
        assert_eq!(found[0].name, sent);
        found[0].clone()
    };
    let told = |name: &str, email: &str| UserProfile {
        id: UserId::new_unchecked("ann"),
        name: name.into(),
        email: email.into(),
    };
    assert_eq!(post_as(None, None), told("", ""));
    assert_eq!(post_as(Some("Ann"), None), told("Ann", ""));
    assert_eq!(post_as(None, Some("a@example.com")), told("Ann", "a@example.com"));
    assert_eq!(post_as(Some("Anna"), Some("b@example.com")), told("Anna", "b@example.com"));
    assert_eq!(post_as(None, None), told("Anna", "b@example.com"));
}

const DEVELOPMENT: &str = "550e8400-e29b-41d4-a716-446655440000";

fn try_act(world: &mut World, user: &str) -> Result<(), Rejection> {
    world.act(user, post(ConversationRef::Default, "x")).0.result.map(drop)
}

#[test]
fn developments_user_comes_keeps_a_changed_password_and_goes() {
    let mut world = World::in_file();
    let now = world.now;
    world.writer().set_development_user(None, now).unwrap();
    assert_eq!(
        world.writer().open_reader().unwrap().password_record("user@example.com").unwrap(),
        None,
        "nothing to switch off"
    );
    world.writer().set_development_user(Some("first"), now).unwrap();

    let mut reader = world.writer().open_reader().unwrap();
    let record = reader.password_record("USER@example.COM").unwrap().unwrap();
    assert_eq!((record.profile.id.as_str(), &*record.profile.name), (DEVELOPMENT, "Test User"));
    assert_eq!((record.hash.as_str(), record.status.is_enabled()), ("first", true));
    assert!(world.writer().token_rules().unwrap().0.is_empty());

    let change = world.commit(&[command(DEVELOPMENT, CommandKind::SetPassword { hash: "second".into() })]);
    assert!(matches!(change.results[0].result, Ok(Outcome::PasswordChanged)));
    let token_rules = change.token_rules.expect("older tokens end");
    let Some(TokenRule::IssuedSince(since)) = token_rules.0.get(DEVELOPMENT) else { panic!("{token_rules:?}") };
    assert!(*since >= now && !token_rules.accepts(&UserId::new_unchecked(DEVELOPMENT), Some(WallTime(since.0 - 1))));
    world.writer().set_development_user(Some("first"), now).unwrap();
    assert_eq!(reader.password_of(&UserId::new_unchecked(DEVELOPMENT)).unwrap().as_deref(), Some("second"));

    world.writer().set_development_user(None, now).unwrap();
    assert!(!reader.password_record("user@example.com").unwrap().unwrap().status.is_enabled());
    assert_eq!(reader.password_of(&UserId::new_unchecked(DEVELOPMENT)).unwrap(), None);
    assert_eq!(world.writer().token_rules().unwrap().0.get(DEVELOPMENT), Some(&TokenRule::RejectAll));
    assert_eq!(try_act(&mut world, DEVELOPMENT), Err(Rejection::Unauthorized));
    world.reopen();
    world.writer().set_development_user(Some("first"), now).unwrap();
    assert_eq!(try_act(&mut world, DEVELOPMENT), Ok(()));
    assert_eq!(reader.password_of(&UserId::new_unchecked(DEVELOPMENT)).unwrap().as_deref(), Some("second"));
}

#[test]
fn an_email_with_a_password_cannot_be_taken_over() {
    let mut world = World::in_file();
    let now = world.now;
    world.writer().set_development_user(Some("hash"), now).unwrap();
    let mut imposter = command("ann", post(ConversationRef::Default, "x"));
    imposter.actor.email = Some("User@Example.com".into());
    assert!(world.commit(&[imposter]).results[0].result.is_ok(), "two users may have the same email");
    let record = world.writer().open_reader().unwrap().password_record("user@example.com").unwrap().unwrap();
    assert_eq!(record.profile.id.as_str(), DEVELOPMENT, "but only one logs in with it");
    assert_eq!(
        world.refused("ann", CommandKind::SetPassword { hash: "mine".into() }),
        Rejection::Conflict("the user has no password")
    );
    assert_eq!(
        world.refused("nobody", CommandKind::SetPassword { hash: "mine".into() }),
        Rejection::Conflict("the user has no password")
    );
    assert!(world.writer().token_rules().unwrap().0.is_empty());
}

#[test]
fn lists_go_in_creation_order_and_end_early() {
    let mut world = World::in_file();
    let large = Metadata::new_unchecked(format!(r#"{{"x":"{}"}}"#, "x".repeat(METADATA_BYTES_MAX - 8)));
    let fitting = LIST_BYTES_MAX / (METADATA_BYTES_MAX + 1024);
    let creates: Vec<Command> = (0..fitting + 50)
        .map(|n| {
            let name = WorkspaceName::new(&format!("w{n}")).unwrap();
            let description = WorkspaceDescription::new("d").unwrap();
            command("ann", CommandKind::CreateWorkspace { name, description, metadata: large.clone() })
        })
        .collect();
    world.commit(&creates);
    let mut names = Vec::new();
    loop {
        let pagination = Pagination { limit: 1000, offset: names.len() as u64 };
        let QueryResult::Workspaces(listed) = world.found("ann", QueryKind::Workspaces(pagination)) else { panic!() };
        assert_eq!(listed.total, creates.len() as u64);
        let bytes: usize = listed.items.iter().map(|workspace| workspace.metadata.as_str().len()).sum();
        assert!(bytes <= LIST_BYTES_MAX && !listed.items.is_empty());
        names.extend(listed.items.iter().map(|workspace| workspace.name.as_str().to_owned()));
        if !listed.truncated {
            break;
        }
    }
    assert_eq!(names, (0..creates.len()).map(|n| format!("w{n}")).collect::<Vec<_>>());
    let QueryResult::Workspaces(listed) = world.found("ann", QueryKind::Workspaces(Pagination { limit: 2, offset: 3 }))
    else {
        panic!()
    };
    assert_eq!(listed.items.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["w3", "w4"]);
    assert!(!listed.truncated, "a limit is no truncation");
    let QueryResult::Workspaces(listed) =
        world.found("ann", QueryKind::Workspaces(Pagination { limit: 2, offset: u64::MAX }))
    else {
        panic!()
    };
    assert!(listed.items.is_empty() && listed.total == creates.len() as u64);
    let QueryResult::Workspaces(listed) =
        world.found("nobody", QueryKind::Workspaces(Pagination { limit: 2, offset: 0 }))
    else {
        panic!()
    };
    assert_eq!((listed.items.len(), listed.total, listed.truncated), (0, 0, false));
}

#[test]
fn a_database_keeps_its_epoch_and_keys() {
    let mut world = World::in_file();
    let (epoch, key) = (world.writer().epoch(), world.writer().signing_key());
    world.reopen();
    assert_eq!((world.writer().epoch(), world.writer().signing_key()), (epoch, key));
    let mut other = World::in_memory();
    assert_ne!((other.writer().epoch(), other.writer().signing_key()), (epoch, key));
}

#[test]
fn closing_leaves_one_file() {
    let mut world = World::in_file();
    let Database::File(path) = world.config.database.clone() else { panic!() };
    world.workspace("ann");
    let wal = path.with_extension("db-wal");
    assert!(wal.exists());
    world.reopen();
    world.writer().check_invariants();
    world.writer.take().unwrap().close();
    assert!(std::fs::metadata(&wal).map_or(0, |file| file.len()) == 0);
}

#[test]
fn what_cannot_be_opened_is_said_in_one_line() {
    let directory = TempDir::new();
    let text = directory.file("text.db");
    std::fs::write(&text, "This is no database, although it is long enough to hold the header of one. ".repeat(9))
        .unwrap();
    let foreign = directory.file("foreign.db");
    let cookies = rusqlite::Connection::open(&foreign).unwrap();
    cookies.execute_batch("CREATE TABLE cookies (flavour TEXT)").unwrap();
    let table = [
        (text.clone(), "is not an SQLite database"),
        (foreign.clone(), "is a database of another program"),
        (directory.file("missing/a.db"), "No such file or directory"),
        (text.join("a.db"), "is not a directory"),
        (directory.file(""), "it is a directory"),
    ];
    for (path, says) in table {
        let config = StoreConfig::new(Database::File(path.clone()));
        let message = Writer::open(&config).err().expect(says).to_string();
        assert!(message.contains(says) && message.contains(path.to_str().unwrap()), "{message}");
        assert_eq!(message.lines().count(), 1);
    }
    let tables: i64 = cookies.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
    let mode: String = cookies.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!((tables, mode.as_str()), (1, "delete"), "what is refused stays as it was");
    assert!(Reader::open(&directory.file("none.db")).is_err());
    assert!(!directory.file("none.db").exists(), "a reader makes no database");
}

//! Failures of SQLite: only stored changes are acknowledged, and the writer continues.

use super::support::TempDir;
use super::*;
use crate::domain::health::WriterFault;
use crate::domain::result::Rejection;
use crate::domain::token_rules::TokenRule;
use std::sync::atomic::{AtomicU32, Ordering};

/// Limits the database to its present pages and `more`.
fn limit_pages(writer: &Writer, more: i64) {
    let pages: i64 = writer.connection.db.sqlite().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    writer.connection.db.query_row(&format!("PRAGMA max_page_count = {}", pages + more), [], |_| Ok(())).unwrap();
}

fn posted(events: &[Arc<Event>]) -> Vec<&str> {
    events.iter().filter_map(|event| event.message()).map(|message| message.content.as_str()).collect()
}

#[test]
fn a_full_disk_rejects_only_commands_that_do_not_fit() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    let workspace = add_workspace(&mut writer, "ann");
    let conversation = ConversationRef::Id(add_conversation(&mut writer, "ann", workspace, &[]));
    limit_pages(&writer, 4);

    let large = "x".repeat(200_000);
    let batch = ["one", &large, "two", &large, "three"].map(|text| command("ann", post(conversation, text)));
    let before = writer.position();
    let committed = writer.commit_batch(&batch, NOW);
    let results: Vec<Option<&Rejection>> = committed.results.iter().map(|r| r.result.as_ref().err()).collect();
    let full = Some(&Rejection::Unavailable);
    assert_eq!(results, [None, full, None, full, None]);
    assert_eq!((committed.before, committed.through), (before, EventNumber(before.0 + 3)));
    assert_eq!(posted(&committed.events), ["one", "two", "three"]);
    let numbers: Vec<u64> = committed.events.iter().map(|event| event.number.0).collect();
    assert_eq!(numbers, [before.0 + 1, before.0 + 2, before.0 + 3], "a failed command uses no number");
    writer.check_invariants();

    writer.connection.db.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    done(&mut writer, "ann", post(conversation, &large));
    writer.check_invariants();
    let events = replay(&mut writer, "ann");
    assert_eq!(posted(&events), ["one", "two", "three", &large]);
}

#[test]
fn a_fault_lasts_until_a_write_succeeds() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    let workspace = add_workspace(&mut writer, "ann");
    let conversation = ConversationRef::Id(add_conversation(&mut writer, "ann", workspace, &[]));
    let rejected = |writer: &mut Writer, content: &str| {
        let committed = writer.commit_batch(&[command("ann", post(conversation, content))], NOW);
        assert!(matches!(committed.results[0].result, Err(Rejection::Unavailable)));
    };
    assert_eq!(writer.fault(), None);
    limit_pages(&writer, 0);
    rejected(&mut writer, &"x".repeat(100_000));
    assert_eq!(writer.fault(), Some(WriterFault::Full));
    writer.probe();
    assert_eq!(writer.fault(), Some(WriterFault::Full), "the probe needs several pages");
    let nothing = ConversationRef::Id(ConversationId(uuid::Uuid::nil()));
    let committed = writer.commit_batch(&[command("ann", post(nothing, "x"))], NOW);
    assert!(matches!(committed.results[0].result, Err(Rejection::NotFound(_))));
    assert_eq!(writer.fault(), Some(WriterFault::Full), "a rejected command writes nothing");

    writer.connection.db.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    writer.probe();
    assert_eq!(writer.fault(), None);
    let tables = "SELECT count(*) FROM sqlite_master WHERE name = 'probe'";
    assert_eq!(
        writer.connection.db.query_row(tables, [], |row| row.get::<i64>(0)).unwrap(),
        0,
        "the probe leaves no table"
    );

    let holder = rusqlite::Connection::open(directory.file("a.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    writer.connection.db.sqlite().busy_timeout(std::time::Duration::ZERO).unwrap();
    rejected(&mut writer, "x");
    writer.probe();
    assert_eq!(writer.fault(), Some(WriterFault::Locked));
    drop(holder);
    done(&mut writer, "ann", post(conversation, "x"));
    assert_eq!(writer.fault(), None, "a change ends the fault");
    writer.check_invariants();
}

#[test]
fn a_failed_batch_leaves_nothing_in_the_cache() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    add_workspace(&mut writer, "ann");
    limit_pages(&writer, 0);
    // The first command adds a user, a workspace and a conversation to the cache. Then it fails, in the batch and alone.
    let large = "x".repeat(100_000);
    let batch = [&large, &large].map(|text| command("ben", post(ConversationRef::Default, text)));
    let committed = writer.commit_batch(&batch, NOW);
    assert!(committed.results.iter().all(|r| matches!(r.result, Err(Rejection::Unavailable))));
    assert!(committed.events.is_empty() && committed.before == committed.through);
    writer.check_invariants();

    writer.connection.db.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    let committed = writer.commit_batch(&batch, NOW);
    let kinds: Vec<&str> = committed.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["workspace_created", "conversation_created", "input", "input"]);
    writer.check_invariants();
}

#[test]
fn a_failed_commit_is_never_acknowledged() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    let batch = ["ann", "ben", "ann"].map(|user| command(user, post(ConversationRef::Default, "x")));
    // The commit of the batch fails, then that of the second command alone.
    let commits = Arc::new(AtomicU32::new(0));
    let count = commits.clone();
    let fails = move || [0, 2].contains(&count.fetch_add(1, Ordering::Relaxed));
    writer.connection.db.sqlite_mut().commit_hook(Some(fails)).unwrap();
    let committed = writer.commit_batch(&batch, NOW);
    assert_eq!(commits.load(Ordering::Relaxed), 4);
    let results: Vec<bool> = committed.results.iter().map(|command_result| command_result.result.is_ok()).collect();
    assert_eq!(results, [true, false, true]);
    assert!(committed.events.iter().all(|event| event.actor.as_str() == "ann"));
    writer.check_invariants();
    writer.connection.db.sqlite_mut().commit_hook(None::<fn() -> bool>).unwrap();
    assert_eq!(replay(&mut writer, "ann"), without_recipients(&committed.events));
    assert!(replay(&mut writer, "ben").is_empty());
}

/// The log loses its name after the transaction has begun: its commit succeeds, and is not acknowledged.
#[test]
fn a_commit_into_a_removed_log_is_never_acknowledged() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    add_workspace(&mut writer, "ann");
    let (log, aside) = (directory.file("a.db-wal"), directory.file("aside"));
    let (from, to) = (log.clone(), aside.clone());
    let rename = move || {
        let _ = std::fs::rename(&from, &to);
        false
    };
    writer.connection.db.sqlite_mut().commit_hook(Some(rename)).unwrap();
    let batch = ["ann", "ben"].map(|user| command(user, post(ConversationRef::Default, "x")));
    let committed = writer.commit_batch(&batch, NOW);
    assert!(committed.results.iter().all(|r| matches!(r.result, Err(Rejection::Unavailable))));
    assert!(committed.events.is_empty());
    assert_eq!(writer.fault(), Some(WriterFault::ReadOnly));
    writer.connection.db.sqlite_mut().commit_hook(None::<fn() -> bool>).unwrap();
    // What it changed is visible, so the rules about tokens are shared.
    assert!(writer.poll_external_writes().is_some_and(|changes| changes.token_rules.is_some()));
    let committed = writer.commit_batch(&batch, NOW);
    assert!(committed.results.iter().all(|r| r.result.is_err()));
    // The file comes back, and with it what was committed. Numbers continue after it.
    std::fs::rename(&aside, &log).unwrap();
    let committed = writer.commit_batch(&batch, NOW);
    assert!(committed.results.iter().all(|r| r.result.is_ok()) && committed.before > EventNumber(1));
    assert_eq!(writer.fault(), None);
    writer.check_invariants();
}

/// The log is removed after a transaction has begun. What was acknowledged before is in the database file when the failure is
/// reported, since the process may be killed before the next transaction.
#[test]
fn a_log_that_is_removed_during_a_transaction_loses_nothing() {
    if !support::is_sqlite() {
        return;
    }
    type Step = fn(&mut Writer);
    let steps: [(&str, Step); 3] = [
        ("a command", |writer| {
            let committed = writer.commit_batch(&[command("ann", post(ConversationRef::Default, "refused"))], NOW);
            assert!(committed.results[0].result.is_err());
        }),
        ("indexing", Writer::index_messages),
        ("a probe", Writer::probe),
    ];
    for (name, step) in steps {
        let directory = TempDir::new();
        let mut writer = open(&directory.file("a.db"));
        done(&mut writer, "ann", post(ConversationRef::Default, "acknowledged"));
        let log = directory.file("a.db-wal");
        let remove = move || {
            let _ = std::fs::remove_file(&log);
            false
        };
        writer.connection.db.sqlite_mut().commit_hook(Some(remove)).unwrap();
        step(&mut writer);
        assert_eq!(writer.fault(), Some(WriterFault::ReadOnly), "{name}");
        std::fs::copy(directory.file("a.db"), directory.file("killed.db")).unwrap();
        let mut next = open(&directory.file("killed.db"));
        assert!(posted(&replay(&mut next, "ann")).contains(&"acknowledged"), "{name}");
        next.check_invariants();
    }
}

/// The log is overwritten by an older copy or emptied in place, before a transaction or in it.
#[test]
fn a_commit_behind_an_overwritten_log_is_never_acknowledged() {
    if !support::is_sqlite() {
        return;
    }
    for (is_empty, is_during) in [(false, false), (false, true), (true, false), (true, true)] {
        let directory = TempDir::new();
        let mut writer = open(&directory.file("a.db"));
        add_workspace(&mut writer, "ann");
        let log = directory.file("a.db-wal");
        let older = if is_empty { Vec::new() } else { std::fs::read(&log).unwrap() };
        done(&mut writer, "ann", post(ConversationRef::Default, "x"));
        let mut overwrite = Some(move || std::fs::write(&log, &older).unwrap());
        if is_during {
            let hook = move || {
                overwrite.take().into_iter().for_each(|overwrite| overwrite());
                false
            };
            writer.connection.db.sqlite_mut().commit_hook(Some(hook)).unwrap();
        } else {
            overwrite.take().into_iter().for_each(|overwrite| overwrite());
        }
        for _ in 0..3 {
            let batch = ["ann", "ben"].map(|user| command(user, post(ConversationRef::Default, "x")));
            let committed = writer.commit_batch(&batch, NOW);
            assert!(committed.results.iter().all(|r| matches!(r.result, Err(Rejection::Unavailable))));
            assert!(committed.events.is_empty());
            assert_eq!(writer.fault(), Some(WriterFault::ReadOnly));
            writer.probe();
            assert_eq!(writer.fault(), Some(WriterFault::ReadOnly));
        }
    }
}

/// The events as in a journal page, which omits the recipients.
fn without_recipients(events: &[Arc<Event>]) -> Vec<Arc<Event>> {
    events.iter().map(|event| Arc::new(Event { recipients: Arc::default(), ..(**event).clone() })).collect()
}

#[test]
fn a_locked_database_rejects_the_whole_batch() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut writer = open(&path);
    writer.connection.db.sqlite().busy_timeout(std::time::Duration::ZERO).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batch = ["ann", "ben"].map(|user| command(user, post(ConversationRef::Default, "x")));
    let committed = writer.commit_batch(&batch, NOW);
    assert!(committed.results.iter().all(|r| matches!(r.result, Err(Rejection::Unavailable))));
    assert!(!maintain(&mut writer, NOW));
    other.execute_batch("COMMIT").unwrap();
    let committed = writer.commit_batch(&batch, NOW);
    assert!(committed.results.iter().all(|command_result| command_result.result.is_ok()));
    writer.check_invariants();
}

#[test]
fn changes_by_another_process_are_detected() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut writer = open(&path);
    done(&mut writer, "ann", post(ConversationRef::Default, "x"));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("UPDATE users SET status = 1 WHERE oid = 'ann'", []).unwrap();
    let committed = writer.commit_batch(&[command("ann", post(ConversationRef::Default, "x"))], NOW);
    assert!(matches!(committed.results[0].result, Err(Rejection::Unauthorized)));
    let token_rules = committed.token_rules.expect("the rules changed");
    assert_eq!(token_rules.get(&UserId::new_unchecked("ann")), Some(TokenRule::RejectAll));
    let committed = writer.commit_batch(&[command("ben", create_workspace())], NOW);
    assert!(committed.token_rules.is_none(), "the writer's own commits are not reported");

    assert!(writer.poll_external_writes().is_none());
    other.execute("UPDATE users SET status = 0 WHERE oid = 'ann'", []).unwrap();
    other.execute("UPDATE users SET status = 1 WHERE oid = 'ben'", []).unwrap();
    let seen = writer.poll_external_writes().expect("the rules changed");
    assert_eq!((seen.before, seen.through), (writer.position(), writer.position()));
    let token_rules = seen.token_rules.expect("the rules changed");
    let rules = ["ann", "ben"].map(|id| token_rules.get(&UserId::new_unchecked(id)));
    assert_eq!(rules, [None, Some(TokenRule::RejectAll)]);
    assert!(writer.poll_external_writes().is_none(), "a change is reported once");
    writer.check_invariants();
    let committed = writer.commit_batch(&[command("ben", create_workspace())], NOW);
    assert!(matches!(committed.results[0].result, Err(Rejection::Unauthorized)));
    assert!(committed.token_rules.is_none());
}

#[test]
fn a_crash_keeps_exactly_the_committed_rows() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut writer = open(&path);
    let committed =
        writer.commit_batch(&["a", "b", "c"].map(|text| command("ann", post(ConversationRef::Default, text))), NOW);
    // The process is killed while this transaction is open, so the transaction must have no effect.
    writer
        .connection
        .db
        .execute_batch("BEGIN IMMEDIATE; UPDATE journal_head SET number = 1000; DELETE FROM messages")
        .unwrap();
    let after = directory.file("crashed.db");
    for ending in ["", "-wal"] {
        let file = |path: &Path| std::path::PathBuf::from(format!("{}{ending}", path.display()));
        std::fs::copy(file(&path), file(&after)).unwrap();
    }
    let mut writer = open(&after);
    writer.check_invariants();
    assert_eq!((writer.position(), committed.through), (EventNumber(5), EventNumber(5)));
    assert_eq!(replay(&mut writer, "ann"), without_recipients(&committed.events));
    done(&mut writer, "ann", post(ConversationRef::Default, "d"));
    writer.check_invariants();
}

#[test]
fn a_panic_in_a_batch_does_not_affect_the_next() {
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let metadata = Metadata::new_unchecked("not an object, which every parser rejects");
    let fatal = CommandKind::CreateConversation {
        workspace: None,
        topic: Topic::new_unchecked("t"),
        participants: Vec::new(),
        metadata,
        earlier_messages: Vec::new(),
        initial_message: None,
        api_variant: ApiVariant::Config,
    };
    let fatal = command("ann", fatal);
    let batch = [command("ann", post(ConversationRef::Default, "x")), fatal];
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.commit_batch(&batch, NOW)));
    assert!(panicked.is_err());
    let committed = writer.commit_batch(&batch[..1], NOW);
    assert_eq!((committed.before, committed.through), (EventNumber(0), EventNumber(3)));
    writer.check_invariants();
    assert_eq!(replay(&mut writer, "ann"), without_recipients(&committed.events));
}

#[test]
fn a_failed_query_leaves_no_snapshot_open() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut writer = open(&path);
    let workspace = add_workspace(&mut writer, "ann");
    let mut reader = writer.open_reader().unwrap();
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    let query = Query { reply_to, caller: UserId::new_unchecked("ann"), kind: QueryKind::Workspace(workspace) };
    assert!(execute_on(&mut reader, &query).result.is_ok());
    writer.connection.db.execute_batch("ALTER TABLE workspaces RENAME TO elsewhere").unwrap();
    let answer = execute_on(&mut reader, &query);
    assert!(matches!(answer.result, Err(Rejection::Database)), "{answer:?}");
    assert_eq!(answer.position, EventNumber(1), "the newest position of an earlier response");
    writer.connection.db.execute_batch("ALTER TABLE elsewhere RENAME TO workspaces").unwrap();
    assert!(execute_on(&mut reader, &query).result.is_ok());
}

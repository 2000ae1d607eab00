//! Migrations of the tables on a server, while instances of the version before serve.

use super::*;
use crate::store::error::OpenError;
use crate::store::postgres::address::{Address, SessionUse};
use crate::store::postgres::migration;
use crate::store::postgres::schema::{STEPS, SchemaStep, VERSION};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Add to tables that each turn and each query uses. Each fails if it is run twice.
const PLANTED: [&str; 5] = [
    "ALTER TABLE messages ADD COLUMN planted BIGINT; CREATE TABLE planted (number BIGINT PRIMARY KEY)",
    "ALTER TABLE users ADD COLUMN planted BIGINT NOT NULL DEFAULT 7; \
     CREATE INDEX planted_users ON users (planted) WHERE planted IS NULL",
    "ALTER TABLE instances ADD COLUMN planted TEXT",
    "ALTER TABLE participants ADD COLUMN planted BIGINT",
    "ALTER TABLE journal_head ADD COLUMN planted BIGINT NOT NULL DEFAULT 0",
];

/// The version of a program with these steps.
const PLANTED_VERSION: i64 = VERSION + PLANTED.len() as i64;

/// The database, if it is on a server.
fn address(config: &StoreConfig) -> Option<Address> {
    match &config.database {
        Database::Server(url) => Some(Address::parse(url).unwrap()),
        Database::File(_) | Database::Memory => None,
    }
}

/// Brings the tables to the version of a program with more steps.
fn migrate(address: &Address, planted: &[&'static str], usable_from: i64) -> Result<(), OpenError> {
    let planted = planted.iter().map(|statements| SchemaStep { statements, usable_from });
    let steps: Vec<SchemaStep> = STEPS.iter().copied().chain(planted).collect();
    let db = address.connect(SessionUse::Writer).unwrap();
    migration::create_by(&db, Path::new(address.name()), &steps, |_| Ok(())).map(drop)
}

/// The first column of the only row of a query, as text.
fn value(address: &Address, query: &str) -> String {
    let db = address.connect(SessionUse::Reader).unwrap();
    db.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn tables_are_migrated_once_while_writers_and_readers_use_them() {
    let config = StoreConfig::new(support::temporary_database());
    let Some(address) = address(&config) else { return };
    let mut writers: Vec<Writer> = (0..2).map(|_| Writer::open(&config).unwrap()).collect();
    let readers: Vec<Reader> = (0..4).map(|number| writers[number % 2].open_reader().unwrap()).collect();
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let writing: Vec<_> = writers
            .iter_mut()
            .enumerate()
            .map(|(number, writer)| {
                scope.spawn(move || {
                    while !is_over.load(Relaxed) {
                        let message = post(ConversationRef::Default, "hello");
                        let committed = writer.commit_batch(&[command(&format!("user{number}"), message)], NOW);
                        assert!(committed.results[0].result.is_ok(), "{:?}", committed.results);
                    }
                })
            })
            .collect();
        for mut reader in readers {
            scope.spawn(move || {
                let filter =
                    StreamFilter { conversation: None, workspace: None, kinds: crate::domain::event::KindSet::ALL };
                let kind = QueryKind::JournalPage { after: EventNumber(0), bytes_max: 100_000, filter };
                let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
                let query = Query { reply_to, caller: UserId::new_unchecked("user0"), kind };
                while !is_over.load(Relaxed) {
                    let response = execute_on(&mut reader, &query);
                    assert!(response.result.is_ok(), "{:?}", response.result);
                }
            });
        }
        let migrations: Vec<_> = (0..3).map(|_| scope.spawn(|| migrate(&address, &PLANTED, VERSION))).collect();
        let done: Vec<_> = migrations.into_iter().map(|thread| thread.join().unwrap()).collect();
        // They go on with the new tables.
        thread::sleep(Duration::from_millis(200));
        is_over.store(true, Relaxed);
        writing.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    });
    assert_eq!(
        value(&address, "SELECT version || ' ' || usable_from FROM meta"),
        format!("{PLANTED_VERSION} {VERSION}")
    );
    // Another one of this version may start.
    let mut third = Writer::open(&config).unwrap();
    done(&mut third, "user2", post(ConversationRef::Default, "hello"));
    let dense = "SELECT CAST(number - (SELECT count(*) FROM (SELECT number FROM state_events UNION SELECT number FROM messages) AS used) AS TEXT)
        FROM journal_head";
    assert_eq!(value(&address, dense), "0");
}

#[test]
fn tables_that_an_instance_which_serves_could_not_use_are_not_made() {
    let config = StoreConfig::new(support::temporary_database());
    let Some(address) = address(&config) else { return };
    let mut writer = Writer::open(&config).unwrap();
    done(&mut writer, "ann", post(ConversationRef::Default, "hello"));
    let error = migrate(&address, &PLANTED, VERSION + 1).unwrap_err().to_string();
    assert!(error.contains(&format!("instances with schema version {VERSION} serve it")), "{error}");
    done(&mut writer, "ann", post(ConversationRef::Default, "hello"));
    writer.close();
    migrate(&address, &PLANTED, VERSION + 1).unwrap();
    let newer = OpenError::Newer { path: address.name().into(), found: PLANTED_VERSION, known: VERSION };
    assert_eq!(Writer::open(&config).err(), Some(newer));
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let config = StoreConfig::new(support::temporary_database());
    let Some(address) = address(&config) else { return };
    let mut writer = Writer::open(&config).unwrap();
    assert!(migrate(&address, &["CREATE TABLE planted (number BIGINT); DROP TABLE missing"], VERSION).is_err());
    let state = "SELECT version || ' ' || coalesce(CAST(to_regclass('planted') AS TEXT), 'none') FROM meta";
    assert_eq!(value(&address, state), format!("{VERSION} none"));
    done(&mut writer, "ann", post(ConversationRef::Default, "hello"));
}

#[test]
fn an_instance_of_the_version_before_serves_beside_this_one() {
    let config = StoreConfig::new(support::temporary_database());
    let Some(address) = address(&config) else { return };
    let older = address.connect(SessionUse::Writer).unwrap();
    let register = "INSERT INTO instances (serves, schema_version, alive_until)
        VALUES (1, 1, clock_timestamp() + interval '1 hour')";
    migration::create_by(&older, Path::new(address.name()), &STEPS[..1], |db| db.execute_batch(register)).unwrap();
    let mut writer = Writer::open(&config).unwrap();
    assert_eq!(value(&address, "SELECT version || ' ' || usable_from FROM meta"), format!("{VERSION} 1"));
    older.execute_batch(register).unwrap();
    done(&mut writer, "ann", post(ConversationRef::Default, "hello"));
    assert_eq!((writer.others(), writer.connection.leads()), (2, false));
}

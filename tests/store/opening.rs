//! Opening and closing a database.

use crate::common::support::TempDir;
use crate::common::*;
use cortex_core::internals::{Database, Reader, StoreConfig, Writer};

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
fn closing_empties_the_log() {
    let mut world = World::in_file();
    // A server has a log of its own.
    let Database::File(path) = world.config.database.clone() else { return };
    world.workspace("ann");
    let wal = path.with_extension("db-wal");
    assert!(wal.exists());
    world.reopen();
    world.writer().check_invariants();
    world.writer.take().unwrap().close();
    assert!(std::fs::metadata(&wal).map_or(0, |file| file.len()) == 0);
}

#[test]
fn an_error_on_opening_is_one_line() {
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
    assert_eq!((tables, mode.as_str()), (1, "delete"), "a rejected file is not changed");
    assert!(Reader::open(&directory.file("none.db"), 1).is_err());
    assert!(!directory.file("none.db").exists(), "a reader creates no database");
}

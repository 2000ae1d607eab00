//! The database of a run: a file, or a database on a server. Reads its rows independently of the program, and makes it fail.

#[cfg(feature = "cluster")]
mod proxy;
#[cfg(feature = "cluster")]
mod server;

use crate::model::Fault;
use cortex_core::internals::{Database, InstanceId, Writer};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
#[cfg(feature = "cluster")]
use server::ServerDatabase;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether the simulation runs on a server. A seed takes longer there, so fewer are run.
pub fn is_on_server() -> bool {
    #[cfg(feature = "cluster")]
    return crate::postgres::is_selected();
    #[cfg(not(feature = "cluster"))]
    false
}

/// The database of a run.
///
/// Order of calls: `opened` after each start of the program, then `closing` before it ends, or `crash`.
pub enum RunDatabase {
    File(FileDatabase),
    #[cfg(feature = "cluster")]
    Server(ServerDatabase),
}

/// A row of a query.
pub enum Row<'r> {
    File(&'r rusqlite::Row<'r>),
    #[cfg(feature = "cluster")]
    Server(&'r tokio_postgres::Row),
}

impl Row<'_> {
    pub fn number(&self, column: usize) -> i64 {
        match self {
            Row::File(row) => row.get(column).expect("a number"),
            #[cfg(feature = "cluster")]
            Row::Server(row) => server::number(row, column),
        }
    }

    pub fn text(&self, column: usize) -> String {
        match self {
            Row::File(row) => row.get(column).expect("a text"),
            #[cfg(feature = "cluster")]
            Row::Server(row) => server::text(row, column),
        }
    }
}

impl RunDatabase {
    /// A new database. One in a file is in `directory`.
    pub fn new(directory: &Path) -> RunDatabase {
        #[cfg(feature = "cluster")]
        if is_on_server() {
            return RunDatabase::Server(ServerDatabase::new(directory));
        }
        RunDatabase::File(FileDatabase { directory: directory.into(), generation: 0, db: None, holder: None })
    }

    /// The setting of the program.
    pub fn setting(&self) -> Database {
        match self {
            RunDatabase::File(file) => Database::File(file.path()),
            #[cfg(feature = "cluster")]
            RunDatabase::Server(server) => server.setting(),
        }
    }

    /// Leaves a process on a server inside its transaction, as if it were killed there.
    pub fn begin_turn(&self, #[cfg_attr(not(feature = "cluster"), expect(unused))] writer: &mut Writer) {
        match self {
            RunDatabase::File(_) => unreachable!("a file is locked by its process"),
            #[cfg(feature = "cluster")]
            RunDatabase::Server(server) => server.begin_turn(writer),
        }
    }

    /// Ends the lease of a killed process, which would last for some seconds of the real time.
    pub fn expire_instance(&self, killed: Option<InstanceId>) {
        match self {
            RunDatabase::File(_) => assert!(killed.is_none(), "a file has no leases"),
            #[cfg(feature = "cluster")]
            RunDatabase::Server(server) => server.expire_instance(killed.expect("an instance has a lease")),
        }
    }

    /// The program has opened the database.
    pub fn opened(&mut self, writer: &mut Writer) {
        match self {
            RunDatabase::File(file) => {
                // A process crash is not a machine crash: written data stays, synced or not.
                writer.connection().pragma_update(None, "synchronous", "OFF").expect("a pragma");
                let path = file.path();
                file.db.get_or_insert_with(|| Connection::open(path).expect("the database opens a second time"));
            }
            #[cfg(feature = "cluster")]
            RunDatabase::Server(_) => {}
        }
    }

    /// The program is about to close the database.
    pub fn closing(&mut self) {
        match self {
            RunDatabase::File(file) => file.db = None,
            #[cfg(feature = "cluster")]
            RunDatabase::Server(_) => {}
        }
    }

    /// Kills the only process: `kill` drops it. Data on disk stays, synced or not.
    pub fn crash(&mut self, kill: impl FnOnce()) {
        match self {
            RunDatabase::File(file) => {
                let old = file.path();
                file.generation += 1;
                copy_database(&old, &file.path());
                kill();
                file.db = None;
                remove_database(&old);
            }
            // Its sessions end with the process.
            #[cfg(feature = "cluster")]
            RunDatabase::Server(_) => kill(),
        }
    }

    /// What `read` makes of each row of a query. Its parameters are `?1` and so on.
    pub fn query<T>(&self, query: &str, parameters: &[Value], read: impl Fn(Row<'_>) -> T) -> Vec<T> {
        match self {
            RunDatabase::File(file) => {
                let mut statement = file.db().prepare_cached(query).expect("the tables are there");
                let rows = statement.query_map(params_from_iter(parameters), |row| Ok(read(Row::File(row))));
                rows.and_then(Iterator::collect).expect("the rows can be read")
            }
            #[cfg(feature = "cluster")]
            RunDatabase::Server(server) => {
                server.query(query, parameters).iter().map(|row| read(Row::Server(row))).collect()
            }
        }
    }

    /// The number in the only row of a query.
    pub fn number(&self, query: &str, parameters: &[Value]) -> i64 {
        let numbers = self.query(query, parameters, |row| row.number(0));
        assert_eq!(numbers.len(), 1, "{query}");
        numbers[0]
    }

    /// Executes a statement, as another process does.
    pub fn change(&self, statement: &str, parameters: &[Value]) {
        match self {
            RunDatabase::File(file) => {
                file.db().execute(statement, params_from_iter(parameters)).expect("the rows can be changed");
            }
            #[cfg(feature = "cluster")]
            RunDatabase::Server(server) => server.change(statement, parameters),
        }
    }

    pub fn begin_fault(&mut self, fault: Fault, writer: &mut Writer) {
        match self {
            RunDatabase::File(file) => file.begin_fault(fault, writer),
            #[cfg(feature = "cluster")]
            RunDatabase::Server(server) => server.begin_fault(fault, writer),
        }
    }

    pub fn end_fault(&mut self, fault: Fault, writer: &mut Writer) {
        match self {
            RunDatabase::File(file) => file.end_fault(fault, writer),
            #[cfg(feature = "cluster")]
            RunDatabase::Server(server) => server.end_fault(fault, writer),
        }
    }
}

/// A database in a file.
pub struct FileDatabase {
    directory: PathBuf,
    /// How often its process was killed.
    generation: u32,
    /// Reads the rows independently of the program.
    db: Option<Connection>,
    /// Holds the lock during a fault.
    holder: Option<Connection>,
}

impl FileDatabase {
    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.db", self.generation))
    }

    fn db(&self) -> &Connection {
        self.db.as_ref().expect("the database is open")
    }

    fn begin_fault(&mut self, fault: Fault, writer: &mut Writer) {
        let db = writer.connection();
        match fault {
            Fault::None => {}
            Fault::Full => {
                let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a pragma");
                db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).expect("a pragma");
            }
            Fault::Busy => {
                let holder = Connection::open(self.path()).expect("the database opens");
                holder.execute_batch("BEGIN IMMEDIATE").expect("the database can be locked");
                db.busy_timeout(Duration::ZERO).expect("a timeout");
                self.holder = Some(holder);
            }
            Fault::Commit(times) => {
                let mut left = times;
                let fails = move || {
                    let fails = left > 0;
                    left = left.saturating_sub(1);
                    fails
                };
                db.commit_hook(Some(fails)).expect("a hook");
            }
            Fault::Lost(_) => unreachable!("a file has no session"),
        }
    }

    fn end_fault(&mut self, fault: Fault, writer: &mut Writer) {
        let db = writer.connection();
        match fault {
            Fault::None => {}
            Fault::Full => {
                db.query_row("PRAGMA max_page_count = 1073741823", [], |_| Ok(())).expect("a pragma");
            }
            Fault::Busy => {
                self.holder = None;
                db.busy_timeout(Duration::from_secs(5)).expect("a timeout");
            }
            Fault::Commit(_) => db.commit_hook(None::<fn() -> bool>).expect("a hook"),
            Fault::Lost(_) => unreachable!("a file has no session"),
        }
    }
}

/// Copies a database with its log, as a killed process leaves them.
fn copy_database(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("the database can be copied");
    let log = with_suffix(from, "-wal");
    if log.exists() {
        std::fs::copy(log, with_suffix(to, "-wal")).expect("the log can be copied");
    }
}

fn remove_database(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(with_suffix(path, suffix));
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

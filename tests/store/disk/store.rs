//! A store on a device, whose process may end at any moment.

use super::model::{Disk, Image, Survival};
use super::script::{AdminStep, Step};
use super::vfs::{self, Device, Failure, Planted, SharedDevice, locked};
use crate::common::*;
use cortex_core::internals::store::{backup, verify};
use cortex_core::internals::{
    Admin, CommandResult, Database, FlushLimits, NewUser, Now, Random, Rejection, Retention, StoreConfig, UserId,
    UserSelector, Writer,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// The log gets a checkpoint at this length, in frames, and waits for readers at twice this length.
const CHECKPOINT_FRAMES: u32 = 40;
/// How often a process is started that finds its disk full or failing.
const STARTS_MAX: u32 = 200;
/// The name of the database. It ends as none of its log, its journal and its backup does.
const NAME: &str = "a.db";
/// The name of its lock, which is no file of SQLite's.
const LOCK_NAME: &str = "a.db.lock";

pub type Checked<T = ()> = Result<T, String>;

/// A store, or what is left of one whose process has ended.
pub struct Store {
    pub device: SharedDevice,
    directory: Scratch,
    writer: Option<Writer>,
    /// The lock of a process that has the database open for writing.
    lock: Option<File>,
    /// A reader that keeps checkpoints from ending.
    holder: Option<Connection>,
}

/// What became of a step.
#[derive(Default)]
pub struct Done {
    pub results: Vec<CommandResult>,
    /// Why a step without commands failed.
    pub error: Option<String>,
    /// Whether a call has failed.
    pub has_failed: bool,
    /// Whether the process has ended by itself, and another one has started.
    pub has_restarted: bool,
}

impl Store {
    /// Starts a process, which has not opened the database yet.
    pub fn start(device: Device) -> Store {
        let directory = Scratch::new();
        for (name, bytes) in device.disk.image(Survival::Everything, &mut Random::new(0)) {
            std::fs::write(directory.0.join(&*name), bytes).expect("a file can be written");
        }
        let device = Arc::new(Mutex::new(device));
        vfs::mount(&directory.0, Arc::clone(&device));
        Store { device, directory, writer: None, lock: None, holder: None }
    }

    /// Opens the database. While the disk fails, the process is started again, as its supervisor does.
    pub fn open(&mut self) -> Checked {
        let lock = File::create(self.directory.0.join(LOCK_NAME)).expect("a file can be created");
        lock.lock().expect("no other process runs");
        self.lock = Some(lock);
        for _ in 0..STARTS_MAX {
            match Writer::open(&config(self.database())) {
                Ok(mut writer) => {
                    writer.checkpoint_after(CHECKPOINT_FRAMES);
                    let synchronous = match locked(&self.device).planted {
                        Planted::AcknowledgesEarly => "NORMAL",
                        Planted::NeverSyncs => "OFF",
                        _ => "FULL",
                    };
                    writer.connection().pragma_update(None, "synchronous", synchronous).expect("a setting");
                    let is_poisoned = writer.is_poisoned();
                    self.writer = Some(writer);
                    // The process ends before it takes a command.
                    return if is_poisoned && !self.is_off() { self.restart() } else { Ok(()) };
                }
                Err(error) => {
                    let device = locked(&self.device);
                    if device.is_off {
                        return Ok(());
                    }
                    if device.failed == 0 {
                        return Err(format!("the database cannot be opened: {error}"));
                    }
                }
            }
        }
        Err("the database cannot be opened on a disk that works again".into())
    }

    /// A process with an open database. The database is created if the disk is empty.
    pub fn opened(device: Device) -> Checked<Store> {
        let mut store = Store::start(device);
        store.open()?;
        Ok(store)
    }

    fn database(&self) -> Database {
        Database::File(self.directory.0.join(NAME))
    }

    pub fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("the database is open")
    }

    /// Ends the process, as a kill does, and starts another one on the same disk.
    pub fn restart(&mut self) -> Checked {
        self.kill();
        self.open()
    }

    /// Ends the process, as a kill does. The disk goes on.
    pub fn kill(&mut self) {
        let mut device = self.end();
        (device.is_off, device.failed_database_syncs, device.fails_syncs) = (false, 0, false);
        *self = Store::start(device);
    }

    /// Ends the process. Returns its disk.
    fn end(&mut self) -> Device {
        locked(&self.device).is_off = true;
        (self.holder, self.writer, self.lock) = (None, None, None);
        let off = Device { is_off: true, ..Device::new(Disk::default(), Planted::Nothing) };
        std::mem::replace(&mut *locked(&self.device), off)
    }

    pub fn is_off(&self) -> bool {
        locked(&self.device).is_off
    }

    /// What is on the disk after a power cut now.
    pub fn image(&self, survival: Survival, random: &mut Random) -> Image {
        locked(&self.device).disk.image(survival, random)
    }

    /// Takes a step. The power may be cut during it.
    pub fn apply(&mut self, step: &Step, now: Now) -> Checked<Done> {
        let failed_before = locked(&self.device).failed;
        let mut done = self.take_step(step, now)?;
        done.has_failed = locked(&self.device).failed > failed_before;
        if self.is_off() {
            return Ok(done);
        }
        self.check_rejections(&done)?;
        let (failed_syncs, planted) = {
            let device = locked(&self.device);
            (device.failed_database_syncs, device.planted)
        };
        let is_poisoned = self.writer.as_ref().is_some_and(Writer::is_poisoned);
        if failed_syncs > 0
            && !is_poisoned
            && planted == Planted::Nothing
            && !matches!(step, Step::Restart | Step::Backup)
        {
            return Err("the database could not be synced, and the writer goes on".into());
        }
        if is_poisoned {
            self.restart()?;
            done.has_restarted = true;
        }
        Ok(done)
    }

    /// Whether commands are rejected for the right reason, and only then.
    fn check_rejections(&mut self, done: &Done) -> Checked {
        let is_unavailable = |result: &CommandResult| matches!(result.result, Err(Rejection::Unavailable));
        if let Some(result) = done.results.iter().find(|result| matches!(result.result, Err(Rejection::Database))) {
            return Err(format!("a command is rejected for ever: {:?}", result.result));
        }
        if !done.has_failed && done.results.iter().any(is_unavailable) {
            return Err("a command is rejected on a disk that works".into());
        }
        if done.results.last().is_some_and(is_unavailable) {
            let expected = match locked(&self.device).failure {
                Failure::Full => "Some(Full)",
                Failure::Input => "Some(Disk)",
            };
            let fault = format!("{:?}", self.writer().fault());
            // A failed sync is an error of its own.
            if fault != expected && fault != "Some(Disk)" {
                return Err(format!("the writer reports {fault} instead of {expected}"));
            }
        }
        Ok(())
    }

    fn take_step(&mut self, step: &Step, now: Now) -> Checked<Done> {
        let mut done = Done::default();
        match step {
            Step::Commands(commands) => {
                let committed = self.writer().commit_batch(commands, now);
                if committed.results.len() != commands.len() {
                    return Err("a transaction ends early".into());
                }
                done.results = committed.results;
            }
            Step::Maintain => drop(self.writer().maintain(now)),
            Step::Index => self.writer().index_messages(),
            Step::Probe => self.writer().probe(),
            Step::Poll => drop(self.writer().poll_external_writes()),
            Step::Hold => self.hold(),
            Step::Release => self.holder = None,
            Step::Admin(step) => done.error = self.administer(step, now).err(),
            Step::Backup => done.error = self.back_up().err(),
            Step::Restart => {
                self.holder = None;
                self.writer.take().expect("the database is open").close();
                if !self.is_off() {
                    self.restart()?;
                }
            }
        }
        Ok(done)
    }

    /// Begins to read, and does not end.
    fn hold(&mut self) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reads = |path: &Path| {
            let holder = Connection::open_with_flags(path, flags)?;
            holder.execute_batch("BEGIN")?;
            holder.query_row("SELECT number FROM journal_head", [], |row| row.get::<_, i64>(0))?;
            Ok::<_, rusqlite::Error>(holder)
        };
        // A reader that finds the disk failing holds nothing.
        self.holder = reads(&self.directory.0.join(NAME)).ok();
    }

    /// Runs a command of the command line.
    pub fn administer(&self, step: &AdminStep, now: Now) -> Checked {
        let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
        let mut admin = Admin::open(&self.database(), false).map_err(|error| text(&error))?;
        let by_id = |id: &str| UserSelector::Id(UserId::new_unchecked(id));
        match step {
            AdminStep::Add(id) => {
                let new = NewUser { id: &UserId::new_unchecked(*id), email: &format!("{id}@test"), name: Some(id) };
                admin.add(&new, "hash", now.wall)
            }
            AdminStep::SetPassword(id) => admin.set_password(&by_id(id), "other", now.wall).map(drop),
            AdminStep::Disable(id) => admin.disable(&by_id(id), now.wall).map(drop),
            AdminStep::Enable(id) => admin.enable(&by_id(id)).map(drop),
        }
        .map_err(|error| text(&error))
    }

    /// Copies the database, and compares the copy.
    fn back_up(&mut self) -> Checked {
        let target = self.directory.0.join("b.db");
        let copied = backup(&self.directory.0.join(NAME), &target, &mut |_| {});
        if copied.is_ok() && !self.is_off() {
            let copy = Connection::open_with_flags(&target, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a backup");
            assert_eq!(dump(&copy), self.dump(), "a backup equals its source");
        }
        std::fs::remove_file(target).ok();
        copied.map(drop).map_err(|error| error.to_string())
    }

    pub fn dump(&mut self) -> Dump {
        dump(self.writer().connection())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end();
        vfs::unmount(&self.directory.0);
    }
}

/// Small inboxes and a short retention, so that maintenance has work.
fn config(database: Database) -> StoreConfig {
    StoreConfig {
        flush: FlushLimits {
            inbox_flush_numbers: 20,
            inbox_entries_max: 12,
            step_messages_max: 6,
            step_users_max: 2,
            chunk_bytes_max: 12,
            index_flush_numbers: 20,
            index_flush_bytes: usize::MAX,
            // A purge waits for the index, so a flush that fails must not need more steps than that of the twin.
            step_indexed_max: 1000,
        },
        notified_rows_max: 2,
        retention: Retention { events: 40, young_milliseconds: 5_000, ..Retention::default() },
        responders: responders(Some("echo")),
        ..StoreConfig::new(database)
    }
}

/// The database of an image is sound: `verify` finds nothing, right after the power cut.
pub fn check_verify(store: &Store) -> Checked {
    match verify(&store.database(), &mut |_| {}) {
        Ok(report) if report.findings.is_empty() => Ok(()),
        Ok(report) => Err(format!("verify finds: {}", report.findings.join("; "))),
        Err(error) => Err(format!("verify fails: {error}")),
    }
}

/// A hash of the rows of each table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dump(BTreeMap<String, u64>);

/// The tables whose rows depend on nothing but the commands and their times.
const CONTENT: [&str; 9] = [
    "answer_jobs",
    "answers",
    "conversations",
    "messages",
    "participants",
    "usage",
    "users",
    "workspaces",
    "conversation_state",
];

impl Dump {
    /// Without the names and keys that a database gets when it is created.
    pub fn without_identity(&self) -> Dump {
        self.only(|table| table != "meta")
    }

    fn only(&self, is_kept: impl Fn(&str) -> bool) -> Dump {
        Dump(self.0.iter().filter(|(table, _)| is_kept(table)).map(|(table, hash)| (table.clone(), *hash)).collect())
    }

    /// Without what maintenance and indexing may have done in other steps.
    pub fn loose(&self) -> Dump {
        self.only(|table| !["inbox", "search", "conversation_index"].iter().any(|name| table.starts_with(name)))
    }

    /// Also without the age of what expires, which depends on when processes were started.
    pub fn content(&self) -> Dump {
        self.only(|table| CONTENT.contains(&table))
    }

    /// The tables that differ.
    pub fn differences(&self, other: &Dump) -> Vec<String> {
        let tables = self.0.keys().chain(other.0.keys());
        let mut differing: Vec<String> =
            tables.filter(|table| self.0.get(*table) != other.0.get(*table)).cloned().collect();
        differing.sort_unstable();
        differing.dedup();
        differing
    }
}

fn dump(db: &Connection) -> Dump {
    let names =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' AND name <> 'probe'";
    let mut statement = db.prepare(names).expect("the schema can be read");
    let names: Vec<String> =
        statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("the schema can be read");
    let hash_of = |name: &String| {
        let mut hasher = DefaultHasher::new();
        let mut statement = db.prepare(&format!("SELECT * FROM {name}")).expect("a table");
        // The time at which a user was first named depends on the transaction that the command shared.
        let is_compared = |column: &&str| name != "users" || *column != "created_at";
        let columns: Vec<String> = statement.column_names().filter(is_compared).map(str::to_owned).collect();
        let mut rows = statement.query([]).expect("a table can be read");
        while let Some(row) = rows.next().expect("a row can be read") {
            for column in &columns {
                match row.get_ref(column.as_str()).expect("a value") {
                    ValueRef::Null => 0u8.hash(&mut hasher),
                    ValueRef::Integer(number) => number.hash(&mut hasher),
                    ValueRef::Real(number) => number.to_bits().hash(&mut hasher),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(&mut hasher),
                }
            }
        }
        hasher.finish()
    };
    Dump(names.iter().map(|name| (name.clone(), hash_of(name))).collect())
}

/// A new directory, in memory if possible. It is removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = parent.join(format!("cortex-disk-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed)));
        std::fs::create_dir_all(&path).expect("a directory can be created");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

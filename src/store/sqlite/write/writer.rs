//! The one connection that writes: groups of commands, one commit each.
//!
//! Invariant: a receipt says "done", and an event is given out, only after the commit that made it so has returned; after
//! an error nothing is in memory that is not on disk.

use crate::base::limits::SQLITE_BUSY_MILLISECONDS;
use crate::base::metrics;
use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, AnswerStarted};
use crate::domain::command::Command;
use crate::domain::commit::Committed;
use crate::domain::event::{Event, EventKind};
use crate::domain::health::WriterFault;
use crate::domain::id::EventNumber;
use crate::domain::result::CommandResult;
use crate::domain::token_rules::TokenRules;
use crate::store::error::{Abort, OpenError, fault_of, rejection_of};
use crate::store::rules::records::{JournalHead, JournalStats};
use crate::store::rules::transaction::Transaction;
use crate::store::rules::writer_cache::WriterCache;
use crate::store::sqlite::admin::development_user;
use crate::store::sqlite::connection::{self, Durability};
use crate::store::sqlite::files::paths::{FileId, file_id};
use crate::store::sqlite::files::temporary::TemporaryDatabase;
use crate::store::sqlite::read::reader::Reader;
use crate::store::sqlite::schema::DatabaseMeta;
use crate::store::sqlite::tables::journal_head;
use crate::store::sqlite::tables::state_events;
use crate::store::sqlite::tables::users;
use crate::store::sqlite::write::checkpoint::{self, Log};
use crate::store::sqlite::write::retention::Left;
use crate::store::sqlite::write::rows::SqliteRows;
use crate::store::sqlite::write::{purge, retention};
use crate::config::types::Database;
use crate::store::config::{Retention, StoreConfig};
use rusqlite::{Connection, ffi};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// What a probe writes, in 64 KiB; one that a crash left is replaced.
const FILL: &str =
    "DROP TABLE IF EXISTS probe; CREATE TABLE probe (filler); INSERT INTO probe VALUES (zeroblob(65536))";
const EMPTY: &str = "DROP TABLE probe";

/// Changes the database. There is one per database, which `Lock` sees to.
pub struct Writer {
    pub(crate) db: Connection,
    log: Log,
    path: PathBuf,
    /// The file that was opened; `None` for a temporary database, which no other process can replace.
    file: Option<FileId>,
    temporary: Option<TemporaryDatabase>,
    pub(crate) meta: DatabaseMeta,
    pub(crate) cache: WriterCache,
    pub(crate) head: JournalHead,
    /// SQLite's count of changes by other connections.
    others_version: i64,
    chores: Chores,
    /// Why nothing can be written, since a transaction failed for it and until one has changed the database.
    trouble: Option<WriterFault>,
}

/// What a step of housekeeping has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Housekeeping {
    /// Whether another step has something to do.
    pub more: bool,
}

/// When a step of housekeeping has something to do, as far as that is known without looking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// After the next batch, if one waits.
    Now,
    /// As soon as no batch waits; batches take it along too.
    WhenIdle,
    /// At this time, or earlier.
    At(WallTime),
    /// Nothing is known to be due.
    Sometime,
}

/// What is known of what housekeeping has to do.
struct Chores {
    retention: Retention,
    /// There are rows to remove.
    more: bool,
    /// Before this, retention can remove nothing.
    young_until: WallTime,
    /// The last step failed, and none is due until the database has shown that it can be written to.
    failed: bool,
}

/// What a transaction did, after its commit.
struct Written {
    before: EventNumber,
    events: Vec<Arc<Event>>,
    results: Vec<CommandResult>,
    jobs: Vec<AnswerJob>,
    started: Vec<AnswerStarted>,
    token_rules: Option<TokenRules>,
}

impl Written {
    /// Nothing: the journal stays at `before`.
    fn nothing(before: EventNumber, results: Vec<CommandResult>) -> Written {
        Written { before, events: Vec::new(), results, jobs: Vec::new(), started: Vec::new(), token_rules: None }
    }
}

/// Why a transaction did nothing.
enum Failure {
    /// It could not begin: no command of it is to blame.
    Begin(rusqlite::Error),
    /// A command, or the commit, failed.
    Run(rusqlite::Error),
}

impl Writer {
    /// Opens the database, and makes or migrates its schema.
    pub fn open(config: &StoreConfig) -> Result<Writer, OpenError> {
        let (path, temporary) = match &config.database {
            Database::File(path) => (path.clone(), None),
            Database::Memory => {
                let temporary = TemporaryDatabase::create()?;
                (temporary.path(), Some(temporary))
            }
        };
        let durability = if temporary.is_some() { Durability::None } else { Durability::Full };
        let (mut db, meta) = connection::open_writing(&path, durability)?;
        let file = if temporary.is_some() { None } else { file_id(&path) };
        let log = Log::watch(&mut db).map_err(|error| OpenError::of(&path, &error))?;
        let head = journal_head::load(&db).map_err(|error| OpenError::of(&path, &error))?;
        let others_version = others_version(&db).map_err(|error| OpenError::of(&path, &error))?;
        let cache = WriterCache::new(config.inbox, config.responders.clone());
        // What was left undone before is not known.
        let chores = Chores { retention: config.retention, more: true, young_until: WallTime(i64::MIN), failed: false };
        Ok(Writer { db, log, path, file, temporary, meta, cache, head, others_version, chores, trouble: None })
    }

    /// Runs the commands in order, in one transaction with one commit; if that fails, each in a transaction of its own.
    /// There is one receipt per command, in the same order. `now` may go back; the times given out do not.
    pub fn commit_batch(&mut self, commands: &[Command], now: WallTime) -> Committed {
        // What rides along must not be what a command fails by.
        let rides_along = self.cache.inboxes.is_due(self.head);
        let written = match self.transact(commands, now, true) {
            Ok(written) => written,
            Err(Failure::Run(error)) if commands.len() > 1 || rides_along => {
                log::warn!("a batch of {} commands failed, each is tried alone: {error}", commands.len());
                self.transact_each(commands, now)
            }
            Err(Failure::Begin(error) | Failure::Run(error)) => self.refused(commands, &error),
        };
        Committed {
            before: written.before,
            through: self.head.number,
            events: written.events.into(),
            results: written.results,
            jobs: written.jobs,
            started: written.started.into(),
            token_rules: written.token_rules.map(Arc::new),
        }
    }

    /// One short transaction: removes a few rows of what was deleted, of what is no longer to be kept, or of answers that no
    /// longer count; or a step of filling inboxes. After an error it says that there is nothing more to do, so that it
    /// is not tried again at once.
    pub fn housekeeping(&mut self, now: WallTime) -> Housekeeping {
        let now = now.max(self.head.at);
        self.chores.failed = false;
        let step = self.begin().and_then(|()| {
            self.chores.more = self.remove(now)?;
            if !self.chores.more {
                let rows = SqliteRows { db: &self.db, ids: &self.meta.ids };
                Transaction::new(&rows, &self.meta.ids, &mut self.cache, self.head, now).step_inboxes()?;
            }
            self.commit()
        });
        if let Err(error) = step {
            log::error!("housekeeping failed: {error}");
            self.roll_back();
            self.note_failure(&error);
            self.chores.more = false;
            self.chores.failed = true;
        }
        if let Ok(oldest_at) = retention::oldest_at(&self.db) {
            metrics::JOURNAL_OLDEST_AT.set(oldest_at.map_or(0, |at| at.0.max(0) as u64));
        }
        Housekeeping { more: matches!(self.due(now), Due::Now | Due::WhenIdle) }
    }

    /// When the next step of housekeeping is due.
    pub fn due(&mut self, now: WallTime) -> Due {
        let now = now.max(self.head.at);
        let too_much = self.stats().is_some_and(|stats| self.chores.retention.is_too_much(stats));
        let inboxes_due = self.cache.inboxes.is_due(self.head);
        match self.chores {
            Chores { failed: true, .. } => Due::Sometime,
            Chores { more: true, .. } => Due::Now,
            Chores { young_until, .. } if too_much && young_until <= now => Due::Now,
            _ if inboxes_due => Due::WhenIdle,
            Chores { young_until, .. } if too_much => Due::At(young_until),
            _ => Due::Sometime,
        }
    }

    /// Why nothing can be written, as far as the last transactions have shown.
    pub fn fault(&self) -> Option<WriterFault> {
        self.trouble
    }

    /// Tries whether something can be written, with a table that goes again. It is large enough that a few messages would
    /// fit too, where a disk is full. It waits for no lock, since commands may wait for it.
    pub fn probe(&mut self) {
        let tried =
            self.db.busy_timeout(Duration::ZERO).and_then(|()| self.change(FILL)).and_then(|()| self.change(EMPTY));
        let patient = self.db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS));
        match tried.and(patient) {
            Ok(()) => self.wrote(),
            Err(error) => {
                self.roll_back();
                self.note_failure(&error);
            }
        }
    }

    fn change(&mut self, statements: &str) -> rusqlite::Result<()> {
        self.begin()?;
        self.db.execute_batch(statements)?;
        self.commit()
    }

    /// The journal's position.
    pub fn position(&self) -> EventNumber {
        self.head.number
    }

    /// The name of this journal.
    pub fn epoch(&self) -> Uuid {
        self.meta.epoch
    }

    /// Development's key for tokens, made at random with the database.
    pub fn signing_key(&self) -> [u8; 32] {
        self.meta.signing_key
    }

    /// What another process has changed beside this one since the last batch or look: the rules for tokens, as every
    /// shard is to be told of them. `None` if nothing was. Costs a look at shared memory.
    pub fn look_beside(&mut self) -> Option<Committed> {
        // What cannot be read is looked at again by the next batch, which says what stands in the way.
        let version = others_version(&self.db).ok().filter(|version| *version != self.others_version)?;
        let token_rules = users::token_rules(&self.db).ok()?;
        let head = journal_head::load(&self.db).ok()?;
        self.cache.clear();
        (self.head, self.others_version) = (head, version);
        Some(Committed {
            before: head.number,
            through: head.number,
            events: Arc::new([]),
            results: Vec::new(),
            jobs: Vec::new(),
            started: Arc::new([]),
            token_rules: Some(Arc::new(token_rules)),
        })
    }

    /// The users with a rule about their tokens.
    pub fn token_rules(&mut self) -> Result<TokenRules, OpenError> {
        users::token_rules(&self.db).map_err(|error| self.failed(&error))
    }

    /// With a hash: there is development's user, with this password unless it has one, unless an administrator disabled or
    /// deleted it. Without: if there is one with a password, it is switched off.
    pub fn set_development_user(&mut self, hash: Option<&str>, now: WallTime) -> Result<(), OpenError> {
        let done = self.begin().and_then(|()| {
            development_user::switch(&self.db, hash, now)?;
            self.commit()
        });
        self.cache.clear();
        done.map_err(|error| {
            self.roll_back();
            self.failed(&error)
        })
    }

    /// Opens a connection for queries.
    ///
    /// # Errors
    /// Fails if the file cannot be opened a second time.
    pub fn open_reader(&self) -> Result<Reader, OpenError> {
        Reader::open(&self.path)
    }

    /// Removes the name of a temporary database, so that its file disappears when the process ends, whatever ends it. No
    /// reader can be opened any more. Does nothing for a database in a file.
    pub fn unlink_temporary(&mut self) {
        self.temporary = None;
    }

    /// Carries the write-ahead log over into the database and closes it. Nothing is lost without: it saves the next
    /// start the work.
    pub fn close(self) {
        // Readers that are still at work are not waited for.
        let checkpoint = self
            .db
            .busy_timeout(Duration::ZERO)
            .and_then(|()| self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)));
        match checkpoint {
            Ok(0) => {}
            Ok(_) => log::debug!("the write-ahead log is still being read and stays"),
            Err(error) => {
                log::warn!("the last checkpoint failed: {error}");
                if checkpoint::is_failed_sync(&error) {
                    // Closing the connection would have SQLite try once more, and remove the log.
                    std::mem::forget(self);
                }
            }
        }
    }

    /// Whether the database could not be synced. Nothing more is committed then: the process is to end, and the next one
    /// carries the whole log over.
    pub fn is_spoiled(&self) -> bool {
        self.log.is_spoiled()
    }

    /// The writer's own connection, for tests that make SQLite fail under it.
    #[doc(hidden)]
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.db
    }

    /// Runs commands in one transaction; `with_chores` also a step of what is to be done aside.
    fn transact(&mut self, commands: &[Command], now: WallTime, with_chores: bool) -> Result<Written, Failure> {
        let result = match self.begin() {
            Ok(()) => self.run(commands, now, with_chores).map_err(Failure::Run),
            Err(error) => Err(Failure::Begin(error)),
        };
        match &result {
            Ok(_) => {
                metrics::COMMITS.add(1);
                metrics::COMMANDS_COMMITTED.add(commands.len() as u64);
            }
            Err(Failure::Begin(error)) => self.note_failure(error),
            Err(Failure::Run(error)) => {
                self.roll_back();
                self.note_failure(error);
            }
        }
        result
    }

    /// The database was changed, so it can be.
    fn wrote(&mut self) {
        if self.trouble.take().is_some() {
            log::info!("the database can be written to again");
            metrics::WRITER_FAILING.set(0);
        }
    }

    fn note_failure(&mut self, error: &rusqlite::Error) {
        metrics::COMMITS_FAILED.add(1);
        if let Some(trouble) = fault_of(error) {
            if self.trouble.is_none() {
                log::error!("the database cannot be written to: {error}");
            }
            self.trouble = Some(trouble);
            metrics::WRITER_FAILING.set(1);
        }
    }

    fn transact_each(&mut self, commands: &[Command], now: WallTime) -> Written {
        let mut all = Written::nothing(self.head.number, Vec::with_capacity(commands.len()));
        for (place, command) in commands.iter().enumerate() {
            let alone = std::slice::from_ref(command);
            let written = match self.transact(alone, now, false) {
                Ok(written) => written,
                Err(Failure::Run(error)) => self.refused(alone, &error),
                // Waiting for the database once per command would hold up everybody.
                Err(Failure::Begin(error)) => {
                    all.results.extend(self.refused(&commands[place..], &error).results);
                    return all;
                }
            };
            all.events.extend(written.events);
            all.results.extend(written.results);
            all.jobs.extend(written.jobs);
            all.started.extend(written.started);
            all.token_rules = written.token_rules.or(all.token_rules);
        }
        all
    }

    /// Nothing was written, because of an error of SQLite.
    fn refused(&self, commands: &[Command], error: &rusqlite::Error) -> Written {
        log::error!("{} commands were not done: {error}", commands.len());
        let refusal = rejection_of(error);
        let receipt =
            |command: &Command| CommandResult { to: command.reply_to, number: None, result: Err(refusal.clone()) };
        Written::nothing(self.head.number, commands.iter().map(receipt).collect())
    }

    fn run(&mut self, commands: &[Command], now: WallTime, with_chores: bool) -> rusqlite::Result<Written> {
        let others_version = others_version(&self.db)?;
        let others_wrote = others_version != self.others_version;
        if others_wrote {
            self.cache.clear();
            self.head = journal_head::load(&self.db)?;
        }
        let before = self.head.number;
        let rows = SqliteRows { db: &self.db, ids: &self.meta.ids };
        let mut transaction = Transaction::new(&rows, &self.meta.ids, &mut self.cache, self.head, now);
        transaction.token_rules_changed = others_wrote;
        let mut results = Vec::with_capacity(commands.len());
        for command in commands {
            let (result, number) = match transaction.run(command) {
                Ok((outcome, number)) => (Ok(outcome), number),
                Err(Abort::Rejected(refusal)) => (Err(refusal), None),
                Err(Abort::Failed(error)) => return Err(error),
            };
            results.push(CommandResult { to: command.reply_to, number, result });
        }
        if with_chores {
            transaction.step_inboxes()?;
        }
        let token_rules = transaction.finish()?;
        let Transaction { events, jobs, started, head, .. } = transaction;
        self.commit()?;
        // A batch of refusals has shown nothing.
        if head != self.head {
            self.wrote();
        }
        (self.head, self.others_version) = (head, others_version);
        self.chores.failed = false;
        let deleted = [EventKind::ConversationDeleted, EventKind::WorkspaceDeleted];
        self.chores.more |= events.iter().any(|event| deleted.contains(&event.kind));
        Ok(Written { before, events, results, jobs, started, token_rules })
    }

    /// Removes a few rows; whether there are more.
    fn remove(&mut self, now: WallTime) -> rusqlite::Result<bool> {
        self.cache.stats = None;
        if purge::step(&self.db, now)? {
            return Ok(true);
        }
        let left = retention::step(&self.db, &self.chores.retention, now)?;
        if let Left::Young(until) = left {
            self.chores.young_until = until;
        }
        Ok(left == Left::More)
    }

    fn stats(&mut self) -> Option<JournalStats> {
        if self.cache.stats.is_none() {
            // Retention looks for itself; this only says when.
            self.cache.stats = state_events::stats(&self.db).ok();
        }
        if let Some(stats) = self.cache.stats {
            metrics::JOURNAL_EVENTS.set(stats.events.max(0) as u64);
            metrics::JOURNAL_BYTES.set(stats.bytes.max(0) as u64);
        }
        self.cache.stats
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        // A rollback that failed, or a panic, may have left one open, and memory with what it would have written.
        if !self.db.is_autocommit() {
            self.roll_back();
        }
        // What is written to a file without a name is gone with the process, so nothing of it may be acknowledged.
        if self.file.is_some() && file_id(&self.path) != self.file {
            let moved = ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED);
            return Err(rusqlite::Error::SqliteFailure(moved, Some("its file was moved, removed or replaced".into())));
        }
        // What was committed has been told by now, so nobody waits for it.
        self.log.shorten(&self.db);
        if self.log.is_spoiled() {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None));
        }
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    fn commit(&self) -> rusqlite::Result<()> {
        self.db.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// Ends a transaction that failed, if SQLite has not done so itself, and forgets what it may have put in memory.
    fn roll_back(&mut self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            log::error!("a transaction could not be rolled back yet: {error}");
        }
        self.cache.clear();
        match journal_head::load(&self.db) {
            Ok(head) if self.db.is_autocommit() => self.head = head,
            Ok(_) => {}
            Err(error) => log::error!("the journal's position could not be read: {error}"),
        }
    }

    fn failed(&self, error: &rusqlite::Error) -> OpenError {
        OpenError::of(&self.path, error)
    }
}

/// Changes whenever another connection has written.
fn others_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

//! The connection that writes: transactions of many commands, with one commit each.
//!
//! Invariant: a command result is returned, and an event is emitted, only after its commit has returned. After an error, the
//! cache holds nothing that is not on disk.

use crate::base::limits::SQLITE_BUSY_MILLISECONDS;
use crate::base::metrics;
use crate::base::time::WallTime;
use crate::config::types::Database;
use crate::domain::answer_job::AnswerJob;
use crate::domain::command::Command;
use crate::domain::commit::Committed;
use crate::domain::event::{Event, EventKind};
use crate::domain::health::WriterFault;
use crate::domain::id::EventNumber;
use crate::domain::result::CommandResult;
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::TokenRules;
use crate::store::config::StoreConfig;
use crate::store::error::{Abort, OpenError, fault_of, rejection_of};
use crate::store::rules::records::JournalHead;
use crate::store::rules::transaction::Transaction;
use crate::store::rules::writer_cache::WriterCache;
use crate::store::sqlite::admin::development_user;
use crate::store::sqlite::connection::{self, Durability};
use crate::store::sqlite::files::paths::{FileId, file_id};
use crate::store::sqlite::files::temporary::TemporaryDatabase;
use crate::store::sqlite::read::reader::Reader;
use crate::store::sqlite::schema::DatabaseMeta;
use crate::store::sqlite::tables::{journal_head, users};
use crate::store::sqlite::write::checkpoint::{self, WriteAheadLog};
use crate::store::sqlite::write::maintenance::{self, Maintenance, MaintenanceDue};
use crate::store::sqlite::write::rows::SqliteRows;
use rusqlite::{Connection, ffi};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Writes 64 KiB, in place of a table that a crash may have left.
const PROBE_FILL: &str =
    "DROP TABLE IF EXISTS probe; CREATE TABLE probe (filler); INSERT INTO probe VALUES (zeroblob(65536))";
const PROBE_EMPTY: &str = "DROP TABLE probe";

/// Changes a database. Each database has at most one writer, which `Lock` ensures.
pub struct Writer {
    pub(crate) db: Connection,
    log: WriteAheadLog,
    pub(crate) path: PathBuf,
    /// The file that was opened; `None` for a temporary database, which no other process can replace.
    file: Option<FileId>,
    temporary: Option<TemporaryDatabase>,
    pub(crate) meta: DatabaseMeta,
    pub(crate) cache: WriterCache,
    pub(crate) head: JournalHead,
    /// SQLite's count of changes by other connections.
    external_version: i64,
    maintenance: Maintenance,
    /// Set when a transaction fails because of the database, until one succeeds that changes it.
    fault: Option<WriterFault>,
}

/// What a transaction did, after its commit.
struct TransactionResult {
    before: EventNumber,
    events: Vec<Arc<Event>>,
    results: Vec<CommandResult>,
    jobs: Vec<AnswerJob>,
    started: Vec<AnswerStarted>,
    token_rules: Option<TokenRules>,
}

impl TransactionResult {
    /// Nothing changed: the journal stays at `before`.
    fn unchanged(before: EventNumber, results: Vec<CommandResult>) -> TransactionResult {
        TransactionResult {
            before,
            events: Vec::new(),
            results,
            jobs: Vec::new(),
            started: Vec::new(),
            token_rules: None,
        }
    }
}

/// Why a transaction changed nothing.
enum TransactionError {
    /// It could not begin, which is no fault of its commands.
    Begin(rusqlite::Error),
    /// A command or the commit failed.
    Run(rusqlite::Error),
}

impl Writer {
    /// Opens the database, and creates or migrates its schema.
    ///
    /// # Errors
    /// Fails if the file cannot be opened or is not a database of this program. It is then unchanged.
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
        let log = WriteAheadLog::watch(&mut db).map_err(|error| OpenError::of(&path, &error))?;
        let head = journal_head::load(&db).map_err(|error| OpenError::of(&path, &error))?;
        let external_version = external_version(&db).map_err(|error| OpenError::of(&path, &error))?;
        let cache = WriterCache::new(config.inbox, config.responders.clone());
        let maintenance = Maintenance::new(config.retention);
        let fault = None;
        Ok(Writer { db, log, path, file, temporary, meta, cache, head, external_version, maintenance, fault })
    }

    /// Opens a connection for queries.
    ///
    /// # Errors
    /// Fails if the file cannot be opened a second time.
    pub fn open_reader(&self) -> Result<Reader, OpenError> {
        Reader::open(&self.path)
    }

    /// Removes the name of a temporary database, so that its file disappears with the process, whatever ends it. After that,
    /// no reader can be opened. Does nothing for a database in a file.
    pub fn unlink_temporary(&mut self) {
        self.temporary = None;
    }

    /// Runs the commands in order, in one transaction with one commit. If that fails, each runs in its own transaction.
    /// Returns one result per command, in the same order. `now` may go back; the assigned times do not.
    pub fn commit_batch(&mut self, commands: &[Command], now: WallTime) -> Committed {
        // An inbox flush shares the transaction. If it fails, the commands are retried without it.
        let includes_flush = self.cache.inboxes.is_due(self.head);
        let done = match self.transact(commands, now, true) {
            Ok(done) => done,
            Err(TransactionError::Run(error)) if commands.len() > 1 || includes_flush => {
                log::warn!("a transaction of {} commands failed, each is retried alone: {error}", commands.len());
                self.transact_each(commands, now)
            }
            Err(TransactionError::Begin(error) | TransactionError::Run(error)) => self.reject(commands, &error),
        };
        Committed {
            before: done.before,
            through: self.head.number,
            events: done.events.into(),
            results: done.results,
            jobs: done.jobs,
            started: done.started.into(),
            token_rules: done.token_rules.map(Arc::new),
        }
    }

    /// One short transaction of maintenance: purges rows of deleted resources, applies retention, removes expired responses,
    /// or flushes inboxes. After an error, no step is due until another transaction has succeeded.
    pub fn maintain(&mut self, now: WallTime) {
        let now = now.max(self.head.at);
        let step = self.begin().and_then(|()| {
            let rows = SqliteRows { db: &self.db, ids: &self.meta.ids };
            self.maintenance.step(&rows, &mut self.cache, self.head, now)?;
            self.commit()
        });
        if let Err(error) = step {
            log::error!("maintenance failed: {error}");
            self.roll_back();
            self.transaction_failed(&error);
            self.maintenance.step_failed();
        }
        maintenance::report_oldest(&self.db);
        maintenance::refresh_stats(&self.db, &mut self.cache);
    }

    /// When the next step of maintenance is due.
    pub fn maintenance_due(&mut self, now: WallTime) -> MaintenanceDue {
        maintenance::refresh_stats(&self.db, &mut self.cache);
        self.maintenance.due(&self.cache, self.head, now.max(self.head.at))
    }

    /// Why nothing can be written, according to the last transactions.
    pub fn fault(&self) -> Option<WriterFault> {
        self.fault
    }

    /// Probes whether the database can be written to, with a table that is dropped again. The table is large enough that a
    /// few messages would fit on a nearly full disk. The probe does not wait for locks, because commands may be waiting.
    pub fn probe(&mut self) {
        let probed = self
            .db
            .busy_timeout(Duration::ZERO)
            .and_then(|()| self.execute_alone(PROBE_FILL))
            .and_then(|()| self.execute_alone(PROBE_EMPTY));
        let restored = self.db.busy_timeout(Duration::from_millis(SQLITE_BUSY_MILLISECONDS));
        match probed.and(restored) {
            Ok(()) => self.clear_fault(),
            Err(error) => {
                self.roll_back();
                self.transaction_failed(&error);
            }
        }
    }

    /// The newest event number.
    pub fn position(&self) -> EventNumber {
        self.head.number
    }

    /// The name of the journal, which changes with each restore.
    pub fn epoch(&self) -> Uuid {
        self.meta.epoch
    }

    /// The signing key for tokens in development, which was generated with the database.
    pub fn signing_key(&self) -> [u8; 32] {
        self.meta.signing_key
    }

    /// Reloads what another process has changed since the last transaction or call: the token rules, which every shard must
    /// learn. Returns `None` if nothing changed. Without a change, the call costs one read of shared memory.
    pub fn poll_external_writes(&mut self) -> Option<Committed> {
        // After a failed read, the next transaction reads again and reports the error.
        let version = external_version(&self.db).ok().filter(|version| *version != self.external_version)?;
        let token_rules = users::token_rules(&self.db).ok()?;
        let head = journal_head::load(&self.db).ok()?;
        self.cache.clear();
        (self.head, self.external_version) = (head, version);
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
    ///
    /// # Errors
    /// Fails if the rows cannot be read.
    pub fn token_rules(&mut self) -> Result<TokenRules, OpenError> {
        users::token_rules(&self.db).map_err(|error| self.open_error(&error))
    }

    /// With a hash: ensures that the development user exists and is enabled, with this password unless it has one, unless an
    /// administrator disabled or deleted it. Without: switches off a development user with a password.
    ///
    /// # Errors
    /// Fails if the database cannot be written to.
    pub fn set_development_user(&mut self, hash: Option<&str>, now: WallTime) -> Result<(), OpenError> {
        let done = self.begin().and_then(|()| {
            development_user::switch(&self.db, hash, now)?;
            self.commit()
        });
        self.cache.clear();
        done.map_err(|error| {
            self.roll_back();
            self.open_error(&error)
        })
    }

    /// Runs a last checkpoint and closes the database. Nothing is lost without the checkpoint: it only saves the next start
    /// the work.
    pub fn close(self) {
        // Readers at work are not waited for.
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
                    // On close, SQLite would run another checkpoint and remove the log.
                    std::mem::forget(self);
                }
            }
        }
    }

    /// Whether the database could not be synced. Nothing more is committed then. The process must end, and the next one
    /// replays the whole log.
    pub fn is_poisoned(&self) -> bool {
        self.log.is_poisoned()
    }

    /// The writer's own connection, for tests that make SQLite fail.
    #[doc(hidden)]
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.db
    }

    /// Runs commands in one transaction, with a step of an inbox flush if `with_flush`.
    fn transact(
        &mut self,
        commands: &[Command],
        now: WallTime,
        with_flush: bool,
    ) -> Result<TransactionResult, TransactionError> {
        let result = match self.begin() {
            Ok(()) => self.run(commands, now, with_flush).map_err(TransactionError::Run),
            Err(error) => Err(TransactionError::Begin(error)),
        };
        match &result {
            Ok(_) => {
                metrics::COMMITS.add(1);
                metrics::COMMANDS_COMMITTED.add(commands.len() as u64);
            }
            Err(TransactionError::Begin(error)) => self.transaction_failed(error),
            Err(TransactionError::Run(error)) => {
                self.roll_back();
                self.transaction_failed(error);
            }
        }
        result
    }

    fn transact_each(&mut self, commands: &[Command], now: WallTime) -> TransactionResult {
        let mut all = TransactionResult::unchanged(self.head.number, Vec::with_capacity(commands.len()));
        for (index, command) in commands.iter().enumerate() {
            let alone = std::slice::from_ref(command);
            let done = match self.transact(alone, now, false) {
                Ok(done) => done,
                Err(TransactionError::Run(error)) => self.reject(alone, &error),
                // Waiting for the database once per command would delay all clients.
                Err(TransactionError::Begin(error)) => {
                    all.results.extend(self.reject(&commands[index..], &error).results);
                    return all;
                }
            };
            all.events.extend(done.events);
            all.results.extend(done.results);
            all.jobs.extend(done.jobs);
            all.started.extend(done.started);
            all.token_rules = done.token_rules.or(all.token_rules);
        }
        all
    }

    /// Rejects commands because of an error of SQLite.
    fn reject(&self, commands: &[Command], error: &rusqlite::Error) -> TransactionResult {
        log::error!("{} commands failed: {error}", commands.len());
        let rejection = rejection_of(error);
        let result =
            |command: &Command| CommandResult { to: command.reply_to, number: None, result: Err(rejection.clone()) };
        TransactionResult::unchanged(self.head.number, commands.iter().map(result).collect())
    }

    fn run(&mut self, commands: &[Command], now: WallTime, with_flush: bool) -> rusqlite::Result<TransactionResult> {
        let external_version = external_version(&self.db)?;
        let has_external_writes = external_version != self.external_version;
        if has_external_writes {
            self.cache.clear();
            self.head = journal_head::load(&self.db)?;
        }
        let before = self.head.number;
        let rows = SqliteRows { db: &self.db, ids: &self.meta.ids };
        let mut transaction = Transaction::new(&rows, &self.meta.ids, &mut self.cache, self.head, now);
        transaction.token_rules_changed = has_external_writes;
        let mut results = Vec::with_capacity(commands.len());
        for command in commands {
            let (result, number) = match transaction.run(command) {
                Ok((outcome, number)) => (Ok(outcome), number),
                Err(Abort::Rejected(rejection)) => (Err(rejection), None),
                Err(Abort::Failed(error)) => return Err(error),
            };
            results.push(CommandResult { to: command.reply_to, number, result });
        }
        if with_flush {
            transaction.step_inboxes()?;
        }
        let token_rules = transaction.finish()?;
        let Transaction { events, jobs, started, head, .. } = transaction;
        self.commit()?;
        // A transaction in which every command was rejected proves nothing.
        if head != self.head {
            self.clear_fault();
        }
        (self.head, self.external_version) = (head, external_version);
        let marks = [EventKind::ConversationDeleted, EventKind::WorkspaceDeleted];
        self.maintenance.transaction_succeeded(events.iter().any(|event| marks.contains(&event.kind)));
        Ok(TransactionResult { before, events, results, jobs, started, token_rules })
    }

    fn clear_fault(&mut self) {
        if self.fault.take().is_some() {
            log::info!("the database can be written to again");
            metrics::WRITER_FAILING.set(0);
        }
    }

    fn transaction_failed(&mut self, error: &rusqlite::Error) {
        metrics::COMMITS_FAILED.add(1);
        if let Some(fault) = fault_of(error) {
            if self.fault.is_none() {
                log::error!("the database cannot be written to: {error}");
            }
            self.fault = Some(fault);
            metrics::WRITER_FAILING.set(1);
        }
    }

    fn execute_alone(&mut self, statements: &str) -> rusqlite::Result<()> {
        self.begin()?;
        self.db.execute_batch(statements)?;
        self.commit()
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        // A failed rollback or a panic may have left a transaction open, and its changes in the cache.
        if !self.db.is_autocommit() {
            self.roll_back();
        }
        // A file without a name disappears with the process, so nothing may be acknowledged into it.
        if self.file.is_some() && file_id(&self.path) != self.file {
            let moved = ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED);
            return Err(rusqlite::Error::SqliteFailure(moved, Some("its file was moved, removed or replaced".into())));
        }
        // The previous transaction has been reported by now, so no client waits for the checkpoint.
        self.log.shorten(&self.db);
        if self.log.is_poisoned() {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None));
        }
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    fn commit(&self) -> rusqlite::Result<()> {
        self.db.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// Ends a failed transaction, unless SQLite has done so, and clears the cache.
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
            Err(error) => log::error!("the head of the journal could not be read: {error}"),
        }
    }

    fn open_error(&self, error: &rusqlite::Error) -> OpenError {
        OpenError::of(&self.path, error)
    }
}

/// A number that changes whenever another connection has written.
fn external_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

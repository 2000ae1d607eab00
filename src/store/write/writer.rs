//! The connection that writes: transactions of many commands, with one commit each.
//!
//! Invariant: a command result is returned, and an event is emitted, only after its commit has returned. After an error, the
//! cache holds nothing that is not on disk.

use crate::base::limits::TRANSACTION_ROWS_MAX;
use crate::base::memory_plan::MemoryPlan;
use crate::base::metrics;
use crate::base::time::{MonoTime, Now, WallTime};
use crate::config::types::Database;
use crate::domain::answer_job::AnswerJob;
use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::command::Command;
use crate::domain::commit::Committed;
use crate::domain::event::{Event, EventKind};
use crate::domain::health::WriterFault;
use crate::domain::id::{EventNumber, InstanceId};
use crate::domain::result::CommandResult;
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::TokenRules;
use crate::store::admin::development_user;
use crate::store::config::StoreConfig;
use crate::store::error::{Abort, OpenError, rejection_of};
#[cfg(feature = "cluster")]
use crate::store::postgres::address::Address;
use crate::store::read::reader::{Reader, WriterInstance};
use crate::store::rules::age::AgeClock;
use crate::store::rules::records::JournalHead;
use crate::store::rules::transaction::Transaction;
use crate::store::rules::writer_cache::WriterCache;
use crate::store::search::step::SearchIndexing;
use crate::store::sql::{EngineError, SqlResult};
use crate::store::sqlite::files::temporary::TemporaryDatabase;
use crate::store::sqlite::schema::DatabaseMeta;
use crate::store::tables::{journal_head, users};
use crate::store::write::maintenance::{self, Maintenance, MaintenanceDue};
use crate::store::write::rows::TableRows;
use crate::store::write::write_connection::WriteConnection;
use std::sync::Arc;
use uuid::Uuid;

/// Differs from every [`WriteConnection::external_version`], so that everything is read again.
const UNKNOWN_VERSION: i64 = -1;

/// On a server, the counts of expiring events are read at most so often.
const STATS_MILLISECONDS: u64 = 1000;

/// Changes a database. `Lock` ensures that each database has at most one writer.
pub struct Writer {
    pub(crate) connection: WriteConnection,
    temporary: Option<TemporaryDatabase>,
    pub(crate) meta: DatabaseMeta,
    pub(crate) cache: WriterCache,
    pub(crate) head: JournalHead,
    age: AgeClock,
    /// For the readers, what [`WriteConnection::instance`] says.
    instance: WriterInstance,
    /// The last [`WriteConnection::external_version`] that `cache` includes.
    external_version: i64,
    /// The last one that [`Writer::poll_external_writes`] reported.
    polled_version: i64,
    /// The rules about tokens through the change `rule_change`.
    token_rules: Arc<TokenRules>,
    rule_change: i64,
    /// Whether another process may have changed the rules since.
    may_have_rules: bool,
    maintenance: Maintenance,
    /// When the counts of expiring events were last read.
    stats_read_at: MonoTime,
    indexing: SearchIndexing,
    /// Rows that one step of a query examines.
    query_rows_max: usize,
    memory: MemoryPlan,
}

/// The result of a transaction, after its commit.
struct TransactionResult {
    before: EventNumber,
    events: Vec<Arc<Event>>,
    results: Vec<CommandResult>,
    jobs: Vec<AnswerJob>,
    queued: Vec<Arc<AnswerStatusChange>>,
    started: Vec<AnswerStarted>,
    token_rules: Option<Arc<TokenRules>>,
}

impl TransactionResult {
    /// The result of a transaction that changed nothing. The journal stays at `before`.
    fn unchanged(before: EventNumber, results: Vec<CommandResult>) -> TransactionResult {
        TransactionResult {
            before,
            events: Vec::new(),
            results,
            jobs: Vec::new(),
            queued: Vec::new(),
            started: Vec::new(),
            token_rules: None,
        }
    }
}

/// What an open transaction has found.
#[derive(Clone, Copy)]
struct BegunTransaction {
    /// The [`WriteConnection::external_version`].
    version: i64,
    /// Whether another process has written.
    has_external_writes: bool,
}

/// Why a transaction changed nothing.
enum TransactionError {
    /// It could not begin, whatever its commands were.
    Begin(EngineError),
    /// A command or the commit failed.
    Run(EngineError),
}

impl Writer {
    /// Opens the database, and creates or migrates its schema.
    ///
    /// # Errors
    /// Fails if the file cannot be opened or is not a database of this program. It is then unchanged.
    pub fn open(config: &StoreConfig) -> Result<Writer, OpenError> {
        let ((mut connection, meta), temporary) = match &config.database {
            Database::File(path) => (WriteConnection::open_file(path.clone(), false)?, None),
            Database::Memory => {
                let temporary = TemporaryDatabase::create()?;
                (WriteConnection::open_file(temporary.path(), true)?, Some(temporary))
            }
            #[cfg(feature = "cluster")]
            Database::Server(url) => (WriteConnection::open_server(Address::parse(url)?)?, None),
        };
        let open_error = |error| OpenError::of_engine(&connection.path, &error);
        let head = journal_head::load(&connection.db).map_err(open_error)?;
        let external_version = connection.external_version();
        let open_error = |error| OpenError::of_engine(&connection.path, &error);
        let external_version = external_version.map_err(open_error)?.unwrap_or(UNKNOWN_VERSION);
        // A change in between is applied twice, with the same effect.
        let rule_change = users::last_rule_change(&connection.db).map_err(open_error)?;
        let token_rules = Arc::new(users::token_rules(&connection.db).map_err(open_error)?);
        let cache = WriterCache::new(
            config.flush,
            config.notified_rows_max,
            config.event_rate,
            config.responders.clone(),
            config.tokens_per_day_max,
            &config.memory,
        );
        let (maintenance, age) = (Maintenance::new(config.retention), AgeClock::new(head.age));
        let (memory, query_rows_max) = (config.memory, config.query_rows_max);
        let instance = WriterInstance::default();
        instance.set(connection.instance());
        Ok(Writer {
            connection,
            temporary,
            meta,
            cache,
            head,
            age,
            instance,
            external_version,
            polled_version: external_version,
            token_rules,
            rule_change,
            may_have_rules: false,
            maintenance,
            stats_read_at: MonoTime(0),
            indexing: SearchIndexing::new(),
            query_rows_max,
            memory,
        })
    }

    /// Opens a connection for queries.
    ///
    /// # Errors
    /// Fails if the file cannot be opened a second time.
    pub fn open_reader(&self) -> Result<Reader, OpenError> {
        let reader = Reader::new(self.connection.open_reading()?, self.query_rows_max, &self.memory);
        Ok(reader.of_writer(self.instance.clone()))
    }

    /// The first setting by which a database server may lose what it has committed, with its value.
    ///
    /// # Errors
    /// Fails if the server does.
    pub(crate) fn durability_gap(&self) -> Result<Option<String>, OpenError> {
        self.connection.durability_gap().map_err(|error| self.open_error(&error))
    }

    /// Unlinks a temporary database, so that its file is deleted with the process, however the process ends. No reader can be
    /// opened afterwards. Does nothing for a database in a file.
    pub fn unlink_temporary(&mut self) {
        self.temporary = None;
    }

    /// Runs the first of the commands in order, in one transaction with one commit: at least one, and all of them unless they
    /// write `TRANSACTION_ROWS_MAX` rows. If that fails, each command runs in its own transaction, also a single one if the session
    /// was lost. Returns one result per command that has run, in the same order; the caller passes the other commands again. The
    /// wall clock may go back or jump: assigned times only grow, and nothing expires by it.
    pub fn commit_batch(&mut self, commands: &[Command], now: Now) -> Committed {
        // A flush shares the transaction. If it fails, the commands are retried without it.
        let flushes = self.connection.leads();
        let includes_flush = flushes && self.cache.flush_is_due(self.head);
        let done = match self.transact(commands, now, flushes) {
            Ok(done) => done,
            Err(TransactionError::Run(error))
                if (commands.len() > 1 || includes_flush || error.has_lost_session())
                    && !error.may_have_committed() =>
            {
                log::warn!("a transaction of {} commands failed, retrying each alone: {error}", commands.len());
                self.transact_each(commands, now)
            }
            Err(TransactionError::Begin(error) | TransactionError::Run(error)) => self.reject(commands, &error),
        };
        // The metrics include a commit before its results are sent.
        self.refresh_stats(now.mono);
        Committed {
            before: done.before,
            through: self.head.number,
            events: done.events.into(),
            results: done.results,
            jobs: done.jobs,
            queued: done.queued,
            started: done.started.into(),
            token_rules: done.token_rules,
        }
    }

    /// One short transaction of maintenance: notifies participants of deleted workspaces, purges rows of deleted resources,
    /// applies retention, removes expired responses, or flushes inboxes. Returns the events that it published, if any. After
    /// an error, no step is due until another transaction has succeeded.
    pub fn maintain(&mut self, now: Now) -> Option<Committed> {
        if !self.connection.leads() {
            return None;
        }
        let age = self.age.at(now.mono).max(self.head.age);
        let may_purge = self.maintenance.has_rows();
        let mut before = self.head.number;
        let step = self.begin().and_then(|()| {
            let begun = self.refresh()?;
            before = self.head.number;
            let rows = TableRows { db: &self.connection.db, ids: &self.meta.ids };
            let done = self.maintenance.step(&rows, &mut self.cache, self.head, now.wall, age)?;
            self.connection.commit()?;
            self.committed(begun);
            Ok(done)
        });
        let events = match step {
            Ok((events, head)) => {
                self.head = head;
                self.knows_head();
                if may_purge {
                    self.indexing.has_purged();
                }
                events
            }
            Err(error) => {
                log::error!("maintenance failed: {error}");
                self.roll_back();
                self.connection.transaction_failed(&error);
                self.maintenance.step_failed();
                Vec::new()
            }
        };
        maintenance::report_oldest(&self.connection.db);
        maintenance::refresh_stats(&self.connection.db, &mut self.cache);
        let through = self.head.number;
        (!events.is_empty()).then(|| Committed { events: events.into(), ..Committed::empty(before, through) })
    }

    /// One short transaction that brings the index of searches up to date. Searches read what the index lacks, so a step changes
    /// no result. After an error, no step is due until another transaction has succeeded.
    pub fn index_messages(&mut self) {
        let step = self.begin().and_then(|()| {
            let begun = self.refresh()?;
            self.indexing.step(&self.connection.db, self.head.number)?;
            self.connection.commit()?;
            self.committed(begun);
            Ok(())
        });
        if let Err(error) = step {
            log::error!("the index of searches cannot be extended: {error}");
            self.roll_back();
            self.connection.transaction_failed(&error);
            self.indexing.step_failed();
        }
    }

    /// The time from which the index of searches should be extended; `None` while it has everything.
    pub fn indexing_due(&self) -> Option<MonoTime> {
        self.indexing.due(self.head.number).filter(|_| self.connection.leads())
    }

    /// When the next step of maintenance is due.
    pub fn maintenance_due(&mut self, now: Now) -> MaintenanceDue {
        self.refresh_stats(now.mono);
        // The clock begins with its first reading, also at an instance that does not lead.
        let age = self.age.at(now.mono);
        if !self.connection.leads() {
            return MaintenanceDue::Unknown;
        }
        self.maintenance.due(&self.cache, self.head, now.mono, age)
    }

    /// Why the database cannot be written to, according to the last transactions.
    pub fn fault(&self) -> Option<WriterFault> {
        self.connection.fault()
    }

    /// Probes whether the database can be written to, with a table that is dropped again. On a nearly full disk, the probe
    /// succeeds only if a few messages fit.
    pub fn probe(&mut self) {
        self.roll_back_leftover();
        let is_server = self.connection.db.is_server();
        let probed = self.connection.probe().and_then(|()| if is_server { self.take_turn() } else { Ok(()) });
        match probed {
            Ok(()) => self.connection.transaction_succeeded(),
            Err(error) => {
                self.roll_back();
                self.connection.transaction_failed(&error);
            }
        }
    }

    /// A transaction without commands. It writes the lease of this process at least.
    fn take_turn(&mut self) -> SqlResult<()> {
        self.begin()?;
        let begun = self.refresh()?;
        self.connection.commit()?;
        self.committed(begun);
        Ok(())
    }

    /// The id of this process among those that serve the database; `None` if it is the only one.
    pub fn instance(&self) -> Option<InstanceId> {
        self.connection.instance()
    }

    /// The number of other processes that serve the database, as far as this one knows.
    #[cfg(feature = "cluster")]
    pub(crate) fn others(&self) -> usize {
        self.connection.others()
    }

    /// The timeline of the database server, as far as this process has followed it; 0 for a file.
    #[cfg(feature = "cluster")]
    pub(crate) fn timeline(&self) -> i64 {
        self.connection.timeline()
    }

    /// The newest event number.
    pub fn position(&self) -> EventNumber {
        self.head.number
    }

    /// The name of the journal, which changes with each restore.
    pub fn epoch(&self) -> Uuid {
        self.meta.epoch
    }

    /// What tells the database from all others, also from a copy; `None` for a file.
    ///
    /// # Errors
    /// Fails if the server does.
    #[cfg(feature = "cluster")]
    pub(crate) fn database_identity(&self) -> Result<Option<String>, OpenError> {
        self.connection.identity().map_err(|error| self.open_error(&error))
    }

    /// The signing key for tokens in development, which was generated with the database.
    pub fn signing_key(&self) -> [u8; 32] {
        self.meta.signing_key
    }

    /// Reloads the data that another process has changed since the last transaction or call. Returns the token rules, for all
    /// shards; `None` if nothing changed. A file that was displaced becomes a fault. Without a change, the call costs one read of
    /// shared memory and a system call for each file.
    pub fn poll_external_writes(&mut self) -> Option<Committed> {
        self.connection.poll_files();
        // After a failed read, the next transaction reads again and reports the error.
        let version = match self.connection.external_version() {
            Ok(Some(version)) => version,
            Ok(None) => {
                self.probe();
                return None;
            }
            Err(error) if self.connection.db.is_server() => {
                self.roll_back_leftover();
                self.connection.transaction_failed(&error);
                return None;
            }
            Err(_) => return None,
        };
        if version == self.external_version || version == self.polled_version {
            return None;
        }
        let (token_rules, rule_change) = self.changed_token_rules().ok()?;
        let head = journal_head::load(&self.connection.db).ok()?;
        (self.token_rules, self.rule_change) = (token_rules, rule_change);
        (self.head, self.polled_version) = (head, version);
        self.knows_head();
        // On a server, the next transaction drops from the cache what has changed.
        if !self.connection.db.is_server() {
            self.connection.drop_changed(&mut self.cache);
            self.external_version = version;
        }
        let token_rules = Some(Arc::clone(&self.token_rules));
        Some(Committed { token_rules, ..Committed::empty(head.number, head.number) })
    }

    /// The users whose tokens are restricted.
    ///
    /// # Errors
    /// Fails if the rows cannot be read.
    pub fn token_rules(&mut self) -> Result<Arc<TokenRules>, OpenError> {
        (self.token_rules, self.rule_change) = self.changed_token_rules().map_err(|error| self.open_error(&error))?;
        Ok(Arc::clone(&self.token_rules))
    }

    /// The rules about tokens with the changes that are not applied yet, and the number of the newest change.
    fn changed_token_rules(&self) -> SqlResult<(Arc<TokenRules>, i64)> {
        let mut rules = TokenRules::clone(&self.token_rules);
        let rule_change = users::apply_rule_changes(&self.connection.db, &mut rules, self.rule_change)?;
        Ok((Arc::new(rules), rule_change))
    }

    /// Enables the development user with the password `hash`, or switches it off if `hash` is `None`. A password that the user
    /// has already is kept, and a user that an administrator disabled or deleted stays so.
    ///
    /// # Errors
    /// Fails if the database cannot be written to.
    pub fn set_development_user(&mut self, hash: Option<&str>, now: WallTime) -> Result<(), OpenError> {
        let done = self.begin().and_then(|()| {
            development_user::switch(&self.connection.db, hash, now)?;
            self.connection.commit()
        });
        self.cache.clear();
        done.map_err(|error| {
            self.roll_back();
            self.open_error(&error)
        })
    }

    /// Runs a last checkpoint and closes the database. The checkpoint only saves work at the next start.
    pub fn close(self) {
        self.connection.close();
    }

    /// Whether the journal has another epoch than when the process began: the server lacks events that were acknowledged. The process
    /// must end, so that its streams are opened again, and those that had the lost events get a gap.
    #[cfg(feature = "cluster")]
    pub fn has_new_epoch(&self) -> bool {
        self.connection.has_new_epoch(self.meta.epoch)
    }

    /// Streams of this process have shown events through this number.
    #[cfg(feature = "cluster")]
    pub fn has_shown(&mut self, through: EventNumber) {
        self.connection.knows(through);
    }

    /// Whether the database could not be synced. Nothing is committed afterwards. The process must end, and the next one
    /// replays the whole log.
    pub fn is_poisoned(&self) -> bool {
        self.connection.is_poisoned()
    }

    /// The writer's own connection, for tests that make SQLite fail.
    #[doc(hidden)]
    pub fn connection(&mut self) -> &mut rusqlite::Connection {
        self.connection.db.sqlite_mut()
    }

    /// Runs checkpoints from this length of the log on, in frames, for tests whose logs are short.
    #[doc(hidden)]
    pub fn checkpoint_after(&mut self, frames: u32) {
        self.connection.checkpoint_after(frames);
    }

    /// Takes what other processes have written for known: the cache, and the head of the journal unless `reads_head`, stay as they
    /// are. For tests that plant this mistake.
    #[doc(hidden)]
    #[cfg(feature = "cluster")]
    pub fn overlook_external_writes(&mut self, reads_head: bool) {
        self.external_version = self.connection.external_version().ok().flatten().unwrap_or(UNKNOWN_VERSION);
        self.polled_version = self.external_version;
        if reads_head {
            self.head = journal_head::load(&self.connection.db).expect("the head of the journal can be read");
        }
    }

    /// Executes statements on the writer's own connection, for tests that make a server fail.
    #[doc(hidden)]
    pub fn execute_batch(&mut self, statements: &str) {
        self.connection.db.execute_batch(statements).expect("the statements can be executed");
    }

    /// Runs commands in one transaction, with a step of an inbox flush if `with_flush`.
    fn transact(
        &mut self,
        commands: &[Command],
        now: Now,
        with_flush: bool,
    ) -> Result<TransactionResult, TransactionError> {
        let result = match self.begin() {
            Ok(()) => self.run(commands, now, with_flush).map_err(TransactionError::Run),
            Err(error) => Err(TransactionError::Begin(error)),
        };
        match &result {
            Ok(done) => {
                metrics::COMMITS.add(1);
                metrics::COMMANDS_COMMITTED.add(done.results.len() as u64);
            }
            Err(TransactionError::Begin(error)) => self.connection.transaction_failed(error),
            Err(TransactionError::Run(error)) => {
                self.roll_back();
                self.connection.transaction_failed(error);
            }
        }
        result
    }

    fn transact_each(&mut self, commands: &[Command], now: Now) -> TransactionResult {
        let mut all = TransactionResult::unchanged(self.head.number, Vec::with_capacity(commands.len()));
        let (mut through, mut has_gap) = (None, false);
        for (index, command) in commands.iter().enumerate() {
            let alone = std::slice::from_ref(command);
            let (done, is_last) = match self.transact(alone, now, false) {
                Ok(done) => (done, false),
                Err(TransactionError::Run(error)) if !error.may_have_committed() => (self.reject(alone, &error), false),
                // Waiting for the database again for each command would delay all clients.
                Err(TransactionError::Begin(error) | TransactionError::Run(error)) => {
                    (self.reject(&commands[index..], &error), true)
                }
            };
            // Another instance may have committed between two transactions.
            has_gap |= *through.get_or_insert(done.before) != done.before;
            through = Some(self.head.number);
            if index == 0 {
                all.before = done.before;
            }
            all.events.extend(done.events);
            all.results.extend(done.results);
            all.jobs.extend(done.jobs);
            all.queued.extend(done.queued);
            all.started.extend(done.started);
            all.token_rules = done.token_rules.or(all.token_rules);
            if is_last {
                break;
            }
        }
        if has_gap {
            // A commit that follows itself tells the shards that they missed events.
            all.events.clear();
            all.before = self.head.number;
        }
        all
    }

    /// Rejects commands because of an error of SQLite.
    fn reject(&self, commands: &[Command], error: &EngineError) -> TransactionResult {
        log::error!("{} commands failed: {error}", commands.len());
        let rejection = rejection_of(error);
        let result =
            |command: &Command| CommandResult { to: command.reply_to, number: None, result: Err(rejection.clone()) };
        TransactionResult::unchanged(self.head.number, commands.iter().map(result).collect())
    }

    fn run(&mut self, commands: &[Command], now: Now, with_flush: bool) -> SqlResult<TransactionResult> {
        let begun = self.refresh()?;
        let (before, age) = (self.head.number, self.age.at(now.mono).max(self.head.age));
        let rows = TableRows { db: &self.connection.db, ids: &self.meta.ids };
        let mut transaction = Transaction::new(&rows, &self.meta.ids, &mut self.cache, self.head, now.wall, age);
        transaction.instance = self.connection.instance();
        transaction.token_rules_changed = self.may_have_rules;
        let mut results = Vec::with_capacity(commands.len());
        for command in commands {
            if transaction.rows_changed >= TRANSACTION_ROWS_MAX {
                break;
            }
            let (result, number) = match transaction.run(command) {
                Ok((outcome, number)) => (Ok(outcome), number),
                Err(Abort::Rejected(rejection)) => (Err(rejection), None),
                Err(Abort::Failed(error)) => return Err(error),
            };
            results.push(CommandResult { to: command.reply_to, number, result });
        }
        if with_flush {
            transaction.step_flush()?;
        }
        transaction.finish()?;
        let Transaction { events, jobs, queued, started, head, token_rules_changed, .. } = transaction;
        let queued = queued.into_iter().map(|(_, change)| change).collect();
        let token_rules = if token_rules_changed { Some(self.changed_token_rules()?) } else { None };
        self.connection.commit()?;
        let token_rules = token_rules.map(|(token_rules, rule_change)| {
            (self.token_rules, self.rule_change, self.may_have_rules) = (token_rules, rule_change, false);
            Arc::clone(&self.token_rules)
        });
        // A transaction in which every command was rejected wrote nothing, so it does not end a fault.
        if head != self.head {
            self.connection.transaction_succeeded();
        }
        self.head = head;
        self.knows_head();
        self.external_version = self.connection.version_after_commit(begun.version);
        let marks = [EventKind::ConversationDeleted, EventKind::WorkspaceDeleted];
        self.maintenance.transaction_succeeded(events.iter().any(|event| marks.contains(&event.kind)));
        self.indexing.transaction_succeeded(&events, now.mono);
        Ok(TransactionResult { before, events, results, jobs, queued, started, token_rules })
    }

    /// Reads the changes of other processes again, inside an open transaction.
    fn refresh(&mut self) -> SqlResult<BegunTransaction> {
        let version = self.connection.external_version()?.unwrap_or(UNKNOWN_VERSION);
        let has_external_writes = version != self.external_version || self.connection.has_new_timeline();
        if has_external_writes {
            let changes = self.connection.drop_changed(&mut self.cache);
            self.may_have_rules |= changes.token_rules;
            if changes.deletions {
                self.maintenance.others_deleted();
            }
            self.head = self.connection.head()?;
            #[cfg(feature = "cluster")]
            if self.connection.follow_timeline()? {
                self.head = journal_head::load(&self.connection.db)?;
            }
        }
        Ok(BegunTransaction { version, has_external_writes })
    }

    /// Reads the counts of expiring events, if they are not known. While other instances change them in each turn, once a second
    /// is enough, and while the server fails, they stay unknown.
    fn refresh_stats(&mut self, now: MonoTime) {
        let is_server = self.connection.db.is_server();
        // Results do not wait for a server that does not reply.
        if is_server && self.connection.fault().is_some() {
            return;
        }
        if is_server && self.cache.stats.is_none() && now < self.stats_read_at.plus_milliseconds(STATS_MILLISECONDS) {
            return;
        }
        if self.cache.stats.is_none() {
            self.stats_read_at = now;
        }
        maintenance::refresh_stats(&self.connection.db, &mut self.cache);
    }

    /// Records the commit of a transaction that reported no changes of other processes.
    fn committed(&mut self, begun: BegunTransaction) {
        self.knows_head();
        match begun.has_external_writes {
            true => self.forget_version(),
            false => self.external_version = self.connection.version_after_commit(begun.version),
        }
    }

    /// The head of the journal is committed.
    fn knows_head(&mut self) {
        #[cfg(feature = "cluster")]
        self.connection.knows(self.head.number);
    }

    /// Everything may have changed, for the next transaction and for the next poll.
    fn forget_version(&mut self) {
        (self.external_version, self.polled_version) = (UNKNOWN_VERSION, UNKNOWN_VERSION);
    }

    fn begin(&mut self) -> SqlResult<()> {
        self.roll_back_leftover();
        self.cache.event_rates.begin();
        self.connection.begin()?;
        self.instance.set(self.connection.instance());
        Ok(())
    }

    /// Rolls back a transaction that a failed rollback or a panic left open, with its changes in the cache.
    fn roll_back_leftover(&mut self) {
        if !self.connection.is_idle() {
            self.roll_back();
        }
    }

    /// Ends a failed transaction, unless SQLite has ended it, and clears the cache.
    fn roll_back(&mut self) {
        self.connection.roll_back();
        self.cache.event_rates.roll_back();
        self.cache.clear();
        // A commit into a displaced file has succeeded, and its changes are not shared yet.
        self.forget_version();
        // The next transaction reads it. A server that does not reply would not do so to this query either.
        if self.connection.db.is_lost() {
            return;
        }
        match journal_head::load(&self.connection.db) {
            Ok(head) if self.connection.is_idle() => self.head = head,
            Ok(_) => {}
            Err(error) => log::error!("cannot read the head of the journal: {error}"),
        }
    }

    fn open_error(&self, error: &EngineError) -> OpenError {
        OpenError::of_engine(&self.connection.path, error)
    }
}

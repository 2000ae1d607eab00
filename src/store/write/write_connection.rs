//! The connection that writes: its transactions, and whether the database can be written to.

use crate::base::metrics;
use crate::domain::health::WriterFault;
#[cfg(feature = "cluster")]
use crate::domain::id::EventNumber;
use crate::domain::id::InstanceId;
use crate::store::error::{OpenError, fault_of};
#[cfg(feature = "cluster")]
use crate::store::postgres::{
    self,
    address::{Address, SessionUse},
    turn::{ChangedRow, ChangedRows, Turns},
};
use crate::store::rules::records::JournalHead;
use crate::store::rules::writer_cache::WriterCache;
use crate::store::sql::{EngineError, SqlConnection, SqlResult};
use crate::store::sqlite::connection;
use crate::store::sqlite::open_database::OpenDatabase;
use crate::store::sqlite::schema::DatabaseMeta;
use crate::store::tables::journal_head;
#[cfg(feature = "cluster")]
use crate::store::tables::timeline;
#[cfg(feature = "cluster")]
use std::path::Path;
use std::path::PathBuf;
#[cfg(feature = "cluster")]
use uuid::Uuid;

/// A connection that writes, and the state of its database.
///
/// Order of calls: `begin`, then statements on `db`, then `commit`; after an error of any of them `roll_back`, then
/// `transaction_failed`.
pub(crate) struct WriteConnection {
    pub db: SqlConnection,
    /// The path of the database, or the address of its server.
    pub path: PathBuf,
    engine: WriteEngine,
    /// Set when a transaction fails because of the database, until one succeeds that changes it.
    fault: Option<WriterFault>,
    /// Whether the fault was logged as an error. A lost session is not, unless the next transaction fails as well.
    is_reported: bool,
}

/// What other connections may have changed, beside rows in the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExternalChanges {
    /// The rules about tokens.
    pub token_rules: bool,
    /// Something was marked as deleted.
    pub deletions: bool,
}

/// What surrounds the transactions of each engine.
enum WriteEngine {
    Sqlite(OpenDatabase),
    #[cfg(feature = "cluster")]
    Postgres(Box<Turns>, Address),
}

impl WriteConnection {
    /// Opens the database at `path`, and creates or migrates its schema.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, is not a database of this program, or has an unknown schema version.
    pub(crate) fn open_file(path: PathBuf, is_temporary: bool) -> Result<(WriteConnection, DatabaseMeta), OpenError> {
        let (files, db, meta) = OpenDatabase::open(&path, is_temporary)?;
        Ok((WriteConnection { db, path, engine: WriteEngine::Sqlite(files), fault: None, is_reported: false }, meta))
    }

    /// Opens a session with a server, and creates or migrates the schema of its database.
    ///
    /// # Errors
    /// Fails if the server cannot be reached, does not keep what it has committed, or has an unknown schema version.
    #[cfg(feature = "cluster")]
    pub(crate) fn open_server(address: Address) -> Result<(WriteConnection, DatabaseMeta), OpenError> {
        let path = Path::new(address.name()).to_path_buf();
        let db = address.connect(SessionUse::Writer)?;
        let mut turns = Turns::new(true, address.newest_timeline());
        // An import, which needs a database that nothing serves, takes the lock of the schema as well.
        let meta = postgres::migration::create(&db, &path, |db| turns.register(db))?;
        let engine = WriteEngine::Postgres(Box::new(turns), address);
        Ok((WriteConnection { db, path, engine, fault: None, is_reported: false }, meta))
    }

    /// Opens a connection for queries, with about the same settings.
    ///
    /// # Errors
    /// Fails if the file or a session cannot be opened a second time.
    pub(crate) fn open_reading(&self) -> Result<(SqlConnection, DatabaseMeta), OpenError> {
        match &self.engine {
            WriteEngine::Sqlite(_) => connection::open_reading(&self.path),
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(_, address) => address.open(SessionUse::Reader),
        }
    }

    /// What tells the database from all others, also from a copy with the same epoch: the identifiers of the server, which its standbys
    /// share, and of the database; `None` for a file.
    ///
    /// # Errors
    /// Fails if the server does.
    #[cfg(feature = "cluster")]
    pub(crate) fn identity(&self) -> SqlResult<Option<String>> {
        const IDENTITY: &str = "SELECT c.system_identifier::text || '-' || d.oid::text
            FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()";
        match &self.engine {
            WriteEngine::Sqlite(_) => Ok(None),
            WriteEngine::Postgres(..) => self.db.prepare_cached(IDENTITY)?.query_row([], |row| row.get(0)).map(Some),
        }
    }

    /// The first setting by which a server may lose what it has committed, with its value. A file is always synced.
    ///
    /// # Errors
    /// Fails if the server does.
    pub(crate) fn durability_gap(&self) -> SqlResult<Option<String>> {
        match &self.engine {
            WriteEngine::Sqlite(_) => Ok(None),
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(..) => postgres::schema::durability_gap(&self.db),
        }
    }

    /// Whether no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.db.is_idle()
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// Also fails if a file was displaced, or if the database could not be synced.
    pub(crate) fn begin(&mut self) -> SqlResult<()> {
        match &mut self.engine {
            WriteEngine::Sqlite(files) => {
                files.prepare(self.db.sqlite())?;
                self.db.begin()
            }
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) => turns.begin(&self.db),
        }
    }

    /// Commits the open transaction.
    ///
    /// # Errors
    /// Also fails if a file was displaced during the transaction. The changes are then visible until this process ends.
    pub(crate) fn commit(&mut self) -> SqlResult<()> {
        match &mut self.engine {
            WriteEngine::Sqlite(files) => {
                self.db.commit()?;
                files.check_commit(self.db.sqlite())
            }
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) => turns.commit(&self.db),
        }
    }

    /// Checks the files while no transaction is due, so that a displaced file becomes a fault soon.
    pub(crate) fn poll_files(&mut self) {
        let checked = match &mut self.engine {
            WriteEngine::Sqlite(files) if self.fault.is_none() => files.check(self.db.sqlite()),
            _ => return,
        };
        if let Err(error) = checked {
            self.transaction_failed(&error);
        }
    }

    /// Ends a failed transaction, unless the engine has ended it. If that fails, the transaction stays open.
    pub(crate) fn roll_back(&mut self) {
        if let Err(error) = self.db.roll_back() {
            log::error!("cannot roll back a transaction yet: {error}");
        }
    }

    /// Records that a transaction changed the database.
    pub(crate) fn transaction_succeeded(&mut self) {
        self.is_reported = false;
        if self.fault.take().is_some() {
            log::info!("the database can be written to again");
            metrics::WRITER_FAILING.set(0);
        }
    }

    /// Records that a transaction failed. An error that is not about the database leaves `fault` as it is.
    pub(crate) fn transaction_failed(&mut self, error: &EngineError) {
        metrics::COMMITS_FAILED.add(1);
        if let Some(fault) = fault_of(error) {
            if self.fault.is_none() && error.has_lost_session() {
                log::warn!("the session with the database server was lost: {error}");
            } else if !self.is_reported {
                log::error!("the database cannot be written to: {error}");
                self.is_reported = true;
            }
            self.fault = Some(fault);
            metrics::WRITER_FAILING.set(1);
        }
    }

    /// Why the database cannot be written to, according to the last transactions.
    pub(crate) fn fault(&self) -> Option<WriterFault> {
        self.fault
    }

    /// Runs checkpoints of a file from this length of the log on, in frames. For tests.
    pub(crate) fn checkpoint_after(&mut self, frames: u32) {
        match &mut self.engine {
            WriteEngine::Sqlite(files) => files.checkpoint_after(frames),
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(..) => {}
        }
    }

    /// Whether the database could not be synced, so that no transaction begins any more.
    pub(crate) fn is_poisoned(&self) -> bool {
        match &self.engine {
            WriteEngine::Sqlite(files) => files.is_poisoned(),
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(..) => false,
        }
    }

    /// Writes something, and removes it again. No transaction is open.
    ///
    /// # Errors
    /// Fails if the database cannot be written to. A transaction may then be open.
    pub(crate) fn probe(&mut self) -> SqlResult<()> {
        match &mut self.engine {
            WriteEngine::Sqlite(files) => files.probe(&self.db),
            // Each turn writes something.
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(..) => Ok(()),
        }
    }

    /// A number that changes whenever another connection has written. `None`: it is known in the next transaction, which is due.
    pub(crate) fn external_version(&mut self) -> SqlResult<Option<i64>> {
        match &mut self.engine {
            WriteEngine::Sqlite(_) => self.db.query_row("PRAGMA data_version", [], |row| row.get(0)).map(Some),
            // In a transaction, it has been read with the lock.
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) if !self.db.is_idle() => Ok(Some(turns.last())),
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) => turns.rest(&self.db),
        }
    }

    /// The head of the journal, in the open transaction.
    pub(crate) fn head(&self) -> SqlResult<JournalHead> {
        match &self.engine {
            WriteEngine::Sqlite(_) => journal_head::load(&self.db),
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) => Ok(turns.head()),
        }
    }

    /// Lets the journal continue, in the open transaction, if the server continues from a state that may be older than what this
    /// process knows. Numbers that may have been assigned are not assigned again. Returns whether the head of the journal has changed.
    ///
    /// # Errors
    /// Also fails if no numbers are left.
    #[cfg(feature = "cluster")]
    pub(crate) fn follow_timeline(&mut self) -> SqlResult<bool> {
        let WriteEngine::Postgres(turns, _) = &mut self.engine else { return Ok(false) };
        let Some(new) = turns.new_timeline() else { return Ok(false) };
        let known = turns.known();
        let is_lacking = turns.head().number < known || timeline::skipped_through(&self.db, known)?.is_some();
        if new.is_first {
            let continues = timeline::skip(&self.db, known, new.at)?;
            let continues = continues.ok_or_else(|| EngineError::value(0, "no event numbers are left"))?;
            turns.store_timeline(&self.db)?;
            log::warn!("the database server continues on a new timeline: event numbers continue after {continues}");
        }
        if is_lacking {
            turns.changes_epoch(timeline::change_epoch(&self.db)?);
            log::error!("the database server lacks acknowledged events, through number {known} at least");
        }
        Ok(new.is_first)
    }

    /// This process has committed or shown events through this number.
    #[cfg(feature = "cluster")]
    pub(crate) fn knows(&mut self, through: EventNumber) {
        if let WriteEngine::Postgres(turns, _) = &mut self.engine {
            turns.knows(through);
        }
    }

    /// Whether the server continues from another state than before the last transaction.
    pub(crate) fn has_new_timeline(&self) -> bool {
        match &self.engine {
            WriteEngine::Sqlite(_) => false,
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) => turns.new_timeline().is_some(),
        }
    }

    /// Whether the journal has another epoch than `epoch`, with which the process began.
    #[cfg(feature = "cluster")]
    pub(crate) fn has_new_epoch(&self, epoch: Uuid) -> bool {
        match &self.engine {
            WriteEngine::Sqlite(_) => false,
            WriteEngine::Postgres(turns, _) => !turns.epoch().is_nil() && turns.epoch() != epoch,
        }
    }

    /// The id of this process among those that serve the database; `None` if it is the only one.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        match &self.engine {
            WriteEngine::Sqlite(_) => None,
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) => turns.instance(),
        }
    }

    /// The number of other processes that serve the database.
    #[cfg(feature = "cluster")]
    pub(crate) fn others(&self) -> usize {
        match &self.engine {
            WriteEngine::Sqlite(_) => 0,
            WriteEngine::Postgres(turns, _) => turns.others(),
        }
    }

    /// The timeline of the database server, as far as this process has followed it; 0 for a file.
    #[cfg(feature = "cluster")]
    pub(crate) fn timeline(&self) -> i64 {
        match &self.engine {
            WriteEngine::Sqlite(_) => 0,
            WriteEngine::Postgres(turns, _) => turns.timeline(),
        }
    }

    /// Whether this process does what one does for all that serve the database: maintenance, and the index of searches.
    pub(crate) fn leads(&self) -> bool {
        match &self.engine {
            WriteEngine::Sqlite(_) => true,
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) => turns.leads(),
        }
    }

    /// Drops from the cache what other connections have changed since the last call.
    pub(crate) fn drop_changed(&mut self, cache: &mut WriterCache) -> ExternalChanges {
        #[cfg(feature = "cluster")]
        if let WriteEngine::Postgres(turns, _) = &mut self.engine
            && let ChangedRows::Rows(rows) = turns.take_changed()
        {
            let mut changes = ExternalChanges { token_rules: false, deletions: false };
            for row in rows {
                match row {
                    ChangedRow::User(id) => {
                        cache.users.remove(&id);
                        changes.token_rules = true;
                    }
                    ChangedRow::Conversation(number) => {
                        cache.conversations.remove(&number);
                        changes.deletions = true;
                    }
                    ChangedRow::Workspace(number) => {
                        cache.workspace_deleted(number);
                        changes.deletions = true;
                    }
                }
            }
            cache.stats = None;
            match turns.leads() {
                true => cache.inboxes.may_have_moved(),
                false => cache.inboxes.clear(),
            }
            return changes;
        }
        cache.clear();
        ExternalChanges { token_rules: true, deletions: true }
    }

    /// The [`WriteConnection::external_version`] after a commit of a transaction that began at `before`.
    pub(crate) fn version_after_commit(&self, before: i64) -> i64 {
        match &self.engine {
            WriteEngine::Sqlite(_) => before,
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(turns, _) => turns.last(),
        }
    }

    /// Closes the database, after a last checkpoint.
    pub(crate) fn close(self) {
        match self.engine {
            WriteEngine::Sqlite(files) => files.close(self.db),
            #[cfg(feature = "cluster")]
            WriteEngine::Postgres(mut turns, _) => {
                if let Err(error) = turns.end(&self.db) {
                    log::warn!("cannot end the lease of this instance: {error}");
                }
            }
        }
    }
}

//! A connection that executes queries. Any number of readers work in parallel with the writer.

use crate::base::memory_plan::MemoryPlan;
use crate::domain::id::{EventNumber, IdKey, InstanceId, UserId};
use crate::domain::result::Rejection;
#[cfg(feature = "cluster")]
use crate::domain::slice::JournalSlice;
use crate::store::error::{OpenError, rejection_of};
use crate::store::read::pending_query::{PendingQuery, QueryStep};
use crate::store::read::queries;
use crate::store::read::read_transaction::ReadLimits;
#[cfg(feature = "cluster")]
use crate::store::read::slice::{self, SliceError};
use crate::store::sql::{EngineError, SqlConnection, read_in_open_session};
use crate::store::sqlite::connection;
use crate::store::sqlite::schema::DatabaseMeta;
#[cfg(feature = "cluster")]
use crate::store::tables::journal_head;
use crate::store::tables::users::{self, PasswordRecord};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The instance as which a writer writes, for its readers. It changes when its lease has expired.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriterInstance(Arc<AtomicI64>);

impl WriterInstance {
    /// No instance has this id.
    const NONE: i64 = 0;

    pub(crate) fn set(&self, instance: Option<InstanceId>) {
        self.0.store(instance.map_or(WriterInstance::NONE, |instance| instance.0), Ordering::Relaxed);
    }

    fn get(&self) -> Option<InstanceId> {
        Some(self.0.load(Ordering::Relaxed)).filter(|id| *id != WriterInstance::NONE).map(InstanceId)
    }
}

/// Executes queries on a read-only connection of its own.
pub struct Reader {
    db: SqlConnection,
    ids: IdKey,
    limits: ReadLimits,
    #[cfg(feature = "cluster")]
    slice_bytes_max: usize,
    instance: WriterInstance,
    /// The newest position of a response.
    position: EventNumber,
}

impl Reader {
    /// Opens the database at `path`, which a `Writer` must have created. A step of a query examines about `rows_max` rows.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, or is not a database of this schema version.
    pub fn open(path: &Path, rows_max: usize) -> Result<Reader, OpenError> {
        Ok(Reader::new(connection::open_reading(path)?, rows_max, &MemoryPlan::unlimited()))
    }

    /// A reader on an open connection, within these budgets of memory.
    pub(crate) fn new((db, meta): (SqlConnection, DatabaseMeta), rows_max: usize, memory: &MemoryPlan) -> Reader {
        let limits = ReadLimits { rows_max, list_bytes_max: memory.list_bytes_max() };
        Reader {
            db,
            ids: meta.ids,
            limits,
            #[cfg(feature = "cluster")]
            slice_bytes_max: memory.slice_bytes_max(),
            instance: WriterInstance::default(),
            position: EventNumber::default(),
        }
    }

    /// This reader for the process of the writer that has this instance.
    pub(crate) fn of_writer(self, instance: WriterInstance) -> Reader {
        Reader { instance, ..self }
    }

    /// Executes a step of a query in one short read transaction.
    pub fn step(&mut self, pending: PendingQuery) -> QueryStep {
        let known = (self.position, self.instance.get());
        let step = queries::step(&self.db, &self.ids, pending, self.limits, known);
        if let QueryStep::Done(response) = &step {
            self.position = self.position.max(response.position);
        }
        step
    }

    /// The events of all users after a number, or the first of them; `None` if there are none.
    ///
    /// # Errors
    /// Fails with the reason if they cannot be read.
    #[cfg(feature = "cluster")]
    pub fn slice(&mut self, after: EventNumber) -> Result<Option<JournalSlice>, SliceError> {
        if read_in_open_session(|| journal_head::load(&self.db))?.number <= after {
            return Ok(None);
        }
        self.db.begin_snapshot()?;
        let read = slice::read(&self.db, &self.ids, after, self.slice_bytes_max);
        let ended = if read.is_ok() { self.db.commit() } else { self.db.roll_back() };
        // The first error is the cause.
        read.and_then(|read| Ok(ended.map(|()| read)?))
    }

    /// The user with a password and this email, ignoring ASCII case.
    ///
    /// # Errors
    /// Fails if the row cannot be read.
    pub fn password_record(&mut self, email: &str) -> Result<Option<PasswordRecord>, Rejection> {
        read_in_open_session(|| users::password_record(&self.db, email)).map_err(|error| failed(&error))
    }

    /// The password hash of an enabled user with a password.
    ///
    /// # Errors
    /// Fails if the row cannot be read.
    pub fn password_of(&mut self, user: &UserId) -> Result<Option<String>, Rejection> {
        read_in_open_session(|| users::password_of(&self.db, user)).map_err(|error| failed(&error))
    }
}

/// Logs an error of SQLite outside a query, and returns the rejection of the request.
fn failed(error: &EngineError) -> Rejection {
    log::error!("reading a user failed: {error}");
    rejection_of(error)
}

//! The turns of writers. A turn is a transaction that may change the database; writers take turns by a lock of the server, which is
//! fair. Each writer has a row in `instances`, its lease, which each of its turns renews. A server that loses the end of its log may
//! assign the id of a row again, so a row is a writer's own only if it has the writer's token as well.
//!
//! Invariant: the turn that a writer has read under the lock is the last one that was committed, and the commit of a turn fails
//! unless it still is, and unless the writer's lease is in the table. So turns are ordered, each sees the changes of all before it,
//! and a writer whose lease has expired changes nothing before it has a new one.

use crate::base::metrics::{self, DURATION_BOUNDS};
use crate::base::random::fill_secret;
use crate::base::time::WallTime;
use crate::domain::id::{EventNumber, InstanceId, UserId};
use crate::store::postgres::error::{ServerError, ServerErrorKind};
use crate::store::postgres::schema::{VERSION, server_timeline};
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::JournalHead;
use crate::store::sql::values::number;
use crate::store::sql::{EngineError, OptionalRow, Row, SqlConnection, SqlResult, params};
use crate::store::tables::answer_jobs;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The lock of the turns, in the name space of this program.
const TURN_LOCK: i64 = 0x4372_7478_0000_0002;

/// How often a writer waits for the lock, each time as long as its session allows (`lock_timeout`). In between, it ends the session
/// of a holder that has stopped.
const LOCK_ATTEMPTS: u32 = 5;

/// How often a session is opened again to learn the outcome of a commit, and the pause before each time.
const RECONNECTS_MAX: u32 = 20;
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// A writer that is further behind, in turns, drops its whole cache.
const CHANGED_TURNS_MAX: i64 = 1000;
/// Rows of `changed_rows` that a turn reads. A writer that finds more drops its whole cache.
const CHANGED_ROWS_MAX: i64 = 4000;
/// Every so many turns, the rows of `changed_rows` that are older than so many turns are deleted.
const CHANGED_TURNS_KEPT: i64 = 4 * CHANGED_TURNS_MAX;

/// A row that another writer has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangedRow {
    /// A user.
    User(UserId),
    /// A conversation or its participants.
    Conversation(EventNumber),
    /// A workspace.
    Workspace(EventNumber),
}

/// What other writers have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangedRows {
    /// These rows, and new ones.
    Rows(Vec<ChangedRow>),
    /// Anything.
    Everything,
}

/// The turns of one writer.
pub(crate) struct Turns {
    /// Whether the writer belongs to a server, and not to a command of the command line.
    serves: bool,
    /// The writer's row in `instances`; `None` before it has one.
    instance: Option<InstanceId>,
    /// Whether a transaction has found the row: one that registers may be rolled back.
    is_registered: bool,
    /// What tells the writer's row from one of another writer with the same id. It is random.
    token: [u8; 16],
    /// The last committed turn that this writer has read or made.
    turn: i64,
    /// The head of the journal at the beginning of the turn.
    head: JournalHead,
    /// What others have changed since [`Turns::take_changed`].
    changed: ChangedRows,
    /// The newest timeline of the server that this writer has seen, and the one of its last committed turn; 0 before the first.
    newest_timeline: i64,
    timeline: i64,
    /// The timeline with which the journal has to continue, if it is another one than before.
    new_timeline: Option<NewTimeline>,
    /// The number through which events were committed or shown, as far as this process knows.
    known: EventNumber,
    /// The journal's epoch, as last read.
    epoch: Uuid,
    /// The epoch that the open turn gives to the journal.
    next_epoch: Option<Uuid>,
    /// Whether no instance with a smaller id serves.
    leads: bool,
    /// Whether other instances serve.
    others: i64,
}

/// The server continues from a state that may lack what it had acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewTimeline {
    /// Whether no turn on it has been committed yet.
    pub is_first: bool,
    /// The server's time.
    pub at: WallTime,
}

/// What the beginning of a turn has found.
struct TurnStart {
    is_registered: bool,
    /// The lease of another writer has ended, and this one's is old enough to say so.
    are_others_overdue: bool,
}

impl Turns {
    /// The turns of a writer without a lease, on a server with this timeline. It gets a lease in its first turn.
    pub(crate) fn new(serves: bool, timeline: i64) -> Turns {
        let mut token = [0; 16];
        fill_secret(&mut token);
        Turns {
            serves,
            instance: None,
            is_registered: false,
            token,
            turn: 0,
            head: JournalHead::default(),
            changed: ChangedRows::Everything,
            newest_timeline: timeline,
            timeline,
            new_timeline: None,
            known: EventNumber(0),
            epoch: Uuid::nil(),
            next_epoch: None,
            leads: false,
            others: 0,
        }
    }

    /// The writer's id among the instances. It gets a new one when its lease has expired.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        self.instance
    }

    /// Whether this writer does what one writer does for all: maintenance, and the index of searches. It does not matter if two
    /// do it.
    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    /// The number of other instances that serve the database.
    pub(crate) fn others(&self) -> usize {
        usize::try_from(self.others).unwrap_or(0)
    }

    /// The timeline of the server at the last turn of this writer, or at its start.
    pub(crate) fn timeline(&self) -> i64 {
        self.timeline
    }

    /// The journal's epoch, as last read; nil before.
    pub(crate) fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// Events were committed or shown through this number.
    pub(crate) fn knows(&mut self, through: EventNumber) {
        self.known = self.known.max(through);
    }

    /// The number through which events were committed or shown, as far as this process knows.
    pub(crate) fn known(&self) -> EventNumber {
        self.known
    }

    /// The open turn gives this epoch to the journal.
    pub(crate) fn changes_epoch(&mut self, epoch: Uuid) {
        self.next_epoch = Some(epoch);
    }

    /// The new timeline that the turn has found, if any.
    pub(crate) fn new_timeline(&self) -> Option<NewTimeline> {
        self.new_timeline
    }

    /// The journal continues on the new timeline, with the turn that is open.
    pub(crate) fn store_timeline(&self, db: &SqlConnection) -> SqlResult<()> {
        db.run("UPDATE journal_head SET timeline = ?1 WHERE id = 1", [self.newest_timeline])
    }

    /// The head of the journal at the beginning of the turn.
    pub(crate) fn head(&self) -> JournalHead {
        self.head
    }

    /// The number of the last turn, which changes with each.
    pub(crate) fn last(&self) -> i64 {
        self.turn
    }

    /// What other writers have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> ChangedRows {
        std::mem::replace(&mut self.changed, ChangedRows::Rows(Vec::new()))
    }

    /// Begins a turn: waits for the lock, and reads what other writers have changed.
    ///
    /// # Errors
    /// Fails if the lock is not free in time. No transaction is open then.
    pub(crate) fn begin(&mut self, db: &SqlConnection) -> SqlResult<()> {
        with_lock(db, || self.take(db))
    }

    /// Gets a lease, in the open transaction.
    ///
    /// # Errors
    /// Fails if the server does.
    pub(crate) fn register(&mut self, db: &SqlConnection) -> SqlResult<()> {
        self.is_registered = false;
        let params = params![self.serves, VERSION, self.token];
        self.instance = Some(db.prepare_cached(REGISTER)?.query_row(params, |row| row.get(0).map(InstanceId))?);
        Ok(())
    }

    /// Begins a turn in the open transaction, which has not read anything that turns change.
    ///
    /// # Errors
    /// As [`Turns::begin`].
    pub(crate) fn begin_within(&mut self, db: &SqlConnection) -> SqlResult<()> {
        self.take(db)
    }

    /// Commits the turn. After a lost connection, it finds out whether the commit took effect.
    ///
    /// # Errors
    /// Fails if another turn came in between, if the lease has expired, or if it is unknown whether the commit took effect.
    pub(crate) fn commit(&mut self, db: &SqlConnection) -> SqlResult<()> {
        let instance = self.instance.map(|instance| instance.0);
        if (self.turn + 1) % CHANGED_TURNS_KEPT == 0 {
            db.run(DELETE_CHANGED, [self.turn - CHANGED_TURNS_KEPT])?;
            db.run(DELETE_INSTANCES, [])?;
        }
        db.run(ADVANCE, params![self.turn, instance, self.token])?;
        match db.commit() {
            Err(EngineError::Postgres(error)) if error.ends_session() && self.took_effect(db)? => {}
            committed => committed?,
        }
        self.turn += 1;
        self.timeline = self.newest_timeline;
        self.epoch = self.next_epoch.take().unwrap_or(self.epoch);
        Ok(())
    }

    /// Between turns: renews the lease if that is due, and returns the number of the last turn of any writer. A lease that has
    /// expired, of this writer or of another one, and a new timeline of the server need a turn: `None`.
    pub(crate) fn rest(&mut self, db: &SqlConnection) -> SqlResult<Option<i64>> {
        let instance = self.instance.map(|instance| instance.0);
        let epoch = &mut self.epoch;
        let read = |row: Row<'_>| {
            *epoch = Uuid::from_bytes(row.get(6)?);
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        };
        let (turn, is_alive, leads, are_others_overdue, timeline, instances): (i64, bool, bool, bool, i64, i64) =
            db.prepare_cached(RENEW)?.query_row(params![instance, self.token], read)?;
        self.is_registered |= is_alive;
        self.leads = leads && is_alive && self.serves;
        self.others = instances - i64::from(is_alive);
        metrics::INSTANCES.set(instances.max(0) as u64);
        metrics::INSTANCE_LEADS.set(self.leads.into());
        let needs_turn = !is_alive || are_others_overdue || (self.timeline != 0 && timeline != self.timeline);
        Ok((!needs_turn).then_some(turn))
    }

    /// Gives the lease back, so that others need not wait for its end.
    pub(crate) fn end(&mut self, db: &SqlConnection) -> SqlResult<()> {
        self.begin(db)?;
        if let Some(instance) = self.instance {
            answer_jobs::release(db, instance)?;
        }
        let instance = self.instance.map(|instance| instance.0);
        db.run(END, params![self.turn, instance, self.token])?;
        db.commit()
    }

    /// Takes the lock in the open transaction, and reads what other writers have changed. The statements are two, so that the
    /// second one has a newer snapshot.
    fn take(&mut self, db: &SqlConnection) -> SqlResult<()> {
        self.next_epoch = None;
        db.run(LOCK, [TURN_LOCK])?;
        let instance = self.instance.map(|instance| instance.0);
        let mut statement = db.prepare_cached(BEGIN_TURN)?;
        let params = params![instance, self.turn, CHANGED_TURNS_MAX, CHANGED_ROWS_MAX, self.token];
        let mut rows = statement.query(params)?;
        let (mut changed, mut found, mut turn) = (Vec::new(), None, self.turn);
        while let Some(row) = rows.next()? {
            if found.is_none() {
                turn = row.get(0)?;
                self.head =
                    JournalHead { number: number(row.get(1)?), at: WallTime(row.get(2)?), age: AgeTime(row.get(3)?) };
                self.leads = self.serves && row.get(4)? && row.get(5)?;
                self.others = row.get(15)?;
                metrics::TURN_WAIT.observe(&DURATION_BOUNDS, row.get::<i64>(14)?.max(0) as u64);
                self.epoch = Uuid::from_bytes(row.get(10)?);
                self.compare_timelines(row.get(11)?, row.get(12)?, WallTime(row.get(13)?))?;
                found = Some(TurnStart { is_registered: row.get(4)?, are_others_overdue: row.get(6)? });
            }
            let user: Option<Arc<str>> = row.get(7)?;
            changed.extend(user.map(|user| ChangedRow::User(UserId::new_unchecked(user))));
            changed.extend(row.get::<Option<i64>>(8)?.map(|key| ChangedRow::Conversation(number(key))));
            changed.extend(row.get::<Option<i64>>(9)?.map(|key| ChangedRow::Workspace(number(key))));
        }
        drop(rows);
        // A server on a new timeline may lack turns that this writer has seen.
        let is_complete = self.new_timeline.is_none()
            && (0..=CHANGED_TURNS_MAX).contains(&(turn - self.turn))
            && (changed.len() as i64) < CHANGED_ROWS_MAX;
        match &mut self.changed {
            ChangedRows::Rows(rows) if is_complete => rows.append(&mut changed),
            changed => *changed = ChangedRows::Everything,
        }
        self.turn = turn;
        self.renew_within(db, found.ok_or(EngineError::NoRow)?)
    }

    /// Compares the timeline of the server with the one that the journal was last continued on.
    ///
    /// # Errors
    /// Fails if this writer has seen a newer one: the server was replaced, and is not to be written to.
    fn compare_timelines(&mut self, server: i64, stored: i64, at: WallTime) -> SqlResult<()> {
        if server < self.newest_timeline {
            let newest = self.newest_timeline;
            let message = format!("the server is on timeline {server}, and another one continued on {newest}");
            return Err(ServerError::new(ServerErrorKind::ReadOnly, message).into());
        }
        let is_new = server != stored || (self.timeline != 0 && server != self.timeline);
        self.new_timeline = is_new.then_some(NewTimeline { is_first: server != stored, at });
        self.newest_timeline = server;
        Ok(())
    }

    /// Gets a lease if this writer has none, and ends those of others that have expired: their answers are released.
    fn renew_within(&mut self, db: &SqlConnection, found: TurnStart) -> SqlResult<()> {
        if found.is_registered {
            self.is_registered = true;
        } else {
            if let Some(lost) = self.instance.filter(|_| self.is_registered) {
                metrics::LEASES_LOST.add(1);
                log::warn!("instance {} has no lease any more: its running answers are others' now", lost.0);
            }
            self.register(db)?;
        }
        if found.are_others_overdue {
            let instance = self.instance.map(|instance| instance.0);
            let mut statement = db.prepare_cached(EXPIRE)?;
            for id in statement.query_map(params![instance], |row| row.get::<i64>(0))? {
                let id = id?;
                log::warn!("the lease of instance {id} has expired: its answers are taken over");
                answer_jobs::release(db, InstanceId(id))?;
            }
        }
        Ok(())
    }

    /// Whether the turn that was being committed took effect. It waits for the lock, because the lost session may still be
    /// committing.
    ///
    /// # Errors
    /// Fails if the server cannot be reached again in time. The outcome is then unknown.
    fn took_effect(&self, db: &SqlConnection) -> SqlResult<bool> {
        let mut attempts_left = RECONNECTS_MAX;
        loop {
            let instance = self.instance.map(|instance| instance.0);
            let last = with_lock(db, || {
                db.run(LOCK, [TURN_LOCK])?;
                db.prepare_cached(TURN_OF)?.query_row(params![instance, self.token], |row| row.get::<i64>(0)).optional()
            });
            match last {
                Ok(last) => {
                    if let Err(error) = db.roll_back() {
                        log::warn!("cannot roll back a turn that changed nothing: {error}");
                    }
                    // A writer registers in its first turn, so the row of one that failed is not there.
                    return Ok(last.is_some_and(|last| last > self.turn));
                }
                Err(error) if attempts_left == 0 => {
                    let message = format!("the connection was lost during a commit, whose outcome is unknown: {error}");
                    return Err(ServerError::new(ServerErrorKind::OutcomeUnknown, message).into());
                }
                Err(_) => {}
            }
            attempts_left -= 1;
            std::thread::sleep(RECONNECT_PAUSE);
        }
    }
}

/// Whether an instance serves the database.
///
/// # Errors
/// Fails if the server does.
pub(crate) fn is_served(db: &SqlConnection) -> SqlResult<bool> {
    db.prepare_cached(IS_SERVED)?.exists([])
}

/// Waits for the lock in the open transaction: no writer has a turn until its end.
///
/// # Errors
/// Fails if the lock is not free in time.
pub(crate) fn lock(db: &SqlConnection) -> SqlResult<()> {
    db.query_row(LOCK, [TURN_LOCK], |_| Ok(()))
}

/// The oldest schema version of the instances that serve the database; `None` if none does.
///
/// # Errors
/// Fails if the server does.
pub(crate) fn oldest_version(db: &SqlConnection) -> SqlResult<Option<i64>> {
    db.query_row(OLDEST_VERSION, [], |row| row.get(0))
}

/// Begins a transaction, and calls `take`, which waits for the lock. After an error, no transaction is open.
fn with_lock<T>(db: &SqlConnection, mut take: impl FnMut() -> SqlResult<T>) -> SqlResult<T> {
    let mut attempts_left = LOCK_ATTEMPTS;
    loop {
        db.begin()?;
        let error = match take() {
            Ok(taken) => return Ok(taken),
            Err(error) => error,
        };
        if let Err(error) = db.roll_back() {
            log::error!("cannot roll back a turn that did not begin: {error}");
        }
        attempts_left -= 1;
        let is_busy = matches!(&error, EngineError::Postgres(ServerError { kind: ServerErrorKind::Busy, .. }));
        if !is_busy || attempts_left == 0 {
            return Err(error);
        }
        let evicted = db.prepare_cached(EVICT)?.exists([TURN_LOCK >> 32, TURN_LOCK & 0xffff_ffff])?;
        if evicted {
            metrics::TURNS_EVICTED.add(1);
            log::warn!("another instance stopped during its turn: its session was ended");
        }
    }
}

const LOCK: &str = "SELECT pg_advisory_xact_lock(?1)::text";
// The server cannot tell by itself that a client has stopped while it sends the last statements of its turn.
const EVICT: &str = "
    SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND l.classid = CAST(?1 AS BIGINT)::oid AND l.objid = CAST(?2 AS BIGINT)::oid
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND a.wait_event = 'ClientRead' AND a.query_start < clock_timestamp() - interval '1 s'";
/// A lease lasts this long after a turn.
macro_rules! lease {
    () => {
        "interval '5 s'"
    };
}
/// Whether no instance with a smaller id than parameter 1 serves.
macro_rules! leads {
    () => {
        "NOT EXISTS (SELECT 1 FROM instances o WHERE o.serves = 1 AND o.is_expired = 0 AND o.id < ?1)"
    };
}
/// Whether the lease of another instance has ended. An instance says so only when its own lease, `i`, has lasted for a whole one: an
/// outage of the server lets all of them end.
macro_rules! are_others_overdue {
    () => {
        concat!(
            "coalesce(i.alive_since < clock_timestamp() - ",
            lease!(),
            ", false) AND EXISTS (
            SELECT 1 FROM instances o
            WHERE o.is_expired = 0 AND o.alive_until < clock_timestamp() AND o.id IS DISTINCT FROM ?1)"
        )
    };
}
const BEGIN_TURN: &str = concat!(
    "SELECT h.turn, h.number, h.at, h.age, i.id IS NOT NULL, ",
    leads!(),
    ", i.alive_until >= clock_timestamp() AND ",
    are_others_overdue!(),
    ", t.user, t.conversation, t.workspace, m.epoch, ",
    server_timeline!(),
    ", h.timeline, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT),
        CAST(extract(epoch FROM clock_timestamp() - now()) * 1000000 AS BIGINT),
        (SELECT count(*) FROM instances o WHERE o.serves = 1 AND o.is_expired = 0 AND o.id IS DISTINCT FROM i.id)
    FROM journal_head h
    CROSS JOIN meta m ON m.id = 1
    LEFT JOIN instances i ON i.id = ?1 AND i.token = ?5 AND i.is_expired = 0
    LEFT JOIN changed_rows t ON t.turn > ?2 AND h.turn <= CAST(?2 AS BIGINT) + CAST(?3 AS BIGINT)
    WHERE h.id = 1 LIMIT ?4"
);
const REGISTER: &str = concat!(
    "INSERT INTO instances (serves, schema_version, alive_until, token) VALUES (?1, ?2, clock_timestamp() + ",
    lease!(),
    ", ?3) RETURNING id"
);
const EXPIRE: &str = "
    UPDATE instances SET is_expired = 1
    WHERE is_expired = 0 AND alive_until < clock_timestamp() AND id IS DISTINCT FROM ?1
    RETURNING id";
const IS_SERVED: &str =
    "SELECT 1 FROM instances WHERE serves = 1 AND is_expired = 0 AND alive_until > clock_timestamp()";
const OLDEST_VERSION: &str = "
    SELECT min(schema_version) FROM instances WHERE serves = 1 AND is_expired = 0 AND alive_until > clock_timestamp()";
const TURN_OF: &str = "SELECT turn FROM instances WHERE id = ?1 AND token = ?2";
// The lease is renewed once a second. The other rows are those of before.
const RENEW: &str = concat!(
    "WITH renewed AS (
        UPDATE instances SET alive_until = clock_timestamp() + ",
    lease!(),
    "
        WHERE id = ?1 AND token = ?2 AND is_expired = 0 AND alive_until >= clock_timestamp()
            AND alive_until < clock_timestamp() + ",
    lease!(),
    " - interval '1 s'
        RETURNING 1)
    SELECT h.turn, i.id IS NOT NULL, ",
    leads!(),
    ", ",
    are_others_overdue!(),
    ", ",
    server_timeline!(),
    ", (SELECT count(*) FROM instances o WHERE o.serves = 1 AND o.is_expired = 0 AND o.alive_until >= clock_timestamp()),
        m.epoch
    FROM journal_head h
    CROSS JOIN meta m ON m.id = 1
    LEFT JOIN instances i ON i.id = ?1 AND i.token = ?2 AND i.is_expired = 0 AND i.alive_until >= clock_timestamp()
    LEFT JOIN renewed ON true
    WHERE h.id = 1"
);
/// Fails unless the turn is the last one and the writer has its lease: a division by zero. A command of the command line has one turn,
/// and its lease ends with it.
const ADVANCE: &str = concat!(
    "WITH advanced AS (UPDATE journal_head SET turn = turn + 1 WHERE id = 1 AND turn = ?1 RETURNING 1),
        renewed AS (
            UPDATE instances
            SET turn = CAST(?1 AS BIGINT) + 1, is_expired = 1 - serves, alive_until = clock_timestamp() + ",
    lease!(),
    ",
                alive_since = CASE WHEN alive_until < clock_timestamp() THEN clock_timestamp() ELSE alive_since END
            WHERE id = ?2 AND token = ?3 AND is_expired = 0 RETURNING 1)
    SELECT 1 / ((SELECT count(*) FROM advanced) * (SELECT count(*) FROM renewed))"
);
/// As [`ADVANCE`], but ends the lease.
const END: &str = "
    WITH advanced AS (UPDATE journal_head SET turn = turn + 1 WHERE id = 1 AND turn = ?1 RETURNING 1),
        ended AS (UPDATE instances SET turn = CAST(?1 AS BIGINT) + 1, is_expired = 1 WHERE id = ?2 AND token = ?3 RETURNING 1)
    SELECT 1 / ((SELECT count(*) FROM advanced) * (SELECT count(*) FROM ended))";
const DELETE_CHANGED: &str = "DELETE FROM changed_rows WHERE turn <= ?1";
const DELETE_INSTANCES: &str =
    "DELETE FROM instances WHERE is_expired = 1 AND alive_until < clock_timestamp() - interval '1 day'";

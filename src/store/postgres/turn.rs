//! The turns of writers. A turn is a transaction that may change the database; writers take turns by a lock of the server, which is
//! fair.
//!
//! Invariant: the turn that a writer has read under the lock is the last one that was committed, and the commit of a turn fails
//! unless it still is. So turns are ordered, and each sees the changes of all before it.

use crate::base::random::fill_secret;
use crate::store::postgres::error::{ServerError, ServerErrorKind};
use crate::store::sql::{EngineError, SqlConnection, SqlResult, params};
use std::time::Duration;

/// The lock of the turns, in the name space of this program.
const TURN_LOCK: i64 = 0x4372_7478_0000_0002;

/// How often a session is opened again to learn the outcome of a commit, and the pause before each time.
const RECONNECTS_MAX: u32 = 20;
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// The turns of one writer.
pub(crate) struct Turns {
    /// Distinguishes the turns of this writer from those of others.
    writer: [u8; 16],
    /// The last committed turn that this writer has read or made.
    turn: i64,
}

impl Turns {
    pub(crate) fn new() -> Turns {
        let mut writer = [0; 16];
        fill_secret(&mut writer);
        Turns { writer, turn: 0 }
    }

    /// Begins a turn: waits for the lock, and reads the last turn.
    ///
    /// # Errors
    /// Fails if the lock is not free in time.
    pub(crate) fn begin(&mut self, db: &SqlConnection) -> SqlResult<()> {
        self.turn = begin(db)?.0;
        Ok(())
    }

    /// Begins a turn in the open transaction, which has not read anything that turns change.
    ///
    /// # Errors
    /// As [`Turns::begin`].
    pub(crate) fn begin_within(&mut self, db: &SqlConnection) -> SqlResult<()> {
        self.turn = take(db)?.0;
        Ok(())
    }

    /// Commits the turn. After a lost connection, it finds out whether the commit took effect.
    ///
    /// # Errors
    /// Fails if another turn came in between, or if it is unknown whether the commit took effect.
    pub(crate) fn commit(&mut self, db: &SqlConnection) -> SqlResult<()> {
        db.run(ADVANCE, params![self.turn, self.writer])?;
        match db.commit() {
            Err(EngineError::Postgres(ServerError { kind: ServerErrorKind::Unreachable, .. }))
                if self.took_effect(db)? => {}
            committed => committed?,
        }
        self.turn += 1;
        Ok(())
    }

    /// The number of the last turn, which changes with each.
    pub(crate) fn last(&self) -> i64 {
        self.turn
    }

    /// The number of the last turn of any writer, without the lock.
    pub(crate) fn poll(db: &SqlConnection) -> SqlResult<i64> {
        db.query_row("SELECT turn FROM journal_head WHERE id = 1", [], |row| row.get(0))
    }

    /// Whether the turn that was being committed took effect. It waits for the lock, because the lost session may still be
    /// committing.
    ///
    /// # Errors
    /// Fails if the server cannot be reached again in time, or if other turns have followed. The outcome is then unknown.
    fn took_effect(&self, db: &SqlConnection) -> SqlResult<bool> {
        let unknown = |reason: String| {
            let message = format!("the connection was lost during a commit, whose outcome is unknown: {reason}");
            ServerError::new(ServerErrorKind::OutcomeUnknown, message)
        };
        let mut attempts_left = RECONNECTS_MAX;
        let (turn, writer) = loop {
            match begin(db) {
                Ok(last) => break last,
                Err(error) if attempts_left == 0 => return Err(unknown(error.to_string()).into()),
                Err(_) => {}
            }
            attempts_left -= 1;
            std::thread::sleep(RECONNECT_PAUSE);
        };
        db.roll_back()?;
        match turn - self.turn {
            0 => Ok(false),
            1 => Ok(writer == self.writer),
            others => Err(unknown(format!("{others} turns have followed")).into()),
        }
    }
}

/// Begins a transaction that has the lock, and returns the last turn and its writer. After an error, no transaction is open.
fn begin(db: &SqlConnection) -> SqlResult<(i64, [u8; 16])> {
    db.begin()?;
    take(db).inspect_err(|_| {
        if let Err(error) = db.roll_back() {
            log::error!("cannot roll back a turn that did not begin: {error}");
        }
    })
}

/// Takes the lock, and reads the last turn and its writer. The statements are two, so that the second one has a newer snapshot.
fn take(db: &SqlConnection) -> SqlResult<(i64, [u8; 16])> {
    db.run("SELECT pg_advisory_xact_lock(?1)::text", [TURN_LOCK])?;
    db.query_row(LAST_TURN, [], |row| {
        let writer: Vec<u8> = row.get(1)?;
        Ok((row.get(0)?, writer.try_into().unwrap_or_default()))
    })
}

const LAST_TURN: &str = "SELECT turn, turn_of FROM journal_head WHERE id = 1";
/// Fails unless the turn is the last one: a division by zero.
const ADVANCE: &str = "
    WITH advanced AS (UPDATE journal_head SET turn = turn + 1, turn_of = ?2 WHERE id = 1 AND turn = ?1 RETURNING 1)
    SELECT 1 / count(*) FROM advanced";

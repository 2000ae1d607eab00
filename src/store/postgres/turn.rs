//! The turns of writers. A turn is a transaction that may change the database; writers take turns by a lock of the server, which is
//! fair.
//!
//! Invariant: the turn that a writer has read under the lock is the last one that was committed, and the commit of a turn fails
//! unless it still is. So turns are ordered, and each sees the changes of all before it.

use crate::base::random::fill_secret;
use crate::store::postgres::error::{ServerError, ServerErrorKind};
use crate::store::sql::{EngineError, SqlConnection, SqlResult, params};

/// The lock of the turns, in the name space of this program.
const TURN_LOCK: i64 = 0x4372_7478_0000_0002;

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
        db.begin()?;
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
            Ok(()) => {}
            Err(EngineError::Postgres(ServerError { kind: ServerErrorKind::Unreachable, .. }))
                if self.took_effect(db)? => {}
            Err(error) => return Err(error),
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

    /// Whether the turn that was being committed is the last one. It waits for the lock, because the lost session may still be
    /// committing.
    fn took_effect(&self, db: &SqlConnection) -> SqlResult<bool> {
        db.begin()?;
        let (turn, writer) = take(db)?;
        db.roll_back()?;
        log::warn!(
            "the connection to the database was lost during a commit, which {}",
            match turn > self.turn {
                true => "took effect",
                false => "did not take effect",
            }
        );
        Ok(turn == self.turn + 1 && writer == self.writer)
    }
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

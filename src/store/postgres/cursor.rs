//! Queries whose rows the server sends in parts, so that neither side has all of them in memory.

use crate::store::postgres::row::ServerRow;
use crate::store::postgres::session::Session;
use crate::store::sql::SqlResult;
use rusqlite::types::Value;

/// A query of the open transaction. The server ends it with the transaction.
pub(crate) struct RowCursor<'s> {
    session: &'s Session,
    declare: String,
    fetch: String,
    rows_max: usize,
}

impl<'s> RowCursor<'s> {
    /// Begins a query whose rows come in parts of `rows_max`.
    ///
    /// # Errors
    /// Fails if the statement does.
    pub(crate) fn open(
        session: &'s Session,
        sql: &str,
        params: Vec<Value>,
        rows_max: usize,
    ) -> SqlResult<RowCursor<'s>> {
        // The name is new, because the columns of a prepared `FETCH` are those of the first cursor with its name.
        let name = format!("rows_{}", session.next_cursor());
        let declare = format!("DECLARE {name} NO SCROLL CURSOR FOR {sql}");
        let fetch = format!("FETCH {rows_max} FROM {name}");
        let cursor = RowCursor { session, declare, fetch, rows_max };
        session.run(&cursor.declare, params)?;
        Ok(cursor)
    }

    /// The next rows; fewer than `rows_max` if they are the last ones.
    ///
    /// # Errors
    /// Fails if the query or the session does.
    pub(crate) fn fetch(&self) -> SqlResult<Vec<ServerRow>> {
        Ok(self.session.run(&self.fetch, Vec::new())?.0)
    }

    /// The largest number of rows that come at once.
    pub(crate) fn rows_max(&self) -> usize {
        self.rows_max
    }
}

impl Drop for RowCursor<'_> {
    fn drop(&mut self) {
        self.session.unprepare(&self.declare);
        self.session.unprepare(&self.fetch);
    }
}

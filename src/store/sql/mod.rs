//! Statements, parameters and rows of either engine.
//!
//! The tables and queries are written once, in the SQL that both engines understand. SQLite gets each statement as it is. The
//! parameters and columns of both engines have the types of `rusqlite`.

pub(crate) mod error;
pub(crate) mod newest_messages;
pub(crate) mod params;
pub(crate) mod values;

pub(crate) use error::{EngineError, OptionalRow, SqlResult, read_in_open_session};
pub(crate) use params::Params;
pub(crate) use rusqlite::params;

#[cfg(feature = "cluster")]
use crate::store::postgres::{cursor::RowCursor, row::ServerRow, session::Session};
use newest_messages::NewestMessages;
#[cfg(feature = "cluster")]
use params::values_of;
use rusqlite::types::{FromSql, ValueRef};
#[cfg(feature = "cluster")]
use std::collections::VecDeque;

/// A connection to a database.
pub(crate) enum SqlConnection {
    /// An open SQLite database, and what the connection has read of its newest messages.
    Sqlite(rusqlite::Connection, NewestMessages),
    /// A session with a PostgreSQL server.
    #[cfg(feature = "cluster")]
    Postgres(Box<Session>),
}

impl SqlConnection {
    /// The SQLite database. Call it only where no other engine can be.
    pub(crate) fn sqlite(&self) -> &rusqlite::Connection {
        match self {
            SqlConnection::Sqlite(db, _) => db,
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(_) => panic!("the database is on a server"),
        }
    }

    /// A connection to an open SQLite database.
    pub(crate) fn of_sqlite(db: rusqlite::Connection) -> SqlConnection {
        SqlConnection::Sqlite(db, NewestMessages::default())
    }

    /// As [`SqlConnection::sqlite`].
    pub(crate) fn sqlite_mut(&mut self) -> &mut rusqlite::Connection {
        match self {
            SqlConnection::Sqlite(db, _) => db,
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(_) => panic!("the database is on a server"),
        }
    }

    /// Whether the database is on a server.
    pub(crate) fn is_server(&self) -> bool {
        match self {
            SqlConnection::Sqlite(..) => false,
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(_) => true,
        }
    }

    /// What the connection has read of the newest messages; `None` on a server.
    pub(crate) fn newest_messages(&self) -> Option<&NewestMessages> {
        match self {
            SqlConnection::Sqlite(_, newest) => Some(newest),
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(_) => None,
        }
    }

    /// Whether the session with a server is lost. The next transaction opens another one.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            SqlConnection::Sqlite(..) => false,
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => session.is_lost(),
        }
    }

    /// Whether no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            SqlConnection::Sqlite(db, _) => db.is_autocommit(),
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => session.is_idle(),
        }
    }

    /// Begins a transaction that may write. On a server, the writer's turns do this.
    pub(crate) fn begin(&self) -> SqlResult<()> {
        match self {
            SqlConnection::Sqlite(_, newest) => {
                newest.begin();
                self.prepare_cached("BEGIN IMMEDIATE")?.run([])
            }
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => session.begin("BEGIN"),
        }
    }

    /// Begins a transaction that reads. Its first read fixes its snapshot.
    pub(crate) fn begin_snapshot(&self) -> SqlResult<()> {
        match self {
            SqlConnection::Sqlite(_, newest) => {
                newest.begin();
                self.prepare_cached("BEGIN")?.run([])
            }
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => session.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        }
    }

    /// Commits the open transaction.
    pub(crate) fn commit(&self) -> SqlResult<()> {
        match self {
            SqlConnection::Sqlite(_, newest) => {
                self.prepare_cached("COMMIT")?.run([])?;
                newest.commit();
                Ok(())
            }
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => session.commit(),
        }
    }

    /// Rolls the open transaction back, if there is one.
    pub(crate) fn roll_back(&self) -> SqlResult<()> {
        match self {
            _ if self.is_idle() => Ok(()),
            SqlConnection::Sqlite(db, _) => Ok(db.execute_batch("ROLLBACK")?),
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => session.roll_back(),
        }
    }

    /// A statement, which stays prepared as long as the connection is open.
    pub(crate) fn prepare_cached<'c>(&'c self, sql: &'c str) -> SqlResult<Statement<'c>> {
        match self {
            SqlConnection::Sqlite(db, _) => Ok(Statement::Sqlite(db.prepare_cached(sql)?)),
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => Ok(Statement::Postgres(session, sql)),
        }
    }

    /// The value that `read` makes of the first row of a query.
    ///
    /// # Errors
    /// Also fails if there is no row, or if `read` fails.
    pub(crate) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(Row<'_>) -> SqlResult<T>,
    ) -> SqlResult<T> {
        self.prepare_cached(sql)?.query_row(params, read)
    }

    /// Executes a statement whose result is not needed.
    pub(crate) fn run(&self, sql: &str, params: impl Params) -> SqlResult<()> {
        self.prepare_cached(sql)?.run(params)
    }

    /// Sends the statements that were not waited for, and waits for them.
    ///
    /// # Errors
    /// Fails with the first error of any of them.
    pub(crate) fn flush(&self) -> SqlResult<()> {
        match self {
            SqlConnection::Sqlite(..) => Ok(()),
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => session.flush(),
        }
    }

    /// Executes statements without parameters.
    pub(crate) fn execute_batch(&self, sql: &str) -> SqlResult<()> {
        match self {
            SqlConnection::Sqlite(db, _) => Ok(db.execute_batch(sql)?),
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(session) => session.run_batch(sql),
        }
    }
}

/// A prepared statement.
pub(crate) enum Statement<'c> {
    /// Of SQLite.
    Sqlite(rusqlite::CachedStatement<'c>),
    /// Of a server: the session, which prepares it, and the text.
    #[cfg(feature = "cluster")]
    Postgres(&'c Session, &'c str),
}

impl Statement<'_> {
    /// Executes the statement, and returns the number of rows that it changed.
    pub(crate) fn execute(&mut self, params: impl Params) -> SqlResult<usize> {
        match self {
            Statement::Sqlite(statement) => Ok(statement.execute(params)?),
            #[cfg(feature = "cluster")]
            Statement::Postgres(session, sql) => Ok(session.run(sql, values_of(&params)?)?.1 as usize),
        }
    }

    /// Executes the statement without waiting for a server. The result of the next statement, or of the commit, includes an
    /// error of this one.
    pub(crate) fn run(&mut self, params: impl Params) -> SqlResult<()> {
        match self {
            Statement::Sqlite(statement) => Ok(statement.execute(params).map(drop)?),
            #[cfg(feature = "cluster")]
            Statement::Postgres(session, sql) => {
                session.later(sql, values_of(&params)?);
                Ok(())
            }
        }
    }

    /// The rows of a query.
    pub(crate) fn query(&mut self, params: impl Params) -> SqlResult<SqlRows<'_>> {
        match self {
            Statement::Sqlite(statement) => Ok(SqlRows::Sqlite(statement.query(params)?)),
            #[cfg(feature = "cluster")]
            Statement::Postgres(session, sql) => {
                let rows = session.run(sql, values_of(&params)?)?.0.into();
                Ok(SqlRows::Postgres { rows, current: None, rest: None })
            }
        }
    }

    /// As [`Statement::query`], for more rows than fit into memory: within a transaction, a server sends at most `rows_max` at
    /// once.
    pub(crate) fn scan(&mut self, params: impl Params, rows_max: usize) -> SqlResult<SqlRows<'_>> {
        #[cfg(feature = "cluster")]
        if let Statement::Postgres(session, sql) = self
            && !session.is_idle()
        {
            let cursor = RowCursor::open(session, sql, values_of(&params)?, rows_max)?;
            return Ok(SqlRows::Postgres { rows: VecDeque::new(), current: None, rest: Some(cursor) });
        }
        let _ = rows_max;
        self.query(params)
    }

    /// What `read` makes of each row of a query.
    pub(crate) fn query_map<T, F: FnMut(Row<'_>) -> SqlResult<T>>(
        &mut self,
        params: impl Params,
        read: F,
    ) -> SqlResult<MappedRows<'_, F>> {
        Ok(MappedRows { rows: self.query(params)?, read })
    }

    /// The value that `read` makes of the first row.
    ///
    /// # Errors
    /// Also fails if there is no row, or if `read` fails.
    pub(crate) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(Row<'_>) -> SqlResult<T>,
    ) -> SqlResult<T> {
        read(self.query(params)?.next()?.ok_or(EngineError::NoRow)?)
    }

    /// What `read` makes of the first row for each list of parameters; `None` where there is no row. A server gets all lists at
    /// once.
    ///
    /// # Errors
    /// Fails with the first error of any of them.
    pub(crate) fn query_each<T, P: Params>(
        &mut self,
        lists: impl Iterator<Item = P>,
        mut read: impl FnMut(Row<'_>) -> SqlResult<T>,
    ) -> SqlResult<Vec<Option<T>>> {
        #[cfg(feature = "cluster")]
        if let Statement::Postgres(session, sql) = self {
            let lists = lists.map(|params| values_of(&params)).collect::<SqlResult<Vec<_>>>()?;
            let found = session.run_each(sql, lists)?;
            return found.iter().map(|rows| rows.first().map(|row| read(Row::Postgres(row))).transpose()).collect();
        }
        lists.map(|params| self.query_row(params, &mut read).optional()).collect()
    }

    /// Whether the query has a row.
    pub(crate) fn exists(&mut self, params: impl Params) -> SqlResult<bool> {
        Ok(self.query(params)?.next()?.is_some())
    }
}

/// The rows of a query.
pub(crate) enum SqlRows<'s> {
    /// Of SQLite, which finds each row when it is asked for.
    Sqlite(rusqlite::Rows<'s>),
    /// Of a server.
    #[cfg(feature = "cluster")]
    Postgres {
        /// The rows that were sent, without those that were returned.
        rows: VecDeque<ServerRow>,
        /// The row that was returned last.
        current: Option<ServerRow>,
        /// The rows that the server has not sent.
        rest: Option<RowCursor<'s>>,
    },
}

impl SqlRows<'_> {
    /// The next row, if any.
    pub(crate) fn next(&mut self) -> SqlResult<Option<Row<'_>>> {
        match self {
            SqlRows::Sqlite(rows) => Ok(rows.next()?.map(Row::Sqlite)),
            #[cfg(feature = "cluster")]
            SqlRows::Postgres { rows, current, rest } => {
                if rows.is_empty()
                    && let Some(cursor) = rest
                {
                    rows.extend(cursor.fetch()?);
                    if rows.len() < cursor.rows_max() {
                        *rest = None;
                    }
                }
                *current = rows.pop_front();
                Ok(current.as_ref().map(Row::Postgres))
            }
        }
    }
}

/// The values made of the rows of a query.
pub(crate) struct MappedRows<'s, F> {
    rows: SqlRows<'s>,
    read: F,
}

impl<T, F: FnMut(Row<'_>) -> SqlResult<T>> Iterator for MappedRows<'_, F> {
    type Item = SqlResult<T>;

    fn next(&mut self) -> Option<SqlResult<T>> {
        match self.rows.next() {
            Ok(row) => row.map(&mut self.read),
            Err(error) => Some(Err(error)),
        }
    }
}

/// A row of a query.
#[derive(Clone, Copy)]
pub(crate) enum Row<'r> {
    /// Of SQLite.
    Sqlite(&'r rusqlite::Row<'r>),
    /// Of a server.
    #[cfg(feature = "cluster")]
    Postgres(&'r ServerRow),
}

impl<'r> Row<'r> {
    /// The value in a column.
    ///
    /// # Errors
    /// Fails if the column has another type.
    pub(crate) fn get<T: FromSql>(self, column: usize) -> SqlResult<T> {
        match self {
            Row::Sqlite(row) => Ok(row.get(column)?),
            #[cfg(feature = "cluster")]
            Row::Postgres(row) => row.get(column),
        }
    }

    /// The text in a column.
    ///
    /// # Errors
    /// Fails if the column has another type.
    pub(crate) fn text(self, column: usize) -> SqlResult<&'r str> {
        self.optional_text(column)?.ok_or_else(|| EngineError::value(column, "not a text"))
    }

    /// The text in a column, unless it is null.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub(crate) fn optional_text(self, column: usize) -> SqlResult<Option<&'r str>> {
        let text = match self {
            Row::Sqlite(row) => match row.get_ref(column)? {
                ValueRef::Null => return Ok(None),
                ValueRef::Text(text) => text,
                _ => return Err(EngineError::value(column, "not a text")),
            },
            #[cfg(feature = "cluster")]
            Row::Postgres(row) => match row.bytes(column)? {
                None => return Ok(None),
                Some(text) => text,
            },
        };
        str::from_utf8(text).map(Some).map_err(|_| EngineError::value(column, "invalid UTF-8"))
    }
}

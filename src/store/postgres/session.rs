//! One session with a PostgreSQL server. Each thread of the store has its own.
//!
//! The client is asynchronous, and runs on an event loop of the session, only while the thread waits for the server. Every wait
//! has a deadline. A server that was replaced by one on a newer timeline is not used any more. Statements whose results are not needed
//! are sent with the next one whose result is, in one flight: one write and one read.

use crate::store::postgres::dialect;
use crate::store::postgres::error::{ServerError, ServerErrorKind};
use crate::store::postgres::row::{Parameter, ServerRow};
use crate::store::postgres::schema::server_timeline;
use crate::store::sql::SqlResult;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use rusqlite::types::Value;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the hosts of an address may take together to open a session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the hosts are tried in another order, if the first one that accepts writes was replaced.
const OTHER_ORDERS_MAX: u32 = 4;

/// A session, which is opened again when it was lost.
pub(crate) struct Session {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// How long the session waits for a reply.
    reply_timeout: Duration,
    /// The newest timeline that a session of this process has found.
    newest_timeline: Arc<AtomicI64>,
    runtime: Runtime,
    link: RefCell<Option<Link>>,
    /// Statements that are sent with the next flight.
    waiting: RefCell<Vec<Call>>,
    has_transaction: Cell<bool>,
    /// The number of cursors that were opened.
    cursors: Cell<u64>,
}

/// An open connection, and the statements that are prepared on it.
struct Link {
    client: Client,
    /// The timeline of the server.
    timeline: i64,
    statements: HashMap<Box<str>, Statement>,
}

/// A statement with its parameters.
struct Call {
    sql: Box<str>,
    params: Vec<Parameter>,
}

/// The rows of a statement, and the number of rows that it changed.
type StatementOutput = (Vec<ServerRow>, u64);

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    /// Fails if the server cannot be reached or rejects the session.
    pub(crate) fn open(
        config: Config,
        tls: Option<MakeRustlsConnect>,
        reply_timeout: Duration,
        newest_timeline: Arc<AtomicI64>,
    ) -> Result<Session, ServerError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ServerError::new(ServerErrorKind::Unreachable, error.to_string()))?;
        let session = Session {
            config,
            tls,
            reply_timeout,
            newest_timeline,
            runtime,
            link: RefCell::new(None),
            waiting: RefCell::new(Vec::new()),
            has_transaction: Cell::new(false),
            cursors: Cell::new(0),
        };
        session.connect()?;
        Ok(session)
    }

    /// Whether the connection is lost, or the server was replaced.
    pub(crate) fn is_lost(&self) -> bool {
        let newest = self.newest_timeline.load(Ordering::Relaxed);
        self.link.borrow().as_ref().is_none_or(|link| link.client.is_closed() || link.timeline < newest)
    }

    /// Whether no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        !self.has_transaction.get()
    }

    /// Begins a transaction with the next flight.
    ///
    /// # Errors
    /// Fails if the session was lost and cannot be opened again.
    pub(crate) fn begin(&self, statement: &str) -> SqlResult<()> {
        self.waiting.borrow_mut().clear();
        self.has_transaction.set(false);
        self.ensure_open()?;
        self.later(statement, Vec::new());
        self.has_transaction.set(true);
        Ok(())
    }

    /// Commits the open transaction: sends the waiting statements, then `COMMIT`.
    ///
    /// # Errors
    /// Also fails if one of the waiting statements did. The transaction is then rolled back.
    pub(crate) fn commit(&self) -> SqlResult<()> {
        self.ensure_open()?;
        let waiting = self.waiting.take();
        if let Err(error) = self.prepare_all(&waiting, "COMMIT") {
            // Nothing was sent that ends the transaction.
            self.roll_back()?;
            return Err(error);
        }
        let committed = self.flight(waiting, "COMMIT", Vec::new()).map(drop);
        self.has_transaction.set(false);
        committed
    }

    /// Rolls the open transaction back, if the session is still open.
    ///
    /// # Errors
    /// Fails if the server does not reply. It then rolls the transaction back by itself.
    pub(crate) fn roll_back(&self) -> SqlResult<()> {
        let is_unsent = self.waiting.take().first().is_some_and(|call| call.sql.starts_with("BEGIN"));
        let is_lost = self.link.borrow().is_none();
        let rolled_back =
            if is_unsent || is_lost { Ok(()) } else { self.flight(Vec::new(), "ROLLBACK", Vec::new()).map(drop) };
        self.has_transaction.set(false);
        rolled_back
    }

    /// Sends a statement with the next flight.
    pub(crate) fn later(&self, sql: &str, params: Vec<Value>) {
        self.waiting.borrow_mut().push(Call::new(sql, params));
    }

    /// Sends the waiting statements, and waits for the replies.
    ///
    /// # Errors
    /// Fails with the first error of any of them.
    pub(crate) fn flush(&self) -> SqlResult<()> {
        if self.waiting.borrow().is_empty() { Ok(()) } else { self.run("SELECT 1", Vec::new()).map(drop) }
    }

    /// Sends the waiting statements, and then this one. Returns its rows, and the number of rows that it changed.
    ///
    /// # Errors
    /// Fails with the first error of any of them.
    pub(crate) fn run(&self, sql: &str, params: Vec<Value>) -> SqlResult<StatementOutput> {
        self.ensure_open()?;
        let waiting = self.waiting.take();
        self.flight(waiting, sql, params)
    }

    /// Executes a query once for each list of parameters, in one flight. Returns the rows of each.
    ///
    /// # Errors
    /// Fails with the first error of any of them.
    pub(crate) fn run_each(&self, sql: &str, lists: Vec<Vec<Value>>) -> SqlResult<Vec<Vec<ServerRow>>> {
        self.ensure_open()?;
        self.flush()?;
        let statement = self.prepare(sql)?;
        let lists: Vec<Vec<Parameter>> =
            lists.into_iter().map(|list| list.into_iter().map(Parameter).collect()).collect();
        self.wait(async |client| {
            let replies = lists.iter().map(|params| collect(client, &statement, params));
            Ok(try_join_all(replies).await?.into_iter().map(|(rows, _)| rows).collect())
        })
    }

    /// Executes statements without parameters, separated by semicolons.
    ///
    /// # Errors
    /// Fails with the first error of any of them.
    pub(crate) fn run_batch(&self, sql: &str) -> SqlResult<()> {
        self.flush()?;
        self.ensure_open()?;
        self.wait(async |client| client.batch_execute(sql).await)
    }

    /// Sends statements, and then a last one, before it waits for the replies.
    fn flight(&self, calls: Vec<Call>, sql: &str, params: Vec<Value>) -> SqlResult<StatementOutput> {
        let (statements, statement) = self.prepare_all(&calls, sql)?;
        let params: Vec<Parameter> = params.into_iter().map(Parameter).collect();
        self.wait(async |client| {
            let mut earlier = Vec::with_capacity(calls.len());
            for (call, statement) in calls.iter().zip(&statements) {
                earlier.push(Box::pin(client.execute_raw(statement, &call.params)));
            }
            let mut last = Box::pin(collect(client, &statement, &params));
            // The first poll of each sends it, so all of them go out before the first reply is awaited.
            let (first_polls, last_poll) = poll_fn(|context| {
                let polls = earlier.iter_mut().map(|reply| reply.as_mut().poll(context)).collect::<Vec<_>>();
                Poll::Ready((polls, last.as_mut().poll(context)))
            })
            .await;
            for (reply, poll) in earlier.into_iter().zip(first_polls) {
                match poll {
                    Poll::Ready(reply) => reply?,
                    Poll::Pending => reply.await?,
                };
            }
            match last_poll {
                Poll::Ready(reply) => reply,
                Poll::Pending => last.await,
            }
        })
    }

    /// The statements of a flight.
    fn prepare_all(&self, calls: &[Call], last: &str) -> SqlResult<(Vec<Statement>, Statement)> {
        let statements = calls.iter().map(|call| self.prepare(&call.sql)).collect::<SqlResult<Vec<Statement>>>()?;
        Ok((statements, self.prepare(last)?))
    }

    fn prepare(&self, sql: &str) -> SqlResult<Statement> {
        let known = self.link.borrow().as_ref().and_then(|link| link.statements.get(sql).cloned());
        if let Some(statement) = known {
            return Ok(statement);
        }
        let translated = dialect::translate(sql);
        let statement = self.wait(async |client| client.prepare(&translated).await)?;
        if let Some(link) = self.link.borrow_mut().as_mut() {
            link.statements.insert(sql.into(), statement.clone());
        }
        Ok(statement)
    }

    /// A number that no other call returns.
    pub(crate) fn next_cursor(&self) -> u64 {
        self.cursors.replace(self.cursors.get() + 1)
    }

    /// Drops a prepared statement that is not used again.
    pub(crate) fn unprepare(&self, sql: &str) {
        if let Some(link) = self.link.borrow_mut().as_mut() {
            link.statements.remove(sql);
        }
    }

    /// Opens a lost session again, unless a transaction was lost with it.
    fn ensure_open(&self) -> Result<(), ServerError> {
        if !self.is_lost() || self.has_transaction.get() { Ok(()) } else { self.connect() }
    }

    fn connect(&self) -> Result<(), ServerError> {
        self.link.replace(None);
        let opened = async { tokio::time::timeout(CONNECT_TIMEOUT, self.open_link()).await };
        let link = self.runtime.block_on(opened).map_err(|_| ServerError::no_reply())??;
        self.link.replace(Some(link));
        Ok(())
    }

    /// Opens a connection to a server that was not replaced.
    async fn open_link(&self) -> Result<Link, ServerError> {
        let mut link = self.connect_with(&self.config).await?;
        let mut newest = self.newest_timeline.fetch_max(link.timeline, Ordering::Relaxed);
        if link.timeline < newest && self.config.get_hosts().len() > 1 {
            let mut config = self.config.clone();
            config.load_balance_hosts(LoadBalanceHosts::Random);
            let mut orders_left = OTHER_ORDERS_MAX;
            while link.timeline < newest && orders_left > 0 {
                link = self.connect_with(&config).await?;
                newest = self.newest_timeline.fetch_max(link.timeline, Ordering::Relaxed);
                orders_left -= 1;
            }
        }
        if link.timeline < newest {
            let message = format!("the server is on timeline {}, and another one continued on {newest}", link.timeline);
            return Err(ServerError::new(ServerErrorKind::Unreachable, message));
        }
        Ok(link)
    }

    /// Opens a connection to the first host that accepts writes.
    async fn connect_with(&self, config: &Config) -> Result<Link, ServerError> {
        match &self.tls {
            None => self.connect_by(NoTls, config).await,
            Some(tls) => self.connect_by(tls.clone(), config).await,
        }
    }

    async fn connect_by<T>(&self, tls: T, config: &Config) -> Result<Link, ServerError>
    where
        T: MakeTlsConnect<Socket, Stream: Send + 'static>,
    {
        let (client, connection) = config.connect(tls).await?;
        self.runtime.spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("a session with the database server ended: {error}");
            }
        });
        let row = client.query_one(TIMELINE, &[]).await?;
        Ok(Link { client, timeline: row.try_get(0)?, statements: HashMap::new() })
    }

    /// Runs a future until it ends. After an error that ends the session, it is closed.
    fn wait<T>(&self, run: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> SqlResult<T> {
        let done = match self.link.borrow().as_ref() {
            None => Err(ServerError::new(ServerErrorKind::Unreachable, "the session was lost")),
            Some(link) => self.runtime.block_on(async {
                match tokio::time::timeout(self.reply_timeout, run(&link.client)).await {
                    Ok(done) => done.map_err(ServerError::from),
                    Err(_) => Err(ServerError::no_reply()),
                }
            }),
        };
        done.map_err(|error| {
            if error.ends_session() {
                self.link.replace(None);
                self.waiting.borrow_mut().clear();
            }
            error.into()
        })
    }
}

impl Call {
    fn new(sql: &str, params: Vec<Value>) -> Call {
        Call { sql: sql.into(), params: params.into_iter().map(Parameter).collect() }
    }
}

const TIMELINE: &str = concat!("SELECT ", server_timeline!());

async fn collect(
    client: &Client,
    statement: &Statement,
    params: &[Parameter],
) -> Result<StatementOutput, tokio_postgres::Error> {
    let mut stream = Box::pin(client.query_raw(statement, params).await?);
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await {
        rows.push(ServerRow::new(row?));
    }
    Ok((rows, stream.rows_affected().unwrap_or(0)))
}

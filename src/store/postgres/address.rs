//! The address of a PostgreSQL server, as `DATABASE_URL` has it.

use crate::base::certificates;
use crate::config::types::Secret;
use crate::store::error::OpenError;
use crate::store::postgres::error::ServerError;
use crate::store::postgres::schema;
use crate::store::postgres::session::Session;
use crate::store::sql::SqlConnection;
use crate::store::sqlite::schema::{DatabaseMeta, SchemaState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long one host may take to accept a connection.
const HOST_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a session that must be quick waits for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a tool waits for a reply. Some of its statements read the whole database.
const TOOL_REPLY_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a session is used for. Its times are bounded accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionUse {
    /// Turns. The server ends the session of a writer that stops within its turn, so that others get theirs.
    Writer,
    /// Queries.
    Reader,
    /// A command of the command line, which may wait for its input or output.
    Tool,
}

impl SessionUse {
    /// The settings of the server for the session.
    fn settings(self) -> &'static str {
        match self {
            SessionUse::Writer => {
                "-c idle_in_transaction_session_timeout=1000 -c lock_timeout=1000 -c statement_timeout=10000 \
                 -c client_min_messages=warning"
            }
            SessionUse::Reader => "-c lock_timeout=5000 -c statement_timeout=10000 -c client_min_messages=warning",
            SessionUse::Tool => "-c client_min_messages=warning",
        }
    }

    fn reply_timeout(self) -> Duration {
        if self == SessionUse::Tool { TOOL_REPLY_TIMEOUT } else { REPLY_TIMEOUT }
    }
}

/// The address of a database on a server, with the credentials.
#[derive(Clone)]
pub(crate) struct Address {
    config: Config,
    name: String,
    /// `None` for an address without encryption.
    tls: Option<MakeRustlsConnect>,
    /// The newest timeline that a session of this process has found.
    newest_timeline: Arc<AtomicI64>,
}

/// What `sslmode=verify-full` and `sslrootcert` ask for.
struct Verification {
    /// The file with the trusted certificates; `None` for those of the system.
    ca_file: Option<PathBuf>,
}

/// Splits the options that the client does not know off an address. Every encrypted connection verifies the certificate and the
/// name of the server, so `verify-full` is the same as `require`.
fn take_verification(url: &str) -> (String, Option<Verification>) {
    let Some((address, options)) = url.split_once('?') else { return (url.into(), None) };
    let (mut kept, mut found) = (Vec::new(), None);
    for option in options.split('&') {
        match option.split_once('=') {
            Some(("sslmode", "verify-full" | "require")) => {
                found.get_or_insert(Verification { ca_file: None });
                kept.push("sslmode=require");
            }
            Some(("sslrootcert", file)) => {
                found.get_or_insert(Verification { ca_file: None }).ca_file = Some(file.into());
            }
            _ => kept.push(option),
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    (format!("{address}{separator}{}", kept.join("&")), found)
}

impl Address {
    /// Reads an address: `postgres://user:password@host,host/database?options`.
    ///
    /// # Errors
    /// Fails if it has another form. The message does not repeat it, because it may have a password.
    pub(crate) fn parse(url: &Secret) -> Result<Address, OpenError> {
        let invalid = |reason: String| OpenError::CannotOpen { path: "DATABASE_URL".into(), reason };
        let (url, verified) = take_verification(url.expose());
        let mut config: Config =
            url.parse().map_err(|error: tokio_postgres::Error| invalid(ServerError::from(error).to_string()))?;
        if config.get_hosts().is_empty() {
            return Err(invalid("it names no host".into()));
        }
        let name = name_of(&config);
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            // An offered encryption that is not verified protects nothing, and certificates of local servers are often their own.
            SslMode::Prefer if verified.is_none() => None,
            _ => {
                let file = verified.as_ref().and_then(|verified| verified.ca_file.as_deref());
                let client =
                    certificates::client_config(file).map_err(|fault| invalid(format!("sslrootcert {fault}")))?;
                config.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(client))
            }
        };
        config.connect_timeout(HOST_TIMEOUT);
        config
            .keepalives_idle(Duration::from_secs(3))
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3);
        // A standby accepts no turns.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("cortex-core");
        }
        Ok(Address { config, name, tls, newest_timeline: Arc::default() })
    }

    /// The hosts and the database, without credentials.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The newest timeline that a session of this process has found; 0 before the first.
    pub(crate) fn newest_timeline(&self) -> i64 {
        self.newest_timeline.load(Ordering::Relaxed)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// Fails if the server cannot be reached or rejects the session.
    pub(crate) fn connect(&self, purpose: SessionUse) -> Result<SqlConnection, OpenError> {
        let mut config = self.config.clone();
        config.options(match self.config.get_options() {
            Some(options) => format!("{} {options}", purpose.settings()),
            None => purpose.settings().into(),
        });
        let newest_timeline = Arc::clone(&self.newest_timeline);
        let opened = Session::open(config, self.tls.clone(), purpose.reply_timeout(), newest_timeline);
        opened
            .map(|session| SqlConnection::Postgres(Box::new(session)))
            .map_err(|error| OpenError::of_engine(Path::new(&self.name), &error.into()))
    }

    /// Opens a session for a database whose tables exist.
    ///
    /// # Errors
    /// As [`Address::connect`], and if the database has no tables of this program or those of another version.
    pub(crate) fn open(&self, purpose: SessionUse) -> Result<(SqlConnection, DatabaseMeta), OpenError> {
        let (db, path) = (self.connect(purpose)?, Path::new(&self.name));
        let failed = |error| OpenError::of_engine(path, &error);
        let reason = match schema::check_version(&db, path)? {
            SchemaState::Current => None,
            SchemaState::Empty => Some("it is empty".into()),
            SchemaState::Older(found) => {
                Some(format!("it has schema version {found}: start a server of this program, which migrates it"))
            }
        };
        if let Some(reason) = reason {
            return Err(OpenError::CannotOpen { path: path.into(), reason });
        }
        let meta = schema::load_meta(&db).map_err(failed)?;
        Ok((db, meta))
    }
}

fn name_of(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let ports = config.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(directory) => format!("{}:{port}", directory.display()),
            }
        })
        .collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().or(config.get_user()).unwrap_or_default())
}

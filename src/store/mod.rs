//! The store: commands and queries over an embedded SQLite database.
//!
//! One [`Writer`] changes the database, in transactions of many commands. [`Reader`]s execute queries on read-only connections.
//! The runtime runs each on a thread of its own, and passes the time as an argument. The store names no shard, handler or
//! socket, and no other module names SQLite.
//!
//! - `rules`: the effect of each command, without SQL
//! - `sql`: statements and rows
//! - `tables`, `read`, `search`, `write`: rows, queries, searches, and the writer
//! - `admin`: accounts and verification
//! - `sqlite`: connections, the schema, the write-ahead log, and tools for database files
//! - `transfer`: export and import
//!
//! Invariant: everything that a `Committed` or a `QueryResponse` contains is on disk. Numbers and times grow in commit order,
//! also after restarts, deletions, and clocks that go back. `Writer::check_invariants` asserts the invariants of the rows.

mod admin;
mod config;
mod error;
#[cfg(feature = "cluster")]
mod postgres;
mod progress;
mod read;
mod rules;
mod search;
mod snapshot;
mod sql;
mod sqlite;
mod tables;
mod transfer;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use admin::account_rows::Account;
pub use admin::account_rows::UserSelector;
pub use admin::accounts::{Admin, NewUser};
pub(crate) use admin::admin_error::AdminError;
pub use admin::verify::verify;
pub use config::{FlushLimits, ResponderRules, Retention, StoreConfig};
pub(crate) use error::{DataError, OpenError};
pub(crate) use progress::Progress;
pub use read::pending_query::{PendingQuery, QueryStep};
pub use read::reader::Reader;
#[cfg(feature = "cluster")]
pub(crate) use read::slice::SliceError;
pub use sqlite::backup::backup;
pub(crate) use sqlite::connection::limit_memory;
pub(crate) use sqlite::files::paths::resolve_symlinks;
pub(crate) use sqlite::restore::restore;
pub(crate) use transfer::export::{export, export_to_file};
pub(crate) use transfer::import::import;
pub(crate) use write::database_lock::DatabaseLock;
pub use write::maintenance::MaintenanceDue;
pub use write::writer::Writer;

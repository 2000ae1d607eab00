//! The store: commands and queries over an embedded SQLite database.
//!
//! One [`Writer`] changes the database, in transactions of many commands. [`Reader`]s execute queries on read-only connections.
//! The runtime runs each on a thread of its own, and passes the time as an argument. The store names no shard, handler or
//! socket, and no other module names SQLite.
//!
//! - `rules`: the effect of each command, without SQL
//! - `sqlite`: tables, queries, the writer, and tools for database files
//! - `transfer`: export and import
//!
//! Invariant: everything that a `Committed` or a `QueryResponse` contains is on disk. Numbers and times grow in commit order,
//! also after restarts, deletions, and clocks that go back. `Writer::check_invariants` asserts the invariants of the rows.

mod config;
mod error;
mod progress;
mod rules;
mod sqlite;
mod transfer;

#[cfg(test)]
mod tests;

pub use config::{InboxLimits, ResponderRules, Retention, StoreConfig};
pub(crate) use error::{DataError, OpenError};
pub(crate) use progress::Progress;
pub(crate) use sqlite::admin::account_rows::Account;
pub use sqlite::admin::account_rows::UserSelector;
pub use sqlite::admin::accounts::{Admin, NewUser};
pub(crate) use sqlite::admin::admin_error::AdminError;
pub(crate) use sqlite::admin::backup::backup;
pub(crate) use sqlite::admin::restore::restore;
pub(crate) use sqlite::admin::verify::verify;
pub(crate) use sqlite::connection::limit_memory;
pub(crate) use sqlite::files::lock::Lock;
pub(crate) use sqlite::files::paths::resolve_symlinks;
pub use sqlite::read::pending_query::{PendingQuery, QueryStep};
pub use sqlite::read::reader::Reader;
pub use sqlite::write::maintenance::MaintenanceDue;
pub use sqlite::write::writer::Writer;
pub(crate) use transfer::export::{export, export_to_file};
pub(crate) use transfer::import::import;

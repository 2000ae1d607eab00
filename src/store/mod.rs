//! Floor 3: SQLite behind commands and queries.
//!
//! One `Writer` changes the database, in groups of commands with one commit each; `Reader`s answer queries on read-only
//! connections. The runtime gives both a thread and tells them the time. The store never names a shard, a handler or a
//! socket, and nothing above it names SQLite.
//!
//! Invariant: what a `Committed` or an `QueryResponse` says is on disk, and numbers and times grow in commit order, also over
//! restarts, deletions and clocks that go back.

mod config;
mod error;
mod progress;
mod rules;
mod sqlite;
mod transfer;

#[cfg(test)]
mod tests;

pub use config::{InboxLimits, ResponderRules, Retention, StoreConfig};
pub use error::{DataError, OpenError};
pub use progress::{Progress, ProgressReport};
pub use sqlite::admin::accounts::{Account, Admin, AdminError, NewUser, UserSelector};
pub use sqlite::admin::backup::{BackupReport, backup};
pub use sqlite::admin::restore::{RestoreReport, restore};
pub use sqlite::admin::verify::{VerifyReport, verify};
pub use sqlite::files::lock::Lock;
pub use sqlite::files::paths::resolve_symlinks;
pub use sqlite::read::reader::Reader;
pub use sqlite::tables::users::PasswordRecord;
pub use sqlite::write::maintenance::MaintenanceDue;
pub use sqlite::write::writer::Writer;
pub use transfer::export::{export, export_to_file};
pub use transfer::import::{ImportReport, import};

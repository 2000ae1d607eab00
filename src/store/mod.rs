//! Floor 3: SQLite behind commands and queries.
//!
//! One `Writer` changes the database, in groups of commands with one commit each; `Reader`s answer queries on read-only
//! connections. The runtime gives both a thread and tells them the time. The store never names a shard, a handler or a
//! socket, and nothing above it names SQLite.
//!
//! Invariant: what a `Committed` or an `QueryResponse` says is on disk, and numbers and times grow in commit order, also over
//! restarts, deletions and clocks that go back.

mod data;
mod error;
mod rules;
mod sqlite;
mod transfer;

#[cfg(test)]
mod tests;

pub use error::OpenError;
pub use sqlite::admin::accounts::{Account, Admin, AdminError, NewUser, Standing, Who};
pub use sqlite::admin::backup::{Copied, backup};
pub use sqlite::admin::restore::{Restored, restore};
pub use sqlite::admin::verify::{Verdict, verify};
pub use sqlite::files::atomic_file::{Progress, Report, followed};
pub use sqlite::files::lock::Lock;
pub use sqlite::read::reader::Reader;
pub use sqlite::tables::answer_jobs::Responders;
pub use sqlite::tables::users::PasswordRecord;
pub use sqlite::write::writer::{Due, Housekeeping, Render, Writer};
pub use transfer::export::{ExportError, export, export_to_file};
pub use transfer::import::{Imported, import};

use crate::base::limits::*;
use std::path::PathBuf;

/// Where the database is, and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where the database is.
    pub database: Database,
    /// How long events are kept that are no messages.
    pub retention: Retention,
    /// How inboxes are kept.
    pub inbox: InboxLimits,
    /// Who answers messages.
    pub responders: Responders,
}

impl StoreConfig {
    /// A database that is kept as the defaults say, and in which nobody answers.
    pub fn new(database: Database) -> StoreConfig {
        StoreConfig {
            database,
            retention: Retention::default(),
            inbox: InboxLimits::default(),
            responders: Responders::default(),
        }
    }
}

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// In memory, gone with the writer; its queries go to `Writer::read`.
    Memory,
    /// In this file, and in the files that SQLite keeps beside it.
    File(PathBuf),
}

/// How long events are kept that are no messages: whichever bound is reached first, the oldest go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// For so long at most, in seconds.
    pub seconds: i64,
    /// So many at most.
    pub events: u64,
    /// With so many bytes at most, texts and recipients counted.
    pub bytes: u64,
    /// Whatever is younger stays all the same, in milliseconds.
    pub young_milliseconds: u64,
}

impl Default for Retention {
    /// As the settings have it when nothing is set.
    fn default() -> Retention {
        Retention { seconds: 7 * 24 * 60 * 60, events: 10_000_000, bytes: 1 << 30, young_milliseconds: 240_000 }
    }
}

/// How much of the journal's end is not in the inboxes yet, and in what steps it gets there. What is replayed does not
/// depend on it, so tests take small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxLimits {
    /// Numbers after which a flush begins.
    pub flush_numbers: u64,
    /// Recipients that one flush holds in memory; at least one message goes with it.
    pub flush_entries_max: usize,
    /// Messages that one step gathers.
    pub step_messages_max: usize,
    /// Inboxes that one step writes to.
    pub step_users_max: usize,
    /// Bytes after which a chunk is full.
    pub chunk_bytes_max: usize,
}

impl Default for InboxLimits {
    fn default() -> InboxLimits {
        InboxLimits {
            flush_numbers: INBOX_FLUSH_NUMBERS,
            flush_entries_max: INBOX_FLUSH_ENTRIES_MAX,
            step_messages_max: INBOX_STEP_MESSAGES_MAX,
            step_users_max: INBOX_STEP_USERS_MAX,
            chunk_bytes_max: INBOX_CHUNK_BYTES_MAX,
        }
    }
}

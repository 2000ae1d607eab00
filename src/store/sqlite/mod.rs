//! SQLite: the tables, the readers, the writer, and tools for database files.

pub(crate) mod admin;
pub(crate) mod connection;
pub(crate) mod files;
pub(crate) mod read;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod tables;
pub(crate) mod values;
pub(crate) mod write;

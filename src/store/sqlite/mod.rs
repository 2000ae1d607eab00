//! SQLite: the tables, the readers and the writer on them, and the tools of an administrator.

pub(crate) mod admin;
pub(crate) mod connection;
pub(crate) mod files;
pub(crate) mod read;
pub(crate) mod schema;
pub(crate) mod tables;
pub(crate) mod values;
pub(crate) mod write;

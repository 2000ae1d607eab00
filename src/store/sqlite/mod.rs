//! What only a database in a file has: connections, the schema, the write-ahead log, and tools for files.

pub(crate) mod backup;
pub(crate) mod checkpoint;
pub(crate) mod connection;
pub(crate) mod damage;
pub(crate) mod files;
pub(crate) mod open_database;
pub(crate) mod restore;
pub(crate) mod schema;

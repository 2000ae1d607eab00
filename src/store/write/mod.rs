//! The writer: transactions, maintenance and retention.

pub(crate) mod database_lock;
mod invariants;
pub(crate) mod maintenance;
pub(crate) mod purge;
pub(crate) mod retention;
pub(crate) mod rows;
pub(crate) mod write_connection;
pub(crate) mod writer;

//! The writer: transactions, checkpoints and maintenance.

pub(crate) mod checkpoint;
mod invariants;
pub(crate) mod maintenance;
pub(crate) mod purge;
pub(crate) mod retention;
pub(crate) mod rows;
pub(crate) mod write_connection;
pub(crate) mod writer;

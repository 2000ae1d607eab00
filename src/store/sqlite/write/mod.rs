//! The writer: transactions, checkpoints and maintenance.

pub(crate) mod checkpoint;
pub(crate) mod purge;
pub(crate) mod retention;
pub(crate) mod writer;

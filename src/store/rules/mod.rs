//! The rules of each command: who may issue it, which rows it writes, and which events it emits.
//!
//! The rules contain no SQL. They access the tables through the trait [`rows::Rows`], which an engine implements.

pub(crate) mod age;
pub(crate) mod cache;
pub(crate) mod commands;
pub(crate) mod event_rates;
pub(crate) mod inbox_flush;
pub(crate) mod index_flush;
pub(crate) mod records;
pub(crate) mod rows;
pub(crate) mod transaction;
pub(crate) mod workspace_deletion;
pub(crate) mod writer_cache;

//! What each command does: who may issue it, what is written, and which events follow. No SQL is here.
//!
//! The rules reach the tables only through [`rows::Rows`], which an engine implements.

pub(crate) mod cache;
pub(crate) mod commands;
pub(crate) mod inbox_flush;
pub(crate) mod records;
pub(crate) mod rows;
pub(crate) mod transaction;
pub(crate) mod writer_cache;

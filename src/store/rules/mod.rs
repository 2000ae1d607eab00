//! What each command does: who may, what is written, and which events follow.

pub(crate) mod cache;
pub(crate) mod commands;
pub(crate) mod inbox_flush;
pub(crate) mod transaction;

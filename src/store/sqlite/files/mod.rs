//! The files of a database: atomic replacement, identity, the lock, and temporary databases.

pub(crate) mod atomic_file;
pub(crate) mod lock;
pub(crate) mod log_index;
pub(crate) mod log_rewrite;
pub(crate) mod open_files;
pub(crate) mod paths;
pub(crate) mod temporary;

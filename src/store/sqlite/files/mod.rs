//! Files beside a database: atomic replacement, the lock, and temporary databases.

pub(crate) mod atomic_file;
pub(crate) mod lock;
pub(crate) mod paths;
pub(crate) mod temporary;

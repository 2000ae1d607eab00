//! Files beside a database: atomic replacement and the lock.

pub(crate) mod atomic_file;
pub(crate) mod lock;

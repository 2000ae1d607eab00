//! The reasons why a server does not start.

use super::listener::ListenError;
use super::memory_limit::MemoryLimit;
use crate::base::limits::MEMORY_LIMIT_BYTES_MIN;
use crate::store::OpenError;
use std::fmt;
use std::io;

/// The reason why a server does not start. It displays as one sentence for the operator.
#[derive(Debug)]
pub(crate) enum StartError {
    /// There is no socket to listen on.
    Listen(ListenError),
    /// The database cannot be opened or locked.
    Database(OpenError),
    /// The database server may lose what it has committed, because of this setting.
    NotDurable(String),
    /// The process may take too little memory.
    Memory(MemoryLimit),
    /// The settings of the responder cannot be used: a sentence that begins with the name of the variable.
    Responder(String),
    /// The address of the bus to other instances cannot be used, for this reason.
    #[cfg(feature = "cluster")]
    Bus(String),
    /// The system lacks the resource that the text names.
    System(&'static str, io::Error),
}

impl StartError {
    /// Adds the name of the resource to an error of the system.
    pub(super) fn system(resource: &'static str) -> impl Fn(io::Error) -> StartError {
        move |error| StartError::System(resource, error)
    }
}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> StartError {
        StartError::Listen(error)
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> StartError {
        StartError::Database(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(error) => error.fmt(f),
            StartError::Database(error) => error.fmt(f),
            StartError::NotDurable(setting) => write!(
                f,
                "the database server may lose what it has committed: it has {setting}, and production needs fsync, \
                 full_page_writes and synchronous_commit on"
            ),
            StartError::Memory(limit) => write!(
                f,
                "the server may take {limit} of memory, and needs at least {MEMORY_LIMIT_BYTES_MIN}: raise MEMORY_LIMIT_BYTES, or \
                 the limit of the control group"
            ),
            StartError::Responder(sentence) => f.write_str(sentence),
            #[cfg(feature = "cluster")]
            StartError::Bus(reason) => write!(f, "REDIS_URL cannot be used: {reason}"),
            StartError::System(resource, error) => write!(f, "cannot create {resource}: {error}"),
        }
    }
}

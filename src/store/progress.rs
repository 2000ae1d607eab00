//! Progress of long operations on a database file.

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Completed work, in the unit of `of`.
    pub done: u64,
    /// All of the work, if it is known.
    pub of: Option<u64>,
}

/// Called with the progress of an operation, many times a second.
pub(crate) type ProgressReport<'a> = &'a mut dyn FnMut(Progress);

//! Progress of long operations on a database file.

/// The progress of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Completed work, in the unit of `of`.
    pub done: u64,
    /// Total work, if it is known.
    pub of: Option<u64>,
}

/// A callback for the progress of an operation. It is called many times a second.
pub(crate) type ProgressReport<'a> = &'a mut dyn FnMut(Progress);

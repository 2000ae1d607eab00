//! The health of the database and of the process.

/// The reason why the writer cannot commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterFault {
    /// The disk or its quota is full.
    Full,
    /// Another process holds a lock on the database.
    Locked,
    /// The database or its directory is not writable.
    ReadOnly,
    /// I/O errors.
    Disk,
    /// The file is damaged.
    Damaged,
    /// The database server does not reply.
    Unreachable,
    /// A transaction takes longer than `WRITER_STUCK_MILLISECONDS`.
    Stuck,
}

impl WriterFault {
    /// Every fault. The index of a fault is its number.
    pub const ALL: [WriterFault; 7] = [
        WriterFault::Full,
        WriterFault::Locked,
        WriterFault::ReadOnly,
        WriterFault::Disk,
        WriterFault::Damaged,
        WriterFault::Unreachable,
        WriterFault::Stuck,
    ];

    /// The description in health responses and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            WriterFault::Full => "the disk is full",
            WriterFault::Locked => "the database is locked",
            WriterFault::ReadOnly => "the database cannot be written to",
            WriterFault::Disk => "the disk fails",
            WriterFault::Damaged => "the database is damaged",
            WriterFault::Unreachable => "the database server cannot be reached",
            WriterFault::Stuck => "writing takes too long",
        }
    }
}

/// Whether a load balancer should send requests to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It should.
    Ready,
    /// The database is being opened or migrated, or another process has it open.
    Starting,
    /// The process is shutting down.
    Draining,
    /// The writer cannot commit.
    Unwritable(WriterFault),
    /// Requests of most users are rejected for lack of room.
    Overloaded,
}

impl Readiness {
    /// The reason in health responses; `None` if ready.
    pub(crate) fn reason(self) -> Option<&'static str> {
        match self {
            Readiness::Ready => None,
            Readiness::Starting => Some("the server is starting"),
            Readiness::Draining => Some("the server is shutting down"),
            Readiness::Unwritable(trouble) => Some(trouble.as_str()),
            Readiness::Overloaded => Some("requests of most users are rejected for lack of room"),
        }
    }
}

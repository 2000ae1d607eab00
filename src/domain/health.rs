//! What may be wrong with the database, in words for who asks after the health of the service.

/// Why the writer cannot commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterFault {
    /// The disk, or what the database may take of it, is full.
    Full,
    /// Another program keeps the database locked.
    Locked,
    /// The database, or its directory, cannot be written to.
    ReadOnly,
    /// Reading or writing the disk fails.
    Disk,
    /// The file is damaged.
    Damaged,
    /// A transaction takes longer than any should.
    Stuck,
}

impl WriterFault {
    /// Every one, in the order of their numbers.
    pub const ALL: [WriterFault; 6] = [
        WriterFault::Full,
        WriterFault::Locked,
        WriterFault::ReadOnly,
        WriterFault::Disk,
        WriterFault::Damaged,
        WriterFault::Stuck,
    ];

    /// What people are told.
    pub fn as_str(self) -> &'static str {
        match self {
            WriterFault::Full => "the disk is full",
            WriterFault::Locked => "the database is locked",
            WriterFault::ReadOnly => "the database cannot be written to",
            WriterFault::Disk => "the disk fails",
            WriterFault::Damaged => "the database is damaged",
            WriterFault::Stuck => "writing takes too long",
        }
    }
}

/// Whether requests should be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// They should.
    Ready,
    /// Another process has the database, or it is being opened or migrated.
    Starting,
    /// The process is about to end.
    Draining,
    /// The database cannot be written to.
    Unwritable(WriterFault),
}

impl Readiness {
    /// What people are told; `None` when there is nothing to tell.
    pub(crate) fn reason(self) -> Option<&'static str> {
        match self {
            Readiness::Ready => None,
            Readiness::Starting => Some("the server is starting"),
            Readiness::Draining => Some("the server is shutting down"),
            Readiness::Unwritable(trouble) => Some(trouble.as_str()),
        }
    }
}

//! What may be wrong with the database, in words for who asks after the health of the service.

/// Why the writer cannot commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
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

impl Trouble {
    /// Every one, in the order of their numbers.
    pub const ALL: [Trouble; 6] =
        [Trouble::Full, Trouble::Locked, Trouble::ReadOnly, Trouble::Disk, Trouble::Damaged, Trouble::Stuck];

    /// What people are told.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Full => "the disk is full",
            Trouble::Locked => "the database is locked",
            Trouble::ReadOnly => "the database cannot be written to",
            Trouble::Disk => "the disk fails",
            Trouble::Damaged => "the database is damaged",
            Trouble::Stuck => "writing takes too long",
        }
    }
}

/// Whether requests should be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// They should.
    Ready,
    /// Another process has the database, or it is being opened or migrated.
    Starting,
    /// The process is about to end.
    Draining,
    /// The database cannot be written to.
    Unwritable(Trouble),
}

impl Readiness {
    /// What people are told; `None` when there is nothing to tell.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Readiness::Ready => None,
            Readiness::Starting => Some("the server is starting"),
            Readiness::Draining => Some("the server is shutting down"),
            Readiness::Unwritable(trouble) => Some(trouble.as_str()),
        }
    }
}

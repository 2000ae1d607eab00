//! What the instances of one database tell each other. No promise depends on it: whatever is lost is read from the database, or not
//! shown before it is stored.

use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::commit::Committed;
use crate::domain::event::Event;
use crate::domain::id::{EventNumber, UserId};
use crate::domain::live_answer::{AnswerPart, TextRequest};
use crate::domain::peer_query::{PeerAnswer, PeerQueryKind};
use crate::domain::started_answer::AnswerStarted;
use std::net::IpAddr;
use std::sync::Arc;

/// A message on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusMessage {
    /// The sender is there.
    Beat,
    /// The sender has committed.
    Commit(CommitNotice),
    /// An answer at the sender whose text has not begun has a new status.
    Status(Arc<AnswerStatusChange>),
    /// The sender has shown a part of an answer.
    Text(AnswerPart),
    /// The sender lacks an answer, or a part of one.
    TextWanted(TextRequest),
    /// An answer at the sender that was started, for an instance that does not know it. Its parts follow.
    Answer(AnswerStarted),
    /// The sender does not know what the receiver counts.
    CountsWanted,
    /// What the sender counts for limits over all instances.
    Counts(PeerCounts),
    /// A query, with a number of the sender's.
    Query(u64, PeerQueryKind),
    /// The answer to a query with this number.
    QueryAnswered(u64, PeerAnswer),
}

/// What an instance counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCounts {
    /// The numbers of users' streams at the instance.
    pub streams: Vec<(UserId, u32)>,
    /// Whether other users have none.
    pub are_all: bool,
    /// What was taken from buckets since the last message, in microseconds. It is negative if more was put back.
    pub taken: Vec<(SharedRate, i64)>,
}

/// The key of a bucket that counts for all instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SharedRate {
    /// The requests of a user.
    User(UserId),
    /// The replayed requests of a user.
    Replays(UserId),
    /// Requests from one network without a valid token.
    Anonymous(IpAddr),
    /// Logins from one network.
    LoginAddress(IpAddr),
}

/// A commit, as another instance needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitNotice {
    /// The journal's position before the commit.
    pub before: EventNumber,
    /// The journal's position after it.
    pub through: EventNumber,
    /// All its events, with their recipients.
    pub events: Arc<[Arc<Event>]>,
    /// The answers that it started. Their texts follow in parts.
    pub started: Arc<[AnswerStarted]>,
    /// The messages that it queued for a model.
    pub queued: Vec<Arc<AnswerStatusChange>>,
}

impl CommitNotice {
    /// What others need of a commit; `None` if they need nothing of it.
    pub fn of(commit: &Committed) -> Option<CommitNotice> {
        let is_needed = commit.before < commit.through || !commit.started.is_empty() || !commit.queued.is_empty();
        is_needed.then(|| CommitNotice {
            before: commit.before,
            through: commit.through,
            events: Arc::clone(&commit.events),
            started: Arc::clone(&commit.started),
            queued: commit.queued.clone(),
        })
    }
}

impl From<CommitNotice> for Committed {
    fn from(notice: CommitNotice) -> Committed {
        let CommitNotice { before, through, events, started, queued } = notice;
        Committed { events, started, queued, ..Committed::empty(before, through) }
    }
}

impl BusMessage {
    /// About the bytes that the message holds in memory.
    pub fn weight(&self) -> usize {
        const BASE: usize = 256;
        BASE + match self {
            BusMessage::Commit(notice) => notice.events.iter().map(|event| event.weight()).sum(),
            BusMessage::Text(part) => part.text.len(),
            BusMessage::Counts(counts) => 64 * (counts.streams.len() + counts.taken.len()),
            BusMessage::QueryAnswered(_, PeerAnswer::Streams(streams)) => size_of_val(&streams[..]),
            _ => 0,
        }
    }
}

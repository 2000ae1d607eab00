//! Queries to all other instances, on behalf of a client.

use crate::base::time::WallTime;
use crate::domain::command::ReplyTo;
use crate::domain::id::UserId;
use crate::domain::open_stream::OpenStream;
use uuid::Uuid;

/// A query with the connection that waits for the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerQuery {
    /// The recipient of the response.
    pub reply_to: ReplyTo,
    /// The request and its parameters.
    pub kind: PeerQueryKind,
}

/// A request that needs the other instances, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerQueryKind {
    /// The streams of a user.
    ListStreams(UserId),
    /// Whether a user has this stream. It then ends when this token expires, unless it ends later.
    RenewStream {
        /// The user.
        user: UserId,
        /// The stream.
        stream: Uuid,
        /// When the token expires.
        expires_at: WallTime,
        /// The id of the token's key.
        key: u64,
    },
}

/// The answer of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAnswer {
    /// The streams of the user there.
    Streams(Vec<OpenStream>),
    /// When the stream ends now; `None` if it is not there.
    Renewed(Option<WallTime>),
}

/// The answers that came in time.
#[derive(Debug, PartialEq, Eq)]
pub struct PeerResponse {
    /// The recipient.
    pub to: ReplyTo,
    /// The answers, in the order in which they came.
    pub answers: Vec<PeerAnswer>,
    /// Whether all other instances have answered.
    pub is_complete: bool,
}

//! The phases of a connection.

use crate::http1::body::BodyReader;
use crate::shard::request::passing::PassedResponse;
use crate::shard::request::pending::{PendingRequest, ReceivingRequest};
use crate::shard::subscription::subscriber::Subscriber;

/// What a connection is doing. All but `Head` and `Closing` are boxed, so that an idle connection is small.
///
/// `begin_closing` is allowed in every phase.
#[derive(Debug)]
pub(super) enum Phase {
    /// Between two requests, or in the middle of a head.
    /// Call: `read`, `push_head`, `push_body`, `receive_body`, `discard_body`, `wait`, `open_stream`, `begin_passing`. Next:
    /// every other.
    Head,
    /// The head was accepted, and the body is being collected.
    /// Call: `read`, `take_receiving`. Next: Head, Closing.
    Body(Box<ReceivingRequest>),
    /// The response is queued, and the body of its request is read and discarded.
    /// Call: `read`. Next: Head, Closing.
    Discard(Box<BodyReader>),
    /// The request is with a worker. Input is kept, not read.
    /// Call: `take_pending`. Next: Head.
    Waiting(Box<PendingRequest>),
    /// The response is an answer that is passed on. Input is kept, not read.
    /// Call: `passing_mut`, `end_passing`. Next: Head.
    Passing(Box<PassedResponse>),
    /// An open stream. Input is discarded.
    /// Call: `stream_mut`, `read`. Next: Closing.
    Stream(Box<Subscriber>),
    /// Writes what is left, ends our side, and reads on until the peer ends its own: closing a socket with unread input could
    /// destroy a response on its way.
    /// Call: `read`. Next: none, the connection is removed.
    Closing {
        /// Our side is ended.
        write_ended: bool,
        /// Bytes read and discarded in this phase.
        discarded_bytes: usize,
    },
}

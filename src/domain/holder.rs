//! The holder of a share of what all clients use together.

use crate::domain::id::UserId;
use std::net::IpAddr;

/// The holder of a share of a budget or a queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A user, by a valid token.
    User(UserId),
    /// The network of a client without a token: an IPv4 address, or the /64 of an IPv6 address.
    Network(IpAddr),
    /// The server itself.
    Server,
}

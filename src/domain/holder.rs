//! The holder of a share of what all clients use together.

use crate::domain::id::UserId;
use std::net::{IpAddr, Ipv6Addr};

/// The holder of a share of a budget or a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A user, by a valid token.
    User(UserId),
    /// The network of a client without a token: an IPv4 address, or the /64 of an IPv6 address.
    Network(IpAddr),
    /// The server itself.
    Server,
}

/// The network that an address counts for: itself, or its /64 for IPv6; an IPv4-mapped address is IPv4.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_count_by_network() {
        let table =
            [("10.1.2.3", "10.1.2.3"), ("::ffff:10.1.2.3", "10.1.2.3"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")];
        for (address, network) in table {
            assert_eq!(network_of(address.parse().unwrap()), network.parse::<IpAddr>().unwrap());
        }
    }
}

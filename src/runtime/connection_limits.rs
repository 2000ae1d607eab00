//! The limits of connections, in the whole process and per address.
//!
//! Invariant: the table has the number of open connections of each counted network, and no network without one.

use crate::config::network::Networks;
use crate::domain::holder::network_of;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// The counts of open connections, shared by all event loops.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    open: AtomicUsize,
    max: usize,
    per_address_max: Option<u32>,
    /// Trusted proxies, whose connections carry many clients.
    exempt: RwLock<Networks>,
    by_network: Mutex<HashMap<IpAddr, u32>>,
}

impl ConnectionLimits {
    /// At most `max`, and at most `per_address_max` from one address, or from one /64 of IPv6, that is not in `exempt`.
    pub(crate) fn new(max: usize, per_address_max: Option<u32>, exempt: Networks) -> ConnectionLimits {
        let exempt = RwLock::new(exempt);
        ConnectionLimits { open: AtomicUsize::new(0), max, per_address_max, exempt, by_network: Mutex::default() }
    }

    /// Whether the process has the maximum number of connections.
    pub(crate) fn is_full(&self) -> bool {
        self.open.load(Relaxed) >= self.max
    }

    /// Counts an accepted connection from `peer`. Returns the network that it is counted for, to be passed to `end`; `None` if
    /// it is exempt.
    ///
    /// # Errors
    /// Fails if the network has its maximum number of connections. Nothing is counted then.
    pub(crate) fn begin(&self, peer: IpAddr) -> Result<Option<IpAddr>, NetworkLimitReached> {
        let mut network = None;
        if let Some(max) = self.per_address_max.filter(|_| !self.is_exempt(peer)) {
            let counted = network_of(peer);
            let mut by_network = self.by_network();
            let count = by_network.entry(counted).or_default();
            if *count >= max {
                return Err(NetworkLimitReached);
            }
            *count += 1;
            network = Some(counted);
        }
        self.open.fetch_add(1, Relaxed);
        Ok(network)
    }

    /// Counts the end of a connection that `begin` counted for `network`.
    pub(crate) fn end(&self, network: Option<IpAddr>) {
        self.open.fetch_sub(1, Relaxed);
        if let Some(network) = network {
            let mut by_network = self.by_network();
            let count = by_network.get_mut(&network).expect("every ended connection was counted");
            *count -= 1;
            if *count == 0 {
                by_network.remove(&network);
            }
        }
    }

    /// Replaces the exempt networks. Connections that are counted stay counted.
    pub(crate) fn set_exempt(&self, exempt: Networks) {
        *self.exempt.write().unwrap_or_else(PoisonError::into_inner) = exempt;
    }

    fn is_exempt(&self, peer: IpAddr) -> bool {
        self.exempt.read().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }

    fn by_network(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        // Each change is a single step, so a panic leaves the table consistent.
        self.by_network.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The network has its maximum number of connections.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NetworkLimitReached;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::network::Network;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_network_has_its_own_count_and_none_is_left_behind() {
        let exempt = Networks(vec![Network::parse("10.0.0.0/8").unwrap()]);
        let connections = ConnectionLimits::new(100, Some(2), exempt);
        let mut open = Vec::new();
        let table = [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", true),
            ("2001:db8::2", false),
            ("2001:db8:0:1::2", true),
            ("10.0.0.1", true),
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
        ];
        for (peer, is_accepted) in table {
            let begun = connections.begin(address(peer));
            assert_eq!(begun.is_ok(), is_accepted, "{peer}");
            open.extend(begun);
        }
        assert_eq!(connections.open.load(Relaxed), open.len(), "rejected connections are not counted");
        connections.end(open.remove(0));
        open.push(connections.begin(address("192.0.2.1")).expect("an ended connection makes room"));
        for network in open {
            connections.end(network);
        }
        assert_eq!((connections.open.load(Relaxed), connections.by_network().len()), (0, 0));
    }

    #[test]
    fn exempt_networks_may_change_while_connections_are_open() {
        let connections = ConnectionLimits::new(100, Some(1), Networks::default());
        let counted = connections.begin(address("10.0.0.1"));
        assert!(counted.is_ok() && connections.begin(address("10.0.0.1")).is_err());
        connections.set_exempt(Networks(vec![Network::parse("10.0.0.0/8").unwrap()]));
        assert_eq!(connections.begin(address("10.0.0.1")), Ok(None));
        connections.end(counted.unwrap());
        connections.end(None);
        assert_eq!((connections.open.load(Relaxed), connections.by_network().len()), (0, 0));
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let connections = ConnectionLimits::new(2, None, Networks::default());
        assert_eq!(connections.begin(address("192.0.2.1")), Ok(None));
        assert!(!connections.is_full());
        assert_eq!(connections.begin(address("192.0.2.1")), Ok(None));
        assert!(connections.is_full() && connections.by_network().is_empty());
    }
}

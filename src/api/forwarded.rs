//! The client address of a request that came through trusted proxies (`Forwarded`, RFC 7239; `X-Forwarded-For`).

use crate::config::network::Networks;
use crate::domain::holder::{Holder, network_of};
use crate::http1::head::Head;
use std::net::{IpAddr, SocketAddr};

/// The addresses that a request is counted for: one or, if two fields name different clients, both.
///
/// Most proxies write one of the two fields, and forward the other one unchanged from the client, who can forge it. Counting the
/// request for both makes a forged field useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddresses {
    first: IpAddr,
    second: Option<IpAddr>,
}

impl ClientAddresses {
    fn one(address: IpAddr) -> ClientAddresses {
        ClientAddresses { first: address, second: None }
    }

    /// The holder of the shares of a client without a token. The client may have forged either of two addresses, so then it
    /// is the network of `peer`, the socket's other end.
    pub(crate) fn holder(self, peer: IpAddr) -> Holder {
        Holder::Network(self.network(peer))
    }

    /// The network of [`ClientAddresses::holder`].
    pub(crate) fn network(self, peer: IpAddr) -> IpAddr {
        if self.second.is_none() { self.first } else { network_of(peer) }
    }

    /// The addresses.
    pub(crate) fn iter(self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.first).chain(self.second)
    }

    /// These addresses as networks, by `network_of`.
    pub(crate) fn map(self, network_of: impl Fn(IpAddr) -> IpAddr) -> ClientAddresses {
        let first = network_of(self.first);
        ClientAddresses { first, second: self.second.map(network_of).filter(|second| *second != first) }
    }
}

/// The address of the client: the peer's address or, if the peer is a trusted proxy, the last address in the chain that
/// is not a trusted proxy. The fields of an untrusted peer are ignored.
pub(crate) fn client_addresses(proxies: &Networks, peer: IpAddr, head: &Head<'_, '_>) -> ClientAddresses {
    if !proxies.contains(peer) {
        return ClientAddresses::one(peer);
    }
    let forwarded = head.fields("forwarded").flat_map(elements).map(|element| forwarded_for(element).unwrap_or(""));
    let forwarded = first_untrusted(proxies, peer, forwarded.collect());
    let x_forwarded = first_untrusted(proxies, peer, head.fields("x-forwarded-for").flat_map(elements).collect());
    match (head.field("forwarded").is_some(), head.field("x-forwarded-for").is_some()) {
        (true, false) => ClientAddresses::one(forwarded),
        (false, _) => ClientAddresses::one(x_forwarded),
        (true, true) if forwarded == x_forwarded => ClientAddresses::one(forwarded),
        (true, true) => ClientAddresses { first: x_forwarded, second: Some(forwarded) },
    }
}

/// The last hop of the chain that is not a trusted proxy. A hop that is not an address ends the chain.
fn first_untrusted(proxies: &Networks, peer: IpAddr, hops: Vec<&str>) -> IpAddr {
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        let Some(address) = node_address(hop) else { break };
        client = address;
        if !proxies.contains(address) {
            break;
        }
    }
    client
}

/// The elements of a list, without empty ones (RFC 9110 §5.6.1.2). An element that is not UTF-8 is not an address, but does
/// not invalidate the elements after it: a client may have written it, and the proxy the next one.
fn elements(field: &[u8]) -> impl Iterator<Item = &str> {
    let elements = field.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty());
    elements.map(|element| std::str::from_utf8(element).unwrap_or("not text"))
}

/// The `for` parameter of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then(|| value.trim_matches('"'))
    })
}

/// Parses an address with or without a port; IPv6 with or without brackets.
fn node_address(raw: &str) -> Option<IpAddr> {
    let bare = raw.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| raw.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::network::Network;
    use crate::http1::head::{HeadLimits, HeaderBuf, parse_head};

    #[test]
    fn chains() {
        let proxies = Networks(vec![Network::parse("10.0.0.0/8").unwrap(), Network::parse("::1").unwrap()]);
        let table = [
            ("192.0.2.1", "X-Forwarded-For: 203.0.113.9", "192.0.2.1"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.2.2.2", "203.0.113.9"),
            ("10.0.0.1", "X-Forwarded-For: 198.51.100.1, nonsense", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.9, ,", "203.0.113.9"),
            ("::1", "X-Forwarded-For: 2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "X-Forwarded-For: [2001:db8::7]:4711", "2001:db8::7"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.9:4711", "203.0.113.9"),
            ("10.0.0.1", "Forwarded: for=198.51.100.1, for=\"[2001:db8::7]:1\";proto=https", "2001:db8::7"),
            ("10.0.0.1", "Accept: */*", "10.0.0.1"),
            ("10.0.0.1", "Forwarded: for=198.51.100.1, proto=https", "10.0.0.1"),
            ("10.0.0.1", "Forwarded: for=unknown", "10.0.0.1"),
            ("10.0.0.1", "Forwarded: for=198.51.100.1\r\nX-Forwarded-For: 203.0.113.9", "203.0.113.9 198.51.100.1"),
            ("10.0.0.1", "Forwarded: for=203.0.113.9\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.9", "203.0.113.9"),
            ("192.0.2.1", "Forwarded: for=203.0.113.9\r\nX-Forwarded-For: 203.0.113.9", "192.0.2.1"),
        ];
        for (peer, field, client) in table {
            assert_eq!(clients_of(&proxies, peer, field.as_bytes()), client, "{peer} {field}");
        }
    }

    /// An invalid element from the client once hid the element that the proxy appended, so that the proxy's own address
    /// counted as the client's.
    #[test]
    fn an_invalid_element_of_the_client_does_not_hide_that_of_the_proxy() {
        let proxies = Networks(vec![Network::parse("10.0.0.1").unwrap()]);
        for field in [b"X-Forwarded-For: \xff, 203.0.113.9".as_slice(), b"Forwarded: for=\xff, for=203.0.113.9"] {
            assert_eq!(clients_of(&proxies, "10.0.0.1", field), "203.0.113.9");
        }
    }

    fn clients_of(proxies: &Networks, peer: &str, field: &[u8]) -> String {
        let raw = [b"GET / HTTP/1.1\r\nHost: x\r\n", field, b"\r\n\r\n"].concat();
        let mut buffer = HeaderBuf::new();
        let head = parse_head(&raw, &mut buffer, &HeadLimits { head_bytes_max: 4096 }).unwrap().unwrap();
        let clients = client_addresses(proxies, peer.parse().unwrap(), &head);
        clients.iter().map(|address| address.to_string()).collect::<Vec<_>>().join(" ")
    }
}

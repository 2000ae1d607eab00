//! Networks, host names and origins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, or a network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Parses `10.1.2.3`, `10.0.0.0/8`, `::1` or `fd00::/8`.
    ///
    /// # Errors
    /// Returns the allowed forms.
    pub fn parse(raw: &str) -> Result<Network, String> {
        let form = || format!("{raw:?} is neither an IP address nor a network such as 10.0.0.0/8");
        let (address, prefix) = match raw.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (raw, None),
        };
        let mut address: IpAddr = address.parse().map_err(|_| form())?;
        if prefix.is_none() {
            address = address.to_canonical();
        }
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(prefix) => super::parse::whole(prefix).filter(|bits| *bits <= bits_max).ok_or_else(form)? as u8,
            None => bits_max as u8,
        };
        let network = Network { address: masked(address, prefix_bits), prefix_bits };
        if network.address != address {
            return Err(format!(
                "{raw:?} has bits behind its prefix; the network is {}/{prefix_bits}",
                network.address
            ));
        }
        Ok(network)
    }

    /// Whether the network contains the address. An IPv4-mapped address (`::ffff:a.b.c.d`) counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix_bits) == self.address
    }
}

fn masked(address: IpAddr, prefix_bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// Several networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<Network>);

impl Networks {
    /// Whether one of them contains the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// A name that `Host` may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// `*`
    Any,
    /// `*.example.org`, kept as `.example.org`: every name below it, but not itself.
    Below(String),
    /// A name, or an address without brackets.
    Exactly(String),
}

impl HostPattern {
    /// Parses one item of `ALLOWED_HOSTS`.
    ///
    /// # Errors
    /// Returns the allowed forms.
    pub fn parse(raw: &str) -> Result<HostPattern, String> {
        if raw == "*" {
            return Ok(HostPattern::Any);
        }
        let lower = raw.to_ascii_lowercase();
        if let Some(below) = lower.strip_prefix('*') {
            return match below.strip_prefix('.') {
                Some(name) if is_name(name) => Ok(HostPattern::Below(below.to_owned())),
                _ => Err(format!("{raw:?} is no pattern: a * stands alone or in *.example.org")),
            };
        }
        let bare = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare {
            Some(bare) if bare.parse::<Ipv6Addr>().is_ok() => Ok(HostPattern::Exactly(bare.to_owned())),
            None if is_name(&lower) || lower.parse::<Ipv6Addr>().is_ok() => Ok(HostPattern::Exactly(lower)),
            _ => Err(format!("{raw:?} is no host name or address (without a port), nor * or *.example.org")),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::Exactly(name) => host.eq_ignore_ascii_case(name),
            HostPattern::Below(suffix) => {
                let Some(start) = host.len().checked_sub(suffix.len()) else { return false };
                start > 0 && host.as_bytes()[start..].eq_ignore_ascii_case(suffix.as_bytes())
            }
        }
    }
}

/// The names that `Host` may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(pub Vec<HostPattern>);

impl Hosts {
    /// Whether the host is allowed. `host` has no port. An IPv6 address may have brackets.
    pub fn matches(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        self.0.iter().any(|pattern| pattern.matches(bare))
    }

    /// An allowed host: `address` if it is allowed, otherwise the first name of the list. An IPv6 address has brackets.
    pub fn served(&self, address: &str) -> String {
        let named = |pattern: &HostPattern| match pattern {
            HostPattern::Any => address.to_owned(),
            HostPattern::Below(suffix) => format!("health{suffix}"),
            HostPattern::Exactly(name) => name.clone(),
        };
        let host = if self.matches(address) { None } else { self.0.first().map(named) };
        let host = host.unwrap_or_else(|| address.to_owned());
        if host.contains(':') { format!("[{host}]") } else { host }
    }
}

/// Whether the text is a DNS name or a local name: labels of letters, digits, hyphens and underscores, separated by dots.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.split('.').all(label)
}

/// The origins (RFC 6454 §6.2) whose pages may read responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// None.
    None,
    /// HTTP or HTTPS on any port of this machine.
    AnyLocalhostPort,
    /// These, as browsers write them.
    List(Vec<String>),
    /// All.
    Any,
}

impl Origins {
    /// Parses `*` or a list.
    ///
    /// # Errors
    /// Returns the allowed forms.
    pub fn parse(raw: &str) -> Result<Origins, String> {
        if raw == "*" {
            return Ok(Origins::Any);
        }
        let mut list = Vec::new();
        for item in super::parse::items(raw) {
            let origin = normal_origin(item).ok_or_else(|| {
                format!(
                    "{item:?} is no origin: allowed are scheme://host or scheme://host:port without a path, or * alone"
                )
            })?;
            if !list.contains(&origin) {
                list.push(origin);
            }
        }
        if list.is_empty() { Err("there is no origin between the commas".into()) } else { Ok(Origins::List(list)) }
    }

    /// Whether pages of this origin (the value of an `Origin` field) may read responses.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Origins::None => false,
            Origins::Any => true,
            Origins::List(list) => list.iter().any(|allowed| allowed == origin),
            Origins::AnyLocalhostPort => is_localhost(origin),
        }
    }
}

fn is_localhost(origin: &str) -> bool {
    let Some(rest) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else { return false };
    ["localhost", "127.0.0.1", "[::1]"].into_iter().any(|host| match rest.strip_prefix(host) {
        Some("") => true,
        Some(port) => port.strip_prefix(':').is_some_and(is_port),
        None => false,
    })
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && super::parse::whole(text).is_some_and(|port| (1..=65535).contains(&port))
}

/// An origin as browsers write it: in lower case and without the scheme's own port.
fn normal_origin(raw: &str) -> Option<String> {
    let lower = raw.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://")?;
    let scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(scheme_byte) {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, behind) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) };
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            is_name(host).then(|| (host.to_owned(), port))?
        }
    };
    let own_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => "",
    };
    match port {
        Some(port) if !is_port(port) => None,
        Some(port) if port != own_port => Some(format!("{scheme}://{host}:{port}")),
        _ => Some(format!("{scheme}://{host}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "a00::1", false),
            ("192.0.2.128/25", "192.0.2.128", true),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1/32", "127.0.0.2", false),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("::1", "::1", true),
            ("::1/128", "::2", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
        ];
        for (network, address, expected) in table {
            let contains = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(contains, expected, "{address} in {network}");
        }
        for bad in
            ["", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0/8", "::/129", "10.0.0.0/8/8"]
        {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
        assert!(Network::parse("10.0.0.1/8").is_err() && Network::parse("::1/64").is_err());
    }

    #[test]
    fn hosts_match_as_starlette_does_it() {
        let table = [
            ("*", "anything.at.all", true),
            ("example.org", "example.org", true),
            ("Example.org", "EXAMPLE.ORG", true),
            ("example.org", "www.example.org", false),
            ("example.org", "example.org.evil.net", false),
            ("example.org", "notexample.org", false),
            ("*.example.org", "www.example.org", true),
            ("*.example.org", "a.b.EXAMPLE.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "wwwexample.org", false),
            ("*.example.org", "www.example.org.evil.net", false),
            ("*.example.org", "ü", false),
            ("[::1]", "[::1]", true),
            ("::1", "[::1]", true),
            ("[::1]", "::1", true),
            ("[::1]", "[::2]", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("my_service", "my_service", true),
            ("localhost", "", false),
        ];
        for (pattern, host, expected) in table {
            let hosts = Hosts(vec![HostPattern::parse(pattern).unwrap()]);
            assert_eq!(hosts.matches(host), expected, "{host} under {pattern}");
        }
        assert!(!Hosts(Vec::new()).matches("localhost"));
        for bad in ["", ".", "a..b", "a.", "*.", "**", "*a", "a*", "*.*.org", "[a]", "[::1", "::1]", "a:80", "a/b", "ü"]
        {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_those_that_browsers_write() {
        let table = [
            ("https://example.org", Some("https://example.org")),
            ("HTTPS://EXAMPLE.org", Some("https://example.org")),
            ("https://example.org:443", Some("https://example.org")),
            ("http://example.org:80", Some("http://example.org")),
            ("http://example.org:443", Some("http://example.org:443")),
            ("http://127.0.0.1:8000", Some("http://127.0.0.1:8000")),
            ("http://[::1]:8000", Some("http://[::1]:8000")),
            ("http://[0:0::1]", Some("http://[::1]")),
            ("chrome-extension://abc", Some("chrome-extension://abc")),
            ("capacitor://localhost", Some("capacitor://localhost")),
            ("example.org", None),
            ("https://", None),
            ("https://example.org/", None),
            ("https://example.org/app", None),
            ("https://user@example.org", None),
            ("https://example.org:", None),
            ("https://example.org:0", None),
            ("https://example.org:65536", None),
            ("https://example.org:x", None),
            ("https://*.example.org", None),
            ("https://a b", None),
            ("://example.org", None),
            ("1http://example.org", None),
            ("http://[::1", None),
            ("http://[::1]8000", None),
        ];
        for (raw, expected) in table {
            assert_eq!(normal_origin(raw).as_deref(), expected, "{raw}");
        }
    }

    #[test]
    fn origins_that_may_call() {
        let local = ["http://localhost", "https://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:1"];
        let foreign = [
            "https://example.org",
            "http://localhost.example.org",
            "http://localhost:",
            "http://localhost:x",
            "http://localhost:123456",
            "http://localhost:80/x",
            "ftp://localhost",
            "http://127.0.0.11",
            "localhost",
            "null",
            "",
        ];
        assert!(local.iter().all(|origin| Origins::AnyLocalhostPort.allows(origin)));
        for origin in foreign {
            assert!(!Origins::AnyLocalhostPort.allows(origin), "{origin}");
        }
        assert!(foreign.iter().all(|origin| Origins::Any.allows(origin) && !Origins::None.allows(origin)));
        let list = Origins::parse("https://example.org,http://a:1").unwrap();
        assert!(list.allows("https://example.org") && list.allows("http://a:1"));
        assert!(!list.allows("http://example.org") && !list.allows("https://example.org:1") && !list.allows("null"));
    }
}

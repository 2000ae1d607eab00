//! Where an upstream is: `RESPONDER_URL` taken apart (RFC 3986 §3).

use std::fmt;

/// What the base address is followed by, unless it has it already.
const ENDPOINT: &str = "/chat/completions";

/// The address of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// A name or an IP address; IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The host as the `Host` field has it: IPv6 in brackets, the port unless it is the usual one.
    pub authority: String,
    /// The request target: a path, and a query if the base has one.
    pub target: String,
}

/// Why an address cannot be used. Does not repeat the address, which may have a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAddress(pub &'static str);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Address {
    /// Reads a base such as `http://127.0.0.1:8080/v1`, or the whole address of the endpoint.
    pub fn parse(url: &str) -> Result<Address, BadAddress> {
        let (tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(BadAddress("it must begin with http:// or https://")),
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadAddress("it must be ASCII without white space"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(BadAddress("it must have no user name and no password"));
        }
        let (host, port) = split_port(authority)?;
        let usual = if tls { 443 } else { 80 };
        let port = match port {
            None | Some("") => usual,
            Some(digits) => number(digits).ok_or(BadAddress("its port must be 1 to 65535"))?,
        };
        let shown_host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Ok(Address {
            tls,
            host: host.to_owned(),
            port,
            authority: if port == usual { shown_host } else { format!("{shown_host}:{port}") },
            target: target(path),
        })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), BadAddress> {
    let bad = BadAddress("it must name a host");
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(bad)?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_| BadAddress("what stands in brackets must be an IPv6 address"))?;
        return match after.strip_prefix(':') {
            None if after.is_empty() => Ok((host, None)),
            Some(port) => Ok((host, Some(port))),
            None => Err(bad),
        };
    }
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let good = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if good { Ok((host, port)) } else { Err(bad) }
}

fn number(digits: &str) -> Option<u16> {
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| all && *port > 0)
}

fn target(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let path = path.trim_end_matches('/');
    let end = if path.ends_with(ENDPOINT) { "" } else { ENDPOINT };
    format!("{path}{end}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart() {
        let table = [
            ("http://127.0.0.1:8080/v1", false, "127.0.0.1", 8080, "127.0.0.1:8080", "/v1/chat/completions"),
            ("http://127.0.0.1:8080/v1/", false, "127.0.0.1", 8080, "127.0.0.1:8080", "/v1/chat/completions"),
            ("http://a", false, "a", 80, "a", "/chat/completions"),
            ("HTTP://a:80", false, "a", 80, "a", "/chat/completions"),
            ("http://a:443/", false, "a", 443, "a:443", "/chat/completions"),
            ("https://api.example.org/v1", true, "api.example.org", 443, "api.example.org", "/v1/chat/completions"),
            ("https://a:8443/v1/chat/completions", true, "a", 8443, "a:8443", "/v1/chat/completions"),
            ("http://[::1]:8080/v1", false, "::1", 8080, "[::1]:8080", "/v1/chat/completions"),
            ("http://[fe80::1]", false, "fe80::1", 80, "[fe80::1]", "/chat/completions"),
            ("https://a/x?api-version=1#part", true, "a", 443, "a", "/x/chat/completions?api-version=1"),
            ("http://a?b", false, "a", 80, "a", "/chat/completions?b"),
        ];
        for (url, tls, host, port, authority, target) in table {
            let read = Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(
                (read.tls, &*read.host, read.port, &*read.authority, &*read.target),
                (tls, host, port, authority, target),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let table = [
            "",
            "a",
            "ftp://a",
            "http:/a",
            "http://",
            "http:///v1",
            "http://:80",
            "http://a:0",
            "http://a:65536",
            "http://a:x",
            "http://a:+1",
            "http://a b",
            "http://a\r\nX: y",
            "http://\u{e9}",
            "http://user:secret@a",
            "http://[::1",
            "http://[a]",
            "http://[::1]80",
            "http://a_b!c",
        ];
        for url in table {
            let error = Address::parse(url).expect_err(url);
            assert!(!error.to_string().contains("secret"));
        }
    }
}

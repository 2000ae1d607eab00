//! The address of an upstream: `RESPONDER_URL`, parsed (RFC 3986 §3).

/// Path of the endpoint, appended to a base address that does not end with it.
const ENDPOINT: &str = "/chat/completions";

/// The address of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamAddress {
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

impl UpstreamAddress {
    /// Parses a base such as `http://127.0.0.1:8080/v1`, or the whole address of the endpoint.
    ///
    /// # Errors
    ///
    /// The rule that is broken. It does not repeat the address, which may contain a password.
    pub fn parse(url: &str) -> Result<UpstreamAddress, &'static str> {
        let (tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err("it must begin with http:// or https://"),
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it must be ASCII without white space");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("it must have no user name and no password");
        }
        let (host, port) = split_port(authority)?;
        let usual = if tls { 443 } else { 80 };
        let port = match port {
            None | Some("") => usual,
            Some(digits) => number(digits).ok_or("its port must be 1 to 65535")?,
        };
        let shown_host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Ok(UpstreamAddress {
            tls,
            host: host.to_owned(),
            port,
            authority: if port == usual { shown_host } else { format!("{shown_host}:{port}") },
            target: target(path),
        })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    let bad = "it must name a host";
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(bad)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| "the host in brackets must be an IPv6 address")?;
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

/// Parts of the names of query parameters whose values are credentials, as Gemini's `key` and the `code` of Azure's functions are.
const SECRET_NAMES: [&str; 7] = ["key", "token", "secret", "password", "code", "sig", "auth"];

/// The values of the query parameters of a URL, or of a request target, that are named as credentials are.
pub(crate) fn secret_parameters(url: &str) -> impl Iterator<Item = &str> {
    let query = url.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
    query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let name = name.to_ascii_lowercase();
        (!value.is_empty() && SECRET_NAMES.iter().any(|part| name.contains(part))).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
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
            let read = UpstreamAddress::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(
                (read.tls, &*read.host, read.port, &*read.authority, &*read.target),
                (tls, host, port, authority, target),
                "{url}"
            );
        }
    }

    #[test]
    fn credentials_in_a_query_are_found_by_their_names() {
        let secrets = |url| secret_parameters(url).collect::<Vec<_>>();
        assert_eq!(secrets("https://a/v1?key=AIza1&api-version=2024-02-01&X-Api-Key=b#c=d"), ["AIza1", "b"]);
        assert_eq!(secrets("/v1/chat/completions?code=x%3D&sig=&token"), ["x%3D"]);
        assert!(secrets("https://a/v1").is_empty());
    }

    #[test]
    fn invalid_addresses_are_rejected() {
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
            let error = UpstreamAddress::parse(url).expect_err(url);
            assert!(!error.contains("secret"));
        }
    }
}

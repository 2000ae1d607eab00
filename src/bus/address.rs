//! The address of a Redis server: `REDIS_URL`.

use crate::bus::BusError;
use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo};
use std::time::Duration;

/// How long a server may take to accept a connection, and to reply.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The port of a Sentinel.
const SENTINEL_PORT: u16 = 26379;
const SENTINEL_SCHEMES: [(&str, &str); 2] = [("redis+sentinel://", "redis://"), ("rediss+sentinel://", "rediss://")];

/// Where the Redis server is. It has credentials, and is not shown.
#[derive(Clone)]
pub(crate) enum BusAddress {
    /// At this address.
    Server(Box<ConnectionInfo>),
    /// Where Sentinels say that it is.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<ConnectionInfo>,
        /// The name by which they know the server.
        service: String,
        /// The address of the server, in which `PLACEHOLDER` stands for host and port.
        server: String,
    },
}

/// Host and port of a server that is not known yet.
const PLACEHOLDER: &str = "sentinel.invalid:1";

impl BusAddress {
    /// Parses a setting, whose scheme was checked: `redis://[[user]:password@]host[:port][/database]`, also with the schemes `rediss` (TLS), `redis+sentinel` and
    /// `rediss+sentinel`. The last two have the hosts of Sentinels, separated by commas, and the name of the server before the database.
    ///
    /// # Errors
    /// Fails with the reason, which does not contain the address.
    pub(crate) fn parse(url: &str) -> Result<BusAddress, String> {
        for (scheme, server_scheme) in SENTINEL_SCHEMES {
            if let Some(rest) = url.strip_prefix(scheme) {
                return parse_sentinel(rest, server_scheme);
            }
        }
        Ok(BusAddress::Server(Box::new(info(url)?)))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Fails if no server accepts it in time.
    pub(super) fn connect(&self) -> Result<Connection, BusError> {
        let (sentinels, service, server) = match self {
            BusAddress::Server(info) => return connect(ConnectionInfo::clone(info)),
            BusAddress::Sentinel { sentinels, service, server } => (sentinels, service, server),
        };
        let mut failed = BusError("there is no Sentinel".into());
        for sentinel in sentinels {
            let found = connect(sentinel.clone()).and_then(|mut connection| {
                let mut command = redis::cmd("SENTINEL");
                let found: Option<(String, u16)> =
                    command.arg("GET-MASTER-ADDR-BY-NAME").arg(service).query(&mut connection)?;
                found.ok_or_else(|| BusError(format!("the Sentinel does not know {service:?}")))
            });
            match found {
                Ok((host, port)) => {
                    let host = if host.contains(':') { format!("[{host}]") } else { host };
                    return connect(info(&server.replace(PLACEHOLDER, &format!("{host}:{port}"))).map_err(BusError)?);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn parse_sentinel(rest: &str, scheme: &str) -> Result<BusAddress, String> {
    let (authority, path) = rest.split_once('/').ok_or("the name of the server is missing: …://host,host/name")?;
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), authority),
    };
    let (service, database) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err("the name of the server is missing: …://host,host/name".into());
    }
    let sentinel = |host: &str| {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        info(&if has_port { format!("{scheme}{host}") } else { format!("{scheme}{host}:{SENTINEL_PORT}") })
    };
    let server = format!("{scheme}{credentials}{PLACEHOLDER}/{database}");
    info(&server)?;
    Ok(BusAddress::Sentinel {
        sentinels: hosts.split(',').map(sentinel).collect::<Result<_, _>>()?,
        service: service.to_owned(),
        server,
    })
}

fn info(url: &str) -> Result<ConnectionInfo, String> {
    // The error of the library may have parts of the address.
    url.into_connection_info().map_err(|_| "it is not the address of a Redis server".into())
}

fn connect(info: ConnectionInfo) -> Result<Connection, BusError> {
    let connection = Client::open(info)?.get_connection_with_timeout(TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers_and_sentinels_are_parsed() {
        for url in [
            "redis://localhost",
            "redis://:secret@10.0.0.1:6380/2",
            "rediss://user:secret@redis.example",
            "redis+sentinel://a,b:26380/main",
            "rediss+sentinel://user:s%40cret@a,[::1]:7/main/3",
        ] {
            assert!(BusAddress::parse(url).is_ok(), "{url}");
        }
        let BusAddress::Sentinel { sentinels, service, server } =
            BusAddress::parse("redis+sentinel://u:p@a,b:7/main/3").unwrap()
        else {
            panic!("it names Sentinels")
        };
        let addresses: Vec<String> = sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect();
        assert_eq!((&addresses[..], &*service), (&["a:26379".to_owned(), "b:7".to_owned()][..], "main"));
        assert_eq!(server, format!("redis://u:p@{PLACEHOLDER}/3"));
    }

    #[test]
    fn the_reason_of_a_bad_address_has_no_part_of_it() {
        for url in [
            "",
            "secret",
            "http://secret@host",
            "redis://user:secret@host:port",
            "redis://host/secret",
            "redis+sentinel://secret",
            "redis+sentinel://secret/",
            "redis+sentinel://a:secret:b/main",
        ] {
            let Err(reason) = BusAddress::parse(url) else { panic!("{url} is accepted") };
            assert!(!reason.contains("secret"), "{url}: {reason}");
        }
    }
}

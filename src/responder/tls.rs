//! Encrypted connections, behind the cargo feature `tls`: rustls, and the certificates that the system trusts.

use crate::config::upstream_address::UpstreamAddress;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

/// The certificates that systems trust: Debian, Alpine and Arch; Fedora; openSUSE; others.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// An encrypted connection.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The trusted certificates and the expected host.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Reads the trusted certificates: `ca_file`, or else the system's. The error begins with the variable's name.
    pub(crate) fn new(address: &UpstreamAddress, ca_file: Option<&Path>) -> Result<Tls, String> {
        let bad = |what: String| format!("RESPONDER_CA_FILE {what}");
        let file = ca_file
            .or_else(|| SYSTEM_CA_FILES.iter().map(Path::new).find(|file| file.exists()))
            .ok_or_else(|| bad("is unset, and the system has no list of trusted certificates".into()))?;
        let unreadable = |error| bad(format!("cannot be read ({}): {error}", file.display()));
        let certificates = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            // Old roots in a system's list may be of a form that is no longer known; they are as good as absent.
            roots.add_parsable_certificates([certificate.map_err(unreadable)?]);
        }
        if roots.is_empty() {
            return Err(bad(format!("({}) has no certificate", file.display())));
        }
        let name = ServerName::try_from(address.host.clone())
            .map_err(|_| "RESPONDER_URL is unusable: its host is no name and no IP address".to_owned())?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config), name })
    }

    /// An encrypted connection over a plain one, before its handshake.
    pub(crate) fn stream(&self, socket: TcpStream) -> io::Result<TlsStream> {
        let connection = ClientConnection::new(self.config.clone(), self.name.clone()).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, socket))
    }
}

//! Encrypted connections, behind the cargo feature `tls`: rustls, and the certificates that the system trusts.

use crate::base::certificates::client_config;
use crate::config::upstream_address::UpstreamAddress;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// The trusted certificates and the expected host.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Reads the trusted certificates: `ca_file`, or else the system's. The error begins with the variable's name.
    pub(crate) fn new(address: &UpstreamAddress, ca_file: Option<&Path>) -> Result<Tls, String> {
        let name = ServerName::try_from(address.host.clone())
            .map_err(|_| "RESPONDER_URL is unusable: its host is no name and no IP address".to_owned())?;
        let mut config = client_config(ca_file).map_err(|fault| format!("RESPONDER_CA_FILE {fault}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config), name })
    }

    /// A session before its handshake.
    pub(crate) fn session(&self) -> Result<TlsSession, String> {
        let mut connection =
            ClientConnection::new(self.config.clone(), self.name.clone()).map_err(|error| error.to_string())?;
        // A request that is written before the end of the handshake is kept whole.
        connection.set_buffer_limit(None);
        Ok(TlsSession(connection))
    }
}

/// One encrypted connection, without its socket.
#[derive(Debug)]
pub(crate) struct TlsSession(ClientConnection);

impl TlsSession {
    /// Whether the handshake is not finished.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Encrypts `plain` as soon as the handshake is finished, and appends what the peer is to get now to `outgoing`.
    pub(crate) fn send(&mut self, plain: &[u8], outgoing: &mut Vec<u8>) -> Result<(), String> {
        self.0.writer().write_all(plain).map_err(text)?;
        self.flush(outgoing)
    }

    /// Takes bytes from the peer. Appends what they contain to `plain`, and what the peer is to get to `outgoing`.
    pub(crate) fn receive(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.0.read_tls(&mut bytes).map_err(text)? == 0 {
                // The peer has closed its side of the session.
                break;
            }
            let processed = self.0.process_new_packets();
            // After a failure, the alert tells the peer of it.
            self.flush(outgoing)?;
            let available = processed.map_err(|error| error.to_string())?.plaintext_bytes_to_read();
            let begin = plain.len();
            plain.resize(begin + available, 0);
            self.0.reader().read_exact(&mut plain[begin..]).map_err(text)?;
        }
        Ok(())
    }

    fn flush(&mut self, outgoing: &mut Vec<u8>) -> Result<(), String> {
        while self.0.wants_write() {
            self.0.write_tls(outgoing).map_err(text)?;
        }
        Ok(())
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}

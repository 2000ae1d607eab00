//! The certificates that encrypted connections trust.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The certificates that systems trust: Debian, Alpine and Arch; Fedora; openSUSE; others.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The settings of a client that trusts the certificates in `ca_file`, or else the system's.
///
/// # Errors
/// Fails if no certificate can be read. The message is a predicate about the setting that names the file.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let file = ca_file
        .or_else(|| SYSTEM_CA_FILES.iter().map(Path::new).find(|file| file.exists()))
        .ok_or("is unset, and the system has no list of trusted certificates")?;
    let unreadable = |error| format!("cannot be read ({}): {error}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        // Old roots in a system's list may be of a form that is no longer known; they are as good as absent.
        roots.add_parsable_certificates([certificate.map_err(unreadable)?]);
    }
    if roots.is_empty() {
        return Err(format!("({}) has no certificate", file.display()));
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_root_certificates(roots)
        .with_no_client_auth())
}

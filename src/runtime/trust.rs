//! Whom a client of HTTPS trusts: the machine's authorities, or those of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Why there is nobody to trust. Each needs a person.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("ca_file {0} is of no use")]
    File(PathBuf, #[source] pem::Error),
    /// The file holds no certificate.
    #[error("ca_file {0} is of no use: it holds no certificate in PEM")]
    Empty(PathBuf),
    /// The library has no protocol in common with itself.
    #[error("prepare TLS")]
    Protocol(#[source] rustls::Error),
}

/// The client's side of TLS.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Protocol)?;
    Ok(builder.with_root_certificates(roots(ca_file)?).with_no_client_auth())
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unreadable = |error| TrustError::File(path.to_owned(), error);
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    if roots.add_parsable_certificates(found).0 == 0 {
        return Err(TrustError::Empty(path.to_owned()));
    }
    Ok(roots)
}

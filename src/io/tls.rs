//! Whom does the device trust, and what does it show, when a broker or a web server speaks TLS?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// Why a TLS connection cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {what} from {file}: {source}", file = .file.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file has nothing of the kind that is wanted.
    #[error("{file} holds no {what} in PEM form (-----BEGIN ...-----)", file = .file.display())]
    Empty {
        /// What should be in it.
        what: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// An authority's certificate is of no use.
    #[error("a certificate authority in {file} cannot be used: {source}", file = .file.display())]
    BadAuthority {
        /// The file.
        file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Our certificate and its key do not go together, or are of no use.
    #[error(
        "the client certificate in {certificate} and the key in {key} cannot be used: {source}",
        certificate = .certificate.display(),
        key = .key.display()
    )]
    BadClient {
        /// Our certificate chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The system trusts nobody.
    #[error("no certificate authorities on this system ({found}); install ca-certificates or set ca_file")]
    NoSystemRoots {
        /// What was found in their place.
        found: String,
    },
    /// The protocol cannot be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// Builds the TLS client from the files as they are now, so that renewed certificates count at the
/// next connection. Reads files: not for the async loop.
///
/// # Errors
///
/// A file that cannot be read or used, or a system without authorities.
pub fn client(tls: &Tls) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &tls.ca_file {
        Some(file) => roots_in(file)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates_in("a client certificate", certificate)?, key_in(key)?)
            .map_err(|source| TlsError::BadClient {
                certificate: certificate.clone(),
                key: key.clone(),
                source,
            })?,
    };
    Ok(Arc::new(config))
}

fn roots_in(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates_in("a certificate authority", file)? {
        roots.add(authority).map_err(|source| TlsError::BadAuthority { file: file.to_owned(), source })?;
    }
    Ok(roots)
}

/// The system's authorities. Single ones that cannot be parsed are common and passed over.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let found = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TlsError::NoSystemRoots { found });
    }
    Ok(roots)
}

fn certificates_in(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { what, file: file.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { what, file: file.to_owned() });
    }
    Ok(certificates)
}

fn key_in(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::Empty { what: "private key", file: file.to_owned() },
        source => TlsError::Unreadable { what: "a private key", file: file.to_owned(), source },
    })
}

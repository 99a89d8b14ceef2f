//! Why is there no response from a web server, in words that say what to do?

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::CertificateError;

use crate::io::tls::TlsError;

/// Why there is no response. `at` is the server as `host:port`.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// Neither `http` nor `https`, or no host.
    #[error("the URL is not http:// or https:// with a host")]
    BadUrl,
    /// The token cannot stand in a header.
    #[error("the token has a character that no HTTP header may carry; write it into its file on one line")]
    BadToken,
    /// The request cannot be written down.
    #[error("the request cannot be written as HTTP")]
    BadRequest,
    /// The program is stopping.
    #[error("the program is stopping")]
    Stopping,
    /// Certificates cannot be read.
    #[error(transparent)]
    Tls(TlsError),
    /// The name has no address.
    #[error(
        "the name {host} has no address ({source}); is it right, and does this board have a name server?"
    )]
    NoSuchHost {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No TCP connection.
    #[error("{at} cannot be reached: {source}")]
    Unreachable {
        /// The server.
        at: String,
        /// The last of its addresses' faults.
        source: io::Error,
    },
    /// No TLS.
    #[error("{}", handshake(.at, .ca_file.as_deref(), .source))]
    Handshake {
        /// The server.
        at: String,
        /// The authorities that are trusted, when not the system's.
        ca_file: Option<PathBuf>,
        /// What went wrong.
        source: io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange with {at} broke off: {source}; is it a web server?")]
    Broken {
        /// The server.
        at: String,
        /// What went wrong.
        source: hyper::Error,
    },
    /// The time is over.
    #[error("{at} has not answered for {after:?}")]
    Timeout {
        /// The server that was asked first.
        at: String,
        /// The limit.
        after: Duration,
    },
    /// The response is larger than it may be.
    #[error("{at} answers with more than {most} bytes")]
    TooLarge {
        /// The server.
        at: String,
        /// The limit.
        most: usize,
    },
    /// The server sends us elsewhere, and does not say where, or to where it is less safe.
    #[error("{at} sends us elsewhere without a usable Location (https must stay https)")]
    BadRedirect {
        /// The server.
        at: String,
    },
    /// The servers send us around.
    #[error("the servers send us from one to another; the last was {at}")]
    Redirects {
        /// The last server.
        at: String,
    },
}

fn handshake(at: &str, ca_file: Option<&Path>, source: &io::Error) -> String {
    let error = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let authorities = match ca_file {
        Some(file) => format!("the authorities in {}", file.display()),
        None => "the system's authorities".to_owned(),
    };
    match error {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the certificate of {at} was not issued by {authorities}; \
                 set ca_file to the certificate of the authority that issued it"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate of {at} is for another name ({certificate})")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate of {at} has expired; renew it, and check this board's clock")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the certificate of {at} is not valid yet; check this board's clock")
            }
            other => format!("the certificate of {at} cannot be trusted: {other}"),
        },
        Some(rustls::Error::InvalidMessage(_)) => format!("{at} does not speak TLS; is http:// meant?"),
        _ => format!("no TLS with {at}: {source}"),
    }
}

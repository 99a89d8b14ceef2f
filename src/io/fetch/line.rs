//! How is a web server reached: its addresses, TCP, TLS?

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::fault::FetchFault;
use crate::config::Tls;
use crate::io::tls;

/// How long one address is tried while there are others: a board often has IPv6 addresses that lead
/// nowhere.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection to the server.
pub(super) enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// `host:port`, for people.
pub(super) fn at(url: &Url) -> String {
    let host = url.host_str().unwrap_or("no host");
    format!("{host}:{}", url.port_or_known_default().unwrap_or(0))
}

/// Connects, and shakes hands where the scheme is `https`. The system's authorities, or those in the
/// file, are read anew each time.
pub(super) async fn connect(url: &Url, trust: &Tls) -> Result<TokioIo<Line>, FetchFault> {
    let is_tls = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(FetchFault::BadUrl),
    };
    let stream = reach(url).await?;
    // The head and the body of a request are small and belong together.
    let _ = stream.set_nodelay(true);
    if !is_tls {
        return Ok(TokioIo::new(Line::Plain(stream)));
    }
    let name = match url.host().ok_or(FetchFault::BadUrl)? {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| FetchFault::BadUrl)?,
        Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(address)),
        Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(address)),
    };
    let settings = trust.clone();
    let client = tokio::task::spawn_blocking(move || tls::client(&settings)).await;
    let client = client.map_err(|_| FetchFault::Stopping)?.map_err(FetchFault::Tls)?;
    let stream = TlsConnector::from(client).connect(name, stream).await;
    let stream = stream.map_err(|source| FetchFault::Handshake {
        at: at(url),
        ca_file: trust.ca_file.clone(),
        source,
    })?;
    Ok(TokioIo::new(Line::Tls(Box::new(stream))))
}

async fn reach(url: &Url) -> Result<TcpStream, FetchFault> {
    let unreachable = |source| FetchFault::Unreachable { at: at(url), source };
    let addresses = addresses(url).await?;
    let mut cause = io::Error::from(io::ErrorKind::NotFound);
    for (index, address) in addresses.iter().enumerate() {
        let tried = TcpStream::connect(address);
        let tried = match index + 1 < addresses.len() {
            true => tokio::time::timeout(PATIENCE, tried)
                .await
                .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))),
            false => tried.await,
        };
        match tried {
            Ok(stream) => return Ok(stream),
            Err(error) => cause = error,
        }
    }
    Err(unreachable(cause))
}

async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, FetchFault> {
    let port = url.port_or_known_default().ok_or(FetchFault::BadUrl)?;
    match url.host().ok_or(FetchFault::BadUrl)? {
        Host::Ipv4(address) => Ok(vec![SocketAddr::from((address, port))]),
        Host::Ipv6(address) => Ok(vec![SocketAddr::from((address, port))]),
        Host::Domain(name) => match tokio::net::lookup_host((name, port)).await {
            Ok(found) => Ok(found.collect()),
            Err(source) => Err(FetchFault::NoSuchHost { host: name.to_owned(), source }),
        },
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Line::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Line::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Line::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(stream) => Pin::new(stream).poll_flush(context),
            Line::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Line::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

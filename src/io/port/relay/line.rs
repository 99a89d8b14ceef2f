//! How is a connection to a TURN server opened: TCP, and TLS over it?

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::detours::Detour;
use crate::config::Tls;
use crate::io::tls;

/// For TCP and TLS together; a Pi Zero takes seconds for a TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is acknowledged by nobody for so long has lost its way, milliseconds.
const SILENT_MS: u32 = 10_000;
/// The kernel's part of what waits to be sent: at 2 Mbit/s a quarter of a second. Left to itself it would
/// hold megabytes, and the viewer would see the past.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How TURN servers' certificates are checked. The authorities are read once, and sessions are resumed.
#[derive(Debug, Default)]
pub struct Trust {
    settings: Tls,
    client: OnceCell<Arc<ClientConfig>>,
}

impl Trust {
    /// By these authorities, or by the system's.
    pub fn new(settings: Tls) -> Trust {
        Trust { settings, client: OnceCell::new() }
    }

    async fn client(&self) -> io::Result<Arc<ClientConfig>> {
        let read = || async {
            let settings = self.settings.clone();
            let read = tokio::task::spawn_blocking(move || tls::client(&settings)).await;
            read.map_err(io::Error::other)?.map_err(io::Error::other)
        };
        self.client.get_or_try_init(read).await.cloned()
    }
}

/// A connection to a server.
pub(super) enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Line {
    /// Connects from a local address, and shakes hands where the detour says so.
    pub(super) async fn open(detour: &Detour, local: IpAddr, trust: &Trust) -> io::Result<Line> {
        match tokio::time::timeout(CONNECT_TIMEOUT, Line::try_open(detour, local, trust)).await {
            Ok(line) => line,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn try_open(detour: &Detour, local: IpAddr, trust: &Trust) -> io::Result<Line> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for &address in &detour.addresses {
            let stream = match connect(address, local).await {
                Ok(stream) => stream,
                Err(cause) => {
                    last = cause;
                    continue;
                }
            };
            if !detour.is_tls {
                return Ok(Line::Plain(stream));
            }
            let name = ServerName::try_from(detour.host.clone()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(trust.client().await?);
            return Ok(Line::Tls(Box::new(connector.connect(name, stream).await?)));
        }
        Err(last)
    }
}

async fn connect(address: SocketAddr, local: IpAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // From where the candidate says that it comes: another interface may be excluded.
    socket.bind(SocketAddr::new(local, 0))?;
    sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
    sockopt::set_tcp_user_timeout(&socket, SILENT_MS)?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Line::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Line::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Line::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Line::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Line::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Line::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

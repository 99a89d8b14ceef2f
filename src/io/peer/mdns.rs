//! The library's socket for mDNS (RFC 6762 §5): one datagram at a time.
//!
//! The runtime's own takes runs of datagrams, for which the library keeps two buffers of 96 kB for each peer
//! connection. Here next to nothing comes in.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// A socket on port 5353.
#[derive(Debug)]
pub struct MdnsSocket(tokio::net::UdpSocket);

impl MdnsSocket {
    /// Around what the library has bound.
    ///
    /// # Errors
    ///
    /// It cannot be polled.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<MdnsSocket> {
        socket.set_nonblocking(true)?;
        Ok(MdnsSocket(tokio::net::UdpSocket::from_std(socket)?))
    }
}

impl AsyncUdpSocket for MdnsSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(cx, transmit.contents, transmit.destination)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        let mut read = ReadBuf::new(buf);
        let from = ready!(self.0.poll_recv_from(cx, &mut read))?;
        let length = read.filled().len();
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, length, length.max(1));
        Poll::Ready(Ok(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn datagrams_come_and_go_one_by_one() {
        let bind = || std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let (here, there) = (MdnsSocket::new(bind()).expect("here"), MdnsSocket::new(bind()).expect("there"));
        let destination = there.local_addr().expect("it is bound");
        for contents in [&b"who is a.local?"[..], b"", b"me"] {
            let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
            poll_fn(|cx| here.poll_send(cx, &transmit)).await.expect("loopback takes it");
        }
        assert_eq!(there.max_gro_segments(), 1);
        for expected in [&b"who is a.local?"[..], b"", b"me"] {
            let (mut buf, mut meta) = ([0; 64], [RecvMeta::default()]);
            let count = poll_fn(|cx| there.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut meta)).await;
            assert_eq!(count.expect("a datagram"), 1);
            assert_eq!(
                (&buf[..meta[0].len], meta[0].addr),
                (expected, here.local_addr().expect("it is bound"))
            );
        }
    }
}

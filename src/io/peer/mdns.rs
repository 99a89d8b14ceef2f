//! The library's socket for mDNS (RFC 6762 §5): one datagram at a time, and only what may answer our questions.
//!
//! Whoever is in the local network can send to it, past the demultiplexer of the port and the gate of a viewer; and
//! the library takes what comes in here for what comes in anywhere. So nothing passes but responses.
//!
//! The runtime's own takes runs of datagrams, for which the library keeps two buffers of 96 kB for each peer
//! connection. Here next to nothing comes in.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// From where responses come, and nothing else (RFC 6762 §6).
const PORT: u16 = 5353;
/// A header (RFC 1035 §4.1.1), and the longest message (RFC 6762 §17).
const LENGTHS: std::ops::RangeInclusive<usize> = 12..=9000;

/// Whether a datagram answers questions: its id is zero, it is a response of the standard kind (RFC 6762 §18), and
/// there is an answer in it.
fn is_response(from: SocketAddr, bytes: &[u8]) -> bool {
    let Some(&[id_high, id_low, flags, _, _, _, answers_high, answers_low]) = bytes.first_chunk() else {
        return false;
    };
    const RESPONSE: u8 = 0x80;
    const OPCODE: u8 = 0x78;
    from.port() == PORT
        && LENGTHS.contains(&bytes.len())
        && (id_high, id_low) == (0, 0)
        && flags & (RESPONSE | OPCODE) == RESPONSE
        && (answers_high, answers_low) != (0, 0)
}

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
        loop {
            let mut read = ReadBuf::new(buf);
            let from = ready!(self.0.poll_recv_from(cx, &mut read))?;
            let length = read.filled().len();
            if !is_response(from, read.filled()) {
                log::trace!(from:%, length; "this answers no question");
                continue;
            }
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (from, length, length.max(1));
            return Poll::Ready(Ok(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
    use std::future::poll_fn;
    use std::net::Ipv4Addr;

    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

    /// Beside others on the same port. Bound to an address, it sends by that one's interface.
    fn on(address: Ipv4Addr, port: u16) -> std::net::UdpSocket {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("the option");
        bind(&socket, &SocketAddr::from((address, port))).expect("it is free for all");
        socket.into()
    }

    /// What somebody has to say.
    const RESPONSE: &[u8] = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x07farolet\x05local\0";

    #[tokio::test]
    async fn only_responses_reach_the_library_whatever_is_sent_to_everybody() {
        let here = on(Ipv4Addr::UNSPECIFIED, PORT);
        here.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST).expect("loopback takes multicast");
        let here = MdnsSocket::new(here).expect("a socket");
        let (there, elsewhere) = (on(Ipv4Addr::LOCALHOST, PORT), on(Ipv4Addr::LOCALHOST, 0));
        let client_hello = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 120, 1, 0, 0, 108];
        let rtp = [0x80, 96, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3];
        let stun = *b"\0\x01\0\0\x21\x12\xa4\x42twelve bytes";
        let (mut question, mut other_id) = (RESPONSE.to_vec(), RESPONSE.to_vec());
        (question[2], other_id[1]) = (0, 1);
        let mut none = RESPONSE.to_vec();
        none[7] = 0;
        let strange: [&[u8]; 8] =
            [&client_hello, &rtp, &stun, &question, &other_id, &none, &RESPONSE[..11], b""];
        for strange in strange {
            there.send_to(strange, (GROUP, PORT)).expect("loopback takes it");
        }
        elsewhere.send_to(RESPONSE, (GROUP, PORT)).expect("loopback takes it");
        let last = [RESPONSE, b"!"].concat();
        there.send_to(&last, (GROUP, PORT)).expect("loopback takes it");
        let (mut buf, mut meta) = ([0; 64], [RecvMeta::default()]);
        let count = poll_fn(|cx| here.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut meta)).await;
        assert_eq!((count.expect("a datagram"), here.max_gro_segments()), (1, 1));
        assert_eq!((&buf[..meta[0].len], meta[0].addr.port()), (&last[..], PORT));
    }

    #[tokio::test]
    async fn questions_are_sent() {
        let here = MdnsSocket::new(on(Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let there = on(Ipv4Addr::LOCALHOST, 0);
        let (destination, contents) = (there.local_addr().expect("it is bound"), &b"who is a.local?"[..]);
        let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
        poll_fn(|cx| here.poll_send(cx, &transmit)).await.expect("loopback takes it");
        let mut buf = [0; 64];
        let (length, from) = there.recv_from(&mut buf).expect("a question");
        assert_eq!((&buf[..length], from), (contents, here.local_addr().expect("it is bound")));
    }
}

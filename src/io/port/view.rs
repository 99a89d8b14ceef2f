//! What the WebRTC library takes for a socket of its own: one board address of one peer connection at the port.
//!
//! Media does not come this way (`io/fanout`); where it is to go is read from what does. What is said to a TURN
//! server goes by a private [`Relay`].

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::demux::Way;
use super::relay::Relay;
use super::route::Routes;
use super::socket::Socket;
use super::stun::{self, Kind};
use super::{Port, lock};

/// Datagrams that wait for the library, which reads them at once unless it is gone or stuck. When it is
/// full, the newest is dropped, as a socket's buffer does.
const MAX_WAITING: usize = 512;
/// See the module's text.
pub struct View {
    port: Arc<Port>,
    socket: Arc<Socket>,
    way: Way,
    /// What the library believes its address to be; it is rewritten wherever somebody else reads it.
    believed: SocketAddr,
    /// For TURN.
    private: Arc<Relay>,
    routes: Arc<Routes>,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl View {
    pub(super) fn new(
        port: Arc<Port>,
        socket: Arc<Socket>,
        way: Way,
        believed: SocketAddr,
        private: Arc<Relay>,
        routes: Arc<Routes>,
    ) -> View {
        View { port, socket, way, believed, private, routes, inbox: Mutex::default() }
    }

    /// What the library believes its address to be.
    pub fn believed(&self) -> SocketAddr {
        self.believed
    }

    /// Hands the library a datagram.
    pub(super) fn deliver(&self, from: SocketAddr, bytes: &[u8]) {
        if self.routes.is_diverted(self.way.local, bytes) {
            return;
        }
        self.routes.hear(bytes);
        let waker = {
            let mut inbox = lock(&self.inbox);
            if inbox.waiting.len() >= MAX_WAITING {
                return log::trace!("a datagram is dropped: the library does not read");
            }
            inbox.waiting.push_back((from, bytes.to_vec()));
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} of {:?})", self.way.local, self.way.owner)
    }
}

impl AsyncUdpSocket for View {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.believed)
    }

    fn max_gso_segments(&self) -> usize {
        self.socket.max_segments()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let (to, bytes) = (transmit.destination, transmit.contents);
        self.routes.note(bytes, (self.way.local, to), (&self.socket, &self.private));
        match stun::kind(bytes) {
            Kind::Turn => return self.private.poll_send(cx, transmit),
            Kind::Request | Kind::Success => self.port.sent(self.way, to, bytes),
            _ => {}
        }
        // By the address that the viewer knows, whatever the routing would choose.
        let src_ip = Some(self.way.local);
        match self.socket.try_send(&Transmit { src_ip, ..transmit.clone() }) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.socket.wait_for_room(cx);
                Poll::Pending
            }
            sent => Poll::Ready(sent.map(|()| bytes.len())),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        {
            let mut inbox = lock(&self.inbox);
            let mut given = 0;
            for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
                let Some((from, bytes)) = inbox.waiting.pop_front() else { break };
                let length = bytes.len().min(buf.len());
                buf[..length].copy_from_slice(&bytes[..length]);
                *meta = RecvMeta::default();
                (meta.addr, meta.len, meta.stride) = (from, length, length.max(1));
                given += 1;
            }
            if given > 0 {
                return Poll::Ready(Ok(given));
            }
            inbox.waker = Some(cx.waker().clone());
        }
        self.private.poll_recv(cx, bufs, meta)
    }
}

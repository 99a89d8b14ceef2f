//! What the WebRTC library takes for a socket of its own: one board address of one peer connection at the port.
//!
//! Packets of a picture are gathered and leave in one system call (UDP GSO, Linux 4.18), at the latest when
//! the library's task rests. What is said to a TURN server goes by a private [`Relay`].

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::demux::Way;
use super::relay::Relay;
use super::socket::Socket;
use super::stun::{self, Kind};
use super::{Port, lock};

/// Datagrams that wait for the library, which reads them at once unless it is gone or stuck. When it is
/// full, the newest is dropped, as a socket's buffer does.
const MAX_WAITING: usize = 512;
/// The longest run: the largest IP packet less headers, with room to spare.
const MAX_RUN_BYTES: usize = 60_000;

/// See the module's text.
pub struct View {
    port: Arc<Port>,
    socket: Arc<Socket>,
    way: Way,
    /// What the library believes its address to be; it is rewritten wherever somebody else reads it.
    believed: SocketAddr,
    /// For TURN.
    private: Arc<Relay>,
    inbox: Mutex<Inbox>,
    run: Mutex<Run>,
}

#[derive(Default)]
struct Inbox {
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

/// Packets to one address, of one length but for the last.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
    to: Option<SocketAddr>,
}

impl View {
    pub(super) fn new(
        port: Arc<Port>,
        socket: Arc<Socket>,
        way: Way,
        believed: SocketAddr,
        private: Arc<Relay>,
    ) -> View {
        View { port, socket, way, believed, private, inbox: Mutex::default(), run: Mutex::default() }
    }

    /// What the library believes its address to be.
    pub fn believed(&self) -> SocketAddr {
        self.believed
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Hands the library a datagram.
    pub(super) fn deliver(&self, from: SocketAddr, bytes: &[u8]) {
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

    /// Sends what was gathered. `false`: there is no room for it now.
    pub(super) fn flush(&self) -> bool {
        self.flush_run(&mut lock(&self.run))
    }

    fn flush_run(&self, run: &mut Run) -> bool {
        let Some(destination) = run.to else { return true };
        let segment_size = (run.count > 1).then_some(run.segment);
        let sent = self.try_send(&Transmit {
            destination,
            ecn: None,
            contents: &run.bytes,
            segment_size,
            src_ip: None,
        });
        match sent {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return false,
            // An interface may refuse runs although the kernel takes them.
            Err(_) if run.count > 1 => {
                for contents in run.bytes.chunks(run.segment) {
                    let one = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
                    // As on the network itself, what cannot be sent is lost.
                    let _ = self.try_send(&one);
                }
            }
            Err(cause) => log::trace!(cause:%; "a packet could not be sent"),
            Ok(()) => {}
        }
        run.bytes.clear();
        (run.count, run.to) = (0, None);
        true
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // By the address that the viewer knows, whatever the routing would choose.
        let src_ip = Some(self.way.local);
        self.socket.try_send(&Transmit { src_ip, ..transmit.clone() })
    }

    /// Adds a packet to the run. `None`: there is no room to send what was gathered before it.
    fn gather(self: &View, to: SocketAddr, packet: &[u8], is_last: bool) -> Option<()> {
        let mut run = lock(&self.run);
        let fits = run.to.is_none()
            || run.to == Some(to)
                && packet.len() <= run.segment
                && run.bytes.len() + packet.len() <= MAX_RUN_BYTES
                && run.count < self.socket.max_segments();
        if !fits && !self.flush_run(&mut run) {
            return None;
        }
        if run.to.is_none() {
            (run.segment, run.to) = (packet.len(), Some(to));
            self.port.flush_later(self.way);
        }
        run.bytes.extend_from_slice(packet);
        run.count += 1;
        // Only the last of a run may be shorter. Should there be no room, `flush_later` sees to it.
        if is_last || packet.len() < run.segment {
            self.flush_run(&mut run);
        }
        Some(())
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
        match stun::kind(bytes) {
            Kind::Turn => return self.private.poll_send(cx, transmit),
            Kind::Rtp { is_last } if transmit.segment_size.is_none() && self.socket.max_segments() > 1 => {
                if self.gather(to, bytes, is_last).is_some() {
                    return Poll::Ready(Ok(bytes.len()));
                }
            }
            kind => {
                if matches!(kind, Kind::Request | Kind::Success) {
                    self.port.sent(self.way, to, bytes);
                }
                // What was gathered goes first: the order is kept.
                let is_sent = if self.flush() {
                    self.try_send(transmit)
                } else {
                    Err(io::ErrorKind::WouldBlock.into())
                };
                match is_sent {
                    Ok(()) => return Poll::Ready(Ok(bytes.len())),
                    Err(cause) if cause.kind() != io::ErrorKind::WouldBlock => {
                        return Poll::Ready(Err(cause));
                    }
                    Err(_) => {}
                }
            }
        }
        self.socket.wait_for_room(cx);
        Poll::Pending
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

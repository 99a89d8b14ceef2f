//! How is what the WebRTC library says to TURN servers carried to them?
//!
//! By a socket of its own for each local address of each peer connection, since an allocation belongs to the
//! addresses at both of its ends (RFC 8656 §2.2), and a second one from the port that all share would be
//! refused. What goes to an address of [`Detours`] leaves by a TCP or TLS connection instead, one for each.
//!
//! | file | question |
//! |---|---|
//! | `detours` | under which address the library knows a server that is reached by a stream |
//! | `stream` | how one such connection lives and ends |
//! | `line` | how it is opened |
//! | `frame` | where one message ends in it |
//! | `loss` | whether a relayed address of ours is gone |

mod detours;
mod frame;
mod line;
mod loss;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::lock;
use super::permit::Permit;
use stream::{Message, Stream, Work};

pub use detours::Detours;
pub use line::Trust;
pub use loss::Loss;

/// Messages from servers that wait for the library, which reads them at once unless it is gone or stuck.
/// When it is full, the newest is dropped, as a socket's buffer does.
const MAX_WAITING: usize = 512;

/// What the relays of one peer connection share.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    /// Its servers that are reached by a stream.
    pub detours: Arc<Detours>,
    /// How their certificates are checked.
    pub trust: Arc<Trust>,
    /// Whether a relayed address is gone.
    pub loss: Arc<Loss>,
}

/// The way to TURN servers from one local address.
pub struct Relay {
    /// It is read one datagram at a time: put together by the kernel (UDP GRO) they would not fit into what the library
    /// reads into.
    udp: UdpSocket,
    local: SocketAddr,
    relays: Relays,
    streams: Mutex<HashMap<SocketAddr, Stream>>,
    inbox: Arc<Inbox>,
}

/// What streams have brought.
#[derive(Default)]
struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    messages: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl Relay {
    /// Around the socket that the library has bound. To be called in the runtime that serves it.
    ///
    /// # Errors
    ///
    /// The socket cannot be used.
    pub fn new(socket: std::net::UdpSocket, relays: Relays) -> io::Result<Arc<Relay>> {
        let local = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let udp = UdpSocket::from_std(socket)?;
        Ok(Arc::new(Relay { udp, local, relays, streams: Mutex::default(), inbox: Arc::default() }))
    }

    /// Sends a message of TURN with media, or says [`io::ErrorKind::WouldBlock`] when there is no room for it. It wakes
    /// nobody.
    ///
    /// # Errors
    ///
    /// There is no room, or no way.
    pub fn try_send(&self, to_server: SocketAddr, message: &[u8], permit: &Permit) -> io::Result<()> {
        self.relays.loss.sent(to_server, message);
        if let Some(sent) = self.by_stream(to_server, message, Some(permit)) {
            return sent;
        }
        self.udp.try_send_to(message, to_server).map(drop)
    }

    /// Waits until there may be room on the way to a server.
    pub async fn writable(&self, to_server: SocketAddr) {
        let room = lock(&self.streams).get(&to_server).map(Stream::room);
        match room {
            Some(room) => room.await,
            // An error shows at the next attempt as well.
            None => drop(self.udp.writable().await),
        }
    }

    /// `None`: that server is reached by UDP.
    fn by_stream(&self, to: SocketAddr, message: &[u8], media: Option<&Permit>) -> Option<io::Result<()>> {
        let mut streams = lock(&self.streams);
        let message = || Message { bytes: message.to_vec(), media: media.cloned() };
        if let Some(stream) = streams.get(&to) {
            return Some(stream.try_send(message()));
        }
        let detour = self.relays.detours.of(to)?;
        let work = Work {
            detour,
            known_as: to,
            local: self.local.ip(),
            inbox: self.inbox.clone(),
            trust: self.relays.trust.clone(),
            loss: self.relays.loss.clone(),
            given_up_after: stream::GIVEN_UP_AFTER,
        };
        let stream = streams.entry(to).or_insert(Stream::open(work));
        Some(stream.try_send(message()))
    }
}

impl Inbox {
    /// Hands the library a message.
    fn deliver(&self, from: SocketAddr, message: &[u8]) {
        let waker = {
            let mut waiting = lock(&self.0);
            if waiting.messages.len() >= MAX_WAITING {
                return log::trace!("a relayed message is dropped: the library does not read");
            }
            waiting.messages.push_back((from, message.to_vec()));
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Fills as many buffers as there is something for; with none, remembers who asked.
    fn give(&self, cx: &Context<'_>, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let mut waiting = lock(&self.0);
        let mut given = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some((from, bytes)) = waiting.messages.pop_front() else { break };
            let length = bytes.len().min(buf.len());
            buf[..length].copy_from_slice(&bytes[..length]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (from, length, length.max(1));
            given += 1;
        }
        if given == 0 {
            waiting.waker = Some(cx.waker().clone());
        }
        given
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relay({})", self.local)
    }
}

impl AsyncUdpSocket for Relay {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let length = transmit.contents.len();
        self.relays.loss.sent(transmit.destination, transmit.contents);
        if self.by_stream(transmit.destination, transmit.contents, None).is_some() {
            // What has no room is lost, as on any network: to wait would hold up the library's only task,
            // and with it every other way to this viewer.
            return Poll::Ready(Ok(length));
        }
        for message in transmit.contents.chunks(transmit.segment_size.unwrap_or(length).max(1)) {
            ready!(self.udp.poll_send_to(cx, message, transmit.destination))?;
        }
        Poll::Ready(Ok(length))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let given = self.inbox.give(cx, bufs, meta);
        if given > 0 {
            return Poll::Ready(Ok(given));
        }
        let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        let mut read = ReadBuf::new(buf);
        let from = ready!(self.udp.poll_recv_from(cx, &mut read))?;
        self.relays.loss.received(from, read.filled());
        let length = read.filled().len();
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, length, length.max(1));
        Poll::Ready(Ok(1))
    }
}

#[cfg(test)]
mod tests;

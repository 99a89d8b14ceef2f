//! One of the port's real sockets: sends for every view, and tells each that waits when there is room again.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use webrtc::runtime::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::lock;

/// Reads in one system call. What comes in is little: reports, checks, a voice.
const READS: usize = 4;
/// The longest that the kernel hands out as one: several datagrams of one sender put together (UDP GRO).
const READ_BYTES: usize = 65_535;
/// Room for what has not left yet; the kernel gives at most twice `net.core.wmem_max`. What waits for the hardware
/// address of a viewer who is gone takes up to 208 KiB of it for three seconds and more
/// (`net.ipv4.neigh.default.unres_qlen_bytes`), and the kernel gives 208 KiB unasked.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// Whoever found out how it is done may not keep the board busy with it.
const AFTER_A_PANIC: Duration = Duration::from_millis(10);

/// How long room is waited for where it cannot be watched, since there is no descriptor left.
const UNWATCHED: Duration = Duration::from_millis(2);

/// A bound socket.
pub(super) struct Socket {
    /// Watched for what comes in, and for nothing else: the kernel tells that there is room whenever a packet has left,
    /// which woke the runtime as often as it sends.
    io: AsyncFd<std::net::UdpSocket>,
    state: UdpSocketState,
    /// See [`Socket::max_segments`]. The state's own is 1 for good after any datagram that cannot leave, such as one
    /// from an address that the board no longer has.
    segments: AtomicUsize,
    /// Whom it sends and receives for; unspecified: every address of its family.
    local: IpAddr,
    /// Who found it full.
    waiting: Mutex<Vec<Waker>>,
    /// A task waits for room.
    is_watched: AtomicBool,
}

impl Socket {
    /// Binds an address. An IPv6 one takes no IPv4 traffic, which has a socket of its own.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Socket> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        bind(&socket, &address)?;
        // With what the kernel gives unasked it works as well, while nobody is gone.
        let _ = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES);
        Socket::wrap(socket.into())
    }

    /// Takes a bound socket over.
    pub(super) fn wrap(socket: std::net::UdpSocket) -> io::Result<Socket> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?.ip();
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let io = watched(socket, Interest::READABLE)?;
        let segments = AtomicUsize::new(state.max_gso_segments());
        let (waiting, is_watched) = (Mutex::default(), AtomicBool::new(false));
        Ok(Socket { io, state, segments, local, waiting, is_watched })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.io.get_ref().local_addr()?.port())
    }

    /// Whether it carries what a board's address sends.
    pub(super) fn serves(&self, local: IpAddr) -> bool {
        self.local == local || self.local.is_unspecified() && self.local.is_ipv4() == local.is_ipv4()
    }

    /// How many datagrams of one size it sends in one system call (UDP GSO); 1: it cannot.
    pub(super) fn max_segments(&self) -> usize {
        self.segments.load(Ordering::Relaxed)
    }

    /// Sends, or says [`io::ErrorKind::WouldBlock`]. A run that is refused as a whole is sent one by one; when that
    /// goes, it is because the interface takes no runs.
    pub(super) fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match (self.try_send_once(transmit), transmit.segment_size) {
            (Err(cause), Some(segment)) if cause.kind() != io::ErrorKind::WouldBlock => {
                for (n, contents) in transmit.contents.chunks(segment.max(1)).enumerate() {
                    let sent =
                        self.try_send_once(&Transmit { contents, segment_size: None, ..transmit.clone() });
                    if n == 0 {
                        sent?;
                    }
                }
                log::info!(cause:%; "the network takes no runs of packets, and gets them one by one");
                self.segments.store(1, Ordering::Relaxed);
                Ok(())
            }
            (sent, _) => sent,
        }
    }

    fn try_send_once(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state.try_send(UdpSockRef::from(self.io.get_ref()), transmit)
    }

    /// Calls whoever asks when there is room again. The runtime keeps one waker for each socket, but here
    /// many wait.
    pub(super) fn wait_for_room(self: &Arc<Self>, cx: &Context<'_>) {
        lock(&self.waiting).push(cx.waker().clone());
        if self.is_watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let socket = self.clone();
        tokio::spawn(async move {
            socket.writable().await;
            socket.is_watched.store(false, Ordering::Release);
            for waker in lock(&socket.waiting).drain(..) {
                waker.wake();
            }
        });
    }

    /// Waits until there may be room.
    pub(super) async fn writable(&self) {
        let copy = self.io.get_ref().try_clone();
        match copy.and_then(|socket| watched(socket, Interest::WRITABLE)) {
            // An error shows at the next attempt as well.
            Ok(room) => drop(room.writable().await),
            Err(_) => tokio::time::sleep(UNWATCHED).await,
        }
    }

    /// Reads until the task is aborted; each datagram with the board's address that it came to. Nobody else reads for
    /// anybody: should a datagram make `take` panic, only that one is lost, and what was read with it.
    pub(super) async fn keep_reading(&self, take: impl Fn(IpAddr, SocketAddr, &[u8])) {
        loop {
            // What `take` works on is kept whole by its own locks.
            let _ = AssertUnwindSafe(self.read(&take)).catch_unwind().await;
            log::error!("a datagram could not be taken; reading goes on");
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
    }

    async fn read(&self, take: impl Fn(IpAddr, SocketAddr, &[u8])) {
        let mut memory = vec![0; READS * READ_BYTES];
        loop {
            let mut bufs: Vec<IoSliceMut<'_>> = memory.chunks_mut(READ_BYTES).map(IoSliceMut::new).collect();
            let mut meta = [RecvMeta::default(); READS];
            let count = std::future::poll_fn(|cx| self.poll_recv(cx, &mut bufs, &mut meta)).await;
            for (buf, meta) in bufs.iter().zip(&meta).take(*count.as_ref().unwrap_or(&0)) {
                let local = meta.dst_ip.unwrap_or(self.local);
                for bytes in buf[..meta.len.min(buf.len())].chunks(meta.stride.max(1)) {
                    take(local, meta.addr, bytes);
                }
            }
            // A flood must not keep the loop from everything else. Where there was room for more there is none.
            if !count.is_ok_and(|count| count < READS) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads what is there, or wakes whoever asked last.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = std::task::ready!(self.io.poll_read_ready(cx))?;
            match self.state.recv(UdpSockRef::from(self.io.get_ref()), bufs, meta) {
                Ok(0) => ready.clear_ready(),
                Ok(count) => {
                    // There is no more, and the runtime need not ask the kernel to know it. Edge-triggered: what comes
                    // from now on is told anew.
                    if count < bufs.len() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // An ICMP message about something sent earlier: the sender's business, not the reader's.
                Err(cause) => {
                    log::trace!(cause:%; "reading from the port");
                    return Poll::Ready(Err(cause));
                }
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "only for types that may close what they name; this one owns it until it is dropped"
)]
fn watched(socket: std::net::UdpSocket, interest: Interest) -> io::Result<AsyncFd<std::net::UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

#[cfg(test)]
mod tests;

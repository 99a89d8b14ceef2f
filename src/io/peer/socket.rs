//! The sockets that the WebRTC library is given: views of the one [port](crate::io::port), each behind a
//! [`Gate`].
//!
//! The library polls them from its own task while answers come from ours, so each keeps a lock, held
//! for a few instructions and never across a wait.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, Transmit,
};

use super::address::{with_port, without_related};
use super::early::{Datagram, Gate};
use super::feedback::{Shortcut, Taken};
use super::hello::{Cookie, Hello};
use super::loss::Heard;
use super::mdns::MdnsSocket;
use super::pace::Pace;
use super::rest::{MAX_NAPS, NAP, Rest};
use crate::config::{IcePolicy, IceServer};
use crate::io::clock::until_next;
use crate::io::port::{Place, Relay, Relays, Routes, stun};

/// mDNS (RFC 6762 §3) shares its port with everybody and has nothing to do with the peer.
const MDNS_PORT: u16 = 5353;

/// The runtime of one peer connection: the library's own in everything but its UDP sockets.
#[derive(Debug)]
pub struct Gated {
    inner: Arc<dyn Runtime>,
    place: Place,
    relays: Relays,
    policy: IcePolicy,
    /// Those that are open. At an ICE restart the library opens others.
    sockets: Mutex<Vec<Weak<GatedSocket>>>,
    notes: Arc<Mutex<Notes>>,
    found: watch::Sender<Option<Duration>>,
}

/// What is known of the path to the viewer.
#[derive(Debug, Default)]
struct Notes {
    heard: Option<Heard>,
    restarted_at: Option<Instant>,
    pace: Pace,
    rest: Rest,
    hello: Hello,
}

impl Gated {
    /// Around the library's own runtime, at a place of the port, where DTLS will ask for this cookie.
    pub fn new(
        inner: Arc<dyn Runtime>,
        place: Place,
        relays: Relays,
        policy: IcePolicy,
        cookie: Cookie,
    ) -> Arc<Gated> {
        let notes = Arc::new(Mutex::new(Notes { hello: Hello::new(cookie), ..Notes::default() }));
        let (sockets, found) = (Mutex::default(), watch::Sender::default());
        Arc::new(Gated { inner, place, relays, policy, sockets, notes, found })
    }

    /// The round trip of the path to the viewer as soon as there is one, if it shows; then that of each restart.
    pub fn paths(&self) -> watch::Receiver<Option<Duration>> {
        self.found.subscribe()
    }

    /// The STUN and TURN servers as the library takes them: it reaches all of them through these sockets.
    pub fn servers(&self, servers: &[IceServer]) -> Vec<IceServer> {
        self.relays.detours.for_library(servers)
    }

    /// Which paths count.
    pub fn policy(&self) -> IcePolicy {
        self.policy
    }

    /// Waits until a relayed address of ours is gone; whether media went by it.
    pub async fn relay_lost(&self) -> bool {
        self.relays.loss.told().await
    }

    /// Where the way to the viewer is noted.
    pub fn routes(&self) -> Arc<Routes> {
        self.place.routes()
    }

    /// Checks for an offer with this ufrag are ours, unless only relays count: then the port answers nobody.
    pub fn named(&self, ufrag: &str) {
        if self.policy.is_all() {
            self.place.named(ufrag);
        }
    }

    /// An SDP or a candidate of the library's with the port that viewers are to send to, where it has
    /// the one that the library believes in.
    pub fn as_seen(&self, text: &str) -> String {
        let seen = with_port(text, &self.believed(), self.place.number());
        if self.policy.is_all() { seen } else { without_related(&seen) }
    }

    /// The same for an address alone.
    pub fn seen(&self, address: SocketAddr) -> SocketAddr {
        match self.believed().contains(&address) {
            true => SocketAddr::new(address.ip(), self.place.number()),
            false => address,
        }
    }

    /// What the library believes its addresses to be, of those that are views.
    fn believed(&self) -> Vec<SocketAddr> {
        let sockets: Vec<_> = lock(&self.sockets).iter().filter_map(Weak::upgrade).collect();
        sockets.iter().filter_map(|socket| socket.believed).collect()
    }

    /// From now on the viewer's RTCP is read on its way in.
    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
    pub fn shorten(&self, shortcut: Shortcut) {
        let notes = self.notes.clone();
        self.place.routes().divert_rtcp(Box::new(move |local, bytes| {
            let now = Instant::now();
            let taken = shortcut.take(now, bytes);
            if taken == Taken::Read {
                let mut notes = lock(&notes);
                notes.heard = Some(Heard { local, at: now });
                notes.rest.reported(now);
            }
            taken != Taken::LongWay
        }));
    }

    /// When the viewer was last heard, if ever.
    pub fn heard(&self) -> Option<Heard> {
        lock(&self.notes).heard
    }

    /// ICE is restarted: no answer to it can be expected for a while.
    pub fn restarted(&self, now: Instant) {
        let mut notes = lock(&self.notes);
        (notes.restarted_at, notes.pace) = (Some(now), Pace::default());
        notes.rest.restarted(now);
        notes.hello.has_path(false);
    }

    /// When it was last restarted.
    pub fn restarted_at(&self) -> Option<Instant> {
        lock(&self.notes).restarted_at
    }

    /// Whether the viewer has said something lately that may have changed the connection's state.
    pub fn is_digesting(&self, now: Instant) -> bool {
        lock(&self.notes).rest.is_digesting(now)
    }

    /// The answer is applied: see [`Gate::answered`].
    pub fn answered(&self, now: Instant, ours: &str, theirs: &str) {
        self.each(|gate| gate.answered(now, ours, theirs));
    }

    fn each(&self, mut work: impl FnMut(&mut Gate) -> Vec<Datagram>) {
        for socket in lock(&self.sockets).iter().filter_map(Weak::upgrade) {
            let waker = {
                let mut inside = lock(&socket.inside);
                let ready = work(&mut inside.gate);
                inside.ready.extend(ready);
                inside.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// One UDP socket behind its gate.
struct GatedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// The board's address.
    local: IpAddr,
    /// What the library believes its address to be, if it is a view of the port.
    believed: Option<SocketAddr>,
    notes: Arc<Mutex<Notes>>,
    found: watch::Sender<Option<Duration>>,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    gate: Gate,
    /// What the library is to be given before anything new. Bounded by what the gate holds and by one read.
    ready: VecDeque<Datagram>,
    /// Who waits for a datagram.
    waker: Option<Waker>,
    /// Nothing is given to the library before.
    rest: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl fmt::Debug for GatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that could panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncUdpSocket for GatedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }

    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let (now, kind) = (Instant::now(), stun::kind(transmit.contents));
        lock(&self.inside).gate.sent(now, transmit.contents);
        {
            let mut notes = lock(&self.notes);
            if stun::checks(transmit.contents) {
                notes.pace.checked(now);
            }
            notes.rest.sent(now, kind);
            if says_dtls(kind, transmit.contents) && !notes.hello.answered(transmit.contents) {
                return Poll::Ready(Ok(transmit.contents.len()));
            }
        }
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.poll_rest(cx).is_pending() {
                return Poll::Pending;
            }
            {
                let mut inside = lock(&self.inside);
                let given = give(&mut inside.ready, bufs, meta);
                if given > 0 {
                    return Poll::Ready(Ok(given));
                }
                inside.waker = Some(cx.waker().clone());
            }
            match self.inner.poll_recv(cx, bufs, meta) {
                Poll::Ready(Ok(count)) => {
                    let reply = self.sift(&bufs[..count], &meta[..count]);
                    if let Some(Datagram { from, bytes }) = &reply {
                        let (destination, contents) = (*from, &bytes[..]);
                        let transmit =
                            Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
                        // What does not leave is as good as lost on the way, and asked for again.
                        let _ = self.inner.poll_send(cx, &transmit);
                    }
                }
                other => return other,
            }
        }
    }
}

impl GatedSocket {
    /// Whether the library may be woken.
    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        let rest = lock(&self.notes).pace.rest(Instant::now());
        if rest.is_zero() {
            return Poll::Ready(());
        }
        let mut inside = lock(&self.inside);
        inside.rest.insert(Box::pin(tokio::time::sleep(rest))).as_mut().poll(cx)
    }

    /// Lets the gate look at what was read; a read may hold several datagrams of one sender (UDP GRO). Returns what is
    /// to be said to the viewer.
    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
    fn sift(&self, bufs: &[IoSliceMut<'_>], meta: &[RecvMeta]) -> Option<Datagram> {
        let now = Instant::now();
        let mut inside = lock(&self.inside);
        for (buf, meta) in bufs.iter().zip(meta) {
            for bytes in buf[..meta.len.min(buf.len())].chunks(meta.stride.max(1)) {
                let datagram = Datagram { from: meta.addr, bytes: bytes.to_vec() };
                let mut notes = lock(&self.notes);
                let ready = inside.gate.received(now, datagram, &mut notes.hello);
                // What the gate keeps out may be anybody's.
                if !ready.is_empty() {
                    notes.heard = Some(Heard { local: self.local, at: now });
                    let is_up = inside.gate.is_up();
                    ready.iter().for_each(|given| notes.rest.given(now, stun::kind(&given.bytes), is_up));
                }
                inside.ready.extend(ready);
            }
        }
        if let Some(round_trip) = inside.gate.found() {
            self.found.send_replace(Some(round_trip));
        }
        inside.gate.reply()
    }
}

/// Whether this is DTLS, also by a TURN server.
fn says_dtls(kind: stun::Kind, contents: &[u8]) -> bool {
    kind == stun::Kind::Dtls
        || kind == stun::Kind::Turn
            && stun::relayed(contents).is_some_and(|(_, inner)| stun::kind(inner) == stun::Kind::Dtls)
}

/// Fills as many buffers as there is something for.
fn give(ready: &mut VecDeque<Datagram>, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
    let mut given = 0;
    for (buf, meta) in bufs.iter_mut().zip(meta) {
        let Some(datagram) = ready.pop_front() else { break };
        let length = datagram.bytes.len().min(buf.len());
        buf[..length].copy_from_slice(&datagram.bytes[..length]);
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (datagram.from, length, length.max(1));
        given += 1;
    }
    given
}

impl Runtime for Gated {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        self.inner.spawn(future)
    }

    fn spawn_reactor(
        &self,
        reactor_pool_size: usize,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Box<dyn JoinHandle> {
        self.inner.spawn_reactor(reactor_pool_size, future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let local = socket.local_addr()?;
        if local.port() == MDNS_PORT {
            return Ok(Arc::new(MdnsSocket::new(socket)?));
        }
        let own = Relay::new(socket, self.relays.clone())?;
        let (inner, believed): (Arc<dyn AsyncUdpSocket>, _) = match self.place.view(local, own.clone()) {
            Ok(view) => (view, Some(local)),
            // An address of a family that the port is not open on.
            Err(cause) => {
                log::debug!(local:%, cause:%; "an address has a port of its own");
                (own, None)
            }
        };
        let (local, notes, inside) = (local.ip(), self.notes.clone(), Mutex::default());
        let found = self.found.clone();
        let socket = Arc::new(GatedSocket { inner, local, believed, notes, found, inside });
        let mut sockets = lock(&self.sockets);
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(&socket));
        Ok(socket)
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.inner.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        address: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        self.inner.connect_tcp(address)
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move {
            match self.relays.detours.resolve(host).await {
                Some(resolved) => resolved,
                None => self.inner.resolve_host(host).await,
            }
        })
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    /// As long as the library wants, or longer: see [`Rest`] and [`Pace`].
    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let now = Instant::now();
        let (may_prolong, pause) = {
            let notes = lock(&self.notes);
            (notes.rest.may_prolong(now, duration), notes.pace.rest(now))
        };
        if !may_prolong {
            return self.inner.sleep(duration.max(pause));
        }
        let notes = self.notes.clone();
        Box::pin(async move {
            for _ in 0..MAX_NAPS {
                tokio::time::sleep(until_next(NAP)).await;
                if !lock(&notes).rest.is_calm(Instant::now()) {
                    return;
                }
            }
        })
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.inner.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.inner.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.inner.yield_now()
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

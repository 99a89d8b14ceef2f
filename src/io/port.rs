//! The one UDP port of all viewers: who opens it in a firewall has opened it for everybody.
//!
//! Under the WebRTC library each peer connection has a [`View`] for each address of the board; what they send
//! leaves by the same socket, and what comes in is given to the one whose it is.
//!
//! ```text
//! peer connection ── view 192.0.2.9 ─┐               ┌─ one socket for IPv4 ─┐
//!                 └─ view 2001:db8:: ├── port, demux ┤                       ├─ one port number
//! peer connection ── view 192.0.2.9 ─┘               └─ one socket for IPv6 ─┘
//! ```
//!
//! | file | question |
//! |---|---|
//! | `demux` | whose is a datagram |
//! | `stun` | what kind is it |
//! | `view` | what the library takes for its socket |
//! | `permit` | until when media may leave |
//! | `route` | by which way a viewer's media leaves |
//! | `socket` | a real socket |
//! | `mapping` | under which address a NAT shows it, and keeping that |
//! | `relay` | how TURN servers are reached |
//!
//! The library polls from its own tasks while ours come and go, so each part keeps a lock, held for a few
//! instructions and never across a wait.

mod demux;
mod mapping;
mod permit;
mod relay;
mod route;
mod socket;
pub mod stun;
mod view;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use demux::{Demux, Way};
use mapping::Mappings;
use socket::Socket;

pub use demux::Owner;
pub use permit::{Permit, Source};
pub use relay::{Detours, Loss, Relay, Relays, Trust};
pub use route::{Route, Routes, Run};
pub use view::View;

/// How often a port number is drawn until one is free on every address.
const DRAWS: usize = 16;

/// The port. Dropping it closes it when the last view of it is gone.
pub struct Port {
    sockets: Vec<Arc<Socket>>,
    number: u16,
    inside: Mutex<Inside>,
    mappings: Mutex<Mappings>,
    next_owner: AtomicU64,
    tasks: Mutex<Vec<AbortHandle>>,
}

#[derive(Default)]
struct Inside {
    demux: Demux,
    views: HashMap<Owner, Vec<(IpAddr, Weak<View>)>>,
    /// The board's addresses that are media's now; `None`: all that it has.
    offered: Option<BTreeSet<IpAddr>>,
}

impl Port {
    /// Opens the first port of `numbers` that is free on all of `addresses`, or on every address of the board
    /// when there are none; `0..=0` takes any. To be called in the runtime that serves it.
    ///
    /// # Errors
    ///
    /// None is free, or an address is not the board's.
    pub fn open(addresses: &[IpAddr], numbers: RangeInclusive<u16>) -> io::Result<Arc<Port>> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        let draws = if numbers == (0..=0) { DRAWS } else { 1 };
        for number in std::iter::repeat_n(numbers, draws).flatten() {
            match bind(addresses, number) {
                Ok((sockets, number)) => return Ok(Port::serve(sockets, number)),
                Err(cause) => last = cause,
            }
        }
        Err(last)
    }

    fn serve(sockets: Vec<Arc<Socket>>, number: u16) -> Arc<Port> {
        let (inside, mappings, next_owner, tasks) = Default::default();
        let port = Arc::new(Port { sockets, number, inside, mappings, next_owner, tasks });
        let mut tasks = Vec::new();
        for socket in &port.sockets {
            let (socket, port) = (socket.clone(), Arc::downgrade(&port));
            let take = move |local, from, bytes: &[u8]| {
                if let Some(port) = port.upgrade() {
                    port.received(local, from, bytes);
                }
            };
            tasks.push(tokio::spawn(async move { socket.keep_reading(take).await }).abort_handle());
        }
        *lock(&port.tasks) = tasks;
        port
    }

    /// The UDP port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// From now on media goes by these addresses of the board alone: what comes to another is dropped, and peer
    /// connections offer these.
    pub fn offer(&self, addresses: &BTreeSet<IpAddr>) {
        lock(&self.inside).offered = Some(addresses.clone());
    }

    /// The addresses that media goes by; `None` until [`Port::offer`] has said so: all that the board has.
    pub fn offered(&self) -> Option<BTreeSet<IpAddr>> {
        lock(&self.inside).offered.clone()
    }

    /// Keeps a NAT from forgetting the port: asks these STUN servers so often under which address they see it.
    /// What comes out says that an offer that names such an address is out of date. To be called once, in the
    /// runtime that serves the port.
    pub fn keep_mapped(
        self: &Arc<Self>,
        stun_servers: Vec<(String, u16)>,
        interval: Duration,
    ) -> mpsc::Receiver<()> {
        let (sender, changes) = mpsc::channel(1);
        let keep = mapping::keep(Arc::downgrade(self), stun_servers, interval, sender);
        lock(&self.tasks).push(tokio::spawn(keep).abort_handle());
        changes
    }

    /// A place for a peer connection.
    pub fn owner(self: &Arc<Self>) -> Place {
        let owner = Owner(self.next_owner.fetch_add(1, Ordering::Relaxed));
        Place { port: self.clone(), owner, routes: Arc::default() }
    }

    fn view(
        self: &Arc<Self>,
        Place { owner, routes, .. }: &Place,
        believed: SocketAddr,
        private: Arc<Relay>,
    ) -> io::Result<Arc<View>> {
        let owner = *owner;
        let local = believed.ip();
        let socket = self.sockets.iter().find(|socket| socket.serves(local)).cloned();
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let view = Arc::new(View::new(
            self.clone(),
            socket,
            Way { owner, local },
            believed,
            private,
            routes.clone(),
        ));
        let mut inside = lock(&self.inside);
        let views = inside.views.entry(owner).or_default();
        views.retain(|(other, view)| *other != local && view.strong_count() > 0);
        views.push((local, Arc::downgrade(&view)));
        Ok(view)
    }

    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
    fn sent(&self, way: Way, to: SocketAddr, bytes: &[u8]) {
        lock(&self.inside).demux.sent(Instant::now(), way, to, bytes);
    }

    fn received(&self, local: IpAddr, from: SocketAddr, bytes: &[u8]) {
        if stun::kind(bytes) == stun::Kind::Success && lock(&self.mappings).received(local, from, bytes) {
            return;
        }
        let views: Vec<Arc<View>> = {
            let mut inside = lock(&self.inside);
            let is_known = |offered: &BTreeSet<IpAddr>| offered.contains(&local) || local.is_unspecified();
            if !inside.offered.as_ref().is_none_or(is_known) {
                return log::trace!(local:%, from:%; "a datagram to an address that is not media's");
            }
            let ways = inside.demux.received(local, from, bytes);
            ways.into_iter().filter_map(|way| inside.view(way)).collect()
        };
        if views.is_empty() {
            log::trace!(from:%; "a datagram of nobody we know");
        }
        for view in views {
            view.deliver(from, bytes);
        }
    }
}

impl Inside {
    /// The view that serves a way, or another of the same peer connection: a viewer may send to an address
    /// that came up after the offer was made.
    fn view(&self, way: Way) -> Option<Arc<View>> {
        let views = self.views.get(&way.owner)?;
        let exact = views.iter().find(|(local, _)| *local == way.local);
        let kin = || views.iter().find(|(local, _)| local.is_ipv4() == way.local.is_ipv4());
        exact.or_else(kin)?.1.upgrade()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.number)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

/// One peer connection's place at the port, given up when it is dropped.
#[derive(Debug)]
pub struct Place {
    port: Arc<Port>,
    owner: Owner,
    routes: Arc<Routes>,
}

impl Place {
    /// The UDP port number.
    pub fn number(&self) -> u16 {
        self.port.number
    }

    /// What the library is to take for the socket that it has bound to `believed`. `private` has that socket.
    ///
    /// # Errors
    ///
    /// The port is not open on that address.
    pub fn view(&self, believed: SocketAddr, private: Arc<Relay>) -> io::Result<Arc<View>> {
        self.port.view(self, believed, private)
    }

    /// Where the way to the viewer is noted.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.clone()
    }

    /// Checks that name this ufrag are for this peer connection.
    pub fn named(&self, ufrag: &str) {
        lock(&self.port.inside).demux.named(self.owner, ufrag);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = lock(&self.port.inside);
        inside.demux.gone(self.owner);
        inside.views.remove(&self.owner);
    }
}

/// A socket for each address, or one for each family, all on one port number.
fn bind(addresses: &[IpAddr], number: u16) -> io::Result<(Vec<Arc<Socket>>, u16)> {
    let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let (mut sockets, mut number) = (Vec::new(), number);
    for &address in if addresses.is_empty() { &every[..] } else { addresses } {
        match Socket::bind(SocketAddr::new(address, number)) {
            Ok(socket) => {
                number = socket.port()?;
                sockets.push(Arc::new(socket));
            }
            // A board without IPv6, which may be switched off in its kernel.
            Err(cause)
                if address.is_ipv6()
                    && address.is_unspecified()
                    && cause.kind() != io::ErrorKind::AddrInUse =>
            {
                log::debug!(cause:%; "no IPv6 here");
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok((sockets, number))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that could panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

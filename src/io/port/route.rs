//! By which way do a viewer's packets leave? By the one that the library takes for its own.
//!
//! The library knows which pair of addresses ICE has chosen, but does not say it. Its DTLS and its RTCP go by
//! that pair, through a view, which notes where: to the viewer itself, or to a TURN server that passes it on.
//! Media goes the same way, in runs of packets that leave in one system call (UDP GSO, Linux 4.18).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Notify;
use webrtc::runtime::Transmit;

use super::lock;
use super::permit::Permit;
use super::relay::Relay;
use super::socket::Socket;
use super::stun::{self, Kind, Relayed};

/// The longest run: the largest IP packet less headers, with room to spare.
const MAX_RUN_BYTES: usize = 60_000;
/// The memory that a run keeps when it has left: an ordinary picture's. Keyframes are rare, and viewers many.
const KEPT_BYTES: usize = 16 * 1024;

/// Packets that leave together: of one length but for the last, which may be shorter.
#[derive(Debug, Default)]
pub struct Run {
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
}

impl Run {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a packet of this length can still join, of at most `max` in all.
    pub fn takes(&self, length: usize, max: usize) -> bool {
        let is_whole = self.bytes.len() == self.segment * self.count;
        self.count == 0
            || is_whole
                && length <= self.segment
                && self.count < max
                && self.bytes.len() + length <= MAX_RUN_BYTES
    }

    /// Adds a packet of a length that it takes, and gives its memory.
    pub fn add(&mut self, length: usize) -> &mut [u8] {
        if self.count == 0 {
            self.segment = length;
        }
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        self.count += 1;
        &mut self.bytes[start..]
    }

    /// Forgets what it has.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.count = 0;
    }

    fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.segment.max(1))
    }
}

/// The way to one viewer.
pub struct Route {
    /// The board's address.
    pub local: IpAddr,
    /// The viewer's address, as we see it; or the relay's.
    pub to: SocketAddr,
    /// How a relay is told for whom it is.
    pub relayed: Option<Relayed>,
    socket: Arc<Socket>,
    private: Arc<Relay>,
}

impl Route {
    /// How many packets may make a run.
    pub fn max_run(&self) -> usize {
        if self.relayed.is_some() { 1 } else { self.socket.max_segments() }
    }

    /// Sends a run; where it has to wait, as long as it may leave. What the network refuses is lost, as on the network
    /// itself.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: there is no room for it now.
    pub fn try_send(&self, run: &Run, permit: &Permit) -> io::Result<()> {
        if let Some(relayed) = self.relayed {
            for packet in run.packets() {
                match self.private.try_send(self.to, &relayed.wrap(packet), permit) {
                    Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Err(cause),
                    Err(cause) => log::trace!(cause:%; "a packet could not be sent to a relay"),
                    Ok(()) => {}
                }
            }
            return Ok(());
        }
        let segment_size = (run.count > 1).then_some(run.segment);
        match self.socket.try_send(&self.transmit(&run.bytes, segment_size)) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Err(cause),
            Err(cause) => log::trace!(cause:%; "a packet could not be sent"),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Waits until there may be room.
    pub async fn writable(&self) {
        match self.relayed {
            Some(_) => self.private.writable(self.to).await,
            None => self.socket.writable().await,
        }
    }

    fn transmit<'b>(&self, contents: &'b [u8], segment_size: Option<usize>) -> Transmit<'b> {
        // By the address that the viewer knows, whatever the routing would choose.
        Transmit { destination: self.to, ecn: None, contents, segment_size, src_ip: Some(self.local) }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({} to {}, {:?})", self.local, self.to, self.relayed)
    }
}

/// Takes a datagram that came straight to one of the board's addresses, or leaves it to the library (`false`).
pub type Diversion = Box<dyn Fn(IpAddr, &[u8]) -> bool + Send + Sync>;

/// Where one peer connection's way is noted.
#[derive(Default)]
pub struct Routes {
    current: Mutex<Option<Arc<Route>>>,
    heard: Notify,
    rtcp: OnceLock<Diversion>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Routes({:?})", self.current())
    }
}

impl Routes {
    /// The newest; `None` before DTLS.
    pub fn current(&self) -> Option<Arc<Route>> {
        lock(&self.current).clone()
    }

    /// Waits for the first of what the viewer says under DTLS; for one caller.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }

    /// From now on the viewer's RTCP goes there first. Only the first call counts.
    pub fn divert_rtcp(&self, to: Diversion) {
        let _ = self.rtcp.set(to);
    }

    /// Whether the library need not see what the viewer has sent straight to the board's address `local`.
    pub(super) fn is_diverted(&self, local: IpAddr, bytes: &[u8]) -> bool {
        stun::kind(bytes) == Kind::Rtcp && self.rtcp.get().is_some_and(|take| take(local, bytes))
    }

    /// The viewer has sent this, straight.
    pub(super) fn hear(&self, bytes: &[u8]) {
        // A record of application data (RFC 9147 §4, RFC 5246 §6.2.1).
        if bytes.first() == Some(&23) {
            // Kept for who waits later.
            self.heard.notify_one();
        }
    }

    /// The library sends this to `to` by these sockets.
    pub(super) fn note(
        &self,
        bytes: &[u8],
        (local, to): (IpAddr, SocketAddr),
        (socket, private): (&Arc<Socket>, &Arc<Relay>),
    ) {
        let relayed = match stun::kind(bytes) {
            Kind::Dtls | Kind::Rtcp => None,
            Kind::Turn => match stun::relayed(bytes) {
                Some((relayed, inner)) if matches!(stun::kind(inner), Kind::Dtls | Kind::Rtcp) => {
                    Some(relayed)
                }
                _ => return,
            },
            _ => return,
        };
        let mut current = lock(&self.current);
        // After an ICE restart a relay is reached by another socket, though all else may be as it was.
        let is_known = current.as_ref().is_some_and(|route| {
            (route.local, route.to, route.relayed) == (local, to, relayed)
                && Arc::ptr_eq(&route.private, private)
        });
        if !is_known {
            log::debug!(local:%, to:%, is_relayed = relayed.is_some(); "media goes this way");
            let (socket, private) = (socket.clone(), private.clone());
            *current = Some(Arc::new(Route { local, to, relayed, socket, private }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_packets_of_one_length_and_a_shorter_one_ends_it() {
        let mut run = Run::default();
        assert!(run.is_empty() && run.takes(1200, 1));
        run.add(1200).fill(1);
        assert!(run.takes(1200, 4) && run.takes(800, 4));
        assert!(!run.takes(1201, 4), "a longer one would be cut");
        assert!(!run.takes(1200, 1), "no more than that");
        run.add(800).fill(2);
        assert!(!run.takes(100, 4), "the kernel cuts at the first one's length");
        assert_eq!(run.packets().map(<[u8]>::len).collect::<Vec<_>>(), [1200, 800]);
        run.clear();
        run.add(700).fill(3);
        assert_eq!(run.packets().map(<[u8]>::len).collect::<Vec<_>>(), [700]);
        while run.takes(700, usize::MAX) {
            run.add(700).fill(3);
        }
        assert!(run.bytes.len() <= MAX_RUN_BYTES);
        run.clear();
        assert!(run.bytes.capacity() <= KEPT_BYTES);
    }
}

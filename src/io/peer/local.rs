//! On which of the board's addresses does a peer connection open its sockets?
//!
//! The library asks when it opens them: at the start, and anew at each ICE restart, so that an address that came
//! since is offered and one that is gone is not.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::io::port::Port;

/// The answer, whenever it is asked.
#[derive(Clone, Debug)]
pub struct LocalAddresses {
    /// These, of what the board has.
    named: Vec<IpAddr>,
    /// When none are named: what this port is offered on.
    port: Arc<Port>,
}

impl LocalAddresses {
    /// `named`, or where `port` is offered when there are none.
    pub fn new(named: Vec<IpAddr>, port: Arc<Port>) -> LocalAddresses {
        LocalAddresses { named, port }
    }

    /// Where media may go now; `None`: everywhere.
    pub fn offered(&self) -> Option<BTreeSet<IpAddr>> {
        self.port.offered()
    }
}

/// mDNS (RFC 6762 §3).
const MDNS_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// How long a route for it may take to follow a new address.
const MULTICAST_PATIENCE: Duration = Duration::from_secs(1);
const MULTICAST_POLL: Duration = Duration::from_millis(50);

/// Whether the board can listen for mDNS: there is a route that multicast takes.
pub fn joins_multicast() -> bool {
    let any = Ipv4Addr::UNSPECIFIED;
    UdpSocket::bind((any, 0)).and_then(|socket| socket.join_multicast_v4(&MDNS_GROUP, &any)).is_ok()
}

/// Waits until it can, for a second at most. The library opens its mDNS socket anew at each ICE restart and
/// fails without it, and a network that comes up gets its address before its routes.
pub async fn multicast_is_back() {
    let back = async {
        while !joins_multicast() {
            sleep(MULTICAST_POLL).await;
        }
    };
    // Either outcome is fine: a connection that fails is made anew by its viewer.
    let _ = timeout(MULTICAST_PATIENCE, back).await;
}

impl ToSocketAddrs for LocalAddresses {
    type Iter = std::vec::IntoIter<SocketAddr>;

    /// On ports that the system picks: see [`port`](crate::io::port).
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let candidates = match (self.named.is_empty(), self.port.offered()) {
            (false, _) => self.named.clone(),
            (true, Some(offered)) => offered.into_iter().collect(),
            // The library expands these to all addresses but loopback's.
            (true, None) => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        };
        let candidates = candidates.into_iter().map(|address| SocketAddr::new(address, 0));
        let mut there: Vec<SocketAddr> =
            candidates.filter(|address| UdpSocket::bind(address).is_ok()).collect();
        if there.is_empty() {
            // Without a socket the library gives the connection up. A board that has no network just now has
            // loopback; nobody is told of it, and the restart that follows opens others.
            there.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
        }
        Ok(there.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const GONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));

    fn opened(addresses: &LocalAddresses) -> Vec<IpAddr> {
        addresses.to_socket_addrs().expect("a list").map(|address| address.ip()).collect()
    }

    #[tokio::test]
    async fn what_the_board_does_not_have_is_left_out() {
        let port = Port::open(&[], 0..=0).expect("a free port");
        assert_eq!(opened(&LocalAddresses::new(vec![GONE, HERE], port)), [HERE]);
    }

    #[tokio::test]
    async fn the_addresses_are_those_of_the_moment() {
        let port = Port::open(&[], 0..=0).expect("a free port");
        let addresses = LocalAddresses::new(vec![], port.clone());
        assert!(opened(&addresses).iter().all(IpAddr::is_unspecified));
        let other = IpAddr::from([127, 0, 0, 2]);
        port.offer(&[other].into());
        assert_eq!(opened(&addresses), [other]);
        port.offer(&[].into());
        assert_eq!(opened(&addresses), [HERE], "something to wait on");
    }
}

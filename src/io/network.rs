//! Which of the board's addresses are media's, and have they changed?
//!
//! The kernel says when something about interfaces, addresses or routes has changed (rtnetlink(7)); what it is
//! now is read anew, since several changes come together. Where the kernel may not be asked so, the loop still
//! looks once in a round.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net;
use std::time::Duration;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, sleep_until};

use crate::config::Ice;
use crate::config::interfaces::{InterfacePattern, is_used};

/// What belongs together comes within this: an address goes and the next one comes, or a link comes up and
/// its routes follow.
const SETTLE: Duration = Duration::from_millis(50);

/// Groups of rtnetlink(7): `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// The addresses that media may use, as they were when last looked at.
#[derive(Debug)]
pub struct Network {
    choice: Choice,
    addresses: BTreeSet<IpAddr>,
    news: Option<UnixDatagram>,
    look_at: Option<Instant>,
}

/// Which addresses count.
#[derive(Debug)]
enum Choice {
    /// These, when the board has them.
    Named(Vec<IpAddr>),
    /// Those of these interfaces, but neither loopback's nor link-local ones, which no browser offers and which
    /// in IPv6 mean nothing without an interface.
    Of(Vec<InterfacePattern>),
}

impl Network {
    /// Looks for the first time. To be called within a tokio runtime.
    pub fn now(ice: &Ice) -> Network {
        let choice = match ice.addresses.as_slice() {
            [] => Choice::Of(ice.interfaces.clone()),
            named => Choice::Named(named.to_vec()),
        };
        let news = open_news();
        if let Err(cause) = &news {
            log::debug!(cause:%; "the kernel does not tell of its network; it is looked at once in a round");
        }
        let addresses = look(&choice).unwrap_or_default();
        Network { choice, addresses, news: news.ok(), look_at: None }
    }

    /// The addresses of the last look.
    pub fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }

    /// Returns when the kernel has told of a change and what belongs to it has had time to happen. May be given up
    /// and called again.
    pub async fn stirred(&mut self) {
        let Some(news) = &self.news else { return std::future::pending().await };
        loop {
            match self.look_at {
                Some(at) => {
                    sleep_until(at).await;
                    self.look_at = None;
                    return;
                }
                None => {
                    // An error is the kernel's having had more to say than there was room for (ENOBUFS), and what
                    // it said is of no interest: it is looked at all the same.
                    let _ = news.readable().await;
                    while matches!(news.try_recv(&mut [0; 64]), Ok(1..)) {}
                    self.look_at = Some(Instant::now() + SETTLE);
                }
            }
        }
    }

    /// Looks again: whether there are other addresses than last time. A look that fails changes nothing.
    pub fn has_changed(&mut self) -> bool {
        match look(&self.choice) {
            Some(addresses) if addresses != self.addresses => {
                self.addresses = addresses;
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.addresses.is_empty() {
            return f.write_str("none");
        }
        for (at, address) in self.addresses.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{address}")?;
        }
        Ok(())
    }
}

fn open_news() -> io::Result<UnixDatagram> {
    // The protocol 0 of this family is `NETLINK_ROUTE`.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    // The runtime has no sockets of this family; reading datagrams is the same in all of them.
    UnixDatagram::from_std(net::UnixDatagram::from(socket))
}

fn look(choice: &Choice) -> Option<BTreeSet<IpAddr>> {
    let interfaces = getifaddrs().ok()?;
    let addresses = interfaces.filter(is_running).filter_map(|interface| {
        let address = address_of(&interface)?;
        (choice.has(&interface.interface_name, address) && is_usable(address)).then_some(address)
    });
    Some(addresses.collect())
}

impl Choice {
    fn has(&self, interface: &str, address: IpAddr) -> bool {
        match self {
            Choice::Named(named) => named.contains(&address),
            Choice::Of(patterns) => {
                let is_local = match address {
                    IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
                    IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
                };
                !is_local && is_used(patterns, interface, address)
            }
        }
    }
}

/// Up, and with a carrier: an address stays for a while where the cable was pulled.
fn is_running(interface: &InterfaceAddress) -> bool {
    interface.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING)
}

fn address_of(interface: &InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address?;
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

/// A new IPv6 address cannot be used before the board knows that nobody else has it (RFC 4862 §5.4), a second
/// or two; the kernel tells of its end as of a change.
fn is_usable(address: IpAddr) -> bool {
    address.is_ipv4() || UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_that_stay_are_no_change_and_others_are() {
        let mut network = Network::now(&Ice::default());
        assert!(!network.has_changed());
        network.addresses.insert(IpAddr::from([192, 0, 2, 77]));
        assert!(network.has_changed());
        assert!(!network.has_changed());
    }

    #[tokio::test]
    async fn a_named_address_counts_while_the_board_has_it() {
        let addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 77])];
        let network = Network::now(&Ice { addresses, ..Ice::default() });
        assert_eq!(network.to_string(), "127.0.0.1");
    }

    #[tokio::test]
    async fn an_interface_that_is_left_out_has_no_addresses() {
        let interfaces = ["!e*", "!w*", "!*0*", "!0.0.0.0/0", "!::/0"];
        let interfaces = interfaces.iter().filter_map(|one| InterfacePattern::parse(one)).collect();
        let network = Network::now(&Ice { interfaces, ..Ice::default() });
        assert_eq!(network.to_string(), "none");
    }
}

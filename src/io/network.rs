//! Which addresses does the board have, and have they changed?
//!
//! It is asked once a second, which costs some system calls, and needs no netlink socket in the unit's
//! sandbox.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The addresses of all interfaces that are up, as they were when last looked at. Loopback counts not,
/// and link-local IPv6 neither: it comes and goes with each cable and no browser offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    addresses: BTreeSet<IpAddr>,
}

impl Network {
    /// Looks for the first time.
    pub fn now() -> Network {
        Network { addresses: look().unwrap_or_default() }
    }

    /// Looks again: whether there are other addresses than last time. A look that fails changes nothing.
    pub fn has_changed(&mut self) -> bool {
        match look() {
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

fn look() -> Option<BTreeSet<IpAddr>> {
    let interfaces = getifaddrs().ok()?;
    let addresses = interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_loopback(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        });
    Some(addresses.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_stay_are_no_change_and_others_are() {
        let mut network = Network::now();
        assert!(!network.has_changed());
        network.addresses.insert(IpAddr::from([192, 0, 2, 77]));
        assert!(network.has_changed());
        assert!(!network.has_changed());
    }
}

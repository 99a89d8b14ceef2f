//! Which of the board's network interfaces are media's?
//!
//! A pattern names interfaces (`eth*`) or a network of addresses (`10.0.0.0/8`); with a `!` before it, it
//! leaves them out. What is left out by one is out, whatever the others say.

use std::fmt;
use std::net::IpAddr;

/// One entry of `ice.interfaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfacePattern {
    is_out: bool,
    names: Names,
}

/// What a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    /// Interfaces by name; `*` stands for any characters, also none.
    Interface(String),
    /// Addresses that agree in their first bits (RFC 4632 §3.1, RFC 4291 §2.3).
    Network { address: IpAddr, bits: u8 },
}

impl InterfacePattern {
    /// Reads `eth*`, `!wlan1`, `10.0.0.0/8` or `!fd00::/8`; `None` when it is neither.
    pub fn parse(text: &str) -> Option<InterfacePattern> {
        let (is_out, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let names = match text.split_once('/') {
            Some((address, bits)) => {
                let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
                (bits <= width(address)).then_some(Names::Network { address, bits })?
            }
            // A bare address would match no interface's name, and nobody would learn why.
            None if text.parse::<IpAddr>().is_ok() => return None,
            None => {
                let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b'!';
                // The kernel's names have at most 15 bytes (`IFNAMSIZ`).
                let is_good = (1..=15).contains(&text.len()) && text.bytes().all(is_name);
                is_good.then(|| Names::Interface(text.to_string()))?
            }
        };
        Some(InterfacePattern { is_out, names })
    }

    fn matches(&self, interface: &str, address: IpAddr) -> bool {
        match &self.names {
            Names::Interface(pattern) => is_like(pattern.as_bytes(), interface.as_bytes()),
            Names::Network { address: network, bits } => is_within(address, *network, *bits),
        }
    }
}

/// Whether an interface's address is used: no pattern leaves it out, and one takes it, or none takes anything.
pub fn is_used(patterns: &[InterfacePattern], interface: &str, address: IpAddr) -> bool {
    let is_matched =
        |is_out| patterns.iter().any(|one| one.is_out == is_out && one.matches(interface, address));
    let all_leave_out = patterns.iter().all(|one| one.is_out);
    !is_matched(true) && (all_leave_out || is_matched(false))
}

fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| is_like(rest, &name[skipped..])),
        Some((byte, rest)) => {
            name.split_first().is_some_and(|(own, name)| own == byte && is_like(rest, name))
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let first = |value: u128, width: u8| value.checked_shr(u32::from(width - bits)).unwrap_or(0);
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            first(one.to_bits().into(), 32) == first(other.to_bits().into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => first(one.to_bits(), 128) == first(other.to_bits(), 128),
        _ => false,
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for InterfacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_out { "!" } else { "" })?;
        match &self.names {
            Names::Interface(pattern) => f.write_str(pattern),
            Names::Network { address, bits } => write!(f, "{address}/{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn used(patterns: &[&str], interface: &str, address: &str) -> bool {
        let patterns: Vec<_> =
            patterns.iter().map(|one| InterfacePattern::parse(one).expect("a pattern")).collect();
        is_used(&patterns, interface, address.parse().expect("an address"))
    }

    #[test]
    fn without_patterns_every_interface_is_used() {
        assert!(used(&[], "eth0", "192.0.2.1"));
    }

    #[test]
    fn only_what_is_named_is_used() {
        assert!(used(&["eth*", "wlan0"], "eth12", "192.0.2.1"));
        assert!(used(&["eth*", "wlan0"], "wlan0", "2001:db8::1"));
        assert!(!used(&["eth*", "wlan0"], "wlan01", "192.0.2.1"));
        assert!(!used(&["eth*"], "veth1", "192.0.2.1"));
        assert!(used(&["*h*0"], "eth10", "192.0.2.1"));
    }

    #[test]
    fn what_is_left_out_is_out_and_everything_else_stays() {
        assert!(!used(&["!docker*", "!wg0"], "docker0", "172.17.0.1"));
        assert!(used(&["!docker*", "!wg0"], "eth0", "192.0.2.1"));
        assert!(!used(&["eth*", "!eth1"], "eth1", "192.0.2.1"), "in any order");
        assert!(!used(&["!eth1", "eth*"], "eth1", "192.0.2.1"));
        assert!(!used(&["eth*", "!eth1"], "wlan0", "192.0.2.1"));
    }

    #[test]
    fn networks_are_matched_by_their_first_bits() {
        assert!(used(&["10.0.0.0/8"], "eth0", "10.255.3.4"));
        assert!(!used(&["10.0.0.0/8"], "eth0", "11.0.0.1"));
        assert!(!used(&["10.0.0.0/8"], "eth0", "fd00::1"), "another family");
        assert!(used(&["192.168.4.0/23"], "eth0", "192.168.5.9"));
        assert!(!used(&["!fd00::/8"], "eth0", "fd12::1"));
        assert!(used(&["!fd00::/8"], "eth0", "2001:db8::1"));
        assert!(used(&["0.0.0.0/0"], "eth0", "192.0.2.1") && !used(&["0.0.0.0/0"], "eth0", "::2"));
        assert!(
            used(&["192.0.2.1/32"], "eth0", "192.0.2.1") && !used(&["192.0.2.1/32"], "eth0", "192.0.2.2")
        );
    }

    #[test]
    fn what_could_match_nothing_is_refused() {
        for bad in [
            "",
            "!",
            "!!eth0",
            "eth 0",
            "192.0.2.1",
            "10.0.0.0/33",
            "10/8",
            "::/129",
            "eth0/24",
            "interface-too-long",
        ] {
            assert_eq!(InterfacePattern::parse(bad), None, "{bad:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn every_text_is_read_or_refused(text in "[!*a-f0-9.:/]{0,20}", name in "[*a-f0-9]{0,15}", a: u128) {
            if let Some(pattern) = InterfacePattern::parse(&text) {
                prop_assert_eq!(InterfacePattern::parse(&pattern.to_string()), Some(pattern.clone()));
                is_used(std::slice::from_ref(&pattern), &name, IpAddr::from(a.to_be_bytes()));
                is_used(&[pattern], &name, IpAddr::from((a as u32).to_be_bytes()));
            }
        }
    }
}

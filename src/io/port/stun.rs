//! What kind of datagram is this, and what does it say of itself before anything is decrypted?
//!
//! The kinds that share a port are told apart by their first byte (RFC 7983 §7, RFC 9443 §3), STUN by its
//! magic cookie as well (RFC 8489 §5). Nothing here is authenticated.

use std::net::{IpAddr, SocketAddr};

/// A STUN transaction id (RFC 8489 §5).
pub type Transaction = [u8; 12];

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A STUN binding request: a connectivity check, or a question to a STUN server.
    Request,
    /// Its answer: it worked.
    Success,
    /// Its answer: it did not.
    Failure,
    /// What a TURN client and its server say to each other, ChannelData included (RFC 8656).
    Turn,
    /// DTLS.
    Dtls,
    /// RTP, in which a frame's last packet has a marker (RFC 6184 §5.1).
    Rtp {
        /// Whether it has.
        is_last: bool,
    },
    /// RTCP on the same port (RFC 5761 §4).
    Rtcp,
    /// Anything else.
    Other,
}

/// What the first bytes say.
pub fn kind(bytes: &[u8]) -> Kind {
    let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else { return Kind::Other };
    match first {
        0..=3 if bytes.get(4..8) == Some(&[0x21, 0x12, 0xa4, 0x42]) && bytes.len() >= 20 => {
            match (first, second) {
                (0, 1) => Kind::Request,
                (1, 1) => Kind::Success,
                (1, 0x11) => Kind::Failure,
                // A binding indication keeps an address alive and wants no answer.
                (0, 0x11) => Kind::Other,
                _ => Kind::Turn,
            }
        }
        20..=63 => Kind::Dtls,
        64..=79 => Kind::Turn,
        128..=191 if (192..=223).contains(&second) => Kind::Rtcp,
        128..=191 => Kind::Rtp { is_last: second & 0x80 != 0 },
        _ => Kind::Other,
    }
}

/// The USERNAME: `<receiver's ufrag>:<sender's ufrag>` in a connectivity check (RFC 8445 §7.2.2).
pub fn username(bytes: &[u8]) -> Option<&[u8]> {
    attribute(bytes, 0x0006)
}

/// Whether a check nominates its pair (RFC 8445 §7.1.1).
pub fn nominates(bytes: &[u8]) -> bool {
    attribute(bytes, 0x0025).is_some()
}

/// How a TURN server is told for whom something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// By the number of a channel that is bound to that address (RFC 8656 §12).
    Channel(u16),
    /// By the address itself, in a Send indication (RFC 8656 §11.1).
    Address(SocketAddr),
}

/// XOR-PEER-ADDRESS (RFC 8656 §18.3).
const PEER_ADDRESS: u16 = 0x0012;
/// DATA (RFC 8656 §18.4).
const DATA: u16 = 0x0013;
/// The first half of what addresses are combined with (RFC 8489 §5).
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

impl Relayed {
    /// What the server is to be sent, so that it passes the packet on. Neither form is authenticated: the
    /// server knows its client by the address. Over UDP ChannelData needs no padding (RFC 8656 §12.5).
    pub fn wrap(self, packet: &[u8]) -> Vec<u8> {
        // A packet is at most 1,500 bytes.
        let length = packet.len() as u16;
        let mut message = Vec::with_capacity(packet.len() + 56);
        match self {
            Relayed::Channel(number) => {
                message.extend(number.to_be_bytes());
                message.extend(length.to_be_bytes());
                message.extend(packet);
            }
            Relayed::Address(to) => {
                // Nobody answers an indication, so its transaction need not differ from another's.
                let transaction = [0; 12];
                message.extend([0x00, 0x16, 0, 0]);
                message.extend(COOKIE);
                message.extend(transaction);
                let address: Vec<u8> = match to.ip() {
                    IpAddr::V4(ip) => ip.octets().into(),
                    IpAddr::V6(ip) => ip.octets().into(),
                };
                message.extend(PEER_ADDRESS.to_be_bytes());
                // 20 at most.
                message.extend((4 + address.len() as u16).to_be_bytes());
                message.extend([0, if address.len() == 4 { 1 } else { 2 }]);
                message.extend((to.port() ^ 0x2112).to_be_bytes());
                let mask = COOKIE.into_iter().chain(transaction);
                message.extend(address.into_iter().zip(mask).map(|(byte, mask)| byte ^ mask));
                message.extend(DATA.to_be_bytes());
                message.extend(length.to_be_bytes());
                message.extend(packet);
                message.resize(message.len().next_multiple_of(4), 0);
                let attributes = (message.len() - 20) as u16;
                message[2..4].copy_from_slice(&attributes.to_be_bytes());
            }
        }
        message
    }
}

/// For whom a TURN server is to pass something on, and what.
pub fn relayed(bytes: &[u8]) -> Option<(Relayed, &[u8])> {
    match *bytes.first_chunk::<4>()? {
        [first @ 64..=79, second, high, low] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            Some((Relayed::Channel(u16::from_be_bytes([first, second])), bytes.get(4..4 + length)?))
        }
        [0x00, 0x16, ..] => {
            let inner = attribute(bytes, DATA)?;
            let value = attribute(bytes, PEER_ADDRESS)?;
            let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ 0x2112;
            let plain: Vec<u8> = value.get(4..)?.iter().zip(bytes.get(4..20)?).map(|(a, b)| a ^ b).collect();
            let ip = match plain.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(plain).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(plain).ok()?),
            };
            Some((Relayed::Address(SocketAddr::new(ip, port)), inner))
        }
        _ => None,
    }
}

/// The transaction of a STUN message.
pub fn transaction(bytes: &[u8]) -> Option<Transaction> {
    bytes.get(8..20)?.try_into().ok()
}

/// A STUN attribute's value (RFC 8489 §14): type, length, value, padded to 4 bytes.
fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = bytes.get(20..)?;
    loop {
        let kind = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let value = rest.get(4..4 + length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_is_told_can_be_read_again() {
        let packet = [22, 254, 253, 7, 7];
        for to in ["192.0.2.5:4711", "[2001:db8::5]:4711"] {
            let relayed_to = Relayed::Address(to.parse().expect("an address"));
            let message = relayed_to.wrap(&packet);
            assert_eq!(kind(&message), Kind::Turn);
            assert_eq!(message.len() % 4, 0);
            assert_eq!(usize::from(u16::from_be_bytes([message[2], message[3]])), message.len() - 20);
            assert_eq!(relayed(&message), Some((relayed_to, &packet[..])));
        }
        let message = Relayed::Channel(0x4001).wrap(&packet);
        assert_eq!(message[..4], [0x40, 0x01, 0, 5]);
        assert_eq!(relayed(&message), Some((Relayed::Channel(0x4001), &packet[..])));
        assert_eq!(relayed(&message[..8]), None, "it is cut off");
        assert_eq!(relayed(&packet), None);
    }
}

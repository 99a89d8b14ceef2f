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

/// Whether who sends this check takes itself for the controlling side (RFC 8445 §7.1.3).
pub fn leads(bytes: &[u8]) -> bool {
    attribute(bytes, 0x802a).is_some()
}

/// Whether this is a connectivity check, or a question to a STUN server; by a TURN server as well.
pub fn checks(bytes: &[u8]) -> bool {
    match kind(bytes) {
        Kind::Turn => relayed(bytes).is_some_and(|(_, inner)| kind(inner) == Kind::Request),
        kind => kind == Kind::Request,
    }
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
/// XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
const MAPPED_ADDRESS: u16 = 0x0020;
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
                let address = xored(to, transaction);
                message.extend(PEER_ADDRESS.to_be_bytes());
                // 20 at most.
                message.extend((address.len() as u16).to_be_bytes());
                message.extend(address);
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

/// For whom a TURN server is to pass something on, or from whom it does (RFC 8656 §11.3), and what.
pub fn relayed(bytes: &[u8]) -> Option<(Relayed, &[u8])> {
    match *bytes.first_chunk::<4>()? {
        [first @ 64..=79, second, high, low] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            Some((Relayed::Channel(u16::from_be_bytes([first, second])), bytes.get(4..4 + length)?))
        }
        [0x00, 0x16 | 0x17, ..] => {
            let inner = attribute(bytes, DATA)?;
            Some((Relayed::Address(address(bytes, PEER_ADDRESS)?), inner))
        }
        _ => None,
    }
}

/// The transaction of a STUN message.
pub fn transaction(bytes: &[u8]) -> Option<Transaction> {
    bytes.get(8..20)?.try_into().ok()
}

/// The transaction of a request of any method (RFC 8489 §5: the two bits of the class are 0).
pub fn request(bytes: &[u8]) -> Option<Transaction> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let is_request = first <= 63 && first & 0x01 == 0 && second & 0x10 == 0;
    is_request.then(|| transaction(bytes)).flatten()
}

/// A question to a STUN server: under which address it sees us (RFC 8489 §5).
pub fn binding_request(transaction: Transaction) -> Vec<u8> {
    let mut message = vec![0x00, 0x01, 0, 0];
    message.extend(COOKIE);
    message.extend(transaction);
    message
}

/// Its answer.
pub fn mapped_address(bytes: &[u8]) -> Option<SocketAddr> {
    (kind(bytes) == Kind::Success).then(|| address(bytes, MAPPED_ADDRESS)).flatten()
}

/// An address in an attribute that is combined with the header (RFC 8489 §14.2).
pub fn address(bytes: &[u8], wanted: u16) -> Option<SocketAddr> {
    let value = attribute(bytes, wanted)?;
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ 0x2112;
    let plain: Vec<u8> = value.get(4..)?.iter().zip(bytes.get(4..20)?).map(|(a, b)| a ^ b).collect();
    let ip = match plain.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(plain).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(plain).ok()?),
    };
    Some(SocketAddr::new(ip, port))
}

/// An attribute's value with an address, combined with the header of a message of this transaction (RFC 8489 §14.2).
pub fn xored(address: SocketAddr, transaction: Transaction) -> Vec<u8> {
    let (family, ip): (u8, Vec<u8>) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().into()),
        IpAddr::V6(ip) => (2, ip.octets().into()),
    };
    let mut value = vec![0, family];
    value.extend((address.port() ^ 0x2112).to_be_bytes());
    let mask = COOKIE.into_iter().chain(transaction);
    value.extend(ip.into_iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}

/// Whether a TURN client sends something on with it: a Send indication, or ChannelData (RFC 8656 §11, §12).
pub fn is_relayed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x00, 0x16]) || bytes.first().is_some_and(|first| (64..=79).contains(first))
}

/// Whether a TURN server has lent an address: the success response to Allocate (RFC 8656 §7.3).
pub fn is_allocation(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x01, 0x03])
}

/// Whether a TURN server lets a peer through: the success response to CreatePermission (RFC 8656 §10.3).
pub fn is_permission(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x01, 0x08])
}

/// Whether a TURN server refuses to refresh an allocation since it knows none: 437, or 401 from a server
/// that has restarted and does not know its own nonce (RFC 8656 §8.2, §19).
pub fn is_allocation_unknown(bytes: &[u8]) -> bool {
    let code = || match *attribute(bytes, 0x0009)? {
        [_, _, hundreds, rest, ..] => Some(u16::from(hundreds & 7) * 100 + u16::from(rest)),
        _ => None,
    };
    bytes.starts_with(&[0x01, 0x14]) && matches!(code(), Some(401 | 437))
}

/// A STUN attribute's value (RFC 8489 §14): type, length, value, padded to 4 bytes.
pub fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
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
pub(super) mod tests {
    use super::*;

    /// A STUN server's answer.
    pub(in crate::io::port) fn success(transaction: Transaction, seen_as: SocketAddr) -> Vec<u8> {
        let wrapped = Relayed::Address(seen_as).wrap(&[]);
        let mut message = binding_request(transaction);
        message[0] = 1;
        // The first attribute of the indication has the same form.
        let length = 4 + usize::from(u16::from_be_bytes([wrapped[22], wrapped[23]]));
        message.extend(&wrapped[20..20 + length]);
        message[20..22].copy_from_slice(&MAPPED_ADDRESS.to_be_bytes());
        message[3] = length as u8;
        // That one was combined with a transaction of zeros.
        if seen_as.is_ipv6() {
            message[32..44].iter_mut().zip(transaction).for_each(|(byte, mask)| *byte ^= mask);
        }
        message
    }

    #[test]
    fn a_stun_server_s_answer_is_read() {
        for seen_as in ["203.0.113.5:4000", "[2001:db8::5]:4000"] {
            let seen_as: SocketAddr = seen_as.parse().expect("an address");
            assert_eq!(mapped_address(&success([3; 12], seen_as)), Some(seen_as));
        }
    }

    #[test]
    fn a_server_that_knows_no_allocation_is_understood() {
        let refused = |code: [u8; 2]| {
            let mut message = vec![0x01, 0x14, 0, 8, 0x21, 0x12, 0xa4, 0x42];
            message.extend([7; 12]);
            message.extend([0, 9, 0, 4, 0, 0, code[0], code[1]]);
            is_allocation_unknown(&message)
        };
        assert!(refused([4, 37]) && refused([4, 1]));
        assert!(!refused([4, 38]), "a stale nonce is renewed");
    }

    #[test]
    fn requests_are_told_from_answers_and_indications() {
        let of = |first: u8, second: u8| {
            let mut message = vec![first, second, 0, 0, 0x21, 0x12, 0xa4, 0x42];
            message.extend([7; 12]);
            request(&message)
        };
        for (first, second) in [(0, 1), (0, 3), (0, 4), (0, 8), (0, 9)] {
            assert_eq!(of(first, second), Some([7; 12]));
        }
        for (first, second) in [(1, 1), (1, 3), (1, 0x13), (0, 0x16), (0, 0x17), (0x40, 0)] {
            assert_eq!(of(first, second), None);
        }
    }

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

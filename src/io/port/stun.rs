//! What kind of datagram is this, and what does it say of itself before anything is decrypted?
//!
//! The kinds that share a port are told apart by their first byte (RFC 7983 §7, RFC 9443 §3), STUN by its
//! magic cookie as well (RFC 8489 §5). Nothing here is authenticated.

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

/// Whether a TURN client sends something on with it: a Send indication, or ChannelData (RFC 8656 §11, §12).
pub fn is_relayed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x00, 0x16]) || bytes.first().is_some_and(|first| (64..=79).contains(first))
}

/// Whether a TURN server has lent an address: the success response to Allocate (RFC 8656 §7.3).
pub fn is_allocation(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x01, 0x03])
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

//! What stands in a packet of RTCP, before any of it is read?

/// The first part of a compound packet with its header, and the rest (RFC 3550 §6.4.1); `None`: there is no more.
pub fn first_part(compound: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[_, _, high, low] = compound.first_chunk()?;
    compound.split_at_checked(4 * (usize::from(u16::from_be_bytes([high, low])) + 1))
}

/// Of how many packets transport-wide feedback tells; `None`: it is none.
pub fn told(part: &[u8]) -> Option<u16> {
    let &[kind, packet_type] = part.first_chunk()?;
    let is_feedback = kind & 0x1f == 15 && packet_type == 205;
    is_feedback.then(|| part.get(14..16)).flatten().map(|count| u16::from_be_bytes([count[0], count[1]]))
}

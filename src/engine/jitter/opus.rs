//! How long is an Opus packet?

/// Samples at 48 kHz (RFC 6716 §3.1 and §3.2); `None` for what cannot be an Opus packet.
pub fn duration_samples(packet: &[u8]) -> Option<u16> {
    let toc = *packet.first()?;
    let frame: u16 = match toc >> 3 {
        // SILK: 10, 20, 40, 60 ms.
        config @ 0..=11 => [480, 960, 1920, 2880][usize::from(config % 4)],
        // Hybrid: 10, 20 ms.
        config @ 12..=15 => [480, 960][usize::from(config % 2)],
        // CELT: 2.5, 5, 10, 20 ms.
        config => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u16::from(*packet.get(1)? & 0x3f),
    };
    // At most 63 * 2880, which would not fit; a packet of over 120 ms is not allowed (§3.2.5).
    frame.checked_mul(frames).filter(|samples| (1..=5760).contains(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_how_long_a_packet_is() {
        for (packet, samples) in [
            // CELT fullband 20 ms, one frame, as browsers send music.
            (&[0xfc_u8, 0xff, 0xfe][..], Some(960)),
            // SILK wideband 20 ms; hybrid 10 ms twice.
            (&[0x48, 0], Some(960)),
            (&[0x61, 0], Some(960)),
            // SILK 60 ms, two frames: as long as a packet may be.
            (&[0x19, 0], Some(5760)),
            (&[0x1b, 0x03], None),
            // Code 3 with six frames of 20 ms, with none, and without its second byte.
            (&[0xff, 0x06], Some(5760)),
            (&[0xff, 0x00], None),
            (&[0xff], None),
            (&[], None),
        ] {
            assert_eq!(duration_samples(packet), samples, "{packet:x?}");
        }
    }
}

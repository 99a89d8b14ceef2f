//! When did packets arrive? Read from transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
//!
//! It is most of what a viewer sends. The library would make lists in lists of it, to be made one list here.

use std::time::Duration;

use super::viewer_clock::ViewerClock;

/// The header, two sources, and what stands before the first chunk.
const FIXED_BYTES: usize = 20;
const CHUNK_BYTES: usize = 2;
/// The unit of the time between two packets.
const DELTA_US: i64 = 250;

/// What became of a packet.
const SMALL_DELTA: u16 = 1;
const LARGE_DELTA: u16 = 2;
const NOT_RECEIVED: u16 = 0;

/// When packets arrived by their transport-wide numbers, in order, by the viewer's clock; `None`: not until now.
/// A message that is cut off says nothing of the rest.
pub fn read(feedback: &[u8], clock: &mut ViewerClock) -> Vec<(u16, Option<Duration>)> {
    let Some((fixed, rest)) = unpadded(feedback).split_first_chunk::<FIXED_BYTES>() else {
        return Vec::new();
    };
    let [.., a, b, c, d, e, f, g, _] = *fixed;
    let (first, count) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
    let reference = u32::from_be_bytes([0, e, f, g]);
    let (mut covered, mut chunks) = (0, 0);
    while covered < count {
        let Some(&[high, low]) = rest[chunks..].first_chunk::<CHUNK_BYTES>() else { return Vec::new() };
        // A run of none would never end.
        covered += symbols(u16::from_be_bytes([high, low])).len().max(1);
        chunks += CHUNK_BYTES;
    }
    let (chunks, mut deltas) = rest.split_at(chunks);
    let (chunks, _) = chunks.as_chunks::<CHUNK_BYTES>();
    let mut clock_us = i64::try_from(clock.time(reference).as_micros()).unwrap_or(i64::MAX);
    let mut told = Vec::with_capacity(count);
    let statuses = chunks.iter().flat_map(|chunk| symbols(u16::from_be_bytes(*chunk)));
    // The count has 16 bits.
    for (n, status) in (0..count as u16).zip(statuses) {
        let delta = match status {
            SMALL_DELTA => take::<1>(&mut deltas).map(|[delta]| i64::from(delta)),
            LARGE_DELTA => take::<2>(&mut deltas).map(|delta| i64::from(i16::from_be_bytes(delta))),
            NOT_RECEIVED => {
                told.push((first.wrapping_add(n), None));
                continue;
            }
            // Received, and nobody knows when.
            _ => continue,
        };
        let Some(delta) = delta else { break };
        clock_us = clock_us.saturating_add(delta * DELTA_US);
        told.push((first.wrapping_add(n), Some(Duration::from_micros(clock_us.max(0).unsigned_abs()))));
    }
    told
}

/// Without padding, whose length is its last byte (RFC 3550 §6.4.1).
fn unpadded(packet: &[u8]) -> &[u8] {
    let (Some(first), Some(&padding)) = (packet.first(), packet.last()) else { return packet };
    let padding = if first & 0x20 == 0 { 0 } else { usize::from(padding) };
    &packet[..packet.len().saturating_sub(padding)]
}

/// What a chunk says of the packets that it covers: a run of one status, 14 of one bit or seven of two.
fn symbols(chunk: u16) -> impl ExactSizeIterator<Item = u16> {
    let kind = chunk >> 14;
    let length = match kind {
        0 | 1 => chunk & 0x1fff,
        2 => 14,
        _ => 7,
    };
    (0..length).map(move |n| match kind {
        0 | 1 => chunk >> 13 & 3,
        2 => chunk >> (13 - n) & 1,
        _ => chunk >> (12 - 2 * n) & 3,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (&taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feedback(first: u16, count: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        bytes.extend(first.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        bytes.extend([0, 0, 2, 0]);
        bytes.extend(rest);
        bytes
    }

    fn told_in(feedback: &[u8]) -> Vec<(u16, Option<Duration>)> {
        read(feedback, &mut ViewerClock::default())
    }

    fn at(us: u64) -> Option<Duration> {
        Some(ViewerClock::default().time(2) + Duration::from_micros(us))
    }

    #[test]
    fn arrivals_are_read_from_runs_and_vectors_over_the_wrap_of_the_numbers() {
        // Two with small deltas; seven of two bits, of which the count takes three: none, small, large.
        let chunks = [0b0010_0000, 2, 0b1100_0110, 0];
        let bytes = feedback(65_534, 5, &[&chunks[..], &[1, 2, 4, 0xff, 0xfd]].concat());
        let expected = [(65_534, at(250)), (65_535, at(750)), (0, None), (1, at(1_750)), (2, at(1_000))];
        assert_eq!(told_in(&bytes), expected);
        assert_eq!(told_in(&bytes[..bytes.len() - 1]), expected[..4], "the rest is cut off");
        assert_eq!(told_in(&bytes[..bytes.len() - 5]), [], "and so are all times");
    }

    #[test]
    fn fourteen_fit_into_a_vector_of_bits_and_padding_says_nothing() {
        let mut bytes = feedback(7, 14, &[0b1010_0000, 0b0000_0001, 4, 8, 0, 0, 3]);
        bytes[0] |= 0x20;
        let told = told_in(&bytes);
        assert_eq!(told.len(), 14);
        assert_eq!((told[0], told[13]), ((7, at(1_000)), (20, at(3_000))));
        assert!(told[1..13].iter().all(|(_, arrived)| arrived.is_none()));
    }

    #[test]
    fn a_run_of_none_ends() {
        assert_eq!(told_in(&feedback(7, 3, &[0, 0, 0, 0, 0, 3])), [(7, None), (8, None), (9, None)]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(bytes in prop::collection::vec(any::<u8>(), 0..80), count in any::<u16>()) {
            told_in(&bytes);
            told_in(&feedback(65_000, count, &bytes));
        }
    }
}

//! Where do NAL units begin and end in a byte stream (H.264 Annex B)?
//!
//! A start code is `00 00 01`; the zero before it in the four-byte form, and any more, are padding
//! (`leading_zero_8bits`, `zero_byte`, `trailing_zero_8bits`) that belongs to no NAL unit. A NAL unit
//! never ends in a zero byte (§7.4.1), so padding can be told from content.

use bytes::{BufMut, Bytes, BytesMut};

/// The four-byte form, which every reader takes (§B.1.1 demands it before parameter sets).
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The index of the next `00 00 01` at or after `from`.
pub fn find_start_code(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at + 3 <= data.len() {
        // The third byte decides how far the search can jump: above 1 no start code overlaps it.
        match data[at + 2] {
            0 => at += 1,
            1 if data[at] == 0 && data[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

/// The NAL units of `data` without their start codes: slices of the same memory, never empty.
/// Bytes before the first start code belong to no NAL unit and are passed over.
pub fn nal_units(data: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let data = data.clone();
    let mut next = find_start_code(&data, 0);
    std::iter::from_fn(move || {
        loop {
            let begin = next? + 3;
            next = find_start_code(&data, begin);
            let end = without_padding(&data, begin, next.unwrap_or(data.len()));
            if begin < end {
                return Some(data.slice(begin..end));
            }
        }
    })
}

/// Writes `nals` one after the other, each behind a four-byte start code.
pub fn join<'a>(nals: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let mut joined = BytesMut::new();
    for nal in nals {
        joined.put_slice(&START_CODE);
        joined.put_slice(nal);
    }
    joined.freeze()
}

/// `end`, moved back over the zeros that pad `data[begin..end]`.
fn without_padding(data: &[u8], begin: usize, end: usize) -> usize {
    let content = data[begin..end].iter().rposition(|&byte| byte != 0);
    content.map_or(begin, |last| begin + last + 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A NAL unit as an encoder makes it: emulation prevention applied (§7.4.1), last byte not zero.
    pub(crate) fn any_nal() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 1..40).prop_map(|raw| {
            let mut nal: Vec<u8> = Vec::new();
            for byte in raw {
                if byte <= 3 && nal.ends_with(&[0, 0]) {
                    nal.push(3);
                }
                nal.push(byte);
            }
            nal.push(0x80);
            Bytes::from(nal)
        })
    }

    #[test]
    fn start_codes_of_three_and_four_bytes_are_found() {
        let data =
            Bytes::from_static(&[0, 0, 0, 1, 9, 0x10, 0, 0, 1, 0x65, 1, 2, 0, 0, 0, 0, 1, 0x41, 7, 0, 0]);
        let nals: Vec<Bytes> = nal_units(&data).collect();
        assert_eq!(nals, [&[9, 0x10][..], &[0x65, 1, 2], &[0x41, 7]]);
    }

    #[test]
    fn nal_units_share_the_buffers_memory() {
        let data = Bytes::from_static(&[0, 0, 1, 0x65, 1]);
        let nal = nal_units(&data).next().expect("there is one");
        assert_eq!(nal.as_ptr(), data[3..].as_ptr());
    }

    proptest! {
        #[test]
        fn splitting_what_was_joined_gives_the_same_nal_units(
            nals in proptest::collection::vec(any_nal(), 0..8)
        ) {
            prop_assert_eq!(nal_units(&join(&nals)).collect::<Vec<_>>(), nals);
        }

        #[test]
        fn any_bytes_are_taken(data in proptest::collection::vec(prop_oneof![0u8..3, any::<u8>()], 0..200)) {
            for nal in nal_units(&Bytes::from(data)) {
                prop_assert!(!nal.is_empty());
                prop_assert_eq!(find_start_code(&nal, 0), None);
            }
        }
    }
}

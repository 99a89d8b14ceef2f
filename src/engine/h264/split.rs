//! Where does one picture end and the next begin in a byte stream (H.264 §7.4.1.2.3)?
//!
//! For sources without packet boundaries: a pipe, a file. The stream may arrive in any chunks. A
//! picture is known to be whole only when the first NAL unit of the next one has begun, so a live
//! stream leaves this one picture late; cameras that deliver a picture per buffer do not pass here.

use bytes::{Bytes, BytesMut};

use super::annex_b::find_start_code;
use super::nal::{NalType, begins_access_unit};

/// More than any one picture: level 5.2 caps a picture at 36 864 macroblocks of at most 3 200 bits
/// (§A.3.1), 14.7 MB. A stream that has no picture in so many bytes is no H.264, and is let go.
const LONGEST_PICTURE: usize = 16 * 1024 * 1024;

/// The bytes from a start code on that tell whether a picture begins: `00 00 01`, header, slice header.
const DECIDING_BYTES: usize = 5;

/// Cuts a byte stream into access units, start codes included.
#[derive(Debug, Default)]
pub struct AccessUnitSplitter {
    /// What is not yet handed out; begins with a start code once `begun`.
    buffer: BytesMut,
    /// Before this index every start code of `buffer` has been looked at.
    scanned: usize,
    /// Whether `buffer` begins with a start code: bytes before the first are thrown away.
    begun: bool,
    /// Whether `buffer[..scanned]` holds picture data, so that the next picture can begin.
    has_picture: bool,
}

impl AccessUnitSplitter {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream. Call [`next_unit`](Self::next_unit) until it is `None` afterwards.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.buffer.len() > LONGEST_PICTURE {
            *self = Self::new();
        }
        self.buffer.extend_from_slice(chunk);
    }

    /// The next picture whose end has been seen, with the parameter sets and SEI before it.
    pub fn next_unit(&mut self) -> Option<Bytes> {
        while let Some(at) = find_start_code(&self.buffer, self.scanned) {
            if !self.begun {
                let _no_nal_unit = self.buffer.split_to(self.with_zero_byte(at));
                (self.begun, self.scanned) = (true, 0);
                continue;
            }
            if self.buffer.len() < at + DECIDING_BYTES {
                self.scanned = at;
                return None;
            }
            let nal = &self.buffer[at + 3..];
            if self.has_picture && begins_access_unit(nal) {
                let unit = self.buffer.split_to(self.with_zero_byte(at)).freeze();
                (self.scanned, self.has_picture) = (0, false);
                return Some(unit);
            }
            self.has_picture |= NalType::of(nal).is_some_and(NalType::is_picture_data);
            self.scanned = at + 3;
        }
        // The last two bytes may be the zeros of a start code whose one is still to come.
        self.scanned = self.scanned.max(self.buffer.len().saturating_sub(2));
        None
    }

    /// `at`, or the index of the zero before it: that of a four-byte start code goes with the NAL unit
    /// that it announces.
    fn with_zero_byte(&self, at: usize) -> usize {
        if at > 0 && self.buffer[at - 1] == 0 { at - 1 } else { at }
    }

    /// What is left at the end of the stream, when it holds a picture.
    pub fn finish(mut self) -> Option<Bytes> {
        let tail = self.buffer.split().freeze();
        let holds_picture = |nal: Bytes| NalType::of(&nal).is_some_and(NalType::is_picture_data);
        super::annex_b::nal_units(&tail).any(holds_picture).then_some(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::super::annex_b::{join, nal_units, tests::any_nal};
    use super::*;
    use proptest::prelude::*;

    fn split(stream: &[u8], chunk_len: usize) -> Vec<Bytes> {
        let mut splitter = AccessUnitSplitter::new();
        let mut units = Vec::new();
        for chunk in stream.chunks(chunk_len.max(1)) {
            splitter.push(chunk);
            while let Some(unit) = splitter.next_unit() {
                units.push(unit);
            }
        }
        units.extend(splitter.finish());
        units
    }

    fn nals(list: &[&'static [u8]]) -> Bytes {
        join(&list.iter().map(|nal| Bytes::from_static(nal)).collect::<Vec<_>>())
    }

    const SPS: &[u8] = &[0x67, 0x42];
    const PPS: &[u8] = &[0x68, 0xce];
    const SEI: &[u8] = &[0x06, 0x05];
    const AUD: &[u8] = &[0x09, 0xf0];
    const IDR: &[u8] = &[0x65, 0x88, 0x80];
    const IDR_SECOND_SLICE: &[u8] = &[0x65, 0x48, 0x80];
    const P: &[u8] = &[0x41, 0x9a, 0x80];

    #[test]
    fn slices_of_one_picture_stay_together() {
        let stream = nals(&[SPS, PPS, IDR, IDR_SECOND_SLICE, P, P]);
        assert_eq!(split(&stream, 7), [nals(&[SPS, PPS, IDR, IDR_SECOND_SLICE]), nals(&[P]), nals(&[P])]);
    }

    #[test]
    fn delimiters_parameter_sets_and_sei_go_with_the_picture_after_them() {
        let stream = nals(&[AUD, P, SEI, P, SPS, PPS, SEI, IDR, AUD, P]);
        let expected = [nals(&[AUD, P]), nals(&[SEI, P]), nals(&[SPS, PPS, SEI, IDR]), nals(&[AUD, P])];
        assert_eq!(split(&stream, 1), expected);
        assert_eq!(split(&stream, 1000), expected);
    }

    #[test]
    fn a_stream_that_begins_in_the_middle_is_cut_from_its_first_start_code() {
        let stream = [&[0x12, 0x34, 0x56][..], &nals(&[P]), &nals(&[P])].concat();
        assert_eq!(split(&stream, 2), [nals(&[P]), nals(&[P])]);
    }

    proptest! {
        #[test]
        fn no_slice_is_lost_in_any_chunking(
            list in proptest::collection::vec(any_nal(), 0..12),
            chunk_len in 1usize..40,
        ) {
            let is_slice = |nal: &Bytes| NalType::of(nal).is_some_and(NalType::is_picture_data);
            let slices: Vec<Bytes> = list.iter().filter(|nal| is_slice(nal)).cloned().collect();
            let units = split(&join(&list), chunk_len);
            let found: Vec<Bytes> = units.iter().flat_map(nal_units).filter(is_slice).collect();
            prop_assert_eq!(found, slices);
        }

        #[test]
        fn any_bytes_split_alike_in_any_chunking(
            stream in proptest::collection::vec(prop_oneof![0u8..3, any::<u8>(), Just(0x65), Just(0x41)], 0..300),
            chunk_len in 1usize..40,
        ) {
            prop_assert_eq!(split(&stream, chunk_len), split(&stream, stream.len()));
        }
    }
}

//! Where does one picture end and the next begin in a byte stream (H.264 §7.4.1.2.3)?
//!
//! For sources without packet boundaries: a pipe, a file. The stream may arrive in any chunks. A
//! picture is known to be whole only when the first NAL unit of the next one has begun, so a live
//! stream leaves this one picture late; [`LiveSplitter`](super::LiveSplitter) knows more of its writer.
//! Cameras that deliver a picture per buffer do not pass here.

use bytes::{Bytes, BytesMut};

use super::annex_b::find_start_code;
use super::nal::{NalType, begins_access_unit};

/// More than any one picture that a viewer could be sent: at 30 per second this is 1 Gbit/s. A longer one
/// is dropped, so that a stream without an end costs no more memory than this.
pub const LONGEST_PICTURE: usize = 4 * 1024 * 1024;

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
    /// The slices in `buffer[..scanned]`; once there is one, the next picture can begin.
    slices: usize,
    /// Pictures dropped for their length since [`take_dropped`](Self::take_dropped).
    dropped: u64,
    /// The rest of a dropped picture is still to come, and is thrown away.
    is_skipping: bool,
}

impl AccessUnitSplitter {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream. Call [`next_unit`](Self::next_unit) until it is `None` afterwards.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next picture whose end has been seen, with the parameter sets and SEI before it.
    pub fn next_unit(&mut self) -> Option<Bytes> {
        self.next_counted().map(|(unit, _)| unit)
    }

    /// The same, with the number of its slices.
    pub(super) fn next_counted(&mut self) -> Option<(Bytes, usize)> {
        while let Some(at) = find_start_code(&self.buffer, self.scanned) {
            if self.buffer.len() < at + DECIDING_BYTES {
                self.scanned = at;
                self.keep_short();
                return None;
            }
            let nal = &self.buffer[at + 3..];
            let (begins, is_slice) =
                (begins_access_unit(nal), NalType::of(nal).is_some_and(NalType::is_picture_data));
            if !self.begun {
                if self.is_skipping && !begins {
                    self.scanned = at + 3;
                    continue;
                }
                self.drop_before(at);
                (self.begun, self.is_skipping) = (true, false);
            } else if self.slices > 0 && begins {
                let unit = self.buffer.split_to(self.with_zero_byte(at)).freeze();
                let slices = std::mem::take(&mut self.slices);
                self.scanned = 0;
                if unit.len() <= LONGEST_PICTURE {
                    return Some((unit, slices));
                }
                self.dropped += 1;
            } else {
                self.slices += usize::from(is_slice);
                self.scanned = at + 3;
            }
        }
        // The last two bytes may be the zeros of a start code whose one is still to come.
        self.scanned = self.scanned.max(self.buffer.len().saturating_sub(2));
        self.keep_short();
        None
    }

    /// How many pictures were dropped because they were longer than [`LONGEST_PICTURE`], since the last
    /// call. The pictures that refer to them cannot be shown.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// All that is held, taken for a whole picture, although the next has not begun.
    pub(super) fn cut_here(&mut self) -> Option<Bytes> {
        if self.slices == 0 {
            return None;
        }
        (self.scanned, self.slices, self.begun) = (0, 0, false);
        Some(self.buffer.split().freeze())
    }

    /// Throws away what is held and what comes before the next picture begins.
    pub(super) fn skip_to_next_picture(&mut self) {
        (self.begun, self.slices, self.is_skipping) = (false, 0, true);
    }

    /// How many slices there are in what is held.
    pub(super) fn slices(&self) -> usize {
        self.slices
    }

    /// What is held.
    pub(super) fn held(&self) -> &[u8] {
        &self.buffer
    }

    /// Lets go of what belongs to no picture, or to one that has become too long.
    fn keep_short(&mut self) {
        if !self.begun {
            self.drop_before(self.scanned);
        } else if self.buffer.len() > LONGEST_PICTURE {
            self.dropped += 1;
            self.skip_to_next_picture();
            self.drop_before(self.scanned);
        }
    }

    fn drop_before(&mut self, at: usize) {
        let _no_picture = self.buffer.split_to(self.with_zero_byte(at));
        self.scanned = 0;
    }

    /// `at`, or the index of the zero before it: that of a four-byte start code goes with the NAL unit
    /// that it announces.
    fn with_zero_byte(&self, at: usize) -> usize {
        if at > 0 && self.buffer[at - 1] == 0 { at - 1 } else { at }
    }

    /// What is left at the end of the stream, when it holds a picture.
    pub fn finish(mut self) -> Option<Bytes> {
        if self.is_skipping || self.buffer.len() > LONGEST_PICTURE {
            return None;
        }
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

    #[test]
    fn a_picture_without_an_end_is_dropped_and_the_next_one_taken() {
        let endless = [nals(&[SPS, PPS, IDR]).to_vec(), vec![0xab; LONGEST_PICTURE + 1]].concat();
        let stream = [&endless[..], &nals(&[IDR_SECOND_SLICE, AUD, P, P])].concat();
        for chunk_len in [4096, 65_536, stream.len()] {
            let mut splitter = AccessUnitSplitter::new();
            let mut units = Vec::new();
            for chunk in stream.chunks(chunk_len) {
                splitter.push(chunk);
                units.extend(std::iter::from_fn(|| splitter.next_unit()));
                assert!(chunk_len == stream.len() || splitter.held().len() <= LONGEST_PICTURE);
            }
            assert_eq!(splitter.take_dropped(), 1);
            units.extend(splitter.finish());
            assert_eq!(units, [nals(&[AUD, P]), nals(&[P])], "in chunks of {chunk_len}");
        }
    }

    #[test]
    fn what_is_no_video_at_all_is_not_kept() {
        let mut splitter = AccessUnitSplitter::new();
        for _ in 0..100 {
            splitter.push(&[0x55; 65_536]);
            assert_eq!(splitter.next_unit(), None);
            assert!(splitter.held().len() < 4);
        }
        assert_eq!(splitter.take_dropped(), 0);
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

//! When is a picture whole in a stream that a program writes while it is read?
//!
//! Annex B marks where a picture begins, never where it ends; whoever waits for the next one to begin is
//! a picture late, 33 ms at 30 per second. A pause in the stream is no mark: a busy board makes pauses
//! in the middle of a picture as well. But a program that flushes after each picture ends a write(2) with
//! it, and where a write ends can be seen (`io/capture/command/pipe.rs`). So this watches the program:
//!
//! ```text
//!            20 pictures, each with as many slices as the others,
//!            and no write that ended inside of a NAL unit
//! learning ────────────────────────────────────────────────────> trusting
//!     │  a write ended inside of a NAL unit, or slices vary          │
//!     └───────────────────────> waiting <────────────────────────────┘
//! ```
//!
//! While trusting, a picture is handed out as soon as a write ends and its slices are complete. In the
//! other states it waits for the next one to begin. No clock decides, so no delay can tear a picture.
//! Should a trusted program change its ways, what it continues after its end is dropped, up to the next
//! keyframe, and it is never trusted again.

use std::collections::VecDeque;

use bytes::Bytes;

use super::AccessUnitSplitter;
use super::nal::{NalType, begins_access_unit};
use crate::units::MediaTime;

/// So many pictures a program is watched: less than a second at 30 per second.
const PICTURES_WATCHED: usize = 20;
/// The bytes behind a write's end that tell what follows: a start code of four bytes, the NAL unit's
/// header and the first of its slice header.
const TELLING_BYTES: usize = 6;
/// A picture's first byte is found at most six bytes before the last one received (`DECIDING_BYTES` and
/// the zero before it), so in one of the last six chunks.
const CHUNKS_REMEMBERED: usize = 6;

/// Where a chunk of the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEnd {
    /// Where the program's write(2) ended.
    OfWrite,
    /// Perhaps there, perhaps in its middle.
    Anywhere,
}

/// A picture and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivedUnit {
    /// Annex B, with the parameter sets and SEI before it.
    pub data: Bytes,
    /// When its first byte came.
    pub arrived: MediaTime,
    /// Something before it was dropped: up to the next keyframe nothing can be shown.
    pub follows_loss: bool,
}

/// Cuts the output of a running program into access units.
#[derive(Debug, Default)]
pub struct LiveSplitter {
    splitter: AccessUnitSplitter,
    /// Bytes received since the start.
    received: u64,
    /// The latest chunks: the number of bytes before each, and when it came.
    chunks: VecDeque<(u64, MediaTime)>,
    /// Where the picture that is being received begins, and when that byte came.
    begun: Option<(u64, MediaTime)>,
    ready: VecDeque<ArrivedUnit>,
    ways: Ways,
    /// The first bytes behind the latest end of a write, as long as they do not tell enough.
    behind_end: Option<BehindEnd>,
    is_loss_unsaid: bool,
    /// Pictures dropped for their length, and those that were torn, since they were asked for.
    dropped: u64,
}

/// What is known of the program's ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    Learning { pictures: usize, slices: usize },
    Trusted { slices: usize },
    Unsteady,
}

impl Default for Ways {
    fn default() -> Self {
        Ways::Learning { pictures: 0, slices: 0 }
    }
}

#[derive(Clone, Debug, Default)]
struct BehindEnd {
    bytes: Vec<u8>,
    /// A picture was handed out at this end.
    is_cut: bool,
}

impl LiveSplitter {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, which came at `at`. Call [`next_unit`](Self::next_unit) until it is `None`
    /// afterwards.
    pub fn push(&mut self, chunk: &[u8], end: ChunkEnd, at: MediaTime) {
        if chunk.is_empty() {
            return;
        }
        self.look_behind_end(chunk);
        if self.chunks.len() == CHUNKS_REMEMBERED {
            self.chunks.pop_front();
        }
        self.chunks.push_back((self.received, at));
        self.received += chunk.len() as u64;
        self.splitter.push(chunk);
        while let Some((unit, slices)) = self.splitter.next_counted() {
            self.learn(slices);
            self.hand_out(unit);
        }
        self.note_loss();
        if end == ChunkEnd::OfWrite {
            self.write_ended();
        }
        self.note_begin();
    }

    /// The next whole picture.
    pub fn next_unit(&mut self) -> Option<ArrivedUnit> {
        self.ready.pop_front()
    }

    /// Whether there is one.
    pub fn has_unit(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether pictures are handed out as soon as they are written, not when the next one begins.
    pub fn is_prompt(&self) -> bool {
        matches!(self.ways, Ways::Trusted { .. })
    }

    /// How many pictures were dropped since the last call, because they had no end within
    /// [`LONGEST_PICTURE`](super::split::LONGEST_PICTURE) or went on after it.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// The end of a write is a fact about the program once it is known what it wrote next.
    fn write_ended(&mut self) {
        if let Some(behind) = self.behind_end.take() {
            // It writes in crumbs, too small to be looked at.
            self.distrust(behind.is_cut);
        }
        let is_whole = matches!(self.ways, Ways::Trusted { slices } if slices == self.splitter.slices());
        let cut = if is_whole { self.splitter.cut_here() } else { None };
        self.behind_end = Some(BehindEnd { bytes: Vec::new(), is_cut: cut.is_some() });
        if let Some(unit) = cut {
            self.hand_out(unit);
        }
    }

    fn look_behind_end(&mut self, chunk: &[u8]) {
        let Some(mut behind) = self.behind_end.take() else { return };
        let wanted = TELLING_BYTES - behind.bytes.len();
        behind.bytes.extend_from_slice(&chunk[..chunk.len().min(wanted)]);
        if behind.bytes.len() < TELLING_BYTES {
            self.behind_end = Some(behind);
            return;
        }
        let next = nal_at_start(&behind.bytes);
        let is_torn = behind.is_cut && next.is_none_or(continues_picture);
        if next.is_none() || is_torn {
            self.distrust(is_torn);
        }
    }

    /// The program's writes tell nothing. Was a picture torn for trusting it, its rest is of no use.
    fn distrust(&mut self, is_torn: bool) {
        self.ways = Ways::Unsteady;
        if is_torn {
            self.dropped += 1;
            self.is_loss_unsaid = true;
            self.splitter.skip_to_next_picture();
        }
    }

    fn learn(&mut self, slices: usize) {
        self.ways = match self.ways {
            // The first may have lost its beginning.
            Ways::Learning { pictures: 0, .. } => Ways::Learning { pictures: 1, slices: 0 },
            Ways::Learning { pictures: 1, .. } => Ways::Learning { pictures: 2, slices },
            Ways::Learning { pictures, slices: known } if known == slices => match pictures {
                PICTURES_WATCHED => Ways::Trusted { slices },
                _ => Ways::Learning { pictures: pictures + 1, slices },
            },
            Ways::Trusted { slices: known } if known == slices => self.ways,
            _ => Ways::Unsteady,
        };
    }

    fn note_loss(&mut self) {
        let dropped = self.splitter.take_dropped();
        self.dropped += dropped;
        self.is_loss_unsaid |= dropped > 0;
    }

    fn hand_out(&mut self, data: Bytes) {
        // Before it is what was handed out, behind it what is still held.
        let first = self.received - (self.splitter.held().len() + data.len()) as u64;
        let arrived = match self.begun {
            Some((begin, at)) if begin == first => at,
            _ => self.time_of(first),
        };
        self.note_loss();
        let follows_loss = std::mem::take(&mut self.is_loss_unsaid);
        self.ready.push_back(ArrivedUnit { data, arrived, follows_loss });
    }

    /// Keeps the time at which the picture that is held began, before its chunk is forgotten.
    fn note_begin(&mut self) {
        let first = self.received - self.splitter.held().len() as u64;
        let is_known = self.begun.is_some_and(|(begin, _)| begin == first);
        if !is_known && !self.splitter.held().is_empty() {
            self.begun = Some((first, self.time_of(first)));
        }
    }

    /// When a byte came that is in one of the chunks remembered.
    fn time_of(&self, byte: u64) -> MediaTime {
        let chunk = self.chunks.iter().rev().find(|(before, _)| *before <= byte);
        chunk.or(self.chunks.front()).map_or(MediaTime::default(), |(_, at)| *at)
    }
}

/// The first bytes of the NAL unit whose start code `bytes` begins with.
fn nal_at_start(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0, 0, 1, nal @ ..] | [0, 0, 0, 1, nal @ ..] => Some(nal),
        _ => None,
    }
}

/// Whether it belongs to the picture before it.
fn continues_picture(nal: &[u8]) -> bool {
    NalType::of(nal).is_some_and(NalType::is_picture_data) && !begins_access_unit(nal)
}

#[cfg(test)]
mod tests {
    use super::super::annex_b::{find_start_code, join, tests::any_nal};
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const IDR: &[u8] = &[0x65, 0x88, 0x80, 0x11, 0x22, 0x80];
    const P: &[u8] = &[0x41, 0x9a, 0x80, 0x33, 0x44, 0x80];
    const P_SECOND_SLICE: &[u8] = &[0x41, 0x5a, 0x80, 0x55, 0x80];

    fn nals(list: &[&'static [u8]]) -> Bytes {
        join(&list.iter().map(|nal| Bytes::from_static(nal)).collect::<Vec<_>>())
    }

    fn at(ms: u64) -> MediaTime {
        MediaTime(Duration::from_millis(ms))
    }

    fn taken(splitter: &mut LiveSplitter) -> Vec<Bytes> {
        std::iter::from_fn(|| splitter.next_unit()).map(|unit| unit.data).collect()
    }

    /// A splitter that has watched a program write so many pictures, one in each write.
    fn after_writes_of(picture: &Bytes, count: usize) -> LiveSplitter {
        let mut splitter = LiveSplitter::new();
        for _ in 0..count {
            splitter.push(picture, ChunkEnd::OfWrite, at(0));
            taken(&mut splitter);
        }
        splitter
    }

    #[test]
    fn a_program_that_ends_its_writes_with_its_pictures_is_soon_handed_on_at_once() {
        for picture in [nals(&[P]), nals(&[P, P_SECOND_SLICE])] {
            let mut splitter = LiveSplitter::new();
            let mut handed_out = Vec::new();
            for _ in 0..60 {
                splitter.push(&picture, ChunkEnd::OfWrite, at(0));
                handed_out.push(taken(&mut splitter).len());
            }
            // The first is not known to be whole before the second; later ones are, and none is left out.
            assert_eq!(handed_out[0], 0);
            assert_eq!(handed_out.iter().sum::<usize>(), 60);
            assert!(splitter.is_prompt());
            assert_eq!(splitter.take_dropped(), 0);
        }
    }

    #[test]
    fn a_write_for_each_slice_does_not_separate_them() {
        let (first, second) = (nals(&[P]), nals(&[P_SECOND_SLICE]));
        let mut splitter = LiveSplitter::new();
        let mut units = Vec::new();
        for _ in 0..60 {
            splitter.push(&first, ChunkEnd::OfWrite, at(0));
            units.extend(taken(&mut splitter));
            splitter.push(&second, ChunkEnd::OfWrite, at(0));
            units.extend(taken(&mut splitter));
        }
        assert!(splitter.is_prompt());
        assert_eq!(units, vec![nals(&[P, P_SECOND_SLICE]); 60]);
    }

    #[test]
    fn who_ends_a_write_within_a_picture_is_waited_for() {
        let picture = nals(&[P]);
        let mut splitter = LiveSplitter::new();
        for _ in 0..60 {
            let (head, tail) = picture.split_at(7);
            splitter.push(head, ChunkEnd::OfWrite, at(0));
            splitter.push(tail, ChunkEnd::OfWrite, at(0));
            assert!(taken(&mut splitter).iter().all(|unit| *unit == picture));
        }
        assert!(!splitter.is_prompt());
    }

    #[test]
    fn whose_pictures_have_sometimes_more_slices_is_waited_for() {
        let (one, two) = (nals(&[P]), nals(&[P, P_SECOND_SLICE]));
        let mut splitter = LiveSplitter::new();
        for index in 0..60 {
            splitter.push(if index % 3 == 0 { &two } else { &one }, ChunkEnd::OfWrite, at(0));
            assert!(taken(&mut splitter).iter().all(|unit| *unit == one || *unit == two));
        }
        assert!(!splitter.is_prompt());
    }

    #[test]
    fn a_program_that_breaks_its_habit_is_never_trusted_again_and_loses_one_picture() {
        for (broken, end) in [(nals(&[P, P_SECOND_SLICE]), 10), (nals(&[IDR]), 9), (nals(&[IDR, P]), 7)] {
            let mut splitter = after_writes_of(&nals(&[P]), 40);
            let (head, tail) = broken.split_at(end);
            splitter.push(head, ChunkEnd::OfWrite, at(0));
            assert_eq!(taken(&mut splitter), [head], "trusted, and handed on");
            splitter.push(tail, ChunkEnd::OfWrite, at(0));
            splitter.push(&nals(&[IDR]), ChunkEnd::OfWrite, at(0));
            splitter.push(&nals(&[P]), ChunkEnd::OfWrite, at(0));
            let next = splitter.next_unit().expect("the next whole one");
            assert!(next.follows_loss);
            let rest = [vec![next.data], taken(&mut splitter)].concat();
            assert_eq!(rest.last(), Some(&nals(&[IDR])));
            assert!(rest.iter().all(|unit| [nals(&[P]), nals(&[IDR])].contains(unit)), "{rest:?}");
            assert_eq!(splitter.take_dropped(), 1);
            for _ in 0..60 {
                splitter.push(&nals(&[P]), ChunkEnd::OfWrite, at(0));
            }
            assert!(!splitter.is_prompt());
        }
    }

    #[test]
    fn a_picture_has_the_time_of_its_first_byte() {
        let stream = nals(&[P, P]);
        for chunk_len in 1..stream.len() {
            let mut splitter = LiveSplitter::new();
            for (index, chunk) in stream.chunks(chunk_len).enumerate() {
                splitter.push(chunk, ChunkEnd::Anywhere, at(index as u64));
            }
            let late = stream.len().div_ceil(chunk_len) as u64;
            splitter.push(&nals(&[P]), ChunkEnd::Anywhere, at(late));
            let times: Vec<_> =
                std::iter::from_fn(|| splitter.next_unit()).map(|unit| unit.arrived).collect();
            assert_eq!(times, [at(0), at((stream.len() / 2 / chunk_len) as u64)], "chunks of {chunk_len}");
        }
        let mut splitter = after_writes_of(&nals(&[P]), 40);
        splitter.push(&nals(&[P]), ChunkEnd::OfWrite, at(7));
        assert_eq!(splitter.next_unit().expect("at once").arrived, at(7));
    }

    #[test]
    fn what_is_said_before_the_stream_begins_is_passed_over() {
        let mut splitter = LiveSplitter::new();
        splitter.push(b"encoder 1.0 starting\n", ChunkEnd::OfWrite, at(0));
        splitter.push(&nals(&[IDR, P]), ChunkEnd::OfWrite, at(1));
        assert_eq!(taken(&mut splitter), [nals(&[IDR])]);
    }

    fn any_chunks() -> impl Strategy<Value = Vec<(usize, bool)>> {
        proptest::collection::vec((1usize..30, any::<bool>()), 1..60)
    }

    proptest! {
        /// Whatever the writes look like: as long as nobody is trusted, nothing but the stream decides.
        #[test]
        fn chunks_and_writes_do_not_change_the_pictures_of_one_who_is_not_trusted(
            list in proptest::collection::vec(any_nal(), 0..18),
            chunks in any_chunks(),
        ) {
            let stream = join(&list);
            let mut whole = AccessUnitSplitter::new();
            whole.push(&stream);
            let expected: Vec<Bytes> = std::iter::from_fn(|| whole.next_unit()).collect();
            let mut splitter = LiveSplitter::new();
            let mut rest = &stream[..];
            for (len, is_end) in chunks.iter().cycle() {
                let (chunk, behind) = rest.split_at(rest.len().min(*len));
                let end = if *is_end { ChunkEnd::OfWrite } else { ChunkEnd::Anywhere };
                splitter.push(chunk, end, at(0));
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(taken(&mut splitter), expected);
        }

        /// A program that flushes after each picture: prompt or not, its pictures come out whole.
        #[test]
        fn pictures_that_end_with_their_writes_come_out_whole_in_any_chunks(
            sizes in proptest::collection::vec(1usize..200, 30..60),
            page in 16usize..90,
        ) {
            let picture = |len: &usize| [&nals(&[P])[..], &vec![0x77; *len]].concat();
            let pictures: Vec<Vec<u8>> = sizes.iter().map(picture).collect();
            let mut splitter = LiveSplitter::new();
            for picture in &pictures {
                let mut chunks = picture.chunks(page).peekable();
                while let Some(chunk) = chunks.next() {
                    // A write whose length is a multiple of the page is not seen to end.
                    let is_end = chunks.peek().is_none() && chunk.len() < page;
                    splitter.push(chunk, if is_end { ChunkEnd::OfWrite } else { ChunkEnd::Anywhere }, at(0));
                }
            }
            let units = taken(&mut splitter);
            prop_assert!(units.len() + 1 >= pictures.len());
            prop_assert!(units.iter().zip(&pictures).all(|(unit, picture)| unit == picture));
        }

        #[test]
        fn any_bytes_in_any_writes_are_taken(
            stream in proptest::collection::vec(prop_oneof![0u8..3, any::<u8>(), Just(0x65), Just(0x41)], 0..600),
            chunks in any_chunks(),
        ) {
            let mut splitter = after_writes_of(&nals(&[P]), 40);
            let mut rest = &stream[..];
            for (len, is_end) in chunks.iter().cycle() {
                let (chunk, behind) = rest.split_at(rest.len().min(*len));
                splitter.push(chunk, if *is_end { ChunkEnd::OfWrite } else { ChunkEnd::Anywhere }, at(0));
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            for unit in taken(&mut splitter) {
                prop_assert!(find_start_code(&unit, 0).is_some());
            }
        }
    }
}

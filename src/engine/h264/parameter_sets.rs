//! How does each keyframe come to carry its parameter sets?
//!
//! Many encoders send SPS and PPS once, at the start of the stream; a viewer that joins later needs
//! them before its first keyframe. What passes here is remembered, and put before each IDR that comes
//! without. The camera's own sets are never replaced, only repeated.

use bytes::{Bytes, BytesMut};

use super::bits::BitReader;
use super::nal::NalType;
use super::{AccessUnit, Sps, annex_b};
use crate::units::MediaTime;

/// The parameter sets of one stream, and what turns its buffers into access units.
#[derive(Debug, Default)]
pub struct ParameterSets {
    /// Latest set of each id; ids are at most 31 (§7.4.2.1.1).
    sps: Vec<(u32, Bytes)>,
    /// Latest set of each id; ids are at most 255 (§7.4.2.2).
    pps: Vec<(u32, Bytes)>,
}

impl ParameterSets {
    /// Of a stream that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the stream's latest sequence parameter set says.
    pub fn sps(&self) -> Option<Sps> {
        self.sps.iter().rev().find_map(|(_, nal)| Sps::parse(nal))
    }

    /// Turns one buffer of a camera, Annex B with at most one picture, into an access unit. A buffer
    /// without a picture gives `None`; its parameter sets are remembered. An IDR for which no
    /// parameter sets have come yet does not count as a keyframe: nobody could decode it.
    pub fn access_unit(&mut self, buffer: Bytes, captured: MediaTime) -> Option<AccessUnit> {
        let mut contents = Contents::default();
        for nal in annex_b::nal_units(&buffer) {
            match NalType::of(&nal) {
                Some(NalType::Sps) => contents.has_sps |= remember(&mut self.sps, &nal, sps_id, 31),
                Some(NalType::Pps) => contents.has_pps |= remember(&mut self.pps, &nal, pps_id, 255),
                Some(NalType::IdrSlice) => contents.has_idr = true,
                Some(NalType::Slice) => contents.has_slice = true,
                _ => {}
            }
        }
        if !contents.has_idr {
            return contents.has_slice.then_some(AccessUnit { data: buffer, is_keyframe: false, captured });
        }
        let is_keyframe = !self.sps.is_empty() && !self.pps.is_empty();
        let whole = contents.has_sps && contents.has_pps;
        let data = if is_keyframe && !whole { self.put_before(&buffer, contents) } else { buffer };
        Some(AccessUnit { data, is_keyframe, captured })
    }

    /// The picture of `buffer` with the missing sets before it, behind a delimiter, which has to stay
    /// the first (§7.4.1.2.3).
    fn put_before(&self, buffer: &Bytes, contents: Contents) -> Bytes {
        let (delimiters, rest): (Vec<Bytes>, Vec<Bytes>) =
            annex_b::nal_units(buffer).partition(|nal| NalType::of(nal) == Some(NalType::Delimiter));
        // A set that the buffer does carry goes with `rest`; an SPS has to come before the PPS.
        let sps = self.sps.iter().filter(|_| !contents.has_sps).map(|(_, nal)| nal);
        let pps = self.pps.iter().filter(|_| !contents.has_pps).map(|(_, nal)| nal);
        let is_sps = |nal: &&Bytes| NalType::of(nal) == Some(NalType::Sps);
        let own_sps = rest.iter().filter(is_sps);
        let others = rest.iter().filter(|nal| !is_sps(nal));
        let nals = delimiters.iter().chain(sps).chain(own_sps).chain(pps).chain(others);
        annex_b::join(nals)
    }
}

#[derive(Clone, Copy, Default)]
struct Contents {
    has_sps: bool,
    has_pps: bool,
    has_idr: bool,
    has_slice: bool,
}

/// Keeps a set in place of the one with its id. Whether it was one: an id above `max` is no set.
/// The bytes are copied, so that 30 of them do not keep a whole frame alive.
fn remember(sets: &mut Vec<(u32, Bytes)>, nal: &Bytes, id_of: fn(&[u8]) -> Option<u32>, max: u32) -> bool {
    let Some(id) = id_of(nal).filter(|&id| id <= max) else { return false };
    let kept = sets.iter_mut().find(|(kept, _)| *kept == id);
    match kept {
        Some((_, old)) if old == nal => {}
        Some((_, old)) => *old = BytesMut::from(&nal[..]).freeze(),
        None => sets.push((id, BytesMut::from(&nal[..]).freeze())),
    }
    true
}

fn sps_id(nal: &[u8]) -> Option<u32> {
    BitReader::new(nal.get(4..)?).ue()
}

fn pps_id(nal: &[u8]) -> Option<u32> {
    BitReader::new(nal.get(1..)?).ue()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0x80];
    const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
    const AUD: &[u8] = &[0x09, 0xf0];
    const SEI: &[u8] = &[0x06, 0x05, 0x80];
    const IDR: &[u8] = &[0x65, 0x88, 0x80];
    const P: &[u8] = &[0x41, 0x9a, 0x80];

    fn buffer(list: &[&'static [u8]]) -> Bytes {
        annex_b::join(&list.iter().map(|nal| Bytes::from_static(nal)).collect::<Vec<_>>())
    }

    fn take(sets: &mut ParameterSets, list: &[&'static [u8]]) -> Option<AccessUnit> {
        sets.access_unit(buffer(list), MediaTime::default())
    }

    #[test]
    fn a_keyframe_gets_the_parameter_sets_that_came_once() {
        let mut sets = ParameterSets::new();
        assert_eq!(take(&mut sets, &[SPS, PPS]), None);
        assert!(!take(&mut sets, &[P]).expect("a picture").is_keyframe);
        let keyframe = take(&mut sets, &[AUD, SEI, IDR]).expect("a picture");
        assert!(keyframe.is_keyframe);
        assert_eq!(keyframe.data, buffer(&[AUD, SPS, PPS, SEI, IDR]));
    }

    #[test]
    fn a_buffer_that_has_everything_is_passed_on_as_it_is() {
        let given = buffer(&[SPS, PPS, IDR]);
        let unit = ParameterSets::new().access_unit(given.clone(), MediaTime::default()).expect("a picture");
        assert_eq!(unit.data.as_ptr(), given.as_ptr());
        assert!(unit.is_keyframe);
    }

    #[test]
    fn a_new_set_takes_the_place_of_the_old_one() {
        const NEW_PPS: &[u8] = &[0x68, 0xee, 0x01];
        let mut sets = ParameterSets::new();
        take(&mut sets, &[SPS, PPS, IDR]);
        take(&mut sets, &[NEW_PPS, P]);
        assert_eq!(take(&mut sets, &[IDR]).expect("a picture").data, buffer(&[SPS, NEW_PPS, IDR]));
    }

    #[test]
    fn a_lone_sps_comes_before_the_pps_that_is_put_in() {
        let mut sets = ParameterSets::new();
        take(&mut sets, &[SPS, PPS, IDR]);
        assert_eq!(take(&mut sets, &[SPS, IDR]).expect("a picture").data, buffer(&[SPS, PPS, IDR]));
    }

    #[test]
    fn an_idr_without_parameter_sets_is_no_keyframe() {
        assert!(!take(&mut ParameterSets::new(), &[IDR]).expect("a picture").is_keyframe);
    }
}

//! What is a NAL unit, by its first bytes (H.264 §7.3.1, Table 7-1)?

/// What a NAL unit carries, as far as it matters for cutting and sending a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalType {
    /// 1 to 4: a slice, or a partition of one, of a picture that is not an IDR.
    Slice,
    /// 5: a slice of an IDR picture, where a decoder can start.
    IdrSlice,
    /// 6: supplemental enhancement information.
    Sei,
    /// 7: sequence parameter set.
    Sps,
    /// 8: picture parameter set.
    Pps,
    /// 9: access unit delimiter.
    Delimiter,
    /// 12: filler data.
    Filler,
    /// 14 to 18: prefix, subset SPS, depth parameter set and reserved types, all of which come
    /// before the picture that they belong to.
    Prefix,
    /// Ends of sequence and stream, extensions, reserved and unspecified types.
    Other,
}

impl NalType {
    /// The type of a NAL unit without its start code; `None` when it is empty.
    pub fn of(nal: &[u8]) -> Option<NalType> {
        Some(match nal.first()? & 0x1f {
            1..=4 => NalType::Slice,
            5 => NalType::IdrSlice,
            6 => NalType::Sei,
            7 => NalType::Sps,
            8 => NalType::Pps,
            9 => NalType::Delimiter,
            12 => NalType::Filler,
            14..=18 => NalType::Prefix,
            _ => NalType::Other,
        })
    }

    /// Whether it holds coded picture data (a VCL NAL unit, Table 7-1).
    pub fn is_picture_data(self) -> bool {
        matches!(self, NalType::Slice | NalType::IdrSlice)
    }
}

/// Whether a slice is the first of its picture: `first_mb_in_slice`, the first field of the slice
/// header (§7.3.3), is 0, and `ue(v)` codes 0 as a single one bit (§9.1). Partitions B and C (types
/// 3 and 4) begin with a slice id instead, and never open a picture.
///
/// With arbitrary slice order (Baseline without constraint_set1) a later slice could be the one with
/// macroblock 0; no camera encoder produces it, and WebRTC's constrained baseline forbids it.
pub fn opens_picture(nal: &[u8]) -> bool {
    matches!(nal, [header, slice, ..] if matches!(header & 0x1f, 1 | 2 | 5) && slice & 0x80 != 0)
}

/// Whether a NAL unit that follows picture data begins a new access unit (§7.4.1.2.3).
pub fn begins_access_unit(nal: &[u8]) -> bool {
    match NalType::of(nal) {
        Some(NalType::Delimiter | NalType::Sps | NalType::Pps | NalType::Sei | NalType::Prefix) => true,
        Some(NalType::Slice | NalType::IdrSlice) => opens_picture(nal),
        Some(NalType::Filler | NalType::Other) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_whatever_the_reference_bits_say() {
        assert_eq!(NalType::of(&[0x65]), Some(NalType::IdrSlice));
        assert_eq!(NalType::of(&[0x25]), Some(NalType::IdrSlice));
        assert_eq!(NalType::of(&[0x67]), Some(NalType::Sps));
        assert_eq!(NalType::of(&[0x01]), Some(NalType::Slice));
        assert_eq!(NalType::of(&[]), None);
    }

    #[test]
    fn only_a_slice_with_macroblock_zero_opens_a_picture() {
        assert!(opens_picture(&[0x41, 0x9a]));
        assert!(!opens_picture(&[0x41, 0x5a]));
        assert!(!opens_picture(&[0x41]));
        assert!(!opens_picture(&[0x67, 0x80]));
    }
}

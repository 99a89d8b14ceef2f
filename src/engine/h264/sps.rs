//! What does a sequence parameter set promise about the stream (H.264 §7.3.2.1.1, Annex E)?

use std::fmt;

use super::bits::BitReader;
use super::nal::NalType;

/// The part of a sequence parameter set that a sender needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sps {
    /// Pixels, after cropping.
    pub width: u32,
    /// Pixels, after cropping.
    pub height: u32,
    /// For SDP's `profile-level-id` (RFC 6184 §8.1).
    pub profile_level_id: ProfileLevelId,
    /// From the VUI's timing, when it has one.
    pub frames_per_second: Option<f64>,
    /// Whether pictures may be shown in another order than they are sent (B-frames). WebRTC has no
    /// place for them: Chromium loses most frames of such a stream.
    pub may_reorder: bool,
    /// Luma uses 0 to 255 instead of 16 to 235 (§E.2.1, `video_full_range_flag`).
    pub is_full_range: bool,
    /// How luma and colour differences were made of red, green and blue (Table E-5); `None` when it is not
    /// said.
    pub matrix_coefficients: Option<u8>,
}

/// `profile_idc`, the constraint flags and `level_idc`; prints as six hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLevelId(pub [u8; 3]);

impl fmt::Display for ProfileLevelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [profile, constraints, level] = self.0;
        write!(f, "{profile:02x}{constraints:02x}{level:02x}")
    }
}

impl Sps {
    /// Reads an SPS NAL unit without its start code; `None` when it is none, is cut short, or
    /// describes a picture that cannot be.
    pub fn parse(nal: &[u8]) -> Option<Sps> {
        if NalType::of(nal) != Some(NalType::Sps) {
            return None;
        }
        let &[_, profile, constraints, level, ..] = nal else { return None };
        let mut bits = BitReader::new(&nal[4..]);
        let _seq_parameter_set_id = bits.ue()?;
        let chroma = if has_chroma_fields(profile) { chroma_fields(&mut bits)? } else { Chroma::YUV420 };
        let _log2_max_frame_num_minus4 = bits.ue()?;
        let order = picture_order(&mut bits)?;
        let _max_num_ref_frames = bits.ue()?;
        let _gaps_in_frame_num_allowed = bits.flag()?;
        let (width, height) = picture_size(&mut bits, chroma)?;
        let vui = if bits.flag()? { vui(&mut bits).unwrap_or_default() } else { Vui::default() };
        // Baseline has no B slices (§A.2.1) and order type 2 no reordering (§8.2.1.3).
        let cannot_reorder = profile == 66 || order == PictureOrder::AsSent || vui.max_reorder == Some(0);
        Some(Sps {
            width,
            height,
            profile_level_id: ProfileLevelId([profile, constraints, level]),
            frames_per_second: vui.frames_per_second,
            may_reorder: !cannot_reorder,
            is_full_range: vui.is_full_range,
            matrix_coefficients: vui.matrix_coefficients,
        })
    }
}

#[derive(Clone, Copy)]
struct Chroma {
    /// Luma pixels for one step of the cropping rectangle, across and down (Table 6-1).
    crop_step: (u32, u32),
}

impl Chroma {
    const YUV420: Chroma = Chroma { crop_step: (2, 2) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PictureOrder {
    Coded,
    AsSent,
}

/// The profiles whose SPS says how chroma is sampled (§7.3.2.1.1).
fn has_chroma_fields(profile_idc: u8) -> bool {
    matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn chroma_fields(bits: &mut BitReader) -> Option<Chroma> {
    let chroma_format_idc = bits.ue()?;
    let separate_planes = chroma_format_idc == 3 && bits.flag()?;
    let _bit_depth_luma_minus8 = bits.ue()?;
    let _bit_depth_chroma_minus8 = bits.ue()?;
    let _lossless_bypass = bits.flag()?;
    if bits.flag()? {
        let lists = if chroma_format_idc == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    let crop_step = match chroma_format_idc {
        1 => (2, 2),
        2 => (2, 1),
        0 | 3 => (1, 1),
        _ => return None,
    };
    Some(Chroma { crop_step: if separate_planes { (1, 1) } else { crop_step } })
}

/// §7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut BitReader, len: u32) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..len {
        if next != 0 {
            next = (last + bits.se()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

fn picture_order(bits: &mut BitReader) -> Option<PictureOrder> {
    match bits.ue()? {
        0 => {
            let _log2_max_pic_order_cnt_lsb_minus4 = bits.ue()?;
            Some(PictureOrder::Coded)
        }
        1 => {
            let _delta_always_zero = bits.flag()?;
            let _offset_for_non_ref_pic = bits.se()?;
            let _offset_for_top_to_bottom = bits.se()?;
            // At most 255 by §7.4.2.1.1.
            for _ in 0..bits.ue().filter(|&cycle| cycle <= 255)? {
                bits.se()?;
            }
            Some(PictureOrder::Coded)
        }
        2 => Some(PictureOrder::AsSent),
        _ => None,
    }
}

fn picture_size(bits: &mut BitReader, chroma: Chroma) -> Option<(u32, u32)> {
    let width_mbs = bits.ue()?.checked_add(1)?;
    let height_map_units = bits.ue()?.checked_add(1)?;
    let frame_mbs_only = bits.flag()?;
    if !frame_mbs_only {
        let _mb_adaptive_frame_field = bits.flag()?;
    }
    let _direct_8x8_inference = bits.flag()?;
    let fields = if frame_mbs_only { 1 } else { 2 };
    let mut crop = [0u32; 4];
    if bits.flag()? {
        for side in &mut crop {
            *side = bits.ue()?;
        }
    }
    let [left, right, top, bottom] = crop;
    let (step_x, step_y) = chroma.crop_step;
    let cut_x = left.checked_add(right)?.checked_mul(step_x)?;
    let cut_y = top.checked_add(bottom)?.checked_mul(step_y * fields)?;
    let width = width_mbs.checked_mul(16)?.checked_sub(cut_x)?;
    let height = height_map_units.checked_mul(16 * fields)?.checked_sub(cut_y)?;
    (width > 0 && height > 0).then_some((width, height))
}

#[derive(Default)]
struct Vui {
    frames_per_second: Option<f64>,
    /// `max_num_reorder_frames`.
    max_reorder: Option<u32>,
    is_full_range: bool,
    matrix_coefficients: Option<u8>,
}

/// §E.1.1. What comes before an early end is kept by nobody: a camera that cuts its VUI short gets
/// the defaults.
fn vui(bits: &mut BitReader) -> Option<Vui> {
    const EXTENDED_SAR: u32 = 255;
    if bits.flag()? && bits.bits(8)? == EXTENDED_SAR {
        bits.bits(32)?;
    }
    if bits.flag()? {
        let _overscan_appropriate = bits.flag()?;
    }
    let (mut is_full_range, mut matrix_coefficients) = (false, None);
    if bits.flag()? {
        is_full_range = bits.bits(4)? & 1 == 1;
        if bits.flag()? {
            let primaries_transfer_matrix = bits.bits(24)?;
            // 2 is "unspecified".
            matrix_coefficients = Some(primaries_transfer_matrix as u8).filter(|matrix| *matrix != 2);
        }
    }
    if bits.flag()? {
        let _top_and_bottom = (bits.ue()?, bits.ue()?);
    }
    let frames_per_second = if bits.flag()? { timing(bits)? } else { None };
    let nal_hrd = bits.flag()?;
    if nal_hrd {
        skip_hrd(bits)?;
    }
    let vcl_hrd = bits.flag()?;
    if vcl_hrd {
        skip_hrd(bits)?;
    }
    if nal_hrd || vcl_hrd {
        let _low_delay = bits.flag()?;
    }
    let _pic_struct_present = bits.flag()?;
    let max_reorder = if bits.flag()? { reorder(bits)? } else { None };
    Some(Vui { frames_per_second, max_reorder, is_full_range, matrix_coefficients })
}

/// Two ticks are one frame (§E.2.1). Rates outside what cameras do are taken for nonsense.
fn timing(bits: &mut BitReader) -> Option<Option<f64>> {
    let units_in_tick = bits.bits(32)?;
    let time_scale = bits.bits(32)?;
    let _fixed = bits.flag()?;
    let rate = f64::from(time_scale) / (2.0 * f64::from(units_in_tick));
    Some((units_in_tick > 0 && (0.1..=300.0).contains(&rate)).then_some(rate))
}

/// §E.1.2.
fn skip_hrd(bits: &mut BitReader) -> Option<()> {
    let count = bits.ue()?.checked_add(1).filter(|&count| count <= 32)?;
    let _scales = bits.bits(8)?;
    for _ in 0..count {
        let _rate_size_and_mode = (bits.ue()?, bits.ue()?, bits.flag()?);
    }
    let _lengths = bits.bits(20)?;
    Some(())
}

fn reorder(bits: &mut BitReader) -> Option<Option<u32>> {
    let _motion_over_boundaries = bits.flag()?;
    let _limits = (bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?);
    let max_reorder = bits.ue()?;
    Some(Some(max_reorder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first_sps(recording: &'static [u8]) -> Sps {
        let nals = super::super::annex_b::nal_units(&bytes::Bytes::from_static(recording));
        nals.into_iter().find_map(|nal| Sps::parse(&nal)).expect("the recording has an SPS")
    }

    #[test]
    fn a_baseline_stream_says_its_size_and_rate_and_sends_pictures_in_order() {
        let sps = first_sps(include_bytes!("../../../tests/fixtures/camera/headers-once-320x240-25.h264"));
        assert_eq!((sps.width, sps.height, sps.frames_per_second), (320, 240, Some(25.0)));
        assert_eq!((sps.profile_level_id.to_string().as_str(), sps.may_reorder), ("42c00d", false));
    }

    #[test]
    fn a_cropped_high_profile_stream_with_b_frames_is_known_for_what_it_is() {
        let sps = first_sps(include_bytes!("../../../tests/fixtures/camera/high-bframes-640x360-30.h264"));
        assert_eq!((sps.width, sps.height, sps.frames_per_second), (640, 360, Some(30.0)));
        assert_eq!((sps.profile_level_id.to_string().as_str(), sps.may_reorder), ("64001e", true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            tail in proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..80),
            profile in prop_oneof![Just(66u8), Just(100), any::<u8>()],
        ) {
            let nal = [&[0x67, profile][..], &tail].concat();
            let _ = Sps::parse(&nal);
        }
    }
}

//! H.264 as a camera delivers it and RTP wants it: one access unit at a time.
//!
//! ```text
//! camera buffer ──────────────────────> ParameterSets ──> AccessUnit
//! byte stream ──> AccessUnitSplitter ──────┘
//! pipe ─────────> LiveSplitter ────────────┘
//! ```
//!
//! Section numbers are those of ITU-T H.264 (08/2021). Nothing here decodes pictures: it reads NAL
//! unit headers, the first bit of a slice header, and sequence parameter sets.

use bytes::Bytes;

use crate::units::MediaTime;

pub mod annex_b;
mod bits;
pub mod level;
pub mod live;
pub mod nal;
pub mod parameter_sets;
pub mod split;
pub mod sps;

pub use level::Level;
pub use live::LiveSplitter;
pub use parameter_sets::ParameterSets;
pub use split::AccessUnitSplitter;
pub use sps::Sps;

/// One coded picture (H.264 §7.4.1.2.3) in Annex B form, start codes included. A keyframe (IDR)
/// carries its SPS and PPS before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// NAL units, each behind a start code of three or four bytes.
    pub data: Bytes,
    /// Whether a decoder can start here: the picture is an IDR.
    pub is_keyframe: bool,
    /// When the camera took it.
    pub captured: MediaTime,
}

//! H.264 as a camera delivers it and RTP wants it: one access unit at a time.

use bytes::Bytes;

use crate::units::MediaTime;

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

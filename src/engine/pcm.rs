//! Sound on its way from ALSA periods to the 20 ms frames that Opus takes.

use bytes::Bytes;

use crate::units::MediaTime;

/// One Opus packet of 20 ms, 48 kHz (RFC 6716 §2.1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusPacket {
    /// The packet as it goes into RTP (RFC 7587 §4.2).
    pub data: Bytes,
    /// When its first sample was taken.
    pub captured: MediaTime,
}

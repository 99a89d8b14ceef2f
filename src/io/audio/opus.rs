//! 20 ms of sound to an Opus packet, by libopus.

use bytes::Bytes;
use opusic_c::{Application, Bitrate as OpusBitrate, Encoder, ErrorCode, InbandFec, SampleRate};

use super::Loss;
use crate::engine::pcm::{Channels, OpusPacket, PcmFrame};
use crate::units::Bitrate;

/// The largest packet of one 20 ms frame: 1275 bytes and the byte before it (RFC 6716 §3.2.1).
const LONGEST_PACKET: usize = 1276;
/// What the encoder is told to prepare for, in percent: with it, each packet carries a coarse copy of
/// the one before (RFC 7587 §3.3), from which a receiver mends single losses without asking.
const EXPECTED_LOSS_PERCENT: u8 = 10;
/// Effort from 0 to 10. At 5 a Pi Zero 2 spends few percent of a core; more is hardly heard.
const COMPLEXITY: u8 = 5;
const RANGE_BPS: (u32, u32) = (6_000, 510_000);

/// Encodes one stream.
pub(super) struct OpusEncoder {
    encoder: Encoder,
    /// The samples as the crate takes them, and the packet: kept, so that no frame allocates twice.
    samples: Vec<u16>,
    packet: Vec<u8>,
}

impl OpusEncoder {
    pub(super) fn new(channels: Channels, bitrate: Bitrate) -> Result<OpusEncoder, Loss> {
        let channels = match channels {
            Channels::Mono => opusic_c::Channels::Mono,
            Channels::Stereo => opusic_c::Channels::Stereo,
        };
        let encoder = Encoder::new(channels, SampleRate::Hz48000, Application::Audio);
        let mut encoder = encoder.map_err(|cause| failed("open", cause))?;
        let bps = bitrate.bps().clamp(RANGE_BPS.0, RANGE_BPS.1);
        let settings = [
            encoder.set_bitrate(OpusBitrate::Value(bps)),
            encoder.set_inband_fec(InbandFec::Mode1),
            encoder.set_packet_loss(EXPECTED_LOSS_PERCENT),
            encoder.set_complexity(COMPLEXITY),
        ];
        settings.into_iter().collect::<Result<(), _>>().map_err(|cause| failed("set up", cause))?;
        Ok(OpusEncoder { encoder, samples: Vec::new(), packet: vec![0; LONGEST_PACKET] })
    }

    pub(super) fn encode(&mut self, frame: &PcmFrame) -> Result<OpusPacket, Loss> {
        self.samples.clear();
        // The crate's `u16` are the bits of libopus's signed samples.
        self.samples.extend(frame.samples.iter().map(|&sample| sample as u16));
        let encoded = self.encoder.encode_to_slice(&self.samples, &mut self.packet);
        let len = encoded.map_err(|cause| failed("encode with", cause))?;
        Ok(OpusPacket { data: Bytes::copy_from_slice(&self.packet[..len]), captured: frame.captured })
    }
}

fn failed(operation: &'static str, cause: ErrorCode) -> Loss {
    Loss::Encoder { operation, cause: cause.message() }
}

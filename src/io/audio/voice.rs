//! One viewer's voice: its packets in, 20 ms of sound at a time out, whatever the network did to them.

use opusic_c::{Decoder, ErrorCode, SampleRate};

use super::Loss;
use crate::engine::jitter::{JitterBuffer, Pull, Stretch, VoicePacket};
use crate::engine::pcm::FRAME_SAMPLES;
use crate::engine::talk::{self, Ramp};
use crate::units::MediaTime;

/// The longest that one packet can be, 120 ms (RFC 6716 §3.2.5).
const LONGEST: usize = 5_760;

/// A viewer's voice.
pub(super) struct Voice {
    buffer: JitterBuffer,
    decoder: Decoder,
    stretch: Stretch,
    decoded: Vec<f32>,
    /// The next 20 ms.
    frame: [f32; FRAME_SAMPLES],
    loudness: f32,
    /// Packets were left undecoded, so the decoder's memory is of another sound.
    is_stale: bool,
    /// In and out of the sum without a click.
    pub(super) ramp: Ramp,
    /// When the last packet came.
    pub(super) heard_at: MediaTime,
}

impl Voice {
    /// Silent so far.
    pub(super) fn new(now: MediaTime) -> Result<Voice, Loss> {
        let decoder = Decoder::new(opusic_c::Channels::Mono, SampleRate::Hz48000).map_err(failed)?;
        Ok(Voice {
            buffer: JitterBuffer::new(),
            decoder,
            stretch: Stretch::default(),
            decoded: vec![0.0; LONGEST],
            frame: [0.0; FRAME_SAMPLES],
            loudness: 0.0,
            is_stale: false,
            ramp: Ramp::at(0.0),
            heard_at: now,
        })
    }

    pub(super) fn push(&mut self, packet: VoicePacket) {
        self.heard_at = packet.arrived;
        self.buffer.push(packet);
    }

    /// Takes the next 20 ms in. When nobody is to hear it (`is_wanted`), it passes undecoded.
    pub(super) fn advance(&mut self, now: MediaTime, is_wanted: bool) {
        let speed = self.buffer.speed();
        while !self.stretch.has(FRAME_SAMPLES, speed) {
            let pull = self.buffer.pull(now, talk::is_quiet(self.loudness));
            let samples = if is_wanted { self.decode(&pull) } else { self.pass(&pull) };
            self.stretch.push(&self.decoded[..samples]);
        }
        self.stretch.take(&mut self.frame, speed);
        self.loudness = talk::loudness(&self.frame);
    }

    /// The 20 ms.
    pub(super) fn frame(&self) -> &[f32; FRAME_SAMPLES] {
        &self.frame
    }

    /// How loud they are.
    pub(super) fn loudness(&self) -> f32 {
        self.loudness
    }

    fn decode(&mut self, pull: &Pull) -> usize {
        if std::mem::take(&mut self.is_stale) {
            // Fails for no decoder that could be made.
            let _ = self.decoder.reset();
        }
        let len = pull.samples().min(LONGEST);
        let out = &mut self.decoded[..len];
        let decoded = match pull {
            Pull::Packet { payload, .. } => self.decoder.decode_float_to_slice(payload, out, false),
            Pull::Fec { next, .. } => self.decoder.decode_float_to_slice(next, out, true),
            Pull::Conceal { .. } => self.decoder.decode_float_to_slice(&[], out, false),
            Pull::Silence { .. } => Ok(0),
        };
        // What cannot be decoded, or is shorter than it says, is silence.
        let decoded = decoded.unwrap_or(0).min(len);
        out[decoded..].fill(0.0);
        len
    }

    fn pass(&mut self, pull: &Pull) -> usize {
        self.is_stale = true;
        let len = pull.samples().min(LONGEST);
        self.decoded[..len].fill(0.0);
        len
    }
}

fn failed(cause: ErrorCode) -> Loss {
    Loss::Decoder { cause: cause.message() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::pcm::{Channels, FRAME, PcmFrame};
    use crate::io::audio::opus::OpusEncoder;
    use crate::units::Bitrate;

    /// A tone of 440 Hz with a peak of a quarter, 20 ms a packet.
    fn packets(count: u32) -> Vec<VoicePacket> {
        let mut encoder = OpusEncoder::new(Channels::Mono, Bitrate::from_kbps(32)).expect("an encoder");
        (0..count)
            .map(|n| {
                let sample = |m: usize| {
                    let at = (n as usize * FRAME_SAMPLES + m) as f32 / 48_000.0;
                    ((at * 440.0 * std::f32::consts::TAU).sin() * 8_192.0) as i16
                };
                let samples = (0..FRAME_SAMPLES).map(sample).collect();
                let frame = PcmFrame { samples, captured: MediaTime::default() };
                VoicePacket {
                    ssrc: 1,
                    sequence: n as u16,
                    timestamp: n * FRAME_SAMPLES as u32,
                    payload: encoder.encode(&frame).expect("a packet").data,
                    arrived: MediaTime(Duration::from_secs(100) + FRAME * n),
                }
            })
            .collect()
    }

    fn play(packets: Vec<VoicePacket>, is_lost: impl Fn(usize) -> bool) -> Vec<f32> {
        let mut voice = Voice::new(packets[0].arrived).expect("a decoder");
        let mut heard = Vec::new();
        for (n, packet) in packets.into_iter().enumerate() {
            let now = packet.arrived;
            if !is_lost(n) {
                voice.push(packet);
            }
            voice.advance(now, true);
            heard.extend(voice.frame());
        }
        heard
    }

    /// How much of the sound is the tone: 1 for nothing else, at that level.
    fn share_of_tone(heard: &[f32]) -> (f32, f32) {
        let (mut re, mut im) = (0.0_f64, 0.0_f64);
        for (n, sample) in heard.iter().enumerate() {
            let angle = n as f64 * 440.0 / 48_000.0 * std::f64::consts::TAU;
            re += f64::from(*sample) * angle.cos();
            im += f64::from(*sample) * angle.sin();
        }
        let peak = 2.0 * re.hypot(im) / heard.len() as f64;
        let rms = f64::from(talk::loudness(heard));
        ((peak / (rms * std::f64::consts::SQRT_2)) as f32, peak as f32)
    }

    #[test]
    fn a_tone_comes_out_as_it_went_in() {
        let heard = play(packets(150), |_| false);
        let (share, peak) = share_of_tone(&heard[48_000..96_000]);
        assert!(share > 0.99 && (peak - 0.25).abs() < 0.02, "{share} {peak}");
    }

    #[test]
    fn with_every_tenth_packet_lost_it_is_still_the_tone() {
        let heard = play(packets(150), |n| n % 10 == 3);
        let (share, peak) = share_of_tone(&heard[48_000..96_000]);
        assert!(share > 0.9 && peak > 0.2, "{share} {peak}");
    }

    #[test]
    fn what_is_no_opus_is_silence_and_harms_nothing() {
        let mut packets = packets(60);
        for (n, packet) in packets.iter_mut().enumerate() {
            packet.payload = vec![0xff, 0x43, 0xff, n as u8, 0x80, 0x01].into();
        }
        assert!(play(packets, |_| false).iter().all(|sample| sample.is_finite()));
    }
}

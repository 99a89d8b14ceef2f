//! Sound on its way from ALSA periods to the 20 ms frames that Opus takes.
//!
//! [`FrameCollector`] asks a [`SampleClock`] when each sample was really taken and resamples by that, so
//! that frames are exactly 20 ms apart on the media clock for ever: RTP timestamps rise by 960, lip
//! sync does not drift, and the moment at which a thread woke up leaves no trace. Only a gap in the
//! sound makes the frames' times jump.

use std::time::Duration;

use bytes::Bytes;

use super::drift::{MOST_OFF, Reading, SampleClock, later, seconds_between};
use super::resample::{Piece, Resampler};
use crate::units::MediaTime;

/// One Opus packet of 20 ms, 48 kHz (RFC 6716 §2.1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusPacket {
    /// The packet as it goes into RTP (RFC 7587 §4.2).
    pub data: Bytes,
    /// When its first sample was taken.
    pub captured: MediaTime,
}

/// The clock rate of frames.
pub const RATE_HZ: u32 = 48_000;
/// Samples of one channel in a frame.
pub const FRAME_SAMPLES: usize = 960;
/// The duration of a frame.
pub const FRAME: Duration = Duration::from_millis(20);

/// An error in time is worked off over this span; what the clock says of the rate needs no error.
const CORRECTION_S: f64 = 2.0;
/// The most that an error bends the pitch: a thirtieth of a semitone, which nobody hears.
const MOST_CORRECTION: f64 = 0.002;
/// Farther from where it should be than this, the sound begins anew instead of being bent there.
const DISCONTINUITY_S: f64 = 0.060;

/// 20 ms of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcmFrame {
    /// 960 samples, or 960 pairs of left and right.
    pub samples: Vec<i16>,
    /// When the first sample was taken.
    pub captured: MediaTime,
}

/// How many channels are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One.
    Mono,
    /// Left and right.
    Stereo,
}

impl Channels {
    /// What is sent when so many are asked for and the device has so many: two as soon as both say so.
    pub fn sent_for(asked: u16, device_channels: u16) -> Channels {
        if asked.min(device_channels) >= 2 { Channels::Stereo } else { Channels::Mono }
    }

    /// Samples for each moment.
    pub fn count(self) -> usize {
        match self {
            Channels::Mono => 1,
            Channels::Stereo => 2,
        }
    }
}

/// Makes 20 ms frames of 48 kHz out of periods of any size, rate and number of channels.
pub struct FrameCollector {
    clock: SampleClock,
    resampler: Resampler,
    device_channels: usize,
    channels: Channels,
    /// Device moments since the start, and how many of them there were when the resampler began.
    counted: u64,
    begun_at: u64,
    /// Sound whose time is doubted, until the next period tells where it belongs, and that time.
    held: Vec<f32>,
    held_since: MediaTime,
    /// A period, mixed to what is sent.
    mixed: Vec<f32>,
    output: Vec<f32>,
    /// When the first moment of `output` was taken; `None` before the first period and after a gap.
    captured: Option<MediaTime>,
    /// When the last frame ended: the next one does not begin before, whatever the device says.
    ended: MediaTime,
}

impl FrameCollector {
    /// For a device that delivers interleaved samples of `device_channels` at `rate_hz`.
    pub fn new(rate_hz: u32, device_channels: u16, channels: Channels) -> FrameCollector {
        FrameCollector {
            clock: SampleClock::new(rate_hz),
            resampler: Resampler::new(rate_hz, RATE_HZ, channels.count(), Piece::Out(FRAME_SAMPLES)),
            device_channels: usize::from(device_channels.max(1)),
            channels,
            counted: 0,
            begun_at: 0,
            held: Vec::new(),
            held_since: MediaTime::default(),
            mixed: Vec::new(),
            output: Vec::new(),
            captured: None,
            ended: MediaTime::default(),
        }
    }

    /// How many channels the frames have.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// By how many parts per million the device's clock is faster than it says, as far as is known.
    pub fn off_ppm(&self) -> f64 {
        self.clock.off_ppm()
    }

    /// Takes a period, whose first sample was taken at `captured`. An incomplete moment at its end is
    /// left out. Call [`next_frame`](Self::next_frame) until it is `None` afterwards.
    pub fn push(&mut self, period: &[f32], captured: MediaTime) {
        if period.len() < self.device_channels {
            return;
        }
        self.mixed.clear();
        mix(period, self.device_channels, self.channels, &mut self.mixed);
        let reading = self.clock.read(self.counted, captured);
        self.counted += (period.len() / self.device_channels) as u64;
        match reading {
            Reading::Doubtful => {
                if self.held.is_empty() {
                    self.held_since = captured;
                }
                self.held.append(&mut self.mixed);
                return;
            }
            Reading::Jumped => self.begin(captured),
            Reading::Steady => {}
        }
        self.resampler.push(&self.held);
        self.held.clear();
        self.resampler.push(&self.mixed);
        self.steer();
        while self.resampler.next_piece(&mut self.output) {
            self.steer();
        }
    }

    /// Sound was lost, as the device itself says: the next period begins anew.
    pub fn gap(&mut self) {
        self.clock.interrupt();
        self.held.clear();
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<PcmFrame> {
        let len = FRAME_SAMPLES * self.channels.count();
        let captured = self.captured?;
        if self.output.len() < len {
            return None;
        }
        // A cast from a float cuts off at the range of the integer: a filter may overshoot.
        let samples = self.output.drain(..len).map(|sample| (sample * 32_768.0).round() as i16).collect();
        self.ended = MediaTime(captured.0 + FRAME);
        self.captured = Some(self.ended);
        Some(PcmFrame { samples, captured })
    }

    /// The period that was just counted is the first of a new stretch; what is held belongs before it.
    fn begin(&mut self, captured: MediaTime) {
        let taken = self.mixed.len() / self.channels.count();
        let held = self.held.len() / self.channels.count();
        self.begun_at = self.counted - (taken + held) as u64;
        self.resampler.reset();
        self.output.clear();
        let begin = if self.held.is_empty() { captured } else { self.held_since };
        // The resampler's first output lies in the silence before its input.
        let ahead_s = self.resampler.position() / self.clock.rate_hz();
        self.captured = Some(later(begin, ahead_s).max(self.ended));
    }

    /// Compares when the next output moment was taken, by the device's clock, with when it is said to
    /// be taken, by the count of frames, and sets the resampler to bring the two together.
    fn steer(&mut self) {
        let Some(captured) = self.captured else { return };
        let taken = self.clock.time_of(self.begun_at as f64 + self.resampler.position());
        let queued = (self.output.len() / self.channels.count()) as f64 / f64::from(RATE_HZ);
        let error_s = seconds_between(captured, taken) - queued;
        if error_s.abs() > DISCONTINUITY_S {
            self.captured = Some(later(taken, -queued).max(self.ended));
            return;
        }
        // Sound that lies ahead of its time is to be used up more slowly: the output is stretched.
        let correction = (error_s / CORRECTION_S).clamp(-MOST_CORRECTION, MOST_CORRECTION);
        let faster = 1.0 + self.clock.off_ppm() * 1e-6;
        self.resampler.stretch(((1.0 + correction) / faster - 1.0).clamp(-2.0 * MOST_OFF, 2.0 * MOST_OFF));
    }
}

/// Two channels for stereo, front left and right; for mono the mean of those two, or the only one. What
/// a device has beyond them (surround, a loopback of its speaker, capsules that are not fitted) would
/// only make it softer.
fn mix(period: &[f32], device_channels: usize, channels: Channels, mixed: &mut Vec<f32>) {
    for moment in period.chunks_exact(device_channels) {
        match (channels, moment) {
            (Channels::Stereo, &[left, right, ..]) => mixed.extend([left, right]),
            (Channels::Mono, &[left, right, ..]) => mixed.push((left + right) / 2.0),
            (Channels::Stereo, &[only]) => mixed.extend([only, only]),
            (Channels::Mono, &[only]) => mixed.push(only),
            (_, []) => {}
        }
    }
}

#[cfg(test)]
mod tests;

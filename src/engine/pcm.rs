//! Sound on its way from ALSA periods to the 20 ms frames that Opus takes.
//!
//! A sound card runs on a crystal of its own, some parts per million away from `CLOCK_MONOTONIC`.
//! [`FrameCollector`] resamples by that little, so that frames are exactly 20 ms apart on the media
//! clock for ever: RTP timestamps rise by 960, lip sync does not drift, and the moment at which a
//! thread woke up leaves no trace. Only a gap in the sound makes the frames' times jump.

use std::time::Duration;

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

/// The clock rate of frames.
pub const RATE_HZ: u32 = 48_000;
/// Samples of one channel in a frame.
pub const FRAME_SAMPLES: usize = 960;
/// The duration of a frame.
pub const FRAME: Duration = Duration::from_millis(20);

/// Farther from where it should be than this, sound was lost or the device was reset: jitter of
/// timestamps and drift stay far below it.
const DISCONTINUITY_S: f64 = 0.060;
/// Timestamps jitter by less than this; there, a 48 kHz device's samples are passed on untouched.
const TOLERATED_S: f64 = 0.001;
/// An error is worked off over this time: 1 ms changes the pitch by 100 ppm, which nobody hears.
const CORRECTION_S: f64 = 10.0;
/// More than any crystal is off.
const MOST_CORRECTION: f64 = 0.001;

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
    /// What is sent when so many are asked for and the device has so many.
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
#[derive(Debug)]
pub struct FrameCollector {
    rate_hz: f64,
    device_channels: usize,
    channels: Channels,
    /// Input moments averaged into one before resampling: a device above 48 kHz has its overtones cut
    /// by this instead of folded back into what is heard.
    decimation: usize,
    /// Moments that are not used up, mixed to at most two channels, after decimation.
    input: Vec<[f32; 2]>,
    /// Sums of the moment that decimation is still filling, and how many are in it.
    filling: ([f32; 2], usize),
    /// Where in `input` the next output sample lies; at least 1, for interpolation looks one back.
    position: f64,
    /// Share by which input is consumed faster or slower than nominal.
    correction: f64,
    output: Vec<i16>,
    /// When the first sample of `output` was taken; `None` before the first period.
    captured: Option<MediaTime>,
}

impl FrameCollector {
    /// For a device that delivers interleaved samples of `device_channels` at `rate_hz`. No device has
    /// less than 4 kHz and one channel (ALSA's own limits); less is taken as that.
    pub fn new(rate_hz: u32, device_channels: u16, channels: Channels) -> FrameCollector {
        let decimation = (rate_hz / RATE_HZ).max(1);
        FrameCollector {
            rate_hz: f64::from(rate_hz.max(4_000)) / f64::from(decimation),
            device_channels: usize::from(device_channels.max(1)),
            channels,
            decimation: decimation as usize,
            input: Vec::new(),
            filling: ([0.0; 2], 0),
            position: 1.0,
            correction: 0.0,
            output: Vec::new(),
            captured: None,
        }
    }

    /// How many channels the frames have.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Takes a period, whose first sample was taken at `captured`. An incomplete moment at its end is
    /// left out. Call [`next_frame`](Self::next_frame) until it is `None` afterwards.
    pub fn push(&mut self, period: &[f32], captured: MediaTime) {
        self.follow_clock(captured);
        for moment in period.chunks_exact(self.device_channels) {
            self.take(mix(moment, self.channels));
        }
        self.resample();
    }

    /// Sound was lost: the next period begins anew.
    pub fn gap(&mut self) {
        self.captured = None;
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<PcmFrame> {
        let len = FRAME_SAMPLES * self.channels.count();
        let captured = self.captured?;
        if self.output.len() < len {
            return None;
        }
        let samples = self.output.drain(..len).collect();
        self.captured = Some(MediaTime(captured.0 + FRAME));
        Some(PcmFrame { samples, captured })
    }

    /// Compares when the next output sample was taken, by the device, with when it is said to be
    /// taken, by the count of samples; begins anew when sound is missing in between.
    fn follow_clock(&mut self, period: MediaTime) {
        let Some(captured) = self.captured else { return self.begin(period) };
        let waiting =
            self.input.len() as f64 - self.position + self.filling.1 as f64 / self.decimation as f64;
        let taken = period.0.as_secs_f64() - waiting / self.rate_hz;
        let queued = (self.output.len() / self.channels.count()) as f64 / f64::from(RATE_HZ);
        let error_s = taken - (captured.0.as_secs_f64() + queued);
        if error_s.abs() > DISCONTINUITY_S {
            return self.begin(period);
        }
        // The sample lies ahead of its time: input is used up too fast.
        let wanted = if error_s.abs() < TOLERATED_S { 0.0 } else { -error_s / CORRECTION_S };
        self.correction = wanted.clamp(-MOST_CORRECTION, MOST_CORRECTION);
    }

    fn begin(&mut self, captured: MediaTime) {
        self.input.clear();
        // What interpolation sees before the first moment.
        self.input.push([0.0; 2]);
        (self.filling, self.position, self.correction) = (([0.0; 2], 0), 1.0, 0.0);
        self.output.clear();
        self.captured = Some(captured);
    }

    fn take(&mut self, moment: [f32; 2]) {
        let (sum, count) = &mut self.filling;
        sum[0] += moment[0];
        sum[1] += moment[1];
        *count += 1;
        if *count == self.decimation {
            let share = 1.0 / self.decimation as f32;
            self.input.push([sum[0] * share, sum[1] * share]);
            self.filling = ([0.0; 2], 0);
        }
    }

    fn resample(&mut self) {
        let step = self.rate_hz / f64::from(RATE_HZ) * (1.0 + self.correction);
        loop {
            let (index, along) = (self.position as usize, self.position.fract() as f32);
            // Interpolation looks two moments ahead. Where there is nothing to interpolate, a frame does
            // not wait for the period after its own: 10 ms that a 48 kHz device would lose.
            let last = if along == 0.0 { index } else { index + 2 };
            if last >= self.input.len() {
                break;
            }
            let at = |ahead: usize| self.input[(index - 1 + ahead).min(self.input.len() - 1)];
            let samples = (0..self.channels.count()).map(|channel| {
                let points = [0, 1, 2, 3].map(|ahead| at(ahead)[channel]);
                // Rounded, and cut to the range by the cast: a curve may overshoot its points.
                hermite(points, along).round() as i16
            });
            self.output.extend(samples);
            self.position += step;
        }
        let used = (self.position as usize).saturating_sub(1).min(self.input.len());
        self.input.drain(..used);
        self.position -= used as f64;
    }
}

/// Two channels stay as they are; any other number becomes the mean of all.
fn mix(moment: &[f32], channels: Channels) -> [f32; 2] {
    match (channels, moment) {
        (Channels::Stereo, &[left, right, ..]) => [left * 32_768.0, right * 32_768.0],
        (Channels::Mono, &[left, right, ..]) => [(left + right) * 16_384.0, 0.0],
        _ => [moment.iter().sum::<f32>() * 32_768.0, 0.0],
    }
}

/// The cubic through the middle two of four points, `along` from 0 to 1 between them (Catmull-Rom).
pub(crate) fn hermite(points: [f32; 4], along: f32) -> f32 {
    let [before, from, to, after] = points;
    let slope = 0.5 * (to - before);
    let curve = before - 2.5 * from + 2.0 * to - 0.5 * after;
    let twist = 0.5 * (after - before) + 1.5 * (from - to);
    ((twist * along + curve) * along + slope) * along + from
}

#[cfg(test)]
mod tests;

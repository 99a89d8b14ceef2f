//! A loudspeaker: 20 ms of sound at a time, out of an ALSA device.
//!
//! Whoever plays gives one frame each 20 ms of the media clock, or whenever [`Speaker::wait`] says that
//! there is room; the device takes them by a clock of its own. The frames are resampled by what a
//! [`SampleClock`] says of that clock, and by a little more or less to keep the device filled evenly.

use std::thread;
use std::time::Duration;

use alsa::Direction;
use alsa::pcm::{Frames, State};

use super::setup::{self, Wish};
use super::{Device, is_passing};
use crate::config::Talkback;
use crate::engine::drift::SampleClock;
use crate::engine::pcm::{FRAME_SAMPLES, RATE_HZ};
use crate::engine::resample::{Piece, Resampler};
use crate::io::audio::Loss;
use crate::io::clock::media_now;

/// There is room for a frame when no more than this is left in the device. After it there are 20 ms more,
/// so there are 40 on average: two turns of a thread that comes late.
const LOW_MS: u32 = 35;
/// The next frame may come so late, beyond a period of the device.
const LATE_MS: u32 = 15;
/// More than this above the low mark came too late, after silence had taken its place: the next frame is
/// dropped.
const EXCESS_MS: u32 = 30;
/// Frames over which the fill is averaged: the turns of both sides make it jump by a period.
const FILL_MEMORY: f64 = 64.0;
/// A fill that is off is mended over this time, and by no more than what nobody hears.
const CORRECTION_S: f64 = 5.0;
const MOST_CORRECTION: f64 = 0.003;
/// Sound that begins out of silence is raised over 5 ms, so that it does not click.
const FADE_SAMPLES: usize = 240;
/// How long to rest before looking again at a device that wakes its waiters too early.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// An open playback device. Dropping it ends the sound at once.
pub struct Speaker {
    device: Device,
    detail: String,
    /// There is room for a frame when no more moments than these are left.
    low: Frames,
    clock: SampleClock,
    resampler: Resampler,
    /// Moments that the device was given since it was opened.
    written: u64,
    /// It takes everything at once and never runs, as ALSA's `null` and `file` do: whoever plays keeps time.
    is_clockless: bool,
    /// The average fill before a frame, against what it shall be, in seconds; positive: too full.
    excess_s: f64,
    /// Mono at the device's rate, then as the device takes it.
    samples: Vec<f32>,
    bytes: Vec<u8>,
}

impl Speaker {
    /// Opens the configured device at the nearest that it has to what is asked for. It sounds with the
    /// first frame.
    pub fn open(talkback: &Talkback) -> Result<Speaker, Loss> {
        let wish = Wish { rate_hz: talkback.rate_hz, channels: talkback.channels };
        let device = Device::open(&talkback.device, Direction::Playback, wish)?;
        let setup = device.setup;
        let low = setup.moments(LOW_MS).max(setup.period + setup.moments(LATE_MS));
        // A buffer that is too small for that serves as well as it can.
        let low = low.min(setup.buffer - setup.moments(20)).max(1);
        setup::software(&device.pcm, Direction::Playback, (setup.buffer - low).max(1), low + 1)
            .map_err(|cause| device.lost("set up", cause))?;
        Ok(Speaker {
            detail: device.detail(),
            device,
            low,
            clock: SampleClock::new(setup.rate_hz),
            resampler: Resampler::new(RATE_HZ, setup.rate_hz, 1, Piece::In(FRAME_SAMPLES)),
            written: 0,
            is_clockless: false,
            excess_s: 0.0,
            samples: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Device and format, for the log.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// By how many parts per million the device's clock is faster than it says, as far as is known.
    pub fn off_ppm(&self) -> f64 {
        self.clock.off_ppm()
    }

    /// Sound that is in the device and not yet heard.
    pub fn delay(&self) -> Duration {
        // A device that stands still after an underrun has an error to tell, and nothing in it.
        self.device.duration(self.device.pcm.delay().unwrap_or(0))
    }

    /// Waits until there is room for the next 20 ms; false when there is none within `wait`.
    pub fn wait(&mut self, wait: Duration) -> Result<bool, Loss> {
        let until = media_now().0 + wait;
        loop {
            if !self.is_running() || self.fill()? <= self.low {
                return Ok(true);
            }
            let left = until.saturating_sub(media_now().0);
            if left.is_zero() {
                return Ok(false);
            }
            match self.device.wait(left) {
                // Some plug-ins wake as soon as there is any room.
                Ok(true) if self.fill()? > self.low => thread::park_timeout(left.min(LOOK_AGAIN)),
                Ok(_) => {}
                Err(cause) if is_passing(cause) => {}
                Err(cause) => return Err(self.device.lost("wait for", cause)),
            }
        }
    }

    /// Plays 20 ms of 48 kHz mono, full scale at ±1, on every channel. It never waits: what the device
    /// has no room for is dropped. After an underrun it begins with silence again.
    pub fn play(&mut self, frame: &[f32; FRAME_SAMPLES]) -> Result<(), Loss> {
        if self.is_running() {
            let level = self.device.level().map_err(|cause| self.device.lost("look at", cause))?;
            if level.moments > self.low + self.device.setup.moments(EXCESS_MS) {
                log::trace!(device:% = self.device.name; "a frame was dropped: the loudspeaker is behind");
                return Ok(());
            }
            let waiting = u64::try_from(level.moments).unwrap_or(0);
            self.clock.read(self.written.saturating_sub(waiting), level.at);
            self.steer(level.moments);
            return self.write(frame);
        }
        if self.is_clockless {
            return self.write(frame);
        }
        self.begin()?;
        let mut raised = *frame;
        for (index, sample) in raised.iter_mut().take(FADE_SAMPLES).enumerate() {
            *sample *= index as f32 / FADE_SAMPLES as f32;
        }
        self.write(&raised)?;
        // What it was given starts every device that has a clock. Should this one merely be late, it runs
        // by its next frame, and is treated as running from then on.
        self.is_clockless = self.device.is_in(State::Prepared);
        Ok(())
    }

    fn is_running(&self) -> bool {
        self.device.is_in(State::Running)
    }

    /// Moments that are in the device.
    fn fill(&self) -> Result<Frames, Loss> {
        let level = self.device.level().map_err(|cause| self.device.lost("look at", cause))?;
        Ok(level.moments)
    }

    /// Makes the device ready, with silence up to the low mark: the frame that follows starts it.
    fn begin(&mut self) -> Result<(), Loss> {
        if !self.device.is_in(State::Prepared) {
            log::debug!(device:% = self.device.name; "the loudspeaker ran dry and begins again");
            self.device.pcm.prepare().map_err(|cause| self.device.lost("prepare", cause))?;
        }
        self.clock.interrupt();
        self.resampler.reset();
        self.excess_s = 0.0;
        self.samples.clear();
        self.samples.resize(usize::try_from(self.low).unwrap_or(0), 0.0);
        self.hand_over()
    }

    fn write(&mut self, frame: &[f32; FRAME_SAMPLES]) -> Result<(), Loss> {
        self.resampler.push(frame);
        self.samples.clear();
        while self.resampler.next_piece(&mut self.samples) {}
        self.hand_over()
    }

    /// Gives the device what is in `samples`, on all channels.
    fn hand_over(&mut self) -> Result<(), Loss> {
        let setup = self.device.setup;
        self.bytes.clear();
        for &sample in &self.samples {
            let first = self.bytes.len();
            setup.format.encode(sample, &mut self.bytes);
            for _ in 1..setup.channels {
                self.bytes.extend_from_within(first..first + setup.format.bytes());
            }
        }
        let written = self.device.pcm.io_bytes().writei(&self.bytes);
        match written {
            Ok(moments) => self.written += moments as u64,
            Err(cause) if cause.errno().abs() == libc::EAGAIN => {}
            // It ran dry just now: the next frame begins again.
            Err(cause) => self.device.recover("play", cause)?,
        }
        Ok(())
    }

    /// Sets the resampler by the device's clock and by how full it is just before a frame.
    fn steer(&mut self, fill: Frames) {
        let setup = self.device.setup;
        let excess_s = (fill - (self.low - setup.period / 2)) as f64 / f64::from(setup.rate_hz);
        self.excess_s += (excess_s - self.excess_s) / FILL_MEMORY;
        let correction = (self.excess_s / CORRECTION_S).clamp(-MOST_CORRECTION, MOST_CORRECTION);
        self.resampler.stretch(self.clock.off_ppm() * 1e-6 - correction);
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // Closing alone would let some plug-ins play what they still hold. A device that is gone refuses.
        let _ = self.device.pcm.drop();
    }
}

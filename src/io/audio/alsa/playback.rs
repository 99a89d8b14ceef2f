//! A speaker: 20 ms of sound at a time, out of an ALSA device.

use std::time::Duration;

use alsa::Direction;
use alsa::pcm::Frames;

use super::setup::{self, Wish};
use super::{Device, is_passing};
use crate::config::Talkback;
use crate::engine::pcm::FRAME_SAMPLES;
use crate::io::audio::Loss;

/// Sound in the device, on average.
const TARGET_MS: u32 = 40;
/// A frame is let in when no more than this is left: with it, the average is [`TARGET_MS`].
const LOW_MS: u32 = TARGET_MS - 10;

/// An open playback device. Dropping it ends the sound at once.
pub struct Speaker {
    device: Device,
    detail: String,
    bytes: Vec<u8>,
}

impl Speaker {
    /// Opens the configured device at the nearest that it has to what is asked for.
    pub fn open(talkback: &Talkback) -> Result<Speaker, Loss> {
        let wish = Wish { rate_hz: talkback.rate_hz, channels: talkback.channels };
        let device = Device::open(&talkback.device, Direction::Playback, wish)?;
        let (setup, low) = (device.setup, device.setup.moments(LOW_MS));
        let wake = (setup.buffer - low).max(1);
        setup::software(&device.pcm, Direction::Playback, wake, low + 1)
            .map_err(|cause| device.lost("set up", cause))?;
        let detail = device.detail();
        Ok(Speaker { device, detail, bytes: Vec::new() })
    }

    /// Device and format, for the log.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Waits until there is room for the next 20 ms; false when there is none within `wait`.
    pub fn wait(&mut self, wait: Duration) -> Result<bool, Loss> {
        match self.device.wait(wait) {
            Ok(has_room) => Ok(has_room),
            // Nothing was left to play: there is room.
            Err(cause) if is_passing(cause) => Ok(true),
            Err(cause) => Err(self.device.lost("wait for", cause)),
        }
    }

    /// Plays 20 ms of 48 kHz mono, full scale at ±1, on every channel. It never waits: what the device
    /// has no room for is dropped.
    pub fn play(&mut self, frame: &[f32; FRAME_SAMPLES]) -> Result<(), Loss> {
        self.bytes.clear();
        for &sample in frame {
            for _ in 0..self.device.setup.channels {
                self.device.setup.format.encode(sample, &mut self.bytes);
            }
        }
        match self.device.pcm.io_bytes().writei(&self.bytes) {
            Ok(_) => Ok(()),
            Err(cause) if cause.errno().abs() == libc::EAGAIN => Ok(()),
            Err(cause) => self.device.recover("play", cause),
        }
    }

    /// Sound that is in the device and not yet heard.
    pub fn delay(&self) -> Duration {
        let moments: Frames = self.device.pcm.delay().unwrap_or(0);
        self.device.duration(moments)
    }
}

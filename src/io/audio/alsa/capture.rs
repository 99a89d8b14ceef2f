//! A microphone: what an ALSA device recorded, as frames that follow the media clock.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use alsa::Direction;
use alsa::pcm::State;

use super::setup::{self, Wish};
use super::{Device, is_passing};
use crate::engine::pcm::{Channels, FrameCollector, PcmFrame};
use crate::io::audio::Loss;
use crate::io::clock::media_now;
use crate::units::MediaTime;

/// A card that gives nothing for so long is taken for lost, and opened again.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// An open capture device.
pub(in crate::io::audio) struct SoundCard {
    device: Device,
    detail: String,
    collector: FrameCollector,
    frames: VecDeque<PcmFrame>,
    /// As the device writes them.
    bytes: Vec<u8>,
    samples: Vec<f32>,
    last_heard: MediaTime,
}

impl SoundCard {
    pub(in crate::io::audio) fn open(name: &str, rate_hz: u32, channels: u16) -> Result<SoundCard, Loss> {
        let device = Device::open(name, Direction::Capture, Wish { rate_hz, channels })?;
        let setup = device.setup;
        setup::software(&device.pcm, Direction::Capture, setup.period, 0)
            .map_err(|cause| device.lost("set up", cause))?;
        device.pcm.start().map_err(|cause| device.lost("start", cause))?;
        let collector =
            FrameCollector::new(setup.rate_hz, setup.channels, Channels::sent_for(channels, setup.channels));
        let bytes = vec![0; usize::try_from(setup.buffer).unwrap_or(1) * setup.moment_bytes()];
        let (detail, last_heard) = (device.detail(), media_now());
        Ok(SoundCard {
            device,
            detail,
            collector,
            frames: VecDeque::new(),
            bytes,
            samples: Vec::new(),
            last_heard,
        })
    }

    pub(in crate::io::audio) fn channels(&self) -> Channels {
        self.collector.channels()
    }

    pub(in crate::io::audio) fn detail(&self) -> &str {
        &self.detail
    }

    /// By how many parts per million the card's clock is faster than it says, as far as is known.
    #[cfg(test)]
    pub(super) fn off_ppm(&self) -> f64 {
        self.collector.off_ppm()
    }

    /// The next frame; `None` when it did not come within `wait`.
    pub(in crate::io::audio) fn frame(&mut self, wait: Duration) -> Result<Option<PcmFrame>, Loss> {
        if self.frames.is_empty() {
            match self.read(wait) {
                Ok(()) => {}
                Err(cause) if is_passing(cause) => self.resume(cause)?,
                Err(cause) => return Err(self.device.lost("read sound", cause)),
            }
            let collector = &mut self.collector;
            self.frames.extend(std::iter::from_fn(|| collector.next_frame()));
        }
        if media_now().0.saturating_sub(self.last_heard.0) > SILENT_AFTER {
            return Err(Loss::Device {
                operation: "wait for sound",
                device: self.device.name.clone(),
                cause: io::Error::new(io::ErrorKind::TimedOut, "none came for 2 s"),
                remedy: "look whether it works with `arecord`, or unplug it and plug it in again",
            });
        }
        Ok(self.frames.pop_front())
    }

    fn read(&mut self, wait: Duration) -> alsa::Result<()> {
        if !self.device.wait(wait)? {
            return Ok(());
        }
        let level = self.device.level()?;
        let read = self.device.pcm.io_bytes().readi(&mut self.bytes);
        match read {
            Ok(moments) if moments > 0 => {
                self.samples.clear();
                let setup = self.device.setup;
                setup.format.decode(&self.bytes[..moments * setup.moment_bytes()], &mut self.samples);
                let first_taken = level.at.0.saturating_sub(self.device.duration(level.moments));
                self.collector.push(&self.samples, MediaTime(first_taken));
                self.last_heard = media_now();
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(cause) if cause.errno().abs() == libc::EAGAIN => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    /// Goes on after an overrun or a suspend; the gap shows in the times of what follows.
    fn resume(&mut self, cause: alsa::Error) -> Result<(), Loss> {
        log::debug!(device:% = self.device.name; "sound was lost: the thread did not get its turn in time");
        self.device.recover("read sound", cause)?;
        self.collector.gap();
        // A device that was resumed after a suspend goes on by itself.
        if !self.device.is_in(State::Prepared) {
            return Ok(());
        }
        self.device.pcm.start().map_err(|cause| self.device.lost("start", cause))
    }
}

//! An ALSA capture device: periods of signed 16-bit samples, each with the time at which it was taken.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use alsa::pcm::{Access, Format, HwParams, PCM, TstampType};
use alsa::{Direction, Output, ValueOr};

use super::Loss;
use crate::engine::pcm::{Channels, FrameCollector, PcmFrame};
use crate::io::clock::media_now;
use crate::units::MediaTime;

/// A wake-up each 10 ms: half a frame, so that a frame waits at most that long for its rest.
const PERIOD_US: u32 = 10_000;
/// Holds what comes while the thread does not get its turn: 20 periods.
const BUFFER_US: u32 = 200_000;
/// A card that gives nothing for so long is taken for lost, and opened again.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// An open capture device.
pub(super) struct SoundCard {
    pcm: PCM,
    device: String,
    detail: String,
    rate_hz: u32,
    device_channels: u16,
    collector: FrameCollector,
    frames: VecDeque<PcmFrame>,
    period: Vec<i16>,
    last_heard: MediaTime,
}

impl SoundCard {
    pub(super) fn open(device: &str, rate_hz: u32, channels: u16) -> Result<SoundCard, Loss> {
        let failed = |operation| move |cause: alsa::Error| lost(operation, device, cause);
        // alsa-lib prints its troubles to standard error unless the thread keeps them; what matters of
        // them is in the error that it returns.
        let _quiet = Output::local_error_handler();
        let pcm = PCM::new(device, Direction::Capture, true).map_err(failed("open"))?;
        let (rate_hz, device_channels) = set_up(&pcm, rate_hz, channels).map_err(failed("set up"))?;
        pcm.start().map_err(failed("start"))?;
        let detail = format!("ALSA {device}: {rate_hz} Hz, {device_channels} channels");
        let collector = FrameCollector::new(rate_hz, device_channels);
        // A quarter of a second: more than the buffer holds.
        let period = vec![0; rate_hz as usize / 4 * usize::from(device_channels)];
        let (device, frames) = (device.to_owned(), VecDeque::new());
        let last_heard = media_now();
        Ok(SoundCard { pcm, device, detail, rate_hz, device_channels, collector, frames, period, last_heard })
    }

    pub(super) fn channels(&self) -> Channels {
        self.collector.channels()
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The next frame; `None` when it did not come within `wait`.
    pub(super) fn frame(&mut self, wait: Duration) -> Result<Option<PcmFrame>, Loss> {
        if self.frames.is_empty() {
            match self.read(wait) {
                Ok(()) => {}
                Err(cause) if is_overrun(cause) => self.recover(cause)?,
                Err(cause) => return Err(lost("read sound", &self.device, cause)),
            }
            let collector = &mut self.collector;
            self.frames.extend(std::iter::from_fn(|| collector.next_frame()));
        }
        if media_now().0.saturating_sub(self.last_heard.0) > SILENT_AFTER {
            return Err(Loss::Device {
                operation: "wait for sound",
                device: self.device.clone(),
                cause: io::Error::new(io::ErrorKind::TimedOut, "none came for 2 s"),
                remedy: "look whether it works with `arecord`, or unplug it and plug it in again",
            });
        }
        Ok(self.frames.pop_front())
    }

    fn read(&mut self, wait: Duration) -> alsa::Result<()> {
        if !self.pcm.wait(Some(wait.as_millis() as u32))? {
            return Ok(());
        }
        let first_taken = self.first_waiting()?;
        match self.pcm.io_i16()?.readi(&mut self.period) {
            Ok(moments) if moments > 0 => {
                let samples = &self.period[..moments * usize::from(self.device_channels)];
                self.collector.push(samples, first_taken);
                self.last_heard = media_now();
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(cause) if cause.errno() == libc::EAGAIN => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    /// When the first sample that has not been read was taken: the driver says when it last looked, and
    /// how many samples lay between that moment and us (`snd_pcm_status`). A plug-in that stamps
    /// nothing, or by another clock, is taken at the present.
    fn first_waiting(&self) -> alsa::Result<MediaTime> {
        let status = self.pcm.status()?;
        let now = media_now();
        let stamp = status.get_htstamp();
        let stamp = Duration::new(stamp.tv_sec.max(0) as u64, stamp.tv_nsec.clamp(0, 999_999_999) as u32);
        let is_ours = stamp <= now.0 && now.0 - stamp < Duration::from_secs(1);
        let waiting = u64::try_from(status.get_delay().max(status.get_avail())).unwrap_or(0);
        let age = Duration::from_nanos(waiting.saturating_mul(1_000_000_000) / u64::from(self.rate_hz));
        Ok(MediaTime(if is_ours { stamp } else { now.0 }.saturating_sub(age)))
    }

    /// After an overrun (or a suspend) the device is prepared and started anew. The gap shows in the
    /// time of the next period.
    fn recover(&mut self, cause: alsa::Error) -> Result<(), Loss> {
        log::debug!(device:% = self.device; "sound was lost: the thread did not get its turn in time");
        let recovered = self.pcm.try_recover(cause, true).and_then(|()| self.pcm.start());
        recovered.map_err(|cause| lost("recover", &self.device, cause))
    }
}

/// Asks for the nearest that the device has, and returns its rate and channels.
fn set_up(pcm: &PCM, rate_hz: u32, channels: u16) -> alsa::Result<(u32, u16)> {
    let (rate_hz, channels, period) = {
        let wanted = HwParams::any(pcm)?;
        wanted.set_access(Access::RWInterleaved)?;
        wanted.set_format(Format::s16())?;
        wanted.set_channels_near(u32::from(channels))?;
        wanted.set_rate_near(rate_hz, ValueOr::Nearest)?;
        wanted.set_buffer_time_near(BUFFER_US, ValueOr::Nearest)?;
        wanted.set_period_time_near(PERIOD_US, ValueOr::Nearest)?;
        pcm.hw_params(&wanted)?;
        (wanted.get_rate()?, wanted.get_channels()?, wanted.get_period_size()?)
    };
    let wanted = pcm.sw_params_current()?;
    wanted.set_avail_min(period)?;
    wanted.set_tstamp_mode(true)?;
    // Not every plug-in has it; `first_waiting` notices.
    let _ = wanted.set_tstamp_type(TstampType::Monotonic);
    pcm.sw_params(&wanted)?;
    Ok((rate_hz, u16::try_from(channels).unwrap_or(u16::MAX)))
}

/// EPIPE is an overrun, ESTRPIPE a suspended board, EINTR a signal: all are mended in place.
fn is_overrun(cause: alsa::Error) -> bool {
    matches!(cause.errno(), libc::EPIPE | libc::ESTRPIPE | libc::EINTR)
}

fn lost(operation: &'static str, device: &str, cause: alsa::Error) -> Loss {
    // The crate gives codes with either sign.
    let code = cause.errno().abs();
    let remedy = match code {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => {
            "plug it in, or name one of `farol devices` in audio.device"
        }
        libc::EBUSY => {
            "another program has it: stop that one, or name a shared device (dsnoop:) in audio.device"
        }
        libc::EACCES | libc::EPERM => "give the user the group `audio`",
        libc::EINVAL => "ask for a rate and channels that it has: see `farol devices`, or name it as plughw:",
        _ => "unplug it and plug it in again",
    };
    Loss::Device { operation, device: device.to_owned(), cause: io::Error::from_raw_os_error(code), remedy }
}

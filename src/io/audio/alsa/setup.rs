//! What is a PCM asked for, and what did it agree to?

use std::fmt;

use alsa::pcm::{Access, Frames, HwParams, PCM, TstampType};
use alsa::{Direction, ValueOr};

use super::sample::SampleFormat;

/// A wake-up each 10 ms: half a frame, so that none waits longer than that for its rest.
const PERIOD_US: u32 = 10_000;
/// Holds what comes while the thread does not get its turn, or what is to be played: 20 periods.
const BUFFER_US: u32 = 200_000;

/// What a device is asked for. It may give the nearest that it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) rate_hz: u32,
    pub(super) channels: u16,
}

/// What a device agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) rate_hz: u32,
    pub(super) channels: u16,
    pub(super) format: SampleFormat,
    /// Moments between two interrupts.
    pub(super) period: Frames,
    /// Moments that the device holds.
    pub(super) buffer: Frames,
}

impl Setup {
    /// Bytes of one moment: a sample of each channel.
    pub(super) fn moment_bytes(&self) -> usize {
        self.format.bytes() * usize::from(self.channels)
    }

    /// Moments in so many milliseconds.
    pub(super) fn moments(&self, ms: u32) -> Frames {
        Frames::try_from(u64::from(self.rate_hz) * u64::from(ms) / 1000).unwrap_or(Frames::MAX)
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels = if self.channels == 1 { "channel" } else { "channels" };
        write!(f, "{} Hz, {} {channels}, {}", self.rate_hz, self.channels, self.format.alsa())
    }
}

/// Asks for the nearest that the device has. Channels and rate come before the format: those are what
/// a person asked for, and every format serves.
pub(super) fn hardware(pcm: &PCM, wish: Wish) -> alsa::Result<Setup> {
    {
        let wanted = HwParams::any(pcm)?;
        // A plug device is to give the hardware's own rate: its converter is coarser than ours, and hides
        // the drift. Those that have none to turn off do not mind.
        let _ = wanted.set_rate_resample(false);
        wanted.set_access(Access::RWInterleaved)?;
        wanted.set_channels_near(u32::from(wish.channels))?;
        wanted.set_rate_near(wish.rate_hz, ValueOr::Nearest)?;
        let format = SampleFormat::ALL.into_iter().find(|format| wanted.test_format(format.alsa()).is_ok());
        wanted.set_format(format.unwrap_or(SampleFormat::S16).alsa())?;
        wanted.set_buffer_time_near(BUFFER_US, ValueOr::Nearest)?;
        wanted.set_period_time_near(PERIOD_US, ValueOr::Nearest)?;
        pcm.hw_params(&wanted)?;
    }
    let agreed = pcm.hw_params_current()?;
    let format = agreed.get_format()?;
    let format = SampleFormat::ALL.into_iter().find(|ours| ours.alsa() == format);
    Ok(Setup {
        rate_hz: agreed.get_rate()?.max(1),
        channels: u16::try_from(agreed.get_channels()?).unwrap_or(u16::MAX).max(1),
        format: format.ok_or_else(|| alsa::Error::new("snd_pcm_hw_params", libc::EINVAL))?,
        period: agreed.get_period_size()?.max(1),
        buffer: agreed.get_buffer_size()?.max(1),
    })
}

/// Sets when the thread is woken, and has the driver stamp with the clock that media is stamped with.
/// A recording is started by hand; a playback when `start` moments are in it.
pub(super) fn software(pcm: &PCM, direction: Direction, wake: Frames, start: Frames) -> alsa::Result<()> {
    let wanted = pcm.sw_params_current()?;
    wanted.set_avail_min(wake)?;
    if direction == Direction::Playback {
        wanted.set_start_threshold(start)?;
    }
    wanted.set_tstamp_mode(true)?;
    // Not every plug-in has it; whoever reads the stamps notices.
    let _ = wanted.set_tstamp_type(TstampType::Monotonic);
    pcm.sw_params(&wanted)
}

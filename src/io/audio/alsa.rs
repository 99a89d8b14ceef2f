//! What do the two directions of an ALSA device have in common?
//!
//! Finding the card, agreeing on a format, knowing when a sample passed the converter, and getting
//! over what ends a stream for a moment. [`capture`] and [`playback`] add the sound.

use std::ffi::CString;
use std::io;
use std::time::Duration;

use alsa::pcm::{Frames, PCM, State};
use alsa::{Direction, Output};

use super::Loss;
use crate::io::clock::media_now;
use crate::units::MediaTime;
use setup::{Setup, Wish};

mod capture;
mod card;
mod playback;
mod sample;
mod setup;

pub(super) use capture::SoundCard;
pub use playback::Speaker;

/// A stamp older than this is of another clock.
const STAMP_AGE_MAX: Duration = Duration::from_secs(1);

/// An open PCM, and what it agreed to.
struct Device {
    pcm: PCM,
    /// As configured.
    name: String,
    direction: Direction,
    setup: Setup,
}

/// How full a device was, and when.
#[derive(Clone, Copy, Debug)]
struct Level {
    at: MediaTime,
    /// Moments between the converter and us: recorded and not yet read, or written and not yet heard.
    moments: Frames,
}

impl Device {
    /// Opens the card that `name` means and agrees on the nearest to `wish`. It does not run yet.
    fn open(name: &str, direction: Direction, wish: Wish) -> Result<Device, Loss> {
        let failed = |operation| move |cause: alsa::Error| lost(operation, name, direction, cause);
        // alsa-lib prints its troubles to standard error unless the thread keeps them; what matters of
        // them is in the error that it returns.
        let _quiet = Output::local_error_handler();
        let name_now = card::name_now(name);
        let invalid = || alsa::Error::new("snd_pcm_open", libc::ENOENT);
        let pcm = CString::new(name_now).map_err(|_| failed("open")(invalid()))?;
        let pcm = PCM::open(&pcm, direction, true).map_err(failed("open"))?;
        if let Some(card) = card::remember(name, &pcm) {
            log::info!(device:% = name, card:% = card; "card number resolved: this device is looked for by the card's id from now on");
        }
        let setup = setup::hardware(&pcm, wish).map_err(failed("set up"))?;
        Ok(Device { pcm, name: name.to_owned(), direction, setup })
    }

    /// Device and format, for the log.
    fn detail(&self) -> String {
        format!("ALSA {}: {}", self.name, self.setup)
    }

    fn lost(&self, operation: &'static str, cause: alsa::Error) -> Loss {
        lost(operation, &self.name, self.direction, cause)
    }

    /// Waits until there is something to read or room to write, as `avail_min` has it.
    fn wait(&self, wait: Duration) -> alsa::Result<bool> {
        self.pcm.wait(Some(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX >> 1)))
    }

    /// How full the device is. The driver says when it last looked at its converter, and how many
    /// moments lay between that and us (`snd_pcm_status`); a plug-in that stamps nothing, or by another
    /// clock, is taken at the present.
    fn level(&self) -> alsa::Result<Level> {
        let before = media_now();
        let status = self.pcm.status()?;
        let stamp = status.get_htstamp();
        let stamp = Duration::new(stamp.tv_sec.max(0) as u64, stamp.tv_nsec.clamp(0, 999_999_999) as u32);
        let is_ours = stamp <= media_now().0 && before.0.saturating_sub(stamp) < STAMP_AGE_MAX;
        let moments = match self.direction {
            Direction::Capture => status.get_delay().max(status.get_avail()),
            Direction::Playback => status.get_delay(),
        };
        Ok(Level { at: if is_ours { MediaTime(stamp) } else { before }, moments: moments.max(0) })
    }

    fn is_in(&self, state: State) -> bool {
        // The crate's own reading panics at a state that it does not know.
        self.pcm.state_raw() == state as i32
    }

    fn duration(&self, moments: Frames) -> Duration {
        let moments = u64::try_from(moments).unwrap_or(0);
        Duration::from_nanos(moments.saturating_mul(1_000_000_000) / u64::from(self.setup.rate_hz))
    }

    /// After an overrun, an underrun or a suspend: the device is prepared anew. Other causes are a loss.
    fn recover(&self, operation: &'static str, cause: alsa::Error) -> Result<(), Loss> {
        if !is_passing(cause) {
            return Err(self.lost(operation, cause));
        }
        self.pcm.try_recover(cause, true).map_err(|cause| self.lost("recover", cause))
    }
}

/// EPIPE is an overrun or underrun, ESTRPIPE a suspended board, EINTR a signal: all are mended in place.
fn is_passing(cause: alsa::Error) -> bool {
    matches!(cause.errno().abs(), libc::EPIPE | libc::ESTRPIPE | libc::EINTR)
}

fn lost(operation: &'static str, device: &str, direction: Direction, cause: alsa::Error) -> Loss {
    // The crate gives codes with either sign.
    let code = cause.errno().abs();
    let (missing, busy) = match direction {
        Direction::Capture => (
            "plug it in, or name one of `farol devices` in audio.device",
            "another program has it: stop that one, or name a shared device (dsnoop:) in audio.device",
        ),
        Direction::Playback => (
            "plug it in, or name one of `aplay -L` in talkback.device",
            "another program has it: stop that one, or name a shared device (dmix:) in talkback.device",
        ),
    };
    let remedy = match code {
        libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::EBADFD => missing,
        libc::EBUSY => busy,
        libc::EACCES | libc::EPERM => "give the user the group `audio`",
        libc::EINVAL => "it has no format that is spoken here: name it as plughw:, which converts",
        _ => "unplug it and plug it in again",
    };
    Loss::Device { operation, device: device.to_owned(), cause: io::Error::from_raw_os_error(code), remedy }
}

#[cfg(test)]
mod tests;

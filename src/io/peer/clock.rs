//! Which wall-clock moment a [`MediaTime`] is, for one peer connection.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::units::MediaTime;

/// Seconds from the NTP epoch (1900) to the Unix epoch (RFC 5905 §A.4).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

/// Maps the board's monotonic clock to NTP time and to the library's [`Instant`]s.
///
/// It is fixed when the connection is made: a board without a battery-backed clock steps its wall
/// clock by decades once it has network, and a step in the middle of a stream would tear the
/// viewer's lip sync apart. Only the difference between two values matters (RFC 3550 §4).
#[derive(Clone, Copy, Debug)]
pub struct CaptureClock {
    /// Wall clock at monotonic zero, since 1970.
    wall_at_zero: Duration,
    /// The same moment on both monotonic scales.
    anchor: (Instant, Duration),
}

impl CaptureClock {
    /// Reads the clocks.
    pub fn new() -> Self {
        let monotonic = monotonic();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_at_zero: wall.saturating_sub(monotonic), anchor: (Instant::now(), monotonic) }
    }

    /// The moment on the media clock.
    pub fn media_time(&self, at: Instant) -> MediaTime {
        let (instant, monotonic) = self.anchor;
        MediaTime(match at.checked_duration_since(instant) {
            Some(later) => monotonic + later,
            None => monotonic.saturating_sub(instant.duration_since(at)),
        })
    }

    /// As a 64-bit NTP timestamp, 32 bits of seconds and 32 of fraction (RFC 3550 §4).
    pub fn ntp(&self, at: MediaTime) -> u64 {
        let wall = self.wall_at_zero + at.0;
        // Nanoseconds are below 2^30, so the shifted value fits 62 bits.
        let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
        ((wall.as_secs() + NTP_UNIX_OFFSET_S) << 32) | fraction
    }
}

/// `CLOCK_MONOTONIC`, the clock of [`MediaTime`].
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The kernel's monotonic clock starts at boot: neither part is ever negative.
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_runs_with_the_media_clock() {
        let clock = CaptureClock::new();
        let at = clock.media_time(Instant::now());
        let later = MediaTime(at.0 + Duration::from_millis(1500));
        let difference = clock.ntp(later).wrapping_sub(clock.ntp(at));
        let expected = 3u64 << 31;
        assert!(difference.abs_diff(expected) <= 8, "1.5 s became {difference:#x}");
    }

    #[test]
    fn ntp_is_the_wall_clock() {
        let clock = CaptureClock::new();
        let seconds = clock.ntp(clock.media_time(Instant::now())) >> 32;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
            + NTP_UNIX_OFFSET_S;
        assert!(seconds.abs_diff(wall) <= 1);
    }
}

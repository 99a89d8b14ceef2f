//! Which RTP timestamp a piece of sound has.
//!
//! A receiver plays timestamps as sample counts: one sample too many between two packets is a gap that
//! it fills with made-up sound, one too few an overlap. So packets count on by exactly 20 ms, however
//! their capture times jitter, and the count is set right only when it has really left the capture clock:
//! the two drift apart by some tens of milliseconds an hour, and a restarted microphone leaves a hole.

use crate::io::peer::AUDIO_HZ;
use crate::units::MediaTime;

/// Samples in one packet of 20 ms.
const PACKET: u32 = AUDIO_HZ / 50;
/// A lasting difference beyond this is corrected: 10 ms, a quarter of what lip sync may be off.
const MAX_DRIFT: i32 = AUDIO_HZ as i32 / 100;
/// A sudden difference beyond this is a hole or a jump: 100 ms.
const MAX_JUMP: i32 = AUDIO_HZ as i32 / 10;
/// Over how many packets a difference must last: its mean has a weight of 1/16 for the newest.
const SMOOTHING: i32 = 16;

/// Counts samples along the capture clock.
#[derive(Debug, Default)]
pub(super) struct SoundClock {
    next: Option<u32>,
    /// Mean of how far the capture clock is ahead of the count, in samples times `SMOOTHING`.
    ahead: i32,
}

impl SoundClock {
    /// The timestamp of the next 20 ms, without the random offset.
    pub(super) fn timestamp(&mut self, captured: MediaTime) -> u32 {
        let ideal = captured.rtp(AUDIO_HZ);
        let counted = self.next.unwrap_or(ideal);
        // The difference of two wrapping counts, as long as they are within half a day of each other.
        let difference = ideal.wrapping_sub(counted).cast_signed();
        let timestamp = if difference.saturating_abs() > MAX_JUMP {
            self.ahead = 0;
            ideal
        } else {
            self.ahead += difference - self.ahead / SMOOTHING;
            if self.ahead.abs() > MAX_DRIFT * SMOOTHING {
                let correction = self.ahead / SMOOTHING;
                self.ahead = 0;
                counted.wrapping_add_signed(correction)
            } else {
                counted
            }
        };
        self.next = Some(timestamp.wrapping_add(PACKET));
        timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at_us(us: u64) -> MediaTime {
        MediaTime(Duration::from_micros(us))
    }

    fn steps(captured_us: impl Iterator<Item = u64>) -> Vec<i32> {
        let mut clock = SoundClock::default();
        let stamps: Vec<u32> = captured_us.map(|us| clock.timestamp(at_us(us))).collect();
        stamps.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]).cast_signed()).collect()
    }

    #[test]
    fn jitter_of_the_capture_times_does_not_reach_the_timestamps() {
        let jittered = (0..500).map(|n| 1_000_000 + n * 20_000 + (n * 7919) % 8_000);
        assert!(steps(jittered).iter().all(|&step| step == 960));
    }

    #[test]
    fn drift_is_corrected_before_it_is_seen() {
        // 500 ppm: ten times what a bad crystal has. An hour.
        let captured_us: Vec<u64> = (0..180_000).map(|n| 1_000_000 + n * 20_010).collect();
        let mut clock = SoundClock::default();
        let mut corrections = 0;
        let mut last = None;
        for &us in &captured_us {
            let stamp = clock.timestamp(at_us(us));
            let off = at_us(us).rtp(AUDIO_HZ).wrapping_sub(stamp).cast_signed();
            assert!(off.abs() <= 2 * MAX_DRIFT, "{off} samples off the capture clock");
            corrections += u32::from(last.is_some_and(|last: u32| stamp != last.wrapping_add(960)));
            last = Some(stamp);
        }
        assert!((100..400).contains(&corrections), "{corrections} corrections in an hour");
    }

    #[test]
    fn a_hole_in_the_sound_is_a_hole_in_the_timestamps() {
        let restarted = (0..10).map(|n| n * 20_000 + if n < 5 { 0 } else { 3_000_000 });
        let mut expected = vec![960; 9];
        expected[4] = 960 + 3 * 48_000;
        assert_eq!(steps(restarted), expected);
    }
}

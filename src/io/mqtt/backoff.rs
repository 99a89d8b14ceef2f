//! How long is waited before the next attempt to connect?

use std::time::Duration;

/// A connection that lived this long was a good one: the next wait is short again.
pub(super) const GOOD_AFTER: Duration = Duration::from_secs(60);

const LONGEST_MS: u64 = 60_000;

/// The wait after `failures` earlier failures in a row: a ceiling of 1 s that doubles up to 60 s, of
/// which `random`, evenly spread over all its values, picks a point in the upper half. So devices that
/// lost the same broker do not come back in step, and no wait is shorter than 0.5 s or longer than 60 s.
pub(super) fn wait(failures: u32, random: u32) -> Duration {
    let ceiling_ms = LONGEST_MS.min(1_000 << failures.min(6));
    let half_ms = ceiling_ms / 2;
    // At most 30 000 * 2^32, far within 64 bits.
    Duration::from_millis(half_ms + ((half_ms * u64::from(random)) >> 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_wait_is_between_half_a_second_and_one() {
        assert_eq!(wait(0, 0), Duration::from_millis(500));
        assert_eq!(wait(0, u32::MAX), Duration::from_millis(999));
    }

    #[test]
    fn waits_double_up_to_a_minute_and_stay_there() {
        let longest: Vec<u64> = (0..9).map(|failures| wait(failures, u32::MAX).as_millis() as u64).collect();
        assert_eq!(longest, [999, 1999, 3999, 7999, 15_999, 31_999, 59_999, 59_999, 59_999]);
        assert_eq!(wait(u32::MAX, 0), Duration::from_secs(30));
    }

    #[test]
    fn randomness_spreads_the_waits_evenly() {
        let quarter = wait(6, u32::MAX / 4).as_millis();
        assert!((37_400..37_600).contains(&quarter), "{quarter} ms");
    }
}

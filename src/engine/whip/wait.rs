//! How long is waited before the next attempt?

use std::time::Duration;

use super::reply::Again;

/// The wait after so many failures in a row before this one; `random`, evenly spread over all its values, picks
/// a point in its upper half, so that many boards do not come back in step. What a server asks for is never
/// shortened: up to a tenth is added.
pub fn wait(again: Again, failures: u32, random: u32) -> Duration {
    let spread = |longest_ms: u64| (longest_ms * u64::from(random)) >> 32;
    let (first_ms, longest_ms) = match again {
        Again::Soon => (1_000_u64, 60_000),
        Again::Slowly => (30_000, 300_000),
        // At most an hour.
        Again::After(wait) => {
            let wait_ms = wait.max(Duration::from_secs(1)).as_millis() as u64;
            return Duration::from_millis(wait_ms + spread(wait_ms / 10));
        }
    };
    let half_ms = longest_ms.min(first_ms << failures.min(6)) / 2;
    Duration::from_millis(half_ms + spread(half_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_ceiling_and_are_spread_over_its_upper_half() {
        let both = |again, failures| {
            [0, u32::MAX].map(|random| wait(again, failures, random).as_millis().div_ceil(10) * 10)
        };
        assert_eq!(both(Again::Soon, 0), [500, 1_000]);
        assert_eq!(both(Again::Soon, 3), [4_000, 8_000]);
        assert_eq!(both(Again::Soon, u32::MAX), [30_000, 60_000]);
        assert_eq!(both(Again::Slowly, 0), [15_000, 30_000]);
        assert_eq!(both(Again::Slowly, u32::MAX), [150_000, 300_000]);
    }

    #[test]
    fn what_a_server_asks_for_is_never_shortened() {
        for asked in [1, 40, 3600] {
            let asked = Duration::from_secs(asked);
            for random in [0, u32::MAX] {
                let waited = wait(Again::After(asked), 9, random);
                assert!(asked <= waited && waited <= asked + asked / 10, "{waited:?}");
            }
        }
        assert_eq!(wait(Again::After(Duration::ZERO), 0, 0), Duration::from_secs(1));
    }
}

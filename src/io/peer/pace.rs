//! How fast may one peer connection check its pairs of candidates?
//!
//! The library checks all of them every 20 ms, and whenever something comes in after that; and at each check it copies
//! the list of those of the last 4 s. So twice the pairs cost four times as much. With a few of them that interval is
//! what makes a connection quick. With many, library and viewer rest until the checks have come down to a rate, the
//! library by its timer and the viewer by what comes in. Once a pair is chosen there are next to no checks.
//!
//! Pure: it is told the time.

use std::time::{Duration, Instant};

/// One check in so much time: ten pairs have the library's own interval.
const PER_CHECK: Duration = Duration::from_millis(2);
/// A viewer that has not been reached for so long can wait.
const EAGER_FOR: Duration = Duration::from_secs(3);
/// Then one check in so much time.
const PER_LATE_CHECK: Duration = Duration::from_millis(10);
/// So far ahead of its rate a connection may be before it rests: the first checks of all pairs of a browser with many
/// addresses go out at once, and again when it names another.
const AHEAD: Duration = Duration::from_millis(500);
/// It rests no longer than this at a time, with however many pairs.
const REST: Duration = Duration::from_secs(1);

/// The checks of one ICE generation.
#[derive(Debug, Default)]
pub struct Pace {
    began: Option<Instant>,
    /// When those that were sent are paid for.
    even: Option<Instant>,
}

impl Pace {
    /// A check leaves.
    pub fn checked(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let is_late = now.saturating_duration_since(began) > EAGER_FOR;
        let cost = if is_late { PER_LATE_CHECK } else { PER_CHECK };
        let even = self.even.map_or(now, |even| even.max(now)) + cost;
        self.even = Some(even.min(now + AHEAD + REST));
    }

    /// For how long nothing is to make the library check again.
    pub fn rest(&self, now: Instant) -> Duration {
        self.even.map_or(Duration::ZERO, |even| even.saturating_duration_since(now + AHEAD))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    /// Checks in each second when the library checks so many pairs whenever it may.
    fn checks(pairs: usize, seconds: usize) -> Vec<usize> {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let (mut now, mut counts) = (began, vec![0; seconds]);
        while let Some(count) = counts.get_mut((now - began).as_secs() as usize) {
            *count += pairs;
            (0..pairs).for_each(|_| pace.checked(now));
            now += pace.rest(now).max(Duration::from_millis(20));
        }
        counts
    }

    #[test]
    fn few_pairs_are_checked_at_the_library_s_own_pace() {
        assert_eq!(checks(4, 2), [200, 200]);
        assert_eq!(checks(10, 2), [500, 500]);
    }

    #[test]
    fn many_pairs_make_few_more_checks_and_fewer_after_some_seconds() {
        for pairs in [30, 60, 100] {
            let counts = checks(pairs, 10);
            assert!(counts[0] <= 900, "{pairs} pairs: {counts:?}");
            assert!(
                counts[1..3].iter().all(|count| (400..=600).contains(count)),
                "{pairs} pairs: {counts:?}"
            );
            assert!(counts[5..].iter().all(|count| (60..=150).contains(count)), "{pairs} pairs: {counts:?}");
        }
    }

    #[test]
    fn nobody_rests_for_long_or_for_nothing() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.rest(now), Duration::ZERO);
        (0..250).for_each(|_| pace.checked(now));
        assert_eq!(pace.rest(now), Duration::ZERO, "all that a usual viewer needs");
        (0..100_000).for_each(|_| pace.checked(now));
        assert_eq!(pace.rest(now), REST);
        assert_eq!(pace.rest(now + REST), Duration::ZERO);
    }
}

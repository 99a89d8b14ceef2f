//! A token bucket that is told the time: how floods are kept from costing more than they may.

use std::time::{Duration, Instant};

/// Holds up to `burst` tokens and gains `per_second`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    per_second: u32,
    burst: u32,
    /// Thousandths of a token, so that slow rates gain something between two close messages.
    millitokens: u64,
    filled_at: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Bucket { per_second, burst, millitokens: burst as u64 * 1000, filled_at: None }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let has = self.millitokens >= 1000;
        if has {
            self.millitokens -= 1000;
        }
        has
    }

    /// Whether [`take`](Self::take) would fail.
    pub fn is_empty(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.millitokens < 1000
    }

    fn fill(&mut self, now: Instant) {
        let full = u64::from(self.burst) * 1000;
        let Some(filled_at) = self.filled_at else {
            self.filled_at = Some(now);
            return;
        };
        // At most an hour counts, so that the product stays far below 2^64: 3.6e6 ms * 2^32.
        let passed_ms =
            now.saturating_duration_since(filled_at).min(Duration::from_secs(3600)).as_millis() as u64;
        if passed_ms > 0 {
            self.millitokens = (self.millitokens + passed_ms * u64::from(self.per_second)).min(full);
            self.filled_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 30);
        assert_eq!((0..100).filter(|_| bucket.take(start)).count(), 30);
        let later = start + Duration::from_millis(250);
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), 2);
        let much_later = start + Duration::from_secs(1_000_000);
        assert_eq!((0..100).filter(|_| bucket.take(much_later)).count(), 30);
    }

    #[test]
    fn time_that_stands_still_or_goes_back_gives_nothing() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(1000, 1);
        assert!(bucket.take(start));
        assert!(!bucket.take(start));
        assert!(!bucket.take(start - Duration::from_secs(5)));
    }
}

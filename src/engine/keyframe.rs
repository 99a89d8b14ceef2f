//! When the encoder is asked for a keyframe: many viewers' requests become few.
//!
//! A keyframe costs as much as ten other frames, and every viewer gets it. So the first request goes
//! through at once, those of the next moments are answered by the same keyframe, and one more follows
//! if somebody asked after it.

use std::time::{Duration, Instant};

/// Two orders are at least this far apart. Chromium repeats an unanswered PLI after about 300 ms.
pub const MIN_INTERVAL: Duration = Duration::from_millis(300);

/// Gathers requests and says when to give the order.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyframeRequests {
    ordered_at: Option<Instant>,
    due: Option<Instant>,
}

impl KeyframeRequests {
    /// Somebody wants a keyframe.
    pub fn request(&mut self, now: Instant) {
        let soonest = self.ordered_at.map_or(now, |at| (at + MIN_INTERVAL).max(now));
        self.due.get_or_insert(soonest);
    }

    /// True, once, when the order is to be given now.
    pub fn poll(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.ordered_at = Some(now);
        }
        is_due
    }

    /// When [`poll`](Self::poll) will have something to say.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    #[test]
    fn the_first_request_goes_through_and_the_rest_become_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        requests.request(at(0));
        assert!(requests.poll(at(0)));
        for ms in [5, 50, 299] {
            requests.request(at(ms));
            assert!(!requests.poll(at(ms)), "{ms} ms after the order");
        }
        assert_eq!(requests.due(), Some(at(300)));
        assert!(requests.poll(at(300)));
        assert_eq!((requests.poll(at(900)), requests.due()), (false, None));
        requests.request(at(1000));
        assert!(requests.poll(at(1000)));
    }

    #[test]
    fn many_viewers_that_ask_all_the_time_make_no_storm() {
        let (start, mut requests, mut orders) = (Instant::now(), KeyframeRequests::default(), 0);
        for ms in 0..10_000u64 {
            let now = start + Duration::from_millis(ms);
            // Fifty viewers, each of which repeats itself every 100 ms.
            if ms.is_multiple_of(2) {
                requests.request(now);
            }
            orders += u32::from(requests.poll(now));
        }
        assert_eq!(orders, 34, "one in 300 ms");
    }
}

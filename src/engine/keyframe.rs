//! When the encoder is asked for a keyframe: many viewers' requests become few.
//!
//! A keyframe costs as much as ten other frames, and every viewer gets it. So the first request goes
//! through at once, those of the next moments are answered by the same keyframe, and one more follows
//! if somebody asked after it had left. Who is about to join from nearby has one made before it asks.

use std::time::{Duration, Instant};

/// Two orders are at least this far apart. Chromium repeats an unanswered PLI after about 300 ms.
pub const MIN_INTERVAL: Duration = Duration::from_millis(300);
/// The longest round trip to a viewer whose DTLS, which takes two, is surely done before what is kept for those who
/// join is too much (`engine::queue`).
const NEARBY: Duration = Duration::from_millis(25);

/// Gathers requests and says when to give the order.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyframeRequests {
    /// No order before, whoever asks.
    rests_until: Option<Instant>,
    /// No order before for somebody who has not asked yet.
    foresees_from: Option<Instant>,
    due: Option<Instant>,
    /// What is ordered was asked for by nobody yet.
    is_foreseen: bool,
}

impl KeyframeRequests {
    /// Somebody wants a keyframe.
    pub fn request(&mut self, now: Instant) {
        let soonest = self.rests_until.map_or(now, |until| until.max(now));
        self.due.get_or_insert(soonest);
    }

    /// Somebody has a path of this round trip, and will want a keyframe when DTLS is done.
    pub fn foresee(&mut self, now: Instant, round_trip: Duration) {
        let rests = self.foresees_from.is_some_and(|from| now < from);
        if round_trip <= NEARBY && !rests && self.due.is_none() {
            (self.due, self.is_foreseen) = (Some(now), true);
        }
    }

    /// A keyframe has left for everybody, so all have what they asked for. Whoever comes too late for one that was
    /// foreseen does not wait for the next, but only one does.
    pub fn left(&mut self) {
        self.due = None;
        if std::mem::take(&mut self.is_foreseen) {
            self.rests_until = None;
        }
    }

    /// True, once, when the order is to be given now.
    pub fn poll(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.rests_until = Some(now + MIN_INTERVAL);
            self.foresees_from = self.rests_until;
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
    fn a_keyframe_that_has_left_answers_those_who_asked_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        requests.request(at(0));
        assert!(requests.poll(at(0)));
        // The encoder still gives out what it had begun before.
        requests.request(at(33));
        requests.left();
        assert_eq!((requests.poll(at(400)), requests.due()), (false, None));
        requests.request(at(67));
        requests.left();
        requests.request(at(100));
        assert_eq!(requests.due(), Some(at(300)), "who loses that one has another, but not at once");
    }

    #[test]
    fn who_is_nearby_is_foreseen_once_and_asks_no_more() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        requests.foresee(at(0), NEARBY + Duration::from_millis(1));
        assert!(!requests.poll(at(0)), "from afar it would be too old when it is needed");
        requests.foresee(at(0), NEARBY);
        assert!(requests.poll(at(0)));
        requests.foresee(at(5), NEARBY);
        assert!(!requests.poll(at(5)), "one is on its way");
        requests.request(at(20));
        assert!(!requests.poll(at(20)));
        requests.left();
        assert_eq!((requests.poll(at(400)), requests.due()), (false, None));
    }

    #[test]
    fn who_was_foreseen_and_comes_late_gets_one_at_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        requests.foresee(at(0), NEARBY);
        assert!(requests.poll(at(0)));
        requests.left();
        requests.request(at(200));
        assert!(requests.poll(at(200)));
        requests.left();
        requests.foresee(at(210), NEARBY);
        assert!(!requests.poll(at(210)), "who joins all the time gets no more than the others");
        requests.request(at(220));
        assert_eq!(requests.due(), Some(at(500)), "that one was asked for");
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

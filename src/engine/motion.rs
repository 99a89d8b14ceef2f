//! When does something move? A motion sensor's pulses, made into a beginning and an end.
//!
//! ```text
//!           pulse begins                  nothing for `hold`
//!   still ───────────────> moves ──────────────────────────────> still
//!                          │   ^
//!                          └───┘ further pulses
//! ```
//!
//! A PIR module keeps its line active for as long as it sees something and then some seconds longer, and is
//! blind for a moment after that: somebody in the room is many pulses with gaps between. `hold` bridges
//! the gaps.

use std::time::{Duration, Instant};

/// What a motion sensor says, over time.
#[derive(Clone, Debug)]
pub struct Motion {
    hold: Duration,
    /// The line is active now.
    is_pulse: bool,
    /// It is over then, unless another pulse comes; `None`: nothing moves, or the pulse lasts.
    over_at: Option<Instant>,
}

impl Motion {
    /// Nothing moves; motion is over after `hold` without a pulse.
    pub fn new(hold: Duration) -> Self {
        Motion { hold, is_pulse: false, over_at: None }
    }

    /// Whether something moves.
    pub fn is_active(&self) -> bool {
        self.is_pulse || self.over_at.is_some()
    }

    /// The line has changed. Returns what has become of motion, when that is news.
    pub fn line(&mut self, now: Instant, is_pulse: bool) -> Option<bool> {
        let was_active = self.is_active();
        if is_pulse {
            self.over_at = None;
        } else if self.is_pulse {
            self.over_at = Some(now + self.hold);
        }
        self.is_pulse = is_pulse;
        (self.is_active() != was_active).then(|| self.is_active())
    }

    /// Time has passed. Returns `false` when motion is over by that.
    pub fn poll(&mut self, now: Instant) -> Option<bool> {
        let is_over = self.over_at.is_some_and(|at| at <= now);
        is_over.then(|| {
            self.over_at = None;
            false
        })
    }

    /// When [`Motion::poll`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.over_at
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;
    use proptest::prelude::*;

    const HOLD: Duration = Duration::from_secs(10);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn motion_is_over_once_the_line_has_been_quiet_for_the_hold() {
        let start = Instant::now();
        let mut motion = Motion::new(HOLD);
        assert_eq!(motion.line(start, true), Some(true));
        assert_eq!(motion.line(start + s(3), false), None);
        assert_eq!(motion.poll(start + s(12)), None);
        assert_eq!(motion.deadline(), Some(start + s(13)));
        assert_eq!(motion.poll(start + s(13)), Some(false));
        assert_eq!((motion.is_active(), motion.deadline()), (false, None));
    }

    #[test]
    fn a_pulse_within_the_hold_goes_on_with_the_same_motion() {
        let start = Instant::now();
        let mut motion = Motion::new(HOLD);
        assert_eq!(motion.line(start, true), Some(true));
        assert_eq!(motion.line(start + s(1), false), None);
        assert_eq!(motion.line(start + s(9), true), None);
        assert_eq!(motion.poll(start + s(60)), None, "the pulse lasts");
        assert_eq!(motion.line(start + s(60), false), None);
        assert_eq!(motion.poll(start + s(70)), Some(false));
    }

    #[test]
    fn a_line_that_says_again_what_it_said_is_no_news() {
        let start = Instant::now();
        let mut motion = Motion::new(HOLD);
        assert_eq!(motion.line(start, false), None);
        assert_eq!(motion.line(start, true), Some(true));
        assert_eq!(motion.line(start, true), None);
        assert_eq!(motion.line(start + s(1), false), None);
        assert_eq!(motion.line(start + s(5), false), None);
        assert_eq!(motion.deadline(), Some(start + s(11)), "the second end moves nothing");
    }

    proptest! {
        /// Beginnings and ends take turns, and between a pulse's end and motion's end lies the hold.
        #[test]
        fn beginnings_and_ends_take_turns(steps in prop::collection::vec((0u64..20, any::<bool>()), 0..60)) {
            let start = Instant::now();
            let (mut now, mut motion) = (start, Motion::new(HOLD));
            let (mut told, mut quiet_since, mut is_line_active) = (false, start, false);
            for (wait_s, is_pulse) in steps {
                let next = now + s(wait_s);
                while let Some(due) = motion.deadline().filter(|due| *due <= next) {
                    now = due;
                    if let Some(news) = motion.poll(now) {
                        prop_assert!(told && !news && !is_line_active);
                        prop_assert_eq!(now.duration_since(quiet_since), HOLD);
                        told = news;
                    }
                }
                now = next;
                if is_line_active && !is_pulse {
                    quiet_since = now;
                }
                is_line_active = is_pulse;
                if let Some(news) = motion.line(now, is_pulse) {
                    prop_assert!(news && !told);
                    told = news;
                }
                prop_assert_eq!(motion.is_active(), told);
            }
        }
    }
}

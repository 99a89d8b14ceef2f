//! What does the network carry to a viewer that does not tell when packets arrived?
//!
//! Its own opinion is taken (REMB, draft-alvestrand-rmcat-remb-03). One that gives none tells at least how much
//! it lost (RFC 3550 §6.4.1): then the estimate goes up while next to nothing is lost, and down with heavy
//! loss (the loss-based half of draft-ietf-rmcat-gcc-02, §6).

use std::time::{Duration, Instant};

use crate::units::Bitrate;

/// A viewer's opinion holds for so long. It is repeated about once a second.
const OPINION_HOLDS: Duration = Duration::from_secs(5);
/// Up to this share of lost packets there is room.
const HARDLY_ANY: f64 = 0.02;
/// From this share on the network is full.
const HEAVY: f64 = 0.10;
/// What a second without losses is worth.
const STEP_UP: f64 = 1.08;
/// Reports that come closer together count as one.
const STEP_TIME: Duration = Duration::from_millis(900);

/// The estimate for such a viewer.
#[derive(Clone, Debug)]
pub struct Fallback {
    min_bps: f64,
    max_bps: f64,
    target_bps: f64,
    opinion_at: Option<Instant>,
    stepped_at: Option<Instant>,
}

impl Fallback {
    /// Starts at `start` and never leaves `min` to `max`.
    pub fn new(start: Bitrate, min: Bitrate, max: Bitrate) -> Self {
        let (min_bps, max_bps) = (f64::from(min.bps()), f64::from(max.bps().max(min.bps())));
        let target_bps = f64::from(start.bps()).clamp(min_bps, max_bps);
        Fallback { min_bps, max_bps, target_bps, opinion_at: None, stepped_at: None }
    }

    /// The viewer thinks that its network carries this. Returns what may be sent, in bits per second.
    pub fn remb(&mut self, now: Instant, bps: f64) -> f64 {
        self.opinion_at = Some(now);
        self.set(if bps.is_nan() { self.min_bps } else { bps })
    }

    /// The viewer has lost this share of what was sent since its last report. Returns what may be sent, unless
    /// the viewer has an opinion of its own.
    pub fn lost(&mut self, now: Instant, share: f64) -> Option<f64> {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let has_opinion = since(self.opinion_at).is_some_and(|age| age < OPINION_HOLDS);
        let is_early = since(self.stepped_at).is_some_and(|age| age < STEP_TIME);
        if has_opinion || is_early {
            return None;
        }
        self.stepped_at = Some(now);
        let factor = match share {
            share if share >= HEAVY => 1.0 - share.min(1.0) / 2.0,
            share if share <= HARDLY_ANY => STEP_UP,
            _ => 1.0,
        };
        Some(self.set(self.target_bps * factor))
    }

    fn set(&mut self, bps: f64) -> f64 {
        self.target_bps = bps.clamp(self.min_bps, self.max_bps);
        self.target_bps
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    fn fallback() -> (Fallback, impl Fn(u64) -> Instant) {
        let kbps = Bitrate::from_kbps;
        let start = Instant::now();
        (Fallback::new(kbps(3_000), kbps(100), kbps(6_000)), move |s| start + Duration::from_secs(s))
    }

    #[test]
    fn viewers_own_opinion_is_taken_within_the_limits_and_goes_before_its_losses() {
        let (mut fallback, at) = fallback();
        assert_eq!(fallback.remb(at(0), 800_000.0), 800_000.0);
        assert_eq!(fallback.lost(at(1), 0.5), None);
        assert_eq!(fallback.remb(at(2), 0.0), 100_000.0);
        assert_eq!(fallback.remb(at(3), f64::INFINITY), 6_000_000.0);
        assert_eq!(fallback.remb(at(4), f64::NAN), 100_000.0);
    }

    #[test]
    fn losses_alone_lead_down_to_what_passes_and_up_again() {
        let (mut fallback, at) = fallback();
        // A link of 1 Mbit/s that drops what is too much.
        let mut bps: f64 = 3_000_000.0;
        for s in 0..10 {
            bps = fallback.lost(at(s), (1.0 - 1_000_000.0 / bps).max(0.0)).expect("no opinion was given");
        }
        assert!((700_000.0..1_150_000.0).contains(&bps), "{bps}");
        assert_eq!(fallback.lost(at(9), 0.9), None, "twice in a second is once");
        assert_eq!(fallback.lost(at(10), 0.05), Some(bps), "radios lose as much without being full");
        for s in 11..60 {
            bps = fallback.lost(at(s), 0.0).expect("no opinion was given");
        }
        assert_eq!(bps, 6_000_000.0);
    }
}

//! How fast may packets leave for one viewer? Told the time, and no clock of its own.

use std::time::{Duration, Instant};

/// How much faster than the estimate packets leave: as in Chromium, so that a keyframe passes in the
/// time of a few pictures, and the estimate can find out that the network takes more.
const PACE_FACTOR: f64 = 2.5;
/// The same, and what may leave at once, while packets queue, which would not drain otherwise.
const DRAINING_FACTOR: f64 = 1.2;
const DRAINING_BURST_BYTES: f64 = 5_000.0;
/// What may leave at once: an ordinary picture, and what a Wi-Fi access point's queue holds easily.
const BURST_BYTES: f64 = 32.0 * 1024.0;
/// The same for a viewer whose network is known to be too slow: a keyframe takes all of it for a while, and
/// at any higher pace it would fill a queue on the way, which looks like a link that has become narrower still.
const NARROW_PACE_FACTOR: f64 = 1.1;
/// What may leave at once to such a viewer, in seconds of its network, and at least two packets.
const NARROW_BURST_S: f64 = 0.03;
const NARROW_BURST_BYTES: f64 = 2400.0;
/// UDP and IP headers.
const OVERHEAD_BYTES: usize = 48;
/// A leaky bucket over the newest estimate.
pub(super) struct Pace {
    /// The newest estimate.
    pub estimate_bps: f64,
    /// The viewer's network is known to be too slow for the main encode.
    pub is_narrow: bool,
    /// Packets queue on the way.
    pub is_draining: bool,
    budget_bytes: f64,
    refilled: Option<Instant>,
}

impl Pace {
    /// With a whole burst to spend.
    pub(super) fn new(estimate_bps: f64) -> Pace {
        let (is_narrow, is_draining) = (false, false);
        Pace { estimate_bps, is_narrow, is_draining, budget_bytes: BURST_BYTES, refilled: None }
    }

    fn bytes_per_s(&self) -> f64 {
        let factor = match (self.is_narrow, self.is_draining) {
            (true, _) => NARROW_PACE_FACTOR,
            (false, true) => DRAINING_FACTOR,
            (false, false) => PACE_FACTOR,
        };
        self.estimate_bps.max(1.0) * factor / 8.0
    }

    /// A burst into a queue that is to drain would fill it again.
    fn burst_bytes(&self) -> f64 {
        match (self.is_narrow, self.is_draining) {
            (true, _) => (self.estimate_bps / 8.0 * NARROW_BURST_S).max(NARROW_BURST_BYTES),
            (false, true) => DRAINING_BURST_BYTES,
            (false, false) => BURST_BYTES,
        }
    }

    /// Whether the next packet need not wait, as of the last [`Pace::pause`].
    pub(super) fn may_send(&self) -> bool {
        self.budget_bytes >= 0.0
    }

    /// How long the next packet must wait.
    pub(super) fn pause(&mut self, now: Instant) -> Duration {
        let rate = self.bytes_per_s();
        if let Some(refilled) = self.refilled {
            let elapsed = now.saturating_duration_since(refilled).as_secs_f64();
            self.budget_bytes = (self.budget_bytes + elapsed * rate).min(self.burst_bytes());
        }
        self.refilled = Some(now);
        if self.budget_bytes >= 0.0 {
            return Duration::ZERO;
        }
        // The lowest estimate is 100 kbit/s, and one packet's debt passes then within 42 ms.
        Duration::from_secs_f64((-self.budget_bytes / rate).min(1.0))
    }

    /// A packet of this length leaves.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.budget_bytes -= (bytes + OVERHEAD_BYTES) as f64;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    #[test]
    fn an_ordinary_picture_leaves_at_once_and_a_large_one_at_the_networks_pace() {
        let start = Instant::now();
        // 2.5 times 800 kbit/s are 250 bytes a millisecond.
        let mut pace = Pace::new(800_000.0);
        for _ in 0..25 {
            assert_eq!(pace.pause(start), Duration::ZERO);
            pace.spend(1200 - OVERHEAD_BYTES);
        }
        for _ in 0..10 {
            pace.spend(1200 - OVERHEAD_BYTES);
        }
        let pause = pace.pause(start).as_millis();
        assert_eq!(pause, ((35 * 1200 - 32 * 1024) / 250) as u128);
        assert_eq!(pace.pause(start + Duration::from_millis(40)), Duration::ZERO);
    }

    #[test]
    fn pictures_of_the_encoders_bitrate_never_wait() {
        for kbps in [300.0, 1_000.0, 4_000.0, 20_000.0] {
            let start = Instant::now();
            let mut pace = Pace::new(kbps * 1_000.0 / 0.85);
            let mean_bytes = (kbps * 1_000.0 / 8.0 / 30.0) as usize;
            for n in 0..300u32 {
                let now = start + Duration::from_secs(1) * n / 30;
                // Now and then one of three times the size.
                let bytes = if n % 30 == 0 { 3 * mean_bytes } else { mean_bytes };
                assert_eq!(pace.pause(now), Duration::ZERO, "picture {n} at {kbps} kbit/s");
                (0..bytes.div_ceil(1100)).for_each(|_| pace.spend(1100.min(bytes)));
            }
        }
    }

    #[test]
    fn the_estimate_is_followed_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(800_000.0);
        pace.spend(BURST_BYTES as usize + 10_000);
        let slow = pace.pause(start);
        pace.estimate_bps = 8_000_000.0;
        assert!(pace.pause(start) < slow / 9);
    }
}

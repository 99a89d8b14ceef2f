//! Who is told what the network to a viewer carries?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::PeerEvent;
use crate::units::{Bitrate, PeerId};

/// Estimates closer together than this are one.
const INTERVAL: Duration = Duration::from_millis(50);

/// Where estimates go: to the event channel, and to whoever reads the newest.
#[derive(Clone, Debug)]
pub struct EstimateOutlet {
    id: PeerId,
    events: mpsc::Sender<(PeerId, PeerEvent)>,
    current_bps: Arc<AtomicU32>,
    last: Option<(Instant, Bitrate)>,
}

impl EstimateOutlet {
    /// `current_bps` always holds the newest estimate.
    pub fn new(
        id: PeerId,
        events: mpsc::Sender<(PeerId, PeerEvent)>,
        current_bps: Arc<AtomicU32>,
    ) -> EstimateOutlet {
        EstimateOutlet { id, events, current_bps, last: None }
    }

    /// Tells of it when it changed, and not too often. Full channel: it is left out, and estimated again soon.
    pub fn publish(&mut self, now: Instant, bps: f64) {
        // Estimates are positive and at most some Gbit/s: the cast saturates.
        let estimate = Bitrate::from_bps(bps as u32);
        self.current_bps.store(estimate.bps(), Ordering::Relaxed);
        if let Some((at, known)) = self.last {
            let is_same = u64::from(estimate.bps().abs_diff(known.bps())) * 50 <= u64::from(known.bps());
            if is_same || now.saturating_duration_since(at) < INTERVAL {
                return;
            }
        }
        if self.events.try_send((self.id, PeerEvent::Estimate(estimate))).is_ok() {
            self.last = Some((now, estimate));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    #[test]
    fn estimates_are_told_when_they_changed_and_not_too_often() {
        let (events, mut received) = mpsc::channel(8);
        let mut outlet = EstimateOutlet::new(PeerId(1), events, Arc::new(AtomicU32::new(0)));
        let start = Instant::now();
        for (after_ms, bps) in [(0, 1_000_000.0), (20, 2_000_000.0), (300, 1_010_000.0), (301, 1_030_000.0)] {
            outlet.publish(start + Duration::from_millis(after_ms), bps);
        }
        let mut told = Vec::new();
        while let Ok((_, PeerEvent::Estimate(rate))) = received.try_recv() {
            told.push(rate.kbps());
        }
        assert_eq!(told, [1000, 1030], "20 ms is too soon, 1% is no change");
        assert_eq!(outlet.current_bps.load(Ordering::Relaxed), 1_030_000);
    }
}

//! At which bitrate should the one encoder work, when each viewer's network bears something else?
//!
//! ```text
//! estimates ─► the viewer that decides ─► floor and ceiling ─► hysteresis ─► one order to the encoder
//! ```
//!
//! Down goes at once, since what does not pass piles up in a queue before the viewer; up goes in steps and
//! only when the estimate has held for a moment, so that the picture does not breathe.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::RatePolicy;
use crate::units::{Bitrate, PeerId};

/// What of an estimate the picture may use: the rest is for sound, headers and repeated packets.
const SHARE_FOR_VIDEO: f64 = 0.85;
/// A change smaller than this is none.
const WORTH_IT: f64 = 0.05;
/// How long an estimate above the present rate must have held before the encoder goes up.
const HOLD: Duration = Duration::from_millis(500);
/// The longest step up: twice as much. What an estimate says has been shown to pass.
const STEP_UP: f64 = 2.0;

/// Makes one bitrate of everybody's.
#[derive(Clone, Debug)]
pub struct RateControl {
    policy: RatePolicy,
    floor: Bitrate,
    ceiling: Bitrate,
    estimates: BTreeMap<PeerId, Bitrate>,
    ordered: Bitrate,
    /// Since when more than was ordered could be had.
    room_since: Option<Instant>,
}

impl RateControl {
    /// Begins at the ceiling, which is what the encoder is opened with.
    pub fn new(policy: RatePolicy, floor: Bitrate, ceiling: Bitrate) -> Self {
        let floor = floor.min(ceiling);
        let (estimates, room_since) = (BTreeMap::new(), None);
        RateControl { policy, floor, ceiling, estimates, ordered: ceiling, room_since }
    }

    /// A viewer is sent pictures from now on. It counts as fast until its network says otherwise.
    pub fn joined(&mut self, peer: PeerId) {
        self.estimates.insert(peer, scaled(self.ceiling, 1.0 / SHARE_FOR_VIDEO));
    }

    /// What the network to a viewer bears, all of its packets together. Who is not sent pictures has no say.
    pub fn estimated(&mut self, peer: PeerId, estimate: Bitrate) {
        if let Some(place) = self.estimates.get_mut(&peer) {
            *place = estimate;
        }
    }

    /// A viewer is gone, or is no longer sent pictures.
    pub fn gone(&mut self, peer: PeerId) {
        self.estimates.remove(&peer);
    }

    /// The order to give now, if any.
    pub fn poll(&mut self, now: Instant) -> Option<Bitrate> {
        let wanted = self.wanted();
        let (ordered, wanted_bps) = (f64::from(self.ordered.bps()), f64::from(wanted.bps()));
        if wanted_bps < ordered * (1.0 - WORTH_IT) {
            self.room_since = None;
            return Some(self.order(wanted));
        }
        // The last bit up to the ceiling is always worth it, or a rate just below would stay.
        let is_worth_it =
            wanted_bps > ordered * (1.0 + WORTH_IT) || wanted == self.ceiling && wanted > self.ordered;
        if !is_worth_it {
            self.room_since = None;
            return None;
        }
        let since = *self.room_since.get_or_insert(now);
        if now < since + HOLD {
            return None;
        }
        self.room_since = Some(now);
        Some(self.order(wanted.min(scaled(self.ordered, STEP_UP))))
    }

    /// When [`poll`](Self::poll) may have something to say without a new estimate.
    pub fn due(&self) -> Option<Instant> {
        self.room_since.map(|since| since + HOLD)
    }

    /// What the encoder was last told.
    pub fn ordered(&self) -> Bitrate {
        self.ordered
    }

    fn order(&mut self, bitrate: Bitrate) -> Bitrate {
        self.ordered = bitrate;
        bitrate
    }

    fn wanted(&self) -> Bitrate {
        let mut estimates: Vec<Bitrate> = self.estimates.values().copied().collect();
        estimates.sort_unstable();
        let deciding = match self.policy {
            RatePolicy::Fixed => None,
            RatePolicy::Slowest => estimates.first(),
            RatePolicy::Majority => estimates.get(estimates.len() / 2),
        };
        deciding.map_or(self.ceiling, |&estimate| {
            scaled(estimate, SHARE_FOR_VIDEO).clamp(self.floor, self.ceiling)
        })
    }
}

fn scaled(bitrate: Bitrate, factor: f64) -> Bitrate {
    // The product is positive and a cast of floats saturates.
    Bitrate::from_bps((f64::from(bitrate.bps()) * factor) as u32)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;
    use proptest::prelude::*;

    const FLOOR: Bitrate = Bitrate::from_kbps(300);
    const CEILING: Bitrate = Bitrate::from_kbps(4_000);

    /// A control and its clock: an estimate of everybody each 200 ms, as the peer connections give them.
    struct Scene {
        rate: RateControl,
        start: Instant,
        ms: u64,
    }

    impl Scene {
        fn new(policy: RatePolicy) -> Scene {
            Scene { rate: RateControl::new(policy, FLOOR, CEILING), start: Instant::now(), ms: 0 }
        }

        /// The estimates stand for a time; every order with its moment.
        fn hold(&mut self, ms: u64, kbps: &[u32]) -> Vec<(u64, u32)> {
            let mut orders = Vec::new();
            let end = self.ms + ms;
            for peer in 0..kbps.len() {
                if !self.rate.estimates.contains_key(&PeerId(peer as u64)) {
                    self.rate.joined(PeerId(peer as u64));
                }
            }
            while self.ms < end {
                for (peer, &kbps) in kbps.iter().enumerate() {
                    self.rate.estimated(PeerId(peer as u64), Bitrate::from_kbps(kbps));
                }
                let now = self.start + Duration::from_millis(self.ms);
                orders.extend(self.rate.poll(now).map(|order| (self.ms, order.kbps())));
                self.ms += 200;
            }
            orders
        }
    }

    #[test]
    fn narrow_link_is_followed_at_once_and_a_wide_one_in_steps() {
        let mut scene = Scene::new(RatePolicy::Slowest);
        assert_eq!(scene.hold(1000, &[5_000]), []);
        assert_eq!(scene.hold(1000, &[1_000]), [(1000, 850)]);
        let up = scene.hold(5000, &[5_000]);
        assert_eq!(up.last().map(|order| order.1), Some(4_000));
        assert!(up[0].0 >= 2500, "the estimate must hold first: {up:?}");
        assert!(up.windows(2).all(|pair| pair[1].1 <= pair[0].1 * 2 + 1), "{up:?}");
    }

    #[test]
    fn wobbling_estimate_is_no_news() {
        let mut scene = Scene::new(RatePolicy::Slowest);
        scene.hold(1000, &[2_000]);
        for kbps in [2_050, 1_960, 2_010, 2_040, 1_970] {
            assert_eq!(scene.hold(200, &[kbps]), []);
        }
    }

    #[test]
    fn slowest_drags_everybody_down_to_the_floor_and_no_further() {
        let mut scene = Scene::new(RatePolicy::Slowest);
        assert_eq!(scene.hold(400, &[5_000, 5_000, 5_000, 100]), [(0, 300)]);
    }

    #[test]
    fn majority_leaves_one_slow_viewer_of_four_alone() {
        let mut scene = Scene::new(RatePolicy::Majority);
        assert_eq!(scene.hold(2000, &[5_000, 5_000, 5_000, 500]), []);
        assert_eq!(scene.hold(400, &[5_000, 500, 500, 500]), [(2000, 425)]);
    }

    #[test]
    fn fixed_is_fixed() {
        assert_eq!(Scene::new(RatePolicy::Fixed).hold(2000, &[100]), []);
    }

    #[test]
    fn viewer_that_left_decides_nothing() {
        let mut scene = Scene::new(RatePolicy::Slowest);
        scene.hold(400, &[5_000, 400]);
        scene.rate.gone(PeerId(1));
        let up = scene.hold(6000, &[5_000]);
        assert_eq!(up.last().map(|order| order.1), Some(4_000));
    }

    proptest! {
        #[test]
        fn order_is_always_between_floor_and_ceiling(
            kbps in prop::collection::vec((0u32..20_000, 0u64..4), 1..60),
            majority in any::<bool>(),
        ) {
            let mut scene = Scene::new(if majority { RatePolicy::Majority } else { RatePolicy::Slowest });
            (0..3).for_each(|peer| scene.rate.joined(PeerId(peer)));
            for (n, (kbps, peer)) in kbps.into_iter().enumerate() {
                scene.rate.estimated(PeerId(peer), Bitrate::from_kbps(kbps));
                if let Some(order) = scene.rate.poll(scene.start + Duration::from_millis(n as u64 * 100)) {
                    prop_assert!((FLOOR..=CEILING).contains(&order));
                    prop_assert_eq!(order, scene.rate.ordered());
                }
            }
        }
    }
}

//! Which of two encodes does each viewer get, and when is there a second one?
//!
//! ```text
//!              less than the main one for a while
//!   Main ─────────────────────────────────────────────▶ Sub
//!     ▲                                                  │
//!     └── clearly more than the main one, for longer ────┘   each time that this was too early: twice as long
//! ```
//!
//! The second encode, the substream, runs only while somebody is on it, and a little longer. It follows the
//! slowest of its viewers. Down goes fast, since pictures that do not pass are lost; up goes slowly, since a
//! viewer that goes up costs everybody a keyframe. Without a second encode a slow viewer is
//! [thinned](super::thinning). Pure: it is told the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::RatePolicy;
use crate::engine::rate::RateControl;
use crate::units::{Bitrate, PeerId};

/// One of the encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rendition {
    /// What everybody gets whose network carries it.
    Main,
    /// The same in half the size each way, at a bitrate of its own.
    Sub,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Encode a second time at this bitrate, or do not.
    SetSubstream(Option<Bitrate>),
    /// Send this encode to a viewer from its next keyframe on.
    Serve {
        /// Which viewer.
        peer: PeerId,
        /// Which encode.
        rendition: Rendition,
    },
}

/// A network that carries less than this share of the main encode is too slow for it.
const SLOW: f64 = 0.95;
/// For so long, before anything is done.
const SLOW_FOR: Duration = Duration::from_secs(1);
/// Below this share there is nothing to wait for.
const FAR_TOO_SLOW: f64 = 0.6;
/// A network that carries so much of the main encode may have it back. Less than what the main encode leaves
/// free of the network that decides over it (`rate`), or nobody would ever come back to one that has come down.
const FAST: f64 = 1.15;
/// For so long.
const FAST_FOR: Duration = Duration::from_secs(5);
/// The longest that a viewer waits which has gone back too early again and again.
const FAST_FOR_AT_MOST: Duration = Duration::from_secs(80);
/// Who is slow again within this time has gone back too early.
const TRIAL: Duration = Duration::from_secs(30);
/// The substream runs so much longer: the main encode's keyframe, for the last to leave it, is on its way.
const LINGER: Duration = Duration::from_secs(2);
/// After the board could not make it, it is not asked for it again for so long.
const BARRED_FOR: Duration = Duration::from_secs(60);
/// A main encode that is this near to the floor leaves nothing for a second one to be lower than.
const ABOVE_FLOOR: f64 = 1.25;

/// Who gets what.
#[derive(Clone, Debug)]
pub struct Renditions {
    floor: Bitrate,
    /// The substream's highest bitrate; `None`: there is to be none.
    ceiling: Option<Bitrate>,
    /// The source has raw pictures and an encoder for them.
    is_possible: bool,
    barred_until: Option<Instant>,
    viewers: BTreeMap<PeerId, Viewer>,
    substream: Option<Substream>,
}

#[derive(Clone, Debug)]
struct Viewer {
    /// `None`: its network has not said anything yet.
    estimate: Option<Bitrate>,
    on: Rendition,
    /// Since when its network has been too slow for the main encode, or fast enough to go back.
    since: Option<Instant>,
    went_back: Option<Instant>,
    fast_for: Duration,
}

/// The second encode while it runs.
#[derive(Clone, Debug)]
struct Substream {
    rate: RateControl,
    /// Since when nobody needs it.
    unused_since: Option<Instant>,
}

impl Renditions {
    /// With no viewers, of a source that does not run yet. `ceiling` is the substream's highest bitrate;
    /// `None`: there is never to be one.
    pub fn new(floor: Bitrate, ceiling: Option<Bitrate>) -> Renditions {
        Renditions {
            floor,
            ceiling,
            is_possible: false,
            barred_until: None,
            viewers: BTreeMap::new(),
            substream: None,
        }
    }

    /// A viewer is sent pictures from now on: those of the main encode.
    pub fn joined(&mut self, peer: PeerId) {
        let (estimate, on, since, went_back, fast_for) = (None, Rendition::Main, None, None, FAST_FOR);
        self.viewers.insert(peer, Viewer { estimate, on, since, went_back, fast_for });
        if let Some(substream) = &mut self.substream {
            substream.rate.gone(peer);
        }
    }

    /// A viewer is gone, or is no longer sent pictures.
    pub fn gone(&mut self, peer: PeerId) {
        self.viewers.remove(&peer);
        if let Some(substream) = &mut self.substream {
            substream.rate.gone(peer);
        }
    }

    /// What the network to a viewer bears.
    pub fn estimated(&mut self, peer: PeerId, estimate: Bitrate) {
        let Some(viewer) = self.viewers.get_mut(&peer) else { return };
        viewer.estimate = Some(estimate);
        if let Some(substream) = &mut self.substream {
            substream.rate.estimated(peer, estimate);
        }
    }

    /// The source has begun, and can encode twice or cannot.
    pub fn source_started(&mut self, is_possible: bool) {
        self.is_possible = is_possible;
    }

    /// The board cannot make the substream that it was asked for.
    pub fn failed(&mut self, now: Instant) {
        self.barred_until = Some(now + BARRED_FOR);
    }

    /// Which encode a viewer gets; the main one if it is not known.
    pub fn of(&self, peer: PeerId) -> Rendition {
        self.viewers.get(&peer).map_or(Rendition::Main, |viewer| viewer.on)
    }

    /// What is to be done now that the main encode has this bitrate, in order.
    pub fn poll(&mut self, now: Instant, main: Bitrate) -> Vec<Order> {
        let mut orders = Vec::new();
        let may_serve = self.may_serve(now);
        let is_worth_it = f64::from(main.bps()) > f64::from(self.floor.bps()) * ABOVE_FLOOR;
        let mut changes = Vec::new();
        for (&peer, viewer) in &mut self.viewers {
            if viewer.moves(now, main, may_serve, is_worth_it) {
                changes.push((peer, viewer.on, viewer.estimate));
            }
        }
        for &(peer, on, estimate) in &changes {
            self.moved(peer, on, estimate, &mut orders);
        }
        self.tend_substream(now, may_serve, &mut orders);
        let serve = |(peer, rendition, _)| Order::Serve { peer, rendition };
        orders.extend(changes.into_iter().map(serve));
        orders
    }

    /// When [`poll`](Self::poll) may have something to say without a new estimate.
    pub fn due(&self) -> Option<Instant> {
        let viewers = self.viewers.values().filter_map(Viewer::due);
        let substream = self.substream.iter().flat_map(|substream| {
            [substream.rate.due(), substream.unused_since.map(|since| since + LINGER)].into_iter().flatten()
        });
        viewers.chain(substream).min()
    }

    fn may_serve(&mut self, now: Instant) -> bool {
        if self.barred_until.is_some_and(|until| until <= now) {
            self.barred_until = None;
        }
        self.ceiling.is_some() && self.is_possible && self.barred_until.is_none()
    }

    /// Lets a viewer that has moved be heard where the substream's bitrate is decided.
    fn moved(&mut self, peer: PeerId, on: Rendition, estimate: Option<Bitrate>, orders: &mut Vec<Order>) {
        match (on, self.ceiling) {
            (Rendition::Sub, Some(ceiling)) => {
                let is_new = self.substream.is_none();
                let rate = RateControl::new(RatePolicy::Slowest, self.floor, ceiling);
                let substream = self.substream.get_or_insert(Substream { rate, unused_since: None });
                substream.rate.joined(peer);
                if let Some(estimate) = estimate {
                    substream.rate.estimated(peer, estimate);
                }
                if is_new {
                    orders.push(Order::SetSubstream(Some(ceiling)));
                }
            }
            _ => {
                if let Some(substream) = &mut self.substream {
                    substream.rate.gone(peer);
                }
            }
        }
    }

    fn tend_substream(&mut self, now: Instant, may_serve: bool, orders: &mut Vec<Order>) {
        let is_used = self.viewers.values().any(|viewer| viewer.on == Rendition::Sub);
        let Some(substream) = &mut self.substream else { return };
        let is_over = match (is_used, substream.unused_since) {
            (true, _) => {
                substream.unused_since = None;
                false
            }
            (false, None) => {
                substream.unused_since = Some(now);
                false
            }
            (false, Some(since)) => now >= since + LINGER,
        };
        if is_over || !may_serve {
            self.substream = None;
            orders.push(Order::SetSubstream(None));
        } else if is_used && let Some(bitrate) = substream.rate.poll(now) {
            // What was ordered for its beginning was not known to be too much.
            orders.retain(|order| !matches!(order, Order::SetSubstream(_)));
            orders.push(Order::SetSubstream(Some(bitrate)));
        }
    }
}

impl Viewer {
    /// Puts it on another encode if it is time. Returns whether it was.
    fn moves(&mut self, now: Instant, main: Bitrate, may_serve: bool, is_worth_it: bool) -> bool {
        let Some(estimate) = self.estimate else { return false };
        let share = f64::from(estimate.bps()) / f64::from(main.bps().max(1));
        let (is_wrong, patience) = match self.on {
            Rendition::Main if share < FAR_TOO_SLOW => (may_serve && is_worth_it, Duration::ZERO),
            Rendition::Main => (may_serve && is_worth_it && share < SLOW, SLOW_FOR),
            Rendition::Sub if !may_serve => (true, Duration::ZERO),
            Rendition::Sub => (share >= FAST, self.fast_for),
        };
        if !is_wrong {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now < since + patience {
            return false;
        }
        self.since = None;
        match self.on {
            Rendition::Main => {
                let was_early = self.went_back.is_some_and(|at| now.saturating_duration_since(at) < TRIAL);
                self.fast_for = if was_early { (self.fast_for * 2).min(FAST_FOR_AT_MOST) } else { FAST_FOR };
                self.on = Rendition::Sub;
            }
            Rendition::Sub => (self.on, self.went_back) = (Rendition::Main, Some(now)),
        }
        true
    }

    fn due(&self) -> Option<Instant> {
        let patience = if self.on == Rendition::Main { SLOW_FOR } else { self.fast_for };
        self.since.map(|since| since + patience)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    const MAIN: Bitrate = Bitrate::from_kbps(3_000);
    const FLOOR: Bitrate = Bitrate::from_kbps(300);
    const CEILING: Bitrate = Bitrate::from_kbps(800);
    const SLOW_ONE: PeerId = PeerId(3);

    /// Four viewers of a camera that can encode twice, and the time.
    struct Scene {
        renditions: Renditions,
        start: Instant,
        ms: u64,
    }

    impl Scene {
        fn new() -> Scene {
            let mut renditions = Renditions::new(FLOOR, Some(CEILING));
            renditions.source_started(true);
            for peer in 0..4 {
                renditions.joined(PeerId(peer));
                renditions.estimated(PeerId(peer), Bitrate::from_kbps(5_000));
            }
            Scene { renditions, start: Instant::now(), ms: 0 }
        }

        /// The slow one's estimate stands for a time; every order with its moment.
        fn hold(&mut self, ms: u64, kbps: u32) -> Vec<(u64, Order)> {
            self.hold_at(ms, kbps, MAIN)
        }

        fn hold_at(&mut self, ms: u64, kbps: u32, main: Bitrate) -> Vec<(u64, Order)> {
            let (mut orders, end) = (Vec::new(), self.ms + ms);
            while self.ms < end {
                self.renditions.estimated(SLOW_ONE, Bitrate::from_kbps(kbps));
                let now = self.start + Duration::from_millis(self.ms);
                orders.extend(self.renditions.poll(now, main).into_iter().map(|order| (self.ms, order)));
                self.ms += 100;
            }
            orders
        }
    }

    fn serve(rendition: Rendition) -> Order {
        Order::Serve { peer: SLOW_ONE, rendition }
    }

    fn substream(kbps: u32) -> Order {
        Order::SetSubstream(Some(Bitrate::from_kbps(kbps)))
    }

    #[test]
    fn a_network_that_collapses_gets_the_substream_at_once_at_what_it_bears() {
        let mut scene = Scene::new();
        assert_eq!(scene.hold(1_000, 5_000), []);
        assert_eq!(scene.hold(2_000, 600), [(1_000, substream(510)), (1_000, serve(Rendition::Sub))]);
        assert_eq!(scene.renditions.of(SLOW_ONE), Rendition::Sub);
        assert_eq!(scene.renditions.of(PeerId(0)), Rendition::Main);
    }

    #[test]
    fn one_that_is_a_little_too_slow_must_be_so_for_a_while() {
        let mut scene = Scene::new();
        assert_eq!(scene.hold(900, 2_500), []);
        assert_eq!(scene.hold(100, 3_000), [], "it has recovered");
        assert_eq!(scene.hold(1_000, 2_500), []);
        assert_eq!(scene.hold(1_000, 2_500), [(2_000, substream(800)), (2_000, serve(Rendition::Sub))]);
    }

    #[test]
    fn the_substream_follows_its_slowest_viewer_no_lower_than_the_floor() {
        let mut scene = Scene::new();
        scene.hold(1_000, 900);
        assert_eq!(scene.hold(100, 500), [(1_000, substream(425))]);
        assert_eq!(scene.hold(100, 100), [(1_100, substream(300))]);
        assert_eq!(scene.hold(5_000, 5_000 / 2).last().map(|order| order.1), Some(substream(800)));
    }

    #[test]
    fn a_network_that_is_wide_again_comes_back_after_a_while_and_the_second_encode_ends() {
        let mut scene = Scene::new();
        scene.hold(1_000, 900);
        assert_eq!(
            scene.hold(10_000, 4_000),
            [(6_000, serve(Rendition::Main)), (8_000, Order::SetSubstream(None))]
        );
    }

    #[test]
    fn who_comes_back_too_early_waits_twice_as_long_the_next_time() {
        let mut scene = Scene::new();
        let mut waits = Vec::new();
        for _ in 0..6 {
            scene.hold(1_000, 900);
            let from = scene.ms;
            let back = scene.hold(90_000, 4_000);
            let back = back.iter().find(|order| order.1 == serve(Rendition::Main)).expect("it comes back");
            waits.push((back.0 - from) / 1_000);
            // As if the failure came soon after.
            scene.ms = back.0 + 3_000;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 80]);
    }

    #[test]
    fn a_main_encode_that_comes_down_takes_its_viewers_back() {
        let mut scene = Scene::new();
        scene.hold(1_000, 1_200);
        // What `rate` makes of it when this viewer decides.
        let orders = scene.hold_at(10_000, 1_200, Bitrate::from_kbps(1_020));
        assert_eq!(orders.first(), Some(&(6_000, serve(Rendition::Main))));
        assert_eq!(scene.hold_at(10_000, 1_200, Bitrate::from_kbps(1_020)), [], "and it stays");
    }

    #[test]
    fn nothing_is_encoded_twice_where_it_is_unwanted_impossible_or_of_no_use() {
        let mut scene = Scene::new();
        scene.renditions = Renditions::new(FLOOR, None);
        scene.renditions.source_started(true);
        scene.renditions.joined(SLOW_ONE);
        assert_eq!(scene.hold(5_000, 500), [], "unwanted");
        let mut scene = Scene::new();
        scene.renditions.source_started(false);
        assert_eq!(scene.hold(5_000, 500), [], "impossible");
        let mut scene = Scene::new();
        assert_eq!(scene.hold_at(5_000, 200, FLOOR), [], "of no use");
    }

    #[test]
    fn a_board_that_cannot_make_it_serves_the_main_one_and_is_asked_again_a_minute_later() {
        let mut scene = Scene::new();
        scene.hold(1_000, 900);
        scene.renditions.failed(scene.start + Duration::from_millis(scene.ms));
        let orders = scene.hold(70_000, 600);
        assert_eq!(
            orders,
            [
                (1_000, Order::SetSubstream(None)),
                (1_000, serve(Rendition::Main)),
                (61_000, substream(510)),
                (61_000, serve(Rendition::Sub)),
            ]
        );
    }

    #[test]
    fn the_second_encode_ends_when_its_last_viewer_is_gone() {
        let mut scene = Scene::new();
        scene.hold(1_000, 900);
        scene.renditions.gone(SLOW_ONE);
        assert_eq!(scene.hold(5_000, 900), [(3_000, Order::SetSubstream(None))]);
        assert_eq!(scene.renditions.due(), None);
    }
}

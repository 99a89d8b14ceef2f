//! How much of the picture is given up when the board cannot encode as fast as the camera delivers?
//!
//! First pictures are left out, then they are made smaller; both come back slowly:
//!
//! ```text
//!   30 ── 20 ── 15 ── 10 frames/s ── 10 at 3/4 of the size ── 10 at 1/2
//!      too dear for a second: at once to the step that the cost allows ──>
//!   <── room for long enough: one step, and twice as long each time that it was too early
//! ```
//!
//! It is told what each picture cost, in time, and which time is left for one. What a picture costs
//! hardly depends on the frame rate, and goes with the number of its pixels.
//!
//! A low bitrate asks for the same, though for another reason (`fit`). Of both, the lesser counts.

mod fit;

use std::time::Duration;

use crate::units::MediaTime;

pub use fit::Fit;

/// Frame rates below the one that is asked for.
const RATES: [u32; 3] = [20, 15, 10];
/// A picture may cost this share of its interval before it counts as too dear.
const TOO_DEAR: f64 = 0.95;
/// The share that a step down aims for, so that it is the last one.
const AFTER_STEP_DOWN: f64 = 0.8;
/// The share that the next step up may be expected to cost.
const ROOM: f64 = 0.65;
/// Too dear for so long: a keyframe or another program's short work is no reason.
const PATIENCE: Duration = Duration::from_secs(1);
/// Room for so long before the first step up.
const WAIT_TO_RISE: Duration = Duration::from_secs(10);
/// The longest wait before a step up.
const LONGEST_WAIT: Duration = Duration::from_secs(320);
/// A step up that is taken back within this time was too early.
const TRIAL: Duration = Duration::from_secs(30);
/// The share of the newest picture in the average cost: some 8 pictures are remembered.
const NEWEST: f64 = 0.125;

/// By how much the picture is made smaller, each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Not at all.
    Whole,
    /// To three quarters.
    ThreeQuarters,
    /// To one half.
    Half,
}

impl Scale {
    /// The size that is left of `size`, in even numbers.
    pub fn of(self, size: (u32, u32)) -> (u32, u32) {
        let side = |pixels: u32| match self {
            Scale::Whole => pixels & !1,
            Scale::ThreeQuarters => (pixels * 3 / 4) & !1,
            Scale::Half => (pixels / 2) & !1,
        };
        (side(size.0), side(size.1))
    }

    /// The share of the pixels that is left.
    fn area(self) -> f64 {
        match self {
            Scale::Whole => 1.0,
            Scale::ThreeQuarters => 9.0 / 16.0,
            Scale::Half => 0.25,
        }
    }
}

/// What is encoded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Frames per second, at most.
    pub fps: u32,
    /// The picture's size.
    pub scale: Scale,
}

/// What one board can do, as far as its pictures have shown.
#[derive(Debug)]
pub struct Shed {
    /// From all that is asked for down to the least.
    steps: Vec<Step>,
    now: usize,
    /// No more than this, whatever the board can do.
    limit: Option<Step>,
    /// Seconds for a picture of the present step, averaged; `None` before its first.
    cost: Option<f64>,
    /// Since when the present step has been too dear.
    dear_since: Option<MediaTime>,
    /// Since when there has been room for the next step up.
    room_since: Option<MediaTime>,
    wait_to_rise: Duration,
    risen: Option<MediaTime>,
    /// When the next picture may be taken.
    due: Option<MediaTime>,
}

impl Shed {
    /// For a camera of `fps` frames per second, and the smaller sizes that its encoder can change to.
    pub fn new(fps: u32, smaller: &[Scale]) -> Shed {
        let fps = fps.max(1);
        let rates = std::iter::once(fps).chain(RATES.into_iter().filter(|rate| *rate < fps));
        let mut steps: Vec<Step> = rates.map(|fps| Step { fps, scale: Scale::Whole }).collect();
        let least = steps.last().map_or(fps, |step| step.fps);
        steps.extend(smaller.iter().map(|&scale| Step { fps: least, scale }));
        Shed {
            steps,
            now: 0,
            limit: None,
            cost: None,
            dear_since: None,
            room_since: None,
            wait_to_rise: WAIT_TO_RISE,
            risen: None,
            due: None,
        }
    }

    /// What is encoded now.
    pub fn step(&self) -> Step {
        self.limited(self.steps[self.now])
    }

    /// No more than this is encoded from now on, whatever the board can do. Returns the new step when it changes.
    pub fn limit(&mut self, most: Step) -> Option<Step> {
        let before = self.step();
        self.limit = Some(most);
        let step = self.step();
        if step == before {
            return None;
        }
        self.cost = self.cost.map(|cost| cost * step.scale.area() / before.scale.area());
        (self.dear_since, self.room_since) = (None, None);
        Some(step)
    }

    fn limited(&self, step: Step) -> Step {
        let Some(limit) = self.limit else { return step };
        let scale = if limit.scale.area() < step.scale.area() { limit.scale } else { step.scale };
        Step { fps: step.fps.min(limit.fps), scale }
    }

    /// Whether less is encoded than was asked for, because the board cannot keep up.
    pub fn is_shedding(&self) -> bool {
        self.now > 0
    }

    /// Whether a picture captured at this time is to be encoded; the others are left out, evenly.
    pub fn takes(&mut self, captured: MediaTime) -> bool {
        let interval = self.interval();
        // A camera's own unsteadiness must not cost a picture.
        let slack = interval / 4;
        let due = self.due.unwrap_or(captured);
        if captured.0 + slack < due.0 {
            // A clock that jumped back would hold pictures for as long as it jumped.
            if due.0 - captured.0 > interval * 2 {
                self.due = None;
            }
            return false;
        }
        // The camera has paused when the next one would have been due already.
        let next = due.0 + interval;
        self.due = Some(MediaTime(if captured.0 < next { next } else { captured.0 + interval }));
        true
    }

    /// Tells what the picture cost that was encoded at `now`. Returns the new step when it changes.
    pub fn spent(&mut self, cost: Duration, now: MediaTime) -> Option<Step> {
        let newest = cost.as_secs_f64();
        let average = self.cost.map_or(newest, |average| average + (newest - average) * NEWEST);
        self.cost = Some(average);
        if average > self.interval().as_secs_f64() * TOO_DEAR {
            self.room_since = None;
            let since = *self.dear_since.get_or_insert(now);
            return (now.0.saturating_sub(since.0) >= PATIENCE).then(|| self.fall(average, now)).flatten();
        }
        self.dear_since = None;
        let has_room = self.now > 0 && self.share(self.now - 1, average) < ROOM;
        if !has_room {
            self.room_since = None;
            return None;
        }
        let since = *self.room_since.get_or_insert(now);
        (now.0.saturating_sub(since.0) >= self.wait_to_rise).then(|| self.rise(average, now))
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.step().fps
    }

    /// The share of its interval that a picture would cost at another step.
    fn share(&self, step: usize, cost: f64) -> f64 {
        let (from, to) = (self.step(), self.limited(self.steps[step]));
        cost * to.scale.area() / from.scale.area() * f64::from(to.fps)
    }

    fn fall(&mut self, cost: f64, now: MediaTime) -> Option<Step> {
        let last = self.steps.len() - 1;
        if self.now == last {
            return None;
        }
        let was_early = self.risen.is_some_and(|risen| now.0.saturating_sub(risen.0) < TRIAL);
        if was_early {
            self.wait_to_rise = (self.wait_to_rise * 2).min(LONGEST_WAIT);
        }
        let fits = (self.now + 1..last).find(|&step| self.share(step, cost) <= AFTER_STEP_DOWN);
        self.risen = None;
        Some(self.enter(fits.unwrap_or(last), cost))
    }

    fn rise(&mut self, cost: f64, now: MediaTime) -> Step {
        // The wait was long enough if the step before this one has held.
        if self.risen.is_some_and(|risen| now.0.saturating_sub(risen.0) >= TRIAL) {
            self.wait_to_rise = WAIT_TO_RISE;
        }
        self.risen = Some(now);
        self.enter(self.now - 1, cost)
    }

    fn enter(&mut self, step: usize, cost: f64) -> Step {
        let (from, to) = (self.step(), self.limited(self.steps[step]));
        self.cost = Some(cost * to.scale.area() / from.scale.area());
        (self.now, self.dear_since, self.room_since) = (step, None, None);
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALLER: &[Scale] = &[Scale::ThreeQuarters, Scale::Half];

    /// A board with a camera, in virtual time.
    struct Board {
        shed: Shed,
        camera_fps: u32,
        /// What a whole picture costs.
        cost: Duration,
        captured: u64,
        changes: Vec<(u64, Step)>,
    }

    impl Board {
        fn new(fps: u32, cost_ms: u64) -> Board {
            let cost = Duration::from_millis(cost_ms);
            Board { shed: Shed::new(fps, SMALLER), camera_fps: fps, cost, captured: 0, changes: Vec::new() }
        }
        /// Lets the camera run; returns how many pictures were encoded.
        fn run(&mut self, seconds: u64) -> usize {
            let mut encoded = 0;
            for _ in 0..seconds * u64::from(self.camera_fps) {
                let at = Duration::from_secs(1000)
                    + Duration::from_secs(1) * self.captured as u32 / self.camera_fps;
                self.captured += 1;
                if !self.shed.takes(MediaTime(at)) {
                    continue;
                }
                encoded += 1;
                let cost = self.cost.mul_f64(self.shed.step().scale.area());
                if let Some(step) = self.shed.spent(cost, MediaTime(at)) {
                    self.changes.push((at.as_secs() - 1000, step));
                }
            }
            encoded
        }
    }

    fn whole(fps: u32) -> Step {
        Step { fps, scale: Scale::Whole }
    }

    #[test]
    fn a_board_that_keeps_up_gives_up_nothing() {
        let mut board = Board::new(30, 25);
        assert_eq!(board.run(60), 1800);
        assert_eq!(board.changes, []);
        assert!(!board.shed.is_shedding());
    }

    #[test]
    fn pictures_are_left_out_first() {
        for (cost_ms, fps) in [(38, 20), (45, 15), (55, 10), (75, 10)] {
            let mut board = Board::new(30, cost_ms);
            board.run(20);
            assert_eq!(board.shed.step(), whole(fps), "{cost_ms} ms a picture");
            assert_eq!(board.changes.len(), 1, "one step is enough for {cost_ms} ms a picture");
            assert_eq!(board.changes[0].0, 1, "after a second");
        }
    }

    #[test]
    fn then_they_are_made_smaller() {
        for (cost_ms, scale) in [(130, Scale::ThreeQuarters), (250, Scale::Half), (2_000, Scale::Half)] {
            let mut board = Board::new(30, cost_ms);
            board.run(20);
            assert_eq!(board.shed.step(), Step { fps: 10, scale }, "{cost_ms} ms a picture");
        }
    }

    #[test]
    fn limit_and_what_the_board_can_do_are_both_kept() {
        let mut board = Board::new(30, 45);
        let limit = Step { fps: 20, scale: Scale::ThreeQuarters };
        assert_eq!(board.shed.limit(limit), Some(limit));
        board.run(10);
        assert_eq!((board.shed.step(), board.shed.is_shedding()), (limit, false), "so it keeps up");
        board.cost = Duration::from_millis(110);
        board.run(10);
        assert_eq!(board.shed.step(), Step { fps: 10, scale: Scale::ThreeQuarters });
        board.shed.limit(whole(30));
        board.cost = Duration::from_millis(20);
        board.run(200);
        assert_eq!(board.shed.step(), whole(30));
    }

    #[test]
    fn a_single_dear_picture_changes_nothing() {
        let mut board = Board::new(30, 20);
        for _ in 0..20 {
            board.run(1);
            board.shed.spent(
                Duration::from_millis(120),
                MediaTime(Duration::from_secs(1000 + board.captured / 30)),
            );
        }
        assert_eq!(board.changes, []);
    }

    #[test]
    fn what_was_given_up_comes_back_step_by_step() {
        let mut board = Board::new(30, 250);
        board.run(5);
        assert_eq!(board.shed.step().scale, Scale::Half);
        board.cost = Duration::from_millis(15);
        board.changes.clear();
        board.run(120);
        let steps: Vec<Step> = board.changes.iter().map(|(_, step)| *step).collect();
        let smaller = Step { fps: 10, scale: Scale::ThreeQuarters };
        assert_eq!(steps, [smaller, whole(10), whole(15), whole(20), whole(30)]);
        let gaps = board.changes.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(gaps.into_iter().all(|gap| (9..=12).contains(&gap)), "{:?}", board.changes);
        assert_eq!(board.run(10), 300);
    }

    #[test]
    fn a_step_up_that_was_too_early_is_tried_less_and_less_often() {
        // 20 frames per second look as if there were room for 30, and there never is.
        let mut board = Board::new(30, 40);
        for _ in 0..3600 {
            board.cost = Duration::from_millis(if board.shed.step().fps == 30 { 40 } else { 20 });
            board.run(1);
        }
        let rises: Vec<u64> =
            board.changes.iter().filter(|(_, step)| step.fps == 30).map(|(at, _)| *at).collect();
        let gaps: Vec<u64> = rises.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(rises.len() < 20, "{rises:?}");
        assert!(gaps.windows(2).all(|pair| pair[1] + 2 >= pair[0]), "{gaps:?}");
    }

    #[test]
    fn a_slow_camera_has_only_its_own_rate_to_lose() {
        let mut board = Board::new(13, 75);
        board.run(10);
        assert_eq!(board.shed.step(), whole(10));
        let mut board = Board::new(5, 260);
        board.run(10);
        assert_eq!(board.shed.step(), Step { fps: 5, scale: Scale::ThreeQuarters });
    }

    #[test]
    fn the_pictures_that_are_left_are_evenly_spaced() {
        let mut shed = Shed::new(30, SMALLER);
        shed.now = 2;
        let taken: Vec<u32> = (0..30)
            .filter(|frame| {
                shed.takes(MediaTime(Duration::from_secs(9) + Duration::from_secs(1) * *frame / 30))
            })
            .collect();
        assert_eq!(taken, (0..30).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_camera_that_is_faster_than_asked_is_thinned_out() {
        let mut shed = Shed::new(30, SMALLER);
        let at = |frame: u32| MediaTime(Duration::from_secs(9) + Duration::from_secs(1) * frame / 60);
        assert_eq!((0..600).filter(|frame| shed.takes(at(*frame))).count(), 300);
    }

    #[test]
    fn after_a_pause_pictures_are_as_rare_as_before() {
        let mut shed = Shed::new(30, SMALLER);
        let at = |frame: u32| MediaTime(Duration::from_secs(9) + Duration::from_secs(1) * frame / 60);
        assert!(shed.takes(at(0)));
        assert_eq!((600..1200).filter(|frame| shed.takes(at(*frame))).count(), 300);
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_stop_the_picture() {
        let mut shed = Shed::new(30, SMALLER);
        assert!(shed.takes(MediaTime(Duration::from_secs(1000))));
        assert!(!shed.takes(MediaTime(Duration::from_secs(10))));
        assert!(shed.takes(MediaTime(Duration::from_secs(11))));
    }

    #[test]
    fn sizes_stay_even() {
        assert_eq!(Scale::ThreeQuarters.of((1280, 720)), (960, 540));
        assert_eq!(Scale::Half.of((1366, 766)), (682, 382));
    }

    proptest! {
        #[test]
        fn nothing_that_it_is_told_makes_it_fail(
            fps in 0u32..200,
            told in proptest::collection::vec((0u64..u64::from(u32::MAX), 0u64..10_000), 0..200),
        ) {
            let mut shed = Shed::new(fps, SMALLER);
            for (at, cost) in told {
                let at = MediaTime(Duration::from_millis(at));
                shed.takes(at);
                shed.spent(Duration::from_millis(cost), at);
                prop_assert!(shed.step().fps <= fps.max(1));
            }
        }
    }
}

//! How large and how frequent may pictures be, to look good at their bitrate?
//!
//! ```text
//!   whole ── 3/4 of the size ── 3/4 at 20 frames/s ── 1/2 at 20 ── 1/2 at 15 ── 1/2 at 10
//!      too few bits for a pixel: at once to the step for which they are enough ──>
//!   <── clearly enough for the step before, for a moment: to the first for which they are
//! ```
//!
//! Below some 0.02 bits for a pixel, an encoder of a live picture has only blocks to offer. Half the size each
//! way has four times as many, and a browser scales it up smoothly.

use std::time::Duration;

use super::{Scale, Step};
use crate::units::{Bitrate, MediaTime};

/// Fewer bits than this for each pixel show.
const ENOUGH_BITS: f64 = 0.02;
/// By so much more must there be for a step up.
const CLEARLY: f64 = 1.3;
/// For so long: each change of the size costs a keyframe, and a bitrate goes up in steps.
const WAIT_TO_RISE: Duration = Duration::from_millis(1500);
/// Size and frames per second below those that are asked for, best first.
const LADDER: [(Scale, u32); 5] = [
    (Scale::ThreeQuarters, u32::MAX),
    (Scale::ThreeQuarters, 20),
    (Scale::Half, 20),
    (Scale::Half, 15),
    (Scale::Half, 10),
];

/// For one camera.
#[derive(Debug)]
pub struct Fit {
    pixels: f64,
    steps: Vec<Step>,
    now: usize,
    room_since: Option<MediaTime>,
}

impl Fit {
    /// For pictures of `size`, `fps` of them each second, and the smaller sizes that the encoder can change to. One
    /// that cannot gets all of them: hardware shares its bits out by the frame rate that it was opened with, and
    /// would only send less if it were given fewer pictures.
    pub fn new(size: (u32, u32), fps: u32, smaller: &[Scale]) -> Fit {
        let fps = fps.max(1);
        let mut steps = vec![Step { fps, scale: Scale::Whole }];
        let lower = LADDER.into_iter().filter(|(scale, _)| smaller.contains(scale));
        steps.extend(lower.map(|(scale, rate)| Step { fps: fps.min(rate), scale }));
        // A slow camera has some of them twice.
        steps.dedup();
        Fit { pixels: f64::from(size.0) * f64::from(size.1), steps, now: 0, room_since: None }
    }

    /// What a picture captured at this time may be. To be asked for each.
    pub fn step(&mut self, bitrate: Bitrate, captured: MediaTime) -> Step {
        let least = self.first_with(bitrate, ENOUGH_BITS);
        if least > self.now {
            (self.now, self.room_since) = (least, None);
            return self.steps[self.now];
        }
        let risen = self.first_with(bitrate, ENOUGH_BITS * CLEARLY);
        if risen >= self.now {
            self.room_since = None;
        } else {
            let since = *self.room_since.get_or_insert(captured);
            if captured.0.saturating_sub(since.0) >= WAIT_TO_RISE {
                (self.now, self.room_since) = (risen, None);
            }
        }
        self.steps[self.now]
    }

    /// The best step with so many bits for each pixel; the last if there is none.
    fn first_with(&self, bitrate: Bitrate, bits: f64) -> usize {
        let is_enough = |step: &Step| {
            let pixels = self.pixels * step.scale.area() * f64::from(step.fps);
            f64::from(bitrate.bps()) >= pixels * bits
        };
        self.steps.iter().position(is_enough).unwrap_or(self.steps.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALLER: &[Scale] = &[Scale::ThreeQuarters, Scale::Half];

    fn at(ms: u64) -> MediaTime {
        MediaTime(Duration::from_millis(ms))
    }

    fn step(fps: u32, scale: Scale) -> Step {
        Step { fps, scale }
    }

    #[test]
    fn low_bitrate_gives_smaller_and_then_fewer_pictures_at_once() {
        for (kbps, expected) in [
            (2_500, step(30, Scale::Whole)),
            (600, step(30, Scale::Whole)),
            (400, step(30, Scale::ThreeQuarters)),
            (250, step(20, Scale::ThreeQuarters)),
            (150, step(20, Scale::Half)),
            (50, step(10, Scale::Half)),
            (1, step(10, Scale::Half)),
        ] {
            let mut fit = Fit::new((1280, 720), 30, SMALLER);
            assert_eq!(fit.step(Bitrate::from_kbps(kbps), at(0)), expected, "{kbps} kbit/s");
        }
    }

    #[test]
    fn encoder_with_one_size_gets_every_picture() {
        let mut fit = Fit::new((1280, 720), 30, &[]);
        assert_eq!(fit.step(Bitrate::from_kbps(100), at(0)), step(30, Scale::Whole));
    }

    #[test]
    fn everything_is_back_soon_after_the_bitrate_and_in_one_step() {
        let mut fit = Fit::new((1280, 720), 30, SMALLER);
        fit.step(Bitrate::from_kbps(200), at(0));
        let mut steps = vec![];
        for ms in (0..4_000).step_by(33) {
            // As `rate` goes up.
            let kbps = (200 << (ms / 500).min(4)).min(2_500);
            steps.push(fit.step(Bitrate::from_kbps(kbps), at(ms)));
        }
        steps.dedup();
        assert_eq!(steps, [step(20, Scale::Half), step(30, Scale::Whole)]);
    }

    #[test]
    fn bitrate_that_wavers_changes_nothing() {
        let mut fit = Fit::new((1280, 720), 30, SMALLER);
        let first = fit.step(Bitrate::from_kbps(540), at(0));
        for ms in 0..600 {
            let kbps = [550, 600, 640][ms as usize % 3];
            assert_eq!(fit.step(Bitrate::from_kbps(kbps), at(ms * 33)), first);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_it_is_told_makes_it_fail(
            size in (0u32..8000, 0u32..8000),
            fps in 0u32..200,
            told in proptest::collection::vec((0u32.., 0u64..u64::from(u32::MAX)), 0..50),
        ) {
            let mut fit = Fit::new(size, fps, SMALLER);
            for (bps, ms) in told {
                prop_assert!(fit.step(Bitrate::from_bps(bps), at(ms)).fps <= fps.max(1));
            }
        }
    }
}

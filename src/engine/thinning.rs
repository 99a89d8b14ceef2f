//! How much of a stream fits a network that takes less than all of it?
//!
//! ```text
//!                 more than PATIENCE of pictures is owed
//!   Whole ───────────────────────────────────────────────▶ Thinned
//!     ▲                                                     │
//!     └───────────── nothing was left out for CALM ─────────┘
//! ```
//!
//! A viewer owes the network what it was sent and what has not passed yet, by its estimate. One that owes too
//! much is thinned: it gets each keyframe and as many of the pictures behind it as leave the network free by
//! the time of the next keyframe, [`CADENCE`] later, for which it asks. So it moves all the time, in short
//! runs, and the network itself spreads them: a keyframe takes the longest to pass. Pictures that no other
//! refers to (H.264 §7.4.1, `nal_ref_idc` 0) are left out first, and nothing waits for a keyframe then.
//!
//! The clock is that of capture, so that everybody is told alike about one picture.

use std::time::Duration;

use crate::units::MediaTime;

/// From one keyframe to the next while a viewer is thinned. With what a keyframe takes to pass no gap is
/// longer than half a second.
pub const CADENCE: Duration = Duration::from_millis(400);
/// What a network may owe before it is taken to be too slow: an estimate that sags for a moment is forgiven.
const PATIENCE: Duration = Duration::from_millis(400);
/// What it may still owe when a keyframe goes.
const BEFORE_KEYFRAME: Duration = Duration::from_millis(100);
/// What it may owe when a picture goes that no other refers to.
const BEFORE_DISPOSABLE: Duration = Duration::from_millis(100);
/// Without a loss for so long the whole stream fits again.
const CALM: Duration = Duration::from_secs(2);
/// What of an estimate pictures may take in the long run; the rest is for headers and sound.
const SHARE_FOR_VIDEO: f64 = 0.95;

/// What of other pictures depends on this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Everything up to the next keyframe, and nothing before.
    Keyframe,
    /// What follows, up to the next keyframe.
    Reference,
    /// Nothing.
    Disposable,
}

/// A picture that is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Picture {
    /// When it was taken.
    pub captured: MediaTime,
    /// All of its payload.
    pub bytes: usize,
    /// What depends on it.
    pub importance: Importance,
}

/// What one viewer's network still owes, and whether it is too slow.
#[derive(Clone, Debug, Default)]
pub struct Thinning {
    owed_bits: f64,
    /// Of the newest picture that was looked at.
    looked_at: MediaTime,
    /// The newest keyframe that was sent.
    keyframe_at: MediaTime,
    /// When a picture was last left out; `None`: the stream is whole.
    left_out_at: Option<MediaTime>,
}

impl Thinning {
    /// Whether a picture fits a network of `estimate_bps`. A viewer that loses a picture which others refer
    /// to needs a keyframe.
    #[must_use = "what does not fit must not be sent"]
    pub fn fits(&mut self, picture: &Picture, estimate_bps: f64) -> bool {
        let bps = (estimate_bps * SHARE_FOR_VIDEO).max(1.0);
        self.pass_time(picture.captured, bps);
        let (wait_s, after_s) = (self.owed_bits / bps, (self.owed_bits + bits(picture.bytes)) / bps);
        let fits = match (picture.importance, self.left_out_at) {
            (Importance::Keyframe, Some(_)) => wait_s <= BEFORE_KEYFRAME.as_secs_f64(),
            (Importance::Disposable, _) => wait_s <= BEFORE_DISPOSABLE.as_secs_f64(),
            // Of one picture alone, however large it is, nobody can tell that it is too much.
            (_, None) => wait_s <= PATIENCE.as_secs_f64(),
            (Importance::Reference, Some(_)) => {
                let since = picture.captured.0.saturating_sub(self.keyframe_at.0);
                after_s <= (BEFORE_KEYFRAME + CADENCE.saturating_sub(since)).as_secs_f64()
            }
        };
        if !fits && picture.importance != Importance::Disposable {
            self.left_out_at = Some(picture.captured);
        }
        fits
    }

    /// Takes note of a picture that goes.
    pub fn sent(&mut self, picture: &Picture) {
        self.owed_bits += bits(picture.bytes);
        if picture.importance == Importance::Keyframe {
            self.keyframe_at = picture.captured;
        }
    }

    /// Whether a keyframe would fit, of a viewer that waits for one.
    pub fn has_room_for_keyframe(&self, estimate_bps: f64) -> bool {
        let is_due = self.looked_at.0.saturating_sub(self.keyframe_at.0) >= CADENCE;
        let wait_s = self.owed_bits / (estimate_bps * SHARE_FOR_VIDEO).max(1.0);
        self.left_out_at.is_none() || is_due && wait_s <= BEFORE_KEYFRAME.as_secs_f64()
    }

    /// Whether the viewer does not get the whole stream.
    pub fn is_thinned(&self) -> bool {
        self.left_out_at.is_some()
    }

    /// It gets another stream from here on, of which nothing was left out yet. What an estimate that has just
    /// fallen makes of the pictures before is no longer counted whole: a queue on the way loses what it cannot hold.
    pub fn begin_anew(&mut self, estimate_bps: f64) {
        self.left_out_at = None;
        self.owed_bits = self.owed_bits.min(estimate_bps * BEFORE_KEYFRAME.as_secs_f64());
    }

    fn pass_time(&mut self, now: MediaTime, bps: f64) {
        let passed = now.0.saturating_sub(self.looked_at.0);
        self.looked_at = self.looked_at.max(now);
        self.owed_bits = (self.owed_bits - passed.as_secs_f64() * bps).max(0.0);
        if self.left_out_at.is_some_and(|at| now.0.saturating_sub(at.0) >= CALM) {
            self.left_out_at = None;
        }
    }
}

fn bits(bytes: usize) -> f64 {
    bytes as f64 * 8.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A camera of 30 pictures a second, and one viewer of it as the fan-out serves it.
    struct Scene {
        thinning: Thinning,
        delta_bytes: usize,
        keyframe_bytes: usize,
        disposable_every: Option<u32>,
        awaits_keyframe: bool,
        is_keyframe_wanted: bool,
        n: u32,
    }

    /// What the viewer got.
    #[derive(Debug, Default)]
    struct Got {
        pictures: u32,
        keyframes: u32,
        bytes: usize,
        /// From one picture's passing to the next one's, at the longest.
        gap_ms: u128,
    }

    impl Scene {
        /// 3 Mbit/s, keyframes of thirty kilobytes.
        fn new() -> Scene {
            Scene {
                thinning: Thinning::default(),
                delta_bytes: 12_500,
                keyframe_bytes: 30_000,
                disposable_every: None,
                awaits_keyframe: true,
                is_keyframe_wanted: true,
                n: 0,
            }
        }

        fn run(&mut self, seconds: u32, link_bps: f64) -> Got {
            let (mut got, mut free_s, mut shown_s) = (Got::default(), 0.0_f64, None::<f64>);
            for _ in 0..seconds * 30 {
                self.n += 1;
                let captured = MediaTime(Duration::from_secs(100) + Duration::from_secs(1) * self.n / 30);
                let importance = match self.disposable_every {
                    _ if std::mem::take(&mut self.is_keyframe_wanted) => Importance::Keyframe,
                    Some(every) if self.n.is_multiple_of(every) => Importance::Disposable,
                    _ => Importance::Reference,
                };
                let is_keyframe = importance == Importance::Keyframe;
                let bytes = if is_keyframe { self.keyframe_bytes } else { self.delta_bytes };
                let picture = Picture { captured, bytes, importance };
                let fits = self.thinning.fits(&picture, link_bps);
                if fits && (is_keyframe || !self.awaits_keyframe) {
                    self.thinning.sent(&picture);
                    self.awaits_keyframe = false;
                    got.pictures += 1;
                    got.keyframes += u32::from(is_keyframe);
                    got.bytes += bytes;
                    free_s = free_s.max(captured.0.as_secs_f64()) + bits(bytes) / link_bps;
                    let gap = shown_s.map_or(0.0, |shown| free_s - shown);
                    got.gap_ms = got.gap_ms.max((gap * 1000.0) as u128);
                    shown_s = Some(free_s);
                } else if importance != Importance::Disposable {
                    self.awaits_keyframe = true;
                }
                self.is_keyframe_wanted =
                    self.awaits_keyframe && self.thinning.has_room_for_keyframe(link_bps);
            }
            got
        }
    }

    #[test]
    fn a_network_that_takes_the_whole_stream_gets_it() {
        let got = Scene::new().run(20, 3_300_000.0);
        assert_eq!((got.pictures, got.keyframes), (600, 1));
    }

    #[test]
    fn an_estimate_that_sags_for_a_moment_costs_nothing() {
        let mut scene = Scene::new();
        scene.run(5, 4_000_000.0);
        scene.thinning.sent(&Picture {
            captured: MediaTime::default(),
            bytes: 100_000,
            importance: Importance::Reference,
        });
        assert_eq!(scene.run(5, 4_000_000.0).pictures, 150);
    }

    #[test]
    fn a_third_of_the_network_moves_all_the_time_and_uses_what_there_is() {
        let mut scene = Scene::new();
        scene.run(2, 4_000_000.0);
        let got = scene.run(30, 1_000_000.0);
        assert!(got.gap_ms <= 500, "{got:?}");
        assert!((60..=75).contains(&got.keyframes), "no more than one each {CADENCE:?}: {got:?}");
        assert!(got.pictures >= 2 * got.keyframes, "not keyframes alone: {got:?}");
        assert!((700..=950).contains(&(got.bytes * 8 / 30_000)), "kbit/s: {got:?}");
    }

    #[test]
    fn a_tenth_of_the_network_still_gets_keyframes_and_no_longer_queue() {
        let mut scene = Scene::new();
        scene.run(2, 4_000_000.0);
        let got = scene.run(30, 300_000.0);
        assert!(got.keyframes >= 30 && got.gap_ms <= 1_200, "{got:?}");
        assert!(got.bytes * 8 / 30 <= 300_000, "{got:?}");
    }

    #[test]
    fn a_network_that_is_wide_again_has_the_whole_stream_soon() {
        let mut scene = Scene::new();
        scene.run(2, 4_000_000.0);
        scene.run(5, 1_000_000.0);
        scene.run(4, 4_000_000.0);
        let got = scene.run(10, 4_000_000.0);
        assert_eq!((got.pictures, got.keyframes), (300, 0));
    }

    #[test]
    fn what_nothing_refers_to_is_left_out_first_and_costs_no_keyframe() {
        let mut scene = Scene::new();
        scene.disposable_every = Some(2);
        scene.run(2, 4_000_000.0);
        let got = scene.run(20, 1_900_000.0);
        assert_eq!(got.keyframes, 0);
        assert!((300..400).contains(&got.pictures) && got.gap_ms < 150, "{got:?}");
    }
}

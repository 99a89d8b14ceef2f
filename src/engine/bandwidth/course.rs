//! Does the wait in the path become longer, shorter, or neither?
//!
//! It becomes longer while more is sent than the link carries, and shorter while a queue drains. What does neither
//! is the path's own, or others' queue: sending less does not help against it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The course of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Less arrives than leaves.
    Grows,
    /// What arrives is what leaves.
    Stays,
    /// More arrives than leaves.
    Shrinks,
}

/// The course is that of this time, or between two reports where they are farther apart.
const WINDOW: Duration = Duration::from_millis(400);
/// What arrives differs from what leaves when it does by this share.
const DIFFERS: f64 = 0.05;
/// Reports come at most every 20 ms or so; a viewer that sends more of them sees a shorter window.
const MAX_LOOKS: usize = 64;
/// A wait that stays within this is always the same.
const SAME: Duration = Duration::from_millis(15);

/// How long packets waited lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    looks: VecDeque<(Instant, Duration)>,
    /// Since when it is the same, and between which limits.
    same: Option<(Instant, Duration, Duration)>,
}

impl Waits {
    /// So long do packets wait now, at least.
    pub(super) fn look(&mut self, now: Instant, wait: Duration) {
        self.looks.push_back((now, wait));
        while self.looks.len() > 2
            && (self.looks.len() > MAX_LOOKS
                || self.looks.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW))
        {
            self.looks.pop_front();
        }
        let (since, low, high) = self.same.unwrap_or((now, wait, wait));
        let (low, high) = (low.min(wait), high.max(wait));
        self.same = Some(if high - low <= SAME { (since, low, high) } else { (now, wait, wait) });
    }

    /// Where it goes.
    pub(super) fn course(&self) -> Course {
        let (Some((from, first)), Some((to, last))) = (self.looks.front(), self.looks.back()) else {
            return Course::Stays;
        };
        let growth = (last.as_secs_f64() - first.as_secs_f64())
            / to.saturating_duration_since(*from).as_secs_f64().max(0.001);
        match growth {
            growth if growth > DIFFERS => Course::Grows,
            growth if growth < -DIFFERS => Course::Shrinks,
            _ => Course::Stays,
        }
    }

    /// For how long it has been the same.
    pub(super) fn same_for(&self, now: Instant) -> Duration {
        self.same.map_or(Duration::ZERO, |(since, ..)| now.saturating_duration_since(since))
    }

    /// Other waits than before are to be expected.
    pub(super) fn clear(&mut self) {
        *self = Waits::default();
    }
}

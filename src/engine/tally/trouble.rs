//! When is a viewer's network in trouble, and when not any more?
//!
//! Each trouble begins at one bound and ends at a lower one, so that a network at the edge is not told of
//! again and again. A change is news, what goes on is none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Counts, Reading};
use crate::units::PeerId;

/// So many pictures must be left out within the window, and this share of all: one keyframe that was waited
/// for is no trouble.
const THINNED: (u64, f64) = (5, 0.05);
/// From this share of lost packets on a network counts as lossy; RTX repairs a few percent unseen.
const LOSSY_FROM: f64 = 0.05;
/// And below this it does not any more.
const LOSSY_TO: f64 = 0.01;
/// Of fewer packets a share says nothing.
const PACKETS: u64 = 50;

/// What a viewer's network can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// Nothing has been heard of it for some seconds.
    Silent,
    /// It carries less than the encoder makes: pictures are left out for it alone.
    Thinned,
    /// It loses packets.
    Lossy,
}

impl Trouble {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Trouble::Silent => "silent",
            Trouble::Thinned => "thinned",
            Trouble::Lossy => "lossy",
        }
    }

    /// Whether what was counted within the window is this trouble; `None` when it cannot be told by that.
    pub(super) fn is_in(self, new: &Counts, was: bool) -> Option<bool> {
        match self {
            Trouble::Silent => None,
            Trouble::Thinned if was => Some(new.frames_dropped > 0),
            Trouble::Thinned => {
                let share = new.frames_dropped as f64 / (new.frames_dropped + new.frames_sent).max(1) as f64;
                Some(new.frames_dropped >= THINNED.0 && share >= THINNED.1)
            }
            Trouble::Lossy if new.packets < PACKETS => None,
            Trouble::Lossy => {
                let bound = if was { LOSSY_TO } else { LOSSY_FROM };
                Some(new.lost as f64 / new.packets as f64 >= bound)
            }
        }
    }
}

/// A trouble that has begun or ended.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Whose.
    pub peer: PeerId,
    /// The viewer's name.
    pub viewer: String,
    /// Which.
    pub trouble: Trouble,
    /// How long it lasted; `None`: it begins.
    pub lasted: Option<Duration>,
    /// How things stand.
    pub reading: Reading,
}

impl News {
    pub(super) fn of(
        peer: PeerId,
        viewer: &str,
        trouble: Trouble,
        lasted: Option<Duration>,
        reading: &Reading,
    ) -> News {
        News { peer, viewer: viewer.to_owned(), trouble, lasted, reading: *reading }
    }
}

/// Those that a network is in, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles(BTreeMap<Trouble, Instant>);

impl Troubles {
    pub(super) fn has(&self, trouble: Trouble) -> bool {
        self.0.contains_key(&trouble)
    }

    pub(super) fn now(&self) -> impl Iterator<Item = Trouble> {
        self.0.keys().copied()
    }

    /// Notes it. Some when that is a change: with how long it lasted when it has ended.
    pub(super) fn set(&mut self, now: Instant, trouble: Trouble, is_in: bool) -> Option<Option<Duration>> {
        match (self.0.get(&trouble).copied(), is_in) {
            (None, true) => {
                self.0.insert(trouble, now);
                Some(None)
            }
            (Some(since), false) => {
                self.0.remove(&trouble);
                Some(Some(now.saturating_duration_since(since)))
            }
            _ => None,
        }
    }
}

//! Which pictures does one viewer get, when its network takes less than the camera gives?
//!
//! ```text
//!                    its keyframe, and room for it
//!   AwaitsKeyframe ────────────────────────────────▶ Live
//!     ▲   ▲                                           │ ▲
//!     │   └──────────────── no room ──────────────────┘ │ through
//!     │ no room                                         │
//!     └───────────────────────────────────────────── CatchesUp ◀── joins, and a backlog is kept
//! ```
//!
//! A viewer without room loses pictures up to a keyframe, alone, since what follows refers to what it lost.
//! It asks for that keyframe only once its queue is empty, so that it does not cost the others their
//! picture quality again and again. Pure: the queue itself, and what is in it, is its owner's.

/// Pictures that wait for one viewer, half a second at 30 a second; with one more it loses pictures.
pub const MAX_QUEUED_FRAMES: usize = 16;
/// Queue length up to which a viewer that lost pictures does not yet ask for a keyframe.
pub const DRAINED_FRAMES: usize = 1;
/// What is kept since the last keyframe for those who join: ten seconds at 30 a second.
pub const MAX_BACKLOG_FRAMES: usize = 300;
/// The same in bytes. Past either nothing is kept until the next keyframe, and who joins waits for it.
pub const MAX_BACKLOG_BYTES: usize = 4 << 20;
/// What is kept where the source makes a keyframe when asked: until then about as many pictures pass.
const FEW_FRAMES: usize = 4;
/// The same in bytes, without the keyframe, which a new one would cost as well: what is sent without pacing.
const FEW_BYTES: usize = 32 * 1024;
/// The longest that a queue ever is: a backlog and what comes while it is sent.
pub const MAX_CATCH_UP_FRAMES: usize = MAX_BACKLOG_FRAMES + 4 * MAX_QUEUED_FRAMES;

/// Where one viewer's picture stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It needs a keyframe before anything else makes sense to it.
    AwaitsKeyframe,
    /// It gets the backlog; its queue may hold this much until it is through.
    CatchesUp {
        /// In pictures.
        limit: usize,
    },
    /// It gets each picture as it comes.
    Live,
}

impl Progress {
    /// Of a viewer that has `backlog` pictures, from a keyframe on, in its queue already.
    pub fn joined(backlog: usize) -> Progress {
        match backlog {
            0 => Progress::AwaitsKeyframe,
            frames => Progress::CatchesUp { limit: frames + 4 * MAX_QUEUED_FRAMES },
        }
    }

    /// A picture for a viewer in whose queue `queued` others wait: `true` when it is put there, `false` when
    /// the viewer does not get it.
    #[must_use = "a picture that is taken must be queued"]
    pub fn takes(&mut self, is_keyframe: bool, queued: usize) -> bool {
        let limit = match *self {
            Progress::CatchesUp { limit } if queued > DRAINED_FRAMES => limit,
            // A keyframe that nobody asked for is of use as soon as there is room.
            Progress::CatchesUp { .. } | Progress::Live => MAX_QUEUED_FRAMES,
            Progress::AwaitsKeyframe if is_keyframe => MAX_QUEUED_FRAMES,
            Progress::AwaitsKeyframe => 0,
        };
        if queued >= limit {
            *self = Progress::AwaitsKeyframe;
            return false;
        }
        if limit == MAX_QUEUED_FRAMES {
            *self = Progress::Live;
        }
        true
    }

    /// Whether the viewer cannot go on without a keyframe, and has room for it.
    pub fn wants_keyframe(self, queued: usize) -> bool {
        self == Progress::AwaitsKeyframe && queued <= DRAINED_FRAMES
    }
}

/// How much is kept for those who join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// All since the last keyframe, since the source makes none when it is asked.
    All,
    /// The keyframe, and as much as leaves at once. Whoever joins just behind a keyframe, as the first viewer mostly
    /// does, begins with that one and costs nobody another; after more than that a new one is there sooner.
    Few,
}

impl Keeps {
    /// Pictures and bytes.
    fn limits(self) -> (usize, usize) {
        match self {
            Keeps::All => (MAX_BACKLOG_FRAMES, MAX_BACKLOG_BYTES),
            Keeps::Few => (FEW_FRAMES, FEW_BYTES),
        }
    }
}

/// The pictures since the last keyframe, or none.
#[derive(Debug)]
pub struct Backlog<Frame> {
    keeps: Keeps,
    frames: Vec<Frame>,
    bytes: usize,
}

impl<Frame> Backlog<Frame> {
    /// With nothing in it.
    pub fn new(keeps: Keeps) -> Self {
        Backlog { keeps, frames: Vec::new(), bytes: 0 }
    }

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        *self = Backlog::new(self.keeps);
    }

    /// Keeps a picture of so many bytes, unless what it refers to was not kept.
    pub fn push(&mut self, frame: Frame, is_keyframe: bool, bytes: usize) {
        if is_keyframe {
            self.clear();
        } else if self.frames.is_empty() {
            return;
        }
        if !is_keyframe || self.keeps == Keeps::All {
            self.bytes += bytes;
        }
        self.frames.push(frame);
        let (max_frames, max_bytes) = self.keeps.limits();
        if self.frames.len() > max_frames || self.bytes > max_bytes {
            self.clear();
        }
    }

    /// From a keyframe on, in the order in which they came.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewer_without_room_waits_for_a_keyframe_and_asks_once_its_queue_is_empty() {
        let mut progress = Progress::joined(0);
        assert!(progress.wants_keyframe(0) && !progress.takes(false, 0));
        assert!(progress.takes(true, 0));
        assert!(progress.takes(false, MAX_QUEUED_FRAMES - 1));
        assert!(!progress.takes(false, MAX_QUEUED_FRAMES));
        assert!(!progress.takes(false, 0), "it refers to a picture that was lost");
        assert!(!progress.wants_keyframe(MAX_QUEUED_FRAMES) && progress.wants_keyframe(DRAINED_FRAMES));
        assert!(!progress.takes(true, MAX_QUEUED_FRAMES), "not even a keyframe has room");
        assert!(progress.takes(true, MAX_QUEUED_FRAMES - 1));
        assert_eq!(progress, Progress::Live);
    }

    #[test]
    fn who_catches_up_has_a_longer_queue_until_it_is_through() {
        let mut progress = Progress::joined(100);
        assert!(progress.takes(false, 100));
        assert!(progress.takes(false, DRAINED_FRAMES));
        assert!(!progress.takes(false, 100), "from then on it is like the others");
    }

    #[test]
    fn backlog_begins_with_a_keyframe_and_is_bounded() {
        let kept = |frames: &[bool], bytes: usize| {
            let mut backlog = Backlog::new(Keeps::All);
            frames.iter().for_each(|&is_keyframe| backlog.push(is_keyframe, is_keyframe, bytes));
            backlog.frames().to_vec()
        };
        assert!(kept(&[false, false], 1).is_empty());
        assert_eq!(kept(&[true, false, false], 1), [true, false, false]);
        assert_eq!(kept(&[true, false, true, false], 1), [true, false]);
        let mut endless = vec![false; MAX_BACKLOG_FRAMES];
        endless.insert(0, true);
        assert!(kept(&endless, 1).is_empty(), "a backlog without its end would be a broken picture");
        assert!(kept(&[true, false], MAX_BACKLOG_BYTES).is_empty());
    }

    #[test]
    fn where_keyframes_can_be_had_only_those_just_behind_one_begin_with_it() {
        let mut backlog = Backlog::new(Keeps::Few);
        backlog.push("keyframe", true, 20_000);
        backlog.push("next", false, 5_000);
        assert_eq!(backlog.frames(), ["keyframe", "next"]);
        (2..FEW_FRAMES).for_each(|_| backlog.push("later", false, 1));
        assert_eq!(backlog.frames().len(), FEW_FRAMES);
        backlog.push("much later", false, 1);
        assert!(backlog.frames().is_empty(), "a new keyframe is there sooner than these have passed");
        backlog.push("large", true, FEW_BYTES + 1);
        backlog.push("next", false, FEW_BYTES);
        assert_eq!(backlog.frames(), ["large", "next"], "a new one would be as large");
        backlog.push("one more", false, 1);
        assert!(backlog.frames().is_empty());
    }
}

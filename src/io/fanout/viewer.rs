//! Which pictures go into one viewer's queue?
//!
//! It is served one encode, and changes to the other at a keyframe. It gets what its queue has room for
//! (`engine::queue`) and what its network bears (`engine::thinning`). To the viewer it is one stream all the time:
//! numbers run on, since they are given later, and no picture is older than the one before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::send::Counters;
use super::{Frame, Sound};
use crate::engine::queue::{Backlog, Progress};
use crate::engine::rendition::Rendition;
use crate::engine::thinning::{Importance, Picture, Thinning};
use crate::units::MediaTime;

/// One tick of the picture's RTP clock, 90 kHz, and a little: two pictures never have the same timestamp.
const TICK: Duration = Duration::from_micros(12);
/// A queue that is half full has no room for what no other picture refers to.
const ROOM_FOR_DISPOSABLE: usize = 8;

/// One viewer's queues, and where its picture stands.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) video: Option<mpsc::Sender<Arc<Frame>>>,
    pub(super) audio: Option<mpsc::Sender<Sound>>,
    pub(super) progress: Progress,
    pub(super) counters: Arc<Counters>,
    pub(super) task: AbortHandle,
    thinning: Thinning,
    /// Which encode it gets, and which it is to get from that one's next keyframe on.
    on: Rendition,
    wanted: Rendition,
    /// Of the newest picture that it got.
    latest: MediaTime,
    /// An estimate that is as high as it ever gets says nothing about what more there is room for.
    most_bps: f64,
}

impl Viewer {
    /// It waits for a keyframe of the main encode. Estimates of its network end at `most_bps`.
    pub(super) fn new(
        (video, audio): (Option<mpsc::Sender<Arc<Frame>>>, Option<mpsc::Sender<Sound>>),
        counters: Arc<Counters>,
        most_bps: f64,
        task: AbortHandle,
    ) -> Viewer {
        Viewer {
            video,
            audio,
            progress: Progress::AwaitsKeyframe,
            counters,
            task,
            thinning: Thinning::default(),
            on: Rendition::Main,
            wanted: Rendition::Main,
            latest: MediaTime::default(),
            most_bps,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.video.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    pub(super) fn queued_sound(&self) -> usize {
        self.audio.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// The encode that it gets or is about to get.
    pub(super) fn rendition(&self) -> Rendition {
        self.wanted
    }

    /// Puts it on an encode from its next keyframe on.
    pub(super) fn serve(&mut self, rendition: Rendition) {
        self.wanted = rendition;
    }

    /// Whether it cannot go on, or over, without a keyframe of this encode.
    pub(super) fn wants_keyframe(&self, rendition: Rendition) -> bool {
        let needs = match self.on == self.wanted {
            true => self.progress.wants_keyframe(self.queued()) && self.has_room_for_keyframe(),
            false => true,
        };
        self.video.is_some() && rendition == self.wanted && needs
    }

    /// Puts what is kept for those who join into its queue.
    pub(super) fn catch_up(&mut self, backlog: &Backlog<Arc<Frame>>) {
        let Some(queue) = &self.video else { return };
        for frame in backlog.frames() {
            // The channel's capacity exceeds any backlog.
            let _ = queue.try_send(frame.clone());
            self.latest = frame.captured;
        }
        self.progress = Progress::joined(backlog.frames().len());
    }

    /// Queues a picture, if it is for this viewer and there is room for it.
    pub(super) fn push(&mut self, frame: &Arc<Frame>) {
        if self.video.is_none() {
            return;
        }
        if self.on != self.wanted
            && frame.rendition == self.wanted
            && frame.importance == Importance::Keyframe
        {
            self.go_over();
        }
        if frame.rendition != self.on {
            return;
        }
        let picture = frame.picture();
        if !self.has_room(&picture) {
            self.counters.dropped();
        } else if self.queue(frame) {
            self.thinning.sent(&picture);
        } else {
            // Its task has ended, and its peer connection with it.
            self.progress = Progress::AwaitsKeyframe;
            self.counters.dropped();
        }
        let is_narrow = self.thinning.is_thinned() || self.on == Rendition::Sub;
        self.counters.is_narrow.store(is_narrow, Ordering::Relaxed);
    }

    fn has_room(&mut self, picture: &Picture) -> bool {
        let (queued, is_disposable) = (self.queued(), picture.importance == Importance::Disposable);
        if is_disposable && queued >= ROOM_FOR_DISPOSABLE {
            return false;
        }
        if !self.thinning.fits(picture, self.estimate_bps()) {
            if !is_disposable {
                self.progress = Progress::AwaitsKeyframe;
            }
            return false;
        }
        self.progress.takes(picture.importance == Importance::Keyframe, queued)
    }

    fn go_over(&mut self) {
        self.on = self.wanted;
        self.progress = Progress::AwaitsKeyframe;
        self.thinning.begin_anew(self.estimate_bps());
    }

    /// Two encodes of one picture have one time, and the second may come later: no picture may seem to be older
    /// than the one before.
    fn queue(&mut self, frame: &Arc<Frame>) -> bool {
        let Some(queue) = &self.video else { return false };
        let frame = match frame.captured > self.latest {
            true => frame.clone(),
            false => Arc::new(frame.at(MediaTime(self.latest.0 + TICK))),
        };
        self.latest = frame.captured;
        queue.try_send(frame).is_ok()
    }

    fn has_room_for_keyframe(&self) -> bool {
        self.thinning.has_room_for_keyframe(self.estimate_bps())
    }

    fn estimate_bps(&self) -> f64 {
        let estimate_bps = f64::from(self.counters.estimate_bps());
        // Zero is none yet.
        let is_known = estimate_bps > 0.0 && estimate_bps < self.most_bps;
        if is_known { estimate_bps } else { f64::from(u32::MAX) }
    }
}

impl Frame {
    fn at(&self, captured: MediaTime) -> Frame {
        Frame { payloads: self.payloads.clone(), captured, ..*self }
    }

    fn picture(&self) -> Picture {
        let bytes = self.payloads.iter().map(Bytes::len).sum();
        Picture { captured: self.captured, bytes, importance: self.importance }
    }
}

//! Which pictures go into one viewer's queue?
//!
//! It is served one encode, and changes to the other at a keyframe. It gets what its queue has room for
//! (`engine::queue`) and what its network bears (`engine::thinning`). To the viewer it is one stream all the time:
//! numbers run on, since they are given later, and no picture is older than the one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::counters::Counters;
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
    /// It is not heard, and is sent nothing until it is.
    pub(super) is_silent: Arc<AtomicBool>,
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
            is_silent: Arc::default(),
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

    /// Whether something is still to be sent to it.
    pub(super) fn has_unsent(&self) -> bool {
        // One whose task has ended is sent nothing any more.
        let is_sending = self.counters.is_sending.load(Ordering::Relaxed) && !self.task.is_finished();
        is_sending || self.queued() > 0 || self.queued_sound() > 0
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
        // A task that has ended takes none either.
        let takes = self.video.as_ref().is_some_and(|queue| !queue.is_closed()) && !self.is_silent();
        takes && rendition == self.wanted && needs
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

    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    fn has_room(&mut self, picture: &Picture) -> bool {
        if self.is_silent() {
            self.progress = Progress::AwaitsKeyframe;
            return false;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::Receiver;

    const TICKS: Duration = Duration::from_millis(33);

    /// One viewer, and what is in its queue.
    struct Scene {
        viewer: Viewer,
        queue: Receiver<Arc<Frame>>,
    }

    impl Scene {
        fn new() -> Scene {
            let (video, queue) = mpsc::channel(400);
            let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
            let viewer = Viewer::new((Some(video), None), Arc::default(), 9e9, task);
            Scene { viewer, queue }
        }

        fn push(&mut self, rendition: Rendition, n: u32, importance: Importance, bytes: usize) {
            let captured = MediaTime(TICKS * n);
            let payloads = vec![Bytes::from(vec![0; bytes])];
            self.viewer.push(&Arc::new(Frame { payloads, captured, importance, rendition, era: 0 }));
        }

        fn taken(&mut self) -> Vec<(Rendition, Importance, MediaTime)> {
            let of = |frame: Arc<Frame>| (frame.rendition, frame.importance, frame.captured);
            std::iter::from_fn(|| self.queue.try_recv().ok()).map(of).collect()
        }
    }

    use Importance::{Disposable, Keyframe, Reference};
    use Rendition::{Main, Sub};

    #[tokio::test]
    async fn it_changes_at_a_keyframe_only_and_no_picture_seems_older_than_the_one_before() {
        let mut scene = Scene::new();
        scene.push(Main, 1, Keyframe, 100);
        scene.push(Sub, 1, Keyframe, 100);
        scene.viewer.serve(Sub);
        scene.push(Main, 2, Reference, 100);
        scene.push(Sub, 2, Reference, 100);
        assert!(scene.viewer.wants_keyframe(Sub) && !scene.viewer.wants_keyframe(Main));
        scene.push(Main, 3, Reference, 100);
        // The second encode of a picture that it has, and of the one before.
        scene.push(Sub, 3, Keyframe, 100);
        scene.push(Sub, 3, Reference, 100);
        scene.push(Main, 4, Keyframe, 100);
        scene.push(Sub, 4, Reference, 100);
        assert!(!scene.viewer.wants_keyframe(Sub));
        let taken = scene.taken();
        let kinds: Vec<_> =
            taken.iter().map(|(rendition, importance, _)| (*rendition, *importance)).collect();
        let wanted = [
            (Main, Keyframe),
            (Main, Reference),
            (Main, Reference),
            (Sub, Keyframe),
            (Sub, Reference),
            (Sub, Reference),
        ];
        assert_eq!(kinds, wanted);
        let stamps: Vec<u32> = taken.iter().map(|(.., captured)| captured.rtp(90_000)).collect();
        assert!(stamps.windows(2).all(|two| two[0] < two[1]), "{stamps:?}");
        assert_eq!(taken[5].2, MediaTime(TICKS * 4), "the true time, when it can be");
    }

    #[tokio::test]
    async fn a_keyframe_of_the_other_encode_is_nothing_to_it() {
        let mut scene = Scene::new();
        scene.push(Sub, 1, Keyframe, 100);
        assert!(scene.taken().is_empty() && scene.viewer.wants_keyframe(Main));
        scene.push(Main, 1, Keyframe, 100);
        scene.push(Sub, 2, Keyframe, 100);
        scene.push(Main, 2, Reference, 100);
        assert_eq!(scene.taken().len(), 2);
    }

    #[tokio::test]
    async fn a_network_that_bears_a_third_gets_keyframes_at_a_cadence_with_what_fits_behind_them() {
        let (mut slow, mut fast) = (Scene::new(), Scene::new());
        slow.viewer.counters.estimate_bps.store(1_000_000, Ordering::Relaxed);
        fast.viewer.counters.estimate_bps.store(5_000_000, Ordering::Relaxed);
        let (mut is_wanted, mut keyframes, mut got, mut latest, mut longest) = (true, 0, 0, 1, 0);
        for n in 1..=600 {
            let importance = if std::mem::take(&mut is_wanted) { Keyframe } else { Reference };
            let bytes = if importance == Keyframe { 30_000 } else { 12_500 };
            keyframes += u32::from(importance == Keyframe);
            for scene in [&mut slow, &mut fast] {
                scene.push(Main, n, importance, bytes);
            }
            let taken = slow.taken();
            got += taken.len();
            if !taken.is_empty() {
                longest = longest.max(n - latest);
                latest = n;
            }
            assert_eq!(fast.taken().len(), 1, "picture {n}");
            is_wanted = slow.viewer.wants_keyframe(Main) | fast.viewer.wants_keyframe(Main);
        }
        assert!((38..=50).contains(&keyframes), "{keyframes} in 20 s");
        assert!(got as u32 > keyframes * 2 && longest <= 13, "{got} pictures, {longest} missing at most");
    }

    #[tokio::test]
    async fn what_nothing_refers_to_is_left_out_without_a_keyframe() {
        let mut scene = Scene::new();
        scene.push(Main, 1, Keyframe, 100);
        for n in 2..=20 {
            let importance = if n % 2 == 0 { Reference } else { Disposable };
            scene.push(Main, n, importance, 100);
        }
        assert!(!scene.viewer.wants_keyframe(Main));
        let taken = scene.taken();
        assert_eq!(taken.iter().filter(|picture| picture.1 == Reference).count(), 10);
        assert!(taken.len() < 20);
        scene.push(Main, 21, Disposable, 100);
        assert_eq!(scene.taken().len(), 1, "there is room again");
    }
}

//! Each picture and each piece of sound to every viewer: packetized once, sent by one task per viewer.
//!
//! ```text
//! access unit ─► payloads (once) ─┬─► queue ─► task: number, stamp, pace ─► peer connection
//!                                 └─► queue ─► task ...
//! ```
//!
//! Capture never waits for a viewer. A viewer whose network takes less than the camera gives has a full
//! queue, loses pictures up to a keyframe, alone, and asks for that keyframe only once its queue is
//! empty, so that it does not cost the others their picture quality again and again. Numbers are
//! given after this, by the task: what was dropped here leaves no gap, and nobody asks to have it repeated.
//!
//! A viewer that joins is sent nothing before a keyframe. From a source that cannot make one when asked,
//! the pictures since the last keyframe are kept and sent to it first: all of them, so that what it
//! shows is whole and current. Only the keyframe would be a stale picture, then a broken one. From any
//! other, it is sent these as long as they are few, and a keyframe is asked for when they are not kept.

mod counters;
mod history;
mod pace;
mod padding;
mod send;
mod sound_clock;
mod viewer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::packetizer::Payloader;
use tokio::sync::mpsc;

use super::peer::Peer;
use crate::engine::h264::AccessUnit;
use crate::engine::pcm::OpusPacket;
use crate::engine::queue::{Backlog, Keeps, MAX_CATCH_UP_FRAMES, Progress};
use crate::engine::rendition::Rendition;
use crate::engine::thinning::Importance;
use crate::units::{MediaTime, PeerId};
use counters::Counters;
use send::Feed;
use sound_clock::SoundClock;
use viewer::Viewer;

/// The longest payload. 1,200 bytes is what WebRTC takes a path to carry; of these the RTP header takes
/// 12, our extensions with the library's up to 28 and SRTP's tag 16 (RFC 7714 §14.2).
const MAX_PAYLOAD_BYTES: usize = 1200 - 12 - 28 - 16;
/// Sound that waits for one viewer, half a second; with more the newest is dropped.
const MAX_QUEUED_SOUND: usize = 25;
/// What a viewer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sends {
    /// The picture.
    pub video: bool,
    /// The sound.
    pub audio: bool,
}

/// What has left for one viewer so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Whole pictures handed to the network.
    pub frames_sent: u64,
    /// Pictures left out because the viewer's network was too slow, or waited for a keyframe.
    pub frames_dropped: u64,
    /// Sound packets handed to the network.
    pub sound_sent: u64,
    /// RTP packets of all kinds.
    pub packets: u64,
    /// Their length, without UDP's and IP's headers.
    pub bytes: u64,
    /// From capture to the last packet's departure, of the newest picture.
    pub latest_delay: Duration,
    /// Packets sent once more because the viewer asked for them (RFC 4588).
    pub repaired: u64,
    /// Bytes sent to find out what the network carries, and nothing else.
    pub padding_bytes: u64,
    /// Packets that the viewer has not received, by its reports (RFC 3550 §6.4.1).
    pub lost: u64,
    /// Requests for a keyframe (PLI or FIR).
    pub keyframes_asked: u64,
    /// What the network to the viewer is thought to carry.
    pub estimate_bps: u32,
    /// The newest round trip; `None`: not known yet.
    pub round_trip: Option<Duration>,
}

/// 20 ms of sound with its timestamp.
#[derive(Clone, Debug)]
struct Sound {
    data: Bytes,
    timestamp: u32,
    captured: MediaTime,
    era: u64,
}

/// A picture in packets.
#[derive(Debug)]
struct Frame {
    payloads: Vec<Bytes>,
    captured: MediaTime,
    importance: Importance,
    rendition: Rendition,
    era: u64,
}

/// Everyone who is sent media, and what they need when they join.
#[derive(Debug)]
pub struct Fanout {
    viewers: BTreeMap<PeerId, Viewer>,
    /// They remember parameter sets, so each encode has its own.
    payloaders: [H264Payloader; 2],
    backlog: Backlog<Arc<Frame>>,
    /// The source has given a picture since it was started.
    has_begun: bool,
    sound_clock: SoundClock,
    frames_sent_to_gone: u64,
    /// Counts [`Fanout::withhold`]; the viewers' tasks throw away what is of an era before it.
    era: Arc<AtomicU64>,
}

impl Fanout {
    /// With no viewers, and a source that makes keyframes when asked until [`Fanout::started`] says otherwise.
    pub fn new() -> Self {
        Fanout {
            viewers: BTreeMap::new(),
            payloaders: Default::default(),
            backlog: Backlog::new(Keeps::Few),
            has_begun: false,
            sound_clock: SoundClock::default(),
            frames_sent_to_gone: 0,
            era: Arc::default(),
        }
    }

    /// Sends media to a peer that is connected, of what its answer took and `rights` allow. A peer that is
    /// there already starts anew with these rights. Returns whether a keyframe is wanted for it.
    #[must_use = "the source must be asked for the keyframe"]
    pub fn add(&mut self, peer: &Peer, rights: Sends) -> bool {
        self.remove(peer.id());
        // As long as a queue ever is; how much of it is used is decided by `Progress`.
        let (video_in, video_out) = mpsc::channel(MAX_CATCH_UP_FRAMES);
        // Full: the newest sound is dropped.
        let (audio_in, audio_out) = mpsc::channel(MAX_QUEUED_SOUND);
        let counters = Arc::new(Counters::default());
        let feed = Feed::new(peer, rights, counters.clone(), self.era.clone());
        let (sends, most_bps) = (feed.sends(), feed.most_bps());
        let queues = (sends.video.then_some(video_in), sends.audio.then_some(audio_in));
        let mut viewer = Viewer::new(queues, counters, most_bps, feed.spawn(video_out, audio_out));
        viewer.is_silent = peer.is_silent();
        viewer.catch_up(&self.backlog);
        let wants_keyframe = viewer.wants_keyframe(Rendition::Main);
        self.viewers.insert(peer.id(), viewer);
        wants_keyframe
    }

    /// Whether who joins now would have to ask for a keyframe. A source that has not begun begins with one.
    pub fn lacks_a_beginning(&self) -> bool {
        self.has_begun && self.backlog.frames().is_empty()
    }

    /// Sends nothing more to this peer.
    pub fn remove(&mut self, id: PeerId) {
        if let Some(viewer) = self.viewers.remove(&id) {
            viewer.task.abort();
            self.frames_sent_to_gone += viewer.counters.read().frames_sent;
        }
    }

    /// Sends this encode to a viewer, from its next keyframe on. Returns whether that is to be asked for.
    #[must_use = "the source must be asked for the keyframe"]
    pub fn serve(&mut self, id: PeerId, rendition: Rendition) -> bool {
        let Some(viewer) = self.viewers.get_mut(&id) else { return false };
        viewer.serve(rendition);
        viewer.wants_keyframe(rendition)
    }

    /// The encode that a viewer gets or is about to get.
    pub fn rendition(&self, id: PeerId) -> Rendition {
        self.viewers.get(&id).map_or(Rendition::Main, Viewer::rendition)
    }

    /// A picture for everyone who is served this encode. Returns whether somebody cannot go on without a
    /// keyframe of it; it is said again with each picture until the keyframe comes.
    #[must_use = "the source must be asked for the keyframe"]
    pub fn video(&mut self, rendition: Rendition, unit: &AccessUnit) -> bool {
        let payloader = &mut self.payloaders[rendition as usize];
        let payloads = match payloader.payload(MAX_PAYLOAD_BYTES, &unit.data) {
            Ok(payloads) if !payloads.is_empty() => payloads,
            // Nothing but delimiters and filler: no picture.
            _ => return false,
        };
        let (captured, era) = (unit.captured, self.era.load(Ordering::Relaxed));
        let importance = importance(unit, &payloads);
        let frame = Arc::new(Frame { payloads, captured, importance, rendition, era });
        if rendition == Rendition::Main {
            let bytes = frame.payloads.iter().map(Bytes::len).sum();
            self.backlog.push(frame.clone(), unit.is_keyframe, bytes);
            self.has_begun = true;
        }
        let mut is_keyframe_wanted = false;
        for viewer in self.viewers.values_mut() {
            viewer.push(&frame);
            is_keyframe_wanted |= viewer.wants_keyframe(rendition);
        }
        is_keyframe_wanted
    }

    /// 20 ms of sound for everyone.
    pub fn audio(&mut self, packet: &OpusPacket) {
        let timestamp = self.sound_clock.timestamp(packet.captured);
        let (captured, era) = (packet.captured, self.era.load(Ordering::Relaxed));
        let sound = Sound { data: packet.data.clone(), timestamp, captured, era };
        let hearing = self.viewers.values().filter(|viewer| !viewer.is_silent());
        for audio in hearing.filter_map(|viewer| viewer.audio.as_ref()) {
            // A full queue loses it: half a second old sound is of less use than silence.
            let _ = audio.try_send(sound.clone());
        }
    }

    /// The source starts, or starts again: what it sends refers to nothing before, so everyone waits for
    /// its first keyframe.
    pub fn started(&mut self, forces_keyframes: bool) {
        self.backlog = Backlog::new(if forces_keyframes { Keeps::Few } else { Keeps::All });
        self.has_begun = false;
        self.payloaders = Default::default();
        for viewer in self.viewers.values_mut() {
            viewer.progress = Progress::AwaitsKeyframe;
        }
    }

    /// Nothing that was handed over so far leaves any more, not even what waits for a slow viewer or is kept
    /// for one who joins. What comes after this does.
    pub fn withhold(&mut self) {
        self.era.fetch_add(1, Ordering::Relaxed);
        self.backlog.clear();
        for viewer in self.viewers.values_mut() {
            viewer.progress = Progress::AwaitsKeyframe;
        }
    }

    /// What is sent to anybody.
    pub fn sends(&self) -> Sends {
        Sends {
            video: self.viewers.values().any(|viewer| viewer.video.is_some()),
            audio: self.viewers.values().any(|viewer| viewer.audio.is_some()),
        }
    }

    /// Whether something waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.viewers.values().any(Viewer::has_unsent)
    }

    /// What one viewer was sent.
    pub fn traffic(&self, id: PeerId) -> Option<Traffic> {
        self.viewers.get(&id).map(|viewer| viewer.counters.read())
    }

    /// Pictures sent to all viewers since the start, those who have left included.
    pub fn frames_sent(&self) -> u64 {
        let now: u64 = self.viewers.values().map(|viewer| viewer.counters.read().frames_sent).sum();
        self.frames_sent_to_gone + now
    }
}

impl Default for Fanout {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        for viewer in self.viewers.values() {
            viewer.task.abort();
        }
    }
}

/// The first byte of every RTP payload has `nal_ref_idc`, or the highest of those that it carries (RFC 6184 §5.3,
/// §5.7.1, §5.8).
fn importance(unit: &AccessUnit, payloads: &[Bytes]) -> Importance {
    const NAL_REF_IDC: u8 = 0x60;
    let is_disposable = |payload: &Bytes| payload.first().is_some_and(|first| first & NAL_REF_IDC == 0);
    match unit.is_keyframe {
        true => Importance::Keyframe,
        false if payloads.iter().all(is_disposable) => Importance::Disposable,
        false => Importance::Reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::queue::MAX_QUEUED_FRAMES;

    fn unit(is_keyframe: bool) -> AccessUnit {
        let slice = if is_keyframe { 0x65 } else { 0x41 };
        let data = Bytes::copy_from_slice(&[0, 0, 0, 1, slice, 1, 2, 3]);
        AccessUnit { data, is_keyframe, captured: MediaTime::default() }
    }

    /// A fan-out with one viewer whose network takes nothing until the test takes it from the queue.
    fn with_viewer(capacity: usize) -> (Fanout, mpsc::Receiver<Arc<Frame>>) {
        let (video, queue) = mpsc::channel(capacity);
        let counters = Arc::new(Counters::default());
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let viewer = Viewer::new((Some(video), None), counters, f64::MAX, task);
        let mut fanout = Fanout::new();
        fanout.viewers.insert(PeerId(1), viewer);
        (fanout, queue)
    }

    fn taken(queue: &mut mpsc::Receiver<Arc<Frame>>) -> Vec<bool> {
        std::iter::from_fn(|| queue.try_recv().ok())
            .map(|frame| frame.importance == Importance::Keyframe)
            .collect()
    }

    #[tokio::test]
    async fn slow_viewer_loses_pictures_up_to_a_keyframe_and_asks_for_it_once_its_queue_is_empty() {
        let (mut fanout, mut queue) = with_viewer(400);
        assert!(!fanout.video(Rendition::Main, &unit(true)));
        for _ in 1..MAX_QUEUED_FRAMES {
            assert!(!fanout.video(Rendition::Main, &unit(false)));
        }
        for _ in 0..3 {
            assert!(
                !fanout.video(Rendition::Main, &unit(false)),
                "a keyframe would be of no use while the queue is full"
            );
        }
        assert_eq!(taken(&mut queue).len(), MAX_QUEUED_FRAMES);
        assert!(fanout.video(Rendition::Main, &unit(false)), "now it would");
        assert!(taken(&mut queue).is_empty(), "but this is none");
        assert!(!fanout.video(Rendition::Main, &unit(true)));
        assert!(!fanout.video(Rendition::Main, &unit(false)));
        assert_eq!(taken(&mut queue), [true, false]);
        assert_eq!(fanout.traffic(PeerId(1)).map(|traffic| traffic.frames_dropped), Some(4));
    }

    #[tokio::test]
    async fn viewer_that_is_not_heard_is_sent_nothing_until_it_is_and_begins_with_a_keyframe() {
        let (mut fanout, mut queue) = with_viewer(400);
        let is_silent = fanout.viewers[&PeerId(1)].is_silent.clone();
        assert!(!fanout.video(Rendition::Main, &unit(true)));
        is_silent.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            assert!(!fanout.video(Rendition::Main, &unit(false)), "nor does it cost others a keyframe");
        }
        assert_eq!(taken(&mut queue), [true]);
        is_silent.store(false, Ordering::Relaxed);
        assert!(fanout.video(Rendition::Main, &unit(false)));
        assert!(!fanout.video(Rendition::Main, &unit(true)));
        assert_eq!(taken(&mut queue), [true]);
    }

    #[tokio::test]
    async fn viewer_whose_task_has_ended_costs_nobody_keyframes() {
        let (mut fanout, queue) = with_viewer(400);
        drop(queue);
        assert!((0..3).all(|_| !fanout.video(Rendition::Main, &unit(false))));
    }

    #[tokio::test]
    async fn restarted_source_makes_everyone_wait_for_a_keyframe() {
        let (mut fanout, mut queue) = with_viewer(400);
        assert!(!fanout.video(Rendition::Main, &unit(true)));
        fanout.started(true);
        assert!(
            fanout.video(Rendition::Main, &unit(false)),
            "it refers to pictures that this viewer does not have"
        );
        assert_eq!(taken(&mut queue), [true]);
    }

    #[tokio::test]
    async fn what_is_withheld_is_neither_sent_to_a_slow_viewer_nor_kept_for_one_who_joins() {
        let (mut fanout, mut queue) = with_viewer(400);
        fanout.started(false);
        assert!(!fanout.video(Rendition::Main, &unit(true)));
        assert!(!fanout.video(Rendition::Main, &unit(false)));
        assert!(fanout.has_unsent());
        fanout.withhold();
        assert!(fanout.backlog.frames().is_empty());
        let now = fanout.era.load(Ordering::Relaxed);
        let eras: Vec<u64> = std::iter::from_fn(|| queue.try_recv().ok()).map(|frame| frame.era).collect();
        assert!(eras.len() == 2 && eras.iter().all(|era| *era != now), "{eras:?}");
        assert!(
            fanout.video(Rendition::Main, &unit(false)),
            "it refers to pictures that this viewer did not get"
        );
        assert!(!fanout.video(Rendition::Main, &unit(true)));
        let after = queue.try_recv().expect("the keyframe");
        assert!(after.importance == Importance::Keyframe && after.era == now);
    }

    #[test]
    fn delimiters_alone_are_no_picture() {
        let mut fanout = Fanout::new();
        let data = Bytes::from_static(&[0, 0, 0, 1, 9, 0xf0]);
        assert!(!fanout.video(
            Rendition::Main,
            &AccessUnit { data, is_keyframe: false, captured: MediaTime::default() }
        ));
    }
}

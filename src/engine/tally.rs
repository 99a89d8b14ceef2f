//! What is counted of each viewer, and what do the counts mean?
//!
//! The shell reads its counters about once a second and hands them over; here they become rates, the state
//! that a viewer's network is in, and sums that outlive a session. Nothing here is sent to the broker.
//!
//! | file | question |
//! |---|---|
//! | `report` | what is told of the daemon, for programs |
//! | `table` | how does a person read it |
//! | `metrics` | how does Prometheus read it |
//! | `trouble` | when is a network in trouble, and when not any more |

mod metrics;
mod report;
mod table;
mod trouble;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::units::{Bitrate, PeerId};

pub use metrics::metrics;
pub use report::{
    BoardReport, BrokerReport, CameraReport, End, PathReport, ProcessReport, Report, SoundReport, Source,
    ViewerReport, ViewerState, as_many_as_fit,
};
pub use table::{table, words_for_time};
use trouble::Troubles;
pub use trouble::{News, Trouble};

/// Rates are those of the last so many seconds: short enough to show a change, long enough to hold some
/// pictures of a slow camera.
const WINDOW: Duration = Duration::from_secs(5);
/// Readings closer together than this say little of a rate, and are no step of the window.
const STEP: Duration = Duration::from_millis(500);

/// Everything that was counted for one viewer since it was first sent media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whole pictures handed to the network.
    pub frames_sent: u64,
    /// Pictures left out because the network was too slow, or while a keyframe was waited for.
    pub frames_dropped: u64,
    /// Sound packets handed to the network.
    pub sound_sent: u64,
    /// RTP packets of all kinds.
    pub packets: u64,
    /// Their length, without UDP's and IP's headers.
    pub bytes: u64,
    /// Of these, what only found out what the network carries.
    pub padding_bytes: u64,
    /// Packets that did not arrive, by the viewer's reports.
    pub lost: u64,
    /// Packets sent once more because the viewer asked for them.
    pub repaired: u64,
    /// Requests for a keyframe.
    pub keyframes_asked: u64,
}

impl Counts {
    fn each(&self, other: &Counts, of: impl Fn(u64, u64) -> u64) -> Counts {
        Counts {
            frames_sent: of(self.frames_sent, other.frames_sent),
            frames_dropped: of(self.frames_dropped, other.frames_dropped),
            sound_sent: of(self.sound_sent, other.sound_sent),
            packets: of(self.packets, other.packets),
            bytes: of(self.bytes, other.bytes),
            padding_bytes: of(self.padding_bytes, other.padding_bytes),
            lost: of(self.lost, other.lost),
            repaired: of(self.repaired, other.repaired),
            keyframes_asked: of(self.keyframes_asked, other.keyframes_asked),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Counts) -> Counts {
        self.each(other, u64::saturating_add)
    }

    /// What came on top of `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Counts) -> Counts {
        self.each(earlier, u64::saturating_sub)
    }
}

/// One reading of a viewer's counters and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What only rises.
    pub counts: Counts,
    /// What the network is thought to carry.
    pub estimate: Option<Bitrate>,
    /// The newest round trip.
    pub round_trip: Option<Duration>,
    /// From capture to the last packet's departure, of the newest picture.
    pub delay: Duration,
}

/// What kind of candidate an end of a path is (RFC 8445 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateKind {
    /// An address of the machine itself.
    Host,
    /// What a STUN server saw.
    Srflx,
    /// What the other side saw.
    Prflx,
    /// At a TURN server.
    Relay,
}

impl CandidateKind {
    /// The word of the standard.
    pub const fn name(self) -> &'static str {
        match self {
            CandidateKind::Host => "host",
            CandidateKind::Srflx => "srflx",
            CandidateKind::Prflx => "prflx",
            CandidateKind::Relay => "relay",
        }
    }
}

/// The candidate pair that carries a viewer's media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The board's address.
    pub local: SocketAddr,
    /// What kind of candidate that is.
    pub local_kind: CandidateKind,
    /// The viewer's.
    pub remote: SocketAddr,
    /// What kind of candidate that is.
    pub remote_kind: CandidateKind,
    /// Where the board's own TURN server relays, if the path leads through it.
    pub relay: Option<SocketAddr>,
}

impl Pair {
    /// The pair in a word: it is relayed when either side is, and else as direct as its less direct end.
    pub fn kind(&self) -> CandidateKind {
        let is = |kind| self.local_kind == kind || self.remote_kind == kind;
        [CandidateKind::Relay, CandidateKind::Srflx, CandidateKind::Prflx]
            .into_iter()
            .find(|&kind| is(kind))
            .unwrap_or(CandidateKind::Host)
    }
}

/// How much of something there is in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Everything that was sent, without UDP's and IP's headers.
    pub bps: u64,
    /// Whole pictures.
    pub frames_per_s: f64,
    /// Of the packets sent, how many did not arrive, 0 to 1.
    pub lost_share: f64,
}

/// A viewer that is being sent media.
#[derive(Clone, Debug)]
pub struct Watching {
    /// Whose key it is.
    pub name: String,
    /// When it was first sent media.
    pub joined: Instant,
    /// By which way.
    pub path: Option<Pair>,
    /// The newest reading.
    pub latest: Reading,
    window: VecDeque<(Instant, Counts)>,
    troubles: Troubles,
}

/// A viewer that has left, for the log.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Its last reading; the counts are those of its whole visit.
    pub latest: Reading,
    /// The last path that it was reached by.
    pub path: Option<Pair>,
}

/// Keeps what is counted.
#[derive(Debug, Default)]
pub struct Tally {
    viewers: BTreeMap<PeerId, Watching>,
    /// What viewers had who are gone, by name. Names are those of paired keys, so they are few.
    gone: BTreeMap<String, Counts>,
    news: VecDeque<News>,
}

impl Tally {
    /// A viewer is sent media from now on. One that is here already goes on.
    pub fn joined(&mut self, now: Instant, peer: PeerId, name: &str) {
        self.viewers.entry(peer).or_insert_with(|| Watching {
            name: name.to_owned(),
            joined: now,
            path: None,
            latest: Reading::default(),
            window: VecDeque::from([(now, Counts::default())]),
            troubles: Troubles::default(),
        });
    }

    /// Takes a reading of a viewer's counters as they are since [`joined`](Self::joined).
    pub fn read(&mut self, now: Instant, peer: PeerId, reading: Reading) {
        let Some(viewer) = self.viewers.get_mut(&peer) else { return };
        // By RFC 3550 §6.4.1 a late packet takes a loss back; a counter that falls would be a restart to
        // whoever draws it.
        let counts = reading.counts.each(&viewer.latest.counts, u64::max);
        viewer.latest = Reading { counts, ..reading };
        if viewer.window.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            viewer.window.push_back((now, counts));
            while viewer.window.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
                viewer.window.pop_front();
            }
            viewer.judge(now, peer, &mut self.news);
        }
    }

    /// The path that a viewer is reached by; while it cannot be told, the last one stands.
    pub fn reached(&mut self, peer: PeerId, path: Option<Pair>) {
        if let (Some(viewer), Some(path)) = (self.viewers.get_mut(&peer), path) {
            viewer.path = Some(path);
        }
    }

    /// Whether a viewer is heard, by ICE's consent checks.
    pub fn heard(&mut self, now: Instant, peer: PeerId, is_heard: bool) {
        if let Some(viewer) = self.viewers.get_mut(&peer) {
            let (name, latest) = (&viewer.name, &viewer.latest);
            let change = viewer.troubles.set(now, Trouble::Silent, !is_heard);
            self.news.extend(change.map(|lasted| News::of(peer, name, Trouble::Silent, lasted, latest)));
        }
    }

    /// A viewer has left.
    pub fn left(&mut self, peer: PeerId) -> Option<Left> {
        let viewer = self.viewers.remove(&peer)?;
        let gone = self.gone.entry(viewer.name).or_default();
        *gone = gone.plus(&viewer.latest.counts);
        Some(Left { latest: viewer.latest, path: viewer.path })
    }

    /// What of a viewer's network has changed, once.
    pub fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// One viewer.
    pub fn viewer(&self, peer: PeerId) -> Option<&Watching> {
        self.viewers.get(&peer)
    }

    /// Everybody who is sent media.
    pub fn viewers(&self) -> impl Iterator<Item = (PeerId, &Watching)> {
        self.viewers.iter().map(|(&peer, viewer)| (peer, viewer))
    }

    /// Everything that was counted for viewers of that name since the start, by name.
    pub fn totals(&self) -> BTreeMap<String, Counts> {
        let mut totals = self.gone.clone();
        for viewer in self.viewers.values() {
            let sum = totals.entry(viewer.name.clone()).or_default();
            *sum = sum.plus(&viewer.latest.counts);
        }
        totals
    }
}

impl Watching {
    /// The rates of the last seconds.
    pub fn rates(&self) -> Rates {
        let (Some((first_at, first)), Some((last_at, last))) = (self.window.front(), self.window.back())
        else {
            return Rates::default();
        };
        let seconds = last_at.saturating_duration_since(*first_at).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        let new = last.since(first);
        Rates {
            // Whole bits a second; what a link carries fits a u64 many times over.
            bps: (new.bytes as f64 * 8.0 / seconds) as u64,
            frames_per_s: new.frames_sent as f64 / seconds,
            lost_share: (new.lost as f64 / new.packets.max(1) as f64).min(1.0),
        }
    }

    /// What its network is in.
    pub fn troubles(&self) -> impl Iterator<Item = Trouble> {
        self.troubles.now()
    }

    fn judge(&mut self, now: Instant, peer: PeerId, news: &mut VecDeque<News>) {
        let (Some((_, first)), Some((_, last))) = (self.window.front(), self.window.back()) else { return };
        let new = last.since(first);
        for trouble in [Trouble::Thinned, Trouble::Lossy] {
            let Some(is_in) = trouble.is_in(&new, self.troubles.has(trouble)) else { continue };
            let change = self.troubles.set(now, trouble, is_in);
            news.extend(change.map(|lasted| News::of(peer, &self.name, trouble, lasted, &self.latest)));
        }
    }
}

/// How much of something that only rises there is in a second.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    window: VecDeque<(Instant, f64)>,
}

impl Gauge {
    /// Takes a reading.
    pub fn read(&mut self, now: Instant, total: f64) {
        if self.window.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            self.window.push_back((now, total));
            while self.window.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
                self.window.pop_front();
            }
        }
    }

    /// Forgets what was before: something begins here that should not be spread over the time before it.
    pub fn begin(&mut self, now: Instant, total: f64) {
        self.window.clear();
        self.read(now, total);
    }

    /// In a second, over the last seconds.
    pub fn per_second(&self) -> f64 {
        match (self.window.front(), self.window.back()) {
            (Some((from, less)), Some((to, more))) if to > from => {
                (more - less).max(0.0) / to.saturating_duration_since(*from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests;

//! What is told of the running daemon, as programs read it?
//!
//! The JSON of `farol status --json` and, in parts, of the control channel; `docs/statistics.md` lists it.
//! Units stand in the names. A reader finds missing fields as zero, so that command and daemon may be of
//! two versions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CandidateKind, Pair, Trouble, Watching};
use crate::engine::rights::Rights;

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The board and its daemon.
    #[serde(flatten)]
    pub board: BoardReport,
    /// Everybody who watches or is about to.
    pub viewers: Vec<ViewerReport>,
}

/// What is told of the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoardReport {
    /// The camera's name.
    pub name: String,
    /// The daemon's version.
    pub version: String,
    /// The commit that it was built from, if that is known.
    pub commit: Option<String>,
    /// What may be left out of a build and is in this one, with spaces between.
    pub features: String,
    /// The device's id.
    pub device: String,
    /// How long the daemon runs.
    pub uptime_s: u64,
    /// Camera and microphone are switched off at the board.
    pub private: bool,
    /// How many are sent media.
    pub watching: usize,
    /// How many may be.
    pub max_viewers: usize,
    /// Messages that were refused since the start.
    pub refused: u64,
    /// The broker.
    pub broker: BrokerReport,
    /// The picture.
    pub camera: CameraReport,
    /// The sound; `None`: there is to be none.
    pub sound: Option<SoundReport>,
    /// The daemon's own process.
    pub process: ProcessReport,
}

/// The MQTT broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerReport {
    /// Where it is, without the user.
    pub url: String,
    /// Whether we are connected to it.
    pub connected: bool,
    /// Since when that is so.
    pub since_s: u64,
    /// How often we have connected.
    pub connects: u64,
}

/// How a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Nobody needs it.
    #[default]
    Resting,
    /// It delivers.
    Running,
    /// It is missing or failed, and tried again.
    Lost,
    /// It is switched off at the board.
    Private,
}

impl Source {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Resting => "resting",
            Source::Running => "running",
            Source::Lost => "lost",
            Source::Private => "private",
        }
    }
}

/// The picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CameraReport {
    /// How it is.
    pub state: Source,
    /// Why it is lost.
    pub reason: Option<String>,
    /// What the configuration names.
    pub source: String,
    /// Device, driver and encoder, as last opened.
    pub detail: String,
    /// Pixels; 0 before it was opened.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second, as the source says.
    pub fps: u32,
    /// Frames per second that came in the last seconds.
    pub frames_per_s: f64,
    /// What the encoder makes of them, in the last seconds.
    pub bps: u64,
    /// What the encoder is set to.
    pub target_bps: u64,
    /// What it is set to when every network carries it.
    pub ceiling_bps: u64,
    /// Pictures since the start.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Pictures that came to nobody: before a first keyframe, or because the daemon was too busy.
    pub frames_dropped: u64,
}

/// The sound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SoundReport {
    /// How it is.
    pub state: Source,
    /// Why it is lost.
    pub reason: Option<String>,
    /// Device, rate and channels, as last opened.
    pub detail: String,
    /// What Opus makes of it, in the last seconds.
    pub bps: u64,
    /// Packets since the start.
    pub packets: u64,
}

/// The daemon's own process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessReport {
    /// Memory that is held (resident set).
    pub memory_bytes: u64,
    /// Processor time since the start.
    pub cpu_s: f64,
    /// Of one processor, in the last seconds.
    pub cpu_percent: f64,
}

/// Where a viewer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewerState {
    /// It has answered, and a path to it is looked for.
    #[default]
    Connecting,
    /// It is sent media.
    Streaming,
    /// It is sent media and has not been heard for some seconds.
    Silent,
}

impl ViewerState {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            ViewerState::Connecting => "connecting",
            ViewerState::Streaming => "streaming",
            ViewerState::Silent => "silent",
        }
    }
}

/// One end of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What kind of candidate it is.
    pub kind: CandidateKind,
    /// Address and port.
    pub address: String,
}

/// The way that media takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// The pair in a word.
    pub kind: CandidateKind,
    /// The board's end.
    pub local: End,
    /// The viewer's end.
    pub remote: End,
    /// Where the board's TURN server relays, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

impl From<&Pair> for PathReport {
    fn from(pair: &Pair) -> Self {
        let end = |kind, address: std::net::SocketAddr| End { kind, address: address.to_string() };
        PathReport {
            kind: pair.kind(),
            local: end(pair.local_kind, pair.local),
            remote: end(pair.remote_kind, pair.remote),
            relay: pair.relay.map(|relay| relay.to_string()),
        }
    }
}

/// One viewer's connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewerReport {
    /// Whose key it is; `somebody` where signalling is open.
    pub name: String,
    /// The key's id, or `open`.
    pub slot: String,
    /// Where it stands.
    pub state: ViewerState,
    /// For how long it is sent media, or is being connected.
    pub since_s: u64,
    /// What it may do, of what it asked for.
    pub rights: Rights,
    /// Which way its media takes, once that is known.
    pub path: Option<PathReport>,
    /// What its network is thought to carry.
    pub estimate_bps: Option<u64>,
    /// What it was sent in the last seconds: RTP packets, without UDP's and IP's headers.
    pub sent_bps: u64,
    /// Whole pictures a second, in the last seconds.
    pub frames_per_s: f64,
    /// Round trip.
    pub round_trip_ms: Option<f64>,
    /// From capture to the last packet's departure, of the newest picture.
    pub delay_ms: f64,
    /// Whole pictures sent.
    pub frames_sent: u64,
    /// Pictures left out.
    pub frames_dropped: u64,
    /// Sound packets sent.
    pub sound_packets: u64,
    /// RTP packets sent.
    pub packets: u64,
    /// Their length, without UDP's and IP's headers.
    pub bytes: u64,
    /// Of these, what only found out what the network carries.
    pub padding_bytes: u64,
    /// Packets that did not arrive, by its reports.
    pub lost: u64,
    /// Of the packets of the last seconds, how many did not arrive.
    pub lost_percent: f64,
    /// Packets sent once more.
    pub repaired: u64,
    /// Keyframes that it asked for.
    pub keyframes_asked: u64,
    /// Whether it is heard at the board's speaker now.
    pub talks: bool,
    /// What its network is in: some of `silent`, `thinned`, `lossy`.
    pub troubles: BTreeSet<Trouble>,
}

impl ViewerReport {
    /// Of a viewer that is sent media; slot, rights and talking are the caller's to add.
    pub fn of(viewer: &Watching, now: Instant) -> ViewerReport {
        let (rates, latest) = (viewer.rates(), &viewer.latest);
        let counts = &latest.counts;
        let troubles: BTreeSet<Trouble> = viewer.troubles().collect();
        let is_silent = troubles.contains(&Trouble::Silent);
        ViewerReport {
            name: viewer.name.clone(),
            state: if is_silent { ViewerState::Silent } else { ViewerState::Streaming },
            since_s: now.saturating_duration_since(viewer.joined).as_secs(),
            path: viewer.path.as_ref().map(PathReport::from),
            estimate_bps: latest.estimate.map(|bitrate| bitrate.bps().into()),
            sent_bps: rates.bps,
            frames_per_s: tenths(rates.frames_per_s),
            round_trip_ms: latest.round_trip.map(milliseconds),
            delay_ms: milliseconds(latest.delay),
            frames_sent: counts.frames_sent,
            frames_dropped: counts.frames_dropped,
            sound_packets: counts.sound_sent,
            packets: counts.packets,
            bytes: counts.bytes,
            padding_bytes: counts.padding_bytes,
            lost: counts.lost,
            lost_percent: tenths(rates.lost_share * 100.0),
            repaired: counts.repaired,
            keyframes_asked: counts.keyframes_asked,
            troubles,
            ..ViewerReport::default()
        }
    }

    /// As another viewer sees it who may see all: without addresses, key and rights, which are not its
    /// business, and without what would make the list too long.
    fn for_others(&self) -> Value {
        json!({
            "name": self.name, "state": self.state, "since_s": self.since_s,
            "path": self.path.as_ref().map(|path| path.kind),
            "estimate_bps": self.estimate_bps, "sent_bps": self.sent_bps, "frames_per_s": self.frames_per_s,
            "round_trip_ms": self.round_trip_ms, "frames_dropped": self.frames_dropped,
            "lost": self.lost, "repaired": self.repaired, "talks": self.talks, "troubles": self.troubles,
        })
    }
}

/// What a viewer is told who may know of everybody: as many of the viewers as `write`'s text has room for
/// within `limit_bytes`, and of how many more there are.
pub fn as_many_as_fit(
    report: &Report,
    limit_bytes: usize,
    write: impl Fn(&Value, &[Value], usize) -> String,
) -> String {
    let camera = &report.board.camera;
    let board = json!({
        "uptime_s": report.board.uptime_s, "watching": report.board.watching,
        "max_viewers": report.board.max_viewers, "memory_bytes": report.board.process.memory_bytes,
        "cpu_percent": report.board.process.cpu_percent,
        "camera": {
            "state": camera.state, "width": camera.width, "height": camera.height,
            "frames_per_s": camera.frames_per_s, "bps": camera.bps, "target_bps": camera.target_bps,
            "frames_dropped": camera.frames_dropped,
        },
    });
    let viewers: Vec<Value> = report.viewers.iter().map(ViewerReport::for_others).collect();
    let mut shown = viewers.len();
    loop {
        let text = write(&board, &viewers[..shown], viewers.len() - shown);
        if text.len() <= limit_bytes || shown == 0 {
            return text;
        }
        // A viewer takes over 200 bytes and less than 1 KiB, so this ends soon and does not overshoot by much.
        shown -= ((text.len() - limit_bytes) / 1024).clamp(1, shown);
    }
}

/// More digits would be noise.
pub(super) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn milliseconds(duration: Duration) -> f64 {
    tenths(duration.as_secs_f64() * 1000.0)
}

//! What is counted while the loop runs, and who is told?
//!
//! About once a second the counters of fan-out, capture and process are read into the core's
//! [`Tally`]; whoever asks, on this board or over a control channel with the right to it, is told from there.
//! Nothing of it goes to the broker.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::config::{Audio, Config};
use crate::engine::control::{LIMIT_TEXT_BYTES, MicrophoneState, Reply};
use crate::engine::h264::AccessUnit;
use crate::engine::station::{Story, Visit};
use crate::engine::tally::{
    BoardReport, BrokerReport, CameraReport, Counts, Gauge, ProcessReport, Reading, Report, SoundReport,
    Source, Tally, ViewerReport, as_many_as_fit, metrics,
};
use crate::io::capture::Format;
use crate::io::fanout::Traffic;
use crate::io::status::{self, Asked, Form};
use crate::units::{Bitrate, DeviceId, PeerId};
use crate::version;

use super::{Camera, Daemon, story};

/// What is counted, and the questions that are asked of it.
pub(super) struct Statistics {
    tally: Tally,
    started: Instant,
    /// What does not change: names, limits, what the configuration says. The rest is filled in when asked.
    board: BoardReport,
    broker_since: Instant,
    rates: Rates,
    sound_bytes: u64,
    camera_bytes: u64,
    asked: mpsc::Receiver<Asked>,
    ask: mpsc::Sender<Asked>,
}

/// What of the whole is told per second.
#[derive(Default)]
struct Rates {
    frames: Gauge,
    camera_bytes: Gauge,
    sound_bytes: Gauge,
    cpu_s: Gauge,
}

impl Statistics {
    /// What the configuration says of the board.
    pub(super) fn of_config(config: &Config, device: DeviceId) -> BoardReport {
        let ceiling_bps = config.video.bitrate.bps().into();
        BoardReport {
            name: config.name.clone(),
            version: version::VERSION.to_owned(),
            commit: version::COMMIT.map(str::to_owned),
            features: version::FEATURES.to_owned(),
            device: device.to_string(),
            max_viewers: config.max_viewers,
            broker: BrokerReport { url: config.broker.to_string(), ..BrokerReport::default() },
            camera: CameraReport {
                source: config.video.source.to_string(),
                target_bps: ceiling_bps,
                ceiling_bps,
                ..CameraReport::default()
            },
            sound: (config.audio != Audio::None).then(SoundReport::default),
            ..BoardReport::default()
        }
    }

    /// From [`of_config`](Self::of_config).
    pub(super) fn new(now: Instant, board: BoardReport) -> Statistics {
        let (ask, asked) = status::questions();
        Statistics {
            tally: Tally::default(),
            started: now,
            board,
            broker_since: now,
            rates: Rates::default(),
            sound_bytes: 0,
            camera_bytes: 0,
            asked,
            ask,
        }
    }

    /// Opens the doors at which people and programs on this board ask: the socket of `farol status`, and
    /// `/metrics` where it is configured. Without the socket everything else works, so that is a warning.
    ///
    /// # Errors
    ///
    /// The metrics' address cannot be listened on.
    pub(super) async fn open_doors(
        &self,
        state_dir: &Path,
        metrics: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let runtime_dir = std::env::var("RUNTIME_DIRECTORY").ok();
        let path = status::socket_path(runtime_dir.as_deref(), state_dir);
        match status::Listener::bind(path) {
            Ok(listener) => {
                tokio::spawn(listener.serve(self.ask.clone()));
            }
            Err(cause) => log::warn!(cause:%; "`farol status` has nobody to ask here"),
        }
        let Some(address) = metrics else { return Ok(()) };
        let listener = status::bind_metrics(address).await?;
        let (address, ask) = (listener.local_addr()?, self.ask.clone());
        log::info!(address:%; "metrics served");
        tokio::spawn(async move {
            if let Err(cause) = status::serve_metrics(listener, ask).await {
                log::error!(cause:%; "metrics are not served any more; restart farol");
            }
        });
        Ok(())
    }

    /// The next question. There is always somebody who could ask.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        self.asked.recv().await
    }

    /// A picture of the camera.
    pub(super) fn picture(&mut self, unit: &AccessUnit) {
        self.board.camera.frames += 1;
        self.board.camera.keyframes += u64::from(unit.is_keyframe);
        self.camera_bytes += unit.data.len() as u64;
    }

    /// The camera delivers this.
    pub(super) fn camera_started(&mut self, now: Instant, format: &Format) {
        self.rates.frames.begin(now, self.board.camera.frames as f64);
        self.rates.camera_bytes.begin(now, self.camera_bytes as f64);
        let camera = &mut self.board.camera;
        (camera.width, camera.height, camera.fps) = (format.width, format.height, format.fps);
        camera.detail.clone_from(&format.detail);
    }

    /// The encoder is set to this.
    pub(super) fn target(&mut self, bitrate: Bitrate) {
        self.board.camera.target_bps = bitrate.bps().into();
    }

    /// A packet of sound.
    pub(super) fn sound_packet(&mut self, bytes: usize) {
        if let Some(sound) = &mut self.board.sound {
            sound.packets += 1;
        }
        self.sound_bytes += bytes as u64;
    }

    /// The microphone delivers (`Ok`), or is lost for this reason.
    pub(super) fn sound(&mut self, now: Instant, state: Result<&str, &str>) {
        self.rates.sound_bytes.begin(now, self.sound_bytes as f64);
        let Some(sound) = &mut self.board.sound else { return };
        match state {
            Ok(detail) => (sound.detail, sound.reason) = (detail.to_owned(), None),
            Err(reason) => sound.reason = Some(reason.to_owned()),
        }
    }

    /// The broker is reached, or lost. Trying in vain again is no news.
    pub(super) fn broker(&mut self, now: Instant, is_connected: bool) {
        let broker = &mut self.board.broker;
        if broker.connected != is_connected {
            (broker.connected, self.broker_since) = (is_connected, now);
        }
        broker.connects += u64::from(is_connected);
    }

    /// Whether a viewer is heard, by ICE.
    pub(super) fn heard(&mut self, now: Instant, peer: PeerId, is_heard: bool) {
        self.tally.heard(now, peer, is_heard);
    }
}

impl Daemon {
    /// Reads all counters, and tells of networks that are in trouble, or not any more.
    pub(super) fn count(&mut self, now: Instant) {
        let present: Vec<PeerId> = self.statistics.tally.viewers().map(|(peer, _)| peer).collect();
        for peer in present {
            self.count_viewer(now, peer);
            let path = self.peers.get(peer).and_then(|peer| peer.path());
            self.statistics.tally.reached(peer, path);
        }
        let statistics = &mut self.statistics;
        // Sums of bytes stay far below 2^53, up to which a float is exact.
        statistics.rates.frames.read(now, statistics.board.camera.frames as f64);
        statistics.rates.camera_bytes.read(now, statistics.camera_bytes as f64);
        statistics.rates.sound_bytes.read(now, statistics.sound_bytes as f64);
        statistics.rates.cpu_s.read(now, status::usage().cpu.as_secs_f64());
        while let Some(news) = statistics.tally.next_news() {
            story::tell_trouble(&news);
        }
    }

    /// Reads one viewer's counters; also the last time, before they are gone.
    pub(super) fn count_viewer(&mut self, now: Instant, peer: PeerId) {
        if let Some(traffic) = self.fanout.traffic(peer) {
            self.statistics.tally.read(now, peer, reading(&traffic));
        }
    }

    /// Tells a story, with what was counted of a viewer that leaves.
    pub(super) fn tell(&mut self, now: Instant, story: &Story) {
        match story {
            Story::ViewerJoined { peer, viewer, .. } => {
                self.statistics.tally.joined(now, *peer, viewer);
                let path = self.peers.get(*peer).and_then(|peer| peer.path());
                self.statistics.tally.reached(*peer, path);
                story::tell(story, None);
            }
            Story::ViewerLeft { peer, .. } => {
                let left = peer.and_then(|peer| self.statistics.tally.left(peer));
                story::tell(story, left.as_ref());
            }
            _ => story::tell(story, None),
        }
    }

    /// Answers somebody on this board.
    pub(super) fn answer(&mut self, now: Instant, asked: Asked) {
        self.count(now);
        let report = self.report(now);
        let text = match asked.form {
            Form::Metrics => metrics(&report, &self.statistics.tally.totals()),
            // A report is plain data: writing it cannot fail.
            Form::Report => serde_json::to_string(&report).unwrap_or_default(),
        };
        // Who asked may have gone meanwhile.
        let _ = asked.answer.send(text);
    }

    /// Answers a viewer: of itself, or of everybody.
    pub(super) fn statistics_for(&mut self, now: Instant, peer: PeerId, id: u64, of_all: bool) -> Reply {
        self.count(now);
        let visit = self.station.visits().find(|visit| visit.peer == peer);
        let own = visit.map(|visit| self.viewer_report(now, &visit)).unwrap_or_default();
        if !of_all {
            return Reply::statistics(id, &own, None);
        }
        let report = self.report(now);
        let write = |board: &_, viewers: &[_], more| {
            Reply::statistics(id, &own, Some((board, viewers, more))).into_text()
        };
        Reply::written(as_many_as_fit(&report, LIMIT_TEXT_BYTES, write))
    }

    fn report(&self, now: Instant) -> Report {
        let mut visits: Vec<Visit> = self.station.visits().collect();
        // The longest first, and those who are only coming last.
        visits.sort_by_key(|visit| (!visit.is_streaming, visit.since));
        let viewers = visits.iter().map(|visit| self.viewer_report(now, visit)).collect();
        Report { board: self.board_report(now), viewers }
    }

    fn viewer_report(&self, now: Instant, visit: &Visit) -> ViewerReport {
        let counted = match self.statistics.tally.viewer(visit.peer) {
            Some(viewer) if visit.is_streaming => ViewerReport::of(viewer, now),
            _ => ViewerReport {
                since_s: now.saturating_duration_since(visit.since).as_secs(),
                path: self.peers.get(visit.peer).and_then(|peer| peer.path()).as_ref().map(Into::into),
                ..ViewerReport::default()
            },
        };
        ViewerReport {
            name: visit.viewer.clone(),
            slot: visit.slot.to_string(),
            rights: visit.rights,
            talks: self.talk.is_heard(visit.peer),
            ..counted
        }
    }

    fn board_report(&self, now: Instant) -> BoardReport {
        let Statistics { board, rates, started, broker_since, .. } = &self.statistics;
        let usage = status::usage();
        let since = |at: &Instant| now.saturating_duration_since(*at).as_secs();
        BoardReport {
            uptime_s: since(started),
            private: self.pins.is_private(),
            watching: self.station.watching(),
            refused: self.station.refusals().values().sum(),
            broker: BrokerReport { since_s: since(broker_since), ..board.broker.clone() },
            camera: self.camera_report(),
            sound: self.sound_report(),
            process: ProcessReport {
                memory_bytes: usage.memory_bytes,
                cpu_s: usage.cpu.as_secs_f64(),
                cpu_percent: tenths(rates.cpu_s.per_second() * 100.0),
            },
            ..board.clone()
        }
    }

    fn camera_report(&self) -> CameraReport {
        let Statistics { board, rates, .. } = &self.statistics;
        let (state, reason) = match &self.camera {
            _ if self.pins.is_private() => (Source::Private, None),
            Camera::Resting => (Source::Resting, None),
            Camera::Running => (Source::Running, None),
            Camera::Lost(reason) => (Source::Lost, Some(reason.clone())),
        };
        CameraReport {
            state,
            reason,
            frames_per_s: tenths(rates.frames.per_second()),
            bps: (rates.camera_bytes.per_second() * 8.0) as u64,
            frames_dropped: self.capture.dropped(),
            ..board.camera.clone()
        }
    }

    fn sound_report(&self) -> Option<SoundReport> {
        let Statistics { board, rates, .. } = &self.statistics;
        let state = match self.control.microphone {
            _ if self.pins.is_private() => Source::Private,
            MicrophoneState::Lost => Source::Lost,
            _ if self.is_heard => Source::Running,
            _ => Source::Resting,
        };
        let sound = board.sound.clone()?;
        Some(SoundReport { state, bps: (rates.sound_bytes.per_second() * 8.0) as u64, ..sound })
    }
}

/// The fan-out's counters as the core has them.
fn reading(traffic: &Traffic) -> Reading {
    let counts = Counts {
        frames_sent: traffic.frames_sent,
        frames_dropped: traffic.frames_dropped,
        sound_sent: traffic.sound_sent,
        packets: traffic.packets,
        bytes: traffic.bytes,
        padding_bytes: traffic.padding_bytes,
        lost: traffic.lost,
        repaired: traffic.repaired,
        keyframes_asked: traffic.keyframes_asked,
    };
    Reading {
        counts,
        estimate: (traffic.estimate_bps > 0).then(|| Bitrate::from_bps(traffic.estimate_bps)),
        round_trip: traffic.round_trip,
        delay: traffic.latest_delay,
    }
}

/// More digits would be noise.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

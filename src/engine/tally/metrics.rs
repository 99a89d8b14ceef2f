//! How does Prometheus read what is counted?
//!
//! The text format of OpenMetrics 1.0, which Prometheus asks for since 2.5. The only label of a viewer is its
//! name: neither addresses nor keys leave by this way. Two sessions of one name are one series, and what a
//! viewer had in sessions that are over stays in its counters, so that they never fall.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::Counts;
use super::report::{Report, Source, ViewerReport, ViewerState};

/// Everything, in the order in which it is read.
pub fn metrics(report: &Report, totals: &BTreeMap<String, Counts>) -> String {
    let mut page = Page::default();
    of_board(&mut page, report);
    of_viewers(&mut page, report, totals);
    page.0.push_str("# EOF\n");
    page.0
}

fn of_board(page: &mut Page, report: &Report) {
    let board = &report.board;
    page.family("farol_build", "info", None, "The build of farol that runs.");
    let commit = board.commit.as_deref().unwrap_or_default();
    page.sample(
        "farol_build_info",
        &[("version", &board.version), ("commit", commit), ("features", &board.features)],
        1,
    );
    page.gauge("farol_uptime_seconds", Some("seconds"), "Since the daemon was started.", board.uptime_s);
    page.gauge(
        "farol_memory_bytes",
        Some("bytes"),
        "Memory that the daemon holds (resident set).",
        board.process.memory_bytes,
    );
    page.counter("farol_cpu_seconds", Some("seconds"), "Processor time of the daemon.", board.process.cpu_s);
    page.gauge(
        "farol_private",
        None,
        "1 while camera and microphone are switched off at the board.",
        u8::from(board.private),
    );
    page.gauge(
        "farol_broker_connected",
        None,
        "1 while the MQTT broker is reached.",
        u8::from(board.broker.connected),
    );
    page.counter("farol_broker_connects", None, "Times that the broker was reached.", board.broker.connects);
    page.counter(
        "farol_refused_messages",
        None,
        "Messages on the broker that were not what they should be.",
        board.refused,
    );
    page.gauge("farol_viewers", None, "Viewers that are sent media.", board.watching);
    page.gauge("farol_viewers_limit", None, "Viewers that may be sent media at once.", board.max_viewers);
    of_sources(page, report);
}

fn of_sources(page: &mut Page, report: &Report) {
    let camera = &report.board.camera;
    let is_running = u8::from(camera.state == Source::Running);
    page.gauge("farol_camera_running", None, "1 while the camera delivers.", is_running);
    page.gauge(
        "farol_camera_lost",
        None,
        "1 while the camera is missing or failed.",
        u8::from(camera.state == Source::Lost),
    );
    page.counter("farol_camera_frames", None, "Pictures of the camera.", camera.frames);
    page.counter("farol_camera_keyframes", None, "Keyframes among them.", camera.keyframes);
    page.counter(
        "farol_camera_dropped_frames",
        None,
        "Pictures that came to nobody: before a first keyframe, or because the daemon was too busy.",
        camera.frames_dropped,
    );
    page.gauge(
        "farol_encoder_bits_per_second",
        Some("bits_per_second"),
        "What the encoder makes, over the last seconds.",
        camera.bps,
    );
    page.gauge(
        "farol_encoder_target_bits_per_second",
        Some("bits_per_second"),
        "What the encoder is set to.",
        camera.target_bps,
    );
    if let Some(sound) = &report.board.sound {
        page.gauge(
            "farol_sound_running",
            None,
            "1 while the microphone delivers.",
            u8::from(sound.state == Source::Running),
        );
        page.counter("farol_sound_packets", None, "Opus packets of 20 ms.", sound.packets);
    }
}

fn of_viewers(page: &mut Page, report: &Report, totals: &BTreeMap<String, Counts>) {
    for (name, unit, help, of) in COUNTERS {
        page.family(name, "counter", *unit, help);
        for (viewer, counts) in totals {
            page.sample(&format!("{name}_total"), &[("viewer", viewer)], of(counts));
        }
    }
    let mut present: BTreeMap<&str, Vec<&ViewerReport>> = BTreeMap::new();
    for viewer in report.viewers.iter().filter(|viewer| viewer.state != ViewerState::Connecting) {
        present.entry(&viewer.name).or_default().push(viewer);
    }
    for (name, unit, help, of) in GAUGES {
        page.family(name, "gauge", *unit, help);
        for (viewer, sessions) in &present {
            if let Some(value) = of(sessions) {
                page.sample(name, &[("viewer", viewer)], value);
            }
        }
    }
}

/// Name, unit, help, and which of the counts it is.
type Counter = (&'static str, Option<&'static str>, &'static str, fn(&Counts) -> u64);

const COUNTERS: &[Counter] = &[
    (
        "farol_viewer_sent_bytes",
        Some("bytes"),
        "RTP packets' length, without UDP's and IP's headers.",
        |counts| counts.bytes,
    ),
    (
        "farol_viewer_padding_bytes",
        Some("bytes"),
        "Bytes of these that only found out what the network carries.",
        |counts| counts.padding_bytes,
    ),
    ("farol_viewer_sent_packets", None, "RTP packets sent.", |counts| counts.packets),
    ("farol_viewer_lost_packets", None, "Packets that did not arrive, by the viewer's reports.", |counts| {
        counts.lost
    }),
    ("farol_viewer_repaired_packets", None, "Packets sent once more.", |counts| counts.repaired),
    ("farol_viewer_sent_frames", None, "Whole pictures sent.", |counts| counts.frames_sent),
    (
        "farol_viewer_dropped_frames",
        None,
        "Pictures left out because the network was too slow, or before a keyframe.",
        |counts| counts.frames_dropped,
    ),
    ("farol_viewer_sound_packets", None, "Sound packets sent.", |counts| counts.sound_sent),
    ("farol_viewer_keyframe_requests", None, "Keyframes asked for (PLI and FIR).", |counts| {
        counts.keyframes_asked
    }),
];

/// Name, unit, help, and what it is of a name's sessions.
type GaugeOf = (&'static str, Option<&'static str>, &'static str, fn(&[&ViewerReport]) -> Option<f64>);

const GAUGES: &[GaugeOf] = &[
    ("farol_viewer_sessions", None, "Sessions that are sent media.", |sessions| Some(sessions.len() as f64)),
    (
        "farol_viewer_estimate_bits_per_second",
        Some("bits_per_second"),
        "What the network is thought to carry; of several sessions, the narrowest.",
        |sessions| sessions.iter().filter_map(|one| one.estimate_bps).min().map(|bps| bps as f64),
    ),
    (
        "farol_viewer_round_trip_seconds",
        Some("seconds"),
        "The newest round trip; of several sessions, the longest.",
        |sessions| sessions.iter().filter_map(|one| one.round_trip_ms).reduce(f64::max).map(|ms| ms / 1000.0),
    ),
    ("farol_viewer_troubled", None, "1 while its network is silent, thinned or lossy.", |sessions| {
        Some(f64::from(u8::from(sessions.iter().any(|one| !one.troubles.is_empty()))))
    }),
    ("farol_viewer_talking", None, "1 while it is heard at the board's speaker.", |sessions| {
        Some(f64::from(u8::from(sessions.iter().any(|one| one.talks))))
    }),
];

/// The text so far. Writing into a text cannot fail.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        let _ = match labels.as_slice() {
            [] => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn gauge(&mut self, name: &str, unit: Option<&str>, help: &str, value: impl Display) {
        self.family(name, "gauge", unit, help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, unit: Option<&str>, help: &str, value: impl Display) {
        self.family(name, "counter", unit, help);
        self.sample(&format!("{name}_total"), &[], value);
    }
}

/// A label's value: OpenMetrics has three escapes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}

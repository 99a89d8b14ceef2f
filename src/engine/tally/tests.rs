#![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

use super::*;
use openmetrics::Metrics;

#[path = "../../../tests/common/openmetrics.rs"]
mod openmetrics;

const PEER: PeerId = PeerId(7);

/// A viewer whose counters a test moves on, second by second.
struct Scene {
    tally: Tally,
    now: Instant,
    start: Instant,
    counts: Counts,
}

impl Scene {
    fn new() -> Scene {
        let (now, mut tally) = (Instant::now(), Tally::default());
        tally.joined(now, PEER, "Ana");
        Scene { tally, now, start: now, counts: Counts::default() }
    }

    /// So many seconds of 30 pictures, of which `dropped` are left out, and 100 packets, of which `lost` are.
    fn seconds(&mut self, seconds: u64, dropped: u64, lost: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            let new = Counts {
                frames_sent: 30 - dropped,
                frames_dropped: dropped,
                packets: 100,
                bytes: 100_000,
                padding_bytes: 25_000,
                lost,
                ..Counts::default()
            };
            self.counts = self.counts.plus(&new);
            self.read();
        }
    }

    fn read(&mut self) {
        let round_trip = Some(Duration::from_micros(12_340));
        let reading = Reading { counts: self.counts, round_trip, ..Reading::default() };
        self.tally.read(self.now, PEER, reading);
    }

    fn viewer(&self) -> &Watching {
        self.tally.viewer(PEER).expect("it watches")
    }

    /// What began (`true`) and ended since the last call.
    fn news(&mut self) -> Vec<(Trouble, bool)> {
        let news = std::iter::from_fn(|| self.tally.next_news());
        news.map(|news| (news.trouble, news.lasted.is_none())).collect()
    }
}

#[test]
fn rates_are_those_of_the_last_seconds_however_often_they_are_read() {
    let mut scene = Scene::new();
    assert_eq!(scene.viewer().rates(), Rates::default());
    scene.seconds(3, 0, 0);
    let expected = Rates { bps: 800_000, frames_per_s: 30.0, lost_share: 0.0 };
    assert_eq!(scene.viewer().rates(), expected);
    for _ in 0..50 {
        scene.now += Duration::from_millis(1);
        scene.read();
    }
    assert_eq!(scene.viewer().rates(), expected, "a reading too close to the last is no step");
    // Half the pictures from here on: after the window nothing of what was before is left.
    scene.seconds(6, 15, 0);
    assert_eq!(scene.viewer().rates().frames_per_s, 15.0);
}

#[test]
fn a_count_never_falls_not_even_when_a_viewer_comes_again() {
    let mut scene = Scene::new();
    scene.seconds(4, 0, 2);
    scene.counts.lost -= 3;
    scene.read();
    assert_eq!(scene.viewer().latest.counts.lost, 8, "a late packet takes a loss back, the sum does not");
    // A session of the same name comes, and the first goes: the name keeps both.
    scene.tally.joined(scene.now, PeerId(8), "Ana");
    let left = scene.tally.left(PEER).expect("it was here");
    assert_eq!(left.latest.counts.packets, 400);
    let more = Reading { counts: Counts { packets: 11, ..Counts::default() }, ..Reading::default() };
    scene.tally.read(scene.now + Duration::from_secs(1), PeerId(8), more);
    assert_eq!(scene.tally.totals()["Ana"].packets, 411);
    assert!(scene.tally.left(PEER).is_none());
}

#[test]
fn a_narrow_network_is_told_of_once_when_it_begins_and_once_when_it_is_over() {
    let mut scene = Scene::new();
    scene.seconds(2, 15, 0);
    scene.seconds(7, 0, 0);
    assert_eq!(scene.news(), [], "a viewer that waits for a keyframe is in no trouble");
    scene.seconds(20, 10, 0);
    assert_eq!(scene.news(), [(Trouble::Thinned, true)]);
    scene.seconds(4, 0, 0);
    scene.seconds(1, 1, 0);
    assert_eq!(scene.news(), [], "one more picture, and it is not over");
    scene.seconds(6, 0, 0);
    let news = scene.tally.next_news().expect("it is over");
    assert_eq!((news.trouble, news.viewer.as_str(), news.peer), (Trouble::Thinned, "Ana", PEER));
    // From the third second of it until the last picture left out is as old as the window.
    assert_eq!(news.lasted, Some(Duration::from_secs(18 + 4 + 5)));
    assert_eq!(news.reading.counts.frames_dropped, 231);
    assert_eq!(scene.viewer().troubles().count(), 0);
}

#[test]
fn a_lossy_network_at_the_edge_is_not_told_of_again_and_again() {
    let mut scene = Scene::new();
    scene.seconds(10, 0, 3);
    assert_eq!(scene.news(), [], "3% are repaired unseen");
    scene.seconds(10, 0, 8);
    assert_eq!(scene.news(), [(Trouble::Lossy, true)]);
    for _ in 0..10 {
        scene.seconds(3, 0, 2);
        scene.seconds(3, 0, 7);
    }
    assert_eq!(scene.news(), []);
    scene.seconds(6, 0, 0);
    assert_eq!(scene.news(), [(Trouble::Lossy, false)]);
}

#[test]
fn silence_is_told_when_ice_says_so() {
    let mut scene = Scene::new();
    scene.tally.heard(scene.now, PEER, true);
    assert_eq!(scene.news(), []);
    for _ in 0..2 {
        scene.tally.heard(scene.now, PEER, false);
    }
    assert_eq!(scene.news(), [(Trouble::Silent, true)]);
    assert_eq!(ViewerReport::of(scene.viewer(), scene.now).state, ViewerState::Silent);
    scene.tally.heard(scene.now, PEER, true);
    assert_eq!(scene.news(), [(Trouble::Silent, false)]);
    scene.tally.heard(scene.now, PeerId(99), false);
    assert_eq!(scene.news(), [], "of a stranger nothing is told");
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn pair(local: CandidateKind, remote: CandidateKind, relay: Option<&str>) -> Pair {
    Pair {
        local: address("192.0.2.1:50000"),
        local_kind: local,
        remote: address("198.51.100.7:61234"),
        remote_kind: remote,
        relay: relay.map(address),
    }
}

#[test]
fn a_path_is_as_direct_as_its_less_direct_end() {
    use CandidateKind::{Host, Prflx, Relay, Srflx};
    for (local, remote, kind) in [
        (Host, Host, Host),
        (Host, Prflx, Prflx),
        (Srflx, Host, Srflx),
        (Srflx, Relay, Relay),
        (Relay, Prflx, Relay),
    ] {
        assert_eq!(pair(local, remote, None).kind(), kind);
    }
}

/// A board with two viewers, of whom one has all that can be had and the other is only just coming.
fn report() -> (Report, Tally) {
    let mut scene = Scene::new();
    let relay = Some("203.0.113.9:49152");
    scene.tally.reached(PEER, Some(pair(CandidateKind::Relay, CandidateKind::Prflx, relay)));
    scene.tally.reached(PEER, None);
    scene.seconds(90, 0, 0);
    scene.seconds(10, 10, 6);
    assert_eq!(scene.now - scene.start, Duration::from_secs(100));
    let mut ana = ViewerReport::of(scene.viewer(), scene.now);
    ana.talks = true;
    let coming = ViewerReport { name: "Rui \"the\\tall\"".to_owned(), since_s: 2, ..ViewerReport::default() };
    let camera = CameraReport {
        state: Source::Running,
        source: "/dev/video0".to_owned(),
        detail: "/dev/video0, encoded by /dev/video11".to_owned(),
        width: 1280,
        height: 720,
        fps: 30,
        frames_per_s: 29.9,
        bps: 1_930_000,
        target_bps: 2_000_000,
        ceiling_bps: 2_500_000,
        frames: 54_321,
        keyframes: 912,
        reason: None,
        frames_dropped: 3,
    };
    let board = BoardReport {
        name: "Doorstep".to_owned(),
        version: "0.1.0".to_owned(),
        uptime_s: 183_900,
        watching: 1,
        max_viewers: 8,
        broker: BrokerReport {
            url: "mqtt://broker.lan:1883".to_owned(),
            connected: true,
            since_s: 4_000,
            connects: 2,
        },
        camera,
        sound: Some(SoundReport { state: Source::Resting, ..SoundReport::default() }),
        process: ProcessReport { memory_bytes: 21_400_000, cpu_s: 70.25, cpu_percent: 4.2 },
        ..BoardReport::default()
    };
    (Report { board, viewers: vec![ana, coming] }, scene.tally)
}

#[test]
fn a_person_reads_the_whole_at_a_glance() {
    insta::assert_snapshot!(table(&report().0));
}

#[test]
fn a_person_reads_what_is_wrong_and_nothing_that_moves_the_cursor() {
    let (mut report, _) = report();
    report.viewers.clear();
    report.board.camera.state = Source::Lost;
    report.board.camera.reason = Some("open /dev/video0: \u{1b}[2J no such device".to_owned());
    report.board.broker.connected = false;
    report.board.private = true;
    report.board.sound = None;
    insta::assert_snapshot!(table(&report));
}

#[test]
fn a_program_reads_back_what_was_told() {
    let (report, _) = report();
    let text = serde_json::to_string(&report).expect("it is JSON");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("it is a report"), report);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["viewers"][0]["path"]["kind"], "relay");
    assert_eq!(value["viewers"][0]["path"]["relay"], "203.0.113.9:49152");
    assert_eq!(value["viewers"][0]["round_trip_ms"], 12.3);
    // A daemon of another version may say less, or more.
    let less: Report =
        serde_json::from_str(r#"{"name":"x","later":1,"viewers":[{"name":"y"}]}"#).expect("a report");
    assert_eq!((less.board.name.as_str(), less.viewers[0].name.as_str()), ("x", "y"));
}

#[test]
fn prometheus_reads_what_is_counted_and_no_address() {
    let (report, tally) = report();
    let text = metrics(&report, &tally.totals());
    let read = Metrics::read(&text);
    assert_eq!(read.labels().into_iter().collect::<Vec<_>>(), ["commit", "features", "version", "viewer"]);
    let of_ana = |name| read.value(name, Some(("viewer", "Ana")));
    assert_eq!(of_ana("farol_viewer_sent_packets_total"), Some(10_000.0));
    assert_eq!(of_ana("farol_viewer_dropped_frames_total"), Some(100.0));
    assert_eq!(of_ana("farol_viewer_round_trip_seconds"), Some(0.0123));
    assert_eq!(of_ana("farol_viewer_troubled"), Some(1.0));
    assert_eq!(of_ana("farol_viewer_estimate_bits_per_second"), None, "what is not known is not said");
    assert_eq!(read.value("farol_cpu_seconds_total", None), Some(70.25));
    for secret in ["192.0.2.1", "198.51.100.7", "203.0.113.9"] {
        assert!(!text.contains(secret));
    }
}

#[test]
fn two_sessions_of_one_name_are_one_series() {
    let (mut report, mut tally) = report();
    let again =
        ViewerReport { estimate_bps: Some(900_000), round_trip_ms: Some(3.0), ..report.viewers[0].clone() };
    report.viewers.push(again);
    report.viewers.push(ViewerReport {
        name: "a\n\"b\\".to_owned(),
        state: ViewerState::Streaming,
        ..ViewerReport::default()
    });
    tally.joined(Instant::now(), PeerId(9), "a\n\"b\\");
    let read = Metrics::read(&metrics(&report, &tally.totals()));
    let of_ana = |name| read.value(name, Some(("viewer", "Ana")));
    assert_eq!(of_ana("farol_viewer_sessions"), Some(2.0));
    assert_eq!(of_ana("farol_viewer_round_trip_seconds"), Some(0.0123), "the longest");
    assert_eq!(of_ana("farol_viewer_estimate_bits_per_second"), Some(900_000.0), "the narrowest");
    assert_eq!(read.value("farol_viewer_sessions", Some(("viewer", "a\n\"b\\"))), Some(1.0));
}

#[test]
fn as_many_viewers_are_told_of_as_a_message_holds() {
    let (mut report, _) = report();
    report.viewers = vec![report.viewers[0].clone(); 64];
    let write = |board: &serde_json::Value, viewers: &[serde_json::Value], more: usize| {
        serde_json::json!({ "board": board, "viewers": viewers, "more": more }).to_string()
    };
    let text = as_many_as_fit(&report, 16_384, write);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let (told, more) = (value["viewers"].as_array().expect("a list").len(), value["more"].as_u64());
    assert!(text.len() <= 16_384 && text.len() > 14_000, "{} bytes", text.len());
    assert_eq!(Some(64 - told as u64), more);
    assert!(!text.contains("198.51.100.7") && value["viewers"][0]["path"] == "relay");
    assert_eq!(as_many_as_fit(&report, 10, write), write(&value["board"], &[], 64), "at worst none");
}

#[test]
fn times_are_said_in_their_two_largest_units() {
    let words = [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_660, "1 h 1 min"), (183_900, "2 d 3 h")];
    for (seconds, said) in words {
        assert_eq!(words_for_time(seconds), said);
    }
}

#[test]
fn a_gauge_is_what_came_in_the_last_seconds() {
    let (mut gauge, start) = (Gauge::default(), Instant::now());
    assert_eq!(gauge.per_second(), 0.0);
    for second in 0..10u32 {
        let total = if second < 5 { 0.0 } else { f64::from(second - 5) * 3.0 };
        gauge.read(start + Duration::from_secs(second.into()), total);
    }
    assert_eq!(gauge.per_second(), 12.0 / 5.0);
    // It was at rest for long, and begins.
    gauge.begin(start + Duration::from_secs(60), 12.0);
    gauge.read(start + Duration::from_secs(61), 42.0);
    assert_eq!(gauge.per_second(), 30.0);
}

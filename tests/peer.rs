//! Peer connections and the fan-out against real ones, over loopback and in real time.
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use answerer::{Answerer, nal_types};
use bytes::Bytes;
use farol::config::IcePolicy;
use farol::engine::h264::AccessUnit;
use farol::engine::pcm::OpusPacket;
use farol::engine::rendition::Rendition;
use farol::io::fanout::{Fanout, Sends};
use farol::io::peer::{AnswerFault, Peer, PeerError, PeerEvent, PeerSettings, Say};
use farol::io::port::Port;
use farol::units::{Bitrate, MediaTime, PeerId};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(10);
const FRAME: Duration = Duration::from_nanos(33_333_333);
const ALL: Sends = Sends { video: true, audio: true };

fn settings() -> PeerSettings {
    PeerSettings {
        ice_servers: vec![],
        turn_trust: Arc::default(),
        ice_policy: IcePolicy::All,
        addresses: vec![[127, 0, 0, 1].into()],
        port: Port::open(&[[127, 0, 0, 1].into()], 0..=0).expect("a free port"),
        audio: true,
        talkback: true,
        playout_delay: Duration::ZERO,
        start_bitrate: Bitrate::from_kbps(2000),
        max_bitrate: Bitrate::from_kbps(8000),
    }
}

/// The device's side: peer connections, their events and the fan-out.
struct Device {
    sender: mpsc::Sender<(PeerId, PeerEvent)>,
    events: mpsc::Receiver<(PeerId, PeerEvent)>,
    fanout: Fanout,
    camera: Camera,
}

impl Device {
    fn new() -> Device {
        let (sender, events) = mpsc::channel(64);
        Device { sender, events, fanout: Fanout::new(), camera: Camera::new() }
    }

    async fn offer(&self, id: u64) -> (Peer, String) {
        Peer::offer(PeerId(id), &settings(), self.sender.clone()).await.expect("an offer")
    }

    /// Offers, has it answered, and waits until media can flow.
    async fn connect(&mut self, id: u64) -> (Peer, Answerer) {
        let (peer, offer) = self.offer(id).await;
        let (viewer, answer) = Answerer::answer(&offer).await;
        peer.answer(&answer).await.expect("a good answer");
        self.until("connected", |_, event| *event == PeerEvent::Connected).await;
        viewer.until_connected().await;
        (peer, viewer)
    }

    async fn answer_with_a_strangers_fingerprint(&self, id: u64) -> (Peer, Answerer) {
        let (peer, offer) = self.offer(id).await;
        let (viewer, answer) = Answerer::answer(&offer).await;
        let own = answer.lines().find(|line| line.starts_with("a=fingerprint:")).expect("there is one");
        let strange = format!("a=fingerprint:sha-256 {}", vec!["5A"; 32].join(":"));
        peer.answer(&answer.replace(own, &strange)).await.expect("it is well-formed");
        (peer, viewer)
    }

    /// Films until an event comes that fulfils a condition; what the camera is asked for, it does.
    async fn until(&mut self, what: &str, condition: impl Fn(PeerId, &PeerEvent) -> bool) -> PeerEvent {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                event = self.events.recv() => {
                    let (id, event) = event.expect("the device holds a sender");
                    if condition(id, &event) {
                        return event;
                    }
                }
                () = tokio::time::sleep(FRAME) => self.film(),
                () = tokio::time::sleep_until(give_up) => panic!("waited in vain for {what}"),
            }
        }
    }

    /// Films while something else goes on.
    async fn film_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(FRAME) => self.film(),
            }
        }
    }

    fn film(&mut self) {
        let unit = self.camera.next();
        if self.fanout.video(Rendition::Main, &unit) {
            self.camera.force_keyframe();
        }
        self.fanout
            .audio(&OpusPacket { data: Bytes::from_static(&[0xf8, 0xff, 0xfe]), captured: unit.captured });
    }

    fn add(&mut self, peer: &Peer) {
        if self.fanout.add(peer, ALL) {
            self.camera.force_keyframe();
        }
    }
}

/// The lab camera's recording, as a camera that obeys requests for keyframes.
struct Camera {
    units: Vec<Bytes>,
    at: usize,
}

impl Camera {
    fn new() -> Camera {
        let clip = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/guest/labcam.h264"))
            .expect("the recording");
        let is_delimiter = |window: &[u8]| window[..4] == [0, 0, 0, 1] && window[4] & 0x1f == 9;
        let mut cuts: Vec<usize> =
            (0..clip.len() - 5).filter(|&at| is_delimiter(&clip[at..at + 5])).collect();
        cuts.push(clip.len());
        let units = cuts.windows(2).map(|cut| Bytes::copy_from_slice(&clip[cut[0]..cut[1]])).collect();
        Camera { units, at: 1 }
    }

    fn force_keyframe(&mut self) {
        while !nal_types(&self.units[self.at % self.units.len()]).contains(&5) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> AccessUnit {
        let data = self.units[self.at % self.units.len()].clone();
        self.at += 1;
        let is_keyframe = nal_types(&data).contains(&5);
        AccessUnit { data, is_keyframe, captured: monotonic() }
    }
}

fn monotonic() -> MediaTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    MediaTime(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
}

/// Annex B without delimiters, every start code four bytes long.
fn slices(annex_b: &[u8]) -> Vec<Vec<u8>> {
    let mut starts: Vec<usize> =
        (0..annex_b.len().saturating_sub(2)).filter(|&at| annex_b[at..at + 3] == [0, 0, 1]).collect();
    starts.push(annex_b.len() + 3);
    let body = |cut: &[usize]| {
        let end = (cut[1] - 3).max(cut[0] + 3).min(annex_b.len());
        let unit = &annex_b[cut[0] + 3..end.max(cut[0] + 3)];
        let zeros = unit.iter().rev().take_while(|&&byte| byte == 0).count();
        unit[..unit.len() - zeros].to_vec()
    };
    let units =
        starts.windows(2).map(|cut| body(&[cut[0], cut[1] + if cut[1] > annex_b.len() { 0 } else { 3 }]));
    units.filter(|unit| unit.first().is_some_and(|byte| byte & 0x1f != 9)).collect()
}

/// Which of the two is heard first when both have happened is nobody's promise, so several are tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_told_with_its_round_trip_before_media_can_flow() {
    let mut device = Device::new();
    let mut round_trips = Vec::new();
    for id in 1..=5 {
        let (peer, offer) = device.offer(id).await;
        let (_viewer, answer) = Answerer::answer(&offer).await;
        peer.answer(&answer).await.expect("a good answer");
        let of_this = |told: PeerId, event: &PeerEvent| {
            told == PeerId(id) && matches!(event, PeerEvent::PathFound { .. } | PeerEvent::Connected)
        };
        if let PeerEvent::PathFound { round_trip } = device.until("a path", of_this).await {
            round_trips.push(round_trip);
        }
    }
    assert!(!round_trips.is_empty() && round_trips.iter().all(|time| *time < PATIENCE), "{round_trips:?}");
}

#[tokio::test]
async fn offer_is_answered_and_both_kinds_of_media_arrive_whole() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    device.add(&peer);
    let first_unit = device.camera.at;
    let received = device
        .film_during(viewer.until("media", |now| now.pictures.len() >= 30 && now.sound.len() >= 30))
        .await;
    assert!(received.pictures[0].is_keyframe, "the first picture is a keyframe");
    assert_eq!(received.missing, 0);
    for (n, picture) in received.pictures.iter().enumerate() {
        let sent = &device.camera.units[(first_unit + n) % device.camera.units.len()];
        assert_eq!(slices(&picture.data), slices(sent), "picture {n} differs");
    }
    assert!(received.sound.windows(2).all(|pair| pair[1].0.wrapping_sub(pair[0].0) >= 960));
    assert!(received.first_packet_extensions >= 2, "playout delay and capture time");
    let traffic = device.fanout.traffic(PeerId(1)).expect("it is there");
    assert!(traffic.frames_sent >= 30 && traffic.frames_dropped == 0, "{traffic:?}");
    assert!(traffic.latest_delay < Duration::from_millis(100), "{traffic:?}");
    peer.close().await;
}

#[tokio::test]
async fn offer_is_clean() {
    let device = Device::new();
    let (_peer, offer) = device.offer(1).await;
    for needed in [
        "a=ice-options:trickle",
        "a=rtpmap:102 H264/90000",
        "profile-level-id=42e01f",
        "packetization-mode=1",
        "a=rtpmap:103 rtx/90000",
        "a=fmtp:103 apt=102",
        "a=rtcp-fb:102 goog-remb",
        "a=rtcp-fb:102 ccm fir",
        "a=rtcp-fb:102 nack\r\n",
        "a=rtcp-fb:102 nack pli",
        "a=rtcp-fb:102 transport-cc",
        "a=rtpmap:111 opus/48000/2",
        "a=fingerprint:sha-256 ",
        "playout-delay",
        "abs-capture-time",
        "urn:ietf:params:rtp-hdrext:sdes:mid",
    ] {
        assert!(offer.contains(needed), "{needed} is missing from\n{offer}");
    }
    assert!(offer.find("m=audio").expect("sound") < offer.find("m=video").expect("a picture"));
    assert!(offer.find("m=video") < offer.find("m=application"), "{offer}");
    // One socket on one address: one candidate, in each section.
    let candidates: Vec<&str> = offer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    assert_eq!(candidates.len(), 3, "{candidates:?}");
    assert!(candidates.iter().all(|candidate| *candidate == candidates[0]));
    assert!(offer.len() < 4000, "{} bytes", offer.len());
}

#[tokio::test]
async fn loopback_is_offered_only_when_it_is_asked_for() {
    let device = Device::new();
    let everywhere =
        PeerSettings { addresses: vec![], port: Port::open(&[], 0..=0).expect("a free port"), ..settings() };
    // A machine without any network has nothing to bind; then there is nothing to see here.
    if let Ok((_peer, offer)) = Peer::offer(PeerId(1), &everywhere, device.sender.clone()).await {
        assert!(!offer.contains(" 127.0.0.1 ") && !offer.contains(" ::1 "), "{offer}");
    }
}

#[tokio::test]
async fn trickled_candidates_may_come_before_the_answer() {
    let mut device = Device::new();
    let (peer, offer) = device.offer(1).await;
    // A viewer that knows none of ours cannot help by checking first.
    let blind =
        offer.lines().filter(|line| !line.starts_with("a=candidate:")).collect::<Vec<_>>().join("\r\n");
    let (_viewer, answer, candidates) = Answerer::answer_trickling(&(blind + "\r\n")).await;
    assert!(!answer.contains("a=candidate:") && !candidates.is_empty());
    for candidate in &candidates {
        peer.add_candidate(candidate).await.expect("kept for later");
    }
    peer.answer(&answer).await.expect("a good answer");
    device.until("connected", |_, event| *event == PeerEvent::Connected).await;
}

#[tokio::test]
async fn request_for_a_keyframe_is_told() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    device.add(&peer);
    device.film_during(viewer.until("a picture", |now| !now.pictures.is_empty())).await;
    viewer.ask_for_keyframe().await;
    device.until("the request", |_, event| *event == PeerEvent::KeyframeRequested).await;
}

#[tokio::test]
async fn estimate_follows_the_viewers_feedback() {
    let mut device = Device::new();
    let (peer, _viewer) = device.connect(1).await;
    device.add(&peer);
    let told = device.until("an estimate", |_, event| matches!(event, PeerEvent::Estimate(_))).await;
    let PeerEvent::Estimate(rate) = told else { unreachable!() };
    assert!((1_500..8_001).contains(&rate.kbps()), "{rate:?} over loopback");
}

#[tokio::test]
async fn sound_of_the_viewer_is_noticed() {
    let mut device = Device::new();
    let (_peer, viewer) = device.connect(1).await;
    for n in 0..5 {
        viewer.send_sound(n, Bytes::from_static(&[0xf8, 0xff, 0xfe])).await;
    }
    device.until("sound", |_, event| *event == PeerEvent::SoundArrived).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_s_sound_goes_to_who_is_to_hear_it_and_before_that_to_nobody() {
    let device = &mut Device::new();
    let (peer, offer) = device.offer(1).await;
    let (viewer, answer) = Answerer::answer(&offer).await;
    // As Firefox and others narrow Opus down.
    let narrowed =
        answer.replace("useinbandfec=1", "useinbandfec=1;stereo=0;sprop-stereo=0;maxplaybackrate=16000");
    assert_ne!(narrowed, answer);
    peer.answer(&narrowed).await.expect("a good answer");
    device.until("connected", |_, event| *event == PeerEvent::Connected).await;
    viewer.until_connected().await;
    viewer.send_sound(1, Bytes::from_static(&[0xf8, 0xff, 0xfe])).await;
    device.until("sound", |_, event| *event == PeerEvent::SoundArrived).await;
    let (packets, heard) = std::sync::mpsc::sync_channel(2);
    peer.hear(Some(packets));
    for n in 2..6 {
        viewer.send_sound(n, Bytes::from_static(&[0xf8, 0xff, 0xfe])).await;
    }
    for n in 2..4 {
        let spoken = tokio::task::block_in_place(|| heard.recv_timeout(PATIENCE)).expect("a packet");
        assert_eq!(
            (spoken.peer, spoken.packet.sequence, spoken.packet.timestamp),
            (PeerId(1), n, u32::from(n) * 960)
        );
        assert_eq!(spoken.packet.payload[..], [0xf8, 0xff, 0xfe]);
    }
}

#[tokio::test]
async fn second_viewer_gets_the_same_pictures_from_its_own_keyframe_on() {
    let mut device = Device::new();
    let (first, early) = device.connect(1).await;
    device.add(&first);
    device.film_during(early.until("ten pictures", |now| now.pictures.len() >= 10)).await;
    let (second, late) = device.connect(2).await;
    device.add(&second);
    let received = device.film_during(late.until("ten pictures", |now| now.pictures.len() >= 10)).await;
    assert!(received.pictures[0].is_keyframe);
    let wanted = received.pictures[9].data.clone();
    let has_it = |now: &answerer::Received| now.pictures.iter().any(|picture| picture.data == wanted);
    let both = device.film_during(early.until("the same picture", has_it)).await;
    assert_eq!((both.missing, received.missing), (0, 0));
}

#[tokio::test]
async fn without_keyframes_on_request_a_viewer_gets_everything_since_the_last_one() {
    let mut device = Device::new();
    device.fanout.started(false);
    device.camera.force_keyframe();
    let first_unit = device.camera.at;
    let (peer, viewer) = {
        let (peer, offer) = device.offer(1).await;
        let (viewer, answer) = Answerer::answer(&offer).await;
        // Up to 20 pictures pass before it joins; the recording has a keyframe every 30.
        for _ in 0..20 {
            device.film();
        }
        peer.answer(&answer).await.expect("a good answer");
        while device.events.recv().await.expect("the device holds a sender").1 != PeerEvent::Connected {}
        viewer.until_connected().await;
        (peer, viewer)
    };
    assert!(!device.fanout.add(&peer, ALL), "no keyframe is needed");
    let received = viewer.until("the past", |now| now.pictures.len() >= 20).await;
    for (n, picture) in received.pictures.iter().enumerate() {
        let sent = &device.camera.units[(first_unit + n) % device.camera.units.len()];
        assert_eq!(slices(&picture.data), slices(sent), "picture {n} differs");
    }
    device.film();
    viewer.until("the present", |now| now.pictures.len() >= 21).await;
}

#[tokio::test]
async fn viewer_that_joins_is_sent_nothing_before_a_keyframe() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    assert!(device.fanout.add(&peer, ALL), "a keyframe is wanted");
    let deltas: Vec<AccessUnit> =
        std::iter::repeat_with(|| device.camera.next()).filter(|unit| !unit.is_keyframe).take(10).collect();
    for unit in &deltas {
        assert!(device.fanout.video(Rendition::Main, unit), "it is still wanted");
    }
    device.camera.force_keyframe();
    let keyframe = device.camera.next();
    assert!(!device.fanout.video(Rendition::Main, &keyframe), "now it came");
    let received = viewer.until("a picture", |now| !now.pictures.is_empty()).await;
    assert_eq!(slices(&received.pictures[0].data), slices(&keyframe.data));
    assert_eq!(device.fanout.traffic(PeerId(1)).expect("it is there").frames_dropped, 10);
}

#[tokio::test]
async fn rights_decide_what_is_sent() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    assert!(!device.fanout.add(&peer, Sends { video: false, audio: true }), "no picture, no keyframe");
    let received = device.film_during(viewer.until("sound", |now| now.sound.len() >= 20)).await;
    assert!(received.pictures.is_empty());
    // Given more, it goes on where its sound was, without a number used twice.
    device.add(&peer);
    let heard = received.sound.len();
    let has_more = |now: &answerer::Received| now.pictures.len() >= 5 && now.sound.len() >= heard + 5;
    let received = device.film_during(viewer.until("both", has_more)).await;
    assert_eq!(received.missing, 0);
    device.fanout.remove(PeerId(1));
    let before = viewer.received().pictures.len();
    for _ in 0..10 {
        device.film();
    }
    assert!(viewer.received().pictures.len() <= before + 1);
}

#[tokio::test]
async fn viewer_that_closes_is_noticed_at_once() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    device.add(&peer);
    device.film_during(viewer.until("a picture", |now| !now.pictures.is_empty())).await;
    let closing = Instant::now();
    viewer.close().await;
    device.until("the end", |_, event| *event == PeerEvent::Closed).await;
    assert!(closing.elapsed() < Duration::from_secs(1), "{:?}", closing.elapsed());
}

#[tokio::test]
async fn viewer_that_falls_silent_is_given_up_after_30_s() {
    let mut device = Device::new();
    let (_peer, viewer) = device.connect(1).await;
    let silent = Instant::now();
    viewer.fall_silent();
    let mut seen = Vec::new();
    while let Ok(Some((_, event))) = tokio::time::timeout(Duration::from_secs(40), device.events.recv()).await
    {
        let is_end = event == PeerEvent::Failed;
        seen.push((event, silent.elapsed().as_secs()));
        if is_end {
            break;
        }
    }
    let at = |wanted: PeerEvent| seen.iter().find(|(event, _)| *event == wanted).map(|&(_, at)| at);
    assert!(at(PeerEvent::Disconnected).is_some_and(|at| (4..10).contains(&at)), "{seen:?}");
    assert!(at(PeerEvent::Failed).is_some_and(|at| (27..34).contains(&at)), "{seen:?}");
}

#[tokio::test]
async fn bad_answer_is_refused_and_a_good_one_still_works() {
    let mut device = Device::new();
    let (peer, offer) = device.offer(1).await;
    let (_viewer, good) = Answerer::answer(&offer).await;
    let no_media = good.split("m=audio").next().expect("the session part").to_owned();
    let cases = [
        ("garbage", "\u{0}\u{1}garbage".to_owned(), AnswerFault::NotSdp),
        ("empty", String::new(), AnswerFault::NotSdp),
        ("no media", no_media, AnswerFault::SectionCount { answered: 0, offered: 3 }),
        (
            "broken fingerprint",
            good.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 ZZ:"),
            AnswerFault::Lacks("a=fingerprint"),
        ),
        ("no credentials", good.replace("a=ice-pwd:", "a=ice-nil:"), AnswerFault::Lacks("a=ice-pwd")),
    ];
    for (name, text, fault) in cases {
        match peer.answer(&text).await {
            Err(PeerError::Answer(found)) => assert_eq!(found, fault, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    peer.answer(&good).await.expect("the offer still stands");
    device.until("connected", |_, event| *event == PeerEvent::Connected).await;
}

#[tokio::test]
async fn viewer_with_another_certificate_than_it_said_gets_nothing() {
    let mut device = Device::new();
    let (_peer, viewer) = device.answer_with_a_strangers_fingerprint(1).await;
    // A second is ten times what connecting takes; and the next viewer is not held up.
    let patience = tokio::time::Instant::now() + Duration::from_secs(1);
    while let Ok(Some((_, event))) = tokio::time::timeout_at(patience, device.events.recv()).await {
        assert_ne!(event, PeerEvent::Connected);
    }
    assert!(viewer.received().pictures.is_empty());
    device.connect(2).await;
}

#[tokio::test]
async fn connection_that_never_comes_about_is_given_up() {
    let mut device = Device::new();
    let (_peer, _viewer) = device.answer_with_a_strangers_fingerprint(1).await;
    let start = Instant::now();
    while let Some((_, event)) = device.events.recv().await {
        assert_ne!(event, PeerEvent::Connected);
        if event == PeerEvent::Failed {
            break;
        }
    }
    assert!((29..33).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn damaged_answers_never_break_the_process() {
    let mut device = Device::new();
    let (_, offer) = device.offer(1).await;
    let (_viewer, good) = Answerer::answer(&offer).await;
    let lines: Vec<&str> = good.lines().collect();
    for n in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(n);
        let mut cut = lines.clone();
        cut[n] = &cut[n][..cut[n].len() / 2];
        let mut twice = lines.clone();
        twice.insert(n, lines[n]);
        for damaged in [without, cut, twice] {
            let (peer, _) = device.offer(100 + n as u64).await;
            // Whatever it says, it comes back.
            let _ =
                tokio::time::timeout(PATIENCE, peer.answer(&damaged.join("\r\n"))).await.expect("it returns");
            peer.close().await;
        }
    }
    while device.events.try_recv().is_ok() {}
    device.connect(2).await;
}

#[tokio::test]
async fn unresolvable_and_foreign_candidates_do_no_harm() {
    let mut device = Device::new();
    let (peer, offer) = device.offer(1).await;
    let (_viewer, answer) = Answerer::answer(&offer).await;
    let foreign = "a=candidate:9 1 udp 2113937151 8f6f1f4e-8c5c-4c57-9a6e-6e0f0d2c3b1a.local 50000 typ host\r\n\
        a=candidate:8 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active\r\n\
        a=candidate:7 2 udp 1 127.0.0.1 50001 typ host\r\n\
        a=candidate:6 1 udp x 127.0.0.1 50001 typ nonsense\r\n\
        a=candidate:";
    peer.answer(&answer.replacen("a=candidate:", foreign, 1)).await.expect("the rest is good");
    device.until("connected", |_, event| *event == PeerEvent::Connected).await;
}

#[tokio::test]
async fn rejected_picture_leaves_the_sound() {
    let mut device = Device::new();
    let (peer, offer) = device.offer(1).await;
    let (viewer, answer) = Answerer::answer(&offer).await;
    peer.answer(&answer.replace("m=video 9 ", "m=video 0 ")).await.expect("it takes the sound");
    assert!(peer.video_rejected() && !peer.sound_rejected());
    device.until("connected", |_, event| *event == PeerEvent::Connected).await;
    assert!(!device.fanout.add(&peer, ALL), "no picture, no keyframe");
    device.film_during(viewer.until("sound", |now| now.sound.len() >= 10)).await;
}

#[tokio::test]
async fn rejected_control_channel_leaves_picture_and_sound() {
    let mut device = Device::new();
    let (peer, offer) = device.offer(1).await;
    let (viewer, answer) = Answerer::answer(&offer).await;
    let answer = answer.replace("m=application 9 ", "m=application 0 ").replace("BUNDLE 0 1 2", "BUNDLE 0 1");
    peer.answer(&answer).await.expect("it takes the rest");
    peer.admit_control();
    device.until("connected", |_, event| *event == PeerEvent::Connected).await;
    viewer.until_connected().await;
    device.add(&peer);
    let has_both = |now: &answerer::Received| now.pictures.len() >= 10 && now.sound.len() >= 10;
    device.film_during(viewer.until("media", has_both)).await;
}

#[tokio::test]
async fn control_channel_carries_texts_both_ways_once_it_is_admitted() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    let open = viewer.until("its channel", |now| now.channel.is_some()).await;
    assert_eq!(open.channel.as_deref(), Some(farol::engine::control::LABEL));
    viewer.say("early").await;
    viewer.say("{}").await;
    let patience = tokio::time::Instant::now() + Duration::from_millis(300);
    while let Ok(Some((_, event))) = tokio::time::timeout_at(patience, device.events.recv()).await {
        assert!(!matches!(event, PeerEvent::ControlOpened | PeerEvent::Control { .. }), "not admitted yet");
    }
    peer.admit_control();
    device.until("the channel", |_, event| *event == PeerEvent::ControlOpened).await;
    for text in ["early", "{}"] {
        let said = PeerEvent::Control { is_text: true, data: Bytes::from_static(text.as_bytes()) };
        device.until(text, |_, event| *event == said).await;
    }
    peer.say(Say::Text("news".to_owned()));
    let jpeg: Bytes = (0..40_000u32).map(|n| n as u8).collect();
    peer.say(Say::Still { reply: "first".to_owned(), jpeg: jpeg.clone() });
    peer.say(Say::Still { reply: "second".to_owned(), jpeg: jpeg.slice(..20_000) });
    let received = viewer.until("the stills", |now| now.binaries.len() >= 5).await;
    assert_eq!(received.texts, ["news", "first", "second"]);
    let sizes: Vec<usize> = received.binaries.iter().map(Bytes::len).collect();
    assert_eq!(sizes, [16_384, 16_384, 7_232, 16_384, 3_616]);
    assert_eq!(received.binaries[..3].concat(), jpeg);
}

#[tokio::test]
async fn other_channels_are_closed() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    peer.admit_control();
    viewer.until("its channel", |now| now.channel.is_some()).await;
    let other = viewer.open_channel("farol-control/1").await;
    let closed = async {
        while let Some(event) = other.poll().await {
            if matches!(event, webrtc::data_channel::DataChannelEvent::OnClose) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the device closes it");
    viewer.say("{}").await;
    device.until("what is said on ours", |_, event| matches!(event, PeerEvent::Control { .. })).await;
}

#[tokio::test]
async fn viewer_that_reads_nothing_loses_its_channel_and_keeps_its_picture() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    peer.admit_control();
    device.until("the channel", |_, event| *event == PeerEvent::ControlOpened).await;
    device.add(&peer);
    // What nobody could read so fast: it must neither be kept nor wait.
    for _ in 0..10_000 {
        peer.say(Say::Text("x".repeat(16_000)));
    }
    device.until("its end", |_, event| *event == PeerEvent::ControlClosed).await;
    let before = viewer.received().pictures.len();
    device.film_during(viewer.until("pictures", |now| now.pictures.len() >= before + 10)).await;
    assert!(viewer.received().texts.len() < 200);
}

#[tokio::test]
async fn media_flows_on_after_an_ice_restart() {
    let mut device = Device::new();
    let (peer, viewer) = device.connect(1).await;
    device.add(&peer);
    device.film_during(viewer.until("pictures", |now| now.pictures.len() >= 10)).await;
    let offer = device.film_during(peer.restart()).await.expect("a new offer");
    assert!(offer.contains("a=candidate:"));
    let answer = device.film_during(viewer.answer_again(&offer)).await;
    device.film_during(peer.answer(&answer)).await.expect("a good answer");
    let before = viewer.received().pictures.len();
    device.film_during(viewer.until("more pictures", |now| now.pictures.len() >= before + 60)).await;
}

#[tokio::test]
async fn waiting_peers_are_small_and_leave_nothing_behind() {
    let device = Device::new();
    let (_first, _) = device.offer(0).await;
    let (memory, files) = (resident_kb(), open_files());
    let mut waiting = Vec::new();
    for id in 1..=20 {
        waiting.push(device.offer(id).await.0);
    }
    let each_kb = (resident_kb() - memory) / 20;
    println!("{each_kb} KB for each waiting peer");
    assert!(each_kb < 600, "{each_kb} KB for each");
    assert!(open_files() - files <= 3 * 20);
    for (n, peer) in waiting.into_iter().enumerate() {
        match n % 2 {
            0 => peer.close().await,
            _ => drop(peer),
        }
    }
    tokio::time::timeout(PATIENCE, async {
        while open_files() > files {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("its files are closed");
}

fn resident_kb() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is always there");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}

//! Is a viewer's voice heard at the board, and only when it may be? The real daemon, a real Mosquitto, real
//! peers that send Opus, and ALSA's own plug-in that writes what a speaker would play into a file.
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/viewer.rs"]
mod viewer;

use std::f64::consts::TAU;
use std::time::Duration;

use bytes::Bytes;
use daemon::{Daemon, Home, Setup};
use mosquitto::Mosquitto;
use opusic_c::{Application, Channels, Decoder, Encoder, InbandFec, SampleRate};
use tokio::sync::{Semaphore, SemaphorePermit};
use viewer::{Link, Viewer, Watching, watch};

const HZ: f64 = 48_000.0;
const FRAME: usize = 960;
/// Samples of a tenth of a second.
const TENTH: usize = 4_800;
/// A viewer's tone: half of full scale.
const PEAK: f64 = 0.5;

/// A speaker that is a file of signed 16-bit samples. The device beneath takes everything at once.
const SPEAKER: &str = "pcm.farol_test {
    type file
    slave.pcm { type null }
    file \"{home}/spoken.raw\"
    format raw
}";

/// They speak in real time: more at once would only show what a machine looks like that is out of breath.
static TURN: Semaphore = Semaphore::const_new(2);

/// A daemon whose speaker is a file.
struct Scene {
    _turn: SemaphorePermit<'static>,
    _mosquitto: Mosquitto,
    home: Home,
    daemon: Daemon,
}

impl Scene {
    async fn start(talkback: &str, audio: &'static str) -> Scene {
        let turn = TURN.acquire().await.expect("it is never closed");
        let mosquitto = Mosquitto::open();
        let talkback = format!("device = \"farol_test\"\n{talkback}");
        let alsa = Some(SPEAKER.to_owned());
        let home = Home::new(&Setup { talkback, audio, alsa, ..Setup::on(mosquitto.port) });
        let daemon = home.start();
        Scene { _turn: turn, _mosquitto: mosquitto, home, daemon }
    }

    /// Pairs a viewer with these rights, and has it watch.
    async fn viewer(&self, name: &str, rights: &str) -> Mouth {
        let said = self.home.farol(&["pair", name, "--rights", rights]);
        let link = said.lines().find_map(|line| line.trim().strip_prefix("http://page.test/"));
        Mouth::new(watch(&Link::parse(link.expect("a link is printed"))).await)
    }

    async fn talker(&self, name: &str) -> Mouth {
        self.viewer(name, "view,listen,talk").await
    }

    /// What the speaker has played, from its first sound on.
    fn spoken(&self) -> Vec<f64> {
        let bytes = std::fs::read(self.home.file("spoken.raw")).unwrap_or_default();
        let samples = bytes.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])));
        samples.map(|sample| sample / 32_768.0).skip_while(|sample| sample.abs() < 0.1).collect()
    }
}

/// A viewer that speaks: a tone, 20 ms at a time.
struct Mouth {
    watching: Watching,
    encoder: Encoder,
    sent: u32,
}

impl Mouth {
    fn new(watching: Watching) -> Mouth {
        let mut encoder =
            Encoder::new(Channels::Mono, SampleRate::Hz48000, Application::Voip).expect("an encoder");
        encoder.set_inband_fec(InbandFec::Mode1).expect("it has FEC");
        encoder.set_packet_loss(10).expect("a share");
        Mouth { watching, encoder, sent: 0 }
    }

    /// The next 20 ms of a tone, which may be lost on the way.
    async fn speak(&mut self, hz: f64, is_lost: bool) {
        let first = self.sent as usize * FRAME;
        let sample = |n: usize| ((TAU * hz * n as f64 / HZ).sin() * PEAK * 32_767.0) as i16 as u16;
        let samples: Vec<u16> = (first..first + FRAME).map(sample).collect();
        let mut packet = [0; 1276];
        let len = self.encoder.encode_to_slice(&samples, &mut packet).expect("a packet");
        if !is_lost {
            self.watching.screen.send_sound(self.sent, Bytes::copy_from_slice(&packet[..len])).await;
        }
        self.sent += 1;
    }
}

/// Lets viewers speak at the same time, each its tone (0 is saying nothing), for so many frames of 20 ms.
async fn speak(mouths: &mut [(&mut Mouth, f64)], frames: u32, is_lost: impl Fn(u32) -> bool) {
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for n in 0..frames {
        clock.tick().await;
        for (mouth, hz) in mouths.iter_mut().filter(|(_, hz)| *hz > 0.0) {
            mouth.speak(*hz, is_lost(n)).await;
        }
    }
}

/// The peak of this frequency in a tenth of a second (Goertzel's sum), or of one within 0.6% of it: what is
/// played is up to 0.5% faster or slower while the delay becomes what it should be.
fn peak_in(hz: f64, tenth: &[f64]) -> f64 {
    let peaks = (-3..=3).map(|step| {
        let turns = |n: usize| TAU * hz * (1.0 + f64::from(step) * 0.002) * n as f64 / HZ;
        let re: f64 = tenth.iter().enumerate().map(|(n, sample)| sample * turns(n).cos()).sum();
        let im: f64 = tenth.iter().enumerate().map(|(n, sample)| sample * turns(n).sin()).sum();
        2.0 * re.hypot(im) / TENTH as f64
    });
    peaks.fold(0.0, f64::max)
}

/// The same in a longer sound: in the middle one of its tenths, since a packet that was concealed shifts
/// the phase of what follows.
fn peak_at(hz: f64, sound: &[f64]) -> f64 {
    middle(sound.chunks_exact(TENTH).map(|tenth| peak_in(hz, tenth)).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rms(sound: &[f64]) -> f64 {
    (sound.iter().map(|sample| sample * sample).sum::<f64>() / sound.len().max(1) as f64).sqrt()
}

/// Tenths of a second that hold this tone, and those that hold anything.
fn tenths_with(hz: f64, sound: &[f64]) -> (usize, usize) {
    let tenths: Vec<&[f64]> = sound.chunks_exact(TENTH).filter(|tenth| rms(tenth) > 0.05).collect();
    (tenths.iter().filter(|tenth| peak_in(hz, tenth) > 0.1).count(), tenths.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_with_the_right_is_heard_as_it_speaks() {
    let scene = Scene::start("", "tone").await;
    let mut ana = scene.talker("Ana").await;
    speak(&mut [(&mut ana, 1_000.0)], 200, |_| false).await;
    scene.daemon.says(&["speaker plays", "farol_test"]).await;
    scene.daemon.says(&["viewer speaks"]).await;
    scene.daemon.says(&["viewer stopped speaking"]).await;

    let spoken = scene.spoken();
    assert!((HZ * 3.5..HZ * 5.5).contains(&(spoken.len() as f64)), "{} samples", spoken.len());
    let middle = &spoken[48_000..144_000];
    let (peak, all) = (peak_at(1_000.0, middle), rms(middle) * std::f64::consts::SQRT_2);
    assert!((peak / PEAK - 1.0).abs() < 0.15, "a peak of {peak} instead of {PEAK}");
    assert!(peak > 0.9 * all, "{peak} of the tone, {all} with everything else");
    // It is one tone and no noise, in each tenth of a second but for a machine that is out of breath.
    let (tone, all) = tenths_with(1_000.0, middle);
    assert!(tone >= 18 && all >= 18, "{tone} of {all} tenths of a second");

    // When nobody speaks any more the device is given back.
    scene.daemon.says(&["speaker rests"]).await;
    assert_eq!(scene.daemon.said(&["viewer speaks"]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_tenth_of_its_packets_lost_it_is_still_the_tone() {
    let scene = Scene::start("", "tone").await;
    let mut ana = scene.talker("Ana").await;
    speak(&mut [(&mut ana, 1_000.0)], 200, |n| n % 10 == 7).await;
    scene.daemon.says(&["viewer stopped speaking"]).await;
    let spoken = scene.spoken();
    let (tone, all) = tenths_with(1_000.0, &spoken[48_000..144_000]);
    assert!(tone >= 18 && all >= 18, "{tone} of {all} tenths of a second");
    assert_eq!(scene.daemon.said(&["viewer speaks"]), 1, "no loss is taken for silence");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_without_the_right_is_not_heard() {
    let scene = Scene::start("talkers = \"mixed\"", "tone").await;
    let mut listener = scene.viewer("Rui", "view,listen").await;
    speak(&mut [(&mut listener, 2_500.0)], 100, |_| false).await;
    scene.daemon.says(&["viewer sends sound"]).await;
    assert_eq!(scene.daemon.said(&["speaker plays"]), 0, "the device is not even opened for it");
    // And not beside one who has it either.
    let mut ana = scene.talker("Ana").await;
    speak(&mut [(&mut ana, 1_000.0), (&mut listener, 2_500.0)], 150, |_| false).await;
    scene.daemon.says(&["viewer stopped speaking"]).await;
    let spoken = scene.spoken();
    assert!(tenths_with(1_000.0, &spoken).0 > 15);
    assert!(peak_at(2_500.0, &spoken[..96_000]) < 0.005);
    assert_eq!(scene.daemon.said(&["viewer speaks"]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_speaks_at_a_time_and_then_the_other() {
    let scene = Scene::start("", "tone").await;
    let (mut ana, mut rui) = (scene.talker("Ana").await, scene.talker("Rui").await);
    speak(&mut [(&mut ana, 1_000.0)], 50, |_| false).await;
    speak(&mut [(&mut ana, 1_000.0), (&mut rui, 2_500.0)], 100, |_| false).await;
    assert_eq!(scene.daemon.said(&["viewer speaks"]), 1, "the other one is ignored meanwhile");
    speak(&mut [(&mut rui, 2_500.0)], 100, |_| false).await;
    scene.daemon.says(&["viewer stopped speaking"]).await;
    assert_eq!(scene.daemon.said(&["viewer speaks"]), 2);

    let spoken = scene.spoken();
    let (first, second) = (&spoken[..120_000], &spoken[168_000..216_000]);
    for (hz, other_hz, sound) in [(1_000.0, 2_500.0, first), (2_500.0, 1_000.0, second)] {
        let (peak, other) = (peak_at(hz, sound), peak_at(other_hz, sound));
        assert!(peak > 0.4 && other < 0.02, "{hz} Hz at {peak}, {other_hz} Hz at {other}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_both_are_heard_at_once_and_nothing_clips() {
    let scene = Scene::start("talkers = \"mixed\"", "tone").await;
    let (mut ana, mut rui) = (scene.talker("Ana").await, scene.talker("Rui").await);
    speak(&mut [(&mut ana, 1_000.0), (&mut rui, 2_500.0)], 150, |_| false).await;
    scene.daemon.says(&["viewer stopped speaking"]).await;
    let spoken = scene.spoken();
    let middle = &spoken[24_000..120_000];
    // Two of 0.5 are turned down to 0.9 together.
    for hz in [1_000.0, 2_500.0] {
        let peak = peak_at(hz, middle);
        assert!((0.3..0.5).contains(&peak), "{hz} Hz at {peak}");
    }
    let loudest = middle.iter().fold(0.0_f64, |loudest, sample| loudest.max(sample.abs()));
    assert!(loudest < 0.999, "{loudest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_microphone_is_turned_down_while_a_viewer_speaks() {
    let scene = Scene::start("duck_db = 24", "tone").await;
    let mut ana = scene.talker("Ana").await;
    let silent_nobody = |ana: &Mouth| ana.watching.screen.received().sound;
    ana.watching.screen.until("a second of the microphone", |seen| seen.sound.len() > 50).await;
    speak(&mut [(&mut ana, 1_000.0)], 150, |_| false).await;
    let while_spoken = silent_nobody(&ana).len();
    scene.daemon.says(&["viewer stopped speaking"]).await;
    ana.watching
        .screen
        .until("the microphone afterwards", |seen| seen.sound.len() > while_spoken + 150)
        .await;

    let mut decoder = Decoder::new(Channels::Mono, SampleRate::Hz48000).expect("a decoder");
    let levels: Vec<f64> = silent_nobody(&ana)
        .iter()
        .map(|(_, packet)| {
            let mut samples = [0.0_f32; FRAME];
            decoder.decode_float_to_slice(packet, &mut samples, false).expect("a packet of 20 ms");
            rms(&samples.map(f64::from))
        })
        .collect();
    let before = middle(levels[..40].to_vec());
    let meanwhile = middle(levels[while_spoken - 100..while_spoken - 10].to_vec());
    let after = middle(levels[levels.len() - 30..].to_vec());
    let down_db = 20.0 * (before / meanwhile).log10();
    assert!((20.0..28.0).contains(&down_db), "{down_db:.1} dB down");
    assert!((20.0 * (before / after).log10()).abs() < 1.0, "and up again: {before} and {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_offer_says_whether_sound_is_sent_or_taken() {
    for (audio, device, direction) in [
        ("tone", "farol_test", Some("a=sendrecv")),
        ("tone", "", Some("a=sendonly")),
        ("none", "farol_test", Some("a=recvonly")),
        ("none", "", None),
    ] {
        let mosquitto = Mosquitto::open();
        let talkback = format!("device = \"{device}\"");
        let alsa = Some(SPEAKER.to_owned());
        let home = Home::new(&Setup { talkback, audio, alsa, ..Setup::on(mosquitto.port) });
        let link = home.pair("Ana");
        let _daemon = home.start();
        let offer = Viewer::connect(&link).await.standing().await;
        let section = offer.sdp.split("m=").find(|section| section.starts_with("audio"));
        assert_eq!(section.is_some(), direction.is_some(), "{audio} {device}: {}", offer.sdp);
        let Some((section, direction)) = section.zip(direction) else { continue };
        assert!(section.lines().any(|line| line == direction), "{direction} in {section}");
        let format = section.lines().find(|line| line.starts_with("a=fmtp:111")).expect("Opus' parameters");
        assert!(format.contains("useinbandfec=1") && format.contains("minptime=10"), "{format}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_without_a_microphone_still_speaks() {
    let scene = Scene::start("", "none").await;
    let mut ana = scene.talker("Ana").await;
    speak(&mut [(&mut ana, 1_000.0)], 100, |_| false).await;
    scene.daemon.says(&["viewer stopped speaking"]).await;
    let spoken = scene.spoken();
    assert!(tenths_with(1_000.0, &spoken).0 >= 12);
    assert!(ana.watching.screen.received().sound.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_speaker_that_is_missing_is_told_once_and_viewers_watch_on() {
    let mosquitto = Mosquitto::open();
    let talkback = "device = \"hw:NoSuchCard\"".to_owned();
    let home = Home::new(&Setup { talkback, ..Setup::on(mosquitto.port) });
    let link = home.pair("Ana");
    let daemon = home.start();
    let mut ana = Mouth::new(watch(&link).await);
    speak(&mut [(&mut ana, 1_000.0)], 150, |_| false).await;
    daemon.says(&["speaker lost", "hw:NoSuchCard", "talkback.device"]).await;
    ana.watching.sees_more(20).await;
    assert_eq!(daemon.said(&["speaker lost"]), 1);
    assert_eq!(daemon.said(&["viewer left"]), 0);
}

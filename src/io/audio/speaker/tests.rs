use tokio::time::timeout;

use super::*;
use crate::config::Talkers;
use crate::engine::jitter::VoicePacket;
use crate::engine::pcm::{Channels, PcmFrame};
use crate::io::audio::opus::OpusEncoder;
use crate::units::Bitrate;

const ANA: PeerId = PeerId(7);

fn talkback(device: &str) -> Talkback {
    Talkback { device: device.to_owned(), rate_hz: 48_000, channels: 1, talkers: Talkers::One, duck_db: 20 }
}

/// Speaks a tone from now on, until it is dropped.
fn speak(packets: &SyncSender<Spoken>) -> tokio::task::JoinHandle<()> {
    let packets = packets.clone();
    tokio::spawn(async move {
        let mut encoder = OpusEncoder::new(Channels::Mono, Bitrate::from_kbps(32)).expect("an encoder");
        let sample = |n: usize| ((n as f32 * 0.1).sin() * 8_000.0) as i16;
        let mut clock = tokio::time::interval(FRAME);
        for n in 0.. {
            clock.tick().await;
            let samples = (0..FRAME_SAMPLES).map(sample).collect();
            let frame = PcmFrame { samples, captured: MediaTime::default() };
            let packet = VoicePacket {
                ssrc: 1,
                sequence: n as u16,
                timestamp: n * FRAME_SAMPLES as u32,
                payload: encoder.encode(&frame).expect("a packet").data,
                arrived: media_now(),
            };
            let _ = packets.try_send(Spoken { peer: ANA, packet });
        }
    })
}

async fn next(speaker: &mut Loudspeaker) -> SpeakerEvent {
    let event = timeout(Duration::from_secs(8), speaker.events.recv()).await;
    event.expect("the speaker says something within 8 s").expect("the thread lives")
}

#[tokio::test]
async fn a_missing_speaker_is_said_once_and_leaves_the_microphone_alone() {
    let gain = DuckGain::default();
    let mut speaker = spawn(&talkback("hw:NoSuchCard"), gain.clone());
    assert!(
        timeout(Duration::from_millis(300), speaker.events.recv()).await.is_err(),
        "nobody speaks, and the device is let alone"
    );
    let mouth = speak(&speaker.packets);
    let SpeakerEvent::Lost { reason } = next(&mut speaker).await else { panic!("not lost") };
    assert!(reason.contains("hw:NoSuchCard") && reason.contains("talkback.device"), "{reason}");
    assert!(timeout(Duration::from_millis(1_800), speaker.events.recv()).await.is_err(), "said twice");
    assert_eq!(gain.now(), 1.0);
    mouth.abort();
}

#[tokio::test]
async fn the_thread_ends_with_its_handle_though_somebody_still_speaks() {
    let speaker = spawn(&talkback("hw:NoSuchCard"), DuckGain::default());
    let mouth = speak(&speaker.packets);
    let packets = speaker.packets.clone();
    drop(speaker);
    let ended = async {
        let packet =
            VoicePacket { ssrc: 1, sequence: 0, timestamp: 0, payload: vec![0].into(), arrived: media_now() };
        let spoken = Spoken { peer: ANA, packet };
        while !matches!(packets.try_send(spoken.clone()), Err(std::sync::mpsc::TrySendError::Disconnected(_)))
        {
            tokio::time::sleep(FRAME).await;
        }
    };
    timeout(Duration::from_secs(5), ended).await.expect("the thread has let go of its end");
    mouth.abort();
}

#[tokio::test]
#[ignore = "needs the device lab (tests/lab)"]
async fn a_speaker_that_is_unplugged_is_lost_and_speaks_on_when_it_is_back() {
    let driver = |door: &str| {
        std::fs::write(format!("/sys/bus/platform/drivers/snd_dummy/{door}"), "snd_dummy.0")
            .expect("the driver obeys");
    };
    let gain = DuckGain::default();
    let mut speaker = spawn(&talkback("hw:CARD=Dummy"), gain.clone());
    let mouth = speak(&speaker.packets);
    for _ in 0..2 {
        assert!(matches!(next(&mut speaker).await, SpeakerEvent::Started { .. }));
        assert_eq!(next(&mut speaker).await, SpeakerEvent::Turn(Turn::Began(ANA)));
        // The gain follows the frame that was told before it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!((gain.now() - 0.1).abs() < 0.001, "20 dB down, not {}", gain.now());
        // It comes back when whoever has the card open has let go.
        let unplugged = tokio::task::spawn_blocking(move || driver("unbind"));
        assert_eq!(next(&mut speaker).await, SpeakerEvent::Turn(Turn::Ended(ANA)));
        let SpeakerEvent::Lost { reason } = next(&mut speaker).await else { panic!("not lost") };
        println!("{reason}");
        assert_eq!(gain.now(), 1.0);
        unplugged.await.expect("it is unplugged");
        driver("bind");
    }
    mouth.abort();
}

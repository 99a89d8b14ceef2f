use super::*;
use crate::engine::pcm::{FRAME, FRAME_SAMPLES};
use opusic_c::{Decoder, SampleRate};
use tokio::time::timeout;

const TONE: Audio = Audio::Tone { bitrate: Bitrate::from_kbps(32) };

async fn next(microphone: &mut Microphone) -> AudioEvent {
    let event = timeout(Duration::from_secs(5), microphone.events.recv()).await;
    event.expect("the source says something within 5 s").expect("the thread lives")
}

#[tokio::test]
async fn the_tone_comes_as_20_ms_packets_that_decode_and_beep_each_second() {
    let mut microphone = spawn(&TONE, When::Always, DuckGain::default()).expect("a tone is a source");
    assert!(matches!(next(&mut microphone).await, AudioEvent::Started { .. }));
    let mut decoder = Decoder::new(opusic_c::Channels::Mono, SampleRate::Hz48000).expect("a decoder");
    let mut last: Option<OpusPacket> = None;
    let mut wrong = 0;
    for _ in 0..110 {
        let AudioEvent::Packet(packet) = next(&mut microphone).await else { panic!("no packet") };
        let mut samples = [0u16; FRAME_SAMPLES];
        let len = decoder.decode_to_slice(&packet.data, &mut samples, false).expect("it decodes");
        assert_eq!(len, FRAME_SAMPLES);
        assert!(last.is_none_or(|last| packet.captured.0 - last.captured.0 == FRAME));
        let loudest = samples.iter().map(|&sample| (sample as i16).unsigned_abs()).max().unwrap_or(0);
        let beeps = packet.captured.0.subsec_millis() < 100;
        // The codec's own delay of 6.5 ms carries a beep's end into the packet after it.
        wrong += usize::from(packet.captured.0.subsec_millis() != 100 && (loudest > 4_000) != beeps);
        last = Some(packet);
    }
    // The very first packet, before the decoder has settled.
    assert!(wrong <= 1, "{wrong} packets");
}

#[tokio::test]
async fn the_tone_rests_until_someone_listens() {
    let mut microphone = spawn(&TONE, When::Watched, DuckGain::default()).expect("a tone is a source");
    assert!(timeout(Duration::from_millis(300), microphone.events.recv()).await.is_err(), "it ran unasked");
    microphone.commands.send(AudioCommand::Run).expect("the thread lives");
    assert!(matches!(next(&mut microphone).await, AudioEvent::Started { .. }));
    microphone.commands.send(AudioCommand::Pause).expect("the thread lives");
    while next(&mut microphone).await != AudioEvent::Paused {}
    assert!(timeout(Duration::from_millis(200), microphone.events.recv()).await.is_err(), "it went on");
}

#[tokio::test]
async fn a_missing_card_is_said_once_with_what_to_do() {
    let (rate_hz, channels, bitrate) = (48_000, 1, Bitrate::from_kbps(32));
    let device = "hw:NoSuchCard".to_owned();
    let mut microphone =
        spawn(&Audio::Alsa { device, rate_hz, channels, bitrate }, When::Always, DuckGain::default())
            .expect("a source");
    let AudioEvent::Lost { reason } = next(&mut microphone).await else { panic!("not lost") };
    assert!(reason.contains("hw:NoSuchCard") && reason.contains("farol devices"), "{reason}");
    assert!(timeout(Duration::from_millis(1800), microphone.events.recv()).await.is_err(), "said twice");
}

#[test]
fn no_sound_is_no_source() {
    assert!(spawn(&Audio::None, When::Always, DuckGain::default()).is_none());
}

//! Against `snd-aloop`: what is played into `hw:Loopback,0` is recorded from `hw:Loopback,1`, by a timer of
//! the kernel that can be made to run fast or slow.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use alsa::ValueOr;
use alsa::ctl::{Ctl, ElemType, ElemValue};
use alsa::pcm::{Access, HwParams, IO};
use tokio::time::timeout;

use super::sample::SampleFormat;
use super::*;
use crate::config::{Audio, Talkback, Talkers, When};
use crate::engine::pcm::{Channels, FRAME, FRAME_SAMPLES, PcmFrame};
use crate::io::audio::{AudioEvent, DuckGain, spawn};
use crate::units::Bitrate;

const TONE_HZ: f64 = 1_000.0;
/// All that the loopback has: no 8 bits.
const FORMATS: [SampleFormat; 5] =
    [SampleFormat::S16, SampleFormat::S24, SampleFormat::S24Packed, SampleFormat::S32, SampleFormat::Float];
const RATES_HZ: [u32; 5] = [8_000, 44_100, 48_000, 96_000, 192_000];

/// There is one loopback; a test has it alone, whatever became of the one before.
fn loopback() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn talkback(device: &str, rate_hz: u32, channels: u16) -> Talkback {
    Talkback { device: device.to_owned(), rate_hz, channels, talkers: Talkers::One, duck_db: 0 }
}

/// The other end of the loopback, set to exactly one format: what a sound card that has only that is.
struct End {
    pcm: PCM,
    format: SampleFormat,
    channels: u16,
    rate_hz: u32,
}

impl End {
    fn open(name: &str, direction: Direction, format: SampleFormat, rate_hz: u32, channels: u16) -> End {
        let pcm = PCM::new(name, direction, false).expect("the loopback is there");
        {
            let wanted = HwParams::any(&pcm).expect("it has parameters");
            wanted.set_access(Access::RWInterleaved).expect("interleaved");
            wanted.set_format(format.alsa()).expect("the format");
            wanted.set_channels(u32::from(channels)).expect("the channels");
            wanted.set_rate(rate_hz, ValueOr::Nearest).expect("the rate");
            wanted.set_buffer_time_near(300_000, ValueOr::Nearest).expect("a buffer");
            wanted.set_period_time_near(20_000, ValueOr::Nearest).expect("a period");
            pcm.hw_params(&wanted).expect("all of it together");
        }
        End { pcm, format, channels, rate_hz }
    }

    fn io(&self) -> IO<'_, u8> {
        self.pcm.io_bytes()
    }

    /// Half a second of the tone, by this end's own clock; on channels from the third on it is another.
    fn tone(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..self.rate_hz / 2 {
            for channel in 0..self.channels {
                let hz = if channel < 2 { TONE_HZ } else { 300.0 };
                let phase = TAU * hz * f64::from(index) / f64::from(self.rate_hz);
                self.format.encode((phase.sin() * 0.5) as f32, &mut bytes);
            }
        }
        bytes
    }
}

/// Plays the tone for as long as it lives.
struct Player {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Player {
    fn start(end: End) -> Player {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let tone = end.tone();
        let piece = end.rate_hz as usize / 50 * usize::from(end.channels) * end.format.bytes();
        let play = move || {
            for piece in tone.chunks(piece).cycle() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let written = end.io().writei(piece);
                if let Err(cause) = written
                    && end.pcm.try_recover(cause, true).is_err()
                {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().spawn(play).expect("a thread");
        Player { is_over, thread: Some(thread) }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Frames for so many seconds of the media clock.
fn record(card: &mut SoundCard, seconds: f64) -> Vec<PcmFrame> {
    let until = media_now().0 + Duration::from_secs_f64(seconds);
    let mut frames = Vec::new();
    while media_now().0 < until {
        frames.extend(card.frame(Duration::from_millis(100)).expect("it records"));
    }
    frames
}

/// The samples of one channel from the last frames that follow each other without a gap.
fn latest(frames: &[PcmFrame], channels: Channels, channel: usize) -> Vec<f32> {
    let begin = frames.windows(2).rposition(|pair| pair[1].captured.0 - pair[0].captured.0 != FRAME);
    let frames = &frames[begin.map_or(0, |index| index + 1)..];
    let of =
        |frame: &PcmFrame| frame.samples.iter().skip(channel).step_by(channels.count()).copied().collect();
    frames
        .iter()
        .flat_map(|frame| -> Vec<i16> { of(frame) })
        .map(|sample| f32::from(sample) / 32_768.0)
        .collect()
}

/// Frequency in Hz by its rising zero crossings, interpolated between samples, and amplitude by its power: of
/// each 50 ms, the middle of all. A guest that did not get its turn from a busy host is not the sound's fault.
fn measured(samples: &[f32], rate_hz: u32) -> (f64, f64) {
    let pieces = samples.chunks_exact(rate_hz as usize / 20);
    let (mut frequencies, mut amplitudes): (Vec<f64>, Vec<f64>) = pieces
        .map(|piece| {
            let crossings: Vec<f64> = (1..piece.len())
                .filter(|&index| piece[index - 1] < 0.0 && piece[index] >= 0.0)
                .map(|index| {
                    let (before, after) = (f64::from(piece[index - 1]), f64::from(piece[index]));
                    index as f64 - after / (after - before)
                })
                .collect();
            let span = crossings.last().zip(crossings.first()).map_or(0.0, |(last, first)| last - first);
            let power =
                piece.iter().map(|&sample| f64::from(sample * sample)).sum::<f64>() / piece.len() as f64;
            let hz = if span > 0.0 { (crossings.len() - 1) as f64 * f64::from(rate_hz) / span } else { 0.0 };
            (hz, (2.0 * power).sqrt())
        })
        .unzip();
    frequencies.sort_by(f64::total_cmp);
    amplitudes.sort_by(f64::total_cmp);
    let middle = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    (middle(&frequencies), middle(&amplitudes))
}

/// 1 % for a clock that is not known yet; any mistake about rates, channels or formats is more.
fn is_tone((hz, amplitude): (f64, f64)) -> bool {
    (hz - TONE_HZ).abs() < 10.0 && (0.47..0.53).contains(&amplitude)
}

/// Each format with each rate and with each number of channels; 16 bits with all of both.
fn each_setup(attempt: impl Fn(SampleFormat, u32, u16) -> Result<(), String>) {
    for format in FORMATS {
        for rate_hz in RATES_HZ {
            for channels in [1, 2, 8] {
                if format == SampleFormat::S16 || rate_hz == 48_000 || channels == 2 {
                    undisturbed(|| attempt(format, rate_hz, channels));
                }
            }
        }
    }
}

/// Something else was asked for: what the card has is to be taken.
fn ensure_setup(detail: &str, format: SampleFormat, rate_hz: u32, channels: u16) {
    assert!(detail.contains(&format!("{rate_hz} Hz, {channels} channel")), "{detail}");
    assert!(detail.ends_with(&format.alsa().to_string()), "{detail}");
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn every_format_that_a_card_insists_on_is_recorded() {
    let _alone = loopback();
    each_setup(|format, rate_hz, channels| {
        let far = End::open("hw:Loopback,0", Direction::Playback, format, rate_hz, channels);
        let player = Player::start(far);
        let mut card = SoundCard::open("hw:Loopback,1", 48_000, 2).expect("it opens");
        ensure_setup(card.detail(), format, rate_hz, channels);
        let frames = record(&mut card, 0.5);
        drop(player);
        let sent = Channels::sent_for(2, channels);
        for channel in 0..sent.count() {
            let heard = latest(&frames, sent, channel);
            let (hz, amplitude) = measured(&heard[heard.len() / 2..], 48_000);
            let what = format!("{}: {} frames, {hz:.2} Hz at {amplitude:.3}", card.detail(), frames.len());
            println!("{what}");
            ensure(is_tone((hz, amplitude)), &what)?;
        }
        Ok(())
    });
}

/// Plays a tone frame by frame as the media clock goes, and records with the far end meanwhile. Gives what
/// was recorded, on its first channel, and the delay that was seen before each frame.
fn play(speaker: &mut Speaker, end: &End, frames: u32) -> (Vec<f32>, Vec<Duration>) {
    let (mut recorded, mut delays) = (Vec::new(), Vec::new());
    let start = media_now().0;
    let mut bytes = vec![0; end.rate_hz as usize * usize::from(end.channels) * end.format.bytes()];
    for index in 0..frames {
        while let Some(left) = (start + FRAME * index).checked_sub(media_now().0) {
            std::thread::park_timeout(left);
        }
        let sample = |at: usize| {
            (TAU * TONE_HZ * (index as usize * FRAME_SAMPLES + at) as f64 / 48_000.0).sin() as f32
        };
        delays.push(speaker.delay());
        speaker.play(&std::array::from_fn(|at| sample(at) * 0.5)).expect("it plays");
        let available = end.pcm.avail_update().unwrap_or_else(|_| {
            // An overrun: the guest did not get its turn.
            end.pcm.prepare().and_then(|()| end.pcm.start()).expect("the far end goes on");
            0
        });
        if available > 0 {
            let len = available as usize * usize::from(end.channels) * end.format.bytes();
            let read = end.io().readi(&mut bytes[..len]).expect("the far end records");
            let mut samples = Vec::new();
            end.format.decode(&bytes[..read * usize::from(end.channels) * end.format.bytes()], &mut samples);
            recorded.extend(samples.iter().step_by(usize::from(end.channels)));
        }
    }
    (recorded, delays)
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn every_format_that_a_card_insists_on_is_played() {
    let _alone = loopback();
    each_setup(|format, rate_hz, channels| {
        let end = End::open("hw:Loopback,1", Direction::Capture, format, rate_hz, channels);
        end.pcm.start().expect("the far end starts");
        let mut speaker = Speaker::open(&talkback("hw:Loopback,0", 48_000, 1)).expect("it opens");
        ensure_setup(speaker.detail(), format, rate_hz, channels);
        let (recorded, delays) = play(&mut speaker, &end, 30);
        let (hz, amplitude) = measured(&recorded[recorded.len() / 2..], rate_hz);
        let what = format!("{}: {hz:.2} Hz at {amplitude:.3}, delay {:?}", speaker.detail(), delays[29]);
        println!("{what}");
        ensure(is_tone((hz, amplitude)), &what)
    });
}

/// Makes the loopback's clock run at so many parts in 100 000 of its rate, until it is dropped.
struct Shift;

impl Shift {
    fn to(parts: i32) -> Shift {
        let control = Ctl::new("hw:Loopback", false).expect("the card has a control device");
        let elements = control.elem_list().expect("it has controls");
        for index in 0..elements.get_used() {
            let id = elements.get_id(index).expect("it has an id");
            if id.get_name() == Ok("PCM Rate Shift 100000") {
                let mut value = ElemValue::new(ElemType::Integer).expect("a value");
                value.set_id(&id);
                value.set_integer(0, parts).expect("it is a number");
                control.elem_write(&value).expect("it can be set");
            }
        }
        Shift
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        std::mem::forget(Shift::to(100_000));
    }
}

/// A busy host takes the guest's turn for tenths of seconds, in which no sound can be moved: one try of
/// some has to come through undisturbed.
fn undisturbed(attempt: impl Fn() -> Result<(), String>) {
    let mut disturbed = String::new();
    for _ in 0..4 {
        match attempt() {
            Ok(()) => return,
            Err(what) => disturbed = what,
        }
        println!("{disturbed}");
    }
    panic!("{disturbed}");
}

fn ensure(is_so: bool, what: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(what.to_owned()) }
}

/// Records with a clock that is off, after it was followed for some seconds.
fn recording_follows(parts: i32) -> Result<(), String> {
    let _shift = Shift::to(parts);
    let player = Player::start(End::open("hw:Loopback,0", Direction::Playback, SampleFormat::S16, 48_000, 1));
    let mut card = SoundCard::open("hw:Loopback,1", 48_000, 1).expect("it opens");
    record(&mut card, 8.0);
    let begin = media_now();
    let frames = record(&mut card, 6.0);
    let took = media_now().0 - begin.0;
    let off_ppm = card.off_ppm();
    drop((card, player));
    let (hz, _) = measured(&latest(&frames, Channels::Mono, 0), 48_000);
    let what = format!("{} frames in {took:?}, {hz:.3} Hz, {off_ppm:.0} ppm off", frames.len());
    println!("{what}");
    // The tone was written as 1 kHz by a device that is fast or slow by so much: by the media clock it is
    // as much higher or lower.
    ensure((off_ppm.abs() - 2_000.0).abs() < 500.0, &what)?;
    ensure((hz - TONE_HZ * (1.0 + off_ppm * 1e-6)).abs() < 0.5, &what)?;
    ensure(frames.windows(2).all(|pair| pair[1].captured.0 - pair[0].captured.0 == FRAME), &what)?;
    ensure(frames.len().abs_diff((took.as_millis() / 20) as usize) <= 2, &what)?;
    // What is handed over now was taken just now.
    let age = media_now().0.saturating_sub(frames.last().expect("frames").captured.0 + FRAME);
    ensure(age < Duration::from_millis(150), &what)
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn a_recording_follows_a_clock_that_is_2000_ppm_off() {
    let _alone = loopback();
    for parts in [100_200, 99_800] {
        undisturbed(|| recording_follows(parts));
    }
}

/// Plays a frame each 20 ms of the media clock to a clock that is off.
fn playback_follows(parts: i32) -> Result<(), String> {
    let _shift = Shift::to(parts);
    let end = End::open("hw:Loopback,1", Direction::Capture, SampleFormat::S16, 48_000, 1);
    end.pcm.start().expect("the far end starts");
    let mut speaker = Speaker::open(&talkback("hw:Loopback,0", 48_000, 1)).expect("it opens");
    let (recorded, delays) = play(&mut speaker, &end, 700);
    let off_ppm = speaker.off_ppm();
    let (hz, amplitude) = measured(&recorded[recorded.len() / 2..], 48_000);
    let late = &delays[500..];
    let mean_ms = late.iter().map(Duration::as_millis).sum::<u128>() / late.len() as u128;
    let (least, most) = (late.iter().min(), late.iter().max());
    let what = format!(
        "{hz:.3} Hz at {amplitude:.3}, {off_ppm:.0} ppm off, delay {least:?} to {most:?}, {mean_ms} ms"
    );
    println!("{what}");
    // 1 kHz by the media clock, counted by a clock that is off the other way.
    ensure((hz * (1.0 + off_ppm * 1e-6) - TONE_HZ).abs() < 3.0, &what)?;
    ensure((off_ppm.abs() - 2_000.0).abs() < 500.0, &what)?;
    ensure((15..50).contains(&mean_ms), &what)
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn a_loudspeaker_whose_clock_is_off_neither_starves_nor_fills() {
    let _alone = loopback();
    for parts in [100_200, 99_800] {
        undisturbed(|| playback_follows(parts));
    }
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn plug_and_shared_devices_work_as_well() {
    let _alone = loopback();
    for name in ["plughw:Loopback,1", "dsnoop:Loopback,1", "plug:'dsnoop:Loopback,1'"] {
        let player =
            Player::start(End::open("hw:Loopback,0", Direction::Playback, SampleFormat::S16, 48_000, 2));
        let mut card = SoundCard::open(name, 44_100, 1).expect("it opens");
        let frames = record(&mut card, 1.5);
        let what = card.detail().to_owned();
        drop((card, player));
        let (hz, amplitude) = measured(&latest(&frames, Channels::Mono, 0), 48_000);
        println!("{what}: {} frames, {hz:.2} Hz at {amplitude:.3}", frames.len());
        assert!(is_tone((hz, amplitude)), "{hz} Hz at {amplitude} of {what}");
    }
    for name in ["plughw:Loopback,0", "dmix:Loopback,0", "plug:'dmix:Loopback,0'"] {
        let end = End::open("hw:Loopback,1", Direction::Capture, SampleFormat::S16, 48_000, 2);
        end.pcm.start().expect("the far end starts");
        let mut speaker = Speaker::open(&talkback(name, 48_000, 1)).expect("it opens");
        let (recorded, delays) = play(&mut speaker, &end, 75);
        let what = speaker.detail().to_owned();
        let (hz, amplitude) = measured(&recorded[recorded.len() / 2..], 48_000);
        println!("{what}: {hz:.2} Hz at {amplitude:.3}, delay {:?}", delays[70]);
        assert!(is_tone((hz, amplitude)), "{hz} Hz at {amplitude} of {what}");
    }
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn whoever_plays_when_there_is_room_plays_50_frames_a_second() {
    let _alone = loopback();
    undisturbed(plays_50_frames_a_second);
}

/// Plays whenever there is room, into a device that is fast.
fn plays_50_frames_a_second() -> Result<(), String> {
    let _shift = Shift::to(100_200);
    let end = End::open("hw:Loopback,1", Direction::Capture, SampleFormat::S16, 48_000, 1);
    end.pcm.start().expect("the far end starts");
    let mut speaker = Speaker::open(&talkback("hw:Loopback,0", 48_000, 1)).expect("it opens");
    // Between two frames of which none came too late.
    let (mut begin, mut frames, mut longest) = (media_now(), 0u32, (0u32, Duration::ZERO));
    for _ in 0..700 {
        while !speaker.wait(Duration::from_millis(100)).expect("it waits") {}
        let delay = speaker.delay();
        ensure(delay < Duration::from_millis(60), &format!("{delay:?} of delay"))?;
        if delay.is_zero() {
            (begin, frames) = (media_now(), 0);
        }
        speaker.play(&[0.1; FRAME_SAMPLES]).expect("it plays");
        longest = longest.max((frames, media_now().0 - begin.0));
        frames += 1;
    }
    let (frames, took) = longest;
    let what = format!("{frames} frames in {took:?}, {:.0} ppm off", speaker.off_ppm());
    println!("{what}");
    // The clock is known after some seconds.
    ensure(took.abs_diff(FRAME * frames) < Duration::from_millis(30), &what)
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn an_overrun_is_got_over_and_shows_as_a_gap() {
    let _alone = loopback();
    let player = Player::start(End::open("hw:Loopback,0", Direction::Playback, SampleFormat::S16, 48_000, 1));
    let mut card = SoundCard::open("hw:Loopback,1", 48_000, 1).expect("it opens");
    let before = record(&mut card, 0.5);
    // Nobody reads for longer than the buffer lasts.
    std::thread::park_timeout(Duration::from_millis(700));
    let after = record(&mut card, 1.0);
    drop((card, player));
    let last = before.last().expect("frames").captured.0;
    let first = after.iter().find(|frame| frame.captured.0 > last + FRAME).expect("it goes on");
    println!("{:?} are missing", first.captured.0 - last);
    assert!(first.captured.0 - last > Duration::from_millis(300), "no gap");
    let (hz, amplitude) = measured(&latest(&after, Channels::Mono, 0), 48_000);
    assert!(is_tone((hz, amplitude)), "{hz} Hz at {amplitude}");
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn an_underrun_is_silence_and_the_sound_goes_on() {
    let _alone = loopback();
    let end = End::open("hw:Loopback,1", Direction::Capture, SampleFormat::S16, 48_000, 1);
    end.pcm.start().expect("the far end starts");
    let mut speaker = Speaker::open(&talkback("hw:Loopback,0", 48_000, 1)).expect("it opens");
    play(&mut speaker, &end, 50);
    std::thread::park_timeout(Duration::from_millis(300));
    end.pcm.prepare().expect("the far end had an overrun meanwhile");
    end.pcm.start().expect("the far end starts");
    assert_eq!(speaker.delay(), Duration::ZERO);
    assert!(speaker.wait(Duration::ZERO).expect("it is not lost"), "no room in an empty device");
    let (recorded, _) = play(&mut speaker, &end, 50);
    let (hz, amplitude) = measured(&recorded[recorded.len() / 2..], 48_000);
    assert!(is_tone((hz, amplitude)), "{hz} Hz at {amplitude}");
}

/// What a person does with a plug, by the driver's own doors.
fn driver(name: &str, door: &str) {
    let device = format!("{name}.0");
    fs::write(Path::new("/sys/bus/platform/drivers").join(name).join(door), device)
        .expect("the driver obeys");
}

fn card_number(id: &str) -> Option<i32> {
    let link = fs::read_link(Path::new("/proc/asound").join(id)).ok()?;
    link.to_str()?.strip_prefix("card")?.parse().ok()
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn an_unplugged_card_is_found_again_under_another_number() {
    let _alone = loopback();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(unplug_and_return());
}

async fn unplug_and_return() {
    let number = card_number("Loopback").expect("the loopback is there");
    let audio = Audio::Alsa {
        device: format!("hw:{number},1"),
        rate_hz: 48_000,
        channels: 1,
        bitrate: Bitrate::from_kbps(48),
    };
    let mut microphone = spawn(&audio, When::Always, DuckGain::default()).expect("a source");
    let mut until = async |wanted: fn(&AudioEvent) -> bool| {
        let event = async {
            loop {
                let event = microphone.events.recv().await.expect("the thread lives");
                if wanted(&event) {
                    return event;
                }
            }
        };
        timeout(Duration::from_secs(8), event).await.expect("it comes within 8 s")
    };
    let is_started = |event: &AudioEvent| matches!(event, AudioEvent::Started { .. });
    until(is_started).await;
    // The other card takes the number while this one is away.
    driver("snd_dummy", "unbind");
    // Comes back when the last who has it open has let go.
    driver("snd_aloop", "unbind");
    let AudioEvent::Lost { reason } = until(|event| matches!(event, AudioEvent::Lost { .. })).await else {
        panic!("not lost")
    };
    println!("{reason}");
    assert!(reason.contains("plug it in"), "{reason}");
    driver("snd_dummy", "bind");
    assert_eq!(card_number("Dummy"), Some(number));
    driver("snd_aloop", "bind");
    let now = card_number("Loopback").expect("it is back");
    let started = until(is_started).await;
    println!("{started:?}, from number {number} to {now}");
    assert_ne!(now, number, "the other card has the number");
    drop(microphone);
}

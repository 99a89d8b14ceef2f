use proptest::prelude::*;

use super::*;

const ANA: PeerId = PeerId(1);
const RUI: PeerId = PeerId(2);
const LOUD: f32 = 0.1;

fn at(ms: u64) -> MediaTime {
    MediaTime(Duration::from_millis(1_000_000 + ms))
}

fn tone(hz: f32, peak: f32, samples: usize) -> Vec<f32> {
    (0..samples).map(|n| (n as f32 * std::f32::consts::TAU * hz / 48_000.0).sin() * peak).collect()
}

fn steepest(samples: &[f32]) -> f32 {
    samples.windows(2).fold(0.0, |steepest, pair| steepest.max((pair[1] - pair[0]).abs()))
}

#[test]
fn whoever_began_is_heard_until_600_ms_of_silence() {
    let mut floor = Floor::new(Talkers::One);
    assert_eq!(floor.hear(at(0), ANA, LOUD), Some(Turn::Began(ANA)));
    assert_eq!(floor.hear(at(20), RUI, 0.9), None);
    assert!(floor.is_heard(ANA) && !floor.is_heard(RUI) && !floor.is_open_to(RUI));
    // A pause within a sentence.
    assert_eq!(floor.hear(at(500), ANA, 0.0), None);
    assert_eq!(floor.hear(at(560), ANA, LOUD), None);
    assert_eq!(floor.settle(at(1_159)), []);
    assert_eq!(floor.settle(at(1_160)), [Turn::Ended(ANA)]);
    assert!(!floor.is_heard(ANA) && floor.is_open_to(RUI));
    assert_eq!(floor.hear(at(1_180), RUI, LOUD), Some(Turn::Began(RUI)));
    assert_eq!(floor.hear(at(1_180), ANA, LOUD), None);
}

#[test]
fn a_room_s_noise_does_not_take_the_floor() {
    let mut floor = Floor::new(Talkers::One);
    assert_eq!(floor.hear(at(0), ANA, 0.003), None);
    assert!(!floor.is_heard(ANA));
    assert_eq!(floor.hear(at(0), RUI, LOUD), Some(Turn::Began(RUI)));
}

#[test]
fn mixed_all_are_heard_and_each_turn_is_told() {
    let mut floor = Floor::new(Talkers::Mixed);
    assert_eq!(floor.hear(at(0), ANA, LOUD), Some(Turn::Began(ANA)));
    assert_eq!(floor.hear(at(300), RUI, LOUD), Some(Turn::Began(RUI)));
    assert!(floor.is_heard(ANA) && floor.is_heard(RUI));
    assert_eq!(floor.settle(at(700)), [Turn::Ended(ANA)]);
    assert_eq!(floor.clear(), [Turn::Ended(RUI)]);
}

#[test]
fn the_microphone_is_turned_down_until_300_ms_after_the_last_sound_was_out() {
    let (mut ducker, delay) = (Ducker::new(24), Duration::from_millis(40));
    assert_eq!(ducker.gain(at(0), 0.001, delay), 1.0);
    let ducked = ducker.gain(at(20), LOUD, delay);
    assert!((ducked - 0.063).abs() < 0.001, "{ducked}");
    assert_eq!(ducker.gain(at(359), 0.0, delay), ducked);
    assert_eq!(ducker.gain(at(360), 0.0, delay), 1.0);
    assert_eq!(Ducker::new(0).gain(at(0), LOUD, delay), 1.0, "turned off");
}

#[test]
fn turning_down_and_up_again_does_not_click() {
    let whole = tone(1_000.0, 20_000.0, 9_600);
    let mut samples: Vec<i16> = whole.iter().map(|&sample| sample as i16).collect();
    let mut ramp = Ramp::at(1.0);
    for (n, frame) in samples.chunks_mut(960).enumerate() {
        turn_to(if (2..6).contains(&n) { 0.063 } else { 1.0 }, &mut ramp, frame, 1);
    }
    let heard: Vec<f32> = samples.iter().map(|&sample| f32::from(sample)).collect();
    // A tone's own slope and a ramp's on its peak; a click would be 20,000.
    assert!(steepest(&heard) < steepest(&whole) + 20_000.0 / 720.0 + 2.0);
    let peak = |range: std::ops::Range<usize>| heard[range].iter().fold(0.0_f32, |peak, one| peak.max(*one));
    assert!(peak(0..1_900) > 19_900.0 && peak(9_000..9_600) > 19_900.0);
    // 24 dB down within 15 ms.
    assert!((1_200.0..1_300.0).contains(&peak(1_920 + 720..5_700)), "{}", peak(1_920 + 720..5_700));
}

#[test]
fn both_channels_are_turned_down_alike() {
    let mut samples = [10_000_i16, -10_000].repeat(960);
    turn_to(0.0, &mut Ramp::at(1.0), &mut samples, 2);
    assert!(samples.chunks(2).all(|pair| pair[0] == -pair[1]));
    assert_eq!(samples[2 * 959], 0);
}

#[test]
fn a_sum_that_is_too_loud_is_turned_down_without_a_step() {
    let (one, two) = (tone(400.0, 0.8, 48_000), tone(430.0, 0.8, 48_000));
    let (mut mixer, mut ramps, mut heard) = (Mixer::default(), [Ramp::at(1.0); 2], Vec::new());
    for (one, two) in one.chunks(960).zip(two.chunks(960)) {
        let mut sum = [0.0; 960];
        Mixer::add(&mut sum, one, &mut ramps[0], 1.0);
        Mixer::add(&mut sum, two, &mut ramps[1], 1.0);
        mixer.limit(&mut sum);
        heard.extend(sum);
    }
    let peak = heard.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    assert!((0.85..=1.0).contains(&peak), "{peak}");
    // Two tones of 0.8 have a slope of 0.09 together.
    assert!(steepest(&heard) < 0.1, "{}", steepest(&heard));
}

#[test]
fn one_voice_within_the_limit_is_left_as_it_is() {
    let voice = tone(1_000.0, 0.85, 960);
    let mut sum = voice.clone();
    Mixer::default().limit(&mut sum);
    assert_eq!(sum, voice);
}

proptest! {
    #[test]
    fn whatever_is_mixed_stays_within_full_scale(
        frames in proptest::collection::vec(proptest::collection::vec(any::<f32>(), 1..50), 1..20)
    ) {
        let mut mixer = Mixer::default();
        for mut frame in frames {
            mixer.limit(&mut frame);
            prop_assert!(frame.iter().all(|sample| (-1.0..=1.0).contains(sample)), "{frame:?}");
        }
    }
}

use super::*;
use proptest::prelude::*;
use std::f64::consts::TAU;

const START: Duration = Duration::from_secs(100);

/// A device in virtual time. Its sound is a function of the media clock, so that what is heard tells
/// when it was taken: left a tone of 1 kHz, right one of 20 Hz whose phase is the time to within 25 ms.
struct Device {
    nominal_hz: u32,
    /// What its crystal really does.
    real_hz: f64,
    channels: u16,
    moments: u64,
    /// State of a small generator of noise (PCG's multiplier), for the timestamps.
    noise: u64,
}

impl Device {
    fn new(nominal_hz: u32, channels: u16, off_ppm: f64) -> Device {
        let real_hz = f64::from(nominal_hz) * (1.0 + off_ppm * 1e-6);
        Device { nominal_hz, real_hz, channels, moments: 0, noise: 1 }
    }
    fn now(&self) -> MediaTime {
        MediaTime(START + Duration::from_secs_f64(self.moments as f64 / self.real_hz))
    }
    fn collector(&self) -> FrameCollector {
        FrameCollector::new(self.nominal_hz, self.channels, Channels::sent_for(self.channels, self.channels))
    }
    fn period(&mut self, len: usize) -> (Vec<f32>, MediaTime) {
        let captured = self.now();
        let mut samples = Vec::with_capacity(len * usize::from(self.channels));
        for _ in 0..len {
            let seconds = self.moments as f64 / self.real_hz + START.as_secs_f64();
            samples.push(sine(1_000.0, seconds) as f32);
            if self.channels > 1 {
                samples.push(sine(20.0, seconds) as f32);
            }
            self.moments += 1;
        }
        (samples, captured)
    }
    /// From 0 to 1.
    fn random(&mut self) -> f64 {
        self.noise =
            self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 33) as f64 / f64::from(1u32 << 31)
    }
    /// How late a thread reads a driver's counter: some tenths of a millisecond, more under load, and once in
    /// a hundred times by what another thread took.
    fn lateness(&mut self) -> Duration {
        let usual_s = -0.000_3 * (1.0 - self.random()).ln();
        let rare_s = if self.random() < 0.01 { 0.030 * self.random() } else { 0.0 };
        Duration::from_secs_f64(usual_s + rare_s)
    }
}

/// A tone at a third of full scale.
fn sine(hz: f64, seconds: f64) -> f64 {
    (TAU * hz * seconds).sin() * 0.3
}

/// What was heard of one tone, by the times that the frames claim.
#[derive(Default)]
struct Heard {
    in_phase: f64,
    quadrature: f64,
    power: f64,
    samples: f64,
}

impl Heard {
    fn hear(&mut self, hz: f64, seconds: f64, sample: i16) {
        let (sin, cos) = (TAU * hz * seconds).sin_cos();
        let sample = f64::from(sample) / 32_768.0;
        self.in_phase += sample * sin;
        self.quadrature += sample * cos;
        self.power += sample * sample;
        self.samples += 1.0;
    }
    /// How much later than claimed it was taken.
    fn late_s(&self, hz: f64) -> f64 {
        -self.quadrature.atan2(self.in_phase) / (TAU * hz)
    }
    /// The tone against everything else, in dB. What little the pitch still bends counts as well.
    fn clean_db(&self) -> f64 {
        let tone = 2.0 * (self.in_phase.powi(2) + self.quadrature.powi(2)) / self.samples.powi(2);
        10.0 * (tone / (self.power / self.samples - tone).max(1e-12)).log10()
    }
}

/// Half an hour. In a debug build the arithmetic takes ten times as long; there less must do.
const SECONDS: u64 = if cfg!(debug_assertions) { 40 } else { 1_800 };
/// Until the clock of a device that is far off is known.
const SETTLED: Duration = Duration::from_secs(25);

/// Lets a device run with late readings, and looks at the tone in each frame and at the time in each ten.
fn follows_the_media_clock(nominal_hz: u32, off_ppm: f64) {
    let mut device = Device::new(nominal_hz, 2, off_ppm);
    let mut collector = device.collector();
    let (mut frames, mut last, mut last_sample, mut steepest) = (0, None, 0, 0);
    let (mut slow, mut least_db) = (Heard::default(), f64::INFINITY);
    for _ in 0..SECONDS * 100 {
        let (samples, captured) = device.period(nominal_hz as usize / 100);
        collector.push(&samples, MediaTime(captured.0 + device.lateness()));
        while let Some(frame) = collector.next_frame() {
            assert!(last.is_none_or(|last| frame.captured.0 - last == FRAME), "after {frames} frames");
            last = Some(frame.captured.0);
            let mut tone = Heard::default();
            for (index, pair) in frame.samples.chunks_exact(2).enumerate() {
                let seconds = frame.captured.0.as_secs_f64() + index as f64 / 48_000.0;
                tone.hear(1_000.0, seconds, pair[0]);
                slow.hear(20.0, seconds, pair[1]);
                // The tone begins out of nothing in the first frame, with a click of its own.
                let step = (i32::from(pair[0]) - last_sample).abs();
                steepest = if frames == 0 { 0 } else { steepest.max(step) };
                last_sample = pair[0].into();
            }
            let is_settled = frame.captured.0 > START + SETTLED;
            least_db = if is_settled { least_db.min(tone.clean_db()) } else { least_db };
            frames += 1;
            if frames % 10 == 0 {
                let late_ms = std::mem::take(&mut slow).late_s(20.0) * 1e3;
                let bound_ms = if is_settled { 0.5 } else { 2.0 };
                assert!(late_ms.abs() < bound_ms, "{late_ms} ms off after {frames} frames");
            }
        }
    }
    assert!(least_db > 50.0, "{least_db} dB in one of {frames} frames");
    // The tone's own steepest slope is 1 287 a sample; a click is steeper.
    assert!(steepest < 1_400, "a step of {steepest}");
    // As many frames as the media clock has had, but for those that are still on their way.
    let due = (device.now().0 - START).as_millis() / 20;
    assert!((due - 1..=due).contains(&frames), "{frames} frames, {due} are due");
    assert!((collector.off_ppm() - off_ppm).abs() < 5.0, "{} ppm", collector.off_ppm());
}

#[test]
fn a_crystal_200_ppm_fast_is_followed() {
    follows_the_media_clock(48_000, 200.0);
}

#[test]
fn a_crystal_200_ppm_slow_is_followed() {
    follows_the_media_clock(48_000, -200.0);
}

#[test]
fn a_clock_1000_ppm_fast_is_followed() {
    follows_the_media_clock(48_000, 1_000.0);
}

#[test]
fn a_44_1_khz_device_is_followed() {
    follows_the_media_clock(44_100, 50.0);
}

#[test]
fn an_8_khz_device_is_followed() {
    follows_the_media_clock(8_000, -100.0);
}

#[test]
fn a_192_khz_device_is_followed() {
    follows_the_media_clock(192_000, 200.0);
}

/// What a frame of stereo costs: `cargo test --release a_frame_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement: its figure depends on the machine"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn a_frame_costs() {
    for rate_hz in [8_000, 44_100, 48_000, 192_000] {
        let mut device = Device::new(rate_hz, 2, 100.0);
        let mut collector = device.collector();
        let periods: Vec<_> = (0..1_000).map(|_| device.period(rate_hz as usize / 100)).collect();
        let start = std::time::Instant::now();
        let mut frames = 0;
        for (samples, captured) in periods {
            collector.push(&samples, captured);
            frames += std::iter::from_fn(|| collector.next_frame()).count();
        }
        println!("{rate_hz} Hz: {:.0} µs a frame", start.elapsed().as_secs_f64() * 1e6 / frames as f64);
    }
}

#[test]
fn the_first_two_periods_of_10_ms_are_a_frame() {
    // Nothing may wait for the period after: that were 10 ms more of delay.
    let mut device = Device::new(48_000, 1, 0.0);
    let mut collector = device.collector();
    for index in 0..100 {
        let (samples, captured) = device.period(480);
        collector.push(&samples, captured);
        assert_eq!(collector.next_frame().is_some(), index % 2 == 1, "at period {index}");
    }
}

#[test]
fn late_wake_ups_leave_no_trace_in_the_times() {
    let mut device = Device::new(44_100, 2, 50.0);
    let mut collector = device.collector();
    let (mut last, mut heard) = (None, Heard::default());
    for index in 0..2_000 {
        let (samples, captured) = device.period(441);
        // Up to 8 ms late, in no order.
        collector.push(&samples, MediaTime(captured.0 + Duration::from_millis(index * 37 % 9)));
        while let Some(frame) = collector.next_frame() {
            assert!(last.is_none_or(|last| frame.captured.0 - last == FRAME));
            last = Some(frame.captured.0);
            for (index, pair) in frame.samples.chunks_exact(2).enumerate() {
                heard.hear(20.0, frame.captured.0.as_secs_f64() + index as f64 / 48_000.0, pair[1]);
            }
        }
    }
    assert!(heard.late_s(20.0).abs() < 0.002, "{} s off on average", heard.late_s(20.0));
}

#[test]
fn a_gap_makes_the_times_jump_and_mixes_nothing_across_it() {
    for is_announced in [true, false] {
        let mut device = Device::new(48_000, 1, 0.0);
        let mut collector = device.collector();
        let (samples, captured) = device.period(1_900);
        collector.push(&samples, captured);
        assert_eq!(std::iter::from_fn(|| collector.next_frame()).count(), 1);
        if is_announced {
            collector.gap();
        }
        device.moments += 24_000;
        let resumed = device.now();
        // Unannounced, the first period may as well have a wrong time: the second one confirms it.
        for _ in 0..2 {
            let (samples, captured) = device.period(480);
            collector.push(&samples, captured);
        }
        let frame = collector.next_frame().expect("20 ms after the gap");
        // The filter begins half its length, 31 samples of the 64, and some silence before the sound.
        let ahead = resumed.0 - frame.captured.0;
        assert!(ahead < Duration::from_millis(1), "{ahead:?} before the sound");
        // Loud sound from before the gap would ring in these.
        assert!(frame.samples[..8].iter().all(|sample| sample.abs() < 50), "{:?}", &frame.samples[..8]);
    }
}

#[test]
fn a_single_time_that_is_far_off_changes_nothing() {
    let mut device = Device::new(48_000, 1, 0.0);
    let mut collector = device.collector();
    let mut last = None;
    for index in 0..400 {
        let (samples, captured) = device.period(480);
        let late = if index % 50 == 7 { Duration::from_millis(500) } else { Duration::ZERO };
        collector.push(&samples, MediaTime(captured.0 + late));
        while let Some(frame) = collector.next_frame() {
            assert!(last.is_none_or(|last| frame.captured.0 - last == FRAME));
            last = Some(frame.captured.0);
        }
    }
    assert!(last.is_some_and(|last| device.now().0 - last < FRAME * 3));
}

#[test]
fn the_first_two_channels_are_what_is_heard() {
    let levels = [0.1f32, 0.3, 0.9, 0.9];
    for (device_channels, channels, expected) in [
        (1, Channels::Mono, vec![0.1]),
        (2, Channels::Mono, vec![0.2]),
        (4, Channels::Mono, vec![0.2]),
        (1, Channels::Stereo, vec![0.1, 0.1]),
        (2, Channels::Stereo, vec![0.1, 0.3]),
        (4, Channels::Stereo, vec![0.1, 0.3]),
    ] {
        let mut mixed = Vec::new();
        mix(&levels[..device_channels], device_channels, channels, &mut mixed);
        let is_close =
            mixed.iter().zip(&expected).all(|(is, wanted): (&f32, &f32)| (is - wanted).abs() < 1e-6);
        assert!(mixed.len() == expected.len() && is_close, "{mixed:?} of {device_channels} channels");
    }
}

proptest! {
    #[test]
    fn any_periods_at_any_rate_are_taken(
        rate_hz in 0u32..400_000,
        device_channels in 0u16..12,
        asked in 0u16..9,
        periods in proptest::collection::vec((0usize..3_000, -1.0f32..1.0, 0u64..10_000_000_000), 0..12),
    ) {
        let channels = Channels::sent_for(asked, device_channels);
        let mut collector = FrameCollector::new(rate_hz, device_channels, channels);
        let mut ended = MediaTime::default();
        for (len, sample, nanos) in periods {
            collector.push(&vec![sample; len], MediaTime(Duration::from_nanos(nanos)));
            while let Some(frame) = collector.next_frame() {
                prop_assert_eq!(frame.samples.len(), FRAME_SAMPLES * channels.count());
                prop_assert!(frame.captured >= ended, "time went back");
                ended = MediaTime(frame.captured.0 + FRAME);
            }
        }
    }
}

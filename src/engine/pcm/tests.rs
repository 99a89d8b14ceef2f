use super::*;
use proptest::prelude::*;
use std::f64::consts::TAU;

const START: Duration = Duration::from_secs(100);

/// A device in virtual time: a sine whose phase is that of the media clock, so that a sample's value
/// tells when it was taken.
struct Device {
    nominal_hz: u32,
    /// What its crystal really does.
    real_hz: f64,
    channels: u16,
    moments: u64,
}

impl Device {
    fn new(nominal_hz: u32, channels: u16, off_ppm: f64) -> Device {
        Device { nominal_hz, real_hz: f64::from(nominal_hz) * (1.0 + off_ppm * 1e-6), channels, moments: 0 }
    }
    fn now(&self) -> MediaTime {
        MediaTime(START + Duration::from_secs_f64(self.moments as f64 / self.real_hz))
    }
    fn period(&mut self, len: usize) -> (Vec<i16>, MediaTime) {
        let captured = self.now();
        let mut samples = Vec::new();
        for _ in 0..len {
            let sample = sine(self.now().0.as_secs_f64());
            samples.extend(std::iter::repeat_n(sample as i16, usize::from(self.channels)));
            self.moments += 1;
        }
        (samples, captured)
    }
    /// Seconds of it in 10 ms periods, each timestamp late by `jitter(n)`.
    fn frames(&mut self, seconds: u64, jitter: impl Fn(u64) -> Duration) -> Vec<PcmFrame> {
        let mut collector = FrameCollector::new(self.nominal_hz, self.channels);
        let mut frames = Vec::new();
        for index in 0..seconds * 100 {
            let (samples, captured) = self.period(self.nominal_hz as usize / 100);
            collector.push(&samples, MediaTime(captured.0 + jitter(index)));
            frames.extend(std::iter::from_fn(|| collector.next_frame()));
        }
        frames
    }
}

/// 300 Hz at a third of full scale.
fn sine(seconds: f64) -> f64 {
    (TAU * 300.0 * seconds).sin() * 10_000.0
}

/// The largest difference between a frame's samples and the sine at the times that they claim.
fn worst_error(frame: &PcmFrame) -> f64 {
    let begin = frame.captured.0.as_secs_f64();
    let differences = frame.samples.iter().enumerate();
    let error =
        |(index, &sample): (usize, &i16)| (f64::from(sample) - sine(begin + index as f64 / 48_000.0)).abs();
    differences.map(error).fold(0.0, f64::max)
}

#[test]
fn a_48_khz_device_is_passed_on_untouched() {
    let mut device = Device::new(48_000, 2, 0.0);
    let (samples, captured) = device.period(2_000);
    let mut collector = FrameCollector::new(48_000, 2);
    collector.push(&samples[..1_920], captured);
    let frame = collector.next_frame().expect("960 moments are a frame");
    assert_eq!((frame.captured, &frame.samples[..]), (captured, &samples[..1_920]));
    collector.push(&samples[1_920..], MediaTime(captured.0 + FRAME));
    let second = collector.next_frame().expect("and the second");
    assert_eq!((second.captured.0, &second.samples[..]), (captured.0 + FRAME, &samples[1_920..3_840]));
    assert_eq!(collector.next_frame(), None);
}

#[test]
fn every_rate_keeps_pitch_and_time() {
    for rate_hz in [8_000, 16_000, 44_100, 48_000, 96_000, 192_000] {
        let frames = Device::new(rate_hz, 1, 0.0).frames(2, |_| Duration::ZERO);
        assert!(frames.len() >= 98, "{} frames at {rate_hz} Hz", frames.len());
        for frame in &frames[1..] {
            // Averaging shifts by less than a sample: 300 Hz changes by 393 in one of 48 kHz.
            assert!(worst_error(frame) < 400.0, "{} off at {rate_hz} Hz", worst_error(frame));
        }
    }
}

#[test]
fn a_crystal_that_is_off_does_not_drift_away_from_the_media_clock() {
    for off_ppm in [-300.0, 120.0] {
        let mut device = Device::new(48_000, 1, off_ppm);
        let frames = device.frames(120, |_| Duration::ZERO);
        for pair in frames.windows(2) {
            assert_eq!(pair[1].captured.0 - pair[0].captured.0, FRAME);
        }
        // Left alone, 300 ppm are 36 ms by now. Up to a frame's length may still be on its way.
        let end = (frames.last().expect("frames").captured.0 + FRAME).as_secs_f64();
        let behind = device.now().0.as_secs_f64() - end;
        assert!((-0.004..0.026).contains(&behind), "{behind} s behind at {off_ppm} ppm");
    }
}

#[test]
fn late_wake_ups_leave_no_trace_in_the_times() {
    // Up to 8 ms late, in no order.
    let frames = Device::new(44_100, 1, 50.0).frames(20, |index| Duration::from_millis(index * 37 % 9));
    for pair in frames.windows(2) {
        assert_eq!(pair[1].captured.0 - pair[0].captured.0, FRAME);
    }
    // The mean lateness, 4 ms, stays; half a millisecond of 300 Hz beyond it would show.
    let last = frames.last().expect("frames").captured.0.as_secs_f64();
    assert!(last > START.as_secs_f64() + 19.9, "{last}");
}

#[test]
fn a_gap_makes_the_times_jump_and_mixes_nothing_across_it() {
    let mut device = Device::new(48_000, 1, 0.0);
    let mut collector = FrameCollector::new(48_000, 1);
    let (samples, captured) = device.period(1_500);
    collector.push(&samples, captured);
    assert!(collector.next_frame().is_some());
    device.moments += 24_000;
    let (samples, captured) = device.period(1_500);
    collector.push(&samples, captured);
    let frame = collector.next_frame().expect("1500 moments are a frame");
    assert_eq!((frame.captured, &frame.samples[..]), (captured, &samples[..960]));
}

#[test]
fn more_than_two_channels_are_mixed_to_one() {
    let mut collector = FrameCollector::new(48_000, 4);
    let moments: Vec<i16> = std::iter::repeat_n([100, 200, 300, 400], 1_000).flatten().collect();
    collector.push(&moments, MediaTime(START));
    assert_eq!(collector.next_frame().expect("a frame").samples, vec![250; 960]);
}

proptest! {
    #[test]
    fn any_periods_at_any_rate_are_taken(
        rate_hz in 0u32..400_000,
        channels in 0u16..12,
        periods in proptest::collection::vec((0usize..3_000, any::<i16>(), 0u64..10_000_000_000), 0..12),
    ) {
        let mut collector = FrameCollector::new(rate_hz, channels);
        for (len, sample, nanos) in periods {
            collector.push(&vec![sample; len], MediaTime(Duration::from_nanos(nanos)));
            while let Some(frame) = collector.next_frame() {
                prop_assert_eq!(frame.samples.len(), FRAME_SAMPLES * collector.channels().count());
            }
        }
    }
}

use super::*;

const START: Duration = Duration::from_secs(1_000);

/// A device in virtual time that is read each 10 ms.
struct Device {
    real_hz: f64,
    sample: u64,
    at_s: f64,
    noise: u64,
}

impl Device {
    fn new(real_hz: f64) -> Device {
        Device { real_hz, sample: 0, at_s: 0.0, noise: 7 }
    }
    /// From 0 to 1, by PCG's multiplier.
    fn random(&mut self) -> f64 {
        self.noise =
            self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 33) as f64 / f64::from(1u32 << 31)
    }
    fn true_time(&self) -> MediaTime {
        later(MediaTime(START), self.at_s)
    }
    /// 10 ms later.
    fn step(&mut self) {
        let samples = (self.real_hz / 100.0).round();
        self.sample += samples as u64;
        self.at_s += samples / self.real_hz;
    }
    /// A reading as a loaded board gives it: 0.3 ms late on average, once in a hundred times up to 30 ms.
    fn reading(&mut self) -> MediaTime {
        let usual_s = -0.000_3 * (1.0 - self.random()).ln();
        let rare_s = if self.random() < 0.01 { 0.030 * self.random() } else { 0.0 };
        later(self.true_time(), usual_s + rare_s)
    }
    /// By how much the clock is wrong about the sample that just passed, in seconds.
    fn error_s(&self, clock: &SampleClock) -> f64 {
        seconds_between(self.true_time(), clock.time_of(self.sample as f64))
    }
    /// Lets it run, each reading late as it comes.
    fn run(&mut self, clock: &mut SampleClock, seconds: u32) {
        for _ in 0..seconds * 100 {
            let reading = self.reading();
            clock.read(self.sample, reading);
            self.step();
        }
    }
}

#[test]
fn half_an_hour_of_drift_is_followed_within_a_millisecond() {
    for nominal_hz in [8_000, 44_100, 48_000, 192_000] {
        for off_ppm in [-1_000.0, -200.0, 0.0, 200.0, 1_000.0] {
            let mut device = Device::new(f64::from(nominal_hz) * (1.0 + off_ppm * 1e-6));
            let mut clock = SampleClock::new(nominal_hz);
            for second in 0..1_800 {
                device.run(&mut clock, 1);
                let error_s = device.error_s(&clock);
                // The rate is learned meanwhile; 1000 ppm are 1 ms in each second.
                let bound_s = if second < 25 { 0.002 } else { 0.000_5 };
                assert!(
                    error_s.abs() < bound_s,
                    "{error_s} s off at {second} s, {nominal_hz} Hz {off_ppm} ppm"
                );
                if second > 30 {
                    assert!(
                        (clock.off_ppm() - off_ppm).abs() < 15.0,
                        "{} for {off_ppm} ppm",
                        clock.off_ppm()
                    );
                }
            }
        }
    }
}

#[test]
fn a_clock_that_is_badly_off_is_followed_without_a_jump() {
    let mut device = Device::new(48_000.0 * 1.005);
    let mut clock = SampleClock::new(48_000);
    for second in 0..120 {
        device.run(&mut clock, 1);
        assert!(device.error_s(&clock).abs() < 0.030, "{} s off at {second} s", device.error_s(&clock));
    }
    assert!((clock.off_ppm() - 5_000.0).abs() < 20.0, "{} ppm", clock.off_ppm());
}

#[test]
fn a_crystal_that_warms_up_is_followed() {
    let mut device = Device::new(48_000.0);
    let mut clock = SampleClock::new(48_000);
    // 50 ppm in 10 minutes.
    for second in 0..600 {
        device.real_hz = 48_000.0 * (1.0 + f64::from(second) / 600.0 * 50e-6);
        device.run(&mut clock, 1);
        assert!(device.error_s(&clock).abs() < 0.001, "{} s off at {second} s", device.error_s(&clock));
    }
    assert!((clock.off_ppm() - 50.0).abs() < 10.0, "{} ppm", clock.off_ppm());
}

#[test]
fn a_first_reading_that_comes_late_is_no_drift() {
    let mut device = Device::new(48_000.0);
    let mut clock = SampleClock::new(48_000);
    clock.read(device.sample, later(device.true_time(), 0.010));
    device.step();
    for _ in 0..10 {
        device.run(&mut clock, 1);
        assert!(clock.off_ppm().abs() < 100.0, "{} ppm", clock.off_ppm());
    }
    assert!(device.error_s(&clock).abs() < 0.001, "{} s off", device.error_s(&clock));
}

#[test]
fn a_board_that_is_busy_now_and_then_is_no_drift() {
    let mut device = Device::new(48_000.0);
    let mut clock = SampleClock::new(48_000);
    let mut most_ppm = 0.0f64;
    for index in 0..6_000 {
        // Each three seconds half a second in which every reading is 20 ms late.
        let late_s = if index % 300 < 50 { 0.020 } else { 0.0 };
        let reading = later(device.reading(), late_s);
        clock.read(device.sample, reading);
        device.step();
        most_ppm = most_ppm.max(clock.off_ppm().abs());
    }
    assert!(most_ppm < 700.0, "{most_ppm} ppm");
}

#[test]
fn a_reading_that_is_far_off_is_doubted_and_forgotten() {
    let mut device = Device::new(48_000.0);
    let mut clock = SampleClock::new(48_000);
    device.run(&mut clock, 5);
    for late_s in [0.5, -0.5, 0.1] {
        assert_eq!(clock.read(device.sample, later(device.true_time(), late_s)), Reading::Doubtful);
        device.step();
        assert_eq!(clock.read(device.sample, device.true_time()), Reading::Steady);
        device.step();
    }
    assert!(device.error_s(&clock).abs() < 0.001);
}

#[test]
fn a_jump_is_believed_when_the_next_reading_confirms_it() {
    let mut device = Device::new(48_010.0);
    let mut clock = SampleClock::new(48_000);
    device.run(&mut clock, 20);
    // Half a second of samples that nobody counted.
    device.at_s += 0.5;
    assert_eq!(clock.read(device.sample, device.true_time()), Reading::Doubtful);
    device.step();
    assert_eq!(clock.read(device.sample, device.true_time()), Reading::Jumped);
    assert!(device.error_s(&clock).abs() < 0.000_1);
    // What is known of the rate is not lost with it.
    assert!((clock.rate_hz() - 48_010.0).abs() < 0.5, "{}", clock.rate_hz());
    assert_eq!(clock.read(device.sample, device.true_time()), Reading::Steady);
}

#[test]
fn times_that_never_agree_are_not_doubted_for_ever() {
    let mut clock = SampleClock::new(48_000);
    let readings = (0..100u64).map(|index| MediaTime(Duration::from_secs(index * index)));
    let doubts: Vec<Reading> =
        readings.enumerate().map(|(index, at)| clock.read(index as u64 * 480, at)).collect();
    assert!(doubts.windows(12).all(|row| row.contains(&Reading::Jumped)), "{doubts:?}");
}

#[test]
fn a_few_samples_lost_are_no_drift() {
    let mut device = Device::new(48_000.0);
    let mut clock = SampleClock::new(48_000);
    device.run(&mut clock, 20);
    // 20 ms that a USB device swallowed without a word.
    device.at_s += 0.020;
    let mut most_ppm = 0.0f64;
    for _ in 0..50 {
        device.run(&mut clock, 1);
        most_ppm = most_ppm.max(clock.off_ppm().abs());
    }
    assert!(device.error_s(&clock).abs() < 0.000_5, "{} s off", device.error_s(&clock));
    assert!(most_ppm < 50.0, "{most_ppm} ppm");
}

#[test]
fn an_interruption_keeps_the_rate_and_takes_any_time() {
    let mut device = Device::new(47_990.0);
    let mut clock = SampleClock::new(48_000);
    device.run(&mut clock, 20);
    clock.interrupt();
    device.at_s += 3.0;
    assert_eq!(clock.read(device.sample, device.true_time()), Reading::Jumped);
    assert!((clock.rate_hz() - 47_990.0).abs() < 0.5, "{}", clock.rate_hz());
}

#[test]
fn no_readings_make_a_rate_that_no_crystal_has() {
    let mut clock = SampleClock::new(48_000);
    let mut device = Device::new(60_000.0);
    for _ in 0..5_000 {
        clock.read(device.sample, device.true_time());
        device.step();
        assert!((47_500.0..48_500.0).contains(&clock.rate_hz()), "{}", clock.rate_hz());
    }
    // Time that stands still, and time that is nonsense.
    for sample in [1 << 40, 1 << 41, u64::MAX] {
        clock.read(sample, MediaTime::default());
        clock.read(sample, MediaTime(Duration::MAX));
        assert!((47_500.0..48_500.0).contains(&clock.rate_hz()), "{}", clock.rate_hz());
    }
}

//! Where is a servo to point next? Its limits, its speed, and the pulse for an angle.
//!
//! A hobby servo runs to whatever pulse it is given as fast as it can, which shakes the picture and may tear
//! a cable at the end of its way. So it is led there: in steps, one for each pulse period, never beyond
//! the ends that were configured.

use std::time::Duration;

use crate::config::board;

/// A servo gets a pulse 50 times a second, and a step with each.
pub const PERIOD: Duration = Duration::from_millis(20);

/// One servo: where it is, and where it is going.
#[derive(Clone, Debug, PartialEq)]
pub struct Servo {
    limits: board::Servo,
    at_deg: f32,
    target_deg: f32,
}

impl Servo {
    /// A servo at its start. Where it really stands is known only once it was given a pulse.
    pub fn new(limits: &board::Servo) -> Self {
        Servo { at_deg: limits.start_deg, target_deg: limits.start_deg, limits: limits.clone() }
    }

    /// Where it is, in degrees from the middle.
    pub fn at_deg(&self) -> f32 {
        self.at_deg
    }

    /// Whether it has not arrived.
    pub fn is_moving(&self) -> bool {
        self.at_deg != self.target_deg
    }

    /// Where it is to go, within its limits; returns where that is. What is no number changes nothing.
    pub fn aim(&mut self, deg: f32) -> f32 {
        if !deg.is_nan() {
            let (low, high) = self.limits.range_deg;
            // `clamp` panics when the ends are the wrong way round, which the configuration excludes.
            self.target_deg = deg.max(low).min(high);
        }
        self.target_deg
    }

    /// Goes on for so long.
    pub fn advance(&mut self, elapsed: Duration) {
        let step = self.limits.speed_deg_s * elapsed.as_secs_f32();
        let rest = self.target_deg - self.at_deg;
        // Within one step it arrives exactly, so that it ends.
        self.at_deg = if rest.abs() <= step { self.target_deg } else { self.at_deg + step.copysign(rest) };
    }

    /// The pulse for where it is.
    pub fn pulse(&self) -> Duration {
        let ((low, high), (first_us, last_us)) = (self.limits.range_deg, self.limits.pulse_us);
        let part = ((self.at_deg - low) / (high - low)).clamp(0.0, 1.0);
        // Between 400 and 2600 us, so a tenth of a microsecond is within an f32's 24 bits.
        let us = first_us as f32 + (last_us as f32 - first_us as f32) * part;
        Duration::from_nanos((us * 1000.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(pulse_us: (u32, u32), range_deg: (f32, f32)) -> board::Servo {
        board::Servo { pwm: 0, pulse_us, range_deg, speed_deg_s: 60.0, start_deg: range_deg.0.max(0.0) }
    }

    #[test]
    fn the_ends_and_the_middle_have_their_pulses() {
        for (pulse_us, aim, expected_us) in [
            ((1000, 2000), 0.0, 1500),
            ((1000, 2000), -45.0, 1000),
            ((1000, 2000), 45.0, 2000),
            ((2400, 600), 45.0, 600),
            ((2400, 600), -45.0, 2400),
        ] {
            let mut servo = Servo::new(&limits(pulse_us, (-45.0, 45.0)));
            servo.aim(aim);
            servo.advance(Duration::from_secs(9));
            assert_eq!(servo.pulse(), Duration::from_micros(expected_us), "{pulse_us:?} {aim}");
        }
    }

    #[test]
    fn it_goes_at_its_speed_and_stops_where_it_was_sent() {
        let mut servo = Servo::new(&limits((1000, 2000), (-45.0, 45.0)));
        assert_eq!(servo.aim(30.0), 30.0);
        let mut steps = 0;
        while servo.is_moving() {
            let before = servo.at_deg();
            servo.advance(PERIOD);
            assert!(servo.at_deg() - before <= 60.0 * 0.02 + 1e-4);
            steps += 1;
        }
        assert_eq!(servo.at_deg(), 30.0);
        // 30 degrees at 60 a second in steps of 20 ms.
        assert_eq!(steps, 25);
    }

    #[test]
    fn what_is_no_angle_moves_nothing() {
        let mut servo = Servo::new(&limits((1000, 2000), (-45.0, 45.0)));
        servo.aim(20.0);
        assert_eq!(servo.aim(f32::NAN), 20.0);
        assert_eq!(servo.aim(f32::INFINITY), 45.0);
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_limits(
            aims in prop::collection::vec((any::<f32>(), 0u64..3000), 0..40),
            first_us in 400u32..2600,
            last_us in 400u32..2600,
        ) {
            let (low, high) = (-30.0, 75.0);
            let mut servo = Servo::new(&limits((first_us, last_us), (low, high)));
            for (aim, elapsed_ms) in aims {
                let target = servo.aim(aim);
                prop_assert!((low..=high).contains(&target));
                servo.advance(Duration::from_millis(elapsed_ms));
                prop_assert!((low..=high).contains(&servo.at_deg()));
                let us = servo.pulse().as_micros() as u32;
                prop_assert!((first_us.min(last_us) - 1..=first_us.max(last_us)).contains(&us), "{us}");
            }
        }
    }
}

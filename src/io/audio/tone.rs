//! A tone as a microphone: 440 Hz, and a beep of 880 Hz for 100 ms from each whole second of
//! `CLOCK_MONOTONIC` on, while the test picture shows its white square.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::engine::pcm::{FRAME, FRAME_SAMPLES, PcmFrame, RATE_HZ};
use crate::units::MediaTime;

const TONE_HZ: f64 = 440.0;
const BEEP_HZ: f64 = 880.0;
/// Peaks, of 32767: the tone is soft enough to live with, the beep stands out from it.
const TONE_PEAK: f64 = 1_200.0;
const BEEP_PEAK: f64 = 9_000.0;
/// Samples of a beep: 100 ms.
const BEEP_SAMPLES: u64 = RATE_HZ as u64 / 10;
/// Samples over which the beep swells and fades, 2 ms, so that it does not click.
const RAMP_SAMPLES: u64 = RATE_HZ as u64 / 500;

/// The tone from a moment on.
pub(super) struct Tone {
    /// When the next frame's first sample is taken: always a multiple of 20 ms, so that a second is 50
    /// whole frames and a beep starts at the first sample of one.
    next: MediaTime,
}

impl Tone {
    pub(super) fn starting(now: MediaTime) -> Tone {
        let frames = now.0.as_nanos() / FRAME.as_nanos();
        // A monotonic clock's frames since boot: u64 holds them for billions of years.
        Tone { next: MediaTime(Duration::from_nanos((frames * FRAME.as_nanos()) as u64)) }
    }

    /// When the next frame is complete: as with a microphone, once its last sample was taken.
    pub(super) fn due(&self) -> MediaTime {
        MediaTime(self.next.0 + FRAME)
    }

    /// The next frame, when it is due. After a standstill of a second it goes on at the present.
    pub(super) fn frame(&mut self, now: MediaTime) -> Option<PcmFrame> {
        if now < self.due() {
            return None;
        }
        if now.0 - self.next.0 > Duration::from_secs(1) {
            *self = Tone::starting(MediaTime(now.0 - FRAME));
        }
        let captured = self.next;
        self.next = self.due();
        let in_second = u64::from(captured.0.subsec_nanos()) * u64::from(RATE_HZ) / 1_000_000_000;
        let samples = (in_second..in_second + FRAME_SAMPLES as u64).map(sample).collect();
        Some(PcmFrame { samples, captured })
    }
}

/// The sample that is so many after a whole second. Both frequencies are whole, so every second is alike.
fn sample(in_second: u64) -> i16 {
    let seconds = in_second as f64 / f64::from(RATE_HZ);
    let tone = (TAU * TONE_HZ * seconds).sin() * TONE_PEAK;
    let to_edge = in_second.min(BEEP_SAMPLES.saturating_sub(in_second)).min(RAMP_SAMPLES);
    let beep = (TAU * BEEP_HZ * seconds).sin() * BEEP_PEAK * to_edge as f64 / RAMP_SAMPLES as f64;
    (tone + beep) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loudest(frame: &PcmFrame) -> i16 {
        frame.samples.iter().map(|sample| sample.abs()).max().unwrap_or(0)
    }

    #[test]
    fn it_beeps_during_the_first_tenth_of_each_second() {
        let mut tone = Tone::starting(MediaTime(Duration::from_millis(7_013)));
        for _ in 0..150 {
            let due = tone.due();
            assert_eq!(tone.frame(MediaTime(due.0 - Duration::from_nanos(1))), None);
            let frame = tone.frame(due).expect("it is due");
            let beeps = frame.captured.0.subsec_millis() < 100;
            assert_eq!(loudest(&frame) > 5_000, beeps, "at {:?}", frame.captured);
        }
    }

    #[test]
    fn frames_follow_each_other_without_drift_or_click() {
        let mut tone = Tone::starting(MediaTime(Duration::from_millis(5_999)));
        let first = tone.due();
        let mut last = None;
        for index in 0..100u32 {
            // Asked a little late each time.
            let now = MediaTime(first.0 + FRAME * index + Duration::from_millis(u64::from(index) % 7));
            let frame = tone.frame(now).expect("it is due");
            assert_eq!(frame.captured.0, Duration::from_millis(5_980) + FRAME * index);
            for &sample in &frame.samples {
                // The steepest slope of both sines together is 1 106 a sample.
                assert!(last.is_none_or(|last: i16| last.abs_diff(sample) < 1_200));
                last = Some(sample);
            }
        }
    }
}

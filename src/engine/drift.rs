//! How fast does a device's sample clock really run, and when did each of its samples pass?
//!
//! A sound card counts by a crystal of its own, some parts per million beside `CLOCK_MONOTONIC`. What is
//! known of it are readings: so many samples had passed at that time. A reading comes late by what the
//! driver's counter lags behind and by what the thread waited for its turn, now and then by tens of
//! milliseconds, and hardly ever early. So of each quarter of a second only the reading counts that
//! is almost the earliest, and a line is followed through those: an alpha-beta filter, whose gains are at
//! first those of a straight line fitted to all that was read (as a growing memory has it) and then
//! those of a memory of some 15 s, since a crystal follows the temperature.
//!
//! It does not say what to do about it: [`pcm`](super::pcm) resamples by it, playback fills its device.

use std::time::Duration;

use crate::units::MediaTime;

/// Readings are gathered for so long before the line moves.
const WINDOW_S: f64 = 0.25;
/// The filter starts as if it had seen so many windows at the nominal rate. Fewer, and the first late
/// reading is taken for a drift; more, and a crystal that is far off is believed late.
const WINDOWS_AT_FIRST: u32 = 12;
/// The memory, in windows: long enough that 1 ms of noise moves the rate by less than 10 ppm.
const WINDOWS_AT_MOST: u32 = 60;
/// What is left of the memory when the device lost samples: the rate stays, the phase is new.
const WINDOWS_AFTER_STEP: u32 = 20;
/// Of a window that is farther off, no more than this says something of the rate: a crystal 1000 ppm off
/// never gets so far away from the line, a board that is busy does.
const DRIFT_AT_MOST_S: f64 = 0.004;
/// Of a window's readings, sorted, the one after the first eighth counts: a single early one does not.
const SHARE_NOT_TRUSTED: usize = 8;
/// The device lost samples if two windows are off by more than this: noise stays far below.
const STEP_S: f64 = 0.004;
/// A reading that is off by more than this is held for a jump, once the next one agrees within
/// [`AGREE_S`].
const JUMP_S: f64 = 0.060;
/// Two readings of one jump differ by their jitter only.
const AGREE_S: f64 = 0.015;
/// So many doubtful readings in a row, of which no two agree, are believed as well: sound is waiting.
const DOUBTS_MAX: u32 = 10;
/// No crystal is off by more than this share; a rate beyond it is a broken driver's.
pub const MOST_OFF: f64 = 0.01;
/// More readings than any device gives in a window are not kept.
const READINGS_MAX: usize = 256;

/// Follows one device's clock.
#[derive(Clone, Debug)]
pub struct SampleClock {
    nominal_hz: f64,
    rate_hz: f64,
    /// A point of the line, from which times are told; `None` before the first reading.
    anchor: Option<(u64, MediaTime)>,
    /// The readings of this window: how late each is against the line, in seconds.
    lateness_s: Vec<f64>,
    /// How many windows the filter remembers.
    windows: u32,
    /// The anchor is a single reading, as late as that happened to be: the first window puts it right.
    is_fresh: bool,
    /// How late the last window was, when it looked like lost samples.
    step_s: Option<f64>,
    /// How late the last reading was, when it looked like a jump.
    jump_s: Option<f64>,
    /// Doubtful readings in a row.
    doubts: u32,
}

/// What a reading was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Where the clock was expected, but for its jitter.
    Steady,
    /// Far off; the next one tells whether it was a mistake or a jump.
    Doubtful,
    /// The one before was the first after a jump, and this one confirms it: times before it and after it have
    /// nothing to do with each other. The first reading of all is one too.
    Jumped,
}

impl SampleClock {
    /// For a device that says of itself that it runs at `nominal_hz`.
    pub fn new(nominal_hz: u32) -> SampleClock {
        let nominal_hz = f64::from(nominal_hz.max(1));
        SampleClock {
            nominal_hz,
            rate_hz: nominal_hz,
            anchor: None,
            lateness_s: Vec::new(),
            windows: WINDOWS_AT_FIRST,
            is_fresh: true,
            step_s: None,
            jump_s: None,
            doubts: 0,
        }
    }

    /// Samples in a second of the media clock.
    pub fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    /// By how many parts per million the device is faster than it says.
    pub fn off_ppm(&self) -> f64 {
        (self.rate_hz / self.nominal_hz - 1.0) * 1e6
    }

    /// Samples were lost, or the device stopped: the next reading begins anew, at the rate known so far.
    pub fn interrupt(&mut self) {
        self.anchor = None;
    }

    /// Takes a reading: the sample of this number passed at this time. Numbers never go back.
    pub fn read(&mut self, sample: u64, at: MediaTime) -> Reading {
        let Some((anchor, _)) = self.anchor else {
            self.begin(sample, at);
            return Reading::Jumped;
        };
        let late_s = seconds_between(self.time_of(sample as f64), at);
        if late_s.abs() > JUMP_S {
            let agrees = self.jump_s.is_some_and(|before_s| (before_s - late_s).abs() < AGREE_S);
            self.doubts += 1;
            if agrees || self.doubts > DOUBTS_MAX {
                self.begin(sample, at);
                return Reading::Jumped;
            }
            self.jump_s = Some(late_s);
            return Reading::Doubtful;
        }
        (self.jump_s, self.doubts) = (None, 0);
        if self.lateness_s.len() < READINGS_MAX {
            self.lateness_s.push(late_s);
        }
        if sample.saturating_sub(anchor) as f64 >= self.nominal_hz * WINDOW_S {
            self.end_window(sample);
        }
        Reading::Steady
    }

    /// When a sample passed or will pass, by its number; between two of them too.
    pub fn time_of(&self, sample: f64) -> MediaTime {
        let Some((number, at)) = self.anchor else { return MediaTime::default() };
        later(at, (sample - number as f64) / self.rate_hz)
    }

    fn begin(&mut self, sample: u64, at: MediaTime) {
        self.anchor = Some((sample, at));
        self.lateness_s.clear();
        self.windows = self.windows.min(WINDOWS_AFTER_STEP);
        self.is_fresh = true;
        (self.step_s, self.jump_s, self.doubts) = (None, None, 0);
    }

    /// Moves the line by what the window showed, and its anchor to the window's end.
    fn end_window(&mut self, sample: u64) {
        self.lateness_s.sort_by(f64::total_cmp);
        let late_s = self.lateness_s[self.lateness_s.len() / SHARE_NOT_TRUSTED];
        self.lateness_s.clear();
        let Some((anchor, _)) = self.anchor else { return };
        let elapsed_s = (sample - anchor) as f64 / self.rate_hz;
        let on_line = self.time_of(sample as f64);
        if std::mem::take(&mut self.is_fresh) {
            self.anchor = Some((sample, later(on_line, late_s)));
            return;
        }
        let is_first_step = late_s.abs() > STEP_S && self.windows > WINDOWS_AT_FIRST + 1;
        match self.step_s {
            Some(before_s) if (before_s - late_s).abs() < STEP_S && late_s.abs() > STEP_S => {
                self.begin(sample, later(on_line, late_s));
                return;
            }
            None if is_first_step => {
                self.step_s = Some(late_s);
                self.anchor = Some((sample, on_line));
                return;
            }
            _ => self.step_s = None,
        }
        // The gains of a least-squares line through `k` points, evenly spaced: the newest point's share in
        // the line's end and in its slope.
        let k = f64::from(self.windows);
        let (alpha, beta) = (2.0 * (2.0 * k - 1.0) / (k * (k + 1.0)), 6.0 / (k * (k + 1.0)));
        self.windows = (self.windows + 1).min(WINDOWS_AT_MOST);
        let drift_s = late_s.clamp(-DRIFT_AT_MOST_S, DRIFT_AT_MOST_S);
        let slower = 1.0 + beta * drift_s / elapsed_s;
        let (lowest, highest) = (self.nominal_hz * (1.0 - MOST_OFF), self.nominal_hz * (1.0 + MOST_OFF));
        self.rate_hz = (self.rate_hz / slower.max(0.5)).clamp(lowest, highest);
        self.anchor = Some((sample, later(on_line, alpha * late_s)));
    }
}

/// From one moment to another, in seconds; negative when the other was before.
pub(super) fn seconds_between(from: MediaTime, to: MediaTime) -> f64 {
    match to.0.checked_sub(from.0) {
        Some(after) => after.as_secs_f64(),
        None => -(from.0 - to.0).as_secs_f64(),
    }
}

/// A moment so many seconds later, or earlier; never before the clock's zero.
pub(super) fn later(from: MediaTime, seconds: f64) -> MediaTime {
    let by = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
    MediaTime(if seconds < 0.0 { from.0.saturating_sub(by) } else { from.0.saturating_add(by) })
}

#[cfg(test)]
mod tests;

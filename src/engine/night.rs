//! Is it night? What viewers ask for, the time of day or a light sensor decide, and nothing flickers.
//!
//! By the clock a night begins and ends once a day, also on the two days when clocks change: a time that is
//! skipped counts as come when the clock has passed it, one that happens twice counts the first time. The
//! sensor must say the same for a while before it is believed, or a passing car would make a day.
//!
//! The lamp that night lights must not shine on the sensor: no delay helps against that.

use std::time::{Duration, Instant};

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::config::board::NightSwitch;

/// The clock is looked at this often at least, since it may be set: a board without a clock of its own
/// learns the time after its start, and its monotonic clock does not tell.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// What viewers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NightMode {
    /// The clock or the sensor decides; where there is neither, it stays as it was.
    Auto,
    /// Day.
    Day,
    /// Night.
    Night,
}

/// Day or night, over time.
#[derive(Clone, Debug)]
pub struct Night {
    switch: NightSwitch,
    mode: NightMode,
    is_night: bool,
    sensor: Option<Sensor>,
}

/// What the light sensor says.
#[derive(Clone, Copy, Debug)]
struct Sensor {
    /// Now.
    is_dark: bool,
    /// Since when.
    since: Instant,
    /// What is believed.
    believed: bool,
}

impl Night {
    /// Day, until [`Night::look`] knows better.
    pub fn new(switch: &NightSwitch) -> Self {
        Night { switch: switch.clone(), mode: NightMode::Auto, is_night: false, sensor: None }
    }

    /// What viewers asked for last.
    pub fn mode(&self) -> NightMode {
        self.mode
    }

    /// Whether it was night at the last look.
    pub fn is_night(&self) -> bool {
        self.is_night
    }

    /// A viewer asks; then look.
    pub fn set_mode(&mut self, mode: NightMode) {
        self.mode = mode;
    }

    /// The sensor says so; then look, when this returns that it is news. Its first word is believed at once.
    pub fn sense(&mut self, now: Instant, is_dark: bool) -> bool {
        let believed = match self.sensor {
            None => is_dark,
            Some(sensor) if sensor.is_dark == is_dark => return false,
            Some(sensor) => sensor.believed,
        };
        self.sensor = Some(Sensor { is_dark, since: now, believed });
        true
    }

    /// Decides anew. `local` is the same moment as `now`, in the zone that people here live by. Returns when
    /// to look again, if nothing happens before.
    pub fn look(&mut self, now: Instant, local: &Zoned) -> Option<Instant> {
        let (automatic, again) = self.automatic(now, local);
        self.is_night = match self.mode {
            NightMode::Auto => automatic.unwrap_or(self.is_night),
            NightMode::Day => false,
            NightMode::Night => true,
        };
        again
    }

    fn automatic(&mut self, now: Instant, local: &Zoned) -> (Option<bool>, Option<Instant>) {
        match (&self.switch, &mut self.sensor) {
            (NightSwitch::Time { from, to }, _) => {
                let (is_night, next) = by_the_clock(local, *from, *to);
                let until = next.map_or(LOOK_INTERVAL, |next| {
                    Duration::try_from(next.duration_since(local.timestamp())).unwrap_or_default()
                });
                (Some(is_night), Some(now + until.min(LOOK_INTERVAL)))
            }
            (NightSwitch::Sensor { delay, .. }, Some(sensor)) => {
                let due = sensor.since + *delay;
                if sensor.is_dark != sensor.believed && due <= now {
                    sensor.believed = sensor.is_dark;
                }
                let again = (sensor.is_dark != sensor.believed).then_some(due);
                (Some(sensor.believed), again)
            }
            (NightSwitch::Sensor { .. }, None) | (NightSwitch::Command, _) => (None, None),
        }
    }
}

/// Whether the last boundary was the night's beginning, and when the next one comes.
fn by_the_clock(local: &Zoned, from: Time, to: Time) -> (bool, Option<Timestamp>) {
    let (today, zone, now) = (local.date(), local.time_zone(), local.timestamp());
    let days = [today.yesterday().ok(), Some(today), today.tomorrow().ok()];
    let boundaries = days.into_iter().flatten().flat_map(|day| {
        // In the order of the day: two that are skipped together come at once, and the later one holds.
        let (first, second) =
            if from < to { ((from, true), (to, false)) } else { ((to, false), (from, true)) };
        [first, second].map(|(time, is_night)| (comes(day, time, zone), is_night))
    });
    let mut is_night = false;
    for (at, begins_night) in boundaries {
        match at {
            Some(at) if at <= now => is_night = begins_night,
            Some(at) => return (is_night, Some(at)),
            None => {}
        }
    }
    (is_night, None)
}

/// When a time of a day comes: the first time of two, and the end of the gap when the clock skips it.
fn comes(day: Date, time: Time, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_zoned(day.to_datetime(time));
    match ambiguous.offset() {
        AmbiguousOffset::Gap { after, .. } => {
            // With the offset after the gap, the time reads as a moment before it.
            let before_gap = after.to_timestamp(day.to_datetime(time)).ok()?;
            zone.following(before_gap).next().map(|transition| transition.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            ambiguous.compatible().ok().map(|zoned| zoned.timestamp())
        }
    }
}

#[cfg(test)]
mod tests;

#![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

use super::*;
use crate::config::board::{Bias, Input, Line};
use jiff::ToSpan as _;
use jiff::civil::date;
use proptest::prelude::*;

/// Central Europe: forward at 2:00 on the last Sunday of March, back at 3:00 on the last of October.
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

fn clock(from: &str, to: &str) -> NightSwitch {
    NightSwitch::Time { from: from.parse().expect("a time"), to: to.parse().expect("a time") }
}

fn sensor(delay_s: u64) -> NightSwitch {
    let input = Input { line: Line::Offset(1), active_low: false, bias: Bias::None };
    NightSwitch::Sensor { input, delay: Duration::from_secs(delay_s) }
}

/// Every change within `hours` from a day's midnight, as the wall clock shows it; the night follows its own
/// deadlines and nothing else.
fn changes(switch: &NightSwitch, day: Date, hours: i64) -> Vec<(String, bool)> {
    let zone = TimeZone::posix(BERLIN).expect("a zone");
    let mut local = day.to_zoned(zone).expect("a midnight");
    let end = local.checked_add(hours.hours()).expect("within range");
    let mut now = Instant::now();
    let mut night = Night::new(switch);
    night.look(now, &local);
    let mut seen = vec![(local.strftime("%H:%M").to_string(), night.is_night())];
    while local < end {
        let again = night.look(now, &local).expect("the clock goes on");
        assert!(again > now, "no busy loop at {local}");
        local = local.checked_add(again.duration_since(now)).expect("within range");
        now = again;
        night.look(now, &local);
        if seen.last().map(|(_, was)| *was) != Some(night.is_night()) {
            seen.push((local.strftime("%H:%M %Z").to_string(), night.is_night()));
        }
    }
    seen
}

fn told(changes: &[(&str, bool)]) -> Vec<(String, bool)> {
    changes.iter().map(|(at, is_night)| (at.to_string(), *is_night)).collect()
}

#[test]
fn a_night_by_the_clock_begins_and_ends_on_the_minute() {
    let plain = date(2026, 6, 10);
    assert_eq!(
        changes(&clock("20:00", "06:30"), plain, 24),
        told(&[("00:00", true), ("06:30 CEST", false), ("20:00 CEST", true)])
    );
    assert_eq!(
        changes(&clock("01:00", "05:00"), plain, 24),
        told(&[("00:00", false), ("01:00 CEST", true), ("05:00 CEST", false)])
    );
}

#[test]
fn on_the_day_that_is_an_hour_short_a_time_that_is_skipped_counts_when_the_clock_has_passed_it() {
    let spring = date(2026, 3, 29);
    assert_eq!(
        changes(&clock("20:00", "02:30"), spring, 23),
        told(&[("00:00", true), ("03:00 CEST", false), ("20:00 CEST", true)])
    );
    assert_eq!(
        changes(&clock("02:30", "03:15"), spring, 23),
        told(&[("00:00", false), ("03:00 CEST", true), ("03:15 CEST", false)])
    );
    assert_eq!(changes(&clock("02:10", "02:20"), spring, 23), told(&[("00:00", false)]), "skipped whole");
    assert_eq!(changes(&clock("02:20", "02:10"), spring, 23), told(&[("00:00", true)]), "its day is");
}

#[test]
fn on_the_day_that_is_an_hour_long_a_time_that_happens_twice_counts_once() {
    let autumn = date(2026, 10, 25);
    assert_eq!(
        changes(&clock("20:00", "02:30"), autumn, 25),
        told(&[("00:00", true), ("02:30 CEST", false), ("20:00 CET", true)])
    );
    assert_eq!(
        changes(&clock("02:15", "02:45"), autumn, 25),
        told(&[("00:00", false), ("02:15 CEST", true), ("02:45 CEST", false)])
    );
}

#[test]
fn a_clock_that_is_set_is_noticed_within_a_minute() {
    let zone = TimeZone::posix(BERLIN).expect("a zone");
    let local = |hour| date(2026, 6, 10).at(hour, 0, 0, 0).to_zoned(zone.clone()).expect("a time");
    let start = Instant::now();
    let mut night = Night::new(&clock("20:00", "06:30"));
    let again = night.look(start, &local(12)).expect("the clock goes on");
    assert!(again <= start + Duration::from_secs(60));
    night.look(again, &local(23));
    assert!(night.is_night());
}

#[test]
fn viewers_overrule_the_clock_and_give_it_back() {
    let zone = TimeZone::posix(BERLIN).expect("a zone");
    let noon = date(2026, 6, 10).at(12, 0, 0, 0).to_zoned(zone).expect("a time");
    let now = Instant::now();
    let mut night = Night::new(&clock("20:00", "06:30"));
    for (mode, is_night) in [(NightMode::Night, true), (NightMode::Day, false), (NightMode::Auto, false)] {
        night.set_mode(mode);
        night.look(now, &noon);
        assert_eq!((night.mode(), night.is_night()), (mode, is_night));
    }
}

#[test]
fn without_clock_or_sensor_auto_leaves_it_as_it_is() {
    let local = Zoned::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
    let now = Instant::now();
    let mut night = Night::new(&NightSwitch::Command);
    for (mode, is_night) in [(NightMode::Auto, false), (NightMode::Night, true), (NightMode::Auto, true)] {
        night.set_mode(mode);
        assert_eq!(night.look(now, &local), None);
        assert_eq!(night.is_night(), is_night);
    }
}

#[test]
fn the_sensor_is_believed_at_the_start_and_then_only_when_it_insists() {
    let local = Zoned::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
    let start = Instant::now();
    let at = |s| start + Duration::from_secs(s);
    let mut night = Night::new(&sensor(10));
    assert_eq!(night.look(start, &local), None, "it has said nothing yet");
    assert!(!night.is_night());
    night.sense(start, true);
    assert_eq!(night.look(start, &local), None);
    assert!(night.is_night());
    // A car's lights.
    night.sense(at(100), false);
    assert_eq!(night.look(at(100), &local), Some(at(110)));
    night.sense(at(104), true);
    assert_eq!(night.look(at(104), &local), None);
    assert!(night.is_night());
    // The morning.
    night.sense(at(200), false);
    night.sense(at(205), false);
    night.look(at(209), &local);
    assert!(night.is_night());
    assert_eq!(night.look(at(210), &local), None);
    assert!(!night.is_night());
}

proptest! {
    /// Whatever the sensor does, day and night last for the delay at least.
    #[test]
    fn a_sensor_never_makes_it_flicker(steps in prop::collection::vec((1u64..30, any::<bool>()), 1..80)) {
        let local = Zoned::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
        let start = Instant::now();
        let mut now = start;
        let mut night = Night::new(&sensor(10));
        night.sense(now, false);
        let mut again = night.look(now, &local);
        let mut changed_at = None;
        for (wait_s, is_dark) in steps {
            let next = now + Duration::from_secs(wait_s);
            let mut looks = again.filter(|due| *due <= next).into_iter().collect::<Vec<_>>();
            looks.push(next);
            for at in looks {
                now = at;
                if at == next {
                    night.sense(now, is_dark);
                }
                let was = night.is_night();
                again = night.look(now, &local);
                if night.is_night() != was {
                    let lasted = changed_at.replace(now).map(|since| now.duration_since(since));
                    prop_assert!(lasted.is_none_or(|lasted| lasted >= Duration::from_secs(10)));
                }
            }
        }
    }

    /// By the clock, what holds at a moment depends on that moment alone and not on when one looked before.
    #[test]
    fn the_clock_needs_no_memory(minute in 0u32..525_600, from in 0u32..1440, length in 1u32..1440) {
        let time = |minutes: u32| {
            let minutes = minutes % 1440;
            Time::new((minutes / 60) as i8, (minutes % 60) as i8, 0, 0).expect("a time")
        };
        let switch = NightSwitch::Time { from: time(from), to: time(from + length) };
        // Without clock changes the rule is plain arithmetic.
        let zone = TimeZone::fixed(jiff::tz::offset(3));
        let start = date(2026, 1, 1).to_zoned(zone).expect("a midnight");
        let local = start.checked_add(i64::from(minute).minutes()).expect("within range");
        let mut night = Night::new(&switch);
        night.look(Instant::now(), &local);
        let since_from = (minute % 1440 + 1440 - from) % 1440;
        prop_assert_eq!(night.is_night(), since_from < length);
    }
}

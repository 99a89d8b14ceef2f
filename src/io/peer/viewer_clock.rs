//! What time does a viewer's transport-wide feedback mean?
//!
//! Its reference time has 24 bits and counts 64 ms, mostly of how long the viewer's machine is up: it begins anew
//! every 12.4 days (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use std::time::Duration;

/// The unit of a reference time.
const UNIT_MS: u64 = 64;
/// When it begins anew.
const PERIOD: u64 = 1 << 24;

/// One viewer's clock, whichever way its feedback comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ViewerClock {
    latest: Option<u64>,
}

impl ViewerClock {
    /// A reference time, without the steps back: it is the one that is nearest to the latest.
    pub fn time(&mut self, reference: u32) -> Duration {
        let reference = u64::from(reference) % PERIOD;
        // A period on, so that what is overtaken at the very beginning is not before all time.
        let latest = self.latest.unwrap_or(PERIOD + reference);
        let ahead = reference.wrapping_sub(latest) % PERIOD;
        let time = match ahead < PERIOD / 2 {
            true => latest + ahead,
            // A viewer that goes back all the time has to stop somewhere.
            false => (latest + ahead).checked_sub(PERIOD).filter(|time| *time > 0).unwrap_or(latest),
        };
        self.latest = Some(time);
        // Half a period a report, 2^23: after 2^31 of them, 124 days at 200 a second, 2^54 units, 2^60 ms.
        Duration::from_millis(time * UNIT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_where_24_bits_begin_anew_and_back_when_a_report_was_overtaken() {
        let mut clock = ViewerClock::default();
        let start = clock.time(0xff_fffe);
        let mut since = |reference| clock.time(reference).as_millis() as i64 - start.as_millis() as i64;
        assert_eq!(
            [0xff_ffff, 1, 0xff_ffff, 0, 16, 0xff_fff0].map(&mut since),
            [64, 192, 64, 128, 1_152, -896]
        );
    }

    #[test]
    fn viewer_that_tells_any_times_is_followed_nowhere_absurd() {
        let mut clock = ViewerClock::default();
        for n in 0..1_000_000u32 {
            clock.time(n.wrapping_mul(0xff_8001));
        }
        let mut back = ViewerClock::default();
        for n in 0..1_000u32 {
            back.time(0u32.wrapping_sub(n.wrapping_mul(0x7f_ffff)));
        }
        assert!(back.time(5) < Duration::from_secs(3_000_000));
    }
}

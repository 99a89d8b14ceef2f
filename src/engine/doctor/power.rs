//! Is the board slowed down, by its power supply or by its heat?

use super::Finding;

/// The firmware of a Pi lowers the clock from 80 °C on ("Frequency management and thermal control" in the
/// Raspberry Pi documentation); most other boards do so a little later.
const HOT_MILLI_C: i32 = 80_000;

/// What the firmware of a Pi says of its power and heat: `vcgencmd get_throttled`, or the kernel's file of
/// the same name, which leaves out `throttled=0x`.
pub fn throttled(text: &str) -> Option<u32> {
    let digits = text.trim().rsplit('=').next()?;
    u32::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16).ok()
}

/// What `get_throttled` says, each now and since the start ("vcgencmd get_throttled" in the Raspberry Pi
/// documentation): bits 0 to 3, and 16 to 19. The firmware caps the clock and throttles for a low supply as well
/// as for heat, so that bits 1 and 2 are told with the one that explains them, and only there.
#[derive(Clone, Copy)]
struct Slowed {
    is_low: bool,
    is_capped: bool,
    is_throttled: bool,
    is_at_soft_limit: bool,
}

impl Slowed {
    fn now(bits: u32) -> Slowed {
        let is_set = |bit: u32| bits >> bit & 1 != 0;
        Slowed {
            is_low: is_set(0),
            is_capped: is_set(1),
            is_throttled: is_set(2),
            is_at_soft_limit: is_set(3),
        }
    }

    fn since_boot(bits: u32) -> Slowed {
        Slowed::now(bits >> 16)
    }

    /// The soft limit is a matter of heat alone, and explains the rest.
    fn is_hot(self) -> bool {
        self.is_at_soft_limit || (self.is_slower() && !self.is_low)
    }

    fn is_slower(self) -> bool {
        self.is_capped || self.is_throttled
    }

    /// What the processor suffers, for people.
    fn suffered(self) -> &'static str {
        match (self.is_throttled, self.is_capped) {
            (true, true) => "throttled, and its clock capped",
            (true, false) => "throttled",
            (false, true) => "slowed down: its clock was capped",
            (false, false) => "at its soft limit, where the clock is lowered a little",
        }
    }
}

/// Whether the supply is strong enough, from `get_throttled` and the alarm of the kernel's `rpi_volt`.
pub fn power(throttled: Option<u32>, volt_alarm: Option<bool>) -> Option<Finding> {
    let bits = throttled.or(volt_alarm.map(u32::from))?;
    let (now, since_boot) = (Slowed::now(bits), Slowed::since_boot(bits));
    // What heat explains is told there.
    let slowed = |state: Slowed| match state.is_slower() && !state.is_hot() {
        true => format!(", and the processor {} for it", state.suffered()),
        false => String::new(),
    };
    let fault = if now.is_low {
        Finding::fault("power", format!("the supply voltage is too low now{}", slowed(now)))
    } else if since_boot.is_low {
        let what = format!("the supply voltage was too low since the board started{}", slowed(since_boot));
        Finding::warning("power", what)
    } else {
        return Some(Finding::ok("power", "the supply voltage has been good since the board started"));
    };
    let shown = match throttled {
        Some(_) => "vcgencmd get_throttled",
        None => "grep . /sys/class/hwmon/hwmon*/in0_lcrit_alarm",
    };
    Some(
        fault
            .because(
                "USB cameras drop off, the SD card is damaged and the processor is slowed down: most pictures \
                 that stall on a Pi stall for this",
            )
            .mends([
                "# Use the official power supply of this model with its own cable (5.1 V; 3 A for a Pi 4, 5 A for a Pi 5),",
                "# and give USB cameras and disks a powered hub. Then start the board anew, and look again:",
                shown,
            ]),
    )
}

/// Whether it is too hot, from the hottest zone in thousandths of a degree and from `get_throttled`.
pub fn temperature(milli_c: Option<i32>, throttled: Option<u32>) -> Option<Finding> {
    let bits = throttled.unwrap_or(0);
    let (now, since_boot) = (Slowed::now(bits), Slowed::since_boot(bits));
    let degrees = match milli_c {
        Some(milli_c) => format!("{} °C", milli_c / 1000),
        None if throttled.is_some() => "the processor".to_owned(),
        None => return None,
    };
    let is_hot = milli_c.is_some_and(|milli_c| milli_c >= HOT_MILLI_C);
    let why = "a hot board lowers its clock: software encoding then loses pictures";
    let mend = [
        "# Give it a heat sink or a fan and air around it; this shows whether it helps:",
        "grep . /sys/class/thermal/thermal_zone*/temp",
    ];
    let warning = |what: String| Some(Finding::warning("temperature", what).because(why).mends(mend));
    if now.is_hot() {
        return warning(format!("{degrees}: for its heat the processor is {} now", now.suffered()));
    }
    if is_hot {
        return warning(format!("{degrees}: about to be slowed down for its heat"));
    }
    if since_boot.is_hot() && since_boot.is_slower() {
        let suffered = since_boot.suffered();
        return warning(format!(
            "{degrees} now, but for its heat the processor was {suffered} since the start"
        ));
    }
    if since_boot.is_hot() {
        let what = format!("{degrees} now, but it was {} since the start", since_boot.suffered());
        return Some(Finding::note("temperature", what).because(why).mends(mend));
    }
    Some(Finding::ok("temperature", degrees))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn the_firmware_s_word_on_power_is_read_in_both_forms() {
        for (text, bits) in [
            ("50005\n", Some(0x50005)),
            ("0\n", Some(0)),
            ("throttled=0x50000\n", Some(0x50000)),
            ("VCHI initialization failed\n", None),
            ("", None),
        ] {
            assert_eq!(throttled(text), bits, "{text}");
        }
    }

    #[test]
    fn low_voltage_now_is_a_fault_and_earlier_a_warning() {
        for (bits, alarm, level) in [
            (Some(0x0), Some(false), Some(Level::Ok)),
            (Some(0x50005), None, Some(Level::Fault)),
            (Some(0x50000), None, Some(Level::Warning)),
            // Heat alone is no matter of power.
            (Some(0xe0008), None, Some(Level::Ok)),
            (None, Some(true), Some(Level::Fault)),
            (None, None, None),
        ] {
            assert_eq!(power(bits, alarm).map(|finding| finding.level), level, "{bits:x?} {alarm:?}");
        }
    }

    #[test]
    fn heat_that_slows_the_board_down_is_a_warning() {
        for (milli_c, bits, level) in [
            (Some(48_312), Some(0), Some(Level::Ok)),
            (Some(82_000), None, Some(Level::Warning)),
            (Some(70_000), Some(0xe0008), Some(Level::Warning)),
            (Some(50_000), Some(0x80000), Some(Level::Note)),
            // Throttled since the start, and not for its supply.
            (Some(50_000), Some(0x60000), Some(Level::Warning)),
            (Some(50_000), Some(0x20000), Some(Level::Warning)),
            (None, Some(0x40000), Some(Level::Warning)),
            // Slowed down by a low supply: told as such, not as heat.
            (Some(50_000), Some(0x50005), Some(Level::Ok)),
            (None, None, None),
        ] {
            assert_eq!(
                temperature(milli_c, bits).map(|finding| finding.level),
                level,
                "{milli_c:?} {bits:x?}"
            );
        }
    }

    /// Every combination of the eight bits.
    #[test]
    fn each_bit_of_the_firmware_s_word_is_told_once() {
        for state in 0..=0xffu32 {
            let bits = (state & 0xf0) << 12 | state & 0xf;
            let (power, heat) = (power(Some(bits), None), temperature(Some(50_000), Some(bits)));
            let (power, heat) = (power.expect("it is known"), heat.expect("it is known"));
            let is_told = |finding: &Finding| finding.why.is_some() && !finding.mend.is_empty();
            assert_eq!(is_told(&power), bits & 0x1_0001 != 0, "{bits:#x}: {power:?}");
            assert_eq!(is_told(&power) || is_told(&heat), bits != 0, "{bits:#x}: {power:?} {heat:?}");
            let soft = bits & 0x8_0008 != 0;
            assert!(!soft || is_told(&heat), "{bits:#x}: only heat explains that: {heat:?}");
            for word in ["throttled", "capped"] {
                let told = [&power, &heat].into_iter().filter(|finding| finding.what.contains(word)).count();
                assert!(
                    told <= 1 || (now_and_then_differ(bits) && told == 2),
                    "{bits:#x}: {power:?} {heat:?}"
                );
            }
        }
        let told = |bits| (power(Some(bits), None), temperature(Some(50_000), Some(bits)));
        let (power, heat) = told(0x5_0005);
        assert!(power.is_some_and(|found| found.what.ends_with("now, and the processor throttled for it")));
        assert_eq!(heat.map(|found| found.level), Some(Level::Ok));
        let heat = told(0x6_0000).1.map(|found| found.what);
        let what =
            "50 °C now, but for its heat the processor was throttled, and its clock capped since the start";
        assert_eq!(heat.as_deref(), Some(what));
    }

    /// A low supply now and heat before, or the other way round, are two troubles.
    fn now_and_then_differ(bits: u32) -> bool {
        Slowed::now(bits).is_hot() != Slowed::since_boot(bits).is_hot()
    }
}

//! Are the lines that the configuration names there, and free?

use std::path::PathBuf;

use super::Finding;
use crate::config::board::{Board, IrCut, Line, NightSwitch};

/// Lists the lines that are in use: gpiod 2 prints `consumer="led"` with them, and gpiod 1 `[used]`.
const IN_USE: &str = "gpioinfo | grep -E 'consumer=|\\[used\\]'";

/// A chip, as far as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Its node.
    pub path: PathBuf,
    /// What it is, such as `pinctrl-bcm2711`.
    pub label: String,
    /// Its lines, by number.
    pub lines: Vec<ChipLine>,
}

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChipLine {
    /// Its name, which may be empty.
    pub name: String,
    /// Who uses it, where somebody does.
    pub consumer: Option<String>,
}

/// The lines that a configuration uses, each with its section.
pub fn wanted(board: &Board) -> Vec<(&'static str, Line)> {
    let mut lines = Vec::new();
    lines.extend(board.led.as_ref().map(|led| ("gpio.led", led.line.clone())));
    lines.extend(board.privacy.as_ref().map(|privacy| ("gpio.privacy", privacy.input.line.clone())));
    lines.extend(board.motion.as_ref().map(|motion| ("gpio.motion", motion.input.line.clone())));
    if let Some(night) = &board.night {
        lines.extend(night.lamp.as_ref().map(|lamp| ("gpio.night", lamp.line.clone())));
        match &night.ir_cut {
            Some(IrCut::Level(filter)) => lines.push(("gpio.night", filter.line.clone())),
            Some(IrCut::Pulses { into, out }) => {
                lines.extend([into, out].map(|filter| ("gpio.night", filter.line.clone())));
            }
            None => {}
        }
        if let NightSwitch::Sensor { input, .. } = &night.switch {
            lines.push(("gpio.night", input.line.clone()));
        }
    }
    lines
}

/// Whether each of them can be had. `chip` is the one that is configured; else why it cannot be opened.
pub fn findings(
    configured: &std::path::Path,
    chip: Result<&Chip, &str>,
    all: &[Chip],
    wanted: &[(&'static str, Line)],
) -> Vec<Finding> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let header = all.iter().find(|chip| is_header(chip));
    let named = |chip: &Chip| format!("[gpio]\nchip = {:?}", chip.path.display().to_string());
    let chip = match chip {
        Ok(chip) => chip,
        Err(why) => {
            return vec![
                Finding::fault("pins", format!("{} cannot be used: {why}", configured.display()))
                    .because("LED, switches and sensors stay dead; a privacy switch that cannot be read counts as on")
                    .mend("ls -l /dev/gpiochip*")
                    .mends(header.map(named)),
            ];
        }
    };
    let mut findings = Vec::new();
    if let Some(header) = header.filter(|header| header.path != chip.path && !is_header(chip)) {
        let what = format!(
            "{} is {}, not the pins of the board: these are {} ({})",
            chip.path.display(),
            chip.label,
            header.path.display(),
            header.label
        );
        findings.push(
            Finding::warning("pins", what)
                .because("other lines than those on the header are switched")
                .mend(named(header)),
        );
    }
    findings.extend(wanted.iter().filter_map(|(section, line)| trouble(chip, section, line)));
    if findings.is_empty() {
        let count = wanted.len();
        let lines = if count == 1 { "the line is" } else { "all lines are" };
        findings.push(Finding::ok(
            "pins",
            format!("{} ({}): {lines} free or farol's", chip.path.display(), chip.label),
        ));
    }
    findings
}

/// Whether it is what a Raspberry Pi's header hangs on: `pinctrl-bcm2711`, `pinctrl-rp1` and so on.
fn is_header(chip: &Chip) -> bool {
    chip.label.starts_with("pinctrl-bcm2") || chip.label == "pinctrl-rp1"
}

fn trouble(chip: &Chip, section: &str, line: &Line) -> Option<Finding> {
    let found = match line {
        Line::Offset(number) => chip.lines.get(*number as usize),
        Line::Name(name) => chip.lines.iter().find(|other| other.name == *name),
    };
    let at = chip.path.display();
    let Some(found) = found else {
        return Some(
            Finding::fault("pins", format!("{at} has no {line}, which [{section}] names"))
                .because("what hangs on it stays dead")
                .mend("# the lines with their names:")
                .mend("farol devices"),
        );
    };
    let consumer = found.consumer.as_deref().filter(|consumer| *consumer != "farol")?;
    Some(
        Finding::fault("pins", format!("{line} of {at}, which [{section}] names, is in use by {consumer}"))
            .because("a line has one user at a time")
            .mend("# a program that can be stopped, or an overlay in /boot/firmware/config.txt? This lists them:")
            .mend(IN_USE),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn chip(path: &str, label: &str, consumers: &[Option<&str>]) -> Chip {
        let line = |(number, consumer): (usize, &Option<&str>)| ChipLine {
            name: format!("GPIO{number}"),
            consumer: consumer.map(str::to_owned),
        };
        Chip {
            path: path.into(),
            label: label.into(),
            lines: consumers.iter().enumerate().map(line).collect(),
        }
    }

    #[test]
    fn lines_are_found_by_number_and_name_and_their_users_told() {
        let pins = chip("/dev/gpiochip0", "pinctrl-bcm2711", &[None, Some("spi0 CS0"), Some("farol")]);
        for (line, level, said) in [
            (Line::Offset(0), Level::Ok, "the line is free"),
            (Line::Name("GPIO2".into()), Level::Ok, "the line is free or farol's"),
            (Line::Name("GPIO1".into()), Level::Fault, "in use by spi0 CS0"),
            (Line::Offset(54), Level::Fault, "has no line 54"),
        ] {
            let found = findings(&pins.path, Ok(&pins), std::slice::from_ref(&pins), &[("gpio.led", line)]);
            assert_eq!((found.len(), found[0].level), (1, level), "{found:?}");
            assert!(found[0].what.contains(said), "{found:?}");
        }
        assert!(findings(&pins.path, Ok(&pins), &[], &[]).is_empty(), "nothing is configured");
    }

    /// What `gpioinfo` of Debian 12 (1.6) and of Debian 13 (2.2) print.
    #[test]
    fn the_command_that_lists_users_knows_both_forms_of_gpioinfo() {
        let old = "gpiochip0 - 54 lines:\n\tline   7:  \"SPI_CE1_N\"  \"spi0 CS1\"  output   active-low [used]\n\tline   8:  \"GPIO8\"       unused   input  active-high \n";
        let new = "gpiochip0 - 54 lines:\n\tline   7:\t\"SPI_CE1_N\"    \toutput active-low consumer=\"spi0 CS1\"\n\tline   8:\t\"GPIO8\"        \tinput\n";
        let grep = IN_USE.strip_prefix("gpioinfo | ").expect("it filters");
        for printed in [old, new] {
            let filter = format!("printf '%s' \"$0\" | {grep}");
            let done = std::process::Command::new("sh").args(["-c", &filter, printed]).output();
            let said = String::from_utf8(done.expect("there is a shell").stdout).expect("it is text");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains("spi0 CS1"), "{said}");
        }
    }

    #[test]
    fn on_a_pi_5_the_chip_of_the_header_is_named() {
        let first = chip("/dev/gpiochip0", "gpio-brcmstb@107d508500", &[None]);
        let header = chip("/dev/gpiochip4", "pinctrl-rp1", &[None]);
        let all = [first.clone(), header];
        let found = findings(&first.path, Ok(&first), &all, &[("gpio.led", Line::Offset(0))]);
        assert_eq!(found[0].level, Level::Warning);
        assert_eq!(found[0].mend, ["[gpio]\nchip = \"/dev/gpiochip4\""]);
    }
}

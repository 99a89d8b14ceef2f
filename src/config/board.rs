//! The sections of the configuration that say what hangs on the board's pins: `[gpio]`, `[servo]`, `[lamp]`.
//!
//! `docs/gpio.md` shows how it is wired.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Time;
use toml::de::DeValue;

use super::walk::{Section, Walk};

/// The file in the state directory that stands while a privacy button is on.
const PRIVACY_FILE: &str = "privacy";

/// What the board shows, hears by touch and moves. Nothing is opened for what is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// The GPIO character device that all lines belong to.
    pub chip: PathBuf,
    /// Lit whenever picture or sound leaves the board.
    pub led: Option<Output>,
    /// Stops camera and microphone.
    pub privacy: Option<Privacy>,
    /// A motion sensor, such as a PIR module.
    pub motion: Option<Motion>,
    /// When it is night, and what then is switched.
    pub night: Option<Night>,
    /// The servo that turns the camera to the sides.
    pub pan: Option<Servo>,
    /// The servo that turns it up and down.
    pub tilt: Option<Servo>,
    /// A lamp that can be dimmed.
    pub lamp: Option<Lamp>,
}

/// A line of the chip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// By its number.
    Offset(u32),
    /// By the name that the board gives it, such as `GPIO17`.
    Name(String),
}

/// A line that is switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Which.
    pub line: Line,
    /// It is on while the line is low.
    pub active_low: bool,
}

/// A line that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Which.
    pub line: Line,
    /// It is active while the line is low.
    pub active_low: bool,
    /// What holds the line while nothing drives it.
    pub bias: Bias,
}

/// The resistor inside the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// None: the circuit outside holds the line.
    None,
    /// To the supply.
    PullUp,
    /// To ground.
    PullDown,
}

/// The privacy switch or button.
#[derive(Clone, Debug, PartialEq)]
pub struct Privacy {
    /// Active: privacy, or the button is down.
    pub input: Input,
    /// How it is read.
    pub kind: PrivacyKind,
    /// A level counts once it has lasted for so long, 0 to 1000 ms.
    pub debounce: Duration,
}

/// How the privacy line is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivacyKind {
    /// Its position is what holds.
    Switch,
    /// Each press turns privacy on or off.
    Button {
        /// Stands while privacy is on, so that a restart does not end it.
        file: PathBuf,
    },
}

/// The motion sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Motion {
    /// Active: something moves.
    pub input: Input,
    /// Without a pulse for so long, it is over; 1 s to an hour.
    pub hold: Duration,
    /// Whether the broker is told, for everybody who may read there.
    pub is_published: bool,
}

/// When it is night, and what then is switched.
#[derive(Clone, Debug, PartialEq)]
pub struct Night {
    /// Who decides.
    pub switch: NightSwitch,
    /// On by night.
    pub lamp: Option<Output>,
    /// The infrared-cut filter in front of the sensor: in the light's way by day.
    pub ir_cut: Option<IrCut>,
}

/// Who decides when it is night.
#[derive(Clone, Debug, PartialEq)]
pub enum NightSwitch {
    /// The clock, in the system's time zone. `from` and `to` differ; `from` may be the later one.
    Time {
        /// Night begins.
        from: Time,
        /// Night ends.
        to: Time,
    },
    /// A light sensor, active in the dark.
    Sensor {
        /// The sensor's line.
        input: Input,
        /// It must say the same for so long before it is believed; 0 to 600 s.
        delay: Duration,
    },
    /// Viewers with the right to control, and nobody else.
    Command,
}

/// How the filter is moved.
#[derive(Clone, Debug, PartialEq)]
pub enum IrCut {
    /// One line: active while the filter is in the light's way.
    Level(Output),
    /// Two lines: a pulse on one moves the filter in, on the other out.
    Pulses {
        /// Moves it into the light's way.
        into: Output,
        /// Moves it out.
        out: Output,
    },
}

/// A servo on one of the Pi's own PWM channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Servo {
    /// PWM channel, 0 or 1.
    pub pwm: u8,
    /// Pulse widths in microseconds at both ends, 400 to 2600. The first belongs to `range_deg.0`; it is
    /// the longer one when the servo is mounted the other way round.
    pub pulse_us: (u32, u32),
    /// The ends in degrees from the middle, -180 to 180, the lower one first; right and up are positive.
    pub range_deg: (f32, f32),
    /// How fast it is turned, in degrees a second.
    pub speed_deg_s: f32,
    /// Where it is at the start, within `range_deg`.
    pub start_deg: f32,
}

/// A lamp on one of the Pi's own PWM channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Lamp {
    /// PWM channel, 0 or 1.
    pub pwm: u8,
    /// PWM frequency, 50 to 20 000 Hz.
    pub hz: u32,
}

impl Default for Board {
    /// A board with nothing on its pins.
    fn default() -> Self {
        Board {
            chip: PathBuf::from("/dev/gpiochip0"),
            led: None,
            privacy: None,
            motion: None,
            night: None,
            pan: None,
            tilt: None,
            lamp: None,
        }
    }
}

/// Which lines and PWM channels are taken, and by which key.
#[derive(Default)]
struct Taken {
    lines: Vec<(Line, String)>,
    channels: Vec<(u8, String)>,
}

pub(super) fn board<'t>(walk: &mut Walk<'t>, top: &Section<'t>, state_dir: &Path) -> Board {
    let gpio = walk.section(top, "gpio");
    let servo = walk.section(top, "servo");
    let mut taken = Taken::default();
    let chip = walk.text(&gpio, "chip", "the path of a GPIO chip, such as \"/dev/gpiochip0\"");
    Board {
        chip: chip.map_or(Board::default().chip, PathBuf::from),
        led: led(walk, &gpio, &mut taken),
        privacy: privacy(walk, &gpio, &mut taken, state_dir),
        motion: motion(walk, &gpio, &mut taken),
        night: night(walk, &gpio, &mut taken),
        pan: axis(walk, &servo, "pan", &mut taken),
        tilt: axis(walk, &servo, "tilt", &mut taken),
        lamp: lamp(walk, top, &mut taken),
    }
}

fn led<'t>(walk: &mut Walk<'t>, gpio: &Section<'t>, taken: &mut Taken) -> Option<Output> {
    let section = walk.section(gpio, "led");
    let led = output(walk, &section, "line", "active_low", taken);
    needs(walk, &section, "line");
    led
}

fn privacy<'t>(
    walk: &mut Walk<'t>,
    gpio: &Section<'t>,
    taken: &mut Taken,
    state_dir: &Path,
) -> Option<Privacy> {
    let section = walk.section(gpio, "privacy");
    let input = input(walk, &section, taken);
    let kinds = [
        ("switch", PrivacyKind::Switch),
        ("button", PrivacyKind::Button { file: state_dir.join(PRIVACY_FILE) }),
    ];
    let kind = walk.word(&section, "kind", &kinds).unwrap_or(PrivacyKind::Switch);
    let debounce_ms = walk.number(&section, "debounce_ms", 0..=1000, " milliseconds").unwrap_or(30);
    Some(Privacy { input: input?, kind, debounce: Duration::from_millis(debounce_ms.into()) })
}

fn motion<'t>(walk: &mut Walk<'t>, gpio: &Section<'t>, taken: &mut Taken) -> Option<Motion> {
    let section = walk.section(gpio, "motion");
    let input = input(walk, &section, taken);
    let hold_s = walk.number(&section, "hold_s", 1..=3600, " seconds").unwrap_or(10);
    let is_published = walk.flag(&section, "publish").unwrap_or(false);
    Some(Motion { input: input?, hold: Duration::from_secs(hold_s.into()), is_published })
}

fn night<'t>(walk: &mut Walk<'t>, gpio: &Section<'t>, taken: &mut Taken) -> Option<Night> {
    let section = walk.section(gpio, "night");
    let switch = night_switch(walk, &section, taken);
    let lamp = output(walk, &section, "lamp_line", "lamp_active_low", taken);
    let into = output(walk, &section, "ir_cut_line", "ir_cut_active_low", taken);
    let out = line(walk, &section, "ir_cut_out_line", taken);
    if out.is_some() && !section.has("ir_cut_line") {
        walk.conflict(&section, "ir_cut_line", "is missing: gpio.night.ir_cut_out_line is its other half");
    }
    let ir_cut = into.map(|into| match out {
        Some(line) => IrCut::Pulses { out: Output { line, active_low: into.active_low }, into },
        None => IrCut::Level(into),
    });
    section.is_there().then_some(Night { switch, lamp, ir_cut })
}

fn night_switch<'t>(walk: &mut Walk<'t>, section: &Section<'t>, taken: &mut Taken) -> NightSwitch {
    #[derive(Clone, Copy, PartialEq)]
    enum By {
        Time,
        Sensor,
        Command,
    }
    let words = [("time", By::Time), ("sensor", By::Sensor), ("command", By::Command)];
    let by = walk.word(section, "switch", &words).unwrap_or(By::Time);
    let [from, to] =
        [("from", Time::constant(20, 0, 0, 0)), ("to", Time::constant(6, 30, 0, 0))].map(|(key, default)| {
            walk.parsed(section, key, "a time such as \"20:00\"", hour_and_minute).unwrap_or(default)
        });
    let sensor = line(walk, section, "sensor_line", taken);
    let active_low = walk.flag(section, "sensor_active_low").unwrap_or(false);
    let delay_s = walk.number(section, "delay_s", 0..=600, " seconds").unwrap_or(10);
    match (by, sensor) {
        (By::Sensor, Some(line)) => NightSwitch::Sensor {
            input: Input { line, active_low, bias: Bias::None },
            delay: Duration::from_secs(delay_s.into()),
        },
        (By::Sensor, None) => {
            if !section.has("sensor_line") {
                walk.conflict(section, "sensor_line", "is missing: gpio.night.switch = \"sensor\" reads it");
            }
            NightSwitch::Command
        }
        (By::Time, _) => {
            if from == to {
                walk.conflict(
                    section,
                    "to",
                    "is the same time as gpio.night.from: there is no night between",
                );
            }
            NightSwitch::Time { from, to }
        }
        (By::Command, _) => NightSwitch::Command,
    }
}

/// `HH:MM`, on a clock of 24 hours.
fn hour_and_minute(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
    };
    Time::new(two_digits(hour)?, two_digits(minute)?, 0, 0).ok()
}

fn axis<'t>(walk: &mut Walk<'t>, servo: &Section<'t>, name: &str, taken: &mut Taken) -> Option<Servo> {
    let section = walk.section(servo, name);
    let pwm = channel(walk, &section, taken);
    let mut us = |key, default| walk.number(&section, key, 400..=2600, " microseconds").unwrap_or(default);
    let pulse_us = (us("min_us", 1000), us("max_us", 2000));
    if pulse_us.0 == pulse_us.1 {
        walk.conflict(&section, "max_us", "is the same pulse as at the other end: the servo would not turn");
    }
    let (min_deg, max_deg) =
        (degrees(walk, &section, "min_deg", -45), degrees(walk, &section, "max_deg", 45));
    if min_deg >= max_deg {
        walk.conflict(
            &section,
            "max_deg",
            "must be above the lower end; a servo that turns the other way round has min_us above max_us",
        );
    }
    let speed = walk.number(&section, "speed_deg_s", 1..=720, " degrees a second").unwrap_or(60);
    let start = degrees(walk, &section, "start_deg", 0);
    if min_deg < max_deg && section.has("start_deg") && !(min_deg..=max_deg).contains(&start) {
        walk.conflict(&section, "start_deg", format_args!("must lie between {min_deg} and {max_deg}"));
    }
    // All of them are small whole numbers, which an f32 holds exactly.
    let [min_deg, max_deg, start_deg, speed_deg_s] =
        [min_deg, max_deg, start, speed as i32].map(|n| n as f32);
    let start_deg = if min_deg < max_deg { start_deg.clamp(min_deg, max_deg) } else { start_deg };
    Some(Servo { pwm: pwm?, pulse_us, range_deg: (min_deg, max_deg), speed_deg_s, start_deg })
}

fn lamp<'t>(walk: &mut Walk<'t>, top: &Section<'t>, taken: &mut Taken) -> Option<Lamp> {
    let section = walk.section(top, "lamp");
    let pwm = channel(walk, &section, taken);
    let hz = walk.number(&section, "hz", 50..=20_000, " hertz").unwrap_or(1000);
    Some(Lamp { pwm: pwm?, hz })
}

/// A PWM channel, which only a build with the feature `rppal` can drive.
fn channel<'t>(walk: &mut Walk<'t>, section: &Section<'t>, taken: &mut Taken) -> Option<u8> {
    let channel =
        walk.number(section, "pwm", 0..=1, ", a PWM channel of the Pi").map(|channel| channel as u8);
    needs(walk, section, "pwm");
    if channel.is_some() && !cfg!(feature = "rppal") {
        walk.conflict(
            section,
            "pwm",
            "needs the Pi's own PWM, and this farol was built without it: build with `--features rppal`",
        );
    }
    let channel = channel?;
    if let Some((_, other)) = taken.channels.iter().find(|(other, _)| *other == channel) {
        walk.conflict(section, "pwm", format_args!("is channel {channel}, which {other} has already"));
    }
    taken.channels.push((channel, section.path_to("pwm")));
    Some(channel)
}

/// Degrees from the middle.
fn degrees<'t>(walk: &mut Walk<'t>, section: &Section<'t>, key: &str, default: i32) -> i32 {
    let read = |value: &DeValue<'_>| {
        let number = value.as_integer()?;
        i32::from_str_radix(number.as_str(), number.radix()).ok().filter(|deg| (-180..=180).contains(deg))
    };
    walk.value(section, key, "a whole number from -180 to 180 degrees", read).unwrap_or(default)
}

/// An input of a section that has `line`, `active_low` and `bias`.
fn input<'t>(walk: &mut Walk<'t>, section: &Section<'t>, taken: &mut Taken) -> Option<Input> {
    let line = line(walk, section, "line", taken);
    needs(walk, section, "line");
    let active_low = walk.flag(section, "active_low").unwrap_or(false);
    let words = [("none", Bias::None), ("pull_up", Bias::PullUp), ("pull_down", Bias::PullDown)];
    let bias = walk.word(section, "bias", &words).unwrap_or(Bias::None);
    Some(Input { line: line?, active_low, bias })
}

fn output<'t>(
    walk: &mut Walk<'t>,
    section: &Section<'t>,
    line_key: &str,
    active_low_key: &str,
    taken: &mut Taken,
) -> Option<Output> {
    let line = line(walk, section, line_key, taken);
    let active_low = walk.flag(section, active_low_key).unwrap_or(false);
    Some(Output { line: line?, active_low })
}

/// A line by number or name. A line that has two jobs is a fault; a number and a name of one line are
/// found out by the kernel, which gives each line away once.
fn line<'t>(walk: &mut Walk<'t>, section: &Section<'t>, key: &str, taken: &mut Taken) -> Option<Line> {
    let allowed = "a line's number, such as 17, or its name, such as \"GPIO17\"";
    let line = walk.value(section, key, allowed, |value| match value {
        // No chip has nearly as many lines; the kernel says which ones this one has.
        DeValue::Integer(number) => {
            u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| *n < 4096).map(Line::Offset)
        }
        // The kernel keeps 32 bytes for it, one of them a zero (struct gpio_v2_line_info).
        DeValue::String(name) => {
            let is_name = name.len() < 32 && !name.chars().any(char::is_control);
            is_name.then(|| Line::Name(name.to_string()))
        }
        _ => None,
    })?;
    if let Some((_, other)) = taken.lines.iter().find(|(other, _)| *other == line) {
        walk.conflict(section, key, format_args!("is {line}, which {other} has already"));
    }
    taken.lines.push((line.clone(), section.path_to(key)));
    Some(line)
}

/// A section that is there needs this key.
fn needs<'t>(walk: &mut Walk<'t>, section: &Section<'t>, key: &str) {
    if section.is_there() && !section.has(key) {
        walk.conflict(section, key, "is missing: without it, leave the section out");
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Line::Offset(offset) => write!(f, "line {offset}"),
            Line::Name(name) => write!(f, "line \"{name}\""),
        }
    }
}

#[cfg(test)]
mod tests;

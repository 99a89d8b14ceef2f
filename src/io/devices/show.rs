//! How does a person read what this board has?
//!
//! The cameras first, since that is what is asked for; of each what it is, what farol would do with it,
//! and the lines to put into the configuration. Lists are cut where they would push the rest off the
//! screen; `--json` has all of it.

use std::fmt::{self, Display, Formatter};

use super::{Ability, Chip, Devices, Direction, SoundDevice};
use crate::config::{ControlValue, Video};
use crate::engine::choice::{Mode, Offer, Plan, Sizes, name};
use crate::engine::control::{CameraControl, ControlKind};
use crate::io::capture::survey::{Role, Unreadable, VideoNode};

/// Sizes shown for a format; a camera may have dozens.
const SIZES_SHOWN: usize = 5;
/// Formats shown for a node; a test driver has a hundred, a camera a handful.
const FORMATS_SHOWN: usize = 8;
/// Names of lines shown for a chip; a Pi has 54 on its header's chip alone.
const LINES_SHOWN: usize = 8;
/// A menu with more entries than this is shown by its numbers.
const ENTRIES_SHOWN: usize = 8;

impl Display for Devices {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let video = || self.video.iter().flatten();
        let (cameras, others): (Vec<_>, Vec<_>) =
            video().partition(|node| matches!(node.role, Role::Camera { .. }));
        let (encoders, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|node| matches!(node.role, Role::Encoder { .. }));
        let heard = |direction| self.sound.iter().filter(move |device| device.direction == direction);
        section(f, "Cameras", &cameras)?;
        section(f, "Encoders", &encoders)?;
        section(f, "Other video nodes", &others)?;
        section(f, "Microphones", &Vec::from_iter(heard(Direction::In)))?;
        section(f, "Loudspeakers", &Vec::from_iter(heard(Direction::Out)))?;
        section(f, "GPIO chips", &Vec::from_iter(self.chips.iter().flatten()))?;
        let faults = self.video.iter().filter_map(|node| node.as_ref().err());
        let faults: Vec<_> = faults.chain(self.chips.iter().filter_map(|chip| chip.as_ref().err())).collect();
        section(f, "Could not be looked into", &faults)?;
        if cameras.is_empty() {
            f.write_str(
                "No camera was found. One on the board's own connector is reached through a program: see \
                 docs/cameras.md.\nA USB camera is to be plugged in. `farol demo` shows a test picture.\n",
            )?;
        }
        Ok(())
    }
}

fn section<T: Display>(f: &mut Formatter<'_>, title: &str, devices: &[T]) -> fmt::Result {
    if devices.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}\n{}\n", "-".repeat(title.len()))?;
    devices.iter().try_for_each(|device| writeln!(f, "{device}"))
}

impl Display for VideoNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} ({}, {})", self.path.display(), self.card, self.driver, self.bus)?;
        match &self.role {
            Role::Camera { offers, plan } => {
                match plan {
                    Ok(plan) => writeln!(f, "  farol would take {plan}\n  ({})", plan.reason)?,
                    Err(obstacle) => writeln!(f, "  not to be used: {obstacle}")?,
                }
                show_offers(f, offers)?;
            }
            Role::Encoder { takes } => {
                let names = takes.iter().map(|format| name(format.fourcc()));
                writeln!(f, "  encodes H.264 from {}", names.collect::<Vec<_>>().join(" "))?;
            }
            Role::MemoryToMemory => {
                writeln!(f, "  a decoder, a scaler or for another codec: of no use here")?
            }
            Role::Output => {
                writeln!(f, "  an output, or a loopback whose program is not running: no camera")?
            }
            Role::Other => writeln!(f, "  delivers no pictures")?,
        }
        let name = self.name.display().to_string();
        match &self.role {
            Role::Camera { plan, .. } => {
                show_controls(f, &self.controls)?;
                plan.as_ref().map_or(Ok(()), |plan| snippet(f, &name, plan))
            }
            // farol sets its controls by itself.
            Role::Encoder { .. } => writeln!(f, "\n    [video]\n    encoder = {name:?}"),
            _ => Ok(()),
        }
    }
}

/// The lines for the configuration, with the size and rate where those are not its defaults.
fn snippet(f: &mut Formatter<'_>, name: &str, plan: &Plan) -> fmt::Result {
    writeln!(f, "\n    [video]\n    source = \"v4l2\"\n    device = {name:?}")?;
    let default = Video::default();
    if plan.size != default.size {
        writeln!(f, "    width = {}\n    height = {}", plan.size.0, plan.size.1)?;
    }
    if plan.fps != default.fps {
        writeln!(f, "    fps = {}", plan.fps)?;
    }
    Ok(())
}

fn show_offers(f: &mut Formatter<'_>, offers: &[Offer]) -> fmt::Result {
    // What counts first: H.264 is the last format of many cameras. What no size is known of comes last.
    let mut offers: Vec<&Offer> = offers.iter().collect();
    offers.sort_by_key(|offer| (offer.fourcc != *b"H264", offer.sizes == Sizes::Unknown));
    for offer in offers.iter().take(FORMATS_SHOWN) {
        writeln!(f, "  {:<4} {}", name(offer.fourcc), sizes(&offer.sizes))?;
    }
    match offers.len().saturating_sub(FORMATS_SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more formats"),
    }
}

fn sizes(sizes: &Sizes) -> String {
    let rate = |fps: &Option<u32>| fps.map_or(String::new(), |fps| format!("@{fps}"));
    match sizes {
        Sizes::Listed(modes) => {
            let mut modes = modes.clone();
            modes.sort_by_key(|mode| std::cmp::Reverse(u64::from(mode.size.0) * u64::from(mode.size.1)));
            let mode = |mode: &Mode| format!("{}x{}{}", mode.size.0, mode.size.1, rate(&mode.fps));
            first(&modes.iter().map(mode).collect::<Vec<_>>(), SIZES_SHOWN)
        }
        Sizes::Range { min, max, fps, .. } => {
            format!("{}x{} to {}x{}{}", min.0, min.1, max.0, max.1, rate(fps))
        }
        Sizes::Unknown => "in sizes that it does not tell".to_owned(),
    }
}

fn show_controls(f: &mut Formatter<'_>, controls: &[CameraControl]) -> fmt::Result {
    if controls.is_empty() {
        return Ok(());
    }
    let width = controls.iter().map(|control| control.name.len()).max().unwrap_or(0);
    writeln!(f, "  for [video.controls]:")?;
    controls.iter().try_for_each(|control| {
        let locked = if control.is_settable { "" } else { " (not to be set now)" };
        writeln!(f, "    {:<width$}  {}{}{locked}", control.name, range(&control.kind), now(control))
    })
}

/// What a control takes.
fn range(kind: &ControlKind) -> String {
    match kind {
        ControlKind::Integer { min, max, step: 1, default } => format!("{min} to {max}, default {default}"),
        ControlKind::Integer { min, max, step, default } => {
            format!("{min} to {max} in steps of {step}, default {default}")
        }
        ControlKind::Boolean { default } => format!("true or false, default {default}"),
        ControlKind::Menu { entries, default } => {
            let names: Vec<String> = entries.iter().map(|(_, name)| format!("{name:?}")).collect();
            format!("{}, default {}", first(&names, ENTRIES_SHOWN), entry(entries, *default))
        }
        ControlKind::Button => "a button".to_owned(),
    }
}

/// What a control is now, unless it is at its default.
fn now(control: &CameraControl) -> String {
    let (now, default) = match (&control.kind, &control.value) {
        (ControlKind::Integer { default, .. }, Some(ControlValue::Integer(now))) => {
            (now.to_string(), default.to_string())
        }
        (ControlKind::Boolean { default }, Some(ControlValue::Boolean(now))) => {
            (now.to_string(), default.to_string())
        }
        (ControlKind::Menu { entries, default }, Some(ControlValue::Integer(now))) => {
            (entry(entries, *now), entry(entries, *default))
        }
        _ => return String::new(),
    };
    if now == default { String::new() } else { format!(", now {now}") }
}

fn entry(entries: &[(i64, String)], number: i64) -> String {
    let named = entries.iter().find(|(entry, _)| *entry == number);
    named.map_or_else(|| number.to_string(), |(_, name)| format!("{name:?}"))
}

impl Display for SoundDevice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.card)?;
        let ability = match &self.ability {
            Ok(ability) if ability.formats.is_empty() => {
                return writeln!(f, "  takes no plain samples: it cannot be used");
            }
            Ok(ability) => {
                writeln!(f, "  {ability}")?;
                Some(ability)
            }
            Err(why) => {
                writeln!(f, "  {why}")?;
                None
            }
        };
        match self.direction {
            Direction::In => {
                write!(f, "\n    [audio]\n    source = \"alsa\"\n    device = {:?}\n", self.name)?
            }
            Direction::Out => write!(f, "\n    [talkback]\n    device = {:?}\n", self.name)?,
        }
        let Some(ability) = ability else { return Ok(()) };
        if ability.best_rate_hz() != 48_000 {
            writeln!(f, "    rate_hz = {}", ability.best_rate_hz())?;
        }
        if ability.channels.0 > 1 {
            writeln!(f, "    channels = {}", ability.channels.0)?;
        }
        Ok(())
    }
}

impl Display for Ability {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ((low, high), (fewest, most)) = (self.rates_hz, self.channels);
        match low == high {
            true => write!(f, "{low} Hz, ")?,
            false => write!(f, "{low} to {high} Hz, ")?,
        }
        match (fewest, most) {
            (1, 1) => write!(f, "1 channel, ")?,
            (fewest, most) if fewest == most => write!(f, "{fewest} channels, ")?,
            (fewest, most) => write!(f, "{fewest} to {most} channels, ")?,
        }
        f.write_str(&self.formats.join(" "))
    }
}

impl Display for Chip {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Chip { path, label, lines, named, used } = self;
        writeln!(f, "{}: {label}, {lines} lines, {used} in use", path.display())?;
        if !named.is_empty() {
            let names: Vec<String> = named.iter().map(|(line, name)| format!("{line} {name}")).collect();
            writeln!(f, "  named: {}", first(&names, LINES_SHOWN))?;
        }
        writeln!(f, "\n    [gpio]\n    chip = {:?}", path.display().to_string())
    }
}

impl Display for Unreadable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// The first `count` of a list, and how many there are beyond them.
fn first(list: &[String], count: usize) -> String {
    let shown = list[..list.len().min(count)].join(", ");
    match list.len().saturating_sub(count) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

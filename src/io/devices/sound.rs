//! Which sound cards are there, each way, and what can they do?

use alsa::pcm::{Format, HwParams, PCM};
use alsa::{Ctl, Output, card, ctl};

/// The sample formats that are worth telling, by ALSA's names.
const FORMATS: [(Format, &str); 6] = [
    (Format::S16LE, "S16_LE"),
    (Format::S243LE, "S24_3LE"),
    (Format::S24LE, "S24_LE"),
    (Format::S32LE, "S32_LE"),
    (Format::FloatLE, "FLOAT_LE"),
    (Format::U8, "U8"),
];

/// Which way sound goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A microphone.
    In,
    /// A loudspeaker.
    Out,
}

/// One direction of an ALSA device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundDevice {
    /// Its name for the configuration, by the card's id, which stays the same across restarts.
    pub name: String,
    /// Which way.
    pub direction: Direction,
    /// The card and the device on it, for people.
    pub card: String,
    /// What it can do; else why that is not known, for people.
    pub ability: Result<Ability, String>,
}

/// What an ALSA device can be set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// Lowest and highest, in samples per second.
    pub rates_hz: (u32, u32),
    /// Fewest and most.
    pub channels: (u32, u32),
    /// By ALSA's names; none when it takes only what is no PCM, as some HDMI outputs do.
    pub formats: Vec<&'static str>,
}

impl Ability {
    /// The rate to ask for: 48 kHz, as all that is sent, or what is nearest.
    pub fn best_rate_hz(&self) -> u32 {
        48_000.clamp(self.rates_hz.0, self.rates_hz.1.max(self.rates_hz.0))
    }
}

/// All devices, microphones first.
pub(super) fn list() -> Vec<SoundDevice> {
    // alsa-lib would print that there are no cards.
    let _quiet = Output::local_error_handler();
    let cards: Vec<_> = card::Iter::new().flatten().collect();
    let all = |direction| cards.iter().flat_map(move |card| devices_of(card, direction).unwrap_or_default());
    all(Direction::In).chain(all(Direction::Out)).collect()
}

fn devices_of(card: &alsa::Card, direction: Direction) -> alsa::Result<Vec<SoundDevice>> {
    let control = Ctl::from_card(card, true)?;
    let info = control.card_info()?;
    let (id, card) = (info.get_id()?.to_owned(), info.get_name()?.to_owned());
    let mut devices = Vec::new();
    for device in ctl::DeviceIter::new(&control) {
        // An error says that the device has not this direction.
        let Ok(pcm) = control.pcm_info(device as u32, 0, of_alsa(direction)) else { continue };
        let name = format!("hw:{id},{device}");
        devices.push(SoundDevice {
            ability: ability(&name, direction),
            name,
            direction,
            card: format!("{card}, {}", pcm.get_name().unwrap_or("unnamed")),
        });
    }
    Ok(devices)
}

fn ability(name: &str, direction: Direction) -> Result<Ability, String> {
    ability_of(name, direction).map_err(|cause: alsa::Error| match cause.errno() {
        libc::EBUSY | libc::EAGAIN => "another program uses it now".to_owned(),
        libc::EACCES => "it may not be opened; give the user the group `audio`".to_owned(),
        _ => cause.to_string(),
    })
}

/// What the ALSA device of that name can be set to.
///
/// # Errors
///
/// It cannot be opened, with ALSA's error number.
pub fn ability_of(name: &str, direction: Direction) -> alsa::Result<Ability> {
    // alsa-lib would print what is returned.
    let _quiet = Output::local_error_handler();
    let pcm = PCM::new(name, of_alsa(direction), true)?;
    let params = HwParams::any(&pcm)?;
    let formats = FORMATS.iter().filter(|(format, _)| params.test_format(*format).is_ok());
    Ok(Ability {
        rates_hz: (params.get_rate_min()?, params.get_rate_max()?),
        channels: (params.get_channels_min()?, params.get_channels_max()?),
        formats: formats.map(|(_, name)| *name).collect(),
    })
}

fn of_alsa(direction: Direction) -> alsa::Direction {
    match direction {
        Direction::In => alsa::Direction::Capture,
        Direction::Out => alsa::Direction::Playback,
    }
}

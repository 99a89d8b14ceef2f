//! Which cameras, sound cards and pins does this board have, and what would farol do with each?
//!
//! What `farol devices` prints: facts for each device, a plain verdict, and for the usable ones the lines
//! to put into the configuration. Nothing is changed on any device, and one that cannot be looked into is
//! listed with the reason.
//!
//! | file | question |
//! |---|---|
//! | `sound` | which sound cards there are, each way |
//! | `pins` | which GPIO chips there are |
//! | `show` | how a person reads it |
//! | `json` | how a program reads it |
//!
//! Cameras and encoders are looked at by [`survey`], with the eyes of who opens them.

mod json;
mod pins;
mod show;
mod sound;

use crate::io::capture::survey::{self, Unreadable, VideoNode};

pub use pins::Chip;
pub use sound::{Ability, Direction, SoundDevice, ability_of};

/// All that there is.
#[derive(Clone, Debug, PartialEq)]
pub struct Devices {
    /// The `/dev/video*` nodes, by number.
    pub video: Vec<Result<VideoNode, Unreadable>>,
    /// The ALSA devices, microphones first.
    pub sound: Vec<SoundDevice>,
    /// The GPIO chips.
    pub chips: Vec<Result<Chip, Unreadable>>,
}

/// Looks at everything.
pub fn list() -> Devices {
    Devices { video: survey::survey(), sound: sound::list(), chips: pins::list() }
}

#[cfg(test)]
mod tests;

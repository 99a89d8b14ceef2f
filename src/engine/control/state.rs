//! How is the board, in one viewer's eyes?

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::reply::degrees;
use super::request::mode_name;
use crate::engine::night::NightMode;
use crate::engine::rights::{Right, Rights};
use crate::units::PeerId;

/// What viewers are shown of the board. Two that are equal look the same to everybody.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The camera.
    pub camera: CameraState,
    /// The microphone.
    pub microphone: MicrophoneState,
    /// The loudspeaker.
    pub talk: Talk,
    /// How many viewers stream.
    pub watching: usize,
    /// Whether the camera has controls that can be set.
    pub has_controls: bool,
    /// The board can tell night from day.
    pub night: Option<Night>,
    /// It sees whether somebody moves.
    pub motion: Option<Motion>,
    /// It has a lamp: percent.
    pub lamp: Option<u8>,
    /// It turns sideways.
    pub pan: Option<Axis>,
    /// It turns upwards.
    pub tilt: Option<Axis>,
}

/// How the camera is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraState {
    /// It delivers.
    Ready,
    /// Nobody watches.
    Resting,
    /// It is missing or failed.
    Lost,
    /// Somebody at the board has switched it off.
    Private,
}

/// How the microphone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MicrophoneState {
    /// None is configured.
    None,
    /// It delivers, or would.
    Ready,
    /// It is missing or failed.
    Lost,
    /// Somebody at the board has switched it off.
    Private,
}

/// Who holds the loudspeaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Talk {
    /// There is none.
    None,
    /// Nobody.
    Free,
    /// One viewer, and nobody else is heard meanwhile.
    Held(PeerId),
    /// These viewers, whose voices are mixed: there is room for more.
    Shared(BTreeSet<PeerId>),
}

/// Night or day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Night {
    /// Who decides.
    pub mode: NightMode,
    /// What was decided.
    pub is_night: bool,
}

/// What the motion sensor has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Motion {
    /// Somebody moves now.
    pub is_active: bool,
    /// When somebody last did; `None`: never.
    pub last: Option<Instant>,
}

/// An axis that the camera turns on, in degrees from the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// The lowest angle.
    pub min: f32,
    /// The highest angle.
    pub max: f32,
    /// Where it is.
    pub at: f32,
}

impl Default for State {
    /// A board with a camera that rests, and nothing else.
    fn default() -> Self {
        State {
            camera: CameraState::Resting,
            microphone: MicrophoneState::None,
            talk: Talk::None,
            watching: 0,
            has_controls: false,
            night: None,
            motion: None,
            lamp: None,
            pan: None,
            tilt: None,
        }
    }
}

impl State {
    /// As the viewer on this peer connection, with these rights, is shown it.
    pub fn seen_by(&self, peer: PeerId, rights: Rights, now: Instant) -> Value {
        let axis = |axis: Option<Axis>| {
            axis.map_or(
                Value::Null,
                |axis| json!({ "min": degrees(axis.min), "max": degrees(axis.max), "at": degrees(axis.at) }),
            )
        };
        json!({
            "camera": match self.camera {
                CameraState::Ready => "ready",
                CameraState::Resting => "resting",
                CameraState::Lost => "lost",
                CameraState::Private => "private",
            },
            "microphone": match self.microphone {
                MicrophoneState::None => "none",
                MicrophoneState::Ready => "ready",
                MicrophoneState::Lost => "lost",
                MicrophoneState::Private => "private",
            },
            "talk": match &self.talk {
                Talk::None => "none",
                Talk::Free => "free",
                Talk::Held(holder) if *holder == peer => "you",
                Talk::Held(_) => "other",
                Talk::Shared(speaking) if speaking.contains(&peer) => "you",
                Talk::Shared(_) => "free",
            },
            "watching": self.watching,
            "night": self.night.map(|night| json!({ "mode": mode_name(night.mode), "is_night": night.is_night })),
            "motion": self.motion.map(|motion| motion.seen(now)),
            "lamp": self.lamp,
            "pan": axis(self.pan),
            "tilt": axis(self.tilt),
            "may": self.may(rights),
        })
    }

    /// What somebody with these rights may do, as far as the board has it.
    fn may(&self, rights: Rights) -> Vec<&'static str> {
        let controls = rights.has(Right::Control);
        [
            ("set", controls && self.has_controls),
            ("snapshot", rights.has(Right::View)),
            ("move", controls && (self.pan.is_some() || self.tilt.is_some())),
            ("night", controls && self.night.is_some()),
            ("lamp", controls && self.lamp.is_some()),
            ("talk", rights.has(Right::Talk) && self.talk != Talk::None),
        ]
        .into_iter()
        .filter_map(|(what, may)| may.then_some(what))
        .collect()
    }
}

impl Motion {
    fn seen(self, now: Instant) -> Value {
        let ago = self.last.map(|last| now.saturating_duration_since(last).as_secs());
        json!({ "is_active": self.is_active, "last_s": if self.is_active { Some(0) } else { ago } })
    }
}

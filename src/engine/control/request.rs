//! What does a viewer ask for, and which right does it need for that?
//!
//! Reading is in two steps, so that whatever has an id that can be read gets its answer: the envelope with
//! the id first, then what is asked. Unknown fields are ignored.

use serde_json::{Map, Value};

use super::reply::{Code, Reply};
use super::{LIMIT_NESTING, LIMIT_TEXT_BYTES};
use crate::config::ControlValue;
use crate::engine::message::{LIMIT_COUNTER, nests_within};
use crate::engine::night::NightMode;
use crate::engine::rights::{Right, Rights};

/// What a viewer asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// How the board is.
    Status,
    /// What is counted of this viewer, or of everybody.
    Statistics {
        /// Of everybody.
        of_all: bool,
    },
    /// Which camera controls there are.
    Controls,
    /// Set a camera control.
    Set {
        /// As [`CameraControl::name`](super::CameraControl::name) has it.
        control: String,
        /// The new value.
        value: ControlValue,
    },
    /// A still of the next picture.
    Snapshot,
    /// Turn the camera.
    Move(Aim),
    /// When the night's lamp and filter are in use.
    Night(NightMode),
    /// The lamp's brightness, 0 to 100 percent.
    Lamp(u8),
}

/// Where the camera is turned; at least one axis is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    /// Sideways, right is positive.
    pub pan: Option<Turn>,
    /// Upwards, up is positive.
    pub tilt: Option<Turn>,
}

/// How far an axis is turned, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// To this angle from the middle.
    To(f32),
    /// By this much from where it is.
    By(f32),
}

/// Who decides whether it is night, and the word for it on the channel.
const MODES: [(NightMode, &str); 3] =
    [(NightMode::Auto, "auto"), (NightMode::Day, "day"), (NightMode::Night, "night")];

/// The word on the channel.
pub(super) fn mode_name(mode: NightMode) -> &'static str {
    MODES.iter().find(|(known, _)| *known == mode).map_or("auto", |(_, name)| name)
}

/// A control's name has at most 32 bytes in the kernel's interface (`struct v4l2_query_ext_ctrl`).
const LIMIT_NAME_BYTES: usize = 64;

/// A request, or why it is none.
type Read = Result<Request, (Code, String)>;
type Reader = fn(&Envelope) -> Read;

/// A message that says which one it is; what it asks for is still unread.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The viewer's number for it, which the reply repeats.
    pub id: u64,
    fields: Map<String, Value>,
}

impl Envelope {
    /// Takes a message apart. Its size and nesting are checked before anything is parsed.
    ///
    /// # Errors
    /// The reply for a message whose id cannot be read.
    pub fn read(bytes: &[u8]) -> Result<Envelope, Reply> {
        let refuse = |text: &str| Err(Reply::error(None, Code::Invalid, text));
        if bytes.len() > LIMIT_TEXT_BYTES {
            return refuse("a message holds at most 16 KiB");
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return refuse("this is not text") };
        if !nests_within(text, LIMIT_NESTING) {
            return refuse("a message nests at most 8 deep");
        }
        let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
            return refuse("this is not a JSON object");
        };
        match fields.get("id").and_then(Value::as_u64) {
            Some(id @ 1..=LIMIT_COUNTER) => Ok(Envelope { id, fields }),
            _ => refuse("a message needs an `id`, a whole number from 1 to 2^53 - 1"),
        }
    }

    /// What is asked for, by somebody with these rights.
    ///
    /// # Errors
    /// The reply that refuses it. Who lacks the right learns nothing else of the request.
    pub fn request(&self, rights: Rights) -> Result<Request, Reply> {
        let fault = |code, text: String| Err(Reply::error(Some(self.id), code, &text));
        if self.fields.get("v").and_then(Value::as_u64) != Some(1) {
            return fault(Code::Invalid, "`v` is not 1, the version that is spoken here".to_owned());
        }
        let Some(Value::String(kind)) = self.fields.get("t") else {
            return fault(Code::Invalid, "`t`, what is asked for, is missing".to_owned());
        };
        let (needed, read): (Option<Right>, Reader) = match kind.as_str() {
            "status" => (None, |_| Ok(Request::Status)),
            "stats" => match self.fields.get("of").map(Value::as_str) {
                None | Some(Some("me")) => (None, |_| Ok(Request::Statistics { of_all: false })),
                Some(Some("all")) => (Some(Right::Control), |_| Ok(Request::Statistics { of_all: true })),
                Some(_) => return fault(Code::Invalid, "`of` is \"me\" or \"all\"".to_owned()),
            },
            "controls" => (Some(Right::Control), |_| Ok(Request::Controls)),
            "set" => (Some(Right::Control), Envelope::set),
            "snapshot" => (Some(Right::View), |_| Ok(Request::Snapshot)),
            "move" => (Some(Right::Control), Envelope::aim),
            "night" => (Some(Right::Control), Envelope::night),
            "lamp" => (Some(Right::Control), Envelope::lamp),
            _ => return fault(Code::Unknown, "nothing of that name can be asked for".to_owned()),
        };
        if !needed.map_or(!rights.is_empty(), |right| rights.has(right)) {
            let right = needed.map_or("any", Right::name);
            return fault(Code::Denied, format!("this viewer lacks the right `{right}`"));
        }
        read(self).or_else(|(code, text)| fault(code, text))
    }

    fn set(&self) -> Read {
        let Some(Value::String(control)) = self.fields.get("control") else {
            return invalid("`control`, the control's name, is missing");
        };
        if control.len() > LIMIT_NAME_BYTES {
            return Err((Code::Unknown, "no control has so long a name".to_owned()));
        }
        let value = match self.fields.get("value") {
            Some(Value::Bool(on)) => ControlValue::Boolean(*on),
            Some(Value::String(entry)) => ControlValue::Entry(entry.clone()),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(number) => ControlValue::Integer(number),
                None => return invalid("`value` is not a whole number"),
            },
            _ => return invalid("`value` is neither a whole number, true, false nor a menu's entry"),
        };
        Ok(Request::Set { control: control.clone(), value })
    }

    fn aim(&self) -> Read {
        let [pan, tilt, pan_by, tilt_by] =
            ["pan", "tilt", "pan_by", "tilt_by"].map(|name| self.degrees(name));
        let (pan, tilt, pan_by, tilt_by) = (pan?, tilt?, pan_by?, tilt_by?);
        match (pan.or(tilt), pan_by.or(tilt_by)) {
            (Some(_), None) => Ok(Request::Move(Aim { pan: pan.map(Turn::To), tilt: tilt.map(Turn::To) })),
            (None, Some(_)) => {
                Ok(Request::Move(Aim { pan: pan_by.map(Turn::By), tilt: tilt_by.map(Turn::By) }))
            }
            (None, None) => invalid("`pan` or `tilt`, in degrees, is missing"),
            (Some(_), Some(_)) => invalid("a move is either to an angle or by one, not both"),
        }
    }

    fn degrees(&self, name: &str) -> Result<Option<f32>, (Code, String)> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64().map(|degrees| degrees as f32) {
                Some(degrees) if degrees.is_finite() => Ok(Some(degrees)),
                _ => invalid("an angle is a number of degrees"),
            },
        }
    }

    fn night(&self) -> Read {
        let word = self.fields.get("mode").and_then(Value::as_str);
        match MODES.iter().find(|(_, name)| Some(*name) == word) {
            Some((mode, _)) => Ok(Request::Night(*mode)),
            None => invalid("`mode` is \"auto\", \"day\" or \"night\""),
        }
    }

    fn lamp(&self) -> Read {
        match self.fields.get("level") {
            Some(Value::Number(level)) => match level.as_f64() {
                Some(0.0..=100.0) => match level.as_u64() {
                    Some(level) => Ok(Request::Lamp(level as u8)),
                    None => invalid("`level` is not a whole number"),
                },
                _ => Err((Code::Range, "the lamp takes 0 to 100 percent".to_owned())),
            },
            _ => invalid("`level`, the lamp's percentage, is missing"),
        }
    }
}

fn invalid<T>(text: &str) -> Result<T, (Code, String)> {
    Err((Code::Invalid, text.to_owned()))
}

//! How does the device answer, and how does it tell news?

use serde_json::{Map, Value, json};

use super::{CameraControl, ControlKind, ControlRefusal, LIMIT_TEXT_BYTES};
use crate::config::ControlValue;
use crate::engine::tally::ViewerReport;

/// Why a request is refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The viewer lacks the right.
    Denied,
    /// There is no such request, or no such control.
    Unknown,
    /// The message is not what the protocol has.
    Invalid,
    /// The value is out of range.
    Range,
    /// The board has it not, or not now.
    Unavailable,
    /// Too much at once: ask again later.
    Busy,
}

impl Code {
    /// The word on the channel.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Denied => "denied",
            Code::Unknown => "unknown",
            Code::Invalid => "invalid",
            Code::Range => "range",
            Code::Unavailable => "unavailable",
            Code::Busy => "busy",
        }
    }
}

impl From<&ControlRefusal> for Code {
    fn from(refusal: &ControlRefusal) -> Code {
        match refusal {
            ControlRefusal::Unknown { .. } => Code::Unknown,
            ControlRefusal::Range { .. } => Code::Range,
            ControlRefusal::Unsettable { .. } | ControlRefusal::NoCamera => Code::Unavailable,
        }
    }
}

/// What the device answers to one request, as the JSON text that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(String);

impl Reply {
    /// Done, and there is nothing else to say.
    pub fn ok(id: u64) -> Reply {
        Reply::with(id, [])
    }

    /// Done, or asked for; with what the request's kind promises.
    fn with<'a>(id: u64, fields: impl IntoIterator<Item = (&'a str, Value)>) -> Reply {
        let head = [("v", json!(1)), ("t", json!("ok")), ("id", json!(id))];
        let fields = head.into_iter().chain(fields).map(|(name, value)| (name.to_owned(), value));
        Reply(Value::Object(Map::from_iter(fields)).to_string())
    }

    /// To `status`: [`State::seen_by`](super::State::seen_by).
    pub fn state(id: u64, state: Value) -> Reply {
        Reply::with(id, [("state", state)])
    }

    /// To `stats`: of the viewer itself, and of all as far as it may know.
    pub fn statistics(id: u64, own: &ViewerReport, all: Option<(&Value, &[Value], usize)>) -> Reply {
        let mut fields = vec![("me", json!(own))];
        if let Some((board, viewers, more)) = all {
            fields.extend([("board", board.clone()), ("viewers", json!(viewers)), ("more", json!(more))]);
        }
        Reply::with(id, fields)
    }

    /// A reply whose text was made to fit.
    pub fn written(text: String) -> Reply {
        Reply(text)
    }

    /// To `controls`.
    pub fn controls(id: u64, controls: &[CameraControl]) -> Reply {
        let write = |controls: &[CameraControl]| Reply::with(id, [("controls", list(controls))]).0;
        Reply(as_many_as_fit(controls, write))
    }

    /// To `set`: the value that the driver took.
    pub fn value(id: u64, value: &ControlValue) -> Reply {
        Reply::with(id, [("value", plain(value))])
    }

    /// To `snapshot`; the JPEG's bytes follow.
    pub fn still(id: u64, bytes: usize) -> Reply {
        Reply::with(id, [("bytes", json!(bytes)), ("type", json!("image/jpeg"))])
    }

    /// To `move`: where it turns to.
    pub fn moved(id: u64, pan: Option<f32>, tilt: Option<f32>) -> Reply {
        let axes = [("pan", pan), ("tilt", tilt)];
        Reply::with(id, axes.into_iter().filter_map(|(name, at)| Some((name, degrees(at?)))))
    }

    /// No; `text` says to people why, and what would do.
    pub fn error(id: Option<u64>, code: Code, text: &str) -> Reply {
        let mut message = json!({ "v": 1, "t": "error", "code": code.name(), "text": text });
        if let Some(id) = id {
            message["id"] = json!(id);
        }
        Reply(message.to_string())
    }

    /// Why a control was not set.
    pub fn refusal(id: u64, refusal: &ControlRefusal) -> Reply {
        Reply::error(Some(id), Code::from(refusal), &refusal.to_string())
    }

    /// The text to send.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// The news that the state has changed.
pub fn state_news(state: Value) -> String {
    json!({ "v": 1, "t": "state", "state": state }).to_string()
}

/// The news that the camera has other controls, or that one can be set that could not before.
pub fn controls_news(controls: &[CameraControl]) -> String {
    let write = |controls: &[CameraControl]| {
        json!({ "v": 1, "t": "controls", "controls": list(controls) }).to_string()
    };
    as_many_as_fit(controls, write)
}

/// A text holds at most 16 KiB. A camera with more controls than that, about a hundred, shows the first
/// ones: those for users come before those for codecs and tests.
fn as_many_as_fit(controls: &[CameraControl], write: impl Fn(&[CameraControl]) -> String) -> String {
    let mut shown = controls.len();
    loop {
        let text = write(&controls[..shown]);
        if text.len() <= LIMIT_TEXT_BYTES || shown == 0 {
            return text;
        }
        // A control takes over 100 bytes, so this does not overshoot by much.
        shown -= ((text.len() - LIMIT_TEXT_BYTES) / 1024).clamp(1, shown);
    }
}

fn list(controls: &[CameraControl]) -> Value {
    controls.iter().map(control_json).collect()
}

/// A camera control, as the protocol shows it.
pub fn control_json(control: &CameraControl) -> Value {
    let mut shown = json!({ "name": control.name, "label": control.label, "settable": control.is_settable });
    let (kind, more) = match &control.kind {
        ControlKind::Integer { min, max, step, default } => {
            ("integer", json!({ "min": min, "max": max, "step": step, "default": default }))
        }
        ControlKind::Boolean { default } => ("boolean", json!({ "default": default })),
        ControlKind::Menu { entries, default } => ("menu", json!({ "entries": entries, "default": default })),
        ControlKind::Button => ("button", json!({})),
    };
    shown["kind"] = json!(kind);
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    if control.kind != ControlKind::Button {
        shown["value"] = control.value.as_ref().map_or(Value::Null, plain);
    }
    shown
}

fn plain(value: &ControlValue) -> Value {
    match value {
        ControlValue::Integer(number) => json!(number),
        ControlValue::Boolean(on) => json!(on),
        ControlValue::Entry(name) => json!(name),
    }
}

/// A servo is not exact to a tenth of a degree; more digits would be noise.
pub(super) fn degrees(at: f32) -> Value {
    json!((f64::from(at) * 10.0).round() / 10.0)
}

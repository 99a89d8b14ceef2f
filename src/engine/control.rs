//! What can a viewer set on the board, and how is it asked for? The channel protocol `farol-control/1`.
//!
//! `docs/control.md` describes it for people, `tests/fixtures/signal/control.json` for tests. This part
//! reads what viewers write and writes what they read; what is asked for is done in the shell.
//!
//! | file | question |
//! |---|---|
//! | `request` | what does a viewer ask for, and with which right |
//! | `reply` | how does the device answer |
//! | `state` | how is the board, in one viewer's eyes |
//! | `desk` | whether one viewer is heard, and when it is told news |

mod desk;
mod reply;
mod request;
mod state;

pub use desk::{Desk, Heard};
pub use reply::{Code, Reply, control_json, controls_news, state_news};
pub use request::{Aim, Request, Turn};
pub use state::{Axis, CameraState, MicrophoneState, Motion, Night, State, Talk};

use crate::config::ControlValue;

/// The data channel's label, which is the protocol's name.
pub const LABEL: &str = "farol-control/1";
/// The longest text in bytes, either way.
pub const LIMIT_TEXT_BYTES: usize = 16 * 1024;
/// How deep a text's JSON may nest; `{}` is 1.
pub const LIMIT_NESTING: usize = 8;
/// A still goes in binary messages of this many bytes, the last one with the rest.
pub const STILL_CHUNK_BYTES: usize = 16 * 1024;

/// A control's name in the configuration and on the channel: the driver's own in lower case, each run of
/// anything but letters and digits one underscore, none at the ends; `v4l2-ctl` names them alike. Empty
/// when the driver's has neither letter nor digit.
pub fn control_name(label: &str) -> String {
    let words = label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

/// A control of the camera, as its driver describes it (kernel documentation, "User Controls").
#[derive(Clone, Debug, PartialEq)]
pub struct CameraControl {
    /// Its name in the configuration and on the channel: the driver's in lower case with underscores,
    /// such as `power_line_frequency`.
    pub name: String,
    /// The driver's own name for it, for people.
    pub label: String,
    /// What it takes.
    pub kind: ControlKind,
    /// What it is now; `None` for a button, and for what cannot be read.
    pub value: Option<ControlValue>,
    /// It can be set now: neither read-only, nor grabbed, nor switched off by another control.
    pub is_settable: bool,
}

/// What a camera control takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlKind {
    /// A whole number.
    Integer {
        /// The lowest.
        min: i64,
        /// The highest.
        max: i64,
        /// Between two neighbours.
        step: i64,
        /// Where the driver begins.
        default: i64,
    },
    /// On or off.
    Boolean {
        /// Where the driver begins.
        default: bool,
    },
    /// One of several, each with its number.
    Menu {
        /// Numbers and names; gaps are possible.
        entries: Vec<(i64, String)>,
        /// The number where the driver begins.
        default: i64,
    },
    /// Something that happens when it is set.
    Button,
}

/// Menu entries that are named to a person who asked for another one.
const ENTRIES_NAMED: usize = 10;

impl CameraControl {
    /// The number that the driver is to be given for `value`; numbers between two steps are the driver's to
    /// round. It does not look at [`is_settable`](Self::is_settable).
    ///
    /// # Errors
    /// [`ControlRefusal::Range`], which says what there is.
    pub fn number(&self, value: &ControlValue) -> Result<i64, ControlRefusal> {
        let number = match (&self.kind, value) {
            (ControlKind::Integer { min, max, .. }, ControlValue::Integer(number)) => {
                (min..=max).contains(&number).then_some(*number)
            }
            (ControlKind::Boolean { .. }, ControlValue::Boolean(on)) => Some(i64::from(*on)),
            (ControlKind::Boolean { .. }, ControlValue::Integer(number @ (0 | 1))) => Some(*number),
            (ControlKind::Menu { entries, .. }, ControlValue::Integer(number)) => {
                entries.iter().any(|(known, _)| known == number).then_some(*number)
            }
            (ControlKind::Menu { entries, .. }, ControlValue::Entry(name)) => {
                let same = |known: &str| known.trim().eq_ignore_ascii_case(name.trim());
                entries.iter().find(|(_, known)| same(known)).map(|(number, _)| *number)
            }
            (ControlKind::Button, ControlValue::Boolean(true) | ControlValue::Integer(_)) => Some(0),
            _ => None,
        };
        number.ok_or_else(|| ControlRefusal::Range { name: self.name.clone(), allowed: self.allowed() })
    }

    /// What it takes, for people.
    fn allowed(&self) -> String {
        match &self.kind {
            ControlKind::Integer { min, max, .. } => format!("a whole number from {min} to {max}"),
            ControlKind::Boolean { .. } => "true or false".to_owned(),
            ControlKind::Menu { entries, .. } => {
                let named = entries.iter().take(ENTRIES_NAMED);
                let named: Vec<String> =
                    named.map(|(number, name)| format!("\"{name}\" ({number})")).collect();
                let more = match entries.len().saturating_sub(ENTRIES_NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("one of {}{more}", named.join(", "))
            }
            ControlKind::Button => "true, which presses it".to_owned(),
        }
    }
}

/// Why a control was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlRefusal {
    /// There is none of that name.
    #[error("the camera has no control `{name}`")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// It does not take that value.
    #[error("`{name}` takes {allowed}")]
    Range {
        /// Which control.
        name: String,
        /// What it takes, for people.
        allowed: String,
    },
    /// It cannot be set now.
    #[error("`{name}` cannot be set now: {why}")]
    Unsettable {
        /// Which control.
        name: String,
        /// Why, for people.
        why: String,
    },
    /// The camera is not there, or does not run.
    #[error("the camera does not run")]
    NoCamera,
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_takes_what_its_kind_takes_and_says_what_that_is() {
        use ControlValue::{Boolean, Entry, Integer};
        let integer = ControlKind::Integer { min: -10, max: 10, step: 5, default: 0 };
        let entries = vec![(0, "Disabled".to_owned()), (2, "60 Hz".to_owned())];
        let control = |kind| CameraControl {
            name: "knob".to_owned(),
            label: "Knob".to_owned(),
            kind,
            value: None,
            is_settable: true,
        };
        let entry = |name: &str| Entry(name.to_owned());
        for (kind, good, bad, allowed) in [
            (
                integer,
                vec![(Integer(-10), -10), (Integer(3), 3)],
                vec![Integer(11), Boolean(true), entry("1")],
                "a whole number from -10 to 10",
            ),
            (
                ControlKind::Boolean { default: false },
                vec![(Boolean(true), 1), (Integer(0), 0)],
                vec![Integer(2), entry("true")],
                "true or false",
            ),
            (
                ControlKind::Menu { entries, default: 0 },
                vec![(Integer(2), 2), (entry("60 hz"), 2), (entry("Disabled"), 0)],
                vec![Integer(1), entry("50 Hz"), Boolean(true)],
                "one of \"Disabled\" (0), \"60 Hz\" (2)",
            ),
            (
                ControlKind::Button,
                vec![(Boolean(true), 0)],
                vec![Boolean(false), entry("")],
                "true, which presses it",
            ),
        ] {
            let control = control(kind);
            for (value, number) in good {
                assert_eq!(control.number(&value), Ok(number), "{value:?}");
            }
            for value in bad {
                let refusal = control.number(&value).expect_err("it is not one of its values");
                assert_eq!(refusal.to_string(), format!("`knob` takes {allowed}"));
            }
        }
    }

    #[test]
    fn a_control_is_named_as_v4l2_ctl_names_it() {
        for (label, name) in [
            ("Brightness", "brightness"),
            ("White Balance, Automatic", "white_balance_automatic"),
            ("H264 I-Frame Period", "h264_i_frame_period"),
            ("Inject V4L2_BUF_FLAG_ERROR", "inject_v4l2_buf_flag_error"),
            (" (Odd) ", "odd"),
            ("\u{fffd}\u{fffd}", ""),
        ] {
            assert_eq!(control_name(label), name);
        }
    }
}

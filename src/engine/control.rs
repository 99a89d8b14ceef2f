//! What can a viewer set on the board, and how is it asked for? The channel protocol `farol-control/1`.

use crate::config::ControlValue;

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
mod tests {
    use super::*;

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

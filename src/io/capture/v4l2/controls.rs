//! What can a camera's encoder be set to, and what happens when it refuses?
//!
//! Every driver has its own selection of the codec controls (kernel documentation, "Codec Control
//! Reference"). What exists is set; a refusal is said once for each control and stops nothing.

use std::path::{Path, PathBuf};

use v4l::Device;
use v4l::control::{Control as Setting, Value};
use v4l::v4l_sys;

use self::listed::Listed;
use super::readable;
use crate::units::Bitrate;

mod listed;

/// The controls that matter for a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Bits per second.
    Bitrate,
    /// Pictures from one keyframe to the next.
    GroupSize,
    /// The same for drivers that tell IDR from I pictures.
    IntraPeriod,
    /// A button: the next picture is a keyframe.
    ForceKeyframe,
    /// SPS and PPS before each keyframe.
    RepeatHeaders,
    /// B-frames in a row: none, ever.
    BFrames,
}

impl Control {
    const ALL: [Control; 6] = [
        Control::Bitrate,
        Control::GroupSize,
        Control::IntraPeriod,
        Control::ForceKeyframe,
        Control::RepeatHeaders,
        Control::BFrames,
    ];

    fn id(self) -> u32 {
        match self {
            Control::Bitrate => v4l_sys::V4L2_CID_MPEG_VIDEO_BITRATE,
            Control::GroupSize => v4l_sys::V4L2_CID_MPEG_VIDEO_GOP_SIZE,
            Control::IntraPeriod => v4l_sys::V4L2_CID_MPEG_VIDEO_H264_I_PERIOD,
            Control::ForceKeyframe => v4l_sys::V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME,
            Control::RepeatHeaders => v4l_sys::V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER,
            Control::BFrames => v4l_sys::V4L2_CID_MPEG_VIDEO_B_FRAMES,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Control::Bitrate => "bitrate",
            Control::GroupSize => "keyframe interval",
            Control::IntraPeriod => "intra period",
            Control::ForceKeyframe => "forced keyframes",
            Control::RepeatHeaders => "repeated headers",
            Control::BFrames => "B-frames",
        }
    }
}

/// The controls of one open device.
pub(super) struct Controls {
    device: Device,
    path: PathBuf,
    present: Vec<Control>,
    /// Those for people.
    listed: Vec<Listed>,
    /// Those whose refusal has been said.
    refused: Vec<Control>,
}

impl Controls {
    pub(super) fn of(device: Device, path: &Path) -> Controls {
        let exists = |control: &Control| exists(&device, control.id());
        let present = Control::ALL.into_iter().filter(exists).collect();
        let mut controls =
            Controls { present, listed: Vec::new(), refused: Vec::new(), device, path: path.to_owned() };
        controls.list();
        controls
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn has(&self, control: Control) -> bool {
        self.present.contains(&control)
    }

    /// For people: what can be set.
    pub(super) fn names(&self) -> String {
        if self.present.is_empty() {
            return "nothing".to_owned();
        }
        self.present.iter().map(|control| control.name()).collect::<Vec<_>>().join(", ")
    }

    /// What a live stream needs, as far as the driver has it.
    pub(super) fn set_up(&mut self, bitrate: Bitrate, keyframe_interval: u32) {
        self.set(Control::BFrames, 0);
        self.set(Control::RepeatHeaders, 1);
        self.set(Control::Bitrate, i64::from(bitrate.bps()));
        self.set(Control::GroupSize, i64::from(keyframe_interval));
        self.set(Control::IntraPeriod, i64::from(keyframe_interval));
    }

    /// Sets a control that exists; does nothing for one that does not.
    pub(super) fn set(&mut self, control: Control, value: i64) {
        if !self.has(control) {
            return;
        }
        let setting = Setting { id: control.id(), value: Value::Integer(value) };
        if let Err(cause) = self.device.set_control(setting)
            && !self.refused.contains(&control)
        {
            self.refused.push(control);
            log::warn!(
                device:% = self.path.display(), control = control.name(), value, cause:% = cause;
                "the camera refuses a setting"
            );
        }
    }
}

/// Whether the driver knows a control. Reading a button fails too, but with another error than
/// EINVAL, which is the answer to an unknown id (ENOTTY: to any id at all).
fn exists(device: &Device, id: u32) -> bool {
    match readable(|| device.control(id)) {
        Ok(_) => true,
        Err(cause) => !matches!(cause.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs the device lab (tests/lab)"]
    fn what_a_driver_has_is_set_and_what_it_refuses_is_said_once() {
        let path = Path::new("/dev/video11");
        let mut controls = Controls::of(Device::with_path(path).expect("the lab's encoder"), path);
        for control in [Control::Bitrate, Control::GroupSize, Control::ForceKeyframe, Control::RepeatHeaders]
        {
            assert!(controls.has(control), "{control:?}");
        }
        assert!(!controls.has(Control::BFrames));
        controls.set_up(Bitrate::from_kbps(1_500), 60);
        controls.set(Control::ForceKeyframe, 1);
        assert_eq!(controls.refused, []);
        let read = |control: Control| controls.device.control(control.id()).expect("it is there").value;
        assert_eq!(read(Control::Bitrate), Value::Integer(1_500_000));
        // This driver has at most 16, and takes more for that instead of refusing it.
        assert_eq!(read(Control::GroupSize), Value::Integer(16));
    }
}

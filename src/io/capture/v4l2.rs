//! A V4L2 camera that delivers H.264.
use super::{Format, Loss};
use crate::config;
use crate::engine::h264::AccessUnit;
use crate::units::Bitrate;
use std::path::Path;
use std::time::Duration;
pub(super) struct Camera {}
impl Camera {
    pub(super) fn open(device: &Path, _video: &config::Video) -> Result<Camera, Loss> {
        Err(Loss::Unfit { device: device.to_owned(), what: "todo".into() })
    }
    pub(super) fn format(&self) -> Format {
        todo!()
    }
    pub(super) fn picture(&mut self, _wait: Duration) -> Result<Option<AccessUnit>, Loss> {
        Ok(None)
    }
    pub(super) fn force_keyframe(&mut self) {}
    pub(super) fn set_bitrate(&mut self, _bitrate: Bitrate) {}
}

//! A V4L2 camera: opened, set to the best that it has, and read buffer by buffer.
//!
//! What is the best is [`choice`](crate::engine::choice)'s to say. H.264 is passed on as it is
//! ([`native`]); anything else goes through an encoder of ours ([`encode`](super::encode)).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use v4l::Device;

use self::controls::{Control, Controls};
use self::native::Native;
pub(super) use self::open::{offers, readable};
use self::stream::Stream;
use super::encode::{Fate, Input, Pipeline, encoders};
use super::{Format, Loss, Taken};
use crate::config::{self, CameraInput, ControlValue, EncoderChoice};
use crate::engine::choice::{Encoding, Plan, Wish, choose};
use crate::engine::control::{CameraControl, ControlRefusal};
use crate::engine::h264::AccessUnit;
use crate::io::clock::media_now;
use crate::units::{Bitrate, MediaTime};

mod controls;
mod native;
mod open;
mod stream;

/// A picture that is later than so many of its kind is not worth encoding when a newer one is there: the
/// buffers between camera and encoder would only add delay.
const LATE_PICTURES: u32 = 3;

/// An open camera, streaming.
pub(super) struct Camera {
    device: PathBuf,
    controls: Controls,
    stream: Stream,
    /// The driver's.
    size: (u32, u32),
    fps: u32,
    name: String,
    plan: Plan,
    way: Way,
    /// When it last gave something of use.
    last_seen: MediaTime,
    stalled_after: Duration,
}

/// How its buffers become access units.
enum Way {
    Passed(Native),
    Encoded(Box<Pipeline>),
}

impl Camera {
    pub(super) fn open(
        path: &Path,
        input: CameraInput,
        encoder: &EncoderChoice,
        video: &config::Video,
    ) -> Result<Camera, Loss> {
        let failed = |operation| move |cause| lost(operation, path, cause);
        let device = Device::with_path(path).map_err(failed("open"))?;
        let name = open::check_capabilities(&device, path)?;
        let wish = Wish { input, encoder: encoder.clone(), size: video.size, fps: video.fps };
        let plan = choose(&offers(&device, path)?, &encoders(encoder), &wish)
            .map_err(|refusal| Loss::Unfit { device: path.to_owned(), what: refusal.to_string() })?;
        log::debug!(device:% = path.display(), plan:% = plan, reason = plan.reason.as_str(); "camera chosen");
        let format = open::set_format(&device, path, plan.fourcc, plan.size)?;
        let fps = open::set_rate(&device, path, plan.fps);
        let mut controls = Controls::of(device, path);
        controls.configure(&video.controls);
        let way = match &plan.encoding {
            Encoding::Passed => {
                controls.set_up(video.bitrate, video.keyframe_interval);
                Way::Passed(Native::new())
            }
            Encoding::Encoded { from, by, .. } => {
                let layout = open::layout(&format, *from, path)?;
                let input = Input { layout, colour: open::colour(&format, *from), fps };
                Way::Encoded(Box::new(Pipeline::open(input, by, video)?))
            }
        };
        let stream = Stream::start(controls.device(), path).map_err(failed("start streaming"))?;
        Ok(Camera {
            device: path.to_owned(),
            controls,
            stream,
            size: (format.width, format.height),
            fps,
            name,
            plan,
            way,
            last_seen: media_now(),
            stalled_after: video.stalled_after,
        })
    }

    pub(super) fn format(&self) -> Format {
        let (name, device) = (&self.name, self.device.display());
        match &self.way {
            Way::Passed(native) => {
                let sps = native.sps();
                let (width, height) = sps.map_or(self.size, |sps| (sps.width, sps.height));
                let profile = sps.map_or("unknown".to_owned(), |sps| sps.profile_level_id.to_string());
                let settable = self.controls.names();
                let detail = format!("{name} at {device}, profile {profile}, can set {settable}");
                let forces_keyframes = self.controls.has(Control::ForceKeyframe);
                Format { width, height, fps: self.fps, forces_keyframes, takes_stills: false, detail }
            }
            Way::Encoded(pipeline) => {
                let ((width, height), fps) = pipeline.sent();
                let (plan, reason) = (&self.plan, &self.plan.reason);
                let detail = format!("{name} at {device}: {plan} ({reason}); {}", pipeline.detail());
                Format { width, height, fps, forces_keyframes: true, takes_stills: true, detail }
            }
        }
    }

    /// The next picture; `None` when it did not come within `wait`, or is of no use.
    pub(super) fn picture(&mut self, wait: Duration) -> Result<Option<AccessUnit>, Loss> {
        let Camera { stream, way, fps, .. } = self;
        let fate = match way {
            Way::Passed(native) => stream.next(wait, None, |buffer| Ok(native.accept(&buffer))),
            Way::Encoded(pipeline) => {
                let stale = Duration::from_secs(1) * LATE_PICTURES / (*fps).max(1);
                stream.next(wait, Some(stale), |buffer| match buffer.is_damaged {
                    true => Ok(pipeline.refuse()),
                    false => pipeline.encode(buffer.data, buffer.captured),
                })
            }
        };
        match fate.map_err(|cause| lost("read a picture", &self.device, cause))?.transpose()? {
            None => self.check_silence().map(|()| None),
            Some(Fate::Unit(unit)) => {
                self.last_seen = media_now();
                Ok(Some(unit))
            }
            Some(Fate::Nothing) => {
                self.last_seen = media_now();
                Ok(None)
            }
            Some(Fate::Damaged) => self.damaged().map(|()| None),
        }
    }

    /// H.264 goes on with a keyframe, anything else with the next picture. A camera that has nothing but
    /// damaged pictures is as good as silent.
    fn damaged(&mut self) -> Result<(), Loss> {
        if matches!(self.way, Way::Encoded(_)) {
            return self.check_silence();
        }
        log::debug!(device:% = self.device.display(); "a picture is missing or damaged");
        self.last_seen = media_now();
        self.force_keyframe();
        Ok(())
    }

    fn check_silence(&self) -> Result<(), Loss> {
        if media_now().0.saturating_sub(self.last_seen.0) <= self.stalled_after {
            return Ok(());
        }
        let cause = io::Error::from_raw_os_error(libc::ETIMEDOUT);
        Err(lost("wait for a picture", &self.device, cause))
    }

    pub(super) fn force_keyframe(&mut self) {
        match &mut self.way {
            Way::Passed(_) => self.controls.set(Control::ForceKeyframe, 1),
            Way::Encoded(pipeline) => pipeline.force_keyframe(),
        }
    }

    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) {
        match &mut self.way {
            Way::Passed(_) => self.controls.set(Control::Bitrate, i64::from(bitrate.bps())),
            Way::Encoded(pipeline) => pipeline.set_bitrate(bitrate),
        }
    }

    /// The controls for people, as they are now.
    pub(super) fn controls(&mut self) -> Vec<CameraControl> {
        self.controls.list()
    }

    pub(super) fn set_control(&mut self, name: &str, value: &ControlValue) -> Result<Taken, ControlRefusal> {
        self.controls.set_named(name, value)
    }

    /// Makes a still of the next picture, unless that is H.264.
    pub(super) fn want_still(&mut self) {
        if let Way::Encoded(pipeline) = &mut self.way {
            pipeline.want_still();
        }
    }

    /// A still that was asked for, once it is made.
    pub(super) fn take_still(&mut self) -> Option<Bytes> {
        match &mut self.way {
            Way::Passed(_) => None,
            Way::Encoded(pipeline) => pipeline.take_still(),
        }
    }

    /// Whether [`Camera::format`] says something else than before; says so once.
    pub(super) fn take_change(&mut self) -> bool {
        match &mut self.way {
            Way::Passed(_) => false,
            Way::Encoded(pipeline) => pipeline.take_change(),
        }
    }
}

/// All that people can set on a camera, as it is now.
pub(super) fn controls_of(device: Device, path: &Path) -> Vec<CameraControl> {
    Controls::of(device, path).list()
}

fn lost(operation: &'static str, device: &Path, cause: io::Error) -> Loss {
    let remedy = match cause.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "plug the camera in, or name one of `farol devices` in video.device"
        }
        Some(libc::EACCES | libc::EPERM) => "give the user the group `video`",
        Some(libc::EBUSY) => "another program has it: stop that one (`fuser -v` on it names it)",
        Some(libc::ENOTTY) => "it is no camera: name one of `farol devices` in video.device",
        Some(libc::ETIMEDOUT) => "look whether the camera works elsewhere, or unplug it and plug it in again",
        _ => "unplug the camera and plug it in again; `dmesg` may say more",
    };
    Loss::Device { operation, device: device.to_owned(), cause, remedy }
}

#[cfg(test)]
mod tests;

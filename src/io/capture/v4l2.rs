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
use self::stream::{Filled, Stream};
use super::encode::{Buffer, Fate, Input, Pipeline, encoders};
use super::substream::Substream;
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
        let device = Device::with_path(path).map_err(|cause| lost("open", path, cause))?;
        let name = open::check_capabilities(&device, path)?;
        let wish = Wish { input, encoder: encoder.clone(), size: video.size, fps: video.fps };
        let offered = offers(&device, path)?;
        let mut encoders = encoders(encoder);
        let mut controls = Controls::of(device, path);
        controls.configure(&video.controls);
        loop {
            let plan = choose(&offered, &encoders, &wish)
                .map_err(|refusal| Loss::Unfit { device: path.to_owned(), what: refusal.to_string() })?;
            log::debug!(device:% = path.display(), plan:% = plan, reason = plan.reason.as_str(); "camera chosen");
            match set_up(&mut controls, path, &plan, video) {
                Ok(Ready { stream, size, fps, way }) => {
                    let (device, stalled_after) = (path.to_owned(), video.stalled_after);
                    let last_seen = media_now();
                    return Ok(Camera {
                        device,
                        controls,
                        stream,
                        size,
                        fps,
                        name,
                        plan,
                        way,
                        last_seen,
                        stalled_after,
                    });
                }
                // Nobody asked for this encoder; the next best may do.
                Err(loss)
                    if plan.is_by_hardware() && *encoder == EncoderChoice::Auto && encoders.software =>
                {
                    log::warn!(reason:% = loss; "the hardware encoder cannot be used; software encodes");
                    encoders.hardware = None;
                }
                Err(loss) => return Err(loss),
            }
        }
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
                Format {
                    width,
                    height,
                    fps: self.fps,
                    forces_keyframes,
                    takes_stills: false,
                    encodes_twice: false,
                    detail,
                }
            }
            Way::Encoded(pipeline) => {
                let ((width, height), fps) = pipeline.sent();
                let (plan, reason) = (&self.plan, &self.plan.reason);
                let detail = format!("{name} at {device}: {plan} ({reason}); {}", pipeline.detail());
                Format {
                    width,
                    height,
                    fps,
                    forces_keyframes: true,
                    takes_stills: true,
                    encodes_twice: true,
                    detail,
                }
            }
        }
    }

    /// The next picture; `None` when it did not come within `wait`, or is of no use.
    pub(super) fn picture(&mut self, wait: Duration) -> Result<Option<AccessUnit>, Loss> {
        if let Some(unit) = self.collect()? {
            return Ok(Some(unit));
        }
        let Some(filled) = self.fetch(wait)? else {
            let unit = self.collect()?;
            return if unit.is_some() { Ok(unit) } else { self.check_silence().map(|()| None) };
        };
        let fate = self.take(&filled);
        let given_back = match (&fate, &self.way) {
            (Ok(Fate::Held), _) => Ok(()),
            (_, Way::Encoded(pipeline)) if pipeline.imports() => self.stream.give_back(filled.index),
            // An encoder that does not import (any more) holds none.
            _ => self.stream.give_back_all(),
        };
        given_back.map_err(|cause| lost("give back a buffer", &self.device, cause))?;
        let fate = fate?;
        if let Fate::Damaged = fate {
            return self.damaged().map(|()| None);
        }
        self.last_seen = media_now();
        Ok(if let Fate::Unit(unit) = fate { Some(unit) } else { None })
    }

    /// The next buffer that the camera has filled; `None` when there is none, or something else to do.
    fn fetch(&mut self, wait: Duration) -> Result<Option<Filled>, Loss> {
        let (other, stale) = match &self.way {
            Way::Passed(_) => (None, None),
            Way::Encoded(pipeline) => {
                (pipeline.readable(), Some(Duration::from_secs(1) * LATE_PICTURES / self.fps.max(1)))
            }
        };
        let failed = |cause| lost("wait for a picture", &self.device, cause);
        let is_in_error = self.stream.wait(wait, other).map_err(failed)?;
        match self.stream.next(stale) {
            Ok(None) if is_in_error => Err(failed(io::Error::from_raw_os_error(libc::EIO))),
            Ok(filled) => Ok(filled),
            Err(cause) => Err(lost("read a picture", &self.device, cause)),
        }
    }

    /// A picture that the encoder has finished, after giving back to the camera what it has read.
    fn collect(&mut self) -> Result<Option<AccessUnit>, Loss> {
        let Way::Encoded(pipeline) = &mut self.way else { return Ok(None) };
        let unit = pipeline.finished()?;
        while let Some(index) = pipeline.released()? {
            self.stream.give_back(index).map_err(|cause| lost("give back a buffer", &self.device, cause))?;
        }
        Ok(unit)
    }

    fn take(&mut self, filled: &Filled) -> Result<Fate, Loss> {
        let data = self.stream.data(filled);
        match &mut self.way {
            Way::Passed(native) => Ok(native.accept(filled, data)),
            Way::Encoded(pipeline) if filled.is_damaged => Ok(pipeline.refuse()),
            Way::Encoded(pipeline) => {
                let exported =
                    self.stream.exported(filled.index).map(|descriptor| (filled.index, descriptor));
                pipeline.encode(&Buffer { data, captured: filled.captured, exported })
            }
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

    /// The second encode, where there is a first one.
    pub(super) fn substream(&mut self) -> Option<&mut Substream> {
        match &mut self.way {
            Way::Passed(_) => None,
            Way::Encoded(pipeline) => Some(pipeline.substream()),
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

/// A camera that is set to a plan.
struct Ready {
    stream: Stream,
    size: (u32, u32),
    fps: u32,
    way: Way,
}

fn set_up(controls: &mut Controls, path: &Path, plan: &Plan, video: &config::Video) -> Result<Ready, Loss> {
    let device = controls.device();
    let format = open::set_format(device, path, plan.fourcc, plan.size)?;
    let fps = open::set_rate(device, path, plan.fps);
    let size = (format.width, format.height);
    let failed = |cause| lost("start streaming", path, cause);
    match &plan.encoding {
        Encoding::Passed => {
            controls.set_up(video.bitrate, video.keyframe_interval);
            let stream = Stream::start(controls.device(), path).map_err(failed)?;
            Ok(Ready { stream, size, fps, way: Way::Passed(Native::new()) })
        }
        Encoding::Encoded { from, into, by } => {
            let layout = open::layout(&format, *from, path)?;
            let mut stream = Stream::start(device, path).map_err(failed)?;
            let exports = plan.is_by_hardware() && from == into && stream.export().is_ok();
            let input = Input { layout, colour: open::colour(&format, *from), fps, exports };
            let pipeline = Pipeline::open(input, (*into, by), video)?;
            if !pipeline.imports() {
                stream.unexport();
            }
            Ok(Ready { stream, size, fps, way: Way::Encoded(Box::new(pipeline)) })
        }
    }
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

//! A V4L2 camera that delivers H.264: each buffer is passed on as it is, one access unit.
//!
//! Cameras and drivers are taken as they come: what a driver cannot be set to is left alone, and said
//! once. A damaged or missing picture ends the stream up to the next keyframe, since the pictures after
//! it would show its damage.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use v4l::buffer::{Flags, Metadata, Type};
use v4l::capability::Flags as Capability;
use v4l::format::Description;
use v4l::io::mmap;
use v4l::io::traits::{CaptureStream, Stream as _};
use v4l::video::Capture as _;
use v4l::video::capture::Parameters;
use v4l::{Device, Format as PixelFormat, FourCC};

use self::controls::{Control, Controls};
use super::{Format, Loss, Taken};
use crate::config::{self, ControlValue};
use crate::engine::control::{CameraControl, ControlRefusal};
use crate::engine::h264::{AccessUnit, ParameterSets};
use crate::io::clock::media_now;
use crate::units::{Bitrate, MediaTime};

mod controls;

/// What v4l2loopback calls itself.
const LOOPBACK_DRIVER: &str = "v4l2 loopback";
/// Formats named when there is no H.264 among them; a driver may have a hundred.
const FORMATS_NAMED: usize = 6;
/// One is with us while the others are with the driver: 230 ms of grace at 30 frames per second, which a
/// board with one busy core needs.
const BUFFERS: u32 = 8;
/// A camera that gives nothing for so long is taken for lost, and opened again.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// A timestamp farther from the present than this is by another clock, whatever its flag says.
const PLAUSIBLE_AGE: Duration = Duration::from_secs(5);

/// An open camera, streaming.
pub(super) struct Camera {
    device: PathBuf,
    controls: Controls,
    /// `None` only while it is being dropped.
    stream: Option<mmap::Stream<'static>>,
    format: PixelFormat,
    fps: u32,
    name: String,
    parameter_sets: ParameterSets,
    /// A picture before this one is missing or damaged.
    awaits_keyframe: bool,
    last_sequence: Option<u32>,
    last_seen: MediaTime,
    /// The crate's `next` has handed its buffer to the driver, but has got none back.
    is_buffer_owed: bool,
}

impl Camera {
    pub(super) fn open(path: &Path, video: &config::Video) -> Result<Camera, Loss> {
        let failed = |operation| move |cause| lost(operation, path, cause);
        let device = Device::with_path(path).map_err(failed("open"))?;
        let name = check_capabilities(&device, path)?;
        let format = set_format(&device, path, video.size)?;
        let fps = set_rate(&device, path, video.fps);
        let mut controls = Controls::of(device, path);
        controls.set_up(video.bitrate, video.keyframe_interval);
        controls.configure(&video.controls);
        let stream = start(controls.device()).map_err(failed("start streaming"))?;
        Ok(Camera {
            device: path.to_owned(),
            controls,
            stream: Some(stream),
            format,
            fps,
            name,
            parameter_sets: ParameterSets::new(),
            awaits_keyframe: true,
            last_sequence: None,
            last_seen: media_now(),
            is_buffer_owed: false,
        })
    }

    pub(super) fn format(&self) -> Format {
        let sps = self.parameter_sets.sps();
        let (width, height) =
            sps.map_or((self.format.width, self.format.height), |sps| (sps.width, sps.height));
        let profile = sps.map_or("unknown".to_owned(), |sps| sps.profile_level_id.to_string());
        let settable = self.controls.names();
        let detail =
            format!("{} at {}, profile {profile}, can set {settable}", self.name, self.device.display());
        let forces_keyframes = self.controls.has(Control::ForceKeyframe);
        Format { width, height, fps: self.fps, forces_keyframes, takes_stills: false, detail }
    }

    /// The next picture; `None` when it did not come within `wait`, or is of no use.
    pub(super) fn picture(&mut self, wait: Duration) -> Result<Option<AccessUnit>, Loss> {
        let outcome = self.dequeue(wait);
        match outcome {
            Ok(Some(unit)) => return Ok(Some(unit)),
            Ok(None) => {}
            Err(cause) => return Err(lost("read a picture", &self.device, cause)),
        }
        if media_now().0.saturating_sub(self.last_seen.0) > SILENT_AFTER {
            return Err(lost(
                "wait for a picture",
                &self.device,
                io::Error::from_raw_os_error(libc::ETIMEDOUT),
            ));
        }
        Ok(None)
    }

    pub(super) fn force_keyframe(&mut self) {
        self.controls.set(Control::ForceKeyframe, 1);
    }

    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) {
        self.controls.set(Control::Bitrate, i64::from(bitrate.bps()));
    }

    /// The controls for people, as they are now.
    pub(super) fn controls(&mut self) -> Vec<CameraControl> {
        self.controls.list()
    }

    pub(super) fn set_control(&mut self, name: &str, value: &ControlValue) -> Result<Taken, ControlRefusal> {
        self.controls.set_named(name, value)
    }

    fn dequeue(&mut self, wait: Duration) -> io::Result<Option<AccessUnit>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match stream.handle().poll(libc::POLLIN, wait.as_millis() as i32) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(cause) => return Err(cause),
        }
        if self.is_buffer_owed {
            // The picture in it is out of reach: the crate shows only what `next` fetches.
            stream.dequeue()?;
            (self.is_buffer_owed, self.awaits_keyframe) = (false, true);
            return Ok(None);
        }
        // It was announced, so this does not wait; a driver that announced in vain must not hold us.
        stream.set_timeout(wait);
        let (data, metadata) = match stream.next() {
            Ok((buffer, metadata)) => {
                // The one copy of a picture on its way from the camera to the network.
                let used = buffer.get(..metadata.bytesused as usize).unwrap_or(buffer);
                (Bytes::copy_from_slice(used), *metadata)
            }
            Err(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                self.is_buffer_owed = true;
                return Ok(None);
            }
            Err(cause) => return Err(cause),
        };
        Ok(self.accept(data, &metadata))
    }

    /// Makes an access unit of a buffer, unless it is damaged or comes after one that is missing.
    fn accept(&mut self, data: Bytes, metadata: &Metadata) -> Option<AccessUnit> {
        let now = media_now();
        self.last_seen = now;
        // Some drivers do not count, and always say the same.
        let is_gap = self.last_sequence.is_some_and(|last| metadata.sequence > last.wrapping_add(1));
        self.last_sequence = Some(metadata.sequence);
        let is_damaged = metadata.flags.contains(Flags::ERROR);
        if (is_gap || is_damaged) && !self.awaits_keyframe {
            log::debug!(device:% = self.device.display(), damaged = is_damaged; "a picture is missing");
            self.awaits_keyframe = true;
            self.force_keyframe();
        }
        let unit = self.parameter_sets.access_unit(data, captured(metadata, now))?;
        if is_damaged || self.awaits_keyframe && !unit.is_keyframe {
            return None;
        }
        self.awaits_keyframe = false;
        Some(unit)
    }
}

impl Drop for Camera {
    /// The crate panics when a driver refuses to stop or to take its buffers back. A camera that is
    /// being unplugged does that, and the thread must outlive it.
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        match stream.stop() {
            Err(cause) if cause.raw_os_error() != Some(libc::ENODEV) => {
                log::warn!(
                    device:% = self.device.display(), cause:% = cause;
                    "the camera does not stop; its memory is not given back"
                );
                std::mem::forget(stream);
            }
            _ => {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(stream)));
            }
        }
    }
}

/// Queues the buffers and starts. The crate's `next` would do it too, but it waits for the first
/// picture while commands wait for it; it still queues buffer 0 itself.
fn start(device: &Device) -> io::Result<mmap::Stream<'static>> {
    let mut stream = mmap::Stream::with_buffers(device, Type::VideoCapture, BUFFERS)?;
    for index in 1.. {
        match CaptureStream::queue(&mut stream, index) {
            Ok(()) => {}
            // The driver gave fewer or more than asked: this index is past its last.
            Err(_) if index > 1 => break,
            Err(cause) => return Err(cause),
        }
    }
    stream.start()?;
    Ok(stream)
}

/// The card's name, when the node captures at all.
fn check_capabilities(device: &Device, path: &Path) -> Result<String, Loss> {
    let capabilities = readable(|| device.query_caps()).map_err(|cause| lost("query", path, cause))?;
    let has = capabilities.capabilities;
    if has.contains(Capability::VIDEO_CAPTURE) && has.contains(Capability::STREAMING) {
        return Ok(format!("{} ({})", capabilities.card, capabilities.driver));
    }
    let what = if has.intersects(Capability::VIDEO_M2M | Capability::VIDEO_M2M_MPLANE) {
        "it is an encoder or decoder and takes no pictures itself; name a camera from `farol devices`"
    } else if capabilities.driver == LOOPBACK_DRIVER && !has.intersects(Capability::VIDEO_OUTPUT) {
        // v4l2loopback 0.12.7 (Debian 12) forgets to be an output again when the last one to leave is
        // not a producer that used STREAMON: its `ready_for_output` stays 0 after write(2).
        "the loopback is stuck after its producer left; reload it with `modprobe -r v4l2loopback` and \
         `modprobe v4l2loopback`, or set its control keep_format"
    } else if has.intersects(Capability::VIDEO_OUTPUT) {
        "it captures nothing now: a v4l2loopback device without its producer; start that program"
    } else {
        "it does not capture video in a way that is known here; name a camera from `farol devices`"
    };
    Err(Loss::Unfit { device: path.to_owned(), what: what.to_owned() })
}

fn set_format(device: &Device, path: &Path, size: (u32, u32)) -> Result<PixelFormat, Loss> {
    let h264 = FourCC::new(b"H264");
    let unfit = |offered: &str| Loss::Unfit {
        device: path.to_owned(),
        what: format!("it offers no H.264 but {offered}; name a camera that does (see `farol devices`)"),
    };
    let formats = readable(|| device.enum_formats()).map_err(|cause| lost("list formats", path, cause))?;
    if formats.iter().all(|format| format.fourcc != h264) {
        return Err(unfit(&named(&formats)));
    }
    let wanted = PixelFormat::new(size.0, size.1, h264);
    let got = readable(|| device.set_format(&wanted)).map_err(|cause| lost("set the format", path, cause))?;
    if got.fourcc != h264 {
        return Err(unfit(&got.fourcc.to_string()));
    }
    if (got.width, got.height) != size {
        log::debug!(
            device:% = path.display(), width = got.width, height = got.height;
            "the camera has another size than asked"
        );
    }
    Ok(got)
}

/// The first few formats, for a sentence.
fn named(formats: &[Description]) -> String {
    // Big-endian formats have the highest bit set, and no name in ASCII.
    let names = formats.iter().map(|format| format.fourcc.to_string()).filter(|name| !name.is_empty());
    let names: Vec<String> = names.take(FORMATS_NAMED).collect();
    match formats.len() {
        0 => "nothing".to_owned(),
        count if count > FORMATS_NAMED => format!("{} and {} more", names.join(", "), count - FORMATS_NAMED),
        _ => names.join(", "),
    }
}

/// Asks for a frame rate and returns the one that the camera has, or what was asked if it says none.
fn set_rate(device: &Device, path: &Path, fps: u32) -> u32 {
    if let Err(cause) = readable(|| device.set_params(&Parameters::with_fps(fps))) {
        log::debug!(device:% = path.display(), cause:% = cause; "the camera's frame rate cannot be set");
    }
    let interval = readable(|| device.params()).map(|parameters| parameters.interval);
    match interval {
        Ok(interval) if interval.numerator > 0 && interval.denominator >= interval.numerator => {
            (interval.denominator + interval.numerator / 2) / interval.numerator
        }
        _ => fps,
    }
}

/// When the picture was taken: by the driver's stamp when that is on our clock
/// (`V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC`, kernel documentation "Buffers"), else now.
fn captured(metadata: &Metadata, now: MediaTime) -> MediaTime {
    let (sec, usec) = (metadata.timestamp.sec, metadata.timestamp.usec);
    let is_monotonic = (metadata.flags & Flags::TIMESTAMP_MASK) == Flags::TIMESTAMP_MONOTONIC;
    match (u64::try_from(sec), u32::try_from(usec)) {
        (Ok(sec), Ok(usec @ 0..1_000_000)) if is_monotonic => {
            let stamp = Duration::new(sec, usec * 1000);
            let is_plausible = stamp <= now.0 && now.0 - stamp < PLAUSIBLE_AGE;
            if is_plausible { MediaTime(stamp) } else { now }
        }
        _ => now,
    }
}

/// The crate panics at names and numbers that it does not know; from a driver they are just an error.
fn readable<T>(query: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(query));
    outcome.unwrap_or_else(|_| Err(io::Error::other("the driver's answer cannot be read")))
}

fn lost(operation: &'static str, device: &Path, cause: io::Error) -> Loss {
    let remedy = match cause.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "plug the camera in, or name one of `farol devices` in video.device"
        }
        Some(libc::EACCES | libc::EPERM) => "give the user the group `video`",
        Some(libc::EBUSY) => "another program has it: stop that one (`fuser -v` on it names it)",
        Some(libc::ENOTTY) => "it is no camera: name one of `farol devices` in video.device",
        None if cause.kind() == io::ErrorKind::TimedOut => {
            "look whether the camera works elsewhere, or unplug it and plug it in again"
        }
        _ => "unplug the camera and plug it in again; `dmesg` may say more",
    };
    Loss::Device { operation, device: device.to_owned(), cause, remedy }
}

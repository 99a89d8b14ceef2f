//! Which cameras and sound cards does this board have, and what can be done with each?
//!
//! What `farol devices` prints: facts for each node, a plain verdict, and for the usable ones the lines
//! to put into the configuration. Nothing is changed on any device, and one that cannot be read is
//! listed with the reason.

use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use alsa::{Ctl, Direction, Output, card, ctl};
use v4l::capability::Flags as Capability;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture as _;
use v4l::{FourCC, Fraction, v4l_sys};

/// Sizes shown for a format; a camera may have dozens.
const SIZES_SHOWN: usize = 6;
/// Formats shown for a node; a test driver has a hundred, a camera a handful.
const FORMATS_SHOWN: usize = 8;

/// The controls that matter to someone who sets up a camera: what a live stream can be told, then what
/// the picture looks like.
const CONTROLS: [(u32, &str); 15] = [
    (v4l_sys::V4L2_CID_MPEG_VIDEO_BITRATE, "bitrate"),
    (v4l_sys::V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, "forced keyframes"),
    (v4l_sys::V4L2_CID_MPEG_VIDEO_GOP_SIZE, "keyframe interval"),
    (v4l_sys::V4L2_CID_MPEG_VIDEO_H264_I_PERIOD, "intra period"),
    (v4l_sys::V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER, "repeated headers"),
    (v4l_sys::V4L2_CID_MPEG_VIDEO_B_FRAMES, "B-frames"),
    (v4l_sys::V4L2_CID_BRIGHTNESS, "brightness"),
    (v4l_sys::V4L2_CID_CONTRAST, "contrast"),
    (v4l_sys::V4L2_CID_SATURATION, "saturation"),
    (v4l_sys::V4L2_CID_EXPOSURE_AUTO, "automatic exposure"),
    (v4l_sys::V4L2_CID_AUTO_WHITE_BALANCE, "automatic white balance"),
    (v4l_sys::V4L2_CID_FOCUS_AUTO, "automatic focus"),
    (v4l_sys::V4L2_CID_POWER_LINE_FREQUENCY, "power line frequency"),
    (v4l_sys::V4L2_CID_HFLIP, "horizontal flip"),
    (v4l_sys::V4L2_CID_VFLIP, "vertical flip"),
];

/// One device, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A `/dev/video*` node.
    Video(VideoNode),
    /// An ALSA device that can capture.
    Sound(SoundInput),
    /// A node that cannot be looked into.
    Unreadable {
        /// The node.
        path: PathBuf,
        /// What happened and what to do.
        reason: String,
    },
}

/// A `/dev/video*` node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoNode {
    /// Its name for the configuration: below `/dev/v4l/by-id` when it has one, since that stays the
    /// same when cameras are plugged in another order.
    pub name: PathBuf,
    /// The node itself.
    pub path: PathBuf,
    /// Kernel driver.
    pub driver: String,
    /// What the device calls itself.
    pub card: String,
    /// Where it is connected.
    pub bus: String,
    /// What it captures.
    pub formats: Vec<CaptureFormat>,
    /// What can be set, of what matters for a live picture.
    pub controls: Vec<String>,
    /// What it is good for.
    pub verdict: Verdict,
}

/// One pixel format of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureFormat {
    /// Four characters, such as `H264` or `YUYV`.
    pub fourcc: String,
    /// Sizes with their highest frame rate, such as `1280x720@30`.
    pub sizes: Vec<String>,
}

/// What a node is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It delivers H.264.
    H264Camera,
    /// It delivers pictures that have to be encoded first.
    RawCamera,
    /// It works on pictures in memory: an encoder, a decoder, a scaler.
    MemoryToMemory,
    /// It shows pictures, or waits for a program that feeds it.
    Output,
    /// Metadata, radio, or something without pictures.
    Other,
}

/// An ALSA capture device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundInput {
    /// Its name for the configuration, by the card's id, which stays the same across restarts.
    pub name: String,
    /// The card and the device on it, for people.
    pub card: String,
}

/// All video nodes, then all sound cards that capture.
pub fn list() -> Vec<Device> {
    let mut devices: Vec<Device> = video_paths().iter().map(|path| look_into(path)).collect();
    devices.extend(sound_inputs().into_iter().map(Device::Sound));
    devices
}

fn video_paths() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let mut paths: Vec<(u32, PathBuf)> =
        entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    paths.sort();
    paths.into_iter().map(|(_, path)| path).collect()
}

fn look_into(path: &Path) -> Device {
    let outcome = catch_unwind(AssertUnwindSafe(|| video_node(path)));
    // The crate panics at names and numbers that it does not know.
    let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("the driver's answer cannot be read")));
    match outcome {
        Ok(node) => Device::Video(node),
        Err(cause) => {
            let advice = match cause.kind() {
                io::ErrorKind::PermissionDenied => "; give the user the group `video`",
                _ => "",
            };
            Device::Unreadable { path: path.to_owned(), reason: format!("{cause}{advice}") }
        }
    }
}

fn video_node(path: &Path) -> io::Result<VideoNode> {
    let device = v4l::Device::with_path(path)?;
    let capabilities = device.query_caps()?;
    let has = capabilities.capabilities;
    let formats = if has.contains(Capability::VIDEO_CAPTURE) { formats(&device)? } else { Vec::new() };
    Ok(VideoNode {
        name: stable_name(path).unwrap_or_else(|| path.to_owned()),
        path: path.to_owned(),
        driver: capabilities.driver,
        card: capabilities.card,
        bus: capabilities.bus,
        verdict: verdict(has, &formats),
        formats,
        controls: controls(&device),
    })
}

/// Those of [`CONTROLS`] that the device has. The crate can list all that a driver has, but it panics at
/// types that it does not know, and newer webcams have such.
fn controls(device: &v4l::Device) -> Vec<String> {
    let exists = |id: u32| match device.control(id) {
        Ok(_) => true,
        // EINVAL answers an unknown id, ENOTTY any id at all; a button, which cannot be read, gives another.
        Err(cause) => !matches!(cause.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)),
    };
    CONTROLS.iter().filter(|(id, _)| exists(*id)).map(|(_, name)| (*name).to_owned()).collect()
}

fn verdict(has: Capability, formats: &[CaptureFormat]) -> Verdict {
    if has.intersects(Capability::VIDEO_M2M | Capability::VIDEO_M2M_MPLANE) {
        Verdict::MemoryToMemory
    } else if formats.iter().any(|format| format.fourcc == "H264") {
        Verdict::H264Camera
    } else if has.intersects(Capability::VIDEO_CAPTURE | Capability::VIDEO_CAPTURE_MPLANE) {
        Verdict::RawCamera
    } else if has.intersects(Capability::VIDEO_OUTPUT | Capability::VIDEO_OUTPUT_MPLANE) {
        Verdict::Output
    } else {
        Verdict::Other
    }
}

fn formats(device: &v4l::Device) -> io::Result<Vec<CaptureFormat>> {
    let formats = device.enum_formats()?;
    let describe =
        |fourcc: FourCC| CaptureFormat { fourcc: fourcc.to_string(), sizes: sizes(device, fourcc) };
    // Big-endian formats have the highest bit set, and no name in ASCII; no camera has one.
    let named = formats.into_iter().filter(|format| !format.fourcc.to_string().is_empty());
    Ok(named.map(|format| describe(format.fourcc)).collect())
}

/// The largest first.
fn sizes(device: &v4l::Device, fourcc: FourCC) -> Vec<String> {
    let mut sizes = device.enum_framesizes(fourcc).unwrap_or_default();
    sizes.sort_by_key(|size| match &size.size {
        FrameSizeEnum::Discrete(size) => std::cmp::Reverse(u64::from(size.width) * u64::from(size.height)),
        FrameSizeEnum::Stepwise(_) => std::cmp::Reverse(u64::MAX),
    });
    let describe = |size: FrameSizeEnum| match size {
        FrameSizeEnum::Discrete(size) => match highest_rate(device, fourcc, (size.width, size.height)) {
            Some(fps) => format!("{}x{}@{fps}", size.width, size.height),
            None => format!("{}x{}", size.width, size.height),
        },
        FrameSizeEnum::Stepwise(size) => {
            format!("{}x{} to {}x{}", size.min_width, size.min_height, size.max_width, size.max_height)
        }
    };
    sizes.into_iter().map(|size| describe(size.size)).collect()
}

/// Frames per second, rounded.
fn highest_rate(device: &v4l::Device, fourcc: FourCC, size: (u32, u32)) -> Option<u32> {
    let intervals = device.enum_frameintervals(fourcc, size.0, size.1).ok()?;
    let shortest = |interval: FrameIntervalEnum| match interval {
        FrameIntervalEnum::Discrete(interval) => interval,
        FrameIntervalEnum::Stepwise(interval) => interval.min,
    };
    let rate = |interval: Fraction| {
        (interval.numerator > 0).then(|| (interval.denominator + interval.numerator / 2) / interval.numerator)
    };
    intervals.into_iter().filter_map(|interval| rate(shortest(interval.interval))).max()
}

fn stable_name(path: &Path) -> Option<PathBuf> {
    let links = fs::read_dir("/dev/v4l/by-id").ok()?.flatten().map(|entry| entry.path());
    let mut ours: Vec<PathBuf> =
        links.filter(|link| fs::canonicalize(link).is_ok_and(|to| to == path)).collect();
    ours.sort();
    ours.into_iter().next()
}

fn sound_inputs() -> Vec<SoundInput> {
    // alsa-lib would print that there are no cards.
    let _quiet = Output::local_error_handler();
    card::Iter::new().flatten().flat_map(|card| inputs_of(&card).unwrap_or_default()).collect()
}

fn inputs_of(card: &alsa::Card) -> alsa::Result<Vec<SoundInput>> {
    let control = Ctl::from_card(card, true)?;
    let info = control.card_info()?;
    let (id, card) = (info.get_id()?.to_owned(), info.get_name()?.to_owned());
    let mut inputs = Vec::new();
    for device in ctl::DeviceIter::new(&control) {
        // An error here says that the device only plays.
        let Ok(pcm) = control.pcm_info(device as u32, 0, Direction::Capture) else { continue };
        let name = format!("hw:{id},{device}");
        inputs.push(SoundInput { name, card: format!("{card}, {}", pcm.get_name().unwrap_or("unnamed")) });
    }
    Ok(inputs)
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Video(node) => node.fmt(f),
            Device::Sound(input) => input.fmt(f),
            Device::Unreadable { path, reason } => writeln!(f, "{}: {reason}", path.display()),
        }
    }
}

impl fmt::Display for VideoNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} ({}, {})", self.path.display(), self.card, self.driver, self.bus)?;
        writeln!(f, "  {}", self.verdict)?;
        // What counts first: H.264 is the last format of many cameras.
        let (h264, others): (Vec<_>, Vec<_>) =
            self.formats.iter().partition(|format| format.fourcc == "H264");
        for format in h264.into_iter().chain(others).take(FORMATS_SHOWN) {
            writeln!(f, "  {}: {}", format.fourcc, first(&format.sizes, SIZES_SHOWN))?;
        }
        if self.formats.len() > FORMATS_SHOWN {
            writeln!(f, "  and {} more formats", self.formats.len() - FORMATS_SHOWN)?;
        }
        if !self.controls.is_empty() {
            writeln!(f, "  can be set: {}", self.controls.join(", "))?;
        }
        if self.verdict == Verdict::H264Camera {
            writeln!(
                f,
                "\n    [video]\n    source = \"v4l2\"\n    device = {:?}",
                self.name.display().to_string()
            )?;
        }
        Ok(())
    }
}

/// The first `count` of a list, and how many there are beyond them.
fn first(list: &[String], count: usize) -> String {
    let shown = list[..list.len().min(count)].join(", ");
    match list.len().saturating_sub(count) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::H264Camera => "can be used as it is: H.264",
            Verdict::RawCamera => "raw only: its pictures would have to be encoded first",
            Verdict::MemoryToMemory => "encoder, decoder or scaler: no camera",
            Verdict::Output => "output: no camera, or a loopback whose producer is not running",
            Verdict::Other => "delivers no pictures",
        })
    }
}

impl fmt::Display for SoundInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.card)?;
        writeln!(f, "\n    [audio]\n    source = \"alsa\"\n    device = {:?}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usable_camera_is_shown_with_the_lines_that_use_it() {
        let node = VideoNode {
            name: "/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0".into(),
            path: "/dev/video0".into(),
            driver: "uvcvideo".into(),
            card: "HD Pro Webcam C920".into(),
            bus: "usb-0000:01:00.0-1.3".into(),
            formats: vec![CaptureFormat { fourcc: "H264".into(), sizes: vec!["1920x1080@30".into()] }],
            controls: vec!["brightness".into()],
            verdict: Verdict::H264Camera,
        };
        let expected = "\
/dev/video0: HD Pro Webcam C920 (uvcvideo, usb-0000:01:00.0-1.3)
  can be used as it is: H.264
  H264: 1920x1080@30
  can be set: brightness

    [video]
    source = \"v4l2\"
    device = \"/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0\"
";
        assert_eq!(node.to_string(), expected);
    }

    #[test]
    fn a_node_is_judged_by_what_it_delivers() {
        let format = |fourcc: &str| CaptureFormat { fourcc: fourcc.to_owned(), sizes: Vec::new() };
        let camera = Capability::VIDEO_CAPTURE | Capability::STREAMING;
        for (has, formats, expected) in [
            (camera, vec![format("YUYV"), format("H264")], Verdict::H264Camera),
            (camera, vec![format("MJPG")], Verdict::RawCamera),
            (Capability::VIDEO_M2M_MPLANE, vec![], Verdict::MemoryToMemory),
            (Capability::VIDEO_OUTPUT, vec![], Verdict::Output),
            (Capability::META_CAPTURE, vec![], Verdict::Other),
        ] {
            assert_eq!(verdict(has, &formats), expected);
        }
    }

    #[test]
    #[ignore = "needs the device lab (tests/lab)"]
    fn the_lab_s_devices_are_listed_for_what_they_are() {
        let devices = list();
        let verdict = |path: &str| {
            devices.iter().find_map(|device| match device {
                Device::Video(node) if node.path == Path::new(path) => {
                    Some((node.verdict, node.controls.clone()))
                }
                _ => None,
            })
        };
        assert_eq!(verdict("/dev/video0").expect("labcam").0, Verdict::Output, "its producer is not running");
        assert_eq!(verdict("/dev/video2").expect("vivid").0, Verdict::RawCamera);
        let (encoder, controls) = verdict("/dev/video11").expect("vh264enc");
        assert_eq!(encoder, Verdict::MemoryToMemory);
        assert!(
            controls.contains(&"bitrate".to_owned()) && controls.contains(&"forced keyframes".to_owned())
        );
        let is_loopback =
            |device: &Device| matches!(device, Device::Sound(input) if input.name == "hw:Loopback,1");
        assert!(devices.iter().any(is_loopback));
    }

    #[test]
    fn listing_a_board_without_devices_is_no_error() {
        // Whatever this machine has, it is listed without a panic.
        for device in list() {
            assert!(!device.to_string().is_empty());
        }
    }
}

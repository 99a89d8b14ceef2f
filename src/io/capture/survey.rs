//! Which video nodes does this board have, and what would capture do with each?
//!
//! For `farol devices`. Nothing is changed on any device, and one that cannot be looked into is listed
//! with the reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use v4l::capability::Flags as Capability;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture as _;
use v4l::{Device, FourCC, Fraction};

use super::identity::nodes;
use super::m2m;
use super::v4l2::{controls_of, readable};
use crate::engine::control::CameraControl;
use crate::engine::picture::PixelFormat;

/// A `/dev/video*` node.
#[derive(Clone, Debug, PartialEq)]
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
    /// What it is good for.
    pub role: Role,
    /// All that can be set.
    pub controls: Vec<CameraControl>,
}

/// What a node is good for.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// It captures.
    Camera {
        /// Its formats, in the driver's order.
        formats: Vec<CaptureFormat>,
    },
    /// It encodes pictures as H.264.
    Encoder {
        /// What it takes, in its own order.
        takes: Vec<PixelFormat>,
    },
    /// It works on pictures in memory in another way: a decoder, a scaler, another codec's encoder.
    MemoryToMemory,
    /// It shows pictures, or waits for a program that feeds it.
    Output,
    /// Metadata, radio, or something without pictures.
    Other,
}

/// One pixel format of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureFormat {
    /// Four characters, such as `H264` or `YUYV`.
    pub fourcc: String,
    /// In which sizes, the largest first.
    pub sizes: Vec<Size>,
}

/// One size, or all in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width and height of the largest.
    pub largest: (u32, u32),
    /// Width and height of the smallest, where there is a range.
    pub smallest: Option<(u32, u32)>,
    /// Frames per second, rounded, the highest first; none where the driver does not say.
    pub rates: Vec<u32>,
}

/// A node that cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The node.
    pub path: PathBuf,
    /// What happened and what to do.
    pub reason: String,
}

/// All video nodes, by number.
pub fn survey() -> Vec<Result<VideoNode, Unreadable>> {
    let mut paths = nodes();
    let number = |path: &PathBuf| path.to_string_lossy().trim_start_matches("/dev/video").parse::<u32>().ok();
    paths.sort_by_key(number);
    paths.iter().map(|path| look_into(path).map_err(|cause| unreadable(path, &cause))).collect()
}

fn unreadable(path: &Path, cause: &io::Error) -> Unreadable {
    let advice = match cause.kind() {
        io::ErrorKind::PermissionDenied => "; give the user the group `video`",
        io::ErrorKind::NotFound => "; the kernel has it, /dev has not: is udev running?",
        _ => "",
    };
    Unreadable { path: path.to_owned(), reason: format!("{cause}{advice}") }
}

fn look_into(path: &Path) -> io::Result<VideoNode> {
    let device = readable(|| Device::with_path(path))?;
    let capabilities = readable(|| device.query_caps())?;
    Ok(VideoNode {
        name: stable_name(path).unwrap_or_else(|| path.to_owned()),
        path: path.to_owned(),
        role: role(&device, path, capabilities.capabilities),
        driver: capabilities.driver,
        card: capabilities.card,
        bus: capabilities.bus,
        controls: controls_of(device, path),
    })
}

fn role(device: &Device, path: &Path, has: Capability) -> Role {
    if let Ok(takes) = m2m::raw_formats(path) {
        Role::Encoder { takes }
    } else if has.intersects(Capability::VIDEO_M2M | Capability::VIDEO_M2M_MPLANE) {
        Role::MemoryToMemory
    } else if has.intersects(Capability::VIDEO_CAPTURE | Capability::VIDEO_CAPTURE_MPLANE) {
        Role::Camera { formats: formats(device) }
    } else if has.intersects(Capability::VIDEO_OUTPUT | Capability::VIDEO_OUTPUT_MPLANE) {
        Role::Output
    } else {
        Role::Other
    }
}

fn formats(device: &Device) -> Vec<CaptureFormat> {
    let formats = readable(|| device.enum_formats()).unwrap_or_default();
    let describe =
        |fourcc: FourCC| CaptureFormat { fourcc: fourcc.to_string(), sizes: sizes(device, fourcc) };
    // Big-endian formats have the highest bit set, and no name in ASCII; no camera has one.
    let named = formats.into_iter().filter(|format| !format.fourcc.to_string().is_empty());
    named.map(|format| describe(format.fourcc)).collect()
}

fn sizes(device: &Device, fourcc: FourCC) -> Vec<Size> {
    let found = readable(|| device.enum_framesizes(fourcc)).unwrap_or_default();
    let describe = |size: FrameSizeEnum| match size {
        FrameSizeEnum::Discrete(size) => {
            let largest = (size.width, size.height);
            Size { largest, smallest: None, rates: rates(device, fourcc, largest) }
        }
        FrameSizeEnum::Stepwise(size) => {
            let largest = (size.max_width, size.max_height);
            let smallest = Some((size.min_width, size.min_height));
            Size { largest, smallest, rates: rates(device, fourcc, largest) }
        }
    };
    let mut sizes: Vec<Size> = found.into_iter().map(|size| describe(size.size)).collect();
    sizes.sort_by_key(|size| std::cmp::Reverse(u64::from(size.largest.0) * u64::from(size.largest.1)));
    sizes
}

fn rates(device: &Device, fourcc: FourCC, size: (u32, u32)) -> Vec<u32> {
    let intervals = readable(|| device.enum_frameintervals(fourcc, size.0, size.1)).unwrap_or_default();
    let shortest = |interval: FrameIntervalEnum| match interval {
        FrameIntervalEnum::Discrete(interval) => interval,
        FrameIntervalEnum::Stepwise(interval) => interval.min,
    };
    let rate = |interval: Fraction| {
        let is_sensible = interval.numerator > 0;
        is_sensible.then(|| interval.denominator.saturating_add(interval.numerator / 2) / interval.numerator)
    };
    let mut rates: Vec<u32> =
        intervals.into_iter().filter_map(|interval| rate(shortest(interval.interval))).collect();
    rates.sort_by_key(|rate| std::cmp::Reverse(*rate));
    rates.dedup();
    rates
}

fn stable_name(path: &Path) -> Option<PathBuf> {
    let links = fs::read_dir("/dev/v4l/by-id").ok()?.flatten().map(|entry| entry.path());
    let mut ours: Vec<PathBuf> =
        links.filter(|link| fs::canonicalize(link).is_ok_and(|to| to == path)).collect();
    ours.sort();
    ours.into_iter().next()
}

//! Which node is an H.264 encoder, and which pictures does it take?
//!
//! A node is known by what it can do, not by its name: the same driver makes decoders, scalers and encoders.

use std::fs;
use std::path::{Path, PathBuf};

use v4l::v4l_sys;

use super::{H264, lost};
use crate::engine::picture::PixelFormat;
use crate::io::capture::Loss;
use crate::io::capture::sys::{Node, Queue};

/// Where bcm2835-codec, the encoder of the Pi 0 to 4, always is.
const LIKELIEST: &str = "/dev/video11";

/// Formats whose planes are memory of their own, and what they are otherwise.
const IN_PARTS: [(PixelFormat, [u8; 4]); 7] = [
    (PixelFormat::Nv12, *b"NM12"),
    (PixelFormat::Nv21, *b"NM21"),
    (PixelFormat::Yuv420, *b"YM12"),
    (PixelFormat::Yvu420, *b"YM21"),
    (PixelFormat::Nv16, *b"NM16"),
    (PixelFormat::Nv61, *b"NM61"),
    (PixelFormat::Yuv422p, *b"YM16"),
];

/// The node of an H.264 encoder, if there is one that can be opened.
pub(in super::super) fn find() -> Option<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.path());
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let mut nodes: Vec<(bool, u32, PathBuf)> =
        entries.filter_map(|path| Some((path != Path::new(LIKELIEST), number(&path)?, path))).collect();
    nodes.sort();
    nodes.into_iter().map(|(.., path)| path).find(|path| raw_formats(path).is_ok())
}

/// The pictures that an encoder takes, in its own order; a loss when it is no H.264 encoder.
pub(in super::super) fn raw_formats(path: &Path) -> Result<Vec<PixelFormat>, Loss> {
    let node = Node::open(path).map_err(|cause| lost("open", path, cause))?;
    let encoder = Encoder::of(&node, path)?;
    let mut formats = Vec::new();
    for fourcc in encoder.raw_fourccs {
        if let Some(format) = format_of(fourcc)
            && !formats.contains(&format)
        {
            formats.push(format);
        }
    }
    Ok(formats)
}

/// An open node that is an encoder.
pub(super) struct Encoder {
    /// What the driver calls the device.
    pub name: String,
    /// Raw pictures go in here.
    pub raw: Queue,
    /// H.264 comes out here.
    pub coded: Queue,
    /// What it takes.
    pub raw_fourccs: Vec<[u8; 4]>,
}

impl Encoder {
    pub(super) fn of(node: &Node, path: &Path) -> Result<Encoder, Loss> {
        let unfit = || Loss::Unfit {
            device: path.to_owned(),
            what: "it is no H.264 encoder; name one of `farol devices` in video.encoder, or \"software\""
                .into(),
        };
        let capability = node.capabilities().map_err(|cause| match cause.raw_os_error() {
            Some(libc::ENOTTY | libc::EINVAL) => unfit(),
            _ => lost("ask for the capabilities", path, cause),
        })?;
        let has = |flags: u32| {
            let is_of_node = capability.capabilities & v4l_sys::V4L2_CAP_DEVICE_CAPS != 0;
            let of_node = if is_of_node { capability.device_caps } else { capability.capabilities };
            of_node & flags == flags
        };
        // Drivers older than the M2M flags say both directions at once.
        let both = v4l_sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | v4l_sys::V4L2_CAP_VIDEO_OUTPUT_MPLANE;
        let (raw, coded) = if has(v4l_sys::V4L2_CAP_VIDEO_M2M_MPLANE) || has(both) {
            (Queue::OutputMplane, Queue::CaptureMplane)
        } else if has(v4l_sys::V4L2_CAP_VIDEO_M2M) {
            (Queue::Output, Queue::Capture)
        } else {
            return Err(unfit());
        };
        let formats = |queue| node.formats(queue).map_err(|cause| lost("list the formats", path, cause));
        let raw_fourccs = formats(raw)?;
        // A decoder has them the other way round.
        if !formats(coded)?.contains(&H264) || !raw_fourccs.iter().any(|&fourcc| format_of(fourcc).is_some())
        {
            return Err(unfit());
        }
        let card = capability.card.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(Encoder { name: String::from_utf8_lossy(card).into_owned(), raw, coded, raw_fourccs })
    }

    /// The four characters under which the driver takes a format; one buffer for all planes if it can.
    pub(super) fn fourcc_of(&self, format: PixelFormat) -> Option<[u8; 4]> {
        let in_parts = IN_PARTS.iter().find(|(whole, _)| *whole == format).map(|(_, fourcc)| *fourcc);
        let names = std::iter::once(format.fourcc()).chain(in_parts);
        names.into_iter().find(|fourcc| self.raw_fourccs.contains(fourcc))
    }
}

/// The format behind four characters, whether its planes are in one buffer or in parts.
fn format_of(fourcc: [u8; 4]) -> Option<PixelFormat> {
    let in_parts = IN_PARTS.iter().find(|(_, parts)| *parts == fourcc).map(|(format, _)| *format);
    in_parts.or_else(|| PixelFormat::from_fourcc(fourcc)).filter(|format| !format.is_compressed())
}
